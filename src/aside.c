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
struct errand {
	const struct aside_work *kind;
	void *work; /* owned */
	int out;    /* its end of the pair */
};

struct aside {
	const struct aside_work *kind;
	pthread_t thread;
	struct event in;     /* the loop's end of the pair */
	aside_done_fn *done;
	void *arg;           /* its argument */
};

/* Is there a thread that nobody waits for? */
static bool threads_left;

static void *
run(void *arg)
{
	struct errand e = *(struct errand *)arg;
	free(arg);
	e.kind->run(e.work);
	if (send(e.out, &e.work, sizeof e.work, MSG_NOSIGNAL) != (ssize_t)sizeof e.work)
		e.kind->drop(e.work);
	close(e.out);
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
	aside_done_fn *done = a->done;
	void *done_arg = a->arg, *work;
	(void)what;
	ssize_t n = recv(fd, &work, sizeof work, 0);
	ASSERT(n == (ssize_t)sizeof work);
	pthread_join(a->thread, NULL);
	aside_free(a);
	done(done_arg, work);
}

/* It hears no signal: those are the loop's. 0, or an errno. */
static int
start_thread(pthread_t *thread, struct errand *errand)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(thread, NULL, run, errand);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

struct aside *
aside_start(struct event_base *base, const struct aside_work *kind, void *work, aside_done_fn *done, void *arg)
{
	int ends[2];
	ASSERT(work != NULL && done != NULL);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return NULL;
	struct errand *errand = xmalloc(sizeof *errand);
	struct aside *a = xcalloc(1, sizeof *a);
	*errand = (struct errand){ .kind = kind, .work = work, .out = ends[1] };
	a->kind = kind;
	a->done = done;
	a->arg = arg;
	event_assign(&a->in, base, ends[0], EV_READ, on_end, a);
	event_add(&a->in, NULL);
	int error = start_thread(&a->thread, errand);
	if (error == 0)
		return a;
	free(errand);
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
