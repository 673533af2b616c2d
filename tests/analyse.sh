#!/usr/bin/env bash
# What tools find without running anything: gcc -fanalyzer, cppcheck, clang-tidy (see .clang-tidy), shellcheck, Python's compiler and pyflakes.
# Installs what is missing. The last line is "N passed, N failed"; a tool passes when it finds nothing.
set -u

. "$(dirname "$0")/../contrib/setup.sh"

case ${1-} in
'') ;;
--help | -h) echo 'usage: tests/analyse.sh'; exit 0 ;;
*) echo 'usage: tests/analyse.sh' >&2; exit 64 ;;
esac
packages="$packages cppcheck clang-tidy shellcheck pyflakes3"
passed=0 failed=0

# analyse NAME COMMAND...: a tool that says anything, or fails, has found something.
analyse() {
	local name=$1 log=$scratch/analysis.log
	shift
	echo "== $name"
	if run_child "$@" >"$log" 2>&1 && [ ! -s "$log" ]; then
		passed=$((passed + 1))
	else
		sed "s,$scratch/source/,," "$log"
		echo "== FAILED: $name"
		failed=$((failed + 1))
	fi
}

# Configures a build for its flags, which go to $scratch/flags one a line, and makes the headers that are generated.
prepare_flags() {
	copy_source && build_in "$scratch/build" '' || return 1
	printf '%s\n' 'include Makefile' 'flags: $(EMBEDDED)' '	@printf "%s\n" $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)' |
		make -s V=1 -C "$scratch/build" -f - flags >"$scratch/flags" 2>"$scratch/flags.log"
}

# sources SUFFIX: those files, NUL between them. The fuzzers are built with flags of their own.
sources() {
	find "$scratch/source/src" "$scratch/source/tests" "$scratch/source/contrib" -name "*.$1" -not -path '*/fuzz/*.c' -print0
}

run_gcc() {
	sources c | xargs -0 -n 1 -P "$(nproc)" gcc -std=gnu11 -O1 -fanalyzer -Werror "${flags[@]}" -c -o /dev/null
}

# varFuncNullUB: NULL is a pointer on every POSIX system. missingInclude and the like are of no interest: what is not found was not needed.
run_cppcheck() {
	sources c | xargs -0 cppcheck -q -j "$(nproc)" --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
		--suppress=varFuncNullUB --suppress='*:/usr/include/*' "${flags[@]}"
}

# One file a process: version 14 finds va_lists uninitialised in every file behind the first. What it says on stderr is how much it has suppressed.
run_clang_tidy() {
	local file
	{
		sources c | while IFS= read -r -d '' file; do printf '%s\0-std=gnu11\0' "$file"; done
		sources cc | while IFS= read -r -d '' file; do printf '%s\0-std=c++17\0' "$file"; done
	} | xargs -0 -n 2 -P "$(nproc)" bash -c 'exec clang-tidy --quiet "${*: -2:1}" -- "${*: -1}" "${@:1:$#-2}" 2>/dev/null' \
		clang-tidy "${flags[@]}"
}

run_shellcheck() {
	sources sh | xargs -0 shellcheck -x -P SCRIPTDIR -S warning
}

run_python() {
	sources py | xargs -0 env PYTHONPYCACHEPREFIX="$scratch/pycache" /usr/bin/python3 -m compileall -q && sources py | xargs -0 pyflakes3
}

main() {
	install_packages || exit 1
	make_scratch
	echo '== configuring'
	if ! run_child prepare_flags; then
		tail -n 40 "$scratch"/*.log
		exit 1
	fi
	mapfile -t flags <"$scratch/flags"
	cd "$scratch/build" || exit 1
	analyse 'gcc -fanalyzer' run_gcc
	analyse cppcheck run_cppcheck
	analyse clang-tidy run_clang_tidy
	analyse shellcheck run_shellcheck
	analyse 'Python: compileall and pyflakes' run_python
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}

main
