/* hiredis connects, reads and writes; its reader makes our values (redis_reply.c). */
#include "redis_wire.h"

#include <errno.h>
#include <event2/util.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "buf.h"
#include "config.h"
#include "redis_reply.h"

#include <hiredis/hiredis.h> /* behind ours, whose names it would replace */

#define READ_ROUNDS 16
#define READ_SIZE ((size_t)16 * 1024) /* bytes of one redisBufferRead() */
#define WRITE_SIZE ((size_t)256 * 1024) /* bytes that hiredis gets at a time: it moves all that it has at each write */
#define BUFFER_KEEP ((size_t)1024 * 1024) /* bytes of an empty buffer that are kept for the next command, or reply */
#define LINE_MAX_BYTES ((size_t)64 * 1024) /* of a status, an error, an announced length */

struct wire {
	redisContext *context;               /* socket, write buffer, reader; NULL: not connected. Owned */
	struct ssl_st *tls;                  /* NULL without rediss://; owned */
	struct buf out;                      /* commands; hiredis has been given the first `handed` bytes */
	size_t handed;
	redisReplyObjectFunctions functions; /* of the reader */
	struct reply_sink sink;              /* the reply that is being read */
};

struct wire *
wire_new(const struct redis_config *config, char *why, size_t size)
{
	struct wire *w = xcalloc(1, sizeof *w);
	reply_functions(&w->functions);
	if (config->address.tls && (w->tls = redis_tls_new(config, why, size)) == NULL)
		wire_free(&w);
	return w;
}

void
wire_free(struct wire **wire)
{
	struct wire *w = *wire;
	*wire = NULL;
	if (w == NULL)
		return;
	if (w->context != NULL)
		redisFree(w->context);
	redis_tls_free(&w->tls);
	arena_unref(&w->sink.arena);
	buf_free(&w->out);
	free(w);
}

bool
wire_connect(struct wire *w, const struct redis_address *to, const char *numeric, int *error, char *why, size_t size)
{
	if (w->context != NULL)
		redisFree(w->context);
	errno = 0;
	redisContext *c = to->unix_path != NULL ? redisConnectUnixNonBlock(to->unix_path) : redisConnectNonBlock(numeric, (int)to->port);
	if (c != NULL && c->err == 0 && to->unix_path == NULL)
		(void)redisEnableKeepAlive(c);
	w->context = c;
	if (c == NULL || c->err != 0) {
		*error = c == NULL || c->err == REDIS_ERR_IO ? errno : 0;
		snprintf(why, size, "%s", *error != 0 ? strerror(*error) : c == NULL ? "no memory" : c->errstr);
		return false;
	}
	(void)evutil_make_socket_closeonexec(c->fd);
	c->reader->fn = &w->functions;
	c->reader->privdata = &w->sink;
	c->reader->maxbuf = BUFFER_KEEP;
	return true;
}

int
wire_fd(const struct wire *w)
{
	ASSERT(w->context != NULL);
	return w->context->fd;
}

enum redis_tls
wire_shake_hands(struct wire *w, char *why, size_t size)
{
	return w->tls == NULL ? REDIS_TLS_DONE : redis_tls_shake_hands(w->tls, w->context, why, size);
}

/* -- out */

void
wire_add(struct wire *w, int argc, const char *const *words, const size_t *lens)
{
	ASSERT(argc > 0);
	buf_addc(&w->out, '*');
	buf_add_number(&w->out, (uint64_t)argc);
	for (int i = 0; i < argc; i++) {
		size_t len = lens == NULL ? strlen(words[i]) : lens[i];
		buf_adds(&w->out, "\r\n$");
		buf_add_number(&w->out, len);
		buf_adds(&w->out, "\r\n");
		buf_add(&w->out, words[i], len);
	}
	buf_adds(&w->out, "\r\n");
}

/* Hands hiredis, which has written all it had, the next piece; nothing is left: makes room for more. False: no memory. */
static bool
hand_piece(struct wire *w)
{
	size_t left = w->out.len - w->handed, n = left < WRITE_SIZE ? left : WRITE_SIZE;
	if (n > 0 && redisAppendFormattedCommand(w->context, w->out.data + w->handed, n) != REDIS_OK)
		return false;
	w->handed += n;
	if (w->handed == w->out.len) {
		if (w->out.cap > BUFFER_KEEP)
			buf_free(&w->out);
		buf_reset(&w->out);
		w->handed = 0;
	}
	return true;
}

enum wire_sent
wire_write(struct wire *w)
{
	int done = 0;
	if (w->tls != NULL)
		redis_tls_forget();
	bool ok = redisBufferWrite(w->context, &done) == REDIS_OK;
	if (ok && done)
		ok = hand_piece(w) && redisBufferWrite(w->context, &done) == REDIS_OK;
	if (!ok) {
		w->context->err = 0;
		return WIRE_BROKEN;
	}
	return done && w->out.len == 0 ? WIRE_SENT : WIRE_MORE;
}

/* -- in */

bool
wire_read(struct wire *w, char *why, size_t size)
{
	redisContext *c = w->context;
	bool ok = true;
	if (w->tls != NULL)
		redis_tls_forget();
	for (int round = 0; ok && round < READ_ROUNDS; round++) {
		size_t before = c->reader->len;
		ok = redisBufferRead(c) == REDIS_OK;
		if (c->reader->len < before + READ_SIZE)
			break;
	}
	if (ok)
		return true;
	snprintf(why, size, "%s", c->errstr);
	if (w->tls != NULL)
		redis_tls_explain(why, size);
	return false;
}

enum wire_got
wire_next(struct wire *w, size_t budget, struct redis_value **reply, struct arena **arena, char *why, size_t size)
{
	void *value = NULL;
	w->sink.budget = budget;
	if (redisGetReplyFromReader(w->context, &value) != REDIS_OK) {
		snprintf(why, size, "%s", w->context->errstr);
		return WIRE_NONSENSE;
	}
	if (value == NULL)
		return WIRE_NONE;
	*reply = value;
	*arena = w->sink.arena;
	w->sink = (struct reply_sink){ .arena = NULL };
	return WIRE_REPLY;
}

bool
wire_is_absurd(const struct wire *w, size_t most)
{
	const redisReader *reader = w->context->reader;
	size_t waiting = reader->len - reader->pos;
	const char *line = reader->buf + reader->pos;
	if (waiting <= LINE_MAX_BYTES)
		return false;
	return waiting > most || memchr(line, '\n', LINE_MAX_BYTES) == NULL || strtoull(line, NULL, 10) > most;
}
