/* What a worker asks of its list in Redis, and what the answers are to its queue. Each call carries the view that its answer belongs to. */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "config.h"
#include "dead_letter.h"
#include "meter.h"
#include "redis.h"
#include "redis_memory.h"
#include "source_list.h"
#include "window.h"
#include "worker_inner.h"

#define MEMORY_MS 4000  /* how old the memory's figure gets at least */
#define WAIT_S 20       /* one blocking wait; Redis is asked again after it */
#define LOOK_ITEMS 16   /* that come with its answer; if there are more, a peek brings them all */
#define LOOK_BYTES 65536

struct call {
	struct list node;      /* in the worker's calls */
	struct worker *worker; /* borrowed */
	uint64_t view;         /* of the queue, when it was made */
};

static struct call *
call_new(struct worker *w, uint64_t view)
{
	struct call *c = xmalloc(sizeof *c);
	c->worker = w;
	c->view = view;
	list_init(&c->node);
	list_append(&w->calls, &c->node);
	return c;
}

/* The call's worker and view; the call is freed. NULL: the link is lost, and `down` comes next and says so to the queue. */
static struct worker *
call_end(void *arg, enum redis_class class, uint64_t *view)
{
	struct call *c = arg;
	struct worker *w = c->worker;
	*view = c->view;
	list_remove(&c->node);
	free(c);
	return class == REDIS_LOST ? NULL : w;
}

static void
on_lease(void *arg, const struct source_lease *r)
{
	uint64_t view;
	struct worker *w = call_end(arg, r->class, &view);
	if (w == NULL)
		return;
	struct lease_answer a = { .class = r->class, .why = r->why, .granted = r->granted, .holder = r->holder == NULL ? "" : r->holder, .ttl_ms = r->ttl_ms,
		.epoch = r->epoch, .ledger = r->ledger == NULL ? "" : r->ledger, .elsewhere = r->elsewhere, .others = r->others, .clean = r->clean,
		.in_doubt = r->in_doubt };
	queue_leased(w->queue, clock_ms(), view, &a);
}

void
worker_list_lease(void *world, uint64_t view, uint64_t accepted)
{
	struct worker *w = world;
	source_list_lease(w->source, w->context->config->lease_ttl * 1000, accepted, on_lease, call_new(w, view));
}

static void
on_own(void *arg, const struct source_own *r)
{
	uint64_t view;
	struct worker *w = call_end(arg, r->class, &view);
	if (w == NULL)
		return;
	struct own_answer a = { .class = r->class, .why = r->why, .refused = r->refused, .in_doubt = r->in_doubt,
		.generation = r->generation == NULL ? "" : r->generation, .fresh = r->fresh, .settled = r->settled, .backlog = r->length };
	queue_owned(w->queue, clock_ms(), view, &a);
}

void
worker_list_own(void *world, uint64_t view, const struct claim *claim)
{
	struct worker *w = world;
	struct source_claim c = { .before = claim->before, .epoch = claim->epoch, .accepted = claim->accepted, .new_generation = claim->new_generation,
		.force = claim->rewritten };
	source_list_own(w->source, &c, on_own, call_new(w, view));
}

static void
on_peek(void *arg, const struct source_peek *r)
{
	uint64_t view;
	struct worker *w = call_end(arg, r->class, &view);
	if (w == NULL)
		return;
	struct item *items = xcalloc(r->n + 1, sizeof *items);
	for (size_t i = 0; i < r->n; i++)
		items[i] = (struct item){ r->items[i].text, r->items[i].len };
	struct queue_view v;
	queue_look(w->queue, &v);
	struct peek_answer a = { .class = r->class, .why = r->why, .items = items, .n = (uint32_t)r->n, .disowned = r->epoch != v.epoch, .cut = r->cut,
		.arena = r->arena };
	queue_peeked(w->queue, clock_ms(), view, &a);
	event_active(w->idle, EV_TIMEOUT, 0);
	free(items);
}

void
worker_list_peek(void *world, uint64_t view, uint64_t offset, uint32_t count, size_t budget)
{
	struct worker *w = world;
	struct call *c = call_new(w, view);
	if (w->looked != NULL && offset == 0 && w->looked->n < count)
		w->looked_for = c;
	else
		source_list_peek(w->source, offset, count, budget, on_peek, c);
}

static void
on_settle(void *arg, const struct source_settled *r)
{
	static const enum settle_status statuses[] = { [SOURCE_SETTLED] = SETTLE_OK, [SOURCE_GONE] = SETTLE_MOVED, [SOURCE_FENCED] = SETTLE_FENCED,
		[SOURCE_MOVED] = SETTLE_MOVED, [SOURCE_GUARD] = SETTLE_GUARD, [SOURCE_FULL] = SETTLE_FULL };
	uint64_t view;
	struct worker *w = call_end(arg, r->class, &view);
	if (w == NULL)
		return;
	struct settle_answer a = { r->class, r->why, statuses[r->status], r->settled, r->length, r->dead };
	if (r->class == REDIS_OK && r->status == SOURCE_SETTLED)
		meter_settled(&w->meter, clock_ms(), r->settled - 1);
	queue_settled(w->queue, clock_ms(), view, &a);
	worker_note_progress(w);
}

