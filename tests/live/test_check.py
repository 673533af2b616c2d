"""sluice check: each finding, and that what it advises helps where that can be tried."""

import contextlib
import os
import re
import stat
import subprocess

import pytest

import hostile
from daemon import queue_config
from orders import make_table
from servers import MariaDB, PostgreSQL, Redis, wait_until

EXIT_UNAVAILABLE, EXIT_CONFIG = 69, 78
CLOCK_SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "faults", "jumping_clock.c")
SUM = re.compile(r"^(\d+) errors?, (\d+) warnings?; exit status (\d+): .+$")


def only(db, postgresql, mysql):
    """What goes for this database."""
    return postgresql if db.driver == "postgresql" else mysql


class Checked:
    """What `sluice check` said. The last line and the exit status must agree with the findings."""

    def __init__(self, done):
        *self.lines, last = done.stdout.splitlines()
        self.said = done.stdout + done.stderr
        self.status = done.returncode
        match = SUM.match(last)
        assert match, self.said
        levels = [line.split()[0] for line in self.lines]
        assert set(levels) <= {"ok", "warning", "error"}, self.said
        assert (int(match[1]), int(match[2]), int(match[3])) == (levels.count("error"), levels.count("warning"), self.status), self.said
        assert (self.status != 0) == ("error" in levels), self.said
        for line in self.lines:
            assert line.startswith("ok ") or re.search(r": .|\?$", line), f"no word on what to do: {line}"

    def find(self, level, where, *words):
        """Is there a finding of that level and place with these words in it?"""
        return [line for line in self.lines if line.startswith(f"{level:<7}  {where}  ") and all(word in line for word in words)]

    def guarantee(self, queue="orders"):
        """What the queue guarantees; None: nothing."""
        found = self.find("ok", f"queue {queue}", " once")
        assert len(found) <= 1
        return found[0] if found else None


def check(daemon, *words):
    return Checked(daemon.command("check", *words))


def checked(sluice, config, *words):
    return check(sluice(config, start=False), *words)


# -- the whole

def test_check(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db), start=False)
    assert check(daemon, "--offline").status == 0
    found = check(daemon)
    assert found.status == 0 and "  exactly once: each order that Redis holds reaches orders once" in found.guarantee()
    db.stop()
    found = check(daemon)
    assert found.status == EXIT_UNAVAILABLE and found.find("error", "database shop", ": is the server up") and not found.guarantee()
    assert check(daemon, "--offline").status == 0


@pytest.mark.parametrize("key, setting, hint", [("column.nosuch", "$.id", "nosuch"), ("table", "no_such_table", "no_such_table")])
def test_check_finds_what_does_not_fit(db, redis_server, redis_client, sluice, key, setting, hint):
    make_table(db)
    found = checked(sluice, queue_config(redis_server, db, queue={key: setting}))
    assert found.status == EXIT_CONFIG and found.find("error", "queue orders", hint)


def test_at_least_once(db, redis_server, redis_client, sluice):
    make_table(db)
    assert "at least once" in checked(sluice, queue_config(redis_server, db, queue={"ledger": "off"})).guarantee()


# -- files

def test_files_that_others_may_write(pg, clean, redis_server, sluice, directory):
    daemon = sluice(queue_config(redis_server, pg), start=False)
    assert not check(daemon, "--offline").find("warning", daemon.config_path)
    for mode in (0o666, 0o620):
        os.chmod(daemon.config_path, mode)
        assert check(daemon, "--offline").find("warning", daemon.config_path, f"chmod go-w {daemon.config_path}")
    os.chmod(daemon.config_path, 0o640)
    os.chmod(directory, 0o777)
    found = check(daemon, "--offline")
    assert found.find("warning", daemon.config_path, "replace it", f"chmod go-w {directory}") and found.status == 0
    assert found.find("warning", f"{directory}/{daemon.name}.sock", "its place")
    os.chmod(directory, 0o1777)
    assert not check(daemon, "--offline").find("warning", daemon.config_path), "only owners rename in a sticky directory"
    os.chmod(directory, 0o700)


