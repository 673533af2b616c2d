"""What a security-minded operator asks: who sees passwords and orders, what hostile orders and hostile servers can do, and which rights are
enough."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

import hostile
from daemon import queue_config
from orders import audit, dead_letters, make_table, order, push
from servers import dying_with_us, slowness, wait_until

EXIT_CONFIG = 78
DRAIN_SECONDS = 60
NOBODY = 65534
REDIS_SECRET, SQL_SECRET, WRONG_SECRET = "redis-Secret-5c1", "sql-Secret-7d2", "wrong-Secret-9e3"
LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warning|info |debug) ")
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the newline
MEGABYTE = 1024 * 1024


def only(db, postgresql, mysql):
    """What goes for this database."""
    return postgresql if db.driver == "postgresql" else mysql


def wait_drained(client, *keys):
    for key in keys or ("orders",):
        wait_until(lambda key=key: client.llen(key) == 0, DRAIN_SECONDS, f"the end of queue {key}")


def states(daemon):
    """What /stats says of each queue."""
    return {state["name"]: state for state in json.loads(daemon.get("/stats")[1])["queues"]}


def write_secret(directory, name, secret, mode=0o600):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
    os.chmod(path, mode)
    return path


# -- files with secrets

def config_with_password(redis_server, db, path, key="password_file"):
    return queue_config(redis_server, db, **{key: path})


@pytest.mark.parametrize("key", ["password_file", "sslkey"])
@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o620])
def test_secret_that_others_may_read_is_refused(pg, redis_server, sluice, directory, mode, key):
    path = write_secret(directory, "secret", SQL_SECRET, mode)
    daemon = sluice(config_with_password(redis_server, pg, path, key), start=False)
    for command in (["check", "--offline"], ["run"]):
        done = daemon.command(*command)
        assert done.returncode == EXIT_CONFIG
        assert f"{key}: others may read {path}: chmod 600 {path}" in done.stderr
        assert SQL_SECRET not in done.stderr + done.stdout
    os.chmod(path, 0o600)
    assert "others may read" not in daemon.command("check", "--offline").stderr, "and what it says helps"


def test_secret_for_a_group_only_where_root_owns_it(pg, redis_server, sluice, directory):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = write_secret(directory, "secret", SQL_SECRET, 0o640)
    daemon = sluice(config_with_password(redis_server, pg, path), start=False)
    assert daemon.command("check", "--offline").returncode == 0
    os.chown(path, NOBODY, -1)
    assert "others may read" in daemon.command("check", "--offline").stderr


def test_secret_behind_a_symlink_is_judged_by_its_file(pg, redis_server, sluice, directory):
    path, link = write_secret(directory, "secret", SQL_SECRET, 0o644), os.path.join(directory, "link")
    os.symlink(path, link)
    daemon = sluice(config_with_password(redis_server, pg, link), start=False)
    assert "others may read" in daemon.command("check", "--offline").stderr
    os.chmod(path, 0o600)
    assert daemon.command("check", "--offline").returncode == 0


def test_secret_that_is_no_file_is_refused(pg, redis_server, sluice, directory):
    """A directory, a pipe that nobody writes, a device, nothing at all: told at once, by name."""
    pipe = os.path.join(directory, "pipe")
    os.mkfifo(pipe, 0o600)
    for path, words in ((directory, "not a regular file"), (pipe, "not a regular file"), ("/dev/null", "not a regular file"),
                        (f"{directory}/none", "cannot be read"), (write_secret(directory, "empty", ""), "no password")):
        done = sluice(config_with_password(redis_server, pg, path), start=False).command("check", "--offline")
        assert done.returncode == EXIT_CONFIG and path in done.stderr and words in done.stderr


@pytest.mark.parametrize("section, key, setting", [("redis", "url", f"redis://sluice:{SQL_SECRET}@localhost"),
                                                   ("database shop", "password", SQL_SECRET),
                                                   ("redis", "password", SQL_SECRET)])
def test_secret_in_sluice_ini_is_refused_and_not_repeated(pg, redis_server, sluice, section, key, setting):
    """So that sluice.ini itself is no secret."""
    config = queue_config(redis_server, pg)
    config[section][key] = setting
    done = sluice(config, start=False).command("check", "--offline")
    assert done.returncode == EXIT_CONFIG and "password" in done.stderr
    assert SQL_SECRET not in done.stderr + done.stdout


# -- secrets that are in use

@pytest.fixture
def guarded(db, redis_server, redis_client, directory):
    """(configuration, login): Redis and the database want passwords of the user `guarded`; login(right) writes the right ones, or wrong ones."""
    make_table(db)
    redis_client.execute_command("ACL", "SETUSER", "guarded", "reset", "on", f">{REDIS_SECRET}", "~*", "+@all")
    if db.driver == "postgresql":
        db.execute("DROP ROLE IF EXISTS guarded")
        db.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{SQL_SECRET}' IN ROLE {db.user}")
        with open(f"{db.data}/pg_hba.conf", "r+", encoding="utf-8") as file:
            rules = file.read()
            file.seek(0)
            file.write("local all guarded scram-sha-256\n" + rules)
        db.query("SELECT pg_reload_conf()")
    else:
        db.make_user("guarded@localhost", SQL_SECRET)
        db.execute(f"GRANT ALL ON {db.dbname}.* TO guarded@localhost")

    def login(right):
        write_secret(directory, "redis-password", REDIS_SECRET if right else WRONG_SECRET)
        write_secret(directory, "sql-password", SQL_SECRET if right else WRONG_SECRET)

    config = queue_config(redis_server, db, sluice={"log_level": "debug"}, password_file=f"{directory}/sql-password", pool_size=2)
    config["redis"] = {"url": f"redis://guarded@127.0.0.1:{redis_server.port}/0", "password_file": f"{directory}/redis-password"}
    config["database shop"]["user"] = "guarded"
    yield config, login
    redis_client.execute_command("ACL", "DELUSER", "guarded")
    if db.driver == "postgresql":
        db.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guarded'")
        db.execute("REASSIGN OWNED BY guarded TO postgres")
        db.execute("DROP OWNED BY guarded")
        db.execute("DROP ROLE guarded")
        with open(f"{db.data}/pg_hba.conf", "w", encoding="utf-8") as file:
            file.write(rules)
        db.query("SELECT pg_reload_conf()")
    else:
        db.execute("DROP USER guarded@localhost")


def process_file(daemon, name):
    with open(f"/proc/{daemon.pid}/{name}", encoding="utf-8", errors="replace") as file:
        return file.read()


def everything_said(daemon):
    """All that an onlooker can get out of a running daemon and its commands, dead letters excepted."""
    said = [daemon.log] + [daemon.get(route)[1] for route in ("/", "/stats", "/metrics", "/readyz", "/healthz")]
    words = [["check"], ["init", "--print"]]
    for what in ("queues", "pools", "connections", "stats", "dead", "config"):
        words += [["show", what], ["show", what, "--json"]]
    for command in words:
        done = daemon.command(*command)
        said += [done.stdout, done.stderr]
    return "\n".join(said)


def test_no_secret_is_shown(guarded, redis_client, sluice):
    """Not even when a login fails, at log level debug."""
    config, login = guarded
    login(right=False)
    daemon = sluice(config, start=False).start(wait=False)
    daemon.wait_log("WRONGPASS")
    daemon.wait_log("rejected" if "rejected" in daemon.log else "guarded")
    said = daemon.command("check").stdout + daemon.command("init").stderr
    assert "WRONGPASS" in said and "guarded" in said, "both logins failed"
    daemon.stop()
    login(right=True)
    daemon.start()
    push(redis_client, "orders", range(1, 301), bad_every=100)
    wait_drained(redis_client)
    if os.geteuid() == 0:
        said += process_file(daemon, "environ")
    said += process_file(daemon, "cmdline") + everything_said(daemon) + daemon.command("dead", "show", "orders").stdout
    assert "password_file" in said, "something was said at all"
    for secret in (REDIS_SECRET, SQL_SECRET, WRONG_SECRET):
        assert secret not in said


@contextlib.contextmanager
def plain_daemon(release, directory, sluice_daemon, *options):
    """The program as the user nobody where we are root, in a directory of its own and with no limit on core files: (process, prefix for others)."""
    home = os.path.join(directory, "home")
    shutil.rmtree(home, ignore_errors=True)
    os.mkdir(home)
    program = shutil.copy(release.path("src/sluice"), home)
    for path in (directory, home):
        os.chmod(path, 0o755)
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    if drop:
        os.chown(home, NOBODY, NOBODY)
    command = dying_with_us(["sh", "-c", 'cd "$1" && ulimit -c unlimited && shift && exec "$@"', "sh", home, *drop, program, "-c",
                             sluice_daemon.config_path, "run", *options])
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "runs as instance" in line:
                break
        try:
            yield process, drop, home
        finally:
            if process.poll() is None:
                process.kill()


def readable_by_its_user(process, drop):
    """Can another process of the same user look into its memory?"""
    return subprocess.run([*drop, "head", "-c", "1", f"/proc/{process.pid}/environ"], capture_output=True, check=False).returncode == 0


def dumps_core(process):
    """Kills it by SIGSEGV: did the kernel write a core file, or hand it to somebody?"""
    process.send_signal(signal.SIGSEGV)
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT).si_code == os.CLD_DUMPED


@pytest.mark.parametrize("options", [(), ("--core",)])
def test_no_core_file_and_no_look_into_its_memory(pg, redis_server, clean, sluice, release, directory, options):
    """Unless the operator wants it."""
    config = queue_config(redis_server, pg, sluice={"instance": f"core-{os.getpid()}"}, pool_size=1)
    config["stats"] = {"admin_socket": f"{directory}/home/admin.sock"}
    daemon = sluice(config, start=False)
    with plain_daemon(release, directory, daemon, *options) as (process, drop, home):
        assert readable_by_its_user(process, drop) == bool(options)
        wait_until(lambda: "sluice_redis_up 1" in daemon.get("/metrics")[1], 10, "its stats, though it reads /proc itself")
        assert daemon.metric("process_open_fds") > 5
        dumped = dumps_core(process)
        if options and not dumped:
            pytest.skip("the kernel writes no core files here")
        assert dumped == bool(options)
        assert dumped or not [name for name in os.listdir(home) if "core" in name]


# -- payloads and control characters

MARKER = "Marker-4711-of-a-payload"


def marked_orders():
    """Good and bad ones, with the marker in each place where an error could quote it."""
    return [f'{{"id":1,"customer":"{MARKER}","total":1.00,"note":"good"}}',
            f'{{"id":2,"customer":"x","total":"{MARKER}"}}',
            f'{{"id":"{MARKER}","customer":"x","total":1}}',
            f'{{"id":4,"customer":"x","total":1,"note":"{MARKER}{"x" * 60}"}}',
            f'{{"id":5,"customer":"x","total":1,"placed_at":"{MARKER}"}}',
            f'{{"id":6,"customer":"x","total":1,"items":"{MARKER}\\ud800"}}',
            f'{{"id":7,"customer":"{MARKER}","total":1,"note":"twice"}}',
            f'{{"id":8,"customer":"{MARKER}","total":1,"note":"twice"}}',
            f'{{"id":9,"customer":null,"total":1,"note":"{MARKER}"}}',
            f'{{"id":10,"customer":"{MARKER}","total":1,"note":"refuse me"}}',
            f'{{"id":11,"{MARKER}":1}}',
            f'{{"id":12,"customer":"{MARKER}"', f'"{MARKER}"', MARKER, f"[{MARKER}", f"{MARKER}\xff".encode("latin-1")]


def test_payloads_are_not_logged(db, redis_server, redis_client, sluice):
    """At no level, whatever is wrong with them: dead letters are their place."""
    make_table(db)
    db.user_execute("CREATE UNIQUE INDEX one_note ON orders (note)")
    if db.driver == "postgresql":
        db.user_execute("CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'saw %', NEW; "
                        "IF NEW.note = 'refuse me' THEN RAISE 'no %', NEW; END IF; RETURN NEW; END$$")
        db.user_execute("CREATE TRIGGER look BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION look()")
    else:
        db.user_execute("CREATE TRIGGER look BEFORE INSERT ON orders FOR EACH ROW IF NEW.note = 'refuse me' THEN "
                        "BEGIN DECLARE words varchar(120) DEFAULT CONCAT('no ', NEW.customer); "
                        "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = words; END; END IF")
    redis_client.lpush("orders", *marked_orders())
    daemon = sluice(queue_config(redis_server, db, sluice={"log_level": "debug"}, queue={"on_unknown_field": "reject"}))
    wait_drained(redis_client)
    letters = dead_letters(redis_client, "orders")
    assert len(letters) >= 12 and all(MARKER.encode() in letter["payload"] for letter in letters)
    assert MARKER not in everything_said(daemon)
    redis_client.lpush("orders", *[f'{{"id":"{MARKER}","customer":"x","total":1}}'] * 150)  # so many that the queue stops and says why
    wait_until(lambda: states(daemon)["orders"]["block"] != "none", 20, "a pause")
    assert MARKER not in daemon.log + daemon.get("/stats")[1] + daemon.get("/")[1]


def test_a_triggers_own_words_are_not_logged(db, redis_server, redis_client, sluice):
    """An error with a code that nobody knows: the order is kept, the queue says the code, and not what the trigger says of the order."""
    make_table(db)
    if db.driver == "postgresql":
        db.user_execute("CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
                        "RAISE 'no %', NEW USING ERRCODE = 'XX999'; RETURN NEW; END$$")
        db.user_execute("CREATE TRIGGER look BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION look()")
    else:
        db.user_execute("CREATE TRIGGER look BEFORE INSERT ON orders FOR EACH ROW BEGIN DECLARE words varchar(120) DEFAULT CONCAT('no ', NEW.customer); "
                        "SIGNAL SQLSTATE 'XX999' SET MYSQL_ERRNO = 9999, MESSAGE_TEXT = words; END")
    code = "XX999" if db.driver == "postgresql" else "9999"
    redis_client.lpush("orders", f'{{"id":1,"customer":"{MARKER}","total":1.00}}')
    daemon = sluice(queue_config(redis_server, db, sluice={"log_level": "debug"}, queue={"retry_backoff_ms": 10}))
    wait_until(lambda: f"(code {code})" in daemon.log, 20, "that the queue says the code")
    assert MARKER not in everything_said(daemon)
    db.user_execute("DROP TRIGGER look ON orders" if db.driver == "postgresql" else "DROP TRIGGER look")
    wait_drained(redis_client)
    assert db.value("SELECT count(*) FROM orders") == 1


EVIL_TEXT = "evil\x1b]0;title\x07 \x1b[31m\x7f\u009b31m\u0085 \u2028 ok"


def assert_clean_lines(text, log_format):
    for line in text.split("\n")[:-1]:
        assert not CONTROL.search(line), repr(line)
        if log_format == "json":
            assert json.loads(line)["instance"]
        else:
            assert LOG_LINE.match(line), repr(line)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_control_characters_are_not_logged(pg, redis_server, redis_client, sluice, log_format):
    """In a table's name, in what Redis says, in what databases say: one event stays one line, and no terminal obeys."""
    make_table(pg)
    sql_error = hostile.pg_error(EVIL_TEXT.encode() + b"\n2026-11-21T20:00:00.000Z error forged\r\nline\xff", b"28000")
    my_error = hostile.my_packet(b"\xff" + b"\x15\x04" + b"#28000" + EVIL_TEXT.encode() + b"\n2026-11-21T20:00:00.000Z error forged")
    with hostile.Hostile(hostile.pg_says(sql_error)) as fake_pg, hostile.Hostile(hostile.my_says(my_error)) as fake_mysql, \
            hostile.Hostile(hostile.redis_says((b"-ERR " + EVIL_TEXT.encode() + b"\x9b\n2026 forged\r\n") * 5)) as fake_redis:
        config = queue_config(redis_server, pg, queue={"table": "ord\u009bevil\u0085"}, sluice={"log_level": "debug", "log_format": log_format})
        for name, driver, server in (("pg", "postgresql", fake_pg), ("my", "mysql", fake_mysql)):
            config[f"database {name}"] = {"driver": driver, "host": "127.0.0.1", "port": server.port, "dbname": "x", "user": "x", "pool_size": 1,
                                          "sslmode": "disable"}
            config[f"queue {name}"] = {"source": f"list:{name}", "database": name, "table": "t"}
        daemon = sluice(config, start=False).start(wait=False)
        daemon.wait_log("31m", 20)
        wait_until(lambda: fake_pg.visits and fake_mysql.visits, 10, "visits")
        wait_until(lambda: "x9b" in daemon.log or "u009b" in daemon.log, 10, "the table's name")
        said = daemon.command("check")
        daemon.stop()
        assert "evil" in daemon.log and "evil" in said.stdout
        assert_clean_lines(daemon.log, log_format)
        assert not CONTROL.search(said.stdout)
        config = queue_config(redis_server, pg, sluice={"log_level": "debug", "log_format": log_format})
        config["redis"]["url"] = f"redis://127.0.0.1:{fake_redis.port}"
        daemon = sluice(config, start=False).start(wait=False)
        # hiredis 1.x takes no newline in an error
        wait_until(lambda: "evil" in daemon.log or "no Redis protocol" in daemon.log, 20, "what Redis says")
        said = daemon.command("check")
        daemon.stop()
        assert_clean_lines(daemon.log, log_format)
        assert not CONTROL.search(said.stdout)


