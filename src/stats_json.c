/* The snapshot as one JSON object. */
#include "stats.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "config.h"
#include "daemon.h"
#include "errand.h"
#include "events.h"
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
	buf_addf(out, "{\"count\":%" PRIu64 ",\"sum\":%.6f}", histogram_count(h), h->sum);
}

static void
open_list(struct buf *out, const char *key, char bracket)
{
	add_key(out, key);
	buf_addc(out, bracket);
}

static void
add_counters(struct buf *out, const struct queue_counters *counters)
{
#define COUNTER(field, metric, help) add_whole(out, #field, counters->field);
#include "counters.def"
#undef COUNTER
	add_whole(out, "batches_committed", counters->batches_ok);
	add_whole(out, "batches_rolled_back", counters->batches_failed);
	open_list(out, "dead_by_reason", '{');
	for (size_t i = 0; i < STATS_CLASSES; i++)
		add_whole(out, stats_reason(i), counters->dead[i]);
	buf_addc(out, '}');
	open_list(out, "retries", '{');
	for (size_t i = DB_OK + 1; i < STATS_CLASSES; i++)
		add_whole(out, stats_reason(i), counters->retries[i]);
	buf_addc(out, '}');
}

static void
add_conservation(struct buf *out, const struct stats_queue *q)
{
	const struct queue_counters *counters = q->queue.counters;
	add_whole(out, "pushed", q->queue.pushed);
	add_key(out, "difference");
	buf_addf(out, "%" PRId64, q->queue.difference);
	open_list(out, "conservation", '{');
	add_whole(out, "stored", q->stored);
	add_whole(out, "duplicate", counters->duplicate);
	add_whole(out, "dead", q->dead_new);
	add_whole(out, "taken", counters->taken);
	add_whole(out, "waiting", q->waiting);
	buf_addc(out, '}');
}

static void
add_rates(struct buf *out, const struct stats_queue *q)
{
	const struct meter_rates *rates = &q->worker.rates;
	add_seconds(out, "in_per_s", rates->in);
	add_seconds(out, "out_per_s", rates->out);
	add_seconds(out, "dead_per_s", rates->dead);
	add_seconds(out, "rows_per_batch", rates->rows_per_batch);
	add_seconds(out, "commit_s", rates->commit_s);
	add_seconds(out, "connections_busy", rates->busy);
	if (q->time_to_empty_s >= 0) {
		add_seconds(out, "time_to_empty_s", q->time_to_empty_s);
	} else {
		add_key(out, "time_to_empty_s");
		buf_adds(out, "null");
	}
}

