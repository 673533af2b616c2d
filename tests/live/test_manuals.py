"""The manual pages: made of the program's tables, well-formed, and every example in them does what the text says; so do the README's commands.

An example is a literal display behind a comment that says what it is:

  sh            commands, run with a daemon at work
  ini           a whole sluice.ini
  ini-queue     keys of a [queue], ini-database of a [database]
  sql           a query in the database of the ledger
  dead-letter   the shape of one
"""

import json
import os
import re
import shutil
import subprocess

import pytest
from daemon import ini_text, queue_config
from orders import make_table, order
from servers import find_program, wait_until

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PAGES = ["sluice.1", "sluice.ini.5", "sluice-protocol.7"]
DISPLAY = re.compile(r'(?:^\.\\" example: (\S+)\n)?^\.Bd -literal.*\n((?:.*\n)*?)^\.Ed\n', re.M)
# Another program's page, or ours before it is installed.
NOT_OURS = re.compile(r"referenced manual not found|lacks .* entry")

CLIENT = """#!/bin/sh
exec {redis_cli} -s {socket} "$@"
"""

# `run` gets a configuration of its own: it ends once it answers.
PROGRAM = """#!/bin/sh
[ "$1" != -c ] || shift 2
[ "$1" = run ] || exec {program} -c {file} "$@"
{program} -c {own_file} "$@" &
until {program} -c {own_file} show queues >/dev/null 2>&1; do
	kill -0 $! || exit 1
	sleep 0.1
done
kill $! && wait $!
"""


def read(*path):
    with open(os.path.join(TREE, *path), encoding="utf-8") as file:
        return file.read()


def plain(text):
    """As a reader sees it."""
    return text.replace("\\-", "-").replace("\\e", "\\").replace("\\&", "")


def examples(*kinds):
    """All of these kinds, in the order of the pages, as parameters of a test."""
    found = [(f"{page}:{kind}", plain(text)) for page in PAGES for kind, text in DISPLAY.findall(read("doc", page)) if kind in kinds]
    if "sh" in kinds:
        blocks = re.findall(r"^```sh\n(.*?)^```", read("README.md"), re.M | re.S)
        found += [("README.md:sh", block) for block in blocks if all(line.startswith("sluice ") for line in block.splitlines())]
    assert found
    return [pytest.param(text, id=f"{where}{number}") for number, (where, text) in enumerate(found)]


def test_every_example_is_marked():
    for page in PAGES:
        for kind, text in DISPLAY.findall(read("doc", page)):
            assert kind in ("sh", "ini", "ini-queue", "ini-database", "sql", "dead-letter"), f"{page}: an example that no test looks at:\n{text}"


@pytest.mark.parametrize("page", ["sluice.1", "sluice.ini.5"])
def test_made_of_the_tables(build, page):
    made = subprocess.run([build.path("doc/manual")], input=read("doc", page + ".in"), capture_output=True, text=True, timeout=60, check=True).stdout
    assert made == read("doc", page), "run `make manuals`"


@pytest.mark.parametrize("page", PAGES)
def test_well_formed(page):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    done = subprocess.run(["mandoc", "-Tlint", os.path.join("doc", page)], cwd=TREE, capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if not NOT_OURS.search(line)] == []


