/* A Redis list as a source: every operation is a request that is sent as one command or script and unpacked into its result. */
#include "source_list.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "buf.h"
#include "check.h"
#include "config.h"
#include "list.h"
#include "redis_words.h"
#include "lua/lease.lua.h"
#include "lua/length.lua.h"
#include "lua/own.lua.h"
#include "lua/release.lua.h"
#include "lua/settle.lua.h"

#define WAIT_GRACE_S 10 /* a wait that is answered so much later than asked is a lost link */
#define GENERATION_MAX 32

struct source_list {
	struct redis *commands; /* borrowed */
	struct redis *waiting;  /* borrowed; NULL: none */
	char *key;              /* the list; owned */
	char *state_key;        /* {key}:sluice; owned */
	char *lease_key;        /* {key}:sluice:lease; owned */
	char *dead_key;         /* owned */
	char *owner;            /* "instance boot"; owned */
	char *ledger;           /* that the owner writes; owned */
	bool right;             /* the end that is drained */
	uint64_t settles;       /* sent so far: each may have moved the offsets */
	struct list requests;   /* struct request: what is not answered yet */
};

/* Something that was asked and is not answered yet. */
struct request {
	struct list node;           /* in source_list.requests */
	struct source_list *source; /* who asked */
	struct redis *link;         /* where */
	union {
		source_lease_fn *lease;
		source_own_fn *own;
		source_peek_fn *peek;
		source_settle_fn *settle;
		source_length_fn *length;
		source_wait_fn *wait;
		source_release_fn *release;
	} done;                     /* who is told */
	void *arg;                  /* its first argument */
	uint64_t offset;            /* peek: as asked */
	size_t count;               /* peek: as asked, or fewer in a second try */
	size_t budget;              /* peek: as asked */
	unsigned limit_s;           /* peek: for its answer; 0: as for all commands */
	bool second;                /* peek: this is a second try */
	uint64_t settles;           /* peek: the source's, when it was sent */
	struct source_peek found;   /* peek: what LRANGE brought */
	struct arena *arena;        /* peek: holds it; one reference */
};

/* "{orders}:sluice" and the like; a key that has a {tag} keeps it, so that all keys of a queue share a slot. */
static char *
companion_key(const char *key, const char *suffix)
{
	struct buf b = BUF_INIT;
	const char *open = strchr(key, '{'), *close = open == NULL ? NULL : strchr(open, '}');
	bool tagged = close != NULL && close > open + 1;
	buf_addf(&b, "%s%s%s%s", tagged ? "" : "{", key, tagged ? "" : "}", suffix);
	char *text = xstrdup(buf_cstr(&b));
	buf_free(&b);
	return text;
}

char *
source_list_state_key(const char *key)
{
	return companion_key(key, ":sluice");
}

struct source_list *
source_list_new(struct redis *commands, struct redis *waiting, const char *key, int pop, const char *dead_key, const char *owner, const char *ledger)
{
	ASSERT(strchr(owner, ' ') != NULL);
	struct source_list *s = xcalloc(1, sizeof *s);
	s->commands = commands;
	s->waiting = waiting;
	s->key = xstrdup(key);
	s->state_key = source_list_state_key(key);
	s->lease_key = companion_key(key, ":sluice:lease");
	s->dead_key = xstrdup(dead_key);
	s->owner = xstrdup(owner);
	s->ledger = xstrdup(ledger);
	s->right = pop == POP_RIGHT;
	list_init(&s->requests);
	return s;
}

void
source_list_free(struct source_list **source)
{
	struct source_list *s = *source;
	*source = NULL;
	if (s == NULL)
		return;
	LIST_EACH_SAFE (&s->requests, node, after) {
		struct request *q = LIST_OWNER(node, struct request, node);
		redis_forget(q->link, q);
		arena_unref(&q->arena);
		free(q);
	}
	free(s->key);
	free(s->state_key);
	free(s->lease_key);
	free(s->dead_key);
	free(s->owner);
	free(s->ledger);
	free(s);
}

static struct request *
request_new(struct source_list *s, struct redis *link, void *arg)
{
	struct request *q = xcalloc(1, sizeof *q);
	q->source = s;
	q->link = link;
	q->arg = arg;
	list_append(&s->requests, &q->node);
	return q;
}

