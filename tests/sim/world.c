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
		return chance(w, 3 * LEASE_MS);
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
order_of(const struct lane *lane, const struct item *item)
{
	size_t n = (size_t)(item->text - lane->orders[0].text) / sizeof *lane->orders;
	if (n >= lane->n_orders)
		fail(lane->world, "%s has an item of another queue", lane->name);
	ASSERT(lane->orders[n].text == item->text);
	return (uint16_t)n;
}

void
world_push(struct lane *lane, bool at_our_end)
{
	struct world *w = lane->world;
	struct redis_data *r = &lane->redis;
	if (lane->n_orders == lane->most_orders || r->n_list == PUSHES_MAX)
		return;
	uint16_t n = (uint16_t)lane->n_orders++;
	struct order *o = &lane->orders[n];
	*o = (struct order){ .poison = POISON_NONE };
	if (w->poison_in > 0 && chance(w, w->poison_in) == 0)
		o->poison = (enum poison)(1 + chance(w, 4));
	o->len = (uint32_t)snprintf(o->text, sizeof o->text, "%u", w->kind == KIND_ALIKE ? chance(w, 2) + 2 * (unsigned)o->poison : n);
	if (at_our_end)
		memmove(r->list + 1, r->list, r->n_list * sizeof *r->list);
	r->list[at_our_end ? 0 : r->n_list] = n;
	r->n_list++;
	w->totals->pushes++;
	trace(w, "%s: order %u is pushed%s, payload %s%s", lane->name, n, at_our_end ? " at our end" : "", o->text,
	    o->poison == POISON_NONE ? "" : ", poison");
}

/* -- what can happen next */

enum action_kind { ACTION_RUN, ACTION_DELIVER, ACTION_SQL_RUN, ACTION_SQL_DELIVER, ACTION_ORPHAN, ACTION_TICK, ACTION_GIVE, ACTION_CONNECT,
	ACTION_SQL_CONNECT, ACTION_WAKE, ACTION_START, ACTION_TIMEOUT };

struct action {
	enum action_kind kind;
	void *object; /* link, session, worker or daemon */
};

