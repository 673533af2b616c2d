/* What a result of libpq says, as plain values. Pure. */
#ifndef SLUICE_DB_PG_RESULT_H
#define SLUICE_DB_PG_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "db.h"

struct buf;
struct pg_result; /* libpq's PGresult */

/* Is it an error? NULL is one: the connection is gone. */
bool pg_result_is_error(const struct pg_result *res) MUST_CHECK;
/* The error, or notice, of the text `sql`, NUL-terminated, whose last statement is a COPY FROM STDIN if `copies`. The connection is lost if the server
 * says so, or said nothing. */
struct db_error pg_result_error(const struct pg_result *res, const struct buf *sql, bool copies) MUST_CHECK;
/* The rows that the statement has changed. */
uint64_t pg_result_changed(struct pg_result *res) MUST_CHECK;
/* The rows that it answered: result's rows, columns, values and lengths, these in two arrays that the caller frees. They live as long as `res`. */
void pg_result_values(const struct pg_result *res, struct db_result *result, const char ***values, size_t **lengths);

#endif
