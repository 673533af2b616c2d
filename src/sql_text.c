/* Values in COPY text and in statements. */
#include "sql_text.h"

#include <stdint.h>
#include <string.h>

#include "buf.h"

/* A chunk of text; the compiler makes the best of it that the CPU has. */
typedef unsigned char chunk __attribute__((vector_size(SQL_TEXT_PADDING)));

enum { NUL_REFUSED = 1 };

const struct sql_text sql_text_copy = {
	.row_open = '\0', .next = '\t', .row_close = '\n', .row_next = '\0', .quote = '\0',
	.null = "\\N", .binary_open = "\\\\x", .binary_close = "",
	.escape = '\\',
	.escapes = { ['\0'] = NUL_REFUSED, ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\v'] = 'v', ['\f'] = 'f', ['\r'] = 'r', ['\\'] = '\\' },
};

/* With standard_conforming_strings on, which the session sets, only the quote is special. */
const struct sql_text sql_text_postgresql = {
	.row_open = '(', .next = ',', .row_close = ')', .row_next = ',', .quote = '\'',
	.null = "NULL", .binary_open = "'\\x", .binary_close = "'",
	.escape = '\'',
	.escapes = { ['\0'] = NUL_REFUSED, ['\''] = '\'' },
};

const struct sql_text sql_text_mysql = {
	.row_open = '(', .next = ',', .row_close = ')', .row_next = ',', .quote = '\'',
	.null = "NULL", .binary_open = "x'", .binary_close = "'",
	.escape = '\\',
	.escapes = { ['\0'] = '0', ['\n'] = 'n', ['\r'] = 'r', ['\x1a'] = 'Z', ['\''] = '\'', ['\\'] = '\\' },
};

/* May the first n bytes go as they are, whichever the way to write them? */
static inline bool
is_plain(chunk bytes, size_t n)
{
	static const unsigned char counts[2 * sizeof(chunk)] = {
		255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	};
	chunk special = (chunk)((bytes < ' ') | (bytes == '\'') | (bytes == '\\')), mask;
	uint64_t halves[2];

	_Static_assert(sizeof halves == sizeof special, "two halves");
	memcpy(&mask, counts + sizeof mask - n, sizeof mask);
	special &= mask;
	memcpy(halves, &special, sizeof halves);
	return (halves[0] | halves[1]) == 0;
}

/* Writes bytes of which some need an escape. Returns where they end, NULL if there is no place for one of them. */
static char *
put_escaped(const struct sql_text *as, char *at, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char escaped = as->escapes[(unsigned char)text[i]];
		if (escaped == NUL_REFUSED)
			return NULL;
		if (escaped != 0)
			*at++ = as->escape;
		*at++ = escaped != 0 ? escaped : text[i];
	}
	return at;
}

bool
sql_text_add(const struct sql_text *as, struct buf *out, const char *text, size_t len)
{
	char *at = buf_reserve(out, 2 * len + 2 + sizeof(chunk));

	if (as->quote != '\0')
		*at++ = as->quote;
	for (size_t i = 0; i < len; i += sizeof(chunk)) {
		size_t n = len - i < sizeof(chunk) ? len - i : sizeof(chunk);
		chunk bytes;
		memcpy(&bytes, text + i, sizeof bytes);
		if (is_plain(bytes, n)) {
			memcpy(at, &bytes, sizeof bytes);
			at += n;
		} else if ((at = put_escaped(as, at, text + i, n)) == NULL) {
			return false;
		}
	}
	if (as->quote != '\0')
		*at++ = as->quote;
	out->len = (size_t)(at - out->data);
	ASSERT(out->len <= out->cap);
	return true;
}

void
sql_text_add_binary(const struct sql_text *as, struct buf *out, const char *bytes, size_t len)
{
	buf_adds(out, as->binary_open);
	buf_add_hex(out, bytes, len);
	buf_adds(out, as->binary_close);
}
