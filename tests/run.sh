#!/usr/bin/env bash
# Installs what is missing, builds a copy of this tree with sanitizers and runs every test. The last line is "N passed, N failed".
set -u

usage() {
	cat <<'END'
usage: tests/run.sh [--unit] [--live] [--faults] [-k EXPRESSION] [--werror] [--no-browser] [--keep]
  --unit         only the unit tests, the simulator and the fuzzers
  --live         only the tests against real servers
  --faults       only the fault matrix (tests/live/faults), whole. Otherwise a quick test for most of its rows
  -k EXPRESSION  only live tests whose names match, as pytest's -k
  --werror       compiler warnings are errors
  --no-browser   without chromium: the tests of the dashboard are skipped
  --keep         leaves the scratch directory with the builds and logs
END
}

. "$(dirname "$0")/../contrib/setup.sh"

unit=yes live=yes faults='' expression='' browser=yes werror=''
while [ $# -gt 0 ]; do
	case $1 in
	--unit) live='' ;;
	--live) unit='' ;;
	--faults) unit='' faults=yes ;;
	-k) [ $# -gt 1 ] || { usage >&2; exit 64; }; expression=$2; shift ;;
	--werror) werror=--enable-werror ;;
	--no-browser) browser='' ;;
	--keep) keep_scratch=yes ;;
	--help | -h) usage; exit 0 ;;
	*) usage >&2; exit 64 ;;
	esac
	shift
done

packages="$packages ${unit:+$fuzz_packages} ${live:+$contrib_packages python3-pytest-xdist}"
passed=0 failed=0
sanitize='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all'
export ASAN_OPTIONS=detect_leaks=1:halt_on_error=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export PYTHONDONTWRITEBYTECODE=1

# A step that is no test itself, a build for instance: counts only when it fails, and shows the end of its log then.
step() {
	local what=$1 log=$2
	shift 2
	echo "== $what"
	run_child "$@" && return 0
	tail -n 60 "$log"
	echo "== FAILED: $what"
	failed=$((failed + 1))
	return 1
}

build_sanitized() {
	build_in "$scratch/asan" "$1" $werror --disable-hardening CFLAGS="$sanitize" CXXFLAGS="$sanitize"
}

# cmocka names every test that passed, and says at the end how many failed. A program that crashes says nothing: one failure.
run_unit_test() {
	local program=$1 log=$scratch/unit.log result bad
	run_child env srcdir="$top" timeout 300 "$program" >"$log" 2>&1
	result=$?
	bad=$(sed -n 's/^\[  FAILED  \].* \([0-9]*\) test(s), listed below.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
	[ $result -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	passed=$((passed + $(grep -c '^\[       OK \]' "$log")))
	failed=$((failed + bad))
	if [ "$bad" -gt 0 ]; then
		cat "$log"
		echo "== FAILED: $(basename "$program") (exit code $result)"
	fi
}

run_unit_tests() {
	local program
	step 'building the unit tests' "$scratch/asan.log" build_sanitized 'all unit-tests'
	echo '== unit tests'
	for program in "$scratch"/asan/tests/unit/test_*; do
		[ ! -f "$program" ] || [ ! -x "$program" ] || run_unit_test "$program"
	done
}

# Random schedules of crashes, takeovers and lost answers against the real state machine; each kind counts as one test.
run_simulator() {
	local kind
	step 'building the simulator' "$scratch/release.log" build_in "$scratch/release" 'all tests/sim/sim' $werror || return
	echo '== simulator'
	for kind in 0 1 2 3 4 5 6; do
		if run_child timeout 300 "$scratch/release/tests/sim/sim" --kind $kind --count 10000 --jobs 2 >"$scratch/sim.log" 2>&1; then
			passed=$((passed + 1))
		else
			tail -n 40 "$scratch/sim.log"
			echo "== FAILED: simulator, kind $kind"
			failed=$((failed + 1))
		fi
	done
}

# Each mistake that is put into the state machine must be found; a line of mutants.sh is a test.
run_mutants() {
	echo '== mutants'
	run_child timeout 400 sh "$top/tests/sim/mutants.sh" >"$scratch/mutants.log" 2>&1 || { cat "$scratch/mutants.log"; failed=$((failed + 1)); }
	passed=$((passed + $(grep -c '^found ' "$scratch/mutants.log")))
}

# Some seconds of each fuzzer; each is a test.
run_fuzzers() {
	local log=$scratch/fuzzers.log
	echo '== fuzzers'
	run_child timeout 400 "$top/tests/fuzz.sh" --seconds 3 >"$log" 2>&1 || { tail -n 60 "$log"; failed=$((failed + 1)); }
	passed=$((passed + $(grep -c '^[a-z].* ok$' "$log")))
}

# run_pytest SECONDS ARGUMENT...: the tests there, some files at a time, for most of a test is waiting; counted from pytest's own report.
run_pytest() {
	local xml=$scratch/live.xml limit=$1 counts
	shift
	mkdir -p "$scratch/t"
	SLUICE_BUILD=$scratch/asan SLUICE_RELEASE_BUILD=$scratch/release SLUICE_TMP=$scratch/t run_child timeout -k 30 "$limit" \
		/usr/bin/python3 -m pytest -q -rs -n 3 --dist loadfile -p no:cacheprovider --rootdir "$top/tests" --basetemp "$scratch/pytest" --junitxml "$xml" \
		--durations=5 -k "$expression" "$@"
	# errors failures skipped tests
	counts=$(sed -n 's/.*<testsuite [^>]*errors="\([0-9]*\)" failures="\([0-9]*\)" skipped="\([0-9]*\)" tests="\([0-9]*\)".*/\1 \2 \3 \4/p' \
		"$xml" 2>/dev/null)
	set -- ${counts:-1 0 0 1}
	passed=$((passed + $4 - $1 - $2 - $3))
	failed=$((failed + $1 + $2))
}

run_kills() {
	echo '== kill runs'
	if run_child env SLUICE_TMP="$scratch/t" /usr/bin/python3 "$top/tests/soak.py" --build "$scratch/release" --kills 50; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
}

run_live_tests() {
	[ -z "$browser" ] || packages=$browser_packages install_packages || echo '== no browser: the tests of the dashboard are skipped'
	step 'building with sanitizers' "$scratch/asan.log" build_sanitized 'all live-probes'
	step 'building for speed' "$scratch/release.log" build_in "$scratch/release" all $werror
	if [ -n "$faults" ]; then
		echo '== fault matrix'
		run_pytest 2400 "$top/tests/live/faults"
		return
	fi
	echo '== live tests'
	run_pytest 840 --ignore "$top/tests/live/faults" "$top/tests/live"
	[ -z "$expression" ] || return
	echo '== faults, the quick tests'
	run_pytest 600 -m short "$top/tests/live/faults"
	run_kills
}

main() {
	make_scratch
	if ! install_packages; then
		failed=1
	elif step 'making the configure script' "$scratch/source.log" copy_source; then
		[ -z "$unit" ] || run_unit_tests
		[ -z "$unit" ] || run_simulator
		[ -z "$unit" ] || run_mutants
		[ -z "$unit" ] || run_fuzzers
		[ -z "$live" ] || run_live_tests
	fi
	[ $((passed + failed)) -gt 0 ] || echo 'Nothing was tested.'
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

main
