/* The queue's lines held against a table: what fits, and what is said of what does not. */
#include "mapping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "buf.h"
#include "config.h"
#include "json.h"

/* A queue and its table, to be bent by each test. */
struct fixture {
	struct database_config database;
	struct queue_config queue;
	struct column_config lines[8];
	struct column columns[5];
	struct unique_index uniques[3];
	char *unique_columns[3][2];
	char *names[5];
	struct table table;
	struct mapping *mapping;
	struct buf why;
};

static struct column
column(char *name, enum column_kind kind, bool nullable, bool has_default, bool generated)
{
	static char type[] = "sometype", nothing[] = "";
	return (struct column){ .name = name, .type = type, .kind = kind, .array = nothing, .cast = nothing, .nullable = nullable, .has_default = has_default, .generated = generated };
}

static int
setup(void **state)
{
	static const char *const names[] = { "id", "total", "body", "photo", "sum" };
	struct fixture *f = xcalloc(1, sizeof *f);

	for (size_t i = 0; i < 5; i++)
		f->names[i] = xstrdup(names[i]);
	f->columns[0] = column(f->names[0], COLUMN_PLAIN, false, false, false);
	f->columns[1] = column(f->names[1], COLUMN_NUMBER, true, true, false);
	f->columns[2] = column(f->names[2], COLUMN_JSON, true, false, false);
	f->columns[3] = column(f->names[3], COLUMN_BINARY, true, false, false);
	f->columns[4] = column(f->names[4], COLUMN_NUMBER, false, false, true);
	for (size_t i = 0; i < 3; i++)
		f->uniques[i].columns = f->unique_columns[i];
	f->unique_columns[0][0] = f->names[0];
	f->unique_columns[1][0] = f->names[0];
	f->unique_columns[1][1] = f->names[1];
	f->uniques[0].n_columns = 1;
	f->uniques[1].n_columns = 2;
	f->table = (struct table){ .columns = f->columns, .n_columns = 5, .uniques = f->uniques, .n_uniques = 1, .exists = true, .is_table = true,
		.transactional = true, .engine = xstrdup("Aria") };
	f->queue = (struct queue_config){ .name = xstrdup("orders"), .table = xstrdup("shop.orders"), .columns = f->lines, .target = &f->database };
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	mapping_free(&f->mapping);
	assert_null(f->mapping);
	for (size_t i = 0; i < 5; i++)
		free(f->names[i]);
	for (size_t i = 0; i < f->queue.n_columns; i++) {
		free(f->lines[i].column);
		free(f->lines[i].expression);
	}
	free(f->table.engine);
	free(f->queue.name);
	free(f->queue.table);
	buf_free(&f->why);
	free(f);
	return 0;
}

static void
add_line(struct fixture *f, const char *name, const char *expression)
{
	f->lines[f->queue.n_columns++] = (struct column_config){ .column = xstrdup(name), .expression = xstrdup(expression) };
}

static struct mapping *
make(struct fixture *f)
{
	mapping_free(&f->mapping);
	buf_reset(&f->why);
	f->mapping = mapping_new(&f->queue, &f->table, &f->why);
	if (f->mapping != NULL)
		assert_int_equal(f->why.len, 0);
	return f->mapping;
}

/* It does not fit, and the line says this. */
static void
assert_misfit(struct fixture *f, const char *part)
{
	assert_null(make(f));
	if (strstr(buf_cstr(&f->why), part) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", buf_cstr(&f->why), part);
	assert_null(strchr(buf_cstr(&f->why), '\n'));
}

static void
assert_fits(struct fixture *f)
{
	if (make(f) == NULL)
		fail_msg("does not fit: %s", buf_cstr(&f->why));
}

static void
test_expressions(void **state)
{
	static const char *const good[] = { "$", "$.a", "$.a.b.c", "$.a b", "$['a.b']", "$['it\\'s']", "$.a['b.c'].d", "$['']", "base64($.x)",
		"base64($['x'])",
		"@now", "@queue", "@position" };
	static const char *const bad[] = { "", "a", "$.", "$a", "$..a", "$.a.", "$.a..b", "$[a]", "$['a", "$['a'", "$['a\\']", "$.a[0]", "$['a']b",
		"base64()", "base64($)", "base64($.x", "base64($.)", "base64(base64($.x))", "base64 ($.x)", "@", "@then", "@now ", " $", "@Now" };
	struct buf why = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		if (!mapping_expression_ok(good[i], &why))
			fail_msg("%s: %s", good[i], buf_cstr(&why));
		assert_int_equal(why.len, 0);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		buf_reset(&why);
		if (mapping_expression_ok(bad[i], &why))
			fail_msg("%s is taken", bad[i]);
		assert_true(why.len > 0);
	}
	buf_reset(&why);
	assert_false(mapping_expression_ok("$.1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3", &why));
	assert_non_null(strstr(buf_cstr(&why), "deeper"));
	buf_free(&why);
}

