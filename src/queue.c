/* A queue's life cycle: from the lease to draining, and back when something is lost. */
#include "queue.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue_inner.h"

#define EXPLAIN_MS 2000 /* handing over takes a moment; what takes longer is told */
#define STANDBY_MS 500 /* how often a standby asks for the lease: it follows a clean stop this fast */

const char *
queue_state_name(enum queue_state state)
{
	static const char *const names[] = { "standby", "prepare", "raise", "own", "recall", "drain", "stopped" };
	ASSERT((size_t)state < sizeof names / sizeof names[0]);
	return names[state];
}

void
queue_tell(struct queue *q, enum log_level level, const char *fmt, ...)
{
	char text[REASON_MAX + 100];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	q->ports->tell(q->world, (int)level, text);
}

uint64_t
queue_backoff(struct queue *q, unsigned base, unsigned times)
{
	uint64_t ms = base;
	while (times-- > 0 && ms < BACKOFF_MAX_MS)
		ms *= 2;
	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	return ms / 2 + q->ports->random(q->world) % (ms / 2 + 1);
}

bool
queue_is_halted(const struct queue *q)
{
	return (q->paused && q->ending == GOES_ON) || (q->block != BLOCK_NONE && q->now < q->block_until);
}

bool
queue_is_blocked(const struct queue *q)
{
	return q->ending > HANDS_OVER || queue_is_halted(q);
}

/* -- life */

/* What an empty object needs to be a queue in STANDBY. */
static void
begin(struct queue *q, const struct queue_limits *limits)
{
	ASSERT(limits->sessions > 0 && limits->batch_rows > 0);
	ASSERT(!limits->ledger || limits->ledger_rows > flow_window_limit(&(struct queue){ .limits = *limits }));
	q->limits = *limits;
	q->view++;
	q->lease_at = q->poll_at = q->measure_at = NEVER;
	q->average = limits->batch_bytes / 64 + 1; /* the first peek is small: nothing is known of the items yet */
	list_init(&q->windows);
	plan_reset(&q->plan);
}

struct queue *
queue_new(const struct queue_ports *ports, void *world, const struct queue_limits *limits, const char *instance)
{
	struct queue *q = xcalloc(1, sizeof *q);
	q->ports = ports;
	q->world = world;
	q->instance = xstrdup(instance);
	begin(q, limits);
	return q;
}

void
queue_renew(struct queue *q, uint64_t now, const struct queue_limits *limits)
{
	ASSERT(q->state == QUEUE_STOPPED && q->running == 0 && list_empty(&q->windows));
	ring_free(&q->ring);
	*q = (struct queue){ .ports = q->ports, .world = q->world, .instance = q->instance, .now = now, .view = q->view, .paused = q->paused,
		.counters = q->counters };
	begin(q, limits);
}

/* Lets go of everything that was known of the list. Windows with a task live on until it ends. */
static void
forget(struct queue *q)
{
	q->view++;
	LIST_EACH_SAFE(&q->windows, node, after) {
		struct window *w = LIST_OWNER(node, struct window, node);
		q->counters.recounted += w->counted; /* the next reconciling finds it in the ledger, or Redis has moved on */
		list_remove(node);
		if (!w->has_task)
			window_free(&w);
	}
	plan_reset(&q->plan);
	free(q->cuts);
	q->cuts = NULL;
	q->n_cuts = 0;
	q->cutting = q->aligning = false;
	q->peek.active = q->settle.active = false;
	q->guard_streak = q->skip = 0;
	q->leasing = false;
	q->poll_at = NEVER;
	ASSERT(list_empty(&q->windows));
}

void
queue_free(struct queue **queue)
{
	struct queue *q = *queue;
	*queue = NULL;
	if (q == NULL)
		return;
	ASSERT(q->running == 0);
	forget(q);
	ring_free(&q->ring);
	free(q->instance);
	free(q);
}

/* -- the pump: after every input, whatever can be started is started, and the next timer is set */

static uint64_t
earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Does nothing that is committed stand in the list, as far as we know? */
static bool
is_clean(const struct queue *q)
{
	ASSERT(q->running == 0);
	return q->state == QUEUE_DRAIN && !flow_is_planned(q) && !q->cutting && list_empty(&q->windows);
}

