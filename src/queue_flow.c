/* The flow of a draining queue on the Redis side: peek windows, settle what is committed, wait for more, and find the place again when others
 * changed the list. */
#include "queue_inner.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"

#define GUARD_STREAK_MAX 3
#define MEASURE_BUSY_MS 100
#define MEASURE_IDLE_MS 5000
#define POLL_MS 100

static struct window *
window_at(struct list *node)
{
	return LIST_OWNER(node, struct window, node);
}

unsigned
flow_window_limit(const struct queue *q)
{
	unsigned most = 2 * q->limits.sessions + 8;
	/* never more than the ring has room for, open transactions and one for luck included */
	return q->limits.ledger && most > q->limits.ledger_rows / 2 ? q->limits.ledger_rows / 2 : most;
}

/* Known items that the list still shows, those that a settle under way removes left out. */
static uint64_t
known_items(const struct queue *q)
{
	uint64_t n = 0;
	LIST_EACH(&q->windows, node) {
		const struct window *w = LIST_OWNER(node, struct window, node);
		n += w->count - w->gone;
	}
	return q->settle.active ? n - q->settle.remove : n;
}

/* -- settle */

/* Collects the oldest committed windows that follow each other from the settled position on. */
static void
gather(struct queue *q, struct settling *s)
{
	uint64_t at = q->settled;
	uint32_t dead = 0;
	*s = (struct settling){ .base = at };
	LIST_EACH(&q->windows, node) {
		struct window *w = window_at(node);
		ASSERT(w->first == at);
		dead += w->n_rejects;
		if (w->state != WINDOW_COMMITTED || s->n == SETTLE_WINDOWS_MAX || (s->n > 0 && dead > SETTLE_DEAD_MAX))
			break;
		at = window_end(w);
		s->windows[s->n++] = w;
		s->remove += w->count - w->gone;
		s->advance += w->count;
	}
}

/* The i-th item that is still in the list, of those being settled. */
static const struct item *
nth_present(const struct settling *s, uint32_t i)
{
	for (size_t k = 0;; k++) {
		ASSERT(k < s->n);
		const struct window *w = s->windows[k];
		if (i < w->count - w->gone)
			return &w->items[w->gone + i];
		i -= w->count - w->gone;
	}
}

static void
settle(struct queue *q)
{
	struct settling *s = &q->settle;
	gather(q, s);
	if (s->n == 0)
		return;
	struct settle ask = { .epoch = q->epoch, .settled = s->base, .skip = q->skip, .remove = s->remove, .advance = s->advance, .windows = s->windows,
		.n_windows = s->n };
	/* the guard: the oldest, the newest and two at random must be what we committed */
	for (unsigned i = 0; s->remove > 0 && i < 4; i++) {
		uint32_t at = i == 0 ? 0 : i == 1 ? s->remove - 1 : (uint32_t)(q->ports->random(q->world) % s->remove);
		ask.samples[ask.n_samples].offset = at;
		ask.samples[ask.n_samples++].item = nth_present(s, at);
	}
	s->active = true;
	q->ports->settle(q->world, q->view, &ask);
}

static void
settle_done(struct queue *q, const struct settle_answer *a)
{
	struct settling *s = &q->settle;
	ASSERT(a->settled == s->base + s->advance);
	for (size_t i = 0; i < s->n; i++) {
		struct window *w = s->windows[i];
		uint32_t dead = 0;
		for (uint32_t k = 0; k < w->n_rejects; k++) {
			const char *class = w->rejects[k].class;
			unsigned kind = DB_OK; /* "message" */
			if (w->rejects[k].index < w->gone)
				continue; /* whoever took it has it */
			dead++;
			for (unsigned c = 1; c <= DB_UNKNOWN; c++) {
				if (strcmp(class, db_class_name(c)) == 0)
					kind = c;
			}
			q->counters.dead[kind]++;
		}
		if (w->counted > 0)
			q->counters.recounted += w->counted + dead + w->gone - w->count;
		window_free(&w);
	}
	q->settled = a->settled;
	q->counters.settled += s->remove;
	q->counters.taken += s->advance - s->remove;
	q->backlog = a->backlog;
	q->dead = a->dead;
	q->guard_streak = 0;
	if (q->choice != HISTORY_ASK)
		q->doubt_from = a->settled; /* back before this, and he is asked anew */
	if (list_empty(&q->windows))
		q->skip = 0; /* what others pushed at our end comes next, as any other item */
	if (q->block == BLOCK_DEAD_FULL)
		block_clear(q);
}

