/* One queue at work in a process: what src/worker.c is in the daemon. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#include "arena.h"

/* -- ports to Redis */

static void
port_lease(void *world, uint64_t view, uint64_t accepted)
{
	struct command *c = redis_send(world, COMMAND_LEASE, view);
	if (c != NULL)
		c->accepted = accepted;
}

static void
port_own(void *world, uint64_t view, const struct claim *claim)
{
	struct worker *k = world;
	struct command *c = redis_send(k, COMMAND_OWN, view);
	if (c == NULL)
		return;
	c->before = claim->before;
	c->epoch = claim->epoch;
	c->accepted = claim->accepted;
	c->rewritten = claim->rewritten;
	snprintf(c->generation, sizeof c->generation, "%s", claim->new_generation);
	k->lane->world->totals->rewritten += claim->rewritten;
}

static void
port_peek(void *world, uint64_t view, uint64_t offset, uint32_t count, size_t budget)
{
	struct worker *k = world;
	struct command *c = redis_send(k, COMMAND_PEEK, view);
	struct queue_view look;
	if (c == NULL)
		return;
	queue_look(k->queue, &look);
	c->epoch = look.epoch;
	c->offset = offset;
	c->count = count;
	c->budget = budget;
}

static void
add_dead(const struct lane *lane, struct command *c, const struct window *window)
{
	for (uint32_t i = 0; i < window->n_rejects; i++) {
		if (window->rejects[i].index < window->gone)
			continue; /* somebody else took it */
		if (c->n_items == PUSHES_MAX)
			fail(lane->world, "more dead letters in one settle than orders");
		c->items[c->n_items++] = order_of(lane, &window->items[window->rejects[i].index]);
	}
}

static void
port_settle(void *world, uint64_t view, const struct settle *settle)
{
	struct worker *k = world;
	struct world *w = k->lane->world;
	struct command *c = redis_send(k, COMMAND_SETTLE, view);
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
		c->sample[i] = order_of(k->lane, settle->samples[i].item);
	}
	for (size_t i = 0; i < settle->n_windows; i++) {
		if (settle->windows[i]->state != WINDOW_COMMITTED)
			fail(w, "settles a window that is not committed");
		add_dead(k->lane, c, settle->windows[i]);
	}
	trace(w, "%s: settle from %llu, skip %u, remove %u, advance %u, dead %u", k->name, (unsigned long long)c->settled, c->skip, c->remove, c->advance,
	    c->n_items);
}

static void
port_wait(void *world, uint64_t view)
{
	struct worker *k = world;
	struct world *w = k->lane->world;
	(void)view;
	if (k->daemon->dying)
		return;
	if (k->waiting)
		fail(w, "%s waits twice", k->name);
	k->waiting = true;
	k->wait_until = w->now + 1000 + chance(w, 5000);
}

static void
port_length(void *world, uint64_t view)
{
	(void)redis_send(world, COMMAND_LENGTH, view);
}

