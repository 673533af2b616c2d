/* The ledger table as SQL text, for each server: what a queue's statements say, and reading their answers. See sluice-protocol(7). */
#ifndef SLUICE_LEDGER_H
#define SLUICE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "task.h"

struct buf;
struct db_ops;
struct db_result;
struct queue_config;
struct window;

/* The name, as the design fixes it; found by the connection's search path (PostgreSQL), in its database (MySQL). */
#define LEDGER_TABLE "sluice_ledger"

/* Appends CREATE TABLE IF NOT EXISTS, without a final semicolon. `driver` is enum driver. */
void ledger_ddl(int driver, struct buf *out);
/* Appends the query for how many rows of the queue there are. On PostgreSQL it ends sessions of ours that stall with a row locked, too. */
void ledger_count_sql(const struct db_ops *driver, const char *queue, struct buf *out);
/* Appends the INSERT of the ring's rows; those that are there stay as they are. */
void ledger_fill_sql(const struct db_ops *driver, const char *queue, uint32_t rows, struct buf *out);
/* Appends what prepares LEDGER on a connection, once; false: nothing, this server needs no such thing. PostgreSQL does: to plan this statement takes it
 * as long as to run it. */
bool ledger_prepare_sql(int driver, struct buf *out) MUST_CHECK;
/* Appends the text of a statement of kind RING_LOCK, EPOCH, RING_READ, RING_CUT, LEDGER (prepared) or ROW_LOCK. BEGIN is not part of it. */
void ledger_sql(const struct db_ops *driver, int driver_kind, const char *queue, const char *generation, const struct statement *s, struct buf *out);

/* Bytes of LEDGER's text at most, but for the queue's name. */
size_t ledger_row_max(const struct window *window);

/* Bytes of an answer to RING_READ or ROW_LOCK at most: Redis may have fallen back behind every window that the ring remembers. */
size_t ledger_answer_max(const struct queue_config *queue);

/* Rows read by RING_READ or ROW_LOCK, with the memory that they point to. */
struct ledger_rows {
	struct ledger_row *rows; /* n of them; owned */
	size_t n;
	uint64_t *hashes;        /* all of them, one after the other; owned */
	char *texts;             /* all `dead` texts; owned */
};
/* Reads such an answer, in which our rows that end behind `settled` must have their hashes. False: a value is not what we write (then *out is
 * empty). */
bool ledger_read(const struct db_result *result, uint64_t settled, struct ledger_rows *out) MUST_CHECK;
/* Frees the content. */
void ledger_rows_free(struct ledger_rows *rows);

#endif
