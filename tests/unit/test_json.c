/* What is a message, and what it holds. */
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arena.h"
#include "check.h"

static const char *const path_all[] = { NULL };
static const char *const path_id[] = { "id", NULL };
static const char *const path_a[] = { "a", NULL };
static const char *const path_ab[] = { "a", "b", NULL };
static const char *const path_abc[] = { "a", "b", "c", NULL };
static const char *const path_quote[] = { "q\"k", NULL };
static const char *const path_slash[] = { "s\\", NULL };
static const char *const *const paths[] = { path_all, path_id, path_a, path_ab, path_abc, path_quote, path_id, path_slash };
enum { ALL, ID, A, AB, ABC, QUOTE, ID_AGAIN, SLASH, N_PATHS };

/* A reader, and its last answer. */
struct fixture {
	struct json_paths *paths;
	struct json_reader *reader;
	struct json_value values[N_PATHS];
	const char *where;
	char *text; /* the message, with bytes behind it that would go on with it */
};

static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	f->paths = json_paths_new(paths, N_PATHS);
	f->reader = json_reader_new();
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	json_paths_free(&f->paths);
	json_reader_free(&f->reader);
	assert_null(f->paths);
	assert_null(f->reader);
	free(f->text);
	free(f);
	return 0;
}

static enum json_status
read_bytes(struct fixture *f, const char *text, size_t len, char behind, bool reject)
{
	free(f->text);
	f->text = xmalloc(len + ARENA_PADDING);
	memcpy(f->text, text, len);
	memset(f->text + len, behind, ARENA_PADDING);
	return json_read(f->reader, f->paths, f->text, len, reject, f->values, &f->where);
}

/* Whatever stands behind the message must not matter. */
static enum json_status
read_text(struct fixture *f, const char *text)
{
	enum json_status first = read_bytes(f, text, strlen(text), '}', false);
	for (const char *behind = ",]\":{[1 \\"; *behind != '\0'; behind++)
		assert_int_equal(read_bytes(f, text, strlen(text), *behind, false), first);
	return first;
}

static void
assert_value(const struct json_value *value, enum json_kind kind, const char *text, const char *raw)
{
	assert_int_equal(value->kind, kind);
	assert_int_equal(value->len, strlen(text));
	assert_memory_equal(value->text, text, value->len);
	assert_int_equal(value->raw_len, strlen(raw));
	assert_memory_equal(value->raw, raw, value->raw_len);
}

/* A message and what it is. */
struct example {
	const char *text;
	enum json_status status;
};

