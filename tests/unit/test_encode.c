/* Messages as SQL, text for text. */
#include "encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arena.h"
#include "config.h"
#include "encode_text.h"
#include "mapping.h"
#include "sql_text.h"
#include "table.h"

#define MAX_COLUMNS 6
#define MAX_ITEMS 20

/* A column of the test's table: its name, its kind, and its expression where that is not the key of its name. */
struct test_column {
	const char *name;
	enum column_kind kind;
	const char *expression;
	const char *array, *cast; /* NULL: bigint[] and nothing */
};

/* One call of encode(), and what came of it as text. */
struct fixture {
	int driver, mode;
	const char *key, *newer;
	bool reject_unknown, other_unique, no_copy;
	size_t statement_max, max_item_bytes;
	const bool *skip;
	struct test_column columns[MAX_COLUMNS + 1]; /* ended by a NULL name */
	struct encoder *encoder;
	struct batch batch;
	bool arrays;    /* an INSERT is shown with arrays where it can have some */
	struct buf out; /* each statement, behind a COPY its data; each reject; a line each */
};

static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);

	f->encoder = encoder_new();
	f->statement_max = SIZE_MAX;
	f->max_item_bytes = 1000;
	f->columns[0] = (struct test_column){ .name = "id", .kind = COLUMN_PLAIN };
	f->columns[1] = (struct test_column){ .name = "a", .kind = COLUMN_PLAIN };
	f->columns[2] = (struct test_column){ .name = "b", .kind = COLUMN_PLAIN };
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	encoder_free(&f->encoder);
	assert_null(f->encoder);
	batch_free(&f->batch);
	buf_free(&f->out);
	free(f);
	return 0;
}

static char *
writable(struct buf *arena, const char *text)
{
	char *copy = arena->data + arena->len;

	if (text == NULL)
		return NULL;
	assert_true(arena->cap - arena->len > strlen(text));
	buf_add(arena, text, strlen(text) + 1);
	return copy;
}

static struct mapping *
make_mapping(const struct fixture *f)
{
	struct buf strings = BUF_INIT, why = BUF_INIT;
	struct column columns[MAX_COLUMNS];
	struct column_config lines[MAX_COLUMNS];
	struct database_config database = { .driver = f->driver };
	char *keys[1], *others[1];
	size_t n = 0;

	buf_reserve(&strings, 4096);
	for (; f->columns[n].name != NULL; n++) {
		char *name = writable(&strings, f->columns[n].name), expression[100];
		columns[n] = (struct column){ .name = name, .type = name, .kind = f->columns[n].kind, .nullable = true };
		columns[n].array = writable(&strings, f->columns[n].array != NULL ? f->columns[n].array : "bigint[]");
		columns[n].cast = writable(&strings, f->columns[n].cast != NULL ? f->columns[n].cast : "");
		snprintf(expression, sizeof expression, "$.%s", name);
		lines[n] = (struct column_config){ .column = name };
		lines[n].expression = writable(&strings, f->columns[n].expression != NULL ? f->columns[n].expression : expression);
	}
	struct queue_config queue = { .name = writable(&strings, "orders"), .table = writable(&strings, "t"), .target = &database, .mode = f->mode,
		.key = writable(&strings, f->key), .newer = writable(&strings, f->newer), .columns = lines, .n_columns = n,
		.on_unknown_field = f->reject_unknown ? UNKNOWN_REJECT : UNKNOWN_IGNORE };
	keys[0] = queue.key;
	ASSERT(n > 0);
	others[0] = columns[n - 1].name;
	struct unique_index uniques[] = { { NULL, keys, 1 }, { NULL, others, 1 } };
	struct table table = { .columns = columns, .n_columns = n, .uniques = uniques, .n_uniques = f->key == NULL ? 0 : f->other_unique ? 2 : 1,
		.exists = true, .is_table = !f->no_copy, .transactional = true };
	struct mapping *mapping = mapping_new(&queue, &table, &why);
	if (mapping == NULL)
		fail_msg("%s", buf_cstr(&why));
	buf_free(&strings);
	buf_free(&why);
	return mapping;
}

static void
note_reject(void *arg, uint32_t item, const char *column, const char *message)
{
	buf_addf(arg, "reject %u (%s): %s\n", item, column, message);
}

/* Encodes the items, ended by NULL, twice, and compares what comes of it. */
static void
assert_encodes(struct fixture *f, const char *const *texts, const char *expected)
{
	struct mapping *mapping = make_mapping(f);
	struct item items[MAX_ITEMS];
	char *padded[MAX_ITEMS];
	uint32_t n = 0;

	for (; texts[n] != NULL; n++) {
		size_t len = strlen(texts[n]);
		padded[n] = xcalloc(len + ARENA_PADDING, 1);
		items[n] = (struct item){ memcpy(padded[n], texts[n], len), len };
	}
	struct encode_input input = { .mapping = mapping, .items = items, .n_items = n, .skip = f->skip, .position = 41, .now_us = 1709251199000007,
		.max_item_bytes = f->max_item_bytes, .statement_max = f->statement_max };
	for (int i = 0; i < 2; i++) {
		buf_reset(&f->out);
		encode(f->encoder, &input, &f->batch, note_reject, &f->out);
	}
	for (size_t i = 0; i < f->batch.n; i++) {
		const struct batch_statement *statement = &f->batch.statements[i];
		if (!f->arrays || statement->is_copy || !batch_add_arrays(statement, &f->out))
			buf_add(&f->out, statement->sql.data, statement->sql.len);
		buf_addc(&f->out, '\n');
		if (statement->is_copy)
			buf_add(&f->out, statement->copy.data, statement->copy.len);
		else
			assert_true(statement->sql.len <= f->statement_max);
		assert_true(statement->n_rows > 0);
	}
	assert_string_equal(buf_cstr(&f->out), expected);
	for (uint32_t i = 0; i < n; i++)
		free(padded[i]);
	mapping_free(&mapping);
}

