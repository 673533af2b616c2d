/* What happened lately, for the stats: the last lines of the log at info and above, whatever the log itself shows. */
#ifndef SLUICE_EVENTS_H
#define SLUICE_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#define EVENTS_MAX 50
#define EVENT_SUBJECT_MAX 64
#define EVENT_TEXT_MAX 400

struct event_line {
	int64_t at_us;                   /* since 1970 */
	const char *level;               /* "error", "warning", "info" */
	unsigned times;                  /* that this came; then at_us is the last */
	char subject[EVENT_SUBJECT_MAX]; /* "queue NAME" ...; "": the daemon. As text, this is fit for a terminal, and so is the next */
	char text[EVENT_TEXT_MAX];
};

/* 24 kB; all zero: empty. */
struct events {
	struct event_line lines[EVENTS_MAX]; /* n of them, the oldest first */
	size_t n;
};

/* Takes a line, cleaned and cut; one that is there already moves up, so that what comes again and again does not drive out the rest. `subject` may be
 * NULL; `level` must last. */
void events_add(struct events *events, int64_t at_us, const char *level, const char *subject, const char *text);
/* The i-th of the n, the newest first. */
const struct event_line *events_get(const struct events *events, size_t i);

#endif
