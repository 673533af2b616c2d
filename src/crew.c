/* The pools and workers of a daemon. */
#include "crew.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "daemon.h"
#include "encode.h"
#include "log.h"
#include "pool.h"
#include "worker.h"

#define LOOK_MS 20    /* how soon it is noticed that somebody is done */
#define LEASES_IDLE 3 /* a stopped owner's open transaction ends after so many leases */

/* A worker. While it stops it still works by a configuration that is not in force any more. */
struct post {
	struct worker *worker;     /* owned */
	const struct config *held; /* it is stopping and works by this one; NULL: it works by the one in force */
};

/* A pool. It is `held` as long as somebody works with it who must not see it change. */
struct place {
	struct pool *pool;         /* owned */
	const struct config *held; /* its section is gone from the one in force, or names another database there; NULL: it has that section */
};

struct crew {
	struct worker_context context; /* handed to the workers; its config is the one in force */
	struct config **owned;         /* configurations that came by a reload: the one in force, and held ones. n_owned of them */
	size_t n_owned;
	struct place *places;          /* n_places of them; owned */
	size_t n_places;
	struct post *posts;            /* n_posts of them; owned */
	size_t n_posts;
	struct event *look;            /* while somebody is being waited for; owned */
	struct daemon_view *view;      /* kept up to date; borrowed */
	struct pool **pools;           /* for the view: one a place; owned */
	struct worker **workers;       /* for the view: one a post; owned */
};

/* -- who is there */

static const char *
name_of(const struct post *post)
{
	return worker_config(post->worker)->name;
}

static struct post *
find_post(const struct crew *crew, const char *queue)
{
	for (size_t i = 0; i < crew->n_posts; i++) {
		if (strcmp(name_of(&crew->posts[i]), queue) == 0)
			return &crew->posts[i];
	}
	return NULL;
}

static struct place *
find_place(const struct crew *crew, const char *database)
{
	for (size_t i = 0; i < crew->n_places; i++) {
		if (strcmp(pool_config(crew->places[i].pool)->name, database) == 0)
			return &crew->places[i];
	}
	return NULL;
}

static bool
is_at_work(const struct post *post)
{
	return !worker_is_stopped(post->worker);
}

/* Does anybody still drain this list? */
static bool
is_drained(const struct crew *crew, const char *list_key)
{
	for (size_t i = 0; i < crew->n_posts; i++) {
		if (is_at_work(&crew->posts[i]) && strcmp(worker_config(crew->posts[i].worker)->list_key, list_key) == 0)
			return true;
	}
	return false;
}

/* Does anybody still work with this pool? */
static bool
is_worked_with(const struct crew *crew, const struct pool *pool)
{
	for (size_t i = 0; i < crew->n_posts; i++) {
		if (is_at_work(&crew->posts[i]) && worker_pool(crew->posts[i].worker) == pool)
			return true;
	}
	return false;
}

/* -- the steps in which those who are there become those who are asked for; each does what is possible now */

static void
add_places(struct crew *crew)
{
	const struct config *c = crew->context.config;
	for (size_t i = 0; i < c->n_databases; i++) {
		if (find_place(crew, c->databases[i].name) != NULL)
			continue;
		crew->places = xrealloc(crew->places, (crew->n_places + 1) * sizeof *crew->places);
		crew->places[crew->n_places++] = (struct place){ pool_new(crew->context.base, &c->databases[i], LEASES_IDLE * c->lease_ttl), NULL };
	}
}

/* Those whose section is gone and who are done. */
static void
dismiss_posts(struct crew *crew)
{
	size_t left = 0;
	for (size_t i = 0; i < crew->n_posts; i++) {
		struct post *post = &crew->posts[i];
		if (post->held != NULL && !is_at_work(post) && config_queue(crew->context.config, name_of(post)) == NULL) {
			log_info(NULL, "queue %s has ended: its section is gone", name_of(post));
			worker_free(&post->worker);
		} else {
			crew->posts[left++] = *post;
		}
	}
	crew->n_posts = left;
}