static void
ask_for_lease(struct queue *q)
{
	if (!q->redis_up || q->leasing || q->releasing || q->released || q->now < q->lease_at)
		return;
	if (q->ending > HANDS_OVER && q->state == QUEUE_STANDBY)
		return;
	q->leasing = true;
	q->asked_until = q->now + q->limits.lease_ms;
	q->lease_at = q->now + q->limits.lease_ms / 3;
	q->ports->lease(q->world, q->view, q->accepted);
}

/* What was only read is still in the list, and is let go; but not what stands before a window that was begun: that one can be settled only then. */
static void
let_go(struct queue *q)
{
	while (!list_empty(&q->windows)) {
		struct window *w = LIST_OWNER(q->windows.prev, struct window, node);
		if (w->state != WINDOW_READ)
			return;
		window_free(&w);
		q->peek.stale = true; /* it counted on the window */
	}
}

/* Does the queue wait for anything but answers before it ends? */
static bool
is_held_up(const struct queue *q)
{
	if (q->ending != STOPS)
		return q->ending == HANDS_OVER && !q->handed_over && !is_clean(q);
	bool can_store = q->block <= BLOCK_RETRY && !q->aligning; /* else the ledger tells the next owner what was committed */
	LIST_EACH(&q->windows, node) {
		enum window_state state = LIST_OWNER(node, struct window, node)->state;
		if (state == WINDOW_DOUBT || (state == WINDOW_READ && can_store))
			return true;
	}
	return false;
}

static void
try_to_stop(struct queue *q)
{
	if (q->ending == GOES_ON || q->releasing)
		return;
	if (q->ending != HANDS_OVER || !flow_is_planned(q)) /* else what was read may stand before what is committed */
		let_go(q);
	if (q->running > 0 || q->settle.active || is_held_up(q))
		return;
	bool release = q->redis_up && !q->released && (q->state != QUEUE_STANDBY || q->leasing);
	q->left_clean = is_clean(q) || (q->state == QUEUE_PREPARE && q->clean);
	q->handed_over = q->ending == HANDS_OVER;
	forget(q);
	q->state = release ? QUEUE_STANDBY : QUEUE_STOPPED;
	q->releasing = release;
	if (release)
		q->ports->release(q->world, q->view, q->left_clean);
}

/* What a queue that hands over waits for. */
static const char *
obstacle(const struct queue *q)
{
	static const char *const obstacles[] = { [QUEUE_STANDBY] = "the lease", [QUEUE_PREPARE] = "the database", [QUEUE_RAISE] = "the database",
		[QUEUE_OWN] = "Redis", [QUEUE_RECALL] = "the database", [QUEUE_DRAIN] = "what is in flight to be stored and removed" };
	if (!q->redis_up)
		return "Redis to come back";
	return q->reason[0] != '\0' ? q->reason : obstacles[q->state];
}

/* Says what the handing over waits for: once to the log, for whoever looks at any time. */
static void
explain(struct queue *q)
{
	if (q->ending != HANDS_OVER || q->state == QUEUE_STOPPED || q->now < q->tell_at)
		return;
	snprintf(q->waits_for, sizeof q->waits_for, "the list goes to another ledger only when all that this one has stored is removed from it, or it would "
	    "be stored again. Waits for: %s. Mend that; a restart would not wait", obstacle(q));
	if (q->tell_at != 0)
		queue_tell(q, LOG_LEVEL_WARNING, "%s", q->waits_for);
	q->tell_at = 0;
}

static void
pump(struct queue *q)
{
	if (q->state == QUEUE_STOPPED)
		return;
	ask_for_lease(q);
	flow_measure(q);
	if (q->state == QUEUE_DRAIN)
		flow_pump(q);
	try_to_stop(q);
	explain(q);
	unsigned wanted = q->state == QUEUE_STOPPED ? 0 : store_wanted(q);
	if (wanted != q->wanted)
		q->ports->want(q->world, q->wanted = wanted);
	uint64_t at = q->redis_up && !q->leasing && q->state != QUEUE_STOPPED ? q->lease_at : NEVER;
	if (q->block != BLOCK_NONE && q->now < q->block_until)
		at = earliest(at, q->block_until);
	if (q->ending == HANDS_OVER && q->state != QUEUE_STOPPED && q->tell_at != 0)
		at = earliest(at, q->tell_at);
	at = earliest(at, earliest(flow_wake_at(q), store_wake_at(q)));
	q->ports->wake_at(q->world, at);
}

