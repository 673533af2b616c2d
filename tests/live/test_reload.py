"""SIGHUP: all of a changed configuration counts, or nothing of it, and orders come in all the time. Nothing is lost, nothing comes twice."""

import collections
import contextlib
import json
import os
import signal
import socket
import threading
import time

import pytest

from daemon import ini_text, queue_config
from faults.load import commit_of, environment, only, state_of
from faults.proxy import Cut, Proxy
from orders import TABLES, audit, dead_letters, locked_table, make_table, order, push
from servers import Sampler, free_port, wait_until

DRAIN_SECONDS = 60
SETTLE_SECONDS = 30


class Load:
    """Pushes orders all the time, to each of its lists in turn, more when `lists` grows. A context manager; `pushed` is {list: numbers}."""

    PAUSE_SECONDS = 0.004
    CHUNK = 20

    def __init__(self, client, *lists):
        self.client = client
        self.lists = list(lists)
        self.pushed = collections.defaultdict(list)
        self.next = 1
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception):
        self.end()

    def end(self):
        self._ended.set()
        self._thread.join()

    def numbers(self):
        return [number for numbers in self.pushed.values() for number in numbers]

    def _run(self):
        while not self._ended.wait(self.PAUSE_SECONDS):
            for key in list(self.lists):
                numbers = range(self.next, self.next + self.CHUNK)
                self.next += self.CHUNK
                self.client.lpush(key, *[order(number) for number in numbers])
                self.pushed[key] += numbers


def wait_drained(client, *lists):
    for key in lists or ("orders",):
        wait_until(lambda key=key: client.llen(key) == 0, DRAIN_SECONDS, f"the end of {key}")


def reload(daemon, *expected, config=None):
    """Writes the configuration, has it read and waits for these words in the log; returns what was logged about it."""
    if config is not None:
        daemon.config = config
    daemon.write_config()
    before = len(daemon.log)
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: all(words in daemon.log[before:] for words in expected or ("reload: ",)), SETTLE_SECONDS, f"{expected} in the log")
    return [line.partition("reload: ")[2] for line in daemon.log[before:].splitlines() if "reload: " in line]


def changed(daemon, section, **keys):
    """The daemon's configuration with these keys in one section; None takes a key away."""
    config = {name: dict(content) for name, content in daemon.config.items()}
    content = config.setdefault(section, {})
    for key, value in keys.items():
        content[key.replace("__", ".")] = value
        if value is None:
            del content[key.replace("__", ".")]
    return config


def without(daemon, section):
    return {name: content for name, content in daemon.config.items() if name != section}


def queue(name, **keys):
    return {"source": f"list:{name}", "database": "shop", "table": name, **keys}


def wait_at_work(client, *lists):
    """Waits until the owner takes orders from these lists; load keeps coming."""
    for key in lists or ("orders",):
        before = int(client.hget(f"{{{key}}}:sluice", "settled") or 0)
        wait_until(lambda key=key, before=before: int(client.hget(f"{{{key}}}:sluice", "settled") or 0) > before + 500, DRAIN_SECONDS,
                   f"work on {key}")


def size_is(daemon, sampler, size):
    return lambda: sampler.now == size and daemon.metric("sluice_pool_connections", database="shop", state="idle") + \
        daemon.metric("sluice_pool_connections", database="shop", state="busy") == size


@pytest.fixture
def login(db):
    """login(password): from now on `keeper`, another user with all rights, has this password. PostgreSQL asks for it, too."""
    if db.driver == "postgresql":
        db.execute("DROP ROLE IF EXISTS keeper")
        db.execute(f"CREATE ROLE keeper LOGIN PASSWORD 'none' IN ROLE {db.user}")
        with open(f"{db.data}/pg_hba.conf", "r+", encoding="utf-8") as file:
            rules = file.read()
            file.seek(0)
            file.write("local all keeper scram-sha-256\n" + rules)
        db.query("SELECT pg_reload_conf()")
    else:
        db.make_user("keeper@localhost", "none")
        db.execute(f"GRANT ALL ON {db.dbname}.* TO keeper@localhost")

    def change(password):
        db.execute(only(db, f"ALTER ROLE keeper PASSWORD '{password}'", f"ALTER USER keeper@localhost IDENTIFIED BY '{password}'"))

    yield change
    if db.driver == "postgresql":
        db.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keeper'")
        db.execute("REASSIGN OWNED BY keeper TO postgres")
        db.execute("DROP OWNED BY keeper")
        db.execute("DROP ROLE keeper")
        with open(f"{db.data}/pg_hba.conf", "w", encoding="utf-8") as file:
            file.write(rules)
        db.query("SELECT pg_reload_conf()")
    else:
        db.execute("DROP USER keeper@localhost")


