/* sluice top: the daemon's JSON read back, and the pages drawn of it. */
#include "top_view.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arena.h"
#include "buf.h"
#include "json.h"
#include "top_chart.h"
#include "top_data.h"
#include "top_page.h"
#include "top_words.h"

#define ADVICE "all 2 connections of pool shop are busy: each commit takes 12.0 ms; raise pool_size in [database shop], or see what it waits for"

static const char example[] = "{\"version\":\"1.2\",\"instance\":\"till\",\"time_s\":50000.5,\"uptime_s\":90,\"config_last_reload_successful\":true,"
    "\"unknown\":[1,{\"a\":[]}],\"queues\":["
    "{\"name\":\"orders\",\"database\":\"shop\",\"state\":\"drain\",\"bound_by\":\"database\",\"severity\":\"notice\","
    "\"advice\":\"" ADVICE "\",\"backlog\":4321,\"oldest_age_s\":63.5,\"in_per_s\":12.5,\"out_per_s\":1500,\"rows_per_batch\":200,\"commit_s\":0.012,\"dead\":7,\"time_to_empty_s\":null,"
    "\"pushed\":5000,\"difference\":0,\"conservation\":{\"stored\":670,\"duplicate\":2,\"dead\":7,\"taken\":0,\"waiting\":4321},"
    "\"last_dead\":[{\"time_s\":49999,\"position\":671,\"reason\":\"data\",\"code\":\"22001\",\"meaning\":\"too long\"}, {\"time_s\":49990,\"position\":3,"
    "\"reason\":\"message\",\"code\":\"\"}],"
    "\"history\":{\"step_s\":5,\"in\":[0,10,20],\"out\":[1500,0,750],\"backlog\":[1,2,4321],\"commit_ms\":[12,null,6],"
    "\"commit_p99_ms\":[20,null,9]}},"
    "{\"name\":\"refunds\",\"database\":\"shop\",\"state\":\"paused\",\"bound_by\":\"paused\",\"advice\":\"paused by an operator\",\"backlog\":0,"
    "\"oldest_age_s\":0,\"in_per_s\":0,\"out_per_s\":0,\"dead\":0,\"time_to_empty_s\":0,\"difference\":0,\"last_dead\":[]}],"
    "\"pools\":[{\"name\":\"shop\",\"driver\":\"postgresql\",\"size\":2,\"idle\":1,\"busy\":1,\"connecting\":0,\"up\":true,\"why\":\"\","
    "\"connections\":["
    "{\"state\":\"busy\",\"since_s\":4.2,\"queue\":\"orders\",\"rows\":200,\"server_id\":4711},"
    "{\"state\":\"idle\",\"since_s\":1,\"queue\":\"\",\"rows\":0,\"server_id\":4712}]}],"
    "\"redis\":{\"up\":true,\"why\":\"\",\"version\":\"7.0.15\",\"memory_used\":2500000,\"memory_max\":0,\"memory_ratio\":0},"
    "\"events\":[{\"time_s\":49999,\"times\":3,\"level\":\"warning\",\"subject\":\"queue orders\",\"text\":\"table \\u001b[31mgone\"}]}";

/* Reads it with what json_read() wants behind it. */
static struct top_data *
read_text(const char *text)
{
	struct buf padded = BUF_INIT;
	buf_adds(&padded, text);
	memset(buf_reserve(&padded, ARENA_PADDING), 0, ARENA_PADDING);
	struct top_data *data = top_data_read(padded.data, padded.len);
	buf_free(&padded);
	return data;
}

static struct top_view
view_of(const struct top_data *data)
{
	return (struct top_view){ .data = data, .trouble = "", .chosen = "", .keys = true, .interval_s = 2 };
}

/* The page as text, to be freed. */
static char *
draw(const struct top_view *view, unsigned width, unsigned height, bool utf8)
{
	struct page page;
	struct buf text = BUF_INIT;
	page_init(&page, width, height, utf8);
	top_view_draw(view, &page);
	assert_true(height == 0 || page.lines <= height);
	page_text(&page, &text);
	page_free(&page);
	char *copy = xstrdup(buf_cstr(&text));
	buf_free(&text);
	return copy;
}

