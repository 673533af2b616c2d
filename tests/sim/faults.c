/* Which faults a schedule has, and when they strike. */
#include "sim.h"

#include <stdio.h>
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
choose_limits(struct world *w, struct lane *lane)
{
	struct queue_limits *l = &lane->limits;
	*l = (struct queue_limits){ .batch_rows = 1 + chance(w, BATCH_MAX), .batch_bytes = 10 + chance(w, 60), .max_item_bytes = 100,
		.sessions = w->n_lanes == 1 ? w->pool_size : 1 + chance(w, w->pool_size), .ledger = w->kind != KIND_PLAIN, .lease_ms = LEASE_MS,
		.backoff_ms = 20 };
	l->ledger_rows = 4 + chance(w, chance(w, 2) == 0 ? 4 : RING_MAX - 3); /* small: it must get full, and forget */
	l->rate = chance(w, 10) == 0 ? 20 + chance(w, 100) : 0;
	lane->dead_max = chance(w, 5) == 0 ? 1 + chance(w, 4) : PUSHES_MAX;
	lane->most_orders = 10 + chance(w, PUSHES_MAX - 20) / w->n_lanes;
}

static void
choose_lanes(struct world *w)
{
	w->n_lanes = chance(w, 3) > 0 ? 1 : 2 + chance(w, LANES_MAX - 1);
	if (w->queues > 0)
		w->n_lanes = w->queues;
	w->totals->several += w->n_lanes > 1;
	EACH(w->lanes, w->n_lanes, lane) {
		lane->world = w;
		snprintf(lane->name, sizeof lane->name, "q%d", (int)(lane - w->lanes));
		choose_limits(w, lane);
	}
}

static void
choose_fall_backs(struct world *w)
{
	struct faults *f = &w->faults;
	bool far = chance(w, 4) == 0; /* further than the ledger remembers */
	f->fall_back = far ? 300 + chance(w, 600) : 60 + chance(w, 200);
	f->snapshot = far ? f->fall_back / 2 : 5 + chance(w, 80);
	EACH(w->lanes, w->n_lanes, lane) {
		lane->choice = (enum history_choice)chance(w, 3);
		if (far) {
			lane->limits.ledger_rows = 4 + chance(w, 3);
			lane->limits.rate = 0;
		}
	}
}

/* What was committed and not settled cannot be told apart from what is new when, at the same time, others take items and the daemon that has the
 * hashes in hand is gone; nor can both taking and adding between two looks, which counts as a rewritten list. With a daemon that goes on and one of
 * both, nothing comes twice. */
static void
choose_foreigners(struct world *w)
{
	struct faults *f = &w->faults;
	f->foreign_pop = often(w, 60);
	f->foreign_push = often(w, 60);
	f->foreign_del = often(w, 300);
	w->twice_allowed = chance(w, 2) == 0;
	if (w->twice_allowed)
		return;
	w->n_daemons = 1;
	f->foreign_push = chance(w, 2) == 0 ? f->foreign_push : 0;
	f->foreign_pop = f->foreign_push == 0 ? f->foreign_pop : 0;
	f->foreign_del = 0;
	f->crash = f->stall = f->stop = f->anew = f->rewrite = f->link_lost = f->redis_error = f->slow = 0;
}

