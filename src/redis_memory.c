/* How full a Redis is. */
#include "redis_memory.h"

#include <stdlib.h>
#include <string.h>

#include "redis.h"

/* The number behind a field of INFO's answer; 0: it is not there. */
static uint64_t
number(const char *text, const char *field)
{
	const char *at = strstr(text, field);
	return at == NULL ? 0 : strtoull(at + strlen(field), NULL, 10);
}

static void
on_info(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct redis_memory *memory = arg;
	(void)arena, (void)why; /* no harm done: what matters says so itself */
	*memory = (struct redis_memory){ .used = 0 };
	if (class != REDIS_OK || reply->type != REDIS_STRING)
		return;
	memory->used = number(reply->text, "\nused_memory:");
	memory->max = number(reply->text, "\nmaxmemory:");
}

void
redis_memory_ask(struct redis *redis, struct redis_memory *memory)
{
	static const char *const words[] = { "INFO", "memory" };
	redis_command(redis, 2, words, NULL, 0, 0, on_info, memory);
}
