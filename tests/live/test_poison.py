"""Bad orders and bad tables: exactly the orders that a table refuses become dead letters, with their reason; a table that does not fit
pauses the queue, and once it is mended the queue goes on by itself."""

import base64
import datetime
import json
import time

import pytest

from daemon import queue_config
from orders import BAD, audit, dead_letters, make_table, order, push
from servers import wait_until

DRAIN_SECONDS = 60
REFUSED_MAX = 100  # refused one after the other: then it is the table


def wait_empty(client, seconds=DRAIN_SECONDS):
    wait_until(lambda: client.llen("orders") == 0, seconds, "an empty queue")


def state_of(daemon, queue="orders"):
    """What /stats says of a queue."""
    return next(state for state in json.loads(daemon.get("/stats")[1])["queues"] if state["name"] == queue)


def wait_paused(daemon, *words):
    """Waits until the queue is paused, with a reason that has these words; returns the reason."""
    def reason():
        state = state_of(daemon)
        return state["reason"] if state["block"] != "none" and all(word in state["reason"] for word in words) else None
    return wait_until(reason, 10, f"a pause because of {words}")


def code_of(letter):
    """sqlstate or errno; "" where none."""
    return letter["error"].get("sqlstate") or letter["error"].get("errno") or ""


def only(db, postgresql, mysql):
    """What goes for this database."""
    return postgresql if db.driver == "postgresql" else mysql


@pytest.mark.parametrize("bad", [[0], [200], [399], [0, 1, 198, 199, 200, 398, 399], range(0, 400, 9)],
                         ids=["first", "middle", "last", "several", "spread"])
def test_bad_orders_anywhere(db, redis_server, redis_client, sluice, bad):
    make_table(db)
    redis_client.lpush("orders", *[BAD[number % len(BAD)] % number if number in bad else order(number) for number in range(400)])
    sluice(queue_config(redis_server, db))
    wait_empty(redis_client)
    assert audit(redis_client, db, range(400)) == (400 - len(bad), len(bad))
    assert sorted(letter["position"] for letter in dead_letters(redis_client, "orders")) == list(bad)


def test_nothing_but_bad_orders(db, redis_server, redis_client, sluice):
    make_table(db)
    redis_client.lpush("orders", *[BAD[number % len(BAD)] % number for number in range(50)])
    sluice(queue_config(redis_server, db))
    wait_empty(redis_client)
    assert audit(redis_client, db, range(50)) == (0, 50)
    assert [letter["position"] for letter in dead_letters(redis_client, "orders")] == list(range(50))


@pytest.mark.parametrize("mode", ["ignore", "upsert"])
def test_one_in_a_hundred(db, redis_server, redis_client, sluice, mode):
    make_table(db)
    db.user_execute("ALTER TABLE orders ADD PRIMARY KEY (id)")
    pushed = push(redis_client, "orders", range(1, 20001), bad_every=100)
    sluice(queue_config(redis_server, db, queue={"mode": mode, "key": "id"}, pool_size=4))
    wait_empty(redis_client)
    assert audit(redis_client, db, pushed) == (19800, 200)


@pytest.mark.parametrize("batch_rows", [1, 4, 1000])
def test_only_the_second_of_a_key_is_refused(db, redis_server, redis_client, sluice, batch_rows):
    db.user_execute("CREATE TABLE orders (id bigint PRIMARY KEY, name varchar(20))")
    numbers = [1, 2, 3, 2, 4, 5, 6, 6, 6, 1, 7]
    redis_client.lpush("orders", *[f'{{"id":{number},"name":"at {place}"}}' for place, number in enumerate(numbers)])
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": batch_rows, "max_batches": 1}))
    wait_empty(redis_client)
    first = {number: f"at {numbers.index(number)}" for number in numbers}
    assert dict(db.query("SELECT id, name FROM orders")) == first
    dead = dead_letters(redis_client, "orders")
    assert [letter["position"] for letter in dead] == [3, 7, 8, 9]
    assert {code_of(letter) for letter in dead} == {only(db, "23505", "1062")}
    assert daemon.metric("sluice_items_dead_total", queue="orders", reason="data") == 4