def check_offline(build, directory, text):
    path = os.path.join(directory, "sluice.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return subprocess.run([build.path("src/sluice"), "-c", path, "check", "--offline"], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("text", examples("ini"))
def test_ini(build, directory, text):
    done = check_offline(build, directory, text)
    assert done.returncode == 0, done.stderr


def with_keys(section, text):
    """A whole file in which a section has these keys."""
    config = {
        "database shop": {"driver": "mysql", "dbname": "shop", "user": "sluice"},
        "queue orders": {"source": "list:orders", "database": "shop", "table": "orders"},
    }
    config[section].update(line.split(" = ", 1) for line in text.splitlines())
    return ini_text(config)


@pytest.mark.parametrize("text", examples("ini-queue"))
def test_ini_of_a_queue(build, directory, text):
    done = check_offline(build, directory, with_keys("queue orders", text))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", examples("ini-database"))
def test_ini_of_a_database(build, directory, text):
    config = with_keys("database shop", text)
    done = check_offline(build, directory, config)
    assert done.returncode == 78 and f"{directory}/shop-password cannot be read" in done.stderr
    with open(os.open(f"{directory}/shop-password", os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
        file.write("secret\n")
    done = check_offline(build, directory, config)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def at_work(db, redis_server, redis_client, sluice):
    """A daemon that has stored an order and refused one without a customer."""
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, pool_size=2))
    redis_client.lpush("orders", order(1), '{"id": 7, "customer": null, "total": 1}')
    wait_until(lambda: redis_client.llen("{orders}:dead") == 1 and redis_client.llen("orders") == 0, 30, "one row and one dead letter")
    return daemon


def write_program(directory, name, text, **words):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.format(**words))
    os.chmod(path, 0o755)


@pytest.mark.parametrize("text", examples("sh"))
def test_commands(at_work, db, redis_server, sluice, directory, text):
    own = sluice(queue_config(redis_server, db, queue={"source": "list:own"}), start=False)
    write_program(directory, "redis-cli", CLIENT, redis_cli=find_program("redis-cli", "valkey-cli"), socket=redis_server.socket)
    write_program(directory, "sluice", PROGRAM, program=at_work.program, file=at_work.config_path, own_file=own.config_path)
    script = "set -e -o pipefail\n" + text.replace("| less", "| cat")
    done = subprocess.run(["bash", "-c", script], env={**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, check=False)
    assert "ERR" not in done.stdout
    if re.match("sluice (accept|skip)", text):
        assert "nothing in doubt" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", examples("sql"))
def test_queries(at_work, db, text):
    assert at_work.running()
    rows = db.query(text)
    assert rows == [(None,)] or rows[0][0] + rows[0][1] == 2, "nothing in doubt; the last window ends at the second order"


def test_dead_letter(at_work, db, redis_client):
    (example,) = [json.loads(plain(text)) for kind, text in DISPLAY.findall(read("doc", "sluice-protocol.7")) if kind == "dead-letter"]
    letter = json.loads(redis_client.lindex("{orders}:dead", 0))
    assert letter["instance"] == at_work.instance
    assert list(letter) == list(example)
    if db.driver == "mysql":
        example["error"]["errno"] = example["error"].pop("sqlstate")
    assert letter["error"].keys() <= example["error"].keys() and letter["error"]["class"] == example["error"]["class"]
    assert json.loads(letter["payload"]) == {"id": 7, "customer": None, "total": 1}
    assert letter["position"] in (0, 1)


COMPLETIONS = [
    (["re"], {"resume", "reconnect", "reload"}),
    (["show", ""], {"config", "connections", "dead", "orders", "pools", "queues", "stats", "--json"}),
    (["show", "queues", "--"], {"--json"}),
    (["-c", "FILE", "pause", ""], {"orders"}),
    (["-c", "FILE", "dead", "retry", "o"], {"orders"}),
    (["dead", ""], {"list", "show", "retry", "drop", "--all", "--json", "--yes"}),
    (["--config", "FILE", "reconnect", ""], {"shop"}),
    (["loglevel", "d"], {"debug"}),
]


@pytest.mark.parametrize("words, expected", COMPLETIONS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_completion(build, directory, words, expected):
    path = os.path.join(directory, "sluice.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(with_keys("queue orders", ""))
    words = [build.path("src/sluice")] + [path if word == "FILE" else word for word in words]
    script = '. contrib/completion/sluice.bash\nCOMP_WORDS=("$@") COMP_CWORD=$(($# - 1))\n' \
        '_sluice "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"\nprintf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script, "bash", *words], cwd=TREE, capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.split()) == expected