#define ITEMS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void
test_copy(void **state)
{
	assert_encodes(*state,
	    ITEMS("{\"id\":1,\"a\":\"x\",\"b\":null}", "{\"id\":12.10,\"a\":true,\"b\":\"\"}", "{\"b\":[1, {}],\"a\":{ },\"id\":\"\\\\N\"}"),
	    "COPY \"t\" (\"id\",\"a\",\"b\") FROM STDIN\n1\tx\t\\N\n12.10\ttrue\t\n\\\\N\t{ }\t[1, {}]\n");
}

static void
test_copy_escapes(void **state)
{
	assert_encodes(*state, ITEMS("{\"id\":\"\\b\\t\\n\\u000b\\f\\r\\\\\\u0001'\\\"\",\"a\":\"\\\\.\",\"b\":\"\xc3\xa9\"}"),
	    "COPY \"t\" (\"id\",\"a\",\"b\") FROM STDIN\n\\b\\t\\n\\v\\f\\r\\\\\x01'\"\t\\\\.\t\xc3\xa9\n");
}

static void
test_copy_sets(void **state)
{
	struct fixture *f = *state;

	assert_encodes(f, ITEMS("{\"id\":1,\"a\":2}", "{\"id\":3}", "{}", "{\"a\":4,\"id\":5}", "{\"x\":1}", "{\"id\":null}"),
	    "COPY \"t\" (\"id\",\"a\") FROM STDIN\n1\t2\n5\t4\n"
	    "COPY \"t\" (\"id\") FROM STDIN\n3\n\\N\n"
	    "INSERT INTO \"t\" (\"id\") VALUES (DEFAULT),(DEFAULT)\n");
	assert_int_equal(f->batch.statements[0].rows[1], 3);
	assert_int_equal(f->batch.statements[1].rows[1], 5);
	assert_int_equal(f->batch.statements[2].rows[batch_row(&f->batch.statements[2], 33)], 2);
	assert_int_equal(f->batch.statements[2].rows[batch_row(&f->batch.statements[2], 43)], 4);
}

static void
test_postgresql_insert(void **state)
{
	struct fixture *f = *state;

	f->no_copy = true;
	assert_encodes(f, ITEMS("{\"id\":1,\"a\":\"it's \\\\ \\n\"}", "{\"b\":null}", "{}"),
	    "INSERT INTO \"t\" (\"id\",\"a\",\"b\") VALUES ('1','it''s \\ \n',DEFAULT),(DEFAULT,DEFAULT,NULL),(DEFAULT,DEFAULT,DEFAULT)\n");
}

static void
test_postgresql_ignore(void **state)
{
	struct fixture *f = *state;

	f->mode = MODE_IGNORE;
	assert_encodes(f, ITEMS("{\"id\":1}"),
	    "INSERT INTO \"t\" (\"id\",\"a\",\"b\") VALUES ('1',DEFAULT,DEFAULT) ON CONFLICT DO NOTHING\n");
	f->key = "id";
	assert_encodes(f, ITEMS("{\"id\":1}"),
	    "INSERT INTO \"t\" (\"id\",\"a\",\"b\") VALUES ('1',DEFAULT,DEFAULT) ON CONFLICT (\"id\") DO NOTHING\n");
}

