/* The admin socket. Clients are few, short and counted; each has one line and a few seconds. */
#include "admin.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "buf.h"
#include "control.h"
#include "list.h"
#include "log.h"

#define CLIENTS_MAX 16  /* at a time; more wait in the kernel's queue */
#define LINE_BYTES 512  /* of a command at most */
#define VISIT_S 5       /* for one client in all: a byte now and then must not hold it */
#define PATIENCE_S 10   /* of admin_ask(), for the daemon's answer */
#define PAUSE_MS 250    /* before the next client is let in, when one could not be */
#define PIECE_BYTES 65536 /* read at once by admin_ask() */
#define SOCKET_UMASK 0117 /* mode 0660 */

/* What SO_PEERCRED tells. */
struct peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

struct client {
	struct list node;         /* in the socket's clients */
	struct admin *admin;      /* borrowed */
	struct bufferevent *link; /* owned, with its descriptor */
	struct event *deadline;   /* owned */
};

struct admin {
	struct daemon *daemon;           /* borrowed */
	const struct daemon_view *view;  /* borrowed */
	struct evconnlistener *listener; /* owned */
	struct event *room;              /* lets clients in again; owned */
	struct list clients;             /* struct client */
	unsigned n_clients;              /* on that list */
	struct sockaddr_un at;           /* the path */
	struct stat file;                /* the socket there, or nobody would know whether it is still ours */
};

/* -- clients */

static void
client_free(struct client *c)
{
	struct admin *a = c->admin;
	ASSERT(a->n_clients > 0);
	list_remove(&c->node);
	a->n_clients--;
	bufferevent_free(c->link);
	event_free(c->deadline);
	free(c);
	if (!event_pending(a->room, EV_TIMEOUT, NULL))
		evconnlistener_enable(a->listener);
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	client_free(arg);
}

/* Gone, or done: nobody is waited for. */
static void
on_end(struct bufferevent *link, short what, void *arg)
{
	(void)link, (void)what;
	client_free(arg);
}

static void
on_written(struct bufferevent *link, void *arg)
{
	(void)link;
	client_free(arg);
}

/* "ada (uid 1000, pid 4711)". The kernel says so, not the client; the name is only asked for here, where an operator waits. */
static void
log_peer(const struct client *c, const char *command, const char *word)
{
	struct peer peer;
	socklen_t len = sizeof peer;
	struct passwd user, *found = NULL;
	char text[4096];
	int rc = getsockopt(bufferevent_getfd(c->link), SOL_SOCKET, SO_PEERCRED, &peer, &len);
	ASSERT(rc == 0 && len == sizeof peer);
	bool named = getpwuid_r(peer.uid, &user, text, sizeof text, &found) == 0 && found != NULL;
	log_info("admin socket", "%s (uid %u, pid %d) asks: %s%s%s", named ? user.pw_name : "somebody", peer.uid, peer.pid, command,
	    word == NULL ? "" : " ", word == NULL ? "" : word);
}

static int
carry_out(struct client *c, char *line, struct buf *answer)
{
	char *name = line, *word = strchr(line, ' ');
	ASSERT(answer->len == 0);
	if (word != NULL)
		*word++ = '\0';
	const struct control *command = control_find(name);
	int words = word != NULL;
	if (command == NULL || words < command->min || words > command->max) {
		buf_adds(answer, command == NULL ? "there is no such command; sluice --help lists them\n" : words == 0 ? "a word is missing\n" :
		    "there is a word too many\n");
		return EX_USAGE;
	}
	if (command->changes)
		log_peer(c, name, word);
	int status = command->run(c->admin->daemon, c->admin->view, word, answer);
	if (command->changes && status != EX_OK)
		log_info("admin socket", "refused: %.*s", (int)strcspn(buf_cstr(answer), "\n"), answer->data);
	return status;
}

