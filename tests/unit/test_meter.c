/* What the stats remember: rates, history, last dead letters, events, the age of orders. */
#include "meter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "events.h"

#define STEP_MS (METER_STEP_S * 1000)

static struct meter_totals
at(uint64_t step, uint64_t pushed, uint64_t settled)
{
	return (struct meter_totals){ .at_ms = 777 + step * STEP_MS, .pushed = pushed, .settled = settled, .dead = settled / 10, .backlog = pushed - settled,
		.busy_ms = step * STEP_MS * 2 };
}

static void
start(struct meter *m)
{
	struct meter_totals now = at(0, 0, 0);
	meter_init(m, &now);
}

static void
tick(struct meter *m, uint64_t step, uint64_t pushed, uint64_t settled)
{
	struct meter_totals now = at(step, pushed, settled);
	meter_tick(m, &now);
}

static void
a_point_has_the_rates_of_its_step(void **state)
{
	struct meter m;
	(void)state;
	start(&m);
	assert_int_equal(meter_points(&m), 0);
	meter_commit(&m, .004, 100);
	meter_commit(&m, .004, 300);
	tick(&m, 1, 1000, 500);
	tick(&m, 2, 1000, 900);
	assert_int_equal(meter_points(&m), 2);
	const struct meter_point *p = meter_point(&m, 0);
	assert_float_equal(p->in, 200, .001);
	assert_float_equal(p->out, 100, .001);
	assert_float_equal(p->dead, 10, .001);
	assert_float_equal(p->backlog, 500, .001);
	assert_float_equal(p->commit_ms, 4, .001);
	assert_true(p->commit_p99_ms > 2.5F && p->commit_p99_ms <= 5);
	p = meter_point(&m, 1);
	assert_float_equal(p->in, 0, .001);
	assert_float_equal(p->out, 80, .001);
	assert_float_equal(p->commit_ms, METER_NONE, .001);
	assert_float_equal(p->commit_p99_ms, METER_NONE, .001);
}

static void
the_history_is_a_quarter_of_an_hour(void **state)
{
	struct meter m;
	(void)state;
	start(&m);
	for (uint64_t step = 1; step <= METER_POINTS + 7; step++)
		tick(&m, step, step * step, 0);
	assert_int_equal(meter_points(&m), METER_POINTS);
	assert_float_equal(meter_point(&m, 0)->backlog, 8 * 8, .001);
	assert_float_equal(meter_point(&m, METER_POINTS - 1)->backlog, (METER_POINTS + 7.0) * (METER_POINTS + 7.0), .001);
	assert_int_equal(METER_POINTS * METER_STEP_S, 15 * 60);
}

static void
steps_that_nobody_saw_end_are_made_up_for(void **state)
{
	struct meter m;
	(void)state;
	start(&m);
	assert_false(meter_is_due(&m, at(1, 0, 0).at_ms - 1));
	struct meter_totals late = at(3, 300, 0);
	late.at_ms += STEP_MS / 2;
	assert_true(meter_is_due(&m, late.at_ms));
	meter_tick(&m, &late);
	assert_int_equal(meter_points(&m), 3);
	for (size_t i = 0; i < 3; i++)
		assert_float_equal(meter_point(&m, i)->in, 300 / 17.5F, .001);
	assert_false(meter_is_due(&m, late.at_ms));
	assert_true(meter_is_due(&m, at(4, 0, 0).at_ms)); /* no step gets longer by it */
}

static void
rates_are_of_the_last_seconds(void **state)
{
	struct meter m;
	(void)state;
	start(&m);
	meter_commit(&m, 1, 1000);
	tick(&m, 1, 100000, 100000);
	tick(&m, 2, 100000, 100000);
	struct meter_totals now = at(3, 100000, 100000);
	struct meter_rates r = meter_rates(&m, &now);
	assert_float_equal(r.rows_per_batch, 1000, .001); /* of all, as there was none of late */
	assert_float_equal(r.commit_s, 1, .001);
	assert_float_equal(r.busy, 2, .001);
	meter_commit(&m, .5, 10);
	now.pushed += 20;
	now.settled -= 10; /* another list: never negative */
	r = meter_rates(&m, &now);
	assert_float_equal(r.in, 2, .001);
	assert_float_equal(r.out, 0, .001);
	assert_float_equal(r.rows_per_batch, 10, .001);
	assert_float_equal(r.commit_s, .5, .001);
}

static void
quantiles_lie_between_the_bounds(void **state)
{
	struct meter m;
	(void)state;
	start(&m);
	struct histogram before = m.commit_duration;
	assert_true(histogram_quantile(&m.commit_duration, &before, .99) < 0);
	for (int i = 0; i < 99; i++)
		meter_commit(&m, .002, 1);
	meter_commit(&m, 500, 1);
	double half = histogram_quantile(&m.commit_duration, &before, .5);
	assert_true(half > .001 && half < .0025);
	assert_float_equal(histogram_quantile(&m.commit_duration, &before, 1), 30, .001); /* longer than the last bound: nobody knows how much */
	assert_int_equal(histogram_count(&m.commit_duration), 100);
}

