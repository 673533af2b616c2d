/* The stats port: any bytes, in any pieces, from a client that reads nothing before it has said all. Every connection ends, with an answer that is
 * whole and well-formed or with none, and whatever is sent costs no more memory than the bounds in httpd.c allow.
 *
 * In an input 0xff ends a piece: the server sees what came so far. 0xfe ends one that is sent many times, once in an input.
 */
#define _GNU_SOURCE
#include "fuzz.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"
#include "httpd.h"
#include "stats.h"

#define PIECE_END 0xff
#define PIECE_MANY 0xfe
#define MANY_BYTES (20 * 1024) /* of such a piece in all: more than any bound of httpd.c */
#define MEMORY_MAX (320 * 1024) /* bytes that one connection may cost: 8 kB of headers of one byte, each of which takes 34, and what waits */
#define PASSES_LONG 12          /* for a long piece */
#define PASSES_MAX 100          /* of the loop, until a connection that is told nothing more is closed */


/* The server, made once. */
static struct {
	struct event_base *base;
	struct httpd *httpd;
	struct evconnlistener *listener; /* of httpd */
	evconnlistener_cb accepted;      /* evhttp's: a new connection */
	void *arg;                       /* its last argument */
	size_t memory;                   /* bytes that libevent has now */
} server;

/* Stands in for libevent's: a listener on a port that nobody knows. */
struct evhttp_bound_socket *
evhttp_bind_socket_with_handle(struct evhttp *http, const char *address, ev_uint16_t port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	(void)address, (void)port;
	server.listener = evconnlistener_new_bind(server.base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE, 1, (struct sockaddr *)&any, sizeof any);
	ASSERT(server.listener != NULL);
	return evhttp_bind_listener(http, server.listener);
}

/* Stands in for libevent's: evhttp says whom to call with a connection, and we have our own. */
void
evconnlistener_set_cb(struct evconnlistener *listener, evconnlistener_cb accepted, void *arg)
{
	ASSERT(listener == server.listener);
	server.accepted = accepted;
	server.arg = arg;
}

/* The pages, of a daemon that is not there. */

void
stats_metrics(const struct daemon_view *daemon, struct buf *out)
{
	(void)daemon;
	buf_adds(out, "sluice_up 1\n");
}

bool
stats_json(const struct daemon_view *daemon, const char *queue, bool history, struct buf *out)
{
	(void)daemon, (void)history;
	buf_adds(out, "{}");
	return queue == NULL || strcmp(queue, "orders") == 0;
}

void
stats_text(const struct daemon_view *daemon, struct buf *out)
{
	(void)daemon;
	buf_adds(out, "QUEUE  STATE\n");
}

bool
stats_table(const struct daemon_view *daemon, const char *table, struct buf *out)
{
	stats_text(daemon, out);
	return strcmp(table, "queues") == 0;
}

bool
stats_ready(const struct daemon_view *daemon, struct buf *why)
{
	(void)daemon;
	buf_adds(why, "database shop: not connected yet\n");
	return false;
}

/* libevent's memory: each block has its size before it, in place of max_align_t. */

static void *
count_realloc(void *p, size_t size)
{
	size_t *block = p == NULL ? NULL : (size_t *)p - 2;
	server.memory -= block == NULL ? 0 : *block;
	block = xrealloc(block, size + 2 * sizeof *block);
	server.memory += *block = size;
	return block + 2;
}

static void *
count_malloc(size_t size)
{
	return count_realloc(NULL, size);
}

static void
count_free(void *p)
{
	size_t *block = (size_t *)p - 2;
	if (p == NULL)
		return;
	server.memory -= *block;
	free(block);
}

static void
quiet(int severity, const char *text)
{
	(void)severity, (void)text;
}

static void
start(void)
{
	event_set_mem_functions(count_malloc, count_realloc, count_free);
	event_set_log_callback(quiet);
	server.base = event_base_new();
	ASSERT(server.base != NULL);
	server.httpd = httpd_new(server.base, "127.0.0.1:1", (const struct daemon_view *)(const void *)&server);
	ASSERT(server.httpd != NULL && server.accepted != NULL);
}

