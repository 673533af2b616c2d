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

struct lookup {
	resolve_fn *done;
	void *arg;        /* its argument */
	char *host;
	struct buf addresses;
	int error;        /* of getaddrinfo(); 0: none */
	int system_error; /* with EAI_SYSTEM: an errno */
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
tell(void *work)
{
	struct lookup *l = work;
	if (l->addresses.len > 0)
		l->done(l->arg, buf_cstr(&l->addresses), "");
	else
		l->done(l->arg, NULL, l->error == EAI_SYSTEM ? strerror(l->system_error) : gai_strerror(l->error == 0 ? EAI_NONAME : l->error));
	drop(l);
}

struct aside *
resolve_start(struct event_base *base, const char *host, resolve_fn *done, void *arg)
{
	static const struct aside_work kind = { .run = look_up, .done = tell, .drop = drop };
	ASSERT(!resolve_is_needless(host));
	struct lookup *l = xcalloc(1, sizeof *l);
	*l = (struct lookup){ .done = done, .arg = arg, .host = xstrdup(host), .addresses = BUF_INIT };
	struct aside *aside = aside_start(base, &kind, l);
	if (aside == NULL)
		drop(l);
	return aside;
}

char *
resolve_from(const char *addresses, unsigned turn)
{
	unsigned n = 1;
	for (const char *c = addresses; (c = strchr(c, ',')) != NULL; c++)
		n++;
	const char *first = addresses;
	for (turn %= n; turn > 0; turn--)
		first = strchr(first, ',') + 1;
	struct buf all = BUF_INIT;
	buf_adds(&all, first);
	if (first > addresses) {
		buf_addc(&all, ',');
		buf_add(&all, addresses, (size_t)(first - addresses) - 1);
	}
	buf_addc(&all, '\0');
	return all.data;
}
