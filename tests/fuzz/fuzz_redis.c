/* A hostile or broken Redis: any bytes, in any pieces, to the whole link and to everything that a list as a source asks. Every question gets one
 * answer, however the server ends, and an answer that is taken is what its struct says.
 *
 * The first byte of an input says whether the login is answered as it should be, the second what is asked behind it; 0xff ends a piece of the rest.
 */
#include "fuzz.h"

#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arena.h"
#include "check.h"
#include "config.h"
#include "source_list.h"
#include <hiredis/hiredis.h> /* behind ours, whose names it would replace */

#define PIECE_END 0xff
#define PASSES_MAX 50
#define ITEMS 3

/* What a server says to a login: CLIENT SETNAME, INFO, PING. */
static const char login[] = "+OK\r\n$37\r\n# Server\r\nredis_version:7.0.15\r\nx:1\r\n\r\n+PONG\r\n";

/* One run, and what all share. */
static struct {
	struct event_base *base;
	int server;                 /* its end of the connection; -1: none yet */
	struct redis *link;
	struct source_list *source;
	uint8_t asks;               /* bit i: the i-th of `questions` */
	unsigned asked, answered;
	volatile char seen;
} run;

/* Stands in for hiredis's: the other end is ours. There is one connection a run, however long the run takes. */
redisContext *
redisConnectUnixNonBlock(const char *path)
{
	int ends[2];
	(void)path;
	if (run.server >= 0)
		return NULL;
	ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	run.server = ends[1];
	redisContext *context = redisConnectFd(ends[0]);
	ASSERT(context != NULL);
	context->flags &= ~REDIS_BLOCK;
	return context;
}

/* What every answer must be, whatever came. */
static void
check(enum redis_class class, const char *why)
{
	run.answered++;
	ASSERT(run.answered <= run.asked);
	ASSERT(why != NULL && (class == REDIS_OK || why[0] != '\0'));
	ASSERT(class <= REDIS_SETUP);
}

static void
on_lease(void *arg, const struct source_lease *r)
{
	(void)arg;
	check(r->class, r->why);
	ASSERT(r->class != REDIS_OK || (r->holder != NULL && r->generation != NULL));
}

static void
on_own(void *arg, const struct source_own *r)
{
	(void)arg;
	check(r->class, r->why);
	if (r->class == REDIS_OK && !r->refused) /* it becomes part of SQL texts */
		ASSERT(r->generation[0] != '\0' && strlen(r->generation) <= 32 && strpbrk(r->generation, "'\"\\; ") == NULL);
}

static void
on_peek(void *arg, const struct source_peek *r)
{
	(void)arg;
	check(r->class, r->why);
	for (size_t i = 0; r->class == REDIS_OK && i < r->n; i++) {
		for (size_t k = 0; k < r->items[i].len + ARENA_PADDING; k++)
			run.seen ^= r->items[i].text[k]; /* the sanitizer sees whether it may be read */
	}
}

static void
on_settle(void *arg, const struct source_settled *r)
{
	(void)arg;
	check(r->class, r->why);
	ASSERT(r->status <= SOURCE_FULL);
}

static void
on_length(void *arg, const struct source_length *r)
{
	(void)arg;
	check(r->class, r->why);
}

static void
on_wait(void *arg, const struct source_wait *r)
{
	(void)arg;
	check(r->class, r->why);
}

static void
on_release(void *arg, const struct source_release *r)
{
	(void)arg;
	check(r->class, r->why);
}

static void
ask_settle(void)
{
	static const struct source_sample sample = { 0, 3, "abc", "abc" };
	static const struct source_text dead = { "{}", 2 };
	struct source_settle settle = { .epoch = 1, .settled = 0, .remove = 1, .advance = 1, .samples = &sample, .n_samples = 1, .dead = &dead, .n_dead = 1,
		.dead_max = 10, .ttl_ms = 1000 };
	source_list_settle(run.source, &settle, on_settle, NULL);
}

/* Everything that can be asked, in the order in which a queue does. */
static void
ask(void)
{
	run.asked += (unsigned)__builtin_popcount(run.asks);
	if (run.asks & 1)
		source_list_lease(run.source, 1000, 0, on_lease, NULL);
	if (run.asks & 2)
		source_list_own(run.source, &(struct source_claim){ .epoch = 1, .new_generation = "00" }, on_own, NULL);
	if (run.asks & 4)
		source_list_peek(run.source, 1, ITEMS, 0, on_peek, NULL);
	if (run.asks & 8)
		source_list_peek(run.source, 0, ITEMS, 4, on_peek, NULL); /* a second try may follow */
	if (run.asks & 16)
		ask_settle();
	if (run.asks & 32)
		source_list_length(run.source, on_length, NULL);
	if (run.asks & 64) {
		run.asked++;
		source_list_wait(run.source, 1, on_wait, NULL);
		source_list_look(run.source, 1, ITEMS, 4, on_peek, NULL);
	}
	if (run.asks & 128)
		source_list_release(run.source, 1, on_release, NULL);
}

static void
on_up(void *arg)
{
	(void)arg;
	ask();
}

static void
on_down(void *arg, enum redis_class class, const char *why)
{
	(void)arg;
	ASSERT(class != REDIS_OK && why[0] != '\0');
	ASSERT(run.answered == run.asked);
	ASSERT(!redis_is_up(run.link));
}

static void
pass(void)
{
	event_base_loop(run.base, EVLOOP_NONBLOCK);
}

static void
say(const void *text, size_t n)
{
	if (n > 0)
		(void)!send(run.server, text, n, MSG_NOSIGNAL);
	pass();
}

/* A link that has connected and logs in. */
static void
start(int pop)
{
	static const struct redis_config config = { .connect_timeout = 3600, .command_timeout = 3600, .address.unix_path = (char *)(uintptr_t)"/redis" };
	static const struct redis_events events = { on_up, on_down };
	if (run.base == NULL)
		run.base = event_base_new();
	ASSERT(run.base != NULL);
	run.server = -1;
	run.asked = run.answered = 0;
	run.link = redis_open(run.base, &config, "fuzz", &events, NULL);
	run.source = source_list_new(run.link, run.link, "orders", pop, "{orders}:dead", "a 1", "b");
	for (unsigned i = 0; i < PASSES_MAX && run.server < 0; i++)
		pass();
	pass();
	ASSERT(run.server >= 0);
}

/* The server goes away: whatever was asked must have been answered when the link sees that. */
static void
end(void)
{
	shutdown(run.server, SHUT_WR);
	for (unsigned i = 0; i < PASSES_MAX && (redis_is_up(run.link) || run.answered < run.asked); i++)
		pass();
	ASSERT(run.answered == run.asked);
	source_list_free(&run.source);
	redis_close(&run.link);
	close(run.server);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t how = input_byte(&in);
	run.asks = input_byte(&in);
	start(how & 1 ? POP_LEFT : POP_RIGHT);
	if (!(how & 2)) {
		say(login, sizeof login - 1);
		ASSERT(redis_is_up(run.link));
	}
	while (in.left > 0) {
		struct input piece = input_piece(&in, PIECE_END);
		say(piece.at, piece.left);
	}
	if (how & 4) { /* gone in the middle, with answers owed */
		source_list_free(&run.source);
		run.asked = run.answered;
		run.source = source_list_new(run.link, run.link, "orders", POP_RIGHT, "{orders}:dead", "a 1", "b");
	}
	end();
	return 0;
}
