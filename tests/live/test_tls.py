"""Databases over TLS: the same promises, and a server that goes silent holds up nobody else."""

import contextlib
import socket
import struct
import threading

import pytest

import hostile
from daemon import queue_config
from orders import audit, make_table, order, push
from servers import wait_until

DRAIN_SECONDS = 60
RECORD_SECONDS = 0.05
RECORDS = {b"\x14", b"\x15", b"\x16", b"\x17"}  # the first bytes of TLS's


@pytest.fixture
def tls_shop(tls, redis_server, redis_client):
    """The second server, empty but for the table `orders`."""
    tls.server.start()
    tls.server.clean()
    make_table(tls.server)
    return tls


def drain(client, *keys):
    wait_until(lambda: not any(client.llen(key) for key in keys), DRAIN_SECONDS, f"the end of {keys}")


def test_main_job(tls_shop, redis_server, redis_client, sluice):
    config = queue_config(redis_server, tls_shop.server, pool_size=3)
    config["database shop"] = tls_shop.section(pool_size=3)
    daemon = sluice(config)
    pushed = push(redis_client, "orders", range(10_000), bad_every=500)
    wait_until(lambda: redis_client.llen("orders") < 8000, DRAIN_SECONDS, "work", pause=0.001)
    daemon.kill()
    daemon.start()
    drain(redis_client, "orders")
    assert audit(redis_client, tls_shop.server, pushed) == (9980, 20)


def test_frozen_server(tls_shop, request, redis_server, redis_client, sluice):
    """It stops amid the answers, and when others connect anew. The other database's queue goes on."""
    other = request.getfixturevalue("mysql" if tls_shop.server.driver == "postgresql" else "pg").start()
    make_table(other)
    config = queue_config(redis_server, other, pool_size=1)
    config["database frozen"] = tls_shop.section(pool_size=2, query_timeout=1, server_connect_timeout=1)
    config["queue frozen"] = {"source": "list:frozen", "database": "frozen", "table": "orders", "batch_rows": 100}
    daemon = sluice(config)
    pushed, frozen = [], push(redis_client, "frozen", range(50_000))
    wait_until(lambda: redis_client.llen("frozen") < 45_000, DRAIN_SECONDS, "work", pause=0.001)
    tls_shop.server.freeze()
    try:
        stopped = redis_client.llen("frozen")
        for begin in range(0, 2000, 100):
            pushed += push(redis_client, "orders", range(begin, begin + 100))
            drain(redis_client, "orders")
            assert daemon.get("/healthz") == (200, "alive\n")
        wait_until(lambda: "in time" in daemon.log, DRAIN_SECONDS, "words about it")
        assert 0 < redis_client.llen("frozen") <= stopped
    finally:
        tls_shop.server.thaw()
    drain(redis_client, "frozen", "orders")
    assert audit(redis_client, tls_shop.server, frozen, "frozen") == (50_000, 0)
    assert audit(redis_client, other, pushed) == (2000, 0)


class Relay:
    """Before a server's port: passes everything, and of what the server says, once told so, only the beginning of a record."""

    def __init__(self, port):
        self.port = port
        self.halve = threading.Event()
        self.halved = threading.Event()

    def __call__(self, peer, server):
        with socket.create_connection(("127.0.0.1", self.port)) as real:
            threading.Thread(target=self.pass_on, args=(peer, real), daemon=True).start()
            while said := real.recv(hostile.PIECE):
                if self.halve.is_set():
                    peer.sendall(said[:3])
                    self.halved.set()
                    server.ended.wait()
                    return
                peer.sendall(said)

    @staticmethod
    def pass_on(peer, real):
        with contextlib.suppress(OSError):
            while said := peer.recv(hostile.PIECE):
                real.sendall(said)
            real.shutdown(socket.SHUT_RDWR)


def one_record_at_a_time(port, sizes):
    """Before a server's port: what the server says over TLS comes record by record, each after a pause. What comes before TLS is passed as it is. The
    records' sizes are added to `sizes`."""
    def treat(peer, server):
        with socket.create_connection(("127.0.0.1", port)) as real, real.makefile("rb") as said:
            threading.Thread(target=Relay.pass_on, args=(peer, real), daemon=True).start()
            while head := said.read(1):
                if head in RECORDS:
                    head += said.read(4)
                    sizes.append(struct.unpack("!H", head[3:])[0])
                    peer.sendall(head + said.read(sizes[-1]))
                    server.ended.wait(RECORD_SECONDS)
                elif head == b"S":  # PostgreSQL agrees to TLS
                    peer.sendall(head)
                else:  # MariaDB's greeting
                    head += said.read(3)
                    peer.sendall(head + said.read(head[0] + (head[1] << 8)))
    return treat


