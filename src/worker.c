/* One configured queue at work. */
#include "worker_inner.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "buf.h"
#include "clock.h"
#include "config.h"
#include "log.h"
#include "mapping.h"
#include "meter.h"
#include "priorities.h"
#include "redis.h"
#include "source_list.h"
#include "table.h"
#include "window.h"

/* -- history */

static struct meter_totals
totals(const struct worker *w, const struct queue_view *v)
{
	uint64_t now = clock_ms();
	struct meter_totals t = { .at_ms = now, .pushed = v->pushed, .settled = v->counters->settled, .busy_ms = pool_busy_ms(&w->client, now),
		.backlog = v->backlog };
	for (size_t i = 0; i < sizeof v->counters->dead / sizeof *v->counters->dead; i++)
		t.dead += v->counters->dead[i];
	return t;
}

/* The history goes on whenever something happens anyway: an idle daemon is not woken for it. */
static void
keep_history(struct worker *w)
{
	struct queue_view v;
	if (!meter_is_due(&w->meter, clock_ms()))
		return;
	queue_look(w->queue, &v);
	struct meter_totals now = totals(w, &v);
	meter_tick(&w->meter, &now);
}

void
worker_note_progress(struct worker *w)
{
	struct queue_view v;
	queue_look(w->queue, &v);
	age_note(&w->meter.age, clock_ms(), v.settled, v.backlog);
	keep_history(w);
}

/* -- SQL */

static void
port_ask(void *world, struct task *task, const struct statement *statement)
{
	struct worker *w = world;
	errand_run(&w->place, task, statement);
}

static bool
port_prepare(void *world, struct task *task)
{
	struct worker *w = world;
	ASSERT(w->mapping != NULL);
	event_active(w->idle, EV_TIMEOUT, 0);
	return errand_prepare(&w->place, w->context->encoder, task, clock_wall_us());
}

/* Windows that no session was free for are made ready, one at a time: whatever else comes goes first. */
static void
on_idle(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	(void)fd, (void)what;
	const struct window *next = NULL;
	for (unsigned i = 0; i < AHEAD_WINDOWS && w->mapping != NULL && (next = queue_next(w->queue, i)) != NULL; i++) {
		if (errand_prepare_ahead(&w->place, w->context->encoder, next)) {
			event_active(w->idle, EV_TIMEOUT, 0);
			return;
		}
	}
}

static void
on_mapped(void *arg, struct table *table, struct mapping *mapping)
{
	struct worker *w = arg;
	ahead_forget(&w->ahead);
	mapping_free(&w->mapping);
	table_free(&w->table);
	w->place.mapping = w->mapping = mapping;
	w->place.table = w->table = table;
}

static void
on_answered(void *arg, struct task *task, const struct answer *answer)
{
	struct worker *w = arg;
	bool commit = task->asked == STATEMENT_COMMIT || (task->asked == STATEMENT_BATCH && task->commits && answer->affected == 1);
	if (task->kind == TASK_STORE && commit && answer->error.class == DB_OK && !answer->rolled_back) {
		meter_commit(&w->meter, (double)(clock_ms() - task->session->since_ms) / 1000, window_rows(task->window));
	}
	queue_answered(w->queue, clock_ms(), task, answer);
}

static void
port_give_back(void *world, struct session *session, bool lost)
{
	(void)world;
	errand_end(session);
	pool_give_back(session, lost);
}

static void
port_want(void *world, unsigned sessions)
{
	struct worker *w = world;
	pool_want(&w->client, sessions);
}

static bool
on_give(void *arg, struct session *session)
{
	struct worker *w = arg;
	return queue_give(w->queue, clock_ms(), session);
}

/* -- time, chance, log */

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	(void)fd;
	(void)what;
	queue_tick(w->queue, clock_ms());
	keep_history(w);
}

static void
port_wake_at(void *world, uint64_t ms)
{
	struct worker *w = world;
	if (ms == UINT64_MAX) {
		event_del(w->timer);
		return;
	}
	uint64_t now = clock_ms(), in = ms > now ? ms - now : 1;
	struct timeval tv = { (time_t)(in / 1000), (suseconds_t)(in % 1000 * 1000) };
	event_add(w->timer, &tv);
}