/* Pools that became another database's. */
static void
change_places(struct crew *crew)
{
	const struct config *c = crew->context.config;
	for (size_t i = 0; i < crew->n_places; i++) {
		struct place *place = &crew->places[i];
		const struct database_config *section = config_database(c, pool_config(place->pool)->name);
		if (place->held == NULL || section == NULL || is_worked_with(crew, place->pool))
			continue;
		pool_configure(place->pool, section, LEASES_IDLE * c->lease_ttl);
		place->held = NULL;
	}
}

/* Queues that nobody works for. */
static void
fill_posts(struct crew *crew)
{
	const struct config *c = crew->context.config;
	for (size_t i = 0; i < c->n_queues; i++) {
		const struct queue_config *queue = &c->queues[i];
		const struct place *place = find_place(crew, queue->database);
		struct post *post = find_post(crew, queue->name);
		ASSERT(place != NULL);
		if ((post != NULL && (post->held == NULL || is_at_work(post))) || place->held != NULL || is_drained(crew, queue->list_key))
			continue;
		if (post != NULL) {
			worker_renew(post->worker, queue, place->pool);
			post->held = NULL;
			continue;
		}
		crew->posts = xrealloc(crew->posts, (crew->n_posts + 1) * sizeof *crew->posts);
		crew->posts[crew->n_posts++] = (struct post){ worker_new(&crew->context, queue, place->pool), NULL };
	}
}

/* Pools whose section is gone and from which nobody borrows. */
static void
drop_places(struct crew *crew)
{
	size_t left = 0;
	for (size_t i = 0; i < crew->n_places; i++) {
		struct place *place = &crew->places[i];
		if (!pool_is_used(place->pool) && config_database(crew->context.config, pool_config(place->pool)->name) == NULL)
			pool_free(&place->pool);
		else
			crew->places[left++] = *place;
	}
	crew->n_places = left;
}

/* -- what is left of former configurations */

static bool
is_held(const struct crew *crew, const struct config *config)
{
	bool held = config == crew->context.config;
	for (size_t i = 0; i < crew->n_posts; i++)
		held = held || crew->posts[i].held == config;
	for (size_t i = 0; i < crew->n_places; i++)
		held = held || crew->places[i].held == config;
	return held;
}

static void
free_former(struct crew *crew)
{
	size_t left = 0;
	for (size_t i = 0; i < crew->n_owned; i++) {
		if (is_held(crew, crew->owned[i]))
			crew->owned[left++] = crew->owned[i];
		else
			config_free(&crew->owned[i]);
	}
	crew->n_owned = left;
}

/* Is anybody being waited for? */
static bool
is_settled(const struct crew *crew)
{
	const struct config *c = crew->context.config;
	bool settled = crew->n_posts == c->n_queues && crew->n_places == c->n_databases;
	for (size_t i = 0; i < crew->n_posts; i++)
		settled = settled && crew->posts[i].held == NULL;
	for (size_t i = 0; i < crew->n_places; i++)
		settled = settled && crew->places[i].held == NULL;
	return settled;
}

/* -- the view */

static void
show(struct crew *crew)
{
	const struct config *c = crew->context.config;
	size_t n_pools = 0, n_workers = 0;
	crew->pools = xrealloc(crew->pools, (crew->n_places + 1) * sizeof *crew->pools);
	crew->workers = xrealloc(crew->workers, (crew->n_posts + 1) * sizeof *crew->workers);
	for (size_t i = 0; i < c->n_databases; i++)
		crew->pools[n_pools++] = find_place(crew, c->databases[i].name)->pool;
	for (size_t i = 0; i < crew->n_places; i++) {
		if (config_database(c, pool_config(crew->places[i].pool)->name) == NULL)
			crew->pools[n_pools++] = crew->places[i].pool;
	}
	for (size_t i = 0; i < c->n_queues; i++) {
		const struct post *post = find_post(crew, c->queues[i].name);
		if (post != NULL)
			crew->workers[n_workers++] = post->worker;
	}
	for (size_t i = 0; i < crew->n_posts; i++) {
		if (config_queue(c, name_of(&crew->posts[i])) == NULL)
			crew->workers[n_workers++] = crew->posts[i].worker;
	}
	ASSERT(n_pools == crew->n_places && n_workers == crew->n_posts);
	struct daemon_view *view = crew->view;
	view->config = c;
	view->pools = crew->pools;
	view->n_pools = n_pools;
	view->workers = crew->workers;
	view->n_workers = n_workers;
}