/* The client's end of a new connection. */
static int
visit(void)
{
	int ends[2];
	struct sockaddr_in client = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(1) };
	ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	server.accepted(server.listener, ends[0], (struct sockaddr *)&client, sizeof client, server.arg);
	return ends[1];
}

static void
pass(void)
{
	event_base_loop(server.base, EVLOOP_NONBLOCK);
}

/* Sends a piece, that often, and lets the server see it. */
static void
say_piece(int fd, const uint8_t *text, size_t n, unsigned times, size_t memory)
{
	struct buf all = BUF_INIT;
	for (unsigned i = 0; i < times; i++)
		buf_add(&all, (const char *)text, n);
	(void)!send(fd, all.data, all.len, MSG_NOSIGNAL);
	buf_free(&all);
	for (unsigned i = 0; i < (times > 1 ? PASSES_LONG : 1); i++) {
		pass();
		ASSERT((ptrdiff_t)(server.memory - memory) < MEMORY_MAX); /* what was there before may have gone */
	}
}

/* Sends all pieces; a server that does not listen any more is no error. Was it HEAD? */
static bool
say(int fd, struct input in, size_t memory)
{
	struct buf first = BUF_INIT; /* the first bytes said */
	bool repeated = false;
	while (in.left > 0) {
		size_t n = 0;
		while (n < in.left && in.at[n] != PIECE_END && in.at[n] != PIECE_MANY)
			n++;
		bool repeat = n > 0 && n < in.left && in.at[n] == PIECE_MANY && !repeated;
		repeated = repeated || repeat;
		if (n > 0)
			say_piece(fd, in.at, n, repeat ? (unsigned)(MANY_BYTES / n) : 1, memory);
		if (first.len < 4)
			buf_add(&first, (const char *)in.at, n);
		in.at += n + (n < in.left);
		in.left -= n + (n < in.left);
	}
	bool head = first.len >= 4 && memcmp(first.data, "HEAD", 4) == 0;
	buf_free(&first);
	return head;
}

/* All that the server says until it closes, which it must. */
static void
listen_to(int fd, struct buf *out)
{
	for (unsigned passes = 0;;) {
		ssize_t n = recv(fd, buf_reserve(out, 4096), 4096, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return;
		if (n > 0)
			out->len += (size_t)n;
		else
			pass();
		ASSERT(passes++ < PASSES_MAX);
	}
}

/* Headers of an answer up to the empty line; returns the body. */
static const char *
check_head(const char *text)
{
	int major, minor, status, n = 0;
	ASSERT(sscanf(text, "HTTP/%d.%d %3d %n", &major, &minor, &status, &n) == 3 && n > 0);
	ASSERT(status >= 100 && status < 600);
	const char *at = strstr(text, "\r\n");
	for (ASSERT(at != NULL), at += 2; strncmp(at, "\r\n", 2) != 0; at = strstr(at, "\r\n") + 2) {
		size_t name = strcspn(at, ":\r\n"), line = strcspn(at, "\r\n");
		ASSERT(name > 0 && at[name] == ':' && strncmp(at + line, "\r\n", 2) == 0);
	}
	return at + 2;
}

static void
check_answer(struct buf *answer, bool head_only)
{
	if (answer->len == 0)
		return;
	const char *text = buf_cstr(answer), *body = check_head(text), *length = strcasestr(text, "\r\nContent-Length: ");
	size_t rest = answer->len - (size_t)(body - text);
	if (strncmp(body, "HTTP/", 5) == 0) { /* behind 100 Continue */
		struct buf second = { answer->data + (body - text), rest, rest + 1 };
		ASSERT(strncmp(text + 9, "100", 3) == 0);
		check_answer(&second, head_only);
	} else if (length != NULL && length < body) {
		ASSERT(rest == strtoul(length + 18, NULL, 10) || (head_only && rest == 0));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (server.base == NULL)
		start();
	struct buf answer = BUF_INIT;
	size_t memory = server.memory;
	int fd = visit();
	bool head = say(fd, (struct input){ data, size }, memory);
	shutdown(fd, SHUT_WR);
	listen_to(fd, &answer);
	close(fd);
	check_answer(&answer, head);
	buf_free(&answer);
	return 0;
}
