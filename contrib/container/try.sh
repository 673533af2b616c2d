#!/usr/bin/env bash
# Builds the Containerfile by buildah, on a Debian made by mmdebstrap instead of one from a registry, and takes an order through the image.
set -u

usage() {
	cat <<'END'
usage: contrib/container/try.sh [--mirror URL] [--suite NAME] [--keep]
  --mirror URL  where Debian comes from, if not from where mmdebstrap takes it
  --suite NAME  bookworm (the default) or trixie
  --keep        leaves the scratch directory
Takes root. No registry is asked. Redis and PostgreSQL are this machine's programs, private ones; compose.yaml is not started.
END
}

. "$(dirname "$0")/../setup.sh"
packages='buildah mmdebstrap redis-server|valkey-server redis-tools|valkey-tools postgresql util-linux'

mirror='' suite=bookworm
while [ $# -gt 0 ]; do
	case $1 in
	--mirror | --suite)
		[ $# -gt 1 ] || { usage >&2; exit 64; }
		case $1 in --mirror) mirror=$2 ;; *) suite=$2 ;; esac
		shift
		;;
	--keep) keep_scratch=yes ;;
	--help | -h) usage; exit 0 ;;
	*) usage >&2; exit 64 ;;
	esac
	shift
done

in_store() {
	buildah --root "$scratch/store" --runroot "$scratch/run" --storage-driver vfs "$@"
}

make_base() {
	local container
	mmdebstrap --variant=minbase "$suite" "$scratch/base.tar" ${mirror:+"$mirror"} || return 1
	container=$(in_store from scratch) && in_store add "$container" "$scratch/base.tar" / && in_store commit --rm "$container" localhost/base
}

build_image() {
	in_store build --isolation chroot --pull=never --build-arg BUILD=localhost/base --build-arg RUN=localhost/base \
		-f "$scratch/source/contrib/container/Containerfile" -t localhost/sluice "$scratch/source"
}

# The tree of the image, with this machine's /proc and the servers' sockets in it, as the user that it names; and debian/tests/order for the servers.
take_order() {
	local container tree user
	container=$(in_store from localhost/sluice) && tree=$(in_store mount "$container") || return 1
	user=$(in_store inspect --format '{{.OCIv1.Config.User}}' "$container")
	[ "$user" = 10001:10001 ] || { echo "its user is $user"; return 1; }
	printf '#!/bin/sh\nexec chroot --userspec=%s --groups= "%s" sluice "$@"\n' "$user" "$tree" >"$scratch/bin/sluice"
	chmod 755 "$scratch/bin/sluice"
	mkdir -p "$tree$scratch/servers" && mount --bind "$scratch/servers" "$tree$scratch/servers" && mount -t proc proc "$tree/proc" || return 1
	SLUICE_ACCOUNT=none TMPDIR=$scratch/servers PATH=$scratch/bin:$PATH sh "$scratch/source/debian/tests/order"
}

[ "$(id -u)" -eq 0 ] || { echo 'Please run it as root.' >&2; exit 1; }
make_scratch
install_packages || exit 1
mkdir -p "$scratch/bin" "$scratch/servers" && chmod 755 "$scratch/servers"
copy_tree "$scratch/source" || exit 1
must 'a Debian to build on' log make_base
must 'building the image' log build_image
export -f take_order in_store
export scratch
must 'an order through it' log unshare --mount bash -c take_order
cat "$scratch/log"
