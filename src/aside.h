/* A call that blocks for as long as it likes, in a thread aside of the loop: looking a name up, logging in by a library that knows no other way.
 *
 * The thread and the loop share nothing but a socket pair: what comes through it belongs to the loop, and what does not find an open end there stays
 * the thread's.
 */
#ifndef SLUICE_ASIDE_H
#define SLUICE_ASIDE_H

#include <stdbool.h>

#include "check.h"

struct aside;
struct event_base;

/* What is done: `work` holds all that it needs, and whom to tell. */
struct aside_work {
	void (*run)(void *work);  /* in the thread; touches nothing but `work` */
	void (*done)(void *work); /* told once, in the loop, if the aside was not abandoned; it is freed already. Frees the work */
	void (*drop)(void *work); /* frees the work, of which nobody hears; in the thread or in the loop */
};

/* Starts the thread. `kind` must last. NULL: there is none, errno says why, and `work` is the caller's still. */
struct aside *aside_start(struct event_base *base, const struct aside_work *kind, void *work) MUST_CHECK;
/* Forgets it: nothing is told, and the work is dropped when it comes to its end. NULL is fine. Nulls the caller's pointer. */
void aside_abandon(struct aside **aside);
/* May there be threads that nobody waits for? A process then ends by _exit(): what they use must not be taken away under them. */
bool aside_threads_left(void);

#endif
