/* Which faults a schedule has, and when they strike. */
#include "sim.h"

#include <string.h>

/* A fault's frequency: often absent, else from frequent to rare, so that schedules differ in kind and not in luck only. */
static unsigned
often(struct world *w, unsigned rarest)
{
	switch (chance(w, 4)) {
	case 0: return 0;
	case 1: return rarest / 10 + 2;
	case 2: return rarest / 2 + 2;
	default: return rarest * 2;
	}
}

static void
choose_limits(struct world *w)
{
	struct queue_limits *l = &w->limits;
	*l = (struct queue_limits){ .batch_rows = 1 + chance(w, BATCH_MAX), .batch_bytes = 10 + chance(w, 60), .max_item_bytes = 100,
		.sessions = 1 + chance(w, SESSIONS_MAX), .ledger = true, .lease_ms = 1000, .backoff_ms = 20 };
	l->ledger_rows = 4 + chance(w, chance(w, 2) == 0 ? 4 : RING_MAX - 3); /* small: it must get full, and forget */
	l->rate = chance(w, 10) == 0 ? 20 + chance(w, 100) : 0;
	w->dead_max = chance(w, 5) == 0 ? 1 + chance(w, 4) : PUSHES_MAX;
}

void
faults_choose(struct world *w)
{
	struct faults *f = &w->faults;
	choose_limits(w);
	w->aborts = chance(w, 2) == 0;
	w->lock_timeout = 50 + chance(w, 2000);
	w->n_daemons = 1 + chance(w, DAEMONS_MAX);
	w->most_orders = 10 + chance(w, PUSHES_MAX - 20);
	w->poison_in = chance(w, 3) == 0 ? 0 : 2 + chance(w, 20);
	*f = (struct faults){ .crash = often(w, 200), .stall = often(w, 200), .stop = often(w, 300), .link_lost = often(w, 100),
		.session_lost = often(w, 60), .statement = often(w, 40), .commit_doubt = often(w, 20), .redis_error = often(w, 60), .slow = often(w, 40),
		.operator = often(w, 100), .kill_idle = often(w, 100) };
	switch (w->kind) {
	case KIND_FALL_BACK:
		f->fall_back = 60 + chance(w, 200);
		f->snapshot = 5 + chance(w, 80);
		w->choice = (enum history_choice)chance(w, 3);
		if (chance(w, 4) == 0) { /* further than the ledger remembers */
			w->limits.ledger_rows = 4 + chance(w, 3);
			w->limits.rate = 0;
			f->fall_back = 300 + chance(w, 600);
			f->snapshot = f->fall_back / 2;
		}
		break;
	case KIND_FOREIGN:
		f->foreign_pop = often(w, 60);
		f->foreign_push = often(w, 60);
		f->foreign_del = often(w, 300);
		/* What was committed and not settled cannot be told apart from what is new when, at the same time, others take items and the daemon
		 * that has the hashes in hand is gone; nor can both taking and adding between two looks, which counts as a rewritten list. With a
		 * daemon that goes on and one of both, nothing comes twice. */
		w->twice_allowed = chance(w, 2) == 0;
		if (!w->twice_allowed) {
			w->n_daemons = 1;
			f->foreign_push = chance(w, 2) == 0 ? f->foreign_push : 0;
			f->foreign_pop = f->foreign_push == 0 ? f->foreign_pop : 0;
			f->foreign_del = 0;
			f->crash = f->stall = f->stop = f->link_lost = f->redis_error = f->slow = 0;
		}
		break;
	case KIND_FLUSH:
		f->flush = 60 + chance(w, 300);
		break;
	case KIND_RESTORE:
		f->backup = 20 + chance(w, 200);
		f->restore = 100 + chance(w, 400);
		break;
	case KIND_PLAIN:
		w->limits.ledger = false;
		w->twice_allowed = true;
		break;
	default:
		break;
	}
}

static struct daemon *
some_daemon(struct world *w)
{
	return &w->daemons[chance(w, w->n_daemons)];
}

/* -- each fault */

static void
crash(struct world *w)
{
	struct daemon *d = some_daemon(w);
	if (!d->alive)
		return;
	w->totals->crashes++;
	trace(w, "FAULT %s is killed", d->name);
	daemon_kill(d);
	d->connect_at = w->now + delay(w);
}

static void
stop(struct world *w)
{
	struct daemon *d = some_daemon(w);
	if (!d->alive || d->resting || d->stalled_until > w->now)
		return;
	w->totals->stops++;
	trace(w, "FAULT %s is told to stop", d->name);
	d->resting = true;
	queue_stop(d->queue, w->now);
}

