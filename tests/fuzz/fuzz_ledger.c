/* Rubbish in the ledger: rows, as a database gives them, that somebody else has written, through the real statements (errand.c, ledger.c, task.c) into
 * the real queue, which must go on, or stop with a reason. A Redis that works and a table that takes all but what the input says stand around it.
 *
 * An input is read byte by byte as decisions: where the list stands, what the rows hold, then what happens to each statement. When it is used up
 * nothing goes wrong any more.
 */
#include "fuzz.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "arena.h"
#include "buf.h"
#include "config.h"
#include "db.h"
#include "db_driver.h"
#include "errand.h"
#include "ledger.h"
#include "pool.h"
#include "queue.h"
#include "utf8.h"
#include "window.h"

enum { SLOT, OURS, EPOCH, FIRST, COUNT, ITEMS, DEAD, CELLS };

#define CELL_MAX 192
#define ROWS_MAX 24
#define RING_ROWS 16 /* as configured */
#define LIST_MAX 24
#define TEXTS 64     /* different payloads; more positions than these have them in turn */
#define SESSIONS 2
#define CALLS_MAX 16 /* questions to Redis under way */
#define STEPS_MAX 4000

/* How an input spoils a statement; a smaller byte: not at all. */
enum { SPOIL_ROW = 200, SPOIL_CELL = 220, SPOIL_ERROR = 240 };

#define OPERATOR 250 /* from this byte on a step begins with the operator's choice of what happens to orders in doubt */

struct cell {
	bool null;
	size_t len;
	char text[CELL_MAX]; /* with a NUL behind len */
};

struct row {
	struct cell cells[CELLS];
};

enum call_kind { CALL_LEASE, CALL_OWN, CALL_PEEK, CALL_SETTLE, CALL_WAIT, CALL_LENGTH };

/* A question to Redis. */
struct call {
	enum call_kind kind;
	uint64_t view, epoch, offset, settled; /* the last two of a peek, of a settle */
	uint32_t count;                        /* peek: asked for; settle: items to remove */
	bool rewritten;                        /* own: a new generation */
	bool guarded;                          /* settle: every sample is what the list shows */
};

/* A statement under way on a session. */
struct pending {
	struct task *task;         /* NULL: none */
	struct statement statement;
	db_answer_fn *answer;      /* NULL: it is answered to the queue directly */
	void *arg;
	bool begin;                /* it only opens a transaction */
	bool counts, fills;        /* of RING_MAKE */
	bool staged;               /* a LEDGER of this transaction waits for its COMMIT */
	struct row row;            /* that LEDGER's */
	size_t at;                 /* its place */
};

static struct {
	struct input in;
	struct queue *queue;
	uint64_t now, wake_at, random;
	unsigned wanted;
	/* Redis */
	uint64_t settled, epoch;
	uint64_t shift; /* positions of former generations */
	uint32_t list;  /* items in it */
	struct call calls[CALLS_MAX];
	size_t n_calls;
	/* SQL */
	struct row rows[ROWS_MAX];
	size_t n_rows;
	struct session sessions[SESSIONS];
	struct pending pending[SESSIONS];
	struct errand_place place;
	struct queue_config config;
	struct database_config database;
} world;

static char texts[TEXTS][2 + ARENA_PADDING]; /* payloads; that of a position is texts[position % TEXTS] */

/* -- values of an input */

static struct item
item_at(uint64_t position)
{
	return (struct item){ texts[(position + world.shift) % TEXTS], 2 };
}

/* Up to `max` bytes as they are. */
static size_t
take_raw(char *out, size_t max)
{
	size_t n = input_byte(&world.in) % (max + 1), k = 0;
	for (; k < n && world.in.left > 0; k++)
		out[k] = (char)input_byte(&world.in);
	out[k] = '\0';
	return k;
}

/* A text such as servers and tables give: UTF-8 without NUL. */
static void
take_text(char *out, size_t max)
{
	take_raw(out, max);
	if (!utf8_valid(out, strlen(out)))
		snprintf(out, max, "\xc3\xa9\tx\ny");
}

static void PRINTF_LIKE(2, 3)
cell_set(struct cell *cell, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	cell->null = false;
	cell->len = (size_t)vsnprintf(cell->text, sizeof cell->text, fmt, args);
	va_end(args);
	ASSERT(cell->len < sizeof cell->text);
}