void
queue_settled(struct queue *q, uint64_t now, uint64_t view, const struct settle_answer *a)
{
	q->now = now;
	if (view != q->view)
		return;
	ASSERT(q->settle.active);
	bool told = a->class == REDIS_OK && a->status == SETTLE_OK;
	if (told && a->settled == q->settle.base + q->settle.advance) {
		settle_done(q, a);
		q->settle.active = false;
		queue_tick(q, now);
		return;
	}
	q->settle.active = false;
	q->peek.stale = true; /* it counted on the settle */
	if (block_by_redis(q, a->class, a->why, "settle")) {
	} else if (a->status == SETTLE_FENCED) {
		queue_fenced(q);
	} else if (told || a->status == SETTLE_MOVED) { /* told: of a position that makes no sense */
		queue_tell(q, LOG_LEVEL_WARNING, "Redis stands at position %llu, not at %llu: reconciling", (unsigned long long)a->settled,
		    (unsigned long long)q->settled);
		queue_restart(q, 0);
	} else if (a->status == SETTLE_FULL) {
		block_set(q, BLOCK_DEAD_FULL, "dead_letter_max is reached: look at them (sluice dead list), then retry or drop them, or raise it");
	} else {
		q->counters.guard_refused++;
		q->aligning = true;
	}
	queue_tick(q, now);
}

/* -- alignment */

/* Hashes of all known items that should be in the list, oldest first; owned by the caller. */
static uint64_t *
known_hashes(const struct queue *q, size_t n)
{
	uint64_t *known = xcalloc(n + 1, sizeof *known);
	size_t at = 0;
	LIST_EACH(&q->windows, node) {
		const struct window *w = LIST_OWNER(node, struct window, node);
		memcpy(known + at, w->hashes + w->gone, (w->count - w->gone) * sizeof *known);
		at += w->count - w->gone;
	}
	ASSERT(at == n);
	return known;
}

void
flow_shed_gone(struct window *w)
{
	ASSERT(w->state == WINDOW_READ && w->gone > 0);
	uint32_t gone = w->gone;
	w->gone = 0;
	if (gone < w->count)
		window_split(w, gone);
	w->gone = gone;
	w->partial = false;
	window_set_state(w, WINDOW_COMMITTED); /* nothing to commit: whoever took them has them */
}

/* The oldest n known items are not in the list any more. */
static void
take_out(struct queue *q, uint64_t n)
{
	LIST_EACH_SAFE(&q->windows, node, after) {
		struct window *w = window_at(node);
		uint64_t here = w->count - w->gone < n ? w->count - w->gone : n;
		if (here == 0)
			continue;
		w->gone += (uint32_t)here;
		n -= here;
		if (w->state == WINDOW_READ)
			flow_shed_gone(w);
	}
	ASSERT(n == 0);
}

static void
aligned(struct queue *q, const struct peek_answer *a)
{
	uint64_t n_known = known_items(q);
	uint64_t *known = known_hashes(q, n_known), *list = xcalloc(a->n + 1u, sizeof *list);
	for (uint32_t i = 0; i < a->n; i++)
		list[i] = window_hash(&a->items[i]);
	size_t gone, strange;
	enum alignment how = align(list, a->n, a->n < q->peek.count, known, n_known, &gone, &strange);
	free(known);
	free(list);
	q->aligning = false;
	bool news = gone > 0 || strange != q->skip; /* a change that makes sense is no reason to give up, however many follow it */
	q->guard_streak = news ? 0 : q->guard_streak + 1;
	if (how == ALIGN_NONE || q->guard_streak > GUARD_STREAK_MAX) {
		queue_tell(q, LOG_LEVEL_ERROR, "the list was rewritten by somebody else: taking a new generation. Up to %llu items that were committed and not "
		    "yet removed may come twice", (unsigned long long)n_known);
		q->rewritten = true;
		queue_restart(q, 0);
		return;
	}
	if (gone > 0)
		queue_tell(q, LOG_LEVEL_WARNING, "%zu items were taken from the list by somebody else: is another worker reading it?", gone);
	if (strange > 0)
		queue_tell(q, LOG_LEVEL_WARNING, "%zu items were pushed at the end that is drained: check `pop` and the producers", strange);
	take_out(q, gone);
	q->skip = (uint32_t)strange;
}