void
faults_choose(struct world *w)
{
	struct faults *f = &w->faults;
	w->pool_size = 1 + chance(w, SESSIONS_MAX);
	choose_lanes(w);
	w->aborts = chance(w, 2) == 0;
	w->lock_timeout = 50 + chance(w, 2000);
	w->n_daemons = 1 + chance(w, DAEMONS_MAX);
	w->poison_in = chance(w, 3) == 0 ? 0 : 2 + chance(w, 20);
	*f = (struct faults){ .crash = often(w, 200), .stall = often(w, 200), .stop = often(w, 300), .link_lost = often(w, 100),
		.session_lost = often(w, 60), .statement = often(w, 40), .commit_doubt = often(w, 20), .redis_error = often(w, 60), .slow = often(w, 40),
		.operator = often(w, 100), .kill_idle = often(w, 100) };
	if (w->seed % 3 == 0) { /* draws nothing: schedules without reloads stay what they were */
		f->anew = f->move = 40 + (unsigned)(w->seed % 800);
		f->rewrite = w->seed % 2 == 0 ? 100 + (unsigned)(w->seed % 700) : 0;
		w->patient = w->seed % 4 == 1 && (w->kind == KIND_CRASHES || w->kind == KIND_ALIKE);
	}
	if (w->patient)
		f->crash = f->stop = 0;
	switch (w->kind) {
	case KIND_FALL_BACK:
		choose_fall_backs(w);
		break;
	case KIND_FOREIGN:
		choose_foreigners(w);
		break;
	case KIND_FLUSH:
		f->flush = 60 + chance(w, 300);
		break;
	case KIND_RESTORE:
		f->backup = 20 + chance(w, 200);
		f->restore = 100 + chance(w, 400);
		break;
	case KIND_PLAIN:
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

static struct lane *
some_lane(struct world *w)
{
	return &w->lanes[chance(w, w->n_lanes)];
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
	d->start_at = w->now + delay(w);
}

static void
stop(struct world *w)
{
	struct daemon *d = some_daemon(w);
	if (!daemon_is_awake(d) || d->resting)
		return;
	w->totals->stops++;
	trace(w, "FAULT %s is told to stop", d->name);
	d->resting = true;
	EACH(d->workers, w->n_lanes, k)
		queue_stop(k->queue, w->now);
}

/* A reload after which one queue begins anew, with the same ledger. */
static void
begin_anew(struct world *w)
{
	struct daemon *d = some_daemon(w);
	struct worker *k = &d->workers[some_lane(w) - w->lanes];
	if (!daemon_is_awake(d) || d->resting || k->ending)
		return;
	trace(w, "FAULT %s is to begin anew", k->name);
	w->totals->anew++;
	k->ending = true;
	k->give_up_at = w->now + chance(w, 5000);
	queue_stop(k->queue, w->now);
}

static bool
is_handing(const struct daemon *d)
{
	bool handing = false;
	EACH(d->workers, d->world->n_lanes, k)
		handing |= d->alive && k->handing;
	return handing;
}

/* Is the lane on its way to its other ledger? */
static bool
is_on_its_way(const struct lane *lane)
{
	const struct world *w = lane->world;
	bool handing = false;
	EACH(w->daemons, w->n_daemons, d)
		handing |= d->alive && d->workers[lane - w->lanes].handing;
	return handing;
}

/* Some are not told to reload yet. */
static void
tell_later(struct world *w)
{
	EACH(w->daemons, w->n_daemons, d) {
		if (!is_handing(d) && chance(w, 3) == 0)
			d->unaware_until = w->now + chance(w, 5000);
	}
}

/* A reload that moves a lane to its other ledger, in all daemons sooner or later. */
static void
move(struct world *w)
{
	struct lane *lane = some_lane(w);
	if (is_on_its_way(lane))
		return;
	trace(w, "FAULT %s is to move", lane->name);
	lane->moving = true;
	tell_later(w);
}

/* A daemon is killed, and will find another ledger in its file; the others hear of it by a reload. */
static void
rewrite(struct world *w)
{
	struct daemon *d = some_daemon(w);
	struct lane *lane = some_lane(w);
	if (!d->alive || is_on_its_way(lane))
		return;
	trace(w, "FAULT %s is killed, and the file changed", d->name);
	w->totals->rewrites++;
	daemon_kill(d);
	d->start_at = w->now + delay(w);
	lane_move(lane);
	tell_later(w);
}

static void
stall(struct world *w)
{
	struct daemon *d = some_daemon(w);
	if (!daemon_is_awake(d))
		return;
	w->totals->stalls++;
	d->stalled_until = w->now + chance(w, 4 * LEASE_MS);
	trace(w, "FAULT %s stalls until %llu", d->name, (unsigned long long)d->stalled_until);
}

static void
lose_link(struct world *w)
{
	struct daemon *d = some_daemon(w);
	const struct lane *lane = some_lane(w);
	bool network = chance(w, 3) == 0; /* not one link, but all */
	if (!daemon_is_awake(d))
		return;
	EACH(d->workers, w->n_lanes, k) {
		if (k->link == NULL || (k->lane != lane && !network))
			continue;
		trace(w, "FAULT %s loses its link", k->name);
		worker_link_lost(k, true);
	}
}

static void
lose_session(struct world *w)
{
	struct daemon *d = some_daemon(w);
	struct session *s = daemon_is_awake(d) ? d->sessions[chance(w, w->pool_size)] : NULL;
	if (s != NULL)
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

/* The dead letters are dealt with. */
static void
clear_dead(struct lane *lane)
{
	struct redis_data *r = &lane->redis;
	if (lane->world->kind == KIND_FALL_BACK)
		return; /* they would come back */
	for (uint32_t i = 0; i < r->n_dead; i++)
		lane->orders[r->dead[i]].dead++;
	r->n_dead = 0;
}

static void
operate(struct world *w)
{
	struct daemon *d = some_daemon(w);
	struct worker *k = &d->workers[some_lane(w) - w->lanes];
	unsigned what = chance(w, 4);
	if (what == 0)
		clear_dead(&w->lanes[k - d->workers]);
	else if (!daemon_is_awake(d))
		return;
	else if (what == 1)
		queue_pause(k->queue, w->now);
	else if (what == 2)
		queue_resume(k->queue, w->now);
	else if (worker_is_in_doubt(k))
		worker_take_risk(k);
	else
		worker_choose(k);
}

static void
foreign_pop(struct world *w)
{
	struct lane *lane = some_lane(w);
	struct redis_data *r = &lane->redis;
	uint32_t n = 1 + chance(w, 3);
	if (n > r->n_list)
		n = r->n_list;
	for (uint32_t i = 0; i < n; i++)
		lane->orders[r->list[i]].lost = true;
	memmove(r->list, r->list + n, (r->n_list - n) * sizeof *r->list);
	r->n_list -= n;
	w->totals->foreign++;
	trace(w, "FAULT somebody pops %u items of %s", n, lane->name);
}

static void
foreign_push(struct world *w)
{
	struct lane *lane = some_lane(w);
	w->totals->foreign++;
	trace(w, "FAULT somebody pushes at our end of %s", lane->name);
	for (uint32_t n = 1 + chance(w, 3); n > 0; n--)
		world_push(lane, true);
}

static void
foreign_del(struct world *w)
{
	struct lane *lane = some_lane(w);
	for (uint32_t i = 0; i < lane->redis.n_list; i++)
		lane->orders[lane->redis.list[i]].lost = true;
	lane->redis.n_list = 0;
	w->totals->foreign++;
	trace(w, "FAULT somebody deletes the list of %s", lane->name);
}

void
faults_step(struct world *w)
{
	static void (*const strikes[])(struct world *) = { crash, stall, stop, lose_link, lose_session, operate, kill_idle, redis_fall_back, foreign_pop,
		foreign_push, foreign_del, redis_flush, sql_back_up, sql_restore, begin_anew, move, rewrite };
	const struct faults *f = &w->faults;
	const unsigned odds[] = { f->crash, f->stall, f->stop, f->link_lost, f->session_lost, f->operator, f->kill_idle, f->fall_back, f->foreign_pop,
		f->foreign_push, f->foreign_del, f->flush, f->backup, f->restore, f->anew, f->move, f->rewrite };
	for (unsigned i = 0; i < sizeof odds / sizeof *odds; i++) {
		if (fault(w, odds[i]))
			strikes[i](w);
	}
	if (fault(w, f->snapshot))
		redis_snapshot(w);
}

/* -- the calm */

/* All daemons hear it, stalled or not. */
static void
tell_all(struct world *w, const struct lane *lane, void (*say)(struct queue *q, uint64_t now))
{
	EACH(w->daemons, w->n_daemons, d) {
		if (d->alive)
			say(d->workers[lane - w->lanes].queue, w->now);
	}
}

static void
fall_ill(struct lane *lane)
{
	struct world *w = lane->world;
	lane->ailment = (enum ailment)(1 + chance(w, AILMENTS - 1));
	w->totals->ailing++;
	trace(w, "%s ails: %d", lane->name, (int)lane->ailment);
	if (lane->ailment == AILMENT_FULL)
		lane->dead_max = 0;
	else if (lane->ailment == AILMENT_PAUSED)
		tell_all(w, lane, queue_pause);
}

void
faults_cease(struct world *w)
{
	w->calm = true;
	trace(w, "CALM");
	EACH(w->daemons, w->n_daemons, d) {
		if (d->stalled_until > w->now)
			d->stalled_until = w->now;
		d->unaware_until = 0;
	}
	if (!w->daemons[0].alive)
		daemon_start(&w->daemons[0]);
	EACH(w->lanes, w->n_lanes, lane) {
		lane->dead_max = UINT32_MAX;
		tell_all(w, lane, queue_resume);
	}
	if (w->n_lanes > 1 && chance(w, 2) == 0)
		fall_ill(some_lane(w));
}

bool
faults_heal(struct world *w)
{
	bool healed = false;
	EACH(w->lanes, w->n_lanes, lane) {
		if (lane->ailment == AILMENT_NONE)
			continue;
		trace(w, "%s is healed", lane->name);
		healed = true;
		if (lane->ailment == AILMENT_PAUSED)
			tell_all(w, lane, queue_resume); /* all else ends by itself */
		lane->ailment = AILMENT_NONE;
		lane->dead_max = UINT32_MAX;
	}
	return healed;
}
