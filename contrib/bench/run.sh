#!/usr/bin/env bash
# The benchmark: sluice beside what the database can take at most and beside the workers that it replaces. Installs, builds and starts all it needs;
# leaves nothing running. A whole run takes about an hour on two quiet CPUs and writes contrib/bench/RESULTS.md.
set -u

usage() {
	cat <<'END'
usage: contrib/bench/run.sh [--quick] [--rounds N] [--only postgresql|mysql] [--output DIRECTORY] [CASE...]
       contrib/bench/run.sh --list
  --quick             a tenth of the orders, 3 rounds instead of 7: some minutes
  --rounds N          rounds of each case
  --only DRIVER       one database only
  --output DIRECTORY  where RESULTS.md and results.svg go; default contrib/bench for a whole run, else they are only printed
  --list              names the cases
END
}

. "$(dirname "$0")/../setup.sh"
packages="$packages pgbouncer"
# Where Node is there, it may be another one than Debian's.
command -v node >/dev/null && command -v npm >/dev/null || packages="$packages nodejs npm"

build_bench() {
	copy_source && build_in "$scratch/build" 'all bench-programs'
}

# The workers' packages, outside of the tree.
install_workers() {
	cp -r "$top/contrib/bench/node" "$scratch/workers" && cd "$scratch/workers" &&
		npm install --no-audit --no-fund --no-package-lock --ignore-scripts >"$scratch/npm.log" 2>&1
}

main() {
	make_scratch
	echo 'Building ...'
	if ! run_child build_bench || ! run_child install_workers; then
		tail -n 60 "$scratch"/*.log
		exit 1
	fi
	export SLUICE_TMP=$scratch
	run_child /usr/bin/python3 "$top/contrib/bench/bench.py" "--build=$scratch/build" "--workers=$scratch/workers" "$@"
}

case ${1-} in
--help | -h) usage; exit 0 ;;
esac
install_packages || exit 1
export PYTHONDONTWRITEBYTECODE=1
case ${1-} in
--list) exec /usr/bin/python3 "$top/contrib/bench/bench.py" --list ;;
esac
main "$@"
