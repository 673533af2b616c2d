/* What an input says: payloads, texts, and rows of the ledger that somebody else has written. */
#include "fuzz_ledger.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "utf8.h"
#include "window.h"

static char texts[TEXTS][2 + ARENA_PADDING]; /* payloads; that of a position is texts[position % TEXTS] */

void
texts_make(void)
{
	for (size_t i = 0; i < TEXTS; i++)
		snprintf(texts[i], 3, "%02zx", i);
}

struct item
item_at(uint64_t position)
{
	return (struct item){ texts[(position + world.shift) % TEXTS], 2 };
}

/* Up to `max` bytes as they are. */
static size_t
take_raw(char *out, size_t max)
{
	size_t n = input_byte(&world.in) % (max + 1), k = 0;
	for (; k < n && world.in.left > 0; k++)
		out[k] = (char)input_byte(&world.in);
	out[k] = '\0';
	return k;
}

void
take_text(char *out, size_t max)
{
	take_raw(out, max);
	if (!utf8_valid(out, strlen(out)))
		snprintf(out, max, "\xc3\xa9\tx\ny");
}

void
cell_set(struct cell *cell, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	cell->null = false;
	cell->len = (size_t)vsnprintf(cell->text, sizeof cell->text, fmt, args);
	va_end(args);
	ASSERT(cell->len < sizeof cell->text);
}

static void
cell_raw(struct cell *cell)
{
	cell->len = take_raw(cell->text, CELL_MAX - 1);
	cell->null = cell->len == 0;
}

uint64_t
cell_number(const struct cell *cell)
{
	return cell->null ? 0 : strtoull(cell->text, NULL, 10);
}

void
cell_hashes(struct cell *cell, uint64_t first, uint32_t n)
{
	struct buf hex = BUF_INIT;
	for (uint32_t i = 0; i < n; i++) {
		struct item item = item_at(first + i);
		uint64_t hash = window_hash(&item);
		buf_add_hex(&hex, &hash, sizeof hash);
	}
	cell_set(cell, "%s", buf_cstr(&hex));
	buf_free(&hex);
}

void
spoil(struct row *row)
{
	struct cell *cell = &row->cells[input_byte(&world.in) % CELLS];
	uint8_t how = input_byte(&world.in);
	if (cell == &row->cells[SLOT])
		cell_set(cell, "%u", how);
	else if (cell == &row->cells[ITEMS] && how > 200 && !cell->null && cell->len > 0)
		cell->text[how % cell->len] = (char)input_byte(&world.in);
	else
		cell_raw(cell);
}

struct row
take_row(uint32_t slot)
{
	struct row row;
	uint8_t how = input_byte(&world.in);
	uint64_t first = world.settled + (how >> 2) % 24;
	uint32_t count = how == 0 ? 0 : input_byte(&world.in) % 6;
	if (how & 64 && first >= 16)
		first -= 16;
	cell_set(&row.cells[SLOT], "%u", slot);
	cell_set(&row.cells[OURS], "%u", how != 0 && !(how & 128));
	cell_set(&row.cells[EPOCH], "%" PRIu64, world.epoch);
	cell_set(&row.cells[FIRST], "%" PRIu64, how == 0 ? 0 : first);
	cell_set(&row.cells[COUNT], "%u", count);
	cell_hashes(&row.cells[ITEMS], first, count);
	row.cells[DEAD] = (struct cell){ .null = true };
	if (how & 1)
		spoil(&row);
	if (how & 2)
		cell_raw(&row.cells[DEAD]);
	return row;
}
