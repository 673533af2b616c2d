/* buf and arena. */
#include "buf.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arena.h"

static void
test_add(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_add(&b, NULL, 0);
	assert_null(b.data);
	assert_string_equal(buf_cstr(&b), "");
	buf_adds(&b, "abc");
	buf_addc(&b, '\0');
	buf_add(&b, "def", 2);
	assert_int_equal(b.len, 6);
	assert_memory_equal(b.data, "abc\0de", 6);
	assert_int_equal(buf_cstr(&b)[6], '\0');
	assert_int_equal(b.len, 6);
	buf_reset(&b);
	assert_int_equal(b.len, 0);
	assert_true(b.cap > 0);
	buf_free(&b);
	assert_null(b.data);
	assert_int_equal(b.cap, 0);
	buf_free(&b);
}

static void
test_grow(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	for (int i = 0; i < 100000; i++)
		buf_addc(&b, (char)('a' + i % 26));
	assert_int_equal(b.len, 100000);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(b.data[i], 'a' + i % 26);
	memset(buf_reserve(&b, 1000000), 'x', 1000000);
	assert_int_equal(b.len, 100000);
	assert_true(b.cap >= 1100000);
	buf_free(&b);
}

static void
test_addf(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_addf(&b, "%s=%d", "x", -5);
	buf_addf(&b, "%s", "");
	assert_int_equal(b.len, 4);
	buf_addf(&b, "%500d", 7);
	assert_int_equal(b.len, 504);
	assert_memory_equal(b.data, "x=-5   ", 7);
	assert_int_equal(b.data[503], '7');
	buf_free(&b);
	for (int n = 1; n < 200; n++) { /* at each distance from the end of what there is */
		buf_addf(&b, "%*d", n, n);
		buf_free(&b);
		buf_addf(&b, "%*d,%*d", n, 5, 3, n);
		assert_int_equal(b.len, n + 4);
		assert_int_equal(b.data[n - 1], '5');
		assert_int_equal(b.data[n], ',');
		buf_free(&b);
	}
}

static void
test_number(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	for (uint64_t n = UINT64_MAX; n > 0; n /= 10) {
		char expected[24];
		snprintf(expected, sizeof expected, "%llu", (unsigned long long)n);
		buf_reset(&b);
		buf_add_number(&b, n);
		assert_string_equal(buf_cstr(&b), expected);
	}
	buf_reset(&b);
	buf_add_number(&b, 0);
	buf_add_number(&b, 10);
	assert_string_equal(buf_cstr(&b), "010");
	buf_free(&b);
}

static void
test_json(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_add_json(&b, "", 0);
	buf_add_json(&b, "a\"b\\c\n\r\t\0\x1f\x7f/\xc3\xa9", 14);
	assert_string_equal(buf_cstr(&b), "\"\"\"a\\\"b\\\\c\\n\\r\\t\\u0000\\u001f\\u007f/\xc3\xa9\"");
	buf_free(&b);
}

static void
test_hex(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_add_hex(&b, "\x00\x9f\xff", 3);
	buf_add_hex(&b, "", 0);
	assert_string_equal(buf_cstr(&b), "009fff");
	buf_free(&b);
}

static void
test_arena(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	size_t used = 0;
	char *kept[300];
	for (size_t i = 0; i < 300; i++) {
		size_t n = i * 37;
		kept[i] = arena_bytes(a, n);
		memset(kept[i], (int)i, n);
		used += n;
		void *aligned = arena_alloc(a, 24);
		assert_int_equal((uintptr_t)aligned % alignof(max_align_t), 0);
		memset(aligned, 0xee, 24);
		used += 24;
	}
	for (size_t i = 0; i < 300; i++) {
		for (size_t j = 0; j < i * 37; j++)
			assert_int_equal((unsigned char)kept[i][j], i & 0xff);
	}
	assert_true(arena_used(a) >= used);
	arena_unref(&a);
	assert_null(a);
	arena_unref(&a);
}

/* Behind every allocation ARENA_PADDING bytes can be read, also behind one that fills its block. */
static void
test_arena_padding(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	for (size_t n = 1; n < 600000; n = n * 3 / 2 + 1) {
		const volatile char *bytes = arena_bytes(a, n);
		for (size_t i = n; i < n + ARENA_PADDING; i++)
			(void)bytes[i];
	}
	arena_unref(&a);
}

static void
test_arena_references(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	struct arena *other = arena_ref(a);
	char *text = arena_bytes(a, 6);
	memcpy(text, "alive", 6);
	arena_unref(&a);
	assert_null(a);
	assert_string_equal(text, "alive");
	arena_unref(&other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_grow),
		cmocka_unit_test(test_addf),
		cmocka_unit_test(test_number),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_arena),
		cmocka_unit_test(test_arena_padding),
		cmocka_unit_test(test_arena_references),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) == 0 ? 0 : 1;
}
