"""Faults of PostgreSQL and MariaDB, and of the way to them."""

import contextlib
import os
import random
import subprocess
import time

import pymysql
import pytest

from load import busy_config, commit_of, drain_beyond, only, slow_down, wait_blocked, wait_drained
from orders import BAD, audit, dead_letters, make_table, order, push
from proxy import answer, cut_answer, delay, deliver_late, lose, lose_answer, swallow, swallow_answer
from servers import slowness, wait_until


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_16_server_goes_again_and_again(db, redis_server, redis_client, sluice, how):
    make_table(db)
    slow_down(db)
    chance = random.Random(f"16 {db.driver} {how}")
    pushed = push(redis_client, "orders", range(1, 8001), bad_every=500)
    daemon = sluice(busy_config(redis_server, db))
    for backlog in (6500, 4000):
        drain_beyond(redis_client, backlog, daemon)
        getattr(db, how)()
        db.start()
        time.sleep(chance.uniform(0, 0.3))  # the second time while sluice is coming back
        getattr(db, how)()
        assert redis_client.llen("orders") > 0, "too late to prove anything"
        db.start()
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (7984, 16)


def end_sessions(db, how):
    """Ends, or only interrupts, what the daemon's connections are doing."""
    if db.driver == "postgresql":
        db.query(f"SELECT {'pg_terminate_backend' if how == 'session' else 'pg_cancel_backend'}(pid) FROM pg_stat_activity WHERE usename = %s", db.user)
        return
    for connection in db.connections():
        if connection.user == db.user:
            with contextlib.suppress(pymysql.OperationalError):  # it has gone by itself
                db.query(f"KILL {'CONNECTION' if how == 'session' else 'QUERY'} {connection.id}")


@pytest.mark.parametrize("what", [pytest.param("session", marks=pytest.mark.short), "statement"])
def test_17_backends_ended_in_mid_batch(db, redis_server, redis_client, sluice, what):
    make_table(db)
    slow_down(db)
    chance = random.Random(f"17 {db.driver} {what}")
    pushed = push(redis_client, "orders", range(1, 5001), bad_every=500)
    daemon = sluice(busy_config(redis_server, db))
    drain_beyond(redis_client, 4900, daemon)
    for _ in range(8):
        end_sessions(db, what)
        time.sleep(chance.uniform(0.02, 0.3))
    assert redis_client.llen("orders") > 0, "too late to prove anything"
    wait_drained(redis_client)
    assert daemon.metric("sluice_batches_total", queue="orders", result="rolled back") > 0
    assert audit(redis_client, db, pushed) == (4990, 10)


COMMITS = {"answer-lost": lose_answer, "lost": lose, "delivered-late": deliver_late(1)}


@pytest.mark.parametrize("mode", ["insert", "ignore"])  # a batch that commits by itself on PostgreSQL; one that does not
@pytest.mark.parametrize("how", [pytest.param(how, marks=pytest.mark.short if how == "answer-lost" else ()) for how in COMMITS])
def test_18_commit(db, redis_server, redis_client, proxied, sluice, how, mode):
    make_table(db)
    slow_down(db)
    proxy, host = proxied(db)
    pushed = push(redis_client, "orders", range(1, 3001), bad_every=300)
    daemon = sluice(busy_config(redis_server, db, {"mode": mode}, host=host, query_timeout=1))
    drain_beyond(redis_client, 2500, daemon)
    fault = proxy.on(commit_of(db) if mode == "insert" else b"COMMIT", COMMITS[how], times=4)
    wait_until(lambda: fault.hits == 4, 20, "four commits")
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (2990, 10)


