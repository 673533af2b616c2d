/* The commands of the admin socket. */
#include "control.h"

#include <string.h>
#include <sysexits.h>

#include "buf.h"
#include "config.h"
#include "daemon.h"
#include "log.h"
#include "nearest.h"
#include "pool.h"
#include "queue.h"
#include "stats.h"
#include "text.h"
#include "worker.h"

/* -- queues */

/* What is done to one queue: appends a line, false: it cannot be done now. */
typedef bool deed_fn(struct worker *worker, const char *name, struct buf *answer);

/* Does it to the queue of that name; NULL: to all. */
static int
each_queue(const struct daemon_view *view, const char *name, deed_fn *deed, struct buf *answer)
{
	struct nearest nearest = { .wanted = name };
	int status = name == NULL ? EX_OK : EX_USAGE;
	for (size_t i = 0; i < view->n_workers; i++) {
		struct worker_view worker;
		struct queue_view queue;
		worker_look(view->workers[i], &worker, &queue);
		if (name == NULL)
			deed(view->workers[i], worker.config->name, answer);
		else if (strcmp(worker.config->name, name) == 0)
			return deed(view->workers[i], name, answer) ? EX_OK : EX_USAGE;
		else
			nearest_offer(&nearest, worker.config->name);
	}
	if (name != NULL) {
		buf_addf(answer, "there is no queue %s", name);
		nearest_suggest(&nearest, answer);
		buf_addc(answer, '\n');
	}
	return status;
}

/* Why the queue waits, in a server's words perhaps. */
static void
add_reason(struct worker *worker, const char *before, struct buf *answer)
{
	struct worker_view w;
	struct queue_view queue;
	worker_look(worker, &w, &queue);
	if (queue.reason[0] == '\0')
		return;
	buf_adds(answer, before);
	text_clean(answer, queue.reason, strlen(queue.reason));
}

static bool
pause_one(struct worker *worker, const char *name, struct buf *answer)
{
	worker_pause(worker);
	buf_addf(answer, "queue %s: paused\n", name);
	return true;
}

static bool
resume_one(struct worker *worker, const char *name, struct buf *answer)
{
	worker_resume(worker);
	buf_addf(answer, "queue %s: resumed", name);
	add_reason(worker, "; it waited, and tries again: ", answer);
	buf_addc(answer, '\n');
	return true;
}

static bool
choose_one(struct worker *worker, const char *name, bool store, struct buf *answer)
{
	bool chosen = worker_choose(worker, store);
	if (chosen) {
		buf_addf(answer, "queue %s: what is in doubt %s", name, store ? "is stored, perhaps a second time" : "becomes dead letters");
	} else {
		buf_addf(answer, "queue %s has nothing in doubt here", name);
		add_reason(worker, "; it waits for something else: ", answer);
	}
	buf_addc(answer, '\n');
	return chosen;
}

static bool
accept_one(struct worker *worker, const char *name, struct buf *answer)
{
	return choose_one(worker, name, true, answer);
}

static bool
skip_one(struct worker *worker, const char *name, struct buf *answer)
{
	return choose_one(worker, name, false, answer);
}

static int
control_pause(struct daemon *daemon, const struct daemon_view *view, const char *word, struct buf *answer)
{
	(void)daemon;
	return each_queue(view, word, pause_one, answer);
}

static int
control_resume(struct daemon *daemon, const struct daemon_view *view, const char *word, struct buf *answer)
{
	(void)daemon;
	return each_queue(view, word, resume_one, answer);
}

static int
control_accept(struct daemon *daemon, const struct daemon_view *view, const char *word, struct buf *answer)
{
	(void)daemon;
	ASSERT(word != NULL); /* nobody gives this answer for queues that he did not name */
	return each_queue(view, word, accept_one, answer);
}

static int
control_skip(struct daemon *daemon, const struct daemon_view *view, const char *word, struct buf *answer)
{
	(void)daemon;
	ASSERT(word != NULL);
	return each_queue(view, word, skip_one, answer);
}

/* -- databases, the daemon */

static int
control_reconnect(struct daemon *daemon, const struct daemon_view *view, const char *word, struct buf *answer)
{
	struct nearest nearest = { .wanted = word };
	bool found = word == NULL;
	(void)daemon;
	for (size_t i = 0; i < view->n_pools; i++) {
		const char *name = pool_config(view->pools[i])->name;
		if (word != NULL && strcmp(name, word) != 0) {
			nearest_offer(&nearest, name);
			continue;
		}
		found = true;
		pool_reconnect(view->pools[i]);
		buf_addf(answer, "database %s: all connections are opened anew, those at work when their batch is done\n", name);
	}
	if (!found) {
		buf_addf(answer, "there is no database %s", word);
		nearest_suggest(&nearest, answer);
		buf_addc(answer, '\n');
	}
	return found ? EX_OK : EX_USAGE;
}

static int
control_reload(struct daemon *daemon, const struct daemon_view *view, const char *word, struct buf *answer)
{
	(void)view;
	ASSERT(word == NULL);
	return daemon_reload(daemon, answer) ? EX_OK : EX_CONFIG;
}

static int
control_loglevel(struct daemon *daemon, const struct daemon_view *view, const char *word, struct buf *answer)
{
	(void)daemon, (void)view;
	ASSERT(word != NULL);
	if (!log_set_level(word)) {
		buf_addf(answer, "%s is not error, warning, info or debug\n", word);
		return EX_USAGE;
	}
	buf_addf(answer, "log level: %s, until the next reload or start\n", word);
	return EX_OK;
}

/* For `sluice show` and `sluice top` where there is no stats port: a table, or everything as JSON, with the history or without. */
static int
control_show(struct daemon *daemon, const struct daemon_view *view, const char *word, struct buf *answer)
{
	(void)daemon;
	ASSERT(word != NULL);
	bool history = strcmp(word, "history") == 0;
	bool shown = history || strcmp(word, "json") == 0 ? stats_json(view, NULL, history, answer) : stats_table(view, word, answer);
	if (!shown)
		buf_addf(answer, "cannot show %s\n", word);
	return shown ? EX_OK : EX_USAGE;
}

static const struct control commands[] = {
	{ "pause", 0, 1, true, control_pause },
	{ "resume", 0, 1, true, control_resume },
	{ "accept", 1, 1, true, control_accept },
	{ "skip", 1, 1, true, control_skip },
	{ "reconnect", 0, 1, true, control_reconnect },
	{ "reload", 0, 0, true, control_reload },
	{ "loglevel", 1, 1, true, control_loglevel },
	{ "show", 1, 1, false, control_show },
};

const struct control *
control_find(const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}