/* Columns of which all rows have the DEFAULT are left out; where only some have it, there are no arrays. */
static void
test_as_arrays(void **state)
{
	struct fixture *f = *state;

	f->arrays = true;
	f->mode = MODE_IGNORE;
	f->key = "id";
	f->columns[1].array = "text[]";
	f->columns[2].array = "pg_catalog.text[]";
	f->columns[2].cast = "::integer[]";
	assert_encodes(f, ITEMS("{\"id\":1}", "{\"id\":2}", "{\"id\":3}", "{\"id\":4}", "{\"id\":5}", "{\"id\":6}", "{\"id\":7}", "{\"id\":null}"),
	    "INSERT INTO \"t\" (\"id\") SELECT c0 FROM unnest('{\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",NULL}'::bigint[]) AS u(c0)"
	    " ON CONFLICT (\"id\") DO NOTHING\n");
	assert_encodes(f, ITEMS("{\"b\":1,\"id\":1}", "{\"b\":2,\"id\":2}", "{\"b\":3,\"id\":3}", "{\"b\":4,\"id\":4}", "{\"b\":5,\"id\":5}",
	    "{\"b\":6,\"id\":6}", "{\"b\":null,\"id\":7}", "{\"b\":\"{7}\",\"id\":8}"),
	    "INSERT INTO \"t\" (\"id\",\"b\") SELECT c0,c1::integer[] FROM unnest('{\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\"}'::bigint[],"
	    "'{\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",NULL,\"{7}\"}'::pg_catalog.text[]) AS u(c0,c1) ON CONFLICT (\"id\") DO NOTHING\n");
	f->mode = MODE_INSERT;
	f->no_copy = true;
	assert_encodes(f, ITEMS("{}", "{}", "{}", "{}", "{}", "{}", "{}", "{}"), "INSERT INTO \"t\" (\"id\",\"a\",\"b\") VALUES "
	    "(DEFAULT,DEFAULT,DEFAULT),(DEFAULT,DEFAULT,DEFAULT),(DEFAULT,DEFAULT,DEFAULT),(DEFAULT,DEFAULT,DEFAULT),"
	    "(DEFAULT,DEFAULT,DEFAULT),(DEFAULT,DEFAULT,DEFAULT),(DEFAULT,DEFAULT,DEFAULT),(DEFAULT,DEFAULT,DEFAULT)\n");
	f->columns[1].name = NULL;
	assert_encodes(f, ITEMS("{\"id\":1}", "{}", "{}", "{}", "{}", "{}", "{}", "{}"),
	    "INSERT INTO \"t\" (\"id\") VALUES ('1'),(DEFAULT),(DEFAULT),(DEFAULT),(DEFAULT),(DEFAULT),(DEFAULT),(DEFAULT)\n");
	assert_encodes(f, ITEMS("{}", "{}", "{}", "{}", "{}", "{}", "{}", "{\"id\":1}"),
	    "INSERT INTO \"t\" (\"id\") VALUES (DEFAULT),(DEFAULT),(DEFAULT),(DEFAULT),(DEFAULT),(DEFAULT),(DEFAULT),('1')\n");
	assert_encodes(f, ITEMS("{\"id\":1}", "{\"id\":2}", "{\"id\":3}", "{\"id\":4}", "{\"id\":5}", "{\"id\":6}", "{\"id\":7}"),
	    "INSERT INTO \"t\" (\"id\") VALUES ('1'),('2'),('3'),('4'),('5'),('6'),('7')\n"); /* too few */
	f->columns[0].array = "";
	assert_encodes(f, ITEMS("{\"id\":1}", "{\"id\":2}", "{\"id\":3}", "{\"id\":4}", "{\"id\":5}", "{\"id\":6}", "{\"id\":7}", "{\"id\":8}"),
	    "INSERT INTO \"t\" (\"id\") VALUES ('1'),('2'),('3'),('4'),('5'),('6'),('7'),('8')\n");
	f->driver = DRIVER_MYSQL;
	assert_encodes(f, ITEMS("{\"id\":1}", "{\"id\":2}", "{\"id\":3}", "{\"id\":4}", "{\"id\":5}", "{\"id\":6}", "{\"id\":7}", "{\"id\":8}"),
	    "INSERT INTO `t` (`id`) VALUES ('1'),('2'),('3'),('4'),('5'),('6'),('7'),('8')\n");
}

/* Special bytes at each place of a chunk of 16, and at its edges. */
static void
test_array_escapes(void **state)
{
	static const char *const special[][2] = { { "'", "''" }, { "\\\"", "\\\"" }, { "\\\\", "\\\\" }, { "{", "{" } }; /* in JSON, in SQL */
	struct fixture *f = *state;

	f->arrays = f->no_copy = true;
	f->columns[1].name = NULL;
	for (size_t which = 0; which < sizeof special / sizeof *special; which++) {
		for (int len = 0; len < 40; len++) {
			char x[41] = "", items[8][120];
			const char *texts[9] = { NULL };
			struct buf expected = BUF_INIT;
			memset(x, 'x', (size_t)len);
			buf_adds(&expected, "INSERT INTO \"t\" (\"id\") SELECT c0 FROM unnest('{");
			for (size_t i = 0; i < 8; i++) {
				snprintf(items[i], sizeof items[i], "{\"id\":\"%s%s%.*s\"}", x, special[which][0], (int)i * 5, x);
				texts[i] = items[i];
				buf_addf(&expected, "%s\"%s%s%.*s\"", i > 0 ? "," : "", x, special[which][1], (int)i * 5, x);
			}
			buf_adds(&expected, "}'::bigint[]) AS u(c0)\n");
			assert_encodes(f, texts, buf_cstr(&expected));
			buf_free(&expected);
		}
	}
}

