/* TLS for a connection to Redis, by hiredis and OpenSSL where hiredis has it. For redis.c only. */
#ifndef SLUICE_REDIS_TLS_H
#define SLUICE_REDIS_TLS_H

#include <stddef.h>

#include "check.h"

struct redisContext;
struct redis_config;
struct ssl_st;

/* How far the handshake has come: it is done, waits until it can read, or write, or failed for good. */
enum redis_tls { REDIS_TLS_DONE, REDIS_TLS_READ, REDIS_TLS_WRITE, REDIS_TLS_FAILED };

/* Our end of a connection by rediss:// that is still to be made; reads the certificates, so that new files count at the next connection.
 * NULL: `why`, of `size` bytes, says what is wrong with them, or that this build has no TLS. To be freed with redis_tls_free(), after the context. */
struct ssl_st *redis_tls_new(const struct redis_config *config, char *why, size_t size) MUST_CHECK;
/* Frees it, if it is one, and nulls the caller's pointer. */
void redis_tls_free(struct ssl_st **ref);
/* Begins the handshake on a connected context that does not block, or goes on with it. Failed: `why` tells. Once it is done, all that hiredis reads
 * and writes there is encrypted. */
enum redis_tls redis_tls_shake_hands(struct ssl_st *tls, struct redisContext *context, char *why, size_t size) MUST_CHECK;
/* Forgets the errors that others of this thread, libpq for one, left with OpenSSL: else hiredis takes them for its own. Before it reads or writes. */
void redis_tls_forget(void);
/* Why hiredis failed to read or write, if OpenSSL knows; else leaves `why` as it is. */
void redis_tls_explain(char *why, size_t size);

#endif
