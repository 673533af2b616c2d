/* sluice top: what the daemon does, in a terminal; or once as text, as JSON, or a line now and then. Nothing in it changes the daemon. */
#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "buf.h"
#include "clock.h"
#include "text.h"
#include "top_ask.h"
#include "top_data.h"
#include "top_page.h"
#include "top_screen.h"
#include "top_view.h"
#include "top_words.h"

#define INTERVAL_S 2     /* between two questions, where nobody says another time */
#define INTERVAL_MOST 3600
#define LATE_MS 3000     /* an answer that has not come so long after it was due is told to be missing */
#define REDRAW_MS 1000   /* the age of the figures goes on without them */
#define ONCE_WIDTH 120
#define WIDTH_LEAST 20
#define WIDTH_MOST 1000
#define HEAD_EVERY 20    /* rolling lines */

static const char not_sluice[] = "the answer is not sluice's: does another version, or program, answer?";

/* Reads an answer; NULL: then the sentence why stands in its place. */
static struct top_data *
read_answer(int status, struct buf *answer)
{
	struct buf clean = BUF_INIT;
	struct top_data *data = NULL;
	memset(buf_reserve(answer, ARENA_PADDING), 0, ARENA_PADDING);
	if (status == EX_OK)
		data = top_data_read(answer->data, answer->len);
	if (data == NULL && (status == EX_OK || answer->len == 0)) {
		buf_reset(answer);
		buf_adds(answer, not_sluice);
	}
	text_clean(&clean, answer->data, data == NULL ? answer->len : 0);
	buf_reset(answer);
	buf_add(answer, clean.data, clean.len);
	buf_free(&clean);
	return data;
}

static bool
is_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

/* -- once */

static unsigned
once_width(void)
{
	const char *columns = getenv("COLUMNS");
	long width = columns == NULL ? 0 : strtol(columns, NULL, 10);
	return width >= WIDTH_LEAST && width <= WIDTH_MOST ? (unsigned)width : ONCE_WIDTH;
}

static void
print_once(struct top_data *data)
{
	struct top_view view = { .data = data, .trouble = "", .chosen = "" };
	struct page page;
	struct buf text = BUF_INIT;
	top_data_sort(data, 0);
	page_init(&page, once_width(), 0, is_utf8());
	top_view_draw(&view, &page);
	page_text(&page, &text);
	fwrite(text.data, 1, text.len, stdout);
	buf_free(&text);
	page_free(&page);
}

/* Prints it all, as the daemon's own JSON or as tables. */
static int
once(const struct config *config, bool json)
{
	struct buf answer = BUF_INIT;
	int status = top_ask_wait(config, &answer);
	ASSERT(status == EX_OK || answer.len > 0);
	if (status == EX_OK && json) {
		fwrite(answer.data, 1, answer.len, stdout);
		buf_free(&answer);
		return EX_OK;
	}
	struct top_data *data = read_answer(status, &answer);
	if (data != NULL)
		print_once(data);
	else
		fprintf(stderr, "sluice top: %s\n", buf_cstr(&answer));
	if (data == NULL && status == EX_OK)
		status = EX_UNAVAILABLE;
	top_data_free(&data);
	buf_free(&answer);
	return status;
}

/* -- a line now and then */

/* All queues together. */
struct sum {
	double backlog, in, out, dead, busy, size;
	const struct top_queue *oldest; /* the queue whose order has waited for longest; NULL: there is no queue */
};

static struct sum
sum_of(const struct top_data *data)
{
	const struct top_queue *queues = data->queues.items;
	const struct top_pool *pools = data->pools.items;
	struct sum sum = { 0 };
	for (size_t i = 0; i < data->queues.n; i++) {
		sum.backlog += queues[i].backlog;
		sum.in += queues[i].in;
		sum.out += queues[i].out;
		sum.dead += queues[i].dead;
		if (sum.oldest == NULL || queues[i].oldest_age_s > sum.oldest->oldest_age_s)
			sum.oldest = &queues[i];
	}
	for (size_t i = 0; i < data->pools.n; i++) {
		sum.busy += pools[i].busy;
		sum.size += pools[i].size;
	}
	return sum;
}

static void
print_now(void)
{
	char text[40];
	struct tm tm;
	time_t now = time(NULL);
	if (localtime_r(&now, &tm) == NULL || strftime(text, sizeof text, "%F %T", &tm) == 0)
		text[0] = '\0';
	printf("%-19s ", text);
}