/* The dead letters of the windows, one text after the other in `texts`; returns how many, their ends in *ends (owned by the caller). */
static size_t
write_dead_letters(struct worker *w, const struct settle *s, struct buf *texts, size_t **ends)
{
	size_t n = 0;
	for (size_t i = 0; i < s->n_windows; i++)
		n += s->windows[i]->n_rejects;
	*ends = xcalloc(n + 1, sizeof **ends);
	n = 0;
	for (size_t i = 0; i < s->n_windows; i++) {
		const struct window *window = s->windows[i];
		for (uint32_t k = 0; k < window->n_rejects; k++) {
			const struct reject *r = &window->rejects[k];
			if (r->index < window->gone)
				continue; /* somebody else took it */
			dead_letter_write(texts, w->config->name, w->context->config->instance, w->config->target->driver, &window->items[r->index], r,
			    window->first + r->index, clock_wall_us());
			(*ends)[n++] = texts->len;
			struct meter_dead dead = { .at_us = clock_wall_us(), .position = window->first + r->index };
			memcpy(dead.reason, r->class, sizeof dead.reason);
			memcpy(dead.code, r->code, sizeof dead.code);
			meter_leaving_dead(&w->meter, &dead);
		}
	}
	return n;
}

void
worker_list_settle(void *world, uint64_t view, const struct settle *s)
{
	struct worker *w = world;
	meter_leaving(&w->meter);
	struct source_sample samples[sizeof s->samples / sizeof s->samples[0]];
	for (size_t i = 0; i < s->n_samples; i++) {
		const struct item *item = s->samples[i].item;
		size_t edge = item->len < SOURCE_SAMPLE_EDGE ? item->len : SOURCE_SAMPLE_EDGE;
		samples[i] = (struct source_sample){ s->samples[i].offset, item->len, item->text, item->text + item->len - edge };
	}
	struct buf texts = BUF_INIT;
	size_t *ends, n_dead = write_dead_letters(w, s, &texts, &ends), from = 0;
	struct source_text *dead = xcalloc(n_dead + 1, sizeof *dead);
	for (size_t i = 0; i < n_dead; i++) {
		dead[i] = (struct source_text){ texts.data + from, ends[i] - from };
		from = ends[i];
	}
	struct source_settle settle = { .epoch = s->epoch, .settled = s->settled, .skip = s->skip, .remove = s->remove, .advance = s->advance,
		.samples = samples, .n_samples = s->n_samples, .dead = dead, .n_dead = n_dead, .dead_max = w->config->dead_letter_max,
		.ttl_ms = w->context->config->lease_ttl * 1000 };
	source_list_settle(w->source, &settle, on_settle, call_new(w, view));
	free(dead);
	free(ends);
	buf_free(&texts);
}

static void
on_length(void *arg, const struct source_length *r)
{
	uint64_t view;
	struct worker *w = call_end(arg, r->class, &view);
	if (w == NULL)
		return;
	if (r->class != REDIS_OK)
		return; /* not worth a word: what matters says so itself */
	queue_measured(w->queue, clock_ms(), view, r->length, r->dead);
	worker_note_progress(w);
}

void
worker_list_length(void *world, uint64_t view)
{
	struct worker *w = world;
	source_list_length(w->source, on_length, call_new(w, view));
	if (clock_ms() >= w->memory_at) { /* in the same write: an idle daemon is not woken once more */
		redis_memory_ask(w->commands, &w->memory);
		w->memory_at = clock_ms() + MEMORY_MS;
	}
}

static void
on_wait(void *arg, const struct source_wait *r)
{
	struct worker *w = arg;
	w->cannot_wait = r->class != REDIS_OK || r->poll;
}

/* Comes right behind the wait's answer. An order that comes alone is in it, which saves it a way to Redis and back: if these are all that the list holds and
 * the queue, told that there are some, wants to see them, it sees these. */
static void
on_look(void *arg, const struct source_peek *r)
{
	struct worker *w = arg;
	if (r->class == REDIS_LOST) {
		event_active(w->no_wait, EV_TIMEOUT, 0); /* later: nothing may be asked of a link from within its end */
		return;
	}
	struct queue_view v;
	queue_look(w->queue, &v);
	bool whole = r->class == REDIS_OK && !r->cut && r->n < LOOK_ITEMS;
	w->looked = whole && r->epoch == v.epoch ? r : NULL;
	queue_woken(w->queue, clock_ms(), w->cannot_wait);
	struct call *asked = w->looked_for;
	w->looked = NULL;
	w->looked_for = NULL;
	if (asked != NULL)
		on_peek(asked, r);
}

void
worker_list_no_wait(int fd, short what, void *arg)
{
	struct worker *w = arg;
	(void)fd;
	(void)what;
	queue_woken(w->queue, clock_ms(), true);
}

void
worker_list_wait(void *world, uint64_t view)
{
	struct worker *w = world;
	(void)view;
	if (redis_is_up(w->waiting)) {
		source_list_wait(w->source, WAIT_S, on_wait, w);
		source_list_look(w->source, WAIT_S, LOOK_ITEMS, LOOK_BYTES, on_look, w);
	} else {
		event_active(w->no_wait, EV_TIMEOUT, 0);
	}
}

static void
on_release(void *arg, const struct source_release *r)
{
	uint64_t view;
	struct worker *w = call_end(arg, r->class, &view);
	if (w != NULL)
		queue_released(w->queue, clock_ms(), view, r->class, r->released);
}

void
worker_list_release(void *world, uint64_t view, bool clean)
{
	struct worker *w = world;
	struct queue_view v;
	queue_look(w->queue, &v);
	source_list_release(w->source, clean ? v.epoch : 0, on_release, call_new(w, view));
}

void
worker_list_forget(struct worker *w)
{
	LIST_EACH_SAFE(&w->calls, node, after)
		free(LIST_OWNER(node, struct call, node));
	list_init(&w->calls);
	w->looked_for = NULL;
}
