#!/usr/bin/env bash
# Builds a Debian package of a copy of this tree, looks at it with lintian, and installs and tries it in a Debian tree of its own.
set -u

usage() {
	cat <<'END'
usage: contrib/debian.sh [--output DIRECTORY] [--mirror URL] [--no-trial] [--keep]
  --output DIRECTORY  puts the packages there; otherwise they are only tried
  --mirror URL        where the trial's Debian comes from, if not from where mmdebstrap takes it
  --no-trial          builds and looks only; then root is needed for missing packages alone
  --keep              leaves the scratch directory with the build and the logs
Takes root or sudo. This machine gets the packages that a build needs, nothing else; sluice itself is installed in the trial's tree only.
END
}

. "$(dirname "$0")/setup.sh"
# what debian/control asks for, alternatives as they are there
build_packages=$(sed -n '/^Build-Depends:/,/^[^ ]*:/s/^ \([a-z0-9][^,<]*\).*/\1/p' "$top/debian/control" | grep -v '^dh-sequence-' | tr -d ' ')
packages="build-essential debhelper lintian mmdebstrap autopkgtest $build_packages"

output='' mirror='' trial=yes
while [ $# -gt 0 ]; do
	case $1 in
	--output | --mirror)
		[ $# -gt 1 ] || { usage >&2; exit 64; }
		case $1 in --output) output=$2 ;; *) mirror=$2 ;; esac
		shift
		;;
	--no-trial) trial='' ;;
	--keep) keep_scratch=yes ;;
	--help | -h) usage; exit 0 ;;
	*) usage >&2; exit 64 ;;
	esac
	shift
done

build() {
	cd "$scratch/sluice" && DEB_BUILD_OPTIONS="parallel=$(nproc)" dpkg-buildpackage -us -uc -b
}

# Nothing above info; the rest is shown.
look() {
	lintian -i -I --pedantic --allow-root --fail-on error,warning "$scratch"/sluice_*.changes
}

# A tree, and in it what debian/tests says; in a mount and process namespace of its own, so that nothing stays mounted or running.
try_package() {
	# autopkgtest takes its lists of packages
	make_debian "$(this_suite)" "$scratch/tree" "$mirror" --include=apt-utils || return 1
	as_root unshare --mount --pid --fork --kill-child sh -c '
		mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && shift &&
		exec autopkgtest --no-built-binaries --timeout-factor=3 "$@"' sh "$scratch/tree" \
		"$scratch"/sluice_*.deb "$scratch/sluice/" -- chroot "$scratch/tree"
}

make_scratch
install_packages || exit 1
copy_tree "$scratch/sluice" || exit 1
must 'building the package' build.log build
must 'lintian' lintian.log look
cat "$scratch/lintian.log"
[ -z "$trial" ] || must 'installing and trying it' trial.log try_package
[ -z "$trial" ] || sed -n '/ summary$/,/^autopkgtest.*resetting/p' "$scratch/trial.log"
if [ -n "$output" ]; then
	mkdir -p "$output" && cp "$scratch"/sluice*.deb "$scratch"/sluice_*.changes "$scratch"/sluice_*.buildinfo "$output" || exit 1
fi
dpkg-deb -I "$(find "$scratch" -maxdepth 1 -name 'sluice_*.deb')" | grep -E '^ (Package|Version|Depends|Installed-Size)'
