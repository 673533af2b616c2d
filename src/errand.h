/* A statement of a task on one real connection: rendered as SQL, sent, its answer turned into plain values. The other half of task.h. */
#ifndef SLUICE_ERRAND_H
#define SLUICE_ERRAND_H

#include <stdint.h>

#include "task.h"

struct ahead;
struct encoder;
struct mapping;
struct queue_config;
struct table;

/* What statements of one queue need to know. */
struct errand_place {
	const struct queue_config *config; /* borrowed */
	const char *generation;            /* of the queue; borrowed, read at each statement */
	const struct mapping *mapping;     /* borrowed; replaced when the catalogue was read again */
	const struct table *table;         /* that it was made for; borrowed */
	struct ahead *ahead;               /* borrowed */
	/* The table was read and a mapping made for it, by a CATALOGUE statement; the receiver owns both. */
	void (*mapped)(void *arg, struct table *table, struct mapping *mapping);
	/* A statement's answer. What is asked next of the task's session, if anything, is asked before this returns. */
	void (*answered)(void *arg, struct task *task, const struct answer *answer);
	void *arg; /* their first argument */
};

/* Runs the statement on the task's session; answered() is called once, later. The place must live until then. */
void errand_run(const struct errand_place *place, struct task *task, const struct statement *statement);
/* Encodes the rows of a STORE's window into the session's batch and marks what can never become a row. False: a field has no column, and would have
 * one if the table had. */
bool errand_prepare(const struct errand_place *place, struct encoder *encoder, struct task *task, int64_t now_us) MUST_CHECK;
/* Does that for a window that comes soon, while no session is free for it; nothing is marked in it. False: there was nothing to do. */
bool errand_prepare_ahead(const struct errand_place *place, struct encoder *encoder, const struct window *window) MUST_CHECK;
/* Rows of the batch that is being stored on a lent session; 0: nothing is stored. */
uint32_t errand_rows(const struct session *session);
/* Frees what errands keep on a session; before it is given back. */
void errand_end(struct session *session);

#endif
