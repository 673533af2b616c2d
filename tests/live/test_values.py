"""What a message becomes: what is sent arrives unchanged, and what a table cannot hold is a dead letter that says why, and nothing else is."""

import base64
import collections
import datetime
import json
import random
import re

import pytest

from daemon import queue_config
from orders import ID, dead_letters
from servers import wait_until

DRAIN_SECONDS = 60
DEPTH_MAX = 32

# A value as it stands in the message, and what is to be read back: text as the server writes it, None for NULL, or why it is refused.
Case = collections.namedtuple("Case", "column sent arrives")
# `code` is sqlstate or errno; "" where no server was asked. `words` stand in the message.
Refused = collections.namedtuple("Refused", "code words", defaults=("",))

TEXTS = ["", " both ends ", "tab\tnewline\nreturn\rbackspace\bfeed\f", "it's \"quoted\" `so`", "back\\slash \\n \\\\ \\x41 \\t",
         "\\N", "\\.", "NULL", "DEFAULT",
         "'; DROP TABLE things; --", "%s %d %%", "\x01\x1a\x1b\x7f", "Zo\u00eb e\u0301 \u2028 \u202e \ufeff",
         "\U0001f600 \U0001f468\u200d\U0001f469 \U0010ffff \uffff",
         "ends with a backslash\\", "ends with a quote'", "{1,2}", "x" * 20000]

