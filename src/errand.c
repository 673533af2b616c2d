/* A statement of a task on one real connection. */
#include "errand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "config.h"
#include "db_driver.h"
#include "encode.h"
#include "ledger.h"
#include "mapping.h"
#include "pool.h"
#include "rows.h"
#include "table.h"
#include "window.h"

#define BEGIN "BEGIN"
#define STATEMENT_MARGIN 1024 /* bytes of a packet that are not the statement's */

/* A statement under way on a session; one a session, reused while it is lent. */
struct errand {
	const struct errand_place *place; /* borrowed */
	struct task *task;                /* borrowed */
	struct statement statement;       /* what was asked */
	struct rows rows;                 /* ROWS: on their way */
	unsigned before;                  /* LEDGER, BATCH: statements before the ledger row's in the text */
	uint64_t taken;                   /* ROWS: what of them the last answer told of */
};

static struct session *
session_of(const struct errand *e)
{
	return e->task->session;
}

static const struct db_ops *
driver_of(const struct errand *e)
{
	return pool_driver(session_of(e)->pool);
}

static struct answer
answer_from(const struct db_result *result)
{
	return (struct answer){ .error = result->error, .item = -1, .affected = result->affected, .rolled_back = result->rolled_back };
}

static void
finish(struct errand *e, const struct answer *answer)
{
	e->place->answered(e->place->arg, e->task, answer);
}

static void
send(struct errand *e, db_answer_fn *answer)
{
	struct session *s = session_of(e);
	driver_of(e)->query(s->conn, s->sql.data, s->sql.len, answer, e);
}

/* The statement's text, anew, for the caller to fill. */
static struct buf *
text(struct errand *e)
{
	buf_reset(&session_of(e)->sql);
	return &session_of(e)->sql;
}

/* Ends the errand with an error that we found ourselves. */
static void
refuse(struct errand *e, enum db_class class, const char *message)
{
	struct answer a = { .error = { .class = class, .row = -1, .offset = -1 }, .item = -1 };
	snprintf(a.error.message, sizeof a.error.message, "%s", message);
	finish(e, &a);
}

static void
on_plain(void *arg, const struct db_result *result)
{
	struct answer a = answer_from(result);
	finish(arg, &a);
}

/* -- the catalogue */

static void
on_catalogue(void *arg, const struct db_result *result)
{
	struct errand *e = arg;
	struct answer a = answer_from(result);
	if (a.error.class != DB_OK) {
		finish(e, &a);
		return;
	}
	struct buf why = BUF_INIT;
	struct table *table = table_read(e->place->config->target->driver, result);
	struct mapping *mapping = mapping_new(e->place->config, table, &why);
	if (mapping == NULL) {
		table_free(&table);
		refuse(e, DB_SETUP, buf_cstr(&why));
	} else {
		a.altered = e->place->table != NULL && !table_equal(e->place->table, table);
		e->place->mapped(e->place->arg, table, mapping);
		finish(e, &a);
	}
	buf_free(&why);
}

/* -- the ring */

static void
count_ring(struct errand *e, db_answer_fn *answer)
{
	ledger_count_sql(driver_of(e), e->place->config->name, text(e));
	send(e, answer);
}

static void
on_ring_counted(void *arg, const struct db_result *result)
{
	struct errand *e = arg;
	struct answer a = answer_from(result);
	uint64_t there = 0;
	if (a.error.class == DB_OK && result->rows == 1 && result->columns == 1 && result->values[0] != NULL)
		there = strtoull(result->values[0], NULL, 10);
	if (a.error.class != DB_OK || there >= e->place->config->ledger_rows) {
		finish(e, &a);
		return;
	}
	ledger_fill_sql(driver_of(e), e->place->config->name, e->place->config->ledger_rows, text(e));
	send(e, on_plain);
}

/* Has another queue made the ledger at the same moment? PostgreSQL, in spite of IF NOT EXISTS: a duplicate key in its catalogue, or the table or its row
 * type is there already. */
static bool
is_made_by_another(const struct db_error *e)
{
	return e->class == DB_DATA || strcmp(e->code, "42P07") == 0 || strcmp(e->code, "42710") == 0;
}

static void
on_ledger_made(void *arg, const struct db_result *result)
{
	struct errand *e = arg;
	struct answer a = answer_from(result);
	if (a.error.class == DB_OK || is_made_by_another(&a.error)) {
		count_ring(e, on_ring_counted);
	} else if (a.error.class == DB_SETUP) {
		char why[DB_MESSAGE_MAX];
		snprintf(why, sizeof why, "the table " LEDGER_TABLE " is not there and %.200s may not create it; let the DBA run what `sluice init --print` prints",
		    e->place->config->target->user);
		refuse(e, DB_SETUP, why);
	} else {
		finish(e, &a);
	}
}