static void
proceed(struct crew *crew)
{
	dismiss_posts(crew);
	change_places(crew);
	add_places(crew);
	fill_posts(crew);
	drop_places(crew);
	free_former(crew);
	show(crew);
	if (!is_settled(crew))
		event_add(crew->look, &(struct timeval){ 0, LOOK_MS * 1000 });
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	proceed(arg);
}

/* -- another configuration */

static void
configure_places(struct crew *crew, const struct config *from, const struct config *to)
{
	for (size_t i = 0; i < crew->n_places; i++) {
		struct place *place = &crew->places[i];
		const struct database_config *old = pool_config(place->pool), *new = config_database(to, old->name);
		if (new != NULL && config_compare_database(old, new, NULL) < CHANGE_ANEW) {
			pool_configure(place->pool, new, LEASES_IDLE * to->lease_ttl);
			place->held = NULL;
		} else if (place->held == NULL) {
			place->held = from;
		}
	}
}

/* Can the worker go on by the new configuration? */
static bool
goes_on(const struct crew *crew, const struct post *post, const struct config *from, const struct config *to)
{
	const struct queue_config *queue = config_queue(to, name_of(post));
	return queue != NULL && config_compare_redis(&from->redis, &to->redis, NULL) < CHANGE_ANEW &&
	    config_compare_queue(worker_config(post->worker), queue, NULL) < CHANGE_ANEW && find_place(crew, queue->database)->held == NULL;
}

static void
configure_posts(struct crew *crew, const struct config *from, const struct config *to)
{
	for (size_t i = 0; i < crew->n_posts; i++) {
		struct post *post = &crew->posts[i];
		if (post->held != NULL)
			continue; /* it is on its way out, and begins anew if it is asked for */
		if (goes_on(crew, post, from, to)) {
			worker_configure(post->worker, config_queue(to, name_of(post)));
		} else {
			post->held = from;
			worker_stop(post->worker);
		}
	}
}

void
crew_follow(struct crew *crew, struct config *config)
{
	const struct config *from = crew->context.config;
	crew->owned = xrealloc(crew->owned, (crew->n_owned + 1) * sizeof(struct config *));
	crew->owned[crew->n_owned++] = config;
	crew->context.config = config;
	configure_places(crew, from, config);
	configure_posts(crew, from, config);
	proceed(crew);
}

/* -- life */

struct crew *
crew_new(struct event_base *base, const struct config *config, const char *owner, struct daemon_view *view)
{
	struct crew *crew = xcalloc(1, sizeof *crew);
	crew->context = (struct worker_context){ base, config, encoder_new(), owner };
	crew->view = view;
	crew->look = event_new(base, -1, 0, on_look, crew);
	ASSERT(crew->look != NULL);
	proceed(crew);
	ASSERT(is_settled(crew));
	return crew;
}

void
crew_stop(struct crew *crew)
{
	event_del(crew->look); /* nobody begins any more */
	for (size_t i = 0; i < crew->n_posts; i++)
		worker_stop(crew->posts[i].worker);
}

size_t
crew_at_work(const struct crew *crew)
{
	size_t n = 0;
	for (size_t i = 0; i < crew->n_posts; i++)
		n += is_at_work(&crew->posts[i]);
	return n;
}

void
crew_free(struct crew **ref)
{
	struct crew *crew = *ref;
	*ref = NULL;
	event_free(crew->look);
	for (size_t i = 0; i < crew->n_posts; i++)
		worker_free(&crew->posts[i].worker);
	for (size_t i = 0; i < crew->n_places; i++)
		pool_free(&crew->places[i].pool);
	for (size_t i = 0; i < crew->n_owned; i++)
		config_free(&crew->owned[i]);
	encoder_free(&crew->context.encoder);
	free(crew->owned);
	free(crew->places);
	free(crew->posts);
	free(crew->pools);
	free(crew->workers);
	free(crew);
}
