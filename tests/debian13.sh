#!/usr/bin/env bash
# Builds and tests a copy of this tree in a Debian 13 of its own, which is removed afterwards: another compiler, newer libraries, a hiredis with TLS.
set -u

usage() {
	cat <<'END'
usage: tests/debian13.sh [--mirror URL] [--keep] [ARGUMENT...]
  --mirror URL  where Debian comes from, if not from where mmdebstrap takes it
  --keep        leaves the tree
  ARGUMENT      as tests/run.sh takes them: --unit, --live, -k EXPRESSION, ... None: the unit tests, then all live tests but the dashboard's
Takes root or sudo, and 3 GB in /tmp. The last line is "N passed, N failed".
END
}

. "$(dirname "$0")/../contrib/setup.sh"

mirror='' arguments=()
while [ $# -gt 0 ]; do
	case $1 in
	--mirror) [ $# -gt 1 ] || { usage >&2; exit 64; }; mirror=$2; shift ;;
	--keep) keep_scratch=yes ;;
	--help | -h) usage; exit 0 ;;
	*) arguments+=("$1") ;;
	esac
	shift
done
[ ${#arguments[@]} -gt 0 ] || arguments=(--no-browser)

packages='mmdebstrap'
make_scratch
install_packages || exit 1
must 'making the tree' tree.log make_debian trixie "$scratch/tree" "$mirror" --include=ca-certificates,procps
copy_tree "$scratch/tree/sluice" || exit 1
run_child in_debian "$scratch/tree" /sluice/tests/run.sh --werror "${arguments[@]}"
