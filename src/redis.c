/* One Redis connection. A failure, wherever it is seen, goes through link_drop() and is dealt with in one place, on_timer(). */
#include "redis.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>

#include "arena.h"
#include "aside.h"
#include "buf.h"
#include "check.h"
#include "config.h"
#include "list.h"
#include "redis_reply.h"
#include "redis_wire.h"
#include "resolve.h"

#define BACKOFF_MIN_MS 100u
#define BACKOFF_MAX_MS 5000u
#define WHY_MAX 512
#define LOGIN_MAX ((size_t)1024 * 1024) /* bytes of an answer to the login */

/*        timer: wait is over             socket connected              login answered
 * WAITING -----------------> CONNECTING ------------------> LOGIN ------------------> UP
 *    ^                           |         \                ^ |                        |
 *    |                           |          +---> TLS ------+ |                        |
 *    |                           |  rediss://      | hands    |                        |
 *    |                           |                 | shaken   |                        |
 *    +---------------------------+-----------------+- link_lose() ---------------------+
 */
enum link_state { LINK_WAITING, LINK_CONNECTING, LINK_TLS, LINK_LOGIN, LINK_UP };

/* A command that is sent and not answered yet. */
struct command {
	struct list node;                  /* in redis.commands, in the order sent */
	redis_reply_fn *reply;             /* who wants the answer */
	void *arg;                         /* its first argument */
	unsigned timeout_s;                /* the server may take so long */
	size_t budget;                     /* bytes of strings to keep; 0: all */
};

struct redis {
	struct event_base *base;
	const struct redis_config *config; /* outlives us */
	const struct redis_events *events; /* outlives us */
	void *arg;                         /* for events */
	char *name;                        /* for CLIENT SETNAME; owned */
	enum link_state state;
	struct list commands;              /* struct command; empty while WAITING */
	struct aside *resolve;             /* CONNECTING: the host's name is looked up; NULL: not now */
	char *addresses;                   /* CONNECTING: what it stands for; NULL: it is no name. Owned */
	char *rest;                        /* of them, those not tried yet, separated by commas; NULL: none */
	unsigned turn;                     /* attempts since the link was up: each begins with another address */
	struct wire *wire;                 /* NULL while WAITING, and while that is looked up; owned */
	struct event *readable;            /* NULL while WAITING */
	struct event *writable;            /* made active by hand once a loop pass: what was queued meanwhile is written at once. NULL while WAITING */
	struct event *timer;               /* WAITING: connect now. CONNECTING, LOGIN: too slow. UP: the oldest command is too slow */
	enum redis_class drop;             /* other than REDIS_OK: the connection is of no use, on_timer() will drop it */
	char why[WHY_MAX];                 /* for drop */
	char where[160];                   /* "unix:///path" or "redis://host:port", for messages */
	char version[32];                  /* of the server */
	unsigned backoff_ms;               /* longest wait before the next attempt */
	time_t up_since;                   /* monotonic s */
	bool running;                      /* in one of our event callbacks: redis_close() must leave the struct to it */
	bool closed;                       /* redis_close() was called meanwhile */
};

static time_t
monotonic_s(void)
{
	struct timespec now;
	ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
	return now.tv_sec;
}

/* Gives the connection up; the first reason counts. Nothing is called from here, so it may be used anywhere. */
static void PRINTF_LIKE(3, 4)
link_drop(struct redis *r, enum redis_class class, const char *fmt, ...)
{
	ASSERT(class != REDIS_OK && r->state != LINK_WAITING);
	if (r->drop != REDIS_OK)
		return;
	r->drop = class;
	va_list args;
	va_start(args, fmt);
	vsnprintf(r->why, sizeof r->why, fmt, args);
	va_end(args);
	event_active(r->timer, EV_TIMEOUT, 1);
}

static void
link_timer(struct redis *r, unsigned ms)
{
	struct timeval wait = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };
	ASSERT(event_add(r->timer, &wait) == 0);
}

static struct command *
oldest(struct redis *r)
{
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) link_lose() takes a command off the list before it frees it */
	return list_empty(&r->commands) ? NULL : LIST_OWNER(r->commands.next, struct command, node);
}

