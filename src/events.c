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

void
events_add(struct events *e, int64_t at_us, const char *level, const char *subject, const char *text)
{
	struct event_line *line = &e->lines[e->n++ % EVENTS_MAX];
	line->at_us = at_us;
	line->level = level;
	keep(line->subject, sizeof line->subject, subject == NULL ? "" : subject);
	keep(line->text, sizeof line->text, text);
}

size_t
events_count(const struct events *e)
{
	return e->n < EVENTS_MAX ? (size_t)e->n : EVENTS_MAX;
}

const struct event_line *
events_get(const struct events *e, size_t i)
{
	ASSERT(i < events_count(e));
	return &e->lines[(e->n - 1 - i) % EVENTS_MAX];
}