/* Looked for first: CREATE TABLE IF NOT EXISTS wants the right to create even where the table is there. */
static void
on_ring_looked_for(void *arg, const struct db_result *result)
{
	struct errand *e = arg;
	bool missing = strcmp(result->error.code, "42P01") == 0 || strcmp(result->error.code, "1146") == 0;
	if (!missing) {
		on_ring_counted(e, result);
		return;
	}
	ledger_ddl(e->place->config->target->driver, text(e));
	send(e, on_ledger_made);
}

static void
on_rows_read(void *arg, const struct db_result *result)
{
	struct errand *e = arg;
	struct answer a = answer_from(result);
	struct ledger_rows rows;
	if (a.error.class != DB_OK) {
		finish(e, &a);
	} else if (!ledger_read(result, e->statement.settled, &rows)) {
		refuse(e, DB_SETUP, "the rows of " LEDGER_TABLE " hold something that sluice does not write: has somebody changed them?");
	} else {
		a.rows = rows.rows;
		a.n_rows = rows.n;
		finish(e, &a);
		ledger_rows_free(&rows);
	}
}

static void
on_epoch_read(void *arg, const struct db_result *result)
{
	struct answer a = answer_from(result);
	if (a.error.class == DB_OK && result->rows == 1 && result->values[0] != NULL)
		a.epoch = strtoull(result->values[0], NULL, 10);
	finish(arg, &a);
}

/* -- rows, and the ledger row in one message with them */

static struct answer
rows_answer(struct errand *e, const struct db_result *result, long item)
{
	struct answer a = answer_from(result);
	a.item = item;
	a.taken = e->rows.sent - e->taken;
	e->taken = e->rows.sent;
	if (a.error.class == DB_OK && e->place->config->mode == MODE_IGNORE && e->rows.affected < e->rows.sent)
		a.duplicates = e->rows.sent - e->rows.affected;
	return a;
}

static void
on_rows_sent(void *arg, const struct db_result *result, long item)
{
	struct answer a = rows_answer(arg, result, item);
	finish(arg, &a);
}

/* What had to be prepared came first in the text; of what is prepared the server says so if it has forgotten it, or if we have. */
static void
note_prepared(const struct errand *e, const struct db_result *result)
{
	struct session *s = session_of(e);
	if (!s->prepared)
		s->prepared = result->n_done > 0 || strcmp(result->error.code, "42P05") == 0;
	else if (result->error.class == DB_FORGOTTEN && result->n_done <= e->before) /* not a row of the batch */
		s->prepared = false;
}

static void
on_ledger_written(void *arg, const struct db_result *result)
{
	note_prepared(arg, result);
	on_plain(arg, result);
}

/* Where the ledger row was not ours, nothing else matters: the server has refused the rows, or they are rolled back. */
static void
on_batch(void *arg, const struct db_result *result, long item)
{
	struct errand *e = arg;
	bool led = result->n_done > e->before && !result->error.lost;
	uint64_t affected = led ? result->changed[e->before] : 0;
	note_prepared(e, result);
	if (led && affected != 1) {
		finish(e, &(struct answer){ .error = { .class = DB_OK, .row = -1, .offset = -1 }, .item = -1, .affected = affected });
		return;
	}
	struct answer a = rows_answer(e, result, item);
	a.affected = affected;
	a.part = led ? STATEMENT_ROWS : STATEMENT_LEDGER;
	if (a.part != STATEMENT_ROWS)
		a.item = -1;
	finish(e, &a);
}

/* -- which statement says what */

static void
run_ledger(struct errand *e, struct buf *sql)
{
	const struct queue_config *config = e->place->config;
	enum statement_kind kind = e->statement.kind;
	bool reads = kind == STATEMENT_RING_READ || kind == STATEMENT_ROW_LOCK;
	ledger_sql(driver_of(e), config->target->driver, config->name, e->place->generation, &e->statement, sql);
	if (kind == STATEMENT_BATCH) {
		buf_addc(sql, ';');
		rows_begin_behind(&e->rows, session_of(e), e->before + 1, e->statement.commit, on_batch, e);
		return;
	}
	if (reads)
		driver_of(e)->expect(session_of(e)->conn, ledger_answer_max(config));
	send(e, reads ? on_rows_read : kind == STATEMENT_RING_LOCK ? on_epoch_read : kind == STATEMENT_LEDGER ? on_ledger_written : on_plain);
}

