"""Runs a command with private servers beside it: /usr/bin/python3 with_servers.py COMMAND...

FUZZ_PG and FUZZ_MYSQL tell the command where they are; its exit code becomes ours.
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "live"))

import servers  # noqa: E402  pylint: disable=wrong-import-position


def main():
    servers.end_in_order()
    postgresql = servers.PostgreSQL()
    mariadb = servers.MariaDB()
    places = {"FUZZ_PG": f"host={postgresql.host} user=postgres dbname={postgresql.dbname}", "FUZZ_MYSQL": mariadb.host}
    return subprocess.run(sys.argv[1:], env={**os.environ, **places}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
