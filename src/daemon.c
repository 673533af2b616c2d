/* `sluice run`. */
#include "daemon.h"

#include <event2/event.h>
#include <fcntl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "encode.h"
#include "httpd.h"
#include "log.h"
#include "notify.h"
#include "pool.h"
#include "worker.h"

#define SIGNALS 5
#define STOP_CHECK_MS 20
#define LEASES_IDLE 3 /* a stopped owner's open transaction ends after so many leases */

struct daemon {
	const struct config *config;     /* borrowed */
	struct event_base *base;         /* owned, as all below */
	struct event *signals[SIGNALS];
	struct event *stop_check;        /* while stopping: is everything at rest? */
	struct worker_context context;   /* handed to the workers */
	char owner[320];                 /* "instance boot" */
	struct pool **pools;             /* one a database */
	struct worker **workers;         /* one a queue */
	struct httpd *httpd;             /* NULL: none wanted */
	struct daemon_view view;         /* for the stats */
	bool stopping;                   /* a first SIGTERM came */
	uint64_t stop_by_ms;             /* then it goes, whatever is in flight */
};

/* -- one process an instance name */

/* Takes the lock of this instance name on this host; -1: somebody has it, or it cannot be taken; the reason was logged. */
static int
lock_instance(const char *instance)
{
	static const char *const places[] = { "/run/lock", "/tmp" };
	char path[320];
	int fd = -1;
	for (size_t i = 0; i < 2 && fd < 0; i++) {
		snprintf(path, sizeof path, "%s/sluice-%s.lock", places[i], instance);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	if (fd < 0) {
		log_error(NULL, "cannot open the lock file %s: %s", path, strerror(errno));
	} else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		log_error(NULL, "another sluice runs here as instance \"%s\" (%s is locked): give each its own `instance`", instance, path);
		close(fd);
		fd = -1;
	}
	return fd;
}

/* -- stopping */

static void
on_stop_check(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	(void)fd;
	(void)what;
	size_t left = 0;
	for (size_t i = 0; i < d->config->n_queues; i++)
		left += !worker_is_stopped(d->workers[i]);
	if (left == 0) {
		event_base_loopbreak(d->base);
	} else if (clock_ms() >= d->stop_by_ms) {
		log_warning(NULL, "%zu queues still have something in flight after drain_timeout: going; the ledger tells the next start what was committed", left);
		fflush(NULL);
		_Exit(EX_OK);
	} else {
		event_add(d->stop_check, &(struct timeval){ 0, STOP_CHECK_MS * 1000 });
	}
}

static void
stop(struct daemon *d)
{
	if (d->stopping) {
		log_warning(NULL, "second signal: going now");
		_Exit(EX_OK);
	}
	log_info(NULL, "stopping: finishing what is in flight");
	notify_manager("STOPPING=1");
	d->stopping = true;
	d->stop_by_ms = clock_ms() + (uint64_t)d->config->drain_timeout * 1000;
	for (size_t i = 0; i < d->config->n_queues; i++)
		worker_stop(d->workers[i]);
	event_add(d->stop_check, &(struct timeval){ 0, 0 });
}

static void
on_signal(evutil_socket_t number, short what, void *arg)
{
	struct daemon *d = arg;
	(void)what;
	if (number == SIGTERM || number == SIGINT) {
		stop(d);
		return;
	}
	if (number == SIGHUP) {
		log_warning(NULL, "SIGHUP: this version cannot reload; restart it to apply a changed configuration");
		return;
	}
	for (size_t i = 0; i < d->config->n_queues; i++) {
		if (number == SIGUSR1)
			worker_pause(d->workers[i]);
		else
			worker_resume(d->workers[i]);
	}
}

/* -- starting */

static struct pool *
pool_of(const struct daemon *d, const struct queue_config *queue)
{
	size_t i = (size_t)(queue->target - d->config->databases);
	ASSERT(i < d->config->n_databases);
	return d->pools[i];
}

static void
open_all(struct daemon *d)
{
	const struct config *c = d->config;
	d->pools = xcalloc(c->n_databases, sizeof(struct pool *));
	d->workers = xcalloc(c->n_queues, sizeof(struct worker *));
	for (size_t i = 0; i < c->n_databases; i++)
		d->pools[i] = pool_new(d->base, &c->databases[i], LEASES_IDLE * c->lease_ttl);
	for (size_t i = 0; i < c->n_queues; i++)
		d->workers[i] = worker_new(&d->context, &c->queues[i], pool_of(d, &c->queues[i]));
	d->view = (struct daemon_view){ c, d->pools, c->n_databases, d->workers, c->n_queues, (uint64_t)clock_wall_us() };
}

static void
close_all(struct daemon *d)
{
	httpd_free(&d->httpd);
	for (size_t i = 0; i < d->config->n_queues; i++)
		worker_free(&d->workers[i]);
	for (size_t i = 0; i < d->config->n_databases; i++)
		pool_free(&d->pools[i]);
	free(d->workers);
	free(d->pools);
	for (size_t i = 0; i < SIGNALS; i++)
		event_free(d->signals[i]);
	event_free(d->stop_check);
	encoder_free(&d->context.encoder);
	event_base_free(d->base);
}

static void
listen_to_signals(struct daemon *d)
{
	static const int numbers[SIGNALS] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < SIGNALS; i++) {
		d->signals[i] = evsignal_new(d->base, numbers[i], on_signal, d);
		event_add(d->signals[i], NULL);
	}
	d->stop_check = event_new(d->base, -1, 0, on_stop_check, d);
}

int
daemon_run(const struct config *config)
{
	struct daemon d = { .config = config };
	uint64_t boot;
	event_set_mem_functions(xmalloc, xrealloc, free); /* or an event that could not be added would be waited for in vain */
	log_setup((enum log_level)config->log_level, (enum log_format)config->log_format, config->instance);
	int lock = lock_instance(config->instance);
	if (lock < 0)
		return EX_CONFIG;
	ssize_t got = getrandom(&boot, sizeof boot, 0);
	ASSERT(got == (ssize_t)sizeof boot);
	srandom((unsigned)boot); /* for the jitter of waits */
	snprintf(d.owner, sizeof d.owner, "%s %016llx", config->instance, (unsigned long long)boot);
	d.base = event_base_new();
	ASSERT(d.base != NULL);
	d.context = (struct worker_context){ d.base, config, encoder_new(), d.owner };
	listen_to_signals(&d);
	open_all(&d);
	int status = EX_OK;
	if (config->stats.listen != NULL && (d.httpd = httpd_new(d.base, config->stats.listen, &d.view)) == NULL) {
		status = EX_CONFIG;
	} else {
		log_info(NULL, "sluice runs as instance %s: %zu queues, %zu databases", config->instance, config->n_queues, config->n_databases);
		notify_manager("READY=1");
		event_base_dispatch(d.base);
		log_info(NULL, "stopped");
	}
	close_all(&d);
	close(lock);
	return status;
}
