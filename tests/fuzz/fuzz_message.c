/* A message -> COPY text, INSERT of PostgreSQL, INSERT of MySQL, by the very code of the daemon. What is written is read back by other code, and
 * must be the same three times; what the servers' own JSON functions make of the same bytes is asked in batches (fuzz_message_oracle.c). */
#define _GNU_SOURCE
#include "fuzz_message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "config.h"
#include "mapping.h"

enum { MAX_MESSAGE = 1 << 20, REPEATS = 9 };

const struct fuzz_column fuzz_columns[N_COLUMNS] = {
	{ "n", "@position", { COLUMN_PLAIN, COLUMN_NUMBER }, true },
	{ "txt", "$.txt", { COLUMN_PLAIN, COLUMN_PLAIN }, true },
	{ "num", "$.num", { COLUMN_PLAIN, COLUMN_NUMBER }, false },
	{ "flag", "$.flag", { COLUMN_BOOL, COLUMN_NUMBER }, false },
	{ "doc", "$.doc", { COLUMN_JSON, COLUMN_JSON }, true },
	{ "moment", "$.moment", { COLUMN_PLAIN, COLUMN_DATETIME }, false },
	{ "day", "$.day", { COLUMN_PLAIN, COLUMN_DATE }, false },
	{ "bits", "$.bits", { COLUMN_PLAIN, COLUMN_BIT }, false },
	{ "bin", "$.bin", { COLUMN_BINARY, COLUMN_BINARY }, false },
	{ "b64", "base64($.b64)", { COLUMN_BINARY, COLUMN_BINARY }, false },
	{ "list", "$.list", { COLUMN_ARRAY, COLUMN_PLAIN }, false },
	{ "deep", "$.a.b", { COLUMN_PLAIN, COLUMN_PLAIN }, true },
	{ "whole", "$", { COLUMN_JSON, COLUMN_JSON }, true },
};

/* One value, read back. */
struct field {
	enum { FIELD_DEFAULT, FIELD_NULL, FIELD_TEXT, FIELD_HEX, FIELD_BARE } kind;
	struct buf text; /* unescaped; owned */
};

/* What lives as long as the process: libFuzzer gives its functions no argument of ours. */
struct fuzzer {
	struct encoder *encoder;
	struct mapping *mappings[N_SHAPES];
	struct batch batches[N_SHAPES], again; /* of the message under way */
	struct buf reason[N_SHAPES];
	struct field rows[N_SHAPES][N_COLUMNS]; /* read back from the batches */
	struct oracle *oracle;
};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static struct fuzzer *
the_fuzzer(void)
{
	static struct fuzzer fuzzer;

	return &fuzzer;
}

/* The catalogue's and the configuration's strings are not const, but nobody writes them. */
static char *
name_of(const char *text)
{
	return (char *)(uintptr_t)text;
}

static struct mapping *
make_mapping(enum shape shape)
{
	struct column columns[N_COLUMNS];
	struct column_config lines[N_COLUMNS];
	struct database_config database = { .driver = shape == SHAPE_MYSQL ? DRIVER_MYSQL : DRIVER_POSTGRESQL };
	struct buf why = BUF_INIT;

	for (size_t i = 0; i < N_COLUMNS; i++) {
		char *name = name_of(fuzz_columns[i].name);
		columns[i] = (struct column){ .name = name, .type = name, .kind = fuzz_columns[i].kinds[database.driver],
			.array = name_of(database.driver == DRIVER_POSTGRESQL ? "text[]" : ""), .cast = name_of(""), .nullable = true };
		lines[i] = (struct column_config){ .column = name, .expression = name_of(fuzz_columns[i].expression) };
	}
	struct queue_config queue = { .name = name_of("q"), .table = name_of(shape == SHAPE_COPY ? "copied" : "inserted"), .target = &database,
		.columns = lines, .n_columns = N_COLUMNS };
	struct table table = { .columns = columns, .n_columns = N_COLUMNS, .exists = true, .is_table = shape == SHAPE_COPY, .transactional = true };
	struct mapping *mapping = mapping_new(&queue, &table, &why);
	ASSERT(mapping != NULL && mapping->n_columns == N_COLUMNS);
	buf_free(&why);
	return mapping;
}

