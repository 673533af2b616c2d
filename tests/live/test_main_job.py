"""What sluice is for: every order that Redis holds becomes a row exactly once, through a fixed pool, whatever dies meanwhile."""

import datetime
import decimal
import json
import random
import time

import pytest
import redis

from daemon import queue_config
from orders import audit, dead_letters, make_table, order, push
from servers import Sampler, slowness, wait_until

DRAIN_SECONDS = 180


def wait_drained(client, *keys):
    """Waits until the queues are empty: an order leaves its list only when it is committed."""
    for key in keys or ("orders",):
        wait_until(lambda key=key: client.llen(key) == 0, DRAIN_SECONDS, f"the end of queue {key}")


def drain_beyond(client, backlog, daemon):
    """Waits until no more than so many orders wait; the daemon must be at work still."""
    wait_until(lambda: client.llen("orders") <= backlog, DRAIN_SECONDS, f"a backlog of {backlog}", pause=0.001)
    assert daemon.running(), daemon.log[-3000:]


def owner_of(client, daemons):
    """The daemon that holds the queue's lease, and the others; None while nobody does."""
    lease = (client.get("{orders}:sluice:lease") or b"").decode()
    holding = [daemon for daemon in daemons if daemon.name in lease]
    return (holding[0], [daemon for daemon in daemons if daemon is not holding[0]]) if holding else None


# A worker that ran LPUSH order_queue / BRPOP, and one that ran RPUSH job_queue / BLPOP, replaced by configuration alone.

def test_replaces_a_worker_mariadb(redis_server, mysql, redis_client, sluice):
    mysql.user_execute("""CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int, email varchar(200), total decimal(14,2), currency char(3)
        DEFAULT 'EUR', remark text DEFAULT ('none'), items json, created_at datetime(3), updated_at timestamp NULL) ENGINE=InnoDB""")
    config = queue_config(redis_server, mysql)
    config["queue orders"] = {"source": "list:order_queue", "database": "shop", "table": "orders", "column.id": "$.orderId",
                              "column.customer_id": "$.customer.id", "column.email": "$.customer.email", "column.total": "$.total",
                              "column.currency": "$.currency", "column.remark": "$.remark", "column.items": "$.items",
                              "column.created_at": "$.createdAt", "column.updated_at": "$.updatedAt"}
    sluice(config)
    first = {"orderId": 1, "customer": {"id": 7, "email": "ann@example.org"}, "total": 9007199254.1, "currency": "USD", "remark": None,
             "items": [{"sku": "A-17", "n": 2}], "createdAt": "2024-02-29T23:59:59.987Z", "updatedAt": "2024-03-01T01:30:00+02:00", "extra": True}
    redis_client.lpush("order_queue", json.dumps(first))
    redis_client.lpush("order_queue", '{"orderId":2,"customer":{"id":8,"email":"Zo\\u00eb \\ud83d\\ude00 \\"q\\" \\\\ \'"},"total":12.10}')
    wait_drained(redis_client, "order_queue")
    rows = mysql.query("SELECT id, customer_id, email, total, currency, remark, items, created_at, updated_at FROM orders ORDER BY id")
    assert rows[0][:6] == (1, 7, "ann@example.org", decimal.Decimal("9007199254.10"), "USD", None)
    assert json.loads(rows[0][6]) == [{"sku": "A-17", "n": 2}]
    assert rows[0][7:] == (datetime.datetime(2024, 2, 29, 23, 59, 59, 987000), datetime.datetime(2024, 2, 29, 23, 30))
    assert rows[1] == (2, 8, "Zo\u00eb \U0001f600 \"q\" \\ '", decimal.Decimal("12.10"), "EUR", "none", None, None, None)
    assert dead_letters(redis_client, "order_queue") == []


def test_replaces_a_worker_postgresql(redis_server, pg, redis_client, sluice):
    pg.user_execute("""CREATE TABLE jobs (n serial, id bigint, kind text DEFAULT 'plain', payload jsonb, message json, at timestamptz,
        amount numeric)""")
    config = queue_config(redis_server, pg)
    config["queue orders"] = {"source": "list:job_queue", "pop": "left", "database": "shop", "table": "public.jobs", "batch_rows": 1,
                              "max_batches": 1, "column.id": "$.id", "column.kind": "$.kind", "column.payload": "$.payload",
                              "column.message": "$", "column.at": "$.at", "column.amount": "$.amount"}
    texts = [f'{{"id":{number},"payload":{{"a":[1,2,{{"b":null}}]}},"at":"2024-02-29T23:59:59.987Z","amount":9007199254740993.125}}'
             for number in range(50)]
    redis_client.rpush("job_queue", *texts)
    redis_client.rpush("job_queue", '{"id":50,"kind":null}')
    sluice(config)
    wait_drained(redis_client, "job_queue")
    rows = pg.query("SELECT id, kind, payload, message, at AT TIME ZONE 'UTC', amount FROM jobs ORDER BY n")
    assert [row[0] for row in rows] == list(range(51)), "the oldest first"
    assert rows[3] == (3, "plain", {"a": [1, 2, {"b": None}]}, json.loads(texts[3]), datetime.datetime(2024, 2, 29, 23, 59, 59, 987000),
                       decimal.Decimal("9007199254740993.125"))
    assert rows[50][1] is None and rows[50][2] is None
    assert redis_client.llen("{job_queue}:dead") == 0


