/* A thread for each call, and how its end is told. */
#include "aside.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The thread's. */
struct call {
	const struct aside_work *kind;
	void *work; /* owned */
	int out;    /* its end of the pair */
};

struct aside {
	const struct aside_work *kind;
	pthread_t thread;
	struct event in; /* the loop's end of the pair */
};

/* Is there a thread that nobody waits for? */
static bool threads_left;

static void *
run(void *arg)
{
	struct call c = *(struct call *)arg;
	free(arg);
	c.kind->run(c.work);
	if (send(c.out, &c.work, sizeof c.work, MSG_NOSIGNAL) != (ssize_t)sizeof c.work)
		c.kind->drop(c.work);
	close(c.out);
	return NULL;
}

/* Lets go of the loop's side. */
static void
aside_free(struct aside *a)
{
	int fd = (int)event_get_fd(&a->in);
	event_del(&a->in);
	close(fd);
	free(a);
}

static void
on_end(evutil_socket_t fd, short what, void *arg)
{
	struct aside *a = arg;
	const struct aside_work *kind = a->kind;
	void *work;
	(void)what;
	ssize_t n = recv(fd, &work, sizeof work, 0);
	ASSERT(n == (ssize_t)sizeof work);
	pthread_join(a->thread, NULL);
	aside_free(a);
	kind->done(work);
}

/* It hears no signal: those are the loop's. 0, or an errno. */
static int
start_thread(pthread_t *thread, struct call *call)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(thread, NULL, run, call);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

struct aside *
aside_start(struct event_base *base, const struct aside_work *kind, void *work)
{
	int ends[2];
	ASSERT(work != NULL);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return NULL;
	struct call *call = xmalloc(sizeof *call);
	struct aside *a = xcalloc(1, sizeof *a);
	*call = (struct call){ .kind = kind, .work = work, .out = ends[1] };
	a->kind = kind;
	event_assign(&a->in, base, ends[0], EV_READ, on_end, a);
	event_add(&a->in, NULL);
	int error = start_thread(&a->thread, call);
	if (error == 0)
		return a;
	free(call);
	close(ends[1]);
	aside_free(a);
	errno = error;
	return NULL;
}

/* The end is shut first: what was sent before is here then, and what is sent later stays there. */
void
aside_abandon(struct aside **place)
{
	struct aside *a = *place;
	void *work;
	*place = NULL;
	if (a == NULL)
		return;
	int fd = (int)event_get_fd(&a->in);
	(void)shutdown(fd, SHUT_RDWR);
	if (recv(fd, &work, sizeof work, MSG_DONTWAIT) == (ssize_t)sizeof work)
		a->kind->drop(work);
	pthread_detach(a->thread);
	threads_left = true;
	aside_free(a);
}

bool
aside_threads_left(void)
{
	return threads_left;
}
