/* The stats port. Connections are few, short and counted: whoever floods it waits in the kernel's queue and takes nothing from the drain. */
#include "httpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "buf.h"
#include "clock.h"
#include "dashboard.h"
#include "log.h"
#include "stats.h"

#define VISITORS_MAX 64         /* connections at a time */
#define VISIT_MS 10000          /* for one connection in all: a byte now and then must not hold it */
#define SWEEP_MS 250            /* how soon the end of a connection is noticed */
#define SILENCE_S 5             /* a connection on which nothing moves is closed */
#define HEADERS_MAX 8192        /* bytes of a request's head */
#define READ_MAX (2 * HEADERS_MAX) /* bytes of a connection that wait to be looked at */
#define BODY_MAX 0              /* bytes of a request's body */
#define PAGE_MAX (256 << 20)    /* bytes that httpd_get() takes */
#define ADDRESS_MAX 300

/* One connection. evhttp tells nobody when it closes one, so we hold a reference and look. */
struct visitor {
	struct bufferevent *link; /* a reference of ours */
	uint64_t until_ms;        /* cut off then */
};

struct httpd {
	const struct daemon_view *daemon;       /* borrowed */
	struct evhttp *http;                    /* owned */
	struct evconnlistener *listener;        /* of http */
	struct event *sweep;                    /* looks after the visitors, while there are any; owned */
	struct visitor visitors[VISITORS_MAX];  /* n_visitors of them */
	size_t n_visitors;
	bool loopback;                          /* only programs on this host can reach it: then a foreign Host is a trick */
};

/* host:port, taken apart; "" means every address. */
struct address {
	char host[ADDRESS_MAX]; /* without brackets */
	uint16_t port;
};

static struct address
address_read(const char *listen)
{
	struct address a = { .port = 0 };
	const char *colon = strrchr(listen, ':');
	ASSERT(colon != NULL && (size_t)(colon - listen) < sizeof a.host);
	bool bracketed = listen[0] == '[';
	ASSERT(!bracketed || (colon > listen + 1 && colon[-1] == ']'));
	memcpy(a.host, listen + bracketed, (size_t)(colon - listen) - (bracketed ? 2 : 0));
	a.port = (uint16_t)strtoul(colon + 1, NULL, 10);
	ASSERT(a.port > 0);
	return a;
}

/* -- visitors */

/* Lets go of connections that evhttp has closed, cuts off those that have been here too long. */
static void
look_after(struct httpd *h)
{
	uint64_t now = clock_ms();
	size_t left = 0;
	ASSERT(h->n_visitors <= VISITORS_MAX);
	for (size_t i = 0; i < h->n_visitors; i++) {
		struct visitor *v = &h->visitors[i];
		bufferevent_event_cb on_event = NULL;
		bufferevent_getcb(v->link, NULL, NULL, &on_event, NULL);
		if (on_event == NULL) {
			bufferevent_decref(v->link);
			continue;
		}
		if (now >= v->until_ms)
			shutdown(bufferevent_getfd(v->link), SHUT_RDWR);
		h->visitors[left++] = *v;
	}
	h->n_visitors = left;
	if (left < VISITORS_MAX)
		evconnlistener_enable(h->listener);
}

static void
sweep_later(struct httpd *h)
{
	if (h->n_visitors > 0 && !event_pending(h->sweep, EV_TIMEOUT, NULL))
		event_add(h->sweep, &(struct timeval){ .tv_usec = SWEEP_MS * 1000 });
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	look_after(arg);
	sweep_later(arg);
}

static struct bufferevent *
on_connection(struct event_base *base, void *arg)
{
	struct httpd *h = arg;
	look_after(h);
	struct bufferevent *link = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (link == NULL || h->n_visitors == VISITORS_MAX)
		return link;
	ASSERT(h->n_visitors < VISITORS_MAX);
	bufferevent_setwatermark(link, EV_READ, 0, READ_MAX); /* it reads until look_after() lets go of it, even if evhttp has closed it long ago */
	bufferevent_incref(link);
	h->visitors[h->n_visitors++] = (struct visitor){ link, clock_ms() + VISIT_MS };
	if (h->n_visitors == VISITORS_MAX)
		evconnlistener_disable(h->listener);
	sweep_later(h);
	return link;
}

