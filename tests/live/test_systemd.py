"""What the service manager hears and demands: a socket of ours plays its part, and systemd's own tools judge the unit."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from daemon import queue_config
from orders import make_table, push
from servers import wait_until

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SECONDS = 30


class Manager:
    """Hears what a daemon tells $NOTIFY_SOCKET."""

    def __init__(self, directory):
        self.path = f"{directory}/notify"
        self._texts = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def texts(self):
        """All that was told so far."""
        try:
            while True:
                self._texts.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return list(self._texts)

    def wait(self, start, what=""):
        """Waits for the text, or one that begins so."""
        return wait_until(lambda: next((text for text in self.texts() if text.startswith(start)), None), SECONDS, what or start)

    def forget(self):
        self.texts()
        self._texts.clear()

    def close(self):
        self._socket.close()


@pytest.fixture
def manager(directory, monkeypatch):
    manager = Manager(directory)
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")  # a look at the status twice a second, too
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield manager
    manager.close()


def status(manager):
    """The last line of status."""
    lines = [text for text in manager.texts() if text.startswith("STATUS=")]
    return lines[-1] if lines else ""


def test_life(manager, redis_server, redis_client, pg, clean, sluice):
    """Start, sign of life, reload, stop."""
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg, pool_size=3))
    manager.wait("READY=1")
    assert manager.texts()[0] == "READY=1"
    wait_until(lambda: manager.texts().count("WATCHDOG=1") >= 3, SECONDS, "three signs of life")
    manager.forget()
    start = time.monotonic()
    time.sleep(3)
    alive = manager.texts().count("WATCHDOG=1")
    assert alive <= (time.monotonic() - start) / 0.5 + 2, "not more often than asked for; a late one is soon followed by the next"
    manager.forget()
    daemon.signal(signal.SIGHUP)
    manager.wait("RELOADING=1")
    manager.wait("READY=1")
    daemon.signal(signal.SIGTERM)
    manager.wait("STOPPING=1")
    assert daemon.process.wait(SECONDS) == 0


@pytest.mark.parametrize("period, pid", [(None, None), ("0", None), ("many", None), ("200000", "1")])
def test_no_watchdog(manager, monkeypatch, redis_server, redis_client, pg, clean, sluice, period, pid):
    for name, setting in (("WATCHDOG_USEC", period), ("WATCHDOG_PID", pid)):
        if setting:
            monkeypatch.setenv(name, setting)
        else:
            monkeypatch.delenv(name, raising=False)
    make_table(pg)
    sluice(queue_config(redis_server, pg))
    manager.wait("STATUS=")  # comes with the first sign of life, or without
    assert "WATCHDOG=1" not in manager.texts()


def test_status(manager, redis_server, redis_client, db, clean, sluice):
    make_table(db)
    config = queue_config(redis_server, db, pool_size=3)
    config["queue other"] = {"source": "list:other", "database": "shop", "table": "orders"}
    daemon = sluice(config)
    wait_until(lambda: status(manager) == "STATUS=draining 2 queues, backlog 0, 0/3 connections busy", SECONDS, "two idle queues")
    assert daemon.command("pause", "orders").returncode == 0
    push(redis_client, "orders", range(12))
    wait_until(lambda: status(manager).startswith("STATUS=draining 1 of 2 queues, backlog 12, 0/3 connections busy; queue orders: "), SECONDS,
               "the backlog of a paused queue")
    count = len(manager.texts())
    assert daemon.command("resume", "orders").returncode == 0
    wait_until(lambda: status(manager) == "STATUS=draining 2 queues, backlog 0, 0/3 connections busy", SECONDS, "the end of the backlog")
    assert len(manager.texts()) > count
    db.stop()
    wait_until(lambda: "; database shop: " in status(manager), SECONDS, "the reason why nothing goes on")
    assert all("\n" not in text for text in manager.texts() if text.startswith("STATUS="))
    db.start()


def test_same_status_once(manager, redis_server, redis_client, pg, clean, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg, pool_size=2))
    wait_until(lambda: status(manager) == "STATUS=draining 1 queue, backlog 0, 0/2 connections busy", SECONDS, "an idle queue")
    manager.forget()
    wait_until(lambda: manager.texts().count("WATCHDOG=1") == 3, SECONDS, "more looks")
    daemon.signal(signal.SIGUSR1)
    manager.wait("STATUS=draining 0 of 1 queue", "the next change")
    assert len([text for text in manager.texts() if text != "WATCHDOG=1"]) == 1


def test_idle_daemon_hardly_wakes(manager, monkeypatch, release, redis_server, redis_client, pg, clean, sluice):
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg), program=release.path("src/sluice"))
    manager.wait("STATUS=draining 1 queue")
    before = switches(daemon.pid)
    time.sleep(10)
    assert switches(daemon.pid) - before <= 25


def switches(pid):
    """How often a process went to sleep."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M)[1])


