"""Everything that is measured, and the figures to reach. Each case runs by itself: contrib/bench/run.sh CASE."""

from contestants import Limit, NodeBest, NodeOne, PgBouncer, Sluice
from instructions import Instructions
from latency import Idle, Latency, latency_goal
from race import Entry, Race
from section import Goal
from shop import Load

MEGABYTE = 1048576


def against_limit(name, title, *goals, **load):
    """sluice beside the limit, both with the same load."""
    load = Load(**load)
    return Race(name, title, (Entry(Limit.name, Limit, load), Entry(Sluice.name, Sluice, load)), goals)


def ratio(label, base):
    return lambda medians: medians[label].ratio_to(medians[base])


def own_megabytes(label):
    return lambda medians: medians[label].memory["own"] / MEGABYTE


def near_limit(text):
    return Goal(text, 0.85, ratio(Sluice.name, Limit.name))


def waiting(rows, n):
    return Entry(f"sluice, {n:,} waiting", Sluice, Load(rows=rows, waiting=n, rest=10))


CASES = (
    against_limit("insert", "mode insert: batches of 1,000, 4 connections, 8 columns, 200 B",
                  near_limit("insert against the same rows ready-made"),
                  Goal("CPU of sluice a row against the server's own for that row", 0.25,
                       lambda medians: medians["sluice"].cpu["own"] / medians["sluice"].cpu["sql"], at_least=False, driver="postgresql"),
                  rows=2_000_000),
    against_limit("ignore", "mode ignore, one order in ten there already", near_limit("ignore against the same statements ready-made"),
                  mode="ignore"),
    against_limit("upsert", "mode upsert with newer, one order in ten there already", near_limit("upsert against the same statements ready-made"),
                  mode="upsert"),
    against_limit("batch-100", "batches of 100", batch=100, rows=300_000),
    against_limit("batch-5000", "batches of 5,000", batch=5000),
    against_limit("pool-1", "1 connection", pool=1, rows=400_000),
    against_limit("pool-2", "2 connections", pool=2),
    against_limit("pool-10", "10 connections", pool=10),
    against_limit("item-100", "items of 100 B, 6 of 8 columns", bytes=100),
    against_limit("item-1k", "items of 1 kB", bytes=1000, rows=100_000),
    against_limit("item-10k", "items of 10 kB, batches of 100", bytes=10_000, batch=100, rows=10_000),
    against_limit("columns-60", "60 columns", columns=60, rows=40_000),
    Race("bad", "one order in a hundred is bad", (
        Entry("no bad orders", Sluice, Load(rows=200_000)),
        Entry("1% bad orders", Sluice, Load(rows=200_000, bad_every=100)),
    ), (Goal("1% bad orders against none", 0.5, ratio("1% bad orders", "no bad orders")),),
         note="Six sorts by turns: half of them only the server can tell. Each bad order is a dead letter at the end."),
    Race("backlog", "the first 100,000 orders of a list", (
        waiting(100_000, 100_000), waiting(100_000, 1_000_000), waiting(100_000, 5_000_000), waiting(10_000, 10_000),
    ), (Goal("5 million waiting against 100,000", 0.95, ratio("sluice, 5,000,000 waiting", "sluice, 100,000 waiting")),
        Goal("memory with 5 million waiting, MB", 64, own_megabytes("sluice, 5,000,000 waiting"), at_least=False)),
         note="The clock runs for as many orders whatever the list's length, so that it is the list that differs and not the table. "
              "A list of 10,000 is ten batches: beginning and end count. After filling it all rest for ten seconds: a shared machine that has worked "
              "for a quarter of a minute is slower for a while, and its disk too."),
    Race("drain-5m", "5 million orders, all of them", (Entry("sluice", Sluice, Load(rows=5_000_000)),),
         (Goal("memory while 5 million are drained, MB", 64, own_megabytes("sluice"), at_least=False),), rounds=1, note="One round."),
    Race("node", "the workers that it replaces", (
        Entry(NodeBest.name, NodeBest, Load(rows=1_000_000)),
        Entry(Limit.name, Limit, Load(rows=1_000_000)),
        Entry(NodeOne.name, NodeOne, Load(rows=20_000, pool=10)),
        Entry(Sluice.name, Sluice, Load(rows=1_000_000)),
    ), (Goal("against the Node worker, one at a time", 50, ratio(Sluice.name, NodeOne.name), bound=ratio(Limit.name, NodeOne.name)),
        Goal("against the best Node worker", 2, ratio(Sluice.name, NodeBest.name), bound=ratio(Limit.name, NodeBest.name), driver="postgresql"),
        Goal("against the best Node worker", 1.3, ratio(Sluice.name, NodeBest.name), bound=ratio(Limit.name, NodeBest.name), driver="mysql")),
         note="Both Node workers lose what they have popped when they die; sluice does not. One at a time has 10 connections, the others 4."),
    Race("pgbouncer", "one connection an order, through PgBouncer", (
        Entry(Sluice.name, Sluice, Load(pool=10, rows=100_000)), Entry(PgBouncer.name, PgBouncer, Load(pool=10, rows=5_000)),
    ), drivers=("postgresql",), note="50 clients of pgbench -C: each order connects to PgBouncer, which has 10 server connections, and closes."),
    Latency("latency", "from push to visible row", ((10, 12), (100, 10), (1000, 5), (10000, 5)),
            (latency_goal("p50 at 100 orders/s against one INSERT's commit", 1.5, 0),
             latency_goal("p99 at 100 orders/s against one INSERT's commit", 5, 1))),
    Idle("idle", "nothing to do", 20, (Goal("idle wake-ups a second", 2, lambda measured: measured["wake-ups"], at_least=False),)),
    Instructions("instructions", "instructions a row"),
)
