/* What the fuzzers share: the entry that libFuzzer calls for each input, and reading an input piece by piece. */
#ifndef SLUICE_FUZZ_H
#define SLUICE_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Runs one input; nothing of it is left behind. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The rest of an input. */
struct input {
	const uint8_t *at; /* libFuzzer's */
	size_t left;       /* bytes */
};

/* The next byte; 0 when there is none. */
static inline uint8_t
input_byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

/* What stands before the next `mark`, or all; steps over the mark. */
static inline struct input
input_piece(struct input *in, uint8_t mark)
{
	const uint8_t *end = in->left == 0 ? NULL : memchr(in->at, mark, in->left);
	struct input piece = { in->at, end == NULL ? in->left : (size_t)(end - in->at) };
	in->at += piece.left + (end != NULL);
	in->left -= piece.left + (end != NULL);
	return piece;
}

#endif