/* Ends a request; what is left of it is for the callback, which may free the source. */
static struct request
request_end(struct request *q)
{
	struct request copy = *q;
	list_remove(&q->node);
	free(q);
	return copy;
}

/* Begins an EVAL with room for n words behind the script and the number of its keys. The whole script each time, not its SHA1: Redis compiles it once
 * all the same, and no NOSCRIPT can make it run behind what was sent after it. */
static struct words
eval_new(const char *script, size_t n_keys, size_t n)
{
	struct words w = words_new(3 + n);
	words_add_text(&w, "EVAL");
	words_add_text(&w, script);
	words_add_number(&w, n_keys);
	return w;
}

static void
eval_send(struct request *q, struct words *w, redis_reply_fn *answer)
{
	redis_command(q->link, w->n, w->word, w->len, 0, 0, answer, q);
	words_free(w);
}

/* An answer that no script of ours gives. */
static void
unexpected(enum redis_class *class, const char **why)
{
	*class = REDIS_SETUP;
	*why = "Redis gave an answer of an unexpected shape; is the queue's {..}:sluice hash damaged, or is it no real Redis?";
}

/* Is it the array of integers (i) and strings (s) that the script returns? False also when there is an error already. */
static bool
is_shape(const struct redis_value *reply, const char *shape, enum redis_class *class, const char **why)
{
	if (*class != REDIS_OK)
		return false;
	bool fits = reply->type == REDIS_ARRAY && reply->n == strlen(shape);
	for (size_t i = 0; fits && shape[i] != '\0'; i++)
		fits = reply->elements[i]->type == (shape[i] == 'i' ? REDIS_INTEGER : REDIS_STRING);
	if (!fits)
		unexpected(class, why);
	return fits;
}

static uint64_t
number_at(const struct redis_value *reply, size_t i)
{
	ASSERT(i < reply->n && reply->elements[i]->type == REDIS_INTEGER);
	return reply->elements[i]->integer < 0 ? 0 : (uint64_t)reply->elements[i]->integer;
}

static const char *
text_at(const struct redis_value *reply, size_t i)
{
	ASSERT(i < reply->n && reply->elements[i]->type == REDIS_STRING);
	return reply->elements[i]->text;
}

/* What lease.lua and own.lua answer first; 0: no. */
enum { GIVEN = 1, IN_DOUBT = 2 };

static void
lease_answer(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct request q = request_end(arg);
	struct source_lease result = { .class = class, .why = why };
	(void)arena;
	if (is_shape(reply, "isiiisisii", &result.class, &result.why)) {
		result.granted = number_at(reply, 0) == GIVEN;
		result.in_doubt = number_at(reply, 0) == IN_DOUBT;
		result.holder = text_at(reply, 1);
		result.ttl_ms = number_at(reply, 2);
		result.epoch = number_at(reply, 3);
		result.settled = number_at(reply, 4);
		result.generation = text_at(reply, 5);
		result.length = number_at(reply, 6);
		result.ledger = text_at(reply, 7);
		result.elsewhere = result.ledger[0] != '\0' && strcmp(result.ledger, q.source->ledger) != 0;
		result.clean = number_at(reply, 8) != 0;
		result.others = number_at(reply, 9) != 0;
	}
	q.done.lease(q.arg, &result);
}

void
source_list_lease(struct source_list *s, unsigned ttl_ms, uint64_t accepted, source_lease_fn *done, void *arg)
{
	struct request *q = request_new(s, s->commands, arg);
	q->done.lease = done;
	struct words w = eval_new(lease_lua, 3, 7);
	words_add_text(&w, s->key);
	words_add_text(&w, s->state_key);
	words_add_text(&w, s->lease_key);
	words_add_text(&w, s->owner);
	words_add_number(&w, ttl_ms);
	words_add_text(&w, s->ledger);
	words_add_number(&w, accepted);
	eval_send(q, &w, lease_answer);
}

/* It becomes part of SQL texts, and whoever may write to Redis may have written it: letters and digits only, as we make them. */
static bool
is_generation(const char *text)
{
	size_t n = 0;
	while (isalnum((unsigned char)text[n]))
		n++;
	return n > 0 && n <= GENERATION_MAX && text[n] == '\0';
}