def test_names_that_go_into_logs_have_no_control_characters(pg, redis_server, sluice):
    for section, key, setting in (("sluice", "instance", "a\x1b[31m"), ("sluice", "instance", "a\nb = 1"), ("queue orders", "table", "a\x1b[31m"),
                                  ("queue orders", "source", "list:\x07")):
        config = queue_config(redis_server, pg)
        config[section][key] = setting
        done = sluice(config, start=False).command("check", "--offline")
        assert done.returncode == EXIT_CONFIG and not CONTROL.search(done.stderr)


def test_forged_dead_letters_give_a_terminal_no_orders(pg, redis_server, redis_client, sluice):
    """Whoever may write to Redis may have written them."""
    evil = EVIL_TEXT + "\nforged"
    redis_client.rpush("{orders}:dead", json.dumps({"queue": "orders", "payload": "x", "position": evil, "at": evil, "instance": evil,
                                                    "error": {"class": evil, "sqlstate": evil, "message": evil, "column": evil}}))
    daemon = sluice(queue_config(redis_server, pg), start=False)
    for words in (["list", "orders"], ["show", "orders"]):
        done = daemon.command("dead", *words)
        assert done.returncode == 0 and "evil" in done.stdout
        assert not CONTROL.search(done.stdout) and len(done.stdout.split("\n")) == 3