static void
port_release(void *world, uint64_t view, bool clean)
{
	struct worker *k = world;
	struct command *c = redis_send(k, COMMAND_RELEASE, view);
	struct queue_view look;
	if (c == NULL)
		return;
	queue_look(k->queue, &look);
	c->clean = clean;
	c->epoch = look.epoch;
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

/* The statement with all that it needs of the queue that asks. */
static void
make_request(struct worker *k, struct sql_request *r, const struct statement *statement)
{
	const struct window *window = statement->window;
	r->s = *statement;
	r->lane = k->lane;
	r->ledger = &k->lane->ledgers[k->ledger];
	snprintf(r->generation, sizeof r->generation, "%s", queue_generation(k->queue));
	r->n_items = 0;
	if (window != NULL) {
		if (window->count > BATCH_MAX)
			fail(k->lane->world, "a window of %u items", window->count);
		r->n_items = window->count;
		for (uint32_t i = 0; i < window->count; i++) {
			r->items[i] = order_of(k->lane, &window->items[i]);
			r->skip[i] = window->skip[i];
		}
		r->untracked = window->untracked;
	}
	if (statement->kind == STATEMENT_LEDGER || statement->kind == STATEMENT_BATCH)
		make_row(k->lane->world, r);
}

static void
port_ask(void *world, struct task *task, const struct statement *statement)
{
	struct worker *k = world;
	struct world *w = k->lane->world;
	struct session *s = task->session;
	if (k->daemon->dying)
		fail(w, "a dead daemon asks");
	if (s->owner != k->daemon || s->worker != k || s->asked)
		fail(w, "%s asks on a session that is not free", k->name);
	make_request(k, &s->request, statement);
	s->task = task;
	s->asked = true;
	s->ran = false;
	s->asked_at = w->now;
	s->ready_at = w->now + delay(w);
	trace(w, "%s: sql %d: ask %d, epoch %llu, slot %u, first %llu, %u items", k->name, (int)(s - w->pool), (int)statement->kind,
	    (unsigned long long)statement->epoch, statement->slot, statement->window == NULL ? 0 : (unsigned long long)statement->window->first,
	    s->request.n_items);
}

static void
port_give_back(void *world, struct session *session, bool lost)
{
	struct worker *k = world;
	if (session->worker != k)
		fail(k->lane->world, "%s gives a session back that it does not have", k->name);
	session->task = NULL;
	session->worker = NULL;
	k->held--;
	if (lost || k->daemon->dying) {
		daemon_drop(session);
		return;
	}
	if (session->open || session->aborted)
		fail(k->lane->world, "%s gives a session back with a transaction open", k->name);
	if (session->asked)
		fail(k->lane->world, "%s gives a session back with a statement under way", k->name);
}

static void
port_want(void *world, unsigned sessions)
{
	struct worker *k = world;
	k->wanted = sessions;
}

static bool
port_prepare(void *world, struct task *task)
{
	struct worker *k = world;
	struct world *w = k->lane->world;
	for (uint32_t i = 0; i < task->window->count; i++) {
		if (k->lane->orders[order_of(k->lane, &task->window->items[i])].poison == POISON_MESSAGE)
			window_reject(task->window, &(struct reject){ .index = i, .class = "message", .message = "bad" });
	}
	task->together = task->ledger && task->piece == 0 && window_rows(task->window) > 0 && chance(w, 3) > 0;
	task->commits = task->together && w->aborts && chance(w, 3) > 0; /* PostgreSQL, mode insert */
	return chance(w, 5) > 0; /* a field without a column, now and then */
}

static void
port_wake_at(void *world, uint64_t ms)
{
	struct worker *k = world;
	k->wake_at = ms;
}

static uint64_t
port_random(void *world)
{
	struct worker *k = world;
	return random_bits(k->lane->world);
}

static void
port_tell(void *world, int level, const char *text)
{
	struct worker *k = world;
	trace(k->lane->world, "%s: says (%d) %s", k->name, level, text);
}

static const struct queue_ports ports = {
	.lease = port_lease, .own = port_own, .peek = port_peek, .settle = port_settle, .wait = port_wait, .length = port_length, .release = port_release,
	.ask = port_ask, .give_back = port_give_back, .want = port_want, .prepare = port_prepare, .wake_at = port_wake_at, .random = port_random,
	.tell = port_tell,
};

/* -- answers */

static void
deliver_peek(struct worker *k, const struct command *c, const char *why)
{
	const struct order *orders = k->lane->orders;
	struct item items[PUSHES_MAX];
	struct arena *arena = arena_new();
	for (uint32_t i = 0; i < c->n_items; i++)
		items[i] = (struct item){ orders[c->items[i]].text, orders[c->items[i]].len };
	struct peek_answer a = { .class = c->class, .why = why, .items = items, .n = c->n_items, .disowned = c->disowned, .cut = c->yes, .arena = arena };
	queue_peeked(k->queue, k->lane->world->now, c->view, &a);
	arena_unref(&arena);
}

/* Hands a copy over: the call may send more on the same link. */
static void
deliver(struct worker *k, const struct command *c)
{
	struct queue *q = k->queue;
	uint64_t now = k->lane->world->now;
	const char *why = c->class == REDIS_OK ? "" : "simulated";
	switch (c->kind) {
	case COMMAND_LEASE:
		if (c->in_doubt)
			k->doubted = c->epoch;
		queue_leased(q, now, c->view, &(struct lease_answer){ .class = c->class, .why = why, .granted = c->yes, .holder = c->holder, .ttl_ms = c->ttl,
		    .epoch = c->epoch, .ledger = "", .elsewhere = c->elsewhere, .others = c->others, .clean = c->clean, .in_doubt = c->in_doubt });
		break;
	case COMMAND_OWN:
		queue_owned(q, now, c->view, &(struct own_answer){ .class = c->class, .why = why, .refused = c->yes, .in_doubt = c->in_doubt,
		    .generation = c->generation, .fresh = c->fresh, .settled = c->settled, .backlog = c->backlog });
		break;
	case COMMAND_PEEK:
		deliver_peek(k, c, why);
		break;
	case COMMAND_SETTLE:
		queue_settled(q, now, c->view, &(struct settle_answer){ c->class, why, c->status, c->settled, c->backlog, c->dead });
		break;
	case COMMAND_LENGTH:
		if (c->class == REDIS_OK)
			queue_measured(q, now, c->view, c->backlog, c->dead);
		break;
	case COMMAND_RELEASE:
		queue_released(q, now, c->view, c->class, c->yes);
		break;
	}
}

/* Takes the oldest command off the link. */
static struct command
take_command(struct link *link)
{
	struct command c = link->commands[link->head];
	ASSERT(link->n > 0);
	link->head = (link->head + 1) % COMMANDS_MAX;
	link->n--;
	return c;
}

void
worker_deliver(struct worker *k)
{
	ASSERT(k->link != NULL && k->link->n_ran > 0);
	struct command c = take_command(k->link);
	k->link->n_ran--;
	deliver(k, &c);
	if (c.class == REDIS_READONLY && k->link != NULL)
		worker_link_lost(k, true);
}

/* Some of what was under way is answered so before queue_redis_down(), some is not answered at all. */
static void
answer_lost_commands(struct worker *k, struct link *link)
{
	while (link->n > 0) {
		struct command c = take_command(link);
		c.class = REDIS_LOST;
		c.n_items = 0;
		if (chance(k->lane->world, 2) == 0)
			deliver(k, &c);
	}
}

void
worker_link_lost(struct worker *k, bool late)
{
	struct world *w = k->lane->world;
	struct link link = *k->link;
	redis_orphan(w, k->link, late);
	k->link = NULL;
	k->connect_at = w->now + 1 + delay(w);
	w->totals->links_lost++;
	trace(w, "%s: link to Redis lost", k->name);
	answer_lost_commands(k, &link);
	k->waiting = false;
	queue_redis_down(k->queue, w->now);
}

void
worker_answer_lost(struct session *s)
{
	struct worker *k = s->worker;
	struct answer a = { .error = { .class = DB_RECONNECT, .row = -1, .offset = -1, .lost = true, .message = "lost" }, .item = -1 };
	ASSERT(k != NULL && s->task != NULL);
	queue_answered(k->queue, k->lane->world->now, s->task, &a);
}

void
worker_answer(struct session *s)
{
	struct worker *k = s->worker;
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
	queue_answered(k->queue, k->lane->world->now, s->task, &a);
}

/* -- the pool and the operator */

void
worker_give(struct worker *k)
{
	struct world *w = k->lane->world;
	struct session *s = daemon_idle(k->daemon);
	ASSERT(s != NULL && s->worker == NULL);
	w->totals->handed_on += s->last != NULL && s->last != k;
	s->worker = s->last = k;
	k->held++;
	k->wanted--;
	if (queue_give(k->queue, w->now, s))
		return;
	s->worker = NULL;
	k->held--;
	k->wanted = 0; /* the pool waits until it is told again */
}

void
worker_choose(struct worker *k)
{
	const struct lane *lane = k->lane;
	struct totals *totals = lane->world->totals;
	if (lane->choice == HISTORY_ASK || !daemon_is_awake(k->daemon) || worker_is_in_doubt(k) ||
	    !queue_choose(k->queue, lane->world->now, lane->choice))
		return;
	totals->accepted += lane->choice == HISTORY_ACCEPT;
	totals->skipped += lane->choice == HISTORY_SKIP;
}

/* -- life */

void
worker_start(struct worker *k)
{
	struct world *w = k->lane->world;
	ASSERT(k->queue == NULL && k->held == 0);
	k->waiting = false;
	k->wake_at = AWAY;
	k->wanted = 0;
	k->link = NULL;
	k->connect_at = w->now + delay(w);
	k->ledger = k->lane->ledger;
	k->ending = k->handing = false;
	k->queue = queue_new(&ports, k, &k->lane->limits, k->daemon->name);
	if (k->lane->ailment == AILMENT_PAUSED)
		queue_pause(k->queue, w->now);
}

bool
worker_is_in_doubt(const struct worker *k)
{
	struct queue_view look;
	queue_look(k->queue, &look);
	return strstr(look.reason, "wrote another ledger") != NULL; /* whether or not he has paused it */
}

void
worker_take_risk(struct worker *k)
{
	if (k->lane->world->patient || !daemon_is_awake(k->daemon) || !worker_is_in_doubt(k) || queue_choose(k->queue, k->lane->world->now, HISTORY_SKIP) ||
	    !queue_choose(k->queue, k->lane->world->now, HISTORY_ACCEPT))
		return;
	trace(k->lane->world, "%s: the operator takes the risk", k->name);
	ASSERT(k->doubted < EPOCHS_MAX);
	k->lane->consent[k->doubted] = true;
}

void
lane_move(struct lane *lane)
{
	struct world *w = lane->world;
	lane->ledger = (lane->ledger + 1) % LEDGERS;
	lane->moving = false;
	w->n_snapshots = 0; /* of a fall-back to before it, or to before the first owner's taking over, the other ledger knows nothing */
	w->totals->moves++;
	trace(w, "%s goes to ledger %u", lane->name, lane->ledger);
}

void
worker_renew(struct worker *k)
{
	struct world *w = k->lane->world;
	if (k->handing && k->lane->moving && k->ledger == k->lane->ledger)
		lane_move(k->lane);
	unsigned ledger = k->handing ? k->lane->ledger : k->ledger; /* a daemon that has not heard of the other one keeps its own */
	if (k->link != NULL)
		redis_orphan(w, k->link, true);
	if (chance(w, 2) == 0) {
		worker_end(k);
		worker_start(k);
	} else {
		k->link = NULL;
		k->waiting = k->ending = k->handing = false;
		k->connect_at = w->now + delay(w);
		queue_renew(k->queue, w->now, &k->lane->limits);
	}
	k->ledger = ledger;
}

void
worker_abandon(struct worker *k)
{
	ASSERT(k->daemon->dying);
	if (k->link != NULL)
		redis_orphan(k->lane->world, k->link, true);
	k->link = NULL;
	k->waiting = false;
	queue_redis_down(k->queue, k->lane->world->now);
}

void
worker_end(struct worker *k)
{
	struct totals *totals = k->lane->world->totals;
	struct queue_view look;
	ASSERT(k->held == 0);
	queue_look(k->queue, &look);
	totals->fenced += look.counters->fenced;
	totals->reconciled += look.counters->reconciled;
	queue_free(&k->queue);
}
