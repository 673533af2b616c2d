/* Rows that are encoded ahead: the same as those that are encoded in time, and used only for the very same. */
#include "ahead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arena.h"
#include "config.h"
#include "mapping.h"
#include "table.h"
#include "window.h"

#define ITEMS 3

struct fixture {
	struct encoder *encoder;
	struct mapping *mapping;
	struct arena *arena;
	struct item items[ITEMS];
	struct window *window;
	struct encode_input input;
	struct ahead ahead;
	struct batch batch;
};

/* A table of one column, whose value comes from here. */
static struct mapping *
make_mapping(const char *from)
{
	struct buf why = BUF_INIT;
	char nothing[] = "", name[] = "id", table_name[] = "t", queue_name[] = "orders", expression[20];
	snprintf(expression, sizeof expression, "%s", from);
	struct column column = { .name = name, .type = name, .array = nothing, .cast = nothing, .kind = COLUMN_PLAIN, .nullable = true };
	struct column_config line = { .column = name, .expression = expression };
	struct database_config database = { .driver = DRIVER_POSTGRESQL };
	struct queue_config queue = { .name = queue_name, .table = table_name, .target = &database, .mode = MODE_INSERT, .columns = &line, .n_columns = 1 };
	struct table table = { .columns = &column, .n_columns = 1, .exists = true, .is_table = true, .transactional = true };
	struct mapping *mapping = mapping_new(&queue, &table, &why);
	assert_non_null(mapping);
	buf_free(&why);
	return mapping;
}

static int
setup(void **state)
{
	static const char *const texts[ITEMS] = { "{\"id\":7}", "no JSON", "{\"id\":\"x\"}" };
	struct fixture *f = xcalloc(1, sizeof *f);
	f->encoder = encoder_new();
	f->mapping = make_mapping("$.id");
	f->arena = arena_new();
	for (size_t i = 0; i < ITEMS; i++) {
		size_t len = strlen(texts[i]);
		char *text = memset(arena_bytes(f->arena, len + ARENA_PADDING), 0, len + ARENA_PADDING); /* what stands behind is read, too */
		f->items[i] = (struct item){ memcpy(text, texts[i], len), len };
	}
	f->window = window_new(41, f->items, ITEMS, f->arena);
	f->input = (struct encode_input){ .mapping = f->mapping, .items = f->window->items, .n_items = ITEMS, .skip = f->window->skip, .position = 41,
		.max_item_bytes = 100, .statement_max = 1000 };
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	ahead_free(&f->ahead);
	batch_free(&f->batch);
	window_free(&f->window);
	arena_unref(&f->arena);
	mapping_free(&f->mapping);
	encoder_free(&f->encoder);
	free(f);
	return 0;
}

static bool
is_made(const struct fixture *f)
{
	for (size_t i = 0; i < AHEAD_WINDOWS; i++) {
		if (f->ahead.ready[i].arena != NULL)
			return true;
	}
	return false;
}

static void
make(struct fixture *f)
{
	(void)ahead_make(&f->ahead, f->encoder, &f->input, f->window);
}

/* Takes the rows, which must be right wherever they come from; was it those that were ready? */
static bool
use(struct fixture *f)
{
	bool made = is_made(f);
	ahead_use(&f->ahead, f->encoder, &f->input, f->window, &f->batch);
	assert_int_equal(f->batch.n, 1);
	assert_int_equal(f->batch.statements[0].n_rows, 2);
	assert_int_equal(f->batch.statements[0].rows[1], 2);
	assert_int_equal(f->batch.statements[0].copy.len, 4);
	assert_memory_equal(f->batch.statements[0].copy.data, "7\nx\n", 4);
	assert_int_equal(f->window->n_rejects, 1);
	assert_int_equal(f->window->rejects[0].index, 1);
	assert_string_equal(f->window->rejects[0].class, "message");
	assert_non_null(strstr(f->window->rejects[0].message, "JSON"));
	return made && !is_made(f);
}

