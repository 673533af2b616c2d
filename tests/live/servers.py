"""Private Redis, PostgreSQL and MariaDB servers for tests and for the demo.

Each lives in a temporary directory, listens on Unix sockets only (Redis on a loopback port too) and dies with this process. What was stored is
still there when a server is started again after stop() or kill().
"""

import atexit
import collections
import contextlib
import glob
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import psycopg2
import pymysql
import redis

USUAL_SECONDS = 0.06  # of CPU time, for what slowness() does
READY_SECONDS = 60

Connection = collections.namedtuple("Connection", "id user application")

_workspace = []
_numbers = itertools.count(1)


def workspace():
    """The directory of all servers, made at the first call and removed at exit. Short: a socket's path may have 107 bytes."""
    if not _workspace:
        _workspace.append(tempfile.mkdtemp(prefix="sl.", dir=os.environ.get("SLUICE_TMP", "/tmp")))
        os.chmod(_workspace[0], 0o755)
        atexit.register(shutil.rmtree, _workspace[0], ignore_errors=True)
    return _workspace[0]


def end_in_order():
    """SIGTERM and SIGINT raise KeyboardInterrupt, once: a second one shall not stop the cleaning up."""
    def interrupt(_number, _frame):
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        signal.signal(number, interrupt)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_program(*names):
    """The first of them that is installed; the directories of servers are often missing in a user's PATH."""
    places = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    for name in names:
        found = shutil.which(name, path=places)
        if found:
            return found
    raise FileNotFoundError(f"not installed: {' or '.join(names)}")


def wait_until(condition, seconds, what="the condition", pause=0.02):
    """The first true answer of condition(); TimeoutError after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come true within {seconds} s")
        time.sleep(pause)


def slowness():
    """How many times slower than a usual machine this one is just now, at least 1, by the CPU time of some work. A limit on CPU time is multiplied by
    it."""
    begin = time.thread_time()
    sum(number * number for number in range(1_000_000))
    return max(1, (time.thread_time() - begin) / USUAL_SECONDS)


def dying_with_us(command, account=None):
    """The command with a parent-death signal, so that even SIGKILL of this process leaves no server behind."""
    words = [find_program("setpriv"), "--pdeathsig", "KILL"]
    if account and os.geteuid() == 0:
        words += [f"--reuid={account}", f"--regid={account}", "--init-groups"]
    return words + ["--"] + command


def _stat(path):
    """The fields of a /proc/.../stat file from the state on; empty when the process has gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return []


def _children(parent):
    """Process ids of the children of a process."""
    return [int(path.split("/")[2]) for path in glob.glob("/proc/[0-9]*/stat") if _stat(path)[1:2] == [str(parent)]]


def _stopped(pid):
    """Whether every thread of a process is stopped, or has gone: SIGSTOP reaches them one by one."""
    return all(_stat(path)[:1] in ([], ["T"], ["Z"]) for path in glob.glob(f"/proc/{pid}/task/*/stat"))