def test_pool_is_never_exceeded(db, redis_server, redis_client, sluice):
    make_table(db)
    with Sampler(db) as sampler:
        sluice(queue_config(redis_server, db, queue={"batch_rows": 200}, pool_size=4))
        pushed = []
        for begin in range(0, 60000, 5000):
            pushed += push(redis_client, "orders", range(begin, begin + 5000))
        wait_drained(redis_client)
        assert sampler.now == 4, "the pool stays open when idle"
    assert sampler.samples > 5
    assert sampler.most == 4
    assert audit(redis_client, db, pushed) == (60000, 0)


def test_bad_orders_become_dead_letters(db, redis_server, redis_client, sluice):
    make_table(db)
    pushed = push(redis_client, "orders", range(1, 20001), bad_every=100)
    daemon = sluice(queue_config(redis_server, db, pool_size=4))
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (19800, 200)
    for letter in dead_letters(redis_client, "orders"):
        assert letter["queue"] == "orders"
        assert letter["error"]["class"] and letter["error"]["message"]
        assert letter["instance"] == daemon.instance and letter["at"] and isinstance(letter["position"], int)


def test_killed_ten_times(db, redis_server, redis_client, sluice):
    make_table(db)
    count, kills = 100_000, 10
    chance = random.Random(f"{db.driver} 1")
    pushed = push(redis_client, "orders", range(1, count + 1), bad_every=1000)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 300}, pool_size=5), start=False)
    for backlog in sorted((chance.randint(count // 10, count) for _ in range(kills)), reverse=True):
        daemon.start(wait=False)
        drain_beyond(redis_client, backlog, daemon)
        time.sleep(chance.uniform(0, 0.02))
        daemon.kill()
        assert redis_client.llen("orders") > 0, "killed too late to prove anything"
    daemon.start()
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (count - count // 1000, count // 1000)


def test_restart_after_kill_needs_no_lease_to_end(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, sluice={"lease_ttl": 60}))
    pushed = push(redis_client, "orders", range(100))
    wait_drained(redis_client)
    daemon.kill()
    daemon.start()
    pushed += push(redis_client, "orders", range(100, 200))
    wait_until(lambda: redis_client.llen("orders") == 0, 10, "resuming under the same name")
    audit(redis_client, db, pushed)


def test_standby_takes_over_after_kill(db, redis_server, redis_client, sluice):
    make_table(db)
    config = queue_config(redis_server, db, sluice={"lease_ttl": 2}, queue={"batch_rows": 200}, pool_size=3)
    daemons = [sluice(config, name="alpha"), sluice(config, name="beta")]
    pushed = push(redis_client, "orders", range(1, 50001))
    owner, others = wait_until(lambda: owner_of(redis_client, daemons), 10, "an owner")
    drain_beyond(redis_client, 30000, owner)
    owner.kill()
    begin = time.monotonic()
    wait_until(lambda: owner_of(redis_client, others), 30, "the takeover")
    wait_drained(redis_client)
    assert others[0].running() and time.monotonic() - begin < DRAIN_SECONDS
    audit(redis_client, db, pushed)


def test_standby_takes_over_at_once_after_stop(db, redis_server, redis_client, sluice):
    make_table(db)
    config = queue_config(redis_server, db, sluice={"lease_ttl": 60}, queue={"batch_rows": 200}, pool_size=3)
    daemons = [sluice(config, name="alpha"), sluice(config, name="beta")]
    pushed = push(redis_client, "orders", range(1, 50001))
    owner, others = wait_until(lambda: owner_of(redis_client, daemons), 10, "an owner")
    drain_beyond(redis_client, 40000, owner)
    assert owner.stop() == 0
    wait_until(lambda: owner_of(redis_client, others), 5, "the takeover")
    wait_drained(redis_client)
    audit(redis_client, db, pushed)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_database_away_for_a_while(db, redis_server, redis_client, sluice, how):
    make_table(db)
    pushed = push(redis_client, "orders", range(1, 40001))
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 200}, pool_size=3), start=False).start(wait=False)
    drain_beyond(redis_client, 30000, daemon)
    getattr(db, how)()
    backlog = redis_client.llen("orders")
    pushed += push(redis_client, "orders", range(40001, 40101))
    wait_until(lambda: not daemon.ready(), 10, "not ready")
    assert backlog > 0 and redis_client.llen("orders") >= 100
    db.start()
    wait_drained(redis_client)
    daemon.wait_ready()
    audit(redis_client, db, pushed)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_redis_away_for_a_while(db, redis_server, redis_client, sluice, how):
    make_table(db)
    redis_client.config_set("appendfsync", "always")  # what Redis confirmed survives its SIGKILL
    pushed = push(redis_client, "orders", range(1, 40001))
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 200}, pool_size=3), start=False).start(wait=False)
    drain_beyond(redis_client, 30000, daemon)
    getattr(redis_server, how)()
    wait_until(lambda: not daemon.ready(), 10, "not ready")
    redis_server.start()
    pushed += push(redis_client, "orders", range(40001, 40101))
    wait_drained(redis_client)
    audit(redis_client, db, pushed)


