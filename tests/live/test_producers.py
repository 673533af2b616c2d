"""contrib/producers: what Redis acknowledged is one row each, whatever happens to the answers; what it did not comes back on stdout."""

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
from daemon import queue_config
from servers import wait_until

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "faults"))
from proxy import Proxy, answer, lose, lose_answer  # pylint: disable=wrong-import-position

PRODUCERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "contrib", "producers")
TABLE = "CREATE TABLE orders (id varchar(64) PRIMARY KEY, customer text, total numeric(20,2))"
ORDERS = ['{"customer": "Ada", "total": 12.10}', '{"id": "given", "customer": "Bob", "total": 1}', '{}',
          '{"customer": "Zoë \\u00e9 \\" \'$x\'", "total": 90071992547409.93}']
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Where a language may leave what it builds or installs."""
    return str(tmp_path_factory.mktemp("producers"))


def prepare_node(workshop):
    if not shutil.which("npm"):
        pytest.skip("no Node.js here")
    if not os.path.isdir(f"{workshop}/node_modules/redis"):
        shutil.copy(f"{PRODUCERS}/node/push.js", workshop)
        if subprocess.run(["npm", "install", "--silent", "redis"], cwd=workshop, capture_output=True, timeout=120, check=False).returncode != 0:
            pytest.skip("the npm package redis cannot be had here")
    return ["node", f"{workshop}/push.js"]


def prepare_go(workshop):
    if not shutil.which("go") or not os.path.isdir("/usr/share/gocode/src/github.com/gomodule/redigo"):
        pytest.skip("no Go with Debian's redigo here")
    program = f"{workshop}/push"
    if not os.path.exists(program):
        environment = {**os.environ, "GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOCACHE": f"{workshop}/cache", "HOME": workshop}
        subprocess.run(["go", "build", "-o", program, f"{PRODUCERS}/go/push.go"], env=environment, timeout=300, check=True)
    return [program]


LANGUAGES = {
    "shell": lambda workshop: ["sh", f"{PRODUCERS}/shell/push.sh"],
    "python": lambda workshop: ["/usr/bin/python3", f"{PRODUCERS}/python/push.py"],
    "node": prepare_node,
    "go": prepare_go,
}


@pytest.fixture(params=LANGUAGES)
def producer(request, workshop):
    """producer(port, orders, seconds): runs it; its CompletedProcess."""
    command = LANGUAGES[request.param](workshop)

    def run(port, orders, seconds=60):
        environment = {**os.environ, "REDIS_URL": f"redis://127.0.0.1:{port}", "PUSH_SECONDS": str(seconds)}
        return subprocess.run(command + ["orders"], input="\n".join(orders) + "\n", env=environment, capture_output=True, text=True,
                              timeout=180, check=False)

    return run


@pytest.fixture
def proxy(redis_server, redis_client):
    """A port of Redis where answers can get lost."""
    made = Proxy(None, redis_server.socket)
    yield made
    made.close()


def test_pushes_until_acknowledged(producer, proxy, pg, clean, redis_server, redis_client, sluice):
    """Refused twice, then the connection is cut, then an order arrives and its answer does not: pushed again, and one row at the end."""
    for action in (answer(LOADING), answer(OOM), lose, lose_answer):
        proxy.on(b"LPUSH", action)
    done = producer(proxy.port, ORDERS)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.count("trying again") == 4 and "LOADING" in done.stderr.upper() and "memory" in done.stderr
    pushed = [json.loads(text) for text in redis_client.lrange("orders", 0, -1)]
    assert len(pushed) == len(ORDERS) + 1 and len({order["id"] for order in pushed}) == len(ORDERS)
    assert b'"total": 12.10}' in redis_client.lindex("orders", -1), "the bytes of the order stay as they are"
    pg.user_execute(TABLE)
    daemon = sluice(queue_config(redis_server, pg, queue={"mode": "ignore", "key": "id"}))
    wait_until(lambda: redis_client.llen("orders") == 0, 30, "an empty queue")
    rows = pg.query("SELECT customer, total::text FROM orders ORDER BY total NULLS FIRST")
    assert rows == [(None, None), ("Bob", "1.00"), ("Ada", "12.10"), ("Zoë é \" '$x'", "90071992547409.93")]
    assert daemon.metric("sluice_items_duplicate_total", queue="orders") == 1


def test_gives_back_what_redis_refuses_for_good(producer, redis_server, redis_client):
    redis_client.set("orders", "not a list")
    done = producer(redis_server.port, ORDERS)
    assert done.returncode == 1 and "giving up" in done.stderr and "trying again" not in done.stderr
    back = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(back) == len({order["id"] for order in back}) == len(ORDERS)
    redis_client.delete("orders")
    assert producer(redis_server.port, done.stdout.splitlines()).returncode == 0
    assert [json.loads(text) for text in reversed(redis_client.lrange("orders", 0, -1))] == back


def test_gives_back_what_nobody_acknowledged_in_time(producer):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        done = producer(nobody.getsockname()[1], ORDERS, seconds=1)
    assert done.returncode == 1 and "giving up" in done.stderr
    assert len(done.stdout.splitlines()) == len(ORDERS)