@pytest.mark.slow
@pytest.mark.parametrize("lease", [1, 10])
def test_18_commit_delayed_past_the_resolution(db, redis_server, redis_client, proxied, sluice, lease):
    """Given up after six seconds, the server gets it after nine: its transaction has ended by then (lease 1), or the resolution waits (lease 10)."""
    make_table(db)
    proxy, host = proxied(db)
    pushed = push(redis_client, "orders", range(1, 301))
    daemon = sluice(busy_config(redis_server, db, sluice={"lease_ttl": lease}, host=host, query_timeout=1), start=False).start(wait=False)
    wait_until(lambda: redis_client.llen("orders") < 300, 10, "a start")
    fault = proxy.on(commit_of(db), delay(9), times=1)
    pushed += push(redis_client, "orders", range(301, 601))
    wait_drained(redis_client)
    assert fault.hits == 1
    assert daemon.metric("sluice_retries_total", queue="orders", **{"class": "reconnect"}) >= 1
    assert audit(redis_client, db, pushed) == (600, 0)


def test_18_commit_of_the_takeover(db, redis_server, redis_client, proxied, sluice):
    make_table(db)
    proxy, host = proxied(db)
    pushed = push(redis_client, "orders", range(1, 501))
    faults = [proxy.on(b"COMMIT", action) for action in (lose_answer, lose, deliver_late(0.5))]
    sluice(busy_config(redis_server, db, host=host))
    wait_drained(redis_client)
    assert [fault.hits for fault in faults] == [1, 1, 1]
    audit(redis_client, db, pushed)


@pytest.mark.short
@pytest.mark.parametrize("ledger", ["on", "off"])
def test_a_batch_is_two_messages(db, redis_server, redis_client, proxied, sluice, ledger):
    """What it begins with and its rows, and the COMMIT; or a transaction without such words, and COPY's data: the faults below happen to these."""
    make_table(db)
    proxy, host = proxied(db)
    daemon = sluice(busy_config(redis_server, db, host=host, queue={"ledger": ledger}))
    wait_until(lambda: "3 of 3 connections ready" in daemon.log, 20, "a full pool")  # logins pass the proxy too
    push(redis_client, "orders", [1])
    wait_drained(redis_client)
    pieces = []

    def note(link, piece):
        pieces.append(piece)
        link.server.sendall(piece)

    noted = proxy.on(b"", note, times=3 if db.driver == "postgresql" and ledger == "off" else 2)
    push(redis_client, "orders", range(2, 10))
    wait_drained(redis_client)
    whole = db.driver == "postgresql" and ledger == "on"
    assert noted.hits == noted.times and commit_of(db) in pieces[1]
    assert (b"BEGIN;" in pieces[0], b"COMMIT" in pieces[-1]) == (not whole, not whole)
    assert pieces[0].index(only(db, b"EXECUTE", b"UPDATE") if ledger == "on" else b"BEGIN") < pieces[0].index(only(db, b"COPY", b"INSERT INTO"))
    assert (only(db, b"EXECUTE sluice_ledger", b"UPDATE sluice_ledger") in pieces[0]) == (ledger == "on")


@pytest.mark.short
def test_18_a_batch_is_answered_in_part(db, redis_server, redis_client, proxied, sluice):
    """To all of a batch the server says that a first statement is done, and that it is ready. None does, but one that means harm, or is broken."""
    make_table(db)
    proxy, host = proxied(db)
    pushed = push(redis_client, "orders", range(1, 11))
    daemon = sluice(busy_config(redis_server, db, host=host))
    wait_drained(redis_client)
    words = only(db, (b"EXECUTE sluice_ledger", b"COPY"), (b"BEGIN;", b"UPDATE sluice_ledger"))
    fault = proxy.on(words, answer(only(db, b"C\0\0\0\rUPDATE 1\0Z\0\0\0\x05I", b"\x07\0\0\x01\0\0\0\x02\0\0\0")), times=3)
    pushed += push(redis_client, "orders", range(11, 101))
    wait_drained(redis_client)
    assert fault.hits == 3 and daemon.running()
    assert daemon.metric("sluice_retries_total", queue="orders", **{"class": "reconnect"}) == 3
    assert audit(redis_client, db, pushed) == (100, 0)