/* Keys that come again go to later passes, whichever columns they bring. */
static void
test_postgresql_upsert(void **state)
{
	struct fixture *f = *state;

	f->mode = MODE_UPSERT;
	f->key = "id";
	assert_encodes(f,
	    ITEMS("{\"id\":1,\"a\":2}", "{\"id\":1,\"a\":3}", "{\"id\":2}", "{\"id\":3,\"a\":3}",
		"{\"id\":\"1\",\"b\":9}", "{\"id\":null}", "{\"id\":null}"),
	    "INSERT INTO \"t\" AS target (\"id\",\"a\") VALUES ('1','2'),('3','3') ON CONFLICT (\"id\") DO UPDATE SET \"a\"=EXCLUDED.\"a\"\n"
	    "INSERT INTO \"t\" AS target (\"id\") VALUES (NULL),(NULL),('2') ON CONFLICT (\"id\") DO NOTHING\n"
	    "INSERT INTO \"t\" AS target (\"id\",\"a\") VALUES ('1','3') ON CONFLICT (\"id\") DO UPDATE SET \"a\"=EXCLUDED.\"a\"\n"
	    "INSERT INTO \"t\" AS target (\"id\",\"b\") VALUES ('1','9') ON CONFLICT (\"id\") DO UPDATE SET \"b\"=EXCLUDED.\"b\"\n");
	assert_int_equal(f->batch.statements[0].rows[1], 3);
	assert_int_equal(f->batch.statements[2].rows[0], 1);
	assert_int_equal(f->batch.statements[3].rows[0], 4);
}

/* Whoever upserts the same keys locks them in the same order. */
static void
test_upserts_in_order_of_keys(void **state)
{
	struct fixture *f = *state;

	f->mode = MODE_UPSERT;
	f->key = "id";
	assert_encodes(f, ITEMS("{\"id\":\"z\"}", "{\"id\":20}", "{\"id\":null}", "{\"id\":2}", "{\"id\":1}"),
	    "INSERT INTO \"t\" AS target (\"id\") VALUES (NULL),('1'),('2'),('20'),('z') ON CONFLICT (\"id\") DO NOTHING\n");
	const struct batch_statement *first = &f->batch.statements[0];
	const uint32_t items[] = { 2, 4, 3, 1, 0 };
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(first->rows[i], items[i]);
		assert_int_equal(batch_row(first, first->offsets[i]), i);
		assert_int_equal(first->sql.data[first->offsets[i]], '(');
	}
	assert_memory_equal(first->sql.data + first->end, " ON CONFLICT", 12);
	f->driver = DRIVER_MYSQL;
	assert_encodes(f, ITEMS("{\"id\":2,\"a\":1}", "{\"id\":1,\"a\":2}", "{\"id\":2,\"a\":3}", "{\"id\":1,\"a\":4}"),
	    "INSERT INTO `t` (`id`,`a`) VALUES ('1','2'),('1','4'),('2','1'),('2','3') ON DUPLICATE KEY UPDATE `id`=`id`,`a`=VALUES(`a`)\n");
}

/* A later pass runs after all earlier ones, also where its group was first seen before theirs. */
static void
test_passes_in_order(void **state)
{
	struct fixture *f = *state;

	f->mode = MODE_UPSERT;
	f->key = "id";
	assert_encodes(f, ITEMS("{\"id\":\"X\",\"a\":1}", "{\"id\":\"x\",\"a\":2}", "{\"id\":\"y\",\"b\":3}"),
	    "INSERT INTO \"t\" AS target (\"id\",\"a\") VALUES ('X','1') ON CONFLICT (\"id\") DO UPDATE SET \"a\"=EXCLUDED.\"a\"\n"
	    "INSERT INTO \"t\" AS target (\"id\",\"b\") VALUES ('y','3') ON CONFLICT (\"id\") DO UPDATE SET \"b\"=EXCLUDED.\"b\"\n"
	    "INSERT INTO \"t\" AS target (\"id\",\"a\") VALUES ('x','2') ON CONFLICT (\"id\") DO UPDATE SET \"a\"=EXCLUDED.\"a\"\n");
}

static void
test_postgresql_newer(void **state)
{
	struct fixture *f = *state;

	f->mode = MODE_UPSERT;
	f->key = "id";
	f->newer = "b";
	assert_encodes(f, ITEMS("{\"id\":1,\"a\":2,\"b\":3}", "{\"id\":2,\"a\":2}"),
	    "INSERT INTO \"t\" AS target (\"id\",\"a\",\"b\") VALUES ('1','2','3') ON CONFLICT (\"id\") DO UPDATE SET \"a\"=EXCLUDED.\"a\","
	    "\"b\"=EXCLUDED.\"b\" WHERE target.\"b\" IS NULL OR EXCLUDED.\"b\">target.\"b\"\n"
	    "INSERT INTO \"t\" AS target (\"id\",\"a\") VALUES ('2','2') ON CONFLICT (\"id\") DO NOTHING\n");
}

