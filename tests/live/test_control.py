"""The admin socket and the commands that use it."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from daemon import queue_config
from orders import audit, make_table, push
from servers import Sampler, wait_until
from visitors import AdminCrowd, Drains

ORDERS_A_VISIT = 600  # what a client of the admin socket may cost, in orders drained
EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_CONFIG = 64, 69, 78


def path_of(daemon):
    return daemon.config["stats"]["admin_socket"]


def two_queues(redis_server, db, **database):
    """`orders` and `refunds`, each with a table of its own."""
    config = queue_config(redis_server, db, **database)
    config["queue refunds"] = {"source": "list:refunds", "database": "shop", "table": "refunds"}
    make_table(db)
    make_table(db, "refunds")
    return config


def wait_empty(client, key="orders"):
    wait_until(lambda: client.llen(key) == 0, 30, f"the end of {key}")


def wait_paused(daemon, queue, paused=True):
    wait_until(lambda: (daemon.metric("sluice_queue_state", queue=queue, state="paused") == 1) is paused, 10, f"pause {paused} of {queue}")


def connect(daemon):
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path_of(daemon))  # waits while there are too many others
    peer.settimeout(20)
    return peer


def say(daemon, line):
    """Everything that the socket answers to these bytes."""
    with contextlib.closing(connect(daemon)) as peer:
        peer.sendall(line)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # it has not read all that was sent
            while piece := peer.recv(4096):
                answer += piece
        return answer


def run_ok(daemon, *words):
    done = daemon.command(*words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_asking_takes_no_password(pg, clean, redis_server, sluice, directory):
    """Whoever may read the configuration may ask: of what it names, the daemon alone must be able to read."""
    config = two_queues(redis_server, pg)
    config["database shop"]["password_file"] = f"{directory}/password"
    with open(f"{directory}/password", "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write("unused")
    daemon = sluice(config)
    os.unlink(f"{directory}/password")
    assert "orders" in run_ok(daemon, "show", "queues")
    assert "password_file" in run_ok(daemon, "show", "config")
    assert "orders" in run_ok(daemon, "top", "--once")
    run_ok(daemon, "pause", "orders")
    wait_paused(daemon, "orders")
    for words in (("reload",), ("check", "--offline"), ("dead", "list")):  # the first one's is the daemon's answer
        done = daemon.command(*words)
        assert done.returncode == EXIT_CONFIG and "password cannot be read" in done.stdout + done.stderr, (words, done)



def run_refused(daemon, status, *words):
    """What it says, and does not do."""
    done = daemon.command(*words)
    assert done.returncode == status and done.stdout == "", done.stdout + done.stderr
    assert done.stderr.startswith(f"sluice {words[0]}: "), done.stderr
    return done.stderr


# -- the commands

def test_pause_and_resume(db, redis_server, redis_client, sluice):
    daemon = sluice(two_queues(redis_server, db))
    assert run_ok(daemon, "pause", "orders") == "queue orders: paused\n"
    wait_paused(daemon, "orders")
    orders = push(redis_client, "orders", range(100))
    refunds = push(redis_client, "refunds", range(100))
    wait_empty(redis_client, "refunds")
    assert redis_client.llen("orders") == 100
    assert "paused" in run_ok(daemon, "show", "queues")
    assert run_ok(daemon, "resume", "orders") == "queue orders: resumed\n"
    wait_empty(redis_client)
    assert run_ok(daemon, "pause") == "queue orders: paused\nqueue refunds: paused\n"
    assert run_ok(daemon, "pause", "orders") == "queue orders: paused\n", "again does no harm"
    orders += push(redis_client, "orders", range(100, 200))
    refunds += push(redis_client, "refunds", range(100, 200))
    time.sleep(0.5)
    assert redis_client.llen("orders") == redis_client.llen("refunds") == 100
    assert run_ok(daemon, "resume") == "queue orders: resumed\nqueue refunds: resumed\n"
    wait_empty(redis_client)
    wait_empty(redis_client, "refunds")
    assert audit(redis_client, db, orders) == audit(redis_client, db, refunds, "refunds", "refunds") == (200, 0)


def test_resume_tries_again_at_once(db, redis_server, redis_client, sluice):
    daemon = sluice(queue_config(redis_server, db))  # without the table
    pushed = push(redis_client, "orders", range(10))
    wait_until(lambda: "orders" in daemon.log and "paused: " in daemon.log, 10, "the stop")
    answer = run_ok(daemon, "resume")
    assert answer.startswith("queue orders: resumed; it waited, and tries again: ") and "orders" in answer.split(": ", 2)[2]
    make_table(db)
    run_ok(daemon, "resume", "orders")
    wait_until(lambda: redis_client.llen("orders") == 0, 5, "the drain")
    assert audit(redis_client, db, pushed) == (10, 0)


def ids_of(db):
    return {connection.id for connection in db.connections() if connection.user == db.user}


def test_reconnect(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(queue_config(redis_server, db, queue={"batch_rows": 20}, pool_size=4))
    wait_until(lambda: len(ids_of(db)) == 4, 20, "four connections")
    before = ids_of(db)
    pushed = push(redis_client, "orders", range(20_000))
    with Sampler(db) as sampler:
        for words in (["reconnect", "shop"], ["reconnect"]):
            assert run_ok(daemon, *words).startswith("database shop: ")
            wait_until(lambda: len(ids_of(db)) == 4 and not before & ids_of(db), 20, "four new connections")
            before = ids_of(db)
        wait_empty(redis_client)
    assert sampler.most <= 4
    assert audit(redis_client, db, pushed) == (20_000, 0)


def test_reconnect_during_a_login(db, redis_server, sluice):
    """It may be a login to the server that the operator wants to leave."""
    config = queue_config(redis_server, db, pool_size=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        config["database shop"].update(host="127.0.0.1", port=silent.getsockname()[1], server_connect_timeout=60)
        daemon = sluice(config, start=False).start(wait=False)
        with silent.accept()[0]:
            run_ok(daemon, "reconnect", "shop")
            with silent.accept()[0]:
                pass


def test_loglevel(pg, clean, redis_server, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    run_ok(daemon, "loglevel", "error")
    run_ok(daemon, "pause")
    assert "asks: pause" not in daemon.log and "paused by the operator" not in daemon.log
    run_ok(daemon, "loglevel", "debug")
    run_ok(daemon, "resume")
    assert "resumed by the operator" in daemon.log
    assert "loud is not error, warning, info or debug" in run_refused(daemon, EXIT_USAGE, "loglevel", "loud")


def test_reload(pg, clean, redis_server, sluice):
    """What reload does is test_reload.py's; here, that the command does it."""
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    run_ok(daemon, "reload")
    daemon.config["queue orders"]["batch_rows"] = 77
    daemon.write_config()
    assert "batch_rows" in run_ok(daemon, "reload")
    assert "asks: reload" in daemon.log
    good = daemon.config["queue orders"].pop("table")
    daemon.write_config()
    # the command reads the file as well, and would say it without asking
    assert f"{daemon.config_path}:".encode() in say(daemon, b"reload\n") and daemon.running()
    daemon.config["queue orders"]["table"] = good
    daemon.write_config()
    run_ok(daemon, "reload")


