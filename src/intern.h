/* Numbers byte strings: equal ones have equal numbers, 0, 1, 2 ... in order of first appearance. */
#ifndef SLUICE_INTERN_H
#define SLUICE_INTERN_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* Zeroed it is empty. All memory stays until intern_free(). */
struct intern {
	struct buf bytes;   /* the strings, one behind the other */
	uint64_t *hashes;   /* of string i; cap of them */
	size_t *ends;       /* where string i ends in `bytes`; cap of them */
	uint32_t n;         /* strings */
	uint32_t cap;       /* allocated in hashes and ends */
	uint32_t *slots;    /* n_slots, a power of two: number + 1 of the string that hashes here; 0: free */
	size_t n_slots;
};

/* Frees the memory; it is empty and usable again. */
void intern_free(struct intern *in);
/* Forgets the strings. */
void intern_reset(struct intern *in);
/* The number of a string; it is new if that is what `in->n` was before. */
uint32_t intern_number(struct intern *in, const void *bytes, size_t len);
/* The bytes of a string, valid until the next new one. */
const char *intern_bytes(const struct intern *in, uint32_t number);
/* How many they are. */
size_t intern_len(const struct intern *in, uint32_t number);

#endif