static void
start_alignment(struct queue *q)
{
	if (q->peek.active || q->settle.active || queue_is_blocked(q))
		return;
	uint64_t count = known_items(q) + ALIGN_STRANGE_MAX;
	q->peek = (struct peeking){ .active = true, .aligning = true, .count = (uint32_t)count };
	q->ports->peek(q->world, q->view, 0, q->peek.count, 0);
}

/* -- peek */

/* Where the next unknown item is. */
static uint64_t
frontier(const struct queue *q)
{
	if (!list_empty(&q->windows))
		return window_end(LIST_OWNER(q->windows.prev, struct window, node));
	return q->settled;
}

/* Is a partial window in flight? A second one has to wait, so that batches fill by themselves under load. */
static bool
partial_in_flight(const struct queue *q)
{
	LIST_EACH(&q->windows, node) {
		const struct window *w = LIST_OWNER(node, struct window, node);
		if (w->partial && w->state != WINDOW_COMMITTED)
			return true;
	}
	return false;
}

/* How many more windows should be at hand: two for each session, of which one is stored and one made ready, and one that is on its way meanwhile: sessions
 * are often free at the same moment, and none should wait for Redis. */
static unsigned
windows_short(const struct queue *q)
{
	unsigned open = 0, all = 0, target = 2 * q->limits.sessions + 1, limit = flow_window_limit(q);
	LIST_EACH(&q->windows, node) {
		open += LIST_OWNER(node, struct window, node)->state != WINDOW_COMMITTED;
		all++;
	}
	if (open >= target || all >= limit)
		return 0;
	return target - open < limit - all ? target - open : limit - all;
}

/* Are there items enough behind the known ones to make a window of? */
static bool
is_worth_a_peek(const struct queue *q)
{
	uint64_t known = known_items(q);
	uint64_t waiting = q->settle.active ? q->backlog - (q->backlog < q->settle.remove ? q->backlog : q->settle.remove) : q->backlog;
	if (waiting <= known)
		return false;
	return waiting - known >= q->limits.batch_rows || !partial_in_flight(q);
}

bool
flow_is_planned(const struct queue *q)
{
	return plan_row(&q->plan) != NULL || q->choice != HISTORY_ASK;
}

static void
peek(struct queue *q)
{
	if (q->peek.active || q->skip > 0 || q->cutting || queue_is_blocked(q) || (q->ending == HANDS_OVER && !flow_is_planned(q)))
		return;
	unsigned windows = windows_short(q);
	const struct plan_row *row = plan_row(&q->plan);
	if (windows == 0 || (row == NULL && !is_worth_a_peek(q)))
		return;
	if (q->choice != HISTORY_ASK && frontier(q) >= q->doubt_end)
		return;
	uint64_t base = q->settle.active ? q->settle.base + q->settle.advance : q->settled, known = known_items(q);
	struct peeking *p = &q->peek;
	*p = (struct peeking){ .active = true, .first = frontier(q) };
	p->overlap = p->first > base && known > 0;
	size_t budget = windows * q->limits.batch_bytes;
	uint64_t count = budget / (q->average + 1) + 1;
	if (count > (uint64_t)windows * q->limits.batch_rows)
		count = (uint64_t)windows * q->limits.batch_rows;
	if (q->choice != HISTORY_ASK && count > q->doubt_end - p->first)
		count = q->doubt_end - p->first;
	if (row != NULL && p->first + count > row->first) {
		p->planned = p->first >= row->first;
		uint64_t end = row->first + row->count;
		count = !p->planned ? row->first - p->first : end > p->first ? end - p->first : 1;
		budget = 0;
	}
	p->count = (uint32_t)count;
	q->ports->peek(q->world, q->view, known - p->overlap, p->count + p->overlap, budget);
}

