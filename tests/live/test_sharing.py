"""Several queues on one pool, and a pool that others share the server with: nobody starves, no limit is exceeded."""

import contextlib
import itertools
import random
import signal
import time

import psycopg2
import pymysql
import pytest

from daemon import queue_config
from orders import audit, make_table, push
from servers import Sampler, wait_until

DRAIN_SECONDS = 60

# MariaDB's innodb_trx is a copy, renewed only when nobody has looked for 0.1 s.
LOOK_SECONDS = 0.12
WAITING = {
    "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
}


def shared_config(redis_server, db, queues, **database):
    """{name: keys} as queues of one database, each from the list and into the table of its name."""
    config = queue_config(redis_server, db, **database)
    del config["queue orders"]
    for name, keys in queues.items():
        config[f"queue {name}"] = {"source": f"list:{name}", "database": "shop", "table": name, "dead_letter": f"{{{name}}}:dead", **keys}
    return config


def wait_empty(client, *keys, seconds=DRAIN_SECONDS):
    keys = keys or ("orders",)
    wait_until(lambda: not client.exists(*keys), seconds, f"the end of {keys}", pause=0.005)


def add_columns(db, table, columns):
    """Adds {name: (type, default)}. In two steps: MySQL lets no column begin with such a default."""
    for name, (kind, default) in columns.items():
        db.user_execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
        db.user_execute(f"ALTER TABLE {table} ALTER {name} SET DEFAULT {default}")


def connection_column(db):
    """For add_columns(): who stored the row."""
    return {"who": ("int", "pg_backend_pid()" if db.driver == "postgresql" else "(connection_id())")}


def slow_down(db, table, seconds):
    """Each row takes so long."""
    if db.driver == "postgresql":
        db.user_execute(f"""CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END$$""")
        db.user_execute(f"CREATE TRIGGER slow BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION slow()")
    else:
        db.user_execute(f"CREATE TRIGGER slow BEFORE INSERT ON {table} FOR EACH ROW SET @slept = SLEEP({seconds})")


@contextlib.contextmanager
def holding(db, lock):
    """A transaction of somebody else's that holds a lock and is rolled back in the end; yields its cursor."""
    with contextlib.closing(db.client()) as connection:
        cursor = connection.cursor()
        if db.driver == "postgresql":
            cursor.execute("SET deadlock_timeout = '60s'")
            connection.autocommit = False
        else:
            connection.autocommit(False)
        cursor.execute(lock)
        yield cursor
        connection.rollback()


@pytest.mark.parametrize("pool_size", [2, 5])
def test_locked_table_starves_nobody(db, redis_server, redis_client, sluice, pool_size):
    make_table(db, "slow")
    make_table(db, "fast")
    sluice(shared_config(redis_server, db, {"slow": {"batch_rows": 100}, "fast": {"batch_rows": 100}}, pool_size=pool_size))
    pushed = {key: push(redis_client, key, range(100)) for key in ("slow", "fast")}
    wait_empty(redis_client, "slow", "fast")
    with holding(db, "LOCK TABLE slow IN ACCESS EXCLUSIVE MODE" if db.driver == "postgresql" else "LOCK TABLES slow WRITE"):
        pushed["slow"] += push(redis_client, "slow", range(100, 10000))
        time.sleep(0.3)
        for begin in range(100, 10100, 2000):
            pushed["fast"] += push(redis_client, "fast", range(begin, begin + 2000))
            wait_empty(redis_client, "fast", seconds=10)
        assert redis_client.llen("slow") == 9900
    wait_empty(redis_client, "slow")
    for key in ("slow", "fast"):
        assert audit(redis_client, db, pushed[key], key=key, table=key)[1] == 0


def test_locked_row_starves_nobody(db, redis_server, redis_client, sluice):
    db.user_execute("CREATE TABLE slow (id bigint PRIMARY KEY, v int)")
    db.execute("INSERT INTO slow VALUES (1, -1)")
    make_table(db, "fast")
    redis_client.lpush("slow", *[f'{{"id":1,"v":{number}}}' for number in range(1000)])
    pushed = push(redis_client, "fast", range(10000))
    with holding(db, "SELECT v FROM slow WHERE id = 1 FOR UPDATE"):
        sluice(shared_config(redis_server, db, {"slow": {"mode": "upsert", "key": "id", "newer": "v", "batch_rows": 10}, "fast": {"batch_rows": 100}},
                             pool_size=4))
        wait_empty(redis_client, "fast", seconds=15)
        assert redis_client.llen("slow") == 1000
    wait_empty(redis_client, "slow")
    assert db.query("SELECT id, v FROM slow") == [(1, 999)]
    assert audit(redis_client, db, pushed, key="fast", table="fast") == (10000, 0)