def test_included_files_too(pg, clean, redis_server, sluice, directory):
    included = f"{directory}/more.ini"
    with open(included, "w", encoding="utf-8") as file:
        file.write("[queue more]\nsource = list:more\ndatabase = shop\ntable = more\n")
    os.chmod(included, 0o602)
    found = checked(sluice, queue_config(redis_server, pg, sluice={"include": included}), "--offline")
    assert found.find("warning", included, "chmod go-w")


def test_place_of_the_admin_socket(pg, clean, redis_server, sluice, directory):
    config = queue_config(redis_server, pg)
    config["stats"] = {"admin_socket": f"{directory}/none/admin.sock"}
    daemon = sluice(config, start=False)
    found = check(daemon, "--offline")
    assert found.status == EXIT_CONFIG and found.find("error", f"{directory}/none/admin.sock", f"mkdir {directory}/none")
    os.mkdir(f"{directory}/none")
    assert check(daemon, "--offline").status == 0


@pytest.mark.parametrize("listen, is_open", [("0.0.0.0:9864", True), (":9864", True), ("[::]:9864", True), ("127.0.0.1:9864", False),
                                             ("localhost:9864", False)])
def test_stats_for_the_whole_world(pg, clean, redis_server, sluice, listen, is_open):
    config = queue_config(redis_server, pg)
    config["stats"] = {"listen": listen}
    assert bool(checked(sluice, config, "--offline").find("warning", "stats", listen)) == is_open


def test_open_files(pg, clean, redis_server, sluice):
    daemon = sluice(queue_config(redis_server, pg, pool_size=200), start=False)
    for limit, enough in ((300, False), (400, True)):
        command = ["prlimit", f"--nofile={limit}:{limit}", daemon.program, "-c", daemon.config_path, "check", "--offline"]
        found = Checked(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False))
        assert bool(found.find("warning", "limits", "LimitNOFILE")) != enough


# -- Redis

@contextlib.contextmanager
def own_redis(*options):
    server = Redis(options=options).start()
    try:
        yield server
    finally:
        server.kill()


@pytest.mark.parametrize("name, setting, level, words", [
    ("maxmemory-policy", "noeviction", "ok", "nothing is lost"),
    ("maxmemory-policy", "allkeys-lru", "error", "set noeviction"),
    ("maxmemory-policy", "volatile-lru", "warning", "set noeviction"),
    ("appendonly", "yes", "ok", "keeps the queues"),
    ("appendonly", "no", "warning", "set appendonly yes"),
    ("appendfsync", "always", "ok", "before it is acknowledged"),
    ("appendfsync", "everysec", "ok", "within a second"),
    ("appendfsync", "no", "warning", "set everysec"),
    ("tcp-keepalive", "0", "warning", "set 60"),
    ("tcp-keepalive", "300", "ok", "are closed"),
    ("proto-max-bulk-len", "512mb", "warning", "set 16mb"),
    ("proto-max-bulk-len", "16mb", "ok", "are refused"),
    ("maxmemory", "0", "warning", "set maxmemory"),
    ("maxmemory", "1gb", "ok", "are used"),
    ("maxmemory", "1000000000000000", "warning", "its host has"),
])
def test_settings_of_redis(pg, clean, sluice, name, setting, level, words):
    make_table(pg)
    with own_redis(f"--{name}", setting) as server:
        found = checked(sluice, queue_config(server, pg))
        assert found.find(level, "redis", f"{name} ", words), found.said
        assert found.status == (EXIT_CONFIG if level == "error" else 0)


def test_redis_that_is_nearly_full(pg, clean, sluice):
    make_table(pg)
    with own_redis() as server:
        client = server.client()
        client.set("large", b"x" * 20_000_000)
        client.config_set("maxmemory", 24_000_000)
        assert checked(sluice, queue_config(server, pg)).find("warning", "redis", "maxmemory 24000000", "drain the queues faster")


