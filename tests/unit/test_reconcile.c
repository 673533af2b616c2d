/* The ledger's plan, the alignment with a list that others changed, and the age of an order. */
#include "reconcile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "age.h"
#include "ledger.h"

static const uint64_t hashes[] = { 11, 12, 13, 14, 15, 16, 17, 18 };

static struct ledger_row
row(uint32_t slot, uint64_t first, uint32_t count)
{
	return (struct ledger_row){ .slot = slot, .ours = true, .first = first, .count = count, .hashes = hashes, .dead = "" };
}

static void
plan_is_ordered_and_begins_at_settled(void **state)
{
	(void)state;
	struct plan plan = { 0 };
	struct ledger_row rows[] = { row(0, 20, 5), row(1, 0, 5), row(2, 10, 5), row(3, 0, 0) };
	rows[1].hashes = NULL;
	assert_int_equal(plan_build(&plan, rows, 4, 12), PLAN_OK);
	assert_int_equal(plan.n, 2); /* the one that 12 lies in, and the later one */
	assert_int_equal(plan_row(&plan)->slot, 2);
	plan.next++;
	assert_int_equal(plan_row(&plan)->slot, 0);
	plan.next++;
	assert_null(plan_row(&plan));
	assert_int_equal(plan.end, 25);
	plan_reset(&plan);
}

static void
plan_tells_what_is_wrong(void **state)
{
	(void)state;
	struct plan plan = { 0 };
	struct ledger_row rows[] = { row(0, 20, 5), row(1, 25, 5) };
	assert_int_equal(plan_build(&plan, rows, 2, 19), PLAN_FELL_BACK);
	assert_int_equal(plan_build(&plan, rows, 2, 20), PLAN_OK);
	assert_int_equal(plan_build(&plan, rows, 2, 31), PLAN_SQL_BEHIND);
	assert_int_equal(plan_build(&plan, rows, 0, 0), PLAN_OK);
	rows[1].count = 0; /* cut: it holds nothing, but the ring was full once */
	assert_int_equal(plan_build(&plan, rows, 2, 19), PLAN_FELL_BACK);
	rows[1] = row(1, 0, 0);
	rows[1].ours = false; /* never written: nothing was ever forgotten */
	assert_int_equal(plan_build(&plan, rows, 2, 19), PLAN_OK);
	rows[1].count = 5;
	assert_int_equal(plan_build(&plan, rows, 2, 19), PLAN_OK);
	assert_int_equal(plan.strangers, 1);
	plan_reset(&plan);
}

static void
alignment(void **state)
{
	(void)state;
	size_t gone, strange;
	const uint64_t pushed[] = { 1, 2, 11, 12, 13, 14 }, both[] = { 1, 13, 14, 15 }, other[] = { 1, 2, 3, 4, 5, 6 };
	assert_int_equal(align(hashes, 8, true, hashes, 5, &gone, &strange), ALIGN_SAME);
	assert_int_equal(align(hashes, 8, true, hashes, 0, &gone, &strange), ALIGN_SAME);
	assert_int_equal(align(hashes + 3, 5, true, hashes, 6, &gone, &strange), ALIGN_MOVED);
	assert_true(gone == 3 && strange == 0);
	assert_int_equal(align(pushed, 6, true, hashes, 4, &gone, &strange), ALIGN_MOVED);
	assert_true(gone == 0 && strange == 2);
	assert_int_equal(align(both, 4, true, hashes, 5, &gone, &strange), ALIGN_MOVED);
	assert_true(gone == 2 && strange == 1);
	assert_int_equal(align(NULL, 0, true, hashes, 4, &gone, &strange), ALIGN_MOVED);
	assert_true(gone == 4 && strange == 0);
	assert_int_equal(align(other, 6, true, hashes, 4, &gone, &strange), ALIGN_NONE);
	assert_int_equal(align(hashes, 4, false, hashes, 8, &gone, &strange), ALIGN_NONE); /* what comes behind was not looked at */
	assert_int_equal(align(NULL, 0, false, hashes, 4, &gone, &strange), ALIGN_NONE);
}