static void
assert_has(const char *page, const char *text)
{
	if (strstr(page, text) == NULL)
		fail_msg("\"%s\" is not on the page:\n%s", text, page);
}

static void
assert_lacks(const char *page, const char *text)
{
	if (strstr(page, text) != NULL)
		fail_msg("\"%s\" is on the page:\n%s", text, page);
}

/* -- data */

static void
all_is_read(void **state)
{
	struct top_data *data = read_text(example);
	(void)state;
	assert_non_null(data);
	assert_string_equal(data->instance, "till");
	assert_true(data->reload_ok && data->redis_up);
	assert_int_equal(data->queues.n, 2);
	const struct top_queue *q = data->queues.items;
	assert_string_equal(q[0].advice, ADVICE);
	assert_float_equal(q[0].backlog, 4321, 0);
	assert_float_equal(q[0].duplicate, 2, 0);
	assert_true(isnan(q[0].empty_s) && q[1].empty_s == 0);
	assert_true(isnan(q[1].pushed));
	assert_int_equal(q[0].out_series.n, 3);
	assert_float_equal(((const double *)q[0].out_series.items)[2], 750, 0);
	assert_true(isnan(((const double *)q[0].commit_series.items)[1]));
	assert_int_equal(q[1].out_series.n, 0);
	assert_int_equal(q[0].last_dead.n, 2);
	assert_string_equal(((const struct top_dead *)q[0].last_dead.items)[0].code, "22001");
	const struct top_pool *pool = data->pools.items;
	assert_int_equal(pool->connections.n, 2);
	assert_string_equal(((const struct top_connection *)pool->connections.items)[1].state, "idle");
	assert_string_equal(((const struct top_event *)data->events.items)->text, "table ?[31mgone");
	top_data_free(&data);
	assert_null(data);
}

static void
what_is_not_sluices_is_refused(void **state)
{
	static const char *const texts[] = { "", "{", "[]", "{}", "<html>", "{\"instance\":7}", "{\"queues\":[]}" };
	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		assert_null(read_text(texts[i]));
}

static void
what_is_of_another_kind_is_empty(void **state)
{
	struct top_data *data = read_text("{\"instance\":\"x\",\"queues\":[3,\"]\",[1],{\"name\":[],\"backlog\":\"7\",\"history\":[],\"last_dead\":{}}, "
	    "{\"name\":\"a\\\"]b\"} ],\"pools\":{},\"events\":null}");
	(void)state;
	assert_non_null(data);
	assert_int_equal(data->queues.n, 5);
	const struct top_queue *q = data->queues.items;
	assert_string_equal(q[0].name, "");
	assert_true(isnan(q[3].backlog));
	assert_string_equal(q[4].name, "a\"]b");
	assert_int_equal(data->pools.n + data->events.n + q[3].last_dead.n, 0);
	struct top_view view = view_of(data);
	free(draw(&view, 80, 24, true));
	view.detail = true;
	free(draw(&view, 80, 24, true));
	top_data_free(&data);
}

static void
queues_are_sorted(void **state)
{
	struct top_data *data = read_text("{\"instance\":\"x\",\"queues\":[{\"name\":\"b\",\"backlog\":1,\"dead\":3},{\"name\":\"c\",\"backlog\":9},"
	    "{\"name\":\"a\",\"backlog\":1}]}");
	const struct top_queue *q = data->queues.items;
	(void)state;
	top_data_sort(data, 0);
	assert_string_equal(top_data_order(0), "name");
	assert_true(q[0].name[0] == 'a' && q[1].name[0] == 'b' && q[2].name[0] == 'c');
	assert_int_equal(top_data_find(data, "c"), 2);
	assert_int_equal(top_data_find(data, "gone"), 0);
	top_data_sort(data, 1);
	assert_true(q[0].name[0] == 'c' && q[1].name[0] == 'a' && q[2].name[0] == 'b');
	for (unsigned order = 0; order < TOP_ORDERS; order++)
		top_data_sort(data, order);
	top_data_free(&data);
}

/* -- page */

