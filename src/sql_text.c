/* Values in COPY text and in statements. */
#include "sql_text.h"

#include <string.h>

#include "buf.h"
#include "chunk.h"

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

/* How many bytes from here on go as they are, whichever the way to write them; at most a chunk. */
static inline size_t
plain_bytes(const char *text)
{
	chunk bytes = chunk_at(text);

	return chunk_first((chunk)((bytes < ' ') | (bytes == '\'') | (bytes == '\\')));
}

bool
sql_text_add(const struct sql_text *as, struct buf *out, const char *text, size_t len)
{
	char *at = buf_reserve(out, 2 * len + 2 + sizeof(chunk));
	const char *end = text + len;

	_Static_assert(sizeof(chunk) <= SQL_TEXT_PADDING, "too little padding");
	if (as->quote != '\0')
		*at++ = as->quote;
	while (text < end) {
		size_t plain = plain_bytes(text), left = (size_t)(end - text), n = plain < left ? plain : left;
		memcpy(at, text, sizeof(chunk));
		at += n;
		text += n;
		if (plain < sizeof(chunk) && text < end) {
			char escaped = as->escapes[(unsigned char)*text];
			if (escaped == NUL_REFUSED)
				return false;
			if (escaped != 0)
				*at++ = as->escape;
			*at++ = escaped != 0 ? escaped : *text;
			text++;
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
