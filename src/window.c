/* A window: a run of items with neighbouring positions. */
#include "window.h"

#include <stdlib.h>
#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wshadow"
#include <xxhash.h>
#pragma GCC diagnostic pop

#include "arena.h"

uint64_t
window_hash(const struct item *item)
{
	return XXH3_64bits(item->text, item->len);
}

static struct window *
make(uint64_t first, const struct item *items, uint32_t n, struct arena *arena)
{
	struct window *w = xcalloc(1, sizeof *w);
	list_init(&w->node);
	w->first = first;
	w->count = n;
	w->slot = NO_SLOT;
	w->arena = arena == NULL ? NULL : arena_ref(arena);
	w->items = xcalloc(n, sizeof *w->items);
	memcpy(w->items, items, n * sizeof *items);
	w->hashes = xcalloc(n, sizeof *w->hashes);
	w->skip = xcalloc(n, sizeof *w->skip);
	return w;
}

struct window *
window_new(uint64_t first, const struct item *items, uint32_t n, struct arena *arena)
{
	ASSERT(n > 0);
	struct window *w = make(first, items, n, arena);
	for (uint32_t i = 0; i < n; i++)
		w->hashes[i] = window_hash(&w->items[i]);
	return w;
}

void
window_free(struct window **window)
{
	struct window *w = *window;
	*window = NULL;
	if (w == NULL)
		return;
	list_remove(&w->node);
	arena_unref(&w->arena);
	free(w->items);
	free(w->hashes);
	free(w->skip);
	free(w->rejects);
	free(w);
}

void
window_set_state(struct window *w, enum window_state state)
{
	static const unsigned edges[] = {
		[WINDOW_READ] = 1u << WINDOW_COMMITTING | 1u << WINDOW_COMMITTED, /* COMMITTED: the ledger showed it, or others took it */
		[WINDOW_COMMITTING] = 1u << WINDOW_READ | 1u << WINDOW_DOUBT | 1u << WINDOW_COMMITTED,
		[WINDOW_DOUBT] = 1u << WINDOW_READ | 1u << WINDOW_COMMITTED,
	};
	ASSERT(edges[w->state] & 1u << state);
	w->state = state;
	if (state == WINDOW_READ || state == WINDOW_COMMITTED)
		w->slot = NO_SLOT;
}

/* How many rejects have an index below `at`. */
static uint32_t
rejects_below(const struct window *w, uint32_t at)
{
	uint32_t n = 0;
	while (n < w->n_rejects && w->rejects[n].index < at)
		n++;
	return n;
}

struct window *
window_split(struct window *w, uint32_t at)
{
	ASSERT(w->state == WINDOW_READ);
	ASSERT(at > 0 && at < w->count);
	ASSERT(w->gone == 0);
	uint32_t n = w->count - at;
	struct window *tail = make(w->first + at, w->items + at, n, w->arena);
	memcpy(tail->hashes, w->hashes + at, n * sizeof *w->hashes);
	memcpy(tail->skip, w->skip + at, n * sizeof *w->skip);
	tail->partial = w->partial;
	tail->untracked = w->untracked;
	w->partial = false;
	w->count = at;
	uint32_t keep = rejects_below(w, at);
	tail->n_rejects = w->n_rejects - keep;
	if (tail->n_rejects > 0) {
		tail->rejects = xcalloc(tail->n_rejects, sizeof *tail->rejects);
		memcpy(tail->rejects, w->rejects + keep, tail->n_rejects * sizeof *tail->rejects);
		for (uint32_t i = 0; i < tail->n_rejects; i++)
			tail->rejects[i].index -= at;
		w->n_rejects = keep;
	}
	if (!list_empty(&w->node))
		list_insert_before(w->node.next, &tail->node);
	return tail;
}

/* One line in the ledger, one line for the reader, and tabs only where the ledger's text has its own. */
static void
make_line(char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < ' ')
			*text = ' ';
	}
}

