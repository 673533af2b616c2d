/* Items -> rows -> statements.
 *
 *   item --json_read--> values --encode_value--> row text --> group --> statement of the batch
 *
 * A group is all rows that may share a statement: the same columns are listed and, in an upsert, no key stands there twice. A key's second row
 * goes to the next pass, its third to the one after; passes run in order, so the last message of a key wins.
 */
#include "encode.h"

#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "encode_clause.h"
#include "encode_text.h"
#include "encode_value.h"
#include "intern.h"
#include "json.h"
#include "mapping.h"
#include "sql_text.h"

#define NO_STATEMENT SIZE_MAX
#define NO_KEY UINT32_MAX

/* Rows that may share a statement. */
struct group {
	size_t head;      /* where its head begins in encoder.clauses */
	size_t tail;      /* where the head ends and the tail begins */
	size_t end;       /* where the tail ends */
	size_t statement; /* the one of the batch that takes its rows, or NO_STATEMENT */
	uint32_t pass;    /* groups of a lower pass run first */
	bool is_copy;
};

struct encoder {
	struct json_reader *reader;  /* owned, as all below */
	struct json_value *values;   /* of the item under way, by path; cap_values of them */
	size_t cap_values;
	struct value_context context;
	struct buf row;              /* text of the row under way */
	struct buf key;              /* its key's texts */
	bool has_key;                /* no column of its key is NULL or absent */
	struct buf listed;           /* its columns, a column_set; behind that its pass and whether COPY takes it: what makes a group */
	size_t set_size;             /* bytes of the column_set */
	struct intern group_numbers; /* by `listed` */
	uint32_t last_group;         /* where the row before went: mostly the next one goes there too */
	struct group *groups;        /* by number; cap_groups of them */
	size_t cap_groups;
	struct intern key_numbers;   /* by `key` */
	uint32_t *key_groups;        /* the group that the key's last row went to; cap_keys of them */
	size_t cap_keys;
	uint32_t *item_keys;         /* the key of each item; NO_KEY: none. cap_items of them */
	size_t cap_items;
	struct batch_key *sorted;    /* the rows of the statement that is closed; cap_sorted of them */
	size_t cap_sorted;
	struct buf clauses;          /* heads and tails of the groups */
	uint32_t *statement_passes;  /* of the batch's statements; cap_passes of them */
	size_t cap_passes;
	struct buf why;              /* text of a reject */
};

/* One call of encode(). */
struct run {
	struct encoder *encoder;
	const struct encode_input *input;
	const struct mapping *mapping; /* input's */
	struct batch *batch;
};

struct encoder *
encoder_new(void)
{
	struct encoder *encoder = xcalloc(1, sizeof *encoder);

	encoder->reader = json_reader_new();
	return encoder;
}

void
encoder_free(struct encoder **encoder)
{
	struct encoder *e = *encoder;

	*encoder = NULL;
	if (e == NULL)
		return;
	json_reader_free(&e->reader);
	free(e->values);
	buf_free(&e->context.now);
	buf_free(&e->context.scratch);
	buf_free(&e->row);
	buf_free(&e->key);
	buf_free(&e->listed);
	intern_free(&e->group_numbers);
	free(e->groups);
	intern_free(&e->key_numbers);
	free(e->key_groups);
	free(e->item_keys);
	free(e->sorted);
	buf_free(&e->clauses);
	free(e->statement_passes);
	buf_free(&e->why);
	free(e);
}

/* Makes room for one more element behind n; returns the array. */
static void *
grow(void *array, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return array;
	*cap = *cap > 0 ? 2 * *cap : 16;
	return xrealloc(array, *cap * size);
}

/* Takes the next free statement of the batch for a group, which is the one of the row under way. */
static struct batch_statement *
open_statement(struct run *run, struct group *group)
{
	struct encoder *e = run->encoder;
	struct batch *batch = run->batch;
	size_t i = batch->n++, before = batch->cap;

	ASSERT(i <= batch->cap && group->statement == NO_STATEMENT);
	batch->statements = grow(batch->statements, i, &batch->cap, sizeof *batch->statements);
	memset(batch->statements + before, 0, (batch->cap - before) * sizeof *batch->statements);
	e->statement_passes = grow(e->statement_passes, i, &e->cap_passes, sizeof *e->statement_passes);
	e->statement_passes[i] = group->pass;
	group->statement = i;

	struct batch_statement *statement = &batch->statements[i];
	statement->is_copy = group->is_copy;
	statement->n_rows = 0;
	buf_reset(&statement->copy);
	buf_reset(&statement->sql);
	buf_add(&statement->sql, e->clauses.data + group->head, group->tail - group->head);
	buf_reset(&statement->columns);
	if (run->mapping->driver == DRIVER_POSTGRESQL && !group->is_copy)
		encode_columns(run->mapping, (const column_set *)e->listed.data, &statement->columns);
	return statement;
}

