/* The simulated SQL server: a ledger table with the rows of all queues, row locks, READ COMMITTED, and connections that may end at any moment. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

/* The names as in src/db.c, which would bring both client libraries along. */
const char *
db_class_name(enum db_class class)
{
	static const char *const names[] = { "ok", "retry", "reconnect", "not writable", "pause", "data", "too big", "setup", "forgotten", "unknown" };
	ASSERT((size_t)class < sizeof names / sizeof names[0]);
	return names[class];
}

/* Ends the transaction. */
static void
end(struct session *s)
{
	s->open = s->aborted = s->ledger_written = s->refused = s->copying = false;
	s->n_stored = 0;
	memset(s->locked, 0, sizeof s->locked);
	memset(s->touched, 0, sizeof s->touched);
}

struct session *
sql_connect(struct world *w, struct daemon *d)
{
	EACH(w->pool, POOL_MAX, s) {
		if (s->used)
			continue;
		memset(s, 0, offsetof(struct session, request));
		end(s);
		s->used = true;
		s->owner = d;
		return s;
	}
	return NULL;
}

/* -- transactions */

void
sql_rollback(struct session *s)
{
	end(s);
}

static void
apply(struct world *w, struct session *s)
{
	struct lane *lane = s->lane;
	ASSERT(s->open);
	for (uint32_t i = 0; i < s->n_stored; i++)
		audit_row(lane, s->stored[i]);
	for (uint32_t i = 0; i < lane->limits.ledger_rows; i++) {
		if (!s->touched[i])
			continue;
		if (s->ledger_written)
			audit_overwrite(lane, &s->ledger->ring[i]);
		s->ledger->ring[i] = s->changes[i];
	}
	w->totals->commits += s->n_stored > 0;
	end(s);
}

bool
sql_is_busy(const struct lane *lane)
{
	EACH(lane->world->pool, POOL_MAX, s) {
		if (s->used && ((s->open && s->lane == lane) || (s->asked && s->request.lane == lane)))
			return true;
	}
	return false;
}

static bool
is_locked_by_other(const struct world *w, const struct session *s, uint32_t slot)
{
	EACH(w->pool, POOL_MAX, other) {
		if (other->used && other != s && other->open && other->ledger == s->request.ledger && other->locked[slot])
			return true;
	}
	return false;
}

/* The slots that a statement must lock. */
static bool
needs(const struct session *s, uint32_t slot)
{
	switch (s->request.s.kind) {
	case STATEMENT_RING_LOCK:
	case STATEMENT_EPOCH:
		return true;
	case STATEMENT_RING_CUT:
		return slot == s->request.s.cut.slot;
	case STATEMENT_BATCH:
	case STATEMENT_LEDGER:
	case STATEMENT_ROW_LOCK:
		return slot == s->request.s.slot;
	default:
		return false;
	}
}

static bool
must_wait(const struct world *w, const struct session *s)
{
	for (uint32_t i = 0; i < s->request.lane->limits.ledger_rows; i++) {
		if (needs(s, i) && is_locked_by_other(w, s, i))
			return true;
	}
	return false;
}

bool
sql_can_run(const struct world *w, const struct session *s)
{
	return s->broken || !must_wait(w, s) || w->now >= s->asked_at + w->lock_timeout;
}

/* The row of the statement's queue as this transaction sees it. */
static const struct sql_row *
row_seen(const struct session *s, uint32_t slot)
{
	return s->touched[slot] ? &s->changes[slot] : &s->request.ledger->ring[slot];
}

/* The same after its lock, to be changed by the COMMIT. */
static struct sql_row *
row_to_change(struct session *s, uint32_t slot)
{
	if (!s->touched[slot])
		s->changes[slot] = s->request.ledger->ring[slot];
	s->touched[slot] = true;
	return &s->changes[slot];
}

/* -- statements */

static void
set_error(struct session *s, enum db_class class, const char *message)
{
	s->answer = (struct answer){ .error = { .class = class, .row = -1, .offset = -1 }, .part = s->answer.part, .item = -1 };
	snprintf(s->answer.error.message, sizeof s->answer.error.message, "%s", message);
	snprintf(s->answer.error.code, sizeof s->answer.error.code, "%u", (unsigned)class);
}