static const struct example examples[] = {
	{ "{}", JSON_OK },
	{ " \t\r\n{ \t\r\n} \t\r\n", JSON_OK },
	{ "{\"id\":1}", JSON_OK },
	{ "{\"\":0}", JSON_OK },
	{ "{\"id\":[[],{},[{}]],\"x\":{\"y\":[1,2,{\"z\":null}]}}", JSON_OK },
	{ "{\"id\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD834\\uDD1E\\uffff\"}", JSON_OK },
	{ "{\"id\":\"\x7f\xef\xbf\xbf\xf4\x8f\xbf\xbf\"}", JSON_OK },
	{ "{\"id\":-0}", JSON_OK },
	{ "{\"id\":0e0}", JSON_OK },
	{ "{\"id\":-0.0E-00}", JSON_OK },
	{ "{\"id\":1e400}", JSON_OK },
	{ "{\"id\":123456789012345678901234567890.123456789012345678901234567890E+1234567890}", JSON_OK },

	{ "", JSON_NOT_JSON },
	{ " \n", JSON_NOT_JSON },
	{ "{", JSON_NOT_JSON },
	{ "}", JSON_NOT_JSON },
	{ "x", JSON_NOT_JSON },
	{ ",", JSON_NOT_JSON },
	{ "\xef\xbb\xbf{}", JSON_NOT_JSON },
	{ "{}{}", JSON_NOT_JSON },
	{ "{} x", JSON_NOT_JSON },
	{ "{}}", JSON_NOT_JSON },
	{ "{},", JSON_NOT_JSON },
	{ "{\"id\":1}]", JSON_NOT_JSON },
	{ "{\"id\"}", JSON_NOT_JSON },
	{ "{\"id\":}", JSON_NOT_JSON },
	{ "{\"id\" 1}", JSON_NOT_JSON },
	{ "{\"id\"::1}", JSON_NOT_JSON },
	{ "{\"id\":1,}", JSON_NOT_JSON },
	{ "{,\"id\":1}", JSON_NOT_JSON },
	{ "{\"id\":1,,\"a\":1}", JSON_NOT_JSON },
	{ "{\"id\":1 \"a\":1}", JSON_NOT_JSON },
	{ "{\"id\":\"c\":1}", JSON_NOT_JSON },
	{ "{\"id\":1:2}", JSON_NOT_JSON },
	{ "{id:1}", JSON_NOT_JSON },
	{ "{'id':1}", JSON_NOT_JSON },
	{ "{1:1}", JSON_NOT_JSON },
	{ "{null:1}", JSON_NOT_JSON },
	{ "{[]:1}", JSON_NOT_JSON },
	{ "{\"id\":[1,]}", JSON_NOT_JSON },
	{ "{\"id\":[,1]}", JSON_NOT_JSON },
	{ "{\"id\":[1 2]}", JSON_NOT_JSON },
	{ "{\"id\":[1:2]}", JSON_NOT_JSON },
	{ "{\"id\":[\"a\":2]}", JSON_NOT_JSON },
	{ "{\"id\":[1}", JSON_NOT_JSON },
	{ "{\"id\":[1}}", JSON_NOT_JSON },
	{ "{\"id\":{1]}", JSON_NOT_JSON },
	{ "{\"id\":{\"b\":1]}", JSON_NOT_JSON },
	{ "{\"id\":[{}", JSON_NOT_JSON },
	{ "{\"id\":[[[{}", JSON_NOT_JSON },
	{ "{\"id\":{}", JSON_NOT_JSON },
	{ "{\"a\":{\"b\":{}", JSON_NOT_JSON },
	{ "{\"id\":\"}", JSON_NOT_JSON },
	{ "{\"id\":\"\\\"}", JSON_NOT_JSON },
	{ "{\"id\":\"\\x\"}", JSON_NOT_JSON },
	{ "{\"id\":\"\\u12\"}", JSON_NOT_JSON },
	{ "{\"id\":\"\\u12g4\"}", JSON_NOT_JSON },
	{ "{\"id\":\"\\u+123\"}", JSON_NOT_JSON },
	{ "{\"id\":\"\\U0041\"}", JSON_NOT_JSON },
	{ "{\"zz\":\"\\a\"}", JSON_NOT_JSON },
	{ "{\"\\a\":1}", JSON_NOT_JSON },
	{ "{\"id\":\"a\nb\"}", JSON_NOT_JSON },
	{ "{\"id\":\"\x01\"}", JSON_NOT_JSON },
	{ "{\"i\td\":1}", JSON_NOT_JSON },
	{ "{\"id\":\"a\"\"b\"}", JSON_NOT_JSON },
	{ "{\"id\":\"a\"b}", JSON_NOT_JSON },
	{ "{\"id\":1\"b\"}", JSON_NOT_JSON },
	{ "{\"id\":tru}", JSON_NOT_JSON },
	{ "{\"id\":True}", JSON_NOT_JSON },
	{ "{\"id\":truee}", JSON_NOT_JSON },
	{ "{\"id\":nul}", JSON_NOT_JSON },
	{ "{\"id\":falsey}", JSON_NOT_JSON },
	{ "{\"id\":NaN}", JSON_NOT_JSON },
	{ "{\"id\":-Infinity}", JSON_NOT_JSON },
	{ "{\"id\":01}", JSON_NOT_JSON },
	{ "{\"id\":-}", JSON_NOT_JSON },
	{ "{\"id\":+1}", JSON_NOT_JSON },
	{ "{\"id\":-01}", JSON_NOT_JSON },
	{ "{\"id\":1.}", JSON_NOT_JSON },
	{ "{\"id\":.5}", JSON_NOT_JSON },
	{ "{\"id\":1.e1}", JSON_NOT_JSON },
	{ "{\"id\":1e}", JSON_NOT_JSON },
	{ "{\"id\":1e+}", JSON_NOT_JSON },
	{ "{\"id\":1e1.5}", JSON_NOT_JSON },
	{ "{\"id\":0x1}", JSON_NOT_JSON },
	{ "{\"id\":1_0}", JSON_NOT_JSON },
	{ "{\"id\":--1}", JSON_NOT_JSON },
	{ "{\"id\":1}//", JSON_NOT_JSON },
	{ "{/**/}", JSON_NOT_JSON },
	{ "{,}", JSON_NOT_JSON },
	{ "{:1}", JSON_NOT_JSON },
	{ "{\"id\":1,:2}", JSON_NOT_JSON },
	{ "{\"id\"\"a\":1}", JSON_NOT_JSON },
	{ "{\"id\",\"a\":1}", JSON_NOT_JSON },
	{ "{\"id\"{}}", JSON_NOT_JSON },
	{ "{\"id\":{,}}", JSON_NOT_JSON },
	{ "{\"id\":{\"b\"}}", JSON_NOT_JSON },
	{ "{\"id\":{\"b\":}}", JSON_NOT_JSON },
	{ "{\"id\":{}{}}", JSON_NOT_JSON },
	{ "{\"id\":{}\"a\":1}", JSON_NOT_JSON },
	{ "{\"id\":{}}}", JSON_NOT_JSON },
	{ "{\"id\":1]", JSON_NOT_JSON },
	{ "{\"id\":[}", JSON_NOT_JSON },
	{ "{\"id\":[,]}", JSON_NOT_JSON },
	{ "{\"id\":[1,,2]}", JSON_NOT_JSON },
	{ "{\"id\":[]]}", JSON_NOT_JSON },
	{ "{\"id\":[][]}", JSON_NOT_JSON },
	{ "{\"id\":[[]}", JSON_NOT_JSON },
	{ "{\"id\":[{]}}", JSON_NOT_JSON },
	{ "{\"id\":{[}]}", JSON_NOT_JSON },
	{ "{\"id\":1}{\"id\":2}", JSON_NOT_JSON },
	{ "{\"id\":1},{\"id\":2}", JSON_NOT_JSON },
	{ "{}\"\"", JSON_NOT_JSON },
	{ "{} {", JSON_NOT_JSON },
	{ "{\"id\":\"a\" \"b\"}", JSON_NOT_JSON },
	{ "{\"id\":\"a\"true}", JSON_NOT_JSON },
	{ "{\"id\":true\"a\":1}", JSON_NOT_JSON },
	{ "{\"id\":nullnull}", JSON_NOT_JSON },
	{ "{\"id\":tru e}", JSON_NOT_JSON },
	{ "{\"id\":1 2}", JSON_NOT_JSON },
	{ "{\"id\":1\\}", JSON_NOT_JSON },
	{ "{\"id\":\\\"a\\\"}", JSON_NOT_JSON },
	{ "{\\\"id\":1}", JSON_NOT_JSON },
	{ "{\"id\":t}", JSON_NOT_JSON },
	{ "{\"id\":f}", JSON_NOT_JSON },
	{ "{\"id\":n}", JSON_NOT_JSON },

	/* control characters that look like commas and colons to some who look at a few bits only */
	{ "{\"id\"\x1a 1}", JSON_NOT_JSON },
	{ "{\"id\":1\x0c\"a\":2}", JSON_NOT_JSON },
	{ "{\"id\":[1\x0c 2]}", JSON_NOT_JSON },
	{ "{\"id\":1\x0c}", JSON_NOT_JSON },
	{ "{\"id\":1\x0b}", JSON_NOT_JSON },
	{ "{\"id\":\"a\"\x1f}", JSON_NOT_JSON },
	{ "{\"id\":1\xc2\xa0}", JSON_NOT_JSON },

	{ "[1]", JSON_NOT_OBJECT },
	{ " [", JSON_NOT_OBJECT },
	{ "5", JSON_NOT_OBJECT },
	{ "-1", JSON_NOT_OBJECT },
	{ "\"x\"", JSON_NOT_OBJECT },
	{ "null", JSON_NOT_OBJECT },
	{ "true", JSON_NOT_OBJECT },

	{ "{\"id\":\"\xff\"}", JSON_BAD_UTF8 },
	{ "{\"id\":\"\xc0\xaf\"}", JSON_BAD_UTF8 },
	{ "{\"id\":\"\xe0\x80\xaf\"}", JSON_BAD_UTF8 },
	{ "{\"id\":\"\xed\xa0\x80\"}", JSON_BAD_UTF8 },
	{ "{\"id\":\"\xf4\x90\x80\x80\"}", JSON_BAD_UTF8 },
	{ "{\"id\":\"\xe2\x82\"}", JSON_BAD_UTF8 },
	{ "{\"\x80\":1}", JSON_BAD_UTF8 },
	{ "[\"\xff\"]", JSON_BAD_UTF8 },
	{ "{} \xff", JSON_BAD_UTF8 },
	{ "{\"id\":01,\"a\":\"\xff\"}", JSON_BAD_UTF8 },

	{ "{\"id\":\"\\ud800\"}", JSON_BAD_SURROGATE },
	{ "{\"id\":\"\\uDBFFx\"}", JSON_BAD_SURROGATE },
	{ "{\"id\":\"\\udc00\"}", JSON_BAD_SURROGATE },
	{ "{\"id\":\"\\udfff\\ud800\"}", JSON_BAD_SURROGATE },
	{ "{\"id\":\"\\ud800\\u0041\"}", JSON_BAD_SURROGATE },
	{ "{\"id\":\"\\ud83d\\ud83d\"}", JSON_BAD_SURROGATE },
	{ "{\"id\":\"\\ud800\\n\"}", JSON_BAD_SURROGATE },
	{ "{\"zz\":[\"\\ud800\"]}", JSON_BAD_SURROGATE },
	{ "{\"\\ud800\":1}", JSON_BAD_SURROGATE },
	{ "{\"zz\":{\"\\udc00\":1}}", JSON_BAD_SURROGATE },
};