void
queue_restart(struct queue *q, uint64_t wait_ms)
{
	forget(q);
	q->handed_over = q->releasing = false;
	q->state = QUEUE_STANDBY;
	q->lease_at = q->now + wait_ms;
}

void
queue_fenced(struct queue *q)
{
	q->counters.fenced++;
	uint64_t wait = 3 * (uint64_t)q->limits.lease_ms;
	queue_tell(q, LOG_LEVEL_WARNING, "another daemon has taken over (our epoch %llu): standing by. If this happens again and again, two daemons use "
	    "the instance name \"%s\": give each its own", (unsigned long long)q->epoch, q->instance);
	queue_restart(q, wait + q->ports->random(q->world) % wait);
}

void
queue_disowned(struct queue *q)
{
	queue_tell(q, LOG_LEVEL_WARNING, "Redis has another epoch than our %llu: another daemon has taken over, or Redis came back from before. Asking for "
	    "the queue again", (unsigned long long)q->epoch);
	queue_restart(q, 0);
}

void
queue_redis_up(struct queue *q, uint64_t now)
{
	q->now = now;
	q->redis_up = true;
	q->lease_at = q->measure_at = now;
	pump(q);
}

void
queue_redis_down(struct queue *q, uint64_t now)
{
	q->now = now;
	q->redis_up = q->waiting = false;
	if (q->state != QUEUE_STOPPED)
		queue_restart(q, 0);
	pump(q);
}

/* Is the holder, "instance boot", one of our name? */
static bool
is_our_name(const struct queue *q, const char *holder)
{
	size_t n = strlen(q->instance);
	return strncmp(holder, q->instance, n) == 0 && holder[n] == ' ';
}

static void
stand_by(struct queue *q, const struct lease_answer *a)
{
	if (q->state != QUEUE_STANDBY) {
		queue_tell(q, LOG_LEVEL_WARNING, "lost the lease to %s: standing by", a->holder);
		queue_restart(q, 0);
	}
	q->block = BLOCK_NONE;
	q->refused_by_redis = NULL;
	if (is_our_name(q, a->holder))
		snprintf(q->reason, sizeof q->reason, "a daemon with our instance name, %s, drains it: give each its own", a->holder);
	else
		snprintf(q->reason, sizeof q->reason, "%s drains it", a->holder);
	q->lease_at = q->now + earliest(a->ttl_ms + 10, STANDBY_MS);
}

/* What another ledger says is stored, ours does not know: the operator must choose, or a daemon that writes that one must end cleanly. */
static void
ask_to_accept(struct queue *q, const struct lease_answer *a)
{
	if (q->state != QUEUE_STANDBY)
		queue_restart(q, 0); /* the list was empty */
	q->lease_at = q->now + STANDBY_MS;
	if (q->ending == HANDS_OVER)
		return; /* our ledger has nothing to say */
	q->doubted = a->epoch;
	block_set(q, BLOCK_HISTORY, "the last owner of the list wrote another ledger (%s) and did not end cleanly: what it has stored and not removed "
	    "would be stored again. Start a daemon with its configuration, and change that by a reload; or choose: `sluice accept` goes on without that "
	    "ledger, and some orders may be stored a second time", a->ledger);
}

/* What he was asked is settled, by him or without him. */
static void
end_doubt(struct queue *q)
{
	if (q->doubted != 0 && q->block == BLOCK_HISTORY)
		block_clear(q);
	q->doubted = 0;
}

/* A queue that hands over hears who owned the list last. */
static void
hand_over(struct queue *q, const struct lease_answer *a)
{
	if (q->state == QUEUE_STANDBY || q->state == QUEUE_PREPARE)
		q->handed_over = a->elsewhere || a->epoch == 0 || a->clean; /* our ledger has nothing to say */
}

