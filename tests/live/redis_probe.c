/* Drives redis.h and source_list.h by hand, for test_redis_link.py: one operation a line on stdin, one JSON object a line on stdout.
 *
 *     redis_probe unix=/path | host=H port=P [user= password= db= tls= sslmode= ... connect= command= key= pop= dead= owner= ledger= name=]
 */
#include "redis.h"

#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "buf.h"
#include "check.h"
#include "config.h"
#include "source_list.h"

#define MAX_WORDS 40

struct probe {
	struct event_base *base;
	struct redis_config config;
	struct redis *commands, *waiting; /* the two links */
	struct source_list *source;
	struct source_peek peeked;        /* the last peek; its arena is referenced */
	struct event *input;
	char line[65536];                 /* of stdin, not yet complete */
	size_t line_len;
	unsigned bench_left, bench_running, burst; /* operations still to be sent, under way */
	size_t bench_count, bench_budget;
	uint64_t bench_items, bench_bytes;
	double bench_start;               /* s */
};

static const char *const class_names[] = { "ok", "lost", "retry", "readonly", "pause", "setup" };

static double
seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void
add_value(struct buf *out, const struct redis_value *value)
{
	switch (value->type) {
	case REDIS_NIL:
		buf_adds(out, "null");
		break;
	case REDIS_INTEGER:
		buf_addf(out, "%lld", value->integer);
		break;
	case REDIS_ARRAY:
		buf_adds(out, "[");
		for (size_t i = 0; i < value->n; i++) {
			buf_adds(out, i > 0 ? ", " : "");
			add_value(out, value->elements[i]);
		}
		buf_adds(out, "]");
		break;
	default:
		if (value->text == NULL || value->len > 1000)
			buf_addf(out, "%zu", value->len);
		else
			buf_add_json(out, value->text, value->len);
	}
}

/* Prints {"op": .., "class": .., "why": .., MORE}; `more` is printf style. */
static void PRINTF_LIKE(4, 5)
say(const char *op, enum redis_class class, const char *why, const char *more, ...)
{
	struct buf out = BUF_INIT;
	char text[4096];
	va_list args;
	va_start(args, more);
	vsnprintf(text, sizeof text, more, args);
	va_end(args);
	buf_addf(&out, "{\"op\": \"%s\", \"class\": \"%s\", \"why\": ", op, class_names[class]);
	buf_add_json(&out, why, strlen(why));
	buf_addf(&out, "%s%s}", text[0] == '\0' ? "" : ", ", text);
	puts(buf_cstr(&out));
	fflush(stdout);
	buf_free(&out);
}

static void
on_up(void *arg)
{
	struct probe *p = arg;
	if (redis_is_up(p->commands) && redis_is_up(p->waiting))
		say("up", REDIS_OK, "", "\"version\": \"%s\"", redis_version(p->commands));
}

static void
on_down(void *arg, enum redis_class class, const char *why)
{
	(void)arg;
	say("down", class, why, "%s", "");
}

static void
on_down_waiting(void *arg, enum redis_class class, const char *why)
{
	(void)arg;
	say("down-waiting", class, why, "%s", "");
}

static void
on_raw(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	(void)arg;
	ASSERT((arena == NULL) == (reply == NULL) && (reply != NULL || class != REDIS_OK));
	struct buf out = BUF_INIT;
	if (reply != NULL)
		add_value(&out, reply);
	else
		buf_adds(&out, "null");
	say("raw", class, why, "\"reply\": %.3000s", buf_cstr(&out));
	buf_free(&out);
}

static void
on_lease(void *arg, const struct source_lease *a)
{
	(void)arg;
	say("lease", a->class, a->why, "\"granted\": %d, \"holder\": \"%s\", \"ttl\": %" PRIu64 ", \"epoch\": %" PRIu64 ", \"settled\": %" PRIu64
	    ", \"generation\": \"%s\", \"length\": %" PRIu64 ", \"ledger\": \"%s\", \"elsewhere\": %d, \"others\": %d, \"clean\": %d, \"in_doubt\": %d", a->granted,
	    a->holder, a->ttl_ms, a->epoch, a->settled, a->generation, a->length, a->ledger, a->elsewhere, a->others, a->clean, a->in_doubt);
}

