/* Programs of statements, and what their answers mean. */
#include "task.h"

#include <stdio.h>

#include "window.h"

#define MAX_STEPS 4
#define EPOCH_MAX (UINT64_C(1) << 53) /* Redis's scripts count in doubles: beyond it two epochs are alike */

/* The program of each task; CUT repeats its first statement for each cut. */
static const struct {
	unsigned n;
	enum statement_kind steps[MAX_STEPS];
	bool transaction; /* BEGIN goes out with the first statement */
} programs[] = {
	[TASK_PREPARE] = { 2, { STATEMENT_CATALOGUE, STATEMENT_RING_MAKE }, false },
	[TASK_RAISE] = { 3, { STATEMENT_RING_LOCK, STATEMENT_EPOCH, STATEMENT_COMMIT }, true },
	[TASK_RECALL] = { 1, { STATEMENT_RING_READ }, false },
	[TASK_CUT] = { 2, { STATEMENT_RING_CUT, STATEMENT_COMMIT }, true },
	[TASK_STORE] = { 4, { STATEMENT_BATCH, STATEMENT_LEDGER, STATEMENT_ROWS, STATEMENT_COMMIT }, true },
	[TASK_RESOLVE] = { 2, { STATEMENT_ROW_LOCK, STATEMENT_ROLLBACK }, true },
};

/* Has this queue's task nothing to do in this statement? */
static bool
is_needless(const struct task *t, enum statement_kind kind)
{
	switch (kind) {
	case STATEMENT_RING_MAKE:
		return !t->ledger;
	case STATEMENT_BATCH:
		return !t->together;
	case STATEMENT_LEDGER:
		return t->together || !t->ledger;
	case STATEMENT_ROWS:
		return t->together || window_rows(t->window) == 0;
	case STATEMENT_COMMIT:
		return t->commits;
	default:
		return false;
	}
}

static enum statement_kind
statement_at(const struct task *t, unsigned step)
{
	if (t->kind != TASK_CUT)
		return programs[t->kind].steps[step];
	return step < t->n_cuts ? STATEMENT_RING_CUT : STATEMENT_COMMIT;
}

static unsigned
program_length(const struct task *t)
{
	return t->kind == TASK_CUT ? (unsigned)t->n_cuts + 1 : programs[t->kind].n;
}

static void
ask(struct task *t, enum statement_kind kind, struct statement *s)
{
	*s = (struct statement){ .kind = kind, .epoch = t->epoch, .settled = t->settled, .slot = t->slot, .window = t->window, .piece = t->piece };
	if (kind == STATEMENT_RING_CUT)
		s->cut = t->cuts[t->step];
	s->commit = kind == STATEMENT_BATCH && t->commits; /* a transaction of its own */
	if (kind == STATEMENT_LEDGER || kind == STATEMENT_BATCH)
		t->listed = t->window->n_rejects;
	s->begin = programs[t->kind].transaction && !t->in_transaction && !s->commit;
	t->in_transaction = programs[t->kind].transaction && !s->commit && kind != STATEMENT_COMMIT && kind != STATEMENT_ROLLBACK;
	t->asked = kind;
}

/* Have rows been refused since the ledger row was written? */
static bool
is_list_short(const struct task *t, enum statement_kind next)
{
	return t->kind == TASK_STORE && t->ledger && next == STATEMENT_COMMIT && t->window->n_rejects > t->listed;
}

bool
task_next(struct task *t, struct statement *s)
{
	if (t->outcome != TASK_RUNNING) {
		if (!t->in_transaction)
			return false;
		ask(t, STATEMENT_ROLLBACK, s); /* MySQL's 1205 undoes its statement only, so always say it */
		t->abandoned = true;
		return true;
	}
	if (t->again) {
		ask(t, STATEMENT_ROWS, s);
		s->again = true;
		t->again = false;
		return true;
	}
	while (t->step < program_length(t) && is_needless(t, statement_at(t, t->step)))
		t->step++;
	if (t->step == program_length(t)) {
		ASSERT(!t->in_transaction);
		t->outcome = TASK_DONE;
		return false;
	}
	enum statement_kind kind = statement_at(t, t->step);
	if (is_list_short(t, kind)) {
		ask(t, STATEMENT_LEDGER, s);
		return true;
	}
	ask(t, kind, s);
	t->step++;
	return true;
}

