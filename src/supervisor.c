/* The pools and workers of a daemon. */
#include "supervisor.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "config.h"
#include "daemon.h"
#include "encode.h"
#include "log.h"
#include "pool.h"
#include "worker.h"

#define LOOK_MS 20    /* how soon it is noticed that somebody is done */
#define LEASES_IDLE 3 /* a stopped owner's open transaction ends after so many leases */

/* A worker. While it stops it still works by a configuration that is not in force any more. */
struct worker_entry {
	struct worker *worker;     /* owned */
	const struct config *held; /* it is stopping and works by this one; NULL: it works by the one in force */
	bool hands_over;           /* while stopping: its list goes to another ledger, or to nobody */
	uint64_t stop_by_ms;       /* while stopping: then it is given up; UINT64_MAX: never, or it has been */
};

/* A pool. It is `held` as long as somebody works with it who must not see it change. */
struct pool_entry {
	struct pool *pool;         /* owned */
	const struct config *held; /* its section is gone from the one in force, or names another database there; NULL: it has that section */
};

struct supervisor {
	struct worker_context context; /* handed to the workers; its config is the one in force */
	struct config **owned;         /* configurations that came by a reload: the one in force, and held ones. n_owned of them */
	size_t n_owned;
	struct pool_entry *pools;      /* n_pools of them; owned */
	size_t n_pools;
	struct worker_entry *workers;  /* n_workers of them; owned */
	size_t n_workers;
	struct event *look;            /* while somebody is being waited for; owned */
	struct daemon_view *view;      /* kept up to date; borrowed */
	struct pool **view_pools;      /* for the view; owned */
	struct worker **view_workers;  /* as above */
};

/* -- who is there */

static const char *
name_of(const struct worker_entry *w)
{
	return worker_config(w->worker)->name;
}

static struct worker_entry *
find_worker_entry(const struct supervisor *s, const char *queue)
{
	for (size_t i = 0; i < s->n_workers; i++) {
		if (strcmp(name_of(&s->workers[i]), queue) == 0)
			return &s->workers[i];
	}
	return NULL;
}

static struct pool_entry *
find_pool_entry(const struct supervisor *s, const char *database)
{
	for (size_t i = 0; i < s->n_pools; i++) {
		if (strcmp(pool_config(s->pools[i].pool)->name, database) == 0)
			return &s->pools[i];
	}
	return NULL;
}

/* Of a database that the configuration names, once the pools are made. */
static struct pool_entry *
known_pool(const struct supervisor *s, const char *database)
{
	struct pool_entry *p = find_pool_entry(s, database);
	ASSERT(p != NULL);
	return p;
}

static bool
is_at_work(const struct worker_entry *w)
{
	return !worker_is_stopped(w->worker);
}

/* Does anybody still drain this list? */
static bool
is_drained(const struct supervisor *s, const char *list_key)
{
	for (size_t i = 0; i < s->n_workers; i++) {
		if (is_at_work(&s->workers[i]) && strcmp(worker_config(s->workers[i].worker)->list_key, list_key) == 0)
			return true;
	}
	return false;
}

/* Does anybody still work with this pool? */
static bool
is_worked_with(const struct supervisor *s, const struct pool *pool)
{
	for (size_t i = 0; i < s->n_workers; i++) {
		if (is_at_work(&s->workers[i]) && worker_pool(s->workers[i].worker) == pool)
			return true;
	}
	return false;
}

/* -- the steps in which those who are there become those who are asked for; each does what is possible now */

static void
add_pools(struct supervisor *s)
{
	const struct config *c = s->context.config;
	for (size_t i = 0; i < c->n_databases; i++) {
		if (find_pool_entry(s, c->databases[i].name) != NULL)
			continue;
		s->pools = xrealloc(s->pools, (s->n_pools + 1) * sizeof *s->pools);
		s->pools[s->n_pools++] = (struct pool_entry){ pool_new(s->context.base, &c->databases[i], LEASES_IDLE * c->lease_ttl), NULL };
	}
}

/* Those who cannot finish, and whose ledger tells their successors what they have committed. */
static void
give_up_workers(struct supervisor *s)
{
	for (size_t i = 0; i < s->n_workers; i++) {
		struct worker_entry *w = &s->workers[i];
		if (w->held == NULL || !is_at_work(w) || clock_ms() < w->stop_by_ms)
			continue;
		log_warning(NULL, "queue %s still has something in flight after drain_timeout: it begins anew; the ledger tells what was committed", name_of(w));
		w->stop_by_ms = UINT64_MAX;
		worker_give_up(w->worker);
	}
}

/* Those whose section is gone and who are done. */
static void
drop_workers(struct supervisor *s)
{
	size_t left = 0;
	for (size_t i = 0; i < s->n_workers; i++) {
		struct worker_entry *w = &s->workers[i];
		if (w->held != NULL && !is_at_work(w) && config_queue(s->context.config, name_of(w)) == NULL) {
			log_info(NULL, "queue %s has ended: its section is gone", name_of(w));
			worker_free(&w->worker);
		} else {
			s->workers[left++] = *w;
		}
	}
	s->n_workers = left;
}