/* A statement failed: PostgreSQL gives the whole transaction up, MySQL mostly the statement only. */
static void
fail_statement(struct world *w, struct session *s, enum db_class class, const char *message)
{
	set_error(s, class, message);
	if (!s->open)
		return;
	if (w->aborts) {
		end(s);
		s->open = s->aborted = true;
	} else if (class == DB_RETRY && chance(w, 2) == 0) {
		end(s); /* a deadlock's victim */
	}
}

static void
run_ring_make(struct sql_ledger *ledger)
{
	if (ledger->made)
		return;
	*ledger = (struct sql_ledger){ .made = true };
}

static void
run_ring_lock(struct session *s)
{
	const struct sql_row *ring = s->request.ledger->ring;
	for (uint32_t i = 0; i < s->request.lane->limits.ledger_rows; i++)
		s->answer.epoch = ring[i].epoch > s->answer.epoch ? ring[i].epoch : s->answer.epoch;
}

static void
run_epoch(struct session *s)
{
	for (uint32_t i = 0; i < s->request.lane->limits.ledger_rows; i++)
		row_to_change(s, i)->epoch = s->request.s.epoch;
}

static void
run_ring_read(struct session *s)
{
	s->answer.n_rows = s->request.lane->limits.ledger_rows;
	for (uint32_t i = 0; i < s->answer.n_rows; i++)
		s->rows[i] = *row_seen(s, i);
}

static void
run_row_lock(struct session *s)
{
	s->answer.n_rows = 1;
	s->row_slot = s->request.s.slot;
	s->rows[0] = *row_seen(s, s->row_slot);
}

static void
run_ledger(struct session *s)
{
	uint32_t slot = s->request.s.slot;
	if (row_seen(s, slot)->epoch != s->request.s.epoch)
		return;
	*row_to_change(s, slot) = s->request.row;
	s->answer.affected = 1;
	s->ledger_written = true;
}

static void
run_cut(struct world *w, struct session *s)
{
	const struct ledger_cut *cut = &s->request.s.cut;
	const struct sql_row *seen = row_seen(s, cut->slot);
	if (seen->epoch != s->request.s.epoch || seen->first != cut->first)
		return;
	row_to_change(s, cut->slot)->count = cut->count;
	s->answer.affected = 1;
	w->totals->cuts++;
}

static void
run_rows(struct world *w, struct session *s)
{
	const struct sql_request *r = &s->request;
	uint32_t rows = 0;
	for (uint32_t i = 0; i < r->n_items; i++)
		rows += !r->skip[i];
	if (rows > 1 && fault(w, w->faults.statement)) {
		fail_statement(w, s, DB_TOO_BIG, "too big");
		return;
	}
	for (uint32_t i = 0; i < r->n_items; i++) {
		enum poison poison = r->lane->orders[r->items[i]].poison;
		if (r->skip[i] || (poison != POISON_NAMED && poison != POISON_UNNAMED && poison != POISON_MESSAGE))
			continue;
		if (poison == POISON_MESSAGE)
			fail(w, "order %u is not acceptable and reached SQL", r->items[i]);
		if (r->s.piece > 0) {
			set_error(s, DB_DATA, "refused"); /* its piece is undone, and found out which item it was */
			s->answer.taken = chance(w, 3);
			s->refused = true;
		} else {
			fail_statement(w, s, DB_DATA, "refused");
		}
		s->answer.item = r->s.piece > 0 || poison == POISON_NAMED ? (long)i : -1;
		return;
	}
	s->refused = false;
	if (s->n_stored + rows > 2 * BATCH_MAX)
		fail(w, "rows twice in one transaction");
	for (uint32_t i = 0; i < r->n_items; i++) {
		if (!r->skip[i])
			s->stored[s->n_stored++] = r->items[i];
	}
}

static bool
is_deferred_poison(const struct session *s)
{
	for (uint32_t i = 0; i < s->n_stored; i++) {
		if (s->lane->orders[s->stored[i]].poison == POISON_DEFERRED)
			return true;
	}
	return false;
}