static void
print_line(const struct top_data *data)
{
	struct sum sum = sum_of(data);
	double oldest_s = sum.oldest == NULL ? NAN : sum.oldest->oldest_age_s, commit_s = sum.oldest == NULL ? NAN : sum.oldest->commit_s;
	print_now();
	printf("%9s %8s %8s %7s %7s %9s %8.0f/%-4.0f ", words_count(sum.backlog).s, words_rate(sum.in).s, words_rate(sum.out).s, words_count(sum.dead).s,
	    words_span(oldest_s).s, words_rate(commit_s * 1000).s, sum.busy, sum.size);
	if (sum.oldest == NULL)
		puts("-");
	else
		printf("%s: %s\n", sum.oldest->name, sum.oldest->bound_by);
}

/* A line in so many seconds, until a signal comes or nobody reads any more. */
static int
roll(const struct config *config, unsigned interval_s)
{
	for (unsigned n = 0; !ferror(stdout); n++) {
		struct buf answer = BUF_INIT;
		int status = top_ask_wait(config, &answer);
		struct top_data *data = read_answer(status, &answer);
		if (n % HEAD_EVERY == 0)
			printf("%-19s %9s %8s %8s %7s %7s %9s %13s %s\n", "TIME", "BACKLOG", "IN/S", "OUT/S", "DEAD", "OLDEST", "COMMIT MS", "BUSY     ",
			    "SLOWEST QUEUE: BOUND BY");
		if (data != NULL) {
			print_line(data);
		} else {
			print_now();
			printf("no answer: %s\n", buf_cstr(&answer));
		}
		fflush(stdout);
		top_data_free(&data);
		buf_free(&answer);
		sleep(interval_s);
	}
	return EX_OK;
}

/* -- the terminal */

struct top {
	const struct config *config;
	struct screen *screen;
	struct top_data *data;    /* the last that came; NULL: none yet */
	struct buf trouble;       /* why nothing came when it was last asked for; "": it came */
	struct top_ask ask;
	struct top_view view;     /* what the operator chose; the rest is filled in at each look */
	char chosen[100];         /* the name of a queue; "": the first */
	uint64_t data_ms;         /* when the data came; or when we began */
	uint64_t due_ms;          /* when to ask again */
	int signals;              /* a signalfd */
	bool done;
};

static void
draw(struct top *t)
{
	struct page page;
	unsigned width, height;
	uint64_t age_ms = clock_ms() - t->data_ms;
	t->view.data = t->data;
	t->view.trouble = buf_cstr(&t->trouble);
	t->view.age_s = (double)age_ms / 1000;
	t->view.late = !t->view.held && age_ms > t->view.interval_s * 1000 + LATE_MS;
	t->view.chosen = t->chosen;
	screen_size(t->screen, &width, &height);
	page_init(&page, width, height, is_utf8());
	top_view_draw(&t->view, &page);
	screen_show(t->screen, &page);
	page_free(&page);
}

/* Moves the choice by so many queues. */
static void
choose(struct top *t, int by)
{
	if (t->data == NULL || t->data->queues.n == 0)
		return;
	const struct top_queue *queues = t->data->queues.items;
	size_t at = top_data_find(t->data, t->chosen);
	ASSERT(by == 1 || by == -1);
	if (by < 0 ? at > 0 : at + 1 < t->data->queues.n)
		at += (size_t)by;
	ASSERT(at < t->data->queues.n);
	snprintf(t->chosen, sizeof t->chosen, "%s", queues[at].name);
}

/* The next of these intervals, the longer or the shorter. */
static unsigned
next_interval(unsigned now, bool longer)
{
	static const unsigned intervals[] = { 1, 2, 5, 10, 30, 60, 300, 900, INTERVAL_MOST };
	unsigned shorter = 1;
	for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++) {
		if (longer && intervals[i] > now)
			return intervals[i];
		if (intervals[i] < now)
			shorter = intervals[i];
	}
	return longer ? now : shorter;
}

static void
set_interval(struct top *t, bool longer)
{
	t->view.interval_s = next_interval(t->view.interval_s, longer);
	t->due_ms = clock_ms();
}

static void
sort(struct top *t)
{
	if (t->data != NULL)
		top_data_sort(t->data, t->view.order);
}

static void
press(struct top *t, enum top_key key)
{
	struct top_view *v = &t->view;
	switch (key) {
	case TOP_END:
	case TOP_QUIT:
		t->done = true;
		break;
	case TOP_UP:
	case TOP_DOWN:
		choose(t, key == TOP_UP ? -1 : 1);
		break;
	case TOP_DETAIL:
		v->detail = !v->detail && !v->help;
		v->help = false;
		break;
	case TOP_BACK:
		v->detail = v->detail && v->help;
		v->help = false;
		break;
	case TOP_SORT:
		v->order = (v->order + 1) % TOP_ORDERS;
		sort(t);
		break;
	case TOP_PART:
		v->first = (v->first + 1) % TOP_PARTS;
		break;
	case TOP_HOLD:
		v->held = !v->held;
		break;
	case TOP_SLOWER:
	case TOP_FASTER:
		set_interval(t, key == TOP_SLOWER);
		break;
	case TOP_HELP:
		v->help = !v->help;
		break;
	case TOP_NONE:
	case TOP_KEYS:
		break;
	}
}

