/* The verdict on a queue: what it is bound by, and what somebody can do about it. */
#include "stats.h"

#include <inttypes.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "config.h"
#include "stats_private.h"

#define MEMORY_FULL 0.95   /* of maxmemory: pushes are refused, or about to be */
#define SILENT_S 3         /* a batch that takes so long is worth a look at the database */
#define REFUSED_MANY 0.005 /* of all orders: the batches are split again and again */

/* Connections that the queue may have. */
static unsigned
most_of(const struct stats_queue *q)
{
	unsigned size = pool_config(q->pool)->pool_size, own = q->worker.config->max_batches;
	return own > 0 && own < size ? own : size;
}

static unsigned
uses(const struct stats_queue *q)
{
	return q->queue.sessions + q->queue.wanted;
}

/* How many queues want connections of this queue's pool, itself included, where none is free; 0: one is. */
static unsigned
sharers(const struct stats *s, const struct stats_queue *queue)
{
	unsigned n = 0;
	if (pool_count(queue->pool, SESSION_IDLE) > 0)
		return 0;
	for (size_t i = 0; i < s->n_queues; i++)
		n += s->queues[i].pool == queue->pool && uses(&s->queues[i]) > 0;
	return n;
}

const char *
stats_bound_by(const struct stats *s, const struct stats_queue *queue)
{
	const struct queue_view *q = &queue->queue;
	if (!queue->worker.redis_up)
		return "redis";
	if (q->state == QUEUE_STANDBY)
		return "standby";
	if (!pool_is_up(queue->pool))
		return "database";
	if (q->block != BLOCK_NONE || q->state == QUEUE_STOPPED)
		return "paused";
	if (q->backlog == 0 && q->inflight == 0)
		return "idle";
	if (uses(queue) > 0 && sharers(s, queue) > 1)
		return "pool";
	bool all_taken = uses(queue) >= most_of(queue) || q->wanted > 0 || q->backlog <= q->inflight;
	if (!all_taken && queue->worker.config->rate_limit > 0)
		return "rate limit";
	return all_taken || queue->worker.rates.busy >= most_of(queue) / 2.0 ? "database" : "redis";
}

/* -- advice, by what binds */

static void
advise_down(const struct stats_queue *q, struct buf *out)
{
	const char *why = pool_why(q->pool);
	buf_addf(out, "no connection to database %s is open: %s. Orders wait in Redis until it is back", pool_config(q->pool)->name,
	    why[0] == '\0' ? "not connected yet" : why);
}

static void
advise_paused(const struct stats_queue *q, struct buf *out)
{
	const char *name = q->worker.config->name;
	if (q->queue.state == QUEUE_STOPPED)
		buf_adds(out, "stopped: its section is gone or changes, or the daemon is about to end");
	else if (q->queue.block == BLOCK_OPERATOR)
		buf_addf(out, "paused by an operator: `sluice resume %s` lets it go on", name);
	else if (q->queue.block == BLOCK_SETUP)
		buf_addf(out, "%s. It is tried again now and then, and at once by `sluice resume %s`", q->queue.reason, name);
	else
		buf_adds(out, q->queue.reason);
}

static void
advise_pool(const struct stats *s, const struct stats_queue *q, struct buf *out)
{
	const struct database_config *d = pool_config(q->pool);
	buf_addf(out, "waits for its share of pool %s: %u queues want its %u connection%s, each commit takes %.0f ms; raise pool_size in [database %s], or "
	    "this queue's weight", d->name, sharers(s, q), d->pool_size, d->pool_size == 1 ? "" : "s", q->worker.rates.commit_s * 1000, d->name);
}

/* The connection of this queue on which nothing has come back for longest; NULL: all go on. */
static const struct session *
silent_session(const struct stats_queue *q)
{
	const struct session *oldest = NULL;
	for (size_t i = 0; i < pool_sessions(q->pool); i++) {
		const struct session *session = pool_session(q->pool, i);
		bool ours = session->state == SESSION_BUSY && strcmp(session->client->name, q->worker.config->name) == 0;
		if (ours && (oldest == NULL || session->since_ms < oldest->since_ms))
			oldest = session;
	}
	return oldest != NULL && clock_ms() - oldest->since_ms >= SILENT_S * 1000 ? oldest : NULL;
}