/* The server does not say how the COMMIT ended, though the connection lives. */
static void
commit_in_doubt(struct world *w, struct session *s)
{
	static const enum db_class classes[] = { DB_UNKNOWN, DB_PAUSE, DB_NOT_WRITABLE, DB_SETUP };
	w->totals->doubts++;
	switch (chance(w, 3)) {
	case 0: apply(w, s); break;
	case 1: end(s); break;
	default: break; /* it is open still */
	}
	set_error(s, classes[chance(w, 4)], "who knows");
}

static void
run_commit(struct world *w, struct session *s)
{
	if (s->aborted) {
		s->answer.rolled_back = true;
		end(s);
	} else if (is_deferred_poison(s)) {
		end(s);
		set_error(s, DB_DATA, "refused at COMMIT");
	} else if (s->request.s.kind == STATEMENT_COMMIT && fault(w, w->faults.commit_doubt)) { /* an error about a BATCH means that it is undone */
		commit_in_doubt(w, s);
	} else if (fault(w, w->faults.statement)) {
		end(s);
		set_error(s, DB_RETRY, "serialization");
	} else {
		apply(w, s);
	}
}

/* The rows, and what they are committed by where nobody will say COMMIT. */
static void
run_batch_rows(struct world *w, struct session *s)
{
	s->answer.part = STATEMENT_ROWS;
	run_rows(w, s);
	if (s->answer.error.class == DB_OK && s->request.s.commit)
		run_commit(w, s);
}

/* Where it commits, the server asks for the rows once the ledger row is written: a message later. */
static void
run_batch(struct world *w, struct session *s)
{
	if (!s->copying)
		run_ledger(s);
	s->answer.affected = s->ledger_written;
	if (!s->ledger_written && s->request.s.commit) {
		end(s); /* the COPY was made to fail */
	} else if (s->request.s.commit && !s->copying) {
		s->copying = true;
		s->ran = false;
	} else {
		run_batch_rows(w, s);
	}
}

/* What must hold of a statement whatever the queue thinks. */
static void
check_order(struct world *w, struct session *s)
{
	enum statement_kind kind = s->request.s.kind;
	if (s->copying)
		return;
	bool begins = s->request.s.begin || s->request.s.commit;
	if (s->request.s.begin && s->request.s.commit)
		fail(w, "BEGIN before a statement that is a transaction of its own: it would stay open");
	if (begins && s->open)
		fail(w, "BEGIN in an open transaction: MySQL commits it");
	if (begins) {
		s->lane = s->request.lane;
		s->ledger = s->request.ledger;
	}
	s->open |= begins;
	if (s->open && s->ledger != s->request.ledger)
		fail(w, "statement %d of %s in a transaction of %s", (int)kind, s->request.lane->name, s->lane->name);
	bool needs_transaction = kind == STATEMENT_BATCH || kind == STATEMENT_LEDGER || kind == STATEMENT_ROWS || kind == STATEMENT_RING_LOCK || kind == STATEMENT_EPOCH ||
	    kind == STATEMENT_RING_CUT || kind == STATEMENT_ROW_LOCK || kind == STATEMENT_COMMIT;
	if (needs_transaction && !s->open && !s->aborted)
		fail(w, "statement %d outside of a transaction", (int)kind);
	if (kind == STATEMENT_ROWS && s->request.s.again != s->refused)
		fail(w, s->refused ? "rows from the start where they were to go on" : "rows that go on where none was refused");
	if (kind == STATEMENT_ROWS && s->request.lane->limits.ledger && !s->request.untracked && !s->ledger_written && !s->aborted)
		fail(w, "rows without their ledger row");
}

static void
run_sound(struct world *w, struct session *s)
{
	switch (s->request.s.kind) {
	case STATEMENT_CATALOGUE: break;
	case STATEMENT_RING_MAKE: run_ring_make(s->request.ledger); break;
	case STATEMENT_RING_LOCK: run_ring_lock(s); break;
	case STATEMENT_EPOCH: run_epoch(s); break;
	case STATEMENT_RING_READ: run_ring_read(s); break;
	case STATEMENT_RING_CUT: run_cut(w, s); break;
	case STATEMENT_BATCH: run_batch(w, s); break;
	case STATEMENT_LEDGER: run_ledger(s); break;
	case STATEMENT_ROWS: run_rows(w, s); break;
	case STATEMENT_ROW_LOCK: run_row_lock(s); break;
	case STATEMENT_COMMIT: run_commit(w, s); break;
	case STATEMENT_ROLLBACK: end(s); break;
	}
}

