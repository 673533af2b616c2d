/* What the stats' three forms (metrics, JSON, tables) have in common. Only stats*.c include this. */
#ifndef SLUICE_STATS_PRIVATE_H
#define SLUICE_STATS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

#include "pool.h"
#include "queue.h"
#include "worker.h"

#define STATS_CLASSES (DB_UNKNOWN + 1)

/* One queue as it is now. */
struct stats_queue {
	struct worker_view worker;
	struct queue_view queue;
	const struct pool *pool; /* its database's */
	const char *state;       /* "drain" ...; "paused" and "blocked" where it cannot go on */
	const char *bound_by;    /* what it waits for: "database", "pool", "redis", "rate limit", "paused", "idle", "standby" */
};

/* Everything as it is now; valid until the loop goes on. */
struct stats {
	const struct daemon_view *daemon; /* borrowed */
	struct stats_queue *queues;       /* n_queues of them; owned */
	size_t n_queues;
	bool redis_up;                    /* for every queue */
	const char *redis_why;            /* "" while up */
	double uptime_s;
};

/* Looks at everything. */
struct stats stats_look(const struct daemon_view *daemon);
/* Frees what stats_look() made. */
void stats_end(struct stats *stats);
/* The i-th of all names that stats_queue.state may have; NULL: there are no more. */
const char *stats_state(size_t i);
/* Why an item became a dead letter: "message", or a class of errors. */
const char *stats_reason(size_t class);
/* "none" ... */
const char *stats_block(enum queue_block block);
/* "closed" ... */
const char *stats_session_state(enum session_state state);
/* How many values were observed. */
uint64_t stats_histogram_count(const struct histogram *histogram);

#endif
