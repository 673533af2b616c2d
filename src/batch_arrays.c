/* The rows of an INSERT for PostgreSQL turned by a quarter:
 *
 *   INSERT INTO t (a,b,c) VALUES ('1',DEFAULT,'x'),('2',DEFAULT,NULL) ...
 *   INSERT INTO t (a,c) SELECT c0,c1 FROM unnest('{"1","2"}'::bigint[],'{"x",NULL}'::text[]) AS u(c0,c1) ...
 *
 * The server reads an array with one call of its type's input function, and a VALUES list as one expression a value: that takes it twice as long.
 */
#include "encode.h"

#include <stdlib.h>
#include <string.h>

#include "chunk.h"

enum { ROWS_MIN = 8 };

/* A column as batch_statement.columns names it. */
struct column {
	const char *name, *array, *cast;
	const char *next; /* where the next one begins */
};

static struct column
read_column(const char *at)
{
	struct column column = { .name = at };

	column.array = column.name + strlen(column.name) + 1;
	column.cast = column.array + strlen(column.array) + 1;
	column.next = column.cast + strlen(column.cast) + 1;
	return column;
}

/* Where the value that begins here ends. */
static const char *
value_end(const char *at)
{
	if (*at != '\'')
		return at + strlen(*at == 'D' ? "DEFAULT" : "NULL");
	for (at++; at[0] != '\'' || at[1] == '\''; at++)
		at += at[0] == '\'';
	return at + 1;
}

/* How many bytes from here on go into an element as they are; at most a chunk, and no further than `end`. */
static inline size_t
plain_bytes(const char *at, const char *end)
{
	size_t n = 0;

	if ((size_t)(end - at) < sizeof(chunk)) {
		while (at + n < end && at[n] != '\'' && at[n] != '"' && at[n] != '\\')
			n++;
		return n;
	}
	chunk bytes = chunk_at(at);
	return chunk_first((chunk)((bytes == '\'') | (bytes == '"') | (bytes == '\\')));
}

/* Writes the text that begins at its opening quote as an element; the two quotes that stand for one stay, as the array stands in quotes too. `end` is
 * where nothing is readable any more. Moves *text behind the text; returns where the element ends, behind which a chunk may have been written. */
static char *
put_element(char *to, const char **text, const char *end)
{
	const char *at = *text + 1;

	for (*to++ = '"';;) {
		size_t n = plain_bytes(at, end);
		memcpy(to, at, (size_t)(end - at) < sizeof(chunk) ? n : sizeof(chunk));
		to += n;
		at += n;
		if (n == sizeof(chunk))
			continue;
		if (at[0] == '\'' && at[1] != '\'')
			break;
		*to++ = at[0] == '\'' ? '\'' : '\\';
		*to++ = at[0];
		at += at[0] == '\'' ? 2 : 1;
	}
	*to++ = '"';
	*text = at + 1;
	return to;
}

/* Appends the column's values in all rows, which begin at the cursors, and moves these to the next column. False: some say DEFAULT, and some do not. */
static bool
add_array(const struct batch_statement *statement, const char **cursors, struct buf *out)
{
	const char *end = statement->sql.data + statement->sql.len;

	buf_adds(out, "'{");
	for (uint32_t i = 0; i < statement->n_rows; i++) {
		size_t row_end = i + 1 < statement->n_rows ? statement->offsets[i + 1] : statement->end;
		const char *at = cursors[i];
		if (*at == '\'') {
			char *to = buf_reserve(out, 2 * (size_t)(statement->sql.data + row_end - at) + sizeof(chunk));
			out->len = (size_t)(put_element(to, &at, end) - out->data);
		} else if (*at == 'N') {
			buf_adds(out, "NULL");
			at = value_end(at);
		} else {
			return false;
		}
		buf_addc(out, ',');
		cursors[i] = at + 1;
	}
	out->data[out->len - 1] = '}';
	buf_adds(out, "'::");
	return true;
}

/* Leaves the column out. False: not all rows say DEFAULT. */
static bool
skip_defaults(const struct batch_statement *statement, const char **cursors)
{
	for (uint32_t i = 0; i < statement->n_rows; i++) {
		if (*cursors[i] != 'D')
			return false;
		cursors[i] = value_end(cursors[i]) + 1;
	}
	return true;
}

/* Appends all that stands before the arrays. False: there is no way to write one of them. */
static bool
add_head(const struct batch_statement *statement, struct buf *out)
{
	const char *begin = statement->columns.data, *end = begin + statement->columns.len;
	const char *value = statement->sql.data + statement->offsets[0] + 1;
	struct buf selected = BUF_INIT;
	unsigned n = 0;
	bool ok = true;

	buf_adds(out, begin);
	for (const char *at = begin + strlen(begin) + 1; at < end && ok; value = value_end(value) + 1) {
		struct column column = read_column(at);
		at = column.next;
		if (*value == 'D')
			continue;
		ok = column.array[0] != '\0';
		buf_addf(out, "%s%s", n > 0 ? "," : "", column.name);
		buf_addf(&selected, "%sc%u%s", n > 0 ? "," : "", n, column.cast);
		n++;
	}
	buf_addf(out, ") SELECT %s FROM unnest(", buf_cstr(&selected));
	buf_free(&selected);
	return ok && n > 0;
}

bool
batch_add_arrays(const struct batch_statement *statement, struct buf *out)
{
	size_t before = out->len;
	const char *at = statement->columns.data, *end = at + statement->columns.len;
	unsigned n = 0;

	ASSERT(!statement->is_copy && statement->n_rows > 0);
	if (statement->columns.len == 0 || statement->n_rows < ROWS_MIN)
		return false;
	bool ok = add_head(statement, out);
	const char **cursors = xcalloc(statement->n_rows, sizeof *cursors);
	for (uint32_t i = 0; i < statement->n_rows; i++)
		cursors[i] = statement->sql.data + statement->offsets[i] + 1;
	for (at += strlen(at) + 1; at < end && ok;) {
		struct column column = read_column(at);
		at = column.next;
		if (*cursors[0] == 'D') {
			ok = skip_defaults(statement, cursors);
			continue;
		}
		buf_adds(out, n++ > 0 ? "," : "");
		ok = add_array(statement, cursors, out);
		buf_adds(out, column.array);
	}
	free(cursors);
	buf_adds(out, ") AS u(");
	for (unsigned i = 0; i < n; i++)
		buf_addf(out, "%sc%u", i > 0 ? "," : "", i);
	buf_addc(out, ')');
	buf_add(out, statement->sql.data + statement->end, statement->sql.len - statement->end);
	if (!ok)
		out->len = before;
	return ok;
}
