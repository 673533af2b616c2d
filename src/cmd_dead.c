/* sluice dead: the dead letters of a queue. */
#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "arena.h"
#include "buf.h"
#include "config.h"
#include "encode_text.h"
#include "json.h"
#include "lua/dead.lua.h"
#include "nearest.h"
#include "text.h"

#define PAGE_FIRST ((size_t)16)
#define PAGE_ITEMS ((size_t)1000)
#define PAGE_BYTES ((size_t)8 << 20) /* of letters, and the one that goes beyond it */
#define STEP_BYTES ((size_t)8 << 20) /* of one script call: Redis serves nobody else meanwhile */

/* What is read of a dead letter. */
enum field { QUEUE, PAYLOAD, ENCODING, POSITION, AT, ERROR, ERROR_CLASS, ERROR_SQLSTATE, ERROR_ERRNO, ERROR_COLUMN, ERROR_MESSAGE, FIELDS };

static const char *const *const paths[FIELDS] = {
	[QUEUE] = (const char *const[]){ "queue", NULL },
	[PAYLOAD] = (const char *const[]){ "payload", NULL },
	[ENCODING] = (const char *const[]){ "encoding", NULL },
	[POSITION] = (const char *const[]){ "position", NULL },
	[AT] = (const char *const[]){ "at", NULL },
	[ERROR] = (const char *const[]){ "error", NULL },
	[ERROR_CLASS] = (const char *const[]){ "error", "class", NULL },
	[ERROR_SQLSTATE] = (const char *const[]){ "error", "sqlstate", NULL },
	[ERROR_ERRNO] = (const char *const[]){ "error", "errno", NULL },
	[ERROR_COLUMN] = (const char *const[]){ "error", "column", NULL },
	[ERROR_MESSAGE] = (const char *const[]){ "error", "message", NULL },
};

/* One dead letter; all of it is valid until the next is read. */
struct letter {
	const struct redis_value *text;    /* as it stands in the list */
	struct json_value fields[FIELDS];
	const char *payload;               /* decoded, payload_len bytes; NULL: it is not one that sluice wrote */
	size_t payload_len;
	bool other;                        /* another queue's, in a list that both use */
};

struct dead {
	const struct config *config;
	const struct queue_config *queue;
	struct json_reader *reader;  /* owned */
	struct json_paths *paths;    /* owned */
	struct buf decoded;          /* a payload that was base64 */
	uint64_t first, count;       /* which of them: from index `first` on, at most `count` */
	int json, yes, all;          /* options */
	size_t page;                 /* letters to ask for next; 0: none have been yet */
	struct buf cells;            /* list: the table */
	uint64_t done, left;         /* retry, drop: taken; left because they cannot be retried */
	int status;                  /* for exit; other than EX_OK: it was said why, and nothing more is done */
};

/* -- reading */

static struct letter
read_letter(struct dead *d, const struct redis_value *text)
{
	struct letter letter = { .text = text };
	struct json_value *f = letter.fields;
	ASSERT(text->text != NULL); /* dropped ones are no part of a page */
	if (json_read(d->reader, d->paths, text->text, text->len, false, f, NULL) != JSON_OK) {
		memset(f, 0, sizeof letter.fields);
		return letter;
	}
	size_t len = strlen(d->queue->name);
	letter.other = f[QUEUE].kind == JSON_STRING && (f[QUEUE].len != len || memcmp(f[QUEUE].text, d->queue->name, len) != 0);
	if (f[QUEUE].kind != JSON_STRING || f[PAYLOAD].kind != JSON_STRING)
		return letter;
	letter.payload = f[PAYLOAD].text;
	letter.payload_len = f[PAYLOAD].len;
	if (f[ENCODING].kind == JSON_ABSENT)
		return letter;
	buf_reset(&d->decoded);
	bool base64 = f[ENCODING].kind == JSON_STRING && f[ENCODING].len == 6 && memcmp(f[ENCODING].text, "base64", 6) == 0;
	bool decoded = base64 && text_from_base64(&d->decoded, letter.payload, letter.payload_len);
	letter.payload = decoded ? buf_cstr(&d->decoded) : NULL;
	letter.payload_len = decoded ? d->decoded.len : 0;
	return letter;
}