@pytest.mark.parametrize("setting, words", [("always", "once"), ("everysec", "last second"), ("no", "half minute")])
def test_guarantee_says_what_redis_may_lose(pg, clean, sluice, setting, words):
    make_table(pg)
    with own_redis("--appendfsync", setting) as server:
        said = checked(sluice, queue_config(server, pg)).guarantee()
        assert words in said and ("killed" in said) == (setting != "always")


def test_snapshot_that_failed(pg, clean, sluice):
    make_table(pg)
    with own_redis() as server:
        os.mkdir(f"{server.directory}/dump.rdb")
        client = server.client()
        client.bgsave()
        wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 30, "a failed snapshot")
        assert checked(sluice, queue_config(server, pg)).find("warning", "redis", "rdb_last_bgsave_status err", "look at its disk")


def test_append_only_file_that_cannot_be_written(pg, redis_server, redis_client, sluice):
    make_table(pg)
    with hostile.Hostile(hostile.redis_with_another(redis_server, b"aof_last_write_status:ok\r\n", b"aof_last_write_status:err\n")) as server:
        config = queue_config(redis_server, pg)
        config["redis"] = {"url": f"redis://127.0.0.1:{server.port}"}
        found = checked(sluice, config)
        assert found.status == EXIT_CONFIG and found.find("error", "redis", "aof_last_write_status err", "make room")


def test_replica(pg, clean, sluice):
    make_table(pg)
    with own_redis() as server, own_redis("--replicaof", "127.0.0.1", str(server.port)) as replica:
        wait_until(lambda: server.client().info("replication")["connected_slaves"] == 1, 60, "a replica")
        found = checked(sluice, queue_config(server, pg))
        assert found.find("warning", "redis", "min-replicas-to-write 0", "set 1")
        server.client().config_set("min-replicas-to-write", 1)
        assert not checked(sluice, queue_config(server, pg)).find("warning", "redis", "min-replicas-to-write")
        found = checked(sluice, queue_config(replica, pg))
        assert found.status == EXIT_CONFIG and found.find("error", "redis", "url must lead to the primary")


def test_redis_that_is_open_to_all(pg, clean, sluice, directory):
    """It only seems to be bound to another address than the loopback one."""
    make_table(pg)
    with own_redis("--protected-mode", "no") as server, hostile.Hostile(hostile.redis_with_another(server, b"127.0.0.1", b"10.11.1.1")) as fake:
        config = queue_config(server, pg)
        assert not checked(sluice, config).find("warning", "redis", "without a password"), "nobody else gets to the loopback address"
        config["redis"]["url"] = f"redis://127.0.0.1:{fake.port}"
        assert checked(sluice, config).find("warning", "redis", f"port {server.port} at", "10.11.1.1", "without a password", "ACL SETUSER")
        server.client().config_set("protected-mode", "yes")
        assert not checked(sluice, config).find("warning", "redis", "without a password")
        server.client().config_set("protected-mode", "no")
        server.client().config_set("requirepass", "guess")
        with open(f"{directory}/password", "w", encoding="utf-8") as file:
            os.chmod(f"{directory}/password", stat.S_IRUSR)
            file.write("guess")
        config["redis"]["password_file"] = f"{directory}/password"
        found = checked(sluice, config)
        assert found.status == 0 and not found.find("warning", "redis", "without a password"), found.said


def test_redis_that_shows_no_settings(pg, redis_server, redis_client, sluice, directory):
    """One line for all of them, and no error."""
    make_table(pg)
    with open(f"{directory}/password", "w", encoding="utf-8") as file:
        os.chmod(f"{directory}/password", stat.S_IRUSR)
        file.write("small")
    redis_client.execute_command("ACL", "SETUSER", "small", "reset", "on", ">small", "~*", "+@all", "-config", "-info", "-type")
    try:
        config = queue_config(redis_server, pg)
        config["redis"] = {"url": f"redis://small@127.0.0.1:{redis_server.port}/0", "password_file": f"{directory}/password"}
        found = checked(sluice, config)
        assert found.status == 0 and len(found.find("warning", "redis", "cannot see settings")) == 1
        assert found.find("warning", "redis", "cannot see its version") and "is not known here" in found.guarantee()
    finally:
        redis_client.execute_command("ACL", "DELUSER", "small")