def _send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Server:
    """One server process. Subclasses say how to prepare its directory, the command, and how to ask whether it answers."""

    account = None  # the Unix user it runs as when we are root
    stop_signal = signal.SIGTERM

    def __init__(self, kind):
        self.directory = os.path.join(workspace(), f"{kind}{next(_numbers)}")
        self.log_path = os.path.join(self.directory, "log")
        self.process = None
        self._admin = None
        os.mkdir(self.directory)
        if self.account and os.geteuid() == 0:
            entry = pwd.getpwnam(self.account)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
        atexit.register(self.kill)

    def start(self):
        """Starts it, unless it runs, and waits until it answers."""
        if self.running():
            return self
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(dying_with_us(self.command(), self.account), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.directory, env=self._environment(), start_new_session=True)
        wait_until(self._answers, READY_SECONDS, f"start of {type(self).__name__}")
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """A clean stop."""
        if self.running():
            self.process.send_signal(self.stop_signal)
            self.process.wait(READY_SECONDS)
        self._forget()

    def kill(self):
        """SIGKILL for the server and its children, as a power cut would have it."""
        if self.running():
            self.process.send_signal(signal.SIGSTOP)  # or it forks again while we look
            children = _children(self.process.pid)
            for pid in [self.process.pid] + children:
                _send(pid, signal.SIGKILL)
            self.process.wait(READY_SECONDS)
            for pid in children:
                wait_until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), READY_SECONDS, f"the end of process {pid}")
        self._forget()

    def freeze(self):
        """Stops it and its children as they are, and returns when none of their threads runs any more; thaw() lets them go on."""
        processes = [self.process.pid]
        _send(self.process.pid, signal.SIGSTOP)  # or it forks again while we look
        for child in _children(self.process.pid):
            processes.append(child)
            _send(child, signal.SIGSTOP)
        wait_until(lambda: all(_stopped(pid) for pid in processes), READY_SECONDS, "the stop of every thread")

    def thaw(self):
        for pid in _children(self.process.pid) + [self.process.pid]:
            _send(pid, signal.SIGCONT)

    def restart(self):
        self.stop()
        return self.start()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def _environment(self):
        """Its temporary files stay apart: a starting MariaDB removes those of others from a directory that they share."""
        return {**os.environ, "TMPDIR": self.directory}

    def _forget(self):
        self.process = None
        self._admin = None

    def _answers(self):
        if not self.running():
            raise RuntimeError(f"{type(self).__name__} did not start:\n{self.log()[-2000:]}")
        try:
            return self.ping()
        except (OSError, redis.RedisError, psycopg2.Error, pymysql.Error):
            return False

    def _prepare(self, command):
        """Runs a command that sets up the data directory."""
        done = subprocess.run(dying_with_us(command, self.account), cwd=self.directory, env=self._environment(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}")


class Redis(Server):
    """`socket` and `port` are where it listens. `durable`: as a queue should run; else the same without waiting for the disk at all."""

    def __init__(self, durable=False, options=()):
        super().__init__("redis")
        self.appendfsync = "everysec" if durable else "no"
        self.options = list(options)
        self.socket = os.path.join(self.directory, "redis.sock")
        self.port = free_port()

    def command(self):
        return [find_program("redis-server", "valkey-server"), "--unixsocket", self.socket, "--unixsocketperm", "777", "--bind", "127.0.0.1",
                "--port", str(self.port), "--dir", self.directory, "--daemonize", "no", "--save", "", "--appendonly", "yes",
                "--appendfsync", self.appendfsync] + self.options

    def ping(self):
        return self.client().ping()

    def client(self, **options):
        """A redis-py client; answers are bytes unless decode_responses is given."""
        return redis.Redis(unix_socket_path=self.socket, **options)

    @contextlib.contextmanager
    def setting(self, name, value):
        """With another value of a setting meanwhile."""
        client = self.client(decode_responses=True)
        usual = client.config_get(name)[name]
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, usual)

    def flush(self):
        """Empties it and takes back what a test may have set."""
        client = self.client()
        client.config_set("maxmemory", 0)
        client.config_set("appendfsync", self.appendfsync)
        client.flushall()
        client.script_flush()