def write_secret(path, text):
    with open(path, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


# -- pools

def test_pool_grows_and_shrinks(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=3))
    with Load(redis_client, "orders") as load:
        size = 3
        for new in (8, 2, 2, 6, 1, 4):
            with Sampler(db) as sampler:
                said = reload(daemon, f"pool_size {size} -> {new}" if new != size else "nothing has changed",
                              config=changed(daemon, "database shop", pool_size=new))
                assert said == [f"database shop: pool_size {size} -> {new}" if new != size else "nothing has changed"]
                wait_until(size_is(daemon, sampler, new), SETTLE_SECONDS, f"{new} connections")
                assert sampler.most <= max(size, new)
                sampler.most = 0
                wait_at_work(redis_client)
                assert wait_until(lambda: sampler.most, 10, "a look") == new, "once reached, the number holds"
            size = new
        assert daemon.metric("sluice_pool_size", database="shop") == 4
        assert daemon.metric("sluice_takeovers_total", queue="orders") == 1, "no batch was dropped, the queue went on"
        assert daemon.metric("sluice_batches_total", result="rolled back") == 0
    wait_drained(redis_client)
    assert audit(redis_client, db, load.numbers()) == (len(load.numbers()), 0)


def test_busy_connections_go_when_they_come_back(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 10}, pool_size=5))
    pushed = push(redis_client, "orders", range(10))
    wait_drained(redis_client)
    with locked_table(db):
        pushed += push(redis_client, "orders", range(10, 200))
        wait_until(lambda: daemon.metric("sluice_pool_connections", state="busy") == 5, 10, "five busy connections")
        reload(daemon, "pool_size 5 -> 2", config=changed(daemon, "database shop", pool_size=2))
        pool = json.loads(daemon.get("/stats")[1])["pools"][0]
        assert (pool["size"], pool["busy"], len(pool["connections"])) == (2, 5, 5)
        reload(daemon, "pool_size 2 -> 4", config=changed(daemon, "database shop", pool_size=4))
        assert sum(connection.user == db.user for connection in db.connections()) == 5
    wait_drained(redis_client)
    wait_until(lambda: sum(connection.user == db.user for connection in db.connections()) == 4, 10, "four connections")
    assert audit(redis_client, db, pushed) == (200, 0)


def test_another_user(db, redis_server, redis_client, sluice, directory, login):
    """The connections change one by one; with a login that is refused only one is lost, and the drain goes on by the others."""
    make_table(db)
    if db.driver == "postgresql":
        db.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO sluice")
    login("one")
    secret = f"{directory}/secret"
    write_secret(secret, "wrong")
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=4))
    with Load(redis_client, "orders") as load, Sampler(db) as old, Sampler(db, "keeper") as new:
        wait_at_work(redis_client)
        reload(daemon, "user sluice -> keeper", "trying again until it works",
               config=changed(daemon, "database shop", user="keeper", password_file=secret))
        wait_until(lambda: old.now == 3, SETTLE_SECONDS, "one connection given up for the new login")
        wait_at_work(redis_client)
        assert (old.now, new.now) == (3, 0)
        write_secret(secret, "one")
        assert reload(daemon, "password changed") == ["database shop: password changed"]
        wait_until(lambda: (old.now, new.now) == (0, 4), SETTLE_SECONDS, "four connections of the new user")
        before = {connection.id for connection in db.connections() if connection.user == "keeper"}
        login("two")
        write_secret(secret, "two")
        reload(daemon, "database shop: password changed")
        wait_until(lambda: not before & {connection.id for connection in db.connections()}, SETTLE_SECONDS, "four new connections")
        wait_until(lambda: new.now == 4, SETTLE_SECONDS, "all connections by the new password")
        assert old.most <= 4 and new.most <= 4
    assert daemon.metric("sluice_takeovers_total", queue="orders") == 1
    wait_drained(redis_client)
    assert audit(redis_client, db, load.numbers()) == (len(load.numbers()), 0)


