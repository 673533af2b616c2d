/* A daemon's process around its queue: what worker.c and the pool are in the real one. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"

/* -- ports to Redis */

static void
port_lease(void *world, uint64_t view)
{
	(void)redis_send(world, COMMAND_LEASE, view);
}

static void
port_own(void *world, uint64_t view, uint64_t epoch, const char *new_generation, bool rewritten)
{
	struct daemon *d = world;
	struct command *c = redis_send(d, COMMAND_OWN, view);
	if (c == NULL)
		return;
	c->epoch = epoch;
	c->rewritten = rewritten;
	snprintf(c->generation, sizeof c->generation, "%s", new_generation);
	d->world->totals->rewritten += rewritten;
}

static void
port_peek(void *world, uint64_t view, uint64_t offset, uint32_t count, size_t budget)
{
	struct daemon *d = world;
	struct command *c = redis_send(d, COMMAND_PEEK, view);
	struct queue_view look;
	if (c == NULL)
		return;
	queue_look(d->queue, &look);
	c->epoch = look.epoch;
	c->offset = offset;
	c->count = count;
	c->budget = budget;
}

static void
add_dead(struct world *w, struct command *c, const struct window *window)
{
	for (uint32_t i = 0; i < window->n_rejects; i++) {
		if (window->rejects[i].index < window->gone)
			continue; /* somebody else took it */
		if (c->n_items == PUSHES_MAX)
			fail(w, "more dead letters in one settle than orders");
		c->items[c->n_items++] = order_of(w, &window->items[window->rejects[i].index]);
	}
}

static void
port_settle(void *world, uint64_t view, const struct settle *settle)
{
	struct daemon *d = world;
	struct world *w = d->world;
	struct command *c = redis_send(d, COMMAND_SETTLE, view);
	if (c == NULL)
		return;
	c->epoch = settle->epoch;
	c->settled = settle->settled;
	c->skip = settle->skip;
	c->remove = settle->remove;
	c->advance = settle->advance;
	c->n_samples = settle->n_samples;
	for (size_t i = 0; i < settle->n_samples; i++) {
		c->sample_at[i] = settle->samples[i].offset;
		c->sample[i] = order_of(w, settle->samples[i].item);
	}
	for (size_t i = 0; i < settle->n_windows; i++) {
		if (settle->windows[i]->state != WINDOW_COMMITTED)
			fail(w, "settles a window that is not committed");
		add_dead(w, c, settle->windows[i]);
	}
	trace(w, "%s: settle from %llu, skip %u, remove %u, advance %u, dead %u", d->name, (unsigned long long)c->settled, c->skip, c->remove, c->advance,
	    c->n_items);
}

static void
port_wait(void *world, uint64_t view)
{
	struct daemon *d = world;
	(void)view;
	if (d->dying)
		return;
	if (d->waiting)
		fail(d->world, "%s waits twice", d->name);
	d->waiting = true;
	d->wait_until = d->world->now + 1000 + chance(d->world, 5000);
}

static void
port_length(void *world, uint64_t view)
{
	(void)redis_send(world, COMMAND_LENGTH, view);
}

static void
port_release(void *world)
{
	struct daemon *d = world;
	if (d->link != NULL)
		(void)redis_send(d, COMMAND_RELEASE, 0);
}

/* -- ports to SQL */

/* The ledger row that the window makes. */
static void
make_row(struct world *w, struct sql_request *r)
{
	struct sql_row *row = &r->row;
	const struct window *window = r->s.window;
	struct buf dead = BUF_INIT;
	*row = (struct sql_row){ .epoch = r->s.epoch, .first = window->first, .count = window->count };
	memcpy(row->generation, r->generation, sizeof row->generation);
	memcpy(row->hashes, window->hashes, window->count * sizeof *row->hashes);
	window_dead_write(window, &dead);
	if (dead.len > sizeof row->dead)
		fail(w, "dead text of %zu bytes", dead.len);
	row->dead_len = (uint16_t)dead.len;
	if (dead.len > 0)
		memcpy(row->dead, dead.data, dead.len);
	buf_free(&dead);
}

