/* What must hold, whatever happens. */
#include "sim.h"

#include <string.h>

#include "reconcile.h"

void
audit_row(struct lane *lane, uint16_t n)
{
	struct world *w = lane->world;
	struct order *o = &lane->orders[n];
	trace(w, "%s: order %u is committed", lane->name, n);
	if (o->poison != POISON_NONE)
		fail(w, "%s: order %u is poison and was committed", lane->name, n);
	w->totals->rows++;
	if (o->rows++ == 0)
		return;
	if (!w->twice_allowed && !o->accepted && !(o->doubtful && lane->choice == HISTORY_ACCEPT))
		fail(w, "%s: order %u was committed twice", lane->name, n);
	w->totals->allowed_twice++;
}

void
audit_overwrite(struct lane *lane, const struct sql_row *old)
{
	struct world *w = lane->world;
	if (w->kind == KIND_FALL_BACK || !lane->redis.known || old->count == 0 || strcmp(old->generation, lane->redis.generation) != 0)
		return; /* after a fall-back an older position may be what a transaction under way believed in */
	if (old->first + old->count > lane->redis.settled)
		fail(w, "%s: the ledger row of positions %llu to %llu is overwritten, settled is %llu", lane->name, (unsigned long long)old->first,
		    (unsigned long long)(old->first + old->count - 1), (unsigned long long)lane->redis.settled);
}

void
audit_remove(struct lane *lane, uint16_t n, const uint16_t *dead, uint32_t n_dead)
{
	for (uint32_t i = 0; i < n_dead; i++) {
		if (dead[i] == n)
			return;
	}
	if (lane->orders[n].rows == 0 && !(lane->world->kind == KIND_RESTORE && lane->orders[n].lost))
		fail(lane->world, "%s: order %u is removed and was never committed", lane->name, n);
}

/* Every session of a pool is idle, or lent to one worker that works with it. */
static void
audit_pool(struct world *w, const struct daemon *d)
{
	unsigned lent[LANES_MAX] = { 0 };
	EACH(d->sessions, w->pool_size, s) {
		if (*s != NULL && ((*s)->owner != d || !(*s)->used))
			fail(w, "%s has a session in its pool that is not its own", d->name);
		if (*s != NULL && (*s)->worker != NULL)
			lent[(*s)->worker - d->workers]++;
	}
	EACH(d->workers, w->n_lanes, k) {
		struct queue_view look;
		queue_look(k->queue, &look);
		if (lent[k - d->workers] != k->held || look.sessions != k->held)
			fail(w, "%s has %u sessions and works with %u: one is lost from the pool", k->name, k->held, look.sessions);
		if (look.wanted != k->wanted)
			fail(w, "%s waits for %u sessions, and the pool knows of %u", k->name, look.wanted, k->wanted);
	}
}

void
audit_step(struct world *w)
{
	EACH(w->daemons, w->n_daemons, d) {
		if (!d->alive)
			continue;
		EACH(d->workers, w->n_lanes, k)
			queue_check(k->queue);
		audit_pool(w, d);
	}
}

/* How often is it a dead letter? */
static unsigned
dead_letters(const struct lane *lane, uint32_t n)
{
	unsigned count = lane->orders[n].dead;
	for (uint32_t i = 0; i < lane->redis.n_dead; i++)
		count += lane->redis.dead[i] == n;
	return count;
}

void
audit_end(struct lane *lane)
{
	struct world *w = lane->world;
	for (uint32_t i = 0; i < lane->n_orders; i++) {
		const struct order *o = &lane->orders[i];
		unsigned dead = dead_letters(lane, i), all = o->rows + dead;
		if (dead > 0 && o->poison == POISON_NONE && !(o->doubtful && lane->choice == HISTORY_SKIP))
			fail(w, "%s: order %u is good and a dead letter", lane->name, i);
		if (all == 0 && !o->lost)
			fail(w, "%s: order %u is nowhere", lane->name, i);
		if (all > 1 && !w->twice_allowed && !o->doubtful && !o->accepted)
			fail(w, "%s: order %u is %u times a row and %u times a dead letter", lane->name, i, o->rows, dead);
	}
}

/* The smallest position from which on the ring surely remembers everything; 0: it was never full. */
static uint64_t
remembered(const struct lane *lane)
{
	uint64_t firsts[RING_MAX];
	const struct sql_row *ring = lane->ledgers[lane->redis.ledger].ring;
	uint32_t n = lane->limits.ledger_rows;
	ASSERT(n > 0);
	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(ring[i].generation, lane->redis.generation) != 0)
			return 0;
		uint32_t at = i;
		for (; at > 0 && firsts[at - 1] > ring[i].first; at--)
			firsts[at] = firsts[at - 1];
		firsts[at] = ring[i].first;
	}
	return firsts[plan_margin(n) - 1];
}

void
audit_doubt(struct lane *lane)
{
	uint64_t from = remembered(lane);
	for (uint32_t i = 0; lane->choice != HISTORY_ASK && i < lane->redis.n_list && lane->redis.settled + i < from; i++)
		lane->orders[lane->redis.list[i]].doubtful = true;
}

void
audit_risk(struct lane *lane)
{
	ASSERT(lane->redis.epoch < EPOCHS_MAX);
	if (!lane->consent[lane->redis.epoch])
		fail(lane->world, "%s: another ledger is done without, and the operator was not asked", lane->name);
	lane->world->totals->risks++;
	trace(lane->world, "%s: %u orders may come twice", lane->name, lane->redis.n_list);
	for (uint32_t i = 0; i < lane->redis.n_list; i++)
		lane->orders[lane->redis.list[i]].accepted = true;
}

void
audit_history(struct lane *lane)
{
	const struct sql_row *ring = lane->ledgers[lane->redis.ledger].ring;
	uint32_t behind = 0; /* windows that began behind the place where Redis is now */
	for (uint32_t i = 0; i < lane->limits.ledger_rows; i++)
		behind += strcmp(ring[i].generation, lane->redis.generation) == 0 && ring[i].first > lane->redis.settled;
	struct world *w = lane->world;
	if (w->kind != KIND_FALL_BACK || w->totals->fall_backs == 0)
		fail(w, "%s: paused for forgotten history, but Redis never fell back", lane->name);
	if (behind <= lane->limits.ledger_rows * 3 / 4)
		fail(w, "%s: paused for forgotten history, though Redis fell back only %u windows of %u", lane->name, behind, lane->limits.ledger_rows);
}
