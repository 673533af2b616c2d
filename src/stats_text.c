/* The snapshot as tables for a terminal: one function a table. */
#include "stats.h"

#include <inttypes.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "config.h"
#include "daemon.h"
#include "errand.h"
#include "stats_private.h"
#include "text.h"
#include "version.h"

/* A stretch of time in the unit that suits it. */
static void
time_cell(struct buf *cells, double seconds)
{
	ASSERT(seconds >= 0);
	if (seconds < 100)
		text_cell(cells, "%.1f s", seconds);
	else if (seconds < 6000)
		text_cell(cells, "%.0f min", seconds / 60);
	else
		text_cell(cells, "%.0f h", seconds / 3600);
}

static void
head(struct buf *cells, const char *const *names)
{
	for (; *names != NULL; names++)
		text_cell(cells, "%s", *names);
	text_row_end(cells);
}

#define HEAD(cells, ...) head(cells, (const char *const[]){ __VA_ARGS__, NULL })

static void
queues(const struct stats *s, struct buf *cells)
{
	struct buf advice = BUF_INIT;
	HEAD(cells, "QUEUE", "STATE", "BACKLOG", "OLDEST", "IN/S", "OUT/S", "COMMITTED", "DUPLICATE", "DEAD", "DIFFERENCE", "BOUND BY", "ADVICE");
	for (size_t i = 0; i < s->n_queues; i++) {
		const struct stats_queue *q = &s->queues[i];
		text_cell(cells, "%s", q->worker.config->name);
		text_cell(cells, "%s", q->state);
		text_cell(cells, "%" PRIu64, q->queue.backlog);
		time_cell(cells, q->worker.oldest_age_s);
		text_cell(cells, "%.1f", q->worker.rates.in);
		text_cell(cells, "%.1f", q->worker.rates.out);
		text_cell(cells, "%" PRIu64, q->queue.counters->committed);
		text_cell(cells, "%" PRIu64, q->queue.counters->duplicate);
		text_cell(cells, "%" PRIu64, q->queue.dead);
		text_cell(cells, "%" PRId64, q->queue.difference);
		text_cell(cells, "%s", q->bound_by);
		buf_reset(&advice);
		stats_advice(s, q, &advice);
		text_cell(cells, "%s", buf_cstr(&advice));
		text_row_end(cells);
	}
	buf_free(&advice);
}

/* What came, and what became of it. */
static void
orders(const struct stats *s, struct buf *cells)
{
	HEAD(cells, "QUEUE", "PUSHED", "= STORED", "+ DUPLICATE", "+ DEAD", "+ TAKEN BY OTHERS", "+ WAITING", "+ DIFFERENCE");
	for (size_t i = 0; i < s->n_queues; i++) {
		const struct stats_queue *q = &s->queues[i];
		text_cell(cells, "%s", q->worker.config->name);
		text_cell(cells, "%" PRIu64, q->queue.pushed);
		text_cell(cells, "%" PRIu64, q->stored);
		text_cell(cells, "%" PRIu64, q->queue.counters->duplicate);
		text_cell(cells, "%" PRIu64, q->dead_new);
		text_cell(cells, "%" PRIu64, q->queue.counters->taken);
		text_cell(cells, "%" PRIu64, q->waiting);
		text_cell(cells, "%" PRId64, q->queue.difference);
		text_row_end(cells);
	}
}

static void
pools(const struct stats *s, struct buf *cells)
{
	HEAD(cells, "DATABASE", "SIZE", "IDLE", "BUSY", "CONNECTING", "UP", "WHY");
	for (size_t i = 0; i < s->daemon->n_pools; i++) {
		const struct pool *pool = s->daemon->pools[i];
		text_cell(cells, "%s", pool_config(pool)->name);
		text_cell(cells, "%u", pool_config(pool)->pool_size);
		text_cell(cells, "%u", pool_count(pool, SESSION_IDLE));
		text_cell(cells, "%u", pool_count(pool, SESSION_BUSY));
		text_cell(cells, "%u", pool_count(pool, SESSION_CONNECTING));
		text_cell(cells, "%s", pool_is_up(pool) ? "yes" : "no");
		text_cell(cells, "%s", pool_why(pool));
		text_row_end(cells);
	}
}

