/* The SQL side of a queue: which task a lent session gets, and what its outcome means for the window. */
#include "queue_inner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS_BEFORE_SPLIT 5   /* of a window that fails for a reason that we do not know, or that loses its connection each time */
#define REFUSED_MAX 100           /* rows refused with none taken between: that is the schema, not the data */
#define RESOLVE_AGAIN_MS 1000
#define TELL_LOCKED_MS 60000      /* how often it is told that rows of the ledger are locked, at least so long after the last time */
#define LOOK_AGAIN_MS 5000        /* a table that somebody alters while we run is noticed this soon */
#define LOOK_UNKNOWN_MS 1000      /* a field without a column counts as unknown only if the table was looked at so lately */
#define LOOK_FRESH_MS 200         /* a row that is refused counts as bad only if the table was looked at so lately */
#define LOOK_REFUSED_MS 100       /* and while some are, it is looked at so often */
#define REFUSAL_ROWS 5000.0       /* weight of one row in refusal_rate: it remembers about this many */
#define REFUSAL_LOW (1 / REFUSAL_ROWS) /* rows are refused now and then, not one after the other */
#define PIECE_ROWS 25.0           /* rows that cost as much as a statement, about */

/* -- choosing */

static bool
is_ready(const struct queue *q, const struct window *w, enum window_state state)
{
	return w->state == state && !w->has_task && w->not_before <= q->now;
}

/* Of the windows in this state that may be worked on now, number n from the oldest on, or NULL. */
static struct window *
ready_at(const struct queue *q, enum window_state state, unsigned n)
{
	LIST_EACH(&q->windows, node) {
		struct window *w = LIST_OWNER(node, struct window, node);
		if (is_ready(q, w, state) && n-- == 0)
			return w;
	}
	return NULL;
}

static struct window *
first_ready(const struct queue *q, enum window_state state)
{
	return ready_at(q, state, 0);
}

const struct window *
queue_next(const struct queue *q, unsigned n)
{
	return ready_at(q, WINDOW_READ, n);
}

/* Does a row of the ledger stand for it? */
static bool
is_tracked(const struct queue *q, const struct window *w)
{
	return q->limits.ledger && !w->untracked;
}

/* How many windows may be stored now. */
static unsigned
storable(struct queue *q)
{
	unsigned ready = 0;
	LIST_EACH(&q->windows, node)
		ready += is_ready(q, LIST_OWNER(node, struct window, node), WINDOW_READ);
	if (ready == 0 || !is_tracked(q, first_ready(q, WINDOW_READ)))
		return ready; /* all of them: what is in doubt is never there together with what is not */
	unsigned room = ring_room(q, is_ready(q, LIST_OWNER(q->windows.next, struct window, node), WINDOW_READ));
	return least(ready, room);
}

/* Adds the tokens of the time that has passed; a second's worth at most may be saved up. */
static void
refill(struct queue *q)
{
	uint64_t ms = q->now - q->tokens_at;
	int64_t most = q->limits.rate;
	if (ms >= 1000) {
		q->tokens = most;
		q->tokens_at = q->now;
	} else if (ms * q->limits.rate >= 1000) {
		q->tokens += (int64_t)(ms * q->limits.rate / 1000);
		q->tokens_at = q->now;
	}
	if (q->tokens > most)
		q->tokens = most;
}

/* Must the table be looked at before anything is stored? */
static bool
is_look_due(const struct queue *q)
{
	unsigned every = q->refusal_rate > REFUSAL_LOW ? LOOK_REFUSED_MS : LOOK_AGAIN_MS;
	return q->recheck || (q->now - q->looked_at >= every && first_ready(q, WINDOW_READ) != NULL);
}

/* Two may store at a time only if the ledger tells them apart, which a database that comes back from a backup cannot: so nothing is begun without a
 * lease that surely lasts. */
static bool
may_store(struct queue *q)
{
	if (q->now >= q->lease_end || queue_is_halted(q) || q->cutting || q->aligning || is_look_due(q))
		return false;
	if (q->limits.rate == 0)
		return true;
	refill(q);
	return q->tokens > 0;
}

