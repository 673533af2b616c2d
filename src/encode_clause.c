/* COPY and INSERT around their rows: ON CONFLICT of PostgreSQL, ON DUPLICATE KEY of MySQL. */
#include "encode_clause.h"

#include <string.h>

#include "buf.h"
#include "config.h"
#include "mapping.h"

/* Fails the statement, but only where it is evaluated: error 1242. */
#define MYSQL_FAIL "(SELECT 1 UNION SELECT 2)"

static void
add_target(const struct mapping *mapping, bool is_copy, struct buf *out)
{
	bool alias = mapping->driver == DRIVER_POSTGRESQL && mapping->mode == MODE_UPSERT;

	buf_adds(out, is_copy ? "COPY " : "INSERT INTO ");
	buf_adds(out, mapping->table_quoted);
	buf_adds(out, alias ? " AS target (" : " (");
}

void
encode_head(const struct mapping *mapping, const column_set *listed, bool is_copy, struct buf *out)
{
	const char *separator = "";

	add_target(mapping, is_copy, out);
	for (size_t i = 0; i < mapping->n_columns; i++) {
		if (!column_set_has(listed, i))
			continue;
		buf_adds(out, separator);
		buf_adds(out, mapping->columns[i].quoted);
		separator = ",";
	}
	ASSERT(separator[0] != '\0');
	buf_adds(out, is_copy ? ") FROM STDIN" : ") VALUES ");
}

void
encode_columns(const struct mapping *mapping, const column_set *listed, struct buf *out)
{
	add_target(mapping, false, out);
	buf_addc(out, '\0');
	for (size_t i = 0; i < mapping->n_columns; i++) {
		const struct mapped_column *column = &mapping->columns[i];
		if (!column_set_has(listed, i))
			continue;
		buf_add(out, column->quoted, strlen(column->quoted) + 1);
		buf_add(out, column->array, strlen(column->array) + 1);
		buf_add(out, column->cast, strlen(column->cast) + 1);
	}
}

static const struct mapped_column *
newer_column(const struct mapping *mapping)
{
	for (size_t i = 0; i < mapping->n_columns; i++) {
		if (mapping->columns[i].is_newer)
			return &mapping->columns[i];
	}
	return NULL;
}

/* Does an existing row change at all? A message without `newer` cannot show that it is newer. */
static bool
updates(const struct mapping *mapping, const column_set *listed)
{
	bool any = false, has_newer = newer_column(mapping) == NULL;

	for (size_t i = 0; i < mapping->n_columns; i++) {
		if (column_set_has(listed, i)) {
			any = any || !mapping->columns[i].in_key;
			has_newer = has_newer || mapping->columns[i].is_newer;
		}
	}
	return mapping->mode == MODE_UPSERT && any && has_newer;
}

static void
postgresql_tail(const struct mapping *mapping, const column_set *listed, struct buf *out)
{
	const struct mapped_column *newer = newer_column(mapping);
	const char *separator = " (";

	buf_adds(out, " ON CONFLICT");
	for (size_t i = 0; i < mapping->n_columns; i++) {
		if (mapping->columns[i].in_key) {
			buf_addf(out, "%s%s", separator, mapping->columns[i].quoted);
			separator = ",";
		}
	}
	if (separator[0] == ',')
		buf_addc(out, ')');
	if (!updates(mapping, listed)) {
		buf_adds(out, " DO NOTHING");
		return;
	}
	separator = " DO UPDATE SET ";
	for (size_t i = 0; i < mapping->n_columns; i++) {
		const struct mapped_column *column = &mapping->columns[i];
		if (column->in_key || !column_set_has(listed, i))
			continue;
		buf_addf(out, "%s%s=EXCLUDED.%s", separator, column->quoted, column->quoted);
		separator = ",";
	}
	if (newer != NULL)
		buf_addf(out, " WHERE target.%s IS NULL OR EXCLUDED.%s>target.%s", newer->quoted, newer->quoted, newer->quoted);
}

/* An assignment that changes nothing, to begin with: MySQL wants one. A conflict on another unique index than `key` must not pass as a duplicate,
 * so where there are others it fails unless the key is the same: `=`, not `<=>`, for a NULL in the key conflicts with nothing. */
static void
mysql_guard(const struct mapping *mapping, struct buf *out)
{
	const struct mapped_column *first = NULL;
	struct buf same = BUF_INIT;

	for (size_t i = 0; i < mapping->n_columns; i++) {
		const struct mapped_column *column = &mapping->columns[i];
		if (!column->in_key)
			continue;
		buf_addf(&same, "%s%s=VALUES(%s)", first != NULL ? " AND " : "", column->quoted, column->quoted);
		first = first != NULL ? first : column;
	}
	ASSERT(first != NULL || (mapping->mode == MODE_IGNORE && !mapping->other_uniques));
	if (first == NULL)
		first = &mapping->columns[0];
	if (mapping->other_uniques)
		buf_addf(out, "%s=IF(%s,%s," MYSQL_FAIL ")", first->quoted, buf_cstr(&same), first->quoted);
	else
		buf_addf(out, "%s=%s", first->quoted, first->quoted);
	buf_free(&same);
}

/* `newer` comes last: until then its old value is compared. */
static void
mysql_tail(const struct mapping *mapping, const column_set *listed, struct buf *out)
{
	const struct mapped_column *newer = newer_column(mapping);

	buf_adds(out, " ON DUPLICATE KEY UPDATE ");
	mysql_guard(mapping, out);
	if (!updates(mapping, listed))
		return;
	for (size_t i = 0; i < mapping->n_columns; i++) {
		const struct mapped_column *column = &mapping->columns[i];
		if (column->in_key || column == newer || !column_set_has(listed, i))
			continue;
		if (newer == NULL)
			buf_addf(out, ",%s=VALUES(%s)", column->quoted, column->quoted);
		else
			buf_addf(out, ",%s=IF(%s IS NULL OR VALUES(%s)>%s,VALUES(%s),%s)", column->quoted, newer->quoted, newer->quoted,
			    newer->quoted, column->quoted, column->quoted);
	}
	if (newer != NULL)
		buf_addf(out, ",%s=IF(%s IS NULL OR VALUES(%s)>%s,VALUES(%s),%s)", newer->quoted, newer->quoted, newer->quoted, newer->quoted,
		    newer->quoted, newer->quoted);
}

void
encode_tail(const struct mapping *mapping, const column_set *listed, struct buf *out)
{
	ASSERT(mapping->n_columns > 0);
	if (mapping->mode == MODE_INSERT)
		return;
	if (mapping->driver == DRIVER_POSTGRESQL)
		postgresql_tail(mapping, listed, out);
	else
		mysql_tail(mapping, listed, out);
}
