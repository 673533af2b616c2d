/* The statements of one window, as the encoder fills them and a session runs them. */
#include "encode.h"

#include <stdlib.h>

void
batch_free(struct batch *batch)
{
	ASSERT(batch->n <= batch->cap);
	for (size_t i = 0; i < batch->cap; i++) {
		struct batch_statement *statement = &batch->statements[i];
		buf_free(&statement->sql);
		buf_free(&statement->copy);
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