@pytest.mark.parametrize("key", ["orders", "{orders}:dead"])
def test_key_of_another_type(pg, redis_server, redis_client, sluice, key):
    make_table(pg)
    redis_client.set(key, "no list")
    found = checked(sluice, queue_config(redis_server, pg))
    assert found.status == EXIT_CONFIG and found.find("error", "queue orders", f"the key {key} is a string")


# -- connections

def limits(found):
    """What it says of connections: (level, text)."""
    return [(line.split()[0], line) for line in found.lines if "the pools want" in line]


def test_pools_that_are_too_large(db, redis_server, redis_client, sluice):
    make_table(db)
    found = checked(sluice, queue_config(redis_server, db, pool_size=200))
    assert found.status == EXIT_CONFIG and found.find("error", "database shop", "want 200 connections", "lower pool_size")


def test_pools_of_two_sections_on_one_server(db, redis_server, redis_client, sluice):
    make_table(db)
    config = queue_config(redis_server, db, pool_size=60)
    config["database other"] = db.section(pool_size=60)
    found = checked(sluice, config)
    assert found.status == EXIT_CONFIG and found.find("error", "database shop", "want 120 connections")


def test_connections_of_other_clients(db, redis_server, redis_client, sluice):
    make_table(db)
    config = queue_config(redis_server, db, pool_size=10)
    assert limits(checked(sluice, config))[0][0] == "ok"
    with contextlib.ExitStack() as stack:
        for _ in range(82):
            stack.enter_context(contextlib.closing(db.client()))
        level, text = limits(checked(sluice, config))[0]
        assert level == "warning" and "have fewer elsewhere" in text
        more = int(re.search(r"in use besides them: (\d+)", text)[1])
        assert 82 <= more <= 84, text


def sluice_sessions(text):
    """(connections besides the pools, those of other daemons or of the same user)."""
    match = re.search(r"; in use besides them: (\d+), of which (\d+) ", text)
    return int(match[1]), int(match[2])


def wait_for_connections(db, number):
    wait_until(lambda: sum(c.user == db.user for c in db.connections()) == number, 30, f"{number} connections")


def test_running_daemon_counts_once(db, redis_server, redis_client, sluice):
    """And another one as well as its own."""
    make_table(db)
    config = queue_config(redis_server, db, pool_size=7)
    first = sluice(config)
    wait_until(lambda: first.get("/readyz")[0] == 200, 30, "seven connections")
    wait_for_connections(db, 7)
    besides, kin = sluice_sessions(limits(check(first))[0][1])
    assert kin == 0 and besides < 4
    second = sluice(config, start=False)
    wait_for_connections(db, 7)  # the check's own takes a moment to go
    besides, kin = sluice_sessions(limits(check(second))[0][1])
    assert kin == 7 and 7 <= besides < 11, "another instance"
    second.start()
    for daemon in (first, second):
        wait_for_connections(db, 14)
        assert sluice_sessions(limits(check(daemon))[0][1])[1] == 7


def test_daemon_of_another_user_is_known_by_the_name_of_its_sessions(pg, redis_server, redis_client, sluice):
    make_table(pg)
    config = queue_config(redis_server, pg)
    with contextlib.closing(pg.client()) as connection:
        assert sluice_sessions(limits(checked(sluice, config))[0][1])[1] == 0
        connection.cursor().execute("SET application_name = 'sluice'")
        assert sluice_sessions(limits(checked(sluice, config))[0][1])[1] == 1


