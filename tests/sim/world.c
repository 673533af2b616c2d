/* One schedule: what can happen next is listed, the seed chooses. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CALM_MS 600000      /* simulated time within which everything must have drained once faults have ceased */
#define CALM_STEPS 60000
#define COMMAND_TIMEOUT_MS 10000

/* -- chance and time */

uint64_t
random_bits(struct world *w)
{
	uint64_t z = (w->rng += 0x9e3779b97f4a7c15u); /* splitmix64 */
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint32_t
chance(struct world *w, uint32_t n)
{
	ASSERT(n > 0);
	return (uint32_t)((random_bits(w) >> 32) * n >> 32);
}

bool
fault(struct world *w, unsigned n)
{
	return n > 0 && !w->calm && chance(w, n) == 0;
}

uint64_t
delay(struct world *w)
{
	if (fault(w, w->faults.slow))
		return chance(w, 3 * w->limits.lease_ms);
	return chance(w, 4) == 0 ? chance(w, 50) : chance(w, 4);
}

void
fail(struct world *w, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(w->failure, sizeof w->failure, fmt, args);
	va_end(args);
	trace(w, "FAILED %s", w->failure);
	longjmp(w->failed, 1);
}

void
trace(const struct world *w, const char *fmt, ...)
{
	if (!w->trace)
		return;
	printf("%7llu  ", (unsigned long long)w->now);
	va_list args;
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

/* -- orders */

uint16_t
order_of(const struct world *w, const struct item *item)
{
	size_t n = (size_t)(item->text - w->orders[0].text) / sizeof *w->orders;
	ASSERT(n < w->n_orders && w->orders[n].text == item->text);
	return (uint16_t)n;
}

void
world_push(struct world *w, bool at_our_end)
{
	struct redis_data *r = &w->redis;
	if (w->n_orders == w->most_orders || r->n_list == PUSHES_MAX)
		return;
	uint16_t n = (uint16_t)w->n_orders++;
	struct order *o = &w->orders[n];
	*o = (struct order){ .poison = POISON_NONE };
	if (w->poison_in > 0 && chance(w, w->poison_in) == 0)
		o->poison = (enum poison)(1 + chance(w, 4));
	o->len = (uint32_t)snprintf(o->text, sizeof o->text, "%u", w->kind == KIND_ALIKE ? chance(w, 2) + 2 * (unsigned)o->poison : n);
	if (at_our_end)
		memmove(r->list + 1, r->list, r->n_list * sizeof *r->list);
	r->list[at_our_end ? 0 : r->n_list] = n;
	r->n_list++;
	w->totals->pushes++;
	trace(w, "order %u is pushed%s, payload %s%s", n, at_our_end ? " at our end" : "", o->text, o->poison == POISON_NONE ? "" : ", poison");
}

/* -- what can happen next */

enum action_kind { ACTION_RUN, ACTION_DELIVER, ACTION_SQL_RUN, ACTION_SQL_DELIVER, ACTION_ORPHAN, ACTION_TICK, ACTION_GIVE, ACTION_CONNECT,
	ACTION_SQL_CONNECT, ACTION_WAKE, ACTION_START, ACTION_TIMEOUT };

struct action {
	enum action_kind kind;
	void *object; /* link, session or daemon */
};

struct choices {
	struct action actions[POOL_MAX + 2 * LINKS_MAX + 8 * DAEMONS_MAX];
	unsigned n;
	uint64_t next; /* ms, when something more can happen at the earliest */
};

/* Notes an action for now, or its time for later. */
static void
consider(const struct world *w, struct choices *c, enum action_kind kind, void *object, uint64_t at)
{
	if (at <= w->now) {
		ASSERT(c->n < sizeof c->actions / sizeof *c->actions);
		c->actions[c->n++] = (struct action){ kind, object };
	} else if (at < c->next) {
		c->next = at;
	}
}

static uint64_t
later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void
consider_link(const struct world *w, struct choices *c, struct link *link)
{
	struct command *unrun = redis_unrun(link);
	if (unrun != NULL)
		consider(w, c, ACTION_RUN, link, unrun->ready_at);
	if (link->owner == NULL)
		return;
	const struct command *head = &link->commands[link->head];
	if (link->n_ran > 0)
		consider(w, c, ACTION_DELIVER, link->owner, later(head->ready_at, link->owner->stalled_until));
	else if (link->n > 0)
		consider(w, c, ACTION_TIMEOUT, link->owner, later(head->sent_at + COMMAND_TIMEOUT_MS, link->owner->stalled_until));
}

static void
consider_session(const struct world *w, struct choices *c, struct session *s)
{
	if (s->owner == NULL) {
		consider(w, c, ACTION_ORPHAN, s, s->ready_at);
	} else if (s->asked && s->ran) {
		consider(w, c, ACTION_SQL_DELIVER, s, later(s->ready_at, s->owner->stalled_until));
	} else if (s->asked) {
		bool can = sql_can_run(w, s);
		consider(w, c, ACTION_SQL_RUN, s, can ? s->ready_at : later(s->ready_at, s->asked_at + w->lock_timeout));
	}
}

static void
consider_daemon(const struct world *w, struct choices *c, struct daemon *d)
{
	if (!d->alive) {
		if (!w->calm || d == &w->daemons[0])
			consider(w, c, ACTION_START, d, d->connect_at);
		return;
	}
	uint64_t free_at = d->stalled_until;
	if (d->wake_at != AWAY)
		consider(w, c, ACTION_TICK, d, later(d->wake_at, free_at));
	if (d->link == NULL && !d->resting)
		consider(w, c, ACTION_CONNECT, d, later(d->connect_at, free_at));
	if (d->wanted > 0 && daemon_idle(d) != NULL)
		consider(w, c, ACTION_GIVE, d, free_at);
	if (d->waiting && d->link != NULL)
		consider(w, c, ACTION_WAKE, d, later(w->redis.n_list > 0 ? w->now : d->wait_until, free_at));
	for (unsigned i = 0; i < w->limits.sessions; i++) {
		if (d->sessions[i] == NULL) {
			consider(w, c, ACTION_SQL_CONNECT, d, free_at);
			break;
		}
		if (d->sessions[i]->ready_at > w->now && d->sessions[i]->task == NULL && d->sessions[i]->ready_at < c->next)
			c->next = d->sessions[i]->ready_at;
	}
}

static void
list_choices(struct world *w, struct choices *c)
{
	c->n = 0;
	c->next = AWAY;
	for (unsigned i = 0; i < LINKS_MAX; i++) {
		if (w->links[i].used)
			consider_link(w, c, &w->links[i]);
	}
	for (unsigned i = 0; i < POOL_MAX; i++) {
		if (w->pool[i].used)
			consider_session(w, c, &w->pool[i]);
	}
	for (unsigned i = 0; i < w->n_daemons; i++)
		consider_daemon(w, c, &w->daemons[i]);
}

/* -- doing it */

static void
connect_redis(struct world *w, struct daemon *d)
{
	for (unsigned i = 0; i < LINKS_MAX; i++) {
		struct link *link = &w->links[i];
		if (link->used)
			continue;
		link->used = true;
		link->owner = d;
		link->head = link->n = link->n_ran = 0;
		d->link = link;
		trace(w, "%s: connected to Redis", d->name);
		queue_redis_up(d->queue, w->now);
		return;
	}
	for (unsigned i = 0; i < LINKS_MAX; i++) /* too many orphans: what they sent never arrives */
		w->links[i].used = w->links[i].owner != NULL;
}

static void
connect_sql(struct world *w, struct daemon *d)
{
	for (unsigned i = 0; i < w->limits.sessions; i++) {
		if (d->sessions[i] != NULL)
			continue;
		d->sessions[i] = sql_connect(w, d);
		if (d->sessions[i] != NULL)
			d->sessions[i]->ready_at = w->now + delay(w);
		else
			for (unsigned k = 0; k < POOL_MAX; k++)
				if (w->pool[k].owner == NULL)
					sql_end_orphan(w, &w->pool[k]);
		return;
	}
}

static void
tick(struct world *w, struct daemon *d)
{
	w->idle_ticks = w->last_tick == w->now ? w->idle_ticks + 1 : 0;
	w->last_tick = w->now;
	if (w->idle_ticks > 200)
		fail(w, "%s spins: it asks to be woken at %llu again and again", d->name, (unsigned long long)d->wake_at);
	d->wake_at = AWAY;
	queue_tick(d->queue, w->now);
}

static void
run_link(struct world *w, struct link *link)
{
	redis_run(w, link);
	if (link->owner == NULL)
		redis_orphan(w, link, true);
}

static void
act(struct world *w, const struct action *a)
{
	struct daemon *d = a->object;
	switch (a->kind) {
	case ACTION_RUN: run_link(w, a->object); break;
	case ACTION_DELIVER: daemon_deliver_command(d); break;
	case ACTION_SQL_RUN: sql_run(w, a->object); break;
	case ACTION_SQL_DELIVER: daemon_deliver_answer(a->object); break;
	case ACTION_ORPHAN: sql_end_orphan(w, a->object); break;
	case ACTION_TICK: tick(w, d); break;
	case ACTION_GIVE: daemon_give(d); break;
	case ACTION_CONNECT: connect_redis(w, d); break;
	case ACTION_SQL_CONNECT: connect_sql(w, d); break;
	case ACTION_START: daemon_start(d); break;
	case ACTION_WAKE:
		d->waiting = false;
		queue_woken(d->queue, w->now, fault(w, w->faults.redis_error));
		break;
	case ACTION_TIMEOUT:
		daemon_link_lost(d, true);
		break;
	}
}

/* A daemon that has stopped as it should is a process that has ended. */
static void
reap(struct world *w)
{
	for (unsigned i = 0; i < w->n_daemons; i++) {
		struct daemon *d = &w->daemons[i];
		struct queue_view look;
		if (!d->alive || !d->resting)
			continue;
		queue_look(d->queue, &look);
		if (look.state == QUEUE_STOPPED) {
			daemon_kill(d);
			d->connect_at = w->now + chance(w, 3000);
		}
	}
}

static void
step(struct world *w)
{
	struct choices c;
	list_choices(w, &c);
	if (c.n == 0 || chance(w, 10) == 0) {
		uint64_t to = w->now + 1 + chance(w, 10);
		w->now = c.n == 0 && c.next != AWAY && c.next > to ? c.next : to;
	}
	if (c.n > 0)
		act(w, &c.actions[chance(w, c.n)]);
	w->totals->steps++;
	reap(w);
	audit_step(w);
}

/* Has the owner stopped for history that is forgotten? */
static bool
is_paused_for_history(const struct world *w)
{
	for (unsigned i = 0; i < w->n_daemons; i++) {
		struct queue_view look;
		if (!w->daemons[i].alive)
			continue;
		queue_look(w->daemons[i].queue, &look);
		if (look.block == BLOCK_HISTORY && look.epoch == w->redis.epoch)
			return true;
	}
	return false;
}

static void
run_calm(struct world *w)
{
	uint64_t until = w->now + CALM_MS;
	unsigned quiet = 0;
	for (unsigned i = 0; quiet < 100; i++) {
		if (is_paused_for_history(w)) {
			audit_history(w);
			w->totals->paused_history++;
			if (w->choice == HISTORY_ASK)
				return;
			for (unsigned d = 0; d < w->n_daemons; d++)
				daemon_choose(&w->daemons[d]);
		}
		if (w->now > until || i > CALM_STEPS)
			fail(w, "not drained: %u items are left after %llu ms and %u steps", w->redis.n_list, (unsigned long long)(w->now + CALM_MS - until), i);
		step(w);
		quiet = w->redis.n_list > 0 || sql_is_open(w) ? 0 : quiet + 1;
	}
	audit_end(w);
}

static void
run(struct world *w)
{
	unsigned steps = 50 + chance(w, 1500), push_in = 5 + chance(w, 40);
	for (unsigned i = 0; i < w->n_daemons; i++) {
		struct daemon *d = &w->daemons[i];
		*d = (struct daemon){ .world = w, .name = { (char)('a' + i) } };
		if (i == 0 || chance(w, 2) == 0)
			daemon_start(d);
		else
			d->connect_at = chance(w, 5000);
	}
	for (unsigned i = 0; i < steps; i++) {
		if (chance(w, push_in) == 0) {
			for (unsigned n = 1 + chance(w, 6); n > 0; n--)
				world_push(w, false);
		}
		faults_step(w);
		step(w);
	}
	faults_cease(w);
	run_calm(w);
}

bool
world_run(struct world *w, uint64_t seed, enum kind kind, struct totals *totals, bool trace_it)
{
	memset(w, 0, offsetof(struct world, orders));
	w->seed = seed;
	w->kind = kind;
	w->rng = seed * KINDS + kind;
	w->trace = trace_it;
	w->totals = totals;
	w->now = 1000;
	w->n_orders = w->n_snapshots = w->idle_ticks = 0;
	w->last_tick = 0;
	w->ring_made = w->twice_allowed = w->backup.made = false;
	w->choice = HISTORY_ASK;
	memset(&w->redis, 0, sizeof w->redis);
	memset(w->ring, 0, sizeof w->ring);
	for (unsigned i = 0; i < LINKS_MAX; i++)
		w->links[i].used = false;
	for (unsigned i = 0; i < POOL_MAX; i++)
		w->pool[i].used = false;
	faults_choose(w);
	bool ok = setjmp(w->failed) == 0;
	if (ok)
		run(w);
	if (ok)
		for (unsigned i = 0; i < w->n_daemons; i++)
			daemon_clear(&w->daemons[i]);
	totals->schedules++;
	return ok;
}
