/* Edit distance (Levenshtein) between names. */
#include "nearest.h"

#include <string.h>

#include "buf.h"
#include "check.h"

#define NEAREST_LEN_MAX 64 /* longer names are compared by their first bytes */

static size_t
min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;
	return least < c ? least : c;
}

static size_t
edits(const char *a, size_t a_len, const char *b, size_t b_len)
{
	ASSERT(a_len <= NEAREST_LEN_MAX && b_len <= NEAREST_LEN_MAX);
	size_t row[NEAREST_LEN_MAX + 1]; /* row[j]: edits from the first i bytes of a to the first j of b */
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t changed = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			row[j] = min3(changed, row[j] + 1, row[j - 1] + 1);
		}
	}
	return row[b_len];
}

void
nearest_offer(struct nearest *nearest, const char *name)
{
	ASSERT(nearest->wanted != NULL);
	size_t wanted_len = strnlen(nearest->wanted, NEAREST_LEN_MAX);
	size_t name_len = strnlen(name, NEAREST_LEN_MAX);
	size_t distance = edits(nearest->wanted, wanted_len, name, name_len);
	size_t longer = wanted_len > name_len ? wanted_len : name_len;
	if (distance > longer / 2) /* more changed than kept: not what was meant */
		return;
	if (nearest->best == NULL || distance < nearest->distance) {
		nearest->best = name;
		nearest->distance = distance;
	}
}

void
nearest_suggest(const struct nearest *nearest, struct buf *out)
{
	if (nearest->best != NULL)
		buf_addf(out, "; did you mean \"%s\"?", nearest->best);
}