static void
cell_raw(struct cell *cell)
{
	cell->len = take_raw(cell->text, CELL_MAX - 1);
	cell->null = cell->len == 0;
}

static uint64_t
cell_number(const struct cell *cell)
{
	return cell->null ? 0 : strtoull(cell->text, NULL, 10);
}

/* The hashes of the items from a position on. */
static void
cell_hashes(struct cell *cell, uint64_t first, uint32_t n)
{
	struct buf hex = BUF_INIT;
	for (uint32_t i = 0; i < n; i++) {
		struct item item = item_at(first + i);
		uint64_t hash = window_hash(&item);
		buf_add_hex(&hex, &hash, sizeof hash);
	}
	cell_set(cell, "%s", buf_cstr(&hex));
	buf_free(&hex);
}

/* Spoils one column of a row. */
static void
spoil(struct row *row)
{
	struct cell *cell = &row->cells[input_byte(&world.in) % CELLS];
	uint8_t how = input_byte(&world.in);
	if (cell == &row->cells[SLOT])
		cell_set(cell, "%u", how);
	else if (cell == &row->cells[ITEMS] && how > 200 && !cell->null && cell->len > 0)
		cell->text[how % cell->len] = (char)input_byte(&world.in);
	else
		cell_raw(cell);
}

/* Row `slot`: one that sluice might have written, in or near what the list shows, and then perhaps spoilt. */
static struct row
take_row(uint32_t slot)
{
	struct row row;
	uint8_t how = input_byte(&world.in);
	uint64_t first = world.settled + (how >> 2) % 24;
	uint32_t count = how == 0 ? 0 : input_byte(&world.in) % 6;
	if (how & 64 && first >= 16)
		first -= 16;
	cell_set(&row.cells[SLOT], "%u", slot);
	cell_set(&row.cells[OURS], "%u", how != 0 && !(how & 128));
	cell_set(&row.cells[EPOCH], "%" PRIu64, world.epoch);
	cell_set(&row.cells[FIRST], "%" PRIu64, how == 0 ? 0 : first);
	cell_set(&row.cells[COUNT], "%u", count);
	cell_hashes(&row.cells[ITEMS], first, count);
	row.cells[DEAD] = (struct cell){ .null = true };
	if (how & 1)
		spoil(&row);
	if (how & 2)
		cell_raw(&row.cells[DEAD]);
	return row;
}

/* -- SQL */

static struct pending *
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
	static const struct db_ops ops = { .name = "fake", .query = fake_query, .expect = fake_expect, .quote_text = fake_quote_text };
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

/* Answers what is under way on a session; `lost`: the connection breaks. */
static void
answer(struct pending *p, bool lost)
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

/* -- Redis */

static struct call *
call_new(enum call_kind kind, uint64_t view)
{
	ASSERT(world.n_calls < CALLS_MAX);
	struct call *c = &world.calls[world.n_calls++];
	*c = (struct call){ .kind = kind, .view = view };
	return c;
}

static void
answer_peek(const struct call *c)
{
	struct item items[LIST_MAX];
	uint32_t n = 0;
	while (n < c->count && c->offset + n < world.list) {
		items[n] = item_at(world.settled + c->offset + n);
		n++;
	}
	struct queue_view v;
	queue_look(world.queue, &v);
	queue_peeked(world.queue, world.now, c->view, &(struct peek_answer){ .why = "", .items = items, .n = n, .disowned = v.epoch != world.epoch });
}

static void
answer_settle(const struct call *c)
{
	struct settle_answer a = { .why = "", .status = SETTLE_OK };
	if (c->epoch != world.epoch) {
		a.status = SETTLE_FENCED;
	} else if (c->settled != world.settled) {
		a.status = SETTLE_MOVED;
	} else {
		ASSERT(c->guarded && c->count <= world.list); /* nobody else takes or adds */
		world.settled += c->count;
		world.list -= c->count;
	}
	a.settled = world.settled + (input_byte(&world.in) == 255 ? 1 : 0); /* a Redis that does not tell the truth */
	a.backlog = world.list;
	queue_settled(world.queue, world.now, c->view, &a);
}

/* A new generation counts from 0, and no row of the ledger is of it. */
static void
begin_generation(void)
{
	world.shift += world.settled;
	world.settled = 0;
	for (size_t i = 0; i < world.n_rows; i++)
		cell_set(&world.rows[i].cells[OURS], "0");
}