/* The control task that the queue's state calls for; false: none now. */
static bool
control_wanted(const struct queue *q, enum task_kind *kind)
{
	bool done = q->ending == HANDS_OVER && q->handed_over; /* whoever has the list now need not be disturbed */
	if (q->control || done || queue_is_halted(q))
		return false;
	switch (q->state) {
	case QUEUE_PREPARE:
		*kind = TASK_PREPARE;
		return true;
	case QUEUE_RAISE:
		*kind = TASK_RAISE;
		return true;
	case QUEUE_RECALL:
		*kind = TASK_RECALL;
		return true;
	case QUEUE_DRAIN:
		*kind = q->cutting ? TASK_CUT : TASK_PREPARE;
		return q->cutting ? q->n_cuts > 0 : is_look_due(q);
	default:
		return false;
	}
}

unsigned
store_wanted(struct queue *q)
{
	enum task_kind kind;
	if (q->ending == GIVES_UP)
		return 0;
	unsigned n = control_wanted(q, &kind) ? 1 : 0;
	if (q->state != QUEUE_DRAIN)
		return n;
	unsigned left = q->limits.sessions > q->running ? q->limits.sessions - q->running : 0;
	LIST_EACH(&q->windows, node)
		n += is_ready(q, LIST_OWNER(node, struct window, node), WINDOW_DOUBT);
	if (may_store(q) && n < left)
		n += storable(q);
	return least(n, left);
}

uint64_t
store_wake_at(const struct queue *q)
{
	uint64_t at = NEVER;
	LIST_EACH(&q->windows, node) {
		const struct window *w = LIST_OWNER(node, struct window, node);
		bool waits = (w->state == WINDOW_READ || w->state == WINDOW_DOUBT) && w->not_before > q->now;
		if (waits && w->not_before < at)
			at = w->not_before;
	}
	bool thirsty = q->limits.rate > 0 && q->tokens <= 0 && !list_empty(&q->windows);
	uint64_t refilled = q->now + 1 + (uint64_t)(1 - q->tokens) * 1000 / (q->limits.rate + 1u);
	return thirsty && refilled < at ? refilled : at;
}

/* -- starting */

static void
drive(struct queue *q, struct task *t);

static struct task *
new_task(struct queue *q, enum task_kind kind, struct session *session)
{
	struct task *t = xcalloc(1, sizeof *t);
	*t = (struct task){ .kind = kind, .view = q->view, .session = session, .ledger = q->limits.ledger, .epoch = q->epoch, .settled = q->settled, .item = -1 };
	q->running++;
	q->control |= kind != TASK_STORE && kind != TASK_RESOLVE;
	return t;
}

static bool
begin_control(struct queue *q, struct session *session)
{
	enum task_kind kind;
	if (!control_wanted(q, &kind))
		return false;
	struct task *t = new_task(q, kind, session);
	if (kind == TASK_PREPARE) {
		t->ledger &= q->state != QUEUE_DRAIN || q->row_locked; /* else the ring is there */
		q->row_locked = false;
	}
	if (kind == TASK_CUT) {
		t->cuts = q->cuts;
		t->n_cuts = q->n_cuts;
		q->cuts = NULL;
		q->n_cuts = 0;
	}
	drive(q, t);
	return true;
}

static bool
begin_resolve(struct queue *q, struct session *session)
{
	struct window *w = first_ready(q, WINDOW_DOUBT);
	if (w == NULL)
		return false;
	struct task *t = new_task(q, TASK_RESOLVE, session);
	t->window = w;
	t->slot = w->slot;
	w->has_task = true;
	drive(q, t);
	return true;
}

/* As if the task, which has asked nothing yet, had not begun. */
static void
undo_store(struct queue *q, struct task *t)
{
	struct window *w = t->window;
	if (w->slot != NO_SLOT)
		ring_set_busy(q, w->slot, false);
	w->has_task = false;
	window_set_state(w, WINDOW_READ);
	window_forgive(w);
	q->running--;
	free(t);
}

/* Rows of a piece; 0: the window is stored as a whole, as none is bad. A refused row costs its piece's work anew, a smaller piece costs more
 * statements: with a statement as dear as PIECE_ROWS rows and a share r of bad ones, n rows cost n + PIECE_ROWS + r n^2 / 2, which is least a row at
 * sqrt(2 PIECE_ROWS / r). */
static uint32_t
piece_wanted(const struct queue *q, const struct window *w)
{
	uint32_t rows = window_rows(w);
	double best = q->refusal_rate > 0 ? sqrt(2 * PIECE_ROWS / q->refusal_rate) : rows;
	if (w->suspect && best > rows / 2.0)
		best = rows / 2.0;
	return best < rows ? (uint32_t)best + 1 : 0;
}