static void
on_own(void *arg, const struct source_own *a)
{
	(void)arg;
	say("own", a->class, a->why, "\"refused\": %d, \"epoch\": %" PRIu64 ", \"generation\": \"%s\", \"fresh\": %d, \"settled\": %" PRIu64
	    ", \"length\": %" PRIu64 ", \"in_doubt\": %d", a->refused, a->epoch, a->generation, a->fresh, a->settled, a->length, a->in_doubt);
}

static void
on_peek(void *arg, const struct source_peek *a)
{
	struct probe *p = arg;
	arena_unref(&p->peeked.arena);
	p->peeked = *a;
	if (a->arena != NULL)
		arena_ref(a->arena);
	struct buf out = BUF_INIT;
	size_t bytes = 0, used = a->arena == NULL ? 0 : arena_used(a->arena);
	for (size_t i = 0; i < a->n; i++) {
		bytes += a->items[i].len;
		ASSERT(a->items[i].text != NULL && a->items[i].text[a->items[i].len] == '\0');
		if (i < 20) {
			buf_adds(&out, i > 0 ? ", " : "");
			buf_add_json(&out, a->items[i].text, a->items[i].len > 100 ? 100 : a->items[i].len);
		}
	}
	say("peek", a->class, a->why, "\"n\": %zu, \"epoch\": %" PRIu64 ", \"cut\": %d, \"bytes\": %zu, \"memory\": %zu, \"items\": [%s]", a->n, a->epoch, a->cut,
	    bytes, used,
	    buf_cstr(&out));
	buf_free(&out);
}

static void
on_settle(void *arg, const struct source_settled *a)
{
	static const char *const names[] = { "settled", "gone", "fenced", "moved", "guard", "full" };
	(void)arg;
	say("settle", a->class, a->why, "\"status\": \"%s\", \"settled\": %" PRIu64 ", \"length\": %" PRIu64 ", \"dead\": %" PRIu64 ", \"epoch\": %" PRIu64
	    ", \"sample\": %zu", names[a->status], a->settled, a->length, a->dead, a->epoch, a->sample);
}

static void
on_length(void *arg, const struct source_length *a)
{
	(void)arg;
	say("length", a->class, a->why, "\"length\": %" PRIu64 ", \"dead\": %" PRIu64, a->length, a->dead);
}

static void
on_wait(void *arg, const struct source_wait *a)
{
	(void)arg;
	say("wait", a->class, a->why, "\"ready\": %d, \"poll\": %d", a->ready, a->poll);
}

static void
on_release(void *arg, const struct source_release *a)
{
	(void)arg;
	say("release", a->class, a->why, "\"released\": %d", a->released);
}

static void
on_burst(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct probe *p = arg;
	(void)reply, (void)arena;
	if (--p->burst == 0)
		say("burst", class, why, "%s", "");
}

static void
on_close(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct probe *p = arg;
	(void)reply, (void)arena;
	say("close", class, why, "%s", "");
	source_list_free(&p->source);
	redis_close(&p->commands);
	redis_close(&p->waiting);
	event_del(p->input);
}

static void bench_more(struct probe *p);

static void
on_bench(void *arg, const struct source_peek *a)
{
	struct probe *p = arg;
	p->bench_running--;
	p->bench_items += a->n;
	for (size_t i = 0; i < a->n; i++)
		p->bench_bytes += a->items[i].len;
	bench_more(p);
	if (p->bench_running == 0)
		say("bench", a->class, a->why, "\"items\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"seconds\": %.6f", p->bench_items, p->bench_bytes,
		    seconds() - p->bench_start);
}

static void
bench_more(struct probe *p)
{
	for (; p->bench_left > 0 && p->bench_running < 4; p->bench_left--) {
		p->bench_running++;
		source_list_peek(p->source, 0, p->bench_count, p->bench_budget, on_bench, p);
	}
}

/* settle EPOCH SETTLED SKIP REMOVE ADVANCE DEAD_MAX TTL N_DEAD DEAD_BYTES [bad]: samples are the first, a middle and the last of what the last peek,
 * from offset 0, has shown behind SKIP; `bad` changes the last one. */
