"""Faults of Redis and of the way to it, and what others do to the list."""

import glob
import os
import random
import re
import shutil
import signal
import threading
import time

import pytest
import redis

import servers
from load import audit_with_losses, busy_config, drain_beyond, slow_down, state_of, wait_blocked, wait_drained
from orders import ID, account, audit, locked_table, make_table, push
from proxy import cut_answer
from servers import slowness, wait_until


# -- Redis dies, and forgets

@pytest.mark.parametrize("appendfsync", [pytest.param("always", marks=pytest.mark.slow), pytest.param("everysec", marks=pytest.mark.short)])
def test_07_redis_killed_again_and_again(db, own_redis, sluice, appendfsync):
    make_table(db)
    slow_down(db)
    redis_server = own_redis(durable=True)
    client = redis_server.client()
    client.config_set("appendfsync", appendfsync)
    pushed = push(client, "orders", range(1, 5001), bad_every=200)
    time.sleep(1.1)  # everysec: by now they are on disk
    daemon = sluice(busy_config(redis_server, db))
    for backlog in (4000, 3000, 2000):
        drain_beyond(client, backlog, daemon)
        redis_server.kill()
        redis_server.start()
        client.config_set("appendfsync", appendfsync)
    wait_drained(client)
    assert audit(client, db, pushed) == (4975, 25)


def append_only_file(redis_server):
    """The file that grows."""
    found = glob.glob(f"{redis_server.directory}/appendonlydir/*.incr.aof") or [f"{redis_server.directory}/appendonly.aof"]
    return max(found, key=os.path.getmtime)


def test_08_end_of_the_append_only_file_is_lost(db, own_redis, sluice):
    make_table(db)
    slow_down(db)
    redis_server = own_redis()
    client = redis_server.client()
    chance = random.Random(f"8 {db.driver}")
    surely, perhaps, backlog = push(client, "orders", range(1, 4001), bad_every=200), [], 4000
    daemon = sluice(busy_config(redis_server, db))
    for number in range(3):
        safe = os.path.getsize(append_only_file(redis_server))
        drain_beyond(client, backlog - 500, daemon)
        begin = 100_000 * (number + 1)
        perhaps += push(client, "orders", range(begin, begin + 100))
        drain_beyond(client, backlog - 800, daemon)
        redis_server.kill()
        path = append_only_file(redis_server)
        os.truncate(path, chance.randint(safe, os.path.getsize(path)))
        redis_server.start()
        surely += push(client, "orders", range(begin + 1000, begin + 1100))
        backlog = client.llen("orders")
    wait_drained(client)
    assert daemon.metric("sluice_reconciled_items_total", queue="orders") > 0
    assert audit_with_losses(client, db, surely, perhaps)[1] == 20


class Copy:
    """A copy of all that a Redis has on disk."""

    def __init__(self, redis_server):
        self.directory = f"{redis_server.directory}/copy"
        redis_server.freeze()
        shutil.copytree(f"{redis_server.directory}/appendonlydir", self.directory)
        redis_server.thaw()

    def bring_back(self, redis_server):
        """The Redis that was killed starts from the copy."""
        shutil.rmtree(f"{redis_server.directory}/appendonlydir")
        shutil.copytree(self.directory, f"{redis_server.directory}/appendonlydir")
        redis_server.start()


@pytest.mark.short
def test_08_redis_comes_back_from_an_older_copy(db, own_redis, sluice):
    make_table(db)
    slow_down(db)
    redis_server = own_redis()
    client = redis_server.client()
    surely = push(client, "orders", range(1, 3001), bad_every=200)
    daemon = sluice(busy_config(redis_server, db))
    drain_beyond(client, 2500, daemon)
    copy = Copy(redis_server)
    perhaps = push(client, "orders", range(10001, 10501))
    drain_beyond(client, 1000, daemon)  # some of those of this moment are committed, others are lost with it
    redis_server.kill()
    copy.bring_back(redis_server)
    surely += push(client, "orders", range(20001, 20501), bad_every=100)
    wait_drained(client)
    assert daemon.metric("sluice_reconciled_items_total", queue="orders") >= 1000
    assert audit_with_losses(client, db, surely, perhaps)[1] == 20


