/* A batch on its way into the table.
 *
 *   whole:      statement, statement ...
 *   behind:     what the caller has to say first; the only statement
 *   in pieces:  SAVEPOINT; rows 0..70, SAVEPOINT; rows 70..140 refused at 93, ROLLBACK TO; rows 70..93, SAVEPOINT; rows 94..164 ...
 *               where an error undoes its statement only: rows 0..70, rows 70..140 refused at 93, is the transaction there?, rows 70..93 ...
 *
 * Where the server's word may mean something else, row 93 is sent alone as well, and counts as refused only if that fails.
 */
#include "rows.h"

#include <stdio.h>

#include "buf.h"
#include "db.h"
#include "db_driver.h"
#include "encode.h"
#include "pool.h"

#define NO_ROW UINT32_MAX
#define JOINED_MAX ((size_t)256 * 1024)
#define ARRAYS_MAX ((size_t)256 * 1024 * 1024) /* bytes of an INSERT whose arrays are sure to fit into a message */
#define SAVEPOINT "sluice_piece"

static void send_next(struct rows *r);

static const struct batch_statement *
statement_of(const struct rows *r)
{
	ASSERT(r->statement < r->session->batch.n);
	return &r->session->batch.statements[r->statement];
}

static const struct db_ops *
driver_of(const struct rows *r)
{
	return pool_driver(r->session->pool);
}

/* On to the next row that is to be sent; false: there is none. */
static bool
find_next(struct rows *r)
{
	while (r->statement < r->session->batch.n) {
		if (r->from == r->refused)
			r->from++;
		if (r->from < statement_of(r)->n_rows)
			return true;
		r->statement++;
		r->from = 0;
		r->refused = r->hint = NO_ROW;
	}
	return false;
}

/* Where the next piece ends: before a row that stands alone or is left out, and behind one that stands alone. */
static uint32_t
piece_end(const struct rows *r)
{
	uint32_t end = statement_of(r)->n_rows;
	if (r->piece > 0 && end - r->from > r->most)
		end = r->from + r->most;
	if (r->from == r->hint)
		return r->from + 1;
	end = r->hint > r->from && r->hint < end ? r->hint : end;
	return r->refused > r->from && r->refused < end ? r->refused : end;
}

/* What stands before a piece where an error would end the whole transaction. */
static const char *
mark(const struct rows *r)
{
	if (r->undo)
		return "ROLLBACK TO SAVEPOINT " SAVEPOINT;
	return r->marked ? "RELEASE SAVEPOINT " SAVEPOINT ";SAVEPOINT " SAVEPOINT : "SAVEPOINT " SAVEPOINT; /* one, or they would pile up */
}

/* Appends the rows under way, a whole statement, as arrays. False: they are sent as they are. */
static bool
add_arrays(struct rows *r, struct buf *sql)
{
	const struct batch_statement *b = statement_of(r);
	ASSERT(r->piece == 0 && r->from == 0 && r->to == b->n_rows);
	r->arrays = !b->is_copy && b->sql.len <= ARRAYS_MAX && batch_add_arrays(b, sql);
	return r->arrays;
}

/* Appends the rows under way as a statement of their own, COPY data excepted. */
static void
add_statement(const struct rows *r, struct buf *sql)
{
	const struct batch_statement *b = statement_of(r);
	const char *text = b->sql.data;
	ASSERT(r->from < r->to && r->to <= b->n_rows);
	if (b->is_copy) {
		buf_add(sql, text, b->sql.len);
		return;
	}
	size_t end = r->to < b->n_rows ? b->offsets[r->to] - 1 : b->end; /* without the comma */
	buf_add(sql, text, b->offsets[0]);
	buf_add(sql, text + b->offsets[r->from], end - b->offsets[r->from]);
	buf_add(sql, text + b->end, b->sql.len - b->end);
}

/* Which of the rows under way the server means; NO_ROW: it does not say, or nothing that can be. */
static uint32_t
named_row(const struct rows *r, const struct db_error *error)
{
	const struct batch_statement *b = statement_of(r);
	long row = error->row >= 0 ? error->row + (long)r->from : -1;
	long head = (long)(r->before + b->offsets[0]);
	if (row < 0 && !b->is_copy && !r->arrays && error->offset >= head)
		row = (long)batch_row(b, b->offsets[r->from] + (size_t)(error->offset - head));
	return row >= (long)r->from && row < (long)r->to ? (uint32_t)row : NO_ROW;
}

/* The rows under way were refused, and it is not known for sure which: what comes next finds out. */
static void
narrow(struct rows *r, uint32_t named)
{
	ASSERT(r->piece > 0 && r->to - r->from > 1);
	r->hint = named;
	if (named == NO_ROW)
		r->most = (r->to - r->from) / 2;
	send_next(r);
}

static void
piece_refused(struct rows *r, const struct db_result *result)
{
	uint32_t named = named_row(r, &result->error);
	bool alone = r->to - r->from == 1, sure = alone || (named != NO_ROW && driver_of(r)->error_names_row);
	r->undo = r->piece > 0;
	if (!sure && r->piece > 0 && result->error.class == DB_DATA && !result->error.lost) {
		narrow(r, named);
		return;
	}
	r->refused = alone ? r->from : sure ? named : NO_ROW;
	r->done(r->arg, result, r->refused == NO_ROW ? -1 : (long)statement_of(r)->rows[r->refused]);
}