def test_limit_of_the_user(db, redis_server, redis_client, sluice):
    make_table(db)
    user = only(db, "ROLE sluice CONNECTION LIMIT {}", "USER sluice@localhost WITH MAX_USER_CONNECTIONS {}")
    try:
        db.execute("ALTER " + user.format(8))
        found = checked(sluice, queue_config(redis_server, db, pool_size=9))
        assert found.status == EXIT_CONFIG and found.find("error", "database shop", "want 9 connections of the 8 that its user may have")
        config = queue_config(redis_server, db, pool_size=8)
        config["database other"] = {**db.section(pool_size=5), "user": only(db, "postgres", "root")}
        daemon = sluice(config, start=False)
        assert check(daemon).status == 0, "that is another user's pool"
        daemon.start()
        wait_until(lambda: sum(c.user == db.user for c in db.connections()) == 8, 30, "eight connections")
        found = check(daemon)
        assert found.status == EXIT_UNAVAILABLE and found.find("error", "database shop", "leave a connection for sluice check")
    finally:
        db.execute("ALTER " + user.format(only(db, -1, 0)))


def test_limit_of_the_database(pg, redis_server, redis_client, sluice):
    make_table(pg)
    try:
        pg.execute(f"ALTER DATABASE {pg.dbname} CONNECTION LIMIT 8")
        found = checked(sluice, queue_config(redis_server, pg, pool_size=9))
        assert found.status == EXIT_CONFIG and found.find("error", "database shop", "want 9 connections of the 8 that this database may have")
        config = queue_config(redis_server, pg, pool_size=8)
        config["database other"] = pg.section(pool_size=5)
        config["database other"]["dbname"] = "template1"
        assert checked(sluice, config).status == 0, "that is a pool in another database"
    finally:
        pg.execute(f"ALTER DATABASE {pg.dbname} CONNECTION LIMIT -1")


def test_sessions_that_may_not_be_seen(pg, redis_server, redis_client, sluice):
    """No error, and no guarantee that could be wrong."""
    make_table(pg)
    pg.execute("REVOKE SELECT ON pg_stat_activity FROM PUBLIC")
    try:
        found = checked(sluice, queue_config(redis_server, pg))
        assert found.status == 0 and found.find("warning", "database shop", "cannot see its connections")
        assert "database shop may lose what is not known here" in found.guarantee()
    finally:
        pg.execute("GRANT SELECT ON pg_stat_activity TO PUBLIC")


# -- what a crash of the database loses

@pytest.mark.parametrize("query, lost", [("SET synchronous_commit = off", "within the last second: synchronous_commit off"),
                                         ("SET synchronous_commit = on", None)])
def test_commit_that_postgresql_does_not_wait_for(pg, redis_server, redis_client, sluice, query, lost):
    make_table(pg)
    found = checked(sluice, queue_config(redis_server, pg, connect_query=query))
    assert bool(found.find("warning", "database shop", "synchronous_commit off")) == bool(lost)
    assert (lost or "fsync off") in found.guarantee() and "database shop may lose anything" in found.guarantee()


def test_durable_postgresql(redis_server, redis_client, sluice):
    server = PostgreSQL(durable=True)
    try:
        server.clean()
        make_table(server)
        found = checked(sluice, queue_config(redis_server, server))
        assert found.status == 0 and not found.find("warning", "database shop", "fsync") and "database shop" not in found.guarantee()
    finally:
        server.kill()


@pytest.mark.parametrize("flush, lost", [(0, "may lose in a crash"), (2, "may lose what it committed within the last second when its host"), (1, None)])
def test_commit_that_mariadb_does_not_wait_for(mysql, redis_server, redis_client, sluice, flush, lost):
    make_table(mysql)
    before = mysql.value("SELECT @@innodb_flush_log_at_trx_commit")
    try:
        mysql.execute(f"SET GLOBAL innodb_flush_log_at_trx_commit = {flush}")
        found = checked(sluice, queue_config(redis_server, mysql))
        assert bool(found.find("warning", "database shop", f"innodb_flush_log_at_trx_commit {flush}", "set it to 1")) == bool(lost)
        assert lost in found.guarantee() if lost else "database shop" not in found.guarantee()
    finally:
        mysql.execute(f"SET GLOBAL innodb_flush_log_at_trx_commit = {before}")


