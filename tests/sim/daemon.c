/* A process with all its queues, and the pool that they share: what src/daemon.c and src/pool.c are in the daemon. */
#include "sim.h"

#include <string.h>

/* -- pool */

struct session *
daemon_idle(const struct daemon *d)
{
	EACH(d->sessions, d->world->pool_size, s) {
		if (*s != NULL && (*s)->worker == NULL && (*s)->ready_at <= d->world->now)
			return *s;
	}
	return NULL;
}

void
daemon_drop(struct session *s)
{
	struct daemon *d = s->owner;
	struct world *w = d->world;
	ASSERT(s->worker == NULL);
	s->owner = NULL;
	s->ready_at = w->now + delay(w) + delay(w);
	if (!s->open && !s->asked)
		s->used = false;
	EACH(d->sessions, w->pool_size, place) {
		if (*place == s)
			*place = NULL;
	}
}

void
daemon_session_lost(struct session *s)
{
	struct world *w = s->owner->world;
	w->totals->sessions_lost++;
	trace(w, "%s: sql %d: lost", s->owner->name, (int)(s - w->pool));
	if (s->worker == NULL)
		daemon_drop(s);
	else
		worker_answer_lost(s);
}

/* -- life */

bool
daemon_is_awake(const struct daemon *d)
{
	return d->alive && d->stalled_until <= d->world->now;
}

void
daemon_start(struct daemon *d)
{
	ASSERT(!d->alive);
	d->alive = true;
	d->dying = d->resting = false;
	d->boot++;
	d->stalled_until = 0;
	memset(d->sessions, 0, sizeof d->sessions);
	EACH(d->workers, d->world->n_lanes, k)
		worker_start(k);
	trace(d->world, "%s: starts", d->name);
}

static bool
has_stopped(const struct worker *k)
{
	struct queue_view look;
	queue_look(k->queue, &look);
	return look.state == QUEUE_STOPPED && k->held == 0;
}

void
daemon_follow(struct daemon *d)
{
	uint64_t now = d->world->now;
	EACH(d->workers, d->world->n_lanes, k) {
		if (k->ending && has_stopped(k))
			worker_renew(k);
		bool leaves = now >= d->unaware_until && (k->lane->moving || k->ledger != k->lane->ledger);
		if (leaves && !k->handing) {
			trace(d->world, "%s: hands over", k->name);
			k->ending = k->handing = true;
			queue_hand_over(k->queue, now);
		} else if (k->handing && !leaves) { /* moved on and back meanwhile */
			k->handing = false;
			queue_stop(k->queue, now);
		} else if (k->ending && !k->handing && now >= k->give_up_at) {
			queue_give_up(k->queue, now);
		}
	}
}

void
daemon_kill(struct daemon *d)
{
	struct world *w = d->world;
	trace(w, "%s: ends", d->name);
	d->dying = true;
	EACH(d->workers, w->n_lanes, k)
		worker_abandon(k);
	EACH(d->sessions, w->pool_size, s) {
		if (*s != NULL && (*s)->worker != NULL)
			worker_answer_lost(*s);
		else if (*s != NULL)
			daemon_drop(*s);
	}
	EACH(d->workers, w->n_lanes, k)
		worker_end(k);
	d->alive = d->resting = false;
}