/* Asks Redis; false: it was said what is wrong. */
static bool
ask(struct dead *d, int argc, const char *const *words, const size_t *lens, enum redis_type type, struct command_answer *answer)
{
	command_ask_redis(&d->config->redis, argc, words, lens, PAGE_BYTES, answer);
	if (answer->class == REDIS_OK && answer->value->type == type)
		return true;
	fprintf(stderr, "sluice dead: %s\n", answer->class == REDIS_OK ? "Redis gave an answer of an unexpected kind" : answer->why);
	d->status = answer->class == REDIS_OK ? EX_SOFTWARE : command_redis_status(answer->class);
	command_answer_free(answer);
	return false;
}

/* A page of letters from an index on, at most n of them, and no more than fit PAGE_BYTES, the one that passes it included. */
struct page {
	struct redis_value **letters; /* n of them */
	size_t n;                     /* 0: the list has ended */
	struct command_answer answer; /* they are in it */
};

/* Reads the page, to be freed by page_free(); false: it was said what is wrong. As letters may be large, it begins with few and reads more at a
 * time where they are small: Redis sends all that is asked for. */
static bool
ask_page(struct dead *d, uint64_t index, uint64_t n, struct page *page)
{
	ASSERT(n > 0);
	char first[24], last[24];
	d->page = d->page == 0 ? PAGE_FIRST : d->page;
	snprintf(first, sizeof first, "%" PRIu64, index);
	snprintf(last, sizeof last, "%" PRIu64, index + (n < d->page ? n : d->page) - 1);
	const char *const words[] = { "LRANGE", d->queue->dead_letter, first, last };
	if (!ask(d, 4, words, NULL, REDIS_ARRAY, &page->answer))
		return false;
	const struct redis_value *array = page->answer.value;
	page->letters = array->elements;
	for (page->n = 0; page->n < array->n && array->elements[page->n]->text != NULL;)
		page->n++;
	if (page->n < array->n)
		d->page = page->n;
	else
		d->page = 2 * d->page < PAGE_ITEMS ? 2 * d->page : PAGE_ITEMS;
	return true;
}

static void
page_free(struct page *page)
{
	command_answer_free(&page->answer);
	*page = (struct page){ .n = 0 };
}

/* What comes in while we work is not meant: a retried order may be back as a dead letter at once. */
static bool
limit_count(struct dead *d)
{
	struct command_answer answer;
	const char *const words[] = { "LLEN", d->queue->dead_letter };
	if (!ask(d, 2, words, NULL, REDIS_INTEGER, &answer))
		return false;
	ASSERT(answer.value->integer >= 0);
	uint64_t length = (uint64_t)answer.value->integer;
	command_answer_free(&answer);
	if (d->count == 1 && d->first >= length) {
		fprintf(stderr, "sluice dead: there is no index %" PRIu64 ": %s holds %" PRIu64 " dead letters; sluice dead list %s\n", d->first,
		    d->queue->dead_letter, length, d->queue->name);
		d->status = EX_USAGE;
		return false;
	}
	if (d->count > length)
		d->count = length;
	return true;
}

/* -- list and show */

typedef void letter_fn(struct dead *d, uint64_t index, const struct letter *letter);

static void
each_letter(struct dead *d, letter_fn *visit)
{
	for (uint64_t index = d->first, end = d->first + d->count; index < end;) {
		struct page page;
		if (!ask_page(d, index, end - index, &page))
			return;
		for (size_t i = 0; i < page.n; i++) {
			struct letter letter = read_letter(d, page.letters[i]);
			if (!letter.other)
				visit(d, index + i, &letter);
		}
		index = page.n == 0 ? end : index + page.n;
		page_free(&page);
	}
}

static const struct json_value *
code_of(const struct letter *letter)
{
	const struct json_value *sqlstate = &letter->fields[ERROR_SQLSTATE];
	return sqlstate->kind == JSON_ABSENT ? &letter->fields[ERROR_ERRNO] : sqlstate;
}