def test_servers_come_up_after_the_daemon(db, redis_server, redis_client, sluice):
    make_table(db)
    pushed = push(redis_client, "orders", range(100))
    redis_server.stop()
    db.stop()
    daemon = sluice(queue_config(redis_server, db), start=False).start(wait=False)
    time.sleep(1)
    assert daemon.running(), daemon.log
    db.start()
    redis_server.start()
    daemon.wait_ready()
    wait_drained(redis_client)
    audit(redis_client, db, pushed)


def test_idle_costs_nothing(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db))
    pushed = push(redis_client, "orders", range(10))
    wait_drained(redis_client)
    time.sleep(1)
    seconds, before = 5, daemon.cpu_seconds()
    time.sleep(seconds)
    assert daemon.cpu_seconds() - before <= 0.01 * seconds * slowness()
    audit(redis_client, db, pushed)


def test_single_order_does_not_wait(db, redis_server, redis_client, sluice):
    make_table(db)
    sluice(queue_config(redis_server, db))
    waits = []
    for number in range(20):
        begin = time.monotonic()
        redis_client.lpush("orders", order(number))
        wait_until(lambda number=number: db.query(f"SELECT 1 FROM orders WHERE id = {number}"), 10, "one order's row", pause=0.001)
        waits.append(time.monotonic() - begin)
    assert sorted(waits)[len(waits) // 2] < 0.9, f"something looks once a second: {waits}"


def test_an_order_alone_is_read_once(db, redis_server, redis_client, sluice):
    """It comes with the answer to the wait. More than a handful are asked for again."""
    make_table(db)
    sluice(queue_config(redis_server, db))

    def reads_of(pushes):
        before = redis_client.info("commandstats")["cmdstat_lrange"]["calls"]
        for numbers in pushes:
            push(redis_client, "orders", numbers)
            wait_drained(redis_client)
            wait_until(lambda: any(client["cmd"] == "blmove" for client in redis_client.client_list()), 10, "the next wait")
        return redis_client.info("commandstats")["cmdstat_lrange"]["calls"] - before

    push(redis_client, "orders", [1])
    wait_drained(redis_client)
    assert reads_of([[number] for number in range(2, 22)]) <= 22, "one more every 20 seconds"
    assert reads_of([range(100, 150), range(200, 250)]) >= 4
    audit(redis_client, db, [*range(1, 22), *range(100, 150), *range(200, 250)])


def test_memory_is_bounded(db, redis_server, redis_client, sluice, release):
    make_table(db)
    pushed = push(redis_client, "orders", range(500_000))
    assert redis_client.memory_usage("orders", samples=100) > 64 * 1024 * 1024, "too short to prove anything"
    daemon = sluice(queue_config(redis_server, db), program=release.path("src/sluice"))
    wait_drained(redis_client)
    assert daemon.peak_memory() < 64 * 1024 * 1024
    audit(redis_client, db, pushed)


def test_two_databases_and_several_queues(redis_server, pg, mysql, redis_client, sluice):
    config = {"redis": {"url": f"unix://{redis_server.socket}"}, "database one": pg.section(pool_size=3),
              "database two": mysql.section(pool_size=2)}
    queues = [("q1", "one", pg, "left"), ("q2", "one", pg, "right"), ("{t}q3", "two", mysql, "left"), ("q4", "two", mysql, "right")]
    for number, (key, section, db, side) in enumerate(queues):
        make_table(db, f"orders{number}")
        config[f"queue part{number}"] = {"source": f"list:{key}", "database": section, "table": f"orders{number}", "batch_rows": 100,
                                         "pop": "right" if side == "left" else "left", "dead_letter": f"{{{key}}}:dead"}
    with Sampler(pg) as in_pg, Sampler(mysql) as in_mysql:
        sluice(config)
        pushed = [push(redis_client, key, range(10000), bad_every=500, side=side) for key, _section, _db, side in queues]
        wait_drained(redis_client, *[key for key, _section, _db, _side in queues])
    assert (in_pg.most, in_mysql.most) == (3, 2)
    for number, (key, _section, db, _side) in enumerate(queues):
        assert audit(redis_client, db, pushed[number], key=key, table=f"orders{number}") == (9980, 20)


def test_drains_a_full_redis_from_cold(db, redis_server, redis_client, sluice):
    make_table(db)
    pushed = push(redis_client, "orders", range(1, 20001), bad_every=500)
    redis_client.config_set("maxmemory-policy", "noeviction")
    redis_client.config_set("maxmemory", 1)
    with pytest.raises(redis.ResponseError, match="OOM|maxmemory"):
        redis_client.set("x", 1)
    sluice(queue_config(redis_server, db))
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (19960, 40)


def test_terminated_daemon_finishes_what_is_in_flight(db, redis_server, redis_client, sluice):
    make_table(db)
    pushed = push(redis_client, "orders", range(1, 50001))
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 200}, pool_size=3), start=False).start(wait=False)
    drain_beyond(redis_client, 45000, daemon)
    assert daemon.stop() == 0
    left = redis_client.llen("orders")
    assert left > 0 and db.value("SELECT count(*) FROM orders") + left == 50000, "committed orders have left the list"
    assert not redis_client.exists("{orders}:sluice:lease")
    daemon.start()
    wait_drained(redis_client)
    audit(redis_client, db, pushed)


