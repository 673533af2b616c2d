/* Reading results of libpq. */
#include "db_pg_result.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "db_driver.h"
#include "db_pg_connect.h"

bool
pg_result_is_error(const PGresult *res)
{
	return res == NULL || PQresultStatus(res) == PGRES_FATAL_ERROR || PQresultStatus(res) == PGRES_BAD_RESPONSE;
}

/* The byte of the text where its character number `position` (from 1) begins. */
static long
byte_offset(const struct buf *text, long position)
{
	size_t i = 0;
	for (; i < text->len; i++) {
		bool begins = ((unsigned char)text->data[i] & 0xc0) != 0x80;
		if (begins && --position == 0)
			return (long)i;
	}
	return -1;
}

struct db_error
pg_result_error(const PGresult *res, const struct buf *sql, bool copies)
{
	const char *code = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	const char *column = PQresultErrorField(res, PG_DIAG_COLUMN_NAME);
	const char *position = PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION);
	const char *context = PQresultErrorField(res, PG_DIAG_CONTEXT);
	const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);

	struct db_error error = db_error_make(code == NULL ? DB_RECONNECT : pg_code_class(code), code == NULL ? "" : code,
	    message == NULL ? PQresultErrorMessage(res) : message, PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL));
	error.lost = code == NULL || (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0));
	if (error.lost)
		error.class = DB_RECONNECT;
	if (column != NULL)
		db_text(error.column, sizeof error.column, column);
	if (position != NULL)
		error.offset = byte_offset(sql, strtol(position, NULL, 10));
	if (context != NULL && copies)
		db_read_copy_context(&error, sql->data, context);
	return error;
}

uint64_t
pg_result_changed(PGresult *res)
{
	bool selected = strncmp(PQcmdStatus(res), "SELECT", 6) == 0; /* what it answers is counted in the same place */
	return selected ? 0 : strtoull(PQcmdTuples(res), NULL, 10);
}

void
pg_result_values(const PGresult *res, struct db_result *result, const char ***values, size_t **lengths)
{
	int rows = PQntuples(res), columns = PQnfields(res);
	ASSERT(rows >= 0 && columns >= 0);
	result->rows = (size_t)rows;
	result->columns = (size_t)columns;
	*values = xcalloc(result->rows * result->columns + 1, sizeof **values);
	*lengths = xcalloc(result->rows * result->columns + 1, sizeof **lengths);
	size_t i = 0;
	for (int row = 0; row < rows; row++) {
		for (int column = 0; column < columns; column++, i++) {
			(*values)[i] = PQgetisnull(res, row, column) ? NULL : PQgetvalue(res, row, column);
			(*lengths)[i] = (size_t)PQgetlength(res, row, column);
		}
	}
	result->values = *values;
	result->lengths = *lengths;
}