/* "data 22001, column note: value too long". */
static void
add_reason(const struct letter *letter, struct buf *out)
{
	const struct json_value *f = letter->fields, *code = code_of(letter);
	if (letter->payload == NULL) {
		buf_adds(out, "not written by sluice");
		return;
	}
	buf_add(out, f[ERROR_CLASS].text, f[ERROR_CLASS].len);
	if (code->kind == JSON_STRING) {
		buf_addc(out, ' ');
		buf_add(out, code->text, code->len);
	}
	if (f[ERROR_COLUMN].kind == JSON_STRING) {
		buf_adds(out, ", column ");
		buf_add(out, f[ERROR_COLUMN].text, f[ERROR_COLUMN].len);
	}
	buf_adds(out, ": ");
	buf_add(out, f[ERROR_MESSAGE].text, f[ERROR_MESSAGE].len);
}

static void
list_json(uint64_t index, const struct letter *letter)
{
	static const struct { const char *key; enum field field; } members[] = { { "position", POSITION }, { "at", AT }, { "error", ERROR } };
	printf("{\"index\":%" PRIu64, index);
	for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
		const struct json_value *value = &letter->fields[members[i].field];
		if (value->kind == JSON_ABSENT)
			continue;
		printf(",\"%s\":", members[i].key);
		fwrite(value->raw, 1, value->raw_len, stdout);
	}
	puts("}");
}

static void
list_one(struct dead *d, uint64_t index, const struct letter *letter)
{
	const struct json_value *f = letter->fields;
	struct buf reason = BUF_INIT;
	if (d->json) {
		list_json(index, letter);
		return;
	}
	add_reason(letter, &reason);
	text_cell(&d->cells, "%" PRIu64, index);
	text_cell(&d->cells, "%.*s", (int)f[POSITION].len, f[POSITION].len == 0 ? "" : f[POSITION].text);
	text_cell(&d->cells, "%.*s", (int)f[AT].len, f[AT].len == 0 ? "" : f[AT].text);
	text_cell(&d->cells, "%s", buf_cstr(&reason));
	text_row_end(&d->cells);
	buf_free(&reason);
}

static void
list(struct dead *d)
{
	struct buf out = BUF_INIT;
	if (!d->json) {
		static const char *const names[] = { "INDEX", "POSITION", "AT", "REASON" };
		for (size_t i = 0; i < sizeof names / sizeof *names; i++)
			text_cell(&d->cells, "%s", names[i]);
		text_row_end(&d->cells);
	}
	each_letter(d, list_one);
	if (!d->json) {
		text_columns(&d->cells, &out);
		fwrite(out.data, 1, out.len, stdout);
	}
	buf_free(&out);
}

/* The reason, then the payload as it was pushed; on a terminal nothing in it may be a command. */
static void
show_one(struct dead *d, uint64_t index, const struct letter *letter)
{
	const char *payload = letter->payload != NULL ? letter->payload : letter->text->text;
	size_t len = letter->payload != NULL ? letter->payload_len : letter->text->len;
	struct buf head = BUF_INIT, reason = BUF_INIT;
	const struct json_value *f = letter->fields;
	buf_addf(&reason, "# index %" PRIu64 ", position %.*s, %.*s, ", index, (int)f[POSITION].len, f[POSITION].len == 0 ? "" : f[POSITION].text,
	    (int)f[AT].len, f[AT].len == 0 ? "" : f[AT].text);
	add_reason(letter, &reason);
	text_clean(&head, reason.data, reason.len);
	buf_addc(&head, '\n');
	if (isatty(STDOUT_FILENO))
		text_clean(&head, payload, len);
	else
		buf_add(&head, payload, len);
	buf_addc(&head, '\n');
	fwrite(head.data, 1, head.len, stdout);
	buf_free(&head);
	buf_free(&reason);
	(void)d;
}

static void
show(struct dead *d)
{
	each_letter(d, show_one);
}