static void
a_plan_row_has_a_text_even_if_nothing_is_dead(void **state)
{
	(void)state;
	struct plan plan = { 0 };
	struct ledger_row rows[] = { row(0, 20, 5) };
	assert_int_equal(plan_build(&plan, rows, 1, 20), PLAN_OK);
	assert_non_null(plan_row(&plan)->dead);
	assert_int_equal(plan_row(&plan)->dead_len, 0);
	plan_reset(&plan);
}

/* Answers the first statement of a task; how it ended. */
static enum task_outcome
answered(enum task_kind kind, uint64_t epoch, struct answer answer)
{
	struct ledger_cut cut = { .count = 1 };
	struct task t = { .kind = kind, .ledger = true, .epoch = epoch, .cuts = &cut, .n_cuts = 1, .item = -1 };
	struct statement s;
	assert_true(task_next(&t, &s));
	task_answer(&t, &answer);
	assert_true(t.outcome != TASK_FAILED || t.error.class == DB_SETUP);
	assert_true(t.outcome == TASK_FAILED || t.epoch >= epoch);
	return t.outcome;
}

static void
rubbish_in_the_ledger_is_an_operators_matter(void **state)
{
	(void)state;
	const uint64_t most = UINT64_C(1) << 53;
	assert_int_equal(answered(TASK_RAISE, 1, (struct answer){ .epoch = 7 }), TASK_RUNNING);
	assert_int_equal(answered(TASK_RAISE, 1, (struct answer){ .epoch = UINT64_MAX }), TASK_FAILED); /* the next one would be 0 */
	assert_int_equal(answered(TASK_RAISE, most, (struct answer){ .epoch = 1 }), TASK_FAILED);
	assert_int_equal(answered(TASK_RAISE, most - 1, (struct answer){ .epoch = 1 }), TASK_RUNNING);
	assert_int_equal(answered(TASK_CUT, 1, (struct answer){ .affected = 1 }), TASK_RUNNING);
	assert_int_equal(answered(TASK_CUT, 1, (struct answer){ .affected = 0 }), TASK_FENCED);
	assert_int_equal(answered(TASK_CUT, 1, (struct answer){ .affected = 2 }), TASK_FAILED); /* no primary key */
}

static void
ledger_rows_without_hashes(void **state)
{
	(void)state;
	const char *const values[] = { "0", "1", "1", "20", "5", NULL, NULL };
	const size_t lengths[7] = { 1, 1, 1, 2, 1, 0, 0 };
	struct db_result result = { .rows = 1, .columns = 7, .values = values, .lengths = lengths };
	struct ledger_rows rows;
	assert_false(ledger_read(&result, 24, &rows));
	assert_true(ledger_read(&result, 25, &rows)); /* settled: they were not asked for */
	assert_null(rows.rows[0].hashes);
	ledger_rows_free(&rows);
}

static void
age_without_timestamps(void **state)
{
	(void)state;
	struct age age = { .n = 0 };
	age_note(&age, 1000, 0, 10);
	age_note(&age, 2000, 0, 20);
	age_note(&age, 5000, 5, 20);
	assert_true(age_of(&age, 9000, 5) > 7.9 && age_of(&age, 9000, 5) < 8.1);  /* item 5 was there at 1 s */
	assert_true(age_of(&age, 9000, 12) > 6.9 && age_of(&age, 9000, 12) < 7.1); /* item 12 came by 2 s */
	assert_true(age_of(&age, 9000, 100) < 0.001);
	for (uint64_t i = 0; i < 5 * AGE_MARKS; i++)
		age_note(&age, 10000 + i, 5, 30 + i);
	assert_true(age_of(&age, 20000, 5) > 10); /* however many marks: old times get coarser, not forgotten */
	age_note(&age, 20000, 0, 1);
	assert_int_equal(age.n, 1); /* positions started anew */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_is_ordered_and_begins_at_settled),
		cmocka_unit_test(plan_tells_what_is_wrong),
		cmocka_unit_test(alignment),
		cmocka_unit_test(a_plan_row_has_a_text_even_if_nothing_is_dead),
		cmocka_unit_test(rubbish_in_the_ledger_is_an_operators_matter),
		cmocka_unit_test(ledger_rows_without_hashes),
		cmocka_unit_test(age_without_timestamps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
