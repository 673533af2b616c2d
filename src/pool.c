/* The fixed pool of one database. */
#include "pool.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "config.h"
#include "log.h"

#define STATES 4
#define RECYCLE_PAUSE_MS 200 /* the server needs a moment to see the old connection's end: it must never count one more than pool_size */
#define LOGIN_RETRY_MAX_MS 15000
#define AVERAGE_WEIGHT 0.1

struct pool {
	struct event_base *base;              /* borrowed */
	const struct database_config *config; /* borrowed */
	const struct db_ops *driver;          /* of config->driver */
	unsigned idle_transaction_s;          /* for db_ops.open */
	struct session **sessions;            /* n_sessions of them; owned */
	unsigned n_sessions;                  /* as many as should be, and those lent ones that became too many */
	unsigned size;                        /* as many as should be: config->pool_size */
	struct list states[STATES];           /* every session is on the list of its state */
	unsigned counts[STATES];              /* lengths of these lists */
	struct list clients;                  /* struct pool_client */
	struct event *pump;                   /* runs when something can be lent or must be opened */
	unsigned failures;                    /* attempts that failed since the last that did not: then one at a time. Those made together count once */
	uint64_t failed_ms;                   /* when it was counted last */
	uint64_t open_at_ms;                  /* no attempt before this */
	char subject[80];                     /* "database NAME", for the log */
	char why[DB_MESSAGE_MAX + 20];        /* the last failure; "": none since the last success */
	uint64_t errors[10];                  /* by enum db_class */
};

/* -- states */

static void
session_set_state(struct session *s, enum session_state state)
{
	static const unsigned edges[STATES] = {
		[SESSION_CLOSED] = 1u << SESSION_CONNECTING,
		[SESSION_CONNECTING] = 1u << SESSION_CLOSED | 1u << SESSION_IDLE,
		[SESSION_IDLE] = 1u << SESSION_CLOSED | 1u << SESSION_BUSY,
		[SESSION_BUSY] = 1u << SESSION_CLOSED | 1u << SESSION_IDLE,
	};
	struct pool *p = s->pool;
	ASSERT(edges[s->state] & 1u << state);
	ASSERT(p->counts[s->state] > 0);
	p->counts[s->state]--;
	list_remove(&s->node);
	s->state = state;
	s->since_ms = clock_ms();
	p->counts[state]++;
	list_append(&p->states[state], &s->node);
}

static void
wake_in(struct pool *p, uint64_t ms)
{
	struct timeval tv = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };
	event_add(p->pump, &tv);
}

/* Closes its connection; none is opened for a moment. */
static void
session_disconnect(struct session *s, uint64_t pause_ms)
{
	struct pool *p = s->pool;
	p->driver->close(&s->conn);
	uint64_t at = clock_ms() + pause_ms;
	if (at > p->open_at_ms)
		p->open_at_ms = at;
	wake_in(p, 0);
}

/* Closes it; it is opened anew after a moment. */
static void
session_close(struct session *s, uint64_t pause_ms)
{
	session_disconnect(s, pause_ms);
	session_set_state(s, SESSION_CLOSED);
}

static void
session_free(struct session *s)
{
	if (s->conn != NULL)
		s->pool->driver->close(&s->conn);
	buf_free(&s->sql);
	batch_free(&s->batch);
	free(s);
}

/* -- how many */

static void
add_session(struct pool *p)
{
	struct session *s = xcalloc(1, sizeof *s);
	s->pool = p;
	s->since_ms = clock_ms();
	list_append(&p->states[SESSION_CLOSED], &s->node);
	p->counts[SESSION_CLOSED]++;
	p->sessions = xrealloc(p->sessions, (p->n_sessions + 1) * sizeof(struct session *));
	p->sessions[p->n_sessions++] = s;
}

/* It has become one too many. */
static void
drop_session(struct session *s)
{
	struct pool *p = s->pool;
	ASSERT(s->client == NULL && p->n_sessions > p->size && p->counts[s->state] > 0);
	if (s->conn != NULL)
		session_disconnect(s, RECYCLE_PAUSE_MS); /* should there be more again in a moment */
	p->counts[s->state]--;
	list_remove(&s->node);
	unsigned i = 0;
	while (p->sessions[i] != s)
		i++;
	p->sessions[i] = p->sessions[--p->n_sessions];
	session_free(s);
}

