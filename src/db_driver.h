/* What the drivers share. Only db.c and the drivers include this. */
#ifndef SLUICE_DB_DRIVER_H
#define SLUICE_DB_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"
#include "db.h"

struct buf;

/* An answer may take this much longer than the server's own timeouts before the connection counts as lost. */
#define DB_GRACE_SECONDS 5

/* One row of a driver's error table. */
struct db_code {
	const char *code; /* a whole code, or what all codes of a kind begin with ("22") */
	enum db_class class;
};

/* The class of the first row that `code` begins with; DB_UNKNOWN: no such row. The table ends with a NULL code. */
enum db_class db_code_class(const struct db_code *table, const char *code);
/* An error of that class and code; `message` (of any origin, any encoding) becomes one line of valid UTF-8, `detail` (may be NULL) goes behind it.
 * Row, column and offset are not named. */
struct db_error db_error_make(enum db_class class, const char *code, const char *message, const char *detail);
/* Copies text as one line of valid UTF-8, cut between characters to fit `size` bytes; the NUL is always there. */
void db_text(char *out, size_t size, const char *text);
/* PostgreSQL's error context of the COPY `sql`: takes row and column (unless it is known) from `COPY orders, line 37, column total: "x"`. */
void db_read_copy_context(struct db_error *error, const char *sql, const char *context);
/* MySQL's and MariaDB's message: takes row and column from `... for column `shop`.`orders`.`total` at row 37`, `Column 'total' cannot be null`. */
void db_read_mysql_message(struct db_error *error, const char *message);
/* What to say of a server that sent more than `max` bytes for one statement. */
struct db_error db_error_flood(size_t max);
/* Replaces `out` by the n-th of comma-separated hosts; false: there are not so many. */
bool db_host(const char *hosts, size_t n, struct buf *out) MUST_CHECK;

#endif