static void
test_all_columns(void **state)
{
	struct fixture *f = *state;

	assert_fits(f);
	assert_int_equal(f->mapping->n_columns, 4);
	assert_int_equal(f->mapping->n_paths, 4);
	assert_string_equal(f->mapping->columns[3].name, "photo");
	assert_string_equal(f->mapping->columns[3].quoted, "\"photo\"");
	assert_int_equal(f->mapping->columns[2].kind, COLUMN_JSON);
	assert_int_equal(f->mapping->columns[3].from, FROM_MESSAGE);
	assert_string_equal(f->mapping->table_quoted, "\"shop\".\"orders\"");
	assert_string_equal(f->mapping->queue, "orders");
	assert_true(f->mapping->use_copy);
	assert_false(f->mapping->other_uniques || f->mapping->reject_unknown || f->mapping->columns[0].in_key);
	f->table.n_columns = 0;
	assert_misfit(f, "no column that can be written: correct `table`");
}

static void
test_lines(void **state)
{
	struct fixture *f = *state;
	struct json_reader *reader = json_reader_new();
	struct json_value values[3];
	static const char text[128] = "{\"customer\":{\"id\":7},\"a.b\":\"x\"}";

	add_line(f, "body", "$");
	add_line(f, "total", "@now");
	add_line(f, "id", "$.customer.id");
	add_line(f, "photo", "base64($['a.b'])");
	f->queue.on_unknown_field = UNKNOWN_REJECT;
	assert_fits(f);
	assert_true(f->mapping->reject_unknown);
	assert_int_equal(f->mapping->n_columns, 4);
	assert_int_equal(f->mapping->n_paths, 3);
	assert_int_equal(f->mapping->columns[1].from, FROM_NOW);
	assert_int_equal(f->mapping->columns[3].from, FROM_BASE64);
	assert_int_equal(json_read(reader, f->mapping->paths, text, strlen(text), true, values, NULL), JSON_OK);
	assert_int_equal(values[f->mapping->columns[0].path].len, strlen(text));
	assert_memory_equal(values[f->mapping->columns[2].path].text, "7", 1);
	assert_memory_equal(values[f->mapping->columns[3].path].text, "x", 1);
	json_reader_free(&reader);
}

static void
test_no_such_column(void **state)
{
	struct fixture *f = *state;

	add_line(f, "id", "$.id");
	add_line(f, "totl", "$.total");
	assert_misfit(f, "column.totl: the table shop.orders has no column \"totl\"; did you mean \"total\"?");
}

static void
test_generated(void **state)
{
	struct fixture *f = *state;

	add_line(f, "id", "$.id");
	add_line(f, "sum", "$.sum");
	assert_misfit(f, "column.sum: the server generates this column");
}

static void
test_twice(void **state)
{
	struct fixture *f = *state;

	add_line(f, "id", "$.id");
	add_line(f, "ID", "$.id");
	assert_misfit(f, "no column \"ID\"");
	f->database.driver = DRIVER_MYSQL;
	assert_misfit(f, "two lines");
}

static void
test_bad_expression(void **state)
{
	struct fixture *f = *state;

	add_line(f, "id", "$id");
	assert_misfit(f, "(column.id)");
}

static void
test_base64(void **state)
{
	struct fixture *f = *state;

	add_line(f, "id", "base64($.id)");
	assert_misfit(f, "column.id: base64() is for binary columns, and this one is sometype");
}

static void
test_needed(void **state)
{
	struct fixture *f = *state;

	add_line(f, "body", "$");
	f->columns[3].nullable = false;
	assert_misfit(f, "(NOT NULL without DEFAULT) for id, photo:");
	f->columns[3].has_default = true;
	f->columns[0].nullable = true;
	assert_fits(f);
}

