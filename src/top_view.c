/* The page's frame and the queues. */
#include "top_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "top_data.h"
#include "top_page.h"
#include "top_parts.h"
#include "top_words.h"

#define NAME_MOST 24        /* columns that a queue's name gets where others want room too */
#define BELOW 9             /* lines that the parts get at least where queues would take them all */
#define SENTENCE_LINES 4
#define OTHERS_LINES 2      /* of the sentence of a queue that is not chosen */
#define TALL_MOST 4         /* lines of a chart in the overview */

/* -- the table of queues */

static struct words
short_text(const char *text)
{
	struct words w;
	snprintf(w.s, sizeof w.s, "%.*s", (int)sizeof w.s - 1, text);
	return w;
}

static struct words
state_of(const struct top_queue *q)
{
	return short_text(q->state);
}

static struct words
backlog_of(const struct top_queue *q)
{
	return words_count(q->backlog);
}

static struct words
oldest_of(const struct top_queue *q)
{
	return words_span(q->backlog == 0 ? NAN : q->oldest_age_s);
}

static struct words
in_of(const struct top_queue *q)
{
	return words_rate(q->in);
}

static struct words
out_of(const struct top_queue *q)
{
	return words_rate(q->out);
}

static struct words
rows_of(const struct top_queue *q)
{
	return words_rate(q->rows_per_batch == 0 ? NAN : q->rows_per_batch);
}

static struct words
commit_of(const struct top_queue *q)
{
	return words_rate(q->commit_s == 0 ? NAN : q->commit_s * 1000);
}

static struct words
dead_of(const struct top_queue *q)
{
	return words_count(q->dead);
}

static struct words
empty_of(const struct top_queue *q)
{
	bool never = isnan(q->empty_s) && strcmp(q->severity, "ok") != 0;
	return q->backlog == 0 ? short_text("-") : never ? short_text("never") : words_span(q->empty_s);
}

static struct words
bound_of(const struct top_queue *q)
{
	return short_text(q->bound_by);
}

static const struct column {
	const char *title;
	int width;      /* negative: flush right */
	unsigned keep;  /* on a narrow page the one with the greatest number goes first */
	struct words (*text)(const struct top_queue *);
} columns[] = {
	{ "STATE", 7, 2, state_of },
	{ "BACKLOG", -8, 1, backlog_of },
	{ "OLDEST", -6, 6, oldest_of },
	{ "IN/S", -6, 5, in_of },
	{ "OUT/S", -6, 4, out_of },
	{ "ROWS/TX", -7, 9, rows_of },
	{ "COMMIT MS", -9, 10, commit_of },
	{ "DEAD", -6, 7, dead_of },
	{ "EMPTY IN", -8, 8, empty_of },
	{ "BOUND BY", 10, 3, bound_of },
};

#define N_COLUMNS (sizeof columns / sizeof *columns)

static unsigned
width_of(const struct column *column)
{
	return 1 + (unsigned)(column->width < 0 ? -column->width : column->width);
}

/* What the table looks like on this page. */
struct table {
	unsigned name;      /* columns of the name */
	unsigned drop_from; /* columns whose `keep` is this or more are left out */
	bool without_verdict; /* the sentences have it */
	bool sentences;     /* below each row, else only that of the chosen queue, below the table */
};

static bool
has_column(const struct table *table, const struct column *column)
{
	return column->keep < table->drop_from && !(table->without_verdict && column->text == bound_of);
}

static unsigned
sum_of(const struct table *table)
{
	unsigned sum = 0;
	ASSERT(table->drop_from > 0);
	for (size_t i = 0; i < N_COLUMNS; i++)
		sum += has_column(table, &columns[i]) ? width_of(&columns[i]) : 0;
	return sum;
}

