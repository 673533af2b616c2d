/* The snapshot as one JSON object. */
#include "stats.h"

#include <inttypes.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "config.h"
#include "daemon.h"
#include "stats_private.h"
#include "text.h"
#include "version.h"

static void
add_key(struct buf *out, const char *key)
{
	ASSERT(out->len > 0 && out->data[out->len - 1] != '[');
	if (out->data[out->len - 1] != '{')
		buf_addc(out, ',');
	buf_addf(out, "\"%s\":", key);
}

/* A text from anywhere: a server's message may hold anything. */
static void
add_text(struct buf *out, const char *key, const char *text)
{
	struct buf clean = BUF_INIT;
	text_clean(&clean, text, strlen(text));
	add_key(out, key);
	buf_add_json(out, clean.data, clean.len);
	buf_free(&clean);
}

static void
add_whole(struct buf *out, const char *key, uint64_t number)
{
	add_key(out, key);
	buf_addf(out, "%" PRIu64, number);
}

static void
add_seconds(struct buf *out, const char *key, double number)
{
	add_key(out, key);
	buf_addf(out, "%.3f", number);
}

static void
add_bool(struct buf *out, const char *key, bool truth)
{
	add_key(out, key);
	buf_adds(out, truth ? "true" : "false");
}

/* Opens an object in an array. */
static void
open_element(struct buf *out)
{
	ASSERT(out->len > 0 && out->data[out->len - 1] != '{');
	if (out->data[out->len - 1] != '[')
		buf_addc(out, ',');
	buf_addc(out, '{');
}

static void
add_histogram(struct buf *out, const char *key, const struct histogram *h)
{
	add_key(out, key);
	buf_addf(out, "{\"count\":%" PRIu64 ",\"sum\":%.6f}", stats_histogram_count(h), h->sum);
}

static void
add_queue(struct buf *out, const struct stats_queue *q)
{
	const struct queue_counters *counters = q->queue.counters;
	open_element(out);
	add_text(out, "name", q->worker.config->name);
	add_text(out, "state", q->state);
	add_text(out, "block", stats_block(q->queue.block));
	add_text(out, "reason", q->queue.reason);
	add_text(out, "bound_by", q->bound_by);
	add_whole(out, "backlog", q->queue.backlog);
	add_whole(out, "inflight", q->queue.inflight);
	add_seconds(out, "oldest_age_s", q->worker.oldest_age_s);
	add_whole(out, "dead", q->queue.dead);
	add_whole(out, "position", q->queue.settled);
	add_whole(out, "epoch", q->queue.epoch);
	add_whole(out, "connections", q->queue.sessions);
	add_whole(out, "wanted", q->queue.wanted);
#define COUNTER(field, metric, help) add_whole(out, #field, counters->field);
#include "counters.def"
#undef COUNTER
	add_whole(out, "batches_committed", counters->batches_ok);
	add_whole(out, "batches_rolled_back", counters->batches_failed);
	add_key(out, "dead_by_reason");
	buf_addc(out, '{');
	for (size_t i = 0; i < STATS_CLASSES; i++)
		add_whole(out, stats_reason(i), counters->dead[i]);
	buf_addc(out, '}');
	add_key(out, "retries");
	buf_addc(out, '{');
	for (size_t i = DB_OK + 1; i < STATS_CLASSES; i++)
		add_whole(out, stats_reason(i), counters->retries[i]);
	buf_addc(out, '}');
	add_histogram(out, "commit_duration_s", &q->worker.commit_duration);
	add_histogram(out, "batch_rows", &q->worker.batch_rows);
	add_histogram(out, "wait_s", &q->worker.wait);
	buf_addc(out, '}');
}

static void
add_connection(struct buf *out, const struct pool *pool, const struct session *session)
{
	ASSERT(session->state != SESSION_BUSY || session->client != NULL);
	open_element(out);
	add_text(out, "state", stats_session_state(session->state));
	add_seconds(out, "since_s", (double)(clock_ms() - session->since_ms) / 1000);
	add_text(out, "queue", session->state == SESSION_BUSY ? session->client->name : "");
	add_whole(out, "server_id", session->conn == NULL ? 0 : pool_driver(pool)->server_id(session->conn));
	buf_addc(out, '}');
}

static void
add_pool(struct buf *out, const struct pool *pool)
{
	open_element(out);
	add_text(out, "name", pool_config(pool)->name);
	add_text(out, "driver", pool_driver(pool)->name);
	add_whole(out, "size", pool_config(pool)->pool_size);
	add_whole(out, "idle", pool_count(pool, SESSION_IDLE));
	add_whole(out, "busy", pool_count(pool, SESSION_BUSY));
	add_whole(out, "connecting", pool_count(pool, SESSION_CONNECTING));
	add_bool(out, "up", pool_is_up(pool));
	add_text(out, "why", pool_why(pool));
	add_key(out, "connections");
	buf_addc(out, '[');
	for (size_t i = 0; i < pool_sessions(pool); i++)
		add_connection(out, pool, pool_session(pool, i));
	buf_adds(out, "]}");
}

bool
stats_json(const struct daemon_view *daemon, const char *queue, struct buf *out)
{
	struct stats s = stats_look(daemon);
	bool found = queue == NULL;
	buf_addc(out, '{');
	add_text(out, "version", PACKAGE_VERSION);
	add_text(out, "instance", daemon->config->instance);
	add_seconds(out, "uptime_s", s.uptime_s);
	add_bool(out, "config_last_reload_successful", daemon->reload_ok);
	add_seconds(out, "config_last_reload_success_timestamp_s", (double)daemon->configured_us / 1e6);
	add_key(out, "queues");
	buf_addc(out, '[');
	for (size_t i = 0; i < s.n_queues; i++) {
		if (queue != NULL && strcmp(queue, s.queues[i].worker.config->name) != 0)
			continue;
		add_queue(out, &s.queues[i]);
		found = true;
	}
	buf_addc(out, ']');
	add_key(out, "pools");
	buf_addc(out, '[');
	for (size_t i = 0; i < daemon->n_pools; i++)
		add_pool(out, daemon->pools[i]);
	buf_addc(out, ']');
	add_key(out, "redis");
	buf_addc(out, '{');
	add_bool(out, "up", s.redis_up);
	add_text(out, "why", s.redis_why);
	buf_adds(out, "}}\n");
	stats_end(&s);
	return found;
}
