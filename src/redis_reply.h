/* Redis replies as values in an arena, and what the errors among them mean. For redis.c only. */
#ifndef SLUICE_REDIS_REPLY_H
#define SLUICE_REDIS_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "redis.h"

struct arena;
struct redisReplyObjectFunctions;

/* The most that one reply, or one string still arriving, may take. Redis takes strings of up to 512 MB (proto-max-bulk-len, if nobody changed it); as
 * a dead letter such a one has a third more. A server that sends more is broken. */
#define REPLY_MAX ((size_t)768 << 20)
/* The most that the values of one reply may take beside the bytes of their strings: some million values, more than anybody asks for. */
#define SHAPE_MAX ((size_t)64 << 20)

/* Where hiredis's reader puts the reply that it is reading: its `privdata`. */
struct reply_sink {
	struct arena *arena; /* holds the values; made by the first; NULL: no reply has begun. Owned */
	size_t budget;       /* strings beyond this many bytes are dropped; 0: no bound */
	size_t strings;      /* bytes of strings kept so far */
};

/* Fills in the functions that make redis_values in the reply_sink which is the reader's `privdata`. What the server claims costs no memory, only
 * what it sends; beyond REPLY_MAX or SHAPE_MAX they return NULL, an error to hiredis. */
void reply_functions(struct redisReplyObjectFunctions *functions);
/* What a reply means: REDIS_OK, or the class of its error. `*advice` is what to do about it, NULL for an error that is not known. */
enum redis_class reply_class(const struct redis_value *reply, const char **advice);
/* What to do when a connection could not be made; `error` is errno, 0: something else. */
const char *connect_advice(int error);
/* Is it an error that begins with this word? */
bool reply_is_error(const struct redis_value *reply, const char *code);

#endif
