#!/usr/bin/env bash
# How much of the drain's speed is left while crowds visit the admin socket and the stats port; 0.95 is wanted. The crowds run here, too: without
# processors to spare they take from the servers what the daemon does not give them. Installs, builds and starts all it needs; leaves nothing running.
set -u

. "$(dirname "$0")/../setup.sh"

build_bench() {
	copy_source && build_in "$scratch/build" all
}

case ${1-} in
--help | -h)
	echo 'usage: contrib/bench/flood.sh [--rows N] [--pool N] [--rounds N] [--only postgresql|mysql]'
	exit 0
	;;
esac
install_packages || exit 1
make_scratch
echo 'Building ...'
if ! run_child build_bench; then
	tail -n 60 "$scratch"/*.log
	exit 1
fi
export SLUICE_TMP=$scratch PYTHONDONTWRITEBYTECODE=1
run_child /usr/bin/python3 "$top/contrib/bench/flood.py" --build "$scratch/build" "$@"