# A rule that orders 7 and 13 of 20 break: statements that make it, and its code. `customer` is "customer 7" and "customer 13".
RAISES = """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN IF NEW.id IN (7, 13) THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END$$"""
PEOPLE = ["CREATE TABLE people (id bigint PRIMARY KEY)",
          "INSERT INTO people VALUES " + ", ".join(f"({number})" for number in range(20) if number not in (7, 13))]
RULES = {
    "postgresql": {
        "foreign key": (PEOPLE + ["ALTER TABLE orders ADD FOREIGN KEY (id) REFERENCES people"], "23503"),
        "deferred foreign key": (PEOPLE + ["ALTER TABLE orders ADD FOREIGN KEY (id) REFERENCES people DEFERRABLE INITIALLY DEFERRED"], "23503"),
        "check": (["ALTER TABLE orders ADD CONSTRAINT rule CHECK (id NOT IN (7, 13))"], "23514"),
        "trigger": ([RAISES, "CREATE TRIGGER rule BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse()"], "P0001"),
        "deferred trigger": ([RAISES, "CREATE CONSTRAINT TRIGGER rule AFTER INSERT ON orders "
                              "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"],
                             "P0001"),
        "exclusion": (["INSERT INTO orders (id, customer, total) VALUES (107, '', 1), (113, '', 1)",
                       "ALTER TABLE orders ADD EXCLUDE USING btree ((id % 100) WITH =)"], "23P01"),
        "deferred unique": (["INSERT INTO orders (id, customer, total) VALUES (107, 'customer 7', 1), (113, 'customer 13', 1)",
                             "ALTER TABLE orders ADD UNIQUE (customer) DEFERRABLE INITIALLY DEFERRED"], "23505"),
    },
    "mysql": {
        "foreign key": (PEOPLE + ["ALTER TABLE orders ADD FOREIGN KEY (id) REFERENCES people (id)"], "1452"),
        "check": (["ALTER TABLE orders ADD CONSTRAINT rule CHECK (id NOT IN (7, 13))"], "4025"),
        "trigger": (["CREATE TRIGGER rule BEFORE INSERT ON orders FOR EACH ROW IF NEW.id IN (7, 13) THEN SIGNAL SQLSTATE '45000'; END IF"], "1644"),
        # the server names row 2: that of the trigger's own statement
        "trigger's statement": (["CREATE TABLE notes (note varchar(4))", "CREATE TRIGGER rule BEFORE INSERT ON orders FOR EACH ROW "
                                 "INSERT INTO notes VALUES ('fine'), (IF(NEW.id IN (7, 13), 'too long', 'fine'))"], "1406"),
        "unique prefix": (["INSERT INTO orders (id, customer, total) VALUES (107, 'customer 7', 1), (113, 'customer 13', 1)",
                           "ALTER TABLE orders ADD UNIQUE (customer(20))"], "1062"),
        "partition": (["ALTER TABLE orders PARTITION BY LIST (id) (PARTITION most VALUES IN (%s))" %
                       ", ".join(str(number) for number in range(20) if number not in (7, 13))], "1526"),
    },
}


@pytest.mark.parametrize("driver, rule", [(driver, rule) for driver, rules in RULES.items() for rule in rules])
def test_rules_of_the_table(driver, rule, request, redis_server, redis_client, sluice):
    db = request.getfixturevalue("pg" if driver == "postgresql" else "mysql")
    request.getfixturevalue("clean")
    make_table(db)
    statements, code = RULES[driver][rule]
    code = "3819" if db.flavor == "mysql" and rule == "check" else code
    for statement in statements:
        db.user_execute(statement)
    push(redis_client, "orders", range(20))
    sluice(queue_config(redis_server, db))
    wait_empty(redis_client)
    assert [number for (number,) in db.query("SELECT id FROM orders WHERE id < 100 ORDER BY id")] == [n for n in range(20) if n not in (7, 13)]
    dead = dead_letters(redis_client, "orders")
    assert sorted(letter["position"] for letter in dead) == [7, 13]
    assert [(letter["error"]["class"], code_of(letter)) for letter in dead] == [("data", code)] * 2