static void
do_settle(struct probe *p, char **words)
{
	uint64_t number[9];
	for (int i = 0; i < 9; i++)
		number[i] = strtoull(words[1 + i], NULL, 10);
	uint64_t skip = number[2], remove = number[3];
	uint64_t offsets[] = { 0, remove / 2, remove - 1 };
	struct source_sample samples[3];
	size_t n = 0, n_dead = (size_t)number[7], dead_len = (size_t)number[8];
	for (; remove > 0 && n < 3; n++) {
		ASSERT(skip + offsets[n] < p->peeked.n);
		const struct source_text *item = &p->peeked.items[skip + offsets[n]];
		size_t edge = item->len < SOURCE_SAMPLE_EDGE ? item->len : SOURCE_SAMPLE_EDGE;
		samples[n] = (struct source_sample){ offsets[n], item->len, item->text, item->text + item->len - edge };
	}
	if (words[10] != NULL && n == 3)
		samples[2].head = samples[2].len > 0 ? samples[2].head + 1 : "x";
	char *text = xmalloc(dead_len + 1);
	memset(text, 'd', dead_len);
	struct source_text *dead = xcalloc(n_dead + 1, sizeof *dead);
	for (size_t i = 0; i < n_dead; i++)
		dead[i] = (struct source_text){ text, dead_len };
	source_list_settle(p->source, &(struct source_settle){ .epoch = number[0], .settled = number[1], .skip = skip, .remove = remove,
	    .advance = number[4], .samples = samples, .n_samples = n, .dead = dead, .n_dead = n_dead, .dead_max = number[5],
	    .ttl_ms = (unsigned)number[6] }, on_settle, p);
	free(dead);
	free(text);
}

static unsigned
number(const char *word)
{
	return word == NULL ? 0 : (unsigned)strtoul(word, NULL, 10);
}

static void
do_redis(struct probe *p, char **words, int n)
{
	const char *const ping[] = { "PING" };
	if (strcmp(words[0], "raw") == 0)
		redis_command(p->commands, n - 1, (const char *const *)(words + 1), NULL, 0, 0, on_raw, p);
	else if (strcmp(words[0], "limited") == 0) /* limited BUDGET TIMEOUT WORDS.. */
		redis_command(p->commands, n - 3, (const char *const *)(words + 3), NULL, number(words[2]), number(words[1]), on_raw, p);
	else if (strcmp(words[0], "burst") == 0)
		for (unsigned i = p->burst = number(words[1]); i > 0; i--)
			redis_command(p->commands, 1, ping, NULL, 0, 0, on_burst, p);
	else if (strcmp(words[0], "close") == 0)
		redis_command(p->commands, 1, ping, NULL, 0, 0, on_close, p);
	else if (strcmp(words[0], "reconnect") == 0)
		redis_reconnect(p->commands);
	else if (strcmp(words[0], "once") == 0)
		redis_run_once(&p->config, n - 1, (const char *const *)(words + 1), NULL, 0, on_raw, p);
	else if (strcmp(words[0], "forget") == 0) {
		/* two under way, one of them in the middle of being answered */
		source_list_length(p->source, on_length, p);
		source_list_peek(p->source, 0, 10, 0, on_peek, p);
		source_list_free(&p->source);
		redis_command(p->commands, 1, ping, NULL, 0, 0, on_raw, p);
	} else {
		say("unknown", REDIS_OK, words[0], "%s", "");
	}
}

static void
run(struct probe *p, char *line)
{
	char *words[MAX_WORDS + 1] = { NULL };
	int n = 0;
	for (char *word = strtok(line, " "); word != NULL && n < MAX_WORDS; word = strtok(NULL, " "))
		words[n++] = word;
	if (n == 0)
		return;
	if (strcmp(words[0], "lease") == 0)
		source_list_lease(p->source, number(words[1]), words[2] == NULL ? 0 : number(words[2]), on_lease, p);
	else if (strcmp(words[0], "own") == 0)
		source_list_own(p->source, &(struct source_claim){ .before = number(words[1]), .epoch = number(words[2]), .new_generation = words[3],
		    .force = number(words[4]) != 0, .accepted = words[5] == NULL ? 0 : number(words[5]) }, on_own, p);
	else if (strcmp(words[0], "peek") == 0)
		source_list_peek(p->source, number(words[1]), number(words[2]), number(words[3]), on_peek, p);
	else if (strcmp(words[0], "settle") == 0)
		do_settle(p, words);
	else if (strcmp(words[0], "length") == 0)
		source_list_length(p->source, on_length, p);
	else if (strcmp(words[0], "wait") == 0)
		source_list_wait(p->source, number(words[1]), on_wait, p);
	else if (strcmp(words[0], "look") == 0)
		source_list_look(p->source, number(words[1]), number(words[2]), number(words[3]), on_peek, p);
	else if (strcmp(words[0], "release") == 0)
		source_list_release(p->source, words[1] == NULL ? 0 : number(words[1]), on_release, p);
	else if (strcmp(words[0], "bench") == 0) {
		p->bench_left = number(words[1]);
		p->bench_count = number(words[2]);
		p->bench_budget = number(words[3]);
		p->bench_items = p->bench_bytes = 0;
		p->bench_start = seconds();
		bench_more(p);
	} else {
		do_redis(p, words, n);
	}
}