static void
test_examples(void **state)
{
	for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
		enum json_status status = read_text(*state, examples[i].text);
		if (status != examples[i].status)
			fail_msg("%s: %s, not %s", examples[i].text, json_status_text(status), json_status_text(examples[i].status));
	}
}

static void
test_nul_byte(void **state)
{
	assert_int_equal(read_bytes(*state, "{}\0", 3, ' ', false), JSON_NOT_JSON);
	assert_int_equal(read_bytes(*state, "\0", 1, ' ', false), JSON_NOT_JSON);
	assert_int_equal(read_bytes(*state, "{\"id\":\"\0\"}", 10, ' ', false), JSON_NOT_JSON);
	assert_int_equal(read_bytes(*state, "", 0, ' ', false), JSON_NOT_JSON);
}

static void
test_values(void **state)
{
	struct fixture *f = *state;
	const char *text = " { \"id\" : 12.10 , \"a\" : {\"b\" : [1, {\"c\":2}] } , \"q\\\"k\" : null,\"s\\\\\":true }\n";

	assert_int_equal(read_text(f, text), JSON_OK);
	assert_null(f->where);
	assert_value(&f->values[ID], JSON_NUMBER, "12.10", "12.10");
	assert_value(&f->values[ID_AGAIN], JSON_NUMBER, "12.10", "12.10");
	assert_value(&f->values[A], JSON_OBJECT, "{\"b\" : [1, {\"c\":2}] }", "{\"b\" : [1, {\"c\":2}] }");
	assert_value(&f->values[AB], JSON_ARRAY, "[1, {\"c\":2}]", "[1, {\"c\":2}]");
	assert_int_equal(f->values[ABC].kind, JSON_ABSENT);
	assert_value(&f->values[QUOTE], JSON_NULL, "null", "null");
	assert_value(&f->values[SLASH], JSON_TRUE, "true", "true");
	assert_int_equal(f->values[ALL].kind, JSON_OBJECT);
	assert_int_equal(f->values[ALL].len, strlen(text) - 2);
	assert_true(f->values[ALL].text == f->text + 1);
	assert_int_equal(read_text(f, "{\"id\":false}"), JSON_OK);
	assert_value(&f->values[ID], JSON_FALSE, "false", "false");
	assert_int_equal(f->values[A].kind, JSON_ABSENT);
}