static void
port_ask(void *world, struct task *task, const struct statement *statement)
{
	struct daemon *d = world;
	struct world *w = d->world;
	struct session *s = task->session;
	if (d->dying)
		fail(w, "a dead daemon asks");
	if (s->owner != d || s->asked)
		fail(w, "%s asks on a session that is not free", d->name);
	struct sql_request *r = &s->request;
	r->s = *statement;
	snprintf(r->generation, sizeof r->generation, "%s", queue_generation(d->queue));
	const struct window *window = statement->window;
	r->n_items = 0;
	if (window != NULL) {
		if (window->count > BATCH_MAX)
			fail(w, "a window of %u items", window->count);
		r->n_items = window->count;
		for (uint32_t i = 0; i < window->count; i++) {
			r->items[i] = order_of(w, &window->items[i]);
			r->skip[i] = window->skip[i];
		}
		r->untracked = window->untracked;
	}
	if (statement->kind == STATEMENT_LEDGER)
		make_row(w, r);
	s->task = task;
	s->asked = true;
	s->ran = false;
	s->asked_at = w->now;
	s->ready_at = w->now + delay(w);
	trace(w, "%s: sql %d: ask %d, epoch %llu, slot %u, first %llu, %u items", d->name, (int)(s - w->pool), (int)statement->kind,
	    (unsigned long long)statement->epoch, statement->slot, window == NULL ? 0 : (unsigned long long)window->first, r->n_items);
}

/* Takes the session out of the daemon's pool; the server finds out later. Another is connected in its place. */
static void
drop_session(struct daemon *d, struct session *s)
{
	struct world *w = d->world;
	s->owner = NULL;
	s->task = NULL;
	s->ready_at = w->now + delay(w) + delay(w);
	if (!s->open && !s->asked)
		s->used = false;
	for (unsigned i = 0; i < d->world->limits.sessions; i++) {
		if (d->sessions[i] == s)
			d->sessions[i] = NULL;
	}
}

static void
port_give_back(void *world, struct session *session, bool lost)
{
	struct daemon *d = world;
	session->task = NULL;
	if (lost || d->dying) {
		drop_session(d, session);
		return;
	}
	if (session->open || session->aborted)
		fail(d->world, "%s gives a session back with a transaction open", d->name);
	if (session->asked)
		fail(d->world, "%s gives a session back with a statement under way", d->name);
}

static void
port_want(void *world, unsigned sessions)
{
	struct daemon *d = world;
	d->wanted = sessions;
}

static bool
port_prepare(void *world, struct task *task)
{
	struct daemon *d = world;
	for (uint32_t i = 0; i < task->window->count; i++) {
		if (d->world->orders[order_of(d->world, &task->window->items[i])].poison == POISON_MESSAGE)
			window_reject(task->window, &(struct reject){ .index = i, .class = "message", .message = "bad" });
	}
	return chance(d->world, 5) > 0; /* a field without a column, now and then */
}

static void
port_wake_at(void *world, uint64_t ms)
{
	struct daemon *d = world;
	d->wake_at = ms;
}

static uint64_t
port_random(void *world)
{
	struct daemon *d = world;
	return random_bits(d->world);
}

static void
port_tell(void *world, int level, const char *text)
{
	struct daemon *d = world;
	trace(d->world, "%s: says (%d) %s", d->name, level, text);
}

static const struct queue_ports ports = {
	.lease = port_lease, .own = port_own, .peek = port_peek, .settle = port_settle, .wait = port_wait, .length = port_length, .release = port_release,
	.ask = port_ask, .give_back = port_give_back, .want = port_want, .prepare = port_prepare, .wake_at = port_wake_at, .random = port_random,
	.tell = port_tell,
};

