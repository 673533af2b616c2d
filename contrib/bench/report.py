"""RESULTS.md: what was measured, where, with what, by which command."""

import os
import platform
import re
import subprocess

import servers
from section import DRIVERS

METHOD = """
## How to read what was missed

Servers, worker and loader share the machine's CPUs, and "CPUs busy" says how many of them all together kept busy. What a row costs the CPUs bounds the
rate where they are all busy: then the best ratio that sluice could reach beside the limit is what a row costs with the loader over what it costs with
sluice, Redis and the reading, encoding and settling in it. With a CPU more the same code comes closer to the limit. What bounds a ratio to a Node
worker is the limit in the same table: sluice cannot store more than that.

What holds PostgreSQL itself in mode insert, by a profile of its sessions beside sluice (perf, cpu-clock, call graphs; 4 connections, 2 CPUs, all on one
machine): 30 % of their CPU reads the COPY's text, of which jsonb takes 11, times 8 and numbers 4; 21 % the primary key; 18 % the rows, of which 11 make
the table's file longer; 10 % the commit, of which 9 make new files for the WAL (a server that has run for a while, with a `min_wal_size` as large as its
checkpoints are apart, uses old ones again); 3 % the ledger's row. Nothing of that is sluice's to save: it sends what the loader sends. Sluice itself took
9 % of the machine, Redis 4 %, and 6 % was idle.

For a latency, the INSERT with a ledger row shows what of it exactly-once costs in SQL alone. The rest is the way through Redis: the push wakes Redis,
which writes its file and wakes sluice, with the order. PostgreSQL is asked twice, as COPY asks for its data: only then is it known that the ledger's row
was ours. One message for all of it was tried in one client, by turns with the two messages: with a guard as a common table expression 415 to 460 us where
two messages took 390 to 405; with a guard that divides by the number of the ledger's rows it changed, and a prepared INSERT in place of COPY, 346 beside
392. That is what a p50 surely below 1.5 would take: a second way to write an order that comes alone, whose errors name no column, and a new epoch after
each lost connection, as such a message may be run at any later time.

What would make the servers themselves faster was tried once, on two CPUs (AMD EPYC), with orders like these, four sessions at once, four rounds by turns,
without a ledger: COPY in binary takes PostgreSQL 5.1 us of CPU a row where COPY of text takes 5.7 (150,000 rows a transaction); every type would have to
be written as the server has it inside. LOAD DATA LOCAL takes MariaDB 5.4 us where INSERT takes 6.4 (1,000 rows each); it makes a warning of what INSERT
refuses, so a batch with any warning would have to be undone and sent as INSERT, and MySQL has it switched off by default.

## What each contestant does

All write the same orders to the same table (a primary key on `id`, no other index), on the same servers, which run alone: Redis with `appendonly
yes`, `appendfsync everysec`; PostgreSQL with `fsync`, `synchronous_commit` and `full_page_writes` on, 512 MB `shared_buffers`; MariaDB with
`innodb_flush_log_at_trx_commit = 1`, 512 MB buffer pool. Before each run the list and the table are made anew and Redis's file is rewritten. Lists
are filled, and what Redis wrote for them is synced to the disk, before the clock starts, so no pusher takes part of CPU or disk, except where
latency is measured. The contestants of a table take turns, in the opposite order in every second round; figures are medians of the rounds, ratios
medians of the rounds' ratios, with the lowest and highest beside them: a round's contestants run one after the other, so a machine that is faster for
a while is so for all of them. After each run SQL counts: every order is there once, and the ids add up to the right sum. CPU and memory come from
/proc; a server's are those of all its processes.

- **ready-made** is the limit: `loader.c` reads the list, makes the statements that sluice would send with sluice's own encoder (COPY for mode
  insert on PostgreSQL, for its other modes INSERT of arrays with the same ON CONFLICT; on MariaDB multi-row INSERT with the same ON DUPLICATE KEY), and
  the ledger row of each transaction, in sessions with the same settings. Then the clock starts, and as many threads as there are connections send them.
  Its own CPU and memory are of no interest. It removes nothing from the list.
- **sluice** is connected, owns the queue and is paused while the list is filled. Its clock runs from the resume until the orders have left the
  list, which is after their commits.
- **Node, one at a time** pops one order by BRPOP and stores it by one INSERT; up to 10 INSERTs are under way on the pool's 10 connections.
- **Node, batches** has 4 loops, which was faster than 10 on two CPUs; each pops 1,000 orders by RPOP with a count, parses them together, and stores
  them by COPY (pg-copy-streams; unnest() was slower, json_populate_recordset() no faster) or one multi-row INSERT with texts escaped by hand.
  Neither Node worker writes a ledger: what they have popped and not yet stored is lost when they die.
- **PgBouncer** has no Redis: 50 clients of `pgbench -C` open a connection to it for each order, as functions do, in transaction mode with 10 server
  connections.
- **plain INSERTs** each store one order in its own transaction on an open connection; the clock runs until the server has answered.
"""


def version(*command):
    """The first line that a program says of itself, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def versions(shop_versions):
    node = version("node", "--version")
    try:
        bouncer = version(servers.find_program("pgbouncer"), "--version")
    except FileNotFoundError:
        bouncer = ""
    return [line for line in [*shop_versions, f"Node {node}", bouncer, version("gcc", "--version")] if line]


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.MULTILINE)
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(re.search(r"MemTotal:\s+(\d+)", file.read())[1]) / 1048576
    return f"{os.cpu_count()} CPUs ({cpu[1] if cpu else platform.machine()}), {memory:.0f} GB, Linux {platform.release()}"


def table(headings, lines):
    """A Markdown table; the last column, which is text, to the left."""
    rule = ["--:"] * (len(headings) - 1) + [":--"]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [headings, rule, *lines]) + "\n"


def goals(sections):
    verdicts = [verdict for section in sections for verdict in section.verdicts]
    if not verdicts:
        return ""
    return "## Figures to reach\n\n" + table(["measured", "to reach", "", "what"], [verdict.cells() for verdict in verdicts])


def one_section(section):
    note = f"\n{section.note}\n" if section.note else ""
    return f"### {section.title}: {DRIVERS[section.driver]}\n{note}\n{table(section.headings, section.lines)}"


def write(sections, command, plan, program_versions):
    """The whole text."""
    quick = "" if plan.share == 1 else f" A quick run: {plan.share:.0%} of the orders that the titles name."
    text = f"""# Results

Made by `{command}`: {plan.rounds} rounds, {plan.minutes():.0f} minutes, all in one run.{quick} {machine()}. {'; '.join(versions(program_versions))}.

![ratios and rates](results.svg)

{goals(sections)}{METHOD}
## Tables
"""
    order = []
    for section in sections:
        if section.case not in order:
            order.append(section.case)
    for case in order:
        for section in sections:
            if section.case == case:
                text += "\n" + one_section(section)
    return text