static bool
begin_store(struct queue *q, struct session *session)
{
	if (!may_store(q) || storable(q) == 0)
		return false;
	struct window *w = first_ready(q, WINDOW_READ);
	uint32_t slot = is_tracked(q, w) ? ring_spare_row(q) : NO_SLOT;
	struct task *t = new_task(q, TASK_STORE, session);
	t->ledger = is_tracked(q, w);
	t->window = w;
	t->slot = w->slot = slot;
	w->has_task = true;
	window_set_state(w, WINDOW_COMMITTING);
	if (slot != NO_SLOT)
		ring_set_busy(q, slot, true);
	t->piece = piece_wanted(q, w);
	if (!q->ports->prepare(q->world, t) && q->now - q->looked_at >= LOOK_UNKNOWN_MS) {
		undo_store(q, t);
		q->recheck = true;
		return begin_control(q, session);
	}
	q->tokens -= w->count;
	drive(q, t);
	return true;
}

bool
store_begin(struct queue *q, struct session *session)
{
	if (q->running >= q->limits.sessions || q->ending == GIVES_UP)
		return false;
	if (begin_control(q, session))
		return true;
	return q->state == QUEUE_DRAIN && (begin_resolve(q, session) || begin_store(q, session));
}

/* -- outcomes */

static void
new_generation(struct queue *q, char text[QUEUE_GENERATION_MAX])
{
	uint64_t a = q->ports->random(q->world), b = q->ports->random(q->world);
	snprintf(text, QUEUE_GENERATION_MAX, "%016llx%016llx", (unsigned long long)a, (unsigned long long)b);
}

static void
own(struct queue *q)
{
	char generation[QUEUE_GENERATION_MAX];
	new_generation(q, generation);
	q->state = QUEUE_OWN;
	struct claim claim = { .before = q->leased_epoch, .epoch = q->epoch, .accepted = q->accepted, .new_generation = generation, .rewritten = q->rewritten };
	q->ports->own(q->world, q->view, &claim);
}

/* Whoever owned the list last wrote his epoch into his ledger first: a smaller one here means that it is not that ledger. */
static void
warn_of_another_ledger(struct queue *q, uint64_t found)
{
	queue_tell(q, LOG_LEVEL_WARNING, "this is not the ledger that the last owner of the list wrote: its epoch is %llu, in Redis it is %llu. The database "
	    "was restored, or it is another one of the same name. What that owner had stored elsewhere and not yet removed from the list is stored again",
	    (unsigned long long)found, (unsigned long long)q->epoch);
}

static void
control_ended(struct queue *q, struct task *t)
{
	static const char *const doing[] = { [TASK_PREPARE] = "read the table or make its ledger rows", [TASK_RAISE] = "write the epoch",
		[TASK_RECALL] = "read the ledger", [TASK_CUT] = "cut dead history out of the ledger" };
	if (t->outcome == TASK_FENCED) {
		queue_fenced(q);
		return;
	}
	if (t->outcome != TASK_DONE) {
		block_by_sql(q, &t->error, doing[t->kind]);
		if (t->kind == TASK_CUT)
			queue_restart(q, 0);
		return;
	}
	if (block_is_by_sql(q) && q->refused < REFUSED_MAX - 1 && !q->altered)
		block_clear(q);
	if (t->kind == TASK_PREPARE) {
		q->recheck = false;
		q->looked_at = q->now;
		if (t->altered)
			queue_tell(q, LOG_LEVEL_INFO, "the table was altered: its new columns count from now on");
		q->altered |= t->altered;
		if (q->state == QUEUE_PREPARE && q->limits.ledger)
			q->state = QUEUE_RAISE;
		else if (q->state == QUEUE_PREPARE) {
			q->epoch++;
			own(q);
		}
	} else if (t->kind == TASK_RAISE) {
		if (t->found < q->epoch && !q->clean && !q->elsewhere)
			warn_of_another_ledger(q, t->found);
		q->epoch = t->epoch;
		own(q);
	} else if (t->kind == TASK_CUT) {
		q->cutting = false;
	}
}