static void
own_answer(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct request q = request_end(arg);
	struct source_own result = { .class = class, .why = why };
	(void)arena;
	if (is_shape(reply, "iisiii", &result.class, &result.why)) {
		result.refused = number_at(reply, 0) != GIVEN;
		result.in_doubt = number_at(reply, 0) == IN_DOUBT;
		result.epoch = number_at(reply, 1);
		result.generation = text_at(reply, 2);
		result.settled = number_at(reply, 3);
		result.length = number_at(reply, 4);
		result.fresh = number_at(reply, 5) != 0;
		if (!result.refused && (reply->elements[3]->integer < 0 || !is_generation(result.generation)))
			unexpected(&result.class, &result.why);
	}
	q.done.own(q.arg, &result);
}

void
source_list_own(struct source_list *s, const struct source_claim *claim, source_own_fn *done, void *arg)
{
	ASSERT(claim->epoch > claim->before && claim->new_generation[0] != '\0');
	struct request *q = request_new(s, s->commands, arg);
	q->done.own = done;
	struct words w = eval_new(own_lua, 3, 10);
	words_add_text(&w, s->key);
	words_add_text(&w, s->state_key);
	words_add_text(&w, s->lease_key);
	words_add_text(&w, s->owner);
	words_add_number(&w, claim->before);
	words_add_number(&w, claim->epoch);
	words_add_text(&w, claim->new_generation);
	words_add_text(&w, claim->force ? "1" : "0");
	words_add_text(&w, s->ledger);
	words_add_number(&w, claim->accepted);
	eval_send(q, &w, own_answer);
}

static void peek_send(struct request *q);

/* LRANGE answers from left to right: at the right end the oldest item comes last. */
static const struct redis_value *
peeked(const struct redis_value *reply, bool right, size_t i)
{
	return reply->elements[right ? reply->n - 1 - i : i];
}

/* Shall a second try bring just those items from the offset on that fit the budget, the one that passes it included? Not when a settle went out
 * meanwhile: the offset would be another item's. */
static bool
peek_fewer(struct request *q, const struct redis_value *reply)
{
	size_t n = 0, bytes = 0;
	if (q->settles != q->source->settles)
		return false;
	while (n < reply->n && bytes <= q->budget)
		bytes += peeked(reply, q->source->right, n++)->len;
	q->count = n < reply->n ? n : reply->n - 1;
	q->budget = bytes;
	return true;
}

/* What LRANGE brought; the epoch's answer comes behind it. */
static void
on_range(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct request *q = arg;
	struct source_peek *found = &q->found;
	*found = (struct source_peek){ .class = class, .why = why };
	bool array = class == REDIS_OK && reply->type == REDIS_ARRAY;
	if (class == REDIS_OK && !array)
		unexpected(&found->class, &found->why);
	if (arena != NULL)
		q->arena = arena_ref(arena);
	struct source_text *items = array ? arena_alloc(arena, reply->n * sizeof *items) : NULL;
	for (; array && found->n < reply->n; found->n++) {
		const struct redis_value *value = peeked(reply, q->source->right, found->n);
		if (value->text == NULL)
			break;
		items[found->n] = (struct source_text){ value->text, value->len };
	}
	found->items = items;
	found->cut = array && (q->second || found->n < reply->n);
	/* At the right end what comes first, and fills the budget, is what is needed last. */
	q->second = array && found->n == 0 && reply->n > 1 && peek_fewer(q, reply);
	if (found->class != REDIS_OK) { /* the sentence is gone when the epoch's answer comes */
		size_t len = strlen(found->why) + 1;
		if (q->arena == NULL)
			q->arena = arena_new();
		found->why = memcpy(arena_bytes(q->arena, len), found->why, len);
	}
}

/* Are these an epoch, and this owner? */
static bool
is_owner(const struct redis_value *reply, const char *owner)
{
	return reply->type == REDIS_ARRAY && reply->n == 2 && reply->elements[0]->type == REDIS_STRING && reply->elements[1]->type == REDIS_STRING &&
	    strcmp(reply->elements[1]->text, owner) == 0;
}