/* Notes that the plan is right only up to here: the rest is dead history and is cut out of the ledger before anything new is written. */
static void
cut_plan(struct queue *q, uint64_t at)
{
	size_t from = q->plan.next, n = q->plan.n - from;
	if (q->choice != HISTORY_ASK) {
		q->plan.next = q->plan.n;
		history_cut(q, at);
		return;
	}
	q->cuts = xcalloc(n, sizeof *q->cuts);
	q->n_cuts = n;
	q->cutting = true;
	uint64_t lost = 0;
	for (size_t i = 0; i < n; i++) {
		const struct plan_row *row = &q->plan.rows[from + i];
		uint32_t keep = i == 0 && at > row->first ? (uint32_t)(at - row->first) : 0;
		q->cuts[i] = (struct ledger_cut){ .slot = row->slot, .first = row->first, .count = keep };
		ring_set(q, row->slot, (struct ring_row){ q->ring.rows[row->slot].first, row->first + keep, q->ring.rows[row->slot].busy });
		lost += row->count - keep;
	}
	q->plan.next = q->plan.n;
	queue_tell(q, LOG_LEVEL_WARNING, "Redis came back without its last writes: %llu committed positions are not in the list any more; from position %llu "
	    "on everything is new", (unsigned long long)lost, (unsigned long long)at);
}

/* Holds the list against the next row of the ledger: what matches is committed already. */
static void
reconcile(struct queue *q, const struct item *items, uint32_t n, struct arena *arena)
{
	const struct plan_row *row = plan_row(&q->plan);
	uint64_t first = q->peek.first;
	uint32_t from = first > row->first ? (uint32_t)(first - row->first < row->count ? first - row->first : row->count) : 0;
	uint32_t want = row->count - from, matched = 0;
	if (n > want)
		n = want;
	if (n > 0) {
		struct window *w = window_new(first, items, n, arena);
		matched = window_match(w, row->hashes, from, row->count);
		if (matched > 0) {
			if (matched < w->count) {
				struct window *tail = window_split(w, matched);
				window_free(&tail);
			}
			if (!window_dead_read(w, row->dead, row->dead_len, from))
				queue_tell(q, LOG_LEVEL_ERROR, "the ledger's `dead` of slot %u cannot be read; its window counts as committed whole", row->slot);
			w->reconciled = true;
			list_append(&q->windows, &w->node);
			window_set_state(w, WINDOW_COMMITTED);
			q->counters.reconciled += w->counted = w->count;
		} else {
			window_free(&w);
		}
	}
	if (matched == want)
		q->plan.next++;
	else
		cut_plan(q, first + matched);
}

/* Cuts what was read into windows. A rest that does not fill one is taken only at the list's end, and only if it would be the only one. */
static void
cut_windows(struct queue *q, const struct item *items, uint32_t n, bool at_end, struct arena *arena)
{
	uint64_t first = q->peek.first;
	uint32_t from = 0, most = q->limits.batch_rows;
	while (from < n) {
		size_t bytes = items[from].len;
		uint32_t to = from + 1;
		while (to < n && to - from < most && bytes + items[to].len <= q->limits.batch_bytes)
			bytes += items[to++].len;
		bool partial = to == n && at_end && to - from < most;
		if (partial && partial_in_flight(q))
			break;
		struct window *w = window_new(first + from, items + from, to - from, arena);
		w->partial = partial;
		list_append(&q->windows, &w->node);
		if (q->choice != HISTORY_ASK) /* nothing behind the doubt is read */
			history_apply(q, w);
		from = to;
	}
}