static void
test_mysql_insert(void **state)
{
	struct fixture *f = *state;

	f->driver = DRIVER_MYSQL;
	f->columns[2].kind = COLUMN_NUMBER;
	assert_encodes(f, ITEMS("{\"id\":\"\\u0000'\\\"\\\\\\n\\r\\u001a\xc3\xa9%\",\"a\":true,\"b\":true}", "{\"b\":1e400}",
	    "{\"id\":null,\"b\":false}", "{\"b\":12.50}", "{\"b\":\"12.50\"}", "{\"b\":-1}", "{\"b\":1234567890123456789}", "{\"b\":[1]}"),
	    "INSERT INTO `t` (`id`,`a`,`b`) VALUES ('\\0\\'\"\\\\\\n\\r\\Z\xc3\xa9%','true',1),(DEFAULT,DEFAULT,'1e400'),(NULL,DEFAULT,0),"
	    "(DEFAULT,DEFAULT,12.50),(DEFAULT,DEFAULT,'12.50'),(DEFAULT,DEFAULT,'-1'),(DEFAULT,DEFAULT,'1234567890123456789'),(DEFAULT,DEFAULT,'[1]')\n");
	f->mode = MODE_IGNORE;
	f->key = "b";
	assert_encodes(f, ITEMS("{\"b\":12}"), "INSERT INTO `t` (`id`,`a`,`b`) VALUES (DEFAULT,DEFAULT,'12') ON DUPLICATE KEY UPDATE `b`=`b`\n");
}

static void
test_mysql_ignore(void **state)
{
	struct fixture *f = *state;

	f->driver = DRIVER_MYSQL;
	f->mode = MODE_IGNORE;
	assert_encodes(f, ITEMS("{\"id\":1}"),
	    "INSERT INTO `t` (`id`,`a`,`b`) VALUES ('1',DEFAULT,DEFAULT) ON DUPLICATE KEY UPDATE `id`=`id`\n");
	f->key = "a";
	assert_encodes(f, ITEMS("{\"id\":1}"),
	    "INSERT INTO `t` (`id`,`a`,`b`) VALUES ('1',DEFAULT,DEFAULT) ON DUPLICATE KEY UPDATE `a`=`a`\n");
	f->other_unique = true;
	assert_encodes(f, ITEMS("{\"id\":1}"),
	    "INSERT INTO `t` (`id`,`a`,`b`) VALUES ('1',DEFAULT,DEFAULT) ON DUPLICATE KEY UPDATE "
	    "`a`=IF(`a`=VALUES(`a`),`a`,(SELECT 1 UNION SELECT 2))\n");
}

/* MySQL takes a key twice in a statement, in order; other columns go to a later one all the same. */
static void
test_mysql_upsert(void **state)
{
	struct fixture *f = *state;

	f->driver = DRIVER_MYSQL;
	f->mode = MODE_UPSERT;
	f->key = "id";
	assert_encodes(f, ITEMS("{\"id\":1,\"a\":2}", "{\"id\":1,\"a\":3}", "{\"id\":1}", "{\"id\":1,\"a\":4}"),
	    "INSERT INTO `t` (`id`,`a`) VALUES ('1','2'),('1','3') ON DUPLICATE KEY UPDATE `id`=`id`,`a`=VALUES(`a`)\n"
	    "INSERT INTO `t` (`id`) VALUES ('1') ON DUPLICATE KEY UPDATE `id`=`id`\n"
	    "INSERT INTO `t` (`id`,`a`) VALUES ('1','4') ON DUPLICATE KEY UPDATE `id`=`id`,`a`=VALUES(`a`)\n");
	f->newer = "a";
	assert_encodes(f, ITEMS("{\"id\":1,\"a\":2,\"b\":3}"),
	    "INSERT INTO `t` (`id`,`a`,`b`) VALUES ('1','2','3') ON DUPLICATE KEY UPDATE `id`=`id`,"
	    "`b`=IF(`a` IS NULL OR VALUES(`a`)>`a`,VALUES(`b`),`b`),`a`=IF(`a` IS NULL OR VALUES(`a`)>`a`,VALUES(`a`),`a`)\n");
}

static void
test_sources(void **state)
{
	struct fixture *f = *state;

	f->columns[0].expression = "@now";
	f->columns[1].expression = "@queue";
	f->columns[2].expression = "@position";
	assert_encodes(f, ITEMS("{}", "x", "{}"),
	    "reject 1 (): not JSON\n"
	    "COPY \"t\" (\"id\",\"a\",\"b\") FROM STDIN\n2024-02-29 23:59:59.000007+00\torders\t41\n2024-02-29 23:59:59.000007+00\torders\t43\n");
	f->driver = DRIVER_MYSQL;
	f->columns[2] = (struct test_column){ .name = "b", .kind = COLUMN_JSON, .expression = "$" };
	assert_encodes(f, ITEMS(" {\"x\": \"'\\u00e9\"} "),
	    "INSERT INTO `t` (`id`,`a`,`b`) VALUES ('2024-02-29 23:59:59.000007','orders','{\"x\": \"\\'\\\\u00e9\"}')\n");
}

static void
test_json_column(void **state)
{
	struct fixture *f = *state;

	f->columns[0].kind = f->columns[1].kind = f->columns[2].kind = COLUMN_JSON;
	assert_encodes(f, ITEMS("{\"id\":\"a\\n\\u0000\",\"a\":1.0,\"b\":null}", "{\"id\":true,\"a\":[ 1 ],\"b\":{}}"),
	    "COPY \"t\" (\"id\",\"a\",\"b\") FROM STDIN\n\"a\\\\n\\\\u0000\"\t1.0\t\\N\ntrue\t[ 1 ]\t{}\n");
}