/* Adds what is missing, drops what is too many and not lent. */
static void
resize(struct pool *p, unsigned size)
{
	static const enum session_state first[] = { SESSION_CLOSED, SESSION_CONNECTING, SESSION_IDLE }; /* to go */
	p->size = size;
	while (p->n_sessions < size)
		add_session(p);
	for (unsigned i = 0; i < sizeof first / sizeof *first; i++) {
		LIST_EACH_SAFE(&p->states[first[i]], node, after) {
			if (p->n_sessions > size)
				drop_session(LIST_OWNER(node, struct session, node));
		}
	}
	ASSERT(p->n_sessions == size || p->n_sessions == p->counts[SESSION_BUSY]);
}

/* -- connecting */

static void
note_error(struct pool *p, const struct db_error *error)
{
	p->errors[error->class]++;
	char why[sizeof p->why];
	snprintf(why, sizeof why, "%s%s%s%s", error->message, error->code[0] ? " (" : "", error->code, error->code[0] ? ")" : "");
	if (strcmp(why, p->why) != 0)
		log_warning(p->subject, "%s: trying again until it works", why);
	memcpy(p->why, why, sizeof why);
}

static uint64_t
login_pause_ms(const struct pool *p)
{
	uint64_t ms = (uint64_t)p->config->server_login_retry * 1000;
	for (unsigned i = 1; i < p->failures && ms < LOGIN_RETRY_MAX_MS; i++)
		ms *= 2;
	if (ms > LOGIN_RETRY_MAX_MS)
		ms = LOGIN_RETRY_MAX_MS;
	return ms / 2 + (uint64_t)random() % (ms / 2 + 1);
}

/* Lifetimes differ by a quarter, or all connections would be recycled at the same moment. */
static uint64_t
recycle_at(const struct pool *p)
{
	if (p->config->server_lifetime == 0)
		return UINT64_MAX;
	uint64_t life = (uint64_t)p->config->server_lifetime * 1000;
	return clock_ms() + life - (uint64_t)random() % (life / 4 + 1);
}

static void
on_opened(void *arg, const struct db_error *error)
{
	struct session *s = arg;
	struct pool *p = s->pool;
	ASSERT(s->state == SESSION_CONNECTING);
	if (error != NULL) {
		if (p->failures == 0 || s->since_ms > p->failed_ms) {
			p->failures++;
			p->failed_ms = clock_ms();
		}
		note_error(p, error);
		session_close(s, login_pause_ms(p));
		return;
	}
	if (p->failures > 0)
		log_info(p->subject, "connected again");
	p->failures = 0;
	p->why[0] = '\0';
	s->recycle_ms = recycle_at(p);
	session_set_state(s, SESSION_IDLE);
	if (p->counts[SESSION_CLOSED] + p->counts[SESSION_CONNECTING] == 0)
		log_info(p->subject, "%u of %u connections ready, %s", p->size, p->size, p->driver->server_version(s->conn));
	wake_in(p, 0);
}

static void
on_lost(void *arg, const struct db_error *error)
{
	struct session *s = arg;
	ASSERT(s->state == SESSION_IDLE);
	note_error(s->pool, error);
	session_close(s, RECYCLE_PAUSE_MS);
}

static const struct db_events events = { on_opened, on_lost };

/* Opens what is closed: all at once at the start, one at a time while attempts fail, so that a sick server is not hammered. */
static void
open_sessions(struct pool *p)
{
	uint64_t now = clock_ms();
	while (p->counts[SESSION_CLOSED] > 0) {
		if (p->failures > 0 && p->counts[SESSION_CONNECTING] > 0)
			return;
		if (now < p->open_at_ms) {
			wake_in(p, p->open_at_ms - now);
			return;
		}
		struct session *s = LIST_OWNER(p->states[SESSION_CLOSED].next, struct session, node);
		s->prepared = false;
		s->conn = p->driver->open(p->base, p->config, p->idle_transaction_s, &events, s);
		session_set_state(s, SESSION_CONNECTING);
	}
}

/* One at a time, between batches, and only while all others are there. */
static void
recycle(struct pool *p)
{
	uint64_t now = clock_ms(), next = UINT64_MAX;
	for (unsigned i = 0; i < p->n_sessions; i++) {
		struct session *s = p->sessions[i];
		if (s->state == SESSION_IDLE && now >= s->recycle_ms && p->counts[SESSION_CLOSED] + p->counts[SESSION_CONNECTING] == 0) {
			log_debug(p->subject, "recycling connection %llu", (unsigned long long)p->driver->server_id(s->conn));
			session_close(s, RECYCLE_PAUSE_MS);
			return;
		}
		if (s->state == SESSION_IDLE && s->recycle_ms < next)
			next = s->recycle_ms;
	}
	if (next != UINT64_MAX)
		wake_in(p, next > now ? next - now : 1000);
}

