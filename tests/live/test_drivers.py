"""The database drivers against real servers, through db_probe: each statement's answer as the daemon would see it."""

import json
import os
import subprocess
import time

import pytest

from servers import wait_until

DRIVERS = {"postgresql": "0", "mysql": "1"}
WAIT = 60  # s; nothing here takes nearly that long


class Probe:
    """One running db_probe; read() gives its lines one by one."""

    def __init__(self, build, server, *commands, **options):
        options = {"driver": DRIVERS[server.driver], "host": server.host, "user": server.user, "dbname": server.dbname, **options}
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self.process = subprocess.Popen([build.path("tests/live/db_probe")] + words + list(commands), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def read(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def rest(self):
        """Every line that is left; the probe must end well."""
        out, log = self.process.communicate(timeout=WAIT)
        assert self.process.returncode == 0, log
        assert "ERROR: " not in log and "runtime error" not in log, log
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def probe(build):
    """probe(server, commands...): all lines. probe.start(): a Probe that runs."""
    started = []

    def start(server, *commands, **options):
        started.append(Probe(build, server, *commands, **options))
        return started[-1]

    def run(server, *commands, **options):
        return start(server, *commands, **options).rest()

    run.start = start
    yield run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.fixture
def server(db):
    """Each database in turn with a small table."""
    db.query("CREATE TABLE small (id int NOT NULL PRIMARY KEY, total numeric(12,2) NOT NULL, note varchar(20))")
    grant(db, "small")
    return db


@pytest.fixture
def small_pg(pg, clean):
    pg.query("CREATE TABLE small (id int NOT NULL PRIMARY KEY, total numeric(12,2) NOT NULL, note varchar(20))")
    grant(pg, "small")
    return pg


@pytest.fixture
def small_mysql(mysql, clean):
    mysql.query("CREATE TABLE small (id int NOT NULL PRIMARY KEY, total numeric(12,2) NOT NULL, note varchar(20)) ENGINE=InnoDB")
    return mysql


def grant(server, table):
    if server.driver == "postgresql":
        server.query(f"GRANT ALL ON {table} TO {server.user}")


def answer_of(lines, nr=-1):
    """The answer number nr; the first line must be that it opened."""
    assert lines[0]["event"] == "opened", lines
    return [line for line in lines if line["event"] == "answer"][nr]


def failed(lines):
    assert [line["event"] for line in lines] == ["failed"], lines
    assert lines[0]["lost"]
    return lines[0]


def file_with(directory, text):
    path = os.path.join(directory, f"text{len(os.listdir(directory))}")
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    return path


# -- connecting


def test_open(probe, server):
    opened, answer = probe(server, "query", "SELECT 1, NULL, 'grün'")
    assert opened["event"] == "opened" and opened["server_id"] > 0 and opened["version"] and opened["statement_max"] > 1000000
    assert answer["class"] == "ok" and answer["rows"] == [["1", None, "grün"]]


def test_server_id_is_the_server_s(probe, server):
    sql = "SELECT pg_backend_pid()" if server.driver == "postgresql" else "SELECT CONNECTION_ID()"
    opened, answer = probe(server, "query", sql)
    assert answer["rows"] == [[str(opened["server_id"])]]


def test_wrong_password_mysql(probe, small_mysql):
    small_mysql.make_user("locked@localhost", "secret")
    small_mysql.query(f"GRANT ALL ON {small_mysql.dbname}.* TO locked@localhost")
    assert failed(probe(small_mysql, user="locked", password="wrong"))["code"] == "1045"
    assert failed(probe(small_mysql, user="locked"))["class"] == "setup"
    assert answer_of(probe(small_mysql, "query", "SELECT 1", user="locked", password="secret"))["class"] == "ok"
    small_mysql.query("DROP USER locked@localhost")


def test_wrong_password_postgresql(probe, small_pg):
    path = small_pg.query("SHOW hba_file")[0][0]
    with open(path, encoding="utf-8") as hba:
        before = hba.read()
    small_pg.query("CREATE ROLE locked LOGIN PASSWORD 'secret'")
    try:
        with open(path, "w", encoding="utf-8") as hba:
            hba.write("local all locked scram-sha-256\nlocal all shut reject\n" + before)
        small_pg.query("SELECT pg_reload_conf()")
        wait_until(lambda: failed(probe(small_pg, user="locked", password="wrong"))["code"] == "28P01", WAIT)
        error = failed(probe(small_pg, user="locked", password="wrong"))
        assert error["class"] == "setup" and "password authentication failed" in error["message"] and "LOCATION" not in error["message"]
        assert failed(probe(small_pg, user="locked"))["class"] == "setup"
        assert failed(probe(small_pg, user="shut"))["code"] == "28000"
        assert answer_of(probe(small_pg, "query", "SELECT 1", user="locked", password="secret"))["class"] == "ok"
    finally:
        with open(path, "w", encoding="utf-8") as hba:
            hba.write(before)
        small_pg.query("SELECT pg_reload_conf()")
        small_pg.query("DROP ROLE locked")


def test_wrong_database(probe, server):
    error = failed(probe(server, dbname="nowhere"))
    assert error["class"] == "setup" and error["code"] == ("3D000" if server.driver == "postgresql" else "1044")


def test_server_down(probe, server, directory):
    error = failed(probe(server, host=directory))
    assert error["class"] == "reconnect" and error["code"] in ("", "2002")


def test_silent_server(probe, server):
    """Something that takes the connection and says nothing: every host has its time limit."""
    script = ("import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(9); print(s.getsockname()[1], flush=True); "
              "time.sleep(60)")
    with subprocess.Popen(["python3", "-c", script], stdout=subprocess.PIPE, text=True) as silent:
        port = silent.stdout.readline().strip()
        begin = time.monotonic()
        error = failed(probe(server, host="127.0.0.1, 127.0.0.1", port=port, server_connect_timeout=1, tcp_user_timeout=0))
        silent.kill()
    assert error["class"] == "reconnect" and "in time" in error["message"]
    assert time.monotonic() - begin >= 2


def test_next_host(probe, server, directory):
    assert answer_of(probe(server, "query", "SELECT 1", host=f"{directory}, {server.host}"))["class"] == "ok"


def test_tls(probe, tls):
    def way(**options):
        sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()" if tls.server.driver == "postgresql" else "SHOW STATUS LIKE 'Ssl_cipher'"
        lines = probe(tls.server, "query", sql, **{"host": "localhost", "port": tls.port, **options})
        return lines[0]["class"] if lines[0]["event"] == "failed" else lines[1]["rows"][0][-1] not in ("f", "")

    disable, prefer, require, verify_ca, verify_full = range(5)
    assert way(sslmode=disable) is False
    assert way(sslmode=prefer) is True and way(sslmode=require) is True
    assert way(sslmode=verify_ca, sslrootcert=tls.ca) is True and way(sslmode=verify_full, sslrootcert=tls.ca) is True
    assert way(sslmode=verify_ca, sslrootcert=tls.other_ca) in ("setup", "reconnect")
    # not 127.0.0.1, which MariaDB's library 3.4 takes for this very host, whatever its certificate says
    assert way(sslmode=verify_full, sslrootcert=tls.ca, host="127.1") in ("setup", "reconnect")


def test_password_over_tcp(probe, tls):
    """MySQL wants it encrypted: by TLS, or by a key that it sends. What it then remembers is enough for the next login."""
    if tls.server.driver == "postgresql":
        pytest.skip("of MySQL and MariaDB")
    for mode in range(3):  # disable, prefer, require
        tls.server.make_user("asked@127.0.0.1", "secret")
        for password, event in (("wrong", "failed"), ("secret", "opened"), ("secret", "opened"), ("wrong", "failed")):
            line = probe(tls.server, host="127.0.0.1", port=tls.port, user="asked", password=password, dbname="", sslmode=mode)[0]
            assert (line["event"], line.get("code", "")) == (event, "1045" if event == "failed" else ""), (mode, line)
    tls.server.query("DROP USER asked@127.0.0.1")


def test_host_that_accepts_writes(probe, tls, request):
    """The first host is read-only, the second is not; then both are."""
    second = request.getfixturevalue("pg" if tls.server.driver == "postgresql" else "mysql").start()
    if second.driver == "postgresql":
        read_only, writable = (f"ALTER ROLE sluice {change}" for change in ("SET default_transaction_read_only = on", "RESET ALL"))
        os.symlink(f".s.PGSQL.{tls.port}", os.path.join(tls.server.host, ".s.PGSQL.5432"))
    else:
        read_only, writable = "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"
    hosts = f"{tls.server.host}, {second.host}"
    where = "SHOW data_directory" if second.driver == "postgresql" else "SELECT @@socket"
    tls.server.query("GRANT pg_read_all_settings TO sluice" if second.driver == "postgresql" else "SELECT 1")
    second.query("GRANT pg_read_all_settings TO sluice" if second.driver == "postgresql" else "SELECT 1")
    try:
        assert answer_of(probe(tls.server, "query", where, host=hosts))["rows"] == [[tls.server.value(where)]]
        tls.server.query(read_only)
        assert answer_of(probe(tls.server, "query", where, host=hosts))["rows"] == [[second.value(where)]]
        second.query(read_only)
        assert failed(probe(tls.server, host=hosts))["class"] == "not writable"
    finally:
        tls.server.query(writable)
        second.query(writable)


def test_too_many_connections_postgresql(probe, small_pg):
    small_pg.query("ALTER ROLE sluice CONNECTION LIMIT 0")
    error = failed(probe(small_pg))
    small_pg.query("ALTER ROLE sluice CONNECTION LIMIT -1")
    assert error["class"] == "pause" and error["code"] == "53300"


def test_read_only_postgresql(probe, small_pg):
    small_pg.query("ALTER ROLE sluice SET default_transaction_read_only = on")
    error = failed(probe(small_pg))
    small_pg.query("ALTER ROLE sluice RESET default_transaction_read_only")
    assert error["class"] == "not writable"
    answer = answer_of(probe(small_pg, "query", "SET transaction_read_only = on; INSERT INTO small VALUES (1, 1)"))
    assert answer["class"] == "not writable" and not answer["lost"]


def test_read_only_mysql(probe, small_mysql):
    running = probe.start(small_mysql, "pause", "query", "INSERT INTO small VALUES (1, 1, NULL)")
    assert [running.read()["event"] for _ in range(2)] == ["opened", "pause"]
    small_mysql.query("SET GLOBAL read_only = 1")
    try:
        assert failed(probe(small_mysql))["class"] == "not writable"
        running.go_on()
        assert running.rest()[0]["class"] == "not writable"
    finally:
        small_mysql.query("SET GLOBAL read_only = 0")


def test_connect_query(probe, server):
    sql = "SET application_name = 'other'" if server.driver == "postgresql" else "SET @app = 'other'"
    ask = "SHOW application_name" if server.driver == "postgresql" else "SELECT @app"
    assert answer_of(probe(server, "query", ask, connect_query=sql))["rows"] == [["other"]]
    assert failed(probe(server, connect_query="SELECT * FROM nothing_there"))["class"] == "setup"
    bad = "SET standard_conforming_strings = off" if server.driver == "postgresql" else "SET sql_mode = 'NO_BACKSLASH_ESCAPES'"
    assert "connect_query" in failed(probe(server, connect_query=bad))["message"]


def test_session_postgresql(probe, small_pg):
    names = ["timezone", "client_encoding", "standard_conforming_strings", "statement_timeout", "lock_timeout",
             "idle_in_transaction_session_timeout", "transaction_isolation", "application_name"]
    sql = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    small_pg.query("ALTER ROLE sluice SET default_transaction_isolation = serializable")
    answer = answer_of(probe(small_pg, "query", sql, query_timeout=7, idle_transaction=9))
    small_pg.query("ALTER ROLE sluice RESET default_transaction_isolation")
    assert answer["rows"] == [["UTC", "UTF8", "on", "7s", "7s", "9s", "read committed", "sluice"]]


def test_session_mysql(probe, small_mysql):
    names = ["time_zone", "character_set_client", "character_set_results", "autocommit", "innodb_lock_wait_timeout"]
    names += ["idle_write_transaction_timeout", "tx_isolation", "max_statement_time"] if small_mysql.flavor == "mariadb" else \
        ["wait_timeout", "transaction_isolation"]
    sql = "SELECT @@sql_mode, " + ", ".join(f"@@{name}" for name in names)
    mode, *rest = answer_of(probe(small_mysql, "query", sql, query_timeout=7, idle_transaction=9))["rows"][0]
    assert "STRICT_ALL_TABLES" in mode and "BACKSLASH" not in mode
    assert rest == ["+00:00", "utf8mb4", "utf8mb4", "1", "7", "9", "READ-COMMITTED", "7.000000"][:len(names)]


# -- losing the connection


def end_session(server, number):
    server.query(f"SELECT pg_terminate_backend({number})" if server.driver == "postgresql" else f"KILL {number}")


def test_lost_while_idle(probe, server):
    running = probe.start(server, "pause")
    number = running.read()["server_id"]
    running.read()
    end_session(server, number)
    lost = running.read()
    assert lost["event"] == "lost" and lost["class"] == "reconnect" and lost["lost"]
    if server.driver == "postgresql":
        assert lost["code"] == "57P01" and "terminating connection" in lost["message"]
    running.rest()


@pytest.mark.parametrize("before", ["SELECT 1", "BEGIN"])
def test_lost_during_a_statement(probe, server, before):
    sleep = "SELECT pg_sleep(30)" if server.driver == "postgresql" else "SELECT SLEEP(30)"
    running = probe.start(server, "query", before, "query", sleep)
    number = running.read()["server_id"]
    running.read()
    time.sleep(0.2)
    end_session(server, number)
    answer = running.rest()[0]
    assert answer["class"] == "reconnect" and answer["lost"]


def test_server_killed_during_a_statement(probe, server):
    sleep = "SELECT pg_sleep(30)" if server.driver == "postgresql" else "SELECT SLEEP(30)"
    running = probe.start(server, "query", sleep)
    running.read()
    time.sleep(0.2)
    server.kill()
    answer = running.rest()[0]
    assert answer["class"] == "reconnect" and answer["lost"]
    server.start()


def test_killed_during_copy(probe, small_pg, directory):
    """The data does not fit into the socket while the server waits for a lock; then the server's side is ended."""
    small_pg.query("BEGIN; LOCK small")
    running = probe.start(small_pg, "copy", "COPY small FROM STDIN", file_with(directory, "".join(f"{i}\t1\t\\N\n" for i in range(900000))))
    number = running.read()["server_id"]
    time.sleep(0.5)
    end_session(small_pg, number)
    answer = running.rest()[0]
    small_pg.query("ROLLBACK")
    assert answer["class"] == "reconnect" and answer["lost"] and answer["code"] in ("57P01", "")


def test_no_answer_in_time(probe, server):
    """A server that hangs: stopped as a whole."""
    running = probe.start(server, "pause", "query", "SELECT 1", query_timeout=1)
    running.read()
    running.read()
    server.freeze()
    try:
        running.go_on()
        answer = running.rest()[0]
    finally:
        server.thaw()
    assert answer["class"] == "reconnect" and answer["lost"] and "in time" in answer["message"]


# -- statements and their errors


def test_affected(probe, server):
    lines = probe(server, "query", "INSERT INTO small VALUES (1, 1, NULL), (2, 2, '')", "query", "UPDATE small SET total = total + 1 WHERE id = 1",
                  "query", "SELECT id, note FROM small ORDER BY id")
    assert [line["affected"] for line in lines[1:]] == [2, 1, 0]
    assert lines[3]["rows"] == [["1", None], ["2", ""]]


def test_several_statements(probe, server):
    lines = probe(server, "query", "BEGIN; INSERT INTO small VALUES (1, 1, NULL), (2, 1, NULL); UPDATE small SET total = 2; COMMIT; SELECT id FROM small",
                  "query", "SELECT 7; SELECT 8; UPDATE small SET total = 3 WHERE id = 1", "query", "SELECT 9")
    assert [line["done"] for line in lines[1:]] == [5, 3, 1]
    assert [line["changed"] for line in lines[1:]] == [[0, 2, 2, 0], [0, 0, 1], [0]]
    assert [line["affected"] for line in lines[1:]] == [0, 1, 0]
    assert [line["rows"] for line in lines[1:]] == [[["1"], ["2"]], [], [["9"]]]


def test_nothing_is_run_behind_an_error(probe, server):
    lines = probe(server, "query", "BEGIN; INSERT INTO small VALUES (1, 1, NULL); INSERT INTO small VALUES (2, 2, NULL), (1, 1, NULL); COMMIT; SELECT 7",
                  "query", "ROLLBACK", "query", "SELECT nothing FROM small; SELECT 7", "query", "SELECT count(*) FROM small")
    refused, _, unknown, count = lines[1:]
    assert refused["class"] == "data" and refused["code"] in ("23505", "1062") and not refused["lost"]
    assert (refused["done"], refused["changed"]) == (2, [0, 1])
    assert refused["row"] == (1 if server.flavor == "mariadb" else -1)  # asked for, behind the text
    assert (unknown["code"] in ("42703", "1054"), unknown["done"], unknown["rows"]) == (True, 0, [])
    assert count["rows"] == [["0"]]


def test_commit_of_a_failed_transaction(probe, small_pg):
    lines = probe(small_pg, "query", "BEGIN", "query", "SELECT 1/0", "query", "SELECT 1", "query", "COMMIT", "query", "SELECT 1")
    assert [line["class"] for line in lines[1:]] == ["ok", "data", "unknown", "ok", "ok"]
    assert [line["rolled_back"] for line in lines[1:]] == [False, False, False, True, False]
    lines = probe(small_pg, "query", "BEGIN", "query", "SELECT 1/0", "query", "COMMIT; SELECT 1", "query", "BEGIN", "query", "ROLLBACK")
    assert [line["rolled_back"] for line in lines[1:]] == [False, False, True, False, False]


def test_duplicate_key(probe, server):
    lines = probe(server, "query", "INSERT INTO small VALUES (1, 1, NULL)", "query", "INSERT INTO small VALUES (2, 1, NULL), (1, 1, NULL)")
    answer = answer_of(lines)
    assert answer["class"] == "data" and answer["code"] in ("23505", "1062") and not answer["lost"]
    assert answer["row"] == (1 if server.flavor == "mariadb" else -1)  # which is asked for it
    if server.driver == "postgresql":
        assert answer["message"].endswith(": Key (id)=(1) already exists.")


def test_null_names_its_column(probe, server):
    answer = answer_of(probe(server, "query", "INSERT INTO small VALUES (2, 1, NULL), (3, NULL, NULL)"))
    assert answer["class"] == "data" and answer["column"] == "total"


def test_bad_literal_postgresql(probe, small_pg):
    sql = "INSERT INTO small (note, id, total) VALUES ('grün €😀', 1, 1), ('ü', 'bad', 1)"
    answer = answer_of(probe(small_pg, "query", sql))
    assert answer["class"] == "data" and answer["offset"] == sql.encode().index(b"'bad'")


def test_bad_value_mysql(probe, small_mysql):
    cases = [
        ("(1, 1, NULL), (2, 1, NULL), (3, 'x at row 7', NULL)", "1366", 2, "total"),
        ("(1, 1, NULL), ('for column `a`', 1, NULL)", "1366", 1, "id"),
        ("(1, 1, NULL), (2, 1, 'much longer than twenty characters')", "1406", 1, "note"),
        ("(99999999999, 1, NULL)", "1264", 0, "id"),
    ]
    for values, code, row, column in cases:
        answer = answer_of(probe(small_mysql, "query", f"INSERT INTO small VALUES {values}"))
        assert (answer["class"], answer["code"], answer["row"], answer["column"], answer["lost"]) == ("data", code, row, column, False)
    assert small_mysql.value("SELECT COUNT(*) FROM small") == 0


def test_names_nobody_expects_mysql(probe, small_mysql):
    small_mysql.query("CREATE TABLE `od``d` (`co.l``umn's` int, `e` enum('a'), `d` datetime)")
    for column, literal in (("`co.l``umn's`", "'x'"), ("e", "'x'"), ("d", "'x'")):
        answer = answer_of(probe(small_mysql, "query", f"INSERT INTO `od``d` ({column}) VALUES (NULL), ({literal})"))
        assert answer["class"] == "data" and answer["row"] == 1
        assert answer["column"] == ("co.l`umn's" if column.startswith("`") else column)


def test_setup_errors(probe, server):
    for sql in ("SELECT nothing FROM small", "SELECT * FROM nowhere"):
        answer = answer_of(probe(server, "query", sql))
        assert answer["class"] == "setup" and not answer["lost"]


def test_statement_timeout(probe, server):
    sleep = "SELECT pg_sleep(30)" if server.driver == "postgresql" else "SELECT SLEEP(30), COUNT(*) FROM small"
    begin = time.monotonic()
    answer = answer_of(probe(server, "query", sleep, query_timeout=1))
    if server.flavor == "mysql":  # it has no such limit: we hang up
        assert answer["class"] == "reconnect" and answer["lost"] and "no answer in time" in answer["message"]
    else:
        assert answer["code"] in ("57014", "1969") and answer["class"] in ("retry", "pause") and not answer["lost"]
    assert time.monotonic() - begin < 25, "the statement ends by itself after 30 s"


def lock_row(server):
    """Another session that holds the row 1."""
    other = server.client()
    other.autocommit = False if server.driver == "postgresql" else other.autocommit(False)
    other.cursor().execute("UPDATE small SET total = 9 WHERE id = 1")
    return other


def test_lock_timeout(probe, server):
    server.query("INSERT INTO small VALUES (1, 1, NULL)")
    other = lock_row(server)
    setting = "SET lock_timeout = '500ms'" if server.driver == "postgresql" else "SET innodb_lock_wait_timeout = 1"
    answer = answer_of(probe(server, "query", "UPDATE small SET total = 2 WHERE id = 1", connect_query=setting))
    other.close()
    assert answer["class"] == "retry" and answer["code"] in ("55P03", "1205")


def test_deadlock(probe, server):
    server.query("INSERT INTO small VALUES (1, 1, NULL), (2, 1, NULL)")
    other = lock_row(server)
    running = probe.start(server, "query", "BEGIN", "query", "UPDATE small SET total = 2 WHERE id = 2", "query",
                          "UPDATE small SET total = 2 WHERE id = 1", "query", "ROLLBACK")
    for _ in range(3):
        running.read()
    time.sleep(0.3)
    theirs = "ok"
    try:
        other.cursor().execute("UPDATE small SET total = 9 WHERE id = 2")
    except Exception as error:  # one of the two is the victim
        theirs = str(error)
    other.rollback()
    other.close()
    ours = running.rest()[0]
    assert (ours["class"] == "retry" and ours["code"] in ("40P01", "1213") and not ours["lost"]) or "eadlock" in theirs


def test_idle_transaction_is_ended(probe, server):
    running = probe.start(server, "query", "BEGIN", "query", "INSERT INTO small VALUES (1, 1, NULL)", "pause", idle_transaction=1)
    lines = [running.read() for _ in range(5)]
    assert lines[-1]["event"] == "lost"
    running.rest()
    assert server.value("SELECT COUNT(*) FROM small") == 0


def test_large_statement(probe, server, directory):
    note = "x" * (5 << 20)
    sql = f"SELECT CHAR_LENGTH('{note}'), '{note}'"
    answer = answer_of(probe(server, "queryfile", file_with(directory, sql), "query", "SELECT 1"), 0)
    assert answer["class"] == "ok" and answer["rows"] == [[str(5 << 20), note]]


MEGABYTES = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT repeat('x', 1000000) FROM n"


def test_answer_has_a_limit(probe, server):
    """16 MB, unless the statement expects more; the next one has it again."""
    megabytes = MEGABYTES
    lines = probe(server, "query", megabytes % 15, "expect", "40000000", "query", megabytes % 30, "query", "SELECT 1", "query", megabytes % 30)
    assert [len(line["rows"]) for line in lines[1:]] == [15, 30, 1, 0]
    assert lines[-1]["class"] == "reconnect" and lines[-1]["lost"] and "more than anybody asked for: over 16777216 bytes" in lines[-1]["message"]


def test_says_goodbye_mysql(probe, small_mysql):
    """The server counts, and logs, each client that goes without a word."""
    def status(name):
        return int(small_mysql.query(f"SHOW GLOBAL STATUS LIKE '{name}'")[0][1])

    aborted, connected = status("Aborted_clients"), status("Threads_connected")
    probe(small_mysql, "query", "SELECT 1", "query", MEGABYTES % 5)
    wait_until(lambda: status("Threads_connected") == connected, WAIT, "the end of the probe's session")
    assert status("Aborted_clients") == aborted


def test_largest_statement_mysql(probe, small_mysql, directory):
    largest = probe(small_mysql)[0]["statement_max"]
    assert abs(largest - int(small_mysql.value("SELECT @@max_allowed_packet"))) < 100
    fits = "SELECT CHAR_LENGTH('" + "x" * (largest - 22) + "')"
    assert len(fits) == largest
    lines = probe(small_mysql, "queryfile", file_with(directory, fits + " "), "queryfile", file_with(directory, fits), "query", "SELECT 1")
    assert [line["class"] for line in lines[1:]] == ["too big", "ok", "ok"] and not lines[1]["lost"]


def test_message_is_cut_between_characters(probe, small_pg):
    answer = answer_of(probe(small_pg, "query", f"DO $$ BEGIN RAISE 'a\n{'€' * 500}'; END $$"))
    assert answer["message"].startswith("a €€€") and 390 < len(answer["message"].encode()) < 400


def test_local_infile_is_refused(probe, small_mysql):
    small_mysql.query("SET GLOBAL local_infile = 1")
    answer = answer_of(probe(small_mysql, "query", "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE small"))
    assert answer["class"] != "ok"
    assert small_mysql.value("SELECT COUNT(*) FROM small") == 0


def test_close_in_the_callback(probe, server):
    assert answer_of(probe(server, "closing", "SELECT 1, 'x'"))["rows"] == [["1", "x"]]


def test_close_at_once(probe, server):
    assert len(probe(server, "abandon", "SELECT 1")) == 1
    sleep = "SELECT pg_sleep(0.1)" if server.driver == "postgresql" else "SELECT SLEEP(0.1)"
    assert len(probe(server, "abandon", sleep)) == 1


def test_run_once(probe, server, directory):
    assert [line["rows"] for line in probe(server, "once", "SELECT 42")] == [[["42"]]]
    assert [line["class"] for line in probe(server, "once", "SELECT 42", host=directory)] == ["reconnect"]


# -- COPY


COPY = "COPY public.small (id, total, note) FROM STDIN"


def test_copy(probe, small_pg, directory):
    rows = "".join(f"{i}\t{i}.5\tgrün\n" for i in range(300000))
    lines = probe(small_pg, "copy", COPY, file_with(directory, rows), "query", "SELECT count(*), sum(total) FROM small")
    assert len(rows) > 5 << 20
    assert lines[1]["class"] == "ok" and lines[1]["affected"] == 300000
    assert lines[2]["rows"] == [["300000", "45000000000.00"]]


@pytest.mark.parametrize("there", [True, False])
def test_copy_that_is_guarded(probe, small_pg, directory, there):
    """What stands behind the COPY is run only if the guard has changed a row."""
    if there:
        small_pg.execute("INSERT INTO small VALUES (1, 1, NULL)")
    text = f"BEGIN; UPDATE small SET total = 2 WHERE id = 1; {COPY}; COMMIT; UPDATE small SET total = total + 1"
    lines = probe(small_pg, "guarded", "1", text, file_with(directory, "2\t1\t\\N\n"), "query", "ROLLBACK", "query", "SELECT id, total FROM small ORDER BY id")
    answer = answer_of(lines, 0)
    assert (answer["done"], answer["changed"]) == ((5, [0, 1, 1, 0]) if there else (2, [0, 0]))
    assert (answer["class"], answer.get("code")) == (("ok", None) if there else ("retry", "57014"))
    assert lines[-1]["rows"] == ([["1", "3.00"], ["2", "2.00"]] if there else [])


@pytest.mark.parametrize("there", [True, False])
def test_several_statements_are_a_transaction(probe, small_pg, directory, there):
    """Without BEGIN and COMMIT: all of them, or none; and none is open behind them."""
    if there:
        small_pg.execute("INSERT INTO small VALUES (1, 1, NULL)")
    text = f"INSERT INTO small VALUES (3, 3, NULL); UPDATE small SET total = 2 WHERE id = 1; {COPY}"
    lines = probe(small_pg, "guarded", "1", text, file_with(directory, "2\t1\t\\N\n"), "query", "SELECT id, total FROM small ORDER BY id", "query", "BEGIN")
    answer = answer_of(lines, 0)
    assert (answer["done"], answer["changed"], answer["class"]) == ((3, [1, 1, 1], "ok") if there else (2, [1, 0], "retry"))
    assert lines[2]["rows"] == ([["1", "2.00"], ["2", "1.00"], ["3", "3.00"]] if there else [])
    assert lines[3]["class"] == "ok"


def test_an_error_at_the_implicit_commit(probe, small_pg, directory):
    """It is the answer: the server does not say that the last statement is done before all of it is committed."""
    small_pg.execute("CREATE TABLE late (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    grant(small_pg, "late")
    path = file_with(directory, "1\n1\n")
    lines = probe(small_pg, "copy", "INSERT INTO small VALUES (1, 1, NULL); COPY late FROM STDIN", path, "query", "SELECT count(*) FROM small")
    answer = answer_of(lines, 0)
    assert (answer["class"], answer["code"], answer["done"]) == ("data", "23505", 1)
    assert lines[2]["rows"] == [["0"]]


def test_copy_of_nothing(probe, small_pg, directory):
    answer = answer_of(probe(small_pg, "copy", COPY, file_with(directory, ""), "query", "SELECT 1"), 0)
    assert answer["class"] == "ok" and answer["affected"] == 0


@pytest.mark.parametrize("bad, code, column", [("x\t1\t\\N", "22P02", "id"), ("1\t\\N\t\\N", "23502", "total"), ("5\t1\t\\N", "23505", ""),
                                               ("1", "22P04", ""), ("1\t1\t" + "x" * 30, "22001", "note")])
def test_copy_bad_row(probe, small_pg, directory, bad, code, column):
    rows = [f"{i}\t1\ta" for i in range(1000, 1100)]
    rows[0] = "5\t1\tfirst"
    rows[36] = bad
    path = file_with(directory, "\n".join(rows) + "\n")
    for user in ("sluice", "postgres"):
        lines = probe(small_pg, "copy", COPY, path, "query", "SELECT count(*) FROM small", user=user)
        answer = answer_of(lines, 0)
        assert (answer["class"], answer["code"], answer["row"], answer["column"], answer["lost"]) == ("data", code, 36, column, False)
        assert lines[2]["rows"] == [["0"]]


def test_copy_early_error_in_a_lot_of_data(probe, small_pg, directory):
    path = file_with(directory, "bad\t1\t\\N\n" + "".join(f"{i}\t1\t\\N\n" for i in range(600000)))
    lines = probe(small_pg, "copy", COPY, path, "query", "SELECT 1")
    assert lines[1]["class"] == "data" and lines[1]["row"] == 0 and lines[2]["class"] == "ok"


def test_copy_context_that_lies(probe, small_pg, directory):
    """Neither a table's name nor a value leads to a wrong row."""
    table = '"odd, line 5: ""COPY small"'
    small_pg.query(f'CREATE TABLE {table} (id int, "a: b" int)')
    grant(small_pg, table)
    path = file_with(directory, "1\t1\n2\t1\\nCOPY odd, line 5: \"COPY small, line 9\n")
    answer = answer_of(probe(small_pg, "copy", f"COPY public.{table} FROM STDIN", path))
    assert answer["class"] == "data" and answer["row"] == 1
    answer = answer_of(probe(small_pg, "copy", COPY, file_with(directory, "1\t1\tok\n2\tx\\nCOPY small, line 9\tok\n")))
    assert answer["class"] == "data" and answer["row"] == 1 and answer["column"] == "total"


def test_copy_trigger_error(probe, small_pg, directory):
    small_pg.query("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'careful'; "
                   "IF NEW.id = 3 THEN RAISE 'no' USING ERRCODE = '22000'; END IF; RETURN NEW; END $$")
    small_pg.query("CREATE TRIGGER no BEFORE INSERT ON small FOR EACH ROW EXECUTE FUNCTION no()")
    answer = answer_of(probe(small_pg, "copy", COPY, file_with(directory, "1\t1\t\n2\t1\t\n3\t1\t\n")))
    assert answer["class"] == "data" and answer["row"] == 2 and answer["message"] == "no"


def test_copy_without_data_is_refused(probe, small_pg):
    lines = probe(small_pg, "query", COPY, "query", "COPY small TO STDOUT")
    assert lines[1]["class"] == "retry" and not lines[1]["lost"]
    assert lines[2]["lost"]


# -- the catalogue


def by_name(table):
    return {column["name"]: column for column in table["columns"]}


def test_table_postgresql(probe, small_pg):
    for sql in ("CREATE DOMAIN amount AS numeric(12,2) NOT NULL DEFAULT 0", "CREATE DOMAIN price AS amount", "CREATE DOMAIN doc AS jsonb",
                "CREATE TYPE mood AS ENUM ('good')", "CREATE SCHEMA other",
                "CREATE TYPE other.person AS (name text)", "CREATE TYPE other.mood AS ENUM ('bad')",
                'CREATE TABLE other."Odd ""T" (id int GENERATED ALWAYS AS IDENTITY, sid serial, did int GENERATED BY DEFAULT AS IDENTITY,'
                " gone int, total numeric(12,2) NOT NULL, p price, body doc, j json, jb jsonb, b bytea, yes boolean, list int[], text text,"
                " u uuid DEFAULT gen_random_uuid(), m mood, t timestamptz, bits bit(3), c char(2), hours interval hour, span interval, area box,"
                " who other.person, other_mood other.mood, twice numeric GENERATED ALWAYS AS (total * 2) STORED,"
                " PRIMARY KEY (total, id), CONSTRAINT later UNIQUE (u) DEFERRABLE)",
                'ALTER TABLE other."Odd ""T" DROP gone', 'CREATE UNIQUE INDEX covering ON other."Odd ""T" (text) INCLUDE (t)',
                'CREATE UNIQUE INDEX partial ON other."Odd ""T" (t) WHERE yes', 'CREATE UNIQUE INDEX expression ON other."Odd ""T" (lower(text))',
                'CREATE INDEX plain ON other."Odd ""T" (did)', "GRANT USAGE ON SCHEMA other TO sluice"):
        small_pg.query(sql)
    table = probe(small_pg, "table", 'other.Odd "T')[1]
    assert table["exists"] and table["is_table"] and table["transactional"] and not table["row_security"] and table["engine"] == ""
    assert table["uniques"] == {'Odd "T_pkey': ["total", "id"], "covering": ["text"]}
    columns = by_name(table)
    assert list(columns) == ["id", "sid", "did", "total", "p", "body", "j", "jb", "b", "yes", "list", "text", "u", "m", "t", "bits",
                             "c", "hours", "span", "area", "who", "other_mood", "twice"]
    kinds = {name: column["kind"] for name, column in columns.items() if column["kind"] != "plain"}
    assert kinds == {"body": "json", "j": "json", "jb": "json", "b": "binary", "yes": "bool", "list": "array"}
    assert [name for name in columns if columns[name]["generated"]] == ["id", "twice"]
    assert [name for name in columns if columns[name]["default"]] == ["id", "sid", "did", "p", "u", "twice"]
    assert [name for name in columns if not columns[name]["nullable"]] == ["id", "sid", "did", "total", "p"]
    assert columns["total"]["type"] == "numeric(12,2)" and columns["list"]["type"] == "integer[]"
    arrays = {name: column["array"] + column["cast"] for name, column in columns.items()}
    assert arrays == {"id": "integer[]", "sid": "integer[]", "did": "integer[]", "total": "numeric[]", "p": "price[]", "body": "doc[]", "j": "json[]",
                      "jb": "jsonb[]", "b": "bytea[]", "yes": "boolean[]", "list": "pg_catalog.text[]::integer[]", "text": "text[]", "u": "uuid[]",
                      "m": "mood[]", "t": "timestamp with time zone[]", "bits": '"bit"[]', "c": "bpchar[]", "hours": "", "span": "interval[]",
                      "area": "", "who": "", "other_mood": "other.mood[]", "twice": "numeric[]"}


def test_table_kinds_postgresql(probe, small_pg):
    for sql in ("CREATE TABLE parts (id int) PARTITION BY RANGE (id)", "CREATE VIEW looks AS SELECT * FROM small",
                "CREATE TABLE secured (id int)", "ALTER TABLE secured ENABLE ROW LEVEL SECURITY", "GRANT ALL ON secured TO sluice"):
        small_pg.query(sql)
    lines = probe(small_pg, "table", "parts", "table", "looks", "table", "secured", "table", "nowhere", "table", "Small", "table", "nowhere.small",
                  "table", "small")
    assert [line["exists"] for line in lines[1:]] == [True, True, True, False, False, False, True]
    assert [line["is_table"] for line in lines[1:]] == [True, False, True, False, False, False, True]
    assert [line["row_security"] for line in lines[1:4]] == [False, False, True]
    assert lines[-1]["uniques"] == {"small_pkey": ["id"]}


def test_table_mysql(probe, small_mysql):
    small_mysql.query(
        "CREATE TABLE `Odd``T` (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, total decimal(12,2) NOT NULL, f float, dbl double, y year,"
        " flag boolean,"
        " b3 bit(3), body json, `j``s` json, plain longtext, checked longtext CHECK (length(checked) > 1), bin binary(2), vb varbinary(3),"
        " bl blob,"
        " dt datetime(6), ts timestamp NOT NULL DEFAULT current_timestamp(), d date, t time, e enum('a') DEFAULT 'a', note varchar(50),"
        " nodef int DEFAULT NULL, word varchar(9) DEFAULT 'NULL', twice decimal(12,2) AS (total * 2) STORED, virt int AS (1) VIRTUAL,"
        " UNIQUE KEY pair (total, d), UNIQUE KEY part (note(10)), KEY plain_key (f)) ENGINE=InnoDB")
    table = probe(small_mysql, "table", "Odd`T")[1]
    assert table["exists"] and table["is_table"] and table["transactional"] and not table["row_security"] and table["engine"] == "InnoDB"
    assert table["uniques"] == {"PRIMARY": ["id"], "pair": ["total", "d"]}
    columns = by_name(table)
    kinds = {}
    for name, column in columns.items():
        kinds.setdefault(column["kind"], []).append(name)
    assert kinds == {"number": ["id", "total", "f", "dbl", "flag", "nodef", "twice", "virt"], "bit": ["b3"], "json": ["body", "j`s"],
                     "plain": ["y", "plain", "checked", "e", "note", "word"], "binary": ["bin", "vb", "bl"], "datetime": ["dt", "ts"], "date": ["d"],
                     "time": ["t"]}
    assert [name for name in columns if columns[name]["generated"]] == ["twice", "virt"]
    assert [name for name in columns if columns[name]["default"]] == ["id", "ts", "e", "word"]
    assert [name for name in columns if not columns[name]["nullable"]] == ["id", "total", "ts"]
    assert columns["total"]["type"] == "decimal(12,2)"


def test_table_kinds_mysql(probe, small_mysql):
    small_mysql.query("CREATE TABLE other (id int) ENGINE=" + ("Aria" if small_mysql.flavor == "mariadb" else "ARCHIVE"))
    small_mysql.query("CREATE TABLE isam (id int) ENGINE=MyISAM")
    small_mysql.query("CREATE VIEW looks AS SELECT * FROM small")
    lines = probe(small_mysql, "table", "other", "table", "isam", "table", "looks", "table", "nowhere", "table", f"{small_mysql.dbname}.small",
                  "table", "nowhere.small", "table", "it's\\")
    assert [line["exists"] for line in lines[1:]] == [True, True, True, False, True, False, False]
    assert [line["transactional"] for line in lines[1:6]] == [False, False, False, False, True]
    assert [line["is_table"] for line in lines[1:6]] == [True, True, False, False, True]