# -- SQL injection

NAMES = ['quote"s', "back`ticks", "apostrophe's", "comment--", "comment/**/", "semi;colon", "per%cent %s %d %n", "dollar$$", "back\\slash",
         "(brackets)", "\u8868 \u30bd \u7e37", "select"]
KEY = "i\"d`'\\"

VALUES = ["'", "''", "'; DROP TABLE canary; --", "\\'; DROP TABLE canary; --", "\\", "\\\\", "ends with a backslash\\", "\\\\\\'", '"',
          '"; DROP TABLE canary; #', "`",
          "' OR '1'='1", "' UNION SELECT 1,2 --", "*/ DROP TABLE canary /*", "/*!50000 DROP TABLE canary */", "/*M! DROP TABLE canary */",
          "%", "_", "%s%n%d%%", "$$", "$$; DROP TABLE canary; $$", "$1", "?", ":name",
          "E'\\''", "U&'\\0027'", "x'27'", "\\x27", "\\047", "\\.", "\\.\n", "\\N", "\n\\.\n",
          "\t\\N\t", "a\tb\nc\rd\be\ff\vg", "\x01\x1a\x1b\x7f", "\u2018\u2019\u02bc\uff07\u2032\u00b4", "\u00bf'; DROP TABLE canary; --",
          "\u8868'; DROP TABLE canary; --",
          "\u30bd\\'", "\u7e37'", "\u00bf\\'", "\u0080\u009b\u2028\ufeff", "\U0001f600'", "NULL", "DEFAULT",
          "1; DROP TABLE canary", "0x27", "CHAR(39)", "{1,2}", "[]",
          "');DROP TABLE canary;--", "\\');DROP TABLE canary;--", "copy canary to program 'id'", "LOAD_FILE('/etc/passwd')"]

