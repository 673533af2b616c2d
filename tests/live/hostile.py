"""Servers that mean harm: what they send is no Redis, PostgreSQL or MariaDB that anybody would run, and the daemon has to live with it."""

import contextlib
import fcntl
import socket
import struct
import termios
import threading

PIECE = 64 * 1024
PAUSE_SECONDS = 0.002  # between the pieces of a flood: some ten megabytes a second, so that the tests leave a machine something to do
GREAT_PAUSE_SECONDS = 0.01  # where each byte costs more to read than to send
WAIT_SECONDS = 60
AHEAD = 32 << 20  # bytes
SO_SNDBUFFORCE = 32  # Linux; Python has no name for it


class Hostile:
    """Listens on a loopback port, or at a path; treat(peer, self) deals with each connection in a thread of its own, and its end closes it. `heard` is
    all that clients said, `present` how many of them are connected. A context manager."""

    def __init__(self, treat, path=None):
        self.treat = treat
        self.heard = bytearray()
        self.visits = 0
        self.present = 0
        self._count = threading.Lock()
        self.ended = threading.Event()
        self._listener = socket.create_server(path or ("127.0.0.1", 0), family=socket.AF_UNIX if path else socket.AF_INET)
        self.port = None if path else self._listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exception):
        self.ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                peer = self._listener.accept()[0]
                self.visits += 1
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _enter(self, clients):
        with self._count:
            self.present += clients

    def _serve(self, peer):
        self._enter(1)
        with contextlib.suppress(OSError), peer:
            peer.settimeout(WAIT_SECONDS)
            self.treat(peer, self)
        self._enter(-1)

    def hear(self, peer):
        """What the client says next; ConnectionError when it has gone."""
        said = peer.recv(PIECE)
        if not said:
            raise ConnectionError
        self.heard += said
        return said

    def listen(self, peer):
        """Waits for the client to go."""
        with contextlib.suppress(ConnectionError):
            while not self.ended.is_set():
                self.hear(peer)

    def flood(self, peer, piece, pause=PAUSE_SECONDS):
        """Sends the same again and again until the client goes; with a pause of 0 as fast as it can."""
        pieces = piece * max(1, PIECE // len(piece))
        while not self.ended.wait(pause):
            peer.sendall(pieces)


# -- Redis

def redis_says(words, flood=b""):
    """Answers everything with these words, and a flood behind them."""
    def treat(peer, server):
        server.hear(peer)
        peer.sendall(words)
        if flood:
            server.flood(peer, flood)
        server.listen(peer)
    return treat


@contextlib.contextmanager
def link_to(redis_server, peer, change=lambda said: said):
    """A connection to a real Redis, whose answers go to peer, changed, until the end of the context."""
    with socket.socket(socket.AF_UNIX) as real:
        real.connect(redis_server.socket)
        threading.Thread(target=_answer, args=(real, peer, change), daemon=True).start()
        try:
            yield real
        finally:
            with contextlib.suppress(OSError):
                real.shutdown(socket.SHUT_RDWR)  # the thread waits for the next answer, and while it does, close() closes nothing


def _answer(real, peer, change):
    with contextlib.suppress(OSError):
        while said := real.recv(1 << 20):
            peer.sendall(change(said))


def redis_with_another(redis_server, said, instead):
    """Passes everything on to a real Redis, but for those words in its answers; the others must be as long."""
    assert len(said) == len(instead)

    def treat(peer, server):
        with link_to(redis_server, peer, lambda answer: answer.replace(said, instead)) as real:
            while True:
                real.sendall(server.hear(peer))
    return treat


def redis_spoils(redis_server, command, words, flood=b""):
    """Passes everything on to a real Redis, but answers one command itself."""
    def treat(peer, server):
        with link_to(redis_server, peer) as real:
            while command not in (said := server.hear(peer)):
                real.sendall(said)
            peer.sendall(words)
            if flood:
                server.flood(peer, flood)
            server.listen(peer)
    return treat


def redis_evils():
    """Answers that no Redis gives: {name: (words, flood)}."""
    return {
        "negative length": (b"$-2\r\n", b""),
        "announced gigabytes": (b"$9999999999\r\n", b"x" * 1000),
        "length beyond all numbers": (b"$99999999999999999999999999\r\n", b"x" * 1000),
        "endless string": (b"$500000000\r\n", b"x" * 1000),
        "endless line": (b"+", b"x" * 1000),
        "endless error": (b"-ERR ", b"x" * 1000),
        "a thousand million elements": (b"*1000000000\r\n", b""),
        "elements without end": (b"*1000000000\r\n", b":1\r\n" * 1000),
        "negative count": (b"*-5\r\n", b""),
        "nested": (b"*1\r\n" * 10_000, b""),
        "unexpected types": (b"*3\r\n:5\r\n$-1\r\n*0\r\n" * 8, b""),
        "another protocol": (b"%2\r\n~1\r\n(123\r\n", b""),
        "a web server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""),
        "zeros": (b"\0" * 1000, b"\0" * 1000),
    }


# -- PostgreSQL

def pg_message(kind, body=b"", length=None):
    return kind + struct.pack("!I", len(body) + 4 if length is None else length) + body


PG_READY = pg_message(b"Z", b"I")
PG_LOGIN = pg_message(b"R", struct.pack("!I", 0)) + b"".join(
    pg_message(b"S", name + b"\0" + setting + b"\0") for name, setting in (
        (b"server_version", b"15.0"), (b"client_encoding", b"UTF8"), (b"standard_conforming_strings", b"on"),
        (b"default_transaction_read_only", b"off"), (b"in_hot_standby", b"off"))) + pg_message(b"K", struct.pack("!II", 1, 2)) + PG_READY


def pg_error(text, code=None, kind=b"E"):
    fields = b"SERROR\0" + (b"C" + code + b"\0" if code else b"") + b"M" + text + b"\0\0"
    return pg_message(kind, fields)


def pg_says(at_login, at_query=b"", flood=b"", pause=GREAT_PAUSE_SECONDS):
    """Words after the client's first packet, words after its first query, a flood behind the last of them."""
    def treat(peer, server):
        said = server.hear(peer)
        if struct.unpack("!I", said[4:8])[0] == 80877103:  # asks for TLS
            peer.sendall(b"N")
            server.hear(peer)
        peer.sendall(at_login)
        if at_query:
            server.hear(peer)
            peer.sendall(at_query)
        if flood:
            server.flood(peer, flood, pause)
        server.listen(peer)
    return treat


def pg_evils():
    """{name: (at login, at the first query, flood)}."""
    notice = pg_error(b"notice", b"01000", b"N")
    return {
        "unknown login": (pg_message(b"R", struct.pack("!I", 99)), b"", b""),
        "unknown sasl": (pg_message(b"R", struct.pack("!I", 10) + b"NO-SUCH-WAY\0\0"), b"", b""),
        "login too short": (pg_message(b"R", b""), b"", b""),
        "error without sqlstate": (pg_error(b"no code"), b"", b""),
        "absurd error": (pg_message(b"E", length=0x7fffffff), b"", b"x" * 1000),
        "negative length": (pg_message(b"R", length=0xffffffff), b"", b""),
        "endless notices": (notice, b"", notice * 100),
        "zeros": (b"\0" * 1000, b"", b"\0" * 1000),
        "late error without sqlstate": (PG_LOGIN, pg_error(b"no code") + PG_READY, b""),
        "late error without fields": (PG_LOGIN, pg_message(b"E", b"\0") + PG_READY, b""),
        "absurd row": (PG_LOGIN, pg_message(b"T", struct.pack("!H", 1) + b"a\0" + b"\0" * 18) + pg_message(b"D", length=0x7ffffff0), b""),
        "row without columns": (PG_LOGIN, pg_message(b"D", struct.pack("!HI", 1, 4) + b"abcd") + PG_READY, b""),
        "late notices": (PG_LOGIN, notice, notice * 100),
        "copy both": (PG_LOGIN, pg_message(b"W", struct.pack("!BH", 0, 0)), b""),
        "copy out": (PG_LOGIN, pg_message(b"H", struct.pack("!BH", 0, 0)), pg_message(b"d", b"x" * 1000)),
        "copy in": (PG_LOGIN, pg_message(b"G", struct.pack("!BH", 0, 0)), b""),
        "silence": (PG_LOGIN, pg_message(b"C", b"SET\0"), b""),
    }


def pg_floods():
    """What a server can send for ever, as fast as it can: {name: (at login, at the first query, flood)}."""
    notice = pg_error(b"notice", b"01000", b"N")
    columns = pg_message(b"T", struct.pack("!H", 1) + b"a\0" + b"\0" * 18)
    endless = 0x30000000  # a length that libpq takes
    return {
        "rows": (PG_LOGIN, columns, pg_message(b"D", struct.pack("!HI", 1, 100) + b"x" * 100)),
        "rows of nothing": (PG_LOGIN, columns, pg_message(b"D", struct.pack("!Hi", 1, -1))),
        "one row": (PG_LOGIN, columns + pg_message(b"D", length=endless), b"x" * 1000),
        "notices": (PG_LOGIN, notice, notice),
        "notices at the login": (PG_LOGIN[:-len(PG_READY)] + notice, b"", notice),
        "one notice": (PG_LOGIN, pg_message(b"N", length=endless), b"x" * 1000),
        "one notice at the login": (PG_LOGIN[:-len(PG_READY)] + pg_message(b"N", length=endless), b"", b"x" * 1000),
        "result sets": (PG_LOGIN, pg_message(b"C", b"SELECT 0\0"), pg_message(b"C", b"SELECT 0\0")),
        "settings": (PG_LOGIN, b"", pg_message(b"S", b"search_path\0x\0")),
        "notifications": (PG_LOGIN, pg_message(b"C", b"SET\0") + PG_READY, pg_message(b"A", struct.pack("!I", 1) + b"channel\0text\0")),
    }


# -- MySQL and MariaDB

def my_packet(body, number=0, length=None):
    return struct.pack("<I", len(body) if length is None else length)[:3] + bytes([number]) + body


# Protocol 4.1, no TLS, its own way to log in, LOCAL INFILE offered.
MY_CAPABILITIES = 0x00000001 | 0x00000008 | 0x00000080 | 0x00000200 | 0x00002000 | 0x00008000 | 0x00080000
MY_GREETING = my_packet(b"\x0a5.5.5-10.11.0-MariaDB\0" + struct.pack("<I", 1) + b"saltsalt\0" + struct.pack("<H", MY_CAPABILITIES & 0xffff) + b"\x2d"
                        + struct.pack("<HH", 2, MY_CAPABILITIES >> 16) + b"\x15" + b"\0" * 10 + b"saltsaltsalt\0" + b"mysql_native_password\0")
MY_OK = my_packet(b"\0\0\0\2\0\0\0", 2)


def my_says(greeting, at_login=b"", at_query=b"", flood=b"", pause=PAUSE_SECONDS):
    """Words at once, after the client's login, after its first query, and a flood behind the last of them."""
    def treat(peer, server):
        peer.sendall(greeting)
        for words in (at_login, at_query):
            if words:
                server.hear(peer)
                peer.sendall(words)
        if flood:
            server.flood(peer, flood, pause)
        server.listen(peer)
    return treat


def my_evils():
    """{name: (greeting, at login, at the first query, flood)}."""
    full = 0xffffff
    return {
        "nothing": (b"\0", b"", b"", b""),
        "truncated greeting": (my_packet(b"\x0a5.5"), b"", b"", b""),
        "greeting cut off": (MY_GREETING[:30], b"", b"", b""),
        "another protocol": (my_packet(b"\x63strange\0"), b"", b"", b""),
        "absurd greeting": (my_packet(b"", length=full), b"", b"", b"x" * 1000),
        "error without sqlstate": (my_packet(b"\xff" + struct.pack("<H", 1040) + b"no marker"), b"", b"", b""),
        "error without anything": (my_packet(b"\xff"), b"", b"", b""),
        "strange plugin": (MY_GREETING, my_packet(b"\xfe../../../../tmp/evil\0salt\0", 2), b"", b""),
        "late error without sqlstate": (MY_GREETING, MY_OK, my_packet(b"\xff" + struct.pack("<H", 1064) + b"no marker", 1), b""),
        "late error without anything": (MY_GREETING, MY_OK, my_packet(b"\xff", 1), b""),
        "columns without number": (MY_GREETING, MY_OK, my_packet(b"\xfe" + b"\xff" * 8, 1), b""),
        "many columns": (MY_GREETING, MY_OK, my_packet(b"\xfd\xff\xff\xff", 1), b""),
        "empty packet": (MY_GREETING, MY_OK, my_packet(b"", 1), b""),
        "rows cut off": (MY_GREETING, MY_OK, my_packet(b"\1", 1) + my_packet(b"\3def\xff", 2), b""),
        "wrong numbers": (MY_GREETING, MY_OK, my_packet(b"\0\0\0\2\0\0\0", 77), b""),
    }


def my_packets(body, number):
    """As many packets as there are numbers."""
    return b"".join(my_packet(body, (number + i) % 256) for i in range(256))


def my_floods():
    """What a server can send for ever, as fast as it can: {name: (greeting, at login, at the first query, flood)}."""
    column = b"\3def\0\0\0\1a\0\x0c\x2d\0" + struct.pack("<I", 100) + b"\xfd\0\0\0\0\0"
    columns = my_packet(b"\1", 1) + my_packet(column, 2) + my_packet(b"\xfe\0\0\2\0", 3)
    return {
        "rows": (MY_GREETING, MY_OK, columns, my_packets(b"\x64" + b"x" * 100, 4)),
        "rows of nothing": (MY_GREETING, MY_OK, columns, my_packets(b"\xfb", 4)),
        "columns": (MY_GREETING, MY_OK, my_packet(b"\xfc\0\x10", 1), my_packets(column, 2)),
    }


def my_waits_for_the_reader(peer, server):
    """Answers the first query with rows that are little to look at; more of them, without end, come as soon as the client has read those. At a path, as
    root: with room to be always ahead of the client."""
    greeting, at_login, columns, rows = my_floods()["rows of nothing"]
    many = rows * (AHEAD // len(rows))
    with contextlib.suppress(PermissionError):
        peer.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * AHEAD)
    peer.sendall(greeting)
    server.hear(peer)
    peer.sendall(at_login)
    server.hear(peer)
    peer.sendall(columns + rows * 10)
    while fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(4)) != bytes(4):
        pass
    server.flood(peer, many, 0)


def my_endless_packet(peer, server):
    """Answers the first query with one packet that goes on and on, each part as large as a part can be, as fast as it can."""
    peer.sendall(MY_GREETING)
    server.hear(peer)
    peer.sendall(MY_OK)
    server.hear(peer)
    part = b"\1" * 0xffffff
    number = 1
    while not server.ended.is_set():
        peer.sendall(my_packet(part, number % 256))
        number += 1


def my_asks_for_file(path):
    """Answers each query by asking for a file of the client's."""
    def treat(peer, server):
        peer.sendall(MY_GREETING)
        server.hear(peer)
        peer.sendall(MY_OK)
        while True:
            server.hear(peer)
            peer.sendall(my_packet(b"\xfb" + path.encode(), 1))
    return treat
