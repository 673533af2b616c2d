#!/usr/bin/env bash
# Runs the live tests against MySQL in place of MariaDB: Debian's, from the one release that has it, in a tree that is removed afterwards.
set -u

usage() {
	cat <<'END_OF_USAGE'
usage: tests/mysql.sh [--mysqld PROGRAM] [--mirror URL] [--keep] [ARGUMENT...]
  --mysqld PROGRAM  this server, 8.0 or newer, instead of Debian's
  --mirror URL      where Debian comes from, if not from where mmdebstrap takes it
  --keep            leaves the tree, with the server's program in it: PATH/mysqld
  ARGUMENT          as tests/run.sh takes them: --faults, -k EXPRESSION, ... None: all live tests but PostgreSQL's and the dashboard's
Takes root or sudo, and 2 GB in /tmp. The last line is "N passed, N failed".
END_OF_USAGE
}

. "$(dirname "$0")/../contrib/setup.sh"

mirror='' mysqld='' arguments=()
while [ $# -gt 0 ]; do
	case $1 in
	--mysqld) [ $# -gt 1 ] || { usage >&2; exit 64; }; mysqld=$2; shift ;;
	--mirror) [ $# -gt 1 ] || { usage >&2; exit 64; }; mirror=$2; shift ;;
	--keep) keep_scratch=yes ;;
	--help | -h) usage; exit 0 ;;
	*) arguments+=("$1") ;;
	esac
	shift
done
[ ${#arguments[@]} -gt 0 ] || arguments=(--live --no-browser -k 'not postgresql')

# The tree's server with the tree's libraries, outside of the tree: it shares sockets and files with the tests.
make_server() {
	# A snapshot of Debian's archive, as some machines have it, is older than this release's lists stay valid.
	must 'making the tree' tree.log make_debian sid "$scratch/tree" "$mirror" --include=mysql-server-core --aptopt='Acquire::Check-Valid-Until "false"'
	mysqld=$scratch/mysqld
	cat >"$mysqld" <<END_OF_SERVER
#!/bin/sh
exec $scratch/tree/lib64/ld-linux-x86-64.so.2 --library-path $scratch/tree/usr/lib/x86_64-linux-gnu $scratch/tree/usr/sbin/mysqld "\$@"
END_OF_SERVER
	chmod 755 "$mysqld"
}

packages='mmdebstrap'
make_scratch
if [ -z "$mysqld" ]; then
	install_packages || exit 1
	make_server
fi
"$mysqld" --version || exit 1
SLUICE_MYSQLD=$mysqld run_child "$top/tests/run.sh" "${arguments[@]}"