static void
test_table(void **state)
{
	struct fixture *f = *state;

	f->table.exists = false;
	assert_misfit(f, "the table shop.orders is not there, or the user has no right to it: create it, correct `table`, or grant what `sluice init --print` shows");
	f->table.exists = true;
	f->table.transactional = false;
	assert_misfit(f, "ledger = off");
	f->queue.ledger = SWITCH_OFF;
	assert_fits(f);
	f->table.is_table = false;
	assert_fits(f);
	assert_false(f->mapping->use_copy);
	f->table.is_table = f->table.row_security = true;
	assert_fits(f);
	assert_false(f->mapping->use_copy);
	f->table.row_security = false;
	f->database.driver = DRIVER_MYSQL;
	assert_fits(f);
	assert_false(f->mapping->use_copy);
	assert_string_equal(f->mapping->table_quoted, "`shop`.`orders`");
}

static void
test_quoting(void **state)
{
	struct fixture *f = *state;

	free(f->queue.table);
	f->queue.table = xstrdup("a\"`b");
	assert_fits(f);
	assert_string_equal(f->mapping->table_quoted, "\"a\"\"`b\"");
	f->database.driver = DRIVER_MYSQL;
	assert_fits(f);
	assert_string_equal(f->mapping->table_quoted, "`a\"``b`");
}

static void
test_key(void **state)
{
	struct fixture *f = *state;
	static char pair[] = " total ,id", one[] = "id", none[] = "body", wrong[] = "id,tota", empty[] = "id,";
	static char twice[] = "id,id", unmapped[] = "photo";

	f->queue.mode = MODE_UPSERT;
	f->queue.key = one;
	assert_fits(f);
	assert_true(f->mapping->columns[0].in_key);
	assert_false(f->mapping->columns[1].in_key || f->mapping->other_uniques || f->mapping->use_copy);
	f->queue.key = pair;
	assert_misfit(f, "key: the table shop.orders has no unique index on exactly ( total ,id)");
	f->table.n_uniques = 2;
	assert_fits(f);
	assert_true(f->mapping->columns[0].in_key && f->mapping->columns[1].in_key && f->mapping->other_uniques);
	f->queue.key = one;
	assert_fits(f);
	f->queue.key = none;
	assert_misfit(f, "its unique indexes are: id; id,total");
	f->table.n_uniques = 0;
	assert_misfit(f, "are: none");
	f->queue.key = wrong;
	assert_misfit(f, "key: the table shop.orders has no column \"tota\"; did you mean \"total\"?");
	f->queue.key = empty;
	assert_misfit(f, "key: a name is missing");
	f->queue.key = twice;
	assert_misfit(f, "twice");
	add_line(f, "id", "$.id");
	f->queue.key = unmapped;
	assert_misfit(f, "key: the column \"photo\" gets no value: add column.photo");
	f->queue.key = NULL;
	f->queue.mode = MODE_IGNORE;
	f->table.n_uniques = 2;
	assert_fits(f);
	assert_false(f->mapping->other_uniques);
}

static void
test_mysql_names(void **state)
{
	struct fixture *f = *state;
	static char key[] = "ID";

	f->database.driver = DRIVER_MYSQL;
	f->queue.mode = MODE_UPSERT;
	f->queue.key = key;
	add_line(f, "Id", "$.id");
	assert_fits(f);
	assert_string_equal(f->mapping->columns[0].name, "id");
	assert_string_equal(f->mapping->columns[0].quoted, "`id`");
	assert_true(f->mapping->columns[0].in_key);
}

static void
test_newer(void **state)
{
	struct fixture *f = *state;
	static char key[] = "id", good[] = "total", wrong[] = "totel", unmapped[] = "photo";

	f->queue.mode = MODE_UPSERT;
	f->queue.key = key;
	f->queue.newer = good;
	assert_fits(f);
	assert_true(f->mapping->columns[1].is_newer);
	f->queue.newer = key;
	assert_misfit(f, "newer: the column \"id\" is part of `key`");
	f->queue.newer = wrong;
	assert_misfit(f, "newer: the table shop.orders has no column \"totel\"; did you mean \"total\"?");
	add_line(f, "id", "$.id");
	f->queue.newer = unmapped;
	assert_misfit(f, "newer: the column \"photo\" gets no value");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expressions), TEST(test_all_columns), TEST(test_lines), TEST(test_no_such_column), TEST(test_generated),
		TEST(test_twice), TEST(test_bad_expression), TEST(test_base64), TEST(test_needed), TEST(test_table), TEST(test_quoting),
		TEST(test_key), TEST(test_mysql_names), TEST(test_newer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) == 0 ? 0 : 1;
}
