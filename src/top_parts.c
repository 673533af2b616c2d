/* The parts below the queues. */
#include "top_parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "top_chart.h"
#include "top_words.h"

#define LABEL_WIDTH 13     /* before a chart */
#define FIGURES_WIDTH 26   /* behind a chart */
#define FIGURES_NARROW 8   /* only the last value */
#define NARROW 64          /* a page of so many columns */
#define CONNECTION_WIDTH 39
#define MANY_LINES 8       /* where there is room for so many, an event may have two */
#define LONG_S 3           /* a statement that takes so long is worth a look */

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

void
part_title(struct page *page, const char *fmt, ...)
{
	char text[200];
	ASSERT(page->width > 0);
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (!page_line(page))
		return;
	page_put(page, LOOK_TITLE, "%s", text);
	page_paint(page, LOOK_TITLE);
}

/* -- history */

static const struct curve {
	const char *label;
	size_t series;      /* in struct top_queue */
	unsigned scale;     /* those of one scale are drawn to the same height */
	bool overview;
} curves[] = {
	{ "in/s", offsetof(struct top_queue, in_series), 0, true },
	{ "out/s", offsetof(struct top_queue, out_series), 0, true },
	{ "backlog", offsetof(struct top_queue, backlog_series), 1, false },
	{ "commit ms", offsetof(struct top_queue, commit_series), 2, true },
	{ "  99 % below", offsetof(struct top_queue, slowest_series), 2, false },
};

#define N_CURVES (sizeof curves / sizeof *curves)

static const struct top_list *
series_of(const struct top_queue *queue, const struct curve *curve)
{
	return (const struct top_list *)(const void *)((const char *)queue + curve->series);
}

static double
scale_of(const struct top_queue *queue, const struct curve *curve, bool all)
{
	double most = 0;
	for (size_t i = 0; i < N_CURVES; i++) {
		const struct top_list *series = series_of(queue, &curves[i]);
		if (curves[i].scale == curve->scale && (all || curves[i].overview))
			most = fmax(most, chart_most(series->items, series->n));
	}
	return most;
}

static void
put_figures(struct page *page, const struct top_list *series)
{
	const double *values = series->items;
	double last = series->n == 0 ? NAN : values[series->n - 1];
	double most = chart_most(values, series->n);
	page_put(page, LOOK_PLAIN, " %7s", words_rate(last).s);
	if (page->width >= NARROW)
		page_put(page, LOOK_DIM, " now %8s most", words_rate(isnan(last) && most == 0 ? NAN : most).s);
}

/* One chart; its label and figures stand in its lowest line. */
static void
put_curve(struct page *page, const struct top_queue *queue, const struct curve *curve, bool all, unsigned tall)
{
	const struct top_list *series = series_of(queue, curve);
	ASSERT(tall > 0);
	unsigned around = LABEL_WIDTH + (page->width >= NARROW ? FIGURES_WIDTH : FIGURES_NARROW);
	unsigned columns = least(page->width > around + 1 ? page->width - around : 1, CHART_POINTS);
	for (unsigned row = tall; row-- > 0 && page_line(page);) {
		page_cell(page, LOOK_PLAIN, LABEL_WIDTH, "%s%s", row == 0 ? " " : "", row == 0 ? curve->label : "");
		chart_row(page, LOOK_GOOD, columns, series->items, series->n, scale_of(queue, curve, all), row, tall);
		if (row == 0)
			put_figures(page, series);
	}
}

unsigned
part_curves_want(bool all, unsigned tall)
{
	unsigned n = 0;
	for (size_t i = 0; i < N_CURVES; i++)
		n += all || curves[i].overview;
	return n * tall;
}

void
part_curves(struct page *page, const struct top_queue *queue, bool all, unsigned tall, unsigned lines)
{
	ASSERT(tall > 0);
	for (size_t i = 0; i < N_CURVES; i++) {
		if ((!all && !curves[i].overview) || lines < tall)
			continue;
		put_curve(page, queue, &curves[i], all, tall);
		lines -= tall;
	}
}

void
part_account(struct page *page, const struct top_queue *q, unsigned most)
{
	const struct {
		char sign;
		const char *name;
		double number;
		bool always; /* else only where there are any */
	} terms[] = {
		{ '=', "stored", q->stored, true }, { '+', "duplicate", q->duplicate, false }, { '+', "dead", q->dead_new, false },
		{ '+', "taken by others", q->taken, false }, { '+', "waiting", q->waiting, true }, { '+', "NOT ACCOUNTED FOR", q->difference, false },
	};
	struct buf text = BUF_INIT;
	buf_addf(&text, "%.0f pushed", q->pushed);
	for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
		if (terms[i].always || fabs(terms[i].number) > 0)
			buf_addf(&text, " %c %.0f %s", terms[i].sign, terms[i].number, terms[i].name);
	}
	if (page_line(page)) {
		page_put(page, LOOK_PLAIN, " ");
		page_wrap(page, fabs(q->difference) > 0 ? LOOK_BAD : LOOK_DIM, 1, most, buf_cstr(&text));
	}
	buf_free(&text);
}