static void
on_line(struct bufferevent *link, void *arg)
{
	struct client *c = arg;
	struct evbuffer *in = bufferevent_get_input(link);
	struct buf answer = BUF_INIT;
	size_t len;
	int status = EX_USAGE;
	char *line = evbuffer_readln(in, &len, EVBUFFER_EOL_CRLF);
	if (line == NULL && evbuffer_get_length(in) < LINE_BYTES)
		return;
	bufferevent_disable(link, EV_READ);
	if (line == NULL || strlen(line) != len)
		buf_adds(&answer, "one line of text is a command\n");
	else
		status = carry_out(c, line, &answer);
	bufferevent_setcb(link, NULL, on_written, on_end, c);
	evbuffer_add_printf(bufferevent_get_output(link), "%d\n", status);
	bufferevent_write(link, answer.data, answer.len);
	buf_free(&answer);
	free(line);
}

static void
on_client(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int len, void *arg)
{
	struct admin *a = arg;
	struct event_base *base = evconnlistener_get_base(listener);
	(void)from, (void)len;
	if (a->n_clients == CLIENTS_MAX) { /* a libevent that lets in all who wait before it looks whether it still may */
		close(fd);
		return;
	}
	struct client *c = xcalloc(1, sizeof *c);
	c->admin = a;
	c->link = xchecked(bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE));
	c->deadline = xchecked(event_new(base, -1, 0, on_deadline, c));
	list_append(&a->clients, &c->node);
	bufferevent_setcb(c->link, on_line, NULL, on_end, c);
	bufferevent_setwatermark(c->link, EV_READ, 0, LINE_BYTES);
	bufferevent_enable(c->link, EV_READ);
	event_add(c->deadline, &(struct timeval){ .tv_sec = VISIT_S });
	a->n_clients++;
	ASSERT(a->n_clients <= CLIENTS_MAX);
	if (a->n_clients == CLIENTS_MAX)
		evconnlistener_disable(listener);
}

static void
on_room(evutil_socket_t fd, short what, void *arg)
{
	struct admin *a = arg;
	ASSERT(a->n_clients <= CLIENTS_MAX);
	(void)fd, (void)what;
	if (a->n_clients < CLIENTS_MAX)
		evconnlistener_enable(a->listener);
}

/* A client cannot be let in, for want of a file descriptor most likely: without a pause the loop would try again all the time. */
static void
on_refusal(struct evconnlistener *listener, void *arg)
{
	struct admin *a = arg;
	evconnlistener_disable(listener);
	event_add(a->room, &(struct timeval){ .tv_usec = PAUSE_MS * 1000 });
}

/* -- start and end */

static int
make_socket(int flags)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
}

static int
go_to(int fd, const struct sockaddr_un *at)
{
	return connect(fd, (const struct sockaddr *)(const void *)at, sizeof *at);
}

/* -1: cannot, errno says why. */
static int
bind_at(const struct sockaddr_un *at)
{
	int fd = make_socket(SOCK_NONBLOCK);
	mode_t before = umask(SOCKET_UMASK); /* nobody else finds it open, not even for a moment */
	int rc = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)(const void *)at, sizeof *at), error = errno;
	umask(before);
	if (rc == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	errno = error;
	return -1;
}

/* Is it a socket on which nobody listens any more? */
static bool
is_left_over(const struct sockaddr_un *at)
{
	struct stat file;
	if (lstat(at->sun_path, &file) != 0 || !S_ISSOCK(file.st_mode))
		return false;
	int fd = make_socket(SOCK_NONBLOCK);
	bool refused = fd >= 0 && go_to(fd, at) != 0 && errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return refused;
}

static struct sockaddr_un
address_of(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	ASSERT(path[0] != '\0' && strlen(path) < sizeof at.sun_path); /* the configuration was checked */
	memcpy(at.sun_path, path, strlen(path));
	return at;
}