static void
committed(struct queue *q, struct task *t)
{
	struct window *w = t->window;
	ASSERT(w != NULL);
	uint32_t rows = window_rows(w);
	if (w->slot != NO_SLOT)
		ring_set(q, w->slot, (struct ring_row){ w->first, window_end(w), false });
	window_set_state(w, WINDOW_COMMITTED);
	w->counted = rows;
	q->counters.batches_ok++;
	q->counters.committed += rows - t->duplicates;
	q->counters.duplicate += t->duplicates;
	q->altered &= rows == 0;
	q->refused -= rows < q->refused ? rows : q->refused;
	q->refusal_rate *= REFUSAL_ROWS / (REFUSAL_ROWS + rows);
	if (rows > 0 && block_is_by_sql(q))
		block_clear(q);
}

static void
again(struct queue *q, struct window *w)
{
	w->not_before = q->now + queue_backoff(q, q->limits.backoff_ms, w->attempts++);
}

static void
halve(struct queue *q, struct window *w)
{
	window_split(w, w->count / 2)->attempts = 0;
	w->attempts = 0;
	q->counters.split++;
}

static void
refuse(struct queue *q, struct window *w, uint32_t item, const struct db_error *e)
{
	if (q->altered) {
		q->recheck = true;
		block_set(q, BLOCK_SETUP, "the table was altered and refuses now what it would have taken: %s, %s%s%s. Mend it, or go on with `sluice resume` if "
		    "the orders are wrong", db_class_name(e->class), e->code[0] ? e->code : "no code", e->column[0] ? ", column " : "", e->column);
		return;
	}
	struct reject r = { .index = item };
	snprintf(r.class, sizeof r.class, "%s", db_class_name(e->class));
	snprintf(r.code, sizeof r.code, "%s", e->code);
	snprintf(r.column, sizeof r.column, "%s", e->column);
	snprintf(r.message, sizeof r.message, "%s", e->message);
	window_reject(w, &r);
	q->refusal_rate += 1 / REFUSAL_ROWS;
	if (++q->refused >= REFUSED_MAX) {
		q->refused = REFUSED_MAX - 1;
		block_set(q, BLOCK_SETUP, "the table refused the last %d orders, one after the other; that looks like the table or the mapping, not like the "
		    "orders. The last: %s (%s)%s%s. Mend it, or go on with `sluice resume`", REFUSED_MAX, e->code[0] ? e->code : "no code", db_class_name(e->class),
		    e->column[0] ? ", column " : "", e->column);
		q->recheck = true;
	}
}

/* The only item of a window that is still to become a row. */
static uint32_t
only_row(const struct window *w)
{
	uint32_t i = 0;
	while (w->skip[i])
		i++;
	ASSERT(i < w->count);
	return i;
}

static bool
is_item(const struct window *w, long item)
{
	return item >= 0 && item < w->count && !w->skip[item];
}

/* The rows' fault, and the transaction is gone: the rest is tried again at once, in pieces from now on. COMMIT names no row and takes no pieces. */
static void
bad_rows(struct queue *q, struct window *w, const struct task *t)
{
	if (is_item(w, t->item))
		refuse(q, w, (uint32_t)t->item, &t->error);
	else if (window_rows(w) == 1)
		refuse(q, w, only_row(w), &t->error);
	else if (t->failed == STATEMENT_ROWS && t->piece == 0)
		w->suspect = true;
	else
		halve(q, w);
}

/* May the transaction go on without the item that SQL has refused? */
static bool
may_go_on(const struct queue *q, const struct task *t, const struct answer *a)
{
	return t->asked == STATEMENT_ROWS && t->piece > 0 && t->view == q->view && !q->altered && a->error.class == DB_DATA && !a->error.lost &&
	    is_item(t->window, a->item) && q->now - q->looked_at < LOOK_FRESH_MS;
}

/* A row of a transaction in pieces was refused: on without it, unless that was one too many. */
static void
go_on_without(struct queue *q, struct task *t, const struct answer *a)
{
	q->counters.retries[DB_DATA]++;
	q->refused -= least(q->refused, (unsigned)a->taken);
	refuse(q, t->window, (uint32_t)a->item, &a->error);
	if (!queue_is_halted(q)) {
		task_go_on(t);
		return;
	}
	struct answer stop = *a;
	stop.error.class = DB_RETRY;
	task_answer(t, &stop);
}