def test_content_of_dead_letters(db, redis_server, redis_client, sluice):
    make_table(db)
    payloads = [b'{"id":0,"customer":"\xff\x00\x80 no UTF-8"', b"",
                b'{"id":2,"customer":"control \x01\x1f \\ \\\\ / \x7f \xe2\x80\xa8 \xf0\x9f\x98\x80"',
                b'{"id":3,"customer":"c","total":1,"quantity":"x\xf0\x9f\x98\x80"}',
                b'{"id":4,"customer":"c","total":1.00,"note":"' + 40000 * '\u00e9"'.encode().replace(b'"', b'\\"') + b'"}']
    redis_client.lpush("orders", *payloads, order(5))
    before = datetime.datetime.now(datetime.timezone.utc)
    daemon = sluice(queue_config(redis_server, db), name="a.name-of_its.own")
    wait_empty(redis_client)
    after = datetime.datetime.now(datetime.timezone.utc)
    texts = redis_client.lrange("{orders}:dead", 0, -1)
    expected = [("message", None, None), ("message", None, None), ("message", None, None), ("data", only(db, "22P02", "1366"), "quantity"),
                ("data", only(db, "22001", "1406"), "note")]
    assert len(texts) == len(expected)
    for place, (text, (kind, code, column)) in enumerate(zip(texts, expected)):
        letter = json.loads(text.decode("utf-8"))
        assert letter.pop("queue") == "orders" and letter.pop("position") == place and letter.pop("instance") == daemon.instance
        payload = letter.pop("payload")
        assert (base64.b64decode(payload) if letter.pop("encoding", "") == "base64" else payload.encode()) == payloads[place]
        at = datetime.datetime.fromisoformat(letter.pop("at").replace("Z", "+00:00"))
        assert before - datetime.timedelta(seconds=1) <= at <= after + datetime.timedelta(seconds=1)
        error = letter.pop("error")
        assert not letter, f"not documented: {letter}"
        assert error.pop("message") and error.pop("class") == kind
        assert error.pop(only(db, "sqlstate", "errno"), None) == code and error.pop("column", None) == column
        assert not error, f"not documented: {error}"


def test_a_table_that_refuses_everything(db, redis_server, redis_client, sluice):
    make_table(db)
    long_note = order(0).replace('"as usual"', '"' + 60 * "x" + '"').replace('"id":0', '"id":%d')
    redis_client.lpush("orders", *[long_note % number for number in range(1000)])
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 200}, pool_size=3))
    reason = wait_paused(daemon, "refused", "note")
    assert only(db, "22001", "1406") in reason
    assert daemon.metric("sluice_queue_state", queue="orders", state="blocked") == 1
    time.sleep(0.5)
    in_doubt = redis_client.llen("{orders}:dead")
    assert in_doubt <= REFUSED_MAX + 10 and redis_client.llen("orders") >= 1000 - REFUSED_MAX - 10
    db.user_execute(only(db, "ALTER TABLE orders ALTER note TYPE varchar(100)", "ALTER TABLE orders MODIFY note varchar(100)"))
    wait_empty(redis_client)
    rows, dead = audit(redis_client, db, range(1000))
    assert rows >= 1000 - REFUSED_MAX - 20 and dead >= REFUSED_MAX
    assert state_of(daemon)["block"] == "none"


def test_table_that_comes_later(db, redis_server, redis_client, sluice):
    pushed = push(redis_client, "orders", range(100))
    daemon = sluice(queue_config(redis_server, db))
    wait_paused(daemon, "orders", "not there")
    make_table(db)
    wait_empty(redis_client)
    assert audit(redis_client, db, pushed) == (100, 0)


def test_table_renamed_while_running(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db))
    pushed = push(redis_client, "orders", range(100))
    wait_empty(redis_client)
    db.user_execute("ALTER TABLE orders RENAME TO away")
    pushed += push(redis_client, "orders", range(100, 2000))
    wait_paused(daemon, "orders", "not there")
    assert redis_client.llen("orders") == 1900 and redis_client.llen("{orders}:dead") == 0
    db.user_execute("ALTER TABLE away RENAME TO orders")
    wait_empty(redis_client)
    assert audit(redis_client, db, pushed) == (2000, 0)