def test_18_every_statement(db, redis_server, redis_client, proxied, sluice):
    """Each statement of a batch is lost, its answer is lost, or only the first bytes of the answer come."""
    make_table(db)
    proxy, host = proxied(db)
    pushed = push(redis_client, "orders", range(1, 4001), bad_every=200)
    daemon = sluice(busy_config(redis_server, db, host=host, queue={"rate_limit": 1500}))
    drain_beyond(redis_client, 3900, daemon)
    faults = []
    for words in (only(db, b"EXECUTE sluice_ledger", b"UPDATE sluice_ledger"), only(db, b"COPY", b"INSERT INTO"), commit_of(db), b"COMMIT", b"FOR UPDATE"):
        faults += [proxy.on(words, action) for action in (lose, lose_answer, cut_answer(1), cut_answer(7))]
    wait_until(lambda: sum(fault.hits for fault in faults) >= 12, 40, "twelve broken links")
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (3980, 20)


def test_19_one_link_falls_silent_among_its_rows(db, redis_server, redis_client, proxied, sluice):
    """Its session holds the ledger's row that is to be written next, and PostgreSQL does not count it as idle."""
    make_table(db)
    proxy, host = proxied(db)
    daemon = sluice(busy_config(redis_server, db, host=host, query_timeout=1, sluice={"lease_ttl": 1}))
    silent = proxy.on(b"as usual", swallow)
    pushed = push(redis_client, "orders", range(1, 2001))
    wait_until(lambda: silent.hits == 1, 30, "a link in the middle of its rows")
    wait_drained(redis_client, seconds=60)
    assert audit(redis_client, db, pushed) == (2000, 0)
    assert daemon.metric("sluice_retries_total", queue="orders", **{"class": "reconnect"}) >= 1


@pytest.mark.slow
def test_19_all_links_fall_silent(db, redis_server, redis_client, proxied, sluice):
    make_table(db)
    slow_down(db)
    proxy, host = proxied(db)
    pushed = push(redis_client, "orders", range(1, 3001))
    daemon = sluice(busy_config(redis_server, db, host=host, query_timeout=1, server_connect_timeout=1))
    drain_beyond(redis_client, 2500, daemon)
    proxy.silent.set()
    time.sleep(1)
    assert redis_client.llen("orders") > 0
    wait_until(lambda: daemon.get("/readyz")[0] == 503, 15, "not ready")
    proxy.silent.clear()
    wait_drained(redis_client, seconds=30)
    assert audit(redis_client, db, pushed) == (3000, 0)


@pytest.mark.slow
def test_19_silence_around_a_commit(db, redis_server, redis_client, proxied, sluice):
    make_table(db)
    proxy, host = proxied(db)
    pushed = push(redis_client, "orders", range(1, 1001))
    daemon = sluice(busy_config(redis_server, db, host=host, query_timeout=1, queue={"rate_limit": 1000}))
    drain_beyond(redis_client, 900, daemon)
    faults = [proxy.on(commit_of(db), swallow), proxy.on(commit_of(db), swallow_answer)]
    wait_drained(redis_client, seconds=30)
    assert [fault.hits for fault in faults] == [1, 1]
    assert audit(redis_client, db, pushed) == (1000, 0)