# -- the unit

def need(*programs):
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


@pytest.fixture
def unit(build, directory):
    """The unit as it is installed, but for a program and pages that are there."""
    with open(build.path("contrib/systemd/sluice.service"), encoding="utf-8") as file:
        text = file.read()
    assert not re.search(r"@\w+@", text), "a word that was not replaced"
    text = re.sub(r"^(Exec\w+=)\S+", r"\1" + build.path("src/sluice"), text, flags=re.M)
    text = re.sub(r"^Documentation=.*\n", "", text, flags=re.M)
    path = os.path.join(directory, "sluice.service")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def test_unit_is_well_formed(unit):
    need("systemd-analyze")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if "sluice.service" in line]
    assert complaints == []


def test_unit_is_hardened(unit):
    need("systemd-analyze")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", unit], capture_output=True, text=True,
                          timeout=60, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze knows no --offline")
    assert done.returncode == 0, done.stdout + done.stderr


def test_account_and_directories(directory):
    need("systemd-sysusers", "systemd-tmpfiles")
    os.makedirs(f"{directory}/etc/sluice")
    for words in (["systemd-sysusers", f"--root={directory}", f"{TREE}/contrib/systemd/sysusers.d/sluice.conf"],
                  ["systemd-tmpfiles", f"--root={directory}", "--create", f"{TREE}/contrib/systemd/tmpfiles.d/sluice.conf"]):
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    with open(f"{directory}/etc/passwd", encoding="utf-8") as file:
        assert re.search(r"^sluice:", file.read(), re.M)
    assert os.stat(f"{directory}/etc/sluice").st_mode & 0o777 == 0o750
    assert os.stat(f"{directory}/run/sluice").st_mode & 0o777 == 0o750


def allowed_calls(unit):
    """What the unit's SystemCallFilter lets through."""
    with open(unit, encoding="utf-8") as file:
        lines = re.findall(r"^SystemCallFilter=(~?)(.*)$", file.read(), re.M)
    calls = set()
    for sign, groups in lines:
        for group in groups.split():
            calls = calls - members(group) if sign else calls | members(group)
    return calls


def members(group):
    """The system calls of a group, and of the groups in it."""
    done = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter", group], capture_output=True, text=True, timeout=60, check=True)
    words = [line.strip() for line in done.stdout.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*[members(word) if word.startswith("@") else {word} for word in words])


def test_unit_lets_the_daemon_work(unit, release, directory, db, redis_server, redis_client, sluice):
    """What the daemon asks of the kernel, from its start to its stop, the unit allows; @default always is."""
    need("systemd-analyze", "strace")
    make_table(db)
    trace = os.path.join(directory, "trace")
    daemon = sluice(queue_config(redis_server, db), start=False, program=release.path("src/sluice"))
    write_tracer(f"{directory}/traced", trace, daemon.program)
    daemon.program = f"{directory}/traced"
    daemon.start(wait=False)
    wait_until(lambda: os.path.exists(trace), SECONDS, "the trace")
    daemon.wait_ready()
    push(redis_client, "orders", range(2000), bad_every=100)
    wait_until(lambda: redis_client.llen("orders") == 0, SECONDS, "an empty queue")
    daemon.metrics()
    assert daemon.command("reload").returncode == 0
    with open(f"/proc/{daemon.pid}/task/{daemon.pid}/children", encoding="utf-8") as file:
        os.kill(int(file.read()), signal.SIGTERM)  # not the tracer
    assert daemon.process.wait(SECONDS) == 0
    daemon.process = None
    with open(trace, encoding="utf-8") as file:
        text = file.read()
    calls = set(re.findall(r"^(?:\d+ +)?(\w+)\(", text, re.M))
    assert len(calls) > 30
    assert calls - allowed_calls(unit) - members("@default") - {"execve"} == set()
    assert "PROT_WRITE|PROT_EXEC" not in text, "MemoryDenyWriteExecute forbids that"


def write_tracer(path, trace, program):
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\n[ "$3" = run ] || exec {program} "$@"\nexec strace -f -qq -s 0 -o {trace} {program} "$@"\n')
    os.chmod(path, 0o755)
