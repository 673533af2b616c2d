"""A proxy before the socket of a server: loses, delays and cuts what passes.

A statement or command is sent in one piece when nothing is under way, so a fault looks for its words in each piece that the daemon sends.
"""

import os
import select
import socket
import threading
import time

PIECE = 1 << 16


class Cut(Exception):
    """The end of a link, on both sides."""


# What can happen to a piece in which the words of a fault were found: functions of a link and the piece.

def lose(_link, _piece):
    """It never arrives, and the link is broken."""
    raise Cut


def lose_answer(link, piece):
    """It arrives and is answered; the answer is lost with the link."""
    link.server.sendall(piece)
    link.server.recv(PIECE)
    raise Cut


def delay(seconds):
    """It arrives so much later."""
    def act(link, piece):
        time.sleep(seconds)
        link.server.sendall(piece)
    return act


def deliver_late(seconds):
    """The daemon sees a broken link at once; the server gets it so much later, as if nothing were wrong."""
    def act(link, piece):
        link.client.close()
        time.sleep(seconds)
        link.server.sendall(piece)
        link.server.recv(PIECE)
        raise Cut
    return act


def swallow(link, _piece):
    """It never arrives; nothing passes any more, in neither direction, and nobody is told."""
    link.fall_silent()


def swallow_answer(link, piece):
    """It arrives, the answer does not; nothing passes any more."""
    link.server.sendall(piece)
    link.fall_silent()


def answer(text):
    """The server sees nothing of it, and this is the answer."""
    def act(link, _piece):
        link.client.sendall(text)
    return act


def cut_answer(n):
    """Only so many bytes of what follows from the server pass."""
    def act(link, piece):
        link.left = n
        link.server.sendall(piece)
    return act


class Fault:
    """Words in one piece of the daemon's stream, what is done about it, and how often: `hits` so far, `times` at most."""

    def __init__(self, words, action, times):
        self.words = (words,) if isinstance(words, bytes) else words
        self.action = action
        self.times = times
        self.hits = 0


class Link(threading.Thread):
    """One connection of the daemon's."""

    def __init__(self, proxy, client):
        super().__init__(daemon=True)
        self.proxy = proxy
        self.client = client
        self.server = socket.socket(socket.AF_UNIX)
        self.left = None  # bytes that may still pass to the daemon; None: any number

    def run(self):
        try:
            self.server.connect(self.proxy.target)
            while True:
                for source in select.select([self.client, self.server], [], [])[0]:
                    piece = source.recv(PIECE)
                    if self.proxy.silent.is_set():
                        self.fall_silent()
                    if not piece:
                        raise Cut
                    self._ask(piece) if source is self.client else self._answer(piece)
        except (Cut, OSError, ValueError):
            pass
        finally:
            self.client.close()
            self.server.close()

    def fall_silent(self):
        """Holds both ends open, until the test is over."""
        self.proxy.ended.wait()
        raise Cut

    def end(self):
        for end in (self.client, self.server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _ask(self, piece):
        fault = self.proxy.fault_of(piece)
        if fault is None:
            self.server.sendall(piece)
        else:
            fault.action(self, piece)

    def _answer(self, piece):
        if self.left is not None:
            piece = piece[:self.left]
            self.left -= len(piece)
        self.client.sendall(piece)
        if self.left == 0:
            raise Cut


class Proxy:
    """Listens at `path`, or for None at a `port` of 127.0.0.1, forwards to the Unix socket `target`. `silent` set: every link falls silent, new ones too; cleared: new ones work."""

    def __init__(self, path, target):
        self.path = path
        self.target = target
        self.silent = threading.Event()
        self.ended = threading.Event()
        self._faults = []
        self._lock = threading.Lock()
        self._links = []
        self._listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._listener.bind(path or ("127.0.0.1", 0))
        self.port = None if path else self._listener.getsockname()[1]
        if path:
            os.chmod(path, 0o777)
        self._listener.listen(100)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def on(self, words, action, times=1):
        """From now on, does this to the next so many pieces that have these words, one or several; returns the fault."""
        fault = Fault(words, action, times)
        with self._lock:
            self._faults.append(fault)
        return fault

    def fault_of(self, piece):
        with self._lock:
            for fault in self._faults:
                if fault.hits < fault.times and all(words in piece for words in fault.words):
                    fault.hits += 1
                    return fault
        return None

    def cut(self):
        """Breaks every link."""
        for link in self._links:
            link.end()

    def close(self):
        self.ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.cut()
        for link in self._links:
            link.join()

    def _accept(self):
        while not self.ended.is_set():
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            link = Link(self, client)
            self._links.append(link)
            link.start()
