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

/* A chunk of text; the compiler makes the best of it that the CPU has. */
typedef unsigned char chunk __attribute__((vector_size(16)));

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

static inline bool
is_plain(const char *at)
{
	chunk bytes;
	uint64_t halves[2];

	memcpy(&bytes, at, sizeof bytes);
	chunk special = (chunk)((bytes == '\'') | (bytes == '"') | (bytes == '\\'));
	_Static_assert(sizeof halves == sizeof special, "two halves");
	memcpy(halves, &special, sizeof halves);
	return (halves[0] | halves[1]) == 0;
}

/* Appends the text that begins at its opening quote as an element; the two quotes that stand for one stay, as the array stands in quotes too. `end` is
 * where nothing is readable any more. Returns where the text ends. */
static const char *
add_element(struct buf *out, const char *at, const char *end)
{
	buf_addc(out, '"');
	for (at++;;) {
		char *to = buf_reserve(out, 2 * sizeof(chunk) + 1), *begin = to;
		if ((size_t)(end - at) >= sizeof(chunk) && is_plain(at)) {
			memcpy(to, at, sizeof(chunk));
			out->len += sizeof(chunk);
			at += sizeof(chunk);
			continue;
		}
		for (size_t i = 0; i < sizeof(chunk); i++) {
			char c = *at++;
			if (c == '\'' && *at != '\'') {
				*to++ = '"';
				out->len += (size_t)(to - begin);
				return at;
			}
			if (c == '\'')
				*to++ = *at++;
			else if (c == '"' || c == '\\')
				*to++ = '\\';
			*to++ = c;
		}
		out->len += (size_t)(to - begin);
	}
}

/* Appends the column's values in all rows, which begin at the cursors, and moves these to the next column. False: some say DEFAULT, and some do not. */
static bool
add_array(const struct batch_statement *statement, const char **cursors, struct buf *out)
{
	const char *end = statement->sql.data + statement->sql.len;
	const char *gap = "'{";

	for (uint32_t i = 0; i < statement->n_rows; i++) {
		const char *at = cursors[i];
		buf_adds(out, gap);
		gap = ",";
		if (*at == '\'') {
			at = add_element(out, at, end);
		} else if (*at == 'N') {
			buf_adds(out, "NULL");
			at = value_end(at);
		} else {
			return false;
		}
		cursors[i] = at + 1;
	}
	buf_adds(out, "}'::");
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
