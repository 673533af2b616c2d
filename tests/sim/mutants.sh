#!/bin/sh
# Proves that the simulator sees: patches one mistake at a time into a copy of the queue's sources and expects each to be found.
#
#     tests/sim/mutants.sh [SCHEDULES]      # of each kind; 100000 in all unless given
set -eu
cd "$(dirname "$0")/../.."
count=${1:-100000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
missed=0
kind=

# mutant NAME FILE OLD NEW: replaces one exact piece of text, which must be there once
mutant() {
	rm -rf "$work/src"
	cp -r src "$work/src"
	python3 - "$work/src/$2" "$3" "$4" <<'PATCH'
import sys
path, old, new = sys.argv[1:]
text = open(path).read()
if text.count(old) != 1:
    sys.exit(f"mutants.sh: {path}: this text is there {text.count(old)} times, not once:\n{old}")
open(path, "w").write(text.replace(old, new))
PATCH
	set -- "$1"
	for part in queue queue_flow queue_ring queue_store task reconcile window arena buf check; do
		set -- "$@" "$work/src/$part.c"
	done
	name=$1
	shift
	${CC:-gcc} -std=gnu11 -O2 -w -I"$work/src" -o "$work/sim" tests/sim/*.c "$@" -lm
	if "$work/sim" ${kind:+--kind "$kind"} --count "$count" --jobs 2 >"$work/out" 2>&1; then
		echo "MISSED   $name"
		missed=$((missed + 1))
	else
		echo "found    $name: $(grep -am1 -e FAILED -e bug: "$work/out")"
	fi
}

mutant "settle before commit" queue_flow.c \
	'if (w->first != at || w->state != WINDOW_COMMITTED ||' 'if (w->first != at || w->state == WINDOW_READ ||'
mutant "no check of the epoch" task.c \
	'if (a->affected == 0)' 'if (0)'
mutant "no look into the ledger after a lost COMMIT" task.c \
	'end(t, doubt ? TASK_DOUBT : TASK_FAILED);' 'end(t, TASK_FAILED);'
mutant "a lost COMMIT counts as done" task.c \
	'end(t, doubt ? TASK_DOUBT : TASK_FAILED);' 'end(t, doubt ? TASK_DONE : TASK_FAILED);'
mutant "ledger row outside of the transaction" task.c \
	'[TASK_STORE] = { 3, { STATEMENT_LEDGER, STATEMENT_ROWS, STATEMENT_COMMIT }, true }' \
	'[TASK_STORE] = { 3, { STATEMENT_ROWS, STATEMENT_COMMIT, STATEMENT_LEDGER }, true }'
mutant "no guard" queue_flow.c \
	'for (unsigned i = 0; s->remove > 0 && i < 4; i++)' 'for (unsigned i = 0; i < 0; i++)'
mutant "an unsettled ledger row is overwritten" queue_ring.c \
	'(is_empty(row) || row->end <= q->settled)' 'true'
mutant "a whole window or nothing is matched" queue_flow.c \
	'matched = window_match(w, row->hashes, from, row->count);' \
	'matched = window_match(w, row->hashes, from, row->count); matched = matched == want ? matched : 0;'
mutant "dead history stays in the ledger" queue_flow.c \
	'q->cuts[i] = (struct ledger_cut){ .slot = row->slot, .first = row->first, .count = keep };' \
	'q->cuts[i] = (struct ledger_cut){ .slot = row->slot, .first = row->first, .count = keep + row->count };'
kind=1 # the two that only a fall-back to an old copy shows
mutant "the oldest row is overwritten while an empty one is in use" queue_ring.c \
	'room.usable = empty > 0 ? empty_spare : room.spare;' 'room.usable = room.spare;'
mutant "no margin of rows that may be survivors" reconcile.c \
	'from = firsts[plan_margin(n) - 1];' 'from = firsts[0];'
kind=
mutant "the last rows are not kept for the oldest window" queue_ring.c \
	'room.spare > margin ? room.spare - margin : 0' 'room.spare'
mutant "what was read is trusted though Redis was emptied" queue_flow.c \
	'} else if (a->disowned) {' '} else if (0) {'
mutant "a session in doubt is lent again" task.c \
	't->error.lost |= doubt || t->asked == STATEMENT_ROLLBACK;' ';'

[ "$missed" -eq 0 ] || { echo "$missed missed"; exit 1; }