/* Puts the rows of an upsert in the order of their keys. */
static void
sort_rows(struct run *run, struct batch_statement *statement)
{
	struct encoder *e = run->encoder;

	while (e->cap_sorted < statement->n_rows)
		e->sorted = grow(e->sorted, e->cap_sorted, &e->cap_sorted, sizeof *e->sorted);
	for (uint32_t i = 0; i < statement->n_rows; i++) {
		uint32_t key = e->item_keys[statement->rows[i]];
		bool has_key = key != NO_KEY;
		e->sorted[i] = (struct batch_key){ .text = has_key ? intern_bytes(&e->key_numbers, key) : NULL,
			.len = has_key ? intern_len(&e->key_numbers, key) : 0 };
	}
	batch_sort(statement, e->sorted, e->context.as->row_next, &e->row);
}

static void
close_statement(struct run *run, struct group *group)
{
	struct batch_statement *statement = &run->batch->statements[group->statement];

	ASSERT(group->statement < run->batch->n && group->head <= group->tail && group->tail <= group->end);
	if (run->mapping->mode == MODE_UPSERT)
		sort_rows(run, statement);
	buf_add(&statement->sql, run->encoder->clauses.data + group->tail, group->end - group->tail);
	group->statement = NO_STATEMENT;
}

/* Writes down where the next row begins and which item it came from. */
static void
note_row(struct batch_statement *statement, uint32_t item, size_t offset)
{
	if (statement->n_rows == statement->cap_rows) {
		statement->cap_rows = statement->cap_rows > 0 ? 2 * statement->cap_rows : 256;
		statement->rows = xrealloc(statement->rows, statement->cap_rows * sizeof *statement->rows);
		statement->offsets = xrealloc(statement->offsets, statement->cap_rows * sizeof *statement->offsets);
	}
	statement->rows[statement->n_rows] = item;
	statement->offsets[statement->n_rows++] = offset;
}

/* Moves the row to its group's statement; to another one when that would grow too long. False: it is too long for any. */
static bool
store_row(struct run *run, struct group *group, uint32_t item)
{
	struct encoder *e = run->encoder;
	struct batch_statement *statement = group->statement != NO_STATEMENT ? &run->batch->statements[group->statement] : NULL;
	size_t limit = run->input->statement_max, tail = group->end - group->tail;
	const struct sql_text *as = e->context.as;

	if (!group->is_copy && group->tail - group->head + e->row.len + tail > limit)
		return false;
	if (statement != NULL && !group->is_copy && statement->sql.len + sizeof as->row_next + e->row.len + tail > limit) {
		close_statement(run, group);
		statement = NULL;
	}
	if (statement == NULL)
		statement = open_statement(run, group);
	struct buf *out = group->is_copy ? &statement->copy : &statement->sql;
	if (statement->n_rows > 0)
		buf_add_if(out, as->row_next);
	note_row(statement, item, out->len);
	buf_add(out, e->row.data, e->row.len);
	statement->end = out->len;
	return true;
}

/* The group of the row, from `listed`. */
static uint32_t
find_group(struct run *run, uint32_t pass)
{
	struct encoder *e = run->encoder;
	uint32_t known = e->group_numbers.n, number = e->last_group;
	bool is_copy = e->context.as == &sql_text_copy;

	e->listed.len = e->set_size;
	buf_add(&e->listed, (const char *)&pass, sizeof pass);
	buf_addc(&e->listed, is_copy);
	if (number < known && memcmp(intern_bytes(&e->group_numbers, number), e->listed.data, e->listed.len) == 0)
		return number;
	e->last_group = number = intern_number(&e->group_numbers, e->listed.data, e->listed.len);
	if (number < known)
		return number;

	e->groups = grow(e->groups, number, &e->cap_groups, sizeof *e->groups);
	struct group *group = &e->groups[number];
	const column_set *listed = (const column_set *)e->listed.data;
	*group = (struct group){ .head = e->clauses.len, .statement = NO_STATEMENT, .pass = pass, .is_copy = is_copy };
	encode_head(run->mapping, listed, group->is_copy, &e->clauses);
	group->tail = e->clauses.len;
	encode_tail(run->mapping, listed, &e->clauses);
	group->end = e->clauses.len;
	return number;
}

