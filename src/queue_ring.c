/* The ledger ring of a queue: which row a new window may overwrite, and what the ring says after a takeover. */
#include "queue_inner.h"

#include <stdlib.h>
#include <string.h>

static bool
is_empty(const struct ring_row *row)
{
	return row->first == row->end;
}

static struct ring_order *
order_of(struct ring *ring, const struct ring_row *row)
{
	return is_empty(row) ? &ring->empty : &ring->full;
}

/* How many of them end before `end`; those that end there count if their slot is smaller than `slot`. */
static size_t
rank(const struct ring *ring, const struct ring_order *order, uint64_t end, uint32_t slot)
{
	size_t low = 0, high = order->n;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct ring_row *row = &ring->rows[order->slots[middle]];
		bool before = row->end != end ? row->end < end : order->slots[middle] < slot;
		low = before ? middle + 1 : low;
		high = before ? high : middle;
	}
	return low;
}

/* Counts a row that is new in the ring, and files it if it is not busy. */
static void
enter(struct ring *ring, uint32_t slot)
{
	const struct ring_row *row = &ring->rows[slot];
	ring->n_rows += row->end != NEVER;
	ring->n_busy += row->busy && row->end != NEVER;
	ring->n_empty += is_empty(row);
	if (row->busy)
		return;
	struct ring_order *order = order_of(ring, row);
	size_t at = rank(ring, order, row->end, slot);
	memmove(order->slots + at + 1, order->slots + at, (order->n - at) * sizeof *order->slots);
	order->slots[at] = slot;
	order->n++;
}

/* The opposite. */
static void
leave(struct ring *ring, uint32_t slot)
{
	const struct ring_row *row = &ring->rows[slot];
	ASSERT(row->end != NEVER);
	ring->n_rows--;
	ring->n_busy -= row->busy;
	ring->n_empty -= is_empty(row);
	if (row->busy)
		return;
	struct ring_order *order = order_of(ring, row);
	size_t at = rank(ring, order, row->end, slot);
	ASSERT(at < order->n && order->slots[at] == slot);
	order->n--;
	memmove(order->slots + at, order->slots + at + 1, (order->n - at) * sizeof *order->slots);
}

void
ring_free(struct ring *ring)
{
	free(ring->rows);
	free(ring->empty.slots);
	free(ring->full.slots);
	*ring = (struct ring){ .n = 0 };
}

static void
check_order(const struct ring *ring, const struct ring_order *order)
{
	for (size_t i = 0; i < order->n; i++) {
		uint32_t slot = order->slots[i];
		const struct ring_row *row = &ring->rows[slot];
		ASSERT(!row->busy && is_empty(row) == (order == &ring->empty) && rank(ring, order, row->end, slot) == i);
	}
}

void
ring_check(const struct queue *q)
{
	const struct ring *ring = &q->ring;
	unsigned n_rows = 0, n_busy = 0, n_empty = 0;
	for (size_t i = 0; i < ring->n; i++) {
		n_rows += ring->rows[i].end != NEVER;
		n_busy += ring->rows[i].busy && ring->rows[i].end != NEVER;
		n_empty += is_empty(&ring->rows[i]);
	}
	ASSERT(n_rows == ring->n_rows && n_busy == ring->n_busy && n_empty == ring->n_empty);
	ASSERT(ring->empty.n + ring->full.n + n_busy == n_rows);
	check_order(ring, &ring->empty);
	check_order(ring, &ring->full);
}

void
ring_set(struct queue *q, uint32_t slot, struct ring_row row)
{
	ASSERT(slot < q->ring.n);
	leave(&q->ring, slot);
	q->ring.rows[slot] = row;
	enter(&q->ring, slot);
}

void
ring_set_busy(struct queue *q, uint32_t slot, bool busy)
{
	struct ring_row row = q->ring.rows[slot];
	ASSERT(row.busy != busy);
	row.busy = busy;
	ring_set(q, slot, row);
}