static void
on_epoch(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct request *q = arg;
	(void)arena;
	if (class == REDIS_OK && q->found.class == REDIS_OK && q->second) {
		arena_unref(&q->arena);
		peek_send(q);
		return;
	}
	struct request ended = request_end(q);
	struct source_peek *result = &ended.found;
	if (result->class == REDIS_OK && class != REDIS_OK)
		*result = (struct source_peek){ .class = class, .why = why };
	else if (result->class == REDIS_OK && is_owner(reply, ended.source->owner))
		result->epoch = strtoull(reply->elements[0]->text, NULL, 10);
	if (ended.link == ended.source->waiting && ended.settles != ended.source->settles) { /* the other link may have been served first */
		result->n = 0;
		result->cut = true;
	}
	result->arena = ended.arena;
	ended.done.peek(ended.arg, result);
	arena_unref(&ended.arena);
}

/* The items, and behind them the epoch and its owner: if both are ours still, nobody emptied the list or took it over before the items were read. */
static void
peek_send(struct request *q)
{
	const struct source_list *s = q->source;
	char first[24], last[24];
	uint64_t end = q->offset + q->count;
	ASSERT(q->count > 0 && end < INT64_MAX);
	snprintf(first, sizeof first, "%s%" PRIu64, s->right ? "-" : "", s->right ? end : q->offset);
	snprintf(last, sizeof last, "%s%" PRIu64, s->right ? "-" : "", s->right ? q->offset + 1 : end - 1);
	const char *const range[] = { "LRANGE", s->key, first, last }, *const epoch[] = { "HMGET", s->state_key, "epoch", "owner" };
	q->settles = s->settles;
	redis_command(q->link, 4, range, NULL, q->limit_s, q->budget, on_range, q);
	redis_command(q->link, 4, epoch, NULL, q->limit_s, 0, on_epoch, q);
}

void
source_list_peek(struct source_list *s, uint64_t offset, size_t count, size_t budget, source_peek_fn *done, void *arg)
{
	struct request *q = request_new(s, s->commands, arg);
	q->done.peek = done;
	q->offset = offset;
	q->count = count;
	q->budget = budget;
	peek_send(q);
}