/* The timer watches the oldest command only: answers come in order, so it is the one that keeps the others waiting. */
static void
watch_oldest(struct redis *r)
{
	if (r->state != LINK_UP || r->drop != REDIS_OK || r->closed)
		return;
	const struct command *c = oldest(r);
	if (c == NULL)
		event_del(r->timer);
	else
		link_timer(r, c->timeout_s * 1000);
}

static void
command_free(struct command *c)
{
	ASSERT(list_empty(&c->node));
	free(c);
}

static struct command *
command_new(const struct redis *r, redis_reply_fn *reply, void *arg, unsigned timeout_s, size_t budget)
{
	ASSERT(reply != NULL);
	struct command *c = xcalloc(1, sizeof *c);
	list_init(&c->node);
	c->reply = reply;
	c->arg = arg;
	c->timeout_s = timeout_s > 0 ? timeout_s : r->config->command_timeout;
	c->budget = budget;
	return c;
}

/* Queues the words to be written in this pass of the loop, and the command to wait for its answer. */
static void
send_words(struct redis *r, struct command *c, int argc, const char *const *words, const size_t *lens)
{
	ASSERT(r->state >= LINK_LOGIN);
	bool first = list_empty(&r->commands);
	wire_add(r->wire, argc, words, lens);
	list_append(&r->commands, &c->node);
	event_active(r->writable, EV_WRITE, 1);
	if (first)
		watch_oldest(r);
}

/* A sentence for the log. What follows "with args" in some errors quotes the command, perhaps a password or a payload. */
static void
explain(const struct redis *r, const struct redis_value *error, const char *advice, char why[WHY_MAX])
{
	const char *quote = strstr(error->text, ", with args");
	int len = quote != NULL ? (int)(quote - error->text) : 240;
	snprintf(why, WHY_MAX, "Redis at %s says: %.*s%s%s", r->where, len > 240 ? 240 : len, error->text, advice == NULL ? "" : "; ",
	    advice == NULL ? "" : advice);
}

static void
command_answer(struct redis *r, struct command *c, const struct redis_value *reply, struct arena *arena)
{
	list_remove(&c->node);
	char why[WHY_MAX] = "";
	const char *advice;
	enum redis_class class = reply_class(reply, &advice);
	if (class != REDIS_OK)
		explain(r, reply, advice, why);
	c->reply(c->arg, class, reply, arena, why);
	command_free(c);
	if (class == REDIS_READONLY && !r->closed)
		link_drop(r, class, "%s", why);
}

/* Hands out the replies that are complete. Is there time again for the next one? */
static bool
answer_all(struct redis *r)
{
	bool answered = false;
	while (!r->closed && r->drop == REDIS_OK) {
		struct command *c = oldest(r);
		struct redis_value *reply;
		struct arena *arena;
		char why[WHY_MAX / 2];
		enum wire_got got = wire_next(r->wire, c == NULL ? 0 : c->budget, &reply, &arena, why, sizeof why);
		if (got == WIRE_NONE)
			break;
		if (got == WIRE_NONSENSE) {
			link_drop(r, REDIS_LOST, "Redis at %s sent what is no Redis protocol, or far too much (%s); is url right?", r->where, why);
		} else if (c == NULL) {
			link_drop(r, REDIS_LOST, "Redis at %s sent an answer to no question; is url right?", r->where);
			arena_unref(&arena);
		} else {
			command_answer(r, c, reply, arena);
			arena_unref(&arena);
			answered = true;
		}
	}
	return answered;
}

/* Reads what has come, then answers; an error or the end of the stream counts only after what came before it: it may say why. */
static void
receive(struct redis *r)
{
	char why[WHY_MAX / 2];
	bool ok = wire_read(r->wire, why, sizeof why);
	if (answer_all(r))
		watch_oldest(r);
	if (r->closed)
		return;
	if (!ok)
		link_drop(r, REDIS_LOST, "Redis at %s closed the connection (%s)", r->where, why);
	else if (r->drop == REDIS_OK && wire_is_absurd(r->wire, r->state == LINK_LOGIN ? LOGIN_MAX : REPLY_MAX))
		link_drop(r, REDIS_LOST, "Redis at %s sends a string longer than any Redis has; is url right?", r->where);
}

static void
link_free(struct redis *r);

/* Brackets of every event callback. */
static void
enter(struct redis *r)
{
	ASSERT(!r->running && !r->closed);
	r->running = true;
}

