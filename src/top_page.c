/* Cells. */
/* NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) so does libc want it */
#define _XOPEN_SOURCE 700 /* wcwidth() */
#include "top_page.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "buf.h"
#include "utf8.h"

#define CUT_UTF8 "…"
#define CUT_ASCII "~"

void
page_init(struct page *p, unsigned width, unsigned height, bool utf8)
{
	*p = (struct page){ .width = width > 0 ? width : 1, .height = height, .utf8 = utf8 };
}

void
page_free(struct page *p)
{
	ASSERT(p->width > 0);
	free(p->cells);
	p->cells = NULL;
	p->lines = p->capacity = 0;
}

unsigned
page_left(const struct page *p)
{
	ASSERT(p->lines <= p->capacity);
	unsigned height = p->height == 0 ? 100000 : p->height;
	return height > p->lines ? height - p->lines : 0;
}

bool
page_line(struct page *p)
{
	p->column = 0;
	if (page_left(p) == 0) {
		p->column = p->width;
		return false;
	}
	if (p->lines == p->capacity) {
		p->capacity = p->capacity * 2 + 24;
		p->cells = xrealloc(p->cells, (size_t)p->capacity * p->width * sizeof *p->cells);
	}
	struct cell *line = p->cells + (size_t)p->lines++ * p->width;
	for (unsigned i = 0; i < p->width; i++)
		line[i] = (struct cell){ " ", LOOK_PLAIN };
	return true;
}

/* The next character of the text, as it is to be shown. */
struct glyph {
	char text[5];
	size_t bytes;   /* of the text that it stands for */
	unsigned width; /* columns: 0 to 2 */
};

static struct glyph
glyph_at(const struct page *p, const char *text, size_t len)
{
	ASSERT(len > 0);
	struct glyph g = { "?", utf8_char(text, len), 1 };
	wchar_t wide;
	mbstate_t state = { 0 };
	if (g.bytes <= 1) {
		g.text[0] = g.bytes == 0 || *text < ' ' || *text == 0x7f ? '?' : *text;
		g.bytes = 1;
		return g;
	}
	int width = p->utf8 && mbrtowc(&wide, text, len, &state) == g.bytes ? wcwidth(wide) : -1;
	ASSERT(width <= 2 && g.bytes < sizeof g.text);
	if (width >= 0) {
		memcpy(g.text, text, g.bytes);
		g.text[g.bytes] = '\0';
		g.width = (unsigned)width;
	}
	return g;
}

static unsigned
width_of(const struct page *p, const char *text, size_t len)
{
	unsigned width = 0;
	for (size_t i = 0; i < len;) {
		struct glyph g = glyph_at(p, text + i, len - i);
		width += g.width;
		i += g.bytes;
	}
	return width;
}

unsigned
page_width_of(const struct page *p, const char *text)
{
	return width_of(p, text, strlen(text));
}

static void
put_glyph(struct page *p, enum look look, const struct glyph *g)
{
	struct cell *cell = p->cells + (size_t)(p->lines - 1) * p->width + p->column;
	ASSERT(p->column + g->width <= p->width);
	for (unsigned i = 0; i < g->width; i++)
		cell[i] = (struct cell){ "", (unsigned char)look };
	if (g->width > 0) /* accents that stand alone are left out */
		memcpy(cell->text, g->text, sizeof cell->text);
	p->column += g->width;
}

/* Puts what there is room for up to the column `end`, and a mark where something is cut. */
static void
put(struct page *p, enum look look, unsigned end, const char *text, size_t len)
{
	if (end > p->width)
		end = p->width;
	ASSERT(p->column <= p->width);
	if (p->lines == 0 || p->column >= end)
		return;
	bool cut = p->column + width_of(p, text, len) > end;
	for (size_t i = 0; i < len;) {
		struct glyph g = glyph_at(p, text + i, len - i);
		if (p->column + g.width + (cut ? 1 : 0) > end)
			break;
		put_glyph(p, look, &g);
		i += g.bytes;
	}
	if (cut) {
		struct glyph mark = { CUT_ASCII, 1, 1 };
		if (p->utf8)
			memcpy(mark.text, CUT_UTF8, sizeof CUT_UTF8);
		put_glyph(p, look, &mark);
	}
}

static void
format(struct buf *out, const char *fmt, va_list args)
{
	va_list again;
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	ASSERT(n >= 0);
	vsnprintf(buf_reserve(out, (size_t)n + 1), (size_t)n + 1, fmt, args);
	out->len += (size_t)n;
}

void
page_put(struct page *p, enum look look, const char *fmt, ...)
{
	struct buf text = BUF_INIT;
	va_list args;
	va_start(args, fmt);
	format(&text, fmt, args);
	va_end(args);
	put(p, look, p->width, text.data, text.len);
	buf_free(&text);
}

void
page_cell(struct page *p, enum look look, int width, const char *fmt, ...)
{
	struct buf text = BUF_INIT;
	va_list args;
	va_start(args, fmt);
	format(&text, fmt, args);
	va_end(args);
	unsigned room = (unsigned)abs(width), wants = width_of(p, text.data, text.len), end = p->column + room;
	if (width < 0 && wants < room)
		page_tab(p, end - wants);
	put(p, look, end, text.data, text.len);
	page_tab(p, end);
	buf_free(&text);
}

void
page_tab(struct page *p, unsigned column)
{
	ASSERT(p->column <= p->width);
	if (column > p->column)
		p->column = column < p->width ? column : p->width;
}

void
page_paint(struct page *p, enum look look)
{
	ASSERT(look < LOOKS);
	for (unsigned i = 0; i < p->width && p->lines > 0; i++)
		p->cells[(size_t)(p->lines - 1) * p->width + i].look = (unsigned char)look;
}

/* Bytes of the text that fit into so many columns: whole words, where one fits. */
static size_t
piece_of(const struct page *p, const char *text, unsigned room)
{
	size_t len = strlen(text), at = 0, piece = 0;
	unsigned width = 0;
	while (at < len) {
		struct glyph g = glyph_at(p, text + at, len - at);
		if (width + g.width > room)
			return piece > 0 || at == 0 ? piece : at;
		if (text[at] == ' ')
			piece = at;
		width += g.width;
		at += g.bytes;
		if (width <= room && (text[at] == ' ' || at == len))
			piece = at;
	}
	return piece;
}

void
page_wrap(struct page *p, enum look look, unsigned indent, unsigned most, const char *text)
{
	ASSERT(most > 0);
	if (indent + 8 > p->width)
		indent = 0;
	for (unsigned line = 1; line <= most && *text != '\0'; line++) {
		if (line > 1) {
			if (!page_line(p))
				return;
			page_tab(p, indent);
		}
		size_t n = line < most && page_left(p) > 0 ? piece_of(p, text, p->width - p->column) : strlen(text);
		put(p, look, p->width, text, n);
		text += n;
		text += strspn(text, " ");
	}
}

const struct cell *
page_cells(const struct page *p, unsigned line)
{
	ASSERT(line < p->lines);
	return p->cells + (size_t)line * p->width;
}

void
page_text(const struct page *p, struct buf *out)
{
	for (unsigned line = 0; line < p->lines; line++) {
		const struct cell *cells = page_cells(p, line);
		size_t end = out->len;
		for (unsigned i = 0; i < p->width; i++) {
			buf_adds(out, cells[i].text);
			if (strcmp(cells[i].text, " ") != 0)
				end = out->len;
		}
		out->len = end;
		buf_addc(out, '\n');
	}
}
