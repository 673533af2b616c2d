/* Where the ledger and the list stand to each other. */
#include "reconcile.h"

#include <stdlib.h>
#include <string.h>

void
plan_reset(struct plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		free(plan->rows[i].hashes);
		free(plan->rows[i].dead);
	}
	free(plan->rows);
	*plan = (struct plan){ .n = 0 };
}

static int
by_position(const void *a, const void *b)
{
	const struct plan_row *x = a, *y = b;
	return (x->first > y->first) - (x->first < y->first);
}

static void
add(struct plan *plan, const struct ledger_row *row)
{
	ASSERT(row->hashes != NULL);
	struct plan_row *to = &plan->rows[plan->n++];
	*to = (struct plan_row){ .slot = row->slot, .first = row->first, .count = row->count, .dead_len = row->dead_len };
	to->hashes = xcalloc(row->count, sizeof *to->hashes);
	memcpy(to->hashes, row->hashes, row->count * sizeof *to->hashes);
	to->dead = xmalloc(row->dead_len + 1);
	memcpy(to->dead, row->dead, row->dead_len);
}

static int
by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* From which position on does the ring surely remember? Rows of another generation, or never used, show that it was not full yet. */
static uint64_t
remembers_from(const struct ledger_row *rows, size_t n)
{
	uint64_t *firsts = xcalloc(n + 1, sizeof *firsts), from = 0;
	size_t ours = 0;
	for (size_t i = 0; i < n; i++) {
		if (rows[i].ours)
			firsts[ours++] = rows[i].first;
	}
	if (n > 0 && ours == n) {
		qsort(firsts, n, sizeof *firsts, by_number);
		from = firsts[plan_margin(n) - 1];
	}
	free(firsts);
	return from;
}

enum plan_verdict
plan_build(struct plan *plan, const struct ledger_row *rows, size_t n, uint64_t settled)
{
	plan_reset(plan);
	plan->rows = xcalloc(n, sizeof *plan->rows);
	plan->oldest = remembers_from(rows, n);
	for (size_t i = 0; i < n; i++) {
		const struct ledger_row *row = &rows[i];
		uint64_t end = row->first + row->count;
		plan->strangers += !row->ours && row->count > 0;
		if (!row->ours || row->count == 0)
			continue;
		if (end > plan->end)
			plan->end = end;
		if (end > settled)
			add(plan, row);
	}
	if (plan->n > 0)
		qsort(plan->rows, plan->n, sizeof *plan->rows, by_position);
	if (settled < plan->oldest)
		return PLAN_FELL_BACK;
	return settled > plan->end ? PLAN_SQL_BEHIND : PLAN_OK;
}

const struct plan_row *
plan_row(const struct plan *plan)
{
	ASSERT(plan->next <= plan->n);
	return plan->next < plan->n ? &plan->rows[plan->next] : NULL;
}

/* Do list and known agree from these starts on, as far as both go, and does the known part not end before a list that has not ended? */
static bool
agree(const uint64_t *list, size_t n_list, bool list_ended, const uint64_t *known, size_t n_known)
{
	size_t n = n_list < n_known ? n_list : n_known;
	if (n == 0 || (n < n_known && !list_ended))
		return false;
	return memcmp(list, known, n * sizeof *list) == 0;
}

enum alignment
align(const uint64_t *list, size_t n_list, bool list_ended, const uint64_t *known, size_t n_known, size_t *gone, size_t *strange)
{
	*gone = *strange = 0;
	if (n_known == 0 || agree(list, n_list, list_ended, known, n_known))
		return ALIGN_SAME;
	if (n_list == 0 && list_ended) {
		*gone = n_known;
		return ALIGN_MOVED;
	}
	size_t most = n_list == 0 ? 0 : n_list - 1 < ALIGN_STRANGE_MAX ? n_list - 1 : ALIGN_STRANGE_MAX;
	for (size_t change = 1; n_list > 0 && change < most + n_known; change++) {
		for (size_t k = change < n_known ? 0 : change - n_known + 1; k <= change && k <= most; k++) {
			*strange = k;
			*gone = change - k;
			if (agree(list + k, n_list - k, list_ended, known + *gone, n_known - *gone))
				return ALIGN_MOVED;
		}
	}
	return ALIGN_NONE;
}
