/* How long an order has stood in the list, without any timestamp in it: settled + backlog is the number of items ever pushed, so whoever writes down
 * when that number passed N knows when item N came. */
#ifndef SLUICE_AGE_H
#define SLUICE_AGE_H

#include <stddef.h>
#include <stdint.h>

#define AGE_MARKS 256

/* A number of pushes that had been reached at a time. */
struct age_mark {
	uint64_t ms;     /* monotonic */
	uint64_t pushed; /* positions up to this one were there */
};

/* Marks in time's order; when they are full every second one is dropped, so that old times get coarser, not forgotten. */
struct age {
	struct age_mark marks[AGE_MARKS]; /* n of them */
	size_t n;
};

/* Notes where the list stands. */
void age_note(struct age *age, uint64_t now_ms, uint64_t settled, uint64_t backlog);
/* Seconds since the item at this position was first known to be there; 0: it came just now. */
double age_of(const struct age *age, uint64_t now_ms, uint64_t position);

#endif
