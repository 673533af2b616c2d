/* Bump allocation with one shared lifetime: what one Redis reply brought lives until the last window cut from it is gone. */
#ifndef SLUICE_ARENA_H
#define SLUICE_ARENA_H

#include <stddef.h>

/* Bytes that may be read (never written) behind anything that arena_alloc() returned; simdjson reads up to 64 past the end of its input
 * (SIMDJSON_PADDING). */
#define ARENA_PADDING 64

struct arena;

/* An empty arena with one reference. */
struct arena *arena_new(void);
/* One more reference; returns its argument. */
struct arena *arena_ref(struct arena *a);
/* Gives one reference back and nulls the caller's pointer; the last one frees everything. NULL inside is harmless. */
void arena_unref(struct arena **ref);
/* n bytes aligned for any object, valid while a reference is held. Never NULL. */
void *arena_alloc(struct arena *a, size_t n);
/* As arena_alloc() with no alignment, for byte strings. */
char *arena_bytes(struct arena *a, size_t n);
/* Bytes handed out so far. */
size_t arena_used(const struct arena *a);

#endif