static void
on_piece(void *arg, const struct db_result *result)
{
	struct rows *r = arg;
	if (result->error.class != DB_OK) {
		piece_refused(r, result);
		return;
	}
	r->sent += r->to - r->from;
	r->affected += result->affected;
	r->from = r->to;
	r->most = r->most < r->piece / 2 ? 2 * r->most : r->piece;
	send_next(r);
}

static void
on_behind(void *arg, const struct db_result *result)
{
	struct rows *r = arg;
	struct db_result strange = *result;
	if (result->error.class == DB_OK && result->n_done != r->told) {
		strange.error = db_error_make(DB_RECONNECT, "", "the server has answered another number of statements than it was sent", NULL);
		strange.error.lost = true;
		result = &strange;
	}
	if (result->error.class != DB_OK) {
		piece_refused(r, result);
		return;
	}
	ASSERT(r->lead < DB_STATEMENTS);
	r->sent = r->to - r->from;
	r->affected = result->changed[r->lead];
	r->done(r->arg, result, -1);
}

/* Sends the rows under way; `sql` is their statement, and what goes out with it. */
static void
send_rows(struct rows *r, const struct buf *sql, unsigned guard, db_answer_fn *answer)
{
	const struct batch_statement *b = statement_of(r);
	struct db_conn *conn = r->session->conn;
	if (b->is_copy) {
		size_t begin = b->offsets[r->from], end = r->to < b->n_rows ? b->offsets[r->to] : b->end;
		driver_of(r)->copy(conn, sql->data, sql->len, b->copy.data + begin, end - begin, guard, answer, r);
	} else {
		driver_of(r)->query(conn, sql->data, sql->len, answer, r);
	}
}

/* Sends the rows under way, which are a whole statement. */
static void
send_whole(struct rows *r)
{
	struct buf *sql = &r->session->sql;
	buf_reset(sql);
	bool arrays = add_arrays(r, sql);
	send_rows(r, arrays ? sql : &statement_of(r)->sql, DB_NO_GUARD, on_piece);
}

/* Sends the rows under way as a piece. */
static void
send_piece(struct rows *r)
{
	struct buf *sql = &r->session->sql;
	buf_reset(sql);
	if (driver_of(r)->error_aborts) {
		buf_addf(sql, "%s;", mark(r)); /* in one round trip */
		r->marked = true;
	}
	r->undo = false;
	r->before = sql->len;
	add_statement(r, sql);
	send_rows(r, sql, DB_NO_GUARD, on_piece);
}

static void
finish(struct rows *r, enum db_class class, const char *message)
{
	struct db_result result = { .error = { .class = class, .row = -1, .offset = -1 }, .in_transaction = true };
	snprintf(result.error.message, sizeof result.error.message, "%s", message);
	r->done(r->arg, &result, -1);
}

/* What a refused piece did is undone, and all before it must still be there: outside of a transaction each row would be committed by itself. */
static void
on_undone(void *arg, const struct db_result *result)
{
	struct rows *r = arg;
	r->undo = false;
	if (result->error.class != DB_OK)
		r->done(r->arg, result, -1);
	else if (!result->in_transaction)
		finish(r, DB_RETRY, "the server ended the transaction");
	else
		send_next(r);
}

static void
undo(struct rows *r)
{
	struct buf *sql = &r->session->sql;
	buf_reset(sql);
	buf_adds(sql, driver_of(r)->error_aborts ? mark(r) : "DO 0");
	driver_of(r)->query(r->session->conn, sql->data, sql->len, on_undone, r);
}

static void
send_next(struct rows *r)
{
	bool left = find_next(r);
	if (left)
		r->to = piece_end(r);
	if (r->undo && !(left && driver_of(r)->error_aborts))
		undo(r);
	else if (!left)
		finish(r, DB_OK, "");
	else if (r->piece > 0)
		send_piece(r);
	else
		send_whole(r);
}

void
rows_begin(struct rows *r, struct session *session, uint32_t piece, rows_done_fn *done, void *arg)
{
	ASSERT(session->batch.n > 0 && done != NULL);
	*r = (struct rows){ .session = session, .done = done, .arg = arg, .piece = piece, .most = piece, .refused = NO_ROW, .hint = NO_ROW };
	send_next(r);
}

bool
rows_may_follow(const struct session *session, size_t lead)
{
	const struct batch *batch = &session->batch;
	const struct db_ops *driver = pool_driver(session->pool);
	size_t len = batch->n == 1 ? batch->statements[0].sql.len : SIZE_MAX;
	return driver->joins(session->conn) && len <= JOINED_MAX && lead + len <= driver->statement_max(session->conn);
}

bool
rows_may_be_guarded(const struct session *session)
{
	return session->batch.n == 1 && session->batch.statements[0].is_copy;
}

void
rows_begin_behind(struct rows *r, struct session *session, unsigned lead, bool guarded, rows_done_fn *done, void *arg)
{
	struct buf *sql = &session->sql;
	ASSERT(rows_may_follow(session, sql->len) && (!guarded || rows_may_be_guarded(session)) && done != NULL);
	*r = (struct rows){ .session = session, .lead = lead, .told = lead + 1, .done = done, .arg = arg, .refused = NO_ROW, .hint = NO_ROW };
	bool left = find_next(r);
	ASSERT(left);
	r->to = piece_end(r);
	r->before = sql->len;
	if (!add_arrays(r, sql))
		add_statement(r, sql);
	send_rows(r, sql, guarded ? lead - 1 : DB_NO_GUARD, on_behind);
}

void
rows_go_on(struct rows *r)
{
	ASSERT(r->piece > 0 && r->undo && r->refused != NO_ROW);
	send_next(r);
}