def test_weight(db, redis_server, redis_client, sluice):
    """Two equal backlogs: when the heavy one is done, about two thirds of the light one are left; with equal weights, nothing. On a busy machine the
    heavy one has not always a batch ready, and the light one gets its connections."""
    keys = ("heavy", "light")
    for table in keys:
        make_table(db, table)
    daemon = sluice(shared_config(redis_server, db, {"heavy": {"weight": 3, "batch_rows": 50}, "light": {"weight": 1, "batch_rows": 50}},
                                 pool_size=6))
    for key in keys:
        push(redis_client, key, [0])
    wait_empty(redis_client, *keys)
    daemon.signal(signal.SIGUSR1)
    count = 20000
    for key in keys:
        push(redis_client, key, range(1, count))
    daemon.signal(signal.SIGUSR2)
    wait_empty(redis_client, "heavy")
    left = redis_client.llen("light")
    assert 0.2 * count < left < 0.9 * count, f"{left} of {count} are left"
    wait_empty(redis_client, "light")
    for key in keys:
        assert audit(redis_client, db, range(count), key=key, table=key) == (count, 0)


@pytest.mark.parametrize("max_batches", [1, 2])
def test_max_batches(db, redis_server, redis_client, sluice, max_batches):
    """The server writes down when each batch began and when its last row came; looking at its list of sessions would not see one moment."""
    make_table(db)
    if db.driver == "postgresql":
        times = {"began": ("timestamptz", "now()"), "kept": ("timestamptz", "clock_timestamp()")}
    else:
        times = {"began": ("datetime(6)", "(now(6))"), "kept": ("datetime(6)", "(sysdate(6))")}
    add_columns(db, "orders", times | connection_column(db))
    slow_down(db, "orders", 0.002)
    sluice(queue_config(redis_server, db, queue={"batch_rows": 10, "max_batches": max_batches}, pool_size=5))
    pushed = push(redis_client, "orders", range(400))
    wait_empty(redis_client)
    batches = db.query("SELECT began, max(kept) FROM orders GROUP BY began, who")
    changes = sorted([(began, 1) for began, _kept in batches] + [(kept, -1) for _began, kept in batches])
    assert max(itertools.accumulate(change for _time, change in changes)) == max_batches and len(batches) >= 40
    assert audit(redis_client, db, pushed) == (400, 0)


def test_queues_make_the_ledger_together(db, redis_server, redis_client, sluice):
    """All at the same moment, and again with another ledger: some find it made meanwhile."""
    names = [f"q{number}" for number in range(8)]
    for name in names:
        make_table(db, name)
    for _ in range(5):
        daemon = sluice(shared_config(redis_server, db, {name: {} for name in names}))
        wait_until(lambda daemon=daemon: daemon.log.count("took the queue over") == len(names), 30, "eight owners")
        assert "paused" not in daemon.log
        daemon.stop()
        db.user_execute("DROP TABLE sluice_ledger")
        redis_client.flushall()


def test_single_orders_come_by_the_connection_used_last(db, redis_server, redis_client, sluice):
    """What a connection's server process needs is in the caches still. A look at the table now and then may take its turn on another one."""
    make_table(db)
    add_columns(db, "orders", connection_column(db))
    sluice(queue_config(redis_server, db, pool_size=5))
    for number in range(20):
        push(redis_client, "orders", [number])
        wait_empty(redis_client)
    assert db.value("SELECT count(DISTINCT who) FROM orders") <= 2
    assert audit(redis_client, db, range(20)) == (20, 0)


def test_rate_limit(db, redis_server, redis_client, sluice):
    make_table(db)
    rate, batch, count = 1000, 100, 3000
    sluice(queue_config(redis_server, db, queue={"rate_limit": rate, "batch_rows": batch}))
    pushed = push(redis_client, "orders", range(count))
    begin = time.monotonic()
    rows, seconds = 0, 0
    while redis_client.llen("orders") > 0:
        rows = db.value("SELECT count(*) FROM orders")
        seconds = time.monotonic() - begin
        assert rows <= rate * (seconds + 1) + batch, f"{rows} rows within {seconds} s"
        assert seconds < 60
        time.sleep(0.02)
    assert seconds < 10 * count / rate
    assert audit(redis_client, db, pushed) == (count, 0)