def test_binary_log_that_mariadb_does_not_wait_for(redis_server, redis_client, sluice):
    server = MariaDB(durable=True, options=["--log-bin=binlog", "--sync-binlog=0"])
    try:
        server.clean()
        make_table(server)
        found = checked(sluice, queue_config(redis_server, server))
        assert found.find("warning", "database shop", "sync_binlog not 1") and "sync_binlog" in found.guarantee()
        server.execute("SET GLOBAL sync_binlog = 1")
        found = checked(sluice, queue_config(redis_server, server))
        assert "sync_binlog" not in found.said and "database shop" not in found.guarantee()
    finally:
        server.kill()


def test_ledger_that_a_crash_empties(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db), start=False)
    assert check(daemon).find("warning", "database shop", "sluice_ledger is not there yet")
    assert daemon.command("init").returncode == 0
    assert check(daemon).find("ok", "database shop", "sluice_ledger is there and usable")
    db.execute("ALTER TABLE sluice_ledger " + only(db, "SET UNLOGGED", "ENGINE = MyISAM"))
    found = check(daemon)
    repair = re.search(r"ALTER TABLE sluice_ledger .*", found.find("error", "database shop", "sluice_ledger")[0])[0]
    assert found.status == EXIT_CONFIG
    db.execute(repair)
    assert check(daemon).status == 0


def test_encoding_of_the_database(pg, redis_server, redis_client, sluice):
    try:
        pg.execute(f"CREATE DATABASE narrow OWNER {pg.user} ENCODING LATIN1 TEMPLATE template0")
        config = queue_config(redis_server, pg)
        config["database shop"]["dbname"] = "narrow"
        assert checked(sluice, config).find("warning", "database shop", "LATIN1", "ENCODING UTF8")
    finally:
        pg.execute("DROP DATABASE IF EXISTS narrow")


# -- clocks

def test_clocks(db, redis_server, redis_client, release, sluice, directory, monkeypatch):
    make_table(db)
    compiler = next((path for path in ("/usr/bin/cc", "/usr/bin/gcc") if os.path.exists(path)), None) or pytest.skip("no compiler")
    library = f"{directory}/clock.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, CLOCK_SOURCE, "-ldl"], check=True)
    daemon = sluice(queue_config(redis_server, db), start=False, program=release.path("src/sluice"))
    assert "its clock" not in check(daemon).said
    monkeypatch.setenv("CLOCK_FILE", f"{directory}/clock")
    for off, words in ((3600, "behind this host's"), (-3600, "ahead of this host's")):
        with open(f"{directory}/clock", "w", encoding="utf-8") as file:
            file.write(str(off))
        with monkeypatch.context() as preloaded:
            preloaded.setenv("LD_PRELOAD", library)
            found = check(daemon)
        for where in ("redis", "database shop"):
            seconds = int(re.search(r"its clock is (\d+) s", found.find("warning", where, words, "follow NTP")[0])[1])
            assert abs(seconds - 3600) < 60


# -- tables and columns

def mapped(**lines):
    return {f"column.{name}": expression for name, expression in lines.items()}


