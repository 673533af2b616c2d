#!/bin/sh
# Pushes orders into a queue of sluice: push.sh QUEUE < orders.jsonl
#
# One JSON object a line. An order without "id" gets one, so that a push whose answer got lost can be repeated; give the queue
# `mode = ignore` and a unique key, and the second one changes nothing. What Redis has not acknowledged within PUSH_SECONDS (60)
# goes to stdout, and the exit status is 1: nothing is lost, run it again with that. REDIS_URL says where Redis is.
# For hundreds of orders, not for thousands: each is a process of redis-cli.
set -u
queue=${1:?usage: push.sh QUEUE < orders.jsonl}
url=${REDIS_URL:-redis://127.0.0.1:6379}
failed=0

with_id() {
	case $1 in
	*'"id"'*) printf '%s' "$1" ;;
	'{}') printf '{"id": "%s"}' "$(cat /proc/sys/kernel/random/uuid)" ;;
	*) printf '{"id": "%s", %s' "$(cat /proc/sys/kernel/random/uuid)" "${1#?}" ;;
	esac
}

# push ORDER: ends well when Redis has answered with the length of the list. OOM, LOADING and broken connections pass.
push() {
	deadline=$(($(date +%s) + ${PUSH_SECONDS:-60}))
	wait=1
	while :; do
		# The payload by stdin: an argument would be seen by everybody on this host.
		answer=$(printf '%s' "$1" | timeout 5 redis-cli -u "$url" -x LPUSH "$queue" 2>&1)
		case $answer in
		'' | *[!0-9]*) ;;
		*) return 0 ;;
		esac
		case $answer in
		*WRONGTYPE* | *NOAUTH* | *WRONGPASS* | *NOPERM*) break ;; # time does not heal these
		esac
		[ $(($(date +%s) + wait)) -le "$deadline" ] || break
		echo "not acknowledged, trying again: $answer" >&2
		sleep $wait
		wait=$((wait < 4 ? 2 * wait : 5))
	done
	echo "giving up: $answer" >&2
	return 1
}

while IFS= read -r line; do
	order=$(with_id "$line")
	[ $failed -ne 0 ] || push "$order" || failed=1
	[ $failed -eq 0 ] || printf '%s\n' "$order"
done
exit $failed
