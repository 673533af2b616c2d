/* Text for people: bytes from elsewhere made fit for a terminal, and aligned columns. */
#ifndef SLUICE_TEXT_H
#define SLUICE_TEXT_H

#include <stddef.h>

#include "check.h"

struct buf;

/* Appends n bytes with `?` for whatever is no UTF-8 or a control character, tabs and newlines too: nobody's data may command a terminal. */
void text_clean(struct buf *out, const char *text, size_t n);
/* Appends one cell of a table to `cells`, cleaned; printf style. An empty one becomes "-". */
void text_cell(struct buf *cells, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Ends a row of cells. */
void text_row_end(struct buf *cells);
/* Appends the rows to `out`, columns aligned, the last one as it is; all rows must have as many cells as the first. */
void text_columns(const struct buf *cells, struct buf *out);

#endif