@pytest.mark.parametrize("sql_type, expression, level, hint", [
    ("int", "$", "error", "change the type"),
    ("date", "$", "error", "change the type"),
    ("text", "$", None, ""),
    ("json", "$", None, ""),
    ("bigint", "@now", "error", "change the type"),
    ("json", "@now", "error", "change the type"),
    ("date", "@now", None, ""),
    ("varchar(40)", "@now", None, ""),
    ("int", "@queue", "error", "change the type"),
    ("varchar(3)", "@queue", "error", "too short"),
    ("varchar(40)", "@queue", None, ""),
    ("date", "@position", "error", "change the type"),
    ("int", "@position", "warning", "bigint"),
    ("bigint", "@position", None, ""),
    ("decimal(12,2)", "@position", None, ""),
])
def test_type_that_takes_nothing_of_what_is_meant_for_it(db, redis_server, redis_client, sluice, sql_type, expression, level, hint):
    db.user_execute(f"CREATE TABLE orders (id bigint NOT NULL, extra {sql_type})")
    found = checked(sluice, queue_config(redis_server, db, queue=mapped(id="$.id", extra=expression)))
    findings = [line for line in found.lines if "column.extra" in line]
    assert [line.split()[0] for line in findings] == ([level] if level else []), found.said
    assert all(hint in line for line in findings)
    assert found.status == (EXIT_CONFIG if level == "error" else 0) and bool(found.guarantee()) == (level != "error")


@pytest.mark.parametrize("sql_type, expression", [("int", "$"), ("date", "$"), ("bigint", "@now"), ("json", "@now"), ("int", "@queue"),
                                                  ("varchar(3)", "@queue"), ("date", "@position")])
def test_such_a_type_really_refuses(db, redis_server, redis_client, sluice, sql_type, expression):
    db.user_execute(f"CREATE TABLE orders (id bigint NOT NULL, extra {sql_type})")
    daemon = sluice(queue_config(redis_server, db, queue=mapped(id="$.id", extra=expression)))
    redis_client.lpush("orders", '{"id":1}')
    wait_until(lambda: redis_client.llen("{orders}:dead") == 1, 30, "a dead letter")
    assert db.value("SELECT count(*) FROM orders") == 0 and daemon.running()


def test_column_that_must_have_a_value(db, redis_server, redis_client, sluice):
    db.user_execute("CREATE TABLE orders (id bigint NOT NULL, customer varchar(40) NOT NULL)")
    found = checked(sluice, queue_config(redis_server, db, queue=mapped(id="$.id")))
    assert found.status == EXIT_CONFIG and found.find("error", "queue orders", "customer", "add `column.` lines")


def test_keys(db, redis_server, redis_client, sluice):
    db.user_execute("CREATE TABLE orders (id bigint NOT NULL PRIMARY KEY, code varchar(20) UNIQUE, version varchar(20), stamp bigint)")
    config = queue_config(redis_server, db, queue={"mode": "upsert", "key": "code", "newer": "version"})
    found = checked(sluice, config)
    assert found.status == 0 and found.find("warning", "queue orders", "key: the column code may be NULL", "NOT NULL")
    assert found.find("warning", "queue orders", "newer: the column version is text")
    config["queue orders"].update(key="id", newer="stamp")
    found = checked(sluice, config)
    assert not found.find("warning", "queue orders"), found.said
    config["queue orders"].update(key="stamp", newer="version")
    found = checked(sluice, config)
    assert found.status == EXIT_CONFIG and found.find("error", "queue orders", "no unique index on exactly (stamp)")


def test_ignore_without_a_unique_index(db, redis_server, redis_client, sluice):
    make_table(db)
    config = queue_config(redis_server, db, queue={"mode": "ignore"})
    assert checked(sluice, config).find("warning", "queue orders", "no unique index")
    db.execute("CREATE UNIQUE INDEX one ON orders (id)")
    assert not checked(sluice, config).find("warning", "queue orders")


