# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2046,SC2086 # variables for the scripts that source it, and for hooks; lists of names are split on purpose
# What tests/run.sh and contrib/demo.sh share: packages, a scratch directory, builds. To be sourced by bash; Debian 12 and 13.
#
#   install_packages                 installs what is missing, as root or by sudo; nothing happens when all is there
#   make_scratch                     sets $scratch to a directory that is removed when the script ends, by Ctrl-C too
#   run_child COMMAND...             runs it; a signal ends it and all its children before the script cleans up. No reading from the terminal
#   must WHAT LOG COMMAND...         runs it as a step without which there is no going on; if it fails, shows the end of $scratch/LOG and exits
#   make_debian SUITE DIRECTORY MIRROR ARGUMENT...   a Debian tree there, as mmdebstrap makes it, in which no server starts by itself. MIRROR may be ''
#   in_debian DIRECTORY COMMAND...   runs it there as root, with this machine's network and /dev; nothing of it stays mounted or running
#   this_suite                       the name of this machine's Debian, as make_debian takes it
#   copy_tree DIRECTORY              copies the source tree there
#   copy_source                      copies it to $scratch/source and makes its configure script there
#   build_in DIRECTORY TARGETS ARGUMENT...   configures the copy there with these arguments and makes the targets; the log is DIRECTORY.log

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# One requirement a line; where Debian releases differ, alternatives are joined by `|` and the first that can be had is installed.
packages='autoconf automake make gcc g++ pkg-config|pkgconf libevent-dev libhiredis-dev libinih-dev libncurses-dev libpq-dev libcmocka-dev libssl-dev
default-libmysqlclient-dev|libmariadb-dev-compat libsimdjson-dev libxxhash-dev redis-server|valkey-server postgresql mariadb-server
openssl python3 python3-pytest python3-redis python3-psycopg2 python3-pymysql util-linux valgrind'
# What tests/fuzz.sh needs besides; Debian 12's compiler, then Debian 13's.
fuzz_packages='clang libclang-rt-14-dev|libclang-rt-19-dev'
# What the tests of contrib/ and of the manuals need besides. Of prometheus only promtool is used.
contrib_packages='mandoc nginx-light prometheus python3-yaml'
# What the dashboard's tests need besides; they are skipped where it cannot be had.
browser_packages='chromium chromium-driver'

# The servers among all these, as systemd calls them: who only wants to see the demo does not want them at each start of the machine.
servers='redis-server valkey-server postgresql mariadb nginx prometheus'

is_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The words of $packages of which no alternative is installed.
missing_packages() {
	local want name
	for want in $packages; do
		for name in ${want//|/ }; do
			is_installed "$name" && continue 2
		done
		echo "$want"
	done
}

# The first alternative of each argument that apt knows.
choose_packages() {
	local want name
	for want; do
		for name in ${want//|/ }; do
			if [ -n "$(apt-cache search --names-only "^$name\$")" ]; then
				echo "$name"
				continue 2
			fi
		done
		echo "${want%%|*}"
	done
}

# Runs a command as root; fails when there is no way to.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
		sudo "$@"
	else
		return 1
	fi
}

# Those of $servers that start when the machine starts.
enabled_servers() {
	local name
	for name in $servers; do
		! systemctl -q is-enabled "$name" 2>/dev/null || echo "$name"
	done
}

# Disables those of $servers that are enabled now, but for those named.
disable_new_servers() {
	local name
	for name in $(enabled_servers); do
		case " $* " in
		*" $name "*) ;;
		*) as_root systemctl -q disable "$name" && echo "$name is installed, and does not start by itself: systemctl enable $name" ;;
		esac
	done
}