static void
test_numbers_as_written(void **state)
{
	static const char *const numbers[] = { "9007199254740993", "1e400", "-0", "1.50", "1E+2", "18446744073709551616", "0.1e-7" };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		char text[100];
		snprintf(text, sizeof text, "{\"id\":%s \n}", numbers[i]);
		assert_int_equal(read_text(f, text), JSON_OK);
		assert_value(&f->values[ID], JSON_NUMBER, numbers[i], numbers[i]);
	}
}

static void
test_strings(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "{\"id\":\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\" ,\"a\":\"\"}"), JSON_OK);
	assert_value(&f->values[ID], JSON_STRING, "a\"\\/\b\f\n\r\tz", "\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"");
	assert_value(&f->values[A], JSON_STRING, "", "\"\"");
	assert_int_equal(read_text(f, "{\"id\":\"\\u0041\\u00E9\\u20ac\\ud83d\\uDE00\\uFFFF\"}"), JSON_OK);
	assert_memory_equal(f->values[ID].text, "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbf", 13);
	assert_int_equal(f->values[ID].len, 13);
	assert_int_equal(read_text(f, "{\"id\":\"a\\u0000b\"}"), JSON_OK);
	assert_int_equal(f->values[ID].len, 3);
	assert_memory_equal(f->values[ID].text, "a\0b", 3);
	assert_int_equal(read_text(f, "{\"id\":\"plain\"}"), JSON_OK);
	assert_true(f->values[ID].text == f->values[ID].raw + 1);
}

