#!/usr/bin/env bash
# Which lines and branches the tests come to. First those of the protocol's files, by the unit tests and the simulator alone; then those of all files.
# Left out are the branches of ASSERT, which nothing can take. Installs what is missing.
set -u

. "$(dirname "$0")/../contrib/setup.sh"

usage() {
	cat <<'END'
usage: tests/coverage.sh [--check] [--live] [--count SCHEDULES] [--keep]
  --check            fails when the protocol's files are not covered whole
  --live             runs the live tests too, for the report of all files
  --count SCHEDULES  of the simulator (default 20000, all kinds in turn)
  --keep             leaves the scratch directory with the build and its counts
END
}

check='' live='' count=20000
while [ $# -gt 0 ]; do
	case $1 in
	--check) check='--fail-under-line 100 --fail-under-branch 100' ;;
	--live) live=yes ;;
	--count) [ $# -gt 1 ] || { usage >&2; exit 64; }; count=$2; shift ;;
	--keep) keep_scratch=yes ;;
	--help | -h) usage; exit 0 ;;
	*) usage >&2; exit 64 ;;
	esac
	shift
done
packages="$packages gcovr"
protocol='.*/src/(queue(_[a-z]+)?|window|reconcile|task)\.c'

build_all() {
	copy_source && build_in "$scratch/build" 'all unit-tests live-probes tests/sim/sim' --disable-hardening CFLAGS='-O0 -g --coverage' \
		CXXFLAGS='-O0 -g --coverage'
}

run_unit_tests() {
	local program
	for program in tests/unit/test_*; do
		[ ! -f "$program" ] || [ ! -x "$program" ] || "$program" || return 1
	done
}

# Two processes; the simulator's own --jobs end without leaving their counts.
run_simulator() {
	tests/sim/sim --count $((count / 2)) &
	local first=$! result=0
	tests/sim/sim --count $((count - count / 2)) --seed 1000000 || result=1
	wait $first && [ $result -eq 0 ]
}

run_live_tests() {
	mkdir -p "$scratch/t"
	SLUICE_BUILD=$scratch/build SLUICE_RELEASE_BUILD=$scratch/build SLUICE_TMP=$scratch/t PYTHONDONTWRITEBYTECODE=1 \
		/usr/bin/python3 -m pytest -q -p no:cacheprovider --rootdir "$top/tests" --basetemp "$scratch/pytest" \
		--ignore "$top/tests/live/faults" "$top/tests/live"
}

report() {
	gcovr src --root "$scratch/source" --object-directory . --exclude-branches-by-pattern '^\s*ASSERT\(' "$@"
}

# step NAME COMMAND...: shows the end of its output if it fails.
step() {
	echo "== $1"
	shift
	run_child "$@" >"$scratch/step.log" 2>&1 || { tail -n 60 "$scratch/step.log" "$scratch"/build.log; exit 1; }
}

main() {
	local result=0
	install_packages || exit 1
	make_scratch
	export srcdir=$scratch/source
	step building build_all
	cd "$scratch/build" || exit 1
	step 'unit tests' run_unit_tests
	step "simulator, $count schedules" run_simulator
	report --filter "$protocol" --txt --branches
	# shellcheck disable=SC2086 # several words, or none
	report --filter "$protocol" --txt $check || result=1
	[ -z "$live" ] || step 'live tests' run_live_tests
	report --filter '.*/src/[^/]*' --csv | awk -F, 'NR == 1 { print "== all files: lines, branches"; next }
		{ printf "%-28s %5.1f %%  of %4d   %5.1f %%  of %4d\n", $1, $2 ? 100 * $3 / $2 : 100, $2, $5 ? 100 * $6 / $5 : 100, $5
		lines += $2; seen += $3; branches += $5; taken += $6 }
		END { printf "%-28s %5.1f %%  of %4d   %5.1f %%  of %4d\n", "all", 100 * seen / lines, lines, 100 * taken / branches, branches }'
	[ $result -eq 0 ] || echo "The protocol's files are not covered whole."
	return $result
}

main
