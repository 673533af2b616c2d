"""The stats port: what it says, and whether it is true."""

import collections
import json
import os
import re
import shutil
import signal
import subprocess

import pytest
import redis

import hostile
from daemon import queue_config
from orders import audit, bad_order, locked_table, make_table, order, push
from servers import wait_until

SAMPLE = re.compile(r'^([a-z_][a-z0-9_]*)((?:\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)+\})?) (\S+)$')
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


def stats(daemon, query=""):
    """/stats as an object."""
    return json.loads(daemon.get("/stats" + query)[1])


def queue(daemon, name="orders", query=""):
    """What /stats says of a queue."""
    return next(state for state in stats(daemon, query)["queues"] if state["name"] == name)


def conserves(state):
    """Does what came add up to what became of it?"""
    return state["difference"] == 0 and state["pushed"] == sum(state["conservation"].values())


def wait_settled(daemon, pushed, name="orders"):
    """Waits until all is dealt with; the queue's state then."""
    def settled():
        state = queue(daemon, name)
        return state["backlog"] == 0 and state["pushed"] >= pushed and state
    return wait_until(settled, 30, f"the settlement of {pushed} orders")


def check_exposition(text):
    """What `promtool check metrics` minds, and that histograms are whole."""
    kinds, seen, buckets = {}, set(), collections.defaultdict(list)
    assert text.endswith("\n")
    family = None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in kinds and line.split(" ", 3)[3], line
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and kind in ("counter", "gauge", "histogram"), line
            assert (kind == "counter") == name.endswith("_total"), line
            kinds[name] = kind
            continue
        match = SAMPLE.match(line)
        assert match, f"not a sample: {line}"
        name, labels, value = match.groups()
        names = [family + suffix for suffix in SUFFIXES.get(kinds[family], ("",))]
        assert name in names and (name, labels) not in seen, line
        seen.add((name, labels))
        assert float(value) >= 0 or kinds[family] == "gauge", line
        if name.endswith("_bucket"):
            buckets[family, re.sub(r'le="[^"]*"', "", labels)].append(float(value))
    for counts in buckets.values():
        assert counts == sorted(counts) and len(counts) == 13
    return kinds


def test_metrics_are_as_prometheus_wants_them(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db))
    push(redis_client, "orders", range(1, 1001), bad_every=100)
    wait_settled(daemon, 1000)
    text = daemon.get("/metrics")[1]
    kinds = check_exposition(text)
    for name in ("sluice_redis_memory_ratio", "sluice_queue_pushed_items", "sluice_queue_difference_items", "sluice_queue_oldest_age_seconds",
                 "sluice_commit_duration_seconds", "sluice_build_info", "process_start_time_seconds"):
        assert name in kinds
    promtool = os.environ.get("SLUICE_PROMTOOL") or shutil.which("promtool")
    if promtool:
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_everything_that_came_is_accounted_for(db, redis_server, redis_client, sluice):
    make_table(db)
    pushed = push(redis_client, "orders", range(1, 301))
    daemon = sluice(queue_config(redis_server, db))
    pushed += push(redis_client, "orders", range(301, 1001), bad_every=100)
    state = wait_settled(daemon, 1000)
    assert conserves(state) and state["pushed"] == 1000
    assert state["conservation"] == {"stored": 993, "duplicate": 0, "dead": 7, "taken": 0, "waiting": 0}
    assert len(state["last_dead"]) == 7
    for letter in state["last_dead"]:
        assert set(letter) == {"time_s", "position", "reason", "code", "meaning"} and letter["reason"] in ("message", "data")
    daemon.signal(signal.SIGUSR1)
    wait_until(lambda: queue(daemon)["state"] == "paused", 10, "the pause")
    pushed += push(redis_client, "orders", range(1001, 1101))
    redis_client.rpop("orders", 10)  # somebody takes some
    wait_until(lambda: queue(daemon)["pushed"] == 1090, 20, "what is there")
    assert conserves(queue(daemon))
    daemon.kill()  # what it stored counts for the next one only where it is still in the list
    daemon.start()
    wait_until(lambda: queue(daemon)["pushed"] == 90 and queue(daemon)["backlog"] == 0, 20, "the rest")
    assert conserves(queue(daemon))


def test_lost_connections_lose_nothing_from_the_account(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 20}))
    pushed = []
    for round_number in range(5):
        pushed += push(redis_client, "orders", range(round_number * 1000, round_number * 1000 + 1000))
        wait_until(lambda: queue(daemon)["settled"] > 0, 20, "some settled")
        redis_client.client_kill_filter(_type="normal", skipme=True)
    state = wait_settled(daemon, 5000)
    assert conserves(state) and state["conservation"]["stored"] == 5000
    audit(redis_client, db, pushed)


