#!/usr/bin/env bash
# Kill runs: SIGKILL of the daemon while orders, some of them bad, come in, half of the times at a random moment, half at a step (before, in the
# middle of or after what it sends, or when an answer comes); then an audit by SQL. Installs, builds and starts all it needs; leaves nothing running.
set -u

. "$(dirname "$0")/../contrib/setup.sh"

case ${1-} in
--help | -h)
	echo 'usage: tests/soak.sh [--kills N] [--orders N] [--seed N] [--only postgresql|mysql] [--mode insert|ignore] [--no-steps] [--report FILE]'
	exit 0
	;;
esac
build_soak() {
	copy_source && build_in "$scratch/build" all
}
install_packages || exit 1
make_scratch
echo 'Building ...'
if ! run_child build_soak; then
	tail -n 60 "$scratch"/*.log
	exit 1
fi
export SLUICE_TMP=$scratch PYTHONDONTWRITEBYTECODE=1
run_child /usr/bin/python3 "$top/tests/soak.py" --build "$scratch/build" "$@"