/* A copy of a message with ARENA_PADDING bytes `behind` it, to be freed by the caller. */
static struct item
padded(const void *text, size_t len, char behind)
{
	char *copy = xmalloc(len + ARENA_PADDING);

	if (len > 0)
		memcpy(copy, text, len);
	memset(copy + len, behind, ARENA_PADDING);
	return (struct item){ copy, len };
}

/* Where rejects go. */
struct rejects {
	struct buf *reasons, *fields; /* fuzz_encode()'s */
	uint32_t n;                   /* items that were rejected */
	uint32_t last;                /* the last one's number + 1 */
};

static void
note_reject(void *arg, uint32_t item, const char *column, const char *message)
{
	struct rejects *rejects = arg;

	ASSERT(item >= rejects->last && message[0] != '\0');
	rejects->last = item + 1;
	rejects->n++;
	buf_adds(&rejects->reasons[item], message);
	if (rejects->fields != NULL)
		buf_adds(&rejects->fields[item], column);
}

void
fuzz_encode(struct encoder *encoder, const struct mapping *mapping, const struct item *items, uint32_t n, struct batch *batch,
    struct buf *reasons, struct buf *fields)
{
	struct rejects rejects = { .reasons = reasons, .fields = fields };
	struct encode_input input = { .mapping = mapping, .items = items, .n_items = n, .max_item_bytes = MAX_MESSAGE, .statement_max = SIZE_MAX };
	uint32_t n_rows = 0;

	for (uint32_t i = 0; i < n; i++) {
		buf_reset(&reasons[i]);
		if (fields != NULL)
			buf_reset(&fields[i]);
	}
	encode(encoder, &input, batch, note_reject, &rejects);
	for (size_t i = 0; i < batch->n; i++) {
		for (uint32_t row = 0; row < batch->statements[i].n_rows; row++)
			ASSERT(reasons[batch->statements[i].rows[row]].len == 0);
		n_rows += batch->statements[i].n_rows;
	}
	ASSERT(n_rows + rejects.n == n);
}