void
queue_leased(struct queue *q, uint64_t now, uint64_t view, const struct lease_answer *a)
{
	q->now = now;
	if (view != q->view)
		return;
	q->leasing = false;
	if (a->class == REDIS_OK && a->granted)
		q->lease_end = q->asked_until;
	if (block_by_redis(q, a->class, a->why, "give the lease")) {
		q->lease_at = now + q->limits.lease_ms / 3;
	} else if (a->in_doubt) {
		ask_to_accept(q, a);
	} else if (!a->granted) {
		end_doubt(q);
		stand_by(q, a);
	} else if (q->state > QUEUE_OWN && (a->epoch != q->epoch || a->others)) {
		queue_disowned(q);
	} else if (q->state == QUEUE_STANDBY) {
		end_doubt(q);
		q->reason[0] = '\0';
		q->rewritten &= a->epoch == q->epoch && !a->others; /* whoever owned the queue since then has found its own place */
		q->epoch = q->leased_epoch = a->epoch;
		q->elsewhere = a->elsewhere;
		q->clean = a->clean;
		q->state = QUEUE_PREPARE;
	}
	if (a->class == REDIS_OK && q->ending == HANDS_OVER && view == q->view)
		hand_over(q, a);
	pump(q);
}

void
queue_owned(struct queue *q, uint64_t now, uint64_t view, const struct own_answer *a)
{
	q->now = now;
	if (view != q->view)
		return;
	ASSERT(q->state == QUEUE_OWN);
	if (block_by_redis(q, a->class, a->why, "take the queue over")) {
		queue_restart(q, queue_backoff(q, q->limits.backoff_ms, 3));
	} else if (a->in_doubt) {
		queue_restart(q, 0); /* asks for the lease once more, and hears why */
	} else if (a->refused) {
		queue_fenced(q);
	} else {
		if (q->refused_by_redis != NULL)
			block_clear(q);
		q->counters.takeovers++;
		if (strcmp(q->generation, a->generation) != 0)
			q->choice = HISTORY_ASK;
		else
			q->counters.moved += (int64_t)(a->settled - q->settled);
		snprintf(q->generation, sizeof q->generation, "%s", a->generation);
		q->renewed = q->rewritten;
		q->rewritten = false;
		q->settled = a->settled;
		q->backlog = a->backlog;
		q->measure_at = now;
		q->state = q->limits.ledger ? QUEUE_RECALL : QUEUE_DRAIN;
		queue_tell(q, LOG_LEVEL_INFO, "took the queue over: epoch %llu, position %llu, %llu waiting%s", (unsigned long long)q->epoch,
		    (unsigned long long)a->settled, (unsigned long long)a->backlog, a->fresh ? ", a new generation" : "");
	}
	pump(q);
}

void
queue_released(struct queue *q, uint64_t now, uint64_t view, enum redis_class class, bool released)
{
	q->now = now;
	if (view != q->view)
		return;
	ASSERT(q->releasing);
	q->releasing = false;
	q->redis_up &= class != REDIS_LOST;
	bool told = !q->left_clean || (class == REDIS_OK && released);
	q->handed_over &= told;
	q->released = q->ending != HANDS_OVER || q->handed_over;
	q->lease_at = now + (class == REDIS_OK ? 0 : q->limits.lease_ms / 3);
	pump(q);
}

void
queue_tick(struct queue *q, uint64_t now)
{
	q->now = now;
	pump(q);
}

bool
queue_give(struct queue *q, uint64_t now, struct session *session)
{
	q->now = now;
	bool taken = q->state != QUEUE_STOPPED && store_begin(q, session);
	q->wanted -= taken ? least(q->wanted, 1) : q->wanted; /* so the pool counts: what is wanted beyond that it must be told anew */
	pump(q);
	return taken;
}

void
queue_pause(struct queue *q, uint64_t now)
{
	q->now = now;
	if (!q->paused)
		queue_tell(q, LOG_LEVEL_INFO, "paused by the operator");
	q->paused = true;
	pump(q);
}

void
queue_resume(struct queue *q, uint64_t now)
{
	q->now = now;
	if (q->paused)
		queue_tell(q, LOG_LEVEL_INFO, "resumed by the operator");
	q->paused = false;
	q->refused = 0;
	q->altered = false;
	q->recheck |= q->block == BLOCK_SETUP;
	q->block_until = now;
	pump(q);
}