static struct table
lay_out(const struct top_view *view, const struct page *page)
{
	const struct top_queue *queues = view->data->queues.items;
	struct table t = { .name = 6, .drop_from = N_COLUMNS + 1 };
	size_t n = view->data->queues.n;
	t.sentences = page->height == 0 || (n * 3 <= page->height / 2 && page->height >= 16);
	for (size_t i = 0; i < n; i++) {
		unsigned width = page_width_of(page, queues[i].name);
		t.name = width > t.name ? width : t.name;
	}
	unsigned name = t.name < NAME_MOST ? t.name : NAME_MOST;
	t.without_verdict = t.sentences && 1 + name + sum_of(&t) > page->width;
	while (t.drop_from > 1 && 1 + name + sum_of(&t) > page->width)
		t.drop_from--;
	if (1 + t.name + sum_of(&t) > page->width)
		t.name = page->width > sum_of(&t) + 1 ? page->width - sum_of(&t) - 1 : 1;
	return t;
}

static void
put_head(const struct table *t, struct page *page)
{
	page_line(page);
	page_cell(page, LOOK_TITLE, (int)t->name + 1, " QUEUE");
	for (size_t i = 0; i < N_COLUMNS; i++) {
		if (!has_column(t, &columns[i]))
			continue;
		page_put(page, LOOK_TITLE, " ");
		page_cell(page, LOOK_TITLE, columns[i].width, "%s", columns[i].title);
	}
	page_paint(page, LOOK_TITLE);
}

static enum look
look_of(const struct top_queue *q)
{
	if (strcmp(q->severity, "alarm") == 0)
		return LOOK_BAD;
	return strcmp(q->severity, "ok") == 0 ? LOOK_GOOD : LOOK_WARN;
}

static void
put_row(const struct table *t, struct page *page, const struct top_queue *q, bool chosen)
{
	page_put(page, LOOK_PLAIN, chosen ? ">" : " ");
	page_cell(page, LOOK_PLAIN, (int)t->name, "%s", q->name);
	for (size_t i = 0; i < N_COLUMNS; i++) {
		bool verdict = columns[i].text == bound_of || columns[i].text == state_of;
		if (!has_column(t, &columns[i]))
			continue;
		page_put(page, LOOK_PLAIN, " ");
		page_cell(page, verdict ? look_of(q) : LOOK_PLAIN, columns[i].width, "%s", columns[i].text(q).s);
	}
	if (chosen)
		page_paint(page, LOOK_CHOSEN);
}

/* A queue that somebody should care for is bound by something; of others the advice says enough. */
static bool
is_bound(const struct top_queue *q)
{
	static const char *const binding[] = { "database", "pool", "redis", "rate limit" };
	for (size_t i = 0; i < sizeof binding / sizeof *binding; i++) {
		if (strcmp(q->bound_by, binding[i]) == 0)
			return strcmp(q->severity, "ok") != 0;
	}
	return false;
}

/* What binds the queue, and what to do. */
static void
put_sentence(struct page *page, const struct top_queue *q, unsigned most)
{
	char text[1200];
	snprintf(text, sizeof text, "%s%s%s%s%s", is_bound(q) ? "bound by " : "", is_bound(q) ? q->bound_by : "", is_bound(q) ? ": " : "", q->advice,
	    fabs(q->difference) > 0 ? "; NOT ALL ORDERS ARE ACCOUNTED FOR: Enter shows the sum" : "");
	if (!page_line(page))
		return;
	page_tab(page, 3);
	page_wrap(page, look_of(q), 3, most, text);
}

/* Which rows are seen: all, or as many around the chosen one as there is room for. */
struct window {
	size_t begin, end;
};

static struct window
window_of(const struct page *page, const struct table *t, size_t n, size_t chosen)
{
	unsigned left = page_left(page);
	size_t room = left > BELOW + SENTENCE_LINES + 3 ? left - BELOW - SENTENCE_LINES : 3;
	struct window w = { 0, n };
	if (t->sentences || n <= room)
		return w;
	w.begin = chosen > room / 2 ? chosen - room / 2 : 0;
	if (w.begin + room > n)
		w.begin = n - room;
	w.end = w.begin + room;
	ASSERT(w.end <= n && chosen >= w.begin && chosen < w.end);
	return w;
}

