/* `sluice run`. */
#include "daemon.h"

#include <event2/event.h>
#include <fcntl.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

#include "admin.h"
#include "buf.h"
#include "clock.h"
#include "config.h"
#include "events.h"
#include "heartbeat.h"
#include "httpd.h"
#include "log.h"
#include "notify.h"
#include "priorities.h"
#include "supervisor.h"
#include "worker.h"

#define SIGNALS 5
#define STOP_CHECK_MS 20
#define FREE_KEPT (16 * 1024 * 1024) /* bytes of freed memory that are not given back to the system */
#define MAPPED_FROM (4 * 1024 * 1024) /* pieces of memory as large as that are, each by itself */

struct daemon {
	const char *file;                /* the configuration's; borrowed */
	struct event_base *base;         /* owned, as all below */
	struct event *signals[SIGNALS];
	struct events events;            /* for the view */
	struct event *stop_check;        /* while stopping: is everything at rest? */
	char owner[320];                 /* "instance boot" */
	struct supervisor *supervisor;   /* pools and workers */
	struct httpd *httpd;             /* NULL: none wanted */
	struct admin *admin;             /* NULL: none wanted, or it cannot be had */
	struct heartbeat *heartbeat;     /* NULL: no service manager listens */
	struct daemon_view view;         /* for the stats; its config is the one in force */
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
	size_t left = supervisor_at_work(d->supervisor);
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
	d->stop_by_ms = clock_ms() + (uint64_t)d->view.config->drain_timeout * 1000;
	supervisor_stop(d->supervisor);
	event_add(d->stop_check, &(struct timeval){ 0, 0 });
}

/* -- another configuration */

/* Each line of a text is a line of the log. */
static void
log_lines(enum log_level level, const char *text)
{
	for (size_t n; *text != '\0'; text += n + (text[n] == '\n')) {
		n = strcspn(text, "\n");
		log_line(level, "reload", "%.*s", (int)n, text);
	}
}

/* The configuration as the file has it now, if it can be followed; else NULL, and the report says why. */
static struct config *
read_again(const struct daemon *d, struct buf *report)
{
	struct config *config = config_read(d->file, report);
	if (config == NULL)
		return NULL;
	if (config_compare(d->view.config, config, report) == CHANGE_NONE)
		buf_adds(report, "nothing has changed\n");
	config_keep(config, d->view.config);
	return config;
}

static void
follow(struct daemon *d, struct config *config)
{
	d->view.configured_us = (uint64_t)clock_wall_us();
	log_setup((enum log_level)config->log_level, (enum log_format)config->log_format, config->instance);
	if (config_compare(d->view.config, config, NULL) == CHANGE_NONE)
		config_free(&config);
	else
		supervisor_follow(d->supervisor, config);
}

bool
daemon_reload(struct daemon *d, struct buf *report)
{
	char reloading[60];
	if (d->stopping) {
		buf_adds(report, "refused: the daemon is stopping\n");
		return false;
	}
	snprintf(reloading, sizeof reloading, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)clock_us());
	notify_manager(reloading);
	struct buf lines = BUF_INIT;
	struct config *config = read_again(d, &lines);
	d->view.reload_ok = config != NULL;
	if (config == NULL)
		buf_adds(&lines, "refused: the configuration in force stays as it is\n");
	log_lines(config == NULL ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, buf_cstr(&lines));
	if (config != NULL)
		follow(d, config);
	buf_add(report, lines.data, lines.len);
	buf_free(&lines);
	notify_manager("READY=1");
	return d->view.reload_ok;
}

/* -- signals */

static void
reload_by_signal(struct daemon *d)
{
	struct buf report = BUF_INIT; /* it stands in the log */
	daemon_reload(d, &report);
	buf_free(&report);
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
		reload_by_signal(d);
		return;
	}
	for (size_t i = 0; i < d->view.n_workers; i++) {
		if (number == SIGUSR1)
			worker_pause(d->view.workers[i]);
		else
			worker_resume(d->view.workers[i]);
	}
}

