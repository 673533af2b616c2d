/* The world around a queue under test: a list of one-letter orders, and ports that write down what is asked; a story then answers. To be included by
 * one test program. */
#ifndef SLUICE_TESTS_QUEUE_WORLD_H
#define SLUICE_TESTS_QUEUE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "log.h"
#include "queue.h"
#include "window.h"

#define ASKED_MAX 48
#define RING 32

struct session {
	int unused;
};

struct world {
	struct queue *q;
	struct queue_limits limits;
	struct session session;  /* as many as it likes: they are all this one */
	uint64_t now, view;      /* view: of the last question to Redis */
	uint64_t wake_at;        /* as last asked for */
	const char *list;        /* an item a letter, the oldest first */
	bool cut;                /* the next peek brings too much: only `cut_at` items come */
	uint32_t cut_at;
	unsigned leases, owns, peeks, settles, waits, releases; /* asked so often */
	bool rewritten;          /* of the last own, as the next */
	uint64_t before;         /* of the last own */
	uint64_t accepted;       /* of it, or of the last lease */
	bool clean;              /* of the last release; of the next lease too */
	bool elsewhere;          /* of the next lease */
	uint64_t offset;         /* of the last peek */
	uint32_t count;
	uint32_t remove;         /* of the last settle */
	size_t windows;
	uint64_t settled;        /* what Redis has in its place; of the next own too */
	struct asked {
		struct task *task;
		enum statement_kind kind;
		bool begin, again, commit;
	} asked[ASKED_MAX];      /* n_asked statements that wait for their answer */
	size_t n_asked;
	char waits_for[3];       /* questions to Redis in their order: peek, settle */
	unsigned useless, kept;  /* sessions given back */
	bool misfit;             /* what prepare() finds */
	bool all_bad;            /* and that no item is JSON */
	bool together, commits;  /* what it decides */
	char told[16384];        /* all lines */
};

/* -- the ports write down what is asked */

static void
on_lease(void *world, uint64_t view, uint64_t accepted)
{
	struct world *w = world;
	w->leases++;
	w->accepted = accepted;
	w->view = view;
	w->waits_for[0] = '\0'; /* a new beginning */
}

static void
on_own(void *world, uint64_t view, const struct claim *claim)
{
	struct world *w = world;
	assert_true(claim->epoch > claim->before);
	assert_int_equal(strlen(claim->new_generation), QUEUE_GENERATION_MAX - 1);
	w->owns++;
	w->view = view;
	w->rewritten = claim->rewritten;
	w->before = claim->before;
	w->accepted = claim->accepted;
}

static void
on_peek(void *world, uint64_t view, uint64_t offset, uint32_t count, size_t budget)
{
	struct world *w = world;
	(void)budget;
	w->peeks++;
	strcat(w->waits_for, "p");
	w->view = view;
	w->offset = offset;
	w->count = count;
}

static void
on_settle(void *world, uint64_t view, const struct settle *settle)
{
	struct world *w = world;
	assert_int_equal(settle->settled, w->settled);
	for (size_t i = 0; i < settle->n_samples; i++)
		assert_memory_equal(settle->samples[i].item->text, w->list + settle->skip + settle->samples[i].offset, 1);
	w->settles++;
	strcat(w->waits_for, "s");
	w->view = view;
	w->remove = settle->remove;
	w->windows = settle->n_windows;
}

static void
on_wait(void *world, uint64_t view)
{
	(void)view;
	((struct world *)world)->waits++;
}

static void
on_length(void *world, uint64_t view)
{
	(void)world;
	(void)view;
}

static void
on_release(void *world, uint64_t view, bool clean)
{
	struct world *w = world;
	w->releases++;
	w->view = view;
	w->clean = clean;
}

static void
on_ask(void *world, struct task *task, const struct statement *statement)
{
	struct world *w = world;
	assert_true(w->n_asked < ASKED_MAX);
	w->asked[w->n_asked++] = (struct asked){ task, statement->kind, statement->begin, statement->again, statement->commit };
}

static void
on_give_back(void *world, struct session *session, bool lost)
{
	struct world *w = world;
	assert_ptr_equal(session, &w->session);
	if (lost)
		w->useless++;
	else
		w->kept++;
}

static void
on_want(void *world, unsigned sessions)
{
	assert_true(sessions <= ((struct world *)world)->limits.sessions);
}

static bool
on_prepare(void *world, struct task *task)
{
	const struct world *w = world;
	for (uint32_t i = 0; w->all_bad && i < task->window->count; i++)
		window_reject(task->window, &(struct reject){ .index = i, .class = "message", .message = "no JSON" });
	task->together = w->together;
	task->commits = w->commits;
	return !w->misfit;
}