struct choices {
	struct action actions[POOL_MAX + 2 * LINKS_MAX + DAEMONS_MAX * (2 + 4 * LANES_MAX)];
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
	uint64_t free_at = link->owner->daemon->stalled_until;
	if (link->n_ran > 0)
		consider(w, c, ACTION_DELIVER, link->owner, later(head->ready_at, free_at));
	else if (link->n > 0)
		consider(w, c, ACTION_TIMEOUT, link->owner, later(head->sent_at + COMMAND_TIMEOUT_MS, free_at));
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
consider_worker(const struct world *w, struct choices *c, struct worker *k, bool may_lend)
{
	uint64_t free_at = k->daemon->stalled_until;
	if (k->wake_at != AWAY)
		consider(w, c, ACTION_TICK, k, later(k->wake_at, free_at));
	if (k->link == NULL)
		consider(w, c, ACTION_CONNECT, k, later(k->connect_at, free_at));
	if (k->wanted > 0 && may_lend && k->held < k->lane->limits.sessions)
		consider(w, c, ACTION_GIVE, k, free_at);
	if (k->waiting && k->link != NULL)
		consider(w, c, ACTION_WAKE, k, later(k->lane->redis.n_list > 0 ? w->now : k->wait_until, free_at));
}

static void
consider_daemon(const struct world *w, struct choices *c, struct daemon *d)
{
	if (!d->alive) {
		if (!w->calm || d == &w->daemons[0])
			consider(w, c, ACTION_START, d, d->start_at);
		return;
	}
	bool may_lend = daemon_idle(d) != NULL;
	EACH(d->workers, w->n_lanes, k)
		consider_worker(w, c, k, may_lend);
	EACH(d->sessions, w->pool_size, s) {
		if (*s == NULL) {
			consider(w, c, ACTION_SQL_CONNECT, d, d->stalled_until);
			break;
		}
		if ((*s)->ready_at > w->now && (*s)->worker == NULL && (*s)->ready_at < c->next)
			c->next = (*s)->ready_at;
	}
}

static void
list_choices(struct world *w, struct choices *c)
{
	c->n = 0;
	c->next = AWAY;
	EACH(w->links, LINKS_MAX, link) {
		if (link->used)
			consider_link(w, c, link);
	}
	EACH(w->pool, POOL_MAX, s) {
		if (s->used)
			consider_session(w, c, s);
	}
	EACH(w->daemons, w->n_daemons, d)
		consider_daemon(w, c, d);
}

/* -- doing it */

static void
connect_redis(struct worker *k)
{
	k->link = redis_connect(k);
	if (k->link == NULL)
		return;
	trace(k->lane->world, "%s: connected to Redis", k->name);
	queue_redis_up(k->queue, k->lane->world->now);
}

static void
connect_sql(struct world *w, struct daemon *d)
{
	EACH(d->sessions, w->pool_size, s) {
		if (*s != NULL)
			continue;
		*s = sql_connect(w, d);
		if (*s != NULL) {
			(*s)->ready_at = w->now + delay(w);
			return;
		}
		EACH(w->pool, POOL_MAX, orphan) { /* too many of them: the server notices now */
			if (orphan->owner == NULL)
				sql_end_orphan(w, orphan);
		}
		return;
	}
}

static void
tick(struct world *w, struct worker *k)
{
	w->idle_ticks = w->last_tick == w->now ? w->idle_ticks + 1 : 0;
	w->last_tick = w->now;
	if (w->idle_ticks > 200)
		fail(w, "%s spins: it asks to be woken at %llu again and again", k->name, (unsigned long long)k->wake_at);
	k->wake_at = AWAY;
	queue_tick(k->queue, w->now);
}

static void
wake(struct world *w, struct worker *k)
{
	k->waiting = false;
	queue_woken(k->queue, w->now, fault(w, w->faults.redis_error));
}

static void
run_link(struct world *w, struct link *link)
{
	redis_run(link);
	if (link->owner == NULL)
		redis_orphan(w, link, true);
}

static void
act(struct world *w, const struct action *a)
{
	switch (a->kind) {
	case ACTION_RUN: run_link(w, a->object); break;
	case ACTION_DELIVER: worker_deliver(a->object); break;
	case ACTION_TIMEOUT: worker_link_lost(a->object, true); break;
	case ACTION_SQL_RUN: sql_run(w, a->object); break;
	case ACTION_SQL_DELIVER: worker_answer(a->object); break;
	case ACTION_ORPHAN: sql_end_orphan(w, a->object); break;
	case ACTION_TICK: tick(w, a->object); break;
	case ACTION_GIVE: worker_give(a->object); break;
	case ACTION_CONNECT: connect_redis(a->object); break;
	case ACTION_SQL_CONNECT: connect_sql(w, a->object); break;
	case ACTION_WAKE: wake(w, a->object); break;
	case ACTION_START: daemon_start(a->object); break;
	}
}

static bool
has_stopped(const struct daemon *d)
{
	EACH(d->workers, d->world->n_lanes, k) {
		struct queue_view look;
		queue_look(k->queue, &look);
		if (look.state != QUEUE_STOPPED)
			return false;
	}
	return true;
}

/* A daemon whose queues all have stopped as they should is a process that has ended. */
static void
reap(struct world *w)
{
	EACH(w->daemons, w->n_daemons, d) {
		if (!d->alive || !d->resting || !has_stopped(d))
			continue;
		daemon_kill(d);
		d->start_at = w->now + chance(w, 3000);
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
	EACH(w->daemons, w->n_daemons, d) {
		if (daemon_is_awake(d) && !d->resting)
			daemon_follow(d);
	}
	reap(w);
	audit_step(w);
}

/* -- the calm: what is left must drain */

/* Has the owner stopped for history that is forgotten? */
static bool
is_paused_for_history(const struct lane *lane)
{
	const struct world *w = lane->world;
	EACH(w->daemons, w->n_daemons, d) {
		struct queue_view look;
		if (!d->alive)
			continue;
		const struct worker *k = &d->workers[lane - w->lanes];
		queue_look(k->queue, &look);
		if (look.block == BLOCK_HISTORY && look.epoch == lane->redis.epoch && !worker_is_in_doubt(k))
			return true;
	}
	return false;
}

/* The operator sees the pause, and says how to go on if he means to. */
static void
attend(struct world *w, struct lane *lane)
{
	EACH(w->daemons, w->n_daemons, d)
		worker_take_risk(&d->workers[lane - w->lanes]);
	if (lane->forgotten || !is_paused_for_history(lane))
		return;
	audit_history(lane);
	w->totals->paused_history++;
	lane->forgotten = lane->choice == HISTORY_ASK;
	EACH(w->daemons, w->n_daemons, d)
		worker_choose(&d->workers[lane - w->lanes]);
}

/* Does anybody hand the lane over still? */
static bool
is_moving(const struct lane *lane)
{
	const struct world *w = lane->world;
	bool moving = lane->moving;
	EACH(w->daemons, w->n_daemons, d)
		moving |= d->alive && d->workers[lane - w->lanes].handing;
	return moving;
}

/* Is nothing left to do, but for the queues that cannot? */
static bool
is_quiet(const struct world *w)
{
	EACH(w->lanes, w->n_lanes, lane) {
		if (lane->ailment == AILMENT_NONE && !lane->forgotten && (lane->redis.n_list > 0 || is_moving(lane) || sql_is_busy(lane)))
			return false;
	}
	return true;
}

static void
drain(struct world *w)
{
	uint64_t until = w->now + CALM_MS;
	unsigned quiet = 0;
	for (unsigned i = 0; quiet < 100; i++) {
		EACH(w->lanes, w->n_lanes, lane) {
			attend(w, lane);
			if ((w->now > until || i > CALM_STEPS) && !lane->forgotten && lane->ailment == AILMENT_NONE)
				fail(w, "%s is not drained: %u items are left after %llu ms and %u steps", lane->name, lane->redis.n_list,
				    (unsigned long long)(w->now + CALM_MS - until), i);
		}
		step(w);
		quiet = is_quiet(w) ? quiet + 1 : 0;
	}
}

static void
run_calm(struct world *w)
{
	faults_cease(w);
	do
		drain(w);
	while (faults_heal(w));
	EACH(w->lanes, w->n_lanes, lane) {
		if (!lane->forgotten)
			audit_end(lane);
	}
}

/* -- a schedule */

static void
make_daemon(struct world *w, struct daemon *d)
{
	*d = (struct daemon){ .world = w, .name = { (char)('a' + (d - w->daemons)) } };
	EACH(d->workers, w->n_lanes, k) {
		k->daemon = d;
		k->lane = &w->lanes[k - d->workers];
		snprintf(k->name, sizeof k->name, "%s/%s", d->name, k->lane->name);
	}
	if (d == w->daemons || chance(w, 2) == 0)
		daemon_start(d);
	else
		d->start_at = chance(w, 5000);
}

static void
run(struct world *w)
{
	unsigned steps = 50 + chance(w, 1500), push_in = 5 + chance(w, 40);
	EACH(w->daemons, w->n_daemons, d)
		make_daemon(w, d);
	for (unsigned i = 0; i < steps; i++) {
		if (chance(w, push_in) == 0) {
			struct lane *lane = &w->lanes[chance(w, w->n_lanes)];
			for (unsigned n = 1 + chance(w, 6); n > 0; n--)
				world_push(lane, false);
		}
		faults_step(w);
		step(w);
	}
	run_calm(w);
}

/* As it is before anything has happened. */
static void
clear(struct world *w)
{
	memset(w, 0, offsetof(struct world, failed));
	EACH(w->lanes, LANES_MAX, lane)
		memset(lane, 0, offsetof(struct lane, snapshots));
	EACH(w->links, LINKS_MAX, link)
		link->used = false;
	EACH(w->pool, POOL_MAX, s)
		s->used = false;
}

bool
world_run(struct world *w, uint64_t seed, enum kind kind, unsigned queues, struct totals *totals, bool trace_it)
{
	ASSERT(queues <= LANES_MAX);
	clear(w);
	w->seed = seed;
	w->kind = kind;
	w->queues = queues;
	w->rng = seed * KINDS + kind;
	w->trace = trace_it;
	w->totals = totals;
	w->now = 1000;
	faults_choose(w);
	bool ok = setjmp(w->failed) == 0;
	if (ok)
		run(w);
	EACH(w->daemons, ok ? w->n_daemons : 0, d) {
		if (d->alive)
			daemon_kill(d);
	}
	totals->schedules++;
	return ok;
}