@contextlib.contextmanager
def small_disk(db, megabytes):
    """A file system of its own that the server may use: its path. Skips the test where none can be made."""
    path = os.path.join(db.directory, "disk")
    os.makedirs(path, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", path], check=False, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        subprocess.run(["chown", db.account, path], check=True)
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.slow
def test_22_disk_full(db, redis_server, redis_client, sluice):
    with small_disk(db, only(db, 3, 8)) as disk:
        if db.driver == "postgresql":
            db.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            db.execute(f"GRANT CREATE ON TABLESPACE small TO {db.user}")
            make_table(db)
            db.execute("ALTER TABLE orders SET TABLESPACE small")
        else:
            db.execute(f"CREATE TABLE orders (id bigint NOT NULL, customer varchar(80) NOT NULL, total decimal(12,2) NOT NULL, note varchar(255)) "
                       f"ENGINE=InnoDB DATA DIRECTORY='{disk}'")
        pushed = push(redis_client, "orders", range(40_000 if db.driver == "postgresql" else 150_000))
        daemon = sluice(busy_config(redis_server, db, queue={"batch_rows": 500}))
        try:
            wait_blocked(daemon, only(db, "53100", "1114"), seconds=60)
            left = redis_client.llen("orders")
            time.sleep(1)
            assert left > 0 and not redis_client.exists("{orders}:dead")
            assert daemon.cpu_seconds() < 20 * slowness()
            subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
            wait_drained(redis_client)
            assert audit(redis_client, db, pushed) == (len(pushed), 0)
        finally:
            assert daemon.stop() == 0
            db.execute("DROP TABLE orders")
            if db.driver == "postgresql":
                db.execute("DROP TABLESPACE small")


def set_read_only(db, on):
    if db.driver == "postgresql":
        db.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}")
        db.execute("SELECT pg_reload_conf()")
    else:
        db.execute(f"SET GLOBAL read_only = {int(on)}")