/* The answer is whole. While the display is held it comes too late. */
static void
take_answer(struct top *t, int status)
{
	if (t->view.held)
		return;
	struct top_data *data = read_answer(status, &t->ask.answer);
	buf_reset(&t->trouble);
	if (data == NULL) {
		buf_add(&t->trouble, t->ask.answer.data, t->ask.answer.len);
		return;
	}
	top_data_free(&t->data);
	t->data = data;
	t->data_ms = clock_ms();
	sort(t);
}

static void
ask(struct top *t)
{
	t->due_ms = clock_ms() + t->view.interval_s * 1000;
	if (top_ask_begin(&t->ask, t->config))
		return;
	buf_reset(&t->trouble);
	buf_addf(&t->trouble, "cannot ask: %s", strerror(errno));
}

/* Waits until something happens, a second at most. */
static void
step(struct top *t)
{
	struct pollfd fds[] = { { t->signals, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 }, { t->ask.fd, POLLIN, 0 } };
	uint64_t now = clock_ms();
	struct signalfd_siginfo info;
	enum top_key key;
	int status;
	if (now >= t->due_ms && t->ask.fd < 0 && !t->view.held) {
		ask(t);
		fds[2].fd = t->ask.fd;
	}
	int timeout = t->due_ms > now && t->due_ms - now < REDRAW_MS ? (int)(t->due_ms - now) : REDRAW_MS;
	if (poll(fds, sizeof fds / sizeof *fds, timeout) <= 0)
		return;
	if (fds[0].revents != 0 && read(t->signals, &info, sizeof info) == sizeof info && info.ssi_signo != SIGWINCH)
		t->done = true;
	if (fds[2].revents != 0 && top_ask_read(&t->ask, &status))
		take_answer(t, status);
	if (fds[1].revents == 0)
		return;
	key = fds[1].revents & POLLIN ? screen_key(t->screen) : TOP_END;
	if (key == TOP_NONE)
		key = TOP_END; /* readable, and nothing there: the terminal has gone */
	for (; key != TOP_NONE; key = screen_key(t->screen))
		press(t, key);
}

/* The signals that end us, and that of another size, are read like keys. */
static int
catch_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH };
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		sigaddset(&set, numbers[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int
watch(const struct config *config, unsigned interval_s)
{
	struct top t = { .config = config, .ask = { .fd = -1 }, .view = { .keys = true, .interval_s = interval_s }, .data_ms = clock_ms() };
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return command_usage("top", "this is no terminal: --once prints everything once, --stat a line now and then");
	t.signals = catch_signals();
	ASSERT(t.signals >= 0);
	t.screen = screen_new();
	if (t.screen == NULL)
		return command_usage("top", "this terminal (TERM) is not known: --once prints everything once, --stat a line now and then");
	while (!t.done) {
		step(&t);
		draw(&t);
	}
	screen_free(&t.screen);
	top_ask_end(&t.ask);
	top_data_free(&t.data);
	buf_free(&t.trouble);
	close(t.signals);
	return EX_OK;
}

int
cmd_top(const struct config *config, int argc, char **argv)
{
	int as_once = 0, as_json = 0, as_lines = 0;
	const struct option options[] = {
		{ "once", no_argument, &as_once, 1 }, { "json", no_argument, &as_json, 1 }, { "stat", no_argument, &as_lines, 1 }, { 0 },
	};
	int words = command_options(argc, argv, options, 0, 1);
	char *end = NULL;
	long interval_s = words > 0 ? strtol(argv[1], &end, 10) : INTERVAL_S;
	if (words < 0)
		return EX_USAGE;
	if (as_once + as_json + as_lines > 1)
		return command_usage(argv[0], "only one of --once, --json and --stat");
	if (words > 0 && (end == argv[1] || *end != '\0' || interval_s < 1 || interval_s > INTERVAL_MOST))
		return command_usage(argv[0], "%s is no number of seconds from 1 to %d", argv[1], INTERVAL_MOST);
	setlocale(LC_CTYPE, ""); /* numbers keep their points */
	if (as_lines)
		return roll(config, (unsigned)interval_s);
	return as_once || as_json ? once(config, as_json) : watch(config, (unsigned)interval_s);
}
