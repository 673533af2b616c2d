/* One value of a message as the text of one column. */
#ifndef SLUICE_ENCODE_VALUE_H
#define SLUICE_ENCODE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct json_value;
struct mapped_column;
struct sql_text;

/* What values are made from, besides the message. */
struct value_context {
	const struct sql_text *as; /* how they are written */
	int driver;                /* enum driver */
	const char *queue;         /* for @queue; not owned */
	struct buf now;            /* for @now, as the server wants it; owned */
	uint64_t position;         /* for @position, of this row */
	struct buf scratch;        /* owned */
};

/* Appends the value of a column that is there (not JSON_ABSENT). `value` is NULL for what does not come from the message.
 * NULL: done; else why the value can never be stored, and part of it may have been appended. */
const char *encode_value(struct value_context *context, const struct mapped_column *column, const struct json_value *value,
    struct buf *out) MUST_CHECK;

#endif
