/* What an order says; the tables that it goes to are in field.py. */
#include "order.h"

#include <stdbool.h>

#include "buf.h"

enum { BYTES_SHORT = 100, BYTES_USUAL = 200, COLUMNS_USUAL = 8 };

/* Orders that the table refuses: some are no JSON objects, some only the server can tell. The id stands between the two texts. */
static const struct {
	const char *before, *behind;
} bad_orders[] = {
	{ "{\"id\":", ",\"customer\":\"cut off\",\"total\":1" },
	{ "[{\"id\":", "}]" },
	{ "{\"id\":", ",\"customer\":\"no number\",\"total\":\"twelve\"}" },
	{ "{\"id\":", ",\"customer\":null,\"total\":1.00}" },
	{ "{\"id\":", ",\"customer\":\"too many\",\"total\":1.00,\"quantity\":99999999999}" },
	{ "{\"id\":", ",\"customer\":\"half a pair \\ud800\",\"total\":1.00}" },
};

/* Letters that do not compress much, as texts of people do not. */
static void
add_filler(struct buf *out, unsigned seed, unsigned n)
{
	char *at = buf_reserve(out, n);
	unsigned long state = seed * 2654435761UL + 1;

	for (unsigned i = 0; i < n; i++) {
		state = state * 6364136223846793005UL + 1442695040888963407UL;
		at[i] = i % 7 == 6 ? ' ' : (char)('a' + (state >> 59) % 26);
	}
	out->len += n;
}

/* A millisecond later each, so that a later order is newer. */
static void
add_time(struct buf *out, unsigned i)
{
	ASSERT(i < 86400000);
	buf_addf(out, "\"2024-05-06T%02u:%02u:%02u.%03uZ\"", i / 3600000, i / 60000 % 60, i / 1000 % 60, i % 1000);
}

/* Columns behind the usual ones: field.py gives them these types by turns. */
static void
add_columns(struct buf *out, unsigned columns, unsigned i)
{
	for (unsigned c = COLUMNS_USUAL; c < columns; c++) {
		buf_addf(out, ",\"c%u\":", c + 1);
		switch (c % 4) {
		case 0: buf_addf(out, "%u", i + c); break;
		case 1: buf_addf(out, "\"text %u\"", i % (1000 + c)); break;
		case 2: buf_addf(out, "%u.25", i % 500); break;
		default: buf_adds(out, c % 8 == 3 ? "true" : "null");
		}
	}
}

static void
add_good(const struct order_shape *shape, unsigned i, unsigned id, struct buf *out)
{
	ASSERT(shape->columns >= COLUMNS_USUAL);
	buf_addf(out, "{\"id\":%u,\"customer\":\"customer %u\",\"total\":%u.10,\"placed_at\":", id, i % 1000, i % 500);
	add_time(out, i);
	buf_adds(out, ",\"quantity\":3");
	if (shape->bytes != BYTES_SHORT) {
		buf_adds(out, ",\"note\":\"as usual");
		if (shape->bytes > BYTES_USUAL)
			add_filler(out, i, shape->bytes - BYTES_USUAL);
		buf_adds(out, "\",\"items\":[{\"sku\":\"A-17\",\"quantity\":3}]");
	}
	add_columns(out, shape->columns, i);
	buf_addc(out, '}');
}

void
order_write(const struct order_shape *shape, unsigned i, struct buf *out)
{
	bool bad = shape->bad_every > 0 && i % shape->bad_every == 0;
	bool again = shape->repeat_every > 0 && i % shape->repeat_every == 0 && i > ORDER_REPEAT;
	unsigned id = again ? i - ORDER_REPEAT : i;

	ASSERT(i > 0);
	if (!bad) {
		add_good(shape, i, id, out);
		return;
	}
	size_t sort = i / shape->bad_every % (sizeof bad_orders / sizeof *bad_orders);
	buf_addf(out, "%s%u%s", bad_orders[sort].before, id, bad_orders[sort].behind);
}
