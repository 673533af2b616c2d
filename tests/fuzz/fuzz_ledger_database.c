/* The database: carries out the statements on the rows, and spoils what it answers as the input says. */
#include "fuzz_ledger.h"

#include <inttypes.h>
#include <stdio.h>

#include "buf.h"
#include "ledger.h"
#include "utf8.h"
#include "window.h"

/* How an input spoils a statement; a smaller byte: not at all. */
enum { SPOIL_ROW = 200, SPOIL_CELL = 220, SPOIL_ERROR = 240 };

struct pending *
pending_of(const struct session *session)
{
	return &world.pending[session - world.sessions];
}

/* Stands in for pool.c's. */
static void
fake_query(struct db_conn *conn, const char *sql, size_t len, db_answer_fn *answer, void *arg)
{
	struct pending *p = pending_of((const struct session *)(const void *)conn);
	ASSERT(p->task != NULL && p->answer == NULL && len > 0);
	p->answer = answer;
	p->arg = arg;
	p->begin = len == 5 && memcmp(sql, "BEGIN", 5) == 0;
	p->counts = len > 12 && memcmp(sql, "SELECT count", 12) == 0;
	p->fills = len > 6 && memcmp(sql, "INSERT", 6) == 0;
}

static bool
fake_joins(const struct db_conn *conn)
{
	(void)conn;
	return world.database.driver == DRIVER_POSTGRESQL;
}

static void
fake_expect(struct db_conn *conn, size_t bytes)
{
	(void)conn;
	ASSERT(bytes >= ledger_answer_max(&world.config));
}

static void
fake_quote_text(struct buf *out, const char *text, size_t len)
{
	buf_addc(out, '\'');
	buf_add(out, text, len);
	buf_addc(out, '\'');
}

const struct db_ops *
pool_driver(const struct pool *pool)
{
	static const struct db_ops ops = { .name = "fake", .query = fake_query, .joins = fake_joins, .expect = fake_expect, .quote_text = fake_quote_text };
	(void)pool;
	return &ops;
}

/* What a result set is made of, for the time of one answer. */
struct reply {
	struct db_result result;
	const char *values[ROWS_MAX * CELLS];
	size_t lengths[ROWS_MAX * CELLS];
	struct row rows[ROWS_MAX];
};

static void
reply_cell(struct reply *r, size_t i, const struct cell *cell)
{
	r->values[i] = cell->null ? NULL : cell->text;
	r->lengths[i] = cell->null ? 0 : cell->len;
}

/* One value. */
static void
reply_number(struct reply *r, uint64_t number)
{
	cell_set(&r->rows[0].cells[0], "%" PRIu64, number);
	r->result.rows = r->result.columns = 1;
	reply_cell(r, 0, &r->rows[0].cells[0]);
}

static void
reply_row(struct reply *r, const struct row *row, bool whole)
{
	struct row *copy = &r->rows[r->result.rows];
	*copy = *row;
	if (!whole)
		copy->cells[ITEMS].null = copy->cells[DEAD].null = true;
	for (size_t i = 0; i < CELLS; i++)
		reply_cell(r, r->result.rows * CELLS + i, &copy->cells[i]);
	r->result.rows++;
	r->result.columns = CELLS;
}

static bool
has_slot(uint32_t slot)
{
	for (size_t i = 0; i < world.n_rows; i++) {
		if (cell_number(&world.rows[i].cells[SLOT]) == slot)
			return true;
	}
	return false;
}

static void
ring_fill(void)
{
	for (uint32_t slot = 0; slot < RING_ROWS && world.n_rows < ROWS_MAX; slot++) {
		if (has_slot(slot))
			continue;
		struct row *row = &world.rows[world.n_rows++];
		for (size_t i = 0; i < CELLS; i++)
			cell_set(&row->cells[i], "%u", i == SLOT ? slot : 0);
		cell_set(&row->cells[ITEMS], "%s", "");
		row->cells[DEAD].null = true;
	}
}

static void
ring_lock(struct reply *r)
{
	uint64_t epoch = 0;
	for (size_t i = 0; i < world.n_rows; i++) {
		uint64_t there = cell_number(&world.rows[i].cells[EPOCH]);
		epoch = there > epoch ? there : epoch;
	}
	reply_number(r, epoch);
}

static void
ring_read(struct reply *r, uint64_t settled)
{
	for (size_t i = 0; i < world.n_rows; i++) {
		const struct cell *cells = world.rows[i].cells;
		uint64_t count = cell_number(&cells[COUNT]);
		reply_row(r, &world.rows[i], strcmp(cells[OURS].text, "1") == 0 && count > 0 && cell_number(&cells[FIRST]) + count > settled);
	}
}

static void
ring_cut(struct reply *r, const struct statement *s)
{
	for (size_t i = 0; i < world.n_rows; i++) {
		struct cell *cells = world.rows[i].cells;
		if (cell_number(&cells[SLOT]) != s->cut.slot || cell_number(&cells[FIRST]) != s->cut.first || cell_number(&cells[EPOCH]) != s->epoch)
			continue;
		cell_set(&cells[COUNT], "%u", s->cut.count);
		if (cells[ITEMS].len > s->cut.count * 16)
			cells[ITEMS].text[cells[ITEMS].len = s->cut.count * 16] = '\0';
		r->result.affected++;
	}
}

