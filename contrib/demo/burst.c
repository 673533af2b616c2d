/* A burst of orders: many short-lived clients, each with a Redis connection of its own, LPUSH their orders and go away, as web workers do.
 *
 *   burst -s SOCKET [-n ORDERS] [-c ORDERS_PER_CLIENT] [-w CLIENTS_AT_ONCE] [-b BAD_EVERY] KEY...
 *
 * Each key gets the orders 1 to ORDERS, every BAD_EVERY-th of a sort that the table refuses. A line "pushed N" follows each wave. Ends with an
 * error unless Redis has confirmed every single push.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ORDER_MAX 400 /* bytes of one order, at most */
#define WAVE_MAX 900  /* below the usual limit of open files */
#define PER_CLIENT_MAX 200 /* or pushes and replies may no longer fit into the socket buffers */

struct burst {
	const char *path;    /* of Redis's socket */
	char **keys;         /* n_keys of them */
	unsigned n_keys;
	unsigned orders;     /* for each key */
	unsigned per_client; /* orders */
	unsigned wave;       /* clients connected at once */
	unsigned bad_every;  /* 0: none */
};

static void
die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void
die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("burst: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* One sort of bad order; each keeps its id, so that it can be found among the dead letters. */
static int
format_bad_order(char *out, size_t size, unsigned id, unsigned sort)
{
	switch (sort % 5) {
	case 0:
		return snprintf(out, size, "{\"id\":%u,\"customer\":\"cut o", id);
	case 1:
		return snprintf(out, size, "{\"id\":%u,\"customer\":\"no number\",\"total\":\"twelve\"}", id);
	case 2:
		return snprintf(out, size, "{\"id\":%u,\"customer\":null,\"total\":12.10}", id);
	case 3:
		return snprintf(out, size, "{\"id\":%u,\"customer\":\"far too long a note\",\"total\":12.10,\"note\":\"%060d\"}", id, 0);
	default:
		return snprintf(out, size, "{\"id\":%u,\"customer\":\"too many\",\"total\":12.10,\"quantity\":99999999999}", id);
	}
}

static int
format_order(char *out, size_t size, const struct burst *burst, unsigned id)
{
	if (burst->bad_every != 0 && id % burst->bad_every == 0)
		return format_bad_order(out, size, id, id / burst->bad_every);
	return snprintf(out, size,
	    "{\"id\":%u,\"customer\":\"customer %u\",\"total\":%u.%02u,\"placed_at\":\"2024-05-06T%02u:%02u:%02u.%03uZ\","
	    "\"note\":\"please ring\",\"quantity\":%u,\"paid\":%s,\"items\":[{\"sku\":\"A-%u\",\"n\":%u}]}",
	    id, id % 9973, id % 500, id % 100, id / 3600 % 24, id / 60 % 60, id % 60, id % 1000, id % 7 + 1, id % 2 != 0 ? "true" : "false",
	    id % 311, id % 7 + 1);
}

static int
connect_redis(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket: %s", strerror(errno));
	if (strlen(path) >= sizeof(address.sun_path))
		die("%s: longer than a socket's path may be", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

static void
write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0)
			die("write: %s", strerror(errno));
		text += n;
		len -= (size_t)n;
	}
}

/* Client number c: which key, and which of its orders. The last client of a key may have fewer. */
static unsigned
client_orders(const struct burst *burst, unsigned c, const char **key, unsigned *first)
{
	unsigned left;

	*key = burst->keys[c % burst->n_keys];
	*first = c / burst->n_keys * burst->per_client + 1;
	left = burst->orders - *first + 1;
	return left < burst->per_client ? left : burst->per_client;
}

static void
push_orders(const struct burst *burst, int fd, unsigned c)
{
	static char text[PER_CLIENT_MAX * (ORDER_MAX + 400)];
	const char *key;
	unsigned first, count = client_orders(burst, c, &key, &first);
	size_t len = 0;

	for (unsigned i = 0; i < count; i++) {
		char order[ORDER_MAX];
		int order_len = format_order(order, sizeof(order), burst, first + i);

		len += (size_t)snprintf(text + len, sizeof(text) - len, "*3\r\n$5\r\nLPUSH\r\n$%zu\r\n%s\r\n$%d\r\n%s\r\n", strlen(key), key,
		    order_len, order);
	}
	write_all(fd, text, len);
}

/* Reads one integer reply a push. Anything else means that an order was not taken. */
static void
read_replies(int fd, unsigned count)
{
	char text[4096];
	bool at_start = true;

	while (count > 0) {
		ssize_t n = read(fd, text, sizeof(text) - 1);

		if (n <= 0)
			die("Redis closed the connection");
		text[n] = '\0';
		for (char *p = text; *p != '\0'; p++) {
			if (at_start && *p != ':')
				die("Redis refused: %.*s", (int)strcspn(p, "\r"), p);
			at_start = *p == '\n';
			count -= at_start;
		}
	}
}

/* So many clients at once: all connect, all push, all wait for their replies, all go. Returns how many orders they pushed. */
static unsigned
run_wave(const struct burst *burst, unsigned first_client, unsigned clients)
{
	int fds[WAVE_MAX];
	unsigned pushed = 0;

	for (unsigned i = 0; i < clients; i++)
		fds[i] = connect_redis(burst->path);
	for (unsigned i = 0; i < clients; i++)
		push_orders(burst, fds[i], first_client + i);
	for (unsigned i = 0; i < clients; i++) {
		const char *key;
		unsigned first, count = client_orders(burst, first_client + i, &key, &first);

		read_replies(fds[i], count);
		close(fds[i]);
		pushed += count;
	}
	return pushed;
}

static unsigned
read_number(const char *text, unsigned min, unsigned max)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || number < min || number > max)
		die("%s: expected a number from %u to %u", text, min, max);
	return (unsigned)number;
}

static void
read_options(struct burst *burst, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "s:n:c:w:b:")) != -1) {
		switch (option) {
		case 's': burst->path = optarg; break;
		case 'n': burst->orders = read_number(optarg, 1, 100000000); break;
		case 'c': burst->per_client = read_number(optarg, 1, PER_CLIENT_MAX); break;
		case 'w': burst->wave = read_number(optarg, 1, WAVE_MAX); break;
		case 'b': burst->bad_every = read_number(optarg, 0, 100000000); break;
		default: exit(64);
		}
	}
	burst->keys = argv + optind;
	burst->n_keys = (unsigned)(argc - optind);
	if (burst->path == NULL || burst->n_keys == 0)
		die("usage: burst -s SOCKET [-n ORDERS] [-c ORDERS_PER_CLIENT] [-w CLIENTS_AT_ONCE] [-b BAD_EVERY] KEY...");
	for (unsigned i = 0; i < burst->n_keys; i++)
		if (strlen(burst->keys[i]) > 300)
			die("%s: too long a key", burst->keys[i]);
}

int
main(int argc, char **argv)
{
	struct burst burst = { .orders = 200000, .per_client = 50, .wave = 500, .bad_every = 100 };
	unsigned clients, pushed = 0;

	read_options(&burst, argc, argv);
	clients = (burst.orders + burst.per_client - 1) / burst.per_client * burst.n_keys;
	for (unsigned c = 0; c < clients; c += burst.wave) {
		pushed += run_wave(&burst, c, clients - c < burst.wave ? clients - c : burst.wave);
		printf("pushed %u\n", pushed);
		fflush(stdout);
	}
	return 0;
}
