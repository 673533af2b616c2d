/* Windows' rows, encoded: when a connection is free for them, or before, while all are busy, so that those that become free need not wait. Commits are
 * often written to disk together, and so several become free at once. */
#ifndef SLUICE_AHEAD_H
#define SLUICE_AHEAD_H

#include "encode.h"

#define AHEAD_WINDOWS 4 /* ready at most; each takes as much memory as a connection's batch */

struct arena;
struct reject;
struct window;

/* One window. */
struct ahead_rows {
	uint64_t turn;                 /* when it was made: a number that grows */
	struct arena *arena;           /* the window's, so that no other bytes can take their place; one reference, NULL: nothing is ready */
	const char *first;             /* its oldest item's, in the arena */
	uint64_t position;             /* of that */
	uint32_t n_items;
	const struct mapping *mapping; /* borrowed */
	size_t max_item_bytes;         /* as in encode_input, both */
	size_t statement_max;
	struct batch batch;
	struct reject *rejects;        /* n_rejects of them; owned */
	size_t n_rejects;
	size_t cap_rejects;            /* allocated */
};

/* What is encoded ahead; zeroed: nothing is. */
struct ahead {
	struct ahead_rows ready[AHEAD_WINDOWS];
	uint64_t turns;       /* of them */
	size_t statement_max; /* as ahead_use() was last told; 0: it was not called yet */
};

/* Frees; nothing is ready. */
void ahead_free(struct ahead *ahead);
/* Nothing is ready any more: the mapping goes. */
void ahead_forget(struct ahead *ahead);
/* Encodes the window, whose items `input` has, and changes nothing in it; what was made longest ago makes room. False: it does nothing, as that is done
 * already, the window has rejects, or the mapping asks what time it is. */
bool ahead_make(struct ahead *ahead, struct encoder *encoder, const struct encode_input *input, const struct window *window);
/* Gives `batch` the rows of the window, for its own, and the window the rejects: those that are ready if they are of the same input, else encodes now. */
void ahead_use(struct ahead *ahead, struct encoder *encoder, const struct encode_input *input, struct window *window, struct batch *batch);

#endif