/* Could the row stand behind the others of this group? MySQL takes a statement's rows one after the other, PostgreSQL refuses a key's second. */
static bool
may_join(const struct run *run, uint32_t group)
{
	const struct encoder *e = run->encoder;

	return run->mapping->driver == DRIVER_MYSQL && memcmp(intern_bytes(&e->group_numbers, group), e->listed.data, e->set_size) == 0;
}

/* The group of the item's row, so that it comes after all earlier rows of its key. */
static uint32_t
choose_group(struct run *run, uint32_t item)
{
	struct encoder *e = run->encoder;

	if (run->mapping->mode != MODE_UPSERT)
		return find_group(run, 0);
	while (e->cap_items <= item)
		e->item_keys = grow(e->item_keys, e->cap_items, &e->cap_items, sizeof *e->item_keys);
	e->item_keys[item] = NO_KEY;
	if (!e->has_key)
		return find_group(run, 0);

	uint32_t known = e->key_numbers.n, key = intern_number(&e->key_numbers, e->key.data, e->key.len);
	uint32_t pass = 0;
	e->item_keys[item] = key;
	e->key_groups = grow(e->key_groups, key, &e->cap_keys, sizeof *e->key_groups);
	if (key < known) {
		uint32_t last = e->key_groups[key];
		pass = e->groups[last].pass + !may_join(run, last);
	}
	return e->key_groups[key] = find_group(run, pass);
}

/* The value of a column that comes from the message; NULL for the others. */
static const struct json_value *
message_value(const struct encoder *e, const struct mapped_column *column)
{
	return column->from == FROM_MESSAGE || column->from == FROM_BASE64 ? &e->values[column->path] : NULL;
}

/* Without case: keys that a server may hold equal must not look different here, or their rows could change places. */
static void
add_key_text(struct encoder *e, const char *text, size_t len)
{
	char *at = buf_reserve(&e->key, len + 1);

	for (size_t i = 0; i < len; i++)
		at[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i]);
	at[len] = ',';
	e->key.len += len + 1;
}

/* Begins the row under way: written in this form, it lists no column yet. */
static void
begin_row(struct encoder *e, const struct sql_text *as)
{
	e->context.as = as;
	buf_reset(&e->row);
	buf_add_if(&e->row, as->row_open);
	buf_reset(&e->key);
	buf_reset(&e->listed);
	memset(buf_reserve(&e->listed, e->set_size), 0, e->set_size);
	e->listed.len = e->set_size;
}

/* Lists column i in the row and writes its value, which is NULL where it does not come from the message. Why it cannot be stored, or NULL. */
static const char *
write_value(struct run *run, size_t i, const struct json_value *value)
{
	struct encoder *e = run->encoder;
	const struct mapped_column *column = &run->mapping->columns[i];
	size_t start = e->row.len;
	const char *why = NULL;

	column_set_add((column_set *)e->listed.data, i);
	if (value != NULL && value->kind == JSON_ABSENT)
		buf_adds(&e->row, "DEFAULT");
	else
		why = encode_value(&e->context, column, value, &e->row);
	if (column->in_key)
		add_key_text(e, e->row.data + start, e->row.len - start);
	buf_addc(&e->row, e->context.as->next);
	return why;
}

/* Writes the row's text and its key's. It lists the columns that it has a value for; all of them where a statement takes different rows together. A row
 * without any lists one, to say DEFAULT there, which COPY cannot. Why it cannot be stored, with the column; or NULL. */
static const char *
write_row(struct run *run, const char **column_name)
{
	struct encoder *e = run->encoder;
	const struct mapping *mapping = run->mapping;
	bool all = !mapping->use_copy && mapping->mode != MODE_UPSERT, any = false;
	const struct sql_text *insert = mapping->driver == DRIVER_MYSQL ? &sql_text_mysql : &sql_text_postgresql;

	e->has_key = true;
	begin_row(e, mapping->use_copy ? &sql_text_copy : insert);
	for (size_t i = 0; i < mapping->n_columns; i++) {
		const struct mapped_column *column = &mapping->columns[i];
		const struct json_value *value = message_value(e, column);
		bool absent = value != NULL && value->kind == JSON_ABSENT;

		if (column->in_key && (absent || (value != NULL && value->kind == JSON_NULL)))
			e->has_key = false;
		if (absent && !all)
			continue;
		any = true;
		const char *why = write_value(run, i, value);
		if (why != NULL) {
			*column_name = column->name;
			return why;
		}
	}
	if (!any) {
		begin_row(e, insert);
		column_set_add((column_set *)e->listed.data, 0);
		buf_adds(&e->row, "DEFAULT,");
	}
	ASSERT(e->row.data[e->row.len - 1] == e->context.as->next);
	e->row.data[e->row.len - 1] = e->context.as->row_close;
	return NULL;
}