/* What is written of rejects must be read again as it was. */
static void
check_dead(const struct window *w, const struct buf *dead)
{
	struct window *copy = window_new(w->first, w->items, w->count, NULL);
	bool ours = window_dead_read(copy, dead->len == 0 ? "" : dead->data, dead->len, 0);
	ASSERT(ours && copy->n_rejects == w->n_rejects);
	ASSERT(utf8_valid(dead->data, dead->len));
	for (uint32_t i = 0; i < w->n_rejects; i++) {
		const struct reject *a = &w->rejects[i], *b = &copy->rejects[i];
		ASSERT(a->index == b->index && strcmp(a->class, b->class) == 0 && strcmp(a->code, b->code) == 0);
		ASSERT(strcmp(a->column, b->column) == 0 && strcmp(a->message, b->message) == 0);
	}
	window_free(&copy);
}

static void
ring_write(struct pending *p, struct reply *r)
{
	const struct window *w = p->statement.window;
	struct buf dead = BUF_INIT;
	window_dead_write(w, &dead);
	check_dead(w, &dead);
	for (size_t i = 0; i < world.n_rows; i++) {
		const struct cell *cells = world.rows[i].cells;
		if (cell_number(&cells[SLOT]) != p->statement.slot || cell_number(&cells[EPOCH]) != p->statement.epoch)
			continue;
		p->row = world.rows[i];
		p->at = i;
		p->staged = true;
		cell_set(&p->row.cells[OURS], "1");
		cell_set(&p->row.cells[FIRST], "%" PRIu64, w->first);
		cell_set(&p->row.cells[COUNT], "%u", w->count);
		cell_hashes(&p->row.cells[ITEMS], w->first, w->count);
		p->row.cells[DEAD] = (struct cell){ .null = dead.len == 0, .len = dead.len < CELL_MAX ? dead.len : CELL_MAX - 1 };
		memcpy(p->row.cells[DEAD].text, buf_cstr(&dead), p->row.cells[DEAD].len);
		r->result.affected++;
	}
	buf_free(&dead);
}

static void
commit(struct pending *p)
{
	if (p->staged)
		world.rows[p->at] = p->row;
	p->staged = false;
}

static void
execute(struct pending *p, struct reply *r)
{
	switch (p->statement.kind) {
	case STATEMENT_RING_MAKE:
		if (p->counts)
			reply_number(r, world.n_rows);
		else if (p->fills)
			ring_fill();
		break;
	case STATEMENT_RING_LOCK: ring_lock(r); break;
	case STATEMENT_EPOCH:
		for (size_t i = 0; i < world.n_rows; i++)
			cell_set(&world.rows[i].cells[EPOCH], "%" PRIu64, p->statement.epoch);
		break;
	case STATEMENT_RING_READ: ring_read(r, p->statement.settled); break;
	case STATEMENT_RING_CUT: ring_cut(r, &p->statement); break;
	case STATEMENT_LEDGER: ring_write(p, r); break;
	case STATEMENT_ROW_LOCK:
		for (size_t i = 0; i < world.n_rows; i++) {
			if (cell_number(&world.rows[i].cells[SLOT]) == p->statement.slot)
				reply_row(r, &world.rows[i], true);
		}
		break;
	case STATEMENT_COMMIT: commit(p); break;
	case STATEMENT_ROLLBACK: p->staged = false; break;
	default: break;
	}
}

static void
take_error(struct db_error *e)
{
	static const enum db_class classes[] = { DB_RETRY, DB_RECONNECT, DB_PAUSE, DB_DATA, DB_DATA, DB_TOO_BIG, DB_UNKNOWN };
	e->class = classes[input_byte(&world.in) % (sizeof classes / sizeof *classes)];
	e->lost = e->class == DB_RECONNECT;
	snprintf(e->code, sizeof e->code, "22P02");
	take_text(e->column, sizeof e->column - 1);
	take_text(e->message, sizeof e->message - 1);
}

void
database_answer(struct pending *p, bool lost)
{
	static struct reply r;
	struct pending done = *p;
	uint8_t how = lost ? 0 : input_byte(&world.in);
	memset(&r.result, 0, sizeof r.result);
	r.result.error = (struct db_error){ .class = lost ? DB_RECONNECT : DB_OK, .lost = lost, .row = -1, .offset = -1 };
	if (how >= SPOIL_ROW && how < SPOIL_CELL && world.n_rows > 0) {
		size_t i = how % world.n_rows;
		world.rows[i] = take_row((uint32_t)cell_number(&world.rows[i].cells[SLOT]));
	}
	if (how >= SPOIL_ERROR)
		take_error(&r.result.error);
	if (!lost && !p->begin && (how < SPOIL_ERROR || (p->statement.kind == STATEMENT_COMMIT && how & 1)))
		execute(p, &r);
	if (how >= SPOIL_CELL && how < SPOIL_ERROR && r.result.rows > 0) {
		size_t i = how % r.result.rows;
		spoil(&r.rows[i]);
		for (size_t k = 0; k < r.result.columns; k++)
			reply_cell(&r, i * r.result.columns + k, &r.rows[i].cells[k]);
	}
	r.result.values = r.values;
	r.result.lengths = r.lengths;
	p->answer = NULL;
	if (done.answer != NULL) {
		done.answer(done.arg, &r.result);
		return;
	}
	p->task = NULL;
	long item = r.result.error.class == DB_DATA ? how % 8 - 1 : -1;
	queue_answered(world.queue, world.now, done.task, &(struct answer){ .error = r.result.error, .item = item, .altered = how == 1 });
}