static unsigned
history_wants(const struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned tall)
{
	(void)page, (void)data;
	return queue == NULL ? 0 : 2 + part_curves_want(false, tall);
}

static void
history_put(struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned tall, unsigned lines)
{
	(void)data;
	ASSERT(queue != NULL && lines > 0);
	unsigned curves_want = part_curves_want(false, tall);
	part_title(page, "QUEUE %s, LAST 15 MINUTES", queue->name);
	part_curves(page, queue, false, lines > curves_want ? tall : 1, lines - 1);
	if (lines > curves_want + 1)
		part_account(page, queue, 1);
}

/* -- pools */

static unsigned
connections_a_line(const struct page *page)
{
	unsigned n = page->width / CONNECTION_WIDTH;
	return n == 0 ? 1 : n;
}

static unsigned
pool_lines(const struct page *page, const struct top_pool *pool)
{
	unsigned a_line = connections_a_line(page);
	return 1 + ((unsigned)pool->connections.n + a_line - 1) / a_line;
}

static unsigned
pools_want(const struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned tall)
{
	const struct top_pool *pools = data->pools.items;
	unsigned n = 0;
	(void)queue, (void)tall;
	for (size_t i = 0; i < data->pools.n; i++)
		n += pool_lines(page, &pools[i]);
	return n;
}

static void
put_connection(struct page *page, const struct top_pool *pool, const struct top_connection *c)
{
	bool busy = strcmp(c->state, "busy") == 0, idle = strcmp(c->state, "idle") == 0;
	enum look look = busy ? c->since_s >= LONG_S ? LOOK_WARN : LOOK_PLAIN : idle ? LOOK_DIM : LOOK_BAD;
	unsigned end = page->column + CONNECTION_WIDTH;
	if (c->server_id > 0)
		page_cell(page, look, 12, " %s %.0f", strcmp(pool->driver, "postgresql") == 0 ? "pid" : "id", c->server_id);
	else
		page_cell(page, look, 12, " -");
	page_cell(page, look, -7, "%s", words_span(c->since_s).s);
	page_put(page, look, " ");
	if (busy) {
		page_cell(page, look, 9, "%s", c->queue);
		page_put(page, look, " %s rows", words_count(c->rows).s);
	} else {
		page_put(page, look, "%s", c->state);
	}
	page_tab(page, end);
}

/* Seconds of the statement that is under way for longest; 0: none is. */
static double
longest_busy(const struct top_pool *pool)
{
	const struct top_connection *connections = pool->connections.items;
	double longest = 0;
	for (size_t i = 0; i < pool->connections.n; i++) {
		if (strcmp(connections[i].state, "busy") == 0)
			longest = fmax(longest, connections[i].since_s);
	}
	return longest;
}

static void
put_pool_title(struct page *page, const struct top_pool *pool)
{
	char extra[100] = "";
	if (pool->connecting > 0)
		snprintf(extra, sizeof extra, ", %.0f connecting", pool->connecting);
	else if (longest_busy(pool) >= LONG_S)
		snprintf(extra, sizeof extra, "; one without an answer for %s", words_span(longest_busy(pool)).s);
	if (pool->up) {
		part_title(page, "POOL %s (%s): %.0f of %.0f connections busy, %.0f idle%s", pool->name, pool->driver, pool->busy, pool->size, pool->idle, extra);
	} else {
		part_title(page, "POOL %s (%s): DOWN: %s", pool->name, pool->driver, pool->why[0] == '\0' ? "not connected yet" : pool->why);
		page_paint(page, LOOK_BAD);
	}
}

static void
put_pool(struct page *page, const struct top_pool *pool, unsigned lines)
{
	const struct top_connection *connections = pool->connections.items;
	unsigned a_line = connections_a_line(page);
	ASSERT(lines > 0 && a_line > 0);
	put_pool_title(page, pool);
	for (size_t i = 0; i < pool->connections.n; i++) {
		if (i % a_line == 0 && (i / a_line + 1 >= lines || !page_line(page)))
			break;
		put_connection(page, pool, &connections[i]);
	}
}

static void
pools_put(struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned tall, unsigned lines)
{
	const struct top_pool *pools = data->pools.items;
	(void)queue, (void)tall;
	for (size_t i = 0; i < data->pools.n && lines > 0; i++) {
		unsigned others = (unsigned)(data->pools.n - i - 1), most = lines > others ? lines - others : 1; /* each has its title at least */
		unsigned n = least(pool_lines(page, &pools[i]), most);
		put_pool(page, &pools[i], n);
		lines -= n;
	}
}