def go_back(client, redis_server, daemon, copied, lost):
    """A Redis that is older than the ledger: it stands at 100 before the copied orders, and the ledger is far behind those and the lost ones.
    Returns the orders that it ever had."""
    pushed = push(client, "orders", range(1, 101))
    wait_drained(client)
    assert daemon.command("pause", "orders").returncode == 0
    pushed += push(client, "orders", range(101, 101 + copied))
    copy = Copy(redis_server)
    assert daemon.command("resume", "orders").returncode == 0
    wait_drained(client)
    pushed += push(client, "orders", range(101 + copied, 101 + copied + lost))
    wait_drained(client)
    redis_server.kill()
    copy.bring_back(redis_server)
    wait_blocked(daemon, "came back at position 100", "`sluice accept`", "`sluice skip`")
    return pushed


def choose(daemon, choice):
    """How many orders were in doubt."""
    done = daemon.command(choice, "orders")
    assert done.returncode == 0, done.stderr
    daemon.wait_log("orders in doubt are ")
    assert f"asks: {choice} orders" in daemon.log and "the operator has chosen" in daemon.log
    return int(re.search(r"(\d+) orders in doubt are ", daemon.log)[1])


@pytest.mark.short
def test_09_copy_older_than_the_ledger(db, own_redis, sluice):
    """Accepted: the orders that the ledger has forgotten come twice, those that it remembers do not."""
    make_table(db)
    redis_server = own_redis()
    client = redis_server.client()
    daemon = sluice(busy_config(redis_server, db, queue={"ledger_rows": 16, "batch_rows": 10}))
    pushed = go_back(client, redis_server, daemon, 2000, 0)
    daemon.command("resume")  # is no choice yet
    time.sleep(1)
    wait_blocked(daemon, "ledger remembers")
    assert client.llen("orders") == 2000
    assert daemon.get("/readyz")[0] in (200, 503)
    assert audit(client, db, pushed) == (2100, 0)
    pushed += push(client, "orders", range(5001, 5501))
    doubtful = choose(daemon, "accept")
    wait_drained(client)
    assert 2000 - 16 * 10 <= doubtful < 2000
    again = len(account(client, db, pushed).twice)
    assert doubtful - 16 * 10 <= again <= doubtful, "the ledger has rows for some of the orders in doubt, too"
    assert account(client, db, pushed) == (2600 + again, 0, [], list(range(101, 101 + again)), [])
    assert daemon.metric("sluice_reconciled_items_total", queue="orders") == 2000 - again
    assert daemon.command("accept", "orders").returncode == 64, "nobody asks any more"


def test_09_accepted_and_all_is_in_doubt(db, own_redis, sluice):
    """What was pushed since stands where the ledger has forgotten everything: it is stored too, and a new generation begins."""
    make_table(db)
    redis_server = own_redis()
    client = redis_server.client()
    daemon = sluice(busy_config(redis_server, db, queue={"ledger_rows": 16, "batch_rows": 10}))
    pushed = go_back(client, redis_server, daemon, 1000, 1000)
    pushed += push(client, "orders", range(5001, 5501))
    assert choose(daemon, "accept") == 1500
    wait_drained(client)
    daemon.wait_log("taking a new generation")
    pushed += push(client, "orders", range(6001, 6501), bad_every=100)
    wait_drained(client)
    assert account(client, db, pushed) == (4095, 5, [], list(range(101, 1101)), [])


