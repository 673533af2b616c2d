/* What is the same is told by where it is: the bytes in an arena never change. */
#include "ahead.h"

#include <stdlib.h>

#include "arena.h"
#include "db_driver.h"
#include "mapping.h"
#include "window.h"

void
ahead_forget(struct ahead *a)
{
	arena_unref(&a->arena);
}

void
ahead_free(struct ahead *a)
{
	ahead_forget(a);
	batch_free(&a->batch);
	free(a->rejects);
	*a = (struct ahead){ .batch = BATCH_INIT };
}

static bool
is_ready(const struct ahead *a, const struct encode_input *input, const struct window *w)
{
	return a->arena != NULL && a->arena == w->arena && a->first == w->items[0].text && a->n_items == w->count && a->position == w->first &&
	    a->mapping == input->mapping && a->max_item_bytes == input->max_item_bytes && a->statement_max == input->statement_max;
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
	struct ahead *a = arg;
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

void
ahead_make(struct ahead *a, struct encoder *encoder, const struct encode_input *input, const struct window *w)
{
	if (w->n_rejects > 0 || w->arena == NULL || is_ready(a, input, w) || asks_for_time(input->mapping))
		return;
	ahead_forget(a);
	a->n_rejects = 0;
	encode(encoder, input, &a->batch, keep_reject, a);
	a->arena = arena_ref(w->arena);
	a->first = w->items[0].text;
	a->position = w->first;
	a->n_items = w->count;
	a->mapping = input->mapping;
	a->max_item_bytes = input->max_item_bytes;
	a->statement_max = input->statement_max;
}

void
ahead_use(struct ahead *a, struct encoder *encoder, const struct encode_input *input, struct window *w, struct batch *batch)
{
	bool ready = w->n_rejects == 0 && is_ready(a, input, w);
	a->statement_max = input->statement_max;
	if (!ready) {
		encode(encoder, input, batch, mark_reject, w);
		return;
	}
	struct batch other = *batch;
	*batch = a->batch;
	a->batch = other;
	for (size_t i = 0; i < a->n_rejects; i++)
		window_reject(w, &a->rejects[i]);
	ahead_forget(a);
}
