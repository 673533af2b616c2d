/* For LD_PRELOAD: what passes between the daemon and the servers behind its Unix sockets, as steps "LABEL:PHASE".
 *
 * LABEL  the server and what was said to it, "redis LRANGE+HMGET", "postgresql COMMIT after copy end"; `connect` before anything was said
 * PHASE  before: nothing is sent yet; middle: half of it is sent; after: it is sent and nothing is read; answered: some of the answer is read and
 *        nothing of that handled
 *
 * SLUICE_STEP_LOG=FILE           each step is appended to this file, a line each time
 * SLUICE_STEP_KILL=LABEL:PHASE:N the process kills itself when it is there for the N-th time
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define LABEL_MAX 200
#define SAID_MAX 90
#define PEERS 1024
#define WORDS_MAX 5 /* of a statement or script */
#define HEADER 5    /* bytes before the text of a PostgreSQL or MySQL message */

enum server { NO_SERVER, REDIS, POSTGRESQL, MYSQL };

/* By the end of the socket's path. */
static const struct {
	const char *name;
	const char *path;
} servers[] = {
	[REDIS] = { "redis", "redis.sock" },
	[POSTGRESQL] = { "postgresql", ".s.PGSQL.5432" },
	[MYSQL] = { "mysql", "sql.sock" },
};

/* The other end of a descriptor. */
static struct peer {
	enum server server;
	size_t rest;           /* bytes of a message begun that are not sent yet */
	char said[SAID_MAX];   /* the last message, in words */
	char label[LABEL_MAX]; /* the same with the server's name, and of the end of a transaction what came before */
} peers[PEERS];

static int log_fd = -1;
static char kill_step[LABEL_MAX + 16];
static _Atomic long kill_in; /* times until then; 0: never */

__attribute__((constructor)) static void
read_environment(void)
{
	const char *path = getenv("SLUICE_STEP_LOG"), *at = getenv("SLUICE_STEP_KILL");
	if (path != NULL)
		log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	const char *n = at == NULL ? NULL : strrchr(at, ':');
	if (n == NULL)
		return;
	snprintf(kill_step, sizeof kill_step, "%.*s\n", (int)(n - at), at);
	kill_in = atol(n + 1);
}

static void
die(void)
{
	kill(getpid(), SIGKILL);
}

/* The process is at this step; shall it die there? */
static bool
is_last(const struct peer *p, const char *phase)
{
	char step[sizeof kill_step];
	int len = snprintf(step, sizeof step, "%s:%s\n", p->label, phase);
	if (log_fd >= 0 && syscall(SYS_write, log_fd, step, (size_t)len) < 0)
		abort();
	return strcmp(step, kill_step) == 0 && kill_in > 0 && --kill_in == 0;
}

/* Appends the first words of a text, up to the first value or parenthesis. */
static void
add_words(char *out, size_t size, const char *at, const char *end)
{
	size_t len = strlen(out);
	for (int words = 0; words < WORDS_MAX; words++) {
		while (at < end && memchr(" ,;-\n\"`", *at, 7) != NULL)
			at++;
		if (at == end || !(isalpha((unsigned char)*at) || *at == '_'))
			return;
		if (len > 0 && len + 1 < size && out[len - 1] != '+')
			out[len++] = ' ';
		while (at < end && len + 1 < size && (isalnum((unsigned char)*at) || *at == '_'))
			out[len++] = *at++;
		out[len] = '\0';
	}
}

/* The commands of a piece that Redis gets: their names, of a script its first words. A piece that begins within a command says nothing new. */
static void
say_redis(struct peer *p, const char *at, const char *end)
{
	if (at < end && *at == '*')
		p->said[0] = '\0';
	while (at < end && *at == '*') {
		char *next;
		long words = strtol(at + 1, &next, 10);
		bool script = false;
		if (p->said[0] != '\0')
			strncat(p->said, "+", sizeof p->said - strlen(p->said) - 1);
		for (long i = 0; i < words && end - next > 4; i++) {
			long len = strtol(next + 3, &next, 10); /* behind "\r\n$" */
			const char *word = next + 2;
			next = len > end - word ? (char *)(uintptr_t)end : (char *)(uintptr_t)(word + len);
			if (i == 0)
				script = strncmp(word, "EVAL", 4) == 0;
			if (i == 0 || (i == 1 && script))
				add_words(p->said, sizeof p->said, word, next);
		}
		at = end - next > 2 ? next + 2 : end;
	}
}