static void
test_arrays(void **state)
{
	struct fixture *f = *state;

	f->columns[0].kind = f->columns[1].kind = f->columns[2].kind = COLUMN_ARRAY;
	assert_encodes(f,
	    ITEMS("{\"id\":[],\"a\":[ 1 , \"x\" ,null,true,-1.5e3],\"b\":[[1,2],[\"]\",\",\"]]}",
		"{\"id\":\"{1}\",\"a\":[{\"k\":[\"}\\\"\",{}]}, {}],\"b\":[\"\\\"\\\\\\u00e9\\n\",\"\",\"NULL\"]}"),
	    "COPY \"t\" (\"id\",\"a\",\"b\") FROM STDIN\n"
	    "{}\t{\"1\",\"x\",NULL,\"true\",\"-1.5e3\"}\t{{\"1\",\"2\"},{\"]\",\",\"}}\n"
	    "{1}\t{\"{\\\\\"k\\\\\":[\\\\\"}\\\\\\\\\\\\\"\\\\\",{}]}\",\"{}\"}\t{\"\\\\\"\\\\\\\\\xc3\xa9\\n\",\"\",\"NULL\"}\n");
}

/* PostgreSQL 15 makes an empty array of [[[1]],[2]], and puts a NULL into [[1],[[2,3]]]. */
static void
test_arrays_that_are_no_box(void **state)
{
	static const char *const boxes[] = { "[]", "[[1],[2]]", "[[null,{\"a\":[1]}],[\"[\",true]]", "[[],[]]", "[[[1],[2]],[[3],[4]]]" };
	static const char *const others[] = { "[[[1]],[2]]", "[[1],[[2,3]]]", "[1,[2]]", "[[1],2]", "[null,[null]]", "[[1,2],[3]]", "[[],[1]]", "[[[]],[]]",
		"[[1],[\"a\",\"b\"]]", "[[[1],[2]],[[3]]]", "[[],1]" };
	struct fixture *f = *state;
	char message[100], text[200];

	f->columns[1].name = f->columns[2].name = NULL;
	f->columns[0].kind = COLUMN_ARRAY;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		snprintf(message, sizeof message, "{\"id\":%s}", others[i]);
		assert_encodes(f, ITEMS(message), "reject 0 (id): its arrays differ in length or depth\n");
	}
	for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++) {
		snprintf(message, sizeof message, "{\"id\":%s}", boxes[i]);
		snprintf(text, sizeof text, "COPY \"t\" (\"id\") FROM STDIN\n%s\n", (const char *[]){ "{}", "{{\"1\"},{\"2\"}}",
		    "{{NULL,\"{\\\\\"a\\\\\":[1]}\"},{\"[\",\"true\"}}", "{{},{}}", "{{{\"1\"},{\"2\"}},{{\"3\"},{\"4\"}}}" }[i]);
		assert_encodes(f, ITEMS(message), text);
	}
}

static void
test_binary(void **state)
{
	struct fixture *f = *state;

	f->columns[0] = (struct test_column){ .name = "id", .kind = COLUMN_BINARY, .expression = "base64($.id)" };
	f->columns[1].kind = COLUMN_BINARY;
	f->columns[2].name = NULL;
	assert_encodes(f,
	    ITEMS("{\"id\":\"AP8=\",\"a\":\"\\\\x41\"}", "{\"id\":\"\",\"a\":null}", "{\"id\":\"=\",\"a\":1}",
		"{\"id\":5,\"a\":1}", "{\"id\":null,\"a\":1}"),
	    "reject 2 (id): not base64\nreject 3 (id): base64() takes a string\n"
	    "COPY \"t\" (\"id\",\"a\") FROM STDIN\n\\\\x00ff\t\\\\x41\n\\\\x\t\\N\n\\N\t1\n");
	f->no_copy = true;
	assert_encodes(f, ITEMS("{\"id\":\"AP8\"}"), "INSERT INTO \"t\" (\"id\",\"a\") VALUES ('\\x00ff',DEFAULT)\n");
	f->driver = DRIVER_MYSQL;
	assert_encodes(f, ITEMS("{\"id\":\"_-8\",\"a\":\"\\u0000\xc3\xa9\"}"), "INSERT INTO `t` (`id`,`a`) VALUES (x'ffef',x'00c3a9')\n");
}

static void
test_dates(void **state)
{
	struct fixture *f = *state;

	f->driver = DRIVER_MYSQL;
	f->columns[0].kind = COLUMN_DATETIME;
	f->columns[1].kind = COLUMN_DATE;
	f->columns[2].kind = COLUMN_TIME;
	assert_encodes(f, ITEMS("{\"id\":\"2024-03-01T00:10:00.1234567+00:30\",\"a\":\"2024-12-31T23:30:00-01:00\",\"b\":\"2024-01-01T00:00Z\"}",
	    "{\"id\":20240101,\"a\":\"2024-01-02\",\"b\":\"10:11\"}"),
	    "INSERT INTO `t` (`id`,`a`,`b`) VALUES ('2024-02-29 23:40:00.123456','2025-01-01','2024-01-01T00:00Z'),"
	    "('20240101','2024-01-02','10:11')\n");
}

