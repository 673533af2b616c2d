"""rediss://: whom the daemon believes, whom it does not, and that orders arrive. Skipped where hiredis has no TLS, but for what is said then."""

import os
import socket
import subprocess
import tempfile
import time

import pytest
from daemon import queue_config
from orders import audit, dead_letters, make_table, push
from servers import Redis, free_port, slowness, wait_until
from test_redis_link import Probe

SECONDS = 60
NAMES = "DNS:localhost,DNS:queue.example"
REQUIRE = 2  # as in enum redis_sslmode


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


class Authority:
    """Signs certificates. `ca` is its own."""

    def __init__(self, directory, name):
        self.prefix = os.path.join(directory, name)
        self.ca = f"{self.prefix}-ca.pem"
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{self.prefix}-ca.key", "-out", self.ca, "-days", "2", "-subj",
                f"/CN={name}")

    def sign(self, name, names=NAMES):
        """(certificate, key), for these names."""
        key, cert, request, extensions = (f"{self.prefix}-{name}.{end}" for end in ("key", "pem", "csr", "ext"))
        with open(extensions, "w", encoding="utf-8") as file:
            file.write(f"subjectAltName={names}\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", f"{self.prefix}-ca.key", "-CAcreateserial", "-out", cert, "-days", "2",
                "-extfile", extensions)
        return cert, key


class TlsRedis(Redis):
    """Speaks TLS on `tls_port`, besides its Unix socket; `clients`: whether it asks clients for certificates (no, yes)."""

    def __init__(self, directory, clients="no"):
        self.tls_port = free_port()
        self.places = tempfile.mkdtemp(dir=directory)
        os.chmod(self.places, 0o755)
        self.authority = Authority(self.places, "ours")
        self.cert, self.key = self.authority.sign("server")
        self.client_cert, self.client_key = self.authority.sign("client")
        super().__init__(options=["--tls-port", str(self.tls_port), "--tls-cert-file", self.cert, "--tls-key-file", self.key, "--tls-ca-cert-file",
                                  self.authority.ca, "--tls-auth-clients", clients])


