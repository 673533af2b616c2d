/* Sixteen bytes of text at a time; the compiler makes the best of it that the CPU has. */
#ifndef SLUICE_CHUNK_H
#define SLUICE_CHUNK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Compares byte by byte, as in `bytes == 'x'`; what is true becomes 0xff. */
typedef unsigned char chunk __attribute__((vector_size(16)));

/* The chunk that begins there, at any address. */
static inline chunk
chunk_at(const char *text)
{
	chunk bytes;

	memcpy(&bytes, text, sizeof bytes);
	return bytes;
}

/* Index of the first byte that is not 0; sizeof(chunk) if there is none. */
static inline size_t
chunk_first(chunk marked)
{
	uint64_t halves[2];

	_Static_assert(sizeof halves == sizeof marked, "two halves");
	memcpy(halves, &marked, sizeof halves);
	if ((halves[0] | halves[1]) == 0)
		return sizeof marked;
	uint64_t half = halves[0] != 0 ? halves[0] : halves[1];
	int bits = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_ctzll(half) : __builtin_clzll(half);
	return (halves[0] != 0 ? 0 : sizeof half) + (size_t)bits / 8;
}

#endif