static void
answer_call(void)
{
	struct call c = world.calls[0];
	memmove(world.calls, world.calls + 1, --world.n_calls * sizeof c);
	switch (c.kind) {
	case CALL_LEASE:
		queue_leased(world.queue, world.now, c.view, &(struct lease_answer){ .why = "", .granted = true, .holder = "a 1", .ttl_ms = 1000,
		    .epoch = world.epoch });
		break;
	case CALL_OWN:
		world.epoch = c.epoch;
		if (c.rewritten)
			begin_generation();
		queue_owned(world.queue, world.now, c.view, &(struct own_answer){ .why = "", .generation = "00", .settled = world.settled, .backlog = world.list });
		break;
	case CALL_PEEK: answer_peek(&c); break;
	case CALL_SETTLE: answer_settle(&c); break;
	case CALL_WAIT: queue_woken(world.queue, world.now, false); break;
	case CALL_LENGTH: queue_measured(world.queue, world.now, c.view, world.list, 0); break;
	}
}

/* -- ports */

static void
port_lease(void *arg, uint64_t view)
{
	(void)arg;
	call_new(CALL_LEASE, view);
}

static void
port_own(void *arg, uint64_t view, uint64_t epoch, const char *new_generation, bool rewritten)
{
	(void)arg, (void)new_generation;
	ASSERT(epoch > 0); /* as source_list_own() wants it */
	struct call *c = call_new(CALL_OWN, view);
	c->epoch = epoch;
	c->rewritten = rewritten;
}

static void
port_peek(void *arg, uint64_t view, uint64_t offset, uint32_t count, size_t budget)
{
	(void)arg, (void)budget;
	ASSERT(count > 0);
	struct call *c = call_new(CALL_PEEK, view);
	c->offset = offset;
	c->count = count;
}

static void
port_settle(void *arg, uint64_t view, const struct settle *s)
{
	(void)arg;
	ASSERT(s->skip == 0 && s->remove == s->advance);
	struct call *c = call_new(CALL_SETTLE, view);
	c->epoch = s->epoch;
	c->settled = s->settled;
	c->count = s->remove;
	c->guarded = true;
	for (size_t i = 0; i < s->n_samples; i++) {
		struct item item = item_at(s->settled + s->samples[i].offset);
		c->guarded &= s->samples[i].item->len == item.len && memcmp(s->samples[i].item->text, item.text, item.len) == 0;
	}
}

static void
port_wait(void *arg, uint64_t view)
{
	(void)arg;
	call_new(CALL_WAIT, view);
}

static void
port_length(void *arg, uint64_t view)
{
	(void)arg;
	call_new(CALL_LENGTH, view);
}

static void
port_release(void *arg, bool clean)
{
	(void)clean;
	(void)arg;
}

static void
port_ask(void *arg, struct task *task, const struct statement *statement)
{
	(void)arg;
	struct pending *p = pending_of(task->session);
	ASSERT(p->answer == NULL);
	p->task = task;
	p->statement = *statement;
	if (statement->kind != STATEMENT_CATALOGUE && statement->kind != STATEMENT_ROWS)
		errand_run(&world.place, task, statement);
}

static void
on_answered(void *arg, struct task *task, const struct answer *a)
{
	(void)arg;
	pending_of(task->session)->task = NULL;
	queue_answered(world.queue, world.now, task, a);
}

static void
port_give_back(void *arg, struct session *session, bool lost)
{
	(void)arg, (void)lost;
	errand_end(session);
	pending_of(session)->staged = false;
	session->state = SESSION_IDLE;
}

static void
port_want(void *arg, unsigned sessions)
{
	(void)arg;
	world.wanted = sessions;
}

/* Messages that are not acceptable, with whatever the encoder may say of them. */
static bool
port_prepare(void *arg, struct task *task)
{
	(void)arg;
	struct reject r = { .class = "message" };
	if (input_byte(&world.in) % 4 != 3)
		return true;
	r.index = input_byte(&world.in) % task->window->count;
	take_text(r.column, sizeof r.column - 1);
	take_text(r.message, sizeof r.message - 1);
	window_reject(task->window, &r);
	return true;
}

static void
port_wake_at(void *arg, uint64_t ms)
{
	(void)arg;
	world.wake_at = ms;
}

static uint64_t
port_random(void *arg)
{
	(void)arg;
	world.random = world.random * 6364136223846793005u + 1442695040888963407u;
	return world.random >> 20;
}

