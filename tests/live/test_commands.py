"""The commands and the stats port."""

import json
import signal
import subprocess
import time

import pytest

from daemon import queue_config
from orders import audit, make_table, order, push
from servers import wait_until

EXIT_USAGE, EXIT_CONFIG = 64, 78


def ledger_exists(db):
    return db.value("SELECT count(*) FROM information_schema.tables WHERE table_name = 'sluice_ledger'") == 1


def wait_empty(client):
    wait_until(lambda: client.llen("orders") == 0, 30, "an empty queue")


@pytest.mark.parametrize("key, setting, hint", [("batch_row", "5", "batch_rows"), ("batch_rows", "many", "batch_rows"),
                                                ("database", "shoop", "shop"), ("mode", "replace", "upsert")])
def test_bad_configuration(db, redis_server, redis_client, sluice, key, setting, hint):
    daemon = sluice(queue_config(redis_server, db, queue={key: setting}), start=False)
    for command in (["check", "--offline"], ["run"]):
        done = daemon.command(*command)
        assert done.returncode == EXIT_CONFIG
        assert f"{daemon.config_path}:" in done.stdout + done.stderr and hint in done.stdout + done.stderr


def test_usage(db, redis_server, redis_client, sluice):
    daemon = sluice(queue_config(redis_server, db), start=False)
    assert daemon.command("no-such-command").returncode == EXIT_USAGE
    assert daemon.command("run", "--no-such-option").returncode == EXIT_USAGE


def test_configuration_named_behind_the_command(db, redis_server, redis_client, sluice):
    daemon = sluice(queue_config(redis_server, db), start=False)
    path = daemon.config_path

    def show_config(*words):
        return subprocess.run([daemon.program, "show", *words], capture_output=True, text=True, timeout=20, check=False)

    for words in (["config", "-c", path], ["--config", path, "config"], ["config", f"--config={path}"]):
        done = show_config(*words)
        assert done.returncode == 0 and "queue.orders.table = " in done.stdout, done
    for words, code in ((["config", "-c"], EXIT_CONFIG), (["config", "-c", path, "--no-such-option"], EXIT_USAGE), (["config", "-c", "/no"], EXIT_CONFIG)):
        assert show_config(*words).returncode == code


def test_init(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db), start=False)
    done = daemon.command("init", "--print")
    assert done.returncode == 0, done.stderr
    for words in ("CREATE TABLE", "sluice_ledger", "GRANT", "ACL"):
        assert words in done.stdout
    assert not ledger_exists(db)
    assert daemon.command("init").returncode == 0
    assert ledger_exists(db)
    assert daemon.command("init").returncode == 0, "again does no harm"


def test_runs_without_the_right_to_create(pg, redis_server, redis_client, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg), start=False)
    assert daemon.command("init").returncode == 0
    pg.execute("ALTER SCHEMA public OWNER TO postgres")
    pg.execute("GRANT USAGE ON SCHEMA public TO sluice")
    pushed = push(redis_client, "orders", range(100))
    daemon.start()
    wait_empty(redis_client)
    audit(redis_client, pg, pushed)


def test_show(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, pool_size=3))
    push(redis_client, "orders", range(100))
    wait_empty(redis_client)
    for what in ("queues", "orders", "pools", "connections", "stats", "config", "dead"):
        done = daemon.command("show", what)
        assert done.returncode == 0, done.stderr
        done = daemon.command("show", what, "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)
    assert "orders" in daemon.command("show", "queues").stdout
    assert "pool_size" in daemon.command("show", "config").stdout


def test_dead_letters_can_be_shown_retried_and_dropped(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db))
    redis_client.lpush("orders", '{"id":1,"customer":"long note","total":5,"note":"%s"}' % (50 * "n"), "no json", order(2))
    wait_until(lambda: redis_client.llen("{orders}:dead") == 2, 30, "two dead letters")
    listed = daemon.command("dead", "list", "orders")
    assert listed.returncode == 0, listed.stderr
    assert "no json" not in listed.stdout, "payloads only by `dead show`"
    shown = daemon.command("dead", "show", "orders")
    assert shown.returncode == 0 and "no json" in shown.stdout and "long note" in shown.stdout
    db.execute("ALTER TABLE orders " + ("ALTER note TYPE varchar(60)" if db.driver == "postgresql" else "MODIFY note varchar(60)"))
    assert daemon.command("dead", "retry", "orders").returncode == 0
    wait_until(lambda: db.query("SELECT 1 FROM orders WHERE id = 1"), 30, "the repaired order's row")
    wait_until(lambda: redis_client.llen("{orders}:dead") == 1, 30, "the other one's return")
    assert daemon.command("dead", "drop", "orders").returncode == 0
    assert redis_client.llen("{orders}:dead") == 0
    assert sorted(db.query("SELECT id FROM orders")) == [(1,), (2,)]


def test_pause_and_resume(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db))
    daemon.signal(signal.SIGUSR1)
    wait_until(lambda: daemon.metric("sluice_queue_state", queue="orders", state="paused") == 1, 10, "the pause")
    pushed = push(redis_client, "orders", range(100))
    time.sleep(0.5)
    assert redis_client.llen("orders") == 100
    daemon.signal(signal.SIGUSR2)
    wait_empty(redis_client)
    audit(redis_client, db, pushed)


def test_stats_port(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, pool_size=3))
    push(redis_client, "orders", range(1, 1001), bad_every=100)
    wait_empty(redis_client)
    assert daemon.get("/healthz")[0] == 200
    assert daemon.get("/readyz")[0] == 200
    assert daemon.get("/no/such/page")[0] == 404
    assert "html" in daemon.get("/")[1].lower() or "orders" in daemon.get("/")[1]
    assert isinstance(json.loads(daemon.get("/stats")[1]), dict)
    wait_until(lambda: daemon.metric("sluice_items_committed_total", queue="orders") == 990, 10, "all in the metrics")
    assert daemon.metric("sluice_items_dead_total", queue="orders") == 10
    wait_until(lambda: daemon.metric("sluice_queue_backlog", queue="orders") == 0, 10, "the backlog in the metrics")
    assert daemon.metric("sluice_pool_size", database="shop") == 3
    assert daemon.metric("sluice_pool_connections", database="shop") == 3
    assert daemon.metric("sluice_redis_up") == 1 and daemon.metric("sluice_database_up", database="shop") == 1
    assert daemon.metric("sluice_commit_duration_seconds_count") > 0
    db.stop()
    wait_until(lambda: daemon.get("/readyz")[0] == 503, 10, "not ready without the database")
    assert daemon.get("/healthz")[0] == 200