/* Message of PostgreSQL or MySQL: a type and a text. */
static void
say_sql(struct peer *p, const char *at, const char *end)
{
	static const struct {
		enum server server;
		char type;
		const char *said;
	} types[] = {
		{ POSTGRESQL, 'd', "copy data" },
		{ POSTGRESQL, 'c', "copy end" },
		{ POSTGRESQL, 'f', "copy fail" },
		{ POSTGRESQL, 'X', "close" },
		{ MYSQL, 1, "close" },
	};
	char type = p->server == POSTGRESQL ? at[0] : at[HEADER - 1];
	p->said[0] = '\0';
	if (type == (p->server == POSTGRESQL ? 'Q' : 3)) {
		add_words(p->said, sizeof p->said, at + HEADER, end);
		if (end - at > 30 && memmem(end - 16, 16, "FOR UPDATE", 10) != NULL)
			strncat(p->said, " FOR UPDATE", sizeof p->said - strlen(p->said) - 1);
	}
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (types[i].server == p->server && types[i].type == type)
			strcpy(p->said, types[i].said);
	}
	if (p->said[0] == '\0')
		strcpy(p->said, "login");
}

/* Names the step by the bytes that are to be sent. The rest of a message keeps its name. */
static void
say(struct peer *p, const char *bytes, size_t len)
{
	char before[SAID_MAX];
	strcpy(before, p->said);
	if (p->server == REDIS)
		say_redis(p, bytes, bytes + len);
	else if (p->rest == 0 && len >= HEADER)
		say_sql(p, bytes, bytes + len);
	else
		return;
	bool ending = strcmp(p->said, "COMMIT") == 0 || strcmp(p->said, "ROLLBACK") == 0;
	char label[LABEL_MAX];
	snprintf(label, sizeof label, "%s %s%s%s", servers[p->server].name, p->said, ending ? " after " : "", ending ? before : "");
	strcpy(p->label, label);
}

/* Bytes of the message that begins here. */
static size_t
message_length(enum server server, const unsigned char *at)
{
	if (server == MYSQL)
		return 4 + (size_t)(at[0] | at[1] << 8 | at[2] << 16);
	size_t type = at[0] != 0; /* what opens a connection has none */
	at += type;
	return type + ((size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3]);
}

/* So many bytes are sent: how much of the last message among them is left? */
static void
sent(struct peer *p, const char *bytes, size_t len)
{
	if (p->server == REDIS)
		return;
	while (len > p->rest) {
		bytes += p->rest;
		len -= p->rest;
		p->rest = len < HEADER ? len : message_length(p->server, (const unsigned char *)bytes);
	}
	p->rest -= len;
}

static struct peer *
peer_of(int fd)
{
	return fd >= 0 && fd < PEERS && peers[fd].server != NO_SERVER ? &peers[fd] : NULL;
}

static void
forget(int fd)
{
	if (fd >= 0 && fd < PEERS)
		peers[fd] = (struct peer){ .server = NO_SERVER };
}

int
connect(int fd, const struct sockaddr *address, socklen_t len)
{
	const char *path = address->sa_family == AF_UNIX ? ((const struct sockaddr_un *)(const void *)address)->sun_path : "";
	const char *slash = strrchr(path, '/');
	forget(fd);
	for (size_t i = REDIS; i < sizeof servers / sizeof *servers && slash != NULL && fd < PEERS; i++) {
		if (strcmp(slash + 1, servers[i].path) != 0)
			continue;
		peers[fd].server = (enum server)i;
		strcpy(peers[fd].said, "connect");
		snprintf(peers[fd].label, sizeof peers[fd].label, "%s connect", servers[i].name);
	}
	return (int)syscall(SYS_connect, fd, address, len);
}

int
close(int fd)
{
	forget(fd);
	return (int)syscall(SYS_close, fd);
}

ssize_t
send(int fd, const void *bytes, size_t len, int flags)
{
	struct peer *p = peer_of(fd);
	if (p == NULL)
		return syscall(SYS_sendto, fd, bytes, len, flags, NULL, 0);
	say(p, bytes, len);
	if (is_last(p, "before"))
		die();
	if (is_last(p, "middle")) {
		syscall(SYS_sendto, fd, bytes, len / 2, flags, NULL, 0);
		die();
	}
	ssize_t n = syscall(SYS_sendto, fd, bytes, len, flags, NULL, 0);
	if (n > 0) {
		sent(p, bytes, (size_t)n);
		if (is_last(p, "after"))
			die();
	}
	return n;
}

ssize_t
recv(int fd, void *bytes, size_t len, int flags)
{
	const struct peer *p = peer_of(fd);
	ssize_t n = syscall(SYS_recvfrom, fd, bytes, len, flags, NULL, NULL);
	if (p != NULL && n > 0 && is_last(p, "answered"))
		die();
	return n;
}

ssize_t
write(int fd, const void *bytes, size_t len)
{
	return peer_of(fd) == NULL ? syscall(SYS_write, fd, bytes, len) : send(fd, bytes, len, 0);
}

ssize_t
read(int fd, void *bytes, size_t len)
{
	return peer_of(fd) == NULL ? syscall(SYS_read, fd, bytes, len) : recv(fd, bytes, len, 0);
}