void
queue_set_limits(struct queue *q, uint64_t now, const struct queue_limits *limits)
{
	ASSERT(limits->sessions > 0 && limits->batch_rows > 0);
	ASSERT(limits->ledger == q->limits.ledger && limits->ledger_rows == q->limits.ledger_rows);
	q->now = now;
	if (limits->rate != q->limits.rate) { /* what was counted by the old one says nothing */
		q->tokens = limits->rate;
		q->tokens_at = now;
	}
	q->limits = *limits;
	pump(q);
}

static void
end(struct queue *q, uint64_t now, enum ending ending)
{
	q->now = now;
	if (ending <= q->ending)
		return;
	q->ending = ending;
	pump(q);
}

void
queue_stop(struct queue *q, uint64_t now)
{
	end(q, now, STOPS);
}

void
queue_hand_over(struct queue *q, uint64_t now)
{
	if (!q->limits.ledger) {
		queue_stop(q, now);
	} else if (q->ending != HANDS_OVER && q->state != QUEUE_STOPPED) {
		q->now = now;
		q->tell_at = now + EXPLAIN_MS;
		q->ending = HANDS_OVER;
		pump(q);
	}
}

void
queue_give_up(struct queue *q, uint64_t now)
{
	end(q, now, GIVES_UP);
}

/* Nothing is removed from the list whose fate is not known: 0. */
static int64_t
difference(const struct queue_counters *c, uint64_t unsettled)
{
	uint64_t fates = c->committed + c->duplicate + c->reconciled - c->recounted;
	for (size_t i = 0; i < sizeof c->dead / sizeof *c->dead; i++)
		fates += c->dead[i];
	return (int64_t)(c->settled + unsettled - fates);
}

void
queue_look(const struct queue *q, struct queue_view *v)
{
	const char *reason = q->ending == HANDS_OVER && q->waits_for[0] != '\0' ? q->waits_for : q->reason;
	*v = (struct queue_view){ .state = q->state, .block = q->paused ? BLOCK_OPERATOR : q->block, .by_redis = q->refused_by_redis != NULL,
		.reason = reason, .settled = q->settled, .backlog = q->backlog, .dead = q->dead, .sessions = q->running,
		.wanted = q->wanted, .asks_redis = q->state == QUEUE_OWN || q->peek.active || q->settle.active, .epoch = q->epoch,
		.counters = &q->counters };
	LIST_EACH(&q->windows, node) {
		const struct window *w = LIST_OWNER(node, struct window, node);
		v->inflight += w->count;
		v->unsent += w->state == WINDOW_READ ? w->count : 0;
		v->unsettled += w->counted;
	}
	v->pushed = q->counters.settled + q->counters.taken + (uint64_t)q->counters.moved + (q->backlog > v->unsettled ? q->backlog : v->unsettled);
	v->difference = difference(&q->counters, v->unsettled);
}

const char *
queue_generation(const struct queue *q)
{
	return q->generation;
}

void
queue_check(const struct queue *q)
{
	uint64_t at = q->settled, counted = 0;
	unsigned busy = 0, storing = 0, untracked = 0;
	LIST_EACH(&q->windows, node) {
		const struct window *w = LIST_OWNER(node, struct window, node);
		window_check(w);
		ASSERT(w->first == at);
		at = window_end(w);
		untracked += w->untracked;
		counted += w->counted;
		storing += w->state == WINDOW_COMMITTING || w->state == WINDOW_DOUBT;
		if (q->limits.ledger && !w->untracked && (w->state == WINDOW_COMMITTING || w->state == WINDOW_DOUBT))
			ASSERT(w->slot < q->ring.n && q->ring.rows[w->slot].busy);
	}
	for (size_t i = 0; i < q->ring.n; i++)
		busy += q->ring.rows[i].busy;
	ring_check(q);
	ASSERT(difference(&q->counters, counted) == 0);
	ASSERT(!q->limits.ledger || busy + untracked >= storing);
	ASSERT(q->state == QUEUE_DRAIN || list_empty(&q->windows));
}