/* The status of a settle by the name that the script gives it; false: no such name. */
static bool
status_of(const char *name, enum source_status *status)
{
	static const char *const names[] = {
		[SOURCE_SETTLED] = "settled", [SOURCE_GONE] = "gone", [SOURCE_FENCED] = "fenced",
		[SOURCE_MOVED] = "moved", [SOURCE_GUARD] = "guard", [SOURCE_FULL] = "full",
	};
	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
		*status = (enum source_status)i;
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

static void
settle_answer(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct request q = request_end(arg);
	struct source_settled result = { .class = class, .why = why };
	(void)arena;
	if (is_shape(reply, "siiiii", &result.class, &result.why)) {
		if (!status_of(text_at(reply, 0), &result.status))
			unexpected(&result.class, &result.why);
		result.settled = number_at(reply, 1);
		result.length = number_at(reply, 2);
		result.dead = number_at(reply, 3);
		result.epoch = number_at(reply, 4);
		result.sample = (size_t)number_at(reply, 5);
	}
	q.done.settle(q.arg, &result);
}

/* A letter's words: the last has fewer bytes than REDIS_WORD_MAX, perhaps none, the others as many. */
static size_t
words_of_letters(const struct source_settle *settle)
{
	size_t n = 0;
	for (size_t i = 0; i < settle->n_dead; i++)
		n += settle->dead[i].len / REDIS_WORD_MAX + 1;
	return n;
}

static void
add_letter(struct words *w, const struct source_text *letter)
{
	size_t at = 0;
	for (; letter->len - at >= REDIS_WORD_MAX; at += REDIS_WORD_MAX)
		words_add(w, letter->text + at, REDIS_WORD_MAX);
	words_add(w, letter->text + at, letter->len - at);
}

void
source_list_settle(struct source_list *s, const struct source_settle *settle, source_settle_fn *done, void *arg)
{
	ASSERT(settle->advance >= settle->remove);
	struct request *q = request_new(s, s->commands, arg);
	q->done.settle = done;
	s->settles++;
	struct words w = eval_new(settle_lua, 4, 15 + 4 * settle->n_samples + words_of_letters(settle));
	words_add_text(&w, s->key);
	words_add_text(&w, s->state_key);
	words_add_text(&w, s->lease_key);
	words_add_text(&w, s->dead_key);
	words_add_text(&w, s->right ? "right" : "left");
	words_add_text(&w, s->owner);
	const uint64_t numbers[] = { settle->epoch, settle->settled, settle->skip, settle->remove, settle->advance, settle->ttl_ms, settle->dead_max,
		settle->n_samples };
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		words_add_number(&w, numbers[i]);
	for (size_t i = 0; i < settle->n_samples; i++) {
		const struct source_sample *sample = &settle->samples[i];
		size_t edge = sample->len < SOURCE_SAMPLE_EDGE ? sample->len : SOURCE_SAMPLE_EDGE;
		words_add_number(&w, sample->offset);
		words_add_number(&w, sample->len);
		words_add(&w, sample->head, edge);
		words_add(&w, sample->tail, edge);
	}
	words_add_number(&w, REDIS_WORD_MAX);
	for (size_t i = 0; i < settle->n_dead; i++)
		add_letter(&w, &settle->dead[i]);
	eval_send(q, &w, settle_answer);
}

static void
release_answer(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct request q = request_end(arg);
	struct source_release result = { .class = class, .why = why };
	(void)arena;
	result.released = class == REDIS_OK && reply->type == REDIS_INTEGER && reply->integer == 1;
	q.done.release(q.arg, &result);
}

void
source_list_release(struct source_list *s, uint64_t clean_epoch, source_release_fn *done, void *arg)
{
	struct request *q = request_new(s, s->commands, arg);
	q->done.release = done;
	struct words w = eval_new(release_lua, 2, 4);
	words_add_text(&w, s->state_key);
	words_add_text(&w, s->lease_key);
	words_add_text(&w, s->owner);
	words_add_number(&w, clean_epoch);
	eval_send(q, &w, release_answer);
}

static void
length_answer(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct request q = request_end(arg);
	struct source_length result = { .class = class, .why = why };
	(void)arena;
	if (is_shape(reply, "ii", &result.class, &result.why)) {
		result.length = number_at(reply, 0);
		result.dead = number_at(reply, 1);
	}
	q.done.length(q.arg, &result);
}

void
source_list_length(struct source_list *s, source_length_fn *done, void *arg)
{
	struct request *q = request_new(s, s->commands, arg);
	q->done.length = done;
	struct words w = eval_new(length_lua, 2, 2);
	words_add_text(&w, s->key);
	words_add_text(&w, s->dead_key);
	eval_send(q, &w, length_answer);
}

static void
wait_answer(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct request q = request_end(arg);
	struct source_wait result = { .class = class, .why = why };
	(void)arena;
	/* Before 6.2 there is no BLMOVE; at maxmemory it is refused. Neither keeps us from draining. */
	if (class == REDIS_PAUSE && (strncmp(reply->text, "ERR unknown command", 19) == 0 || strncmp(reply->text, "OOM ", 4) == 0)) {
		result.class = REDIS_OK;
		result.poll = true;
	}
	result.ready = class == REDIS_OK && reply->type == REDIS_STRING;
	q.done.wait(q.arg, &result);
}

void
source_list_look(struct source_list *s, unsigned timeout_s, size_t count, size_t budget, source_peek_fn *done, void *arg)
{
	ASSERT(s->waiting != NULL);
	struct request *q = request_new(s, s->waiting, arg);
	q->done.peek = done;
	q->count = count;
	q->budget = budget;
	q->limit_s = timeout_s + WAIT_GRACE_S;
	peek_send(q);
}

void
source_list_wait(struct source_list *s, unsigned timeout_s, source_wait_fn *done, void *arg)
{
	ASSERT(s->waiting != NULL && timeout_s > 0);
	struct request *q = request_new(s, s->waiting, arg);
	q->done.wait = done;
	const char *end = s->right ? "RIGHT" : "LEFT";
	char timeout[12];
	snprintf(timeout, sizeof timeout, "%u", timeout_s);
	const char *const words[] = { "BLMOVE", s->key, s->key, end, end, timeout };
	redis_command(q->link, 6, words, NULL, timeout_s + WAIT_GRACE_S, 0, wait_answer, q);
}