/* -- lending */

/* Sessions that a client may hold: one is kept free for every other client that holds none, or a slow queue would starve it; but never more than half
 * of the pool is kept free. */
static unsigned
limit_of(const struct pool *p, const struct pool_client *c)
{
	unsigned keep = 0;
	LIST_EACH(&p->clients, node) {
		const struct pool_client *other = LIST_OWNER(node, struct pool_client, node);
		keep += other != c && other->held == 0;
	}
	unsigned limit = keep > p->size / 2 ? p->size - p->size / 2 : p->size - keep;
	if (c->max > 0 && limit > c->max)
		limit = c->max;
	return limit > 0 ? limit : 1;
}

/* Who comes next: of those that want and may, the one that had the least. */
static struct pool_client *
next_client(struct pool *p)
{
	struct pool_client *best = NULL;
	LIST_EACH(&p->clients, node) {
		struct pool_client *c = LIST_OWNER(node, struct pool_client, node);
		if (c->wanted > 0 && c->held < limit_of(p, c) && (best == NULL || c->pass < best->pass))
			best = c;
	}
	return best;
}

static void
lend(struct pool *p, struct pool_client *c)
{
	struct session *s = LIST_OWNER(p->states[SESSION_IDLE].prev, struct session, node); /* the last used: all it needs is still in the caches */
	c->held++;
	c->wanted--;
	c->pass += c->average_ms / c->weight;
	s->client = c;
	session_set_state(s, SESSION_BUSY);
	if (!c->give(c->arg, s)) {
		c->wanted = 0;
		pool_give_back(s, false);
	}
}

static void
on_pump(evutil_socket_t fd, short what, void *arg)
{
	struct pool *p = arg;
	(void)fd;
	(void)what;
	event_del(p->pump);
	recycle(p);
	open_sessions(p);
	struct pool_client *c;
	while (p->counts[SESSION_IDLE] > 0 && (c = next_client(p)) != NULL)
		lend(p, c);
}

void
pool_want(struct pool_client *c, unsigned sessions)
{
	struct pool *p = c->pool;
	if (c->wanted == 0 && c->held == 0 && sessions > 0) { /* back from idleness: no credit was saved up by it */
		LIST_EACH(&p->clients, node) {
			const struct pool_client *other = LIST_OWNER(node, struct pool_client, node);
			if (other != c && (other->held > 0 || other->wanted > 0) && other->pass - other->average_ms > c->pass)
				c->pass = other->pass - other->average_ms;
		}
	}
	c->wanted = sessions;
	if (sessions > 0 && p->counts[SESSION_IDLE] > 0)
		event_active(p->pump, EV_TIMEOUT, 0);
}

void
pool_give_back(struct session *s, bool lost)
{
	struct pool *p = s->pool;
	struct pool_client *c = s->client;
	ASSERT(s->state == SESSION_BUSY && c != NULL && c->held > 0);
	double took = (double)(clock_ms() - s->since_ms) + 0.1;
	c->pass += (took - c->average_ms) / c->weight; /* what it took, instead of what was expected */
	c->average_ms += AVERAGE_WEIGHT * (took - c->average_ms);
	c->busy_ms += clock_ms() - s->since_ms;
	c->held--;
	s->client = NULL;
	s->borrower = NULL;
	p->errors[DB_RECONNECT] += lost;
	if (p->n_sessions > p->size)
		drop_session(s);
	else if (lost || s->recycle_ms == 0)
		session_close(s, RECYCLE_PAUSE_MS);
	else
		session_set_state(s, SESSION_IDLE);
	event_active(p->pump, EV_TIMEOUT, 0);
}

/* -- life */

struct pool *
pool_new(struct event_base *base, const struct database_config *config, unsigned idle_transaction_s)
{
	struct pool *p = xcalloc(1, sizeof *p);
	p->base = base;
	p->config = config;
	p->driver = db_driver(config->driver);
	p->idle_transaction_s = idle_transaction_s;
	snprintf(p->subject, sizeof p->subject, "database %s", config->name);
	list_init(&p->clients);
	for (unsigned i = 0; i < STATES; i++)
		list_init(&p->states[i]);
	p->pump = event_new(base, -1, 0, on_pump, p);
	ASSERT(p->pump != NULL);
	resize(p, config->pool_size);
	wake_in(p, 0);
	return p;
}