def test_right_that_the_mode_needs(db, redis_server, redis_client, sluice):
    """The INSERT alone would be allowed."""
    user = only(db, "few", "few@localhost")
    db.execute("CREATE TABLE orders (id bigint NOT NULL PRIMARY KEY, note varchar(40))")
    if db.driver == "postgresql":
        db.execute("CREATE ROLE few LOGIN")
    else:
        db.make_user(user)
    try:
        db.execute(f"GRANT {only(db, 'INSERT, SELECT', 'INSERT')} ON orders TO {user}")
        if db.driver == "postgresql":
            db.execute("GRANT USAGE ON SCHEMA public TO few")
        config = queue_config(redis_server, db, queue={"mode": "upsert", "key": "id", "ledger": "off"})
        config["database shop"]["user"] = "few"
        found = checked(sluice, config)
        assert found.status == EXIT_CONFIG and found.find("error", "queue orders", "denied", "init --print") and not found.guarantee()
        db.execute(f"GRANT SELECT, INSERT, UPDATE ON orders TO {user}")
        assert checked(sluice, config).status == 0
    finally:
        if db.driver == "postgresql":
            db.execute("DROP OWNED BY few")
        db.execute(f"DROP {only(db, 'ROLE', 'USER')} {user}")


def test_unlogged_table(pg, redis_server, redis_client, sluice):
    make_table(pg)
    config = queue_config(redis_server, pg)
    assert not checked(sluice, config).find("warning", "queue orders")
    pg.execute("ALTER TABLE orders SET UNLOGGED")
    found = checked(sluice, config)
    assert found.find("warning", "queue orders", "UNLOGGED", "SET LOGGED") and "a crash of PostgreSQL empties the table" in found.guarantee()


def test_partitions(pg, redis_server, redis_client, sluice):
    pg.user_execute("CREATE TABLE orders (id bigint NOT NULL, day date NOT NULL) PARTITION BY RANGE (day)")
    config = queue_config(redis_server, pg)
    assert checked(sluice, config).find("warning", "queue orders", "no partition yet")
    pg.user_execute("CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')")
    found = checked(sluice, config)
    assert found.find("warning", "queue orders", "no DEFAULT partition") and "UNLOGGED" not in found.said
    pg.user_execute("CREATE UNLOGGED TABLE orders_rest PARTITION OF orders DEFAULT")
    found = checked(sluice, config)
    assert not found.find("warning", "queue orders", "no DEFAULT") and found.find("warning", "queue orders", "UNLOGGED")
    pg.user_execute("ALTER TABLE orders_rest SET LOGGED")
    assert not checked(sluice, config).find("warning", "queue orders")


def test_sequence_that_the_user_may_not_use(pg, redis_server, redis_client, sluice):
    pg.execute('CREATE TABLE "My" (id bigserial PRIMARY KEY, note text, number int GENERATED BY DEFAULT AS IDENTITY)')
    pg.execute(f'GRANT INSERT, SELECT ON "My" TO {pg.user}')
    config = queue_config(redis_server, pg, queue={"table": "My"})
    repair = re.search(r"GRANT USAGE ON SEQUENCE \S+", checked(sluice, config).find("warning", "queue orders", "without a value for id")[0])[0]
    pg.execute(f"{repair} TO {pg.user}")
    assert not checked(sluice, config).find("warning", "queue orders")


def test_characters_that_a_column_lacks(mysql, redis_server, redis_client, sluice):
    mysql.user_execute("CREATE TABLE orders (id bigint NOT NULL, note varchar(40) CHARACTER SET latin1, other varchar(40) CHARACTER SET latin1,"
                       " wide varchar(40) CHARACTER SET utf8mb4)")
    found = checked(sluice, queue_config(redis_server, mysql, queue=mapped(id="$.id", note="$.note", wide="$.wide")))
    lines = found.find("warning", "queue orders", "latin1", "utf8mb4")
    assert len(lines) == 1 and "the column note " in lines[0]


def test_engine_without_transactions(mysql, redis_server, redis_client, sluice):
    make_table(mysql)
    mysql.execute("ALTER TABLE orders ENGINE = MyISAM")
    found = checked(sluice, queue_config(redis_server, mysql))
    assert found.status == EXIT_CONFIG and found.find("error", "queue orders", "use InnoDB")
    found = checked(sluice, queue_config(redis_server, mysql, queue={"ledger": "off"}))
    assert found.status == 0 and found.find("warning", "queue orders", "use InnoDB") and "a part of a batch may stay" in found.guarantee()
