"""Crowds at the admin socket and at the stats port, and what they cost the daemon."""

import contextlib
import signal
import socket
import threading
import time

from orders import push
from servers import wait_until

DRAIN_SECONDS = 120
VISITS_SECONDS = 300


class Crowd:
    """Visitors who come one after the other, several at a time; `visits` counts those who have been there. A context manager."""

    def __init__(self, ways):
        """Each way is a function of its own thread: one visit, with the visit's number."""
        self.visits = 0
        self.ended = threading.Event()
        self._counting = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(way,), daemon=True) for way in ways]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception):
        self.ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, way):
        number = 0
        while not self.ended.is_set():
            with contextlib.suppress(OSError):
                way(number)
                with self._counting:
                    self.visits += 1
            number += 1


class AdminCrowd(Crowd):
    """At the admin socket, as fast as they can, with whatever comes to their minds."""

    LINES = [b"show json\n", b"nonsense\n", b"pause", b"", b"x" * 5000, b"loglevel nosuch\n", b"show queues\n", b"show json\n" * 500]
    PAUSE_SECONDS = 0.001  # the machine has other things to do

    def __init__(self, daemon, threads=4):
        super().__init__([self._visit] * threads)
        self._path = daemon.config["stats"]["admin_socket"]

    def _visit(self, number):
        self.ended.wait(self.PAUSE_SECONDS)
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as peer:
            peer.connect(self._path)  # waits while there are too many others
            peer.settimeout(20)
            peer.sendall(self.LINES[number % len(self.LINES)])
            if number % 2:
                peer.shutdown(socket.SHUT_WR)
                peer.recv(4096)


class StatsCrowd(Crowd):
    """At the stats port: slow ones, silent ones with many requests, and some that ask all the time."""

    def __init__(self, daemon):
        super().__init__([self._slow, self._silent, self._asking] * 3)
        host, port = daemon.config["stats"]["listen"].split(":")
        self._address = (host, int(port))

    def _connect(self):
        return socket.create_connection(self._address, timeout=20)

    def _slow(self, _number):
        with self._connect() as visitor:
            for byte in b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ":
                visitor.send(bytes([byte]))
                if self.ended.wait(0.05):
                    break

    def _silent(self, _number):
        with self._connect() as visitor:
            visitor.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
            self.ended.wait(0.02)

    def _asking(self, _number):
        with self._connect() as visitor:
            visitor.send(b"GET /metrics HTTP/1.0\r\n\r\n")
            visitor.recv(100)
        self.ended.wait(0.02)


class Drains:
    """Has the daemon drain the list `orders` again and again, `count` orders each time; `pushed` is how many there were in all."""

    def __init__(self, daemon, client, count):
        self.daemon = daemon
        self.count = count
        self.pushed = 0
        self._client = client

    def drain(self):
        """Seconds from the start of a drain to the empty list; the daemon paused while the orders were pushed."""
        self.daemon.signal(signal.SIGUSR1)
        push(self._client, "orders", range(self.pushed, self.pushed + self.count))
        self.pushed += self.count
        begin = time.monotonic()
        self.daemon.signal(signal.SIGUSR2)
        wait_until(lambda: self._client.llen("orders") == 0, DRAIN_SECONDS, "the end of a drain", pause=0.002)
        return time.monotonic() - begin

    def orders_a_visit(self, crowd, visits):
        """What a visit costs, in orders that could be drained instead: CPU time by CPU time, which a slow or busy machine stretches alike. One drain is
        made in the middle of so many visits."""
        self.drain()
        begin = self.daemon.cpu_seconds()
        self.drain()
        alone = self.daemon.cpu_seconds() - begin
        with crowd:
            begin, before = self.daemon.cpu_seconds(), crowd.visits
            self.drain()
            wait_until(lambda: crowd.visits >= before + visits, VISITS_SECONDS, f"{visits} visits")
            flooded, visits = self.daemon.cpu_seconds() - begin, crowd.visits - before
        orders = (flooded - alone) / visits / (alone / self.count)
        print(f"{visits} visits, each as much CPU time as {orders:.0f} orders; {alone / self.count * 1e6:.2f} us an order")
        return orders