/* Strings with escapes and without, one behind the other. */
static void
test_strings_mixed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "{\"s\\\\\":\"\\\\\",\"id\":\"plain\",\"zz\":\"\\n\",\"a\":\"\",\"q\\\"k\":\"\\\"\"}"), JSON_OK);
	assert_value(&f->values[SLASH], JSON_STRING, "\\", "\"\\\\\"");
	assert_value(&f->values[ID], JSON_STRING, "plain", "\"plain\"");
	assert_value(&f->values[A], JSON_STRING, "", "\"\"");
	assert_value(&f->values[QUOTE], JSON_STRING, "\"", "\"\\\"\"");
}

/* Messages are scanned in blocks: no end of a block may change what is read. */
static void
test_shifted(void **state)
{
	struct fixture *f = *state;

	for (int shift = 0; shift < 200; shift++) {
		char text[400];
		snprintf(text, sizeof text, "{%*s\"id\":\"\\\\\\\"{\\\\\",\"a\":{\"b\":[-12.5,true,{\"c\":\"\xe2\x82\xac\"}]}}", shift, "");
		assert_int_equal(read_text(f, text), JSON_OK);
		assert_value(&f->values[ID], JSON_STRING, "\\\"{\\", "\"\\\\\\\"{\\\\\"");
		assert_value(&f->values[AB], JSON_ARRAY, "[-12.5,true,{\"c\":\"\xe2\x82\xac\"}]", "[-12.5,true,{\"c\":\"\xe2\x82\xac\"}]");
		text[strlen(text) - 3] = '}';
		assert_int_equal(read_text(f, text), JSON_NOT_JSON);
	}
}

static void
test_unescape(void **state)
{
	char out[16];

	(void)state;
	assert_int_equal(json_unescape("a\\n\\u00e9", 9, out), 4);
	assert_memory_equal(out, "a\n\xc3\xa9", 4);
}

static void
test_keys(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "{\"\\u0069\\u0064\":1,\"\\u0061\":{\"\\u0062\":2}}"), JSON_OK);
	assert_value(&f->values[ID], JSON_NUMBER, "1", "1");
	assert_value(&f->values[AB], JSON_NUMBER, "2", "2");
	assert_int_equal(read_text(f, "{\"i\":1,\"idd\":2,\"ID\":3,\"id\\u0000\":4,\"b\":5,\"\":6,\"q\":7}"), JSON_OK);
	for (size_t i = ID; i < N_PATHS; i++)
		assert_int_equal(f->values[i].kind, JSON_ABSENT);
	assert_int_equal(read_text(f, "{\"s\\\\\":1,\"q\\u0022k\":2}"), JSON_OK);
	assert_value(&f->values[SLASH], JSON_NUMBER, "1", "1");
	assert_value(&f->values[QUOTE], JSON_NUMBER, "2", "2");
}