static void
leave(struct redis *r)
{
	ASSERT(r->running);
	r->running = false;
	if (r->closed)
		link_free(r);
}

/* Login: AUTH, CLIENT SETNAME, SELECT, INFO and PING go out together; the answer to the last makes the link usable. */

/* To a step without which the link is of no use. */
static void
login_must(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	(void)reply, (void)arena;
	struct redis *r = arg;
	if (class != REDIS_OK && r->state == LINK_LOGIN)
		link_drop(r, class, "%s", why);
}

/* To a step that an ACL may forbid, or an old server may not know. */
static void
login_may(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	const char *advice;
	if (class == REDIS_OK || reply == NULL || reply_is_error(reply, "NOPERM"))
		return;
	(void)reply_class(reply, &advice);
	if (advice != NULL)
		login_must(arg, class, reply, arena, why);
}

static void
login_info(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct redis *r = arg;
	static const char field[] = "redis_version:";
	login_may(arg, class, reply, arena, why);
	const char *at = class == REDIS_OK && reply->type == REDIS_STRING ? strstr(reply->text, field) : NULL;
	if (at == NULL)
		return;
	at += sizeof field - 1;
	snprintf(r->version, sizeof r->version, "%.*s", (int)strspn(at, "0123456789."), at);
}

static void
login_last(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct redis *r = arg;
	login_may(arg, class, reply, arena, why);
	if (r->state != LINK_LOGIN || r->drop != REDIS_OK)
		return;
	ASSERT(list_empty(&r->commands));
	r->state = LINK_UP;
	r->up_since = monotonic_s();
	event_del(r->timer);
	r->events->up(r->arg);
}

static void
login(struct redis *r)
{
	const struct redis_address *a = &r->config->address;
	const char *password = r->config->password == NULL ? "" : r->config->password;
	char db[16];
	snprintf(db, sizeof db, "%u", a->db);
	r->state = LINK_LOGIN;
	r->version[0] = '\0';
#define LOGIN(reply, ...) \
	do { \
		const char *const words[] = { __VA_ARGS__ }; \
		send_words(r, command_new(r, reply, r, 0, 0), (int)(sizeof words / sizeof words[0]), words, NULL); \
	} while (0)
	if (a->user != NULL)
		LOGIN(login_must, "AUTH", a->user, password);
	else if (password[0] != '\0')
		LOGIN(login_must, "AUTH", password);
	LOGIN(login_may, "CLIENT", "SETNAME", r->name);
	if (a->db != 0)
		LOGIN(login_must, "SELECT", db);
	LOGIN(login_info, "INFO", "server");
	/* PING tells what the others do not: LOADING, MASTERDOWN, BUSY. */
	LOGIN(login_last, "PING");
#undef LOGIN
}

/* A step of the TLS handshake; the login follows it. */
static void
shake_hands(struct redis *r)
{
	char why[WHY_MAX / 2];
	switch (wire_shake_hands(r->wire, why, sizeof why)) {
	case REDIS_TLS_DONE:
		login(r);
		break;
	case REDIS_TLS_READ:
		break;
	case REDIS_TLS_WRITE:
		ASSERT(event_add(r->writable, NULL) == 0);
		break;
	case REDIS_TLS_FAILED:
		link_drop(r, REDIS_SETUP, "Redis at %s: %s", r->where, why);
	}
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct redis *r = arg;
	(void)fd, (void)what;
	if (r->drop != REDIS_OK)
		return;
	enter(r);
	if (r->state == LINK_TLS)
		shake_hands(r);
	else
		receive(r);
	leave(r);
}

static void
connected(struct redis *r)
{
	ASSERT(event_add(r->readable, NULL) == 0);
	r->state = LINK_TLS;
	shake_hands(r);
}

/* Writes what is queued. False: it cannot be. */
static bool
send_queued(struct redis *r)
{
	enum wire_sent sent = wire_write(r->wire);
	if (sent == WIRE_MORE)
		ASSERT(event_add(r->writable, NULL) == 0);
	return sent != WIRE_BROKEN;
}

static void
link_open(struct redis *r, const char *numeric);

