"""sluice top: in a terminal, once, as JSON and line by line."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from daemon import queue_config
from orders import make_table, push
from servers import dying_with_us, wait_until
from terminal import Terminal

EXIT_USAGE, EXIT_UNAVAILABLE = 64, 69
LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +(?P<backlog>\d+) .* orders: (?P<bound>[a-z ]+)$")


def words_of(daemon, *words):
    return [daemon.program, "-c", daemon.config_path, "top", *words]


def top(daemon, *words, columns=80, rows=24, **environment):
    """`sluice top` in a terminal, asking every second."""
    return Terminal(words_of(daemon, "1", *words), columns, rows, **environment)


def quit_well(terminal):
    """q ends it, and the terminal is as it was."""
    terminal.press("q")
    assert terminal.end() == 0
    assert terminal.restored()


@pytest.fixture
def daemon(pg, clean, redis_server, sluice):
    """Two queues into one PostgreSQL."""
    make_table(pg)
    make_table(pg, "refunds")
    config = queue_config(redis_server, pg, pool_size=3)
    config["queue refunds"] = {"source": "list:refunds", "database": "shop", "table": "refunds"}
    return sluice(config)


# -- in a terminal

def test_it_says_what_the_queues_do(daemon, redis_client):
    push(redis_client, "orders", range(1000), bad_every=100)
    with top(daemon) as terminal:
        terminal.wait(">orders  drain", " refunds drain", "nothing waits", "1000 pushed = 990 stored + 10 dead + 0 waiting",
                      "QUEUE orders, LAST 15 MINUTES",
                      "POOL shop (postgresql): 0 of 3 connections busy, 3 idle", "LAST EVENTS", "orders: position 900, ")
        lines = terminal.screen.lines()
        assert len(lines) == 24 and lines[-1].startswith("q quit")
        assert any(line.startswith(" pid ") and "idle" in line for line in lines)
        quit_well(terminal)


def test_a_database_that_stops_is_the_verdict(daemon, redis_client, pg):
    with top(daemon) as terminal:
        terminal.wait("shop up")
        pg.stop()
        push(redis_client, "orders", range(100))
        terminal.wait("shop DOWN", "bound by database: no connection to database shop is open", "POOL shop (postgresql): DOWN")
        pg.start()
        terminal.wait("shop up", "nothing waits", "100 pushed = 100 stored")
        quit_well(terminal)


def test_a_lock_is_found(daemon, redis_client, pg):
    client = pg.client()
    with client.cursor() as cursor, top(daemon) as terminal:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        push(redis_client, "orders", range(100))
        screen = terminal.wait("bound by database: database shop has not answered connection", "one without an answer", seconds=60)
        told = re.search(r"pg_blocking_pids\((\d+)\)", screen.replace("\n", ""))
        assert told and f"pid {told[1]}" in screen
        quit_well(terminal)
        client.rollback()
    client.close()


def test_a_pause_shows_and_keys_work(daemon):
    with top(daemon) as terminal:
        terminal.wait(">orders  drain")
        terminal.press("j")
        terminal.wait(">refunds drain", "QUEUE refunds, LAST 15 MINUTES")
        daemon.command("pause", "refunds")
        terminal.wait(">refunds paused", "`sluice resume refunds` lets it go on")
        terminal.press("\r")
        terminal.wait("QUEUE refunds INTO DATABASE shop", "99 % below", "Enter back")
        terminal.press("\x1b")
        terminal.wait(">refunds paused")
        terminal.press("\x1bOA")  # the arrow up
        terminal.wait(">orders  drain", " refunds paused")
        terminal.press("h")
        terminal.wait("quit", "choose a queue", "ROWS/TX")
        terminal.press("h")
        terminal.wait(">orders")
        terminal.press("s")
        terminal.wait("s by backlog")
        terminal.press("+")
        terminal.wait("+- 2 s")
        terminal.press("\t")
        terminal.wait("Tab part")
        wait_until(lambda: terminal.text().find("POOL shop") < terminal.text().find("QUEUE orders, LAST"), 20, "another part in front")
        quit_well(terminal)


def test_a_held_display_stays(daemon, redis_client):
    with top(daemon) as terminal:
        terminal.wait(">orders  drain", "0 pushed = 0 stored")
        terminal.press("p")
        terminal.wait("DISPLAY HELD")
        push(redis_client, "orders", range(10))
        wait_until(lambda: daemon.metric("sluice_items_committed_total", queue="orders") == 10, 30, "the drain")
        time.sleep(2)  # longer than an interval: nothing may come
        assert "0 pushed = 0 stored" in terminal.text() and "NO ANSWER" not in terminal.text()
        terminal.press("p")
        terminal.wait("10 pushed = 10 stored")
        assert "DISPLAY HELD" not in terminal.text()
        quit_well(terminal)


@pytest.mark.parametrize("columns,rows", [(40, 10), (300, 100), (120, 40), (12, 4)])
def test_it_follows_the_size(daemon, columns, rows):
    with top(daemon) as terminal:
        terminal.wait(">orders", "q quit")
        terminal.resize(columns, rows)
        wait_until(lambda: terminal.text() and terminal.screen.lines()[-1].startswith("q quit"[:columns]), 30, "the new size")
        assert terminal.screen.lines()[0].startswith("sluice")
        assert terminal.text().count("q quit") == 1
        if rows >= 10:
            terminal.wait(">orders  drain")
        terminal.resize(80, 24)
        terminal.wait(">orders", "LAST EVENTS")
        quit_well(terminal)


def test_a_daemon_that_goes_away_is_told_and_found_again(daemon):
    with top(daemon) as terminal:
        terminal.wait(">orders")
        assert daemon.stop() == 0
        terminal.wait("NO ANSWER, the figures are", ">orders")
        daemon.start()
        terminal.wait(">orders")
        terminal.wait_gone("NO ANSWER")
        daemon.signal(signal.SIGSTOP)  # it is there, and says nothing: the keys must go on
        try:
            terminal.wait("NO ANSWER")
            terminal.press("h")
            terminal.wait("choose a queue")
            quit_well(terminal)
        finally:
            daemon.signal(signal.SIGCONT)


def test_it_waits_for_a_daemon(pg, clean, redis_server, sluice):
    make_table(pg)
    daemon = sluice(queue_config(redis_server, pg), start=False)
    with top(daemon) as terminal:
        terminal.wait("NO ANSWER: nobody answers at")
        daemon.start()
        terminal.wait(">orders drain")
        assert "NO ANSWER" not in terminal.text()
        quit_well(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_it_well(daemon, number):
    with top(daemon) as terminal:
        terminal.wait(">orders")
        terminal.signal(number)
        assert terminal.end() == 0
        assert terminal.restored()


def test_ctrl_c_ends_it_well(daemon):
    with top(daemon) as terminal:
        terminal.wait(">orders")
        terminal.press("\x03")
        assert terminal.end() == 0
        assert terminal.restored()


@pytest.mark.parametrize("environment,coloured", [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "vt220"}, False)])
def test_colours(daemon, environment, coloured):
    with top(daemon, **environment) as terminal:
        terminal.wait(">orders  drain")
        looks = [number for row in terminal.screen.looks for look in row for number in look]
        assert any(30 <= number <= 37 for number in looks) is coloured
        assert 7 in terminal.screen.looks[terminal.screen.lines().index(next(line for line in terminal.screen.lines() if line.startswith(">")))][0]
        quit_well(terminal)


def test_ascii_where_the_locale_is_no_utf8(daemon, redis_client):
    push(redis_client, "orders", range(100))
    with top(daemon, LC_ALL="C") as terminal:
        terminal.wait(">orders  drain", "j k queue", "100 pushed")
        assert terminal.text().isascii()
        quit_well(terminal)


# -- without one

def test_once(daemon, redis_client):
    push(redis_client, "orders", range(100), bad_every=50)
    wait_until(lambda: daemon.metric("sluice_items_dead_total", queue="orders") == 2, 30, "the dead letters")
    done = daemon.command("top", "--once")
    assert done.returncode == 0 and done.stderr == ""
    for text in ("orders", "nothing waits", "100 pushed = 98 stored", "POOL shop", "LAST EVENTS", "orders: position 50, "):
        assert text in done.stdout, done.stdout
    assert "\x1b" not in done.stdout and max(map(len, done.stdout.splitlines())) <= 120
    narrow = subprocess.run(words_of(daemon, "--once"), capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "COLUMNS": "50"})
    assert max(map(len, narrow.stdout.splitlines())) <= 50 and "orders" in narrow.stdout


@pytest.mark.parametrize("port", [True, False])
def test_json(pg, clean, redis_server, sluice, port):
    """By the stats port, and by the admin socket where there is none."""
    make_table(pg)
    config = queue_config(redis_server, pg)
    if not port:
        config["stats"] = {"listen": ""}
    daemon = sluice(config, start=False).start(wait=port)
    wait_until(lambda: daemon.command("top", "--once").returncode == 0, 30, "an answer")
    done = daemon.command("top", "--json")
    assert done.returncode == 0 and done.stderr == ""
    queue = json.loads(done.stdout)["queues"][0]
    assert queue["name"] == "orders" and set(queue["history"]) >= {"step_s", "in", "out", "commit_ms"}
    with top(daemon) as terminal:
        terminal.wait(">orders drain")
        quit_well(terminal)
    assert "asks" not in daemon.log, "whoever only looks is not worth a line"


def test_a_line_now_and_then(daemon, redis_client):
    with subprocess.Popen(dying_with_us(words_of(daemon, "--stat", "1")), stdout=subprocess.PIPE, text=True) as process:
        head = process.stdout.readline()
        assert head.split()[:4] == ["TIME", "BACKLOG", "IN/S", "OUT/S"]
        assert LINE.match(process.stdout.readline())["bound"] == "idle"
        daemon.command("pause", "orders")
        push(redis_client, "orders", range(10))
        for _ in range(60):
            line = LINE.match(process.stdout.readline())
            assert line
            if (line["backlog"], line["bound"]) == ("10", "paused"):
                break
        else:
            pytest.fail("the pause does not show")
        daemon.kill()
        wait_until(lambda: " no answer: " in process.stdout.readline(), 30, "the daemon that is away")
        process.terminate()
    assert process.returncode == -signal.SIGTERM


def test_what_cannot_be_is_said(pg, clean, redis_server, sluice):
    daemon = sluice(queue_config(redis_server, pg), start=False)
    for words in (["--once"], ["--json"]):
        done = daemon.command("top", *words)
        assert done.returncode == EXIT_UNAVAILABLE and done.stdout == "" and "nobody answers at" in done.stderr
    for words in ([], ["0"], ["x"], ["5x"], ["1", "2"], ["--once", "--json"], ["--onec"]):
        done = daemon.command("top", *words)
        assert done.returncode == EXIT_USAGE and done.stdout == "" and done.stderr.startswith("sluice top: "), words
    with Terminal(words_of(daemon), TERM="nothing", ASAN_OPTIONS="detect_leaks=0") as terminal:  # ncurses loses memory then
        assert terminal.end() == EXIT_USAGE
        assert "--once" in terminal.text()
    done = daemon.command("top", "--help")
    assert done.returncode == 0 and all(word in done.stdout for word in ("--once", "--json", "--stat", "SECONDS"))