static void
text_is_cut_and_wrapped(void **state)
{
	struct page page;
	struct buf out = BUF_INIT;
	(void)state;
	page_init(&page, 10, 6, true);
	page_put(&page, LOOK_PLAIN, "goes nowhere");
	assert_true(page_line(&page));
	page_put(&page, LOOK_PLAIN, "0123456789ab");
	page_line(&page);
	page_cell(&page, LOOK_PLAIN, -5, "%d", 42);
	page_cell(&page, LOOK_PLAIN, 4, "abcdef");
	page_line(&page);
	page_wrap(&page, LOOK_BAD, 1, 3, "one two three\033 fourfivesix seven eight");
	page_line(&page);
	assert_false(page_line(&page));
	page_put(&page, LOOK_PLAIN, "lost");
	page_text(&page, &out);
	assert_string_equal(buf_cstr(&out), "012345678…\n   42abc…\none two\n three?\n fourfive…\n\n");
	assert_int_equal(page_cells(&page, 3)[1].look, LOOK_BAD);
	buf_free(&out);
	page_free(&page);
}

static void
characters_take_the_columns_that_they_take(void **state)
{
	struct page page;
	struct buf out = BUF_INIT;
	(void)state;
	page_init(&page, 8, 3, true);
	assert_int_equal(page_width_of(&page, "日本e\u0301\x80"), 6);
	page_line(&page);
	page_put(&page, LOOK_PLAIN, "日本語日本");
	page_line(&page);
	page_put(&page, LOOK_PLAIN, "a\u0301\x80\n\xc2\x9b\u200b.");
	page_text(&page, &out);
	page_free(&page);
	page_init(&page, 8, 1, false);
	page_line(&page);
	page_put(&page, LOOK_PLAIN, "日本 äß and more");
	page_text(&page, &out);
	page_free(&page);
	assert_string_equal(buf_cstr(&out), "日本語…\na???.\n?? ?? a~\n");
	buf_free(&out);
}

static void
a_chart_stands_on_its_right_end(void **state)
{
	static const double values[] = { NAN, 0, 1, 4, 8 };
	struct page page;
	struct buf out = BUF_INIT;
	(void)state;
	page_init(&page, CHART_POINTS + 10, 9, true);
	for (unsigned row = 2; row-- > 0;) {
		page_line(&page);
		chart_row(&page, LOOK_PLAIN, CHART_POINTS, values, 5, 8, row, 2);
	}
	page_line(&page);
	chart_row(&page, LOOK_PLAIN, 2, values, 5, 8, 0, 1);
	page.utf8 = false;
	page_line(&page);
	chart_row(&page, LOOK_PLAIN, CHART_POINTS, values, 5, 8, 0, 1);
	page_line(&page);
	chart_row(&page, LOOK_PLAIN, CHART_POINTS + 10, values, 5, 0, 0, 1);
	page_text(&page, &out);
	char *text = xstrdup(buf_cstr(&out));
	const char *ends[] = { " █", "·▂██", " █", "_.-#", "____" };
	char *line = strtok(text, "\n");
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++, line = strtok(NULL, "\n")) {
		assert_non_null(line);
		assert_string_equal(line + strlen(line) - strlen(ends[i]), ends[i]);
		assert_int_equal(strspn(line, " ") + strlen(line + strspn(line, " ")), strlen(line));
	}
	free(text);
	buf_free(&out);
	page_free(&page);
	assert_float_equal(chart_most(values, 5), 8, 0);
	assert_float_equal(chart_most(values, 1), 0, 0);
}

static void
numbers_are_short(void **state)
{
	(void)state;
	assert_string_equal(words_count(12345678).s, "12345678");
	assert_string_equal(words_count(123456789).s, "123.5M");
	assert_string_equal(words_count(NAN).s, "-");
	assert_string_equal(words_rate(0).s, "0");
	assert_string_equal(words_rate(.25).s, "0.2");
	assert_string_equal(words_rate(1234.5).s, "1234");
	assert_string_equal(words_span(3.21).s, "3.2 s");
	assert_string_equal(words_span(75).s, "75 s");
	assert_string_equal(words_span(600).s, "10 min");
	assert_string_equal(words_span(7200).s, "2.0 h");
	assert_string_equal(words_span(864000).s, "10 d");
	assert_string_equal(words_span(INFINITY).s, "-");
	assert_string_equal(words_clock(49999).s, "13:53:19");
	assert_string_equal(words_clock(NAN).s, "-");
}