def test_another_database_on_the_server(db, redis_server, redis_client, sluice):
    """What is in flight is finished in the old one first: an order is in one of the two."""
    make_table(db)
    with contextlib.closing(db.client()) as admin:
        admin.cursor().execute(only(db, "CREATE DATABASE annex OWNER sluice", "CREATE DATABASE annex"))
        if db.driver == "mysql":
            admin.cursor().execute(f"GRANT ALL ON annex.* TO {db.user}@localhost")
    with contextlib.closing(db.client(dbname="annex", user=db.user)) as user, contextlib.closing(user.cursor()) as annex:
        annex.execute(TABLES[db.driver].format(table="orders"))
        daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=3))
        with Load(redis_client, "orders") as load, Sampler(db) as sampler:
            wait_at_work(redis_client)
            reload(daemon, "dbname shop -> annex", config=changed(daemon, "database shop", dbname="annex"))
            wait_at_work(redis_client)
            assert sampler.most <= 4, "three, and ours"
        wait_drained(redis_client)
        annex.execute("SELECT id FROM orders")
        rows = [number for (number,) in annex.fetchall()]
        there = [number for (number,) in db.query("SELECT id FROM orders")]
        assert there and rows and sorted(rows + there) == sorted(load.numbers())
        assert daemon.stop() == 0
    with contextlib.closing(db.client()) as admin:
        admin.cursor().execute("DROP DATABASE annex")


# -- queues

def test_queues_come_and_go(db, redis_server, redis_client, sluice):
    for table in ("orders", "refunds"):
        make_table(db, table)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=4))
    with Load(redis_client, "orders", "refunds") as load:
        wait_at_work(redis_client)
        for _ in range(2):
            assert redis_client.llen("refunds") > 0
            assert reload(daemon, config=changed(daemon, "queue refunds", **queue("refunds"))) == ["queue refunds: new"]
            wait_at_work(redis_client, "orders", "refunds")
            assert [state["name"] for state in json.loads(daemon.get("/stats")[1])["queues"]] == ["orders", "refunds"]
            assert reload(daemon, "queue refunds has ended", config=without(daemon, "queue refunds")) == ["queue refunds: removed"]
            assert not redis_client.exists("{refunds}:sluice:lease") and redis_client.exists("{orders}:sluice:lease")
            assert [state["name"] for state in json.loads(daemon.get("/stats")[1])["queues"]] == ["orders"]
            rest = redis_client.llen("refunds")
            wait_at_work(redis_client)
            assert redis_client.llen("refunds") > rest
        reload(daemon, "queue refunds: new", config=changed(daemon, "queue refunds", **queue("refunds")))
    wait_drained(redis_client, "orders", "refunds")
    assert daemon.metric("sluice_takeovers_total", queue="orders") == 1, "the queue that did not change was not touched"
    for key in ("orders", "refunds"):
        assert audit(redis_client, db, load.pushed[key], key=key, table=key) == (len(load.pushed[key]), 0)


def test_numbers_count_at_once(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, pool_size=4))
    with Load(redis_client, "orders") as load:
        wait_at_work(redis_client)
        said = reload(daemon, config=changed(daemon, "queue orders", batch_rows=5, weight=3, max_batches=2, retry_backoff_ms=50,
                                             dead_letter_max=7))
        assert said == ["queue orders: batch_rows 1000 -> 5", "queue orders: max_batches 0 -> 2", "queue orders: weight 1 -> 3",
                        "queue orders: retry_backoff_ms 100 -> 50", "queue orders: dead_letter_max 100000 -> 7"]
        wait_at_work(redis_client)  # what was read before has its size
        before, _ = daemon.metrics(), wait_at_work(redis_client)
        after = daemon.metrics()
        rows, batches = (after[f"sluice_batch_rows_{part}", 'queue="orders"'] - before[f"sluice_batch_rows_{part}", 'queue="orders"']
                         for part in ("sum", "count"))
        assert rows / batches <= 5
        reload(daemon, "batch_rows 5 -> 500", config=changed(daemon, "queue orders", batch_rows=500, max_batches=0))
        wait_at_work(redis_client)
    wait_drained(redis_client)
    assert reload(daemon, config=changed(daemon, "queue orders", rate_limit=5)) == ["queue orders: rate_limit 0 -> 5"]
    slow = push(redis_client, "orders", range(10**6, 10**6 + 1000))
    time.sleep(1)
    assert redis_client.llen("orders") > 300
    reload(daemon, "rate_limit 5 -> 0", config=changed(daemon, "queue orders", rate_limit=0))
    wait_drained(redis_client)  # minutes would be needed at the former rate
    assert daemon.metric("sluice_takeovers_total", queue="orders") == 1
    assert audit(redis_client, db, load.numbers() + slow) == (len(load.numbers()) + 1000, 0)