def test_show_without_a_stats_port(db, redis_server, redis_client, sluice):
    make_table(db)
    config = queue_config(redis_server, db)
    config["stats"] = {"listen": ""}
    daemon = sluice(config, start=False).start(wait=False)
    wait_until(lambda: os.path.exists(path_of(daemon)), 20, "the socket")
    push(redis_client, "orders", range(100))
    wait_empty(redis_client)
    for what in ("queues", "pools", "connections", "stats", "dead"):
        assert ("orders" if what in ("queues", "dead") else "shop" if what != "stats" else "") in run_ok(daemon, "show", what)
        assert json.loads(run_ok(daemon, "show", what, "--json"))
    assert "asks" not in daemon.log, "whoever only looks is not worth a line"


# -- what is refused

def test_usage(pg, clean, redis_server, sluice):
    daemon = sluice(two_queues(redis_server, pg))
    for words in (["pause", "orders", "refunds"], ["accept"], ["skip"], ["loglevel"], ["reload", "orders"], ["pause", "--all"],
                  ["pause", "orders refunds"], ["pause", "orders\nresume"], ["pause", "x" * 1000]):
        run_refused(daemon, EXIT_USAGE, *words)
    for command in ("pause", "resume", "accept", "skip"):
        assert 'there is no queue order; did you mean "orders"?' in run_refused(daemon, EXIT_USAGE, command, "order")
    assert 'there is no database shp; did you mean "shop"?' in run_refused(daemon, EXIT_USAGE, "reconnect", "shp")
    for command in ("accept", "skip"):
        assert "queue orders has nothing in doubt here" in run_refused(daemon, EXIT_USAGE, command, "orders")
    assert "paused" not in daemon.log
    for command in ("pause", "resume", "accept", "skip", "reconnect", "reload", "loglevel"):
        assert f"] {command}" in run_ok(daemon, command, "--help")