void
window_reject(struct window *w, const struct reject *reject)
{
	ASSERT(reject->index < w->count);
	if (w->skip[reject->index])
		return;
	uint32_t at = rejects_below(w, reject->index);
	w->rejects = xrealloc(w->rejects, (w->n_rejects + 1) * sizeof *w->rejects);
	memmove(w->rejects + at + 1, w->rejects + at, (w->n_rejects - at) * sizeof *w->rejects);
	w->rejects[at] = *reject;
	w->n_rejects++;
	w->skip[reject->index] = true;
	make_line(w->rejects[at].class);
	make_line(w->rejects[at].code);
	make_line(w->rejects[at].column);
	make_line(w->rejects[at].message);
}

void
window_forgive(struct window *w)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < w->n_rejects; i++) {
		if (strcmp(w->rejects[i].class, "message") == 0)
			w->skip[w->rejects[i].index] = false;
		else
			w->rejects[kept++] = w->rejects[i];
	}
	w->n_rejects = kept;
}

uint32_t
window_rows(const struct window *w)
{
	ASSERT(w->n_rejects <= w->count);
	return w->count - w->n_rejects;
}

uint32_t
window_match(const struct window *w, const uint64_t *hashes, uint32_t from, uint32_t n)
{
	ASSERT(from <= n);
	uint32_t m = 0;
	while (m < w->count && from + m < n && w->hashes[m] == hashes[from + m])
		m++;
	return m;
}

void
window_dead_write(const struct window *w, struct buf *out)
{
	for (uint32_t i = 0; i < w->n_rejects; i++) {
		const struct reject *r = &w->rejects[i];
		buf_addf(out, "%u\t%s\t%s\t%s\t%s\n", r->index, r->class, r->code, r->column, r->message);
	}
}

/* Copies the text up to `end` (a tab or newline) into a field of `size` bytes and steps over the separator; NULL: no separator there. */
static const char *
take_field(const char *at, const char *stop, char end, char *field, size_t size)
{
	const char *to = memchr(at, end, (size_t)(stop - at));
	if (to == NULL)
		return NULL;
	size_t n = (size_t)(to - at) < size ? (size_t)(to - at) : size - 1;
	memcpy(field, at, n);
	field[n] = '\0';
	return to + 1;
}

bool
window_dead_read(struct window *w, const char *text, size_t len, uint32_t from)
{
	const char *at = text, *stop = text + len;
	while (at < stop) {
		struct reject r;
		char number[16], *end;
		memset(&r, 0, sizeof r);
		if ((at = take_field(at, stop, '\t', number, sizeof number)) == NULL || (at = take_field(at, stop, '\t', r.class, sizeof r.class)) == NULL ||
		    (at = take_field(at, stop, '\t', r.code, sizeof r.code)) == NULL || (at = take_field(at, stop, '\t', r.column, sizeof r.column)) == NULL ||
		    (at = take_field(at, stop, '\n', r.message, sizeof r.message)) == NULL)
			return false;
		unsigned long index = strtoul(number, &end, 10);
		if (end == number || *end != '\0')
			return false;
		if (index < from || index - from >= w->count)
			continue; /* of the part that is settled, or was lost */
		r.index = (uint32_t)(index - from);
		window_reject(w, &r);
	}
	return true;
}

void
window_check(const struct window *w)
{
	ASSERT(w->count > 0);
	ASSERT(w->gone <= w->count);
	ASSERT(w->n_rejects <= w->count);
	ASSERT((w->state == WINDOW_COMMITTING || w->state == WINDOW_DOUBT) || w->slot == NO_SLOT);
	for (uint32_t i = 0; i < w->n_rejects; i++) {
		ASSERT(w->rejects[i].index < w->count);
		ASSERT(w->skip[w->rejects[i].index]);
		ASSERT(i == 0 || w->rejects[i - 1].index < w->rejects[i].index);
	}
}