# Bytes that a server which took them for GBK, Shift-JIS or Latin 1 would read as the end of a text: none of it is UTF-8.
BYTES = [b"\xbf'; DROP TABLE canary; --", b"\xbf\\'; DROP TABLE canary; --", b"\x83\\'", b"\x95\\", b"\xc0\xa7 --", b"\xe0\x80\xa7",
         b"\xc2'", b"\xed\xa0\x80"]


def hostile_table(db, table):
    quote = only(db, '"', "`")

    def quoted(name):
        return quote + name.replace(quote, 2 * quote) + quote
    columns = "".join(f", {quoted(name)} {only(db, 'text', 'longtext')}" for name in NAMES)
    statement = f"CREATE TABLE {quoted(table)} ({quoted(KEY)} int NOT NULL PRIMARY KEY{columns})"
    db.user_execute(statement)
    return f"SELECT {', '.join(quoted(name) for name in [KEY, *NAMES])} FROM {quoted(table)} ORDER BY 1"


@contextlib.contextmanager
def loose_quotes(db):
    """The server's own settings read quotes in another way than any sane one."""
    if db.driver == "postgresql":
        db.execute("ALTER ROLE ALL SET standard_conforming_strings = off")
        db.execute("ALTER ROLE ALL SET backslash_quote = on")
        db.execute("ALTER ROLE ALL SET escape_string_warning = off")
        back = ["ALTER ROLE ALL RESET ALL"]
    else:
        before = db.value("SELECT @@global.sql_mode")
        db.execute("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT,IGNORE_SPACE'")
        db.execute("SET GLOBAL character_set_server = 'gbk'")
        back = [f"SET GLOBAL sql_mode = '{before}'", "SET GLOBAL character_set_server = 'utf8mb4'"]
    try:
        yield
    finally:
        for statement in back:
            db.execute(statement)


def all_tables(db):
    return sorted(db.query("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", only(db, "public", db.dbname)))


def hostile_messages(first):
    """(messages, rows that they are to become): each text in each column, in rows with all keys and in rows with one."""
    messages, rows = [], []
    for number, text in enumerate(VALUES):
        values = [VALUES[(number + i) % len(VALUES)] for i in range(len(NAMES))] if number % 2 else [text] + [None] * (len(NAMES) - 1)
        row = [first + number, *values]
        message = {KEY: row[0], **{name: value for name, value in zip(NAMES, values) if value is not None},
                   f"x{text}": text, f'{text}"); DROP TABLE canary; --': 1}
        messages.append(json.dumps(message, ensure_ascii=number % 3 == 0))
        rows.append(tuple(row))
    return messages, rows


@pytest.mark.parametrize("mode", ["insert", "ignore", "upsert"])
def test_hostile_values_and_names_are_only_data(db, redis_server, redis_client, sluice, mode):
    """What comes back is what was sent, byte by byte, and nothing else has changed."""
    db.execute("CREATE TABLE canary (id int)")
    db.execute("INSERT INTO canary VALUES (1), (2)")
    table = "or\"d`e'rs\\--;%s"
    select = hostile_table(db, table)
    key = {} if mode == "insert" else {"key": KEY}
    config = queue_config(redis_server, db, queue={"table": table, "mode": mode, **key}, pool_size=2)
    messages, rows = hostile_messages(1)
    with loose_quotes(db):
        daemon = sluice(config)
        daemon.command("init")
        tables = all_tables(db)
        redis_client.lpush("orders", *messages)
        wait_drained(redis_client)
        assert db.query(select) == rows, dead_letters(redis_client, "orders")[:3]
        for number, text in enumerate(BYTES):
            redis_client.lpush("orders", b'{%s:%d,"select":"%s"}' % (json.dumps(KEY).encode(), 900 + number, text))
        redis_client.lpush("orders", json.dumps({KEY: 990, "select": "nul\0'; DROP TABLE canary; --"}))
        if mode != "insert":
            redis_client.lpush("orders", *messages)
        wait_drained(redis_client)
        daemon.stop()
    refused = only(db, len(BYTES) + 1, len(BYTES))  # MariaDB has a place for NUL
    assert redis_client.llen("{orders}:dead") == refused
    found = [row for row in db.query(select) if row[0] < 900]
    assert found == rows, "the second time changes nothing"
    if db.driver == "mysql":
        assert [row[-1] for row in db.query(select) if row[0] == 990] == ["nul\0'; DROP TABLE canary; --"]
    assert db.query("SELECT id FROM canary ORDER BY id") == [(1,), (2,)]
    assert all_tables(db) == tables


