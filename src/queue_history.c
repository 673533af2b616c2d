/* Redis fell back further than the ledger remembers: of the orders that wait, those before the ledger's memory may have been stored already. The queue
 * asks the operator, and does what he chose with just these. */
#include "queue_inner.h"

#include <stdio.h>

static void
ask(struct queue *q, uint64_t doubtful)
{
	q->choice = HISTORY_ASK;
	q->doubt_from = q->settled;
	q->doubt_memory = q->plan.oldest;
	block_set(q, BLOCK_HISTORY, "Redis came back at position %llu, but the ledger remembers only from %llu on: the next %llu orders may have been "
	    "stored already. Choose: `sluice accept` stores them, perhaps a second time; `sluice skip` makes dead letters of them, to be looked at and retried",
	    (unsigned long long)q->settled, (unsigned long long)q->plan.oldest, (unsigned long long)doubtful);
	queue_restart(q, q->block_ms);
}

bool
history_is_answered(struct queue *q)
{
	uint64_t doubtful = q->plan.oldest - q->settled;
	ASSERT(q->settled < q->plan.oldest);
	if (doubtful > q->backlog)
		doubtful = q->backlog; /* what comes behind these was pushed since */
	bool answered = q->choice != HISTORY_ASK && q->settled >= q->doubt_from && q->plan.oldest <= q->doubt_memory;
	if (!answered && doubtful > 0) {
		ask(q, doubtful);
		return false;
	}
	if (!answered)
		q->choice = HISTORY_ACCEPT; /* nobody has to choose what happens to nothing */
	q->doubt_end = q->settled + doubtful;
	q->history_ended = q->doubt_end < q->plan.oldest;
	queue_tell(q, LOG_LEVEL_WARNING, "Redis came back at position %llu, but the ledger remembers only from %llu on: %llu orders in doubt are %s",
	    (unsigned long long)q->settled, (unsigned long long)q->plan.oldest, (unsigned long long)doubtful,
	    q->choice == HISTORY_SKIP ? "skipped" : "stored");
	return true;
}

void
history_apply(struct queue *q, struct window *w)
{
	ASSERT(q->choice != HISTORY_ASK && window_end(w) <= q->doubt_end);
	if (q->choice == HISTORY_ACCEPT) {
		w->untracked = true; /* the ring is full of what may be settled once more */
		return;
	}
	struct reject r = { .message = "Redis fell back further than the ledger remembers: this order may have been stored already; skipped by the operator" };
	snprintf(r.class, sizeof r.class, "%s", db_class_name(DB_UNKNOWN));
	for (r.index = 0; r.index < w->count; r.index++)
		window_reject(w, &r);
	w->partial = false;
	window_set_state(w, WINDOW_COMMITTED);
}

void
history_pump(struct queue *q)
{
	if (q->choice == HISTORY_ASK || q->settled < q->doubt_end)
		return;
	q->choice = HISTORY_ASK;
	if (!q->history_ended)
		return;
	queue_tell(q, LOG_LEVEL_WARNING, "nothing that waits is known to the ledger any more: taking a new generation");
	q->rewritten = true;
	queue_restart(q, 0);
}

void
history_cut(struct queue *q, uint64_t at)
{
	q->doubt_end = at;
	q->history_ended = true;
}

bool
queue_choose(struct queue *q, uint64_t now, enum history_choice choice)
{
	ASSERT(choice != HISTORY_ASK);
	if (q->block != BLOCK_HISTORY)
		return false;
	if (q->doubted != 0 && choice == HISTORY_SKIP)
		return false;
	queue_tell(q, LOG_LEVEL_WARNING, "the operator has chosen: what is in doubt is %s", choice == HISTORY_SKIP ? "skipped" : "stored");
	if (q->doubted != 0)
		q->accepted = q->doubted;
	else
		q->choice = choice;
	q->doubted = 0;
	block_clear(q);
	q->lease_at = now;
	queue_tick(q, now);
	return true;
}
