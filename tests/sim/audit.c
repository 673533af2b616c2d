/* What must hold, whatever happens. */
#include "sim.h"

#include <string.h>

#include "reconcile.h"

void
audit_row(struct world *w, uint16_t n)
{
	struct order *o = &w->orders[n];
	trace(w, "order %u is committed", n);
	if (o->poison != POISON_NONE)
		fail(w, "order %u is poison and was committed", n);
	w->totals->rows++;
	if (o->rows++ == 0)
		return;
	if (!w->twice_allowed && !(o->doubtful && w->choice == HISTORY_ACCEPT))
		fail(w, "order %u was committed twice", n);
	w->totals->allowed_twice++;
}

void
audit_overwrite(struct world *w, const struct sql_row *old)
{
	if (w->kind == KIND_FALL_BACK || !w->redis.known || old->count == 0 || strcmp(old->generation, w->redis.generation) != 0)
		return; /* after a fall-back an older position may be what a transaction under way believed in */
	if (old->first + old->count > w->redis.settled)
		fail(w, "the ledger row of positions %llu to %llu is overwritten, settled is %llu", (unsigned long long)old->first,
		    (unsigned long long)(old->first + old->count - 1), (unsigned long long)w->redis.settled);
}

void
audit_remove(struct world *w, uint16_t n, const uint16_t *dead, uint32_t n_dead)
{
	for (uint32_t i = 0; i < n_dead; i++) {
		if (dead[i] == n)
			return;
	}
	if (w->orders[n].rows == 0 && !(w->kind == KIND_RESTORE && w->orders[n].lost))
		fail(w, "order %u is removed and was never committed", n);
}

void
audit_step(struct world *w)
{
	for (unsigned i = 0; i < w->n_daemons; i++) {
		if (w->daemons[i].queue != NULL)
			queue_check(w->daemons[i].queue);
	}
}

/* How often is it a dead letter? */
static unsigned
dead_letters(const struct world *w, uint32_t n)
{
	unsigned count = w->orders[n].dead;
	for (uint32_t i = 0; i < w->redis.n_dead; i++)
		count += w->redis.dead[i] == n;
	return count;
}

void
audit_end(struct world *w)
{
	for (uint32_t i = 0; i < w->n_orders; i++) {
		const struct order *o = &w->orders[i];
		unsigned dead = dead_letters(w, i), all = o->rows + dead;
		if (dead > 0 && o->poison == POISON_NONE && !(o->doubtful && w->choice == HISTORY_SKIP))
			fail(w, "order %u is good and a dead letter", i);
		if (all == 0 && !o->lost)
			fail(w, "order %u is nowhere", i);
		if (all > 1 && !w->twice_allowed && !o->doubtful)
			fail(w, "order %u is %u times a row and %u times a dead letter", i, o->rows, dead);
	}
}

/* The smallest position from which on the ring surely remembers everything; 0: it was never full. */
static uint64_t
remembered(const struct world *w)
{
	uint64_t firsts[RING_MAX];
	uint32_t n = w->limits.ledger_rows;
	ASSERT(n > 0);
	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(w->ring[i].generation, w->redis.generation) != 0)
			return 0;
		uint32_t at = i;
		for (; at > 0 && firsts[at - 1] > w->ring[i].first; at--)
			firsts[at] = firsts[at - 1];
		firsts[at] = w->ring[i].first;
	}
	return firsts[plan_margin(n) - 1];
}

void
audit_doubt(struct world *w)
{
	uint64_t from = remembered(w);
	for (uint32_t i = 0; w->choice != HISTORY_ASK && i < w->redis.n_list && w->redis.settled + i < from; i++)
		w->orders[w->redis.list[i]].doubtful = true;
}

void
audit_history(struct world *w)
{
	uint32_t behind = 0; /* windows that began behind the place where Redis is now */
	for (uint32_t i = 0; i < w->limits.ledger_rows; i++)
		behind += strcmp(w->ring[i].generation, w->redis.generation) == 0 && w->ring[i].first > w->redis.settled;
	if (w->kind != KIND_FALL_BACK || w->totals->fall_backs == 0)
		fail(w, "paused for forgotten history, but Redis never fell back");
	if (behind <= w->limits.ledger_rows * 3 / 4)
		fail(w, "paused for forgotten history, though Redis fell back only %u windows of %u", behind, w->limits.ledger_rows);
}