class Database(Server):
    """What PostgreSQL and MariaDB have in common. `host` and `user`, `dbname` are what sluice.ini says; query() asks as superuser."""

    driver = None  # as in sluice.ini
    flavor = None  # "postgresql", "mariadb" or "mysql"
    connections_sql = None  # id, user and application of every client connection

    def __init__(self, kind, durable, max_connections, options):
        super().__init__(kind)
        self.durable = durable
        self.max_connections = max_connections
        self.options = list(options)
        self.host = None
        self.user = "sluice"
        self.dbname = "shop"

    def query(self, sql, *args):
        """Runs a statement and returns its rows as tuples; empty when it has none."""
        with self._cursor(sql, args) as cursor:
            return list(cursor.fetchall()) if cursor.description else []

    def execute(self, sql, *args):
        """Runs a statement for its effect; returns the rows it changed."""
        with self._cursor(sql, args) as cursor:
            return cursor.rowcount

    def user_execute(self, sql):
        """Runs a statement as the daemon's user, who then owns what it makes."""
        connection = self.client(user=self.user)
        connection.cursor().execute(sql)
        connection.close()

    def value(self, sql, *args):
        """The one value that a query answers."""
        return self.query(sql, *args)[0][0]

    def connections(self):
        """Client connections as the server itself reports them."""
        return [Connection(*row) for row in self.query(self.connections_sql)]

    def section(self, **options):
        """Its [database] section for sluice.ini."""
        return {"driver": self.driver, "host": self.host, "dbname": self.dbname, "user": self.user, **options}

    def _cursor(self, sql, args):
        """A cursor that has run the statement, on the superuser's connection; a lost one is opened again."""
        for attempt in range(2):
            if self._admin is None:
                self._admin = self.client()
            cursor = self._admin.cursor()
            try:
                cursor.execute(sql, args or None)
                return cursor
            except (psycopg2.OperationalError, psycopg2.InterfaceError, pymysql.InterfaceError, pymysql.OperationalError):
                alive = self._admin.open if isinstance(self._admin, pymysql.Connection) else not self._admin.closed
                if alive or attempt:
                    raise
                self._admin = None
        raise AssertionError("unreachable")

    def _set_up(self, dbname, *statements):
        connection = self.client(dbname=dbname)
        for statement in statements:
            connection.cursor().execute(statement)
        connection.close()


