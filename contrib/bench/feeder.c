/* Fills a list with orders, as fast as Redis takes them:
 *
 *   feeder -s SOCKET [-k KEY] -n ORDERS [-f FIRST] [-c COLUMNS] [-b BYTES] [-x BAD_EVERY] [-r REPEAT_EVERY]
 */
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "buf.h"
#include "order.h"

enum { CHUNK = 500 }; /* orders a LPUSH */

/* What the command line says. */
struct feeder {
	const char *socket, *key;
	unsigned orders, first;
	struct order_shape shape;
};

static bool
read_options(struct feeder *f, int argc, char **argv)
{
	for (int option; (option = getopt(argc, argv, "s:k:n:f:c:b:x:r:")) != -1;) {
		unsigned number = optarg != NULL ? (unsigned)strtoul(optarg, NULL, 10) : 0;
		switch (option) {
		case 's': f->socket = optarg; break;
		case 'k': f->key = optarg; break;
		case 'n': f->orders = number; break;
		case 'f': f->first = number; break;
		case 'c': f->shape.columns = number; break;
		case 'b': f->shape.bytes = number; break;
		case 'x': f->shape.bad_every = number; break;
		case 'r': f->shape.repeat_every = number; break;
		default: return false;
		}
	}
	return f->socket != NULL && f->orders > 0 && f->first > 0 && optind == argc;
}

/* One LPUSH of n orders. False: Redis refused. */
static bool
push(const struct feeder *f, redisContext *redis, unsigned first, unsigned n, struct buf *texts)
{
	const char *words[CHUNK + 2] = { "LPUSH", f->key };
	size_t lengths[CHUNK + 2] = { 5, strlen(f->key) }, offsets[CHUNK + 1];

	ASSERT(n <= CHUNK);
	buf_reset(texts);
	for (unsigned i = 0; i < n; i++) {
		offsets[i] = texts->len;
		order_write(&f->shape, first + i, texts);
	}
	offsets[n] = texts->len;
	for (unsigned i = 0; i < n; i++) {
		words[i + 2] = texts->data + offsets[i];
		lengths[i + 2] = offsets[i + 1] - offsets[i];
	}
	redisReply *reply = redisCommandArgv(redis, (int)n + 2, words, lengths);
	bool ok = reply != NULL && reply->type == REDIS_REPLY_INTEGER;
	if (!ok)
		fprintf(stderr, "feeder: %s\n", reply != NULL ? reply->str : redis->errstr);
	if (reply != NULL)
		freeReplyObject(reply);
	return ok;
}

int
main(int argc, char **argv)
{
	struct feeder f = { .key = "orders", .first = 1, .shape = { .columns = 8 } };
	struct buf texts = BUF_INIT;

	if (!read_options(&f, argc, argv)) {
		fputs("usage: feeder -s SOCKET [-k KEY] -n ORDERS [-f FIRST] [-c COLUMNS] [-b BYTES] [-x BAD_EVERY] [-r REPEAT_EVERY]\n", stderr);
		return 64;
	}
	redisContext *redis = xchecked(redisConnectUnix(f.socket));
	bool ok = redis->err == 0;
	if (!ok)
		fprintf(stderr, "feeder: %s: %s\n", f.socket, redis->errstr);
	for (unsigned done = 0; ok && done < f.orders; done += CHUNK)
		ok = push(&f, redis, f.first + done, f.orders - done < CHUNK ? f.orders - done : CHUNK, &texts);
	redisFree(redis);
	buf_free(&texts);
	return ok ? 0 : 1;
}