static void
add_last_dead(struct buf *out, const struct meter *meter)
{
	open_list(out, "last_dead", '[');
	for (size_t i = 0; i < meter_dead_letters(meter); i++) {
		const struct meter_dead *dead = meter_dead_letter(meter, i);
		open_element(out);
		add_seconds(out, "time_s", (double)dead->at_us / 1e6);
		add_whole(out, "position", dead->position);
		add_text(out, "reason", dead->reason);
		add_text(out, "code", dead->code);
		add_text(out, "meaning", stats_meaning(dead->reason, dead->code));
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
}

/* One value of each point, at this offset in it. */
static void
add_series(struct buf *out, const char *key, const struct meter *meter, size_t offset)
{
	open_list(out, key, '[');
	for (size_t i = 0; i < meter_points(meter); i++) {
		float value;
		memcpy(&value, (const char *)meter_point(meter, i) + offset, sizeof value);
		if (i > 0)
			buf_addc(out, ',');
		if (value < 0)
			buf_adds(out, "null");
		else
			buf_addf(out, "%.6g", (double)value);
	}
	buf_addc(out, ']');
}

static void
add_history(struct buf *out, const struct meter *meter)
{
	open_list(out, "history", '{');
	add_whole(out, "step_s", METER_STEP_S);
	add_series(out, "in", meter, offsetof(struct meter_point, in));
	add_series(out, "out", meter, offsetof(struct meter_point, out));
	add_series(out, "dead", meter, offsetof(struct meter_point, dead));
	add_series(out, "backlog", meter, offsetof(struct meter_point, backlog));
	add_series(out, "commit_ms", meter, offsetof(struct meter_point, commit_ms));
	add_series(out, "commit_p99_ms", meter, offsetof(struct meter_point, commit_p99_ms));
	buf_addc(out, '}');
}

static void
add_verdict(struct buf *out, const struct stats *s, const struct stats_queue *q)
{
	struct buf advice = BUF_INIT;
	stats_advice(s, q, &advice);
	add_text(out, "bound_by", q->bound_by);
	add_text(out, "severity", stats_severity(s, q));
	add_text(out, "advice", buf_cstr(&advice));
	buf_free(&advice);
}

static void
add_queue(struct buf *out, const struct stats *s, const struct stats_queue *q, bool history)
{
	open_element(out);
	add_text(out, "name", q->worker.config->name);
	add_text(out, "database", pool_config(q->pool)->name);
	add_text(out, "state", q->state);
	add_text(out, "block", stats_block(q->queue.block));
	add_text(out, "reason", q->queue.reason);
	add_verdict(out, s, q);
	add_whole(out, "backlog", q->queue.backlog);
	add_whole(out, "inflight", q->queue.inflight);
	add_seconds(out, "oldest_age_s", q->worker.oldest_age_s);
	add_whole(out, "dead", q->queue.dead);
	add_whole(out, "position", q->queue.settled);
	add_whole(out, "epoch", q->queue.epoch);
	add_whole(out, "connections", q->queue.sessions);
	add_whole(out, "wanted", q->queue.wanted);
	add_rates(out, q);
	add_conservation(out, q);
	add_counters(out, q->queue.counters);
	add_histogram(out, "commit_duration_s", &q->worker.meter->commit_duration);
	add_histogram(out, "batch_rows", &q->worker.meter->batch_rows);
	add_histogram(out, "wait_s", &q->worker.meter->wait);
	add_last_dead(out, q->worker.meter);
	if (history)
		add_history(out, q->worker.meter);
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
	add_whole(out, "rows", errand_rows(session));
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
	open_list(out, "connections", '[');
	for (size_t i = 0; i < pool_sessions(pool); i++)
		add_connection(out, pool, pool_session(pool, i));
	buf_adds(out, "]}");
}

static void
add_redis(struct buf *out, const struct stats *s)
{
	open_list(out, "redis", '{');
	add_bool(out, "up", s->redis_up);
	add_text(out, "why", s->redis_why);
	add_text(out, "version", s->redis_version);
	add_whole(out, "memory_used", s->memory.used);
	add_whole(out, "memory_max", s->memory.max);
	add_seconds(out, "memory_ratio", stats_memory_ratio(s));
	buf_addc(out, '}');
}

static void
add_events(struct buf *out, const struct events *events)
{
	open_list(out, "events", '[');
	for (size_t i = 0; i < events->n; i++) {
		const struct event_line *line = events_get(events, i);
		open_element(out);
		add_seconds(out, "time_s", (double)line->at_us / 1e6);
		add_whole(out, "times", line->times);
		add_text(out, "level", line->level);
		add_text(out, "subject", line->subject);
		add_text(out, "text", line->text);
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
}

bool
stats_json(const struct daemon_view *daemon, const char *queue, bool history, struct buf *out)
{
	struct stats s = stats_look(daemon);
	bool found = queue == NULL;
	buf_addc(out, '{');
	add_text(out, "version", PACKAGE_VERSION);
	add_text(out, "instance", daemon->config->instance);
	add_seconds(out, "time_s", (double)clock_wall_us() / 1e6);
	add_seconds(out, "uptime_s", s.uptime_s);
	add_bool(out, "config_last_reload_successful", daemon->reload_ok);
	add_seconds(out, "config_last_reload_success_timestamp_s", (double)daemon->configured_us / 1e6);
	open_list(out, "queues", '[');
	for (size_t i = 0; i < s.n_queues; i++) {
		if (queue != NULL && strcmp(queue, s.queues[i].worker.config->name) != 0)
			continue;
		add_queue(out, &s, &s.queues[i], history);
		found = true;
	}
	buf_addc(out, ']');
	open_list(out, "pools", '[');
	for (size_t i = 0; i < daemon->n_pools; i++)
		add_pool(out, daemon->pools[i]);
	buf_addc(out, ']');
	add_redis(out, &s);
	add_events(out, daemon->events);
	buf_adds(out, "}\n");
	stats_end(&s);
	return found;
}