static void
advise_silent(const struct stats_queue *q, const struct session *session, struct buf *out)
{
	uint64_t id = pool_driver(q->pool)->server_id(session->conn);
	buf_addf(out, "database %s has not answered connection %" PRIu64 " for %" PRIu64 " s: it hangs, or table %s is locked; ", pool_config(q->pool)->name, id,
	    (clock_ms() - session->since_ms) / 1000, q->worker.config->table);
	if (pool_config(q->pool)->driver == DRIVER_POSTGRESQL)
		buf_addf(out, "SELECT pg_blocking_pids(%" PRIu64 ") names who holds the lock", id);
	else
		buf_adds(out, "SHOW FULL PROCESSLIST shows who holds the lock");
}

static void
advise_database(const struct stats_queue *q, struct buf *out)
{
	const struct database_config *d = pool_config(q->pool);
	const struct meter_rates *r = &q->worker.rates;
	const struct session *silent = silent_session(q);
	unsigned open = pool_count(q->pool, SESSION_IDLE) + pool_count(q->pool, SESSION_BUSY), most = most_of(q);
	const char *s = most == 1 ? "" : "s";
	double ms = r->commit_s * 1000;
	if (silent != NULL)
		advise_silent(q, silent, out);
	else if (r->dead > r->out * REFUSED_MANY)
		buf_addf(out, "%.3g of %.3g orders a second are refused, and each costs its batch another try: `sluice dead list %s` tells why", r->dead, r->out,
		    q->worker.config->name);
	else if (open < d->pool_size && pool_why(q->pool)[0] != '\0')
		buf_addf(out, "only %u of %u connections to database %s are open: %s", open, d->pool_size, d->name, pool_why(q->pool));
	else if (q->queue.backlog <= q->queue.inflight && q->queue.sessions < most)
		buf_addf(out, "keeps up: all that waits is being committed, %.1f ms a commit", ms);
	else if (most < d->pool_size)
		buf_addf(out, "its %u connection%s (max_batches) are busy: each commit takes %.1f ms; raise max_batches in [queue %s]", most, s, ms,
		    q->worker.config->name);
	else
		buf_addf(out, "all %u connection%s of pool %s are busy: each commit takes %.1f ms; raise pool_size in [database %s], or see what the database waits for",
		    most, s, d->name, ms, d->name);
}

static void
advise(const struct stats *s, const struct stats_queue *q, struct buf *out)
{
	const struct queue_view *view = &q->queue;
	if (!q->worker.redis_up)
		buf_addf(out, "%s", q->worker.redis_why[0] == '\0' ? "not connected to Redis yet" : q->worker.redis_why);
	else if (view->state == QUEUE_STANDBY)
		buf_addf(out, "stands by: %s, and this daemon takes over when that one stops", view->reason[0] == '\0' ? "another daemon drains it" : view->reason);
	else if (!pool_is_up(q->pool))
		advise_down(q, out);
	else if (strcmp(q->bound_by, "paused") == 0)
		advise_paused(q, out);
	else if (strcmp(q->bound_by, "idle") == 0)
		buf_adds(out, "nothing waits: all that came is dealt with");
	else if (strcmp(q->bound_by, "pool") == 0)
		advise_pool(s, q, out);
	else if (strcmp(q->bound_by, "database") == 0)
		advise_database(q, out);
	else if (strcmp(q->bound_by, "rate limit") == 0)
		buf_addf(out, "held to rate_limit = %u rows a second; raise it in [queue %s] to go faster", q->worker.config->rate_limit, q->worker.config->name);
	else
		buf_adds(out, "connections wait for orders to come from Redis: is it busy with something else, or far away?");
}

void
stats_advice(const struct stats *s, const struct stats_queue *q, struct buf *out)
{
	if (q->worker.redis_up && stats_memory_ratio(s) >= MEMORY_FULL)
		buf_addf(out, "Redis is full (%.0f %% of maxmemory), so pushes are refused: raise maxmemory, or let the queues drain. This one: ",
		    stats_memory_ratio(s) * 100);
	advise(s, q, out);
}
