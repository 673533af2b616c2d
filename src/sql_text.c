/* Values in COPY text and in statements. */
#include "sql_text.h"

#include "buf.h"

enum { NUL_REFUSED = 1 };

const struct sql_text sql_text_copy = {
	.row_open = "", .next = "\t", .row_close = "\n", .row_next = "",
	.null = "\\N", .quote = "", .binary_open = "\\\\x", .binary_close = "",
	.escape = '\\',
	.escapes = { ['\0'] = NUL_REFUSED, ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\v'] = 'v', ['\f'] = 'f', ['\r'] = 'r', ['\\'] = '\\' },
};

/* With standard_conforming_strings on, which the session sets, only the quote is special. */
const struct sql_text sql_text_postgresql = {
	.row_open = "(", .next = ",", .row_close = ")", .row_next = ",",
	.null = "NULL", .quote = "'", .binary_open = "'\\x", .binary_close = "'",
	.escape = '\'',
	.escapes = { ['\0'] = NUL_REFUSED, ['\''] = '\'' },
};

const struct sql_text sql_text_mysql = {
	.row_open = "(", .next = ",", .row_close = ")", .row_next = ",",
	.null = "NULL", .quote = "'", .binary_open = "x'", .binary_close = "'",
	.escape = '\\',
	.escapes = { ['\0'] = '0', ['\n'] = 'n', ['\r'] = 'r', ['\x1a'] = 'Z', ['\''] = '\'', ['\\'] = '\\' },
};

bool
sql_text_add(const struct sql_text *as, struct buf *out, const char *text, size_t len)
{
	char *start = buf_reserve(out, 2 * len + 2), *at = start;
	char quote = as->quote[0];

	if (quote != '\0')
		*at++ = quote;
	for (size_t i = 0; i < len; i++) {
		char c = text[i], escaped = as->escapes[(unsigned char)c];
		if (escaped == 0) {
			*at++ = c;
			continue;
		}
		if (escaped == NUL_REFUSED)
			return false;
		*at++ = as->escape;
		*at++ = escaped;
	}
	if (quote != '\0')
		*at++ = quote;
	out->len += (size_t)(at - start);
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