static uint64_t
port_random(void *world)
{
	uint64_t n;
	(void)world;
	ssize_t got = getrandom(&n, sizeof n, 0);
	ASSERT(got == (ssize_t)sizeof n);
	return n;
}

static void
port_tell(void *world, int level, const char *line)
{
	struct worker *w = world;
	log_line((enum log_level)level, w->subject, "%s", line);
}

static const struct queue_ports ports = { worker_list_lease, worker_list_own, worker_list_peek, worker_list_settle, worker_list_wait,
	worker_list_length, worker_list_release, port_ask, port_give_back, port_want, port_prepare, port_wake_at, port_random, port_tell };

/* -- links */

static void
on_redis_up(void *arg)
{
	struct worker *w = arg;
	if (!w->redis_up)
		log_info(w->subject, "connected to Redis %s", redis_version(w->commands));
	w->redis_up = true;
	w->redis_why[0] = '\0';
	queue_redis_up(w->queue, clock_ms());
}

static void
on_redis_down(void *arg, enum redis_class class, const char *why)
{
	struct worker *w = arg;
	(void)class;
	if (strcmp(w->redis_why, why) != 0)
		log_warning(w->subject, "%s: trying again until it works", why);
	w->redis_up = false;
	snprintf(w->redis_why, sizeof w->redis_why, "%s", why);
	queue_redis_down(w->queue, clock_ms());
	keep_history(w);
}

static void
on_waiting_up(void *arg)
{
	(void)arg;
}

static void
on_waiting_down(void *arg, enum redis_class class, const char *why)
{
	(void)arg;
	(void)class;
	(void)why; /* the other link says the same */
}

static const struct redis_events command_events = { on_redis_up, on_redis_down };
static const struct redis_events waiting_events = { on_waiting_up, on_waiting_down };

/* -- life */

static struct queue_limits
limits_of(const struct config *config, const struct queue_config *q)
{
	unsigned pool = q->target->pool_size;
	return (struct queue_limits){ .batch_rows = q->batch_rows, .batch_bytes = q->batch_bytes, .max_item_bytes = q->max_item_bytes,
		.sessions = q->max_batches > 0 && q->max_batches < pool ? q->max_batches : pool, .ledger_rows = q->ledger_rows, .ledger = q->ledger == SWITCH_ON,
		.lease_ms = config->lease_ttl * 1000, .backoff_ms = q->retry_backoff_ms, .rate = q->rate_limit };
}

/* Takes up the work that `config` describes: a pool to borrow from, links to Redis. */
static void
take_up(struct worker *w, const struct queue_config *config, struct pool *pool)
{
	const struct worker_context *context = w->context;
	w->config = w->place.config = config;
	w->client = (struct pool_client){ .name = config->name, .weight = config->weight, .max = config->max_batches, .give = on_give, .arg = w };
	pool_join(pool, &w->client);
	w->commands = redis_open(context->base, &context->config->redis, "sluice", &command_events, w);
	w->waiting = redis_open(context->base, &context->config->redis, "sluice-wait", &waiting_events, w);
	struct buf ledger = BUF_INIT;
	config_ledger_name(config, &ledger);
	w->source = source_list_new(w->commands, w->waiting, config->list_key, config->pop, config->dead_letter, context->owner, buf_cstr(&ledger));
	buf_free(&ledger);
}

/* Drops what take_up() made, and what was learnt with it; questions to Redis get no answer any more. */
static void
put_down(struct worker *w)
{
	source_list_free(&w->source);
	redis_close(&w->commands);
	redis_close(&w->waiting);
	worker_list_forget(w);
	event_del(w->no_wait);
	event_del(w->idle);
	ahead_forget(&w->ahead);
	mapping_free(&w->mapping);
	table_free(&w->table);
	w->place.mapping = NULL;
	w->place.table = NULL;
	if (w->client.held == 0)
		pool_leave(&w->client);
}