def test_another_mode(db, redis_server, redis_client, sluice):
    """Numbers of a queue that begins anew go on."""
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=3))
    with Load(redis_client, "orders") as load:
        wait_at_work(redis_client)
        db.user_execute("ALTER TABLE orders ADD PRIMARY KEY (id)")
        committed = daemon.metric("sluice_items_committed_total", queue="orders")
        assert reload(daemon, config=changed(daemon, "queue orders", mode="ignore", key="id")) == \
            ["queue orders: mode insert -> ignore", "queue orders: key none -> id"]
        wait_at_work(redis_client)
        assert daemon.metric("sluice_items_committed_total", queue="orders") > committed
        assert daemon.metric("sluice_takeovers_total", queue="orders") == 2
        again = load.pushed["orders"][:200]
        push(redis_client, "orders", again)
    wait_drained(redis_client)
    assert daemon.metric("sluice_items_duplicate_total", queue="orders") == 200
    assert daemon.metric("sluice_items_committed_total", queue="orders") == len(load.numbers())
    assert audit(redis_client, db, load.numbers()) == (len(load.numbers()), 0)


def test_another_table_and_mapping(db, redis_server, redis_client, sluice):
    for table in ("orders", "archive"):
        make_table(db, table)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=3))
    columns = {"column__id": "$.id", "column__customer": "$.customer", "column__total": "$.total", "column__note": "@queue"}
    with Load(redis_client, "orders") as load:
        wait_at_work(redis_client)
        reload(daemon, "queue orders: table orders -> archive", "queue orders: column.note none -> @queue",
               config=changed(daemon, "queue orders", table="archive", **columns))
        wait_at_work(redis_client)
        reload(daemon, "queue orders: column.note @queue -> $.note", config=changed(daemon, "queue orders", column__note="$.note"))
        wait_at_work(redis_client)
        reload(daemon, "table archive -> nowhere", "nowhere is not there", config=changed(daemon, "queue orders", table="nowhere"))
        reload(daemon, "table nowhere -> orders", config=changed(daemon, "queue orders", table="orders", **dict.fromkeys(columns)))
        wait_at_work(redis_client)
    wait_drained(redis_client)
    rows = [number for table in ("orders", "archive") for (number,) in db.query(f"SELECT id FROM {table}")]
    assert sorted(rows) == sorted(load.numbers()) and not dead_letters(redis_client, "orders")
    assert {note for (note,) in db.query("SELECT DISTINCT note FROM archive")} == {"orders", "as usual"}


def test_another_name_and_another_list(db, redis_server, redis_client, sluice):
    """Two workers never drain one list: a queue that takes over another's list waits for its end."""
    for table in ("orders", "refunds"):
        make_table(db, table)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=3))
    with Load(redis_client, "orders") as load:
        wait_at_work(redis_client)
        config = without(daemon, "queue orders")
        config["queue renamed"] = queue("orders", batch_rows=50)
        assert reload(daemon, "queue orders has ended", config=config) == ["queue renamed: new", "queue orders: removed"]
        wait_at_work(redis_client)
        config["queue other"] = queue("refunds", batch_rows=50)
        reload(daemon, "queue other: new", config=config)
        load.lists.append("refunds")
        wait_at_work(redis_client, "orders", "refunds")
        for _ in range(3):
            config = {name: dict(content) for name, content in daemon.config.items()}
            a, b = config["queue renamed"], config["queue other"]
            a["source"], b["source"], a["table"], b["table"] = b["source"], a["source"], b["table"], a["table"]
            reload(daemon, "queue renamed: source", "queue other: source", config=config)
            wait_at_work(redis_client, "orders", "refunds")
    wait_drained(redis_client, "orders", "refunds")
    for key in ("orders", "refunds"):
        assert audit(redis_client, db, load.pushed[key], key=key, table=key) == (len(load.pushed[key]), 0)