static void
on_input(evutil_socket_t fd, short what, void *arg)
{
	struct probe *p = arg;
	(void)what;
	ssize_t got = read(fd, p->line + p->line_len, sizeof p->line - 1 - p->line_len);
	if (got <= 0) {
		event_del(p->input);
		event_base_loopbreak(p->base);
		return;
	}
	p->line_len += (size_t)got;
	p->line[p->line_len] = '\0';
	for (char *end; (end = strchr(p->line, '\n')) != NULL;) {
		*end = '\0';
		size_t used = (size_t)(end + 1 - p->line);
		run(p, p->line);
		memmove(p->line, end + 1, p->line_len - used + 1);
		p->line_len -= used;
	}
}

/* The value of NAME=VALUE among the arguments, or the default. */
static char *
setting(char **args, const char *name, const char *otherwise)
{
	size_t n = strlen(name);
	for (; *args != NULL; args++) {
		if (strncmp(*args, name, n) == 0 && (*args)[n] == '=')
			return xstrdup(*args + n + 1);
	}
	return xstrdup(otherwise);
}

static unsigned
setting_number(char **args, const char *name, unsigned otherwise)
{
	char *text = setting(args, name, NULL);
	unsigned value = text == NULL ? otherwise : number(text);
	free(text);
	return value;
}

int
main(int argc, char **argv)
{
	static const struct redis_events events = { .up = on_up, .down = on_down }, waiting_events = { .up = on_up, .down = on_down_waiting };
	struct probe *p = xcalloc(1, sizeof *p);
	(void)argc;
	signal(SIGPIPE, SIG_IGN);
	p->base = event_base_new();
	p->config.address = (struct redis_address){ .unix_path = setting(argv, "unix", NULL), .host = setting(argv, "host", NULL),
		.port = setting_number(argv, "port", 0), .user = setting(argv, "user", NULL), .db = setting_number(argv, "db", 0),
		.tls = setting_number(argv, "tls", 0) != 0 };
	p->config.password = setting(argv, "password", NULL);
	p->config.sslmode = (int)setting_number(argv, "sslmode", REDIS_VERIFY_FULL);
	p->config.sslrootcert = setting(argv, "sslrootcert", NULL);
	p->config.sslname = setting(argv, "sslname", NULL);
	p->config.sslcert = setting(argv, "sslcert", NULL);
	p->config.sslkey = setting(argv, "sslkey", NULL);
	p->config.connect_timeout = setting_number(argv, "connect", 5);
	p->config.command_timeout = setting_number(argv, "command", 10);
	char *key = setting(argv, "key", "orders"), *dead = setting(argv, "dead", "{orders}:dead"), *owner = setting(argv, "owner", "probe 1");
	char *pop = setting(argv, "pop", "right"), *ledger = setting(argv, "ledger", "orders");
	p->commands = redis_open(p->base, &p->config, "probe-commands", &events, p);
	p->waiting = redis_open(p->base, &p->config, "probe-waiting", &waiting_events, p);
	p->source = source_list_new(p->commands, p->waiting, key, strcmp(pop, "left") == 0 ? POP_LEFT : POP_RIGHT, dead, owner, ledger);
	p->input = event_new(p->base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, p);
	event_add(p->input, NULL);
	event_base_dispatch(p->base);
	event_free(p->input);
	arena_unref(&p->peeked.arena);
	source_list_free(&p->source);
	redis_close(&p->commands);
	redis_close(&p->waiting);
	event_base_free(p->base);
	char *owned[] = { key, dead, owner, pop, ledger, p->config.address.unix_path, p->config.address.host, p->config.address.user, p->config.password,
		p->config.sslrootcert, p->config.sslname, p->config.sslcert, p->config.sslkey };
	for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
		free(owned[i]);
	free(p);
	return 0;
}