def test_right_taken_away_while_running(db, redis_server, redis_client, sluice):
    make_table(db)
    user = only(db, "sluice", "sluice@localhost")
    daemon = sluice(queue_config(redis_server, db), start=False)
    if db.driver == "mysql":  # rights to the table alone: those to a database reach a session only when it is opened
        db.execute("GRANT ALL ON shop.orders TO sluice@localhost")
        db.execute("GRANT ALL ON shop.sluice_ledger TO sluice@localhost")
        db.execute("REVOKE ALL ON shop.* FROM sluice@localhost")
    try:
        daemon.start()
        pushed = push(redis_client, "orders", range(100))
        wait_empty(redis_client)
        db.execute(f"REVOKE INSERT ON orders FROM {user}")
        pushed += push(redis_client, "orders", range(100, 500))
        wait_paused(daemon, only(db, "42501", "1142"))
        db.execute(f"GRANT INSERT ON orders TO {user}")
        wait_empty(redis_client)
    finally:
        if db.driver == "mysql":
            db.execute("GRANT ALL ON shop.* TO sluice@localhost")
            db.execute("REVOKE ALL ON shop.sluice_ledger FROM sluice@localhost")
            db.execute("REVOKE ALL ON shop.orders FROM sluice@localhost")
    assert audit(redis_client, db, pushed) == (500, 0)


@pytest.mark.parametrize("engine", ["MyISAM", "MEMORY", "Aria"])
def test_table_without_transactions(mysql, redis_server, redis_client, sluice, engine):
    if mysql.flavor == "mysql" and engine == "Aria":
        pytest.skip("MySQL has no Aria")
    mysql.user_execute(f"CREATE TABLE orders (id bigint) ENGINE={engine}")
    redis_client.lpush("orders", *[f'{{"id":{number}}}' for number in range(100)])
    daemon = sluice(queue_config(redis_server, mysql))
    wait_paused(daemon, "orders", engine, "InnoDB", "ledger = off")
    assert mysql.value("SELECT count(*) FROM orders") == 0 and redis_client.llen("orders") == 100
    mysql.user_execute("ALTER TABLE orders ENGINE=InnoDB")
    wait_empty(redis_client)
    assert audit(redis_client, mysql, range(100)) == (100, 0)


def test_table_without_transactions_at_least_once(mysql, redis_server, redis_client, sluice):
    mysql.user_execute("CREATE TABLE orders (id bigint) ENGINE=MyISAM")
    redis_client.lpush("orders", *[f'{{"id":{number}}}' for number in range(100)])
    sluice(queue_config(redis_server, mysql, queue={"ledger": "off"}))
    wait_empty(redis_client)
    assert audit(redis_client, mysql, range(100)) == (100, 0)


def test_column_dropped_while_running(db, redis_server, redis_client, sluice):
    make_table(db)
    sluice(queue_config(redis_server, db, pool_size=3))
    pushed = push(redis_client, "orders", range(100))
    wait_empty(redis_client)
    db.user_execute("ALTER TABLE orders DROP COLUMN note")
    pushed += push(redis_client, "orders", range(100, 2000))
    wait_empty(redis_client)
    assert audit(redis_client, db, pushed) == (2000, 0)


def test_mapped_column_dropped_and_added_again(db, redis_server, redis_client, sluice):
    make_table(db)
    config = queue_config(redis_server, db)
    config["queue orders"].update({"column.id": "$.id", "column.customer": "$.customer", "column.total": "$.total", "column.note": "$.note"})
    daemon = sluice(config)
    pushed = push(redis_client, "orders", range(100))
    wait_empty(redis_client)
    db.user_execute("ALTER TABLE orders DROP COLUMN note")
    pushed += push(redis_client, "orders", range(100, 500))
    wait_paused(daemon, "column.note")
    db.user_execute("ALTER TABLE orders ADD COLUMN note varchar(60)")
    wait_empty(redis_client)
    assert audit(redis_client, db, pushed) == (500, 0)
    assert db.value("SELECT count(*) FROM orders WHERE note = 'as usual' AND id >= 100") == 400