static void
stall(struct world *w)
{
	struct daemon *d = some_daemon(w);
	if (!d->alive || d->stalled_until > w->now)
		return;
	w->totals->stalls++;
	d->stalled_until = w->now + chance(w, 4 * w->limits.lease_ms);
	trace(w, "FAULT %s stalls until %llu", d->name, (unsigned long long)d->stalled_until);
}

static void
lose_link(struct world *w)
{
	struct daemon *d = some_daemon(w);
	if (!d->alive || d->link == NULL || d->stalled_until > w->now)
		return;
	trace(w, "FAULT %s loses its link", d->name);
	daemon_link_lost(d, true);
}

static void
lose_session(struct world *w)
{
	struct daemon *d = some_daemon(w);
	struct session *s = d->alive ? d->sessions[chance(w, w->limits.sessions)] : NULL;
	if (s != NULL && d->stalled_until <= w->now)
		daemon_session_lost(s);
}

/* The server ends a connection whose client is silent: its transaction is undone, the next statement finds out. */
static void
kill_idle(struct world *w)
{
	struct session *s = &w->pool[chance(w, POOL_MAX)];
	if (!s->used || s->owner == NULL || s->asked)
		return;
	s->broken = true;
	sql_rollback(s);
}

static void
operate(struct world *w)
{
	struct daemon *d = some_daemon(w);
	switch (chance(w, 4)) {
	case 0: /* the dead letters are dealt with */
		for (uint32_t i = 0; i < w->redis.n_dead && w->kind != KIND_FALL_BACK; i++)
			w->orders[w->redis.dead[i]].dead++;
		w->redis.n_dead = w->kind == KIND_FALL_BACK ? w->redis.n_dead : 0;
		break;
	case 1:
		if (d->alive && d->stalled_until <= w->now)
			queue_pause(d->queue, w->now);
		break;
	case 2:
		if (d->alive && d->stalled_until <= w->now)
			queue_resume(d->queue, w->now);
		break;
	default:
		daemon_choose(d);
	}
}

static void
foreign_pop(struct world *w)
{
	uint32_t n = 1 + chance(w, 3);
	if (n > w->redis.n_list)
		n = w->redis.n_list;
	for (uint32_t i = 0; i < n; i++)
		w->orders[w->redis.list[i]].lost = true;
	memmove(w->redis.list, w->redis.list + n, (w->redis.n_list - n) * sizeof *w->redis.list);
	w->redis.n_list -= n;
	w->totals->foreign++;
	trace(w, "FAULT somebody pops %u items", n);
}

static void
foreign_push(struct world *w)
{
	w->totals->foreign++;
	trace(w, "FAULT somebody pushes at our end");
	for (uint32_t n = 1 + chance(w, 3); n > 0; n--)
		world_push(w, true);
}

static void
foreign_del(struct world *w)
{
	for (uint32_t i = 0; i < w->redis.n_list; i++)
		w->orders[w->redis.list[i]].lost = true;
	w->redis.n_list = 0;
	w->totals->foreign++;
	trace(w, "FAULT somebody deletes the list");
}

void
faults_step(struct world *w)
{
	static void (*const strikes[])(struct world *) = { crash, stall, stop, lose_link, lose_session, operate, kill_idle, redis_fall_back, foreign_pop,
		foreign_push, foreign_del, redis_flush, sql_back_up, sql_restore };
	const struct faults *f = &w->faults;
	const unsigned odds[] = { f->crash, f->stall, f->stop, f->link_lost, f->session_lost, f->operator, f->kill_idle, f->fall_back, f->foreign_pop,
		f->foreign_push, f->foreign_del, f->flush, f->backup, f->restore };
	for (unsigned i = 0; i < sizeof odds / sizeof *odds; i++) {
		if (fault(w, odds[i]))
			strikes[i](w);
	}
	if (fault(w, f->snapshot))
		redis_snapshot(w);
}

void
faults_cease(struct world *w)
{
	w->calm = true;
	w->dead_max = UINT32_MAX;
	trace(w, "CALM");
	for (unsigned i = 0; i < w->n_daemons; i++) {
		struct daemon *d = &w->daemons[i];
		if (d->stalled_until > w->now)
			d->stalled_until = w->now;
		if (d->alive)
			queue_resume(d->queue, w->now);
	}
	if (!w->daemons[0].alive)
		daemon_start(&w->daemons[0]);
}