/* -- starting */

/* False: there is no admin socket where the file names one. At the default place it may be missing: not everybody has that directory. */
static bool
open_admin(struct daemon *d)
{
	const struct stats_config *stats = &d->view.config->stats;
	struct buf why = BUF_INIT;
	if (stats->admin_socket == NULL || (d->admin = admin_new(d->base, stats->admin_socket, d, &d->view, &why)) != NULL)
		return true;
	if (stats->admin_socket_given)
		log_error("admin socket", "%s", buf_cstr(&why));
	else
		log_warning("admin socket", "%s: going on without `sluice pause` and its like; name another `admin_socket` in [stats]", buf_cstr(&why));
	buf_free(&why);
	return !stats->admin_socket_given;
}

/* False: a place where it should listen cannot be had, which was logged. */
static bool
open_ports(struct daemon *d)
{
	const char *listen = d->view.config->stats.listen;
	if (listen != NULL && (d->httpd = httpd_new(d->base, listen, &d->view)) == NULL)
		return false;
	return open_admin(d);
}

static void
close_all(struct daemon *d)
{
	heartbeat_free(&d->heartbeat);
	admin_free(&d->admin);
	httpd_free(&d->httpd);
	supervisor_free(&d->supervisor);
	for (size_t i = 0; i < SIGNALS; i++)
		event_free(d->signals[i]);
	event_free(d->stop_check);
	log_listen(NULL, NULL);
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

/* By itself malloc gives back what a window has used, and the system clears each page of it anew for the next: 4 to 8 % of the daemon's CPU time. */
static void
keep_memory(void)
{
	(void)mallopt(M_TRIM_THRESHOLD, FREE_KEPT); /* a sanitizer's malloc knows neither */
	(void)mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
}

/* By its usual, coarse clock a timer is late in its own eyes when it rings, and an idle daemon wakes three times for each. */
static struct event_base *
new_base(void)
{
	struct event_config *how = event_config_new();
	int rc = event_config_set_flag(how, EVENT_BASE_FLAG_PRECISE_TIMER);
	struct event_base *base = event_base_new_with_config(how);
	ASSERT(rc == 0 && base != NULL);
	rc = event_base_priority_init(base, PRIORITIES);
	ASSERT(rc == 0);
	event_config_free(how);
	return base;
}

static void
on_line(void *arg, const char *level, const char *subject, const char *text)
{
	events_add(arg, clock_wall_us(), level, subject, text);
}

int
daemon_run(const struct config *config)
{
	uint64_t now = (uint64_t)clock_wall_us();
	struct daemon d = { .file = config->files[0], .view = { .started_us = now, .configured_us = now, .reload_ok = true } };
	uint64_t boot;
	keep_memory();
	event_set_mem_functions(xmalloc, xrealloc, free); /* or an event that could not be added would be waited for in vain */
	log_setup((enum log_level)config->log_level, (enum log_format)config->log_format, config->instance);
	int lock = lock_instance(config->instance);
	if (lock < 0)
		return EX_CONFIG;
	ssize_t got = getrandom(&boot, sizeof boot, 0);
	ASSERT(got == (ssize_t)sizeof boot);
	srandom((unsigned)boot); /* for the jitter of waits */
	snprintf(d.owner, sizeof d.owner, "%s %016llx", config->instance, (unsigned long long)boot);
	d.base = new_base();
	listen_to_signals(&d);
	d.view.events = &d.events;
	log_listen(on_line, &d.events);
	d.supervisor = supervisor_new(d.base, config, d.owner, &d.view);
	int status = EX_OK;
	if (!open_ports(&d)) {
		status = EX_CONFIG;
	} else {
		log_info(NULL, "sluice runs as instance %s; queues: %zu, databases: %zu", config->instance, config->n_queues, config->n_databases);
		notify_manager("READY=1");
		d.heartbeat = heartbeat_new(d.base, &d.view);
		event_base_dispatch(d.base);
		log_info(NULL, "stopped");
	}
	close_all(&d);
	close(lock);
	return status;
}