BOTH = [Case("txt", json.dumps(text, ensure_ascii=plain), text) for text in TEXTS for plain in (True, False)] + [
    Case("big", "9007199254740993", "9007199254740993"),
    Case("big", "-9223372036854775808", "-9223372036854775808"),
    Case("big", '"42"', "42"),
    Case("big", "null", None),
    Case("money", "12.10", "12.10"),
    Case("money", '"12.10"', "12.10"),
    Case("money", "1e3", "1000.00"),
    Case("money", "-0.01", "-0.01"),
    Case("number", "9007199254740993.125", "9007199254740993.125"),
    Case("dbl", "0.1", "0.1"),
    Case("txt", "12.10", "12.10"),
    Case("txt", "9007199254740993", "9007199254740993"),
    Case("txt", "1E+2", "1E+2"),
    Case("txt", "-0.0", "-0.0"),
    Case("txt", "1e400", "1e400"),
    Case("txt", "true", "true"),
    Case("txt", "false", "false"),
    Case("txt", "null", None),
    Case("txt", '{"b" : [1,  2.50], "a":"\\u00e9"}', '{"b" : [1,  2.50], "a":"\\u00e9"}'),
    Case("txt", "[ ]", "[ ]"),
    Case("txt", '"half \\ud800 a pair"', Refused("", "txt")),
    Case("txt", '"the other half \\udc00"', Refused("", "txt")),
    Case("txt", '{"deep":["\\ud83d"]}', Refused("", "txt")),
    Case("short", '"\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9"', "\u00e9" * 5),
    Case("chars", '"ab"', "ab"),
    Case("day", '"2024-02-29"', "2024-02-29"),
    Case("day", '"2024-05-06T07:08:09Z"', "2024-05-06"),
    Case("clock", '"07:08:09.5"', "07:08:09.5"),
    Case("uid", '"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"', "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    Case("mood", '"ok"', "ok"),
    Case("mood", '"it\'s \\"so\\" \\\\"', "it's \"so\" \\"),
    Case("doc", '{"b" :1,\n"a": 9007199254740993, "a":[12.10, null]}', '{"b" :1,\n"a": 9007199254740993, "a":[12.10, null]}'),
    Case("doc", '"a \\"text\\""', '"a \\"text\\""'),
    Case("doc", "12.10", "12.10"),
    Case("doc", "true", "true"),
    Case("doc", "null", None),
    Case("doc", '{"z":"\\u0000","e":"\\ud83d\\ude00"}', '{"z":"\\u0000","e":"\\ud83d\\ude00"}'),
    Case("doc", (DEPTH_MAX - 1) * "[" + (DEPTH_MAX - 1) * "]", (DEPTH_MAX - 1) * "[" + (DEPTH_MAX - 1) * "]"),
    Case("doc", DEPTH_MAX * "[" + DEPTH_MAX * "]", Refused("")),
    Case("made", "5", None),
]

CASES = {
    "postgresql": BOTH + [
        Case("big", "9223372036854775808", Refused("22003")),
        Case("big", "12.5", Refused("22P02")),
        Case("big", '"x"', Refused("22P02")),
        Case("money", "99999999999.99", Refused("22003")),
        Case("number", "1e400", "1" + 400 * "0"),
        Case("number", "0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        Case("dbl", "1e400", Refused("22003")),
        Case("dbl", "5e-324", "5e-324"),
        Case("dbl", '"NaN"', "NaN"),
        Case("flag", "true", "true"),
        Case("flag", "false", "false"),
        Case("flag", "1", "true"),
        Case("flag", '"maybe"', Refused("22P02")),
        Case("txt", '"a\\u0000b"', Refused("", "u0000")),
        Case("short", '"123456"', Refused("22001")),
        Case("day", '"2023-02-29"', Refused("22008")),
        Case("day", '"soon"', Refused("22007")),
        Case("moment", '"2024-02-29T23:59:59.987Z"', "2024-02-29 23:59:59.987+00"),
        Case("moment", '"2024-03-01T01:30:00+02:00"', "2024-02-29 23:30:00+00"),
        Case("moment", '"1969-12-31T23:59:59.123456-05:30"', "1970-01-01 05:29:59.123456+00"),
        Case("local", '"2024-02-29T23:59:59.123456"', "2024-02-29 23:59:59.123456"),
        Case("span", '"1 day 02:03:04"', "1 day 02:03:04"),
        Case("uid", '"nope"', Refused("22P02")),
        Case("raw", '"\\\\x00ff275c"', "\\x00ff275c"),
        Case("raw", '"plain"', "\\x706c61696e"),
        Case("raw", '"\\\\x0"', Refused("22023")),
        Case("bits", '"1010"', "1010"),
        Case("bits", '"10"', Refused("22026")),
        Case("mood", '"meh"', Refused("22P02")),
        Case("doc", '{"z":"\\udc00"}', Refused("", "doc")),
        Case("docb", '{"b": 1, "a": [null, 12.10]}', '{"a": [null, 12.10], "b": 1}'),
        Case("docb", "9007199254740993", "9007199254740993"),
        Case("docb", '"a \\"text\\" \\\\"', '"a \\"text\\" \\\\"'),
        Case("docb", '{"z":"\\u0000"}', Refused("22P05")),
        Case("ints", "[1, null,3]", "{1,NULL,3}"),
        Case("ints", "[]", "{}"),
        Case("ints", '"{4,5}"', "{4,5}"),
        Case("ints", '[1,"x"]', Refused("22P02")),
        Case("texts", '["a,b","{}","q\\"q","back\\\\slash","NULL",null,"","sp ace","tab\\t",true,12.10]',
             '{"a,b","{}","q\\"q","back\\\\slash","NULL",NULL,"","sp ace","tab\t",true,12.10}'),
        Case("texts", '["a\\u0000"]', Refused("", "u0000")),
        Case("grid", "[[1,2],[3,4]]", "{{1,2},{3,4}}"),
        Case("grid", "[[1],[2,3]]", Refused("", "differ in length")),
        Case("moods", '["ok","sad"]', "{ok,sad}"),
        Case("docs", '[{"a": "x,\\"y\\""},null]', '{"{\\"a\\": \\"x,\\\\\\"y\\\\\\"\\"}",NULL}'),
        Case("addr", '"10.0.0.1/8"', "10.0.0.1/8"),
        Case("positive", "1", "1"),
        Case("positive", "0", Refused("23514")),
        Case("hours", '"5"', "05:00:00"),
        Case("shorts", '["abc"]', "{abc}"),
        Case("shorts", '["abcd"]', Refused("22001")),
        Case("area", '"(2,2),(0,0)"', "(2,2),(0,0)"),
        Case("who", '"(Zo\u00eb,7)"', "(Zo\u00eb,7)"),
        Case("stretch", '"[1,5)"', "[1,5)"),
        Case("letter", '"x"', "x"),
    ],
    "mysql": BOTH + [
        Case("big", "9223372036854775808", Refused("1264")),
        Case("big", '"x"', Refused("1366")),
        Case("ubig", "18446744073709551615", "18446744073709551615"),
        Case("ubig", "-1", Refused("1264")),
        Case("flag", "true", "1"),
        Case("flag", "false", "0"),
        Case("flag", '"true"', Refused("1366")),
        Case("flag", "300", Refused("1264")),
        Case("money", "99999999999.99", Refused("1264")),
        Case("money", '"12.10 EUR"', Refused("1265")),
        Case("number", "0.100000000000000005551115123125", "0.100000000000000005551115123125"),
        Case("number", "1e400", Refused("1264")),
        Case("dbl", "1e400", Refused("1264")),
        Case("dbl", "1e308", "1e308"),
        Case("big", "12.5", "13"),
        Case("big", "-12.5", "-13"),
        Case("big", "999999999999999999", "999999999999999999"),
        Case("big", "1000000000000000001", "1000000000000000001"),
        Case("money", "9999999999.99", "9999999999.99"),
        Case("money", "0.1", "0.10"),
        Case("dbl", "0.30000000000000004", "0.30000000000000004"),
        Case("dbl", "123456.789012345678", "123456.78901234567"),
        Case("years", "2024", "2024"),
        Case("years", "0", "2000"),
        Case("years", "24", "2024"),
        Case("years", "true", Refused("1366")),
        Case("txt", '"a\\u0000b"', "a\0b"),
        Case("latin", '"Zo\\u00eb"', "Zo\u00eb"),
        Case("latin", '"\\ud83d\\ude00"', Refused("1366")),
        Case("short", '"123456"', Refused("1406")),
        Case("day", '"2023-02-29"', Refused("1292")),
        Case("day", '"0000-00-00"', Refused("1292")),
        Case("moment", '"2024-02-29T23:59:59.987Z"', "2024-02-29 23:59:59.987"),
        Case("moment", '"2024-03-01T01:30:00+02:00"', "2024-02-29 23:30:00.000"),
        Case("moment", '"2024-12-31t23:30:00.5-0530"', "2025-01-01 05:00:00.500"),
        Case("moment", '"2024-05-06"', "2024-05-06 00:00:00.000"),
        Case("moment", '"2024-05-06 07:08:09.1"', "2024-05-06 07:08:09.100"),
        Case("moment", '"2023-02-29T00:00:00Z"', Refused("1292")),
        Case("moment", '"tomorrow"', Refused("1292")),
        Case("stamp", '"2024-03-01T01:30:00.123456+02:00"', "2024-02-29 23:30:00.123456"),
        Case("stamp", '"1969-01-01T00:00:00Z"', Refused("1292")),
        Case("clock", '"-838:59:58.1"', "-838:59:58.1"),
        Case("uid", '"nope"', Refused("1292")),
        Case("raw", '"it\'s \\u0000 \\u00e9 \\\\"', "69742773200020C3A9205C"),
        Case("bits", "5", "101"),
        Case("bits", "true", "1"),
        Case("bits", '"110"', "110"),
        Case("bits", "256", Refused("1406")),
        Case("bits", "-1", Refused("", "bit")),
        Case("mood", '"meh"', Refused("1265")),
        Case("colours", '"red,blue"', "red,blue"),
        Case("colours", '"red,mauve"', Refused("1265")),
        Case("addr", '"::1"', "::1"),
    ],
}

# Type of each column and how it is read back as text; %s is the column.
COLUMNS = {
    "postgresql": {
        "id": "bigint PRIMARY KEY", "big": "bigint", "money": "numeric(12,2)", "number": "numeric", "dbl": "double precision",
        "flag": "boolean", "txt": "text",
        "short": "varchar(5)", "chars": "char(4)", "day": "date", "clock": "time", "moment": "timestamptz", "local": "timestamp", "span": "interval",
        "uid": "uuid", "raw": "bytea", "bits": "bit(4)", "mood": "mood", "doc": "json", "docb": "jsonb", "ints": "int[]",
        "texts": "text[]", "grid": "int[][]",
        "moods": "mood[]", "docs": "jsonb[]", "addr": "inet", "positive": "positive",
        "hours": "interval hour", "shorts": "varchar(3)[]", "area": "box", "who": "person", "stretch": "int4range", "letter": '"char"',
        "made": "bigint GENERATED ALWAYS AS (big % 7) STORED",
    },
    "mysql": {
        "id": "bigint PRIMARY KEY", "big": "bigint", "ubig": "bigint unsigned", "money": "decimal(12,2)", "number": "decimal(65,30)", "dbl": "double",
        "flag": "boolean", "years": "year", "txt": "text", "latin": "varchar(20) CHARACTER SET latin1", "short": "varchar(5)",
        "chars": "char(4)", "day": "date",
        "clock": "time(1)", "moment": "datetime(3)", "stamp": "timestamp(6) NULL", "uid": "uuid", "raw": "blob", "bits": "bit(8)",
        "mood": """enum('ok', 'sad', 'it''s "so" \\\\')""", "colours": "set('red', 'green', 'blue')", "doc": "json", "addr": "inet6",
        "made": "bigint GENERATED ALWAYS AS (big % 7) STORED",
    },
}
READ_AS = {"raw": "HEX(%s)", "bits": "BIN(%s)", "number": "TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM %s))",
           "stamp": "CONVERT_TZ(%s, @@session.time_zone, '+00:00')"}


MARIADB_ALONE = ("uid", "addr")  # types that MySQL does not have
# What is otherwise on MySQL, which takes JSON apart; by column and what is sent.
ON_MYSQL = {
    ("doc", '{"b" :1,\n"a": 9007199254740993, "a":[12.10, null]}'): '{"a": [12.1, null], "b": 1}',
    ("doc", "12.10"): "12.1",
    ("doc", '{"z":"\\u0000","e":"\\ud83d\\ude00"}'): '{"e": "\U0001f600", "z": "\\u0000"}',
    ("money", '"12.10 EUR"'): Refused("1366"),
    ("number", "1e400"): Refused("1366"),
}


def columns_of(db):
    """{name: type}."""
    return {name: kind for name, kind in COLUMNS[db.driver].items() if db.flavor != "mysql" or name not in MARIADB_ALONE}


def cases_of(db):
    """What holds for this server."""
    cases = [case for case in CASES[db.driver] if case.column in columns_of(db)]
    return cases if db.flavor != "mysql" else [case._replace(arrives=ON_MYSQL.get((case.column, case.sent), case.arrives)) for case in cases]


def make_things(db):
    if db.driver == "postgresql":
        db.user_execute("""CREATE TYPE mood AS ENUM ('ok', 'sad', 'it''s "so" \\')""")
        db.user_execute("CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
        db.user_execute("CREATE TYPE person AS (name text, age int)")
    columns = ", ".join(f"{name} {kind}" for name, kind in columns_of(db).items())
    db.user_execute(f"CREATE TABLE things ({columns})")


def read_things(db, column):
    """{id: the column as text}."""
    read = f"{column}::text" if db.driver == "postgresql" else f"CONVERT({READ_AS.get(column, '%s') % column} USING utf8mb4)"
    return dict(db.query(f"SELECT id, {read} FROM things"))


def wait_empty(client, *keys):
    for key in keys or ("orders",):
        wait_until(lambda key=key: client.llen(key) == 0, DRAIN_SECONDS, f"the end of queue {key}")


def code_of(letter):
    """sqlstate or errno; "" where none."""
    return letter["error"].get("sqlstate") or letter["error"].get("errno") or ""


def verdict(case, letter, stored, names_column):
    """What is wrong with this case, or None."""
    if not isinstance(case.arrives, Refused):
        return f"dead: {letter['error']}" if letter else None if stored == (case.arrives,) else f"arrived as {stored}"
    if not letter:
        return f"stored as {stored}"
    error = letter["error"]
    named = error.get("column")
    if code_of(letter) != case.arrives.code or error["class"] != ("data" if case.arrives.code else "message"):
        return f"dead for {error}"
    if case.arrives.words not in error["message"] or named not in (case.column, None) or (names_column and case.arrives.code and not named):
        return f"dead without its reason: {error}"
    return None


@pytest.mark.parametrize("mode", ["insert", "ignore", "upsert"])
def test_what_is_sent_arrives(db, mode, redis_server, redis_client, sluice):
    make_things(db)
    cases = cases_of(db)
    messages = [f'{{"id":{number},"{case.column}":{case.sent}}}' for number, case in enumerate(cases)]
    redis_client.lpush("orders", *messages)
    sluice(queue_config(redis_server, db, queue={"table": "things", "mode": mode, **({} if mode == "insert" else {"key": "id"})}))
    wait_empty(redis_client)
    letters = {int(ID.search(letter["payload"])[1]): letter for letter in dead_letters(redis_client, "orders")}
    stored = {column: read_things(db, column) for column in {case.column for case in cases}}
    names_column = db.driver == "mysql" or mode == "insert"  # PostgreSQL names the column of a bad text only to COPY
    wrong = []
    for number, case in enumerate(cases):
        there = stored[case.column]
        why = verdict(case, letters.get(number), (there[number],) if number in there else (), names_column)
        if why:
            wrong.append(f"{case.column} {case.sent[:80]}: {why}")
    assert not wrong, "\n".join(wrong)
    for number, letter in letters.items():
        assert letter["payload"] == messages[number].encode()
        assert letter["position"] == number


@pytest.mark.parametrize("mode", ["ignore", "upsert"])
def test_whole_batches_arrive(pg, mode, redis_server, redis_client, sluice):
    """What an INSERT takes as arrays, a column each, is what it takes row by row; types that have no place in an array go as rows."""
    make_things(pg)
    pg.user_execute("CREATE TABLE seen (n serial, arrays boolean)")
    pg.user_execute("CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN INSERT INTO seen (arrays) VALUES (current_query() LIKE '% FROM unnest(%'); RETURN NULL; END $$")
    pg.user_execute("CREATE TRIGGER see BEFORE INSERT ON things FOR EACH STATEMENT EXECUTE FUNCTION see()")
    batches = {}  # of one column each
    for case in cases_of(pg):
        if not isinstance(case.arrives, Refused) and case.column != "made":
            batches.setdefault(case.column, []).append(case)
    rows = max(len(cases) for cases in batches.values())
    cases = [cases[number % len(cases)] for cases in batches.values() for number in range(rows)]
    redis_client.lpush("orders", *[f'{{"id":{number},"{case.column}":{case.sent}}}' for number, case in enumerate(cases)])
    sluice(queue_config(redis_server, pg, queue={"table": "things", "mode": mode, "key": "id", "batch_rows": rows}, pool_size=1))
    wait_empty(redis_client)
    assert dead_letters(redis_client, "orders") == []
    stored = {column: read_things(pg, column) for column in batches}
    wrong = [f"{case.column} {case.sent[:80]}: {stored[case.column].get(number)}" for number, case in enumerate(cases)
             if stored[case.column].get(number) != case.arrives]
    assert not wrong, "\n".join(wrong)
    arrays = [arrays for arrays, in pg.query("SELECT arrays FROM seen ORDER BY n")]
    assert dict(zip(batches, arrays)) == {column: column not in ("hours", "area", "who") for column in batches} and len(arrays) == len(batches)


def test_what_is_no_message(db, redis_server, redis_client, sluice):
    make_things(db)
    bad = [b"", b" ", b"null", b"12", b'"text"', b"[]", b'[{"id":1}]', b"{", b'{"id":1', b'{"id":1}}', b'{"id":1}{"id":2}', b'{"id":1,}', b"{'id':1}",
           b'{"id":01}', b'{"id":+1}', b'{"id":.5}', b'{"id":NaN}', b'{"id":1 /* one */}', b'\xef\xbb\xbf{"id":1}', b'{"id":1,"txt":"\xff"}',
           b'{"id":1,"txt":"\xed\xa0\x80"}', b'{"id":1,"txt":"\xc0\xaf"}', b'{"id":1,"txt":"tab\there"}', b'{"id":1,"txt":"nul\0here"}',
           b'{"id":1,"txt":"\\x41"}',
           b'{"id":1,"nobody wants":"\\ud800"}', b'{"id":1,"nobody wants":tru}', b'{"\\ud800":1,"id":1}', b'{"id":1,"deep":' + 100000 * b"[", b"{}\0",
           b'{"id":1,"deep":' + DEPTH_MAX * b"[" + DEPTH_MAX * b"]" + b"}"]
    good = [b'{"id":101}', b' \r\n\t{ "id" : 102 } \n', b'{"txt":"x","id":103,"\\u0000":1,"":{}}',
            b'{"id":104,"deep":' + (DEPTH_MAX - 1) * b"[" + (DEPTH_MAX - 1) * b"]" + b"}"]
    mixed = good + bad
    random.Random(1).shuffle(mixed)
    redis_client.lpush("orders", *mixed)
    sluice(queue_config(redis_server, db, queue={"table": "things"}))
    wait_empty(redis_client)
    assert sorted(db.query("SELECT id FROM things")) == [(101,), (102,), (103,), (104,)]
    letters = dead_letters(redis_client, "orders")
    assert [letter["payload"] for letter in letters] == [item for item in mixed if item in bad]
    for letter in letters:
        assert letter["error"]["class"] == "message" and letter["error"]["message"] and mixed[letter["position"]] == letter["payload"]
    raw = [json.loads(text) for text in redis_client.lrange("{orders}:dead", 0, -1)]
    for text, letter in zip(raw, letters):
        assert ("encoding" in text) == (b"\xff" in letter["payload"] or b"\xed\xa0" in letter["payload"] or b"\xc0" in letter["payload"])


def test_absent_is_not_null(db, redis_server, redis_client, sluice):
    db.user_execute("""CREATE TABLE orders (id bigint PRIMARY KEY, remark varchar(20) DEFAULT 'none', must varchar(20) NOT NULL DEFAULT 'must',
        given varchar(20) NOT NULL)""")
    redis_client.lpush("orders", '{"id":1,"given":"a"}', '{"id":2,"given":"b","remark":null}', '{"id":3,"given":"c","remark":"r","must":"m"}',
                       '{"id":4,"given":"d","must":null}', '{"id":5,"remark":"r"}', '{"id":6,"given":null}', '{"must":"m","id":7,"given":""}', '{}')
    sluice(queue_config(redis_server, db))
    wait_empty(redis_client)
    assert db.query("SELECT id, remark, must, given FROM orders ORDER BY id") == [
        (1, "none", "must", "a"), (2, None, "must", "b"), (3, "r", "m", "c"), (7, "none", "m", "")]
    null, missing = ("23502", "23502") if db.driver == "postgresql" else ("1048", "1364")
    dead = {letter["position"]: (code_of(letter), letter["error"].get("column")) for letter in dead_letters(redis_client, "orders")}
    assert dead.pop(7)[0] == missing
    assert dead == {3: (null, "must"), 4: (missing, "given"), 5: (null, "given")}


def test_numbers_that_the_table_gives(db, redis_server, redis_client, sluice):
    kind = "bigint GENERATED BY DEFAULT AS IDENTITY" if db.driver == "postgresql" else "bigint NOT NULL AUTO_INCREMENT"
    db.user_execute(f"CREATE TABLE orders (id {kind} PRIMARY KEY, name varchar(20), upper_name varchar(20) GENERATED ALWAYS AS (upper(name)) STORED)")
    redis_client.lpush("orders", '{"name":"first"}', '{"id":77,"name":"own"}', '{"name":"last","upper_name":"no"}')
    sluice(queue_config(redis_server, db, queue={"batch_rows": 1, "max_batches": 1}))
    wait_empty(redis_client)
    rows = {name: (number, upper) for number, name, upper in db.query("SELECT id, name, upper_name FROM orders")}
    assert rows == {"first": (1, "FIRST"), "own": (77, "OWN"), "last": (2 if db.driver == "postgresql" else 78, "LAST")}
    assert not redis_client.exists("{orders}:dead")


def test_identity_that_is_always_given(pg, redis_server, redis_client, sluice):
    pg.user_execute("CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY, name text)")
    redis_client.lpush("orders", '{"id":77,"name":"a"}', '{"name":"b"}', '{}')
    sluice(queue_config(redis_server, pg, queue={"max_batches": 1}))
    wait_empty(redis_client)
    assert sorted(pg.query("SELECT name, id < 10 FROM orders"), key=str) == [("a", True), ("b", True), (None, True)]


def test_column_lines(db, redis_server, redis_client, sluice):
    pg = db.driver == "postgresql"
    db.user_execute("""CREATE TABLE orders (id bigint, city varchar(20), dotted varchar(20), message text, raw %s, received %s,
        source varchar(20), place bigint,
        untouched varchar(20) DEFAULT 'yes')""" % (("bytea", "timestamptz") if pg else ("blob", "datetime(6)")))
    config = queue_config(redis_server, db)
    config["queue orders"].update({"column.id": "$.order.id", "column.city": "$.order.to.city", "column.dotted": "$['a.b']['it\\'s']",
                                  "column.message": "$",
                                   "column.raw": "base64($.file)", "column.received": "@now", "column.source": "@queue", "column.place": "@position"})
    content = bytes(range(256))
    first = json.dumps({"order": {"id": 1, "to": {"city": "K\u00f6ln"}}, "a.b": {"it's": "x"},
                        "untouched": "no", "file": base64.b64encode(content).decode()})
    messages = [first, '{"order":{"id":2,"to":null},"file":null}', '{"order":{"id":3},"file":""}', '{"order":{"id":4},"file":"no base64!"}',
                '{"order":{"id":5},"file":7}', '{ "order" : {"id":6, "to":{"city":{"a": 1}}}, "file":"-_8" }', '{"order":[7]}']
    redis_client.lpush("orders", *messages)
    sluice(config)
    wait_empty(redis_client)
    rows = {place: row for place, *row in db.query("SELECT place, id, city, dotted, message, raw, source, untouched FROM orders")}
    raw = {place: None if row[4] is None else bytes(row[4]) for place, row in rows.items()}
    assert raw == {0: content, 1: None, 2: b"", 5: b"\xfb\xff", 6: None}
    assert [row[:3] for _place, row in sorted(rows.items())] == [[1, "K\u00f6ln", "x"], [2, None, None], [3, None, None], [6, '{"a": 1}', None],
                                                                [None, None, None]]
    for place, row in rows.items():
        assert row[3] == messages[place] and row[5:] == ["orders", "yes"]
    for (received,) in db.query("SELECT received FROM orders"):
        received = received if received.tzinfo else received.replace(tzinfo=datetime.timezone.utc)
        assert abs(datetime.datetime.now(datetime.timezone.utc) - received) < datetime.timedelta(minutes=1)
    dead = dead_letters(redis_client, "orders")
    assert [(letter["position"], letter["error"]["class"], letter["error"]["column"]) for letter in dead] == [
        (3, "message", "raw"), (4, "message", "raw")]


def test_unknown_field_rejected(db, redis_server, redis_client, sluice):
    db.user_execute("CREATE TABLE orders (id bigint, name varchar(20))")
    redis_client.lpush("orders", '{"id":1,"name":"a"}', '{"id":2,"nmae":"b"}', '{"id":3,"name":"c","id2":{"x":1}}', '{"name":"d"}')
    sluice(queue_config(redis_server, db, queue={"on_unknown_field": "reject"}))
    wait_empty(redis_client)
    assert sorted(db.query("SELECT name, id FROM orders")) == [("a", 1), ("d", None)]
    dead = dead_letters(redis_client, "orders")
    assert [letter["position"] for letter in dead] == [1, 2]
    assert '"nmae"' in dead[0]["error"]["message"] and '"id2"' in dead[1]["error"]["message"]


def test_same_field_twice(db, redis_server, redis_client, sluice):
    db.user_execute("CREATE TABLE orders (id bigint, name varchar(20), inner_name varchar(20))")
    config = queue_config(redis_server, db)
    config["queue orders"].update({"column.id": "$.id", "column.name": "$.name", "column.inner_name": "$.o.n"})
    redis_client.lpush("orders", '{"name":"a","id":1,"name":"b"}', '{"id":2,"name":"a","n\\u0061me":null}',
                       '{"id":9,"id":3,"o":{"n":"a"},"o":{"n":"b","n":"c"}}',
                       '{"id":4,"o":{"n":"a"},"o":{}}')
    sluice(config)
    wait_empty(redis_client)
    assert db.query("SELECT id, name, inner_name FROM orders ORDER BY id") == [(1, "b", None), (2, None, None), (3, None, "c"), (4, None, None)]


def test_ignore_counts_duplicates(db, redis_server, redis_client, sluice):
    db.user_execute("CREATE TABLE orders (id bigint PRIMARY KEY, name varchar(20), email varchar(20) UNIQUE)")
    db.execute("INSERT INTO orders (id, name, email) VALUES (1, 'old', 'one'), (2, 'old', 'two')")
    redis_client.lpush("orders", '{"id":1,"name":"new"}', '{"id":3,"name":"first"}', '{"id":3,"name":"second"}', '{"id":2}', '{"id":4,"email":"one"}',
                       '{"id":5,"name":"x","email":null}', '{"id":6,"name":"far too long for this column"}')
    daemon = sluice(queue_config(redis_server, db, queue={"mode": "ignore", "key": "id"}))
    wait_empty(redis_client)
    assert db.query("SELECT id, name, email FROM orders ORDER BY id") == [(1, "old", "one"), (2, "old", "two"), (3, "first", None), (5, "x", None)]
    assert daemon.metric("sluice_items_duplicate_total", queue="orders") == 3
    assert daemon.metric("sluice_items_committed_total", queue="orders") == 2
    dead = dead_letters(redis_client, "orders")
    assert [letter["position"] for letter in dead] == [4, 6], "another unique index than the key is no duplicate"


def test_upsert(db, redis_server, redis_client, sluice):
    db.user_execute("CREATE TABLE orders (shop varchar(10), id bigint, name varchar(20) DEFAULT 'none', note varchar(20), PRIMARY KEY (shop, id))")
    db.execute("INSERT INTO orders VALUES ('a', 1, 'old', 'kept'), ('a', 2, 'old', 'old')")
    redis_client.lpush("orders", '{"id":1,"shop":"a","name":"new"}', '{"id":2,"shop":"a","note":null}', '{"id":1,"shop":"b","name":"b1"}',
                       '{"id":3,"shop":"a","name":"1"}', '{"id":3,"shop":"a","name":"2","note":"n"}', '{"id":3,"shop":"a","name":"3"}',
                       '{"id":4,"shop":"a","name":"far too long for this column"}', '{"id":5,"shop":"a"}', '{"id":5,"shop":"a"}')
    sluice(queue_config(redis_server, db, queue={"mode": "upsert", "key": "shop, id"}))
    wait_empty(redis_client)
    assert db.query("SELECT shop, id, name, note FROM orders ORDER BY shop, id") == [
        ("a", 1, "new", "kept"), ("a", 2, "old", None), ("a", 3, "3", "n"), ("a", 5, "none", None), ("b", 1, "b1", None)]
    assert [letter["position"] for letter in dead_letters(redis_client, "orders")] == [6]


def test_upsert_of_a_key_again_and_again(db, redis_server, redis_client, sluice):
    """Without `newer` the last one wins, over many batches."""
    db.user_execute("CREATE TABLE orders (id bigint PRIMARY KEY, v int)")
    numbers = [random.Random(2).randrange(20) for _ in range(2000)]
    redis_client.lpush("orders", *[f'{{"id":{number},"v":{place}}}' for place, number in enumerate(numbers)])
    sluice(queue_config(redis_server, db, queue={"mode": "upsert", "key": "id", "batch_rows": 50}, pool_size=4))
    wait_empty(redis_client)
    assert dict(db.query("SELECT id, v FROM orders")) == {number: place for place, number in enumerate(numbers)}


def test_upserts_do_not_deadlock(pg, clean, redis_server, redis_client, sluice):
    """Batches that meet at the same keys all the time, each with the keys in another order."""
    pg.user_execute("CREATE TABLE orders (id bigint PRIMARY KEY, v int)")
    before = pg.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    chance = random.Random(4)
    newest = {}
    for place in range(30_000):
        number = chance.randrange(300)
        newest[number] = place
        redis_client.lpush("orders", f'{{"id":{number},"v":{place}}}')
    sluice(queue_config(redis_server, pg, queue={"mode": "upsert", "key": "id", "newer": "v", "batch_rows": 200}, pool_size=4))
    wait_empty(redis_client)
    assert dict(pg.query("SELECT id, v FROM orders")) == newest
    assert pg.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == before


@pytest.mark.parametrize("batch_rows", [7, 1000])
def test_upsert_newer_never_goes_back(db, redis_server, redis_client, sluice, batch_rows):
    db.user_execute("CREATE TABLE orders (id bigint PRIMARY KEY, name varchar(20), changed %s)"
                    % ("timestamptz" if db.driver == "postgresql" else "datetime(3)"))
    chance = random.Random(3)
    newest, messages = {}, []
    for place in range(400):
        number, second = chance.randrange(15), chance.randrange(60)
        messages.append(f'{{"id":{number},"name":"at {second}","changed":"2024-05-06T07:08:{second:02}.500Z"}}')
        newest[number] = max(second, newest.get(number, -1))
    messages += ['{"id":0,"name":"no time"}', '{"id":1,"name":"null time","changed":null}', '{"id":99,"name":"new, no time"}']
    redis_client.lpush("orders", *messages)
    if db.driver == "postgresql":  # our own batches meet at the same keys again and again
        db.execute("ALTER ROLE sluice SET deadlock_timeout = '20ms'")
    try:
        sluice(queue_config(redis_server, db, queue={"mode": "upsert", "key": "id", "newer": "changed", "batch_rows": batch_rows}, pool_size=4))
        wait_empty(redis_client)
    finally:
        if db.driver == "postgresql":
            db.execute("ALTER ROLE sluice RESET deadlock_timeout")
    found = dict(db.query("SELECT id, name FROM orders"))
    assert found == {**{number: f"at {second}" for number, second in newest.items()}, 99: "new, no time"}
    assert not redis_client.exists("{orders}:dead")


@pytest.mark.parametrize("mode", ["insert", "upsert"])
def test_odd_names(db, redis_server, redis_client, sluice, mode):
    quote = '"' if db.driver == "postgresql" else "`"
    names = ["id", "order", "select", "a b", "Gr\u00f6\u00dfe", "per%cent", "quo\"te", "back`tick", "do.t", "$1",
             "semi;colon", "it's", "back\\slash", "{brace}", "UPPER"]
    tables = ["My \"odd\" `Table` 50%", "user"]
    values = {name: number for number, name in enumerate(names)}
    config = queue_config(redis_server, db)
    del config["queue orders"]

    def quoted(name):
        return quote + name.replace(quote, 2 * quote) + quote

    for number, table in enumerate(tables):
        columns = ", ".join(f"{quoted(name)} int{' PRIMARY KEY' if name == 'id' else ''}" for name in names)
        db.user_execute(f"CREATE TABLE {quoted(table)} ({columns})")
        config[f"queue q{number}"] = {"source": f"list:q{number}", "database": "shop", "table": table, "dead_letter": f"{{q{number}}}:dead",
                                      "mode": mode,
                                      **({} if mode == "insert" else {"key": "id", "newer": "UPPER"})}
        redis_client.lpush(f"q{number}", json.dumps(values), '{"id":"x"}')
    sluice(config)
    wait_empty(redis_client, "q0", "q1")
    for number, table in enumerate(tables):
        columns = ", ".join(quoted(name) for name in names)
        sql = f"SELECT {columns} FROM {quoted(table)}"
        assert db.query(sql) == [tuple(values.values())]
        (letter,) = dead_letters(redis_client, f"q{number}")
        assert letter["error"].get("column", "id") == "id"


def test_table_in_a_schema(db, redis_server, redis_client, sluice):
    postgresql = db.driver == "postgresql"
    table = '"Odd schema"."T t"' if postgresql else "`odd schema`.`T t`"
    try:
        if postgresql:
            db.user_execute('CREATE SCHEMA "Odd schema"')
        else:
            db.execute("CREATE DATABASE `odd schema`")
            db.execute(f"GRANT ALL ON `odd schema`.* TO {db.user}@localhost")
        db.user_execute(f"CREATE TABLE {table} (id bigint, name varchar(5))")
        redis_client.lpush("orders", '{"id":1,"name":"a"}', '{"id":2,"name":"too long"}', '{"id":3}')
        config = queue_config(redis_server, db, queue={"table": "Odd schema.T t" if postgresql else "odd schema.T t"})
        sluice(config)
        wait_empty(redis_client)
        assert db.query(f"SELECT id, name FROM {table} ORDER BY id") == [(1, "a"), (3, None)]
        assert [code_of(letter) for letter in dead_letters(redis_client, "orders")] == ["22001" if postgresql else "1406"]
    finally:
        if not postgresql:
            db.execute("DROP DATABASE `odd schema`")


def test_column_lines_with_odd_names(db, redis_server, redis_client, sluice):
    quote = '"' if db.driver == "postgresql" else "`"
    db.user_execute(f"CREATE TABLE orders (id bigint, {quote}order{quote} int, {quote}a b{quote} int, {quote}x.y{quote} int)")
    config = queue_config(redis_server, db)
    config["queue orders"].update({"column.id": "$.id", "column.order": "$.a", "column.a b": "$['b b']", "column.x.y": "$.x.y"})
    redis_client.lpush("orders", '{"id":1,"a":2,"b b":3,"x":{"y":4}}')
    sluice(config)
    wait_empty(redis_client)
    assert db.query("SELECT * FROM orders") == [(1, 2, 3, 4)]


def test_dates_of_javascript(db, redis_server, redis_client, sluice):
    """Each moment as Date.toISOString() writes it."""
    db.user_execute("CREATE TABLE orders (id bigint, at %s)" % ("timestamptz" if db.driver == "postgresql" else "datetime(3)"))
    chance = random.Random(4)
    start = datetime.datetime(1970, 1, 1)
    moments = [start + datetime.timedelta(milliseconds=chance.randrange(10**13)) for _ in range(500)]
    texts = [re.sub(r"(\.\d{3})\d*$", r"\1", moment.isoformat(timespec="milliseconds")) + "Z" for moment in moments]
    redis_client.lpush("orders", *[json.dumps({"id": number, "at": text}) for number, text in enumerate(texts)])
    sluice(queue_config(redis_server, db))
    wait_empty(redis_client)
    found = [at.replace(tzinfo=None) for (at,) in db.query("SELECT at FROM orders ORDER BY id")]
    assert found == moments