def test_column_added_for_a_new_field(db, redis_server, redis_client, sluice):
    """The first order that has the new field finds its column."""
    db.user_execute("CREATE TABLE orders (id bigint)")
    sluice(queue_config(redis_server, db))
    redis_client.lpush("orders", '{"id":1}')
    wait_empty(redis_client)
    time.sleep(1.1)  # the table was looked at just now
    db.user_execute("ALTER TABLE orders ADD COLUMN extra int")
    redis_client.lpush("orders", '{"id":2,"extra":5}')
    wait_empty(redis_client)
    assert sorted(db.query("SELECT id, extra FROM orders")) == [(1, None), (2, 5)]


def test_column_added_that_needs_a_value(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db))
    pushed = push(redis_client, "orders", range(100))
    wait_empty(redis_client)
    time.sleep(0.3)  # the table was looked at just now
    db.user_execute("ALTER TABLE orders ADD COLUMN must int NOT NULL DEFAULT 1")
    db.user_execute("ALTER TABLE orders ALTER COLUMN must DROP DEFAULT")
    pushed += push(redis_client, "orders", range(100, 1000))
    wait_paused(daemon, "refuses", only(db, "23502", "1364"))
    db.user_execute("ALTER TABLE orders ALTER COLUMN must SET DEFAULT 2")
    wait_empty(redis_client)
    rows, dead = audit(redis_client, db, pushed)
    assert (rows, dead) == (1000, 0)


@pytest.mark.parametrize("mode", ["insert", "ignore"])
def test_column_retyped_while_running(db, mode, redis_server, redis_client, sluice):
    """Its values are written in another way now: found out before one is refused."""
    make_table(db)
    sluice(queue_config(redis_server, db, queue={"mode": mode}, pool_size=3))
    pushed = push(redis_client, "orders", range(100))
    wait_empty(redis_client)
    time.sleep(0.3)  # the table was looked at just now
    db.user_execute(only(db, "ALTER TABLE orders ALTER customer TYPE jsonb USING to_jsonb(customer)", "ALTER TABLE orders MODIFY quantity bit(8)"))
    pushed += push(redis_client, "orders", range(100, 1000))
    wait_empty(redis_client)
    rows, dead = audit(redis_client, db, pushed)
    assert (rows, dead) == (1000, 0)


def test_max_item_bytes(db, redis_server, redis_client, sluice):
    db.user_execute("CREATE TABLE orders (id bigint, body text)")
    exact, over = ['{"id":%d,"body":"%s"}' % (number, "x" * (2048 - len('{"id":1,"body":""}') + number - 1)) for number in (1, 2)]
    redis_client.lpush("orders", '{"id":0}', exact, over, '{"id":3}', " " * 100000 + '{"id":4}')
    sluice(queue_config(redis_server, db, queue={"max_item_bytes": 2048}))
    wait_empty(redis_client)
    assert sorted(db.query("SELECT id FROM orders")) == [(0,), (1,), (3,)]
    dead = dead_letters(redis_client, "orders")
    assert [letter["position"] for letter in dead] == [2, 4] and dead[0]["payload"] == over.encode()
    assert all("max_item_bytes" in letter["error"]["message"] for letter in dead)


def test_letters_that_swell(pg, redis_server, redis_client, sluice):
    """As a letter they are longer than the words that Redis takes."""
    make_table(pg)
    sizes = {b'"': 1_000_000, b"\0": 1_048_000, b"x": 1_048_575, b"\xff": 1_048_576}
    payloads = [byte * size for byte, size in sizes.items()]
    with redis_server.setting("proto-max-bulk-len", 1 << 20):  # the least that can be set
        push(redis_client, "orders", range(10))
        for payload in payloads:
            redis_client.lpush("orders", payload)
        push(redis_client, "orders", range(10, 20))
        daemon = sluice(queue_config(redis_server, pg))
        wait_empty(redis_client)
        assert pg.value("SELECT count(*) FROM orders") == 20
        assert [letter["payload"] for letter in dead_letters(redis_client, "orders")] == payloads
        assert daemon.command("dead", "list", "orders").stdout.count("message: ") == len(payloads)
        assert daemon.command("dead", "retry", "orders").returncode == 0
        wait_until(lambda: daemon.metric("sluice_items_dead_total") == 2 * len(payloads), DRAIN_SECONDS, "the same again")
        assert [letter["payload"] for letter in dead_letters(redis_client, "orders")] == payloads
        assert daemon.command("dead", "drop", "orders").stdout.startswith(f"{len(payloads)} dropped")


