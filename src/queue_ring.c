/* The ledger ring of a queue: which row a new window may overwrite, and what the ring says after a takeover. */
#include "queue_inner.h"

#include <stdlib.h>

static bool
is_empty(const struct ring_row *row)
{
	return row->first == row->end;
}

/* May it be overwritten without forgetting what is not settled? */
static bool
is_spare(const struct ring_row *row, uint64_t settled)
{
	return !row->busy && (is_empty(row) || row->end <= settled);
}

/* Adds a row to what is counted, or takes it out again. */
static void
count(struct ring_room *room, const struct ring_row *row, unsigned one)
{
	bool spare = is_spare(row, room->settled);
	room->rows += row->end != NEVER ? one : 0;
	room->busy += row->busy && row->end != NEVER ? one : 0;
	room->empty += is_empty(row) ? one : 0;
	room->spare += spare ? one : 0;
	room->empty_spare += spare && is_empty(row) ? one : 0;
}

static void
count_anew(struct queue *q)
{
	q->room = (struct ring_room){ .settled = q->settled };
	for (size_t i = 0; i < q->n_ring; i++)
		count(&q->room, &q->ring[i], 1);
}

void
ring_check(const struct queue *q)
{
	struct ring_room there = { .settled = q->room.settled };
	for (size_t i = 0; i < q->n_ring; i++)
		count(&there, &q->ring[i], 1);
	ASSERT(there.rows == q->room.rows && there.busy == q->room.busy && there.empty == q->room.empty);
	ASSERT(there.spare == q->room.spare && there.empty_spare == q->room.empty_spare);
}

void
ring_set(struct queue *q, uint32_t slot, struct ring_row row)
{
	ASSERT(slot < q->n_ring);
	count(&q->room, &q->ring[slot], -1u);
	q->ring[slot] = row;
	count(&q->room, &q->ring[slot], 1);
}

void
ring_set_busy(struct queue *q, uint32_t slot, bool busy)
{
	ASSERT(q->ring[slot].busy != busy);
	ring_set(q, slot, (struct ring_row){ q->ring[slot].first, q->ring[slot].end, busy });
}

/* The usable row by which the least is forgotten: of the empty ones the furthest, of the others the oldest. The smallest `first` in the ring then
 * tells how far back it remembers. NO_SLOT: none. */
uint32_t
ring_free_row(const struct queue *q)
{
	uint32_t empty = NO_SLOT, oldest = NO_SLOT;
	for (uint32_t i = 0; i < q->n_ring; i++) {
		const struct ring_row *row = &q->ring[i];
		if (!is_spare(row, q->settled))
			continue;
		if (is_empty(row) && (empty == NO_SLOT || row->first > q->ring[empty].first))
			empty = i;
		if (!is_empty(row) && (oldest == NO_SLOT || row->first < q->ring[oldest].first))
			oldest = i;
	}
	return empty != NO_SLOT ? empty : oldest;
}

/* Rows that may be overwritten: the empty ones, and only when the last of these is used for good, settled ones; but some are kept. */
unsigned
ring_room(struct queue *q, bool oldest_waits)
{
	if (q->room.settled != q->settled)
		count_anew(q);
	const struct ring_room *room = &q->room;
	unsigned margin = (unsigned)plan_margin(room->rows), others = room->spare > margin ? room->spare - margin : 0;
	unsigned usable = room->empty > 0 ? room->empty_spare : room->spare;
	if (others == 0 && oldest_waits)
		others = 1;
	return least(others, least(usable, margin > room->busy ? margin - room->busy : 0));
}

/* False: a slot stands there twice. */
static bool
set_ring(struct queue *q, const struct ledger_row *rows, size_t n)
{
	size_t slots = 0;
	bool twice = false;
	for (size_t i = 0; i < n; i++)
		slots = rows[i].slot + 1u > slots ? rows[i].slot + 1u : slots;
	q->ring = xrealloc(q->ring, (slots + 1) * sizeof *q->ring);
	q->n_ring = slots;
	for (size_t i = 0; i < slots; i++)
		q->ring[i] = (struct ring_row){ .end = NEVER, .busy = true }; /* a slot that SQL did not show is not ours to write */
	for (size_t i = 0; i < n; i++) {
		bool ours = rows[i].ours;
		struct ring_row *row = &q->ring[rows[i].slot];
		twice |= row->end != NEVER;
		*row = (struct ring_row){ ours ? rows[i].first : 0, ours ? rows[i].first + rows[i].count : 0, false };
	}
	count_anew(q);
	return !twice;
}

/* Rows of another generation say nothing about this list: they are cleared before anything is written. */
static void
clear_strangers(struct queue *q, const struct answer *a)
{
	if (q->renewed)
		queue_tell(q, LOG_LEVEL_INFO, "%zu windows of the former generation are cleared from the ledger", q->plan.strangers);
	else
		queue_tell(q, LOG_LEVEL_WARNING, "the ledger has %zu windows of another generation: Redis was emptied or replaced. What it held and had not been "
		    "drained is lost with it", q->plan.strangers);
	q->cuts = xcalloc(q->plan.strangers, sizeof *q->cuts);
	q->cutting = true;
	for (size_t i = 0; i < a->n_rows; i++) {
		const struct ledger_row *row = &a->rows[i];
		if (!row->ours && row->count > 0)
			q->cuts[q->n_cuts++] = (struct ledger_cut){ .slot = row->slot, .first = row->first };
	}
	ASSERT(q->n_cuts == q->plan.strangers);
}

void
ring_recalled(struct queue *q, const struct answer *a)
{
	for (size_t i = 0; i < a->n_rows; i++) {
		if (a->rows[i].epoch != q->epoch) {
			queue_fenced(q);
			return;
		}
	}
	if (a->n_rows == 0) {
		queue_set_block(q, BLOCK_RETRY, "the ledger has lost its rows of this queue: making them anew");
		queue_restart(q, q->block_ms);
		return;
	}
	if (!set_ring(q, a->rows, a->n_rows)) {
		queue_set_block(q, BLOCK_SETUP, "sluice_ledger has lost its primary key: a slot of this queue stands there more than once");
		queue_restart(q, q->block_ms);
		return;
	}
	switch (plan_build(&q->plan, a->rows, a->n_rows, q->settled)) {
	case PLAN_FELL_BACK:
		if (!history_is_answered(q))
			return;
		break;
	case PLAN_SQL_BEHIND:
		q->choice = HISTORY_ASK;
		if (q->plan.end > 0 && !q->elsewhere)
			queue_tell(q, LOG_LEVEL_ERROR, "SQL has lost committed windows: Redis stands at position %llu, the ledger ends at %llu. Was the database "
			    "restored, or a standby promoted? Positions %llu to %llu are to be checked", (unsigned long long)q->settled,
			    (unsigned long long)q->plan.end, (unsigned long long)q->plan.end, (unsigned long long)q->settled - 1);
		break;
	default:
		q->choice = HISTORY_ASK;
	}
	if (q->plan.strangers > 0)
		clear_strangers(q, a);
	q->state = QUEUE_DRAIN;
}