struct admin *
admin_new(struct event_base *base, const char *path, struct daemon *daemon, const struct daemon_view *view, struct buf *why)
{
	struct sockaddr_un at = address_of(path);
	int fd = bind_at(&at);
	if (fd < 0 && errno == EADDRINUSE && is_left_over(&at) && unlink(path) == 0)
		fd = bind_at(&at);
	if (fd < 0) {
		buf_addf(why, "cannot listen at %s: %s", path, errno == EADDRINUSE ? "another daemon answers there, or it is no socket: give each daemon its "
		    "own `admin_socket` in [stats]" : strerror(errno));
		return NULL;
	}
	struct admin *a = xcalloc(1, sizeof *a);
	a->daemon = daemon;
	a->view = view;
	a->at = at;
	list_init(&a->clients);
	if (lstat(path, &a->file) != 0)
		a->file.st_ino = 0; /* it is taken away from us already */
	a->room = xchecked(event_new(base, -1, 0, on_room, a));
	a->listener = xchecked(evconnlistener_new(base, on_client, a, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, CLIENTS_MAX, fd));
	evconnlistener_set_error_cb(a->listener, on_refusal);
	return a;
}

void
admin_free(struct admin **admin)
{
	struct admin *a = *admin;
	struct stat file;
	*admin = NULL;
	if (a == NULL)
		return;
	LIST_EACH_SAFE(&a->clients, node, after)
		client_free(LIST_OWNER(node, struct client, node));
	ASSERT(a->n_clients == 0);
	if (lstat(a->at.sun_path, &file) == 0 && file.st_dev == a->file.st_dev && file.st_ino == a->file.st_ino)
		unlink(a->at.sun_path);
	evconnlistener_free(a->listener);
	event_free(a->room);
	free(a);
}

/* -- the other side */

/* What an errno means to the operator; 0: the daemon hung up. */
static const char *
explain(int error)
{
	switch (error) {
	case 0:
		return "it hung up without an answer: look into its log whether it has done it";
	case ENOENT:
		return "there is no such socket: does `sluice run` run here, with this `admin_socket` in [stats]?";
	case ECONNREFUSED:
		return "the daemon that made the socket has ended: start `sluice run`";
	case EACCES:
		return "only the daemon's user and group, and root, may use it";
	case EAGAIN:
		return "it is there, but does not answer: is it stopped, or overloaded?";
	default:
		return strerror(error);
	}
}

/* Sends the line and receives all that comes until the end; 0, or an errno. */
static int
converse(int fd, const struct sockaddr_un *at, const struct buf *line, struct buf *text)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	ssize_t n;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (go_to(fd, at) != 0 || send(fd, line->data, line->len, MSG_NOSIGNAL) < 0)
		return errno;
	while ((n = recv(fd, buf_reserve(text, PIECE_BYTES), PIECE_BYTES, 0)) > 0)
		text->len += (size_t)n;
	return n < 0 ? errno : 0;
}

int
admin_ask(const char *path, const char *command, const char *word, struct buf *answer)
{
	struct sockaddr_un at = address_of(path);
	struct buf line = BUF_INIT, text = BUF_INIT;
	char *rest;
	buf_addf(&line, "%s%s%s\n", command, word == NULL ? "" : " ", word == NULL ? "" : word);
	int fd = make_socket(0), error = fd < 0 ? errno : converse(fd, &at, &line, &text);
	int status = (int)strtol(buf_cstr(&text), &rest, 10);
	if (error != 0 || text.len == 0) {
		buf_addf(answer, "no daemon answers at %s: %s\n", path, explain(error));
		status = EX_UNAVAILABLE;
	} else if (rest == text.data || *rest != '\n') {
		buf_addf(answer, "what answers at %s is not sluice\n", path);
		status = EX_UNAVAILABLE;
	} else {
		buf_adds(answer, rest + 1);
	}
	if (fd >= 0)
		close(fd);
	buf_free(&line);
	buf_free(&text);
	return status;
}