def test_nobody_answers(pg, clean, redis_server, sluice, directory):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg), start=False)
    assert path_of(daemon) in (said := run_refused(daemon, EXIT_UNAVAILABLE, "pause")) and "sluice run" in said
    daemon.start()
    daemon.signal(signal.SIGSTOP)
    assert path_of(daemon) in (said := run_refused(daemon, EXIT_UNAVAILABLE, "pause")) and "does not answer" in said
    daemon.signal(signal.SIGCONT)
    daemon.kill()
    assert path_of(daemon) in (said := run_refused(daemon, EXIT_UNAVAILABLE, "pause")) and "has ended" in said
    daemon.config["stats"]["admin_socket"] = os.path.join(directory, "other.sock")
    daemon.write_config()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(path_of(daemon))
        other.listen()

        def hello():
            peer = other.accept()[0]
            peer.sendall(b"220 mail.example.org\n")
            peer.close()

        thread = threading.Thread(target=hello)
        thread.start()
        run_refused(daemon, EXIT_UNAVAILABLE, "pause")
        thread.join()
    daemon.config["stats"]["admin_socket"] = ""
    daemon.write_config()
    assert "admin_socket" in run_refused(daemon, EXIT_CONFIG, "pause")
    daemon.start()
    assert daemon.command("show", "queues").returncode == 0