def test_items_of_a_megabyte(db, redis_server, redis_client, sluice):
    db.user_execute("CREATE TABLE orders (id bigint, body %s)" % only(db, "text", "longtext"))
    texts = ["x" * 1_000_000, "\U0001f600" * 250_000, '\\"' * 500_000, "'" * 1_000_000, "x" * 3_000_000, "x" * 5_000_000]
    pushed = list(range(3 * len(texts)))
    for number in pushed:
        redis_client.lpush("orders", '{"id":%d,"body":"%s"}' % (number, texts[number % len(texts)]))
    bombs = ['{"id":%d,"a":' % number + opening * (900_000 // len(opening)) for number, opening in ((100, "["), (101, '{"a":'), (102, '[{"":'))]
    redis_client.lpush("orders", *bombs)
    sluice(queue_config(redis_server, db, queue={"max_item_bytes": "4M", "batch_bytes": "2M"}, pool_size=3))
    wait_empty(redis_client)
    assert audit(redis_client, db, pushed + [100, 101, 102]) == (15, 6)
    lengths = dict(db.query("SELECT id, char_length(body) FROM orders"))
    assert lengths == {number: len(texts[number % len(texts)].replace('\\"', '"')) for number in pushed if number % len(texts) != 5}


def test_larger_than_the_server_takes(mysql, redis_server, redis_client, sluice):
    mysql.user_execute("CREATE TABLE orders (id bigint, body longtext)")
    usual = mysql.value("SELECT @@global.max_allowed_packet")
    mysql.execute("SET GLOBAL max_allowed_packet = 1048576")
    try:
        for number, size in enumerate([10, 900_000, 1_200_000, 700_000, 2_000_000, 10]):
            redis_client.lpush("orders", '{"id":%d,"body":"%s"}' % (number, "x" * size))
        sluice(queue_config(redis_server, mysql, queue={"max_item_bytes": "4M", "batch_bytes": "8M"}, pool_size=2))
        wait_empty(redis_client)
    finally:
        mysql.execute(f"SET GLOBAL max_allowed_packet = {usual}")
    assert audit(redis_client, mysql, range(6)) == (4, 2)
    assert all("max_allowed_packet" in letter["error"]["message"] for letter in dead_letters(redis_client, "orders"))


@pytest.mark.parametrize("batch_rows", [5, 1000])
def test_dead_letters_full(db, redis_server, redis_client, sluice, batch_rows):
    make_table(db)
    pushed = push(redis_client, "orders", range(1, 301), bad_every=10)
    daemon = sluice(queue_config(redis_server, db, queue={"dead_letter_max": 8, "batch_rows": batch_rows}, pool_size=3))
    taken = []
    for _round in range(20):
        wait_until(lambda: redis_client.llen("orders") == 0 or state_of(daemon)["block"] == "dead letters full", 10, "a pause, or the end")
        if redis_client.llen("orders") == 0:
            break
        assert "dead_letter_max" in state_of(daemon)["reason"]
        taken += dead_letters(redis_client, "orders")
        redis_client.delete("{orders}:dead")
        wait_until(lambda: state_of(daemon)["block"] == "none" or redis_client.llen("{orders}:dead") > 0, 10, "going on by itself")
    taken += dead_letters(redis_client, "orders")
    assert redis_client.llen("orders") == 0
    rows = {number for (number,) in db.query("SELECT id FROM orders")}
    assert len(taken) == 30 and sorted(letter["position"] for letter in taken) == [number - 1 for number in pushed if number % 10 == 0]
    assert rows == {number for number in pushed if number % 10}
