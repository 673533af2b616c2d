"""Several daemons, stopped and ended ones: who drains, and what the others may not do."""

import contextlib
import os
import random
import signal
import time

import pytest

from load import busy_config, drain_beyond, slow_down, wait_drained
from orders import account, audit, locked_table, make_table, push
from servers import wait_until


def owner_of(client, daemons):
    """The daemon that holds the queue's lease; None while nobody does."""
    lease = (client.get("{orders}:sluice:lease") or b"").decode()
    return next((daemon for daemon in daemons if lease.split(" ")[0] == daemon.instance), None)


def test_03_terminated_again_and_again(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    chance = random.Random(f"3 {db.driver}")
    pushed = push(redis_client, "orders", range(1, 4001), bad_every=50)
    daemon = sluice(busy_config(redis_server, db), start=False)
    for backlog in (3700, 3200, 2500, 1800, 1000):
        daemon.start(wait=False)
        drain_beyond(redis_client, backlog, daemon)
        time.sleep(chance.uniform(0, 0.03))
        assert daemon.stop() == 0
        found = account(redis_client, db, pushed)
        left = redis_client.llen("orders")
        assert left > 0 and found.rows + found.dead + left >= 4000, "nothing has left the list that is not committed"
        assert found.rows + found.dead + left <= 4000 + 2 * 50, "of three windows in flight at most two wait for the oldest, which was being split"
        assert not redis_client.exists("{orders}:sluice:lease")
    daemon.start()
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (3920, 80)


@pytest.mark.short
def test_03_terminated_while_nothing_moves(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    pushed = push(redis_client, "orders", range(1, 3001))
    daemon = sluice(busy_config(redis_server, db, sluice={"drain_timeout": 1}))
    drain_beyond(redis_client, 2900, daemon)
    with locked_table(db):
        time.sleep(0.1)
        begin = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - begin < 20, "and not after drain_timeout's default"
    assert redis_client.llen("orders") > 0
    daemon.start()
    wait_drained(redis_client)
    assert audit(redis_client, db, pushed) == (3000, 0)


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.short), pytest.param(2, marks=pytest.mark.slow)])
def test_04_stalled_owner(db, redis_server, redis_client, sluice, times):
    make_table(db)
    slow_down(db)
    chance = random.Random(f"4 {db.driver}")
    config = busy_config(redis_server, db)
    daemons = [sluice(config, name=name) for name in ("alpha", "beta")]
    pushed = []
    for begin in (1, 10_001)[:times]:
        pushed += push(redis_client, "orders", range(begin, begin + 4000), bad_every=200)
        drain_beyond(redis_client, 3000, daemons[0])
        stalled = wait_until(lambda: owner_of(redis_client, daemons), 10, "an owner")
        other = daemons[1 - daemons.index(stalled)]
        time.sleep(chance.uniform(0, 0.03))
        stalled.signal(signal.SIGSTOP)
        backlog = redis_client.llen("orders")
        wait_until(lambda: owner_of(redis_client, daemons) is other, 10, "the takeover")
        drain_beyond(redis_client, backlog - 500, other)
        stalled.signal(signal.SIGCONT)
        assert redis_client.llen("orders") > 0, "woken too late to do harm"
        wait_drained(redis_client)
        wait_until(lambda: "standing by" in stalled.log or "another epoch than our" in stalled.log, 10, "that it found out")
        assert owner_of(redis_client, daemons) is other
        audit(redis_client, db, pushed)


@pytest.mark.short
def test_05_same_name_on_one_host(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    pushed = push(redis_client, "orders", range(1, 2001))
    name = f"twins-{os.getpid()}"
    config = busy_config(redis_server, db, sluice={"instance": name})
    first = sluice(config, name="first")
    second = sluice(config, name="second", start=False)
    second.start(wait=False)
    assert second.process.wait(10) == 78 and name in second.log
    second.process = None
    wait_drained(redis_client)
    assert first.running()
    assert audit(redis_client, db, pushed) == (2000, 0)


@pytest.mark.slow
def test_05_same_name_on_two_hosts(db, redis_server, redis_client, sluice):
    """The lock of the first is taken away, as it is not there on another host: they fence each other, but seldom."""
    make_table(db)
    slow_down(db)
    name = f"twins-{os.getpid()}"
    config = busy_config(redis_server, db, sluice={"instance": name})
    pushed = push(redis_client, "orders", range(1, 8001), bad_every=100)
    daemons = []
    for number in range(2):
        daemons.append(sluice(config, name=f"twin{number}"))
        drain_beyond(redis_client, 7500, daemons[0])
        for place in ("/run/lock", "/tmp"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{place}/sluice-{name}.lock")
    begin, before = time.monotonic(), int(redis_client.hget("{orders}:sluice", "epoch"))
    wait_drained(redis_client)
    time.sleep(max(0, begin + 4 - time.monotonic()))
    takeovers = int(redis_client.hget("{orders}:sluice", "epoch")) - before
    assert takeovers <= 2 + (time.monotonic() - begin), f"{takeovers} takeovers within {time.monotonic() - begin} s"
    assert audit(redis_client, db, pushed) == (7920, 80)
    assert any("give each its own" in daemon.log for daemon in daemons)


# Transactions that are open now; MariaDB renews its list only when nobody has looked for 0.1 s.
OPEN_TRANSACTIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sluice' AND xact_start IS NOT NULL AND state <> 'idle'",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id "
             "WHERE p.user = 'sluice'",
}


@pytest.mark.slow
def test_06_five_daemons(db, redis_server, redis_client, sluice):
    make_table(db)
    slow_down(db)
    config = busy_config(redis_server, db, pool_size=2)
    daemons = [sluice(config, name=f"d{number}") for number in range(5)]
    pushed = push(redis_client, "orders", range(1, 8001), bad_every=200)
    for _ in range(4):
        drain_beyond(redis_client, redis_client.llen("orders") - 100, daemons[-1])
        open_now = [db.value(OPEN_TRANSACTIONS[db.driver]) for _ in range(2) if not time.sleep(0.12)]
        assert 0 < max(open_now) <= 2, f"{open_now}: only one daemon drains"
        owner = wait_until(lambda: owner_of(redis_client, daemons), 10, "an owner")
        owner.kill()
        daemons.remove(owner)
    wait_drained(redis_client)
    assert len(daemons) == 1 and daemons[0].running()
    assert audit(redis_client, db, pushed) == (7960, 40)
