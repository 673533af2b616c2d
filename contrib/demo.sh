#!/usr/bin/env bash
# One command on a fresh Debian: installs what is missing, builds a copy of this tree, starts private servers in a temporary directory, and fires a
# burst of orders through sluice. Leaves nothing running and no files behind.
set -u

usage() {
	cat <<'END'
usage: contrib/demo.sh [-n ORDERS] [--only postgresql|mysql] [--keep]
  -n ORDERS      orders for each database (default 200000)
  --only DRIVER  one database only
  --keep         keeps everything running afterwards, to look around; Ctrl-C ends it
END
}

. "$(dirname "$0")/setup.sh"

build_demo() {
	copy_source && build_in "$scratch/build" all && cc -O2 -o "$scratch/burst" "$top/contrib/demo/burst.c"
}

for word; do
	case $word in
	-n | --only | --keep | postgresql | mysql | [1-9]*) ;;
	--help | -h) usage; exit 0 ;;
	*) usage >&2; exit 64 ;;
	esac
done
install_packages || exit 1
make_scratch
echo 'Building ...'
if ! run_child build_demo; then
	tail -n 60 "$scratch"/*.log
	echo 'The build failed.'
	exit 1
fi
export SLUICE_TMP=$scratch PYTHONDONTWRITEBYTECODE=1
run_child /usr/bin/python3 "$top/contrib/demo/demo.py" --build "$scratch/build" --burst "$scratch/burst" "$@"
