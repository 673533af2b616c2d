/* sluice check: columns whose type cannot take what is meant for them. Only what is certain is said: a message may hold anything. */
#include "check_private.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config.h"
#include "json.h"
#include "mapping.h"
#include "table.h"

/* What a type holds. */
enum family { HOLDS_ANYTHING, HOLDS_TEXT, HOLDS_NUMBER, HOLDS_INTEGER, HOLDS_TIME, HOLDS_TRUTH, HOLDS_JSON, HOLDS_UUID, HOLDS_ARRAY };

/* Types of both servers by their first word. */
static const struct type {
	const char *word;
	enum family family;
	double most; /* HOLDS_INTEGER: the largest, signed */
} types[] = {
	{ "text", HOLDS_TEXT, 0 },
	{ "tinytext", HOLDS_TEXT, 0 },
	{ "mediumtext", HOLDS_TEXT, 0 },
	{ "longtext", HOLDS_TEXT, 0 },
	{ "character", HOLDS_TEXT, 0 },
	{ "char", HOLDS_TEXT, 0 },
	{ "varchar", HOLDS_TEXT, 0 },
	{ "tinyint", HOLDS_INTEGER, 127 },
	{ "smallint", HOLDS_INTEGER, 32767 },
	{ "mediumint", HOLDS_INTEGER, 8388607 },
	{ "int", HOLDS_INTEGER, 2147483647 },
	{ "integer", HOLDS_INTEGER, 2147483647 },
	{ "bigint", HOLDS_NUMBER, 0 },
	{ "numeric", HOLDS_NUMBER, 0 },
	{ "decimal", HOLDS_NUMBER, 0 },
	{ "real", HOLDS_NUMBER, 0 },
	{ "double", HOLDS_NUMBER, 0 },
	{ "float", HOLDS_NUMBER, 0 },
	{ "timestamp", HOLDS_TIME, 0 },
	{ "datetime", HOLDS_TIME, 0 },
	{ "date", HOLDS_TIME, 0 },
	{ "time", HOLDS_TIME, 0 },
	{ "boolean", HOLDS_TRUTH, 0 },
	{ "uuid", HOLDS_UUID, 0 },
};

static struct type
type_of(const struct column *column)
{
	ASSERT(column->type != NULL);
	size_t len = strcspn(column->type, " (");
	if (column->kind == COLUMN_JSON)
		return (struct type){ .family = HOLDS_JSON };
	if (column->kind == COLUMN_ARRAY)
		return (struct type){ .family = HOLDS_ARRAY };
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (strlen(types[i].word) == len && strncasecmp(types[i].word, column->type, len) == 0)
			return types[i];
	}
	return (struct type){ .family = HOLDS_ANYTHING };
}

/* Characters that a text holds; 0: as many as one likes. */
static unsigned long
text_room(const struct column *column)
{
	const char *open = strchr(column->type, '(');
	return open == NULL ? 0 : strtoul(open + 1, NULL, 10);
}

/* Where a column's value comes from, for a sentence; NULL: from one key of the message. */
static const char *
fixed_source(const struct mapped_column *mapped, const struct queue_config *queue)
{
	static const char *const words[] = { [FROM_NOW] = "@now", [FROM_QUEUE] = "@queue", [FROM_POSITION] = "@position" };
	ASSERT(mapped->name != NULL);
	for (size_t i = 0; mapped->from == FROM_MESSAGE && i < queue->n_columns; i++) {
		const struct column_config *line = &queue->columns[i];
		int differ = queue->target->driver == DRIVER_MYSQL ? strcasecmp(line->column, mapped->name) : strcmp(line->column, mapped->name);
		if (differ == 0 && strcmp(line->expression, "$") == 0)
			return "$";
	}
	return mapped->from == FROM_MESSAGE || mapped->from == FROM_BASE64 ? NULL : words[mapped->from];
}

/* Does the type refuse whatever comes from there? */
static bool
refuses(enum family family, const char *source)
{
	switch (family) {
	case HOLDS_ANYTHING:
	case HOLDS_TEXT:
		return false;
	case HOLDS_JSON: return strcmp(source, "@now") == 0 || strcmp(source, "@queue") == 0;
	case HOLDS_NUMBER:
	case HOLDS_INTEGER:
		return strcmp(source, "@position") != 0;
	case HOLDS_TIME: return strcmp(source, "@now") != 0;
	case HOLDS_TRUTH:
	case HOLDS_UUID:
	case HOLDS_ARRAY:
		return true;
	}
	return false;
}

/* A queue may have a number, or "true", as its name. */
static bool
is_word(const char *name)
{
	return isalpha((unsigned char)name[0]) && strlen(name) > 5;
}

static bool
check_column(struct check *c, const char *where, const struct queue_config *queue, const struct column *column, const struct mapped_column *mapped)
{
	const char *source = fixed_source(mapped, queue);
	struct type type = type_of(column);
	ASSERT(strcasecmp(column->name, mapped->name) == 0);
	if (source == NULL)
		return true;
	bool named = strcmp(source, "@queue") == 0;
	if (refuses(type.family, source) && (!named || is_word(queue->name))) {
		check_finding(c, LEVEL_ERROR, where, "column.%s: its type %s takes nothing that %s gives: change the type, or the line", column->name,
		    column->type, source);
		return false;
	}
	if (named && type.family == HOLDS_TEXT && text_room(column) > 0 && text_room(column) < strlen(queue->name)) {
		check_finding(c, LEVEL_ERROR, where, "column.%s: its type %s is too short for the name of the queue: make it longer", column->name,
		    column->type);
		return false;
	}
	if (type.family == HOLDS_INTEGER)
		check_finding(c, LEVEL_WARNING, where, "column.%s: its type %s is too small for @position after %.0f orders or so: make it bigint",
		    column->name, column->type, type.most);
	return true;
}

/* Rows with a NULL in a unique key are never alike: they come as often as they are pushed. */
static void
check_key(struct check *c, const char *where, const struct column *column, const struct mapped_column *mapped)
{
	if (mapped->in_key && column->nullable)
		check_finding(c, LEVEL_WARNING, where, "key: the column %s may be NULL, and orders with NULL there are never alike: make it NOT NULL",
		    column->name);
	if (mapped->is_newer && type_of(column).family == HOLDS_TEXT)
		check_finding(c, LEVEL_WARNING, where, "newer: the column %s is text, where \"9\" is more than \"10\": make it a number or a time",
		    column->name);
}

bool
check_columns(struct check *c, const char *where, const struct queue_config *queue, const struct table *table, const struct mapping *mapping)
{
	bool fits = true;
	ASSERT(mapping->n_columns > 0 && mapping->n_columns <= table->n_columns);
	for (size_t i = 0; i < mapping->n_columns; i++) {
		const struct mapped_column *mapped = &mapping->columns[i];
		const struct column *column = table_column(table, mapping->driver, mapped->name);
		ASSERT(column != NULL);
		fits = check_column(c, where, queue, column, mapped) && fits;
		check_key(c, where, column, mapped);
	}
	if (mapping->mode == MODE_IGNORE && table->n_uniques == 0)
		check_finding(c, LEVEL_WARNING, where, "mode = ignore, but the table %s has no unique index, so that nothing is ever a duplicate: "
		    "create one, or set mode = insert", queue->table);
	return fits;
}