/* -- retry and drop */

/* Neighbouring letters that are taken off the list in one step. */
struct step {
	const char **words;     /* of EVAL, argc of them; owned, their texts are not */
	size_t *lens;           /* theirs; owned */
	int argc, cap;          /* cap: allocated */
	size_t bytes;           /* of all words */
	struct arena *payloads; /* owned */
};

static void
step_add(struct step *s, const char *text, size_t len)
{
	if (s->argc == s->cap) {
		s->cap = 2 * s->cap + 64;
		s->words = xrealloc(s->words, (size_t)s->cap * sizeof *s->words);
		s->lens = xrealloc(s->lens, (size_t)s->cap * sizeof *s->lens);
	}
	s->words[s->argc] = text;
	s->lens[s->argc++] = len;
	s->bytes += len;
}

/* In words as dead.lua wants them. */
static void
step_add_text(struct step *s, const char *text, size_t len)
{
	size_t at = 0;
	for (; len - at >= REDIS_WORD_MAX; at += REDIS_WORD_MAX)
		step_add(s, text + at, REDIS_WORD_MAX);
	step_add(s, text + at, len - at);
}

static void
step_begin(struct step *s, const struct dead *d, const char *index, const char *most, bool retry)
{
	ASSERT(!retry || d->queue->list_key != NULL);
	const char *push = !retry ? "" : d->queue->pop == POP_RIGHT ? "LPUSH" : "RPUSH";
	const char *const words[] = { "EVAL", dead_lua, "2", d->queue->dead_letter, d->queue->list_key, index, push, most };
	*s = (struct step){ .payloads = arena_new() };
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		step_add(s, words[i], strlen(words[i]));
}

static void
step_end(struct step *s)
{
	arena_unref(&s->payloads);
	free(s->words);
	free(s->lens);
}

/* Can it be taken off? Retry wants a payload. */
static bool
takes(const struct letter *letter, bool retry)
{
	return !letter->other && (!retry || letter->payload != NULL);
}

/* Takes the letters of the page from its i-th on, as many as one step can; returns how many. */
static size_t
take(struct dead *d, uint64_t index, const struct page *page, size_t i, bool retry)
{
	char first[24], most[24];
	struct step s;
	struct command_answer answer;
	size_t n = 0;
	ASSERT(i < page->n && page->n <= PAGE_ITEMS);
	snprintf(first, sizeof first, "%" PRIu64, index);
	snprintf(most, sizeof most, "%zu", REDIS_WORD_MAX);
	step_begin(&s, d, first, most, retry);
	for (; i + n < page->n && s.bytes < STEP_BYTES; n++) {
		struct letter letter = read_letter(d, page->letters[i + n]);
		if (!takes(&letter, retry))
			break;
		step_add_text(&s, letter.text->text, letter.text->len);
		if (retry)
			step_add_text(&s, memcpy(arena_bytes(s.payloads, letter.payload_len), letter.payload, letter.payload_len), letter.payload_len);
	}
	if (n > 0 && ask(d, s.argc, s.words, s.lens, REDIS_INTEGER, &answer)) {
		if (answer.value->integer != (long long)n) {
			fprintf(stderr, "sluice dead: somebody else changes %s at the same time: look at it again, and try again\n", d->queue->dead_letter);
			d->status = EX_UNAVAILABLE;
		}
		command_answer_free(&answer);
	}
	step_end(&s);
	return n;
}

/* What is taken off closes up, so the index only moves over what is left. */
static void
take_all(struct dead *d, bool retry)
{
	uint64_t index = d->first;
	while (d->count > 0 && d->status == EX_OK) {
		struct page page;
		if (!ask_page(d, index, d->count, &page))
			return;
		size_t i = 0;
		while (i < page.n && d->status == EX_OK) {
			size_t n = take(d, index, &page, i, retry);
			if (d->status == EX_OK)
				d->done += n;
			if (n == 0) {
				d->left++;
				index++;
				n = 1;
			}
			i += n;
		}
		ASSERT(page.n <= d->count);
		d->count = page.n == 0 ? 0 : d->count - page.n;
		page_free(&page);
	}
}