static void
put_queues(const struct top_view *view, struct page *page, size_t chosen)
{
	const struct top_queue *queues = view->data->queues.items;
	size_t n = view->data->queues.n;
	struct table t = lay_out(view, page);
	put_head(&t, page);
	struct window w = window_of(page, &t, n, chosen);
	for (size_t i = w.begin; i < w.end && page_line(page); i++) {
		put_row(&t, page, &queues[i], view->keys && i == chosen);
		if (t.sentences)
			put_sentence(page, &queues[i], page->height == 0 || i == chosen ? SENTENCE_LINES : OTHERS_LINES);
	}
	if (n > 0 && !t.sentences) {
		if (w.end - w.begin < n && page_line(page))
			page_put(page, LOOK_DIM, " %zu to %zu of %zu queues", w.begin + 1, w.end, n);
		put_sentence(page, &queues[chosen], SENTENCE_LINES);
	}
}

/* -- head and foot */

static void
put_first_line(const struct top_view *v, struct page *page)
{
	page_line(page);
	page_put(page, LOOK_PLAIN, "sluice");
	if (v->held)
		page_put(page, LOOK_WARN, "  DISPLAY HELD (p goes on)");
	if (v->data == NULL)
		return;
	page_put(page, LOOK_PLAIN, "  %s  %s", v->data->instance, words_clock(v->data->time_s).s);
	page_put(page, LOOK_DIM, "  up %s  version %s", words_span(v->data->uptime_s).s, v->data->version);
}

static void
put_redis(const struct top_data *data, struct page *page)
{
	if (!data->redis_up)
		page_put(page, LOOK_BAD, " Redis DOWN: %s", data->redis_why);
	else
		page_put(page, LOOK_PLAIN, " Redis%s%s up", data->redis_version[0] == '\0' ? "" : " ", data->redis_version);
	if (data->memory_ratio > 0)
		page_put(page, data->memory_ratio >= .8 ? LOOK_BAD : LOOK_PLAIN, ", %.0f %% of maxmemory", data->memory_ratio * 100);
	else if (data->memory_used > 0)
		page_put(page, LOOK_DIM, ", %.1f MB", data->memory_used / 1e6);
}

static void
put_servers(const struct top_data *data, struct page *page)
{
	const struct top_pool *pools = data->pools.items;
	page_line(page);
	if (!data->reload_ok)
		page_put(page, LOOK_BAD, " LAST RELOAD FAILED;");
	put_redis(data, page);
	for (size_t i = 0; i < data->pools.n; i++) {
		if (pools[i].up)
			page_put(page, LOOK_PLAIN, "; %s up, %.0f of %.0f busy", pools[i].name, pools[i].busy, pools[i].size);
		else
			page_put(page, LOOK_BAD, "; %s DOWN", pools[i].name);
	}
}

/* That the daemon does not answer, and how old is what is shown. */
static void
put_trouble(const struct top_view *v, struct page *page)
{
	char text[1000], age[60] = "";
	if (v->data != NULL)
		snprintf(age, sizeof age, ", the figures are %s old", words_span(v->age_s).s);
	snprintf(text, sizeof text, "NO ANSWER%s%s%.900s; trying again", age, v->trouble[0] == '\0' ? "" : ": ", v->trouble);
	page_line(page);
	page_wrap(page, LOOK_BAD, 1, 3, text);
}

static void
put_keys(const struct top_view *v, struct page *page)
{
	while (page_left(page) > 1)
		page_line(page);
	page_line(page);
	page_put(page, LOOK_TITLE, "q quit  h help  %s queue  Enter %s  s by %s  Tab part  p hold  +- %u s", page->utf8 ? "\u2191\u2193" : "j k",
	    v->detail ? "back" : "detail", top_data_order(v->order), v->interval_s);
	page_paint(page, LOOK_TITLE);
}

static void
put_help(struct page *page)
{
	static const char *const lines[] = {
		"q Ctrl-C    quit                      s F6   sort the queues by the next column",
		"up down j k choose a queue            Tab    the next part comes first",
		"Enter       its page, and back        p      hold the display, and go on",
		"h F1 ?      this text, and back       + -    ask less often, more often",
		"",
		"The sentence of a queue says what it waits for, and what to do:",
		"  database    its connections are all at work   pool   other queues use them",
		"  redis       orders come too slowly            rate limit, paused ...",
		"BACKLOG   orders in the list      OLDEST  how long the first of them has waited",
		"IN OUT/S  orders a second, over the last 5 to 10 seconds",
		"ROWS/TX   rows a transaction      COMMIT MS  how long a transaction takes",
		"DEAD      dead letters, see `sluice dead list QUEUE`",
		"EMPTY IN  when the backlog is gone, if nothing changes",
		"A chart is 15 minutes long; each column is the greatest value of its time.",
		"Nothing here changes anything: see sluice pause, resume, dead.",
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines && page_left(page) > 1 && page_line(page); i++)
		page_put(page, LOOK_PLAIN, " %s", lines[i]);
}

