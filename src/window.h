/* A window: a run of items with neighbouring positions, the batch of one transaction. Pure: no sockets, no clock.
 *
 *            window_set_state
 *   READ ------> COMMITTING ------> COMMITTED ------> settled (freed)
 *     ^            |     |              ^
 *     +--- failed -+     +--> DOUBT ----+   COMMIT was sent and not answered; the ledger row tells
 *     +------------- not there --+
 *
 * A window that fails for its data is split: what is refused is marked in it (a reject), the rest is tried again.
 */
#ifndef SLUICE_WINDOW_H
#define SLUICE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode.h"
#include "list.h"

struct arena;

enum window_state { WINDOW_READ, WINDOW_COMMITTING, WINDOW_DOUBT, WINDOW_COMMITTED };

#define NO_SLOT UINT32_MAX
#define REJECT_MESSAGE_MAX 400

/* Why an item becomes a dead letter. */
struct reject {
	uint32_t index;                   /* of the item in its window */
	char class[12];                   /* "message": not acceptable as it is; else a db_class_name() */
	char code[8];                     /* SQLSTATE or errno; "": none */
	char column[64];                  /* "": not known */
	char message[REJECT_MESSAGE_MAX]; /* one line of UTF-8 */
};

struct window {
	struct list node;         /* in the queue's windows, ordered by position */
	enum window_state state;  /* see above */
	uint64_t first;           /* position of items[0] */
	uint32_t count;           /* items, at least 1 */
	uint32_t gone;            /* of the oldest of them, others have taken this many from the list meanwhile */
	bool has_task;            /* a task works on it; it lives until that ends, on the queue's list or off it */
	bool partial;             /* formed at the end of the list with room left; at most one of these is in flight */
	uint32_t counted;         /* items of it that a counter counts already: its rows once committed, all once found in the ledger */
	bool reconciled;          /* found committed in the ledger, not committed by us just now */
	bool suspect;             /* SQL refused a row of it and did not say which: it is stored in pieces */
	bool untracked;           /* no ledger row stands for it: in doubt after a fall-back, and accepted by the operator */
	uint32_t slot;            /* ledger row that its transaction writes, while COMMITTING or DOUBT; else NO_SLOT */
	unsigned attempts;        /* failures so far that were not its data's fault */
	uint64_t not_before;      /* ms; not tried again before this */
	struct arena *arena;      /* holds the payloads; one reference */
	struct item *items;       /* count of them; owned array, texts in the arena */
	uint64_t *hashes;         /* XXH3 64 bit of each item (https://github.com/Cyan4973/xxHash); owned */
	bool *skip;               /* skip[i]: item i is rejected; owned */
	struct reject *rejects;   /* n_rejects of them, ordered by index; owned */
	uint32_t n_rejects;
};

/* The hash that the ledger keeps of an item. */
uint64_t window_hash(const struct item *item);
/* A READ window of n items at `first`, its own copy of the item array, one more reference to the arena (which may be NULL for tests). */
struct window *window_new(uint64_t first, const struct item *items, uint32_t n, struct arena *arena);
/* Takes it off its list and frees it; nulls the caller's pointer. */
void window_free(struct window **window);
/* Moves along an edge of the picture above; anything else is a bug. */
void window_set_state(struct window *window, enum window_state state);
/* Position behind its last item. */
static inline uint64_t
window_end(const struct window *window)
{
	return window->first + window->count;
}
/* Cuts a READ window before item `at` (0 < at < count); the new window takes the tail, rejects included, and the place behind it on its list. */
struct window *window_split(struct window *window, uint32_t at);
/* Marks an item as a dead letter to be; a second reject of the same item is ignored. The index counts, the rest is copied. */
void window_reject(struct window *window, const struct reject *reject);
/* Takes back the rejects of class "message": the table is another, so they are to be found anew. */
void window_forgive(struct window *window);
/* Items that are to become rows. */
uint32_t window_rows(const struct window *window);
/* How many of its hashes, from the `from`-th of the n given, match in order: the committed prefix. */
uint32_t window_match(const struct window *window, const uint64_t *hashes, uint32_t from, uint32_t n);
/* The ledger's `dead` column: one line a reject, tab-separated (index, class, code, column, message). */
void window_dead_write(const struct window *window, struct buf *out);
/* Reads it back: marks the rejects of a window whose item 0 was item `from` of the window that wrote the text. False: the text is not ours. */
bool window_dead_read(struct window *window, const char *text, size_t len, uint32_t from) MUST_CHECK;
/* Holds everything that must hold of a window; ASSERTs. */
void window_check(const struct window *window);

#endif