/* -- view */

static void
a_page_says_why(void **state)
{
	struct top_data *data = read_text(example);
	struct top_view view = view_of(data);
	(void)state;
	char *page = draw(&view, 80, 24, true);
	static const char *const texts[] = {
		"sluice  till  13:53:20", "Redis 7.0.15 up, 2.5 MB; shop up, 1 of 2 busy",
		">orders  drain       4321   64 s     12   1500     200        12      7    never",
		"bound by database: all 2 connections of pool shop are busy", "waits for\n", " refunds paused         0      -", "   paused by an operator\n",
		"QUEUE orders, LAST 15 MINUTES", " out/s ", "750 now     1500 most", "5000 pushed = 670 stored + 2 duplicate + 7 dead + 4321 waiting\n",
		"POOL shop (postgresql): 1 of 2 connections busy, 1 idle; one without an answer ",
		" pid 4711     4.2 s orders    200 rows  pid 4712     1.0 s idle",
		" 13:53:19 warning: queue orders: (3 times) table ?[31mgone", " 13:53:19 orders: position 671, data 22001: too long\n", "q quit",
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		assert_has(page, texts[i]);
	assert_lacks(page, "NO ANSWER");
	free(page);
	top_data_free(&data);
}

static void
every_size_has_its_page(void **state)
{
	static const unsigned sizes[][2] = { { 40, 10 }, { 300, 100 }, { 1, 1 }, { 20, 3 }, { 80, 2 }, { 5, 40 }, { 500, 5 }, { 80, 24 }, { 120, 40 } };
	struct top_data *data = read_text(example);
	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes * 16; i++) {
		const unsigned *size = sizes[i / 16];
		struct top_view view = view_of(data);
		view.detail = i & 1;
		view.help = (i & 3) == 3;
		view.trouble = i & 4 ? "a long story of why nobody answers at this place, and what to do about it" : "";
		view.first = i & 8 ? 2 : 0;
		char *page = draw(&view, size[0], size[1], i & 1), *last = strrchr(page, 'q');
		if (size[0] > 6 && size[1] > 1)
			assert_true(last != NULL && strstr(page, "\nq quit") != NULL);
		free(page);
	}
	struct top_view view = view_of(data);
	char *page = draw(&view, 40, 10, true);
	assert_has(page, ">orders");
	assert_has(page, "bound by database");
	free(page);
	top_data_free(&data);
}

static void
many_queues_are_a_window_on_them(void **state)
{
	struct buf json = BUF_INIT;
	(void)state;
	buf_adds(&json, "{\"instance\":\"x\",\"queues\":[");
	for (int i = 0; i < 100; i++)
		buf_addf(&json, "%s{\"name\":\"queue%02d\",\"difference\":0,\"state\":\"drain\",\"bound_by\":\"pool\",\"advice\":\"advice %d\",\"oldest_age_s\":9}",
		    i > 0 ? "," : "", i, i);
	buf_adds(&json, "]}");
	struct top_data *data = read_text(buf_cstr(&json));
	struct top_view view = view_of(data);
	for (unsigned chosen = 0; chosen < 100; chosen += 33) {
		char name[12], row[40], advice[40];
		snprintf(name, sizeof name, "queue%02u", chosen);
		snprintf(row, sizeof row, ">%s drain", name);
		snprintf(advice, sizeof advice, "bound by pool: advice %u\n", chosen);
		view.chosen = name;
		char *page = draw(&view, 80, 24, true);
		assert_has(page, row);
		assert_has(page, advice);
		assert_has(page, "of 100 queues");
		assert_has(page, "BOUND BY");
		free(page);
	}
	top_data_free(&data);
	buf_free(&json);
}