def test_a_queue_moves_between_servers(redis_server, redis_client, pg, mysql, clean, sluice):
    for db in (pg, mysql):
        make_table(db)
    config = queue_config(redis_server, pg, queue={"batch_rows": 50}, pool_size=3)
    daemon = sluice(config)
    with Load(redis_client, "orders") as load:
        wait_at_work(redis_client)
        there = changed(daemon, "database there", **mysql.section(pool_size=2))
        there["queue orders"]["database"] = "there"
        here = dict(daemon.config)
        reload(daemon, "database there: new", "database shop -> there", config=there)
        wait_at_work(redis_client)
        rest = {name: content for name, content in there.items() if name != "database shop"}
        reload(daemon, "database shop: removed", config=rest)
        wait_until(lambda: not [c for c in pg.connections() if c.user == pg.user], SETTLE_SECONDS, "the end of the pool")
        wait_at_work(redis_client)
        reload(daemon, "database there: removed", config=here)
        wait_at_work(redis_client)
        # the same section on the other server
        reload(daemon, "driver postgresql -> mysql", config=changed(daemon, "database shop", **mysql.section()))
        wait_at_work(redis_client)
    wait_drained(redis_client)
    rows = [number for db in (pg, mysql) for (number,) in db.query("SELECT id FROM orders")]
    assert sorted(rows) == sorted(load.numbers())


def test_removed_while_its_database_hangs(db, redis_server, redis_client, sluice):
    """A queue that cannot finish is waited for, and asked back meanwhile; the others do not notice."""
    for table in ("orders", "refunds"):
        make_table(db, table)
    config = queue_config(redis_server, db, queue={"batch_rows": 10}, pool_size=4)
    config["queue refunds"] = queue("refunds", batch_rows=10)
    daemon = sluice(config)
    with Load(redis_client, "orders", "refunds") as load:
        wait_at_work(redis_client, "orders", "refunds")
        with locked_table(db):
            time.sleep(0.3)
            reload(daemon, "queue orders: removed", config=without(daemon, "queue orders"))
            wait_at_work(redis_client, "refunds")
            reload(daemon, "queue orders: new", config=changed(daemon, "queue orders", **config["queue orders"], weight=2))
            reload(daemon, "batch_rows 10 -> 20", config=changed(daemon, "queue refunds", batch_rows=20))
            wait_at_work(redis_client, "refunds")
        wait_at_work(redis_client)
    wait_drained(redis_client, "orders", "refunds")
    for key in ("orders", "refunds"):
        assert audit(redis_client, db, load.pushed[key], key=key, table=key) == (len(load.pushed[key]), 0)


# -- another ledger

@pytest.fixture
def before(directory):
    """before(server): (proxy, host) before a Redis or a database; `host` is for sluice.ini, for Redis a url."""
    made = []

    def make(server):
        name, target = "p.sock", getattr(server, "socket", None) or server.host
        if getattr(server, "driver", None) == "postgresql":
            name, target = ".s.PGSQL.5432", f"{server.host}/.s.PGSQL.5432"
        made.append(Proxy(f"{directory}/{name}", target))
        if hasattr(server, "socket"):
            return made[-1], f"unix://{made[-1].path}"
        return made[-1], directory if server.driver == "postgresql" else made[-1].path

    yield make
    for proxy in made:
        proxy.close()


def vanish(link, _piece):
    """It never arrives: all links are cut, and from now on nobody comes through."""
    link.proxy.silent.set()
    link.proxy.cut()
    raise Cut


def vanish_with_answer(link, piece):
    """It arrives; its answer does not, and no more than that."""
    link.server.sendall(piece)
    link.server.recv(1)
    vanish(link, piece)


def test_renamed_while_redis_is_away(db, redis_server, redis_client, before, sluice):
    """What the old name's ledger has stored is off the list before the new name begins: the settle never arrived, and Redis comes back late."""
    make_table(db)
    proxy, url = before(redis_server)
    config = queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=3)
    config["redis"].update(url=url, connect_timeout=1, command_timeout=1)
    daemon = sluice(config)
    settle = proxy.on(b"'LTRIM'", vanish)
    pushed = push(redis_client, "orders", range(500))
    wait_until(lambda: settle.hits == 1 and db.query("SELECT count(*) FROM orders") != [(0,)], SETTLE_SECONDS, "rows that are not settled")
    config = without(daemon, "queue orders")
    config["queue renamed"] = queue("orders", batch_rows=50)
    reload(daemon, "queue orders: removed", "goes to another ledger only when", config=config)
    assert "Redis to come back" in state_of(daemon)["reason"]
    assert redis_client.llen("orders") == 500 and "queue orders has ended" not in daemon.log
    proxy.silent.clear()
    daemon.wait_log("queue orders has ended")
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (500, 0)
    assert daemon.log.count("goes to another ledger only when") == 1
    assert "this is not the ledger" not in daemon.log, "it was handed over"