static void
test_what_is_ready_is_used_once(void **state)
{
	struct fixture *f = *state;
	make(f);
	assert_true(is_made(f));
	assert_int_equal(f->window->n_rejects, 0);
	make(f);
	assert_true(use(f));
	window_forgive(f->window);
	assert_false(use(f));
}

static void
test_a_window_with_rejects_is_encoded_in_time(void **state)
{
	struct fixture *f = *state;
	make(f);
	window_reject(f->window, &(struct reject){ .index = 1, .class = "message", .message = "JSON, no" });
	assert_false(use(f));
	ahead_forget(&f->ahead);
	make(f);
	assert_false(is_made(f));
}

/* After each change what is ready is of something else. */
static void
test_another_is_encoded_in_time(void **state)
{
	struct fixture *f = *state;
	struct mapping *other = make_mapping("$.id");
	for (int change = 0; change < 4; change++) {
		struct encode_input before = f->input;
		make(f);
		assert_true(is_made(f));
		if (change == 0)
			f->input.mapping = other;
		else if (change == 1)
			f->input.max_item_bytes = 99;
		else if (change == 2)
			f->input.statement_max = 999;
		else
			f->window->first = 42;
		assert_false(use(f));
		assert_int_equal(f->ahead.statement_max, f->input.statement_max);
		f->input = before;
		f->window->first = 41;
		window_forgive(f->window);
	}
	mapping_free(&other);
}

static void
test_other_items_are_encoded_in_time(void **state)
{
	struct fixture *f = *state;
	struct window *fewer = window_new(41, f->items, 1, f->arena), *later = window_new(41, f->items + 2, 1, f->arena);
	struct encode_input input = f->input;
	input.items = fewer->items;
	input.n_items = 1;
	assert_true(ahead_make(&f->ahead, f->encoder, &input, fewer));
	assert_false(use(f));
	input.items = later->items;
	ahead_use(&f->ahead, f->encoder, &input, later, &f->batch);
	assert_memory_equal(f->batch.statements[0].copy.data, "x\n", 2);
	window_free(&fewer);
	window_free(&later);
}

/* Windows of one item each: the last AHEAD_WINDOWS of them are ready, whatever order they are used in. */
static void
test_several_are_ready_and_the_oldest_makes_room(void **state)
{
	struct fixture *f = *state;
	struct window *windows[AHEAD_WINDOWS + 1] = { NULL };
	struct encode_input input = f->input;
	input.n_items = 1;
	for (uint64_t i = 0; i < AHEAD_WINDOWS + 1; i++) {
		windows[i] = window_new(i, f->items, 1, f->arena);
		input.items = windows[i]->items;
		input.position = i;
		assert_true(ahead_make(&f->ahead, f->encoder, &input, windows[i]));
		assert_false(ahead_make(&f->ahead, f->encoder, &input, windows[i]));
	}
	for (size_t i = AHEAD_WINDOWS + 1; i-- > 0;) {
		unsigned before = 0, after = 0;
		input.items = windows[i]->items;
		input.position = i;
		for (size_t k = 0; k < AHEAD_WINDOWS; k++)
			before += f->ahead.ready[k].arena != NULL;
		ahead_use(&f->ahead, f->encoder, &input, windows[i], &f->batch);
		for (size_t k = 0; k < AHEAD_WINDOWS; k++)
			after += f->ahead.ready[k].arena != NULL;
		assert_int_equal(before - after, i == 0 ? 0 : 1);
		assert_memory_equal(f->batch.statements[0].copy.data, "7\n", 2);
		window_free(&windows[i]);
	}
}

static void
test_time_cannot_be_told_ahead(void **state)
{
	struct fixture *f = *state;
	struct mapping *timed = make_mapping("@now");
	f->input.mapping = timed;
	make(f);
	assert_false(is_made(f));
	mapping_free(&timed);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_ready_is_used_once),
		TEST(test_a_window_with_rejects_is_encoded_in_time),
		TEST(test_another_is_encoded_in_time),
		TEST(test_other_items_are_encoded_in_time),
		TEST(test_several_are_ready_and_the_oldest_makes_room),
		TEST(test_time_cannot_be_told_ahead),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