/* This address refuses us: perhaps the host has another, as localhost has ::1 and 127.0.0.1. */
static void
refused(struct redis *r, int error, const char *text)
{
	if (r->rest != NULL)
		link_open(r, strsep(&r->rest, ","));
	else
		link_drop(r, REDIS_LOST, "Redis at %s refuses the connection (%s): %s", r->where, text, connect_advice(error));
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct redis *r = arg;
	(void)what;
	if (r->drop != REDIS_OK)
		return;
	enter(r);
	int error = 0;
	socklen_t len = sizeof error;
	if (r->state == LINK_CONNECTING) {
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
			error = errno;
		if (error != 0)
			refused(r, error, strerror(error));
		else
			connected(r);
	} else if (r->state == LINK_TLS) {
		shake_hands(r);
	} else if (!send_queued(r)) {
		receive(r); /* the server may have said why before it closed */
		if (!r->closed)
			link_drop(r, REDIS_LOST, "Redis at %s closed the connection", r->where);
	}
	leave(r);
}

static void
describe(struct redis *r)
{
	const struct redis_address *a = &r->config->address;
	if (a->unix_path != NULL)
		snprintf(r->where, sizeof r->where, "unix://%s", a->unix_path);
	else
		snprintf(r->where, sizeof r->where, "redis%s://%s:%u", a->tls ? "s" : "", a->host, a->port);
}

/* Lets go of the socket before it is closed. */
static void
forget_socket(struct redis *r)
{
	if (r->readable != NULL)
		event_free(r->readable);
	if (r->writable != NULL)
		event_free(r->writable);
	r->readable = r->writable = NULL;
}

/* To the path, or to the host of this numeric address. */
static void
link_open(struct redis *r, const char *numeric)
{
	ASSERT(r->state == LINK_CONNECTING);
	char why[WHY_MAX / 2];
	int error;
	forget_socket(r);
	if (!wire_connect(r->wire, &r->config->address, numeric, &error, why, sizeof why)) {
		refused(r, error, why);
		return;
	}
	r->readable = event_new(r->base, wire_fd(r->wire), EV_READ | EV_PERSIST, on_readable, r);
	r->writable = event_new(r->base, wire_fd(r->wire), EV_WRITE, on_writable, r);
	ASSERT(r->readable != NULL && r->writable != NULL);
	ASSERT(event_add(r->writable, NULL) == 0);
}

static void
on_resolved(void *arg, const char *addresses, const char *why)
{
	struct redis *r = arg;
	r->resolve = NULL;
	if (r->drop != REDIS_OK)
		return;
	if (addresses == NULL) {
		link_drop(r, REDIS_LOST, "Redis at %s: the host's address cannot be found: %s", r->where, why);
		return;
	}
	r->rest = r->addresses = resolve_from(addresses, r->turn);
	link_open(r, strsep(&r->rest, ","));
}

static void
link_connect(struct redis *r)
{
	ASSERT(r->state == LINK_WAITING && r->wire == NULL && list_empty(&r->commands));
	const struct redis_address *a = &r->config->address;
	r->state = LINK_CONNECTING;
	describe(r);
	link_timer(r, r->config->connect_timeout * 1000);
	char why[WHY_MAX / 2];
	if ((r->wire = wire_new(r->config, why, sizeof why)) == NULL) {
		link_drop(r, REDIS_SETUP, "Redis at %s: %s", r->where, why);
		return;
	}
	if (a->unix_path != NULL && strlen(a->unix_path) >= sizeof ((struct sockaddr_un *)0)->sun_path) {
		link_drop(r, REDIS_SETUP, "Redis at %s: the path is too long for a socket; use a shorter one", r->where);
		return;
	}
	if (a->unix_path != NULL || resolve_is_needless(a->host))
		link_open(r, a->unix_path != NULL ? NULL : a->host);
	else if ((r->resolve = resolve_start(r->base, a->host, on_resolved, r)) == NULL)
		link_drop(r, REDIS_LOST, "Redis at %s: cannot start a thread to look its name up in: %s", r->where, strerror(errno));
}

static void
link_disconnect(struct redis *r)
{
	aside_abandon(&r->resolve);
	forget_socket(r);
	wire_free(&r->wire);
	free(r->addresses);
	r->addresses = r->rest = NULL;
	r->state = LINK_WAITING;
}

/* Spread, so that many daemons do not come back to a restarted server in one moment. */
static void
link_backoff(struct redis *r)
{
	uint32_t random;
	evutil_secure_rng_get_bytes(&random, sizeof random);
	unsigned half = r->backoff_ms / 2;
	link_timer(r, half + random % (half + 1));
	r->backoff_ms = r->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : r->backoff_ms * 2;
}

