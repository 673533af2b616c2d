"""Who stores orders: each is a small class with run(shop, load), which fills the list, lets it be stored, counts, and returns a Run."""

import dataclasses
import json
import os
import signal
import subprocess
import time

import servers
import usage
from shop import wait_for_length


@dataclasses.dataclass(frozen=True)
class Run:
    """One drain. `cpu` and `memory` are seconds and bytes by process: "own", "redis", "sql"."""

    rows: int
    seconds: float
    cpu: dict
    memory: dict

    @property
    def rate(self):
        return self.rows / self.seconds


def check_line(process, name):
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{name} ended with {process.wait()} and said: {process.stderr.read()[-2000:]}")
    return line.strip()


class Sluice:
    """The daemon: connected, the owner of the queue, and paused while the list is filled. The clock runs from its resume until the orders have left
    the list, which is after their commits."""

    name = "sluice"

    def run(self, shop, load):
        shop.prepare(load)
        daemon = shop.daemon(load).start()
        try:
            self._warm_up(shop, load, daemon)
            shop.push(load)
            meter = shop.meter(own=daemon.pid)
            begin = time.monotonic()
            daemon.signal(signal.SIGUSR2)
            seconds = wait_for_length(shop, load.pushed - load.rows, daemon) - begin
            done = load.pushed - shop.waiting()  # it goes on where more are waiting
            meter.stop()
            meter.memory["own"] = usage.peak_memory(daemon.pid)
        finally:
            well = daemon.end()
        assert well, daemon.log[-3000:]
        shop.audit(load)
        return Run(load.rows, seconds, {name: cpu * load.rows / done for name, cpu in meter.cpu.items()}, meter.memory)

    @staticmethod
    def _warm_up(shop, load, daemon):
        """The first order makes it read the table, as any daemon that has run for a while has done."""
        shop.push(load, first=load.pushed + 1, orders=1)
        wait_for_length(shop, 0, daemon, 60)
        daemon.signal(signal.SIGUSR1)
        servers.wait_until(lambda: '"paused"' in daemon.get("/stats")[1], 30, "the pause")
        shop.db.execute("DELETE FROM orders")


class Worker:
    """A program that says "ready", waits for a line, stores what there is, says how long it took, and ends when its stdin does."""

    name = None
    takes = True  # it empties the list

    def command(self, shop, load):
        """Its command line."""
        raise NotImplementedError

    def run(self, shop, load):
        shop.prepare(load)
        shop.push(load)
        command = servers.dying_with_us(self.command(shop, load))
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert check_line(process, self.name) == "ready"
            meter = shop.meter(own=process.pid)
            process.stdin.write("go\n")
            process.stdin.flush()
            seconds = float(check_line(process, self.name))
            meter.stop()
            meter.memory["own"] = usage.peak_memory(process.pid)
            process.communicate()
        shop.audit(load, popped=self.takes)
        return Run(load.rows, seconds, meter.cpu, meter.memory)


class Limit(Worker):
    """loader.c: the statements that sluice sends, ready-made."""

    name = "ready-made"
    takes = False

    def command(self, shop, load):
        return [shop.program("loader"), shop.config_file(load, "limit")]


class NodeWorker(Worker):
    """A worker of node/."""

    script = None

    def command(self, shop, load):
        options = {**shop.db.section(), "redis": shop.redis_server.socket, "rows": load.rows, "pool": load.pool, "batch": load.batch}
        return [servers.find_program("node", "nodejs"), os.path.join(shop.workers, self.script), json.dumps(options)]


class NodeOne(NodeWorker):
    name = "Node, one at a time"
    script = "one.js"


class NodeBest(NodeWorker):
    name = "Node, batches"
    script = "best.js"


class PgBouncer:
    """No list: each order opens a connection to PgBouncer, stores itself, and closes. pgbench is the functions."""

    name = "PgBouncer"
    CLIENTS = 50

    def run(self, shop, load):
        shop.prepare(load)
        directory = self._write_files(shop, load)
        bouncer = subprocess.Popen(servers.dying_with_us([servers.find_program("pgbouncer"), "-q", os.path.join(directory, "pgbouncer.ini")],
                                                         shop.db.account), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            servers.wait_until(lambda: os.path.exists(os.path.join(directory, ".s.PGSQL.6432")), 30, "start of PgBouncer")
            meter = shop.meter(own=bouncer.pid)
            begin = time.monotonic()
            done = subprocess.run(servers.dying_with_us(self._clients(shop, load, directory)), capture_output=True, text=True, check=False)
            seconds = time.monotonic() - begin
            meter.stop()
        finally:
            bouncer.terminate()
            bouncer.wait()
        assert done.returncode == 0, done.stderr[-2000:]
        rows = shop.db.value("SELECT count(*) FROM orders")
        assert rows == load.rows, f"{rows} rows instead of {load.rows}"
        return Run(load.rows, seconds, meter.cpu, meter.memory)

    def _clients(self, shop, load, directory):
        assert load.rows % self.CLIENTS == 0
        return [os.path.join(shop.db.programs, "pgbench"), "-n", "-C", "-c", str(self.CLIENTS), "-j", "2", "-t", str(load.rows // self.CLIENTS),
                "-f", os.path.join(directory, "order.sql"), "-D", "n=0", "-h", directory, "-p", "6432", "-U", shop.db.user, shop.db.dbname]

    @staticmethod
    def _write_files(shop, load):
        directory = os.path.join(servers.workspace(), "bouncer")
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o777)
        with open(os.path.join(directory, "pgbouncer.ini"), "w", encoding="utf-8") as file:
            file.write(f"[databases]\n{shop.db.dbname} = host={shop.db.host} user={shop.db.user}\n[pgbouncer]\nlisten_port = 6432\n"
                       f"listen_addr =\nunix_socket_dir = {directory}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = {load.pool}\n"
                       "max_client_conn = 1000\n")
        with open(os.path.join(directory, "order.sql"), "w", encoding="utf-8") as file:
            file.write("\\set n :n + 1\nINSERT INTO orders (id, customer, total, placed_at, note, quantity, items) "
                       "VALUES (:client_id * 1000000 + :n, 'customer 7', '7.10', '2024-05-06T07:08:09.123Z', 'as usual', 3, "
                       "'[{\"sku\":\"A-17\",\"quantity\":3}]');\n")
        return directory
