"""Fixtures for the faults that sluice has to survive. Tests are named by the row of the table of faults that they play."""

import os

import pytest

import servers
from proxy import Proxy


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than some seconds")
    config.addinivalue_line("markers", "short: one quick test of each fault that has one")


@pytest.fixture
def own_redis():
    """own_redis(...): a Redis of the test's own, as servers.Redis."""
    made = []

    def make(kind=servers.Redis, **options):
        made.append(kind(**options))
        return made[-1].start()

    yield make
    for server in made:
        server.kill()


@pytest.fixture
def proxied(directory):
    """proxied(server): (proxy, host) for a server of any kind; `host` is for sluice.ini, for Redis a url. To be asked for before `sluice`."""
    made = []

    def make(server):
        if isinstance(server, servers.Redis):
            name, target, host = "redis.sock", server.socket, f"unix://{directory}/redis.sock"
        elif server.driver == "postgresql":
            name, target, host = ".s.PGSQL.5432", f"{server.host}/.s.PGSQL.5432", directory
        else:
            name, target, host = "sql.sock", server.host, f"{directory}/sql.sock"
        made.append(Proxy(os.path.join(directory, name), target))
        return made[-1], host

    yield make
    for proxy in made:
        proxy.close()
