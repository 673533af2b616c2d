/* The catalogue: one query a server, both with answers of the same shape.
 *
 *   part      order  name    type       kind     flags                                array   cast
 *   table     0      table   engine     ''       is_table, transactional, row_security  ''      ''
 *   column    1...   column  its type   type's   nullable, has_default, generated       type[]  ::type
 *   unique    1...   index   column     ''       -                                      ''      ''
 */
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "buf.h"
#include "config.h"
#include "db.h"

/* Columns of the answer. */
enum { PART, ORDER, NAME, TYPE, KIND, FLAG_1, FLAG_2, FLAG_3, ARRAY, CAST, WIDTH };

/* Types that need care of ours; all others are COLUMN_PLAIN. */
static const struct kind_name {
	int driver;       /* enum driver */
	const char *type; /* as the query names it */
	enum column_kind kind;
} kind_names[] = {
	{ DRIVER_POSTGRESQL, "bool", COLUMN_BOOL },
	{ DRIVER_POSTGRESQL, "json", COLUMN_JSON },
	{ DRIVER_POSTGRESQL, "jsonb", COLUMN_JSON },
	{ DRIVER_POSTGRESQL, "bytea", COLUMN_BINARY },
	{ DRIVER_POSTGRESQL, "array", COLUMN_ARRAY },
	{ DRIVER_MYSQL, "tinyint", COLUMN_NUMBER },
	{ DRIVER_MYSQL, "smallint", COLUMN_NUMBER },
	{ DRIVER_MYSQL, "mediumint", COLUMN_NUMBER },
	{ DRIVER_MYSQL, "int", COLUMN_NUMBER },
	{ DRIVER_MYSQL, "bigint", COLUMN_NUMBER },
	{ DRIVER_MYSQL, "decimal", COLUMN_NUMBER },
	{ DRIVER_MYSQL, "float", COLUMN_NUMBER },
	{ DRIVER_MYSQL, "double", COLUMN_NUMBER },
	{ DRIVER_MYSQL, "bit", COLUMN_BIT },
	{ DRIVER_MYSQL, "json", COLUMN_JSON },
	{ DRIVER_MYSQL, "binary", COLUMN_BINARY },
	{ DRIVER_MYSQL, "varbinary", COLUMN_BINARY },
	{ DRIVER_MYSQL, "tinyblob", COLUMN_BINARY },
	{ DRIVER_MYSQL, "blob", COLUMN_BINARY },
	{ DRIVER_MYSQL, "mediumblob", COLUMN_BINARY },
	{ DRIVER_MYSQL, "longblob", COLUMN_BINARY },
	{ DRIVER_MYSQL, "datetime", COLUMN_DATETIME },
	{ DRIVER_MYSQL, "timestamp", COLUMN_DATETIME },
	{ DRIVER_MYSQL, "date", COLUMN_DATE },
	{ DRIVER_MYSQL, "time", COLUMN_TIME },
};

/* PostgreSQL 12 and up. `shape` follows domains down to the type that they rest on. Behind it stands to_regclass's argument.
 *
 * An array has no place for intervals that leave units out, as they mean another thing by the same text; for composite types, which unnest() takes
 * apart; and for types between whose elements no comma stands. An array of arrays is one of texts. */
static const char postgresql_query[] =
    "WITH RECURSIVE t AS ("
    "  SELECT oid, relname, relkind, pg_catalog.row_security_active(oid) AS secured FROM pg_catalog.pg_class"
    "  WHERE oid = pg_catalog.to_regclass(%s)"
    "), shape (attnum, type, nullable, has_default) AS ("
    "  SELECT a.attnum, a.atttypid, NOT a.attnotnull, a.atthasdef OR a.attidentity <> ''"
    "  FROM pg_catalog.pg_attribute a JOIN t ON a.attrelid = t.oid WHERE a.attnum > 0 AND NOT a.attisdropped"
    "  UNION ALL"
    "  SELECT s.attnum, d.typbasetype, s.nullable AND NOT d.typnotnull, s.has_default OR d.typdefault IS NOT NULL"
    "  FROM shape s JOIN pg_catalog.pg_type d ON d.oid = s.type AND d.typtype = 'd'"
    ")"
    " SELECT 'table', 0::bigint, t.relname::text, '', '', t.relkind IN ('r', 'p'), true, t.secured, '', '' FROM t"
    " UNION ALL"
    " SELECT 'column', a.attnum, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),"
    "  CASE WHEN y.typcategory = 'A' THEN 'array' WHEN y.typnamespace = 'pg_catalog'::regnamespace THEN y.typname::text ELSE '' END,"
    "  s.nullable, s.has_default, a.attgenerated <> '' OR a.attidentity = 'a',"
    "  CASE WHEN a.atttypid IN ('pg_catalog.interval'::regtype, 'pg_catalog.interval[]'::regtype) AND a.atttypmod <> -1 OR y.typtype = 'c' THEN ''"
    "   WHEN o.typtype <> 'd' AND y.typcategory = 'A' THEN 'pg_catalog.text[]'"
    "   WHEN o.typarray = 0 OR o.typdelim <> ',' THEN '' ELSE pg_catalog.format_type(o.typarray, -1) END,"
    "  CASE WHEN o.typtype <> 'd' AND y.typcategory = 'A' THEN '::' || pg_catalog.format_type(o.oid, -1) ELSE '' END"
    " FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid JOIN shape s ON s.attnum = a.attnum"
    " JOIN pg_catalog.pg_type y ON y.oid = s.type AND y.typtype <> 'd' JOIN pg_catalog.pg_type o ON o.oid = a.atttypid"
    " UNION ALL"
    " SELECT 'unique', k.place, c.relname::text, a.attname::text, '', false, false, false, '', ''"
    " FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum"
    " WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts"
    " ORDER BY 1, 2, 3";

