/* One configured queue at work: wires the pure state machine (queue.h) to its Redis list, its pool and the encoder. */
#ifndef SLUICE_WORKER_H
#define SLUICE_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "meter.h"
#include "redis_memory.h"

struct config;
struct encoder;
struct event_base;
struct pool;
struct queue_config;
struct queue_view;
struct worker;

/* What all workers of a daemon share; borrowed, outlives them. */
struct worker_context {
	struct event_base *base; /* with PRIORITIES, see priorities.h */
	const struct config *config;
	struct encoder *encoder;
	const char *owner; /* "instance boot", for leases */
};

/* What a worker shows to the stats, besides its queue's view. */
struct worker_view {
	const struct queue_config *config;
	bool redis_up;
	const char *redis_why;             /* "" while up */
	double oldest_age_s;               /* of the oldest order in the list, estimated without any timestamp in it; 0: none waits */
	const char *redis_version;         /* "" while down, or where the ACL forbids INFO */
	struct redis_memory memory;        /* of its Redis */
	const struct meter *meter;
	struct meter_rates rates;
};

/* Starts to work for a queue; the pool is borrowed. */
struct worker *worker_new(const struct worker_context *context, const struct queue_config *config, struct pool *pool);
/* The queue's section in a newer configuration, which the context shows already. For changes up to CHANGE_LIVE; they count at once. */
void worker_configure(struct worker *worker, const struct queue_config *config);
/* A stopped one begins anew, by this section of its name and on this pool; its counters go on. */
void worker_renew(struct worker *worker, const struct queue_config *config, struct pool *pool);
/* Frees; must be stopped, or the process is about to end. Nulls the caller's pointer. */
void worker_free(struct worker **worker);
/* Finish what is in flight and give the lease back; worker_is_stopped() then. */
void worker_stop(struct worker *worker);
/* The same for a list that goes to another ledger, or to none: see queue_hand_over(). */
void worker_hand_over(struct worker *worker);
/* Wait only for answers that are under way: see queue_give_up(). */
void worker_give_up(struct worker *worker);
/* Is nothing in flight any more, and has Redis been told? */
bool worker_is_stopped(const struct worker *worker);
/* Starts nothing new; and again. */
void worker_pause(struct worker *worker);
/* As above. */
void worker_resume(struct worker *worker);
/* The operator's answer where Redis fell back further than the ledger remembers: what is in doubt is stored, perhaps a second time, or becomes dead
 * letters. False: nobody has asked. */
bool worker_choose(struct worker *worker, bool store) MUST_CHECK;
/* The section that it works by. */
const struct queue_config *worker_config(const struct worker *worker);
/* The pool that it borrows from. */
struct pool *worker_pool(const struct worker *worker);
/* Snapshots for the stats; pointers are valid until the loop goes on. */
void worker_look(struct worker *worker, struct worker_view *view, struct queue_view *queue);

#endif