void
pool_free(struct pool **pool)
{
	struct pool *p = *pool;
	*pool = NULL;
	if (p == NULL)
		return;
	event_free(p->pump);
	for (unsigned i = 0; i < p->n_sessions; i++)
		session_free(p->sessions[i]);
	free(p->sessions);
	free(p);
}

void
pool_join(struct pool *p, struct pool_client *c)
{
	ASSERT(c->weight > 0);
	c->pool = p;
	c->wanted = c->held = 0;
	c->pass = c->average_ms = 0;
	c->busy_ms = 0;
	list_append(&p->clients, &c->node);
}

void
pool_leave(struct pool_client *c)
{
	ASSERT(c->held == 0);
	list_remove(&c->node);
	c->pool = NULL;
}

void
pool_reconnect(struct pool *p)
{
	for (unsigned i = 0; i < p->n_sessions; i++) {
		struct session *s = p->sessions[i];
		if (s->state == SESSION_IDLE || s->state == SESSION_CONNECTING)
			session_close(s, RECYCLE_PAUSE_MS);
		else if (s->state == SESSION_BUSY)
			s->recycle_ms = 0;
	}
}

/* What a changed section means for one session. */
static void
session_configure(struct session *s, enum config_change change, bool lives_otherwise)
{
	struct pool *p = s->pool;
	if (s->state == SESSION_CONNECTING || (s->state == SESSION_IDLE && change == CHANGE_ANEW)) { /* half a login cannot change its words */
		session_close(s, RECYCLE_PAUSE_MS);
	} else if (s->state != SESSION_CLOSED) {
		p->driver->configure(s->conn, p->config);
		if (change == CHANGE_RECYCLE && s->recycle_ms > clock_ms())
			s->recycle_ms = clock_ms();
		else if (lives_otherwise && s->recycle_ms > clock_ms())
			s->recycle_ms = recycle_at(p);
	}
}

void
pool_configure(struct pool *p, const struct database_config *config, unsigned idle_transaction_s)
{
	enum config_change change = config_compare_database(p->config, config, NULL);
	bool lives_otherwise = p->config->server_lifetime != config->server_lifetime;
	if (change < CHANGE_RECYCLE && p->idle_transaction_s != idle_transaction_s)
		change = CHANGE_RECYCLE;
	ASSERT(change < CHANGE_ANEW || p->counts[SESSION_BUSY] == 0);
	p->config = config;
	p->idle_transaction_s = idle_transaction_s;
	for (unsigned i = 0; i < p->n_sessions; i++)
		session_configure(p->sessions[i], change, lives_otherwise);
	p->driver = db_driver(config->driver);
	if (change >= CHANGE_RECYCLE) { /* what failed may work now: try it soon */
		p->failures = 0;
		p->open_at_ms = clock_ms() + RECYCLE_PAUSE_MS;
	}
	resize(p, config->pool_size);
	wake_in(p, 0);
}

bool
pool_is_used(const struct pool *p)
{
	return !list_empty(&p->clients);
}

unsigned
pool_sessions(const struct pool *p)
{
	return p->n_sessions;
}

unsigned
pool_count(const struct pool *p, enum session_state state)
{
	return p->counts[state];
}

bool
pool_is_up(const struct pool *p)
{
	return p->counts[SESSION_IDLE] + p->counts[SESSION_BUSY] > 0;
}

const char *
pool_why(const struct pool *p)
{
	return p->why;
}

const struct database_config *
pool_config(const struct pool *p)
{
	return p->config;
}

const struct session *
pool_session(const struct pool *p, size_t i)
{
	ASSERT(i < p->n_sessions);
	return p->sessions[i];
}

const uint64_t *
pool_errors(const struct pool *p)
{
	return p->errors;
}

uint64_t
pool_busy_ms(const struct pool_client *c, uint64_t now)
{
	uint64_t ms = c->busy_ms;
	LIST_EACH(&c->pool->states[SESSION_BUSY], node) {
		const struct session *s = LIST_OWNER(node, struct session, node);
		ASSERT(s->since_ms <= now);
		if (s->client == c)
			ms += now - s->since_ms;
	}
	return ms;
}

const struct db_ops *
pool_driver(const struct pool *p)
{
	return p->driver;
}