/* MySQL 5.7 and up, MariaDB. MariaDB alone reads what stands in M!: its JSON is a longtext with a check, and MySQL's list of checks has no table
 * names; it shows a default as an expression, the word NULL in quotes. Every %1$s is the schema, %2$s the table. */
static const char mysql_query[] =
    "SELECT 'table', 0, t.table_name, COALESCE(t.engine, ''), '', t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED'),"
    "  COALESCE((SELECT e.transactions FROM information_schema.engines e WHERE e.engine = t.engine), 'NO') = 'YES', 0, '', ''"
    " FROM information_schema.tables t WHERE t.table_schema = %1$s AND t.table_name = %2$s"
    " UNION ALL"
    " SELECT 'column', c.ordinal_position, c.column_name, c.column_type,"
    "  /*M!100300 CASE WHEN c.data_type = 'longtext' AND EXISTS (SELECT 1 FROM information_schema.check_constraints k"
    "   WHERE k.constraint_schema = %1$s AND k.table_name = %2$s"
    "   AND k.check_clause = CONCAT('json_valid(`', REPLACE(c.column_name, '`', '``'), '`)')) THEN 'json' ELSE */"
    "  c.data_type /*M!100300 END */,"
    "  c.is_nullable = 'YES', (c.column_default IS NOT NULL /*M!100300 AND c.column_default <> 'NULL' */) OR c.extra LIKE '%%auto_increment%%', c.extra LIKE '%% GENERATED%%',"
    "  '', ''"
    " FROM information_schema.columns c WHERE c.table_schema = %1$s AND c.table_name = %2$s"
    " UNION ALL"
    " SELECT 'unique', s.seq_in_index, s.index_name, s.column_name, '', 0, 0, 0, '', ''"
    " FROM information_schema.statistics s WHERE s.table_schema = %1$s AND s.table_name = %2$s AND s.non_unique = 0"
    " AND s.index_name NOT IN (SELECT x.index_name FROM information_schema.statistics x"
    "  WHERE x.table_schema = %1$s AND x.table_name = %2$s AND (x.sub_part IS NOT NULL OR x.column_name IS NULL))"
    " ORDER BY 1, 2, 3";

static void
postgresql_table_query(const char *schema, const char *name, struct buf *sql)
{
	struct buf quoted = BUF_INIT, literal = BUF_INIT;
	if (schema != NULL) {
		db_postgresql.quote_name(&quoted, schema);
		buf_addc(&quoted, '.');
	}
	db_postgresql.quote_name(&quoted, name);
	db_postgresql.quote_text(&literal, quoted.data, quoted.len);
	buf_addf(sql, postgresql_query, buf_cstr(&literal));
	buf_free(&quoted);
	buf_free(&literal);
}

static void
mysql_table_query(const char *schema, const char *name, struct buf *sql)
{
	struct buf schema_literal = BUF_INIT, name_literal = BUF_INIT;
	if (schema == NULL)
		buf_adds(&schema_literal, "DATABASE()");
	else
		db_mysql.quote_text(&schema_literal, schema, strlen(schema));
	db_mysql.quote_text(&name_literal, name, strlen(name));
	buf_addf(sql, mysql_query, buf_cstr(&schema_literal), buf_cstr(&name_literal));
	buf_free(&schema_literal);
	buf_free(&name_literal);
}

void
table_query(int driver, const char *name, struct buf *sql)
{
	char *schema = xstrdup(name);
	char *dot = strchr(schema, '.');
	if (dot != NULL)
		*dot = '\0';
	const char *table = dot == NULL ? name : dot + 1;
	if (driver == DRIVER_POSTGRESQL)
		postgresql_table_query(dot == NULL ? NULL : schema, table, sql);
	else
		mysql_table_query(dot == NULL ? NULL : schema, table, sql);
	free(schema);
}

static bool
is_true(const char *flag)
{
	return flag != NULL && (flag[0] == 't' || flag[0] == '1');
}

static const char *
text(const char *value)
{
	return value == NULL ? "" : value;
}

static enum column_kind
kind_of(int driver, const char *type)
{
	for (size_t i = 0; i < sizeof kind_names / sizeof *kind_names; i++) {
		if (kind_names[i].driver == driver && strcasecmp(kind_names[i].type, type) == 0)
			return kind_names[i].kind;
	}
	return COLUMN_PLAIN;
}