def test_age_needs_no_timestamp(pg, clean, redis_server, redis_client, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    wait_until(lambda: queue(daemon)["state"] == "drain", 20, "a queue taken over")
    daemon.signal(signal.SIGUSR1)
    wait_until(lambda: queue(daemon)["state"] == "paused", 10, "the pause")
    redis_client.lpush("orders", order(1))
    wait_until(lambda: queue(daemon)["oldest_age_s"] > 1, 20, "an order that gets older")
    daemon.signal(signal.SIGUSR2)
    wait_until(lambda: queue(daemon)["oldest_age_s"] == 0, 20, "its end")


def test_what_waits_is_seen_before_it_can_be_drained(pg, clean, redis_server, redis_client, sluice):
    push(redis_client, "orders", range(7))
    daemon = sluice(queue_config(redis_server, pg))  # there is no table
    wait_until(lambda: queue(daemon)["backlog"] == 7 and queue(daemon)["state"] == "blocked", 20, "the backlog, and that it cannot be drained")
    state = queue(daemon)
    assert state["bound_by"] == "paused" and state["severity"] == "alarm" and "orders is not there" in state["advice"]
    make_table(pg)
    daemon.command("resume")
    assert conserves(wait_settled(daemon, 7))


def test_history_and_rates(pg, clean, redis_server, redis_client, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    assert "history" not in queue(daemon)
    push(redis_client, "orders", range(1000))
    wait_until(lambda: queue(daemon)["in_per_s"] > 0 and queue(daemon)["out_per_s"] > 0, 20, "rates")
    state = wait_settled(daemon, 1000)
    assert state["rows_per_batch"] > 0 and state["time_to_empty_s"] == 0
    history = wait_until(lambda: (found := queue(daemon, query="?history=1&queue=orders")["history"])["in"] and found, 20, "a point")
    assert history["step_s"] == 5
    lengths = {len(history[name]) for name in ("in", "out", "dead", "backlog", "commit_ms", "commit_p99_ms")}
    assert len(lengths) == 1 and max(history["out"]) > 0
    assert any(value is not None and value > 0 for value in history["commit_ms"])


def bound_by(daemon, what, hint, name="orders", seconds=20):
    """Waits for this verdict with these words in the advice; the state in which it was seen."""
    def found():
        state = queue(daemon, name)
        return state["bound_by"] == what and hint in state["advice"] and state
    try:
        return wait_until(found, seconds, what)
    except TimeoutError:
        state = queue(daemon, name)
        pytest.fail(f"not {what} ({hint}), but {state['bound_by']}: {state['advice']}")


def test_verdict_of_pauses_and_limits(pg, clean, redis_server, redis_client, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg, queue={"rate_limit": 100}))
    bound_by(daemon, "idle", "nothing waits")
    push(redis_client, "orders", range(20000))
    bound_by(daemon, "rate limit", "rate_limit = 100")
    daemon.signal(signal.SIGUSR1)
    bound_by(daemon, "paused", "sluice resume orders")
    assert any("paused" in event["text"] and event["subject"] == "queue orders" for event in stats(daemon)["events"])
    redis_client.config_set("maxmemory", 1)
    bound_by(daemon, "paused", "Redis is full")
    redis = stats(daemon)["redis"]
    assert redis["memory_ratio"] > 1 and redis["memory_used"] > 1 and redis["memory_max"] == 1 and redis["version"]
    redis_server.kill()
    bound_by(daemon, "redis", "Redis at")


def test_verdict_of_the_database(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, pool_size=2))
    with locked_table(db):
        push(redis_client, "orders", range(5000))
        bound_by(daemon, "database", "table orders is locked; " + ("SELECT pg_blocking_pids(" if db.driver == "postgresql" else "SHOW FULL PROCESSLIST"))
        busy = [connection for connection in stats(daemon)["pools"][0]["connections"] if connection["state"] == "busy"]
        assert busy and all(connection["queue"] == "orders" and connection["rows"] > 0 for connection in busy)
    wait_settled(daemon, 5000)
    db.kill()
    bound_by(daemon, "database", "no connection to database shop is open")
    assert any(event["level"] == "warning" and event["subject"] == "database shop" for event in stats(daemon)["events"])


def test_verdict_at_the_beginning(pg, clean, redis_server, redis_client, sluice):
    """A login that takes a moment is no alarm yet; one that takes longer is."""
    push(redis_client, "orders", range(3))
    with hostile.Hostile(lambda peer, server: server.listen(peer)) as silent:
        config = queue_config(redis_server, pg)
        config["database shop"].update(host="127.0.0.1", port=silent.port)
        daemon = sluice(config, start=False).start(wait=False)
        daemon.wait_log("connected to Redis", 20)
        assert bound_by(daemon, "database", "waits for a connection to database shop", seconds=3)["severity"] == "notice"
        assert bound_by(daemon, "database", "no connection to database shop is open")["severity"] == "alarm"