def test_hostile_state_in_redis_is_only_data(db, redis_server, redis_client, sluice):
    """Whoever may write to Redis may also have written what sluice keeps there, and it takes part in SQL."""
    make_table(db)
    db.execute("CREATE TABLE canary (id int)")
    daemon = sluice(queue_config(redis_server, db, sluice={"lease_ttl": 1}), start=False)
    for field, text in (("generation", "x'; DROP TABLE canary; --"), ("generation", "\x1b[31mevil"), ("epoch", "1; DROP TABLE canary"),
                        ("settled", "-1")):
        redis_client.delete("{orders}:sluice")
        redis_client.hset("{orders}:sluice", mapping={"generation": "abc", "epoch": 1, "settled": 0, field: text})
        redis_client.lpush("orders", order(1))
        daemon.start()
        time.sleep(0.5)
        assert daemon.running()
        daemon.stop()
        assert db.query("SELECT * FROM canary") == [] and not CONTROL.search(daemon.log)
        assert "syntax" not in daemon.log, "none of it got so far"


# -- hostile servers

def test_hostile_redis_does_no_harm(pg, redis_server, redis_client, sluice, release):
    """At the login, and in the place of orders: the daemon lives, says what is wrong, and needs neither memory nor time for it."""
    make_table(pg)
    evils = hostile.redis_evils()
    treats = {f"login, {name}": hostile.redis_says(*evil) for name, evil in evils.items()}
    treats |= {f"orders, {name}": hostile.redis_spoils(redis_server, b"LRANGE", *evil) for name, evil in evils.items() if name != "endless string"}
    with contextlib.ExitStack() as stack:
        daemons = {}
        for number, (name, treat) in enumerate(treats.items()):
            server = stack.enter_context(hostile.Hostile(treat))
            config = queue_config(redis_server, pg, pool_size=1, queue={"source": f"list:q{number}"})
            config["redis"] = {"url": f"redis://127.0.0.1:{server.port}", "command_timeout": 2, "connect_timeout": 2}
            redis_client.lpush(f"q{number}", *map(order, range(5)))
            daemons[name] = (sluice(config, start=False, program=release.path("src/sluice")).start(wait=False), server)
        begin = time.monotonic()
        time.sleep(4)
        for name, (daemon, server) in daemons.items():
            wait_until(lambda daemon=daemon: "Redis at redis://127.0.0.1" in daemon.log, 20, f"words about {name}")
            assert daemon.running() and server.visits > 0, name
            memory, cpu, tries, seconds = daemon.peak_memory(), daemon.cpu_seconds(), server.visits, time.monotonic() - begin
            print(f"{name}: {memory / MEGABYTE:.0f} MB, {cpu} s, {tries} tries in {seconds:.0f} s")
            assert tries <= 20 + seconds, f"{name}: its two links try again later and later"
            most = 0.4 * tries if "elements without end" in name else 0.5  # the one evil that brings megabytes at each try
            assert memory < 200 * MEGABYTE and cpu < most * slowness(), name
    assert pg.value("SELECT count(*) FROM orders") == 0
    assert all(redis_client.llen(f"q{number}") == 5 for number in range(len(treats))), "nothing is lost by it"


def test_hostile_databases_do_no_harm(pg, redis_server, redis_client, sluice, release):
    """All of them in one daemon, beside one good database, whose queue goes on."""
    make_table(pg)
    treats = {("postgresql", name): hostile.pg_says(*evil) for name, evil in hostile.pg_evils().items()}
    treats |= {("mysql", name): hostile.my_says(*evil) for name, evil in hostile.my_evils().items()}
    config = queue_config(redis_server, pg, pool_size=2)
    with contextlib.ExitStack() as stack:
        servers = {}
        for number, (name, treat) in enumerate(treats.items()):
            servers[name] = server = stack.enter_context(hostile.Hostile(treat))
            config[f"database evil{number}"] = {"driver": name[0], "host": "127.0.0.1", "port": server.port, "dbname": "x", "user": "x",
                                                "pool_size": 1, "sslmode": "disable", "query_timeout": 1, "server_connect_timeout": 2}
            config[f"queue evil{number}"] = {"source": f"list:evil{number}", "database": f"evil{number}", "table": "t"}
            redis_client.lpush(f"evil{number}", order(number))
        daemon = sluice(config, start=False, program=release.path("src/sluice")).start(wait=False)
        pushed = []
        for begin in range(0, 700, 100):
            pushed += push(redis_client, "orders", range(begin, begin + 100))
            wait_drained(redis_client)
            time.sleep(1)
        assert daemon.running()
        memory, cpu = daemon.peak_memory(), daemon.cpu_seconds()
        print(f"{memory / MEGABYTE:.0f} MB, {cpu} s")
        for number, (name, server) in enumerate(servers.items()):
            assert server.visits > 0, name
            assert f"database evil{number}: " in daemon.log, (name, "nothing was said")
        assert memory < 200 * MEGABYTE and cpu < 6 * slowness(), "no spin"
    assert audit(redis_client, pg, pushed) == (700, 0)
    assert all(redis_client.llen(f"evil{number}") == 1 for number in range(len(treats)))


