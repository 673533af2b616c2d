/* The queue's `column.` lines, `key` and `newer` held against the catalogue: either a mapping that fits, or one line that says why not. */
#include "mapping.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "buf.h"
#include "config.h"
#include "expression.h"
#include "json.h"
#include "nearest.h"

/* A mapping while it is made. */
struct draft {
	const struct queue_config *queue;
	const struct table *table;
	struct mapping *mapping;        /* grows here */
	struct expression *expressions; /* of mapping->columns, side by side */
	int driver;                     /* enum driver */
	struct buf *why;                /* where the first misfit is told */
};

bool
mapping_expression_ok(const char *expression, struct buf *why)
{
	struct expression parsed;
	bool ok = expression_parse(expression, &parsed, why);

	expression_free(&parsed);
	return ok;
}

/* Appends n bytes as an identifier; a quote inside is doubled. */
static void
quote_name(struct buf *out, int driver, const char *name, size_t n)
{
	char quote = driver == DRIVER_POSTGRESQL ? '"' : '`';

	buf_addc(out, quote);
	for (size_t i = 0; i < n; i++) {
		if (name[i] == quote)
			buf_addc(out, quote);
		buf_addc(out, name[i]);
	}
	buf_addc(out, quote);
}

/* "table" or "schema.table", quoted. The caller frees it. */
static char *
quoted_path(int driver, const char *name)
{
	struct buf out = BUF_INIT;
	const char *dot = strchr(name, '.');

	if (dot != NULL) {
		quote_name(&out, driver, name, (size_t)(dot - name));
		buf_addc(&out, '.');
		name = dot + 1;
	}
	quote_name(&out, driver, name, strlen(name));
	buf_addc(&out, '\0');
	return out.data;
}

/* Names of columns compare as the server does. */
static bool
same_name(int driver, const char *a, const char *b)
{
	return driver == DRIVER_POSTGRESQL ? strcmp(a, b) == 0 : strcasecmp(a, b) == 0;
}

static struct mapped_column *
find_mapped(const struct mapping *mapping, const char *name)
{
	for (size_t i = 0; i < mapping->n_columns; i++) {
		if (same_name(mapping->driver, mapping->columns[i].name, name))
			return &mapping->columns[i];
	}
	return NULL;
}

static void
add_column(struct draft *draft, const struct column *column, struct expression expression)
{
	struct mapping *mapping = draft->mapping;
	struct buf quoted = BUF_INIT;
	size_t i = mapping->n_columns++;

	ASSERT(i < draft->table->n_columns && !column->generated);
	quote_name(&quoted, draft->driver, column->name, strlen(column->name));
	buf_addc(&quoted, '\0');
	mapping->columns[i] = (struct mapped_column){
		.name = xstrdup(column->name),
		.quoted = quoted.data,
		.kind = column->kind,
		.array = xstrdup(column->array),
		.cast = xstrdup(column->cast),
		.from = expression.from,
		.path = expression.keys != NULL ? mapping->n_paths++ : 0,
	};
	draft->expressions[i] = expression;
}

/* Says that `key` of the configuration names a column that is not there, and which it may have meant. */
static bool
no_column(struct draft *draft, const char *key, const char *name)
{
	struct nearest nearest = { .wanted = name };

	buf_addf(draft->why, "%s: the table %s has no column \"%s\"", key, draft->queue->table, name);
	for (size_t i = 0; i < draft->table->n_columns; i++)
		nearest_offer(&nearest, draft->table->columns[i].name);
	nearest_suggest(&nearest, draft->why);
	return false;
}

/* One `column.` line. */
static bool
map_line(struct draft *draft, const struct column_config *line)
{
	const struct column *column = table_column(draft->table, draft->driver, line->column);
	struct expression expression;
	struct buf *why = draft->why;
	size_t why_len = why->len;

	if (column == NULL) {
		struct buf key = BUF_INIT;
		buf_addf(&key, "column.%s", line->column);
		no_column(draft, buf_cstr(&key), line->column);
		buf_free(&key);
		return false;
	}
	if (!expression_parse(line->expression, &expression, why))
		buf_addf(why, " (column.%s)", line->column);
	else if (column->generated)
		buf_addf(why, "column.%s: the server generates this column, it cannot be written: remove the line", line->column);
	else if (find_mapped(draft->mapping, column->name) != NULL)
		buf_addf(why, "column.%s: the column stands on two lines: remove one", line->column);
	else if (expression.from == FROM_BASE64 && column->kind != COLUMN_BINARY)
		buf_addf(why, "column.%s: base64() is for binary columns, and this one is %s: write the path without it", line->column, column->type);
	else
		add_column(draft, column, expression);
	if (why->len > why_len)
		expression_free(&expression);
	return why->len == why_len;
}