static void
leave(struct meter *m, uint64_t first, unsigned n)
{
	meter_leaving(m);
	for (unsigned i = 0; i < n; i++)
		meter_leaving_dead(m, &(struct meter_dead){ .position = first + i, .reason = "data" });
}

static void
dead_letters_count_when_they_are_settled(void **state)
{
	struct meter m;
	(void)state;
	start(&m);
	leave(&m, 0, 3); /* never answered */
	leave(&m, 100, 2);
	assert_int_equal(meter_dead_letters(&m), 0);
	meter_settled(&m, 1000, 102);
	meter_settled(&m, 1000, 103);
	assert_int_equal(meter_dead_letters(&m), 2);
	assert_int_equal(meter_dead_letter(&m, 0)->position, 101);
	assert_int_equal(meter_dead_letter(&m, 1)->position, 100);
	leave(&m, 1000, 3 * METER_DEAD_MAX + 5);
	meter_settled(&m, 1000, 2000);
	assert_int_equal(meter_dead_letters(&m), METER_DEAD_MAX);
	for (size_t i = 0; i < METER_DEAD_MAX; i++)
		assert_int_equal(meter_dead_letter(&m, i)->position, 1000 + 3 * METER_DEAD_MAX + 4 - i);
}

static void
orders_age_without_a_timestamp(void **state)
{
	struct age age = { .n = 0 };
	(void)state;
	age_note(&age, 1000, 0, 10);
	age_note(&age, 3000, 0, 10); /* nothing came */
	age_note(&age, 5000, 4, 16);
	assert_float_equal(age_of(&age, 9000, 4), 8, .001);
	assert_float_equal(age_of(&age, 9000, 10), 4, .001);
	assert_float_equal(age_of(&age, 9000, 20), 0, .001);
	for (uint64_t i = 0; i < 4 * AGE_MARKS; i++)
		age_note(&age, 10000 + i * 1000, 4, 17 + i);
	assert_float_equal(age_of(&age, 2000000, 4), 1999, .001); /* old times get coarser, and are not forgotten */
	age_note(&age, 3000000, 0, 1);
	assert_float_equal(age_of(&age, 3000000, 0), 0, .001); /* positions started anew */
}

static void
the_last_events_are_kept_clean(void **state)
{
	static struct events e;
	char text[2 * EVENT_TEXT_MAX];
	(void)state;
	assert_int_equal(e.n, 0);
	for (int i = 0; i < EVENTS_MAX + 3; i++) {
		snprintf(text, sizeof text, "event %d", i);
		events_add(&e, i, "info", NULL, text);
	}
	assert_int_equal(e.n, EVENTS_MAX);
	assert_string_equal(events_get(&e, 0)->text, "event 52");
	assert_string_equal(events_get(&e, EVENTS_MAX - 1)->text, "event 3");
	assert_string_equal(events_get(&e, 0)->subject, "");
	events_add(&e, 98, "info", "", "event 3");
	assert_int_equal(e.n, EVENTS_MAX);
	assert_string_equal(events_get(&e, 0)->text, "event 3");
	assert_int_equal(events_get(&e, 0)->times, 2);
	assert_int_equal(events_get(&e, 0)->at_us, 98);
	assert_string_equal(events_get(&e, EVENTS_MAX - 1)->text, "event 4");
	events_add(&e, 99, "warning", "queue \x1b[2J", "a\nb\xff");
	assert_string_equal(events_get(&e, 0)->subject, "queue ?[2J");
	assert_string_equal(events_get(&e, 0)->text, "a?b?");
	assert_string_equal(events_get(&e, 0)->level, "warning");
	memset(text, 'x', sizeof text);
	memcpy(text + EVENT_TEXT_MAX - 2, "\xc3\xa4", 2); /* it would not fit whole */
	text[sizeof text - 1] = '\0';
	events_add(&e, 100, "error", "", text);
	assert_int_equal(strlen(events_get(&e, 0)->text), EVENT_TEXT_MAX - 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_point_has_the_rates_of_its_step),
		cmocka_unit_test(the_history_is_a_quarter_of_an_hour),
		cmocka_unit_test(steps_that_nobody_saw_end_are_made_up_for),
		cmocka_unit_test(rates_are_of_the_last_seconds),
		cmocka_unit_test(quantiles_lie_between_the_bounds),
		cmocka_unit_test(dead_letters_count_when_they_are_settled),
		cmocka_unit_test(orders_age_without_a_timestamp),
		cmocka_unit_test(the_last_events_are_kept_clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