def test_floods_of_databases_are_cut_short(pg, redis_server, redis_client, sluice, release):
    """Each sends the same for ever and as fast as it can. All of them in one daemon, beside one good database, whose queue goes on."""
    make_table(pg)
    treats = {("postgresql", name): hostile.pg_says(*flood, pause=0) for name, flood in hostile.pg_floods().items()}
    treats |= {("mysql", name): hostile.my_says(*flood, pause=0) for name, flood in hostile.my_floods().items()}
    treats["mysql", "one row"] = hostile.my_endless_packet
    config = queue_config(redis_server, pg, pool_size=2)
    with contextlib.ExitStack() as stack:
        for number, (name, treat) in enumerate(treats.items()):
            server = stack.enter_context(hostile.Hostile(treat))
            config[f"database flood{number}"] = {"driver": name[0], "host": "127.0.0.1", "port": server.port, "dbname": "x", "user": "x",
                                                 "pool_size": 1, "sslmode": "disable", "query_timeout": 3600, "server_connect_timeout": 3600}
            config[f"queue flood{number}"] = {"source": f"list:flood{number}", "database": f"flood{number}", "table": "t"}
            redis_client.lpush(f"flood{number}", order(number))
        daemon = sluice(config, start=False, program=release.path("src/sluice")).start(wait=False)
        wait_until(lambda: os.path.exists(daemon.config["stats"]["admin_socket"]), 20, "the start")
        pushed = []

        def cut_short():
            """Those floods; orders are stored and pages answered meanwhile."""
            begin = len(pushed)
            pushed.extend(push(redis_client, "orders", range(begin, begin + 100)))
            wait_drained(redis_client)
            assert daemon.get("/healthz") == (200, "alive\n")
            said = daemon.log
            return [name for number, name in enumerate(treats)
                    if re.search(rf" database flood{number}: .*the server sends more than anybody asked for", said)]

        wait_until(lambda: len(cut_short()) == len(treats), 120, "the end of each flood")
        print(f"{daemon.peak_memory() / MEGABYTE:.0f} MB, {daemon.cpu_seconds()} s, {len(pushed)} orders meanwhile")
        assert daemon.peak_memory() < 700 * MEGABYTE
    assert audit(redis_client, pg, pushed) == (len(pushed), 0)
    assert all(redis_client.llen(f"flood{number}") == 1 for number in range(len(treats)))


def test_flood_begins_while_the_library_reads(pg, redis_server, redis_client, sluice, release, directory):
    """What waits before the library reads says nothing about what comes meanwhile. A good queue beside it goes on, and nothing is kept without bound."""
    make_table(pg)
    path = os.path.join(directory, "evil")
    with hostile.Hostile(hostile.my_waits_for_the_reader, path) as server:
        config = queue_config(redis_server, pg, pool_size=2)
        config["database evil"] = {"driver": "mysql", "host": path, "dbname": "x", "user": "x", "pool_size": 1, "query_timeout": 3600}
        config["queue evil"] = {"source": "list:evil", "database": "evil", "table": "t"}
        redis_client.lpush("evil", order(1))
        daemon = sluice(config, program=release.path("src/sluice"), start=False).start(wait=False)
        wait_until(lambda: os.path.exists(daemon.config["stats"]["admin_socket"]), 20, "the start")
        pushed = []

        def went_on():
            """Orders are stored and pages answered; has the server been cut short three times?"""
            begin = time.monotonic()
            pushed.extend(push(redis_client, "orders", range(len(pushed), len(pushed) + 100)))
            wait_drained(redis_client)
            assert daemon.get("/healthz") == (200, "alive\n")
            assert time.monotonic() - begin < 10
            assert daemon.peak_memory() < 300 * MEGABYTE
            return server.visits > 3

        wait_until(went_on, 60, "three floods")
        assert "database evil: the server sends more than anybody asked for" in daemon.log
    assert audit(redis_client, pg, pushed) == (len(pushed), 0)


def test_hostile_database_gets_no_file(redis_server, redis_client, sluice, release, directory):
    """MySQL's protocol lets a server ask the client for any file."""
    path = write_secret(directory, "private", MARKER)
    with hostile.Hostile(hostile.my_asks_for_file(path)) as server:
        config = {"redis": {"url": f"unix://{redis_server.socket}"},
                  "database evil": {"driver": "mysql", "host": "127.0.0.1", "port": server.port, "dbname": "x", "user": "x", "sslmode": "disable"},
                  "queue orders": {"source": "list:orders", "database": "evil", "table": "orders"}}
        daemon = sluice(config, start=False, program=release.path("src/sluice")).start(wait=False)
        wait_until(lambda: server.visits >= 3 and b"SET SESSION sql_mode" in server.heard, 20, "visits, and that it is asked something")
        assert MARKER.encode() not in server.heard
        daemon.wait_log("database evil: ")


# -- huge messages