/* Rows that cover what may be settled once more are not usable. */
static size_t
n_settled(const struct queue *q)
{
	return rank(&q->ring, &q->ring.full, q->settled, NO_SLOT);
}

/* Of the empty rows the furthest, of the others the oldest: what the ring remembers then reaches back without a gap. */
uint32_t
ring_spare_row(const struct queue *q)
{
	const struct ring *ring = &q->ring;
	if (ring->empty.n > 0) {
		uint32_t last = ring->empty.slots[ring->empty.n - 1];
		return ring->empty.slots[rank(ring, &ring->empty, ring->rows[last].end, 0)]; /* of those as far, the first */
	}
	ASSERT(n_settled(q) > 0);
	return ring->full.slots[0];
}

/* Rows that may be overwritten: the empty ones, and only when the last of these is used for good, settled ones; but some are kept. */
unsigned
ring_room(const struct queue *q, bool oldest_waits)
{
	const struct ring *ring = &q->ring;
	unsigned empty = (unsigned)ring->empty.n, spare = empty + (unsigned)n_settled(q);
	unsigned margin = (unsigned)plan_margin(ring->n_rows), others = spare > margin ? spare - margin : 0;
	unsigned usable = ring->n_empty > 0 ? empty : spare;
	if (others == 0 && oldest_waits)
		others = 1;
	return least(others, least(usable, margin > ring->n_busy ? margin - ring->n_busy : 0));
}

struct filed {
	uint64_t end;
	uint32_t slot;
};

static int
compare_filed(const void *a, const void *b)
{
	const struct filed *x = a, *y = b;
	return x->end != y->end ? (x->end > y->end) - (x->end < y->end) : (x->slot > y->slot) - (x->slot < y->slot);
}

/* Counts and files all rows of a new ring: in their order, so that none is moved. */
static void
file_all(struct ring *ring)
{
	struct filed *filed = xcalloc(ring->n + 1, sizeof *filed);
	for (uint32_t i = 0; i < ring->n; i++)
		filed[i] = (struct filed){ ring->rows[i].end, i };
	qsort(filed, ring->n, sizeof *filed, compare_filed);
	for (size_t i = 0; i < ring->n; i++)
		enter(ring, filed[i].slot);
	free(filed);
}

/* False: a slot stands there twice. */
static bool
set_ring(struct queue *q, const struct ledger_row *rows, size_t n)
{
	size_t slots = 0;
	bool twice = false;
	for (size_t i = 0; i < n; i++)
		slots = rows[i].slot + 1u > slots ? rows[i].slot + 1u : slots;
	ring_free(&q->ring);
	q->ring.n = slots;
	q->ring.rows = xcalloc(slots + 1, sizeof *q->ring.rows);
	q->ring.empty.slots = xcalloc(slots + 1, sizeof(uint32_t));
	q->ring.full.slots = xcalloc(slots + 1, sizeof(uint32_t));
	for (size_t i = 0; i < slots; i++)
		q->ring.rows[i] = (struct ring_row){ .end = NEVER, .busy = true }; /* a slot that SQL did not show is not ours to write */
	for (size_t i = 0; i < n; i++) {
		bool ours = rows[i].ours;
		struct ring_row *row = &q->ring.rows[rows[i].slot];
		twice |= row->end != NEVER;
		*row = (struct ring_row){ ours ? rows[i].first : 0, ours ? rows[i].first + rows[i].count : 0, false };
	}
	file_all(&q->ring);
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
		block_set(q, BLOCK_RETRY, "the ledger has lost its rows of this queue: making them anew");
		queue_restart(q, q->block_ms);
		return;
	}
	if (!set_ring(q, a->rows, a->n_rows)) {
		block_set(q, BLOCK_SETUP, "sluice_ledger has lost its primary key: a slot of this queue stands there more than once");
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
