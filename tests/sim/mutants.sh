#!/bin/sh
# Proves that the simulator sees: puts one mistake at a time into the queue's sources and expects each to be found. The number is the kind of schedule
# that shows it soonest (see enum kind in sim.h), with a seed to begin at where such schedules are rare.
#
#     tests/sim/mutants.sh [SCHEDULES]      # for each mistake; 100000 unless given
set -eu
cd "$(dirname "$0")/../.."
count=${1:-100000}
case $count in
'' | *[!0-9]*) echo 'usage: tests/sim/mutants.sh [SCHEDULES]   # for each mistake; 100000 unless given' >&2; exit 64 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
missed=0
compile="${CC:-gcc} -std=gnu11 -O2 -w"

# All that the simulator is made of, sound; a mutant replaces one object of it.
mkdir "$work/objects" "$work/src"
for part in queue queue_block queue_flow queue_history queue_ring queue_store task reconcile window arena buf check; do
	$compile -c -o "$work/objects/$part.o" "src/$part.c"
done
for part in tests/sim/*.c; do
	$compile -Isrc -c -o "$work/objects/sim_$(basename "$part" .c).o" "$part"
done

# Without a mistake it finds nothing; else all that is found below would say nothing.
$compile -o "$work/sim" "$work"/objects/*.o -lm
"$work/sim" --count 1000 --jobs 2 >"$work/out" 2>&1 || { cat "$work/out"; echo 'mutants.sh: the simulator finds a mistake where none was put in' >&2; exit 1; }

# mutant "KIND [OPTION...]" NAME FILE OLD NEW: replaces one exact piece of text, which must be there once
mutant() {
	rm -rf "$work/mutant"
	cp -r "$work/objects" "$work/mutant"
	python3 - "src/$3" "$work/src/$3" "$4" "$5" <<'PATCH'
import sys
path, copy, old, new = sys.argv[1:]
text = open(path).read()
if text.count(old) != 1:
    sys.exit(f"mutants.sh: {path}: this text is there {text.count(old)} times, not once:\n{old}")
open(copy, "w").write(text.replace(old, new))
PATCH
	$compile -Isrc -c -o "$work/mutant/${3%.c}.o" "$work/src/$3"
	$compile -o "$work/sim" "$work"/mutant/*.o -lm
	# shellcheck disable=SC2086 # options are words
	if "$work/sim" --kind $1 --count "$count" --jobs 2 --failures 1 >"$work/out" 2>&1; then
		echo "MISSED   $2"
		missed=$((missed + 1))
	else
		echo "found    $2: $(grep -am1 -e FAILED -e bug: "$work/out")"
	fi
}

mutant 0 "settle before commit" queue_flow.c \
	'if (w->state != WINDOW_COMMITTED ||' 'if (w->state == WINDOW_READ ||'
mutant 0 "no check of the epoch" task.c \
	'if (affected == 0)' 'if (0)'
mutant 0 "no look into the ledger after a lost COMMIT" task.c \
	'end(t, doubt ? TASK_DOUBT : TASK_FAILED);' 'end(t, TASK_FAILED);'
mutant 0 "a lost COMMIT counts as done" task.c \
	'end(t, doubt ? TASK_DOUBT : TASK_FAILED);' 'end(t, doubt ? TASK_DONE : TASK_FAILED);'
mutant 0 "ledger row outside of the transaction" task.c \
	'[TASK_STORE] = { 4, { STATEMENT_BATCH, STATEMENT_LEDGER, STATEMENT_ROWS, STATEMENT_COMMIT }, true }' \
	'[TASK_STORE] = { 4, { STATEMENT_BATCH, STATEMENT_ROWS, STATEMENT_COMMIT, STATEMENT_LEDGER }, true }'
mutant 0 "a batch that commits and was lost counts as failed" task.c \
	'bool unheard = a->error.lost && t->asked == STATEMENT_BATCH && t->commits;' 'bool unheard = false;'
mutant 0 "COMMIT is said behind a batch that commits" task.c \
	'return t->commits;' 'return false;'
mutant 0 "BEGIN before a batch that commits" task.c \
	's->begin = programs[t->kind].transaction && !t->in_transaction && !s->commit;' \
	's->begin = programs[t->kind].transaction && !t->in_transaction;'
mutant 3 "no guard" queue_flow.c \
	'for (unsigned i = 0; s->remove > 0 && i < 4; i++)' 'for (unsigned i = 0; i < 0; i++)'
mutant "3 --seed 45000" "an unsettled ledger row is overwritten" queue_ring.c \
	'rank(&q->ring, &q->ring.full, q->settled, NO_SLOT)' 'q->ring.full.n'
mutant 1 "a whole window or nothing is matched" queue_flow.c \
	'matched = window_match(w, row->hashes, from, row->count);' \
	'matched = window_match(w, row->hashes, from, row->count); matched = matched == want ? matched : 0;'
mutant 1 "dead history stays in the ledger" queue_flow.c \
	'q->cuts[i] = (struct ledger_cut){ .slot = row->slot, .first = row->first, .count = keep };' \
	'q->cuts[i] = (struct ledger_cut){ .slot = row->slot, .first = row->first, .count = keep + row->count };'
mutant "1 --seed 413000" "the oldest row is overwritten while an empty one is in use" queue_ring.c \
	'ring->n_empty > 0 ? empty : spare' 'spare'
mutant "1 --seed 113000" "no margin of rows that may be survivors" reconcile.c \
	'from = firsts[plan_margin(n) - 1];' 'from = firsts[0];'
mutant 1 "an operator's choice holds for all that waits" queue_history.c \
	'q->doubt_end = q->settled + doubtful;' 'q->doubt_end = q->settled + q->backlog;'
mutant "3 --seed 45000" "the last rows are not kept for the oldest window" queue_ring.c \
	'spare > margin ? spare - margin : 0' 'spare'
mutant 4 "what was read is trusted though Redis was emptied" queue_flow.c \
	'} else if (a->disowned) {' '} else if (0) {'
mutant 0 "the ledger row does not list what was refused behind it" task.c \
	't->window->n_rejects > t->listed' 'false'
mutant 0 "a transaction goes on, and SQL begins with its rows anew" task.c \
	's->again = true;' 's->again = false;'
mutant 0 "a session in doubt is lent again" task.c \
	't->error.lost |= doubt || t->asked == STATEMENT_ROLLBACK;' ';'
mutant "0 --queues 3" "a transaction is left open for the queue that borrows the session next" task.c \
	'if (!t->in_transaction)' 'if (true)'
mutant "0 --queues 3" "a blocked queue blocks all of its process" queue.c \
	'(q->block != BLOCK_NONE && q->now < q->block_until);' \
	'({ static const struct queue *ill; ill = q->block != BLOCK_NONE && q->now < q->block_until ? q : ill == q ? NULL : ill; ill != NULL; });'
mutant 0 "a lent session stays counted as wanted" queue.c \
	'q->wanted -= taken ? least(q->wanted, 1) : q->wanted;' ''
mutant 0 "a plain stop where the list goes to another ledger" queue.c \
	'q->ending = HANDS_OVER;' 'q->ending = STOPS;'
mutant 0 "nobody looks whether Redis has heard of the clean end" queue.c \
	'q->handed_over &= told;' ''
mutant 0 "a list is left clean while an order of it is stored and not removed" queue.c \
	'&& !flow_is_planned(q) && !q->cutting && list_empty(&q->windows)' '&& !q->cutting && list_empty(&q->windows)'

mutant "0 --seed 32000" "what was accepted once is accepted for ever" queue.c \
	'q->doubted = a->epoch;' 'q->doubted = a->epoch; q->accepted = q->accepted != 0 ? a->epoch : 0;'
mutant 0 "a daemon of another ledger takes over what is in doubt" queue.c \
	'q->doubted = a->epoch;' 'q->doubted = q->accepted = a->epoch;'

[ "$missed" -eq 0 ] || { echo "$missed missed"; exit 1; }
