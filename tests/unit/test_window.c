/* Windows: splitting, rejects, and the ledger's `dead` text. */
#include "window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define N 6

/* Items "0".."5" from position 100 on. */
static struct window *
six(void)
{
	static const char *const texts[N] = { "0", "1", "2", "3", "4", "5" };
	struct item items[N];
	for (size_t i = 0; i < N; i++)
		items[i] = (struct item){ texts[i], 1 };
	return window_new(100, items, N, NULL);
}

static void
reject(struct window *w, uint32_t index, const char *message)
{
	struct reject r = { .index = index, .class = "data", .code = "22P02", .column = "total" };
	snprintf(r.message, sizeof r.message, "%s", message);
	window_reject(w, &r);
}

static void
splits_items_rejects_and_positions(void **state)
{
	(void)state;
	struct list all;
	list_init(&all);
	struct window *w = six();
	list_append(&all, &w->node);
	w->partial = true;
	reject(w, 4, "late");
	reject(w, 1, "early");
	struct window *tail = window_split(w, 3);
	assert_ptr_equal(w->node.next, &tail->node);
	assert_int_equal(w->count, 3);
	assert_int_equal(tail->count, 3);
	assert_int_equal(tail->first, 103);
	assert_int_equal(w->n_rejects, 1);
	assert_int_equal(w->rejects[0].index, 1);
	assert_int_equal(tail->n_rejects, 1);
	assert_int_equal(tail->rejects[0].index, 1);
	assert_string_equal(tail->rejects[0].message, "late");
	assert_true(tail->skip[1] && !tail->skip[0]);
	assert_true(tail->partial && !w->partial);
	assert_memory_equal(tail->items[0].text, "3", 1);
	window_check(w);
	window_check(tail);
	window_free(&w);
	window_free(&tail);
	assert_true(list_empty(&all));
}

static void
counts_a_reject_once(void **state)
{
	(void)state;
	struct window *w = six();
	reject(w, 2, "first");
	reject(w, 2, "second");
	assert_int_equal(w->n_rejects, 1);
	assert_int_equal(window_rows(w), N - 1);
	assert_string_equal(w->rejects[0].message, "first");
	window_free(&w);
}

static void
matches_the_longest_prefix(void **state)
{
	(void)state;
	struct window *w = six();
	uint64_t hashes[N + 2];
	memcpy(hashes + 2, w->hashes, N * sizeof *hashes);
	assert_int_equal(window_match(w, hashes, 2, N + 2), N);
	hashes[5] ^= 1;
	assert_int_equal(window_match(w, hashes, 2, N + 2), 3);
	assert_int_equal(window_match(w, hashes, 2, 4), 2);
	assert_int_equal(window_match(w, hashes, 8, 8), 0);
	window_free(&w);
}

static void
dead_text_comes_back(void **state)
{
	(void)state;
	struct window *w = six(), *again = six();
	struct buf text = BUF_INIT;
	reject(w, 1, "two\nlines\tand a tab");
	reject(w, 5, "");
	window_dead_write(w, &text);
	assert_true(window_dead_read(again, text.data, text.len, 0));
	assert_int_equal(again->n_rejects, 2);
	assert_memory_equal(again->rejects, w->rejects, 2 * sizeof *w->rejects);
	struct reject strange = { .index = 2, .class = "message", .column = "a column's\nname\tmay be anything", .message = "m" };
	window_reject(w, &strange);
	buf_reset(&text);
	window_dead_write(w, &text);
	window_free(&again);
	again = six();
	assert_true(window_dead_read(again, text.data, text.len, 0));
	assert_int_equal(again->n_rejects, 3);
	assert_string_equal(again->rejects[1].column, "a column's name may be anything");
	assert_string_equal(again->rejects[1].message, "m");
	window_free(&again);
	again = six(); /* its first item was the third of the window that wrote the text */
	assert_true(window_dead_read(again, text.data, text.len, 2));
	assert_int_equal(again->n_rejects, 2);
	assert_int_equal(again->rejects[1].index, 3);
	buf_free(&text);
	window_free(&w);
	window_free(&again);
}

static void
strange_dead_text_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = { "1", "1\tdata\t\t\t", "x\tdata\t\t\tm\n", "1\tdata\n", "\n", "-1\tdata\t\t\tm\n", "1\tdata",
		"1\tdata\t22P02", "1\tdata\t22P02\ttotal", "1x\tdata\t\t\tm\n" };
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct window *w = six();
		bool ok = window_dead_read(w, texts[i], strlen(texts[i]), 0);
		assert_true(!ok || w->n_rejects == 0);
		window_free(&w);
	}
}

static void
a_long_message_is_cut(void **state)
{
	(void)state;
	char text[600] = "1\t";
	memset(text + 2, 'x', 590);
	memcpy(text + 100, "\t\t\t", 3);
	text[590] = '\n';
	struct window *w = six();
	assert_true(window_dead_read(w, text, 591, 0));
	assert_int_equal(strlen(w->rejects[0].class), sizeof w->rejects[0].class - 1);
	assert_int_equal(strlen(w->rejects[0].message), REJECT_MESSAGE_MAX - 1);
	window_free(&w);
	window_free(&w); /* nothing is there any more */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_items_rejects_and_positions),
		cmocka_unit_test(counts_a_reject_once),
		cmocka_unit_test(matches_the_longest_prefix),
		cmocka_unit_test(dead_text_comes_back),
		cmocka_unit_test(strange_dead_text_is_refused),
		cmocka_unit_test(a_long_message_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
