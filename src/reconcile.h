/* Where the ledger and the list stand to each other. Pure functions on positions and hashes; see "Reconciling" and "The guard in settle" in
 * sluice-protocol(7). */
#ifndef SLUICE_RECONCILE_H
#define SLUICE_RECONCILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "task.h"

/* A ledger row behind the settled position: a window that was committed and perhaps not settled. */
struct plan_row {
	uint32_t slot;    /* in the ring */
	uint64_t first;   /* position of its first item */
	uint32_t count;   /* items */
	uint64_t *hashes; /* count of them; owned */
	char *dead;       /* window_dead_write() text; owned */
	size_t dead_len;
};

enum plan_verdict {
	PLAN_OK,
	PLAN_FELL_BACK,  /* the ring is full and `settled` is before what it surely remembers: windows may be forgotten. Guess nothing */
	PLAN_SQL_BEHIND, /* `settled` is behind the ledger's end: SQL lost committed windows, or the ledger is new */
};

/* What the ledger says of the positions from `settled` on. */
struct plan {
	struct plan_row *rows; /* n of them, by position; owned */
	size_t n;
	size_t next;           /* the first that the list was not yet held against */
	uint64_t oldest;       /* from this position on the ring surely remembers all; 0: it was never full in this generation */
	uint64_t end;          /* largest end in the ring; 0: none of ours */
	size_t strangers;      /* rows of another generation */
};

/* Of a ring of n rows so many of the oldest may stand before a window that is forgotten already: their transactions were undone, and meanwhile others
 * overwrote the rows behind them. Never more transactions than this are open at a time, and never fewer rows are kept for settled windows. */
static inline size_t
plan_margin(size_t n)
{
	return n / 4 > 0 ? n / 4 : 1;
}

/* Builds the plan from all rows of the ring (rows without hashes end before `settled`, or are not ours). Frees what the plan held before. */
enum plan_verdict plan_build(struct plan *plan, const struct ledger_row *rows, size_t n, uint64_t settled);
/* Frees its content; usable again. */
void plan_reset(struct plan *plan);
/* The row that the list is to be held against next, or NULL. */
const struct plan_row *plan_row(const struct plan *plan);

/* How a list that somebody else changed stands to what we know of it. */
enum alignment {
	ALIGN_SAME,  /* as we know it */
	ALIGN_MOVED, /* the oldest *gone known items are not there any more, and *strange ones stand before the rest; one of the two may be 0 */
	ALIGN_NONE,  /* no sense in it: rewritten */
};

/* Strange items that an alignment sees through; it costs up to so many comparisons for each known item. */
#define ALIGN_STRANGE_MAX 1024

/* Aligns the n_list hashes at the list's end (all there are, if list_ended) with the n_known hashes that we have in hand: the smallest change that
 * explains what is there. */
enum alignment align(const uint64_t *list, size_t n_list, bool list_ended, const uint64_t *known, size_t n_known, size_t *gone, size_t *strange) MUST_CHECK;

#endif