def test_without_a_ledger(db, redis_server, redis_client, sluice):
    make_table(db)
    pushed = push(redis_client, "orders", range(1, 5001), bad_every=100)
    sluice(queue_config(redis_server, db, queue={"ledger": "off"}, pool_size=3))
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (4950, 50)
    with pytest.raises(Exception, match="sluice_ledger"):
        db.query("SELECT count(*) FROM sluice_ledger")


def test_rows_behind_a_foreign_epoch_are_undone(db, redis_server, redis_client, sluice):
    """Another daemon has raised the epoch in the ledger. Our rows go out before we know: all of them must go again, good or bad."""
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, sluice={"lease_ttl": 1}, pool_size=1))
    pushed = push(redis_client, "orders", range(1, 11))
    wait_drained(redis_client)
    for first, bad_every in ((11, 0), (21, 5)):
        db.execute("UPDATE sluice_ledger SET epoch = epoch + 1")
        pushed += push(redis_client, "orders", range(first, first + 10), bad_every=bad_every)
        wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (28, 2)
    assert daemon.log.count("took the queue over") == 3, daemon.log


def test_a_prepared_statement_that_is_gone_is_prepared_again(redis_server, pg, redis_client, sluice):
    make_table(pg)
    pg.user_execute("CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN DEALLOCATE sluice_ledger_row; RETURN NEW; END$$")
    pg.user_execute("CREATE TRIGGER forget BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.id IN (2, 3)) EXECUTE FUNCTION forget()")
    daemon = sluice(queue_config(redis_server, pg, queue={"retry_backoff_ms": 10}, pool_size=1))
    for number in (1, 2, 3, 4):
        push(redis_client, "orders", [number])
        wait_drained(redis_client)
    assert audit(redis_client, pg, [1, 2, 3, 4]) == (4, 0)
    assert daemon.metric("sluice_retries_total", queue="orders", **{"class": "forgotten"}) == 2


def test_a_prepared_statement_that_is_there_is_used(redis_server, pg, redis_client, sluice):
    """As after a cancelled BEGIN, of which it is not known whether what stood before it was done."""
    make_table(pg)
    config = queue_config(redis_server, pg, pool_size=1)
    assert sluice(config, start=False).command("init").returncode == 0
    config["database shop"]["connect_query"] = ("PREPARE sluice_ledger_row AS UPDATE sluice_ledger SET generation=$1, first=$2, count=$3, items=$4, dead=$5 "
                                                "WHERE queue=$6 AND slot=$7 AND epoch=$8")
    daemon = sluice(config)
    for number in (1, 2):
        push(redis_client, "orders", [number])
        wait_drained(redis_client)
    assert audit(redis_client, pg, [1, 2]) == (2, 0)
    assert daemon.metric("sluice_retries_total", queue="orders", **{"class": "retry"}) == 1
