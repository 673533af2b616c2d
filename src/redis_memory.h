/* How full a Redis is. */
#ifndef SLUICE_REDIS_MEMORY_H
#define SLUICE_REDIS_MEMORY_H

#include <stdint.h>

struct redis;

struct redis_memory {
	uint64_t used; /* bytes; 0: not known, an ACL may forbid to ask */
	uint64_t max;  /* maxmemory, bytes; 0: not known, or no limit */
};

/* Asks; the answer goes to *memory, which must live as long as the link. Must be up. */
void redis_memory_ask(struct redis *redis, struct redis_memory *memory);

#endif
