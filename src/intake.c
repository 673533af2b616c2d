/* Looking before the library reads, and the relay between two descriptors. */
#include "intake.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* As many at once are much. Answers to what stores orders are far smaller. */
#define MUCH_BYTES 16384
/* What the relay holds for one side before it waits for that side to read. */
#define HELD_BYTES 65536

static size_t
bytes_waiting(int fd)
{
	int waiting = 0;
	return ioctl(fd, FIONREAD, &waiting) == 0 && waiting > 0 ? (size_t)waiting : 0;
}

/* The descriptor leads to what `from` leads to; an event that waits for it goes on to wait. */
static void
lead_to(struct intake *in, int fd, int from)
{
	bool waits = event_pending(in->io, EV_READ | EV_WRITE, NULL) != 0;
	ASSERT(fd >= 0 && from >= 0 && fd != from);
	if (waits)
		event_del(in->io);
	int rc = dup2(from, fd);
	ASSERT(rc == fd);
	evutil_make_socket_closeonexec(fd);
	if (waits)
		event_add(in->io, NULL);
}

/* -- the relay */

/* The library finds the end, behind what it has not read yet. */
static void
hang_up(struct intake *in)
{
	bufferevent_disable(in->server, EV_READ | EV_WRITE);
	shutdown(bufferevent_getfd(in->library), SHUT_WR);
}

static void
on_read(struct bufferevent *link, void *arg)
{
	struct intake *in = arg;
	struct evbuffer *from = bufferevent_get_input(link), *to = bufferevent_get_output(link == in->server ? in->library : in->server);
	if (link == in->server)
		in->taken += evbuffer_get_length(from);
	if (intake_is_flooded(in)) {
		hang_up(in);
		return;
	}
	evbuffer_add_buffer(to, from);
	if (evbuffer_get_length(to) >= HELD_BYTES)
		bufferevent_disable(link, EV_READ);
}

/* This side has all that there was for it. */
static void
on_written(struct bufferevent *link, void *arg)
{
	struct intake *in = arg;
	if (in->ended && link == in->library)
		hang_up(in);
	else if (!in->ended)
		bufferevent_enable(link == in->server ? in->library : in->server, EV_READ);
}

static void
on_end(struct bufferevent *link, short what, void *arg)
{
	struct intake *in = arg;
	(void)what;
	if (link == in->library)
		return; /* whoever closed the library's end ends us, too */
	in->ended = true;
	if (evbuffer_get_length(bufferevent_get_output(in->library)) == 0)
		hang_up(in);
}

static struct bufferevent *
side(struct intake *in, int fd)
{
	struct bufferevent *link = xchecked(bufferevent_socket_new(in->base, fd, BEV_OPT_CLOSE_ON_FREE));
	bufferevent_setcb(link, on_read, on_written, on_end, in);
	bufferevent_enable(link, EV_READ | EV_WRITE);
	return link;
}

static ino_t
inode_of(int fd)
{
	struct stat file;
	return fstat(fd, &file) == 0 ? file.st_ino : 0;
}

/* False: there are no descriptors left for it. */
static bool
put_relay(struct intake *in, int fd)
{
	int pair[2];
	int server = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (server < 0)
		return false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
		close(server);
		return false;
	}
	evutil_make_socket_nonblocking(server);
	in->fd = fd;
	in->pair = inode_of(pair[1]);
	lead_to(in, fd, pair[1]);
	close(pair[1]);
	in->server = side(in, server);
	in->library = side(in, pair[0]);
	in->ended = false;
	return true;
}

static bool
holds_something(struct bufferevent *link)
{
	return evbuffer_get_length(bufferevent_get_input(link)) > 0 || evbuffer_get_length(bufferevent_get_output(link)) > 0;
}

/* Is nothing under way between server and library? */
static bool
is_idle(const struct intake *in)
{
	return !in->ended && !holds_something(in->server) && !holds_something(in->library) && bytes_waiting(in->fd) == 0 &&
	    bytes_waiting(bufferevent_getfd(in->library)) == 0;
}

static void
free_relay(struct intake *in)
{
	ASSERT(in->server != NULL && in->library != NULL);
	bufferevent_free(in->server);
	bufferevent_free(in->library);
	in->server = in->library = NULL;
}

/* Leads the library to the server itself again, where no byte gets lost by it. */
static void
take_away(struct intake *in)
{
	ASSERT(in->server != NULL);
	if (inode_of(in->fd) != in->pair || !is_idle(in))
		return;
	lead_to(in, in->fd, bufferevent_getfd(in->server));
	free_relay(in);
}

/* -- for the drivers */

void
intake_init(struct intake *in, struct event_base *base, struct event *io, size_t max)
{
	ASSERT(max > 0);
	*in = (struct intake){ .base = base, .io = io, .max = max };
}

void
intake_begin(struct intake *in, size_t max)
{
	ASSERT(max > 0);
	in->taken = 0;
	in->max = max;
	if (in->server != NULL)
		take_away(in);
}

void
intake_look(struct intake *in, int fd, bool careful)
{
	if (in->server != NULL && (fd != in->fd || inode_of(fd) != in->pair))
		free_relay(in); /* the library has given that socket up and tries the next */
	if (in->server == NULL) {
		size_t waiting = bytes_waiting(fd);
		if ((waiting < MUCH_BYTES && !careful) || !put_relay(in, fd))
			in->taken += waiting;
	}
}

void
intake_took(struct intake *in, int fd, size_t n)
{
	if (in->server != NULL)
		return; /* the relay counts */
	in->taken += n;
	if (in->taken >= MUCH_BYTES && !put_relay(in, fd))
		(void)shutdown(fd, SHUT_RDWR); /* better no connection than one that may read without end */
}

bool
intake_is_flooded(const struct intake *in)
{
	return in->taken > in->max;
}

void
intake_end(struct intake *in)
{
	if (in->server != NULL)
		take_away(in);
	if (in->server != NULL)
		free_relay(in);
}