/* -- answers */

static void
deliver_peek(struct daemon *d, const struct command *c, const char *why)
{
	struct world *w = d->world;
	struct item items[PUSHES_MAX];
	struct arena *arena = arena_new();
	for (uint32_t i = 0; i < c->n_items; i++)
		items[i] = (struct item){ w->orders[c->items[i]].text, w->orders[c->items[i]].len };
	struct peek_answer a = { .class = c->class, .why = why, .items = items, .n = c->n_items, .disowned = c->disowned, .cut = c->yes, .arena = arena };
	queue_peeked(d->queue, w->now, c->view, &a);
	arena_unref(&arena);
}

/* Hands a copy over: the call may send more on the same link. */
static void
deliver(struct daemon *d, const struct command *c)
{
	struct queue *q = d->queue;
	uint64_t now = d->world->now;
	const char *why = c->class == REDIS_OK ? "" : "simulated";
	switch (c->kind) {
	case COMMAND_LEASE:
		queue_leased(q, now, c->view, &(struct lease_answer){ c->class, why, c->yes, c->holder, c->ttl, c->epoch });
		break;
	case COMMAND_OWN:
		queue_owned(q, now, c->view, &(struct own_answer){ c->class, why, c->yes, c->generation, c->fresh, c->settled, c->backlog });
		break;
	case COMMAND_PEEK:
		deliver_peek(d, c, why);
		break;
	case COMMAND_SETTLE:
		queue_settled(q, now, c->view, &(struct settle_answer){ c->class, why, c->status, c->settled, c->backlog, c->dead });
		break;
	case COMMAND_LENGTH:
		if (c->class == REDIS_OK)
			queue_measured(q, now, c->view, c->backlog, c->dead);
		break;
	case COMMAND_RELEASE:
		break;
	}
}

void
daemon_deliver_command(struct daemon *d)
{
	struct link *link = d->link;
	ASSERT(link != NULL && link->n_ran > 0);
	struct command c = link->commands[link->head];
	link->head = (link->head + 1) % COMMANDS_MAX;
	link->n--;
	link->n_ran--;
	deliver(d, &c);
	if (c.class == REDIS_READONLY && d->link != NULL)
		daemon_link_lost(d, true);
}

/* Some of what was under way is answered so before queue_redis_down(), some is not answered at all. */
static void
answer_lost(struct daemon *d, struct link *link)
{
	while (link->n > 0) {
		struct command c = link->commands[link->head];
		link->head = (link->head + 1) % COMMANDS_MAX;
		link->n--;
		c.class = REDIS_LOST;
		c.n_items = 0;
		if (chance(d->world, 2) == 0)
			deliver(d, &c);
	}
}

void
daemon_link_lost(struct daemon *d, bool late)
{
	struct world *w = d->world;
	struct link link = *d->link;
	redis_orphan(w, d->link, late);
	d->link = NULL;
	d->connect_at = w->now + 1 + delay(w);
	w->totals->links_lost++;
	trace(w, "%s: link to Redis lost", d->name);
	answer_lost(d, &link);
	d->waiting = false;
	queue_redis_down(d->queue, w->now);
}

static void
lost_answer(struct answer *a)
{
	*a = (struct answer){ .error = { .class = DB_RECONNECT, .row = -1, .offset = -1, .lost = true, .message = "lost" }, .item = -1 };
}

void
daemon_session_lost(struct session *s)
{
	struct daemon *d = s->owner;
	struct answer a;
	d->world->totals->sessions_lost++;
	trace(d->world, "%s: sql %d: lost", d->name, (int)(s - d->world->pool));
	if (s->task == NULL) {
		drop_session(d, s);
		return;
	}
	lost_answer(&a);
	queue_answered(d->queue, d->world->now, s->task, &a);
}

