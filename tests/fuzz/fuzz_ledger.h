/* The parts of the ledger fuzzer: the world that an input is played in, the rows that it makes, and the database that holds them. */
#ifndef FUZZ_LEDGER_H
#define FUZZ_LEDGER_H

#include "fuzz.h"

#include <stdbool.h>

#include "arena.h"
#include "check.h"
#include "config.h"
#include "db.h"
#include "errand.h"
#include "pool.h"
#include "queue.h"
#include "task.h"

enum { SLOT, OURS, EPOCH, FIRST, COUNT, ITEMS, DEAD, CELLS };

#define CELL_MAX 192
#define ROWS_MAX 24
#define RING_ROWS 16 /* as configured */
#define LIST_MAX 24
#define TEXTS 64     /* different payloads; more positions than these have them in turn */
#define SESSIONS 2
#define CALLS_MAX 16 /* questions to Redis under way */

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

/* All that one input is played in. */
extern struct world {
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

/* -- fuzz_ledger_rows.c: what an input says */

/* Makes the payloads, before anything else. */
void texts_make(void);
/* What stands, or stood, at that position of the list. */
struct item item_at(uint64_t position);
/* A text such as servers and tables give: UTF-8 without NUL, at most `max` bytes, and the NUL behind them. */
void take_text(char *out, size_t max);
/* Writes a value that is not NULL. */
void cell_set(struct cell *cell, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The value as a number; NULL is 0. */
uint64_t cell_number(const struct cell *cell);
/* The hashes of the items from a position on. */
void cell_hashes(struct cell *cell, uint64_t first, uint32_t n);
/* Spoils one column of a row. */
void spoil(struct row *row);
/* Row `slot`: one that sluice might have written, in or near what the list shows, and then perhaps spoilt. */
struct row take_row(uint32_t slot);

/* -- fuzz_ledger_database.c: what the statements do */

/* The statement of that session. */
struct pending *pending_of(const struct session *session);
/* Answers what is under way on a session; `lost`: the connection breaks. */
void database_answer(struct pending *pending, bool lost);

#endif
