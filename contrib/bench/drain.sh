#!/usr/bin/env bash
# How near the drain is to what the database can take: sluice beside a loader that sends the same rows ready-made, in the same batches over the same
# connections, ledger row included; both by turns in one run, medians, ratio first. Installs, builds and starts all it needs; leaves nothing running.
set -u

. "$(dirname "$0")/../setup.sh"

build_bench() {
	# shellcheck disable=SC2046 # these are several words
	copy_source && build_in "$scratch/build" all && cc -O2 -o "$scratch/loader" "$top/contrib/bench/loader.c" -lpthread \
		$(pkg-config --cflags --libs libpq libmariadb)
}

case ${1-} in
--help | -h)
	echo 'usage: contrib/bench/drain.sh [--rows N] [--batch N] [--pool N] [--rounds N] [--only postgresql|mysql]'
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
run_child /usr/bin/python3 "$top/contrib/bench/drain.py" --build "$scratch/build" --loader "$scratch/loader" "$@"