/* Pools that became another database's. */
static void
change_pools(struct supervisor *s)
{
	const struct config *c = s->context.config;
	for (size_t i = 0; i < s->n_pools; i++) {
		struct pool_entry *p = &s->pools[i];
		const struct database_config *section = config_database(c, pool_config(p->pool)->name);
		if (p->held == NULL || section == NULL || is_worked_with(s, p->pool))
			continue;
		pool_configure(p->pool, section, LEASES_IDLE * c->lease_ttl);
		p->held = NULL;
	}
}

/* Queues that nobody works for. */
static void
start_workers(struct supervisor *s)
{
	const struct config *c = s->context.config;
	for (size_t i = 0; i < c->n_queues; i++) {
		const struct queue_config *queue = &c->queues[i];
		const struct pool_entry *p = known_pool(s, queue->database);
		struct worker_entry *w = find_worker_entry(s, queue->name);
		if ((w != NULL && (w->held == NULL || is_at_work(w))) || p->held != NULL || is_drained(s, queue->list_key))
			continue;
		if (w != NULL) {
			worker_renew(w->worker, queue, p->pool);
			w->held = NULL;
			continue;
		}
		s->workers = xrealloc(s->workers, (s->n_workers + 1) * sizeof *s->workers);
		s->workers[s->n_workers++] = (struct worker_entry){ worker_new(&s->context, queue, p->pool), NULL, false, 0 };
	}
}

/* Pools whose section is gone and from which nobody borrows. */
static void
drop_pools(struct supervisor *s)
{
	size_t left = 0;
	for (size_t i = 0; i < s->n_pools; i++) {
		struct pool_entry *p = &s->pools[i];
		if (!pool_is_used(p->pool) && config_database(s->context.config, pool_config(p->pool)->name) == NULL)
			pool_free(&p->pool);
		else
			s->pools[left++] = *p;
	}
	s->n_pools = left;
}

/* -- what is left of former configurations */

static bool
is_held(const struct supervisor *s, const struct config *config)
{
	bool held = config == s->context.config;
	for (size_t i = 0; i < s->n_workers; i++)
		held = held || s->workers[i].held == config;
	for (size_t i = 0; i < s->n_pools; i++)
		held = held || s->pools[i].held == config;
	return held;
}

static void
free_former(struct supervisor *s)
{
	size_t left = 0;
	for (size_t i = 0; i < s->n_owned; i++) {
		if (is_held(s, s->owned[i]))
			s->owned[left++] = s->owned[i];
		else
			config_free(&s->owned[i]);
	}
	s->n_owned = left;
}

/* Is anybody being waited for? */
static bool
is_settled(const struct supervisor *s)
{
	const struct config *c = s->context.config;
	bool settled = s->n_workers == c->n_queues && s->n_pools == c->n_databases;
	for (size_t i = 0; i < s->n_workers; i++)
		settled = settled && s->workers[i].held == NULL;
	for (size_t i = 0; i < s->n_pools; i++)
		settled = settled && s->pools[i].held == NULL;
	return settled;
}

/* -- the view */

static void
show(struct supervisor *s)
{
	const struct config *c = s->context.config;
	size_t n_pools = 0, n_workers = 0;
	s->view_pools = xrealloc(s->view_pools, (s->n_pools + 1) * sizeof(struct pool *));
	s->view_workers = xrealloc(s->view_workers, (s->n_workers + 1) * sizeof(struct worker *));
	for (size_t i = 0; i < c->n_databases; i++)
		s->view_pools[n_pools++] = known_pool(s, c->databases[i].name)->pool;
	for (size_t i = 0; i < s->n_pools; i++) {
		if (config_database(c, pool_config(s->pools[i].pool)->name) == NULL)
			s->view_pools[n_pools++] = s->pools[i].pool;
	}
	for (size_t i = 0; i < c->n_queues; i++) {
		const struct worker_entry *w = find_worker_entry(s, c->queues[i].name);
		if (w != NULL)
			s->view_workers[n_workers++] = w->worker;
	}
	for (size_t i = 0; i < s->n_workers; i++) {
		if (config_queue(c, name_of(&s->workers[i])) == NULL)
			s->view_workers[n_workers++] = s->workers[i].worker;
	}
	ASSERT(n_pools == s->n_pools && n_workers == s->n_workers);
	struct daemon_view *view = s->view;
	view->config = c;
	view->pools = s->view_pools;
	view->n_pools = n_pools;
	view->workers = s->view_workers;
	view->n_workers = n_workers;
}

static void
proceed(struct supervisor *s)
{
	give_up_workers(s);
	drop_workers(s);
	change_pools(s);
	add_pools(s);
	start_workers(s);
	drop_pools(s);
	free_former(s);
	show(s);
	if (!is_settled(s))
		event_add(s->look, &(struct timeval){ 0, LOOK_MS * 1000 });
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	proceed(arg);
}

