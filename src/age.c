/* How long an order has stood in the list. */
#include "age.h"

#include "check.h"

static void
thin(struct age *age)
{
	size_t kept = 0;
	for (size_t i = 0; i < age->n; i += 2)
		age->marks[kept++] = age->marks[i];
	age->n = kept;
}

/* Marks that all settled positions have passed tell nothing any more, but for the last of them. */
static void
forget_settled(struct age *age, uint64_t settled)
{
	size_t gone = 0;
	while (gone + 1 < age->n && age->marks[gone + 1].pushed <= settled)
		gone++;
	for (size_t i = gone; i < age->n && gone > 0; i++)
		age->marks[i - gone] = age->marks[i];
	age->n -= gone;
}

void
age_note(struct age *age, uint64_t now_ms, uint64_t settled, uint64_t backlog)
{
	uint64_t pushed = settled + backlog;
	if (age->n > 0 && age->marks[age->n - 1].pushed > pushed)
		age->n = 0; /* positions started anew */
	if (age->n > 0 && age->marks[age->n - 1].pushed == pushed) {
		return;
	}
	forget_settled(age, settled);
	if (age->n == AGE_MARKS)
		thin(age);
	ASSERT(age->n < AGE_MARKS);
	age->marks[age->n++] = (struct age_mark){ now_ms, pushed };
}

double
age_of(const struct age *age, uint64_t now_ms, uint64_t position)
{
	for (size_t i = 0; i < age->n; i++) {
		if (age->marks[i].pushed > position)
			return (double)(now_ms - age->marks[i].ms) / 1000;
	}
	return 0;
}
