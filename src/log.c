/* The log. No allocation on the way, so that it works when nothing else does. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "utf8.h"

#define LINE_SIZE 2000
/* Where each text of a line ends at the latest, in bytes of the line: what follows it always has room. A longer text ends in "...". */
#define INSTANCE_END 700
#define SUBJECT_END 1400
#define MESSAGE_END (LINE_SIZE - 8)
#define INSTANCE_MAX 256

/* In the order of enum log_level. */
static const struct level {
	const char *name; /* as in log_level = */
	int priority;     /* syslog's, for journald */
} levels[] = {
	{ "error", 3 },
	{ "warning", 4 },
	{ "info", 6 },
	{ "debug", 7 },
};

/* What log_setup() and log_listen() set. */
static struct {
	enum log_level level;
	enum log_format format;
	bool journal; /* stderr is journald's: lines begin with their priority */
	char instance[INSTANCE_MAX];
	log_listen_fn *listen; /* NULL: nobody */
	void *listen_arg;
} settings = { LOG_LEVEL_INFO, LOG_FORMAT_TEXT, false, "", NULL, NULL };

/* A line being put together. */
struct line {
	char text[LINE_SIZE];
	size_t len; /* bytes of text in use */
	bool json;  /* texts are escaped for JSON, else for a terminal */
};

/* JOURNAL_STREAM alone does not tell: whoever redirects stderr leaves it as it is. */
static bool
stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat about;
	char ours[60];
	if (stream == NULL || fstat(STDERR_FILENO, &about) < 0)
		return false;
	snprintf(ours, sizeof ours, "%llu:%llu", (unsigned long long)about.st_dev, (unsigned long long)about.st_ino);
	return strcmp(stream, ours) == 0;
}

void
log_setup(enum log_level level, enum log_format format, const char *instance)
{
	ASSERT(level <= LOG_LEVEL_DEBUG);
	ASSERT(format == LOG_FORMAT_TEXT || format == LOG_FORMAT_JSON);
	settings.level = level;
	settings.format = format;
	settings.journal = stderr_is_journal();
	snprintf(settings.instance, sizeof settings.instance, "%s", instance == NULL ? "" : instance);
}

bool
log_set_level(const char *name)
{
	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
		if (strcmp(levels[i].name, name) == 0) {
			settings.level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

void
log_listen(log_listen_fn *listen, void *arg)
{
	settings.listen = listen;
	settings.listen_arg = arg;
}

int
log_enabled(enum log_level level)
{
	return level <= settings.level;
}

/* Adds bytes that have room: our own, or checked by the caller. */
static void
line_add(struct line *line, const char *s, size_t n)
{
	ASSERT(n <= sizeof line->text - line->len);
	memcpy(line->text + line->len, s, n);
	line->len += n;
}

static void
line_adds(struct line *line, const char *s)
{
	line_add(line, s, strlen(s));
}

/* Is the character one that ends lines or commands a terminal? DEL and U+0080 to U+009F do, too. */
static bool
is_control(const char *s, size_t n)
{
	unsigned char first = (unsigned char)s[0];
	return first < 0x20 || first == 0x7f || (n == 2 && first == 0xc2 && (unsigned char)s[1] < 0xa0);
}

/* Writes the character s[0..n), or the one invalid byte at s if n is 0, as it goes into a line; returns the length. */
static size_t
escape(char *out, size_t size, bool json, const char *s, size_t n)
{
	unsigned last = (unsigned char)s[n == 2 ? 1 : 0];
	int len;
	if (n == 0)
		len = snprintf(out, size, json ? "\\\\x%02x" : "\\x%02x", last);
	else if (is_control(s, n))
		len = snprintf(out, size, json ? "\\u%04x" : n == 2 ? "\\xc2\\x%02x" : "\\x%02x", last);
	else if (json && (*s == '"' || *s == '\\'))
		len = snprintf(out, size, "\\%c", *s);
	else
		len = snprintf(out, size, "%.*s", (int)n, s);
	ASSERT(len > 0 && (size_t)len < size);
	return (size_t)len;
}

/* Adds text of unknown origin up to the line's byte `end`: nothing in it can end the line or forge another one. */
static void
line_add_text(struct line *line, const char *text, size_t end)
{
	ASSERT(end <= MESSAGE_END);
	for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
		char escaped[12];
		n = utf8_char(text, left);
		size_t len = escape(escaped, sizeof escaped, line->json, text, n);
		if (line->len + len > end) {
			line_add(line, "...", 3);
			return;
		}
		line_add(line, escaped, len);
		n = n == 0 ? 1 : n;
	}
}

static void
line_add_field(struct line *line, const char *name, const char *text, size_t end)
{
	line_adds(line, ",\"");
	line_adds(line, name);
	line_adds(line, "\":\"");
	line_add_text(line, text, end);
	line_adds(line, "\"");
}

/* UTC with milliseconds, 2026-11-21T20:00:00.123Z. */
static void
timestamp(char *out, size_t size)
{
	struct timespec now;
	struct tm utc;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &utc);
	ASSERT(n > 0);
	snprintf(out + n, size - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static void
line_make_text(struct line *line, const struct level *level, const char *subject, const char *message)
{
	if (!settings.journal) {
		char at[40], head[64];
		timestamp(at, sizeof at);
		snprintf(head, sizeof head, "%s %-5s ", at, level->name);
		line_adds(line, head);
	}
	if (subject != NULL) {
		line_add_text(line, subject, SUBJECT_END);
		line_adds(line, ": ");
	}
	line_add_text(line, message, MESSAGE_END);
	line_adds(line, "\n");
}

static void
line_make_json(struct line *line, const struct level *level, const char *subject, const char *message)
{
	char at[40];
	timestamp(at, sizeof at);
	line->json = true;
	line_adds(line, "{\"at\":\"");
	line_adds(line, at);
	line_adds(line, "\"");
	line_add_field(line, "level", level->name, INSTANCE_END);
	line_add_field(line, "instance", settings.instance, INSTANCE_END);
	line_add_field(line, "subject", subject == NULL ? "" : subject, SUBJECT_END);
	line_add_field(line, "message", message, MESSAGE_END);
	line_adds(line, "}\n");
}

static void
write_line(const struct level *level, const char *subject, const char *message)
{
	struct line line;
	line.len = 0;
	line.json = false;
	if (settings.journal)
		line_add(&line, (char[]){ '<', (char)('0' + level->priority), '>' }, 3);
	if (settings.format == LOG_FORMAT_JSON)
		line_make_json(&line, level, subject, message);
	else
		line_make_text(&line, level, subject, message);
	while (write(STDERR_FILENO, line.text, line.len) < 0 && errno == EINTR)
		;
}

void
log_line(enum log_level level, const char *subject, const char *fmt, ...)
{
	ASSERT(level <= LOG_LEVEL_DEBUG);
	bool listened = settings.listen != NULL && level <= LOG_LEVEL_INFO;
	if (!log_enabled(level) && !listened)
		return;
	int saved_errno = errno; /* callers log between a failure and its handling */
	char message[LINE_SIZE + 1];
	va_list args;
	va_start(args, fmt);
	vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	if (listened)
		settings.listen(settings.listen_arg, levels[level].name, subject, message);
	if (log_enabled(level))
		write_line(&levels[level], subject, message);
	errno = saved_errno;
}