def test_connections_are_recycled_under_load(db, redis_server, redis_client, sluice):
    make_table(db)
    size = 3
    seen = set()
    with Sampler(db) as sampler:
        daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=size, server_lifetime=1))
        pushed, end = [], time.monotonic() + 3
        while time.monotonic() < end:
            pushed += push(redis_client, "orders", range(len(pushed), len(pushed) + 500))
            seen |= {connection.id for connection in db.connections() if connection.user == db.user}
            wait_until(lambda: redis_client.llen("orders") < 2000, 10, "draining")
        wait_empty(redis_client)
    assert sampler.most == size, f"{sampler.most} connections at once"
    assert len(seen) >= 2 * size, f"recycled too seldom: {len(seen)} connections in all"
    assert audit(redis_client, db, pushed) == (len(pushed), 0)
    assert "lost" not in daemon.log


def test_no_connections_left(db, redis_server, redis_client, sluice):
    """Others hold all that the server has: sluice waits, works with the few that it gets, and fills its pool when they go."""
    make_table(db)
    pushed = push(redis_client, "orders", range(20000))
    others = []
    with Sampler(db) as sampler:
        while True:
            try:
                others.append(db.client(user=db.user))
            except (psycopg2.OperationalError, pymysql.OperationalError):
                break
        daemon = sluice(queue_config(redis_server, db, pool_size=4), start=False).start(wait=False)
        daemon.wait_log("53300" if db.driver == "postgresql" else "1040")
        time.sleep(1)
        assert daemon.metric("sluice_connection_errors_total", database="shop") <= 10, "backoff"
        assert daemon.get("/readyz")[0] == 503 and redis_client.llen("orders") == 20000
        for connection in (others.pop(), others.pop()):
            connection.close()
        wait_empty(redis_client)
        others_left = len(others)
        for connection in others:
            connection.close()
        wait_until(lambda: daemon.metric("sluice_pool_connections", database="shop", state="idle") == 4, 20, "a full pool")
        wait_until(lambda: sampler.now == 4, 5, "four connections")
    assert others_left > 50
    assert audit(redis_client, db, pushed) == (20000, 0)


def test_deadlock_is_retried(db, redis_server, redis_client, sluice):
    """Another writer locks row 2, sluice row 1 and waits for 2, the writer, who has changed more, wants 1: sluice loses, and tries again."""
    db.user_execute("CREATE TABLE orders (id bigint PRIMARY KEY, v varchar(10))")
    db.execute("INSERT INTO orders VALUES (1, 'old'), (2, 'old'), (3, 'old')")
    daemon = sluice(queue_config(redis_server, db, queue={"mode": "upsert", "key": "id"}))
    with holding(db, "UPDATE orders SET v = 'other' WHERE id = 2") as writer:
        writer.execute("INSERT INTO orders VALUES " + ", ".join(f"({number}, 'other')" for number in range(5000, 6000)))
        redis_client.lpush("orders", '{"id":1,"v":"new"}', '{"id":2,"v":"new"}', '{"id":2000,"v":"new"}')
        wait_until(lambda: db.value(WAITING[db.driver]) > 0, 10, "sluice waiting for the row", pause=LOOK_SECONDS)
        writer.execute("UPDATE orders SET v = 'other' WHERE id = 1")
        writer.connection.commit()
    wait_empty(redis_client)
    assert db.query("SELECT id, v FROM orders WHERE id IN (1, 2, 3, 2000) ORDER BY id") == [(1, "new"), (2, "new"), (3, "old"), (2000, "new")]
    assert daemon.metric("sluice_retries_total", queue="orders", **{"class": "retry"}) >= 1
    assert not redis_client.exists("{orders}:dead")


def test_many_queues_small_pool(db, redis_server, redis_client, sluice):
    chance = random.Random(5)
    queues = {f"q{number}": {"batch_rows": chance.choice([1, 20, 300]), "weight": chance.choice([1, 2, 5])} for number in range(8)}
    pushed = {}
    for name in queues:
        make_table(db, name)
        pushed[name] = push(redis_client, name, range(chance.choice([1, 50, 2000])))
    with Sampler(db) as sampler:
        sluice(shared_config(redis_server, db, queues, pool_size=2))
        wait_empty(redis_client, *queues)
    assert sampler.most == 2
    for name in queues:
        assert audit(redis_client, db, pushed[name], key=name, table=name) == (len(pushed[name]), 0)
