/* Which row and column a server means, read from its own words. Pure. What stands in a message may come from the outside: names and values in it may
 * hold anything, so only what can be nothing else is taken; else row and column stay as they are, and the window is halved instead. */
#include "db_driver.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "buf.h"

static void
set_column(struct db_error *error, const char *name, size_t len)
{
	struct buf text = BUF_INIT;
	buf_add(&text, name, len);
	db_text(error->column, sizeof error->column, buf_cstr(&text));
	buf_free(&text);
}

/* The last statement of those joined by `;`; something else if there is a `;COPY ` in its names. */
static const char *
last_copy(const char *sql)
{
	const char *last = sql;
	for (const char *at = sql; (at = strstr(at, ";COPY ")) != NULL;)
		last = ++at;
	return last;
}

/* The table's own name, without schema and quotes, in `SAVEPOINT s;COPY "schema"."table" ...`; the error context begins with it. */
static void
copy_table(const char *sql, struct buf *name)
{
	sql = last_copy(sql);
	if (strncmp(sql, "COPY ", 5) != 0)
		return;
	sql += strlen("COPY ");
	do {
		buf_reset(name);
		if (*sql == '"') {
			for (sql++; *sql != '\0' && (*sql != '"' || *++sql == '"'); sql++)
				buf_addc(name, *sql);
		} else {
			while (*sql != '\0' && strchr(" .(", *sql) == NULL)
				buf_addc(name, *sql++);
		}
	} while (*sql++ == '.');
}

/* What stands behind "COPY table, " in the first line of the context that begins so, or NULL. */
static const char *
copy_line(const char *sql, const char *context)
{
	struct buf table = BUF_INIT, start = BUF_INIT;
	copy_table(sql, &table);
	buf_addf(&start, "COPY %s, ", buf_cstr(&table));
	while (context != NULL && strncmp(context, buf_cstr(&start), start.len) != 0) {
		context = strchr(context, '\n');
		context = context == NULL ? NULL : context + 1;
	}
	context = context == NULL ? NULL : context + start.len;
	buf_free(&table);
	buf_free(&start);
	return context;
}

void
db_read_copy_context(struct db_error *error, const char *sql, const char *context)
{
	static const char in_column[] = ", column ";
	const char *at = copy_line(sql, context);
	if (at == NULL)
		return;
	at += strcspn(at, "0123456789,:\n"); /* the word "line", in whatever language */
	char *rest;
	long line = strtol(at, &rest, 10);
	if (line <= 0 || (*rest != '\0' && strchr(",:\n", *rest) == NULL))
		return;
	error->row = line - 1;
	if (error->column[0] != '\0' || strncmp(rest, in_column, strlen(in_column)) != 0)
		return;
	const char *column = rest + strlen(in_column);
	const char *colon = strstr(column, ": ");
	size_t len = strcspn(column, "\n");
	set_column(error, column, colon != NULL && (size_t)(colon - column) < len ? (size_t)(colon - column) : len);
}

/* The last place in text[0..end) where `part` stands, or NULL. */
static const char *
find_last(const char *text, const char *end, const char *part)
{
	const char *found = NULL;
	for (const char *at = text; (at = strstr(at, part)) != NULL && at < end; at++)
		found = at;
	return found;
}

/* The column in quotes between `s` and `end`: 'total', or the last part of `shop`.`orders`.`total`. Quotes inside are not doubled. */
static void
read_quoted_column(struct db_error *error, const char *s, const char *end)
{
	if (end - s < 3 || (*s != '\'' && *s != '`') || end[-1] != *s)
		return;
	const char *last_part = *s == '`' ? find_last(s, end, "`.`") : NULL;
	s = last_part == NULL ? s + 1 : last_part + 3;
	set_column(error, s, (size_t)(end - 1 - s));
}

void
db_read_mysql_message(struct db_error *error, const char *message)
{
	static const char for_column[] = " for column ", at_row[] = " at row ";
	const char *end = message + strlen(message);
	const char *row = find_last(message, end, at_row);
	const char *column = NULL;
	char *rest = NULL;
	long number = row == NULL ? 0 : strtol(row + strlen(at_row), &rest, 10);
	if (number > 0 && *rest == '\0') {
		error->row = number - 1;
		column = find_last(message, row, for_column);
		if (column != NULL)
			read_quoted_column(error, column + strlen(for_column), row);
	} else if (strncmp(message, "Column '", 8) == 0 || strncmp(message, "Field '", 7) == 0) {
		const char *closing = find_last(message, end, "' ");
		if (closing != NULL)
			read_quoted_column(error, message + strcspn(message, "'"), closing + 1);
	}
}