/* A peek brought what it should; `items` starts with the first unknown one. */
static void
peeked(struct queue *q, const struct item *items, uint32_t n, bool cut, struct arena *arena)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < n; i++)
		bytes += items[i].len;
	if (n > 0)
		q->average = bytes / n + 1;
	bool at_end = !cut && n < q->peek.count;
	uint64_t known = known_items(q);
	if (at_end)
		q->backlog = known + n + (q->settle.active ? q->settle.remove : 0);
	if (q->peek.planned)
		reconcile(q, items, n, arena);
	else if (n == 0 && plan_row(&q->plan) != NULL)
		cut_plan(q, q->peek.first); /* the list ends before the ledger does */
	else
		cut_windows(q, items, n, at_end, arena);
}

/* Does the answer begin with the last item that we know? */
static bool
is_last_known(const struct queue *q, const struct peek_answer *a)
{
	ASSERT(!list_empty(&q->windows)); /* a settle that was sent later is answered later */
	const struct window *last = LIST_OWNER(q->windows.prev, struct window, node);
	return a->n > 0 && window_hash(&a->items[0]) == last->hashes[last->count - 1];
}

void
queue_peeked(struct queue *q, uint64_t now, uint64_t view, const struct peek_answer *a)
{
	q->now = now;
	if (view != q->view)
		return;
	ASSERT(q->peek.active);
	q->peek.active = false;
	uint32_t known = q->peek.overlap ? 1 : 0;
	if (block_by_redis(q, a->class, a->why, "read the list") || q->ending > HANDS_OVER) {
	} else if (a->disowned) {
		queue_disowned(q);
	} else if (q->peek.aligning) {
		aligned(q, a);
	} else if (q->peek.stale) {
	} else if (a->cut && a->n == 0) { /* what came was too much, and the place may have moved: ask again */
	} else if (known > 0 && !is_last_known(q, a)) {
		q->aligning = true;
	} else {
		peeked(q, a->items + known, a->n - known, a->cut, a->arena);
	}
	queue_tick(q, now);
}

/* -- wait and measure */

static void
wait_for_items(struct queue *q)
{
	bool idle = list_empty(&q->windows) && !q->peek.active && q->backlog == 0 && plan_row(&q->plan) == NULL;
	if (!idle || q->waiting || q->poll_at != NEVER || q->ending != GOES_ON || queue_is_halted(q))
		return;
	q->waiting = true;
	q->ports->wait(q->world, q->view);
}

void
queue_woken(struct queue *q, uint64_t now, bool poll)
{
	q->now = now;
	q->waiting = false;
	if (poll)
		q->poll_at = now + POLL_MS;
	else if (q->backlog == 0)
		q->backlog = 1; /* look, then we know */
	queue_tick(q, now);
}

void
queue_measured(struct queue *q, uint64_t now, uint64_t view, uint64_t backlog, uint64_t dead)
{
	q->now = now;
	if (view != q->view)
		return;
	if (!q->settle.active) /* else its answer knows better */
		q->backlog = backlog;
	q->dead = dead;
	queue_tick(q, now);
}

void
flow_measure(struct queue *q)
{
	if (!q->redis_up)
		return;
	if (q->now >= q->poll_at) {
		q->poll_at = NEVER;
		q->backlog = q->backlog == 0 ? 1 : q->backlog;
	}
	if (!list_empty(&q->windows) && q->measure_at > q->now + MEASURE_BUSY_MS)
		q->measure_at = q->now + MEASURE_BUSY_MS; /* what comes behind a slow window must be seen */
	if (q->now < q->measure_at)
		return;
	q->measure_at = q->now + MEASURE_IDLE_MS;
	q->ports->length(q->world, q->view);
}

uint64_t
flow_wake_at(const struct queue *q)
{
	if (!q->redis_up || q->state == QUEUE_STOPPED)
		return NEVER;
	return q->poll_at < q->measure_at ? q->poll_at : q->measure_at;
}

void
flow_pump(struct queue *q)
{
	history_pump(q);
	if (q->state != QUEUE_DRAIN)
		return;
	if (q->aligning) {
		start_alignment(q);
		return;
	}
	bool refused = q->block == BLOCK_DEAD_FULL || q->refused_by_redis != NULL;
	if (!q->settle.active && !(refused && q->now < q->block_until))
		settle(q);
	peek(q);
	wait_for_items(q);
}
