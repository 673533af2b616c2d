/* URLs and addresses -> their parts. What is wrong is told without quoting any of it: it may hold a password. */
#include "config_private.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

#include "buf.h"

#define REDIS_PORT 6379
#define REDIS_DB_MAX 65535
#define HOST_SIZE 256

/* "host:port", taken apart. */
struct host_port {
	char host[HOST_SIZE]; /* without brackets; "" : none */
	unsigned port;        /* 0: none */
};

static bool
starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool
complain(struct buf *why, const char *what)
{
	buf_adds(why, what);
	return false;
}

static char *
copy_bytes(const char *s, size_t n)
{
	char *copy = xmalloc(n + 1);
	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

static bool
is_ipv6(const char *text)
{
	char address[HOST_SIZE];
	size_t n = strcspn(text, "%"); /* a zone may follow */
	ASSERT(n < sizeof address);
	memcpy(address, text, n);
	address[n] = '\0';
	struct in6_addr ignored;
	return inet_pton(AF_INET6, address, &ignored) == 1;
}

/* Takes text[0..n) apart; a port must be a legal one, a host must look like one. */
static bool
read_host_port(const char *text, size_t n, struct host_port *out, struct buf *why)
{
	*out = (struct host_port){ .port = 0 };
	bool bracketed = n > 0 && text[0] == '[';
	const char *host = text + bracketed;
	const char *host_end = memchr(text, bracketed ? ']' : ':', n);
	if (host_end == NULL && bracketed)
		return complain(why, "the IPv6 address lacks its \"]\"");
	if (host_end == NULL)
		host_end = text + n;
	size_t host_len = (size_t)(host_end - host);
	if (host_len >= sizeof out->host)
		return complain(why, "the host name is too long");
	memcpy(out->host, host, host_len);
	const char *rest = host_end + bracketed;
	size_t rest_len = n - (size_t)(rest - text);

	if (bracketed && !is_ipv6(out->host))
		return complain(why, "there is no IPv6 address in the brackets");
	if (!bracketed && rest_len > 0 && memchr(rest + 1, ':', rest_len - 1) != NULL)
		return complain(why, "an IPv6 address needs [brackets]");
	if (!bracketed && host_len > 0 && !name_ok(out->host))
		return complain(why, "that is not a host name");
	if (rest_len == 0)
		return true;
	char port[8] = "";
	if (rest_len <= sizeof port)
		memcpy(port, rest + 1, rest_len - 1);
	unsigned long long number;
	if (*rest != ':' || !number_read(port, 1, 65535, &number))
		return complain(why, "the port must be a number from 1 to 65535");
	out->port = (unsigned)number;
	return true;
}

bool
listen_address_ok(const char *text, struct buf *why)
{
	struct host_port address;
	if (!read_host_port(text, strlen(text), &address, why))
		return false;
	if (address.port == 0)
		return complain(why, "the port is missing: host:port, [v6]:port or :port");
	return true;
}

static bool
read_db(const char *text, unsigned *db, struct buf *why)
{
	unsigned long long number;
	if (!number_read(text, 0, REDIS_DB_MAX, &number))
		return complain(why, "the database must be a number, 0 or more");
	*db = (unsigned)number;
	return true;
}

/* What follows unix:// */
static bool
read_unix(const char *text, struct redis_address *address, struct buf *why)
{
	size_t n = strcspn(text, "?");
	if (*text != '/')
		return complain(why, "the socket's path must be absolute: unix:///path");
	if (n >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		return complain(why, "the path is too long for a socket");
	if (text[n] != '\0' && !starts_with(text + n, "?db="))
		return complain(why, "only ?db=N may follow the path");
	if (text[n] != '\0' && !read_db(text + n + strlen("?db="), &address->db, why))
		return false;
	address->unix_path = copy_bytes(text, n);
	return true;
}

/* What follows redis:// */
static bool
read_tcp(const char *text, struct redis_address *address, struct buf *why)
{
	const char *at = strrchr(text, '@');
	const char *host = at == NULL ? text : at + 1;
	if (at != NULL && memchr(text, ':', (size_t)(at - text)) != NULL)
		return complain(why, "a password does not belong here: put it into a file and name that in password_file");
	size_t n = strcspn(host, "/");
	struct host_port parts;
	if (!read_host_port(host, n, &parts, why))
		return false;
	if (parts.host[0] == '\0')
		return complain(why, "the host is missing: redis://[user@]host:6379/0");
	if (host[n] == '/' && host[n + 1] != '\0' && !read_db(host + n + 1, &address->db, why))
		return false;
	address->host = xstrdup(parts.host);
	address->port = parts.port == 0 ? REDIS_PORT : parts.port;
	address->user = at == NULL || at == text ? NULL : copy_bytes(text, (size_t)(at - text));
	return true;
}

bool
redis_address_read(const char *url, struct redis_address *address, struct buf *why)
{
	ASSERT(address->unix_path == NULL && address->host == NULL && address->user == NULL);
	if (starts_with(url, "unix://"))
		return read_unix(url + strlen("unix://"), address, why);
	if (starts_with(url, "redis://"))
		return read_tcp(url + strlen("redis://"), address, why);
	if (!starts_with(url, "rediss://"))
		return complain(why, "must begin with unix://, redis:// or rediss://");
	address->tls = true;
	return read_tcp(url + strlen("rediss://"), address, why);
}
