/* The bytes of one connection to Redis: commands out, replies in, TLS where it is wanted. Wraps hiredis; never blocks, and knows no loop. For redis.c
 * only. */
#ifndef SLUICE_REDIS_WIRE_H
#define SLUICE_REDIS_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"
#include "redis_tls.h"

struct arena;
struct redis_address;
struct redis_config;
struct redis_value;
struct wire;

enum wire_sent { WIRE_SENT, WIRE_MORE, WIRE_BROKEN };
enum wire_got { WIRE_REPLY, WIRE_NONE, WIRE_NONSENSE };

/* A wire that is not connected; for rediss:// reads the certificates, so that new files count at the next connection. NULL: `why`, of `size` bytes, says
 * what is wrong with them. */
struct wire *wire_new(const struct redis_config *config, char *why, size_t size) MUST_CHECK;
/* Closes and frees; nulls the caller's pointer, which may be NULL already. */
void wire_free(struct wire **wire);
/* Begins to connect, anew if that was tried before: to the path, or to the port of its host, which is `numeric`. Once the socket can be written to, it is connected, or has an error.
 * False: `why` tells, and *error is errno, or 0. */
bool wire_connect(struct wire *wire, const struct redis_address *to, const char *numeric, int *error, char *why, size_t size) MUST_CHECK;
/* The socket, once wire_connect() has made it. */
int wire_fd(const struct wire *wire);
/* Begins the TLS handshake on the connected wire, or goes on with it; done at once where there is no TLS. Failed: `why` tells. */
enum redis_tls wire_shake_hands(struct wire *wire, char *why, size_t size) MUST_CHECK;

/* Queues a command of argc words, copied, in Redis's protocol. `lens` NULL: words are strings. */
void wire_add(struct wire *wire, int argc, const char *const *words, const size_t *lens);
/* Writes of what is queued as much as can be. WIRE_MORE: again when the socket can be written to. WIRE_BROKEN: no more can be; what Redis has said
 * before may still be read. */
enum wire_sent wire_write(struct wire *wire) MUST_CHECK;

/* Reads what has come, within bounds, so that one wire does not starve the others. False: it has ended, for which `why` has a reason; what came before
 * is there. */
bool wire_read(struct wire *wire, char *why, size_t size) MUST_CHECK;
/* The next whole reply of what was read, in an arena of which the caller gets the reference. `budget` as for redis_command(). WIRE_NONSENSE: that is no
 * Redis protocol, or far too much; `why` tells. */
enum wire_got wire_next(struct wire *wire, size_t budget, struct redis_value **reply, struct arena **arena, char *why, size_t size) MUST_CHECK;
/* Is what waits for its end more than `most` bytes, or nothing that a Redis sends? Told by its first line where it can be, before it has filled the
 * memory. */
bool wire_is_absurd(const struct wire *wire, size_t most);

#endif