static void
port_tell(void *arg, int level, const char *text)
{
	(void)arg, (void)level;
	ASSERT(text[0] != '\0');
}

/* -- a run */

static void
start(struct input in)
{
	static const struct queue_ports ports = { port_lease, port_own, port_peek, port_settle, port_wait, port_length, port_release, port_ask,
		port_give_back, port_want, port_prepare, port_wake_at, port_random, port_tell };
	static const struct queue_limits limits = { .batch_rows = 4, .batch_bytes = 1024, .max_item_bytes = 1024, .sessions = SESSIONS,
		.ledger_rows = RING_ROWS, .ledger = true, .lease_ms = 1000, .backoff_ms = 10 };
	for (size_t i = 0; i < TEXTS; i++)
		snprintf(texts[i], 3, "%02zx", i);
	struct buf kept[SESSIONS]; /* statements are written anew each time, their memory stays */
	for (size_t i = 0; i < SESSIONS; i++)
		kept[i] = world.sessions[i].sql;
	memset(&world, 0, offsetof(__typeof__(world), rows));
	memset(world.pending, 0, sizeof world.pending);
	world.in = in;
	for (size_t i = 0; i < SESSIONS; i++)
		world.sessions[i] = (struct session){ .state = SESSION_IDLE, .sql = kept[i], .conn = (struct db_conn *)(void *)&world.sessions[i] };
	uint8_t how = input_byte(&world.in);
	world.settled = input_byte(&world.in) >> (how & 1 ? 0 : 5);
	world.epoch = how & 2 ? input_byte(&world.in) : 1;
	world.list = input_byte(&world.in) % (LIST_MAX + 1);
	world.n_rows = input_byte(&world.in) % (ROWS_MAX + 1);
	for (uint32_t i = 0; i < world.n_rows; i++)
		world.rows[i] = take_row(i);
	static char user[] = "sluice", name[] = "orders";
	world.database = (struct database_config){ .driver = how & 4 ? DRIVER_MYSQL : DRIVER_POSTGRESQL, .user = user };
	world.config = (struct queue_config){ .name = name, .target = &world.database, .ledger_rows = RING_ROWS };
	world.queue = queue_new(&ports, NULL, &limits, "a");
	world.place = (struct errand_place){ .config = &world.config, .generation = queue_generation(world.queue), .answered = on_answered };
	queue_redis_up(world.queue, world.now);
}

/* Lets one thing happen; false: nothing can, but that time passes. */
static bool
step(void)
{
	uint8_t first = input_byte(&world.in);
	if (first >= OPERATOR)
		(void)queue_choose(world.queue, world.now, first & 1 ? HISTORY_ACCEPT : HISTORY_SKIP);
	for (unsigned i = 0; i <= SESSIONS; i++) {
		unsigned turn = (first + i) % (SESSIONS + 1);
		if (turn == SESSIONS && world.n_calls > 0) {
			answer_call();
			return true;
		}
		if (turn == SESSIONS)
			continue;
		if (world.pending[turn].task != NULL) {
			answer(&world.pending[turn], false);
			return true;
		}
		struct session *session = &world.sessions[turn];
		if (world.wanted > 0 && session->state == SESSION_IDLE) {
			session->state = SESSION_BUSY;
			world.wanted--;
			if (queue_give(world.queue, world.now, session))
				return true;
			world.wanted = 0; /* as the pool counts */
			session->state = SESSION_IDLE;
		}
	}
	return world.n_calls > 0; /* who refuses a session may ask for something else */
}

/* Is there nothing left to be done, or a reason to stop? */
static bool
is_settled(void)
{
	struct queue_view v;
	queue_look(world.queue, &v);
	return world.in.left == 0 && ((v.state == QUEUE_DRAIN && world.list == 0 && v.inflight == 0) || v.block == BLOCK_SETUP || v.block == BLOCK_HISTORY);
}

static void
end(void)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		while (world.pending[i].task != NULL)
			answer(&world.pending[i], true);
	}
	queue_free(&world.queue);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned steps = 0;
	start((struct input){ data, size });
	while (!is_settled()) {
		ASSERT(++steps < STEPS_MAX);
		if (!step()) {
			ASSERT(world.wake_at != UINT64_MAX);
			world.now = world.wake_at > world.now ? world.wake_at : world.now + 1;
			queue_tick(world.queue, world.now);
		}
		queue_check(world.queue);
	}
	end();
	return 0;
}