@pytest.mark.short
def test_09_skipped_and_retried(db, own_redis, sluice):
    """Skipped: dead letters, those too that were pushed since. With a unique key all of them can be retried: exactly once after all."""
    make_table(db)
    db.user_execute("ALTER TABLE orders ADD PRIMARY KEY (id)")
    redis_server = own_redis()
    client = redis_server.client()
    daemon = sluice(busy_config(redis_server, db, queue={"ledger_rows": 16, "batch_rows": 10, "mode": "ignore", "key": "id"}))
    pushed = go_back(client, redis_server, daemon, 1000, 1000)
    pushed += push(client, "orders", range(5001, 5501))
    assert choose(daemon, "skip") == 1500
    wait_drained(client)
    assert account(client, db, pushed) == (2100, 1500, [], list(range(101, 1101)), [])
    assert daemon.command("dead", "list", "orders").stdout.count("skipped by the operator") == 1500
    assert daemon.command("dead", "retry", "orders", "--all").stdout == "1500 pushed back to orders\n"
    wait_drained(client)
    assert audit(client, db, pushed) == (2600, 0)
    wait_until(lambda: daemon.metric("sluice_items_duplicate_total", queue="orders") == 1000, 10, "the duplicates in the metrics")


@pytest.mark.short
def test_10_flushall_under_load(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    perhaps, surely = [], []
    daemon = sluice(busy_config(redis_server, db))
    for begin in (1, 100_001, 200_001):
        perhaps += push(redis_client, "orders", range(begin, begin + 2000), bad_every=200)
        drain_beyond(redis_client, 1500, daemon)
        redis_client.flushall()
        generation = wait_until(lambda: redis_client.hget("{orders}:sluice", "generation"), 10, "a new generation")
        assert generation
    surely += push(redis_client, "orders", range(500_001, 501_001))
    wait_drained(redis_client)
    assert "another generation" in daemon.log and "lost" in daemon.log
    found = account(redis_client, db, perhaps + surely)
    assert not found.twice and not found.strange
    assert not set(found.lost) & set(surely)


# -- Redis answers with errors

@pytest.mark.short
def test_12_noreplicas(db, redis_server, redis_client, sluice):
    make_table(db)
    daemon = sluice(busy_config(redis_server, db))
    pushed = push(redis_client, "orders", range(1, 101))
    wait_drained(redis_client)
    daemon.signal(signal.SIGUSR1)
    pushed += push(redis_client, "orders", range(101, 2001), bad_every=100)
    redis_client.config_set("min-replicas-to-write", 1)
    try:
        daemon.signal(signal.SIGUSR2)
        wait_blocked(daemon, "NOREPLICAS")
        assert redis_client.llen("orders") == 1900
        time.sleep(1.5)  # past the lease, which cannot be renewed either
    finally:
        redis_client.config_set("min-replicas-to-write", 0)
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (1981, 19)


@pytest.mark.slow
def test_12_misconf(db, own_redis, sluice):
    make_table(db)
    slow_down(db)
    redis_server = own_redis()
    client = redis_server.client()
    pushed = push(client, "orders", range(1, 3001), bad_every=100)
    daemon = sluice(busy_config(redis_server, db))
    drain_beyond(client, 2500, daemon)
    client.config_set("save", "3600 1000000")
    in_the_way = os.path.join(redis_server.directory, "dump.rdb")
    os.mkdir(in_the_way)
    client.bgsave()
    wait_blocked(daemon, "MISCONF")
    used = daemon.cpu_seconds()
    time.sleep(1.5)
    assert client.llen("orders") > 0 and daemon.cpu_seconds() - used < 0.3 * slowness(), "it waits, and does not ask all the time"
    os.rmdir(in_the_way)
    client.bgsave()
    wait_drained(client)
    assert audit(client, db, pushed) == (2970, 30)


def test_12_busy(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    redis_client.config_set("lua-time-limit", 50)
    pushed = push(redis_client, "orders", range(1, 3001), bad_every=100)
    daemon = sluice(busy_config(redis_server, db))
    drain_beyond(redis_client, 2500, daemon)

    def block():
        with pytest.raises(redis.ResponseError):
            redis_server.client().eval("while true do end", 0)

    thread = threading.Thread(target=block)
    thread.start()
    try:
        daemon.wait_log("BUSY", 10)
        time.sleep(1.5)
    finally:
        redis_server.client().execute_command("SCRIPT", "KILL")
        thread.join()
        redis_client.config_set("lua-time-limit", 5000)
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (2970, 30)


class SlowRedis(servers.Redis):
    """Takes its time to load."""

    def ping(self):
        try:
            return super().ping()
        except redis.BusyLoadingError:
            return True


@pytest.mark.slow
def test_12_loading(db, own_redis, sluice):
    make_table(db)
    slow_down(db)
    redis_server = own_redis(SlowRedis, options=["--key-load-delay", "500"])  # Redis answers after each 1024 commands that it loads
    client = redis_server.client()
    pushed = []
    for number in range(1, 5001):
        pushed += push(client, "orders", [number], bad_every=100)
    daemon = sluice(busy_config(redis_server, db))
    drain_beyond(client, 4500, daemon)
    redis_server.kill()
    redis_server.start()
    daemon.wait_log("LOADING", 10)
    wait_until(lambda: not client.info("persistence")["loading"], 30, "loading")
    wait_drained(client)
    assert audit(client, db, pushed) == (4950, 50)


@pytest.mark.short
def test_13_script_flush(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    pushed = push(redis_client, "orders", range(1, 3001), bad_every=100)
    daemon = sluice(busy_config(redis_server, db))
    while redis_client.llen("orders") > 0:
        redis_client.script_flush()
        time.sleep(0.001)
    assert daemon.running()
    assert audit(redis_client, db, pushed) == (2970, 30)


@pytest.mark.parametrize("rights", ["-eval", "-lrange", "-ltrim", "-rpush", "-hincrby -pexpire", "resetkeys ~elsewhere"])
def test_13_rights_revoked(db, own_redis, directory, sluice, rights):
    make_table(db)
    slow_down(db)
    redis_server = own_redis()
    client = redis_server.client()
    client.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all")
    password_file = os.path.join(directory, "password")
    with open(os.open(password_file, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
        file.write("secret")
    config = busy_config(redis_server, db)
    config["redis"] = {"url": f"redis://worker@127.0.0.1:{redis_server.port}/0", "password_file": password_file}
    pushed = push(client, "orders", range(1, 2001), bad_every=100)
    daemon = sluice(config)
    drain_beyond(client, 1800, daemon)
    client.execute_command("ACL", "SETUSER", "worker", *rights.split())
    wait_blocked(daemon, "ACL")
    used = daemon.cpu_seconds()
    time.sleep(0.6)
    assert client.llen("orders") > 0 and daemon.cpu_seconds() - used < 0.3 * slowness(), "it waits, and does not ask all the time"
    client.execute_command("ACL", "SETUSER", "worker", "~*", "+@all")
    daemon.signal(signal.SIGUSR2)  # tries at once, not when its wait is over
    wait_drained(client)
    assert audit(client, db, pushed) == (1980, 20)


def test_13_user_deleted(db, own_redis, directory, sluice):
    make_table(db)
    slow_down(db)
    redis_server = own_redis()
    client = redis_server.client()
    make_user = ("ACL", "SETUSER", "worker", "on", "nopass", "~*", "+@all")
    client.execute_command(*make_user)
    config = busy_config(redis_server, db)
    config["redis"] = {"url": f"redis://worker@127.0.0.1:{redis_server.port}/0"}
    pushed = push(client, "orders", range(1, 2001), bad_every=100)
    daemon = sluice(config)
    drain_beyond(client, 1800, daemon)
    client.execute_command("ACL", "DELUSER", "worker")
    daemon.wait_log("WRONGPASS", 10)
    wait_until(lambda: daemon.get("/readyz")[0] == 503, 5, "not ready")
    client.execute_command(*make_user)
    wait_drained(client)
    assert audit(client, db, pushed) == (1980, 20)


@pytest.mark.parametrize("key", ["orders", "{orders}:dead", "{orders}:sluice", "{orders}:sluice:lease"])
def test_13_key_of_another_type(db, redis_server, redis_client, sluice, key):
    make_table(db)
    daemon = sluice(busy_config(redis_server, db))
    pushed = push(redis_client, "orders", range(1, 101))
    wait_drained(redis_client)
    daemon.signal(signal.SIGUSR1)
    redis_client.delete(key)
    if key == "{orders}:sluice:lease":
        redis_client.hset(key, "a", "b")
    else:
        redis_client.set(key, "something else")
    if key != "orders":
        pushed += push(redis_client, "orders", range(101, 501), bad_every=100)
    daemon.signal(signal.SIGUSR2)
    wait_blocked(daemon, "type")
    assert redis_client.llen("orders") == 400 if key != "orders" else redis_client.get("orders") == b"something else"
    redis_client.delete(key)
    if key == "orders":
        pushed += push(redis_client, "orders", range(101, 501), bad_every=100)
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (496, 4)


# -- the link

def test_14_client_kill(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    chance = random.Random(f"14 {db.driver}")
    pushed = push(redis_client, "orders", range(1, 4001), bad_every=100)
    daemon = sluice(busy_config(redis_server, db))
    for backlog in (3800, 3500, 3200, 2500, 2000):
        drain_beyond(redis_client, backlog, daemon)
        time.sleep(chance.uniform(0, 0.02))
        for client in redis_client.client_list():
            if client["name"].startswith("sluice"):
                redis_client.client_kill_filter(_id=client["id"])
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (3960, 40)


# Words that tell a queue's command from all others, and the bytes at which its answer is cut.
ANSWERS = {"lease": (b"local granted =", range(0, 130, 4)), "own": (b"local fresh =", range(0, 110, 4)), "peek": (b"LRANGE\r\n", range(0, 420, 11)),
           "settle": (b"dead_items", range(0, 60, 2))}


@pytest.mark.short
@pytest.mark.parametrize("what", ANSWERS)
def test_14_answer_cut_at_each_byte(db, redis_server, redis_client, proxied, sluice, what):
    """Many queues in one daemon; each loses the link at another byte of the answer."""
    command, cuts = ANSWERS[what]
    make_table(db)
    proxy, url = proxied(redis_server)
    config = busy_config(redis_server, db)
    config["redis"]["url"] = url
    template = config.pop("queue orders")
    pushed = []
    faults = []
    for n in cuts:
        key = f"cut{n}."
        config[f"queue {key}"] = {**template, "source": f"list:{key}", "dead_letter": f"{{{key}}}:dead", "ledger_rows": 16}
        pushed += push(redis_client, key, range(1000 * n + 1, 1000 * n + 4))
        name = f"\r\n{key}\r\n" if what == "peek" else f"{{{key}}}:sluice"
        faults.append(proxy.on((command, name.encode()), cut_answer(n)))
    sluice(config)
    keys = [f"cut{n}." for n in cuts]
    wait_until(lambda: not redis_client.exists(*keys), 60, "the end of all queues")
    assert all(fault.hits == 1 for fault in faults)
    assert audit(redis_client, db, pushed, key=keys[0]) == (3 * len(keys), 0)
    assert not redis_client.exists(*[f"{{{key}}}:dead" for key in keys])


def test_14_silence(db, redis_server, redis_client, proxied, sluice):
    make_table(db)
    slow_down(db)
    proxy, url = proxied(redis_server)
    config = busy_config(redis_server, db)
    config["redis"].update(url=url, command_timeout=1, connect_timeout=1)
    pushed = push(redis_client, "orders", range(1, 3001), bad_every=100)
    daemon = sluice(config)
    drain_beyond(redis_client, 2500, daemon)
    proxy.silent.set()
    daemon.wait_log("has not answered within 1 s", 10)
    proxy.silent.clear()
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (2970, 30)


# -- others at the list

def numbers_of(texts):
    """The numbers of orders that others have taken."""
    return {int(ID.search(text)[1]) for text in texts}


def test_15_another_worker_pops(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    pushed = push(redis_client, "orders", range(1, 6001))
    daemon = sluice(busy_config(redis_server, db))
    drain_beyond(redis_client, 5900, daemon)
    theirs = []
    while redis_client.llen("orders") > 1000:
        theirs += redis_client.rpop("orders", 7) or []
        time.sleep(0.02)
    wait_drained(redis_client)
    wait_until(lambda: state_of(daemon)["inflight"] == 0, 10, "nothing in flight")
    taken = numbers_of(theirs)
    found = account(redis_client, db, pushed)
    assert not found.twice and not found.strange and found.dead == 0
    assert set(found.lost) <= taken, "nothing is removed that is not committed"
    assert daemon.metric("sluice_items_taken_total", queue="orders") + daemon.metric("sluice_items_settled_total", queue="orders") >= 6000 - 50
    assert "taken from the list by somebody else" in daemon.log


@pytest.mark.short
def test_15_pushed_at_our_end(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    pushed = push(redis_client, "orders", range(1, 4001))
    daemon = sluice(busy_config(redis_server, db))
    drain_beyond(redis_client, 3900, daemon)
    for number in range(5000, 5300, 3):
        pushed += push(redis_client, "orders", range(number, number + 3), side="right")
        time.sleep(0.005)
    assert redis_client.llen("orders") > 0, "too late to prove anything"
    wait_drained(redis_client)
    assert daemon.metric("sluice_guard_refused_total", queue="orders") > 0
    assert audit(redis_client, db, pushed) == (4300, 0)


def test_15_list_deleted(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    daemon = sluice(busy_config(redis_server, db))
    surely, perhaps = [], []
    for begin in range(1, 5_000, 1000):
        perhaps += push(redis_client, "orders", range(begin, begin + 500))
        wait_until(lambda: redis_client.llen("orders") < 450, 10, "a start", pause=0.001)
        redis_client.delete("orders")
        surely += push(redis_client, "orders", range(begin + 500, begin + 1000), bad_every=100)
    wait_drained(redis_client)
    wait_until(lambda: state_of(daemon)["inflight"] == 0, 10, "nothing in flight")
    assert audit_with_losses(redis_client, db, surely, perhaps)[1] == 25


def test_15_both_ends_changed(db, redis_server, redis_client, sluice):
    """The newest orders in flight are popped at the producers' end, others are pushed at ours: no place fits, and that must come to an end."""
    make_table(db)
    daemon = sluice(busy_config(redis_server, db))
    with locked_table(db):
        pushed = push(redis_client, "orders", range(1, 101))
        wait_until(lambda: state_of(daemon)["inflight"] == 100, 10, "all in flight")
        theirs = numbers_of(redis_client.lpop("orders", 10))
        pushed += push(redis_client, "orders", range(201, 204), side="right")
    wait_drained(redis_client, seconds=15)
    wait_until(lambda: state_of(daemon)["inflight"] == 0, 10, "nothing in flight")
    found = account(redis_client, db, pushed)
    assert set(found.lost) <= theirs and not found.strange and found.dead == 0
    assert not found.twice or "may come twice" in daemon.log


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_15_everything_at_once(db, redis_server, redis_client, sluice, seed):
    """What others popped they have, perhaps with a row; all else is a row exactly once, unless sluice said that it could not know."""
    make_table(db)
    slow_down(db)
    chance = random.Random(f"15 {db.driver} {seed}")
    pushed = push(redis_client, "orders", range(1, 2001))
    daemon = sluice(busy_config(redis_server, db))
    drain_beyond(redis_client, 1900, daemon)
    theirs, end = [], time.monotonic() + 2
    while time.monotonic() < end:
        deed = chance.randrange(4)
        begin = 10_000 + len(pushed)
        if deed == 0:
            theirs += redis_client.rpop("orders", chance.randint(1, 30)) or []
        elif deed == 1:
            theirs += redis_client.lpop("orders", chance.randint(1, 30)) or []
        else:
            pushed += push(redis_client, "orders", range(begin, begin + chance.randint(1, 30)), side="left" if deed == 2 else "right")
        time.sleep(chance.uniform(0, 0.02))
    wait_drained(redis_client)
    wait_until(lambda: state_of(daemon)["inflight"] == 0, 10, "nothing in flight")
    taken = numbers_of(theirs)
    found = account(redis_client, db, pushed)
    assert set(found.lost) <= taken and not found.strange and found.dead == 0
    assert not found.twice or "may come twice" in daemon.log