static void
connections(const struct stats *s, struct buf *cells)
{
	HEAD(cells, "DATABASE", "STATE", "SINCE", "SERVER ID", "ROWS", "QUEUE");
	for (size_t i = 0; i < s->daemon->n_pools; i++) {
		const struct pool *pool = s->daemon->pools[i];
		for (size_t j = 0; j < pool_sessions(pool); j++) {
			const struct session *session = pool_session(pool, j);
			ASSERT(session->pool == pool);
			text_cell(cells, "%s", pool_config(pool)->name);
			text_cell(cells, "%s", stats_session_state(session->state));
			time_cell(cells, (double)(clock_ms() - session->since_ms) / 1000);
			text_cell(cells, "%" PRIu64, session->conn == NULL ? 0 : pool_driver(pool)->server_id(session->conn));
			text_cell(cells, "%" PRIu32, errand_rows(session));
			text_cell(cells, "%s", session->state == SESSION_BUSY ? session->client->name : "");
			text_row_end(cells);
		}
	}
}

/* What was counted since the daemon started, a row a counter and queue. */
static void
counters(const struct stats *s, struct buf *cells)
{
	HEAD(cells, "QUEUE", "COUNTER", "TOTAL", "MEANING");
	for (size_t i = 0; i < s->n_queues; i++) {
		const struct queue_counters *c = s->queues[i].queue.counters;
		const struct {
			const char *name, *help;
			uint64_t value;
		} rows[] = {
#define COUNTER(field, metric, help) { #field, help, c->field },
#include "counters.def"
#undef COUNTER
			{ "batches_committed", "transactions committed", c->batches_ok },
			{ "batches_rolled_back", "transactions rolled back", c->batches_failed },
		};
		for (size_t j = 0; j < sizeof rows / sizeof *rows; j++) {
			text_cell(cells, "%s", s->queues[i].worker.config->name);
			text_cell(cells, "%s", rows[j].name);
			text_cell(cells, "%" PRIu64, rows[j].value);
			text_cell(cells, "%s", rows[j].help);
			text_row_end(cells);
		}
	}
}

static void
dead(const struct stats *s, struct buf *cells)
{
	HEAD(cells, "QUEUE", "LIST", "IN THE LIST", "LIMIT", "NEW SINCE START, BY REASON");
	for (size_t i = 0; i < s->n_queues; i++) {
		const struct stats_queue *q = &s->queues[i];
		struct buf reasons = BUF_INIT;
		for (size_t j = 0; j < STATS_CLASSES; j++) {
			if (q->queue.counters->dead[j] > 0)
				buf_addf(&reasons, "%s%s %" PRIu64, reasons.len > 0 ? ", " : "", stats_reason(j), q->queue.counters->dead[j]);
		}
		text_cell(cells, "%s", q->worker.config->name);
		text_cell(cells, "%s", q->worker.config->dead_letter);
		text_cell(cells, "%" PRIu64, q->queue.dead);
		text_cell(cells, "%u", q->worker.config->dead_letter_max);
		text_cell(cells, "%s", buf_cstr(&reasons));
		text_row_end(cells);
		buf_free(&reasons);
	}
}

static const struct table {
	const char *name;
	void (*fill)(const struct stats *s, struct buf *cells);
	bool overview; /* stands on the first page */
} tables[] = {
	{ "queues", queues, true },
	{ "orders", orders, true },
	{ "pools", pools, true },
	{ "connections", connections, true },
	{ "stats", counters, false },
	{ "dead", dead, false },
};

static void
add_table(const struct table *table, const struct stats *s, struct buf *out)
{
	struct buf cells = BUF_INIT;
	table->fill(s, &cells);
	text_columns(&cells, out);
	buf_free(&cells);
}

bool
stats_table(const struct daemon_view *daemon, const char *name, struct buf *out)
{
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		if (strcmp(tables[i].name, name) != 0)
			continue;
		struct stats s = stats_look(daemon);
		add_table(&tables[i], &s, out);
		stats_end(&s);
		return true;
	}
	return false;
}

void
stats_text(const struct daemon_view *daemon, struct buf *out)
{
	struct stats s = stats_look(daemon);
	buf_addf(out, "sluice " PACKAGE_VERSION ", instance %s, up %.0f s\n", daemon->config->instance, s.uptime_s);
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		if (!tables[i].overview)
			continue;
		buf_addc(out, '\n');
		add_table(&tables[i], &s, out);
	}
	stats_end(&s);
}