@pytest.mark.parametrize("section", ["shop", "there"])
def test_another_host_while_a_commit_is_in_doubt(db, redis_server, redis_client, before, sluice, section):
    """The database's host dies for good; the same data is to be had elsewhere, by the same section or by another."""
    make_table(db)
    proxy, host = before(db)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, sluice={"drain_timeout": 1}, pool_size=3, host=host, query_timeout=1))
    pushed = push(redis_client, "orders", range(10))
    wait_drained(redis_client)
    commit = proxy.on(commit_of(db), vanish_with_answer)
    pushed += push(redis_client, "orders", range(10, 500))
    wait_until(lambda: commit.hits == 1, SETTLE_SECONDS, "a COMMIT in doubt")
    config = without(daemon, "database shop")
    config[f"database {section}"] = db.section(pool_size=3, query_timeout=1)
    config["queue orders"] = queue("orders", batch_rows=50, database=section)
    reload(daemon, config=config)
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (500, 0)
    assert ("something in flight after drain_timeout" in daemon.log) == (section == "there")


@pytest.mark.parametrize("how", ["stop", "kill", "kill when the list is empty"])
def test_renamed_between_two_runs(db, redis_server, redis_client, sluice, how):
    """A clean stop leaves nothing that the other ledger does not know, and in an empty list is nothing in doubt."""
    make_table(db)
    daemon = sluice(queue_config(redis_server, db))
    pushed = push(redis_client, "orders", range(100))
    wait_drained(redis_client)
    getattr(daemon, how.split()[0])()
    if how != "kill when the list is empty":
        pushed += push(redis_client, "orders", range(100, 200))
    old = dict(daemon.config)
    daemon.config["queue renamed"] = daemon.config.pop("queue orders")
    daemon.write_config()
    assert ("wrote another ledger (orders of" in daemon.command("check").stdout) == (how != "stop")
    daemon.start(wait=False)
    if how != "kill":
        daemon.wait_log("queue renamed: took the queue over")
        wait_drained(redis_client)
        assert audit(redis_client, db, pushed) == (len(pushed), 0)
        assert "another ledger" not in daemon.log and "not the ledger" not in daemon.log
        return
    daemon.wait_log("the last owner of the list wrote another ledger (orders of")
    time.sleep(1)
    assert redis_client.llen("orders") == 100
    shown = state_of(daemon, "renamed")
    assert (shown["state"], shown["block"], shown["bound_by"], shown["severity"]) == ("blocked", "history", "paused", "alarm")
    assert "`sluice accept` goes on without" in shown["advice"]
    assert daemon.command("skip", "renamed").returncode != 0
    # the old configuration knows what it stored; a reload hands the list over
    daemon.kill()
    daemon.config = old
    daemon.write_config()
    daemon.start()
    new = dict(old)
    new["queue renamed"] = new.pop("queue orders")
    reload(daemon, "queue orders: removed", config=new)
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (200, 0)


def test_renamed_after_a_kill_and_accepted(db, redis_server, redis_client, before, sluice):
    """What the old name has stored and not removed comes twice, as the operator was told: what was pushed later does not."""
    make_table(db)
    proxy, url = before(redis_server)
    config = queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=1)
    config["redis"].update(url=url, connect_timeout=1, command_timeout=1)
    daemon = sluice(config)
    settle = proxy.on(b"'LTRIM'", vanish)
    push(redis_client, "orders", range(200))
    wait_until(lambda: settle.hits == 1 and db.query("SELECT count(*) FROM orders") != [(0,)], SETTLE_SECONDS, "rows that are not settled")
    daemon.kill()
    stored = db.value("SELECT count(*) FROM orders")
    proxy.silent.clear()
    daemon.config["queue renamed"] = daemon.config.pop("queue orders")
    daemon.write_config()
    daemon.start(wait=False)
    daemon.wait_log("the last owner of the list wrote another ledger (orders of")
    assert db.value("SELECT count(*) FROM orders") == stored and redis_client.llen("orders") == 200
    done = daemon.command("accept", "renamed")
    assert done.returncode == 0 and "stored, perhaps a second time" in done.stdout
    wait_drained(redis_client)
    push(redis_client, "orders", range(200, 300))
    wait_drained(redis_client)
    assert db.query("SELECT count(*), count(DISTINCT id) FROM orders") == [(300 + stored, 300)]
    assert daemon.log.count("wrote another ledger") == 1


