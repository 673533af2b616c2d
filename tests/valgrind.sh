#!/usr/bin/env bash
# The unit tests and a short run of the simulator under valgrind's memcheck: what the sanitizers do not see, reads of memory that nobody has written.
# Installs what is missing. The last line is "N passed, N failed".
set -u

. "$(dirname "$0")/../contrib/setup.sh"

count=200
case ${1-} in
'') ;;
--count) count=${2:?--count needs a number} ;;
--help | -h) echo 'usage: tests/valgrind.sh [--count SCHEDULES]'; exit 0 ;;
*) echo 'usage: tests/valgrind.sh [--count SCHEDULES]' >&2; exit 64 ;;
esac
passed=0 failed=0

# Descriptors that are still open at the end and were not handed to the program.
left_open() {
	awk '/Open file descriptor/ { what = $0; getline; if (!/inherited from parent/) { print what; found = 1 } } END { exit !found }' "$1"
}

# memcheck NAME COMMAND...
memcheck() {
	local name=$1 log=$scratch/memcheck.log
	shift
	echo "== $name"
	if run_child valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=definite,indirect,possible \
		--track-fds=yes --track-origins=yes "$@" >"$log" 2>&1 && ! left_open "$log"; then
		passed=$((passed + 1))
	else
		tail -n 80 "$log"
		echo "== FAILED: $name"
		failed=$((failed + 1))
	fi
}

build_all() {
	copy_source && build_in "$scratch/build" 'all unit-tests tests/sim/sim' --disable-hardening CFLAGS='-O1 -g' CXXFLAGS='-O1 -g'
}

main() {
	local program
	install_packages || exit 1
	make_scratch
	echo '== building'
	if ! run_child build_all; then
		tail -n 60 "$scratch"/*.log
		exit 1
	fi
	export srcdir=$scratch/source
	for program in "$scratch"/build/tests/unit/test_*; do
		[ ! -f "$program" ] || [ ! -x "$program" ] || memcheck "$(basename "$program")" "$program"
	done
	memcheck simulator "$scratch/build/tests/sim/sim" --count "$count"
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

main
