/* Dead letters, read back by the JSON reader that reads messages. */
#include "dead_letter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arena.h"
#include "buf.h"
#include "config.h"
#include "encode.h"
#include "encode_text.h"
#include "json.h"
#include "window.h"

#define AT_US INT64_C(1714979289123456) /* 2024-05-06 07:08:09.123456 UTC */

static const struct reject plain = { .class = "message", .message = "not JSON" };

/* One letter about this payload. */
static void
write_letter(struct buf *out, int driver, const char *payload, size_t len, const struct reject *reject)
{
	struct item item = { payload, len };
	buf_reset(out);
	dead_letter_write(out, "orders", "host-1", driver, &item, reject, 42, AT_US);
}

/* The payload that a reader of the letter finds, base64 undone, must be the one that was given. */
static void
round_trip(const char *payload, size_t len, bool base64)
{
	static const char *const path_payload[] = { "payload", NULL }, *const path_encoding[] = { "encoding", NULL };
	const char *const *const list[] = { path_payload, path_encoding };
	struct json_paths *paths = json_paths_new(list, 2);
	struct json_reader *reader = json_reader_new();
	struct json_value values[2];
	struct buf letter = BUF_INIT, bytes = BUF_INIT;
	write_letter(&letter, DRIVER_POSTGRESQL, payload, len, &plain);
	memset(buf_reserve(&letter, ARENA_PADDING), 0, ARENA_PADDING);
	assert_int_equal(json_read(reader, paths, letter.data, letter.len, false, values, NULL), JSON_OK);
	assert_int_equal(values[0].kind, JSON_STRING);
	assert_int_equal(values[1].kind, base64 ? JSON_STRING : JSON_ABSENT);
	if (base64)
		assert_true(text_from_base64(&bytes, values[0].text, values[0].len));
	else
		buf_add(&bytes, values[0].text, values[0].len);
	assert_int_equal(bytes.len, len);
	if (len > 0)
		assert_memory_equal(bytes.data, payload, len);
	buf_free(&letter);
	buf_free(&bytes);
	json_reader_free(&reader);
	json_paths_free(&paths);
}

static void
test_whole(void **state)
{
	(void)state;
	struct buf letter = BUF_INIT;
	write_letter(&letter, DRIVER_POSTGRESQL, "{\"id\":1", 7, &plain);
	assert_string_equal(buf_cstr(&letter),
	    "{\"queue\":\"orders\",\"payload\":\"{\\\"id\\\":1\",\"error\":{\"class\":\"message\",\"message\":\"not JSON\"},"
	    "\"position\":42,\"instance\":\"host-1\",\"at\":\"2024-05-06T07:08:09.123Z\"}");
	buf_free(&letter);
}

static void
test_error(void **state)
{
	(void)state;
	static const struct reject reject = { .class = "data", .code = "22001", .column = "note", .message = "too long for \"note\"" };
	struct buf letter = BUF_INIT;
	write_letter(&letter, DRIVER_POSTGRESQL, "{}", 2, &reject);
	assert_non_null(strstr(buf_cstr(&letter),
	    "\"error\":{\"class\":\"data\",\"sqlstate\":\"22001\",\"message\":\"too long for \\\"note\\\"\",\"column\":\"note\"},"));
	write_letter(&letter, DRIVER_MYSQL, "{}", 2, &reject);
	assert_non_null(strstr(buf_cstr(&letter), "\"errno\":\"22001\""));
	assert_null(strstr(buf_cstr(&letter), "sqlstate"));
	buf_free(&letter);
}

static void
test_valid_utf8(void **state)
{
	(void)state;
	round_trip("", 0, false);
	round_trip("plain", 5, false);
	round_trip("\"quoted\" \\ / and \\u0041", 23, false);
	round_trip("Gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x98\x80", 16, false);
}

static void
test_control_characters(void **state)
{
	(void)state;
	char all[0x80];
	for (int i = 0; i < (int)sizeof all; i++)
		all[i] = (char)i;
	round_trip(all, sizeof all, false);
	struct buf letter = BUF_INIT;
	write_letter(&letter, DRIVER_POSTGRESQL, all, sizeof all, &plain);
	for (size_t i = 0; i < letter.len; i++)
		assert_true((unsigned char)letter.data[i] >= ' ' && letter.data[i] != 0x7f);
	buf_free(&letter);
}

static void
test_invalid_utf8(void **state)
{
	(void)state;
	char all[256];
	for (int i = 0; i < (int)sizeof all; i++)
		all[i] = (char)i;
	for (size_t n = sizeof all - 3; n <= sizeof all; n++) /* each padding of base64 */
		round_trip(all, n, true);
	round_trip("\xff", 1, true);
	round_trip("\xc0\x80", 2, true);     /* overlong */
	round_trip("\xed\xa0\x80", 3, true); /* a surrogate */
	round_trip("cut \xe2\x82", 6, true);
	struct buf letter = BUF_INIT;
	write_letter(&letter, DRIVER_MYSQL, "\xff\xfe", 2, &plain);
	assert_non_null(strstr(buf_cstr(&letter), "\"payload\":\"//4=\",\"encoding\":\"base64\",\"error\""));
	buf_free(&letter);
}

/* What is large and swells as JSON text is base64; what is to be read by people is not. */
static void
test_what_swells(void **state)
{
	(void)state;
	const size_t large = ((size_t)1 << 20) + 3;
	char *payload = xmalloc(large);
	memset(payload, '"', large);
	round_trip(payload, large - 3, false);
	round_trip(payload, large, true);
	memset(payload, 'x', large);
	memset(payload, '\n', large / 3);
	round_trip(payload, large, false);
	memset(payload, '\\', large / 3 + 1);
	round_trip(payload, large, true);
	memset(payload, 'x', large);
	memset(payload, '\x7f', large / 15);
	round_trip(payload, large, false);
	memset(payload, '\1', large / 15 + 1);
	round_trip(payload, large, true);
	free(payload);
}

static void
test_appends(void **state)
{
	(void)state;
	struct buf out = BUF_INIT;
	struct item item = { "x", 1 };
	buf_adds(&out, "before");
	dead_letter_write(&out, "q", "i", DRIVER_MYSQL, &item, &plain, UINT64_MAX, 0);
	assert_memory_equal(out.data, "before{\"queue\":\"q\"", 18);
	assert_non_null(strstr(buf_cstr(&out), "\"position\":18446744073709551615,"));
	assert_non_null(strstr(buf_cstr(&out), "\"at\":\"1970-01-01T00:00:00.000Z\"}"));
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_valid_utf8),
		cmocka_unit_test(test_control_characters),
		cmocka_unit_test(test_invalid_utf8),
		cmocka_unit_test(test_what_swells),
		cmocka_unit_test(test_appends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