NO_COMMANDS = [b"\n", b" \n", b"paus\n", b"pause \n", b"pause orders refunds\n", b"pause\torders\n", b"pause\0\n", b"x" * 511 + b"\n", b"x" * 100_000,
               b"accept\n", b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\n", b"pause orders\x1b[2J\n"]


@pytest.mark.parametrize("line", NO_COMMANDS, ids=range(len(NO_COMMANDS)))
def test_lines_that_are_no_command(pg, clean, redis_server, sluice, line):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    assert say(daemon, line).startswith(b"64\n")
    assert "paused" not in daemon.log and "\x1b" not in daemon.log


def test_a_line_may_come_in_pieces(pg, clean, redis_server, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    with contextlib.closing(connect(daemon)) as peer:
        for byte in b"pause orders\r\nresume orders\r\n":
            with contextlib.suppress(BrokenPipeError):  # it hangs up after the first
                peer.sendall(bytes([byte]))
            time.sleep(0.01)
        assert peer.recv(4096) == b"0\nqueue orders: paused\n"
    wait_paused(daemon, "orders")
    assert "resume" not in daemon.log


def test_nothing_can_be_changed_by_tcp(pg, clean, redis_server, redis_client, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    address = f"http://{daemon.config['stats']['listen']}"
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        for page in ("/", "/pause", "/pause?queue=orders", "/queues/orders/pause", "/stats?pause=orders", "/?command=pause", "/reload", "/admin"):
            request = urllib.request.Request(address + page, data=None if method == "GET" else b"", method=method)
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    assert method == "GET" and answer.status == 200
            except urllib.error.HTTPError as error:
                assert error.code == (404 if method == "GET" else 405)
    host, port = daemon.config["stats"]["listen"].split(":")
    with contextlib.closing(socket.create_connection((host, int(port)))) as peer:
        peer.sendall(b"pause orders\n\n")
        assert not peer.recv(4096).startswith(b"0\n")
    assert "asks" not in daemon.log
    pushed = push(redis_client, "orders", range(10))
    wait_empty(redis_client)
    assert audit(redis_client, pg, pushed) == (10, 0)


# -- the socket

def test_who_did_it_is_in_the_log(pg, clean, redis_server, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg), start=False)
    daemon.start()
    with subprocess.Popen([daemon.program, "-c", daemon.config_path, "pause", "orders"], stdout=subprocess.PIPE) as command:
        command.communicate()
    uid = os.getuid()
    assert f"(uid {uid}, pid {command.pid}) asks: pause orders" in daemon.log
    assert uid != 0 or "admin socket: root (uid 0," in daemon.log
    run_refused(daemon, EXIT_USAGE, "pause", "nosuch")
    assert "asks: pause nosuch" in daemon.log and "refused: there is no queue nosuch" in daemon.log


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_only_its_owner_and_group(pg, clean, redis_server, sluice, directory):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    file = os.stat(path_of(daemon))
    assert stat.S_ISSOCK(file.st_mode) and stat.S_IMODE(file.st_mode) == 0o660
    os.chmod(directory, 0o755)
    connecting = ["/usr/bin/python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).connect({path_of(daemon)!r})"]
    somebody = {"user": 65534, "group": 65534, "capture_output": True, "text": True, "check": False}
    assert "PermissionError" in subprocess.run(connecting, extra_groups=[], **somebody).stderr
    assert subprocess.run(connecting, extra_groups=[os.getgid()], **somebody).returncode == 0, "its group may"


def test_socket_of_a_dead_daemon_is_replaced(pg, clean, redis_server, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    daemon.kill()
    assert os.path.exists(path_of(daemon))
    daemon.start()
    run_ok(daemon, "pause")
    assert daemon.stop() == 0
    assert not os.path.exists(path_of(daemon))


def test_socket_of_a_living_daemon_is_not(pg, clean, redis_server, sluice):
    make_table(pg)
    first = sluice(queue_config(redis_server, pg))
    config = queue_config(redis_server, pg)
    config["stats"] = {"admin_socket": path_of(first)}
    second = sluice(config, start=False)
    done = second.command("run")
    assert done.returncode == EXIT_CONFIG and path_of(first) in done.stderr and "another daemon answers there" in done.stderr
    run_ok(first, "pause")


def test_a_file_in_its_place_stays(pg, clean, redis_server, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg), start=False)
    with open(path_of(daemon), "w", encoding="utf-8") as file:
        file.write("precious")
    done = daemon.command("run")
    assert done.returncode == EXIT_CONFIG and path_of(daemon) in done.stderr
    with open(path_of(daemon), encoding="utf-8") as file:
        assert file.read() == "precious"


def test_a_later_socket_at_its_place_stays(pg, clean, redis_server, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    os.unlink(path_of(daemon))
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(path_of(daemon))
        assert daemon.stop() == 0
        assert os.path.exists(path_of(daemon))


def test_no_directory(pg, clean, redis_server, redis_client, sluice, directory):
    """An error where the file names it, a warning at the default place."""
    make_table(pg)
    config = queue_config(redis_server, pg)
    config["stats"] = {"admin_socket": os.path.join(directory, "nosuch", "admin.sock")}
    daemon = sluice(config, start=False)
    done = daemon.command("run")
    assert done.returncode == EXIT_CONFIG and path_of(daemon) in done.stderr and "No such file" in done.stderr
    if os.path.exists("/run/sluice"):
        pytest.skip("/run/sluice is there")
    del daemon.config["stats"]["admin_socket"]
    daemon.write_config()
    daemon.start()
    assert "cannot listen at /run/sluice/admin.sock" in daemon.log
    pushed = push(redis_client, "orders", range(10))
    wait_empty(redis_client)
    assert audit(redis_client, pg, pushed) == (10, 0)


# -- crowds

def clients_of(daemon):
    """How many connections it has let in at its socket."""
    def file(number):
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{daemon.pid}/fd/{number}")
        return ""

    ours = {file(number) for number in os.listdir(f"/proc/{daemon.pid}/fd")}
    with open("/proc/net/unix", encoding="utf-8") as table:
        fields = [line.split() for line in table]
    return sum(f"socket:[{line[6]}]" in ours and line[5] == "03" for line in fields if line[-1] == path_of(daemon))


def test_silent_clients_do_not_keep_others_out(pg, clean, redis_server, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg))
    with contextlib.ExitStack() as stack:
        for _ in range(24):  # more than it lets in at a time
            peer = stack.enter_context(contextlib.closing(connect(daemon)))
            peer.sendall(b"pause")
        run_ok(daemon, "resume")  # which has some patience, but not for ever
        assert clients_of(daemon) <= 16
        wait_until(lambda: clients_of(daemon) == 0, 15, "the end of all")


def test_a_crowd_costs_little(db, redis_server, redis_client, sluice, release):
    """A visit is one command at most, whatever a client sends, and a drain goes on among as many visits as can come."""
    make_table(db)
    daemon = sluice(queue_config(redis_server, db), program=release.path("src/sluice"))
    drains = Drains(daemon, redis_client, 60_000)
    assert drains.orders_a_visit(AdminCrowd(daemon), 3000) < ORDERS_A_VISIT
    assert audit(redis_client, db, range(drains.pushed)) == (drains.pushed, 0)