/* -- another configuration */

static void
configure_pools(struct supervisor *s, const struct config *from, const struct config *to)
{
	for (size_t i = 0; i < s->n_pools; i++) {
		struct pool_entry *p = &s->pools[i];
		const struct database_config *old = pool_config(p->pool), *new = config_database(to, old->name);
		if (new != NULL && config_compare_database(old, new, NULL) < CHANGE_ANEW) {
			pool_configure(p->pool, new, LEASES_IDLE * to->lease_ttl);
			p->held = NULL;
		} else if (p->held == NULL) {
			p->held = from;
		}
	}
}

/* Can the worker go on by the new configuration? */
static bool
goes_on(const struct supervisor *s, const struct worker_entry *w, const struct config *from, const struct config *to)
{
	const struct queue_config *queue = config_queue(to, name_of(w));
	return queue != NULL && config_compare_redis(&from->redis, &to->redis, NULL) < CHANGE_ANEW &&
	    config_compare_queue(worker_config(w->worker), queue, NULL) < CHANGE_ANEW && known_pool(s, queue->database)->held == NULL;
}

/* Will the list be drained by the same ledger? */
static bool
keeps_ledger(const struct queue_config *old, const struct config *to)
{
	const struct queue_config *new = config_queue(to, old->name);
	if (new == NULL || strcmp(old->list_key, new->list_key) != 0)
		return false;
	struct buf a = BUF_INIT, b = BUF_INIT;
	config_ledger_name(old, &a);
	config_ledger_name(new, &b);
	bool same = strcmp(buf_cstr(&a), buf_cstr(&b)) == 0;
	buf_free(&a);
	buf_free(&b);
	return same;
}

/* It cannot go on by the new configuration; perhaps it could not by the one before either, and is on its way out already. */
static void
end_worker(struct worker_entry *w, const struct config *from, const struct config *to)
{
	bool hands_over = !keeps_ledger(worker_config(w->worker), to);
	if (w->held != NULL && w->hands_over == hands_over)
		return;
	if (w->held == NULL)
		w->held = from;
	w->hands_over = hands_over;
	w->stop_by_ms = hands_over ? UINT64_MAX : clock_ms() + (uint64_t)to->drain_timeout * 1000;
	if (!hands_over) {
		worker_stop(w->worker);
		return;
	}
	if (!is_at_work(w)) /* it had stopped for a successor with the same ledger, and may have left something to him */
		worker_renew(w->worker, worker_config(w->worker), worker_pool(w->worker));
	worker_hand_over(w->worker);
}

static void
configure_workers(struct supervisor *s, const struct config *from, const struct config *to)
{
	for (size_t i = 0; i < s->n_workers; i++) {
		struct worker_entry *w = &s->workers[i];
		if (w->held == NULL && goes_on(s, w, from, to))
			worker_configure(w->worker, config_queue(to, name_of(w)));
		else
			end_worker(w, from, to);
	}
}

void
supervisor_follow(struct supervisor *s, struct config *config)
{
	const struct config *from = s->context.config;
	s->owned = xrealloc(s->owned, (s->n_owned + 1) * sizeof(struct config *));
	s->owned[s->n_owned++] = config;
	s->context.config = config;
	configure_pools(s, from, config);
	configure_workers(s, from, config);
	proceed(s);
}

/* -- life */

struct supervisor *
supervisor_new(struct event_base *base, const struct config *config, const char *owner, struct daemon_view *view)
{
	struct supervisor *s = xcalloc(1, sizeof *s);
	s->context = (struct worker_context){ base, config, encoder_new(), owner };
	s->view = view;
	s->look = event_new(base, -1, 0, on_look, s);
	ASSERT(s->look != NULL);
	proceed(s);
	ASSERT(is_settled(s));
	return s;
}

void
supervisor_stop(struct supervisor *s)
{
	event_del(s->look); /* nobody begins any more */
	for (size_t i = 0; i < s->n_workers; i++)
		worker_stop(s->workers[i].worker);
}

size_t
supervisor_at_work(const struct supervisor *s)
{
	size_t n = 0;
	for (size_t i = 0; i < s->n_workers; i++)
		n += is_at_work(&s->workers[i]);
	return n;
}

void
supervisor_free(struct supervisor **ref)
{
	struct supervisor *s = *ref;
	*ref = NULL;
	event_free(s->look);
	for (size_t i = 0; i < s->n_workers; i++)
		worker_free(&s->workers[i].worker);
	for (size_t i = 0; i < s->n_pools; i++)
		pool_free(&s->pools[i].pool);
	for (size_t i = 0; i < s->n_owned; i++)
		config_free(&s->owned[i]);
	encoder_free(&s->context.encoder);
	free(s->owned);
	free(s->pools);
	free(s->workers);
	free(s->view_pools);
	free(s->view_workers);
	free(s);
}
