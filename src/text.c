/* Cells stand in a buffer as tab-separated lines until all widths are known. */
#include "text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "buf.h"
#include "utf8.h"

#define COLUMNS_MAX 32
#define GAP 2 /* blanks between columns */

/* C0, DEL and C1. */
static bool
is_control(const char *s, size_t n)
{
	unsigned char c = (unsigned char)s[0];
	return n == 1 ? c < ' ' || c == 0x7f : c == 0xc2 && (unsigned char)s[1] < 0xa0;
}

void
text_clean(struct buf *out, const char *text, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t len = utf8_char(text + i, n - i);
		if (len == 0 || is_control(text + i, len))
			buf_addc(out, '?');
		else
			buf_add(out, text + i, len);
		i += len == 0 ? 1 : len;
	}
}

void
text_cell(struct buf *cells, const char *fmt, ...)
{
	struct buf text = BUF_INIT;
	va_list args, again;
	va_start(args, fmt);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	ASSERT(n >= 0);
	char *cell = buf_reserve(&text, (size_t)n + 1);
	ASSERT(cell != NULL);
	vsnprintf(cell, (size_t)n + 1, fmt, again);
	va_end(again);
	text_clean(cells, n == 0 ? "-" : cell, n == 0 ? 1 : (size_t)n);
	buf_addc(cells, '\t');
	buf_free(&text);
}

void
text_row_end(struct buf *cells)
{
	ASSERT(cells->len > 0 && cells->data[cells->len - 1] == '\t');
	cells->data[cells->len - 1] = '\n';
}

/* Characters on a terminal, near enough. */
static size_t
width_of(const char *text, size_t n)
{
	size_t width = 0;
	for (size_t i = 0; i < n; i++)
		width += ((unsigned char)text[i] & 0xc0) != 0x80;
	return width;
}

/* Bytes of the cell that begins there. */
static size_t
cell_len(const char *at, const char *end)
{
	size_t n = 0;
	while (at + n < end && at[n] != '\t' && at[n] != '\n')
		n++;
	ASSERT(at + n < end);
	return n;
}

void
text_columns(const struct buf *cells, struct buf *out)
{
	size_t widths[COLUMNS_MAX] = { 0 };
	const char *end = cells->data + cells->len;
	size_t column = 0;
	for (const char *at = cells->data; at < end; at++) {
		size_t n = cell_len(at, end), width = width_of(at, n);
		ASSERT(column < COLUMNS_MAX);
		if (width > widths[column])
			widths[column] = width;
		at += n;
		column = *at == '\n' ? 0 : column + 1;
	}
	ASSERT(column == 0);
	for (const char *at = cells->data; at < end; at++) {
		size_t n = cell_len(at, end), width = width_of(at, n);
		buf_add(out, at, n);
		at += n;
		if (*at == '\n')
			buf_addc(out, '\n');
		else
			buf_addf(out, "%*s", (int)(widths[column] - width + GAP), "");
		column = *at == '\n' ? 0 : column + 1;
	}
}
