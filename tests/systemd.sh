#!/usr/bin/env bash
# Starts a Debian 12 or 13 of its own with a real systemd, in a container of systemd's, with Redis, PostgreSQL, MariaDB and our package, and does there
# what an operator does with the service: see tests/systemd/trial.
set -u

usage() {
	cat <<'END'
usage: tests/systemd.sh [--suite NAME] [--mirror URL] [--package FILE] [--keep]
  --suite NAME    bookworm or trixie; none: this machine's Debian
  --mirror URL    where Debian comes from, if not from where mmdebstrap takes it
  --package FILE  a sluice_*.deb for that Debian; none: it is built first, by contrib/debian.sh
  --keep          leaves the machine's tree
Takes root, 2 GB in /tmp, 3 GB for another Debian than this machine's, and some minutes. The machine has no network but its own
loopback. The last line is "N passed, N failed".
END
}

. "$(dirname "$0")/../contrib/setup.sh"
packages='mmdebstrap systemd-container util-linux'
START_SECONDS=600

suite=$(this_suite) mirror='' package=''
while [ $# -gt 0 ]; do
	case $1 in
	--suite | --mirror | --package)
		[ $# -gt 1 ] || { usage >&2; exit 64; }
		case $1 in --suite) suite=$2 ;; --mirror) mirror=$2 ;; *) package=$(realpath -- "$2") ;; esac
		shift
		;;
	--keep) keep_scratch=yes ;;
	--help | -h) usage; exit 0 ;;
	*) usage >&2; exit 64 ;;
	esac
	shift
done

# Into $scratch/package: here, or, for another Debian than this machine's, in a tree of that one.
build_package() {
	if [ "$suite" = "$(this_suite)" ]; then
		"$top/contrib/debian.sh" --no-trial --output "$scratch/package"
	else
		copy_tree "$scratch/sluice" &&
			make_debian "$suite" "$scratch/builder" "$mirror" --include=ca-certificates --customize-hook="copy-in $scratch/sluice /" &&
			in_debian "$scratch/builder" /sluice/contrib/debian.sh --no-trial --output /package &&
			cp -r "$scratch/builder/package" "$scratch"
	fi
}

make_machine() {
	make_debian "$suite" "$scratch/tree" "$mirror" \
		--include=systemd,systemd-sysv,dbus,redis-server,redis-tools,postgresql,mariadb-server,procps \
		--customize-hook="copy-in $package /root" \
		--customize-hook='chroot "$1" sh -c "apt-get install -y --no-install-recommends /root/sluice_*.deb"' \
		--customize-hook="copy-in $top/etc/redis.conf /etc/redis" \
		--customize-hook="copy-in $top/tests/systemd/trial /usr/local/sbin" \
		--customize-hook="copy-in $top/tests/systemd/trial.service /etc/systemd/system" \
		--customize-hook='chroot "$1" systemctl enable trial' \
		--customize-hook='rm "$1/usr/sbin/policy-rc.d"'
}

# Until it powers itself off.
start_machine() {
	as_root timeout --foreground --kill-after=10 "$START_SECONDS" unshare --mount --pid --fork --kill-child --mount-proc \
		systemd-nspawn --quiet --register=no --keep-unit --private-network --console=pipe --directory="$scratch/tree" --boot
}

as_root true || { echo 'Please run it as root.' >&2; exit 1; }
make_scratch
install_packages || exit 1
if [ -z "$package" ]; then
	must 'the package' package.log build_package
	package=$(find "$scratch/package" -name 'sluice_*.deb')
fi
must 'making the machine' tree.log make_machine
must 'its first start' first.log start_machine
must 'its second start' second.log start_machine
cat "$scratch/tree/trial.log"
awk '{ passed += $1; failed += $3 } END { printf "%d passed, %d failed\n", passed, failed; exit !(NR == 2 && passed > 0 && failed == 0) }' \
	"$scratch/tree/trial.counts"