static void
add_column(struct table *table, int driver, const char *const *row)
{
	table->columns = xrealloc(table->columns, (table->n_columns + 1) * sizeof *table->columns);
	table->columns[table->n_columns++] = (struct column){
		.name = xstrdup(text(row[NAME])),
		.type = xstrdup(text(row[TYPE])),
		.kind = kind_of(driver, text(row[KIND])),
		.array = xstrdup(text(row[ARRAY])),
		.cast = xstrdup(text(row[CAST])),
		.nullable = is_true(row[FLAG_1]),
		.has_default = is_true(row[FLAG_2]),
		.generated = is_true(row[FLAG_3]),
	};
}

/* The index of that name, made if it is not there. */
static struct unique_index *
unique_index(struct table *table, const char *name)
{
	for (size_t i = 0; i < table->n_uniques; i++) {
		if (strcmp(table->uniques[i].name, name) == 0)
			return &table->uniques[i];
	}
	table->uniques = xrealloc(table->uniques, (table->n_uniques + 1) * sizeof *table->uniques);
	struct unique_index *unique = &table->uniques[table->n_uniques++];
	*unique = (struct unique_index){ .name = xstrdup(name) };
	return unique;
}

static void
add_unique(struct table *table, const char *const *row)
{
	struct unique_index *unique = unique_index(table, text(row[NAME]));
	unique->columns = xrealloc(unique->columns, (unique->n_columns + 1) * sizeof *unique->columns);
	unique->columns[unique->n_columns++] = xstrdup(text(row[TYPE]));
}

struct table *
table_read(int driver, const struct db_result *result)
{
	ASSERT(result->error.class == DB_OK);
	ASSERT(result->rows == 0 || result->columns == WIDTH);
	struct table *table = xcalloc(1, sizeof *table);
	for (size_t i = 0; i < result->rows; i++) {
		const char *const *row = result->values + i * WIDTH;
		if (strcmp(text(row[PART]), "column") == 0) {
			add_column(table, driver, row);
		} else if (strcmp(text(row[PART]), "unique") == 0) {
			add_unique(table, row);
		} else if (!table->exists) {
			table->exists = true;
			table->engine = xstrdup(text(row[TYPE]));
			table->is_table = is_true(row[FLAG_1]);
			table->transactional = is_true(row[FLAG_2]);
			table->row_security = is_true(row[FLAG_3]);
		}
	}
	if (!table->exists) { /* MySQL may tell the columns of a table that is just being dropped */
		table_free(&table);
		table = xcalloc(1, sizeof *table);
		table->engine = xstrdup("");
	}
	ASSERT(table->engine != NULL);
	return table;
}

void
table_free(struct table **place)
{
	struct table *table = *place;
	*place = NULL;
	if (table == NULL)
		return;
	for (size_t i = 0; i < table->n_columns; i++) {
		free(table->columns[i].name);
		free(table->columns[i].type);
		free(table->columns[i].array);
		free(table->columns[i].cast);
	}
	for (size_t i = 0; i < table->n_uniques; i++) {
		for (size_t j = 0; j < table->uniques[i].n_columns; j++)
			free(table->uniques[i].columns[j]);
		free(table->uniques[i].columns);
		free(table->uniques[i].name);
	}
	free(table->columns);
	free(table->uniques);
	free(table->engine);
	free(table);
}

const struct column *
table_column(const struct table *table, int driver, const char *name)
{
	for (size_t i = 0; i < table->n_columns; i++) {
		const char *candidate = table->columns[i].name;
		if (driver == DRIVER_MYSQL ? strcasecmp(candidate, name) == 0 : strcmp(candidate, name) == 0)
			return &table->columns[i];
	}
	return NULL;
}

static bool
column_equal(const struct column *a, const struct column *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->type, b->type) == 0 && a->kind == b->kind && strcmp(a->array, b->array) == 0 &&
	    strcmp(a->cast, b->cast) == 0 && a->nullable == b->nullable && a->has_default == b->has_default && a->generated == b->generated;
}

static bool
unique_equal(const struct unique_index *a, const struct unique_index *b)
{
	bool equal = a->n_columns == b->n_columns && strcmp(a->name, b->name) == 0;
	for (size_t i = 0; equal && i < a->n_columns; i++)
		equal = strcmp(a->columns[i], b->columns[i]) == 0;
	return equal;
}

bool
table_equal(const struct table *a, const struct table *b)
{
	bool equal = a->exists == b->exists && a->is_table == b->is_table && a->transactional == b->transactional &&
	    a->row_security == b->row_security && strcmp(a->engine, b->engine) == 0 && a->n_columns == b->n_columns && a->n_uniques == b->n_uniques;
	for (size_t i = 0; equal && i < a->n_columns; i++)
		equal = column_equal(&a->columns[i], &b->columns[i]);
	for (size_t i = 0; equal && i < a->n_uniques; i++)
		equal = unique_equal(&a->uniques[i], &b->uniques[i]);
	return equal;
}
