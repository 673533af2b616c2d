/* What the two parts of a worker share: worker.c (pool, errands, time, life) and worker_list.c (what is asked of the list in Redis). */
#ifndef SLUICE_WORKER_INNER_H
#define SLUICE_WORKER_INNER_H

#include "ahead.h"
#include "errand.h"
#include "list.h"
#include "pool.h"
#include "queue.h"
#include "worker.h"

struct call;
struct source_peek;

struct worker {
	const struct worker_context *context; /* borrowed */
	const struct queue_config *config;    /* borrowed */
	struct redis *commands;               /* owned */
	struct redis *waiting;                /* owned; only the blocking wait */
	struct source_list *source;           /* owned */
	struct list calls;                    /* struct call: asked of Redis and not answered */
	struct queue *queue;                  /* owned */
	struct pool_client client;            /* joined while it works */
	struct table *table;                  /* as last read; owned; NULL until then */
	struct mapping *mapping;              /* made for it; owned */
	struct errand_place place;            /* what errands need */
	struct ahead ahead;                   /* the next windows' rows */
	struct event *idle;                   /* encodes ahead when nothing else is to be done; owned */
	struct event *timer;                  /* queue_tick(); owned */
	struct event *no_wait;                /* answers a wait that cannot be made; owned */
	bool cannot_wait;                     /* what the last wait said */
	const struct source_peek *looked;     /* what the list held when it ended, while the queue is told; else NULL */
	struct call *looked_for;              /* the peek that this answers; NULL: none. In `calls` */
	bool redis_up;                        /* of the commands link */
	char redis_why[300];                  /* why not; "" while up */
	char subject[64];                     /* "queue NAME", for the log */
	struct meter meter;
	struct redis_memory memory;           /* when last asked */
	uint64_t memory_at;                   /* ms; to be asked again then */
};

/* -- worker.c */
/* Something was settled, or the list measured: keeps age and history. */
void worker_note_progress(struct worker *w);

/* -- worker_list.c */
/* The queue's port of that name, see struct queue_ports; `world` is the worker. */
void worker_list_lease(void *world, uint64_t view, uint64_t accepted);
/* As above. */
void worker_list_own(void *world, uint64_t view, const struct claim *claim);
/* As above. */
void worker_list_peek(void *world, uint64_t view, uint64_t offset, uint32_t count, size_t budget);
/* As above. */
void worker_list_settle(void *world, uint64_t view, const struct settle *s);
/* As above. */
void worker_list_wait(void *world, uint64_t view);
/* As above. */
void worker_list_length(void *world, uint64_t view);
/* As above. */
void worker_list_release(void *world, uint64_t view, bool clean);
/* An event's callback: answers a wait that cannot be made. `arg` is the worker. */
void worker_list_no_wait(int fd, short what, void *arg);
/* Forgets what was asked and not answered; the links are closed. */
void worker_list_forget(struct worker *w);

#endif
