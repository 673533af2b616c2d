/* The snapshot behind every page: each queue with its verdict. */
#include "stats.h"

#include <stdlib.h>

#include "buf.h"
#include "clock.h"
#include "config.h"
#include "daemon.h"
#include "stats_private.h"

static const char *const blocked_states[] = { "paused", "blocked" }; /* behind those of enum queue_state */
static const char *const blocks[] = {
	[BLOCK_NONE] = "none", [BLOCK_RETRY] = "retry", [BLOCK_SETUP] = "setup", [BLOCK_DEAD_FULL] = "dead letters full",
	[BLOCK_HISTORY] = "history", [BLOCK_OPERATOR] = "operator",
};
static const char *const session_states[] = {
	[SESSION_CLOSED] = "closed", [SESSION_CONNECTING] = "connecting", [SESSION_IDLE] = "idle", [SESSION_BUSY] = "busy",
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

const char *
stats_state(size_t i)
{
	if (i <= QUEUE_STOPPED)
		return queue_state_name((enum queue_state)i);
	i -= QUEUE_STOPPED + 1;
	return i < LENGTH(blocked_states) ? blocked_states[i] : NULL;
}

const char *
stats_reason(size_t class)
{
	ASSERT(class < STATS_CLASSES);
	return class == DB_OK ? "message" : db_class_name((enum db_class)class);
}

const char *
stats_block(enum queue_block block)
{
	ASSERT((size_t)block < LENGTH(blocks));
	return blocks[block];
}

const char *
stats_session_state(enum session_state state)
{
	ASSERT((size_t)state < LENGTH(session_states));
	return session_states[state];
}

static const char *
state_of(const struct queue_view *q)
{
	if (q->block == BLOCK_NONE)
		return queue_state_name(q->state);
	return blocked_states[q->block != BLOCK_OPERATOR];
}

/* Whatever adds up; see stats_queue. */
static void
count(struct stats_queue *s)
{
	const struct queue_counters *c = s->queue.counters;
	s->stored = c->committed + c->reconciled + (uint64_t)c->moved - c->recounted;
	for (size_t i = 0; i < STATS_CLASSES; i++)
		s->dead_new += c->dead[i];
	s->waiting = s->queue.backlog > s->queue.unsettled ? s->queue.backlog - s->queue.unsettled : 0;
	double shrinks = s->worker.rates.out - s->worker.rates.in;
	s->time_to_empty_s = s->queue.backlog == 0 ? 0 : shrinks > 0 ? (double)s->queue.backlog / shrinks : -1;
}

struct stats
stats_look(const struct daemon_view *daemon)
{
	struct stats s = { .daemon = daemon, .n_queues = daemon->n_workers, .redis_up = true, .redis_why = "", .redis_version = "" };
	s.queues = xcalloc(s.n_queues + 1, sizeof *s.queues);
	s.uptime_s = (double)(clock_wall_us() - (int64_t)daemon->started_us) / 1e6;
	for (size_t i = 0; i < s.n_queues; i++) {
		struct stats_queue *queue = &s.queues[i];
		worker_look(daemon->workers[i], &queue->worker, &queue->queue);
		ASSERT(queue->worker.config != NULL && queue->queue.counters != NULL && queue->queue.reason != NULL && queue->worker.redis_why != NULL);
		queue->pool = worker_pool(daemon->workers[i]);
		queue->state = state_of(&queue->queue);
		count(queue);
		if (!queue->worker.redis_up) {
			s.redis_up = false;
			s.redis_why = queue->worker.redis_why;
		}
		if (queue->worker.redis_version[0] != '\0')
			s.redis_version = queue->worker.redis_version;
		if (queue->worker.memory.used > 0)
			s.memory = queue->worker.memory;
	}
	for (size_t i = 0; i < s.n_queues; i++)
		s.queues[i].bound_by = stats_bound_by(&s, &s.queues[i]);
	return s;
}

void
stats_end(struct stats *stats)
{
	ASSERT(stats->queues != NULL);
	free(stats->queues);
	stats->queues = NULL;
}

double
stats_memory_ratio(const struct stats *s)
{
	return s->memory.max == 0 ? 0 : (double)s->memory.used / (double)s->memory.max;
}

bool
stats_ready(const struct daemon_view *daemon, struct buf *why)
{
	struct stats s = stats_look(daemon);
	size_t before = why->len;
	if (!s.redis_up)
		buf_addf(why, "redis: %s\n", s.redis_why[0] == '\0' ? "not connected yet" : s.redis_why);
	for (size_t i = 0; i < daemon->n_pools; i++) {
		const struct pool *pool = daemon->pools[i];
		if (!pool_is_up(pool))
			buf_addf(why, "database %s: %s\n", pool_config(pool)->name, pool_why(pool)[0] == '\0' ? "not connected yet" : pool_why(pool));
	}
	stats_end(&s);
	return why->len == before;
}