/* Reads the message into `values`. Why it is none, or NULL. */
static const char *
read_message(struct run *run, const struct item *item)
{
	struct encoder *e = run->encoder;
	const char *where;
	enum json_status status;

	buf_reset(&e->why);
	if (item->len > run->input->max_item_bytes) {
		buf_addf(&e->why, "larger than max_item_bytes (%zu)", run->input->max_item_bytes);
		return buf_cstr(&e->why);
	}
	status = json_read(e->reader, run->mapping->paths, item->text, item->len, run->mapping->reject_unknown, e->values, &where);
	run->batch->unknown_fields |= json_met_unknown(e->reader);
	if (status == JSON_OK)
		return NULL;
	buf_adds(&e->why, json_status_text(status));
	if (where != NULL)
		buf_addf(&e->why, "%s \"%s\"", status == JSON_UNKNOWN_FIELD ? "" : " in field", where);
	return buf_cstr(&e->why);
}

/* Makes one item a row of the batch. Why it cannot be one, or NULL. */
static const char *
encode_item(struct run *run, uint32_t item, const char **column)
{
	struct encoder *e = run->encoder;
	const char *why = read_message(run, &run->input->items[item]);

	if (why != NULL)
		return why;
	e->context.position = run->input->position + item;
	why = write_row(run, column);
	if (why != NULL)
		return why;
	uint32_t group = choose_group(run, item);
	ASSERT(group < e->group_numbers.n);
	if (store_row(run, &e->groups[group], item))
		return NULL;
	buf_addf(&e->why, "larger than max_allowed_packet (%zu)", run->input->statement_max);
	return buf_cstr(&e->why);
}

/* Puts the statements in the order of their passes, and otherwise leaves them as they came. */
static void
order_statements(const struct encoder *e, struct batch *batch)
{
	uint32_t n_passes = 0;

	for (size_t i = 0; i < batch->n; i++)
		n_passes = e->statement_passes[i] >= n_passes ? e->statement_passes[i] + 1 : n_passes;
	if (n_passes < 2)
		return;
	size_t *next = xcalloc(n_passes + 1, sizeof *next); /* where the next statement of a pass goes */
	struct batch_statement *ordered = xcalloc(batch->n, sizeof *ordered);
	for (size_t i = 0; i < batch->n; i++)
		next[e->statement_passes[i] + 1]++;
	for (uint32_t pass = 1; pass < n_passes; pass++)
		next[pass] += next[pass - 1];
	for (size_t i = 0; i < batch->n; i++)
		ordered[next[e->statement_passes[i]]++] = batch->statements[i];
	memcpy(batch->statements, ordered, batch->n * sizeof *ordered);
	free(ordered);
	free(next);
}

/* Forgets the batch before, whatever its mapping was. */
static void
begin(struct run *run)
{
	struct encoder *e = run->encoder;
	const struct mapping *mapping = run->mapping;

	run->batch->n = 0;
	intern_reset(&e->group_numbers);
	intern_reset(&e->key_numbers);
	buf_reset(&e->clauses);
	while (e->cap_values < mapping->n_paths)
		e->values = grow(e->values, e->cap_values, &e->cap_values, sizeof *e->values);
	e->set_size = mapping->n_columns;
	e->context.driver = mapping->driver;
	e->context.queue = mapping->queue;
	buf_reset(&e->context.now);
	text_from_time(&e->context.now, run->input->now_us);
	if (mapping->driver == DRIVER_POSTGRESQL)
		buf_adds(&e->context.now, "+00");
}

void
encode(struct encoder *encoder, const struct encode_input *input, struct batch *batch, encode_reject_fn *reject, void *arg)
{
	struct run run = { .encoder = encoder, .input = input, .mapping = input->mapping, .batch = batch };

	ASSERT(input->mapping != NULL && input->mapping->n_columns > 0 && reject != NULL);
	begin(&run);
	batch->unknown_fields = false;
	for (uint32_t i = 0; i < input->n_items; i++) {
		const char *column = "", *why;

		if (input->skip != NULL && input->skip[i])
			continue;
		why = encode_item(&run, i, &column);
		if (why != NULL)
			reject(arg, i, column, why);
	}
	for (uint32_t i = 0; i < encoder->group_numbers.n; i++) {
		if (encoder->groups[i].statement != NO_STATEMENT)
			close_statement(&run, &encoder->groups[i]);
	}
	order_statements(encoder, batch);
}
