/* An open hash table over one buffer. */
#include "intern.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void
intern_free(struct intern *in)
{
	buf_free(&in->bytes);
	free(in->hashes);
	free(in->ends);
	free(in->slots);
	*in = (struct intern){ 0 };
}

void
intern_reset(struct intern *in)
{
	buf_reset(&in->bytes);
	if (in->n > 0)
		memset(in->slots, 0, in->n_slots * sizeof *in->slots);
	in->n = 0;
}

/* Puts number i into the slots, where there is room for it. */
static void
take_slot(struct intern *in, uint32_t i)
{
	size_t at = in->hashes[i] & (in->n_slots - 1);

	ASSERT((in->n_slots & (in->n_slots - 1)) == 0 && in->n < in->n_slots);

	while (in->slots[at] != 0)
		at = (at + 1) & (in->n_slots - 1);
	in->slots[at] = i + 1;
}

/* Keeps half of the slots free. */
static void
grow(struct intern *in)
{
	ASSERT(in->n == in->cap && in->cap < UINT32_MAX / 4);
	in->cap = in->cap > 0 ? 2 * in->cap : 16;
	in->n_slots = 2 * (size_t)in->cap;
	in->hashes = xrealloc(in->hashes, in->cap * sizeof *in->hashes);
	in->ends = xrealloc(in->ends, in->cap * sizeof *in->ends);
	free(in->slots);
	in->slots = xcalloc(in->n_slots, sizeof *in->slots);
	for (uint32_t i = 0; i < in->n; i++)
		take_slot(in, i);
}

uint32_t
intern_number(struct intern *in, const void *bytes, size_t len)
{
	uint64_t hash = XXH3_64bits(bytes, len);

	if (in->n == in->cap)
		grow(in);
	for (size_t at = hash & (in->n_slots - 1); in->slots[at] != 0; at = (at + 1) & (in->n_slots - 1)) {
		uint32_t i = in->slots[at] - 1;
		const char *known = intern_bytes(in, i);
		if (in->hashes[i] == hash && known + len == in->bytes.data + in->ends[i] && memcmp(known, bytes, len) == 0)
			return i;
	}
	buf_add(&in->bytes, bytes, len);
	in->hashes[in->n] = hash;
	in->ends[in->n] = in->bytes.len;
	take_slot(in, in->n);
	return in->n++;
}

const char *
intern_bytes(const struct intern *in, uint32_t number)
{
	ASSERT(number < in->n);
	return in->bytes.data + (number > 0 ? in->ends[number - 1] : 0);
}

size_t
intern_len(const struct intern *in, uint32_t number)
{
	ASSERT(number < in->n);
	return in->ends[number] - (number > 0 ? in->ends[number - 1] : 0);
}
