"""Fixtures for tests against real servers.

redis_server, pg, mysql and build live for the whole session; `clean` gives a test empty ones. `db` runs a test once with each database.
`mysql` is MariaDB, or MySQL where SLUICE_MYSQLD names its program. SLUICE_BUILD names a build directory (with sanitizers), SLUICE_RELEASE_BUILD one that is compiled for speed.
"""

import os
import shutil
import tempfile

import pytest

import servers
from daemon import Sluice
from tls import Tls


class Build:
    """A build directory."""

    def __init__(self, directory):
        self.directory = os.path.abspath(directory)

    def path(self, relative):
        """A file in it, which must be there."""
        path = os.path.join(self.directory, relative)
        assert os.path.exists(path), f"{path} has not been built"
        return path


def pytest_configure():
    """SIGTERM ends the servers as Ctrl-C does."""
    servers.end_in_order()


def _build(variable):
    directory = os.environ.get(variable)
    if not directory:
        pytest.skip(f"{variable} is not set")
    return Build(directory)


@pytest.fixture(scope="session")
def build():
    """The build under test."""
    return _build("SLUICE_BUILD")


@pytest.fixture(scope="session")
def release():
    """The same compiled for speed, without sanitizers: for memory and rates."""
    return _build("SLUICE_RELEASE_BUILD")


@pytest.fixture(scope="session")
def _started():
    """The session's servers that have been started so far."""
    return []


def _server(started, server):
    started.append(server)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def redis_server(_started):
    yield from _server(_started, servers.Redis().start())


@pytest.fixture(scope="session")
def pg(_started):
    yield from _server(_started, servers.PostgreSQL())


@pytest.fixture(scope="session")
def mysql(_started):
    yield from _server(_started, servers.mysql_class()())


@pytest.fixture
def clean(_started, redis_server):
    """Every server up and empty, whatever the test before did."""
    for server in _started:
        server.start()
    redis_server.flush()
    for server in _started:
        if isinstance(server, servers.Database):
            server.clean()


@pytest.fixture(params=["postgresql", "mysql"])
def db(request, redis_server):
    """Each database in turn, empty."""
    server = request.getfixturevalue("pg" if request.param == "postgresql" else "mysql")
    request.getfixturevalue("clean")
    return server


@pytest.fixture(scope="module", params=[servers.PostgreSQL, servers.mysql_class()], ids=["postgresql", "mysql"])
def tls(request):
    """A second database of each kind in turn, with TLS."""
    with tempfile.TemporaryDirectory(prefix="sl.") as path:
        second = Tls(request.param, path)
        yield second
        second.server.kill()


@pytest.fixture
def redis_client(redis_server, clean):
    """A client of an empty Redis."""
    return redis_server.client()


@pytest.fixture
def directory():
    """A directory of the test's own with a path short enough for sockets."""
    path = tempfile.mkdtemp(prefix="t", dir=servers.workspace())
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def sluice(build, directory):
    """sluice(config, name=..., start=True): a daemon. At the end of the test each must stop with exit code 0 and no sanitizer's complaint."""
    daemons = []

    def make(config, name=None, start=True, program=None):
        daemon = Sluice(program or build.path("src/sluice"), directory, config, name or f"sluice{len(daemons)}")
        daemons.append(daemon)
        return daemon.start() if start else daemon

    yield make
    ended = [(daemon, daemon.end()) for daemon in daemons]
    for daemon, well in ended:
        print(f"--- log of {daemon.name}\n{daemon.log[-4000:] if os.path.exists(daemon.log_path) else ''}")
        if os.path.exists(daemon.log_path):
            assert not daemon.sanitizer_report(), daemon.sanitizer_report()
        assert well, f"{daemon.name}: {daemon.fault}"