@pytest.mark.slow
def test_22_read_only(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    pushed = push(redis_client, "orders", range(1, 4001))
    daemon = sluice(busy_config(redis_server, db))
    drain_beyond(redis_client, 3500, daemon)
    try:
        set_read_only(db, True)
        daemon.wait_log("read-only", 15)
        wait_until(lambda: daemon.get("/readyz")[0] == 503, 15, "not ready")
        left = redis_client.llen("orders")
        time.sleep(0.5)
        assert redis_client.llen("orders") == left > 0 and not redis_client.exists("{orders}:dead")
    finally:
        set_read_only(db, False)
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (4000, 0)


@pytest.mark.short
def test_23_smaller_packets_while_running(mysql, redis_server, clean, redis_client, sluice):
    make_table(mysql)
    mysql.user_execute("ALTER TABLE orders MODIFY note longtext")
    usual = mysql.value("SELECT @@global.max_allowed_packet")
    sluice(busy_config(redis_server, mysql, queue={"batch_bytes": "8M", "max_item_bytes": "8M", "batch_rows": 1000}))
    sizes = [100_000, 900_000, 10, 2_000_000, 300_000]
    texts = [order(number).replace("as usual", "x" * sizes[number % 5]) for number in range(60)]
    try:
        redis_client.lpush("orders", *texts[:30])
        mysql.execute("SET GLOBAL max_allowed_packet = 1048576")
        end_sessions(mysql, "session")
        redis_client.lpush("orders", *texts[30:])
        wait_drained(redis_client)
    finally:
        mysql.execute(f"SET GLOBAL max_allowed_packet = {usual}")
    rows, dead = audit(redis_client, mysql, range(60))
    assert rows >= 48 and 6 <= dead <= 12
    assert all(len(letter["payload"]) > 1_000_000 for letter in dead_letters(redis_client, "orders"))


@pytest.mark.short
@pytest.mark.parametrize("action", [delay(1), lose, swallow], ids=["slow", "lost", "swallowed"])
def test_23_idle_sessions_show_that_they_live(mysql, redis_server, clean, redis_client, proxied, sluice, action):
    """MySQL ends transactions that are idle only as it ends all sessions that are; an order may come while one says that it is there."""
    if mysql.flavor != "mysql":
        pytest.skip("MariaDB ends idle transactions by themselves")
    make_table(mysql)
    proxy, host = proxied(mysql)
    sluice(busy_config(redis_server, mysql, host=host, query_timeout=1))
    before = sorted(mysql.connections())
    time.sleep(7)  # more than twice the time after which the server hangs up
    assert sorted(mysql.connections()) == before
    life = proxy.on(b"DO 0", action, times=3)
    pushed = []
    for number in range(1, 400, 10):
        pushed += push(redis_client, "orders", range(number, number + 10))
        time.sleep(0.05)
    wait_until(lambda: life.hits == 3, 10, "three signs of life")
    wait_drained(redis_client)
    assert audit(redis_client, mysql, pushed) == (400, 0)


@pytest.mark.short
def test_23_a_pool_that_fails_at_once_is_back_soon(db, redis_server, redis_client, proxied, sluice):
    """Forty logins are lost together: that is one failure, not forty, each of which would double the pause before the next attempt."""
    make_table(db)
    proxy, host = proxied(db)
    lost = proxy.on(only(db, b"standard_conforming_strings", b"innodb_lock_wait_timeout"), lose, times=40)
    daemon = sluice(busy_config(redis_server, db, host=host, pool_size=40), start=False).start(wait=False)
    wait_until(lambda: lost.hits == 40, 10, "forty lost logins")
    wait_until(lambda: "40 of 40 connections ready" in daemon.log, 5, "a full pool")
    pushed = push(redis_client, "orders", range(1, 101))
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (100, 0)


def test_23_idle_connections_closed_by_the_server(db, redis_server, redis_client, sluice):
    make_table(db)
    if db.driver == "postgresql":
        db.execute(f"ALTER ROLE {db.user} SET idle_session_timeout = '1s'")
    else:
        db.execute("SET GLOBAL wait_timeout = 1")
    try:
        daemon = sluice(busy_config(redis_server, db))
        pushed = []
        for begin in range(0, 600, 100):
            pushed += push(redis_client, "orders", range(begin, begin + 100))
            wait_drained(redis_client, seconds=10)
            time.sleep(random.Random(begin).choice([0.1, 0.95, 1.05]))
        assert daemon.cpu_seconds() < 3 * slowness()
    finally:
        db.execute(only(db, f"ALTER ROLE {db.user} RESET idle_session_timeout", "SET GLOBAL wait_timeout = 28800"))
    assert audit(redis_client, db, pushed) == (600, 0)


LAX = {
    "postgresql": (["ALTER ROLE sluice SET standard_conforming_strings = off", "ALTER ROLE sluice SET client_encoding = 'LATIN1'",
                    "ALTER ROLE sluice SET datestyle = 'SQL, DMY'", "ALTER ROLE sluice SET default_transaction_isolation = 'serializable'",
                    "ALTER ROLE sluice SET synchronous_commit = on"], ["ALTER ROLE sluice RESET ALL"]),
    "mysql": (["SET GLOBAL sql_mode = ''", "SET GLOBAL time_zone = '+09:00'", "SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE",
               "SET GLOBAL autocommit = 0"],
              ["SET GLOBAL sql_mode = DEFAULT", "SET GLOBAL time_zone = 'SYSTEM'", "SET GLOBAL TRANSACTION ISOLATION LEVEL REPEATABLE READ",
               "SET GLOBAL autocommit = 1"]),
}


@pytest.mark.short
def test_24_lax_server(db, redis_server, redis_client, sluice):
    """Strict holds, whatever the server's settings are: what it would have cut or bent becomes a dead letter."""
    make_table(db)
    lax, usual = LAX[db.driver]
    texts = [order(number).replace("as usual", "Z\u00fcrich \\\\ ' \U0001f600") for number in range(100)]
    texts += [BAD[number % len(BAD)] % number for number in range(100, 170)]
    try:
        for statement in lax:
            db.execute(statement)
        sluice(busy_config(redis_server, db))
        redis_client.lpush("orders", *texts)
        wait_drained(redis_client)
    finally:
        for statement in usual:
            db.execute(statement)
    assert audit(redis_client, db, range(170)) == (100, 70)
    assert db.query("SELECT DISTINCT note FROM orders") == [("Z\u00fcrich \\ ' \U0001f600",)]
    assert {at.isoformat()[:23] for (at,) in db.query(only(db, "SELECT DISTINCT placed_at AT TIME ZONE 'UTC' FROM orders",
                                                         "SELECT DISTINCT placed_at FROM orders"))} == {"2024-05-06T07:08:09.123"}