static void
on_room(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	evconnlistener_enable(arg);
}

/* A visitor cannot be let in, for want of a file descriptor most likely: without a pause the loop would try again all the time. */
static void
on_refusal(struct evconnlistener *listener, void *arg)
{
	(void)arg;
	evconnlistener_disable(listener);
	event_base_once(evconnlistener_get_base(listener), -1, EV_TIMEOUT, on_room, listener, &(struct timeval){ .tv_usec = SWEEP_MS * 1000 });
}

/* -- pages */

static int
page_overview(const struct daemon_view *daemon, struct evkeyvalq *query, struct buf *body)
{
	const char *table = evhttp_find_header(query, "table");
	if (table == NULL)
		stats_text(daemon, body);
	else if (!stats_table(daemon, table, body))
		return HTTP_NOTFOUND;
	return HTTP_OK;
}

static int
page_metrics(const struct daemon_view *daemon, struct evkeyvalq *query, struct buf *body)
{
	(void)query;
	stats_metrics(daemon, body);
	return HTTP_OK;
}

static int
page_stats(const struct daemon_view *daemon, struct evkeyvalq *query, struct buf *body)
{
	const char *history = evhttp_find_header(query, "history");
	return stats_json(daemon, evhttp_find_header(query, "queue"), history != NULL && strcmp(history, "1") == 0, body) ? HTTP_OK : HTTP_NOTFOUND;
}

static int
page_alive(const struct daemon_view *daemon, struct evkeyvalq *query, struct buf *body)
{
	(void)daemon, (void)query;
	buf_adds(body, "alive\n");
	return HTTP_OK;
}

static int
page_ready(const struct daemon_view *daemon, struct evkeyvalq *query, struct buf *body)
{
	(void)query;
	if (!stats_ready(daemon, body))
		return HTTP_SERVUNAVAIL;
	buf_adds(body, "ready\n");
	return HTTP_OK;
}

#define TYPE_TEXT "text/plain; charset=utf-8"
#define TYPE_HTML "text/html; charset=utf-8"
#define POLICY_NOTHING "default-src 'none'; frame-ancestors 'none'"

static const struct page {
	const char *path;
	const char *type; /* Content-Type */
	int (*fill)(const struct daemon_view *daemon, struct evkeyvalq *query, struct buf *body); /* the HTTP status */
} pages[] = {
	{ "/", TYPE_TEXT, page_overview },
	{ "/metrics", "text/plain; version=0.0.4; charset=utf-8", page_metrics },
	{ "/stats", "application/json", page_stats },
	{ "/healthz", TYPE_TEXT, page_alive },
	{ "/readyz", TYPE_TEXT, page_ready },
};

static const struct { const char *name, *value; } headers[] = {
	{ "Cache-Control", "no-store" },
	{ "Vary", "Accept" },
	{ "X-Content-Type-Options", "nosniff" },
	{ "X-Frame-Options", "DENY" },
	{ "Cross-Origin-Resource-Policy", "same-origin" },
	{ "Referrer-Policy", "no-referrer" },
	{ "Connection", "close" }, /* one request a connection: pipelines cannot keep the loop busy */
};

static const struct { int status; const char *text; } reasons[] = {
	{ HTTP_OK, "OK" },
	{ HTTP_BADREQUEST, "Bad Request" },
	{ HTTP_NOTFOUND, "Not Found" },
	{ HTTP_BADMETHOD, "Method Not Allowed" },
	{ 421, "Misdirected Request" },
	{ HTTP_SERVUNAVAIL, "Service Unavailable" },
};

static const char *
reason_of(int status)
{
	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
		if (reasons[i].status == status)
			return reasons[i].text;
	}
	ASSERT(!"a status with a text");
	return NULL;
}

