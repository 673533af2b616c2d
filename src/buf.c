/* A growing byte buffer. */
#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void
buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf)BUF_INIT;
}

void
buf_grow(struct buf *b, size_t n)
{
	ASSERT(n <= SIZE_MAX / 4 && b->len <= SIZE_MAX / 4);
	size_t cap = b->cap < 64 ? 64 : b->cap;
	while (cap - b->len < n)
		cap *= 2;
	b->data = xrealloc(b->data, cap);
	b->cap = cap;
}

void
buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list args, again;
	va_start(args, fmt);
	va_copy(again, args);
	char *at = buf_reserve(b, 64);
	int n = vsnprintf(at, b->cap - b->len, fmt, args);
	ASSERT(n >= 0);
	if ((size_t)n >= b->cap - b->len) {
		at = buf_reserve(b, (size_t)n + 1);
		(void)vsnprintf(at, (size_t)n + 1, fmt, again);
	}
	va_end(again);
	va_end(args);
	b->len += (size_t)n;
}

void
buf_add_number(struct buf *b, uint64_t number)
{
	char digits[20], *first = digits + sizeof digits;
	do
		*--first = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	buf_add(b, first, (size_t)(digits + sizeof digits - first));
}

void
buf_add_json(struct buf *b, const char *s, size_t n)
{
	buf_addc(b, '"');
	size_t plain = 0; /* start of the run that needs no escape */
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
			continue;
		buf_add(b, s + plain, i - plain);
		plain = i + 1;
		switch (c) {
		case '"': buf_adds(b, "\\\""); break;
		case '\\': buf_adds(b, "\\\\"); break;
		case '\n': buf_adds(b, "\\n"); break;
		case '\r': buf_adds(b, "\\r"); break;
		case '\t': buf_adds(b, "\\t"); break;
		default: buf_addf(b, "\\u%04x", c);
		}
	}
	buf_add(b, s + plain, n - plain);
	buf_addc(b, '"');
}

void
buf_add_hex(struct buf *b, const void *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *in = bytes;
	char *out = buf_reserve(b, 2 * n);
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
	b->len += 2 * n;
}

const char *
buf_cstr(struct buf *b)
{
	*buf_reserve(b, 1) = '\0';
	return b->data;
}
