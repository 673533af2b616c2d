/* How a value stands in COPY text, in a statement for PostgreSQL, and in one for MySQL: three rows of one table. */
#ifndef SLUICE_SQL_TEXT_H
#define SLUICE_SQL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"

struct buf;

/* One way to write rows of values. */
struct sql_text {
	const char *null;         /* SQL's NULL */
	const char *binary_open;  /* before hex digits */
	const char *binary_close; /* behind them */
	char row_open;            /* before the first value of a row; 0: nothing */
	char next;                /* between two values */
	char row_close;           /* behind the last value */
	char row_next;            /* between two rows; 0: nothing */
	char quote;               /* before and behind a text; 0: nothing */
	char escape;              /* stands before an escaped byte */
	char escapes[256];        /* what stands for a byte behind `escape`; 0: the byte goes as it is; NUL_REFUSED: no place for it */
};

extern const struct sql_text sql_text_copy, sql_text_postgresql, sql_text_mysql;

/* Bytes that must be readable behind a text, whatever they are: texts are taken in chunks of this size. */
#define SQL_TEXT_PADDING 16

/* Appends a text, quoted and escaped. False: it holds a NUL byte that the server has no place for; then part of it was appended. */
bool sql_text_add(const struct sql_text *as, struct buf *out, const char *text, size_t len) MUST_CHECK;
/* Appends bytes for a binary column. */
void sql_text_add_binary(const struct sql_text *as, struct buf *out, const char *bytes, size_t len);

#endif