class PostgreSQL(Database):
    driver = flavor = "postgresql"
    account = "postgres"
    stop_signal = signal.SIGINT  # "fast": sessions are ended, nothing is lost
    connections_sql = "SELECT pid, usename, application_name FROM pg_stat_activity WHERE backend_type = 'client backend'"

    def __init__(self, durable=False, max_connections=100, options=(), port=5432):
        super().__init__("pg", durable, max_connections, options)
        self.port = port
        versions = glob.glob("/usr/lib/postgresql/*/bin/postgres")
        self.programs = os.path.dirname(max(versions, key=lambda path: float(path.split("/")[4]))) if versions else \
            os.path.dirname(find_program("postgres"))
        self.host = self.directory
        self.data = os.path.join(self.directory, "data")
        self._prepare([f"{self.programs}/initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
        self.start()
        self._set_up("postgres", f"CREATE ROLE {self.user} LOGIN", f"CREATE DATABASE {self.dbname} OWNER {self.user}")

    def command(self):
        settings = {"listen_addresses": "", "port": self.port, "unix_socket_directories": self.directory, "max_connections": self.max_connections,
                    "shared_buffers": "64MB", "max_wal_size": "1GB", "synchronous_commit": "on", "log_destination": "stderr",
                    "logging_collector": "off", "timezone": "UTC"}
        if not self.durable:
            settings.update(fsync="off", full_page_writes="off")
        words = [f"{self.programs}/postgres", "-D", self.data]
        for name, setting in settings.items():
            words += ["-c", f"{name}={setting}"]
        return words + self.options

    def ping(self):
        self.client(dbname="postgres").close()
        return True

    def client(self, dbname=None, user="postgres"):
        connection = psycopg2.connect(host=self.host, port=self.port, user=user, dbname=dbname or self.dbname)
        connection.autocommit = True
        return connection

    def clean(self):
        """An empty database, nobody logged in as `user`."""
        self.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", self.user)
        schemas = self.query("SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%%' AND nspname <> %s", "information_schema")
        for (schema,) in schemas:
            self.query(f'DROP SCHEMA "{schema}" CASCADE')
        self.query(f"CREATE SCHEMA public AUTHORIZATION {self.user}")


class MariaDB(Database):
    driver = "mysql"
    flavor = "mariadb"
    account = "mysql"
    # The application's name is known to the performance schema only, which is off to save memory.
    connections_sql = "SELECT id, user, '' FROM information_schema.processlist WHERE user NOT IN ('system user', 'event_scheduler')"

    def __init__(self, durable=False, max_connections=100, options=()):
        super().__init__("my", durable, max_connections, options)
        self.host = os.path.join(self.directory, "sql.sock")
        self.data = os.path.join(self.directory, "data")
        self._prepare(self._install())
        self.start()
        self._set_up("mysql", f"CREATE USER {self.user}@localhost", f"CREATE DATABASE {self.dbname}",
                     f"GRANT ALL ON {self.dbname}.* TO {self.user}@localhost")

    def _install(self):
        return [find_program("mariadb-install-db"), "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db",
                f"--datadir={self.data}"]

    def command(self):
        durable = 1 if self.durable else 2
        return [find_program("mariadbd", "mysqld"), "--no-defaults", f"--datadir={self.data}", f"--socket={self.host}", "--skip-networking",
                f"--pid-file={self.directory}/pid", f"--max-connections={self.max_connections}", f"--innodb-flush-log-at-trx-commit={durable}",
                "--innodb-buffer-pool-size=128M", "--innodb-log-file-size=64M", "--character-set-server=utf8mb4",
                "--performance-schema=off", "--skip-name-resolve"] + self.options

    def ping(self):
        self.client(dbname="mysql").close()
        return True

    def client(self, dbname=None, user="root"):
        return pymysql.connect(unix_socket=self.host, user=user, database=dbname or self.dbname, charset="utf8mb4", autocommit=True)

    def make_user(self, user, password=None):
        """A user, `name@host`, who may log in and nothing else."""
        self.execute(f"DROP USER IF EXISTS {user}")
        self.execute(f"CREATE USER {user}" + (f" IDENTIFIED BY '{password}'" if password else ""))

    def clean(self):
        """An empty database, nobody logged in as `user`."""
        for connection in self.connections():
            if connection.user == self.user:
                try:
                    self.query(f"KILL {connection.id}")
                except pymysql.OperationalError:
                    pass  # it has gone by itself
        self.query(f"DROP DATABASE IF EXISTS {self.dbname}")
        self.query(f"CREATE DATABASE {self.dbname} CHARACTER SET utf8mb4")
        self._admin.select_db(self.dbname)


class MySQL(MariaDB):
    """The other server of that protocol."""

    flavor = "mysql"

    def _install(self):
        return [os.environ["SLUICE_MYSQLD"], "--no-defaults", "--initialize-insecure", f"--datadir={self.data}"]

    def command(self):
        durable = 1 if self.durable else 2
        return [os.environ["SLUICE_MYSQLD"], "--no-defaults", f"--datadir={self.data}", f"--socket={self.host}", "--skip-networking", "--mysqlx=OFF",
                f"--pid-file={self.directory}/pid", f"--max-connections={self.max_connections}", f"--innodb-flush-log-at-trx-commit={durable}",
                "--innodb-buffer-pool-size=128M", "--innodb-redo-log-capacity=128M", "--character-set-server=utf8mb4", "--skip-log-bin",
                "--secure-file-priv=", f"--innodb-directories={self.directory}/disk", "--performance-schema=off", "--skip-name-resolve"] + self.options


def mysql_class():
    """MySQL where SLUICE_MYSQLD names its program, else MariaDB."""
    return MySQL if "SLUICE_MYSQLD" in os.environ else MariaDB


class Sampler:
    """Counts, every few milliseconds and on a connection of its own, how many connections the server reports for a user. A context manager.
    `now` and `most` are the counts, `samples` how often it looked."""

    PAUSE_SECONDS = 0.02

    def __init__(self, db, user=None):
        self.db = db
        self.user = user or db.user
        self.now = 0
        self.most = 0
        self.samples = 0
        self._error = None  # what ended the looking before its time
        self._connection = db.client()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception):
        self._ended.set()
        self._thread.join()
        self._connection.close()
        if self._error:
            raise self._error

    def _run(self):
        cursor = self._connection.cursor()
        try:
            while not self._ended.wait(self.PAUSE_SECONDS):
                cursor.execute(self.db.connections_sql)
                self.now = sum(user == self.user for _id, user, _application in cursor.fetchall())
                self.most = max(self.most, self.now)
                self.samples += 1
        except (psycopg2.Error, pymysql.Error, OSError) as error:
            self._error = error
