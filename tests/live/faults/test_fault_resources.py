"""Faults of the orders themselves, of memory, file descriptors and the clock, and visitors at the stats port."""

import os
import random
import re
import resource
import signal
import socket
import time

import pytest

from load import busy_config, compile_preload, drain_beyond, environment, only, slow_down, wait_drained
from orders import audit, dead_letters, make_table, order, push
from servers import slowness, wait_until
from visitors import Drains, StatsCrowd

ORDERS_A_VISIT = 1500  # what a visitor of the stats port may cost, in orders drained
HERE = os.path.dirname(os.path.abspath(__file__))


# -- orders

@pytest.mark.short
def test_26_killed_while_splitting(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    chance = random.Random(f"26 {db.driver}")
    pushed = push(redis_client, "orders", range(1, 4001), bad_every=20)
    daemon = sluice(busy_config(redis_server, db), start=False)
    for backlog in (3900, 3600, 3300, 2900, 2500, 2000, 1500, 1000):
        daemon.start(wait=False)
        drain_beyond(redis_client, backlog, daemon)
        time.sleep(chance.uniform(0, 0.03))
        daemon.kill()
        assert redis_client.llen("orders") > 0, "too late to prove anything"
    daemon.start()
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (3800, 200)


@pytest.mark.short
def test_33_large_and_strange_orders(db, redis_server, redis_client, sluice, release):
    """A hundred thousand keys, bombs of depth, and items of a megabyte, in bounded memory."""
    db.user_execute("CREATE TABLE orders (id bigint NOT NULL, body %s)" % only(db, "text", "longtext"))
    many_keys = ",".join(f'"key{number}":{number}' for number in range(100_000))
    makers = [lambda n: f'{{"id":{n},"body":"{"x" * 1_000_000}"}}',
              lambda n: f'{{"id":{n},{many_keys}}}',
              lambda n: f'{{"id":{n},"body":' + "[" * 400_000 + "]" * 400_000 + "}",
              lambda n: f'{{"id":{n},"body":' + '{"a":' * 20_000,
              lambda n: '{"id":%d,"body":%s}' % (n, "[" * 31 + "]" * 31),
              lambda n: '{"id":%d,"body":%s}' % (n, "[" * 30 + "]" * 30),
              lambda n: f'{{"id":{n},"id":{n},"body":"twice"}}' + " " * 500_000,
              order]
    numbers = list(range(120))
    for number in numbers:
        redis_client.lpush("orders", makers[number % len(makers)](number))
    daemon = sluice(busy_config(redis_server, db, queue={"max_item_bytes": "4M", "batch_rows": 1000, "batch_bytes": "4M"}),
                    program=release.path("src/sluice"))
    wait_drained(redis_client)
    rows, dead = audit(redis_client, db, numbers)
    assert dead >= 30 and rows >= 75
    assert all(re.search("depth|deep|nest|end|complete|JSON", letter["error"]["message"]) for letter in dead_letters(redis_client, "orders"))
    assert daemon.peak_memory() < 256 * 1024 * 1024


# -- memory and file descriptors

@pytest.fixture
def preload(directory):
    """preload(source): a library made of it, for LD_PRELOAD."""
    def make(source):
        target = os.path.join(directory, source.replace(".c", ".so"))
        if not compile_preload(os.path.join(HERE, source), target):
            pytest.skip("no C compiler")
        return target
    return make


def wrapped(release, directory, preparation):
    """A script that does something first and then becomes the program; the test's own process keeps its limits."""
    path = os.path.join(directory, "wrapped")
    with open(path, "w", encoding="utf-8") as script:
        script.write(f'#!/bin/sh\n{preparation}\nexec {release.path("src/sluice")} "$@"\n')
    os.chmod(path, 0o755)
    return path


def failure_points(db, chance):
    """The n at which the n-th allocation fails: start, login, first batches, later ones. MariaDB's client makes thousands at its start."""
    most = only(db, 1500, 12000)
    return [int(40 * (most / 40) ** chance.random()) for _ in range(40)]


@pytest.mark.slow
def test_28_malloc_fails(db, redis_server, redis_client, sluice, release, directory, preload):
    make_table(db)
    library = preload("failing_malloc.c")
    config = busy_config(redis_server, db, queue={"batch_rows": 20}, query_timeout=1)  # libpq may need it: it waits for what it has read already
    daemon = sluice(config, start=False)
    pushed, ends = [], []
    for point in failure_points(db, random.Random(f"28 {db.driver}")):
        pushed += push(redis_client, "orders", range(len(pushed), len(pushed) + 100), bad_every=20)
        daemon.program = wrapped(release, directory, f"export LD_PRELOAD={library} FAIL_AT={point}")
        daemon.start(wait=False)
        wait_until(lambda: not daemon.running() or redis_client.llen("orders") == 0, 12, f"the end after allocation {point}")
        if daemon.running():
            assert daemon.cpu_seconds() < 2 * slowness(), "no spin"
            daemon.kill()
            ends.append("drained")
        else:
            ends.append(daemon.process.returncode)
            daemon.process = None
    print(f"ends {ends}")
    assert "an allocation fails" in daemon.log and ends.count(70) >= 3
    # the stats port could not listen; C++ ended it; hiredis 0.14 met its own NULL
    assert set(ends) <= {"drained", 70, 78, -signal.SIGABRT, -signal.SIGSEGV}, ends
    assert ends.count(-signal.SIGABRT) + ends.count(-signal.SIGSEGV) <= 4, ends
    assert "sluice: bug" not in daemon.log
    daemon.program = release.path("src/sluice")
    daemon.start()
    wait_drained(redis_client)
    audit(redis_client, db, pushed)


def open_files(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


@pytest.mark.short
def test_28_no_file_descriptors(db, redis_server, redis_client, sluice, release):
    make_table(db)
    daemon = sluice(busy_config(redis_server, db), program=release.path("src/sluice"))
    pushed = push(redis_client, "orders", range(1000))
    wait_drained(redis_client)
    usual = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    visitors = []
    try:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (open_files(daemon) + 2, usual[1]))
        host, port = daemon.config["stats"]["listen"].split(":")
        for _ in range(20):
            visitors.append(socket.create_connection((host, int(port))))
        time.sleep(0.2)
        for connection in db.connections():  # what is closed now cannot be opened again: visitors have taken the room
            if connection.user == db.user:
                db.query(f"SELECT pg_terminate_backend({connection.id})" if db.driver == "postgresql" else f"KILL {connection.id}")
                break
        before = daemon.cpu_seconds()
        pushed += push(redis_client, "orders", range(1000, 3000))
        wait_drained(redis_client, seconds=30)
        time.sleep(1)
        assert daemon.cpu_seconds() - before < 0.6 * slowness(), "no spin"
    finally:
        for visitor in visitors:
            visitor.close()
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, usual)
    wait_until(lambda: daemon.metric("sluice_pool_connections", database="shop", state="idle") == 3, 20, "a full pool")
    assert audit(redis_client, db, pushed) == (3000, 0)


