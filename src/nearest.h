/* "did you mean": the known name that an unknown one was most likely meant to be. */
#ifndef SLUICE_NEAREST_H
#define SLUICE_NEAREST_H

#include <stddef.h>

struct buf;

/* Zero it but for `wanted`, offer every known name, then ask for the suggestion. */
struct nearest {
	const char *wanted; /* what was written; not owned */
	const char *best;   /* nearest of the offered so far, or NULL while none is near; not owned */
	size_t distance;    /* edits between the two */
};

/* One known name, of any length, which must live as long as `nearest`. */
void nearest_offer(struct nearest *nearest, const char *name);
/* Appends `; did you mean "NAME"?`, or nothing where no name is near. */
void nearest_suggest(const struct nearest *nearest, struct buf *out);

#endif