install_packages() {
	local missing before policy=/usr/sbin/policy-rc.d made_policy='' result=0
	missing=$(missing_packages)
	[ -n "$missing" ] || return 0
	echo "Installing packages:" $missing
	if ! as_root true; then
		echo "Neither root nor sudo. Please run: apt-get install --no-install-recommends" $(choose_packages $missing) >&2
		return 1
	fi
	before=$(enabled_servers)
	as_root apt-get -q update || echo "apt-get update failed; going on with the package lists that are there" >&2
	# The tests bring their own servers: the packages' ones shall not start.
	if [ ! -e $policy ]; then
		made_policy=yes
		printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null && as_root chmod 755 $policy
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $(choose_packages $missing) || result=1
	[ -z "$made_policy" ] || as_root rm -f $policy
	disable_new_servers $before
	[ $result -eq 0 ] || echo "Packages could not be installed." >&2
	return $result
}

run_child() {
	local result
	set -m # a process group of its own: Ctrl-C comes to us, and we end all of it
	"$@" &
	child=$!
	set +m
	wait "$child"
	result=$?
	child=''
	return $result
}

end_scratch() {
	local result=$? patience=100
	trap - EXIT
	trap '' INT TERM HUP
	if [ -n "${child:-}" ]; then
		kill -TERM -- "-$child" 2>/dev/null
		wait "$child"
		while kill -0 -- "-$child" 2>/dev/null && [ $((patience -= 1)) -gt 0 ]; do # npm, for one, goes on writing for a moment
			sleep 0.1
		done
	fi
	if [ -n "${keep_scratch:-}" ]; then
		echo "Kept: $scratch"
	else
		rm -rf "$scratch" 2>/dev/null || as_root rm -rf "$scratch" # a Debian tree is root's
	fi
	exit $result
}

# /tmp whatever TMPDIR says: paths of Unix sockets must be short.
make_scratch() {
	scratch=$(mktemp -d /tmp/sl.XXXXXX) || exit 1
	chmod 755 "$scratch"
	trap end_scratch EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

must() {
	local what=$1 log=$scratch/$2
	shift 2
	echo "== $what"
	run_child "$@" >"$log" 2>&1 && return 0
	tail -n 60 "$log"
	echo "== FAILED: $what"
	exit 1
}

make_debian() {
	local suite=$1 directory=$2 mirror=$3
	shift 3
	as_root mmdebstrap --variant=apt --skip=cleanup/apt/lists \
		--customize-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
		"$@" "$suite" "$directory" ${mirror:+"$mirror"}
}

# In a mount and process namespace of its own.
in_debian() {
	local directory=$1
	shift
	as_root unshare --mount --pid --fork --kill-child sh -c '
		mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && cp -L /etc/resolv.conf "$1/etc/resolv.conf" && exec chroot "$@"' \
		sh "$directory" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"
}

this_suite() {
	(. /etc/os-release && echo "$VERSION_CODENAME")
}

# Files that git knows or would take; all files where this is no checkout (a release, or no git).
list_source() {
	cd "$top" || return 1
	if [ -e .git ] && command -v git >/dev/null; then
		git -c safe.directory='*' ls-files -z --cached --others --exclude-standard
	else
		find . -type f -not -path './.git/*' -print0
	fi | while IFS= read -r -d '' file; do
		[ ! -f "$file" ] || printf '%s\0' "$file"
	done
}

copy_tree() {
	mkdir -p "$1" || return 1
	list_source | tar -C "$top" --null -T - -cf - | tar -C "$1" -xf -
}

copy_source() {
	copy_tree "$scratch/source" || return 1
	(cd "$scratch/source" && autoreconf -i) >"$scratch/source.log" 2>&1
}

build_in() {
	local directory=$1 targets=$2 target
	shift 2
	mkdir -p "$directory" || return 1
	(
		cd "$directory" || exit 1
		[ -f Makefile ] || "$scratch/source/configure" "$@" || exit 1
		for target in $targets; do # one by one: `all` makes them in a make of its own, and two would write the same files
			make -k -j "$(nproc)" $target || exit 1
		done
	) >"$directory.log" 2>&1
}