static void
on_wake_at(void *world, uint64_t ms)
{
	((struct world *)world)->wake_at = ms;
}

static uint64_t
on_random(void *world)
{
	return ((struct world *)world)->now; /* as good as any */
}

static void
on_tell(void *world, int level, const char *text)
{
	struct world *w = world;
	size_t used = strlen(w->told);
	assert_in_range(level, LOG_LEVEL_ERROR, LOG_LEVEL_INFO);
	snprintf(w->told + used, sizeof w->told - used, "%s\n", text);
}

static const struct queue_ports ports = { .lease = on_lease, .own = on_own, .peek = on_peek, .settle = on_settle, .wait = on_wait, .length = on_length,
	.release = on_release, .ask = on_ask, .give_back = on_give_back, .want = on_want, .prepare = on_prepare, .wake_at = on_wake_at, .random = on_random,
	.tell = on_tell };

/* -- answers */

static struct queue_view
look(const struct world *w)
{
	struct queue_view view;
	queue_check(w->q);
	queue_look(w->q, &view);
	return view;
}

/* Answers the i-th waiting statement, which must be of this kind. */
static void
answer_at(struct world *w, size_t i, enum statement_kind kind, const struct answer *a)
{
	assert_true(i < w->n_asked);
	assert_int_equal(w->asked[i].kind, kind);
	struct task *task = w->asked[i].task;
	w->n_asked--;
	memmove(w->asked + i, w->asked + i + 1, (w->n_asked - i) * sizeof w->asked[0]);
	queue_answered(w->q, w->now, task, a);
	queue_check(w->q);
}

static void
ok(struct world *w, enum statement_kind kind)
{
	answer_at(w, 0, kind, &(struct answer){ .item = -1, .affected = 1 });
}

static inline void
fails(struct world *w, enum statement_kind kind, enum db_class class)
{
	answer_at(w, 0, kind, &(struct answer){ .item = -1, .error = { .class = class, .message = "no" } });
}

static void
gets_lost(struct world *w, enum statement_kind kind)
{
	answer_at(w, 0, kind, &(struct answer){ .item = -1, .error = { .class = DB_RECONNECT, .message = "gone", .lost = true } });
}

static bool
give(struct world *w)
{
	return queue_give(w->q, w->now, &w->session);
}

static void
pass(struct world *w, uint64_t ms)
{
	w->now += ms;
	queue_tick(w->q, w->now);
}

static void
is_answered(struct world *w, char question)
{
	size_t at = strcspn(w->waits_for, (char[]){ question, '\0' });
	assert_int_equal(w->waits_for[at], question);
	memmove(w->waits_for + at, w->waits_for + at + 1, strlen(w->waits_for + at));
}

/* The list shows what it has. */
static void
show(struct world *w)
{
	is_answered(w, 'p');
	struct item items[2048];
	size_t there = strlen(w->list) > w->offset ? strlen(w->list) - w->offset : 0;
	uint32_t n = there < w->count ? (uint32_t)there : w->count;
	assert_true(n <= sizeof items / sizeof items[0]);
	if (w->cut && n > w->cut_at)
		n = w->cut_at;
	for (uint32_t i = 0; i < n; i++)
		items[i] = (struct item){ w->list + w->offset + i, 1 };
	queue_peeked(w->q, w->now, w->view, &(struct peek_answer){ .why = "", .items = items, .n = n, .cut = w->cut });
	queue_check(w->q);
}

static void
settle(struct world *w)
{
	is_answered(w, 's');
	w->list += w->remove;
	w->settled += w->remove;
	queue_settled(w->q, w->now, w->view, &(struct settle_answer){ .why = "", .settled = w->settled, .backlog = strlen(w->list) });
	queue_check(w->q);
}

static inline void
settle_is_refused(struct world *w, enum settle_status status)
{
	is_answered(w, 's');
	queue_settled(w->q, w->now, w->view, &(struct settle_answer){ .why = "", .status = status, .settled = w->settled });
	queue_check(w->q);
}

/* Redis answers the oldest question. */
static inline void
go_on(struct world *w)
{
	if (w->waits_for[0] == 'p')
		show(w);
	else
		settle(w);
}

/* Did the last refusal not end its transaction? */
static bool
goes_on(const struct world *w)
{
	return w->n_asked > 0 && w->asked[0].again;
}