static void
a_daemon_that_is_away_is_told(void **state)
{
	struct top_data *data = read_text(example);
	struct top_view view = view_of(data);
	(void)state;
	view.trouble = "nobody answers at :1";
	view.age_s = 12;
	char *page = draw(&view, 80, 24, true);
	assert_has(page, "NO ANSWER, the figures are 12 s old: nobody answers at :1; trying again");
	assert_has(page, ">orders");
	free(page);
	view.trouble = "";
	view.late = true;
	view.data = NULL;
	page = draw(&view, 80, 24, true);
	assert_has(page, "NO ANSWER; trying again");
	free(page);
	view.late = false;
	view.held = true;
	page = draw(&view, 80, 24, true);
	assert_lacks(page, "NO ANSWER");
	assert_has(page, "DISPLAY HELD");
	free(page);
	top_data_free(&data);
}

static void
the_page_of_a_queue_has_it_all(void **state)
{
	struct top_data *data = read_text(example);
	struct top_view view = view_of(data);
	(void)state;
	view.detail = true;
	view.chosen = "orders";
	char *page = draw(&view, 80, 24, true);
	static const char *const texts[] = { " orders  drain", "bound by database: ", "4321 waiting", "QUEUE orders INTO DATABASE shop", "in/s", "out/s",
		"backlog", "commit ms", "99 % below", "position 671, data 22001", "position 3, message\n", "Enter back" };
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		assert_has(page, texts[i]);
	free(page);
	view.chosen = "refunds";
	page = draw(&view, 80, 24, true);
	assert_has(page, "none since the daemon started");
	free(page);
	top_data_free(&data);
}

static void
what_is_printed_once_has_no_end(void **state)
{
	struct top_data *data = read_text(example);
	struct top_view view = view_of(data);
	(void)state;
	view.keys = false;
	char *page = draw(&view, 120, 0, false);
	assert_has(page, " orders  drain");
	assert_has(page, "LAST DEAD LETTERS");
	assert_lacks(page, "q quit");
	assert_lacks(page, ">");
	for (const char *c = page; *c != '\0'; c++)
		assert_true(*c == '\n' || (*c >= ' ' && *c < 0x7f));
	free(page);
	top_data_free(&data);
}

static void
bad_news_stand_out(void **state)
{
	struct top_data *data = read_text("{\"instance\":\"x\",\"config_last_reload_successful\":false,\"queues\":[{\"name\":\"q\",\"state\":\"blocked\","
	    "\"bound_by\":\"paused\",\"severity\":\"alarm\",\"advice\":\"no table\",\"pushed\":10,\"difference\":3,\"conservation\":{\"stored\":7,\"waiting\":0}}],"
	    "\"pools\":[{\"name\":\"shop\",\"driver\":\"mysql\",\"up\":false,\"why\":\"refused\",\"connections\":[{\"state\":\"closed\",\"since_s\":1}]}],"
	    "\"redis\":{\"up\":false,\"why\":\"gone\"}}");
	struct top_view view = view_of(data);
	(void)state;
	char *page = draw(&view, 80, 24, true);
	assert_has(page, "LAST RELOAD FAILED; Redis DOWN: gone; shop DOWN");
	assert_has(page, "no table; NOT ALL ORDERS ARE ACCOUNTED FOR");
	assert_has(page, "10 pushed = 7 stored + 0 waiting + 3 NOT ACCOUNTED FOR");
	assert_has(page, "POOL shop (mysql): DOWN: refused");
	assert_has(page, " -            1.0 s closed");
	free(page);
	top_data_free(&data);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_read), cmocka_unit_test(what_is_not_sluices_is_refused), cmocka_unit_test(what_is_of_another_kind_is_empty),
		cmocka_unit_test(queues_are_sorted), cmocka_unit_test(text_is_cut_and_wrapped), cmocka_unit_test(characters_take_the_columns_that_they_take),
		cmocka_unit_test(a_chart_stands_on_its_right_end), cmocka_unit_test(numbers_are_short), cmocka_unit_test(a_page_says_why),
		cmocka_unit_test(every_size_has_its_page), cmocka_unit_test(many_queues_are_a_window_on_them), cmocka_unit_test(a_daemon_that_is_away_is_told),
		cmocka_unit_test(the_page_of_a_queue_has_it_all), cmocka_unit_test(what_is_printed_once_has_no_end), cmocka_unit_test(bad_news_stand_out),
	};
	setlocale(LC_CTYPE, "C.UTF-8");
	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