/* What is sent back. */
struct answer {
	int status;                        /* of HTTP */
	const char *type;                  /* Content-Type */
	char policy[DASHBOARD_POLICY_MAX]; /* Content-Security-Policy */
	struct buf body;                   /* empty: the status in words */
};

static void
reply(struct evhttp_request *request, struct answer *a)
{
	struct evkeyvalq *out = evhttp_request_get_output_headers(request);
	char length[24];
	ASSERT(a->type[0] != '\0' && a->policy[0] != '\0');
	if (a->body.len == 0)
		buf_addf(&a->body, "%s\n", reason_of(a->status));
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
		evhttp_add_header(out, headers[i].name, headers[i].value);
	evhttp_add_header(out, "Content-Type", a->type);
	evhttp_add_header(out, "Content-Security-Policy", a->policy);
	if (a->status == HTTP_BADMETHOD)
		evhttp_add_header(out, "Allow", "GET, HEAD");
	snprintf(length, sizeof length, "%zu", a->body.len);
	evhttp_add_header(out, "Content-Length", length);
	if (evhttp_request_get_command(request) != EVHTTP_REQ_HEAD)
		evbuffer_add(evhttp_request_get_output_buffer(request), a->body.data, a->body.len);
	evhttp_send_reply(request, a->status, reason_of(a->status), NULL);
}

/* A browser that was led here by a foreign name (DNS rebinding) sends that name; no Host at all is no browser. */
static bool
host_ok(const struct httpd *h, struct evhttp_request *request)
{
	static const char *const ours[] = { "localhost", "127.0.0.1", "[::1]" };
	const char *host = evhttp_request_get_host(request);
	if (!h->loopback || host == NULL)
		return true;
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
		if (strcasecmp(host, ours[i]) == 0)
			return true;
	}
	return false;
}

/* Does a browser ask, and not curl, Prometheus or `sluice show`? */
static bool
wants_html(struct evhttp_request *request)
{
	const char *accept = evhttp_find_header(evhttp_request_get_input_headers(request), "Accept");
	return accept != NULL && strstr(accept, "text/html") != NULL;
}

static void
fill(const struct httpd *h, struct evhttp_request *request, const struct page *page, struct answer *a)
{
	const char *text = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
	struct evkeyvalq query;
	if (evhttp_parse_query_str(text == NULL ? "" : text, &query) != 0) {
		a->status = HTTP_BADREQUEST;
		return;
	}
	if (page == pages && wants_html(request) && evhttp_find_header(&query, "table") == NULL) {
		a->type = TYPE_HTML;
		dashboard_page(&a->body, a->policy);
	} else if ((a->status = page->fill(h->daemon, &query, &a->body)) == HTTP_NOTFOUND) {
		buf_reset(&a->body);
	} else {
		a->type = page->type;
	}
	evhttp_clear_headers(&query);
}

static void
answer(const struct httpd *h, struct evhttp_request *request, struct answer *a)
{
	enum evhttp_cmd_type method = evhttp_request_get_command(request);
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
	const struct page *page = pages, *end = pages + sizeof pages / sizeof *pages;
	while (page < end && (path == NULL || strcmp(path, page->path) != 0))
		page++;
	if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD)
		a->status = HTTP_BADMETHOD;
	else if (!host_ok(h, request))
		a->status = 421;
	else if (page == end)
		a->status = HTTP_NOTFOUND;
	else
		fill(h, request, page, a);
}

static void
on_request(struct evhttp_request *request, void *arg)
{
	struct answer a = { .status = HTTP_OK, .type = TYPE_TEXT, .policy = POLICY_NOTHING };
	answer(arg, request, &a);
	reply(request, &a);
	buf_free(&a.body);
}

/* -- start and end */

static bool
is_loopback(struct evconnlistener *listener)
{
	struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof address;
	if (getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &len) != 0)
		return false;
	if (address.ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)&address)->sin_addr.s_addr) >> 24 == 127;
	const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)&address)->sin6_addr;
	return address.ss_family == AF_INET6 && (IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127));
}

