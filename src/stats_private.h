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
	/* worker and queue views have pushed = stored + duplicate + dead_new + taken + waiting + difference */
	uint64_t stored;         /* committed as rows, by whomever */
	uint64_t dead_new;       /* became dead letters since the daemon started */
	uint64_t waiting;        /* in the list, and not committed yet */
	double time_to_empty_s;  /* at the rates of late; -1: never */
};

/* Everything as it is now; valid until the loop goes on. */
struct stats {
	const struct daemon_view *daemon; /* borrowed */
	struct stats_queue *queues;       /* n_queues of them; owned */
	size_t n_queues;
	bool redis_up;                    /* for every queue */
	const char *redis_why;            /* "" while up */
	const char *redis_version;        /* "": not known */
	struct redis_memory memory;       /* as last asked */
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
/* Redis's memory as a share of maxmemory; 0: it has no limit, or is not known. */
double stats_memory_ratio(const struct stats *stats);
/* What would have to be faster, or to change, for the queue to go faster. */
const char *stats_bound_by(const struct stats *stats, const struct stats_queue *queue);
/* How much a person should care: "ok", "notice", "alarm". */
const char *stats_severity(const struct stats *stats, const struct stats_queue *queue);
/* What a dead letter's reason and code say, in words. */
const char *stats_meaning(const char *reason, const char *code);
/* Appends a sentence for a person: why that is so, and what to do next. */
void stats_advice(const struct stats *stats, const struct stats_queue *queue, struct buf *out);

#endif