static void
test_bits(void **state)
{
	struct fixture *f = *state;

	f->driver = DRIVER_MYSQL;
	f->columns[0].kind = COLUMN_BIT;
	f->columns[1].name = NULL;
	assert_encodes(f, ITEMS("{\"id\":5}", "{\"id\":\"101\"}", "{\"id\":true}", "{\"id\":false}", "{\"id\":null}", "{\"id\":1.5}", "{\"id\":-1}",
	    "{\"id\":1e1}", "{\"id\":\"2\"}", "{\"id\":\"0'\"}", "{\"id\":[]}"),
	    "reject 5 (id): a bit column takes an integer from 0 on, true, false or a string of 0 and 1\n"
	    "reject 6 (id): a bit column takes an integer from 0 on, true, false or a string of 0 and 1\n"
	    "reject 7 (id): a bit column takes an integer from 0 on, true, false or a string of 0 and 1\n"
	    "reject 8 (id): a bit column takes an integer from 0 on, true, false or a string of 0 and 1\n"
	    "reject 9 (id): a bit column takes an integer from 0 on, true, false or a string of 0 and 1\n"
	    "reject 10 (id): a bit column takes an integer from 0 on, true, false or a string of 0 and 1\n"
	    "INSERT INTO `t` (`id`) VALUES (5),(b'101'),(1),(0),(NULL)\n");
}

static void
test_rejects(void **state)
{
	struct fixture *f = *state;
	static const bool skip[] = { false, true, false, false, false, false, false, false, false };

	f->reject_unknown = true;
	f->max_item_bytes = 30;
	f->skip = skip;
	f->columns[2].kind = COLUMN_ARRAY;
	assert_encodes(f,
	    ITEMS("{\"id\":\"a\\u0000b\"}", "{\"id\":", "{\"id\":1,\"foo\":2}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\xff\"}", "[1]",
		"{\"id\":\"1234567890123456789012\"}", "{\"b\":[\"\\u0000\"]}", "{\"id\":3}"),
	    "reject 0 (id): \\u0000 cannot be stored in a PostgreSQL text\n"
	    "reject 2 (): unknown field \"foo\"\n"
	    "reject 3 (): half a surrogate pair in a \\u escape in field \"a\"\n"
	    "reject 4 (): invalid UTF-8\n"
	    "reject 5 (): not a JSON object\n"
	    "reject 6 (): larger than max_item_bytes (30)\n"
	    "reject 7 (b): \\u0000 cannot be stored in a PostgreSQL text\n"
	    "COPY \"t\" (\"id\") FROM STDIN\n3\n");
	assert_int_equal(f->batch.statements[0].rows[0], 8);
}

static void
test_nothing_left(void **state)
{
	struct fixture *f = *state;

	assert_encodes(f, ITEMS("{"), "reject 0 (): not JSON\n");
	assert_int_equal(f->batch.n, 0);
}

static void
test_statement_max(void **state)
{
	struct fixture *f = *state;

	f->driver = DRIVER_MYSQL;
	f->columns[1].name = NULL;
	f->statement_max = strlen("INSERT INTO `t` (`id`) VALUES ('123'),('456')");
	assert_encodes(f, ITEMS("{\"id\":123}", "{\"id\":456}", "{\"id\":7890}", "{\"id\":1}", "{\"id\":12345678901}", "{\"id\":123456789012}"),
	    "reject 5 (): larger than max_allowed_packet (45)\n"
	    "INSERT INTO `t` (`id`) VALUES ('123'),('456')\n"
	    "INSERT INTO `t` (`id`) VALUES ('7890'),('1')\n"
	    "INSERT INTO `t` (`id`) VALUES ('12345678901')\n");
	assert_int_equal(f->batch.statements[1].rows[1], 3);
	assert_int_equal(f->batch.statements[2].rows[batch_row(&f->batch.statements[2], 31)], 4);
}

/* An ISO 8601 text and what MySQL gets; NULL: it goes as it is. */
static const struct {
	const char *iso, *expected;
} isos[] = {
	{ "2024-01-02T03:04:05Z", "2024-01-02 03:04:05" },
	{ "2024-01-02t03:04:05.000z", "2024-01-02 03:04:05.000" },
	{ "2024-01-02 03:04", "2024-01-02 03:04:00" },
	{ "2024-01-02T03:04:05.1", "2024-01-02 03:04:05.1" },
	{ "2024-01-02T03:04:05.1234569+00", "2024-01-02 03:04:05.123456" },
	{ "2024-02-29T00:00:00+00:01", "2024-02-28 23:59:00" },
	{ "2024-03-01T00:00:00+0100", "2024-02-29 23:00:00" },
	{ "2023-03-01T00:00:00+01", "2023-02-28 23:00:00" },
	{ "1900-02-28T23:59:00-00:01", "1900-03-01 00:00:00" },
	{ "2000-02-28T23:59:00-00:01", "2000-02-29 00:00:00" },
	{ "2024-01-01T00:30:00+05:45", "2023-12-31 18:45:00" },
	{ "2023-12-31T23:59:59.9-14:00", "2024-01-01 13:59:59.9" },
	{ "9999-12-31T23:00:00-02:00", NULL },
	{ "0000-01-01T00:00:00+00:01", NULL },
	{ "2023-02-29T00:00:00Z", NULL },
	{ "2024-00-01T00:00:00Z", NULL },
	{ "2024-13-01T00:00:00Z", NULL },
	{ "2024-01-00T00:00:00Z", NULL },
	{ "2024-01-01T24:00:00Z", NULL },
	{ "2024-01-01T00:60:00Z", NULL },
	{ "2024-01-01T00:00:60Z", NULL },
	{ "2024-01-01T00:00:00.Z", NULL },
	{ "2024-01-01T00:00:00,5Z", NULL },
	{ "2024-01-01T00:00:00+1", NULL },
	{ "2024-01-01T00:00:00+01:", NULL },
	{ "2024-01-01T00:00:00+24:00", NULL },
	{ "2024-01-01T00:00:00Z ", NULL },
	{ "2024-01-01T00", NULL },
	{ "2024-01-01", NULL },
	{ "20240101T000000Z", NULL },
	{ "", NULL },
};

