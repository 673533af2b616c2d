/* The verdict on a queue: what it is bound by, and what somebody can do about it. */
#include "stats.h"

#include <inttypes.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "config.h"
#include "ledger.h"
#include "stats_private.h"

#define MEMORY_FULL 0.95   /* of maxmemory: pushes are refused, or about to be */
#define SILENT_S 3         /* a batch or a login that takes so long is worth a look at the database */
#define REFUSED_MANY 0.005 /* of all orders: the batches are split again and again */
#define SOON_S 1           /* a queue whose orders wait no longer than this is as good as empty */

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

/* Is a first connection being made, as at the beginning, with nothing failed since the last one, and not for long yet? */
static bool
is_connecting(const struct stats_queue *q)
{
	if (pool_is_up(q->pool) || pool_why(q->pool)[0] != '\0')
		return false;
	for (size_t i = 0; i < pool_sessions(q->pool); i++) {
		if (clock_ms() - pool_session(q->pool, i)->since_ms < SILENT_S * 1000)
			return true;
	}
	return false;
}

/* Is its database away, as far as we know? */
static bool
is_down(const struct stats_queue *q)
{
	return !pool_is_up(q->pool) && !is_connecting(q);
}

/* Do orders come and go, so that some always wait, but not for long, and connections are free most of the time? */
static bool
is_flowing(const struct stats_queue *q)
{
	return q->worker.oldest_age_s < SOON_S && (double)q->queue.backlog <= q->worker.rates.out * SOON_S && q->worker.rates.busy < most_of(q) / 2.0;
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

/* Do all that waits and all connections wait for an answer of the database, and not for orders? A rest that fills no batch waits for the one before. */
static bool
is_database_asked(const struct stats_queue *q)
{
	const struct queue_view *view = &q->queue;
	return view->backlog <= view->inflight || !view->asks_redis || q->worker.rates.busy >= most_of(q) / 2.0;
}

const char *
stats_bound_by(const struct stats *s, const struct stats_queue *queue)
{
	const struct queue_view *q = &queue->queue;
	if (!queue->worker.redis_up)
		return "redis";
	if (q->state == QUEUE_STANDBY && q->block != BLOCK_HISTORY)
		return "standby";
	if (is_down(queue))
		return "database";
	if (q->block == BLOCK_RETRY && q->state != QUEUE_STOPPED)
		return q->by_redis ? "redis" : "database";
	if (q->block != BLOCK_NONE || q->state == QUEUE_STOPPED)
		return "paused";
	if (is_connecting(queue) || silent_session(queue) != NULL)
		return "database";
	if ((q->backlog == 0 && q->inflight == 0) || is_flowing(queue))
		return "idle";
	if (uses(queue) > 0 && sharers(s, queue) > 1)
		return "pool";
	bool all_taken = uses(queue) >= most_of(queue) || q->wanted > 0;
	if (!all_taken && q->unsent > 0 && queue->worker.config->rate_limit > 0)
		return "rate limit";
	return all_taken || is_database_asked(queue) ? "database" : "redis";
}

/* -- advice, by what binds */

static void
advise_down(const struct stats_queue *q, struct buf *out)
{
	const char *why = pool_why(q->pool);
	buf_addf(out, "no connection to database %s is open, and orders wait in Redis until it is back: %s", pool_config(q->pool)->name,
	    why[0] == '\0' ? "no answer yet" : why);
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

/* Is most of what it does in vain? */
static bool
is_refused(const struct stats_queue *q)
{
	return q->worker.rates.dead > q->worker.rates.out * REFUSED_MANY;
}

/* Is all that waits being committed, with a connection to spare? */
static bool
keeps_up(const struct stats_queue *q)
{
	return q->queue.backlog <= q->queue.inflight && q->queue.unsent == 0 && q->queue.sessions < most_of(q);
}

const char *
stats_severity(const struct stats *s, const struct stats_queue *q)
{
	bool stuck = q->queue.block != BLOCK_NONE && q->queue.block != BLOCK_OPERATOR;
	if (q->queue.difference != 0 || stats_memory_ratio(s) >= MEMORY_FULL)
		return "alarm";
	if (!q->worker.redis_up)
		return q->worker.redis_why[0] == '\0' ? "notice" : "alarm"; /* at the beginning nothing has failed yet */
	if (q->queue.state == QUEUE_STANDBY && q->queue.block != BLOCK_HISTORY)
		return "ok";
	if (is_down(q) || stuck || silent_session(q) != NULL)
		return "alarm";
	bool at_rest = strcmp(q->bound_by, "idle") == 0 || (strcmp(q->bound_by, "database") == 0 && keeps_up(q));
	return at_rest && !is_refused(q) ? "ok" : "notice";
}

/* What codes mean that orders meet often; those of PostgreSQL, then those of MySQL and MariaDB. */
static const struct {
	const char *code, *meaning;
} meanings[] = {
	{ "22001", "a text too long for its column" },
	{ "22003", "a number too large for its column" },
	{ "22007", "no date or time" },
	{ "22008", "a date or time that cannot be" },
	{ "22P02", "a text where the column wants a number, a date or the like" },
	{ "22P05", "a character that the database cannot store" },
	{ "23502", "nothing for a column that needs a value" },
	{ "23503", "points to a row that is not there" },
	{ "23505", "a key that is there already" },
	{ "23514", "a value that a CHECK of the table forbids" },
	{ "1048", "nothing for a column that needs a value" },
	{ "1062", "a key that is there already" },
	{ "1264", "a number too large for its column" },
	{ "1292", "no date or time" },
	{ "1364", "nothing for a column that needs a value" },
	{ "1366", "a text where the column wants a number, or a character that it cannot store" },
	{ "1406", "a text too long for its column" },
	{ "1452", "points to a row that is not there" },
	{ "4025", "a value that a CHECK of the table forbids" },
	{ "3819", "a value that a CHECK of the table forbids" },
};

const char *
stats_meaning(const char *reason, const char *code)
{
	for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
		if (strcmp(meanings[i].code, code) == 0)
			return meanings[i].meaning;
	}
	if (strcmp(reason, "message") == 0)
		return "no JSON object that fits the table's columns";
	if (strcmp(reason, "data") == 0)
		return "a value that the table refuses";
	return strcmp(reason, "too big") == 0 ? "larger than the database takes" : "refused, nobody knows why";
}

static void
advise_silent(const struct stats_queue *q, const struct session *session, struct buf *out)
{
	uint64_t id = pool_driver(q->pool)->server_id(session->conn);
	buf_addf(out, "database %s has not answered connection %" PRIu64 " for %" PRIu64 " s: it hangs, or table %s is locked; ", pool_config(q->pool)->name, id,
	    (clock_ms() - session->since_ms) / 1000, q->queue.state == QUEUE_DRAIN ? q->worker.config->table : LEDGER_TABLE);
	if (pool_config(q->pool)->driver == DRIVER_POSTGRESQL)
		buf_addf(out, "SELECT pg_blocking_pids(%" PRIu64 ") names who holds the lock", id);
	else
		buf_adds(out, "SHOW FULL PROCESSLIST shows who holds the lock");
}

static void
advise_refused(const struct stats_queue *q, const char *consequence, struct buf *out)
{
	const struct meter_rates *r = &q->worker.rates;
	buf_addf(out, "%.1f %% of the orders of late are refused, and %s: `sluice dead list %s` tells why", r->dead >= r->out ? 100 : r->dead / r->out * 100,
	    consequence, q->worker.config->name);
}

static void
advise_database(const struct stats_queue *q, struct buf *out)
{
	const struct database_config *d = pool_config(q->pool);
	const struct meter_rates *r = &q->worker.rates;
	const struct session *silent = silent_session(q);
	unsigned open = pool_count(q->pool, SESSION_IDLE) + pool_count(q->pool, SESSION_BUSY), most = most_of(q);
	double ms = r->commit_s * 1000;
	if (silent != NULL)
		advise_silent(q, silent, out);
	else if (q->queue.block == BLOCK_RETRY)
		buf_addf(out, "%s; it is tried again until it works", q->queue.reason);
	else if (is_connecting(q))
		buf_addf(out, "waits for a connection to database %s, which is being made", d->name);
	else if (q->queue.state != QUEUE_DRAIN)
		buf_addf(out, "is taken over: database %s is asked for table and ledger", d->name);
	else if (is_refused(q))
		advise_refused(q, "each costs its batch another try", out);
	else if (open < d->pool_size && pool_why(q->pool)[0] != '\0')
		buf_addf(out, "only %u of %u connections to database %s are open: %s", open, d->pool_size, d->name, pool_why(q->pool));
	else if (keeps_up(q))
		buf_addf(out, "keeps up: all that waits is being committed, %.1f ms a commit", ms);
	else if (q->queue.sessions < most && q->queue.wanted == 0)
		buf_addf(out, "waits for the batch under way, and what has come since fills the next one: each commit takes %.1f ms; see what the database waits "
		    "for, more connections would not help", ms);
	else if (most < d->pool_size)
		buf_addf(out, "max_batches = %u connections are busy for it: each commit takes %.1f ms; raise max_batches in [queue %s]", most, ms,
		    q->worker.config->name);
	else
		buf_addf(out, "%s %u connection%s of pool %s %s busy: each commit takes %.1f ms; raise pool_size in [database %s], or see what the database waits for",
		    most == 1 ? "the" : "all", most, most == 1 ? "" : "s", d->name, most == 1 ? "is" : "are", ms, d->name);
}

static void
advise(const struct stats *s, const struct stats_queue *q, struct buf *out)
{
	const struct queue_view *view = &q->queue;
	if (!q->worker.redis_up)
		buf_addf(out, "%s", q->worker.redis_why[0] == '\0' ? "waits for a connection to Redis, which is being made" : q->worker.redis_why);
	else if (strcmp(q->bound_by, "redis") == 0 && view->block == BLOCK_RETRY)
		buf_addf(out, "%s; it is tried again until it works", view->reason);
	else if (strcmp(q->bound_by, "standby") == 0)
		buf_addf(out, "stands by: %s, and this daemon takes over when that one stops", view->reason[0] == '\0' ? "another daemon drains it" : view->reason);
	else if (is_down(q))
		advise_down(q, out);
	else if (strcmp(q->bound_by, "paused") == 0)
		advise_paused(q, out);
	else if (strcmp(q->bound_by, "idle") == 0 && is_refused(q))
		advise_refused(q, "are dead letters now", out);
	else if (strcmp(q->bound_by, "idle") == 0 && view->backlog == 0)
		buf_adds(out, "nothing waits: all that came is dealt with");
	else if (strcmp(q->bound_by, "idle") == 0)
		buf_addf(out, "keeps up: what comes is stored within a second, %.1f ms a commit", q->worker.rates.commit_s * 1000);
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
