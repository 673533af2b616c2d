/* A window's rows, encoded: when a connection is free for them, or before, while all are busy, so that the first one that is free need not wait. */
#ifndef SLUICE_AHEAD_H
#define SLUICE_AHEAD_H

#include "encode.h"

struct arena;
struct reject;
struct window;

/* What is encoded ahead; zeroed: nothing is. */
struct ahead {
	struct arena *arena;           /* the window's, so that no other bytes can take their place; one reference, NULL: nothing is ready */
	const char *first;             /* its oldest item's, in the arena */
	uint64_t position;             /* of that */
	uint32_t n_items;
	const struct mapping *mapping; /* borrowed */
	size_t max_item_bytes;         /* as in encode_input, both */
	size_t statement_max;          /* as ahead_use() was last told; 0: it was not called yet */
	struct batch batch;
	struct reject *rejects;        /* n_rejects of them; owned */
	size_t n_rejects;
	size_t cap_rejects;            /* allocated */
};

/* Frees; nothing is ready. */
void ahead_free(struct ahead *ahead);
/* Nothing is ready any more: the mapping goes. */
void ahead_forget(struct ahead *ahead);
/* Encodes the window, whose items `input` has, and changes nothing in it. Does nothing where that is done already, where the window has rejects, or
 * where the mapping asks what time it is. */
void ahead_make(struct ahead *ahead, struct encoder *encoder, const struct encode_input *input, const struct window *window);
/* Gives `batch` the rows of the window, for its own, and the window the rejects: those that are ready if they are of the same input, else encodes now. */
void ahead_use(struct ahead *ahead, struct encoder *encoder, const struct encode_input *input, struct window *window, struct batch *batch);

#endif
