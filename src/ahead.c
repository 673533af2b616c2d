/* What is the same is told by where it is: the bytes in an arena never change. */
#include "ahead.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "db_driver.h"
#include "mapping.h"
#include "window.h"

void
ahead_forget(struct ahead *a)
{
	for (size_t i = 0; i < AHEAD_WINDOWS; i++)
		arena_unref(&a->ready[i].arena);
}

void
ahead_free(struct ahead *a)
{
	ahead_forget(a);
	for (size_t i = 0; i < AHEAD_WINDOWS; i++) {
		batch_free(&a->ready[i].batch);
		free(a->ready[i].rejects);
	}
	memset(a, 0, sizeof *a);
}

static bool
is_ready(const struct ahead_rows *a, const struct encode_input *input, const struct window *w)
{
	return a->arena != NULL && a->arena == w->arena && a->first == w->items[0].text && a->n_items == w->count && a->position == w->first &&
	    a->mapping == input->mapping && a->max_item_bytes == input->max_item_bytes && a->statement_max == input->statement_max;
}

/* The rows that are ready for it; NULL: none. */
static struct ahead_rows *
find(struct ahead *a, const struct encode_input *input, const struct window *w)
{
	for (size_t i = 0; i < AHEAD_WINDOWS; i++) {
		if (is_ready(&a->ready[i], input, w))
			return &a->ready[i];
	}
	return NULL;
}

/* Where there is room: an empty place, or the oldest one's. */
static struct ahead_rows *
make_room(struct ahead *a)
{
	struct ahead_rows *oldest = &a->ready[0];
	for (size_t i = 0; i < AHEAD_WINDOWS; i++) {
		struct ahead_rows *rows = &a->ready[i];
		if (rows->arena == NULL)
			return rows;
		if (rows->turn < oldest->turn)
			oldest = rows;
	}
	arena_unref(&oldest->arena);
	return oldest;
}

static bool
asks_for_time(const struct mapping *mapping)
{
	for (size_t i = 0; i < mapping->n_columns; i++) {
		if (mapping->columns[i].from == FROM_NOW)
			return true;
	}
	return false;
}

static struct reject
reject_of(uint32_t item, const char *column, const char *message)
{
	struct reject r = { .index = item, .class = "message" };
	db_text(r.column, sizeof r.column, column); /* half a character would make the ledger's server refuse its row */
	db_text(r.message, sizeof r.message, message);
	return r;
}

static void
keep_reject(void *arg, uint32_t item, const char *column, const char *message)
{
	struct ahead_rows *a = arg;
	if (a->n_rejects == a->cap_rejects) {
		a->cap_rejects = 2 * a->cap_rejects + 8;
		a->rejects = xrealloc(a->rejects, a->cap_rejects * sizeof *a->rejects);
	}
	a->rejects[a->n_rejects++] = reject_of(item, column, message);
}

static void
mark_reject(void *arg, uint32_t item, const char *column, const char *message)
{
	struct reject r = reject_of(item, column, message);
	window_reject(arg, &r);
}

bool
ahead_make(struct ahead *ahead, struct encoder *encoder, const struct encode_input *input, const struct window *w)
{
	if (w->n_rejects > 0 || w->arena == NULL || find(ahead, input, w) != NULL || asks_for_time(input->mapping))
		return false;
	struct ahead_rows *a = make_room(ahead);
	a->n_rejects = 0;
	encode(encoder, input, &a->batch, keep_reject, a);
	a->turn = ahead->turns++;
	a->arena = arena_ref(w->arena);
	a->first = w->items[0].text;
	a->position = w->first;
	a->n_items = w->count;
	a->mapping = input->mapping;
	a->max_item_bytes = input->max_item_bytes;
	a->statement_max = input->statement_max;
	return true;
}

void
ahead_use(struct ahead *ahead, struct encoder *encoder, const struct encode_input *input, struct window *w, struct batch *batch)
{
	struct ahead_rows *a = w->n_rejects == 0 ? find(ahead, input, w) : NULL;
	ahead->statement_max = input->statement_max;
	if (a == NULL) {
		encode(encoder, input, batch, mark_reject, w);
		return;
	}
	struct batch other = *batch;
	*batch = a->batch;
	a->batch = other;
	for (size_t i = 0; i < a->n_rejects; i++)
		window_reject(w, &a->rejects[i]);
	arena_unref(&a->arena);
}