static void
say_left(const struct dead *d)
{
	if (d->left > 0)
		printf("%" PRIu64 " left in %s: they are another queue's, or not written by sluice\n", d->left, d->queue->dead_letter);
}

static void
retry(struct dead *d)
{
	take_all(d, true);
	printf("%" PRIu64 " pushed back to %s\n", d->done, d->queue->list_key);
	say_left(d);
}

static bool
confirmed(const struct dead *d)
{
	char answer[8] = "";
	if (d->yes || !isatty(STDIN_FILENO) || d->count == 0)
		return true;
	printf("Drop %" PRIu64 " dead letters from %s for ever? [y/N] ", d->count, d->queue->dead_letter);
	fflush(stdout);
	return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static void
drop(struct dead *d)
{
	if (confirmed(d))
		take_all(d, false);
	printf("%" PRIu64 " dropped from %s\n", d->done, d->queue->dead_letter);
	say_left(d);
}

/* -- the command line */

static const struct action {
	const char *name;
	void (*run)(struct dead *d);
	bool index; /* takes INDEX or --all */
	bool json;  /* takes --json */
	bool yes;   /* takes --yes */
} actions[] = {
	{ "list", list, false, true, false },
	{ "show", show, true, false, false },
	{ "retry", retry, true, false, true },
	{ "drop", drop, true, false, true },
};

static const struct action *
find_action(const char *name)
{
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
		if (strcmp(actions[i].name, name) == 0)
			return &actions[i];
	}
	command_usage("dead", "%s is not list, show, retry or drop", name);
	return NULL;
}

static const struct queue_config *
find_queue(const struct config *config, const char *name)
{
	struct nearest nearest = { .wanted = name };
	for (size_t i = 0; i < config->n_queues; i++) {
		if (strcmp(config->queues[i].name, name) == 0)
			return &config->queues[i];
		nearest_offer(&nearest, config->queues[i].name);
	}
	struct buf hint = BUF_INIT;
	nearest_suggest(&nearest, &hint);
	command_usage("dead", "there is no queue %s in %s%s", name, config->files[0], buf_cstr(&hint));
	buf_free(&hint);
	return NULL;
}

/* Which letters are meant; false: it was said what is wrong. */
static bool
read_range(struct dead *d, const struct action *action, const char *index)
{
	char *end;
	d->first = 0;
	d->count = INT64_MAX;
	if ((d->json && !action->json) || (d->yes && !action->yes) || (d->all && !action->index) || (index != NULL && (!action->index || d->all)))
		return command_usage("dead", "that does not go together with %s", action->name) == EX_OK;
	if (index == NULL)
		return true;
	errno = 0;
	d->first = strtoull(index, &end, 10);
	d->count = 1;
	if (index[0] < '0' || index[0] > '9' || *end != '\0' || errno != 0 || d->first > INT64_MAX / 2)
		return command_usage("dead", "%s is no index; sluice dead list %s shows them", index, d->queue->name) == EX_OK;
	return true;
}

int
cmd_dead(const struct config *config, int argc, char **argv)
{
	struct dead d = { .config = config, .status = EX_OK };
	const struct option options[] = {
		{ "json", no_argument, &d.json, 1 }, { "yes", no_argument, &d.yes, 1 }, { "all", no_argument, &d.all, 1 }, { 0 },
	};
	int words = command_options(argc, argv, options, 2, 3);
	const struct action *action = words < 0 ? NULL : find_action(argv[1]);
	if (action == NULL || (d.queue = find_queue(config, argv[2])) == NULL || !read_range(&d, action, words == 3 ? argv[3] : NULL))
		return EX_USAGE;
	d.reader = json_reader_new();
	d.paths = json_paths_new(paths, FIELDS);
	if (limit_count(&d))
		action->run(&d);
	json_paths_free(&d.paths);
	json_reader_free(&d.reader);
	buf_free(&d.decoded);
	buf_free(&d.cells);
	return d.status;
}