static struct evhttp_bound_socket *
bind_to(struct evhttp *http, const struct address *a)
{
	if (a->host[0] != '\0')
		return evhttp_bind_socket_with_handle(http, a->host, a->port);
	struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(http, "::", a->port);
	return bound != NULL ? bound : evhttp_bind_socket_with_handle(http, "0.0.0.0", a->port);
}

struct httpd *
httpd_new(struct event_base *base, const char *listen, const struct daemon_view *daemon)
{
	const uint16_t all_methods = (uint16_t)(EVHTTP_REQ_PATCH * 2 - 1); /* refused by us, with the right status */
	struct address address = address_read(listen);
	struct evhttp *http = evhttp_new(base);
	ASSERT(http != NULL);
	errno = 0;
	struct evhttp_bound_socket *bound = bind_to(http, &address);
	if (bound == NULL) {
		log_error("stats port", "cannot listen on %s: %s; free it, or change `listen` in [stats]", listen,
		    errno == 0 ? "no such address" : strerror(errno));
		evhttp_free(http);
		return NULL;
	}
	struct httpd *h = xcalloc(1, sizeof *h);
	h->daemon = daemon;
	h->http = http;
	h->listener = evhttp_bound_socket_get_listener(bound);
	evconnlistener_set_error_cb(h->listener, on_refusal);
	h->loopback = is_loopback(h->listener);
	h->sweep = event_new(base, -1, 0, on_sweep, h);
	ASSERT(h->sweep != NULL);
	evhttp_set_timeout(http, SILENCE_S);
	evhttp_set_max_headers_size(http, HEADERS_MAX);
	evhttp_set_max_body_size(http, BODY_MAX);
	evhttp_set_allowed_methods(http, all_methods);
	evhttp_set_bevcb(http, on_connection, h);
	evhttp_set_gencb(http, on_request, h);
	if (!h->loopback)
		log_warning("stats port", "%s can be reached from other hosts, and asks for no password: keep it private", listen);
	return h;
}

void
httpd_free(struct httpd **httpd)
{
	struct httpd *h = *httpd;
	*httpd = NULL;
	if (h == NULL)
		return;
	evhttp_free(h->http);
	for (size_t i = 0; i < h->n_visitors; i++)
		bufferevent_decref(h->visitors[i].link);
	event_free(h->sweep);
	free(h);
}

/* -- the other side */

/* What httpd_get() waits for. */
struct visit {
	struct event_base *base; /* of its own */
	struct buf *body;        /* the caller's */
	int status;              /* 0: no answer */
};

static void
on_answer(struct evhttp_request *request, void *arg)
{
	struct visit *visit = arg;
	ASSERT(visit->status == 0);
	event_base_loopbreak(visit->base);
	if (request == NULL)
		return;
	visit->status = evhttp_request_get_response_code(request);
	struct evbuffer *body = evhttp_request_get_input_buffer(request);
	size_t len = evbuffer_get_length(body);
	if (len > 0)
		buf_add(visit->body, (const char *)evbuffer_pullup(body, -1), len);
}

int
httpd_get(const char *listen, const char *page, struct buf *body)
{
	struct address address = address_read(listen);
	struct visit visit = { .base = event_base_new(), .body = body };
	ASSERT(visit.base != NULL);
	struct evhttp_connection *link = evhttp_connection_base_new(visit.base, NULL, address.host[0] == '\0' ? "localhost" : address.host, address.port);
	struct evhttp_request *request = evhttp_request_new(on_answer, &visit);
	ASSERT(link != NULL && request != NULL);
	evhttp_connection_set_timeout(link, SILENCE_S);
	evhttp_connection_set_max_body_size(link, PAGE_MAX);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Host", "localhost");
	evhttp_add_header(evhttp_request_get_output_headers(request), "Connection", "close");
	if (evhttp_make_request(link, request, EVHTTP_REQ_GET, page) == 0)
		event_base_dispatch(visit.base);
	evhttp_connection_free(link);
	event_base_free(visit.base);
	return visit.status;
}