/* Stores one window. */
static void
commit(struct world *w)
{
	if (!goes_on(w)) {
		assert_true(give(w));
		if (w->limits.ledger)
			ok(w, STATEMENT_LEDGER);
	}
	if (w->asked[0].kind == STATEMENT_ROWS) /* else all of it is refused */
		ok(w, STATEMENT_ROWS);
	if (w->asked[0].kind == STATEMENT_LEDGER) /* it tells of the refused ones */
		ok(w, STATEMENT_LEDGER);
	ok(w, STATEMENT_COMMIT);
}

/* The table refuses this item of the next window, or of the one under way; -1: it does not say which. */
static inline void
refuse(struct world *w, long item, const char *code, const char *column)
{
	struct answer a = { .item = item, .error = { .class = DB_DATA, .message = "bad" } };
	snprintf(a.error.code, sizeof a.error.code, "%s", code);
	snprintf(a.error.column, sizeof a.error.column, "%s", column);
	if (!goes_on(w)) {
		assert_true(give(w));
		ok(w, STATEMENT_LEDGER);
	}
	answer_at(w, 0, STATEMENT_ROWS, &a);
	if (!goes_on(w))
		ok(w, STATEMENT_ROLLBACK);
}

static void
assert_told(struct world *w, const char *text)
{
	assert_non_null(strstr(w->told, text));
	w->told[0] = '\0';
}

/* -- the way to a story's beginning */

static void
begin(struct world *w, const char *list)
{
	w->list = list;
	w->now = 100000;
	w->q = queue_new(&ports, w, &w->limits, "me");
	queue_redis_up(w->q, w->now);
	assert_int_equal(w->leases, 1);
}

/* From PREPARE to OWN. */
static void
raise_epoch(struct world *w)
{
	assert_int_equal(look(w).state, QUEUE_PREPARE);
	assert_true(give(w));
	ok(w, STATEMENT_CATALOGUE);
	if (!w->limits.ledger)
		return;
	ok(w, STATEMENT_RING_MAKE);
	assert_true(give(w));
	ok(w, STATEMENT_RING_LOCK);
	ok(w, STATEMENT_EPOCH);
	ok(w, STATEMENT_COMMIT);
}

static void
lease(struct world *w)
{
	queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .granted = true, .holder = "", .epoch = look(w).epoch,
	    .elsewhere = w->elsewhere, .clean = w->clean });
	raise_epoch(w);
}

/* Redis has taken the lease back: the queue has stopped then, and had not before. */
static void
release(struct world *w)
{
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	unsigned leases = w->leases;
	queue_released(w->q, w->now, w->view, REDIS_OK, true);
	assert_int_equal(look(w).state, QUEUE_STOPPED);
	assert_int_equal(w->leases, leases);
}

static void
own(struct world *w)
{
	queue_owned(w->q, w->now, w->view, &(struct own_answer){ .why = "", .generation = "g", .settled = w->settled, .backlog = strlen(w->list) });
}

/* The ring, of which these rows have been written. */
static void
recall(struct world *w, const struct ledger_row *written, size_t n)
{
	struct ledger_row rows[RING];
	for (uint32_t i = 0; i < RING; i++) {
		rows[i] = i < n ? written[i] : (struct ledger_row){ .dead = "" };
		rows[i].slot = i;
		rows[i].epoch = look(w).epoch;
	}
	assert_true(give(w));
	answer_at(w, 0, STATEMENT_RING_READ, &(struct answer){ .rows = rows, .n_rows = RING });
}

static void
drain(struct world *w, const char *list)
{
	begin(w, list);
	lease(w);
	own(w);
	if (w->limits.ledger)
		recall(w, &(struct ledger_row){ .dead = "" }, 0);
	assert_int_equal(look(w).state, QUEUE_DRAIN);
	assert_int_equal(w->peeks, 1);
}

/* A row of the ledger for these letters. */
static struct ledger_row
row_of(uint64_t first, const char *letters, uint64_t hashes[static 8])
{
	uint32_t n = (uint32_t)strlen(letters);
	for (uint32_t i = 0; i < n; i++)
		hashes[i] = window_hash(&(struct item){ letters + i, 1 });
	return (struct ledger_row){ .ours = true, .first = first, .count = n, .hashes = hashes, .dead = "" };
}

static int
set_up(void **state)
{
	static struct world world;
	world = (struct world){ .limits = { .batch_rows = 4, .batch_bytes = 1000, .max_item_bytes = 1000, .sessions = 2, .ledger_rows = RING, .ledger = true,
	    .lease_ms = 3000, .backoff_ms = 100 } };
	*state = &world;
	return 0;
}

/* A story may end with questions: all are lost. */
static int
tear_down(void **state)
{
	struct world *w = *state;
	while (w->n_asked > 0)
		gets_lost(w, w->asked[0].kind);
	queue_free(&w->q);
	return 0;
}

#endif