def test_huge_messages_are_refused_one_by_one(db, redis_server, redis_client, sluice, release):
    """What tests/live/faults has not: beyond max_item_bytes, numbers and names of megabytes, escapes that swell, width without end."""
    db.user_execute(f"CREATE TABLE orders (id bigint NOT NULL, body {only(db, 'text', 'longtext')}, amount numeric(12,2))")
    size = 3 * MEGABYTE
    huge = {"too large": '{"id":0,"body":"%s"}' % ("x" * (size + MEGABYTE)),
            "number": '{"id":0,"amount":%s}' % ("9" * size),
            "id": '{"id":%s}' % ("1" * size),
            "exponent": '{"id":0,"amount":1e%s}' % ("9" * size),
            "brackets": "[" * size,
            "deep in what has no column": '{"id":0,"x":%s1%s}' % ("[" * 100_000, "]" * 100_000),
            "quotes": '{"id":0,"body":"' + '\\"' * (size // 2),
            "half a pair at the end": '{"id":0,"body":"%s\\ud800"}' % ("\\ud83d\\ude00" * (size // 12)),
            "zeros": "\0" * size}
    good = {1: '{"id":1,"body":"%s"}' % ("\\u0041" * (size // 6)), 2: '{"id":2,"%s":1}' % ("k" * size),
            3: '{"id":3,"x":[%s1]}' % ("1," * (size // 2)),
            4: '{"id":4,"x":{%s"z":1}}' % ('"":{},' * (size // 6)), 5: '{"id":5}' + " " * size, 6: '{"id":6}'}
    for message in [*good.values(), *huge.values(), *(f'{{"id":{number}}}' for number in range(7, 100))]:
        redis_client.lpush("orders", message)
    config = queue_config(redis_server, db, queue={"max_item_bytes": f"{size + MEGABYTE // 2}"}, pool_size=2)
    daemon = sluice(config, program=release.path("src/sluice"))
    wait_drained(redis_client)
    assert sorted(number for (number,) in db.query("SELECT id FROM orders")) == list(range(1, 100))
    letters = dead_letters(redis_client, "orders")
    assert sorted(len(letter["payload"]) for letter in letters) == sorted(map(len, huge.values()))
    assert all(letter["error"]["message"] and len(letter["error"]["message"]) < 1000 for letter in letters)
    print(f"{daemon.peak_memory() / MEGABYTE:.0f} MB")
    assert daemon.peak_memory() < 400 * MEGABYTE


# -- the smallest rights: `sluice init --print`

MODES = {"insert": {}, "ignore": {"mode": "ignore", "key": "id"}, "upsert": {"mode": "upsert", "key": "id"}}
SAYS_RIGHT = re.compile("permission denied|command denied|[Aa]ccess denied|has no right to it")
GRANT = re.compile(r"^GRANT (?P<rights>.*) ON (?P<what>.*) TO (?P<user>.*);$", re.MULTILINE)


def printed(daemon, begin):
    """What `init --print` prints in that section for databases (statements), or for Redis (the one line)."""
    done = daemon.command("init", "--print")
    assert done.returncode == 0, done.stderr
    sections = [part for part in done.stdout.split("\n\n") if part.startswith(f"-- [{begin}")]
    return [line for section in sections for line in section.splitlines() if not line.startswith("--")]


def run_statements(db, lines):
    for statement in "\n".join(lines).split(";\n"):
        if statement.strip(" ;\n"):
            db.execute(statement.rstrip(";\n"))


@contextlib.contextmanager
def small_user(db, name):
    """A user who may log in and nothing else."""
    user = only(db, name, f"{name}@localhost")
    if db.driver == "postgresql":
        db.execute(f"CREATE ROLE {name} LOGIN")
    else:
        db.make_user(user)
    try:
        yield name
    finally:
        if db.driver == "postgresql":
            db.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", name)
            db.execute(f"DROP OWNED BY {name}")
            db.execute(f"DROP ROLE {name}")
        else:
            db.execute(f"DROP USER {user}")


@contextlib.contextmanager
def closed_to_all(db):
    """PostgreSQL lets everybody in, unless it is told otherwise."""
    if db.driver == "mysql":
        yield
        return
    db.execute("ALTER SCHEMA public OWNER TO postgres")
    db.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    db.execute(f"REVOKE ALL ON DATABASE {db.dbname} FROM PUBLIC")
    try:
        yield
    finally:
        db.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {db.dbname} TO PUBLIC")


def keyed_table(db, table):
    db.execute(f"CREATE TABLE {table} (id bigint NOT NULL PRIMARY KEY, customer varchar(80) NOT NULL, total numeric(12,2) NOT NULL, "
               "note varchar(40))")


def acl_words(daemon):
    """The printed ACL SETUSER, with a password."""
    return [f">{REDIS_SECRET}" if word == ">PASSWORD" else word for word in printed(daemon, "redis")[0].split()]


@contextlib.contextmanager
def only_printed_user(redis_server, daemon, db):
    """In Redis there is the user of the printed line, and nobody else can log in but the administrator whose client this yields."""
    everybody = redis_server.client()
    everybody.execute_command("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")
    admin = redis_server.client(username="admin", password="admin", db=db)
    admin.execute_command(*acl_words(daemon))
    admin.execute_command("ACL", "SETUSER", "default", "off")
    admin.execute_command("ACL", "LOG", "RESET")
    try:
        yield admin
    finally:
        admin.execute_command("ACL", "SETUSER", "default", "on")
        everybody.execute_command("ACL", "DELUSER", "sluice", "admin")


def small_redis(redis_server, directory, user="sluice", db=0):
    return {"url": f"redis://{user}@127.0.0.1:{redis_server.port}/{db}", "password_file": write_secret(directory, f"{user}-password", REDIS_SECRET)}


@pytest.mark.parametrize("pop", ["right", "left"])
def test_printed_rights_are_enough(db, redis_server, redis_client, sluice, directory, pop):
    """For rows, bad rows, a restart, a takeover, `dead` and `check`, in each mode, with a user of exactly these rights in both servers."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(closed_to_all(db))
        stack.enter_context(small_user(db, "small"))
        config = queue_config(redis_server, db, sluice={"lease_ttl": 1}, pool_size=2)
        del config["queue orders"]
        config["database shop"]["user"] = "small"
        number = 2 if pop == "left" else 0
        config["redis"] = small_redis(redis_server, directory, db=number)
        for mode, keys in MODES.items():
            keyed_table(db, f"{mode}s")
            config[f"queue {mode}"] = {"source": f"list:{mode}", "database": "shop", "table": f"{mode}s", "pop": pop, "batch_rows": 20, **keys}
        first, second = (sluice(config, name=name, start=False) for name in ("alpha", "beta"))
        run_statements(db, printed(first, "database"))
        admin = stack.enter_context(only_printed_user(redis_server, first, number))
        stack.callback(lambda: [daemon.end() for daemon in (first, second)])
        first.start()
        second.start()
        pushed = {mode: push_to(admin, mode, range(1, 201), pop) for mode in MODES}
        wait_drained(admin, *MODES)
        first.stop()
        for mode in MODES:
            pushed[mode] += push_to(admin, mode, range(201, 401), pop)
        wait_drained(admin, *MODES)
        second.kill()
        for mode in ("ignore", "upsert"):
            push_to(admin, mode, range(1, 101), pop)
        second.start()
        wait_drained(admin, *MODES)
        done = second.command("check")
        assert done.returncode == 0, done.stdout
        assert "cannot see" not in done.stdout
        for mode in MODES:
            assert sorted(number for (number,) in db.query(f"SELECT id FROM {mode}s")) == [number for number in pushed[mode] if number % 50]
            dead = admin.llen("{%s}:dead" % mode)
            assert dead == (8 if mode == "insert" else 10)
            for words, left in ((["list", mode], dead), (["show", mode, "0"], dead), (["retry", mode, "0"], dead), (["drop", mode, "--all"], 0)):
                done = second.command("dead", *words)
                assert done.returncode == 0, done.stderr
                wait_until(lambda mode=mode, left=left: admin.llen(mode) == 0 and admin.llen("{%s}:dead" % mode) == left, 10, f"{words}")
        for daemon in (first, second):
            daemon.end()
            assert "NOPERM" not in daemon.log and "denied" not in daemon.log
        log = [entry for entry in admin.acl_log() if entry["username"] == "sluice"]
        assert not log, log


def push_to(client, key, numbers, pop):
    messages = ['{"id":%d,"customer":%s,"total":1.50}' % (number, '"Ada"' if number % 50 else "null") for number in numbers]
    (client.lpush if pop == "right" else client.rpush)(key, *messages)
    return list(numbers)


def single_rights(lines, user):
    """(right, on what) for each single right that the statements give to that user."""
    found = []
    for match in GRANT.finditer("\n".join(lines)):
        if user in match["user"]:
            found += [(right, match["what"]) for right in match["rights"].split(", ")]
    return found


def test_each_printed_grant_is_needed(db, redis_server, redis_client, sluice):
    """Without any one of them a queue pauses and says which right is missing; with it, all arrives. Each is missing in a database section of
    its own."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(closed_to_all(db))
        config = queue_config(redis_server, db)
        del config["queue orders"], config["database shop"]
        for mode in MODES:
            keyed_table(db, f"{mode}s")
        cases = []
        for mode, keys in MODES.items():
            for number in range(9):
                name = f"u_{mode}{number}"
                config[f"database {name}"] = {**db.section(pool_size=1, server_login_retry=1), "user": name}
                config[f"queue {name}"] = {"source": f"list:{name}", "database": name, "table": f"{mode}s", **keys}
                cases.append((name, mode, number))
        daemon = sluice(config, start=False)
        lines = printed(daemon, "database")
        missing = {}
        for name, mode, number in cases:
            rights = single_rights(lines, name)
            shared = mode != "upsert" and number < len(rights) and ("sluice_ledger" in rights[number][1] or "." not in rights[number][1])
            if number < len(rights) and not shared:
                missing[name] = rights[number]
        for name, _mode, _number in cases:
            if name in missing:
                stack.enter_context(small_user(db, name))
            else:
                del daemon.config[f"database {name}"], daemon.config[f"queue {name}"]
        daemon.write_config()
        run_statements(db, printed(daemon, "database"))
        user = only(db, "{}", "{}@localhost").format
        for number, (name, (right, what)) in enumerate(missing.items()):
            db.execute(f"REVOKE {right} ON {what} FROM {user(name)}")
            redis_client.lpush(name, '{"id":%d,"customer":"Ada","total":1}' % number)
        stack.callback(daemon.end)
        daemon.start(wait=False)
        time.sleep(3)
        needless = []
        for name, (right, what) in missing.items():
            said = "\n".join(line for line in daemon.log.splitlines() if f" {name}: " in line and re.search("warning|error", line))
            print(f"{right} {what}: {said[-300:]}")
            needless += [f"{right} ON {what}"] if redis_client.llen(name) == 0 else []
            assert needless or SAYS_RIGHT.search(said), (right, what, said)
        assert not needless
        run_statements(db, [f"GRANT {right} ON {what} TO {user(name)};\n" for name, (right, what) in missing.items()])
        daemon.end()
        daemon.start()
        wait_drained(redis_client, *missing)
        assert sum(db.value(f"SELECT count(*) FROM {mode}s") for mode in MODES) == len(missing)
        daemon.end()


def test_each_printed_redis_command_is_needed(pg, redis_server, redis_client, sluice, release, directory):
    """Each is missing to one daemon of its own; what that daemon cannot do is said, nothing is lost, and all arrives once it has the right."""
    make_table(pg)
    redis_client.config_set("acllog-max-len", 1000)
    redis_client.execute_command("ACL", "LOG", "RESET")
    daemons, users, pushed = {}, [], []

    def prepare(number, without=None):
        """The daemon of that number, and the commands of its printed line."""
        config = queue_config(redis_server, pg, pool_size=1, sluice={"lease_ttl": 1})
        config[f"queue q{number}"] = {**config.pop("queue orders"), "source": f"list:q{number}", "batch_rows": 10}
        config["redis"] = small_redis(redis_server, directory, f"u{number}", db=number % 2)
        daemon = sluice(config, name=f"n{number}", start=False, program=release.path("src/sluice"))
        words = acl_words(daemon)
        redis_client.execute_command(*[word for word in words if word != f"+{without}"])
        return daemon, [word[1:] for word in words if word.startswith("+")]

    commands = sorted(set(prepare(0)[1] + prepare(1)[1]))
    assert "select" in commands and len(commands) > 15
    try:
        for command in commands:
            number = 2 * len(daemons) + (command == "select")
            daemons[command] = prepare(number, command)[0]
            users.append(f"u{number}")
            numbers = range(number * 100 + 1, number * 100 + 31)
            pushed += push(redis_server.client(db=number % 2), f"q{number}", numbers, bad_every=10)
            daemons[command].start(wait=False)
        time.sleep(3)
        said = {}
        for (command, daemon), user in zip(daemons.items(), users):
            done = [daemon.command("dead", "retry", f"q{user[1:]}", "0"), daemon.command("check")]
            said[command] = daemon.log + "".join(answer.stdout + answer.stderr for answer in done)
            assert daemon.running()
        log = {(entry["username"], entry["object"].lower()) for entry in redis_client.acl_log(1000)}
        needless = [command for command, user in zip(daemons, users) if (user, command) not in log]
        assert not needless, f"Redis refused nobody {needless}"
        silent = [command for command, words in said.items() if "NOPERM" not in words and "ACL" not in words]
        assert set(silent) <= {"ping", "client|setname", "blmove"}, "without these it only knows less, or polls"
        for command, user in zip(daemons, users):
            daemons[command].end()
            redis_client.execute_command("ACL", "SETUSER", user, f"+{command}")
            daemons[command].start(wait=False)
        rows = len(daemons) * 27
        wait_until(lambda: pg.value("SELECT count(*) FROM orders") >= rows, DRAIN_SECONDS, "all rows")
        assert sorted(number for (number,) in pg.query("SELECT id FROM orders")) == [number for number in sorted(pushed) if number % 10]
        dead = [redis_server.client(db=int(user[1:]) % 2).llen("{q%s}:dead" % user[1:]) for user in users]
        assert dead == [3] * len(users)
    finally:
        for daemon in daemons.values():
            daemon.end()
        redis_client.execute_command("ACL", "DELUSER", *users, "u0", "u1")