/* The `column.` lines, or without any each column from the key of its name. */
static bool
map_columns(struct draft *draft)
{
	const struct queue_config *queue = draft->queue;

	for (size_t i = 0; i < queue->n_columns; i++) {
		if (!map_line(draft, &queue->columns[i]))
			return false;
	}
	if (queue->n_columns > 0)
		return true;
	for (size_t i = 0; i < draft->table->n_columns; i++) {
		const struct column *column = &draft->table->columns[i];
		if (!column->generated)
			add_column(draft, column, expression_of_key(column->name));
	}
	if (draft->mapping->n_columns == 0)
		buf_addf(draft->why, "the table %s has no column that can be written: correct `table`", queue->table);
	return draft->mapping->n_columns > 0;
}

/* Every insert would fail for a column that needs a value and gets none. */
static bool
check_needed(struct draft *draft)
{
	struct buf missing = BUF_INIT;

	for (size_t i = 0; i < draft->table->n_columns; i++) {
		const struct column *column = &draft->table->columns[i];
		if (column->nullable || column->has_default || column->generated || find_mapped(draft->mapping, column->name) != NULL)
			continue;
		buf_addf(&missing, "%s%s", missing.len > 0 ? ", " : "", column->name);
	}
	bool ok = missing.len == 0;
	if (!ok)
		buf_addf(draft->why, "the table %s wants a value (NOT NULL without DEFAULT) for %s: add `column.` lines, or defaults to the table",
		    draft->queue->table, buf_cstr(&missing));
	buf_free(&missing);
	return ok;
}

/* Marks one column of `key`. */
static bool
mark_key(struct draft *draft, const char *name)
{
	struct mapped_column *column = find_mapped(draft->mapping, name);

	if (column == NULL && table_column(draft->table, draft->driver, name) == NULL)
		return no_column(draft, "key", name);
	if (column == NULL)
		buf_addf(draft->why, "key: the column \"%s\" gets no value: add column.%s, or correct `key`", name, name);
	else if (column->in_key)
		buf_addf(draft->why, "key: the column \"%s\" stands there twice", name);
	else
		return column->in_key = true;
	return false;
}

/* Marks the comma-separated columns of `key`. */
static bool
mark_keys(struct draft *draft)
{
	char *list = xstrdup(draft->queue->key), *rest = list, *name;
	bool ok = true;

	while (ok && (name = strsep(&rest, ",")) != NULL) {
		name += strspn(name, " \t");
		name[strcspn(name, " \t")] = '\0';
		if (*name == '\0')
			buf_adds(draft->why, "key: a name is missing: write columns with commas between them");
		ok = *name != '\0' && mark_key(draft, name);
	}
	free(list);
	return ok;
}

static bool
is_key(const struct mapping *mapping, const struct unique_index *unique)
{
	size_t n_key = 0, n_found = 0;

	ASSERT(unique->n_columns > 0);
	for (size_t i = 0; i < mapping->n_columns; i++)
		n_key += mapping->columns[i].in_key;
	for (size_t i = 0; i < unique->n_columns; i++) {
		const struct mapped_column *column = find_mapped(mapping, unique->columns[i]);
		n_found += column != NULL && column->in_key;
	}
	return n_found == n_key && n_key == unique->n_columns;
}

/* `key` must be one unique index, in whichever order: PostgreSQL wants it, and MySQL would quietly take any other. */
static bool
check_unique(struct draft *draft)
{
	const struct table *table = draft->table;
	size_t n_keys = 0;

	for (size_t i = 0; i < table->n_uniques; i++)
		n_keys += is_key(draft->mapping, &table->uniques[i]);
	draft->mapping->other_uniques = n_keys < table->n_uniques;
	if (n_keys > 0)
		return true;
	buf_addf(draft->why, "key: the table %s has no unique index on exactly (%s): create one, or correct `key`; its unique indexes are:",
	    draft->queue->table, draft->queue->key);
	for (size_t i = 0; i < table->n_uniques; i++) {
		for (size_t j = 0; j < table->uniques[i].n_columns; j++)
			buf_addf(draft->why, "%s%s", j > 0 ? "," : i > 0 ? "; " : " ", table->uniques[i].columns[j]);
	}
	if (table->n_uniques == 0)
		buf_adds(draft->why, " none");
	return false;
}