def test_28_starts_without_enough_file_descriptors(db, redis_server, redis_client, sluice, release, directory):
    """It waits for more of them, and says so."""
    make_table(db)
    pushed = push(redis_client, "orders", range(1000))
    daemon = sluice(busy_config(redis_server, db, pool_size=20), program=wrapped(release, directory, "ulimit -S -n 18"), start=False)
    daemon.start(wait=False)
    wait_until(lambda: "open files" in daemon.log or "socket (24)" in daemon.log, 10, "a word of it")  # MariaDB's library has the number alone
    time.sleep(2)
    assert daemon.running() and daemon.cpu_seconds() < 0.5 * slowness(), "no spin"
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
    daemon.wait_ready(30)
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (1000, 0)


# -- the clock

@pytest.mark.short
def test_29_clock_jumps(db, own_redis, directory, sluice, release, preload):
    """For the daemons and for Redis, whose leases it ends at once, or an hour late."""
    make_table(db)
    slow_down(db)
    library, clock = preload("jumping_clock.c"), os.path.join(directory, "clock")

    def jump(seconds):
        with open(f"{clock}.new", "w", encoding="utf-8") as file:
            file.write(str(seconds))
        os.rename(f"{clock}.new", clock)

    jump(0)
    with environment(LD_PRELOAD=library, CLOCK_FILE=clock):
        redis_server = own_redis()
        config = busy_config(redis_server, db)
        daemons = [sluice(config, name=name, program=release.path("src/sluice")) for name in ("alpha", "beta")]
    client = redis_server.client()
    pushed = push(client, "orders", range(1, 5001), bad_every=200)
    for seconds, backlog in ((3600, 4500), (-3600, 3800), (0, 3000), (7200, 2200), (-7200, 1500)):
        drain_beyond(client, backlog, daemons[0])
        jump(seconds)
    wait_drained(client)
    assert audit(client, db, pushed) == (4975, 25)
    stamps = {letter["at"][:13] for letter in dead_letters(client, "orders")}
    assert len(stamps) > 1, "the clock did not jump"
    assert all(daemon.running() for daemon in daemons)


# -- visitors

@pytest.mark.slow
def test_30_stats_port_flooded(db, redis_server, redis_client, sluice, release):
    """The drain goes on, and no visitor takes more than its share. How much is left of the drain's speed: contrib/bench/flood.sh."""
    make_table(db)
    daemon = sluice(busy_config(redis_server, db, queue={"batch_rows": 500}), program=release.path("src/sluice"))
    drains = Drains(daemon, redis_client, 60_000)
    assert drains.orders_a_visit(StatsCrowd(daemon), 1000) < ORDERS_A_VISIT
    assert audit(redis_client, db, range(drains.pushed)) == (drains.pushed, 0)