static void
run_body(struct errand *e, bool begin_first)
{
	const struct errand_place *p = e->place;
	struct buf *sql = text(e);
	bool led = e->statement.kind == STATEMENT_LEDGER || e->statement.kind == STATEMENT_BATCH;
	if (led && !session_of(e)->prepared && ledger_prepare_sql(p->config->target->driver, sql)) {
		buf_addc(sql, ';');
		e->before++;
	}
	if (begin_first) {
		buf_adds(sql, BEGIN ";");
		e->before++;
	}
	switch (e->statement.kind) {
	case STATEMENT_CATALOGUE:
		table_query(p->config->target->driver, p->config->table, sql);
		send(e, on_catalogue);
		break;
	case STATEMENT_RING_MAKE:
		count_ring(e, on_ring_looked_for);
		break;
	case STATEMENT_COMMIT:
		buf_adds(sql, "COMMIT");
		send(e, on_plain);
		break;
	case STATEMENT_ROLLBACK:
		buf_adds(sql, "ROLLBACK");
		send(e, on_plain);
		break;
	case STATEMENT_ROWS:
		if (begin_first)
			rows_begin_behind(&e->rows, session_of(e), 1, false, on_rows_sent, e);
		else
			rows_begin(&e->rows, session_of(e), e->statement.piece, on_rows_sent, e);
		break;
	default:
		run_ledger(e, sql);
	}
}

static void
on_begun(void *arg, const struct db_result *result)
{
	struct errand *e = arg;
	if (result->error.class != DB_OK)
		on_plain(e, result);
	else
		run_body(e, false);
}

static struct errand *
errand_of(const struct errand_place *place, struct task *task)
{
	struct errand *e = task->session->borrower;
	if (e == NULL)
		task->session->borrower = e = xcalloc(1, sizeof *e);
	*e = (struct errand){ .place = place, .task = task };
	return e;
}

void
errand_run(const struct errand_place *place, struct task *task, const struct statement *s)
{
	if (s->again) {
		struct errand *under_way = task->session->borrower;
		ASSERT(s->kind == STATEMENT_ROWS && under_way != NULL && under_way->task == task);
		rows_go_on(&under_way->rows);
		return;
	}
	struct errand *e = errand_of(place, task);
	e->statement = *s;
	bool joined = s->kind == STATEMENT_ROWS ? s->piece == 0 && rows_may_follow(task->session, strlen(BEGIN ";")) :
	    driver_of(e)->joins(task->session->conn);
	if (s->begin && !joined) {
		buf_adds(text(e), BEGIN);
		send(e, on_begun);
	} else {
		run_body(e, s->begin);
	}
}

static struct encode_input
input_of(const struct errand_place *place, const struct window *w, size_t statement_max)
{
	return (struct encode_input){ .mapping = place->mapping, .items = w->items, .n_items = w->count, .skip = w->skip, .position = w->first,
		.max_item_bytes = place->config->max_item_bytes, .statement_max = statement_max };
}

bool
errand_prepare(const struct errand_place *place, struct encoder *encoder, struct task *task, int64_t now_us)
{
	struct window *w = task->window;
	struct session *s = task->session;
	size_t most = driver_of(&(struct errand){ .task = task })->statement_max(s->conn);
	struct encode_input input = input_of(place, w, most > 2 * STATEMENT_MARGIN ? most - STATEMENT_MARGIN : most);
	input.now_us = now_us;
	ahead_use(place->ahead, encoder, &input, w, &s->batch);
	task->together = task->ledger && task->piece == 0 && rows_may_follow(s, ledger_row_max(w) + STATEMENT_MARGIN);
	task->commits = task->together && rows_may_be_guarded(s);
	return !(s->batch.unknown_fields && place->mapping->by_name);
}

bool
errand_prepare_ahead(const struct errand_place *place, struct encoder *encoder, const struct window *w)
{
	struct encode_input input = input_of(place, w, place->ahead->statement_max);
	return input.statement_max > 0 && ahead_make(place->ahead, encoder, &input, w);
}

uint32_t
errand_rows(const struct session *session)
{
	const struct errand *e = session->borrower;
	return e == NULL || e->task->kind != TASK_STORE ? 0 : window_rows(e->task->window);
}

void
errand_end(struct session *session)
{
	free(session->borrower);
	session->borrower = NULL;
}
