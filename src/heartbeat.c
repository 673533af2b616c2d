/* One timer for both: an idle daemon shall hardly wake. The line is sent only when it is another one. */
#include "heartbeat.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "check.h"
#include "config.h"
#include "daemon.h"
#include "notify.h"
#include "pool.h"
#include "queue.h"
#include "stats.h"
#include "text.h"
#include "worker.h"

#define PERIOD_US (5 * UINT64_C(1000000))
#define WHY_MAX 200 /* bytes of what is wrong */

struct heartbeat {
	const struct daemon_view *view; /* borrowed */
	struct event *timer;            /* owned */
	bool watched;                   /* the manager has a watchdog */
	struct buf told;                /* the last line */
};

/* The first thing that keeps orders waiting: a server, or a queue that cannot go on. Nothing if all is well. */
static void
add_trouble(const struct daemon_view *view, struct buf *line)
{
	struct buf why = BUF_INIT;
	bool ready = stats_ready(view, &why);
	for (size_t i = 0; i < view->n_workers && ready && why.len == 0; i++) {
		struct worker_view worker;
		struct queue_view queue;
		worker_look(view->workers[i], &worker, &queue);
		if (queue.block != BLOCK_NONE)
			buf_addf(&why, "queue %s: %s", worker.config->name, queue.reason);
	}
	size_t n = strcspn(buf_cstr(&why), "\n");
	buf_adds(line, n > 0 ? "; " : "");
	text_clean(line, why.data, n < WHY_MAX ? n : WHY_MAX);
	buf_free(&why);
}

/* "draining 2 queues, backlog 12, 4/10 connections busy". */
static void
add_status(const struct daemon_view *view, struct buf *line)
{
	size_t draining = 0;
	uint64_t backlog = 0;
	unsigned sessions = 0, busy = 0;
	for (size_t i = 0; i < view->n_workers; i++) {
		struct worker_view worker;
		struct queue_view queue;
		worker_look(view->workers[i], &worker, &queue);
		draining += queue.state == QUEUE_DRAIN && queue.block == BLOCK_NONE;
		backlog += queue.backlog;
	}
	for (size_t i = 0; i < view->n_pools; i++) {
		sessions += pool_sessions(view->pools[i]);
		busy += pool_count(view->pools[i], SESSION_BUSY);
	}
	ASSERT(draining <= view->n_workers && busy <= sessions);
	buf_addf(line, "draining %zu ", draining);
	if (draining < view->n_workers)
		buf_addf(line, "of %zu ", view->n_workers);
	buf_addf(line, "queue%s, backlog %" PRIu64 ", %u/%u connections busy", view->n_workers == 1 ? "" : "s", backlog, busy, sessions);
	add_trouble(view, line);
}

static void
tell_status(struct heartbeat *h)
{
	struct buf line = BUF_INIT;
	buf_adds(&line, "STATUS=");
	add_status(h->view, &line);
	if (strcmp(buf_cstr(&line), buf_cstr(&h->told)) != 0)
		notify_manager(buf_cstr(&line));
	buf_free(&h->told);
	h->told = line;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct heartbeat *h = arg;
	(void)fd, (void)what;
	if (h->watched)
		notify_manager("WATCHDOG=1");
	tell_status(h);
}

struct heartbeat *
heartbeat_new(struct event_base *base, const struct daemon_view *view)
{
	if (!notify_is_wanted())
		return NULL;
	struct heartbeat *h = xcalloc(1, sizeof *h);
	uint64_t half_us = notify_watchdog_us() / 2, period_us = half_us > 0 && half_us < PERIOD_US ? half_us : PERIOD_US;
	h->view = view;
	h->watched = half_us > 0;
	h->timer = event_new(base, -1, EV_PERSIST, on_timer, h);
	event_add(h->timer, &(struct timeval){ (time_t)(period_us / 1000000), (suseconds_t)(period_us % 1000000) });
	event_active(h->timer, 0, 0);
	return h;
}

void
heartbeat_free(struct heartbeat **heartbeat)
{
	struct heartbeat *h = *heartbeat;
	*heartbeat = NULL;
	if (h == NULL)
		return;
	event_free(h->timer);
	buf_free(&h->told);
	free(h);
}
