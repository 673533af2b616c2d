#!/usr/bin/env bash
# Fuzzers (libFuzzer, with ASan and UBSan) for all that comes from outside: tests/fuzz/fuzz_TARGET.c, seeds in tests/fuzz/corpus/TARGET. Installs and
# builds what it needs; leaves nothing behind but what it found.
set -u

usage() {
	cat <<'END_OF_USAGE'
usage: tests/fuzz.sh [--runs N | --seconds N] [--jobs N] [--build DIRECTORY] [TARGET...]
  --runs N           each target so many times
  --seconds N        each target for so long; 10 unless given
  --jobs N           processes at a time; as many as there are processors unless given
  --build DIRECTORY  use what was built there (configured as below, `make fuzzers`); one line a target, no table
END_OF_USAGE
}

. "$(dirname "$0")/../contrib/setup.sh"
packages="$packages $fuzz_packages"

# The longest input of each target, in bytes: longer ones bring nothing new, only fewer runs a second.
declare -A longest=([ini]=1500 [redis]=600 [http]=600 [ledger]=160 [message]=600)
all_targets=(ini redis http ledger message)
# What runs long is chosen less often.
common=(-rss_limit_mb=1024 -malloc_limit_mb=256 -timeout=20 -use_value_profile=0 -entropic_scale_per_exec_time=1 -print_final_stats=1 -verbosity=1)
# Comparisons are not traced: that takes half of the time and more, and the dictionaries and seeds bring the words along.
instrument='-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-coverage=trace-cmp -fno-sanitize-recover=all'

runs='' seconds=10 jobs=$(nproc) build='' targets=()
while [ $# -gt 0 ]; do
	case $1 in
	--runs | --seconds | --jobs | --build) [ $# -gt 1 ] || { usage >&2; exit 64; } ;;&
	--runs) runs=$2; shift ;;
	--seconds) seconds=$2; shift ;;
	--jobs) jobs=$2; shift ;;
	--build) build=$2; shift ;;
	--help | -h) usage; exit 0 ;;
	-*) usage >&2; exit 64 ;;
	*) [ -n "${longest[$1]-}" ] || { echo "There is no target $1; there are: ${all_targets[*]}" >&2; exit 64; }; targets+=("$1") ;;
	esac
	shift
done
for number in ${runs:-1} "$seconds" "$jobs"; do
	[[ $number =~ ^[1-9][0-9]*$ ]] || { usage >&2; exit 64; }
done
[ ${#targets[@]} -gt 0 ] || targets=("${all_targets[@]}")

# quarantine: what was freed is watched long enough all the same, and more stays in the processor's cache
export ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=16:malloc_context_size=4:detect_stack_use_after_return=0:abort_on_error=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

build_fuzzers() {
	copy_source && build_in "$build" fuzzers --disable-hardening CC=clang CXX=clang++ CFLAGS="$instrument" CXXFLAGS="$instrument"
}

# What stands before the command of a target, if anything: the messages are held against private servers.
runner() {
	[ "$1" != message ] || echo "/usr/bin/python3 -B $top/tests/fuzz/with_servers.py"
}

# All processes of one target; each writes $scratch/TARGET.N.log. They share what they learn through one directory.
fuzz() {
	local target=$1 seeds=$top/tests/fuzz/corpus/$1 limit job pids=() failed=0 arguments progress
	[ -n "$runs" ] && limit=-runs=$(((runs + jobs - 1) / jobs)) || limit=-max_total_time=$seconds
	mkdir -p "$scratch/$target.corpus" "$scratch/$target.found"
	[ "$target" != message ] || export SLUICE_TMP=$scratch # its servers; this is a process of its own
	arguments=("${common[@]}" "$limit" "-max_len=${longest[$target]}" "-artifact_prefix=$scratch/$target.found/")
	[ ! -f "$top/tests/fuzz/$target.dict" ] || arguments+=("-dict=$top/tests/fuzz/$target.dict")
	for ((job = 1; job <= jobs; job++)); do
		$(runner "$target") "$build/tests/fuzz/fuzz_$target" "${arguments[@]}" "$scratch/$target.corpus" "$seeds" \
			>"$scratch/$target.$job.log" 2>&1 &
		pids+=($!)
	done
	report_progress "$target" &
	progress=$!
	for job in "${pids[@]}"; do
		wait "$job" || failed=1
	done
	kill "$progress"
	return $failed
}

# A line every 30 seconds.
report_progress() {
	local never
	exec {never}<> <(:) # says nothing: to read from it is to wait, without a process that could be left over
	while ! read -rt 30 -u "$never"; do
		[ -n "$quiet" ] || echo "   $(grep -h '^#' "$scratch/$1.1.log" | tail -n 1)"
	done
}

# Keeps the inputs that failed, with the program that they fail in.
keep_findings() {
	local target=$1 found
	kept=${kept:-$(mktemp -d /tmp/sluice-fuzz.XXXXXX)}
	cp "$build/tests/fuzz/fuzz_$target" "$kept/"
	cp "$scratch/$target".*.log "$kept/"
	grep -hE 'bug:|differs: |runtime error:|ERROR: |SUMMARY: ' "$scratch/$target".*.log | sort -u | head -n 8
	for found in "$scratch/$target.found"/*; do
		[ -f "$found" ] || continue
		cp "$found" "$kept/$target-$(basename "$found")"
		echo "   kept; again: $(runner "$target") $kept/fuzz_$target $kept/$target-$(basename "$found")"
	done
}

total() {
	sed -n "s/^stat::$2: *//p" "$scratch/$1".*.log | awk '{ n += $1 } END { print n + 0 }'
}

# One target from start to end; its line goes to $scratch/table.
run_target() {
	local target=$1 result=ok started=$SECONDS edges
	[ -n "$quiet" ] || echo "== $target"
	run_child fuzz "$target" || result=FAILED
	edges=$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$scratch/$target".*.log | sort -n | tail -n 1)
	[ -n "$quiet" ] && echo "$target: $result"
	[ $result = ok ] || keep_findings "$target"
	printf '%-8s %10s %7s %6s %s\n' "$target" "$(total "$target" number_of_executed_units)" $((SECONDS - started)) \
		"${edges:--}" $result >>"$scratch/table"
	[ $result = ok ]
}

main() {
	local target result=0
	quiet=$build
	make_scratch
	if [ -z "$build" ]; then
		install_packages || return 1
		build=$scratch/fuzz
		echo '== building with libFuzzer'
		if ! run_child build_fuzzers; then
			tail -n 60 "$scratch"/*.log
			return 1
		fi
	fi
	for target in "${targets[@]}"; do
		run_target "$target" || result=1
	done
	[ -n "$quiet" ] || { printf '%-8s %10s %7s %6s %s\n' target runs seconds edges result && cat "$scratch/table"; }
	return $result
}

main