static bool
same_bytes(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* One message in one shape, twice: what stands behind the message and what was encoded before must not matter. */
static void
encode_twice(struct fuzzer *f, enum shape shape, const uint8_t *data, size_t size)
{
	struct item item = padded(data, size, '"'), other = padded(data, size, '}');
	struct batch *batch = &f->batches[shape];
	struct buf reason = BUF_INIT;

	fuzz_encode(f->encoder, f->mappings[shape], &item, 1, batch, &f->reason[shape], NULL);
	fuzz_encode(f->encoder, f->mappings[shape], &other, 1, &f->again, &reason, NULL);
	ASSERT(same_bytes(&f->reason[shape], &reason) && batch->n == f->again.n && batch->n <= 1);
	if (batch->n == 1) {
		const struct batch_statement *a = &batch->statements[0], *b = &f->again.statements[0];
		ASSERT(a->is_copy == (shape == SHAPE_COPY) && same_bytes(&a->sql, &b->sql) && same_bytes(&a->copy, &b->copy));
	}
	buf_free(&reason);
	free(name_of(item.text));
	free(name_of(other.text));
}

/* Is `word` next? Then eats it. */
static bool
eat(const char **at, const char *end, const char *word)
{
	size_t len = strlen(word);
	bool found = (size_t)(end - *at) >= len && memcmp(*at, word, len) == 0;

	*at += found ? len : 0;
	return found;
}

/* A field of COPY text, up to its tab or newline. */
static void
read_copy_field(const char **at, const char *end, struct field *field)
{
	static const char letters[] = "btnvfr\\", meant[] = "\b\t\n\v\f\r\\";

	if (eat(at, end, "\\N")) {
		field->kind = FIELD_NULL;
		return;
	}
	field->kind = FIELD_TEXT;
	for (; *at < end && **at != '\t' && **at != '\n'; (*at)++) {
		ASSERT(**at != '\0' && strchr("\b\v\f\r", **at) == NULL);
		char c = **at;
		if (c == '\\') {
			ASSERT(++*at < end);
			const char *letter = strchr(letters, **at);
			ASSERT(**at != '\0' && letter != NULL);
			c = meant[letter - letters];
		}
		buf_addc(&field->text, c);
	}
}

/* A COPY of one row. */
static void
read_copy(const struct batch_statement *statement, struct field *row)
{
	const char *at = statement->copy.data, *end = at + statement->copy.len;
	char quoted[20];
	bool first = true;

	for (size_t i = 0; i < N_COLUMNS; i++) {
		snprintf(quoted, sizeof quoted, "\"%s\"", fuzz_columns[i].name);
		row[i].kind = FIELD_DEFAULT;
		if (memmem(statement->sql.data, statement->sql.len, quoted, strlen(quoted)) == NULL)
			continue;
		ASSERT(first || eat(&at, end, "\t"));
		first = false;
		read_copy_field(&at, end, &row[i]);
	}
	ASSERT(eat(&at, end, "\n") && at == end);
}

/* The inside of a quoted text and its closing quote. */
static void
read_quoted(const char **at, const char *end, enum shape shape, struct buf *out)
{
	static const char letters[] = "0nrZ'\\", meant[] = "\0\n\r\x1a'\\";

	for (;; (*at)++) {
		ASSERT(*at < end && (shape == SHAPE_MYSQL || **at != '\0'));
		char c = **at;
		if (c == '\'') {
			(*at)++;
			if (shape == SHAPE_MYSQL || *at == end || **at != '\'')
				return;
		} else if (c == '\\' && shape == SHAPE_MYSQL) {
			ASSERT(++*at < end && **at != '\0');
			const char *letter = strchr(letters, **at);
			ASSERT(letter != NULL);
			c = meant[letter - letters];
		}
		buf_addc(out, c);
	}
}

static void
read_value(const char **at, const char *end, enum shape shape, struct field *field)
{
	if (eat(at, end, "DEFAULT")) {
		field->kind = FIELD_DEFAULT;
	} else if (eat(at, end, "NULL")) {
		field->kind = FIELD_NULL;
	} else if (eat(at, end, "'")) {
		field->kind = FIELD_TEXT;
		read_quoted(at, end, shape, &field->text);
	} else if (shape == SHAPE_MYSQL && (eat(at, end, "x'") || eat(at, end, "b'"))) {
		field->kind = FIELD_HEX;
		read_quoted(at, end, shape, &field->text);
		for (size_t i = 0; i < field->text.len; i++)
			ASSERT(strchr("0123456789abcdef", field->text.data[i]) != NULL && field->text.data[i] != '\0');
	} else {
		field->kind = FIELD_BARE;
		ASSERT(shape == SHAPE_MYSQL);
		for (; *at < end && ((**at >= '0' && **at <= '9') || **at == '.'); (*at)++)
			buf_addc(&field->text, **at);
		ASSERT(field->text.len > 0 && field->text.data[0] != '.' && field->text.data[field->text.len - 1] != '.');
	}
}

/* An INSERT of one row. */
static void
read_insert(const struct batch_statement *statement, enum shape shape, struct field *row)
{
	const char *at = statement->sql.data + statement->offsets[0], *end = statement->sql.data + statement->sql.len;

	for (size_t i = 0; i < N_COLUMNS; i++) {
		ASSERT(eat(&at, end, i == 0 ? "(" : ","));
		read_value(&at, end, shape, &row[i]);
	}
	ASSERT(eat(&at, end, ")") && at == end);
}

static void
read_row(struct fuzzer *f, enum shape shape)
{
	for (size_t i = 0; i < N_COLUMNS; i++)
		buf_reset(&f->rows[shape][i].text);
	if (shape == SHAPE_COPY)
		read_copy(&f->batches[shape].statements[0], f->rows[shape]);
	else
		read_insert(&f->batches[shape].statements[0], shape, f->rows[shape]);
}

/* An INSERT of the same row many times. */
static void
repeat_row(const struct batch_statement *one, struct batch_statement *many)
{
	*many = (struct batch_statement){ .columns = one->columns, .offsets = xcalloc(REPEATS, sizeof *many->offsets), .n_rows = REPEATS };
	buf_add(&many->sql, one->sql.data, one->offsets[0]);
	for (uint32_t i = 0; i < REPEATS; i++) {
		buf_adds(&many->sql, i > 0 ? "," : "");
		many->offsets[i] = many->sql.len;
		buf_add(&many->sql, one->sql.data + one->offsets[0], one->end - one->offsets[0]);
	}
	many->end = many->sql.len;
	buf_add(&many->sql, one->sql.data + one->end, one->sql.len - one->end);
}

/* An element of an array, as it stands there without SQL's quotes, is this value. */
static void
check_element(const char **at, const char *end, const struct field *value)
{
	struct buf text = BUF_INIT;

	if (value->kind == FIELD_NULL) {
		ASSERT(eat(at, end, "NULL"));
		return;
	}
	ASSERT(eat(at, end, "\""));
	for (; *at < end && **at != '"'; (*at)++) {
		*at += **at == '\\';
		ASSERT(*at < end);
		buf_addc(&text, **at);
	}
	ASSERT(eat(at, end, "\"") && value->kind == FIELD_TEXT && same_bytes(&text, &value->text));
	buf_free(&text);
}

/* Its arrays hold what its row holds. */
static void
check_arrays(const struct batch_statement *one, const struct field *row)
{
	struct batch_statement many;
	struct buf sql = BUF_INIT, literal = BUF_INIT;

	repeat_row(one, &many);
	ASSERT(batch_add_arrays(&many, &sql)); /* one column at least has a value: the message's position */
	const char *end = sql.data + sql.len, *at = memmem(sql.data, sql.len, " FROM unnest(", 13);
	ASSERT(at != NULL);
	at += 13;
	for (size_t i = 0, n = 0; i < N_COLUMNS; i++) {
		if (row[i].kind == FIELD_DEFAULT)
			continue;
		ASSERT((n++ == 0 || eat(&at, end, ",")) && eat(&at, end, "'"));
		buf_reset(&literal);
		read_quoted(&at, end, SHAPE_INSERT, &literal);
		ASSERT(eat(&at, end, "::text[]"));
		const char *inside = literal.data, *literal_end = literal.data + literal.len;
		for (uint32_t k = 0; k < REPEATS; k++) {
			ASSERT(eat(&inside, literal_end, k == 0 ? "{" : ","));
			check_element(&inside, literal_end, &row[i]);
		}
		ASSERT(eat(&inside, literal_end, "}") && inside == literal_end);
	}
	ASSERT(eat(&at, end, ") AS u(c0"));
	buf_free(&sql);
	buf_free(&literal);
	buf_free(&many.sql);
	free(many.offsets);
}

/* Do two shapes hold the same row? */
static void
compare_rows(const struct fuzzer *f, enum shape a, enum shape b)
{
	bool all = a != SHAPE_MYSQL && b != SHAPE_MYSQL;

	for (size_t i = 0; i < N_COLUMNS; i++) {
		const struct field *one = &f->rows[a][i], *other = &f->rows[b][i];
		ASSERT((one->kind == FIELD_DEFAULT) == (other->kind == FIELD_DEFAULT) && (one->kind == FIELD_NULL) == (other->kind == FIELD_NULL));
		if (all || fuzz_columns[i].same)
			ASSERT(one->kind == other->kind && same_bytes(&one->text, &other->text));
	}
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char option[] = "-artifact_prefix=";
	struct fuzzer *f = the_fuzzer();
	const char *prefix = "";

	for (int i = 1; i < *argc; i++) {
		if (strncmp((*argv)[i], option, strlen(option)) == 0)
			prefix = (*argv)[i] + strlen(option);
	}
	f->encoder = encoder_new();
	for (enum shape shape = 0; shape < N_SHAPES; shape++)
		f->mappings[shape] = make_mapping(shape);
	f->oracle = oracle_new(f->mappings, prefix);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzzer *f = the_fuzzer();

	for (enum shape shape = 0; shape < N_SHAPES; shape++) {
		encode_twice(f, shape, data, size);
		if (f->batches[shape].n == 1)
			read_row(f, shape);
	}
	ASSERT(same_bytes(&f->reason[SHAPE_COPY], &f->reason[SHAPE_INSERT]));
	if (f->batches[SHAPE_COPY].n == 1) {
		compare_rows(f, SHAPE_COPY, SHAPE_INSERT);
		check_arrays(&f->batches[SHAPE_INSERT].statements[0], f->rows[SHAPE_INSERT]);
		if (f->batches[SHAPE_MYSQL].n == 1)
			compare_rows(f, SHAPE_COPY, SHAPE_MYSQL);
	}
	oracle_add(f->oracle, data, size);
	return 0;
}

/* Random bytes are hardly ever JSON: half of all messages are made new, and some of these are broken a little. */
size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	struct buf made = BUF_INIT;
	unsigned choice = seed % 8;

	if (choice < 4) {
		generate_message(seed / 8, &made);
		if (made.len > 0 && made.len <= max_size) {
			memcpy(data, made.data, made.len);
			size = made.len;
		}
		buf_free(&made);
	}
	return choice < 3 ? size : LLVMFuzzerMutate(data, size, max_size);
}