/* A key of any length, expected or not, is told from those that begin as it does. */
static void
test_key_lengths(void **state)
{
	static const struct {
		size_t cut;         /* characters that the key lacks at its end */
		const char *behind; /* what follows it */
		bool ok;
		bool found;
	} messages[] = {
		{ 0, "\":1}", true, true },
		{ 0, "_\":1}", true, false },
		{ 1, "\":1}", true, false },
		{ 0, "\" :1}", true, true },
		{ 0, "\"\n\t :1}", true, true },
		{ 0, "\"x:1}", false, false },
		{ 0, "\",1}", false, false },
		{ 0, "\"}", false, false },
		{ 0, "", false, false },
	};
	enum { N_MESSAGES = sizeof messages / sizeof messages[0] };
	char key[41] = "", text[100 + ARENA_PADDING];
	struct json_value value;
	struct json_reader *reader = json_reader_new();

	(void)state;
	for (size_t len = 1; len < sizeof key; len++) {
		key[len - 1] = (char)('a' + len % 26);
		const char *const path[] = { key, NULL }, *const *const list[] = { path };
		struct json_paths *expected = json_paths_new(list, 1);
		for (size_t i = 0; i < (size_t)3 * N_MESSAGES; i++) {
			size_t which = i % N_MESSAGES;
			memset(text, '"', sizeof text);
			int n = snprintf(text, 100, "{\"%.*s%s", (int)(len - messages[which].cut), key, messages[which].behind);
			enum json_status status = json_read(reader, expected, text, (size_t)n, false, &value, NULL);
			assert_int_equal(status == JSON_OK, messages[which].ok);
			if (messages[which].ok)
				assert_int_equal(value.kind == JSON_NUMBER, messages[which].found);
		}
		json_paths_free(&expected);
	}
	json_reader_free(&reader);
}

/* The guesses of one order of keys must not mislead in another. */
static void
test_other_order(void **state)
{
	static const char *const texts[] = {
		"{\"id\":1,\"a\":{\"b\":{\"c\":3}},\"zz\":0,\"s\\\\\":2}",
		"{\"s\\\\\":2,\"id\":1,\"a\":{\"b\":{\"c\":3}}}",
		"{\"a\":{\"x\":{\"c\":9},\"b\":{\"c\":3,\"id\":9}},\"id\":1,\"s\\\\\":2}" };
	struct fixture *f = *state;

	for (size_t i = 0; i < 12; i++) {
		assert_int_equal(read_text(f, texts[i * i % 3]), JSON_OK);
		assert_value(&f->values[ID], JSON_NUMBER, "1", "1");
		assert_value(&f->values[SLASH], JSON_NUMBER, "2", "2");
		assert_value(&f->values[ABC], JSON_NUMBER, "3", "3");
	}
}

static void
test_last_wins(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "{\"id\":1,\"id\":\"x\",\"id\":null}"), JSON_OK);
	assert_int_equal(f->values[ID].kind, JSON_NULL);
	assert_int_equal(read_text(f, "{\"a\":{\"b\":{\"c\":1}},\"\\u0061\":{\"x\":2}}"), JSON_OK);
	assert_int_equal(f->values[AB].kind, JSON_ABSENT);
	assert_int_equal(f->values[ABC].kind, JSON_ABSENT);
	assert_value(&f->values[A], JSON_OBJECT, "{\"x\":2}", "{\"x\":2}");
	assert_int_equal(read_text(f, "{\"a\":{\"b\":{\"c\":1}},\"a\":5}"), JSON_OK);
	assert_int_equal(f->values[ABC].kind, JSON_ABSENT);
	assert_value(&f->values[A], JSON_NUMBER, "5", "5");
	assert_int_equal(read_text(f, "{\"a\":{\"b\":{\"c\":1},\"b\":[{\"c\":2}]},\"zz\":{\"a\":{\"b\":3}}}"), JSON_OK);
	assert_value(&f->values[AB], JSON_ARRAY, "[{\"c\":2}]", "[{\"c\":2}]");
	assert_int_equal(f->values[ABC].kind, JSON_ABSENT);
	assert_int_equal(read_text(f, "{\"a\":{\"b\":1,\"b\":{\"c\":7}}}"), JSON_OK);
	assert_value(&f->values[ABC], JSON_NUMBER, "7", "7");
}

static void
test_depth(void **state)
{
	struct fixture *f = *state;

	for (size_t depth = 1; depth < 2000; depth += depth < 40 ? 1 : 700) {
		char text[5000] = "{\"id\":";
		size_t n = depth - 1, len = strlen(text);
		if (n == 0)
			text[len++] = '1';
		memset(text + len, '[', n);
		memset(text + len + n, ']', n);
		text[len + 2 * n] = '}';
		assert_int_equal(read_text(f, text), depth <= JSON_DEPTH_MAX ? JSON_OK : JSON_TOO_DEEP);
	}
	assert_string_equal(f->where, "id");
}