void
daemon_deliver_answer(struct session *s)
{
	struct daemon *d = s->owner;
	struct ledger_row rows[RING_MAX];
	struct answer a = s->answer;
	ASSERT(s->asked && s->ran && s->task != NULL);
	for (size_t i = 0; i < a.n_rows; i++) {
		const struct sql_row *row = &s->rows[i];
		bool lock = s->request.s.kind == STATEMENT_ROW_LOCK;
		bool ours = strcmp(row->generation, s->request.generation) == 0;
		bool whole = lock || (ours && row->count > 0 && row->first + row->count > s->request.s.settled);
		rows[i] = (struct ledger_row){ .slot = lock ? s->row_slot : (uint32_t)i, .ours = ours, .epoch = row->epoch, .first = row->first,
			.count = row->count, .hashes = whole ? row->hashes : NULL, .dead = whole ? row->dead : "", .dead_len = whole ? row->dead_len : 0 };
	}
	a.rows = rows;
	s->asked = s->ran = false;
	queue_answered(d->queue, d->world->now, s->task, &a);
}

/* -- pool */

struct session *
daemon_idle(struct daemon *d)
{
	for (unsigned i = 0; i < d->world->limits.sessions; i++) {
		struct session *s = d->sessions[i];
		if (s != NULL && s->task == NULL && s->ready_at <= d->world->now)
			return s;
	}
	return NULL;
}

void
daemon_give(struct daemon *d)
{
	struct session *s = daemon_idle(d);
	ASSERT(s != NULL);
	if (queue_give(d->queue, d->world->now, s)) {
		d->refusals = 0;
		return;
	}
	if (++d->refusals > 3 && d->wanted > 0)
		fail(d->world, "%s wants %u sessions and takes none", d->name, d->wanted);
	if (d->wanted == 0)
		d->refusals = 0;
}

/* -- the operator */

void
daemon_choose(struct daemon *d)
{
	struct world *w = d->world;
	if (w->choice == HISTORY_ASK || !d->alive || d->stalled_until > w->now || !queue_choose(d->queue, w->now, w->choice))
		return;
	w->totals->accepted += w->choice == HISTORY_ACCEPT;
	w->totals->skipped += w->choice == HISTORY_SKIP;
}

/* -- life */

void
daemon_start(struct daemon *d)
{
	d->alive = true;
	d->dying = d->resting = d->waiting = false;
	d->boot++;
	d->wake_at = AWAY;
	d->wanted = d->refusals = 0;
	d->link = NULL;
	d->connect_at = d->world->now + delay(d->world);
	d->stalled_until = 0;
	memset(d->sessions, 0, sizeof d->sessions);
	d->queue = queue_new(&ports, d, &d->world->limits, d->name);
	trace(d->world, "%s: starts", d->name);
}

/* Ends the queue object; everything outside is forgotten already. */
static void
dispose(struct daemon *d)
{
	struct world *w = d->world;
	struct queue_view look;
	struct answer a;
	lost_answer(&a);
	d->dying = true;
	queue_redis_down(d->queue, w->now);
	for (unsigned i = 0; i < SESSIONS_MAX; i++) {
		struct session *s = d->sessions[i];
		if (s != NULL && s->task != NULL)
			queue_answered(d->queue, w->now, s->task, &a);
		else if (s != NULL)
			drop_session(d, s);
	}
	queue_look(d->queue, &look);
	w->totals->fenced += look.counters->fenced;
	w->totals->reconciled += look.counters->reconciled;
	queue_free(&d->queue);
	d->alive = d->resting = false;
	d->waiting = false;
}

void
daemon_kill(struct daemon *d)
{
	struct world *w = d->world;
	trace(w, "%s: ends", d->name);
	if (d->link != NULL)
		redis_orphan(w, d->link, true);
	d->link = NULL;
	dispose(d);
}

void
daemon_clear(struct daemon *d)
{
	if (d->queue == NULL)
		return;
	if (d->link != NULL)
		redis_orphan(d->world, d->link, false);
	d->link = NULL;
	dispose(d);
}
