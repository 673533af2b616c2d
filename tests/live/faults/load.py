"""What the tests of faults share: a drain that takes its time, waiting, and the audit where Redis itself forgot something."""

import contextlib
import json
import os
import shutil
import subprocess

from daemon import queue_config
from orders import account
from servers import wait_until

DRAIN_SECONDS = 60


def wait_drained(client, key="orders", seconds=DRAIN_SECONDS):
    """An order leaves its list only when it is committed."""
    wait_until(lambda: client.llen(key) == 0, seconds, f"the end of queue {key}")


def drain_beyond(client, backlog, daemon, seconds=DRAIN_SECONDS):
    """Waits until no more than so many orders wait; the daemon must be at work still."""
    wait_until(lambda: client.llen("orders") <= backlog, seconds, f"a backlog of {backlog}", pause=0.002)
    assert daemon.running(), daemon.log[-3000:]


def slow_down(db, table="orders", seconds=0.0005):
    """Each row takes so long, so that a fault meets open transactions."""
    if db.driver == "postgresql":
        db.user_execute(f"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END$$")
        db.user_execute(f"CREATE TRIGGER slow BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION slow()")
    else:
        db.user_execute(f"CREATE TRIGGER slow BEFORE INSERT ON {table} FOR EACH ROW SET @slept = SLEEP({seconds})")


def busy_config(redis_server, db, queue=None, sluice=None, **database):
    """Small batches, few connections, a short lease."""
    return queue_config(redis_server, db, queue={"batch_rows": 50, **(queue or {})}, sluice={"lease_ttl": 1, **(sluice or {})},
                        **{"pool_size": 3, "server_login_retry": 1, **database})


def state_of(daemon, queue="orders"):
    """What /stats says of a queue."""
    return next(state for state in json.loads(daemon.get("/stats")[1])["queues"] if state["name"] == queue)


def wait_blocked(daemon, *words, seconds=15):
    """Waits until the queue starts nothing new, for a reason with all these words; returns the reason."""
    def reason():
        state = state_of(daemon)
        return state["reason"] if state["block"] != "none" and all(word in state["reason"] for word in words) else None
    return wait_until(reason, seconds, f"a pause because of {words}")


def audit_with_losses(client, db, surely, perhaps):
    """Of these orders exactly one of each, of those at most one: Redis has lost them before anybody saw them, or not. Nothing else is there."""
    found = account(client, db, list(surely) + list(perhaps))
    lost = sorted(set(found.lost) - set(perhaps))
    assert not lost and not found.twice and not found.strange, \
        f"lost {len(lost)} {lost[:10]}, twice {len(found.twice)} {found.twice[:10]}, never pushed {found.strange[:10]}"
    return found.rows, found.dead


def only(db, postgresql, mysql):
    """What goes for this database."""
    return postgresql if db.driver == "postgresql" else mysql


COPY_END = b"c\x00\x00\x00\x04"  # a whole message of PostgreSQL's protocol


def commit_of(db):
    """What stands in the piece with which a batch is committed: COPY's end, behind which the server commits by itself, or the word."""
    return only(db, COPY_END, b"COMMIT")


def compile_preload(source, target):
    """Makes a library for LD_PRELOAD; False where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return False
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", target, source, "-ldl"], check=True)
    return True


@contextlib.contextmanager
def environment(**variables):
    """For programs that are started meanwhile."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
