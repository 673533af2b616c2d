/* sluice check: a queue, its table, and what it guarantees. */
#include "check_private.h"

#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "db.h"
#include "encode_clause.h"
#include "mapping.h"
#include "table.h"

/* Arguments of a callback. */
struct asking {
	struct check *check;
	const struct queue_config *queue;
	const char *where;      /* "queue NAME" */
	struct mapping *mapping; /* owned; NULL until the table is known and fits */
	bool refused;           /* an order would be, for sure */
	struct buf losing;      /* what the table may lose; empty: nothing that is known */
};

static bool
is_postgresql(const struct queue_config *queue)
{
	ASSERT(queue->target != NULL);
	return queue->target->driver == DRIVER_POSTGRESQL;
}

static void
run(struct asking *a, struct buf *sql, db_answer_fn *answer)
{
	ASSERT(sql->len > 0);
	db_run_once(a->queue->target, sql->data, sql->len, answer, a);
	buf_free(sql);
}

/* -- the table */

static void
on_table(void *arg, const struct db_result *r)
{
	struct asking *a = arg;
	struct buf why = BUF_INIT;
	ASSERT(a->mapping == NULL && !a->refused);
	if (r->error.class != DB_OK) {
		check_sql_error(a->check, a->where, "", &r->error);
		return;
	}
	struct table *table = table_read(a->queue->target->driver, r);
	a->mapping = mapping_new(a->queue, table, &why);
	if (a->mapping == NULL)
		check_finding(a->check, LEVEL_ERROR, a->where, "%s", buf_cstr(&why));
	else
		a->refused = !check_columns(a->check, a->where, a->queue, table, a->mapping);
	if (a->mapping != NULL && !table->transactional) {
		check_finding(a->check, LEVEL_WARNING, a->where, "the engine %s knows no transactions, so that a part of a batch may stay when it "
		    "fails: use InnoDB", table->engine);
		buf_adds(&a->losing, "; a part of a batch may stay, and come again");
	}
	table_free(&table);
	buf_free(&why);
}

/* -- what else the catalogue says: rows of a remark's name and two words; none where there is nothing to say. */

/* The table's persistence, its partitions, and sequences behind its columns. Tables of the partitions count, too. */
static const char postgresql_remarks[] =
    "WITH t AS (SELECT oid, relkind, relpersistence FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(%1$s)),"
    " parts AS (SELECT c.relpersistence, p.isleaf FROM t, pg_catalog.pg_partition_tree(t.oid) p JOIN pg_catalog.pg_class c ON c.oid = p.relid)"
    " SELECT 'unlogged', '', '' FROM t WHERE relpersistence = 'u' OR EXISTS (SELECT 1 FROM parts WHERE relpersistence = 'u')"
    " UNION ALL SELECT 'partitions', '', '' FROM t WHERE relkind = 'p' AND NOT EXISTS (SELECT 1 FROM parts WHERE isleaf)"
    " UNION ALL SELECT 'default partition', '', '' FROM t JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = t.oid"
    "  WHERE p.partdefid = 0 AND p.partstrat <> 'h' AND EXISTS (SELECT 1 FROM parts WHERE isleaf)"
    " UNION ALL SELECT 'sequence', s.column, s.sequence FROM (SELECT a.attname::text AS column,"
    "  pg_catalog.pg_get_serial_sequence(%1$s, a.attname::text) AS sequence FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid"
    "  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atthasdef AND a.attidentity = '' AND a.attgenerated = '') s"
    "  WHERE s.sequence IS NOT NULL AND NOT pg_catalog.has_sequence_privilege(s.sequence, 'USAGE, UPDATE')";

/* Columns that cannot hold every character. */
static const char mysql_remarks[] =
    "SELECT 'characters', column_name, character_set_name FROM information_schema.columns WHERE table_schema = %1$s AND table_name = %2$s"
    " AND character_set_name IS NOT NULL AND character_set_name NOT IN ('utf8mb4', 'utf16', 'utf32', 'gb18030')";

/* What a row says. */
static const struct remark {
	const char *name;
	bool column;        /* only if the column of the first word is a mapped one */
	const char *begin;  /* of the text; behind it the first word */
	const char *middle; /* behind that the second */
	const char *end;
	const char *losing; /* for the guarantee; NULL: nothing */
} remarks[] = {
	{ "unlogged", false, "the table, or a partition of it, is UNLOGGED, and PostgreSQL empties it after a crash: ALTER TABLE ... SET LOGGED",
	    "", "", "; but a crash of PostgreSQL empties the table: UNLOGGED" },
	{ "partitions", false, "the table has no partition yet, and would refuse every order: create one", "", "", NULL },
	{ "default partition", false, "the table has no DEFAULT partition, and refuses orders that fit into no other: create partitions ahead of "
	    "time, or a DEFAULT one", "", "", NULL },
	{ "sequence", false, "an order without a value for ", " stops the queue, for the user may not take one from its sequence: GRANT USAGE ON "
	    "SEQUENCE ", "", NULL },
	{ "characters", true, "the column ", " has the character set ", ", and orders with characters that it lacks become dead letters: make it "
	    "utf8mb4", NULL },
};

static bool
is_mapped(const struct mapping *mapping, const char *name)
{
	for (size_t i = 0; i < mapping->n_columns; i++) {
		if (strcmp(mapping->columns[i].name, name) == 0)
			return true;
	}
	return false;
}

