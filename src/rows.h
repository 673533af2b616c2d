/* A batch on its way into the table: sends its statements on a session, inside of the transaction that is open there, whole or in pieces. A row
 * that the server refuses undoes its piece alone, and the transaction goes on without the row. */
#ifndef SLUICE_ROWS_H
#define SLUICE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"

struct db_result;
struct rows;
struct session;

/* The rows are stored (error class DB_OK), or not: then `item` is the one of the window that the server refused, -1 where it named none. Called once
 * for each rows_begin() and rows_go_on(), never from within it. */
typedef void rows_done_fn(void *arg, const struct db_result *result, long item);

struct rows {
	struct session *session; /* lent to us; its `batch` is what is stored, its `sql` is overwritten. Borrowed */
	rows_done_fn *done;      /* the caller's */
	void *arg;               /* its argument */
	uint32_t piece;          /* rows of a piece at most; 0: whole statements */
	uint32_t most;           /* of the next piece: fewer than `piece` where the server names no row, to find the bad one by halving */
	size_t statement;        /* of the batch: the one under way */
	uint32_t from, to;       /* its rows under way */
	uint32_t refused;        /* its row that the server refused, to be left out; UINT32_MAX: none */
	uint32_t hint;           /* its row that may be bad, to be sent alone; UINT32_MAX: none */
	bool marked;             /* the savepoint is there */
	bool undo;               /* the piece before failed, and must be seen to be undone before anything else */
	unsigned lead;           /* statements that went out before the rows, in one message with them */
	unsigned told;           /* statements of that message */
	size_t before;           /* bytes of the text sent that stand before the statement */
	bool arrays;             /* which went out as arrays, of which the server can name no row */
	uint64_t sent;           /* rows that the server has taken */
	uint64_t affected;       /* rows that it changed by them */
};

/* Stores the session's batch, at least one row. `piece`: rows of a piece at most; 0: whole statements, and nothing goes on after a refusal. */
void rows_begin(struct rows *rows, struct session *session, uint32_t piece, rows_done_fn *done, void *arg);
/* May the batch be stored by rows_begin_behind(), if `lead` bytes go out before it? It is one statement, of no more bytes than are copied in less time than
 * a message takes. */
bool rows_may_follow(const struct session *session, size_t lead) MUST_CHECK;
/* Can the batch be stored only if the statement before it changed exactly one row? Where the server asks for the rows itself, once all before them is
 * done. */
bool rows_may_be_guarded(const struct session *session) MUST_CHECK;
/* The same as rows_begin() for whole statements, behind what stands in the session's `sql`: `lead` statements, each with its `;`, which go out in one
 * message with the batch. Without a BEGIN among them, or before, all that is a transaction of its own. `guarded`: as rows_may_be_guarded() says; or
 * else the message fails. `done` gets the answer to all of them: result->n_done and changed tell. */
void rows_begin_behind(struct rows *rows, struct session *session, unsigned lead, bool guarded, rows_done_fn *done, void *arg);
/* In pieces only: leaves the row out that was refused last, and goes on behind it. */
void rows_go_on(struct rows *rows);
#endif