static bool
map_newer(struct draft *draft)
{
	const char *newer = draft->queue->newer;
	struct mapped_column *column = find_mapped(draft->mapping, newer);

	if (column == NULL && table_column(draft->table, draft->driver, newer) == NULL)
		return no_column(draft, "newer", newer);
	if (column == NULL)
		buf_addf(draft->why, "newer: the column \"%s\" gets no value: add column.%s, or correct `newer`", newer, newer);
	else if (column->in_key)
		buf_addf(draft->why, "newer: the column \"%s\" is part of `key`, so it never grows: name another", newer);
	else
		return column->is_newer = true;
	return false;
}

static bool
map_keys(struct draft *draft)
{
	const struct queue_config *queue = draft->queue;

	ASSERT(queue->mode != MODE_UPSERT || queue->key != NULL);
	if (queue->mode != MODE_INSERT && queue->key != NULL && !(mark_keys(draft) && check_unique(draft)))
		return false;
	return queue->mode != MODE_UPSERT || queue->newer == NULL || map_newer(draft);
}

static bool
check_table(struct draft *draft)
{
	const struct queue_config *queue = draft->queue;

	if (!draft->table->exists)
		buf_addf(draft->why, "the table %s is not there, or the user has no right to it: create it, correct `table`, or grant what `sluice init --print` "
		    "shows", queue->table);
	else if (!draft->table->transactional && queue->ledger == SWITCH_ON)
		buf_addf(draft->why, "the table %s has the engine %s, which knows no transactions, so exactly once is not possible: "
		    "use InnoDB, or set ledger = off for at-least-once", queue->table, draft->table->engine);
	else
		return true;
	return false;
}

/* Compiles the paths of all columns, in their order. */
static void
compile_paths(struct draft *draft)
{
	struct mapping *mapping = draft->mapping;
	const char *const **paths = xcalloc(mapping->n_paths + 1, sizeof *paths);
	size_t n = 0;

	for (size_t i = 0; i < mapping->n_columns; i++) {
		if (draft->expressions[i].keys != NULL)
			paths[n++] = (const char *const *)draft->expressions[i].keys;
	}
	ASSERT(n == mapping->n_paths && mapping->paths == NULL);
	mapping->paths = json_paths_new(paths, n);
	free(paths);
}

struct mapping *
mapping_new(const struct queue_config *queue, const struct table *table, struct buf *why)
{
	struct mapping *mapping = xcalloc(1, sizeof *mapping);
	struct draft draft = { .queue = queue, .table = table, .mapping = mapping, .why = why };

	ASSERT(queue->target != NULL && queue->table != NULL && why != NULL);
	draft.driver = mapping->driver = queue->target->driver;
	mapping->mode = queue->mode;
	mapping->by_name = queue->n_columns == 0;
	mapping->reject_unknown = queue->on_unknown_field == UNKNOWN_REJECT;
	mapping->use_copy = draft.driver == DRIVER_POSTGRESQL && queue->mode == MODE_INSERT && table->is_table && !table->row_security;
	mapping->table_quoted = quoted_path(draft.driver, queue->table);
	mapping->queue = xstrdup(queue->name);
	mapping->columns = xcalloc(table->n_columns + 1, sizeof *mapping->columns);
	draft.expressions = xcalloc(table->n_columns + 1, sizeof *draft.expressions);

	bool fits = check_table(&draft) && map_columns(&draft) && check_needed(&draft) && map_keys(&draft);
	if (fits)
		compile_paths(&draft);
	for (size_t i = 0; i < mapping->n_columns; i++)
		expression_free(&draft.expressions[i]);
	free(draft.expressions);
	if (!fits)
		mapping_free(&mapping);
	return mapping;
}

void
mapping_free(struct mapping **mapping)
{
	struct mapping *m = *mapping;

	*mapping = NULL;
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->n_columns; i++) {
		free(m->columns[i].name);
		free(m->columns[i].quoted);
		free(m->columns[i].array);
		free(m->columns[i].cast);
	}
	free(m->columns);
	if (m->paths != NULL)
		json_paths_free(&m->paths);
	free(m->table_quoted);
	free(m->queue);
	free(m);
}
