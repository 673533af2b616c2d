/* getaddrinfo() in a thread: it follows the machine's own rules (nsswitch.conf), which a resolver of an event library does not. */
#include "resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "aside.h"
#include "buf.h"

/* The thread's. */
struct lookup {
	char *host;
	struct buf addresses;
	int error;        /* of getaddrinfo(); 0: none */
	int system_error; /* with EAI_SYSTEM: an errno */
};

struct resolve {
	struct aside *aside;
	resolve_fn *done;
	void *arg;        /* its argument */
};

bool
resolve_is_needless(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];
	return host[0] == '/' || host[0] == '@' || inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* -- in the thread */

static void
look_up(void *work)
{
	struct lookup *l = work;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	l->error = getaddrinfo(l->host, NULL, &hints, &found);
	l->system_error = errno;
	for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
		char text[NI_MAXHOST];
		if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		if (l->addresses.len > 0)
			buf_addc(&l->addresses, ',');
		buf_adds(&l->addresses, text);
	}
	if (found != NULL)
		freeaddrinfo(found);
}

static void
drop(void *work)
{
	struct lookup *l = work;
	buf_free(&l->addresses);
	free(l->host);
	free(l);
}

/* -- in the loop */

static void
on_end(void *arg, void *work)
{
	struct resolve r = *(struct resolve *)arg;
	struct lookup *l = work;
	free(arg);
	if (l->addresses.len > 0)
		r.done(r.arg, buf_cstr(&l->addresses), "");
	else
		r.done(r.arg, NULL, l->error == EAI_SYSTEM ? strerror(l->system_error) : gai_strerror(l->error == 0 ? EAI_NONAME : l->error));
	drop(l);
}

struct resolve *
resolve_start(struct event_base *base, const char *host, resolve_fn *done, void *arg)
{
	static const struct aside_work kind = { .run = look_up, .drop = drop };
	ASSERT(!resolve_is_needless(host));
	struct resolve *r = xcalloc(1, sizeof *r);
	struct lookup *l = xcalloc(1, sizeof *l);
	*l = (struct lookup){ .host = xstrdup(host), .addresses = BUF_INIT };
	r->done = done;
	r->arg = arg;
	r->aside = aside_start(base, &kind, l, on_end, r);
	if (r->aside != NULL)
		return r;
	drop(l);
	free(r);
	return NULL;
}

void
resolve_abandon(struct resolve **place)
{
	struct resolve *r = *place;
	*place = NULL;
	if (r == NULL)
		return;
	aside_abandon(&r->aside);
	free(r);
}