void
task_go_on(struct task *t)
{
	ASSERT(t->kind == TASK_STORE && t->asked == STATEMENT_ROWS && t->piece > 0 && t->outcome == TASK_RUNNING && !t->again);
	t->again = true;
}

static void
end(struct task *t, enum task_outcome outcome)
{
	ASSERT(t->outcome == TASK_RUNNING);
	t->outcome = outcome;
}

/* Which statement is the answer's error about? */
static enum statement_kind
part_of(const struct task *t, const struct answer *a)
{
	return t->asked == STATEMENT_BATCH ? a->part : t->asked;
}

/* May a COMMIT with this answer still have happened? Only where the server says that it undid it do we know. */
static bool
is_commit_in_doubt(const struct task *t, const struct answer *a)
{
	bool unheard = a->error.lost && t->asked == STATEMENT_BATCH && t->commits;
	if (!unheard && (part_of(t, a) != STATEMENT_COMMIT || a->rolled_back))
		return false;
	return a->error.lost || (a->error.class != DB_DATA && a->error.class != DB_RETRY);
}

static void
fail(struct task *t, const struct answer *a)
{
	t->failed = part_of(t, a);
	t->error = a->error;
	t->item = a->item;
	if (a->error.lost || t->failed == STATEMENT_COMMIT)
		t->in_transaction = false; /* the server rolls it back */
	bool doubt = is_commit_in_doubt(t, a);
	t->error.lost |= doubt || t->asked == STATEMENT_ROLLBACK; /* its transaction may be open still: it must end with the connection */
	end(t, doubt ? TASK_DOUBT : TASK_FAILED);
}

/* What stands in SQL or Redis is nothing that sluice wrote: an operator must look at it. */
static void
refuse(struct task *t, const char *why)
{
	struct answer a = { .error = { .class = DB_SETUP, .row = -1, .offset = -1 }, .part = STATEMENT_LEDGER, .item = -1 };
	snprintf(a.error.message, sizeof a.error.message, "%s: has somebody changed it?", why);
	fail(t, &a);
}

/* Takes how many rows of the ledger a statement under our epoch has changed: one, or it is another daemon's. */
static void
take_affected(struct task *t, uint64_t affected)
{
	if (affected > 1)
		refuse(t, "sluice_ledger has lost its primary key: a slot of this queue stands there more than once");
	else if (affected == 0)
		end(t, TASK_FENCED);
}

/* Is the row in the ledger the one that this task's transaction wrote? A takeover since has raised its epoch; a lower one is an earlier owner's, who
 * came back to life when the database came back from a backup. */
static bool
is_written(const struct task *t, const struct answer *a)
{
	const struct window *w = t->window;
	if (a->n_rows == 0)
		return false;
	const struct ledger_row *row = &a->rows[0];
	return row->ours && row->epoch >= t->epoch && row->count == w->count && row->first == w->first && row->hashes != NULL &&
	    window_match(w, row->hashes, 0, row->count) == w->count;
}

void
task_answer(struct task *t, const struct answer *a)
{
	if (t->abandoned) {
		t->in_transaction = false;
		t->error.lost |= a->error.class != DB_OK; /* what was not rolled back must end with the connection */
		return;
	}
	if (a->error.class != DB_OK) {
		fail(t, a);
		return;
	}
	if (a->rolled_back) {
		struct answer failed = *a;
		failed.error.class = DB_RETRY;
		fail(t, &failed);
		return;
	}
	switch (t->asked) {
	case STATEMENT_RING_LOCK:
		t->found = a->epoch;
		if (a->epoch >= EPOCH_MAX || t->epoch >= EPOCH_MAX)
			refuse(t, "the epoch in sluice_ledger or in Redis is higher than any that sluice writes");
		else
			t->epoch = (a->epoch > t->epoch ? a->epoch : t->epoch) + 1;
		break;
	case STATEMENT_BATCH:
		t->duplicates = a->duplicates;
		take_affected(t, a->affected);
		break;
	case STATEMENT_LEDGER:
	case STATEMENT_RING_CUT:
		take_affected(t, a->affected);
		break;
	case STATEMENT_CATALOGUE:
		t->altered = a->altered;
		break;
	case STATEMENT_ROWS:
		t->duplicates = a->duplicates;
		break;
	case STATEMENT_ROW_LOCK:
		if (!is_written(t, a))
			end(t, TASK_ABSENT);
		break;
	default:
		break;
	}
}
