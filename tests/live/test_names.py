"""Host names: looked up aside of the loop, by the machine's own resolver."""

import os
import socket
import time

import pytest

from daemon import queue_config
from faults.load import compile_preload, environment
from orders import audit, make_table, order, push
from servers import wait_until

SOURCE = os.path.join(os.path.dirname(__file__), "names.c")


@pytest.fixture
def resolver(directory):
    """Programs that are started in this test have the names of names.c."""
    library = f"{directory}/names.so"
    if not compile_preload(SOURCE, library):
        pytest.skip("no compiler")
    with environment(LD_PRELOAD=library):
        yield


def wait_drained(client):
    wait_until(lambda: client.llen("orders") == 0, 30, "the end of the queue")


def test_slow_resolver_of_a_database(db, redis_server, redis_client, sluice, release, resolver):
    """The other database's queue does not notice, nor the page; and it can be stopped."""
    make_table(db)
    config = queue_config(redis_server, db, pool_size=2)
    config["database slow"] = {"driver": db.driver, "host": "slow.test", "dbname": "x", "user": "x", "pool_size": 3, "sslmode": "disable",
                               "server_connect_timeout": 1}
    config["queue slow"] = {"source": "list:slow", "database": "slow", "table": "orders"}
    daemon = sluice(config, program=release.path("src/sluice"), start=False).start(wait=False)
    redis_client.lpush("slow", order(1))
    pushed, longest = [], 0
    daemon.wait_log("queue orders: took the queue over")
    for begin in range(0, 1000, 100):
        start = time.monotonic()
        pushed += push(redis_client, "orders", range(begin, begin + 100))
        wait_drained(redis_client)
        assert daemon.get("/healthz") == (200, "alive\n")
        longest = max(longest, time.monotonic() - start)
        time.sleep(0.3)
    assert longest < 2
    daemon.wait_log("database slow: could not connect and log in in time")
    assert audit(redis_client, db, pushed) == (1000, 0)
    start = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - start < 10


def test_slow_resolver_of_redis(db, redis_server, redis_client, sluice, release, resolver):
    make_table(db)
    config = queue_config(redis_server, db)
    config["redis"].update(url=f"redis://slow.test:{redis_server.port}", connect_timeout=1)
    daemon = sluice(config, program=release.path("src/sluice"), start=False).start(wait=False)
    daemon.wait_log("has not let us in within 1 s")
    for _ in range(5):
        start = time.monotonic()
        assert daemon.get("/healthz") == (200, "alive\n")
        assert time.monotonic() - start < 2
    assert daemon.stop() == 0


def test_names_that_are_known(tls, redis_server, redis_client, sluice, release, resolver):
    tls.server.start()
    tls.server.clean()
    make_table(tls.server)
    config = queue_config(redis_server, tls.server)
    config["redis"]["url"] = f"redis://here.test:{redis_server.port}"
    config["database shop"] = tls.server.section(host="nowhere.test, here.test", port=tls.port, sslmode="require")
    sluice(config, program=release.path("src/sluice"))
    pushed = push(redis_client, "orders", range(1000))
    wait_drained(redis_client)
    assert audit(redis_client, tls.server, pushed) == (1000, 0)


def test_first_address_refuses(db, redis_server, redis_client, sluice, release, resolver):
    """A command that connects once finds the other at once."""
    make_table(db)
    config = queue_config(redis_server, db)
    config["redis"]["url"] = f"redis://both.test:{redis_server.port}"
    daemon = sluice(config, program=release.path("src/sluice"))
    assert daemon.command("check").returncode == 0
    pushed = push(redis_client, "orders", range(1000))
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (1000, 0)
    assert "refuses" not in daemon.log


def test_first_address_is_mute(pg, redis_server, redis_client, sluice, release, resolver):
    make_table(pg)
    config = queue_config(redis_server, pg)
    config["redis"].update(url=f"redis://both.test:{redis_server.port}", connect_timeout=1)
    with socket.create_server(("127.0.0.2", redis_server.port)):
        sluice(config, program=release.path("src/sluice"), start=False).start(wait=False)
        pushed = push(redis_client, "orders", range(1000))
        wait_drained(redis_client)
    assert audit(redis_client, pg, pushed) == (1000, 0)


def test_names_that_nobody_knows(db, redis_server, redis_client, sluice, release, resolver):
    """Each says which name it is; the next host is tried, and Redis again and again."""
    make_table(db)
    config = queue_config(redis_server, db)
    config["database shop"].update(host="nowhere.test", sslmode="disable")
    daemon = sluice(config, program=release.path("src/sluice"), start=False).start(wait=False)
    daemon.wait_log("nowhere.test")
    daemon.stop()
    config["redis"]["url"] = "redis://nowhere.test:6379"
    daemon = sluice(config, name="other", program=release.path("src/sluice"), start=False).start(wait=False)
    daemon.wait_log("the host's address cannot be found: Name or service not known")
