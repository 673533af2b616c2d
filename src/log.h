/* The log: one line an event to stderr, each with its subject ("queue orders", "database shop"). Control characters in a message are escaped.
 * A message says what happened and, where somebody must act, what to do next. Payloads and passwords never get here. */
#ifndef SLUICE_LOG_H
#define SLUICE_LOG_H

#include <stdbool.h>

#include "check.h"

/* In the order of the choices of `log_level`. */
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* In the order of the choices of `log_format`. */
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* A line as it was told; level and strings as given to log_line(), `subject` perhaps NULL, `text` perhaps no UTF-8. */
typedef void log_listen_fn(void *arg, const char *level, const char *subject, const char *text);

/* What is logged from now on, and how. `instance` goes into JSON lines; the string is copied. */
void log_setup(enum log_level level, enum log_format format, const char *instance);
/* "error" ... "debug", from now on. False: there is no such level, nothing has changed. */
bool log_set_level(const char *name) MUST_CHECK;
/* One line, printf style, no newline in fmt. `subject` may be NULL. Where stderr is journald's lines begin with <priority>. */
void log_line(enum log_level level, const char *subject, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Hands each line of level info and above to `listen` too, whatever log_level says; NULL: to nobody any more. It must not log. */
void log_listen(log_listen_fn *listen, void *arg);
/* Is this level logged at all? To spare the work of preparing a line. */
int log_enabled(enum log_level level);

#define log_error(subject, ...) log_line(LOG_LEVEL_ERROR, subject, __VA_ARGS__)
#define log_warning(subject, ...) log_line(LOG_LEVEL_WARNING, subject, __VA_ARGS__)
#define log_info(subject, ...) log_line(LOG_LEVEL_INFO, subject, __VA_ARGS__)
#define log_debug(subject, ...) log_line(LOG_LEVEL_DEBUG, subject, __VA_ARGS__)

#endif