def has_tls(program, directory):
    """Was it built with TLS for Redis? It says so itself."""
    path = os.path.join(directory, "tls.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write("[redis]\nurl = rediss://localhost\n")
    done = subprocess.run([program, "-c", path, "check", "--offline"], capture_output=True, text=True, timeout=SECONDS, check=False)
    return "hiredis has no TLS" not in done.stderr


@pytest.fixture
def tls_build(build, directory):
    if not has_tls(build.path("src/sluice"), directory):
        pytest.skip("this build's hiredis has no TLS")
    return build


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A directory for certificates; paths of it may be long."""
    path = tmp_path_factory.mktemp("tls")
    os.chmod(path, 0o755)
    return str(path)


@pytest.fixture(scope="module")
def server(places):
    """Asks clients for nothing."""
    started = TlsRedis(places).start()
    yield started
    started.kill()


@pytest.fixture
def first_word(tls_build, server):
    """first_word(...): what a link with these settings says first, being up or down. TLS, the right authority and name unless told."""
    def ask(**settings):
        told = {"host": "localhost", "port": server.tls_port, "tls": 1, "sslrootcert": server.authority.ca, **settings}
        probe = Probe(tls_build.path("tests/live/redis_probe"), **{key: setting for key, setting in told.items() if setting is not None})
        try:
            return probe.next(("up", "down"), SECONDS)
        finally:
            probe.end()

    return ask


def tls_config(server, db, **keys):
    """One queue, its Redis by TLS."""
    config = queue_config(server, db)
    config["redis"] = {"url": f"rediss://localhost:{server.tls_port}", "sslrootcert": server.authority.ca, **keys}
    return config


def test_without(build, directory):
    """A build that cannot do it says so, and what to do instead."""
    if has_tls(build.path("src/sluice"), directory):
        pytest.skip("this build's hiredis has TLS")
    done = subprocess.run([build.path("src/sluice"), "-c", os.path.join(directory, "tls.ini"), "run"], capture_output=True, text=True,
                          timeout=SECONDS, check=False)
    assert done.returncode == 78 and "[redis] url: this build's hiredis has no TLS" in done.stderr and "unix://" in done.stderr


# -- whom it believes

def test_right(first_word, server):
    assert first_word()["op"] == "up"
    assert first_word(host="127.0.0.1", sslname="queue.example")["op"] == "up"


def test_authority(first_word, places):
    for word in (first_word(sslrootcert=Authority(places, "other").ca), first_word(sslrootcert=None)):
        assert word["class"] == "setup" and "certificate is not trusted" in word["why"] and "sslrootcert" in word["why"]


def test_name(first_word):
    for settings in ({"host": "127.0.0.1"}, {"sslname": "evil.example"}, {"sslname": "127.0.0.1"}):
        word = first_word(**settings)
        assert word["class"] == "setup" and "for another name" in word["why"], "a certificate of a known authority is not enough"
    assert first_word(host="127.0.0.1", sslmode=1)["op"] == "up", "verify-ca"


def test_not_verified_on_demand_only(first_word):
    assert first_word(sslmode=REQUIRE, sslrootcert=None, host="127.0.0.1")["op"] == "up"


def test_not_tls(first_word, server):
    word = first_word(port=server.port)
    assert word["class"] == "setup" and "is it a port with TLS" in word["why"]
    assert first_word(tls=0, sslrootcert=None)["class"] == "lost"


def test_files(first_word, server, places):
    word = first_word(sslrootcert="/dev/null")
    assert word["class"] == "setup" and "sslrootcert is of no use" in word["why"]
    word = first_word(sslcert=server.client_cert, sslkey=server.key)
    assert word["class"] == "setup" and "sslkey is of no use" in word["why"], "not its key"
    locked = os.path.join(places, "locked.key")
    openssl("rsa", "-in", server.client_key, "-aes256", "-passout", "pass:secret", "-out", locked)
    word = first_word(sslcert=server.client_cert, sslkey=locked)
    assert word["class"] == "setup" and "sslkey is of no use" in word["why"], "nobody is asked for a passphrase"


def test_client_certificate(first_word, places):
    strict = TlsRedis(places, clients="yes").start()
    try:
        settings = {"port": strict.tls_port, "sslrootcert": strict.authority.ca}
        word = first_word(**settings)
        assert word["op"] == "down" and "certificate required" in word["why"]
        assert first_word(sslcert=strict.client_cert, sslkey=strict.client_key, **settings)["op"] == "up"
    finally:
        strict.kill()


# -- orders

def test_orders(server, tls_build, db, sluice):
    """Long answers, long orders back as dead letters, a Redis that is killed meanwhile; other commands too."""
    client = server.client()
    server.flush()
    make_table(db)
    daemon = sluice(tls_config(server, db))
    findings = daemon.command("check").stdout.splitlines()
    assert any(line.startswith("ok ") and "  redis  " in line for line in findings), findings
    pushed = push(client, "orders", range(20000), bad_every=100)
    long = '{"id":%d,"customer":"long","total":%s,"items":["' + 300_000 * "x" + '"]}'
    pushed += list(range(20000, 20020))
    for number in pushed[-20:]:
        client.lpush("orders", long % (number, "1.10" if number % 2 else '"much"'))
    wait_until(lambda: daemon.metric("sluice_items_committed_total") > 5000, SECONDS, "some rows")
    server.kill()
    server.start()
    wait_until(lambda: client.llen("orders") == 0, SECONDS, "an empty queue")
    assert daemon.stop() == 0
    assert audit(client, db, pushed)[0] >= 19800
    assert any(len(letter["payload"]) > 300_000 for letter in dead_letters(client, "orders"))
    assert daemon.command("dead", "list", "orders").returncode == 0


def test_new_certificates_count_at_the_next_connection(places, tls_build, pg, clean, sluice):
    server = TlsRedis(places).start()
    try:
        make_table(pg)
        daemon = sluice(tls_config(server, pg))
        server.stop()
        again = Authority(server.places, "ours")  # the same files, all of them new
        again.sign("server")
        server.start()
        pushed = push(server.client(), "orders", range(10))
        wait_until(lambda: server.client().llen("orders") == 0, SECONDS, "an empty queue")
        audit(server.client(), pg, pushed)
        server.stop()
        cert, key = Authority(server.places, "other").sign("server")
        os.replace(cert, server.cert)
        os.replace(key, server.key)
        server.start()
        daemon.wait_log("certificate is not trusted")
        assert daemon.get("/readyz")[0] == 503
    finally:
        server.kill()


@pytest.mark.parametrize("answer", [b"", b"\x16\x03\x03\x40\x00", b"HTTP/1.0 200 OK\r\n\r\n", 100 * b"\0"])
def test_strange_server(tls_build, pg, clean, sluice, answer):
    """One that says nothing, or nothing sensible, costs no CPU and is left after connect_timeout at the latest."""
    make_table(pg)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        config = queue_config(Redis(), pg)
        config["redis"] = {"url": f"rediss://127.0.0.1:{listener.getsockname()[1]}", "connect_timeout": 2}
        daemon = sluice(config, start=False)
        daemon.start(wait=False)
        connections = [listener.accept()[0], listener.accept()[0]]
        for connection in connections:
            connection.sendall(answer)
        before, begin = daemon.cpu_seconds(), time.monotonic()
        wait_until(lambda: "no TLS" in daemon.log or "has not let us in within 2 s" in daemon.log, SECONDS, "the end of its patience")
        assert daemon.cpu_seconds() - before < 0.3 * slowness() + 0.1 * (time.monotonic() - begin)
        for connection in connections:
            connection.close()