struct worker *
worker_new(const struct worker_context *context, const struct queue_config *config, struct pool *pool)
{
	struct worker *w = xcalloc(1, sizeof *w);
	list_init(&w->calls);
	w->context = context;
	snprintf(w->subject, sizeof w->subject, "queue %s", config->name);
	meter_init(&w->meter, &(struct meter_totals){ .at_ms = clock_ms() });
	w->timer = event_new(context->base, -1, 0, on_timer, w);
	w->no_wait = event_new(context->base, -1, 0, worker_list_no_wait, w);
	w->idle = event_new(context->base, -1, 0, on_idle, w);
	ASSERT(w->timer != NULL && w->no_wait != NULL && w->idle != NULL);
	ASSERT(event_priority_set(w->idle, PRIORITY_IDLE) == 0);
	struct queue_limits limits = limits_of(context->config, config);
	w->queue = queue_new(&ports, w, &limits, context->config->instance);
	w->place = (struct errand_place){ config, queue_generation(w->queue), NULL, NULL, &w->ahead, on_mapped, on_answered, w };
	take_up(w, config, pool);
	return w;
}

void
worker_configure(struct worker *w, const struct queue_config *config)
{
	const struct config *whole = w->context->config;
	ASSERT(config_compare_queue(w->config, config, NULL) <= CHANGE_LIVE);
	w->config = w->place.config = config;
	w->client.name = config->name;
	w->client.weight = config->weight;
	w->client.max = config->max_batches;
	redis_configure(w->commands, &whole->redis);
	redis_configure(w->waiting, &whole->redis);
	struct queue_limits limits = limits_of(whole, config);
	queue_set_limits(w->queue, clock_ms(), &limits);
}

void
worker_renew(struct worker *w, const struct queue_config *config, struct pool *pool)
{
	ASSERT(worker_is_stopped(w) && strcmp(w->config->name, config->name) == 0);
	if (strcmp(w->config->list_key, config->list_key) != 0)
		w->meter.age = (struct age){ .n = 0 };
	put_down(w);
	w->redis_up = false;
	w->redis_why[0] = '\0';
	take_up(w, config, pool);
	struct queue_limits limits = limits_of(w->context->config, config);
	queue_renew(w->queue, clock_ms(), &limits);
}

void
worker_free(struct worker **worker)
{
	struct worker *w = *worker;
	*worker = NULL;
	if (w == NULL)
		return;
	put_down(w);
	event_free(w->timer);
	event_free(w->no_wait);
	event_free(w->idle);
	ahead_free(&w->ahead);
	if (w->client.held == 0)
		queue_free(&w->queue);
	free(w);
}

void
worker_stop(struct worker *w)
{
	queue_stop(w->queue, clock_ms());
}

void
worker_hand_over(struct worker *w)
{
	queue_hand_over(w->queue, clock_ms());
}

void
worker_give_up(struct worker *w)
{
	queue_give_up(w->queue, clock_ms());
}

bool
worker_is_stopped(const struct worker *w)
{
	struct queue_view v;
	queue_look(w->queue, &v);
	return v.state == QUEUE_STOPPED && v.sessions == 0;
}

void
worker_pause(struct worker *w)
{
	queue_pause(w->queue, clock_ms());
}

void
worker_resume(struct worker *w)
{
	queue_resume(w->queue, clock_ms());
}

bool
worker_choose(struct worker *w, bool store)
{
	return queue_choose(w->queue, clock_ms(), store ? HISTORY_ACCEPT : HISTORY_SKIP);
}

const struct queue_config *
worker_config(const struct worker *w)
{
	return w->config;
}

struct pool *
worker_pool(const struct worker *w)
{
	return w->client.pool;
}

void
worker_look(struct worker *w, struct worker_view *view, struct queue_view *queue)
{
	keep_history(w);
	queue_look(w->queue, queue);
	struct meter_totals now = totals(w, queue);
	*view = (struct worker_view){ .config = w->config, .redis_up = w->redis_up, .redis_why = w->redis_why, .redis_version = redis_version(w->commands),
		.memory = w->memory, .meter = &w->meter, .rates = meter_rates(&w->meter, &now) };
	if (queue->backlog > 0)
		view->oldest_age_s = age_of(&w->meter.age, now.at_ms, queue->settled);
}