def test_answers_in_many_records(tls_shop, redis_server, redis_client, sluice):
    """What the server says of a table of so many columns is many records; between two of them there is nothing to read."""
    names = [f"a_column_with_a_name_that_is_as_long_as_names_may_be_{n:04}" for n in range(600)]
    tls_shop.server.user_execute("DROP TABLE orders")
    tls_shop.server.user_execute(f"CREATE TABLE orders (id bigint NOT NULL, {', '.join(f'{name} int' for name in names)})")
    sizes = []
    with hostile.Hostile(one_record_at_a_time(tls_shop.port, sizes)) as server:
        config = queue_config(redis_server, tls_shop.server, pool_size=1)
        config["database shop"] = {**tls_shop.section(pool_size=1), "port": server.port}
        daemon = sluice(config)
        pushed = push(redis_client, "orders", range(1000))
        drain(redis_client, "orders")
        assert "trying again" not in daemon.log
        assert any(size > 8000 and following > 1000 for size, following in zip(sizes, sizes[1:])), sizes
        assert tls_shop.server.query("SELECT count(*) FROM orders") == [(1000,)]
        assert len(pushed) == 1000
        daemon.stop()


def test_silence_amid_a_record(tls_shop, request, redis_server, redis_client, sluice):
    other = request.getfixturevalue("mysql" if tls_shop.server.driver == "postgresql" else "pg").start()
    make_table(other)
    config = queue_config(redis_server, other, pool_size=1)
    config["queue cut"] = {"source": "list:cut", "database": "cut", "table": "orders", "batch_rows": 100}
    relay = Relay(tls_shop.port)
    with hostile.Hostile(relay) as server:
        config["database cut"] = {**tls_shop.section(pool_size=2, query_timeout=3), "port": server.port}
        daemon = sluice(config)
        cut = push(redis_client, "cut", range(50_000))
        wait_until(lambda: redis_client.llen("cut") < 45_000, DRAIN_SECONDS, "work", pause=0.001)
        relay.halve.set()
        assert relay.halved.wait(DRAIN_SECONDS)
        pushed = []
        while "in time" not in daemon.log and len(pushed) < 20_000:
            pushed += push(redis_client, "orders", range(len(pushed), len(pushed) + 100))
            wait_until(lambda: redis_client.llen("orders") == 0, 2, "an order's way round the silence")
        relay.halve.clear()
        drain(redis_client, "cut", "orders")
    assert audit(redis_client, tls_shop.server, cut, "cut") == (50_000, 0)
    assert audit(redis_client, other, pushed) == (len(pushed), 0)


def my_silence(peer, server):
    """A MariaDB that offers TLS and says no more."""
    tls = hostile.MY_CAPABILITIES | 0x800
    peer.sendall(hostile.my_packet(
        b"\x0a5.5.5-10.11.0-MariaDB\0" + struct.pack("<I", 1) + b"saltsalt\0" + struct.pack("<H", tls & 0xffff) + b"\x2d"
        + struct.pack("<HH", 2, tls >> 16) + b"\x15" + b"\0" * 10 + b"saltsaltsalt\0" + b"mysql_native_password\0"))
    server.listen(peer)


def pg_silence(peer, server):
    """A PostgreSQL that agrees to TLS and says no more."""
    server.hear(peer)
    peer.sendall(b"S")
    server.listen(peer)


@pytest.mark.parametrize(("driver", "silence"), [("mysql", my_silence), ("postgresql", pg_silence)], ids=["mysql", "postgresql"])
def test_silent_handshake(pg, redis_server, redis_client, sluice, driver, silence):
    make_table(pg)
    config = queue_config(redis_server, pg, pool_size=1)
    with hostile.Hostile(silence) as server:
        config["database silent"] = {"driver": driver, "host": "127.0.0.1", "port": server.port, "dbname": "x", "user": "x", "pool_size": 3,
                                     "sslmode": "require", "server_connect_timeout": 2}
        config["queue silent"] = {"source": "list:silent", "database": "silent", "table": "t"}
        redis_client.lpush("silent", order(1))
        daemon = sluice(config, start=False).start(wait=False)
        wait_until(lambda: len(server.heard) > 100, DRAIN_SECONDS, "the handshake")
        pushed = []
        while "could not connect and log in in time" not in daemon.log or server.visits < 5:
            pushed += push(redis_client, "orders", range(len(pushed), len(pushed) + 100))
            drain(redis_client, "orders")
            assert daemon.get("/healthz") == (200, "alive\n")
        # one is tried now and then; threads that did not end would keep their connections
        wait_until(lambda: server.present <= 1, DRAIN_SECONDS, "the end of those that were given up")
        daemon.stop()
    assert audit(redis_client, pg, pushed) == (len(pushed), 0)
    assert redis_client.llen("silent") == 1
