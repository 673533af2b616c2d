/* What happened lately. */
#include "events.h"

#include <string.h>

#include "buf.h"
#include "text.h"
#include "utf8.h"

/* As much of the text as there is room for, no half character. */
static void
keep(char *out, size_t size, const char *text)
{
	struct buf clean = BUF_INIT;
	text_clean(&clean, text, strlen(text));
	size_t len = 0;
	for (size_t n; len < clean.len; len += n) {
		n = utf8_char(clean.data + len, clean.len - len);
		ASSERT(n > 0);
		if (len + n >= size)
			break;
	}
	ASSERT(len < size);
	memcpy(out, buf_cstr(&clean), len);
	out[len] = '\0';
	buf_free(&clean);
}

static void
take_out(struct events *e, size_t i)
{
	ASSERT(i < e->n);
	memmove(&e->lines[i], &e->lines[i + 1], (e->n - i - 1) * sizeof *e->lines);
	e->n--;
}

void
events_add(struct events *e, int64_t at_us, const char *level, const char *subject, const char *text)
{
	struct event_line line = { .at_us = at_us, .level = level, .times = 1 };
	keep(line.subject, sizeof line.subject, subject == NULL ? "" : subject);
	keep(line.text, sizeof line.text, text);
	for (size_t i = 0; i < e->n; i++) {
		const struct event_line *old = &e->lines[i];
		if (strcmp(old->level, level) == 0 && strcmp(old->subject, line.subject) == 0 && strcmp(old->text, line.text) == 0) {
			line.times += old->times;
			take_out(e, i);
			break;
		}
	}
	if (e->n == EVENTS_MAX)
		take_out(e, 0);
	e->lines[e->n++] = line;
}

const struct event_line *
events_get(const struct events *e, size_t i)
{
	ASSERT(i < e->n);
	return &e->lines[e->n - 1 - i];
}
