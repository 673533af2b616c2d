/* What the server's catalogue says of a target table. Plain values read by SQL, for mapping and `check`. */
#ifndef SLUICE_TABLE_H
#define SLUICE_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"

struct buf;
struct db_result;

/* How a column wants its text; everything that needs no care of ours is COLUMN_PLAIN. */
enum column_kind {
	COLUMN_PLAIN,    /* the server converts the text: numbers, strings, uuid, enum, PostgreSQL's dates ... */
	COLUMN_BOOL,     /* PostgreSQL's boolean */
	COLUMN_NUMBER,   /* MySQL's numeric types but year, where true and false are 1 and 0 */
	COLUMN_JSON,     /* json, jsonb; MariaDB's JSON alias (longtext with a json_valid check) too */
	COLUMN_BINARY,   /* bytea, blob, binary, varbinary */
	COLUMN_DATETIME, /* MySQL's datetime, timestamp */
	COLUMN_DATE,     /* MySQL's date */
	COLUMN_TIME,     /* MySQL's time */
	COLUMN_BIT,      /* MySQL's bit(n); PostgreSQL's is plain */
	COLUMN_ARRAY,    /* PostgreSQL's arrays */
};

struct column {
	char *name;      /* owned */
	char *type;      /* as the server writes it, for messages: "numeric(12,2)"; owned */
	enum column_kind kind;
	char *array;     /* PostgreSQL: the type of an array whose elements are texts of such values: "numeric[]"; "": there is none. Owned */
	char *cast;      /* what makes an element of it the column's value where its type does not: "::integer[]"; mostly "". Owned */
	bool nullable;    /* NULL may be stored */
	bool has_default; /* a DEFAULT, serial, identity or auto_increment */
	bool generated;   /* GENERATED ALWAYS (as expression, or as identity): cannot be written */
};

/* A unique index or primary key without expressions or predicate. */
struct unique_index {
	char *name;     /* owned */
	char **columns; /* n_columns names; owned */
	size_t n_columns;
};

struct table {
	struct column *columns; /* n_columns, in the table's order; owned */
	size_t n_columns;
	struct unique_index *uniques; /* n_uniques; owned */
	size_t n_uniques;
	bool exists;
	bool is_table;       /* an ordinary or partitioned table (COPY works); false: view, foreign table */
	bool transactional;  /* false: MyISAM, Aria, MEMORY */
	bool row_security;   /* PostgreSQL: row security applies to us, COPY FROM is refused */
	char *engine;        /* MySQL's storage engine, else "" ; owned */
};

/* Appends the one query that asks the catalogue of `driver` (enum driver) for `name` ("table" or "schema.table"). */
void table_query(int driver, const char *name, struct buf *sql);
/* Its answer as a table, to be freed with table_free(). A table that is not there has exists = false and no columns. */
struct table *table_read(int driver, const struct db_result *result) MUST_CHECK;
/* Frees; nulls the caller's pointer. */
void table_free(struct table **place);
/* The column of that name, or NULL. Names compare as the server does: exactly (PostgreSQL), without case (MySQL). */
const struct column *table_column(const struct table *table, int driver, const char *name);
/* Are the two alike in everything that matters to a mapping? */
bool table_equal(const struct table *a, const struct table *b);

#endif
