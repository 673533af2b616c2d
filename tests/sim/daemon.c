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