# -- the rest of the file

def test_what_needs_a_restart(db, redis_server, redis_client, sluice, directory):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db))
    listen, elsewhere = daemon.config["stats"]["listen"], f"127.0.0.1:{free_port()}"
    config = changed(daemon, "stats", listen=elsewhere, admin_socket=f"{directory}/other.sock")
    config["sluice"].update(instance="another", log_level="debug", lease_ttl=2)
    daemon.config = config
    for _ in range(2):
        said = reload(daemon, "needs a restart: sluice: instance")
        assert f"needs a restart: stats: listen {listen} -> {elsewhere}" in said
        assert any(line.startswith("needs a restart: stats: admin_socket ") for line in said)
    assert "sluice: log_level info -> debug" in daemon.log and "sluice: lease_ttl 5 -> 2" in daemon.log
    daemon.config["stats"]["listen"] = listen
    assert daemon.get("/readyz")[0] == 200
    wait_until(lambda: 0 < redis_client.pttl("{orders}:sluice:lease") <= 2000, 10, "the shorter lease")
    pushed = push(redis_client, "orders", range(1000))
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (1000, 0)


def test_redis_by_another_way(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}))
    with Load(redis_client, "orders") as load:
        wait_at_work(redis_client)
        reload(daemon, "redis: command_timeout 10 -> 7", config=changed(daemon, "redis", command_timeout=7))
        wait_at_work(redis_client)
        assert daemon.metric("sluice_takeovers_total", queue="orders") == 1
        reload(daemon, "redis: url unix://", "took the queue over: epoch 2",
               config=changed(daemon, "redis", url=f"redis://127.0.0.1:{redis_server.port}"))
        wait_at_work(redis_client)
        assert daemon.metric("sluice_takeovers_total", queue="orders") == 2
        links = [(client["name"], client["addr"], client["age"], client["cmd"]) for client in redis_client.client_list()
                 if client["name"].startswith("sluice")]
        assert len(links) == 2 and not any(redis_server.socket in link[1] for link in links), links
    wait_drained(redis_client)
    assert audit(redis_client, db, load.numbers()) == (len(load.numbers()), 0)


def told(manager):
    """What comes next to the service manager, besides lines of status."""
    text = manager.recv(1000).decode()
    return told(manager) if text.startswith("STATUS=") else text


def test_the_manager_is_told(redis_server, redis_client, pg, clean, sluice, directory):
    make_table(pg)
    path = f"{directory}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, environment(NOTIFY_SOCKET=path):
        manager.bind(path)
        manager.settimeout(10)
        daemon = sluice(queue_config(redis_server, pg))
        assert told(manager) == "READY=1"
        for expected in (1, 0):
            reload(daemon)
            words = dict(line.split("=") for line in told(manager).splitlines())
            assert words["RELOADING"] == "1" and abs(time.monotonic() - int(words["MONOTONIC_USEC"]) / 1e6) < 10
            assert told(manager) == "READY=1"
            assert daemon.metric("sluice_config_last_reload_successful") == expected
            daemon.config["sluice"]["log_level"] = "loud"