/* Drops the connection: everybody who waits is told, then the owner. */
static void
link_lose(struct redis *r)
{
	enum redis_class class = r->drop;
	ASSERT(class != REDIS_OK && r->state != LINK_WAITING);
	/* A server that takes connections and breaks them at once is no reason to hurry. */
	if (r->state == LINK_UP && monotonic_s() - r->up_since >= (time_t)(BACKOFF_MAX_MS / 1000))
		r->backoff_ms = BACKOFF_MIN_MS;
	if (r->state != LINK_UP)
		r->turn++;
	link_disconnect(r);
	r->drop = REDIS_OK;
	link_backoff(r);
	for (struct command *c; !r->closed && (c = oldest(r)) != NULL; command_free(c)) {
		list_remove(&c->node);
		c->reply(c->arg, REDIS_LOST, NULL, NULL, r->why);
	}
	if (!r->closed)
		r->events->down(r->arg, class, r->why);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct redis *r = arg;
	(void)fd, (void)what;
	enter(r);
	if (r->state == LINK_WAITING) {
		link_connect(r);
	} else {
		const struct command *late = oldest(r);
		ASSERT(late != NULL || r->drop != REDIS_OK || r->state != LINK_UP);
		if (r->drop == REDIS_OK && r->state == LINK_UP)
			link_drop(r, REDIS_LOST, "Redis at %s has not answered within %u s; is it hanging, is command_timeout too short?", r->where,
			    late->timeout_s);
		else if (r->drop == REDIS_OK)
			link_drop(r, REDIS_LOST, "Redis at %s has not let us in within %u s (connect_timeout); is it hanging?", r->where,
			    r->config->connect_timeout);
		link_lose(r);
	}
	leave(r);
}

struct redis *
redis_open(struct event_base *base, const struct redis_config *config, const char *name, const struct redis_events *events, void *arg)
{
	struct redis *r = xcalloc(1, sizeof *r);
	r->base = base;
	r->config = config;
	r->events = events;
	r->arg = arg;
	r->name = xstrdup(name);
	r->backoff_ms = BACKOFF_MIN_MS;
	list_init(&r->commands);
	r->timer = event_new(base, -1, 0, on_timer, r);
	ASSERT(r->timer != NULL);
	link_timer(r, 0);
	return r;
}

static void
link_free(struct redis *r)
{
	ASSERT(r->closed && !r->running);
	for (struct command *c; (c = oldest(r)) != NULL; command_free(c))
		list_remove(&c->node);
	link_disconnect(r);
	event_free(r->timer);
	free(r->name);
	free(r);
}

void
redis_close(struct redis **redis)
{
	struct redis *r = *redis;
	*redis = NULL;
	if (r == NULL)
		return;
	ASSERT(!r->closed);
	r->closed = true;
	if (!r->running)
		link_free(r);
}

bool
redis_is_up(const struct redis *r)
{
	return r->state == LINK_UP;
}

void
redis_command(struct redis *r, int argc, const char *const *words, const size_t *lens, unsigned timeout_s, size_t budget, redis_reply_fn *reply,
    void *arg)
{
	ASSERT(r->state == LINK_UP && !r->closed);
	send_words(r, command_new(r, reply, arg, timeout_s, budget), argc, words, lens);
}

static void
forget(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	(void)arg, (void)class, (void)reply, (void)arena, (void)why;
}

void
redis_forget(struct redis *r, const void *arg)
{
	LIST_EACH (&r->commands, node) {
		struct command *c = LIST_OWNER(node, struct command, node);
		if (c->arg == arg)
			c->reply = forget;
	}
}

void
redis_reconnect(struct redis *r)
{
	ASSERT(!r->closed);
	r->backoff_ms = BACKOFF_MIN_MS;
	if (r->state == LINK_WAITING)
		link_timer(r, 0);
	else
		link_drop(r, REDIS_LOST, "Redis at %s: connecting again, as asked", r->where);
}

void
redis_configure(struct redis *r, const struct redis_config *config)
{
	ASSERT(!r->closed);
	r->config = config;
}

const char *
redis_version(const struct redis *r)
{
	return r->version;
}