static void
test_unknown(void **state)
{
	struct fixture *f = *state;
	const char *text = "{\"id\":1,\"a\":{\"whatever\":1},\"foo\":2,\"bar\":3}";

	assert_int_equal(read_bytes(f, text, strlen(text), ' ', true), JSON_UNKNOWN_FIELD);
	assert_string_equal(f->where, "foo");
	text = "{\"id\":1,\"foo\":2,\"bar\":}";
	assert_int_equal(read_bytes(f, text, strlen(text), ' ', true), JSON_NOT_JSON);
	assert_string_equal(f->where, "bar");
	text = "{\"id\":1,\"a\":{\"whatever\":1}}";
	assert_int_equal(read_bytes(f, text, strlen(text), ' ', true), JSON_OK);

	struct json_paths *whole = json_paths_new(paths, 1);
	text = "{\"foo\":2}";
	char *padded = xcalloc(strlen(text) + ARENA_PADDING, 1);
	memcpy(padded, text, strlen(text));
	assert_int_equal(json_read(f->reader, whole, padded, strlen(text), true, f->values, NULL), JSON_OK);
	json_paths_free(&whole);
	struct json_paths *none = json_paths_new(NULL, 0);
	assert_int_equal(json_read(f->reader, none, padded, strlen(text), true, NULL, NULL), JSON_UNKNOWN_FIELD);
	assert_int_equal(json_read(f->reader, none, padded, strlen(text), false, NULL, NULL), JSON_OK);
	json_paths_free(&none);
	free(padded);
}

/* A name in an error is whole characters, 64 bytes at most. */
static void
test_where(void **state)
{
	struct fixture *f = *state;
	char text[200] = "{\"x";

	for (int i = 0; i < 40; i++)
		memcpy(text + 3 + 2 * i, "\xc3\xa9", 2);
	snprintf(text + strlen(text), 20, "\":\"\\ud800\"}");
	assert_int_equal(read_text(f, text), JSON_BAD_SURROGATE);
	assert_int_equal(strlen(f->where), 63);
	assert_memory_equal(f->where, text + 2, 63);
	assert_int_equal(read_text(f, "{\"id\":1"), JSON_NOT_JSON);
	assert_null(f->where);
}

/* Buffers grow with the messages, and what is read from a big one is right. */
static void
test_sizes(void **state)
{
	struct fixture *f = *state;

	for (size_t n = 1; n < 300000; n = n * 3 + 1) {
		char *text = xmalloc(2 * n + 20);
		size_t len = (size_t)sprintf(text, "{\"id\":\"");
		for (size_t i = 0; i < n; i++, len += 2)
			memcpy(text + len, "\\n", 2);
		len += (size_t)sprintf(text + len, "\"}");
		assert_int_equal(read_bytes(f, text, len, '"', false), JSON_OK);
		assert_int_equal(f->values[ID].len, n);
		assert_int_equal(f->values[ID].text[n - 1], '\n');
		free(text);
	}
}

static void
test_next(void **state)
{
	static const struct {
		const char *array, *elements; /* joined by | */
	} rows[] = {
		{ "[]", "" }, { "[ \n]", "" }, { "[1]", "1|" }, { "[ 1.5e3 , null,\ttrue ]", "1.5e3|null|true|" },
		{ "[[1,2],[],{\"a\":[3,{}]} ]", "[1,2]|[]|{\"a\":[3,{}]}|" }, { "[\"a,b]\", \"\\\"]\" ,\"\\\\\",\"\"]", "\"a,b]\"|\"\\\"]\"|\"\\\\\"|\"\"|" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *at = rows[i].array, *element;
		char elements[100] = "";
		size_t len;
		while (json_next(&at, &element, &len))
			sprintf(elements + strlen(elements), "%.*s|", (int)len, element);
		assert_string_equal(elements, rows[i].elements);
		assert_string_equal(at, "]");
		assert_false(json_next(&at, &element, &len));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next),
		cmocka_unit_test_setup_teardown(test_examples, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nul_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(test_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers_as_written, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strings_mixed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shifted, setup, teardown),
		cmocka_unit_test(test_unescape),
		cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
		cmocka_unit_test(test_key_lengths),
		cmocka_unit_test_setup_teardown(test_other_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_where, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) == 0 ? 0 : 1;
}