def test_many_at_once(db, redis_server, redis_client, sluice):
    """Ten signals in quick succession, each time another file."""
    for table in ("orders", "refunds"):
        make_table(db, table)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=3))
    with Load(redis_client, "orders", "refunds") as load, Sampler(db) as sampler:
        wait_at_work(redis_client)
        for number in range(10):
            config = changed(daemon, "database shop", pool_size=2 + number % 3, query_timeout=20 + number % 2)
            config["queue orders"].update(batch_rows=10 + number, table="refunds" if number % 4 == 1 else "orders")
            config["queue refunds"] = queue("refunds", weight=1 + number)
            if number % 3 == 2:
                del config["queue refunds"]
            daemon.config = config
            daemon.write_config()
            daemon.signal(signal.SIGHUP)
            time.sleep(0.002 * number)
        reload(daemon, config=changed(daemon, "queue refunds", **queue("refunds")))
        for _ in range(10):
            daemon.signal(signal.SIGHUP)
        wait_at_work(redis_client, "orders", "refunds")
    wait_drained(redis_client, "orders", "refunds")
    assert sampler.most <= 4
    rows = [number for table in ("orders", "refunds") for (number,) in db.query(f"SELECT id FROM {table}")]
    assert sorted(rows) == sorted(load.numbers())


def test_stopped_in_the_middle(db, redis_server, redis_client, sluice):
    """SIGTERM right behind SIGHUP: the queue that was to begin anew does not, and all is finished."""
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}))
    with Load(redis_client, "orders") as load:
        wait_at_work(redis_client)
        reload(daemon, config=changed(daemon, "queue orders", on_unknown_field="reject"))
        assert daemon.stop() == 0
        assert not redis_client.exists("{orders}:sluice:lease")
        daemon.start()
    wait_drained(redis_client)
    assert audit(redis_client, db, load.numbers()) == (len(load.numbers()), 0)


# -- what is refused

BAD = {
    "syntax": (lambda text: text.replace("[queue orders]", "[queue orders"), 'lacks its "]"'),
    "indented": (lambda text: text.replace("table = orders", " table = orders"), "an indented line"),
    "unknown key": (lambda text: text.replace("table = ", "tabel = "), 'unknown key "tabel"; did you mean "table"?'),
    "value": (lambda text: text.replace("pool_size = 3", "pool_size = 0"), "out of range 1..1000"),
    "secret": (lambda text: text.replace("pool_size = 3", "pool_size = 4\npassword_file = /nowhere"), "password_file: /nowhere cannot be read"),
    "open secret": (lambda text: text.replace("pool_size = 3", "pool_size = 4\npassword_file = {secret}"), "others may read"),
    "database": (lambda text: text.replace("[database shop]", "[database shopp]"), 'there is no section [database shop]; did you mean "shopp"?'),
    "twice": (lambda text: text + "\n[queue second]\nsource = list:orders\ndatabase = shop\ntable = orders\n", "drains it already"),
    "empty": (lambda text: "", "there is no [queue NAME]"),
    "missing": (None, "cannot be read: No such file"),
}


def test_31_bad_reload(db, redis_server, redis_client, sluice, directory):
    """Whatever is wrong with the file, the configuration in force stays as it is, drains on, and everything that is wrong is said."""
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 50}, pool_size=3))
    good = ini_text(daemon.config)
    secret = f"{directory}/secret"
    with open(secret, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write("secret")
    read_at = daemon.metric("sluice_config_last_reload_success_timestamp_seconds")
    with Load(redis_client, "orders") as load, Sampler(db) as sampler:
        for change, complaint in BAD.values():
            if change is None:
                os.unlink(daemon.config_path)
            else:
                with open(daemon.config_path, "w", encoding="utf-8") as file:
                    file.write(change(good.replace("batch_rows = 50", "batch_rows = 7")).replace("{secret}", secret))
            before = len(daemon.log)
            daemon.signal(signal.SIGHUP)
            wait_until(lambda before=before: "stays as it is" in daemon.log[before:], SETTLE_SECONDS, "a refusal")
            assert f"{daemon.config_path}" in daemon.log[before:] and complaint in daemon.log[before:], daemon.log[before:]
            assert daemon.metric("sluice_config_last_reload_successful") == 0
            wait_at_work(redis_client)
        assert daemon.metric("sluice_config_last_reload_success_timestamp_seconds") == read_at
        assert daemon.metric("sluice_takeovers_total", queue="orders") == 1
        assert sampler.most == 3 and "batch_rows" not in daemon.log
        assert reload(daemon) == ["nothing has changed"]
        assert daemon.metric("sluice_config_last_reload_successful") == 1
        stats = json.loads(daemon.get("/stats")[1])
        assert stats["config_last_reload_successful"] is True and stats["config_last_reload_success_timestamp_s"] > read_at
    wait_drained(redis_client)
    assert audit(redis_client, db, load.numbers()) == (len(load.numbers()), 0)
