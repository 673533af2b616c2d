/* libpq and MariaDB's client library, blocking. */
#include "sql.h"

#include <libpq-fe.h>
#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "check.h"
#include "config.h"
#include "db.h"
#include "db_pg_connect.h"

struct sql {
	PGconn *pg;              /* owned; NULL: MariaDB */
	MYSQL *my;               /* owned; NULL: PostgreSQL */
	struct db_result result; /* of the last query */
	const char **values;     /* what it points to; owned, as all below */
	size_t *lengths;
	PGresult *pg_result;
	MYSQL_RES *my_result;
};

void
sql_die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static void
open_pg(struct sql *sql, const struct database_config *database)
{
	const char *names[] = { "host", "dbname", "user", "options", NULL };
	const char *values[] = { database->host, database->dbname, database->user, "-c timezone=UTC -c default_transaction_isolation=read\\ committed",
		NULL };

	sql->pg = PQconnectdbParams(names, values, 0);
	if (PQstatus(sql->pg) != CONNECTION_OK)
		sql_die("PostgreSQL", PQerrorMessage(sql->pg));
	PQclear(PQexec(sql->pg, PG_KEEP_MEMORY));
}

static void
open_my(struct sql *sql, const struct database_config *database)
{
	static const char *const settings[] = { "SET SESSION sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00', autocommit = 1",
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED" };

	sql->my = xchecked(mysql_init(NULL));
	mysql_options(sql->my, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	if (mysql_real_connect(sql->my, NULL, database->user, NULL, database->dbname, 0, database->host, CLIENT_MULTI_STATEMENTS) == NULL)
		sql_die("MariaDB", mysql_error(sql->my));
	for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
		sql_do(sql, settings[i], strlen(settings[i]));
}

struct sql *
sql_open(const struct database_config *database)
{
	struct sql *sql = xcalloc(1, sizeof *sql);

	if (database->driver == DRIVER_POSTGRESQL)
		open_pg(sql, database);
	else
		open_my(sql, database);
	return sql;
}

static void
forget(struct sql *sql)
{
	PQclear(sql->pg_result);
	if (sql->my_result != NULL)
		mysql_free_result(sql->my_result);
	sql->pg_result = NULL;
	sql->my_result = NULL;
}

static void
put_copy(struct sql *sql, const struct buf *copy)
{
	if (copy == NULL || PQputCopyData(sql->pg, copy->data, (int)copy->len) != 1 || PQputCopyEnd(sql->pg, NULL) != 1)
		sql_die("COPY", PQerrorMessage(sql->pg));
}

static void
do_all_pg(struct sql *sql, const char *text, const struct buf *copy, unsigned long *changed, unsigned n)
{
	unsigned done = 0;

	if (PQsendQuery(sql->pg, text) != 1)
		sql_die("PostgreSQL", PQerrorMessage(sql->pg));
	for (PGresult *result; (result = PQgetResult(sql->pg)) != NULL; PQclear(result)) {
		if (PQresultStatus(result) == PGRES_COPY_IN)
			put_copy(sql, copy);
		else if (PQresultStatus(result) == PGRES_COMMAND_OK && done < n)
			changed[done++] = strtoul(PQcmdTuples(result), NULL, 10);
		else
			sql_die("PostgreSQL", PQerrorMessage(sql->pg));
	}
	ASSERT(done == n);
}

static void
do_all_my(struct sql *sql, const char *text, size_t len, unsigned long *changed, unsigned n)
{
	unsigned done = 0;
	int next = mysql_real_query(sql->my, text, len) == 0 ? 0 : 1;

	for (; next == 0 && done < n; next = mysql_next_result(sql->my))
		changed[done++] = (unsigned long)mysql_affected_rows(sql->my);
	if (next != -1) /* there is no next one, and there was no error */
		sql_die("MariaDB", mysql_error(sql->my));
	ASSERT(done == n);
}

void
sql_do_all(struct sql *sql, const char *text, size_t len, const struct buf *copy, unsigned long *changed, unsigned n)
{
	if (sql->pg != NULL)
		do_all_pg(sql, text, copy, changed, n);
	else
		do_all_my(sql, text, len, changed, n);
}

unsigned long
sql_do(struct sql *sql, const char *text, size_t len)
{
	unsigned long changed = 0;

	sql_do_all(sql, text, len, NULL, &changed, 1);
	return changed;
}

/* Makes room for the values of rows * columns. */
static void
make_room(struct sql *sql, size_t rows, size_t columns)
{
	sql->values = xrealloc(sql->values, (rows * columns + 1) * sizeof *sql->values);
	sql->lengths = xrealloc(sql->lengths, (rows * columns + 1) * sizeof *sql->lengths);
	sql->result = (struct db_result){ .error = { .class = DB_OK }, .rows = rows, .columns = columns, .values = sql->values, .lengths = sql->lengths };
}

static void
ask_pg(struct sql *sql, const char *text)
{
	PGresult *result = sql->pg_result = PQexec(sql->pg, text);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		sql_die("PostgreSQL", PQerrorMessage(sql->pg));
	int rows = PQntuples(result), columns = PQnfields(result);
	make_room(sql, (size_t)rows, (size_t)columns);
	for (int i = 0; i < rows * columns; i++) {
		int row = i / columns, column = i % columns;
		sql->values[i] = PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
		sql->lengths[i] = (size_t)PQgetlength(result, row, column);
	}
}

static void
ask_my(struct sql *sql, const char *text, size_t len)
{
	if (mysql_real_query(sql->my, text, len) != 0 || (sql->my_result = mysql_store_result(sql->my)) == NULL)
		sql_die("MariaDB", mysql_error(sql->my));
	size_t columns = mysql_num_fields(sql->my_result), at = 0;
	make_room(sql, (size_t)mysql_num_rows(sql->my_result), columns);
	for (MYSQL_ROW row; (row = mysql_fetch_row(sql->my_result)) != NULL; at += columns) {
		memcpy(sql->values + at, row, columns * sizeof *row);
		for (size_t i = 0; i < columns; i++)
			sql->lengths[at + i] = mysql_fetch_lengths(sql->my_result)[i];
	}
}

const struct db_result *
sql_ask(struct sql *sql, const char *text, size_t len)
{
	forget(sql);
	if (sql->pg != NULL)
		ask_pg(sql, text);
	else
		ask_my(sql, text, len);
	return &sql->result;
}

void
sql_close(struct sql *sql)
{
	forget(sql);
	PQfinish(sql->pg);
	if (sql->my != NULL)
		mysql_close(sql->my);
	free(sql->values);
	free(sql->lengths);
	free(sql);
}