static void
test_iso(void **state)
{
	struct buf out = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof isos / sizeof isos[0]; i++) {
		buf_reset(&out);
		bool known = text_from_iso(&out, isos[i].iso, strlen(isos[i].iso), false);
		if (known != (isos[i].expected != NULL) || strcmp(buf_cstr(&out), known ? isos[i].expected : "") != 0)
			fail_msg("%s became %s", isos[i].iso, buf_cstr(&out));
	}
	buf_free(&out);
}

static void
test_base64(void **state)
{
	static const char *const bad[] = { "A", "=", "==", "====", "AA=", "AAA==", "A===", "AAAA====", "AA==AA==",
		"A A=", "AA\n=", "AB==", "AAB=", "A*==" };
	struct buf out = BUF_INIT;

	(void)state;
	assert_true(text_from_base64(&out, "", 0));
	assert_int_equal(out.len, 0);
	assert_true(text_from_base64(&out, "TWFu", 4));
	assert_true(text_from_base64(&out, "TWE=", 4));
	assert_true(text_from_base64(&out, "TQ", 2));
	assert_string_equal(buf_cstr(&out), "ManMaM");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		if (text_from_base64(&out, bad[i], strlen(bad[i])))
			fail_msg("%s is taken", bad[i]);
		assert_int_equal(out.len, 6);
	}
	buf_free(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* What a text without NUL bytes must become, byte for byte. */
static void
expect_text(struct buf *out, const struct sql_text *as, const char *text, size_t len)
{
	buf_add(out, &as->quote, as->quote != '\0');
	for (size_t i = 0; i < len; i++) {
		char escaped = as->escapes[(unsigned char)text[i]];
		buf_add(out, &as->escape, escaped != 0);
		buf_addc(out, escaped != 0 ? escaped : text[i]);
	}
	buf_add(out, &as->quote, as->quote != '\0');
}

/* Texts are taken in chunks: whatever must be escaped is, wherever it stands, and what is behind the text does not matter. */
static void
test_escapes_anywhere(void **state)
{
	static const struct sql_text *const ways[] = { &sql_text_copy, &sql_text_postgresql, &sql_text_mysql };
	static const char special[] = "\b\t\n\v\f\r\x1a\x1f '\\\x7f\x80\xff";
	struct buf out = BUF_INIT, expected = BUF_INIT;

	(void)state;
	for (size_t way = 0; way < 3; way++) {
		for (size_t len = 0; len < 3 * SQL_TEXT_PADDING; len++) {
			for (size_t at = 0; at < (len + SQL_TEXT_PADDING) * (sizeof special - 1); at++) {
				char *text = memset(xmalloc(len + SQL_TEXT_PADDING), 'x', len + SQL_TEXT_PADDING);
				text[at / (sizeof special - 1)] = special[at % (sizeof special - 1)];
				buf_reset(&out);
				buf_reset(&expected);
				expect_text(&expected, ways[way], text, len);
				assert_true(sql_text_add(ways[way], &out, text, len));
				assert_int_equal(out.len, expected.len);
				assert_memory_equal(out.data, expected.data, out.len);
				free(text);
			}
		}
	}
	buf_free(&out);
	buf_free(&expected);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_copy), TEST(test_copy_escapes), TEST(test_copy_sets), TEST(test_postgresql_insert), TEST(test_postgresql_ignore),
		TEST(test_as_arrays), TEST(test_array_escapes),
		TEST(test_postgresql_upsert), TEST(test_passes_in_order), TEST(test_upserts_in_order_of_keys), TEST(test_postgresql_newer), TEST(test_mysql_insert),
		TEST(test_mysql_ignore), TEST(test_mysql_upsert), TEST(test_sources), TEST(test_json_column), TEST(test_arrays),
		TEST(test_arrays_that_are_no_box), TEST(test_binary), TEST(test_dates), TEST(test_bits), TEST(test_rejects), TEST(test_nothing_left),
		TEST(test_statement_max),
		cmocka_unit_test(test_escapes_anywhere), cmocka_unit_test(test_iso), cmocka_unit_test(test_base64),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) == 0 ? 0 : 1;
}