static void
say_remark(struct asking *a, const struct remark *remark, const char *first, const char *second)
{
	if (remark->column && !is_mapped(a->mapping, first))
		return;
	check_finding(a->check, LEVEL_WARNING, a->where, "%s%s%s%s%s", remark->begin, first, remark->middle, second, remark->end);
	if (remark->losing != NULL)
		buf_adds(&a->losing, remark->losing);
}

static void
on_remarks(void *arg, const struct db_result *r)
{
	struct asking *a = arg;
	if (r->error.class != DB_OK) {
		check_finding(a->check, LEVEL_WARNING, a->where, "cannot see more of the table than its columns: %s: look yourself",
		    r->error.message);
		return;
	}
	for (size_t i = 0; r->columns == 3 && i < r->rows; i++) {
		const char *const *row = r->values + 3 * i;
		for (size_t k = 0; k < sizeof remarks / sizeof *remarks; k++) {
			if (row[0] != NULL && row[1] != NULL && row[2] != NULL && strcmp(row[0], remarks[k].name) == 0)
				say_remark(a, &remarks[k], row[1], row[2]);
		}
	}
}

static void
add_remarks_query(const struct asking *a, struct buf *sql)
{
	const char *table = a->queue->table, *dot = strchr(table, '.');
	struct buf schema = BUF_INIT, name = BUF_INIT;
	ASSERT(a->mapping != NULL);
	if (is_postgresql(a->queue)) {
		db_postgresql.quote_text(&name, a->mapping->table_quoted, strlen(a->mapping->table_quoted));
		buf_addf(sql, postgresql_remarks, buf_cstr(&name));
	} else {
		if (dot == NULL)
			buf_adds(&schema, "DATABASE()");
		else
			db_mysql.quote_text(&schema, table, (size_t)(dot - table));
		const char *last = dot == NULL ? table : dot + 1;
		db_mysql.quote_text(&name, last, strlen(last));
		buf_addf(sql, mysql_remarks, buf_cstr(&schema), buf_cstr(&name));
	}
	buf_free(&schema);
	buf_free(&name);
}

/* -- rights */

/* Only a missing right counts: an INSERT of nothing but defaults may well be refused for other reasons. */
static void
on_insert(void *arg, const struct db_result *r)
{
	struct asking *a = arg;
	if (r->error.class != DB_SETUP)
		return;
	check_sql_error(a->check, a->where, "", &r->error);
	a->refused = true;
}

/* A row in all mapped columns, as `mode` writes it, to be explained only: it shows a missing right without firing a trigger. */
static void
add_probe(const struct mapping *mapping, struct buf *sql)
{
	column_set *all = xcalloc(mapping->n_columns, sizeof *all);
	ASSERT(mapping->n_columns > 0);
	for (size_t i = 0; i < mapping->n_columns; i++)
		column_set_add(all, i);
	buf_adds(sql, "EXPLAIN ");
	encode_head(mapping, all, false, sql);
	for (size_t i = 0; i < mapping->n_columns; i++)
		buf_addf(sql, "%sDEFAULT", i == 0 ? "(" : ",");
	buf_addc(sql, ')');
	encode_tail(mapping, all, sql);
	free(all);
}

/* -- what it adds up to */

static void
say_guarantee(struct asking *a)
{
	const struct check *c = a->check;
	const struct queue_config *queue = a->queue;
	struct check_database *database = &c->databases[queue->target - c->config->databases];
	struct buf rest = BUF_INIT;
	ASSERT(a->mapping != NULL && !a->refused && database->reachable);
	if (c->losing == NULL)
		buf_adds(&rest, "; what Redis may lose when it is killed is not known here");
	else if (c->losing[0] != '\0')
		buf_addf(&rest, "; %s", c->losing);
	if (database->losing.len > 0)
		buf_addf(&rest, "; database %s %s", queue->database, buf_cstr(&database->losing));
	buf_adds(&rest, buf_cstr(&a->losing));
	if (queue->ledger == SWITCH_ON)
		check_finding(a->check, LEVEL_OK, a->where, "exactly once: each order that Redis holds reaches %s once%s", queue->table,
		    buf_cstr(&rest));
	else
		check_finding(a->check, LEVEL_OK, a->where, "at least once because ledger = off: after a crash some orders may reach %s twice%s",
		    queue->table, buf_cstr(&rest));
	buf_free(&rest);
}

void
check_queue(struct check *c, const struct queue_config *queue)
{
	struct buf where = BUF_INIT, sql = BUF_INIT;
	buf_addf(&where, "queue %s", queue->name);
	struct asking a = { .check = c, .queue = queue, .where = buf_cstr(&where) };
	check_redis_keys(c, a.where, queue);
	if (c->databases[queue->target - c->config->databases].reachable) {
		table_query(queue->target->driver, queue->table, &sql);
		run(&a, &sql, on_table);
	}
	if (a.mapping != NULL) {
		add_remarks_query(&a, &sql);
		run(&a, &sql, on_remarks);
		add_probe(a.mapping, &sql);
		run(&a, &sql, on_insert);
	}
	if (a.mapping != NULL && !a.refused)
		say_guarantee(&a);
	mapping_free(&a.mapping);
	buf_free(&a.losing);
	buf_free(&where);
}
