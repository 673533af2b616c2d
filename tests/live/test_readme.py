"""The README does what it says: its producers push, its configuration drains, its commands exist."""

import os
import re
import shutil
import subprocess

import pytest
from servers import wait_until

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "README.md")
TABLES = {
    "postgresql": "CREATE TABLE orders (id bigint PRIMARY KEY, customer text, total numeric(12,2), at timestamptz)",
    "mysql": "CREATE TABLE orders (id bigint PRIMARY KEY, customer varchar(80), total decimal(12,2), at datetime(3)) ENGINE=InnoDB",
}


def block(language, containing):
    """The README's code block of this language that contains the text."""
    with open(README, encoding="utf-8") as file:
        found = [text for text in re.findall(rf"^```{language}\n(.*?)^```", file.read(), re.M | re.S) if containing in text]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def drained(db, redis_server, redis_client, sluice):
    """A daemon with the README's configuration, its addresses changed for the servers at hand."""
    db.user_execute(TABLES[db.driver])
    config, section = {}, None
    for line in block("ini", "[queue orders]").splitlines():
        if line.startswith("["):
            section = config.setdefault(line.strip("[]"), {})
        elif "=" in line:
            key, value = line.split("=", 1)
            section[key.strip()] = value.strip()
    config["redis"]["url"] = f"unix://{redis_server.socket}"
    config["database shop"] = db.section(pool_size=config["database shop"]["pool_size"])
    sluice(config)
    return db


def run(command, redis_server, program, **options):
    done = subprocess.run(command, input=program.replace("6379", str(redis_server.port)), capture_output=True, text=True, timeout=120, check=False,
                          **options)
    assert done.returncode == 0, done.stderr


def arrived(db, number):
    wait_until(lambda: db.query("SELECT customer, total FROM orders WHERE id = %s", number), 10, "the order")
    customer, total = db.query("SELECT customer, total FROM orders WHERE id = %s", number)[0]
    assert (customer, str(total)) == ("Ada", "12.10")


def test_shell_producer(drained, redis_server):
    run(["sh"], redis_server, block("sh", "LPUSH orders"))
    arrived(drained, 1)


def test_python_producer(drained, redis_server):
    run(["/usr/bin/python3"], redis_server, block("python", "lpush"))
    arrived(drained, 3)


def test_node_producer(drained, redis_server, directory):
    if not shutil.which("npm"):
        pytest.skip("no Node.js here")
    if subprocess.run(["npm", "install", "--silent", "redis"], cwd=directory, capture_output=True, timeout=120, check=False).returncode != 0:
        pytest.skip("the npm registry cannot be reached")
    run(["node"], redis_server, block("js", "lPush"), cwd=directory)
    arrived(drained, 2)


def test_go_producer(drained, redis_server, directory):
    if not shutil.which("go") or not os.path.isdir("/usr/share/gocode/src/github.com/gomodule/redigo"):
        pytest.skip("no Go with Debian's redigo here")
    program = os.path.join(directory, "push.go")
    with open(program, "w", encoding="utf-8") as file:
        file.write(block("go", "LPUSH").replace("6379", str(redis_server.port)))
    environment = {**os.environ, "GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOCACHE": directory, "HOME": directory}
    run(["go", "run", program], redis_server, "", env=environment)
    arrived(drained, 4)


def test_commands_of_the_readme_exist(release):
    with open(README, encoding="utf-8") as file:
        code = "".join(re.findall(r"^```sh\n(.*?)^```", file.read(), re.M | re.S))
    words = {line.split()[1] for line in re.findall(r"^sluice .*", code, re.M)}
    assert words >= {"check", "run", "dead"}
    for word in words:
        done = subprocess.run([release.path("src/sluice"), word, "--help"], capture_output=True, text=True, timeout=10, check=False)
        assert done.returncode == 0 and word in done.stdout


def test_tour_names_every_source():
    with open(README, encoding="utf-8") as file:
        tour = file.read().split("## A tour of")[1]
    patterns = [re.escape(name).replace(r"\*", ".*") for name in re.findall(r"`([^`]*\*?[^`]*\.(?:c|cc))`", tour)]
    sources = [name for name in os.listdir(os.path.join(os.path.dirname(README), "src")) if name.endswith((".c", ".cc"))]
    assert [name for name in sources if not any(re.fullmatch(pattern, name) for pattern in patterns)] == []