void
sql_run(struct world *w, struct session *s)
{
	static const enum db_class classes[] = { DB_RETRY, DB_NOT_WRITABLE, DB_PAUSE, DB_SETUP, DB_FORGOTTEN, DB_UNKNOWN };
	enum statement_kind kind = s->request.s.kind;
	ASSERT(s->asked && !s->ran);
	s->ran = true;
	s->ready_at = w->now + delay(w);
	s->answer = (struct answer){ .item = -1, .part = s->copying ? STATEMENT_ROWS : STATEMENT_LEDGER };
	if (s->broken) {
		sql_rollback(s);
		set_error(s, DB_RECONNECT, "terminated");
		s->answer.error.lost = true;
		return;
	}
	check_order(w, s);
	bool ends = kind == STATEMENT_COMMIT || kind == STATEMENT_ROLLBACK;
	if (s->aborted && !ends) {
		set_error(s, DB_UNKNOWN, "current transaction is aborted");
	} else if (kind == STATEMENT_CATALOGUE && s->request.lane->ailment == AILMENT_NO_TABLE) {
		set_error(s, DB_SETUP, "no such table");
	} else if (must_wait(w, s)) {
		w->totals->lock_timeouts++;
		fail_statement(w, s, DB_RETRY, "lock timeout");
	} else if (!ends && fault(w, w->faults.statement)) {
		w->totals->failed_statements++;
		fail_statement(w, s, classes[chance(w, 6)], "failed");
	} else {
		for (uint32_t i = 0; i < s->request.lane->limits.ledger_rows; i++)
			s->locked[i] |= needs(s, i);
		run_sound(w, s);
	}
	if (s->request.s.commit && s->ran)
		end(s);
	trace(w, "sql %d: statement %d of %s: class %d, affected %llu%s", (int)(s - w->pool), (int)kind, s->worker == NULL ? "nobody" : s->worker->name,
	    (int)s->answer.error.class, (unsigned long long)s->answer.affected, s->answer.error.message);
}

void
sql_end_orphan(struct world *w, struct session *s)
{
	ASSERT(s->owner == NULL);
	bool sent = s->request.s.kind == STATEMENT_COMMIT || s->copying;
	bool commit = s->asked && !s->ran && !s->broken && sent && s->open && !s->aborted;
	w->totals->doubts += commit;
	if (commit && s->copying)
		run_rows(w, s);
	if (commit && !s->aborted && !is_deferred_poison(s) && chance(w, 2) == 0) {
		w->totals->doubts_applied++;
		trace(w, "sql %d: an orphan's COMMIT is applied", (int)(s - w->pool));
		apply(w, s);
	} else {
		trace(w, "sql %d: an orphan ends", (int)(s - w->pool));
		end(s);
	}
	s->used = false;
}

void
sql_back_up(struct world *w)
{
	w->backed_up = true;
	EACH(w->lanes, w->n_lanes, lane) {
		struct backup *b = &lane->backup;
		for (unsigned i = 0; i < LEDGERS; i++)
			memcpy(b->rings[i], lane->ledgers[i].ring, sizeof b->rings[i]);
		memset(b->rows, 0, sizeof b->rows);
		for (uint32_t i = 0; i < lane->n_orders; i++)
			b->rows[i] = lane->orders[i].rows;
	}
}

void
sql_restore(struct world *w)
{
	if (!w->backed_up)
		return;
	trace(w, "FAULT SQL comes back from a backup");
	w->totals->restores++;
	EACH(w->lanes, w->n_lanes, lane) {
		for (unsigned i = 0; i < LEDGERS; i++)
			memcpy(lane->ledgers[i].ring, lane->backup.rings[i], sizeof lane->ledgers[i].ring);
		for (uint32_t i = 0; i < lane->n_orders; i++) {
			struct order *o = &lane->orders[i];
			o->lost |= o->rows > lane->backup.rows[i]; /* if it waits still, and nobody believes it stored, it comes again */
			o->rows = lane->backup.rows[i];
		}
	}
	EACH(w->pool, POOL_MAX, s) {
		if (!s->used)
			continue;
		sql_rollback(s);
		s->broken = true;
		if (s->owner == NULL)
			s->used = false;
	}
}