def test_verdict_of_what_passes(db, redis_server, redis_client, sluice):
    """The disk is full, says a trigger; then Redis takes no writes."""
    make_table(db)
    db.execute("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room' USING ERRCODE = '53100'; END $$"
               if db.driver == "postgresql" else
               "CREATE TRIGGER full_disk BEFORE INSERT ON orders FOR EACH ROW SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1021, MESSAGE_TEXT = 'no room'")
    if db.driver == "postgresql":
        db.execute("CREATE TRIGGER full_disk BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION full_disk()")
    daemon = sluice(queue_config(redis_server, db))
    push(redis_client, "orders", range(10))
    bound_by(daemon, "database", "no room")
    bound_by(daemon, "database", "tried again until it works")
    db.execute("DROP TRIGGER full_disk ON orders" if db.driver == "postgresql" else "DROP TRIGGER full_disk")
    wait_settled(daemon, 10)
    redis_client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(redis.exceptions.ResponseError):
            redis_client.set("x", 1)
        bound_by(daemon, "redis", "replicas", seconds=60)
    finally:
        redis_client.config_set("min-replicas-to-write", 0)


def slow_statements(pg, table, seconds):
    """Each statement that inserts takes so long."""
    pg.execute(f"CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$")
    pg.execute(f"CREATE TRIGGER slow AFTER INSERT ON {table} EXECUTE FUNCTION slow()")


def test_verdict_of_a_queue_that_keeps_up(pg, clean, redis_server, redis_client, sluice):
    make_table(pg)
    slow_statements(pg, "orders", 0.05)
    daemon = sluice(queue_config(redis_server, pg, pool_size=4))
    pushed = 0

    def keeps_up():
        nonlocal pushed
        push(redis_client, "orders", range(pushed, pushed + 10))
        pushed += 10
        state = queue(daemon)
        return state["bound_by"] == "idle" and "keeps up" in state["advice"]

    wait_until(keeps_up, 60, "a queue in which something always waits, and not for long")


def test_verdict_of_a_lock_with_connections_to_spare(db, redis_server, redis_client, sluice):
    """A batch that is not full waits for the lock, a full one too, and a rest waits for the first: connections are free, and do not wait for Redis."""
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 100}))
    with locked_table(db):
        push(redis_client, "orders", range(30))
        wait_until(lambda: queue(daemon)["inflight"] == 30, 10, "a batch that is not full")
        push(redis_client, "orders", range(30, 180))
        bound_by(daemon, "database", "table orders is locked")
        assert queue(daemon)["backlog"] == 180 and queue(daemon)["inflight"] == 130
        redis_client.config_set("maxmemory", 1)
        bound_by(daemon, "database", "Redis is full (")
        assert "table orders is locked" in queue(daemon)["advice"], "what is full does not hide what is locked"
        redis_client.config_set("maxmemory", 0)
    wait_settled(daemon, 180)


def test_verdict_of_slow_commits(pg, clean, redis_server, redis_client, sluice):
    make_table(pg)
    slow_statements(pg, "orders", 2)
    daemon = sluice(queue_config(redis_server, pg, pool_size=8))
    push(redis_client, "orders", range(10))
    wait_until(lambda: queue(daemon)["inflight"] == 10, 10, "a batch")
    push(redis_client, "orders", range(10, 20))
    bound_by(daemon, "database", "more connections would not help")


def test_verdict_of_a_redis_that_hangs(pg, clean, redis_server, redis_client, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    push(redis_client, "orders", range(1000))
    wait_settled(daemon, 1000)
    daemon.signal(signal.SIGUSR1)
    bound_by(daemon, "paused", "sluice resume orders")
    push(redis_client, "orders", range(1000, 2000))
    wait_until(lambda: queue(daemon)["backlog"] == 1000, 10, "what waits to be seen")
    redis_client.execute_command("CLIENT", "PAUSE", 6000, "ALL")
    daemon.signal(signal.SIGUSR2)
    bound_by(daemon, "redis", "connections wait for orders to come from Redis", seconds=5)
    wait_settled(daemon, 2000)


def test_verdict_of_a_small_pool(pg, clean, redis_server, redis_client, sluice):
    make_table(pg)
    make_table(pg, "refunds")
    config = queue_config(redis_server, pg, queue={"batch_rows": 1}, pool_size=1)
    config["queue refunds"] = {"source": "list:refunds", "database": "shop", "table": "refunds", "batch_rows": 1}
    daemon = sluice(config)
    for name in ("orders", "refunds"):
        slow_statements(pg, name, 0.3)
        redis_client.lpush(name, *[order(number) for number in range(300)])
        bound_by(daemon, "pool" if name == "refunds" else "database", "pool_size" if name == "refunds" else "", name)
    bound_by(daemon, "pool", "2 queues want its 1 connection,")


def test_verdict_of_bad_orders(pg, clean, redis_server, redis_client, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg, pool_size=1))
    for number in range(0, 5000, 100):
        redis_client.lpush("orders", order(number), bad_order(200))
    wait_settled(daemon, 100)
    with locked_table(pg):
        push(redis_client, "orders", range(10))
        bound_by(daemon, "database", "sluice dead list orders", seconds=5)