/* -- pages */

/* Lines that all parts together could fill. */
static unsigned
wanted(const struct top_view *v, const struct page *page, const struct top_queue *queue, unsigned tall)
{
	unsigned sum = 0;
	for (unsigned i = 0; i < TOP_PARTS; i++)
		sum += top_parts[i].wants(page, v->data, queue, tall);
	return sum;
}

/* Lines of each chart: more where nothing else needs them. */
static unsigned
tall_on(const struct top_view *v, const struct page *page, const struct top_queue *queue)
{
	unsigned tall = 1;
	while (page->height > 0 && tall < TALL_MOST && wanted(v, page, queue, tall + 1) <= page_left(page))
		tall++;
	return tall;
}

/* Gives each part its title and a line, then those in front what they want. */
static void
put_parts(const struct top_view *v, struct page *page, const struct top_queue *queue)
{
	unsigned gives[TOP_PARTS] = { 0 }, room = page_left(page), tall = tall_on(v, page, queue);
	for (unsigned i = 0; i < TOP_PARTS * 2; i++) {
		unsigned part = (v->first + i) % TOP_PARTS, wants = top_parts[part].wants(page, v->data, queue, tall) - gives[part];
		unsigned most = i < TOP_PARTS ? 2 : page->height == 0 ? top_parts[part].once_most : room;
		unsigned more = wants < most ? wants : most;
		more = more < room ? more : room;
		gives[part] += more;
		room -= more;
	}
	for (unsigned i = 0; i < TOP_PARTS; i++) {
		unsigned part = (v->first + i) % TOP_PARTS;
		if (gives[part] > 0 && page->height == 0)
			page_line(page);
		if (gives[part] > 0)
			top_parts[part].put(page, v->data, queue, tall, gives[part]);
	}
}

static void
put_detail(const struct top_view *v, struct page *page, const struct top_queue *q)
{
	ASSERT(v->detail);
	unsigned dead = 2 + (unsigned)q->last_dead.n;
	struct table t = lay_out(v, page);
	put_head(&t, page);
	page_line(page);
	put_row(&t, page, q, false);
	put_sentence(page, q, SENTENCE_LINES);
	part_account(page, q, 2);
	part_title(page, "QUEUE %s INTO DATABASE %s, LAST 15 MINUTES", q->name, q->database);
	unsigned room = page_left(page), tall = 1;
	while (tall < 8 && part_curves_want(true, tall + 1) + (dead < 5 ? dead : 5) <= room)
		tall++;
	part_curves(page, q, true, tall, room);
	if (page_left(page) > 1)
		part_dead(page, v->data, q, page_left(page));
}

static void
put_body(const struct top_view *v, struct page *page)
{
	const struct top_queue *queues = v->data->queues.items;
	size_t chosen = top_data_find(v->data, v->chosen);
	ASSERT(chosen == 0 || chosen < v->data->queues.n);
	if (v->detail && v->data->queues.n > 0) {
		put_detail(v, page, &queues[chosen]);
		return;
	}
	put_queues(v, page, chosen);
	put_parts(v, page, v->data->queues.n > 0 ? &queues[chosen] : NULL);
}

void
top_view_draw(const struct top_view *v, struct page *page)
{
	unsigned foot = v->keys && page->height > 1 ? 1 : 0;
	ASSERT(page->lines == 0 && v->trouble != NULL && v->first < TOP_PARTS);
	page->height -= foot;
	put_first_line(v, page);
	if (v->trouble[0] != '\0' || v->late)
		put_trouble(v, page);
	if (v->help) {
		put_help(page);
	} else if (v->data != NULL) {
		put_servers(v->data, page);
		put_body(v, page);
	}
	page->height += foot;
	if (foot > 0)
		put_keys(v, page);
}
