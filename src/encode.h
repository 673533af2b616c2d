/* Messages -> the SQL that stores them: COPY text, or multi-row INSERT. Pure: bytes in, bytes out. */
#ifndef SLUICE_ENCODE_H
#define SLUICE_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct mapping;

/* One message. */
struct item {
	const char *text; /* ARENA_PADDING bytes behind it are readable; not owned */
	size_t len;
};

/* One statement of a batch. */
struct batch_statement {
	struct buf sql;      /* COPY ... FROM STDIN, or INSERT ... */
	struct buf copy;     /* the COPY's data; empty for an INSERT */
	struct buf columns;  /* for batch_add_arrays(): encode_columns() says what; empty: not for this statement */
	bool is_copy;
	uint32_t *rows;      /* rows[i] is the item that row i of the statement came from; n_rows of them */
	size_t *offsets;     /* where row i begins in sql, or in copy; n_rows of them */
	size_t end;          /* where the last row ends there */
	uint32_t n_rows;
	uint32_t cap_rows;   /* allocated in rows and offsets */
};

/* The statements of one window, in the order in which they must run. Reused from window to window: all memory stays. */
struct batch {
	struct batch_statement *statements; /* cap of them are initialised */
	size_t n;   /* in use */
	size_t cap;
	bool unknown_fields; /* a message had a top-level key that has no column */
};

#define BATCH_INIT { NULL, 0, 0, false }

/* Frees everything in it. */
void batch_free(struct batch *batch);
/* The row of an INSERT in which this byte of its text stands; what stands behind the rows counts as the last. */
uint32_t batch_row(const struct batch_statement *statement, size_t offset);
/* A row of a statement, to be sorted by its key. */
struct batch_key {
	const char *text; /* of the key, not NUL-terminated; NULL: the row has none */
	size_t len;       /* bytes of text */
	uint32_t item;    /* the item that it came from; batch_sort() fills this and the rest */
	size_t begin;     /* where the row begins in the statement, and where it ends */
	size_t end;
};
/* Puts the rows of an INSERT without its tail in the order of their keys, rows of the same key as they came, and those without a key first. keys[i] has
 * text and len of row i, for each row. `gap` stands between two rows. `scratch` is used meanwhile. */
void batch_sort(struct batch_statement *statement, struct batch_key *keys, char gap, struct buf *scratch);

/* Appends an INSERT of the same rows for PostgreSQL that takes the server half the time: an array a column, of which it can name no row as refused. At
 * most twice as long as the statement, but for some bytes a column. False, and nothing appended: too few rows to gain by it, a column in which some rows
 * have a DEFAULT and some do not, a type that has no place in an array, or another server. */
bool batch_add_arrays(const struct batch_statement *statement, struct buf *out) MUST_CHECK;

struct encoder;

/* An encoder with its own reused JSON reader and buffers; one serves the whole process. */
struct encoder *encoder_new(void);
/* Frees; nulls the caller's pointer. */
void encoder_free(struct encoder **encoder);

/* What to encode. */
struct encode_input {
	const struct mapping *mapping;
	const struct item *items;  /* n_items of them */
	uint32_t n_items;
	const bool *skip;          /* skip[i]: leave item i out; NULL: none */
	uint64_t position;         /* of items[0], for @position */
	int64_t now_us;            /* microseconds since 1970, UTC, for @now */
	size_t max_item_bytes;     /* larger items are rejected */
	size_t statement_max;      /* no statement may be longer than this (max_allowed_packet); several are made instead */
};

/* An item that can never become a row. */
typedef void encode_reject_fn(void *arg, uint32_t item, const char *column, const char *message);

/* Fills `batch` with the statements for all items but the skipped and the rejected ones; `reject` is called once for each of the latter, in order.
 * No row left: batch->n is 0. Rows with different sets of present keys go to different statements (COPY, upsert) or use DEFAULT (INSERT).
 * MODE_UPSERT for PostgreSQL never has one `key` twice in a statement, and the rows of its statements stand in the order of their keys: transactions
 * that meet the same keys lock them in the same order, so that none waits for the other in a circle. */
void encode(struct encoder *encoder, const struct encode_input *input, struct batch *batch, encode_reject_fn *reject, void *arg);

#endif
