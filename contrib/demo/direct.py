"""What sluice replaces: every order opens a SQL connection, inserts its row and closes it again."""

import collections
import multiprocessing
import threading
import time

import psycopg2
import pymysql

from servers import Sampler

Direct = collections.namedtuple("Direct", "rows refused most reason")

USER = "web"
PROCESSES = 4  # threads of one process would wait for each other, not for the server
HOLD_SECONDS = 0.25  # a web request keeps its connection until it has been answered
REFUSED_PAUSE_SECONDS = 0.05  # a refused customer is gone; the next one comes a little later
TOO_MANY_CONNECTIONS = 1040


def make_table(db):
    """A table of its own, and a user of its own to be counted by."""
    name = USER if db.driver == "postgresql" else f"{USER}@localhost"
    db.execute(f"CREATE {'ROLE' if db.driver == 'postgresql' else 'USER'} {name}" + (" LOGIN" if db.driver == "postgresql" else ""))
    db.execute("CREATE TABLE orders_direct (id bigint NOT NULL, customer varchar(80) NOT NULL, total decimal(12,2) NOT NULL)")
    db.execute(f"GRANT INSERT ON orders_direct TO {name}")


def _reason(error):
    """The server's words, in one line."""
    if error.args and error.args[0] == TOO_MANY_CONNECTIONS:
        return "Too many connections"
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rpartition("failed: ")[2]


def _client(db, number, end, reasons):
    while time.monotonic() < end:
        try:
            connection = db.client(user=USER)
            connection.cursor().execute("INSERT INTO orders_direct VALUES (%s, %s, %s)", (number, f"customer {number}", "12.10"))
            time.sleep(HOLD_SECONDS)
            connection.close()
        except (psycopg2.Error, pymysql.Error, OSError) as error:
            reasons[_reason(error)] += 1
            time.sleep(REFUSED_PAUSE_SECONDS)


def _process(db, clients, end, answers):
    reasons = collections.Counter()
    threads = [threading.Thread(target=_client, args=(db, number, end, reasons)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.put(reasons)


def run_direct(db, clients, seconds):
    """So many clients at once for so long. A refused order is not tried again: its customer has seen an error page."""
    make_table(db)
    context = multiprocessing.get_context("fork")
    answers, end = context.Queue(), time.monotonic() + seconds
    with Sampler(db, USER) as sampler:
        for _ in range(PROCESSES):
            context.Process(target=_process, args=(db, clients // PROCESSES, end, answers), daemon=True).start()
        reasons = sum((answers.get() for _ in range(PROCESSES)), collections.Counter())
    rows = db.value("SELECT count(*) FROM orders_direct")
    return Direct(rows, sum(reasons.values()), sampler.most, reasons.most_common(1)[0][0] if reasons else "")