static void
store_failed(struct queue *q, const struct task *t)
{
	struct window *w = t->window;
	const struct db_error *e = &t->error;
	q->counters.batches_failed++;
	q->counters.retries[e->class]++;
	switch (e->class) {
	case DB_DATA:
	case DB_TOO_BIG:
		if (q->now - q->looked_at >= LOOK_FRESH_MS)
			q->recheck = true; /* perhaps it is the table's fault: look, and try the same again */
		else if (t->failed != STATEMENT_LEDGER && window_rows(w) > 0)
			bad_rows(q, w, t);
		else
			again(q, w);
		break;
	case DB_SETUP:
	case DB_PAUSE:
		block_by_sql(q, e, "store");
		break;
	case DB_NOT_WRITABLE:
	case DB_FORGOTTEN:
	case DB_RECONNECT:
	case DB_UNKNOWN:
		if (w->attempts >= ATTEMPTS_BEFORE_SPLIT && w->count > 1)
			halve(q, w);
		else if (w->attempts >= ATTEMPTS_BEFORE_SPLIT)
			block_by_order(q, e);
		again(q, w);
		break;
	default:
		if (t->failed == STATEMENT_LEDGER) {
			q->recheck = q->row_locked = true;
			if (q->now >= q->tell_locked_at)
				queue_tell(q, LOG_LEVEL_WARNING, "a row of the ledger is locked: %s. If a lost connection of ours has it, the server ends that soon", e->message);
			q->tell_locked_at = q->now + TELL_LOCKED_MS;
		}
		again(q, w);
	}
}

static void
store_ended(struct queue *q, struct task *t)
{
	struct window *w = t->window;
	ASSERT(w != NULL);
	if (t->outcome == TASK_DONE) {
		committed(q, t);
		return;
	}
	if (t->outcome == TASK_DOUBT && w->slot != NO_SLOT) {
		window_set_state(w, WINDOW_DOUBT);
		w->not_before = q->now;
		q->counters.retries[DB_RECONNECT]++;
		return;
	}
	if (w->slot != NO_SLOT)
		ring_set_busy(q, w->slot, false);
	window_set_state(w, WINDOW_READ);
	if (w->gone > 0)
		flow_shed_gone(w);
	if (t->outcome == TASK_FENCED)
		queue_fenced(q);
	else if (w->state == WINDOW_READ)
		store_failed(q, t);
}

static void
resolve_ended(struct queue *q, struct task *t)
{
	struct window *w = t->window;
	ASSERT(w != NULL);
	if (t->outcome == TASK_DONE) {
		committed(q, t);
	} else if (t->outcome == TASK_ABSENT) {
		ring_set_busy(q, w->slot, false);
		window_set_state(w, WINDOW_READ);
		if (w->gone > 0)
			flow_shed_gone(w);
	} else {
		if (t->error.class == DB_SETUP)
			block_by_sql(q, &t->error, "learn what became of a COMMIT");
		w->not_before = q->now + RESOLVE_AGAIN_MS; /* the old transaction still holds its row, or no server answers: never run it again blindly */
	}
}

/* A task is over: gives the session back and acts on the outcome, unless the queue has started anew meanwhile. */
static void
ended(struct queue *q, struct task *t)
{
	q->running--;
	bool is_control = t->kind != TASK_STORE && t->kind != TASK_RESOLVE;
	if (is_control)
		q->control = false;
	/* a server that refused for its rights may keep them for the session's life, as MariaDB does: a new one sees what was mended */
	bool useless = t->error.lost || t->error.class == DB_NOT_WRITABLE || t->error.class == DB_SETUP;
	q->ports->give_back(q->world, t->session, useless);
	if (t->window != NULL)
		t->window->has_task = false;
	if (t->view != q->view) {
		window_free(&t->window);
	} else if (is_control) {
		control_ended(q, t);
	} else if (t->kind == TASK_STORE) {
		store_ended(q, t);
	} else {
		resolve_ended(q, t);
	}
	free(t->cuts);
	free(t);
}

static void
drive(struct queue *q, struct task *t)
{
	struct statement s;
	if (task_next(t, &s))
		q->ports->ask(q->world, t, &s);
	else
		ended(q, t);
}

void
queue_answered(struct queue *q, uint64_t now, struct task *t, const struct answer *a)
{
	q->now = now;
	if (may_go_on(q, t, a))
		go_on_without(q, t, a);
	else
		task_answer(t, a);
	if (t->asked == STATEMENT_RING_READ && t->outcome == TASK_RUNNING && t->view == q->view)
		ring_recalled(q, a);
	drive(q, t);
	queue_tick(q, now);
}
