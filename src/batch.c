/* The statements of one window, as the encoder fills them and a session runs them. */
#include "encode.h"

#include <stdlib.h>
#include <string.h>

void
batch_free(struct batch *batch)
{
	ASSERT(batch->n <= batch->cap);
	for (size_t i = 0; i < batch->cap; i++) {
		struct batch_statement *statement = &batch->statements[i];
		buf_free(&statement->sql);
		buf_free(&statement->copy);
		buf_free(&statement->columns);
		free(statement->rows);
		free(statement->offsets);
	}
	free(batch->statements);
	*batch = (struct batch)BATCH_INIT;
}

uint32_t
batch_row(const struct batch_statement *statement, size_t offset)
{
	ASSERT(!statement->is_copy && statement->n_rows > 0 && offset >= statement->offsets[0]);
	uint32_t low = 0, high = statement->n_rows; /* the row begins at low or behind it, and before high */
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (statement->offsets[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static int
compare_keys(const void *left, const void *right)
{
	const struct batch_key *a = left, *b = right;
	size_t common = a->len < b->len ? a->len : b->len;
	int order = common == 0 ? 0 : memcmp(a->text, b->text, common);
	if (order != 0)
		return order;
	return a->len != b->len ? (a->len < b->len ? -1 : 1) : (a->begin > b->begin) - (a->begin < b->begin);
}

void
batch_sort(struct batch_statement *statement, struct batch_key *keys, char gap, struct buf *scratch)
{
	uint32_t n = statement->n_rows;
	ASSERT(!statement->is_copy && n > 0 && statement->end == statement->sql.len);
	size_t rows = statement->offsets[0]; /* where they begin */
	for (uint32_t i = 0; i < n; i++) {
		keys[i].item = statement->rows[i];
		keys[i].begin = statement->offsets[i];
		keys[i].end = i + 1 < n ? statement->offsets[i + 1] - 1 : statement->end;
	}
	qsort(keys, n, sizeof *keys, compare_keys);
	buf_reset(scratch);
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0)
			buf_addc(scratch, gap);
		statement->rows[i] = keys[i].item;
		statement->offsets[i] = rows + scratch->len;
		buf_add(scratch, statement->sql.data + keys[i].begin, keys[i].end - keys[i].begin);
	}
	ASSERT(rows + scratch->len == statement->end);
	memcpy(statement->sql.data + rows, scratch->data, scratch->len);
}
