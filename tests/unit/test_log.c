/* The log's lines, as they arrive on stderr. */
#include "log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "utf8.h"

#define STAMP_LEN (sizeof "2026-11-21T20:00:00.123Z" - 1)

/* What one log_line() of level info wrote: at most one write, or what is here would be cut. */
static char written[4096];

static void
log_and_read(const char *subject, const char *message)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	fflush(stderr);
	int saved = dup(STDERR_FILENO);
	assert_true(saved >= 0);
	dup2(ends[1], STDERR_FILENO);
	errno = ENOENT;
	log_info(subject, "%s", message);
	int errno_after = errno;
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(ends[1]);
	ssize_t n = read(ends[0], written, sizeof written - 1);
	close(ends[0]);
	assert_int_equal(errno_after, ENOENT);
	assert_true(n >= 0);
	written[n] = '\0';
	if (n > 0) { /* always one whole line */
		assert_ptr_equal(strchr(written, '\n'), written + n - 1);
		assert_true(utf8_valid(written, (size_t)n));
	}
}

static void
assert_stamp(const char *text)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
	for (size_t i = 0; i < STAMP_LEN; i++) {
		if (form[i] == 'd')
			assert_in_range(text[i], '0', '9');
		else
			assert_int_equal(text[i], form[i]);
	}
}

static void
test_text(void **state)
{
	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "me");
	log_and_read("queue orders", "42 rows");
	assert_stamp(written);
	assert_string_equal(written + STAMP_LEN, " info  queue orders: 42 rows\n");
	log_and_read(NULL, "started");
	assert_string_equal(written + STAMP_LEN, " info  started\n");
}

static void
test_levels(void **state)
{
	(void)state;
	log_setup(LOG_LEVEL_WARNING, LOG_FORMAT_TEXT, "me");
	assert_true(log_enabled(LOG_LEVEL_ERROR));
	assert_true(log_enabled(LOG_LEVEL_WARNING));
	assert_false(log_enabled(LOG_LEVEL_INFO));
	log_and_read(NULL, "unseen");
	assert_string_equal(written, "");
	log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT, NULL);
	assert_true(log_enabled(LOG_LEVEL_DEBUG));
}

/* Says that stderr goes to the journal, or, if `other`, that another file does. */
static void
set_journal_stream(bool other)
{
	struct stat about;
	char stream[60];
	assert_int_equal(fstat(STDERR_FILENO, &about), 0);
	snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)about.st_dev, (unsigned long long)about.st_ino + other);
	setenv("JOURNAL_STREAM", stream, 1);
}

static void
test_journal(void **state)
{
	(void)state;
	set_journal_stream(false);
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "me");
	log_and_read("queue orders", "hello");
	assert_string_equal(written, "<6>queue orders: hello\n");
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, "me");
	log_and_read("queue orders", "hello");
	assert_memory_equal(written, "<6>{\"at\":\"", 10);
	static const char *const others[] = { "", "8", "8:x", "99999999999999999999:1" };
	for (size_t i = 0; i <= sizeof others / sizeof *others; i++) {
		if (i == 0)
			set_journal_stream(true);
		else
			setenv("JOURNAL_STREAM", others[i - 1], 1);
		log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "me");
		log_and_read(NULL, "hello");
		assert_stamp(written);
	}
	unsetenv("JOURNAL_STREAM");
}

static void
test_text_escapes(void **state)
{
	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "me");
	log_and_read("a\nb", "x\n\x1b[31m\x7f \xc2\x9b \xff\xc3 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xed\xa0\x80 \"\\");
	assert_string_equal(written + STAMP_LEN,
	    " info  a\\x0ab: x\\x0a\\x1b[31m\\x7f \\xc2\\x9b \\xff\\xc3 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \\xed\\xa0\\x80 \"\\\n");
}

static void
test_json(void **state)
{
	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, "me");
	log_and_read("queue \"a\"", "x\n\\ \x7f \xc2\x9b \xff \xc3\xa9");
	assert_memory_equal(written, "{\"at\":\"", 7);
	assert_stamp(written + 7);
	assert_string_equal(written + 7 + STAMP_LEN, "\",\"level\":\"info\",\"instance\":\"me\",\"subject\":\"queue \\\"a\\\"\","
	    "\"message\":\"x\\u000a\\\\ \\u007f \\u009b \\\\xff \xc3\xa9\"}\n");
	log_and_read(NULL, "");
	assert_string_equal(written + 7 + STAMP_LEN, "\",\"level\":\"info\",\"instance\":\"me\",\"subject\":\"\",\"message\":\"\"}\n");
}

/* Whatever is long, the line is not, and it ends as it should. */
static void
test_cut(void **state)
{
	(void)state;
	static const char *const units[] = { "x", "\n", "\xff", "\xe2\x82\xac", "\"", "\xc2\x80" };
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		char text[3001];
		size_t unit = strlen(units[i]);
		for (size_t at = 0; at + unit < sizeof text; at += unit)
			memcpy(text + at, units[i], unit + 1);
		log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, text);
		log_and_read("queue orders", text);
		size_t n = strlen(written);
		assert_in_range(n, 1980, 2000);
		assert_string_equal(written + n - 4, "...\n");
		log_and_read(text, text);
		assert_string_equal(written + strlen(written) - 4, "...\n");
		log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, text);
		log_and_read(text, text);
		n = strlen(written);
		assert_in_range(n, 1980, 2000);
		assert_string_equal(written + n - 6, "...\"}\n");
		assert_non_null(strstr(written, "...\",\"message\":\""));
	}
}

int
main(void)
{
	unsetenv("JOURNAL_STREAM");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_text_escapes),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) == 0 ? 0 : 1;
}