/* -- events */

static unsigned
events_want(const struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned tall)
{
	(void)page, (void)queue, (void)tall;
	return 1 + (unsigned)data->events.n + (data->events.n == 0);
}

static void
put_event(struct page *page, const struct top_event *e, unsigned most)
{
	bool bad = strcmp(e->level, "error") == 0, warn = strcmp(e->level, "warning") == 0;
	enum look look = bad ? LOOK_BAD : warn ? LOOK_WARN : LOOK_PLAIN;
	page_put(page, LOOK_DIM, " %s ", words_clock(e->time_s).s);
	page_put(page, look, "%s%s%s%s", bad || warn ? e->level : "", bad || warn ? ": " : "", e->subject, e->subject[0] == '\0' ? "" : ": ");
	if (e->times > 1)
		page_put(page, LOOK_PLAIN, "(%.0f times) ", e->times);
	page_wrap(page, look, 10, most, e->text);
}

static void
events_put(struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned tall, unsigned lines)
{
	const struct top_event *events = data->events.items;
	(void)queue, (void)tall;
	ASSERT(lines > 0);
	unsigned end = page->lines + lines;
	part_title(page, "LAST EVENTS");
	if (data->events.n == 0 && page->lines < end && page_line(page))
		page_put(page, LOOK_DIM, " none yet");
	for (size_t i = 0; i < data->events.n && page->lines < end && page_line(page); i++)
		put_event(page, &events[i], lines >= MANY_LINES && page->lines < end ? 2 : 1);
}

/* -- dead letters */

/* One of them, and whose it is. */
struct letter {
	const struct top_dead *dead;
	const char *queue;
};

static int
newer_first(const void *a, const void *b)
{
	double x = ((const struct letter *)a)->dead->time_s, y = ((const struct letter *)b)->dead->time_s;
	return (x < y) - (x > y);
}

static size_t
count_letters(const struct top_data *data, const struct top_queue *only)
{
	const struct top_queue *queues = data->queues.items;
	size_t n = 0;
	for (size_t i = 0; i < data->queues.n; i++)
		n += only == NULL || only == &queues[i] ? queues[i].last_dead.n : 0;
	return n;
}

/* Those of one queue, NULL: of all, the newest first; to be freed. */
static struct letter *
collect_letters(const struct top_data *data, const struct top_queue *only, size_t n)
{
	const struct top_queue *queues = data->queues.items;
	struct letter *letters = xcalloc(n + 1, sizeof *letters);
	size_t at = 0;
	for (size_t i = 0; i < data->queues.n; i++) {
		const struct top_dead *dead = queues[i].last_dead.items;
		for (size_t j = 0; (only == NULL || only == &queues[i]) && j < queues[i].last_dead.n; j++)
			letters[at++] = (struct letter){ &dead[j], queues[i].name };
	}
	ASSERT(at == n);
	qsort(letters, n, sizeof *letters, newer_first);
	return letters;
}

void
part_dead(struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned lines)
{
	size_t n = count_letters(data, queue);
	struct letter *letters = collect_letters(data, queue, n);
	ASSERT(lines > 0);
	unsigned end = page->lines + lines;
	part_title(page, "LAST DEAD LETTERS (`sluice dead show QUEUE` shows the orders)");
	if (n == 0 && page->lines < end && page_line(page))
		page_put(page, LOOK_DIM, " none since the daemon started");
	for (size_t i = 0; i < n && page->lines < end && page_line(page); i++) {
		const struct top_dead *dead = letters[i].dead;
		page_put(page, LOOK_DIM, " %s ", words_clock(dead->time_s).s);
		page_put(page, LOOK_PLAIN, "%s: position %.0f, %s%s%s", letters[i].queue, dead->position, dead->reason, dead->code[0] == '\0' ? "" : " ",
		    dead->code);
		page_put(page, LOOK_DIM, "%s%s", dead->meaning[0] == '\0' ? "" : ": ", dead->meaning);
	}
	free(letters);
}

static unsigned
dead_wants(const struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned tall)
{
	size_t n = count_letters(data, NULL);
	(void)page, (void)queue, (void)tall;
	return 1 + (unsigned)n + (n == 0);
}

static void
dead_put(struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned tall, unsigned lines)
{
	(void)queue, (void)tall;
	part_dead(page, data, NULL, lines);
}

const struct part top_parts[] = {
	{ history_wants, history_put, 20 },
	{ pools_want, pools_put, 1000 },
	{ events_want, events_put, 12 },
	{ dead_wants, dead_put, 12 },
};
_Static_assert(sizeof top_parts / sizeof *top_parts == TOP_PARTS, "top_view.h says how many");
