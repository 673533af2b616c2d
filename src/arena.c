/* Bump allocation with one shared lifetime. */
#include "arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#include "check.h"

#define BLOCK_MIN 4096u
#define BLOCK_MAX (256u * 1024)

struct block {
	struct block *next; /* the one filled before, or NULL */
	size_t used;        /* bytes handed out of data */
	size_t size;        /* usable bytes of data; ARENA_PADDING more are allocated behind them */
	alignas(max_align_t) char data[];
};

struct arena {
	struct block *top; /* the block being filled; owned, with all behind it */
	size_t used;       /* bytes handed out in all */
	unsigned refs;     /* holders */
};

struct arena *
arena_new(void)
{
	struct arena *a = xcalloc(1, sizeof *a);
	a->refs = 1;
	return a;
}

struct arena *
arena_ref(struct arena *a)
{
	ASSERT(a->refs > 0);
	a->refs++;
	return a;
}

void
arena_unref(struct arena **ref)
{
	struct arena *a = *ref;
	*ref = NULL;
	if (a == NULL)
		return;
	ASSERT(a->refs > 0);
	if (--a->refs > 0)
		return;
	for (struct block *b = a->top, *next; b != NULL; b = next) {
		next = b->next;
		free(b);
	}
	free(a);
}

static struct block *
grow(struct arena *a, size_t n)
{
	ASSERT(n < SIZE_MAX / 2);
	size_t size = a->top == NULL ? BLOCK_MIN : a->top->size * 2;
	if (size > BLOCK_MAX)
		size = BLOCK_MAX;
	if (size < n)
		size = n;
	struct block *b = xmalloc(sizeof *b + size + ARENA_PADDING);
	b->next = a->top;
	b->used = 0;
	b->size = size;
	return a->top = b;
}

char *
arena_bytes(struct arena *a, size_t n)
{
	struct block *b = a->top;
	if (b == NULL || b->size - b->used < n)
		b = grow(a, n);
	char *at = b->data + b->used;
	b->used += n;
	a->used += n;
	return at;
}

void *
arena_alloc(struct arena *a, size_t n)
{
	struct block *b = a->top;
	if (b != NULL) {
		size_t aligned = (b->used + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
		b->used = aligned > b->size ? b->size : aligned;
	}
	return arena_bytes(a, n);
}

size_t
arena_used(const struct arena *a)
{
	return a->used;
}
