/* What a queue's worker measures. */
#include "meter.h"

#include "check.h"

#define STEP_MS (METER_STEP_S * 1000)

static const double duration_bounds[HISTOGRAM_BUCKETS] = { .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30 };
static const double rows_bounds[HISTOGRAM_BUCKETS] = { 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000 };
static const double wait_bounds[HISTOGRAM_BUCKETS] = { .001, .005, .01, .05, .1, .5, 1, 5, 30, 120, 600, 3600 };

/* -- histograms */

static void
observe(struct histogram *h, double value)
{
	unsigned i = 0;
	while (i < HISTOGRAM_BUCKETS && value > h->bounds[i])
		i++;
	h->counts[i]++;
	h->sum += value;
}

uint64_t
histogram_count(const struct histogram *h)
{
	uint64_t count = 0;
	for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
		count += h->counts[i];
	return count;
}

double
histogram_quantile(const struct histogram *h, const struct histogram *before, double share)
{
	double wanted = share * (double)(histogram_count(h) - histogram_count(before)), passed = 0;
	ASSERT(h->bounds == before->bounds && share > 0 && share <= 1);
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		double here = (double)(h->counts[i] - before->counts[i]), from = i == 0 ? 0 : h->bounds[i - 1];
		if (here > 0 && passed + here >= wanted)
			return from + (h->bounds[i] - from) * (wanted - passed) / here;
		passed += here;
	}
	return wanted > 0 ? h->bounds[HISTOGRAM_BUCKETS - 1] : -1; /* nobody knows how much longer */
}

/* The mean of the values since `before`; -1: there was none. */
static double
mean_since(const struct histogram *h, const struct histogram *before)
{
	uint64_t n = histogram_count(h) - histogram_count(before);
	return n == 0 ? -1 : (h->sum - before->sum) / (double)n;
}

/* -- what happens */

void
meter_init(struct meter *m, const struct meter_totals *now)
{
	*m = (struct meter){ .commit_duration.bounds = duration_bounds, .batch_rows.bounds = rows_bounds, .wait.bounds = wait_bounds };
	m->due_ms = now->at_ms + STEP_MS;
	m->marks[0] = m->marks[1] = (struct meter_mark){ *now, m->commit_duration, m->batch_rows };
}

void
meter_commit(struct meter *m, double seconds, uint32_t rows)
{
	observe(&m->commit_duration, seconds);
	observe(&m->batch_rows, rows);
}

void
meter_leaving(struct meter *m)
{
	m->n_leaving = 0;
}

void
meter_leaving_dead(struct meter *m, const struct meter_dead *dead)
{
	m->leaving[m->n_leaving++ % METER_DEAD_MAX] = *dead;
}

void
meter_settled(struct meter *m, uint64_t now_ms, uint64_t position)
{
	observe(&m->wait, age_of(&m->age, now_ms, position));
	size_t from = m->n_leaving > METER_DEAD_MAX ? m->n_leaving - METER_DEAD_MAX : 0;
	for (size_t i = from; i < m->n_leaving; i++)
		m->dead[m->n_dead++ % METER_DEAD_MAX] = m->leaving[i % METER_DEAD_MAX];
	m->n_leaving = 0;
}

/* -- rates and history */

/* What grew from one moment to another, a second; 0 where it did not: the list may have been cut by others. */
static double
rate(uint64_t before, uint64_t now, double seconds)
{
	return now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

static double
seconds_between(const struct meter_totals *before, const struct meter_totals *now)
{
	ASSERT(now->at_ms >= before->at_ms);
	return (double)(now->at_ms - before->at_ms) / 1000;
}

static float
in_ms(double seconds)
{
	return seconds < 0 ? METER_NONE : (float)(seconds * 1000);
}

static struct meter_mark
mark(const struct meter *m, const struct meter_totals *now)
{
	return (struct meter_mark){ *now, m->commit_duration, m->batch_rows };
}

bool
meter_is_due(const struct meter *m, uint64_t now_ms)
{
	return now_ms >= m->due_ms;
}

void
meter_tick(struct meter *m, const struct meter_totals *now)
{
	const struct meter_totals *then = &m->marks[1].totals;
	const struct histogram *commits = &m->marks[1].commit_duration;
	double s = seconds_between(then, now);
	const struct meter_point point = {
		.in = (float)rate(then->pushed, now->pushed, s), .out = (float)rate(then->settled, now->settled, s),
		.dead = (float)rate(then->dead, now->dead, s), .backlog = (float)now->backlog,
		.commit_ms = in_ms(mean_since(&m->commit_duration, commits)),
		.commit_p99_ms = in_ms(histogram_quantile(&m->commit_duration, commits, .99)),
	};
	ASSERT(meter_is_due(m, now->at_ms));
	for (unsigned n = 0; meter_is_due(m, now->at_ms); n++, m->due_ms += STEP_MS) {
		if (n < METER_POINTS)
			m->points[m->n_points++ % METER_POINTS] = point;
	}
	m->marks[0] = m->marks[1];
	m->marks[1] = mark(m, now);
}

/* The mean of late, or if there was nothing the mean of all; 0: nothing ever. */
static double
recent_mean(const struct histogram *h, const struct histogram *before)
{
	const struct histogram nothing = { .bounds = h->bounds };
	double late = mean_since(h, before), all = mean_since(h, &nothing);
	return late >= 0 ? late : all >= 0 ? all : 0;
}

struct meter_rates
meter_rates(const struct meter *m, const struct meter_totals *now)
{
	const struct meter_mark *then = &m->marks[0];
	const struct meter_totals *before = &then->totals;
	double s = seconds_between(before, now);
	return (struct meter_rates){ .in = rate(before->pushed, now->pushed, s), .out = rate(before->settled, now->settled, s),
		.dead = rate(before->dead, now->dead, s), .rows_per_batch = recent_mean(&m->batch_rows, &then->batch_rows),
		.commit_s = recent_mean(&m->commit_duration, &then->commit_duration), .busy = rate(before->busy_ms, now->busy_ms, s) / 1000 };
}

size_t
meter_points(const struct meter *m)
{
	return m->n_points < METER_POINTS ? (size_t)m->n_points : METER_POINTS;
}

const struct meter_point *
meter_point(const struct meter *m, size_t i)
{
	ASSERT(i < meter_points(m));
	return &m->points[(m->n_points - meter_points(m) + i) % METER_POINTS];
}

size_t
meter_dead_letters(const struct meter *m)
{
	return m->n_dead < METER_DEAD_MAX ? (size_t)m->n_dead : METER_DEAD_MAX;
}

const struct meter_dead *
meter_dead_letter(const struct meter *m, size_t i)
{
	ASSERT(i < meter_dead_letters(m));
	return &m->dead[(m->n_dead - 1 - i) % METER_DEAD_MAX];
}
