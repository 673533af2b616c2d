/* Which value of a message goes into which column: the queue's `column.` lines held against the catalogue. Immutable once made. */
#ifndef SLUICE_MAPPING_H
#define SLUICE_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"
#include "table.h"

struct buf;
struct json_paths;
struct queue_config;

/* Where a column's value comes from. */
enum value_source { FROM_MESSAGE, FROM_BASE64, FROM_NOW, FROM_QUEUE, FROM_POSITION };

struct mapped_column {
	char *name;              /* of the column; owned */
	char *quoted;            /* the same, quoted for SQL; owned */
	enum column_kind kind;   /* from the catalogue, as these two: */
	char *array;             /* as struct column has it; owned */
	char *cast;              /* owned */
	enum value_source from;
	size_t path;             /* index of its path in `paths`, for FROM_MESSAGE and FROM_BASE64 */
	bool in_key;             /* one of the `key` columns */
	bool is_newer;           /* the `newer` column */
};

struct mapping {
	struct mapped_column *columns; /* n_columns; at least one; owned */
	size_t n_columns;
	struct json_paths *paths;      /* what to read from a message; owned */
	size_t n_paths;
	char *table_quoted;            /* "schema"."table"; owned */
	int driver;                    /* enum driver */
	int mode;                      /* enum mode */
	bool by_name;                  /* no `column.` lines: every column takes the key of its name */
	bool reject_unknown;           /* on_unknown_field = reject */
	bool use_copy;                 /* COPY can be used: PostgreSQL, mode insert, a table without row security */
	bool other_uniques;            /* ignore/upsert: the table has unique indexes besides `key` */
	char *queue;                   /* the queue's name, for @queue; owned */
};

/* Makes the mapping, or returns NULL and appends to `why` one line that says what does not fit and what to do (a column that is not there, with the
 * nearest name; a generated one; no unique index on `key`; an engine without transactions while ledger = on; ...). */
struct mapping *mapping_new(const struct queue_config *queue, const struct table *table, struct buf *why) MUST_CHECK;
/* Frees; nulls the caller's pointer. */
void mapping_free(struct mapping **mapping);
/* Is `expression` one that a `column.` line may have? Else appends why not. For the configuration's own check. */
bool mapping_expression_ok(const char *expression, struct buf *why) MUST_CHECK;

#endif
