/* options.def as a table, and what can be done with a row: set, print, sample. */
#include "config_private.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "nearest.h"

#define ROW(section, config, key, type, def, limits, unit, reload, help) \
	{ section, #key, OPTION_##type, def, limits, unit, CHANGE_##reload, help, offsetof(struct config, key) },
#define CHOICE_SIZE 32 /* bytes of the longest "a" in "a|b|c", with its NUL */
#define CHOICES_MAX 8

const struct option options[N_OPTIONS] = {
#define SLUICE_OPTION(...) ROW(SECTION_SLUICE, config, __VA_ARGS__)
#define REDIS_OPTION(...) ROW(SECTION_REDIS, redis_config, __VA_ARGS__)
#define STATS_OPTION(...) ROW(SECTION_STATS, stats_config, __VA_ARGS__)
#define DATABASE_OPTION(...) ROW(SECTION_DATABASE, database_config, __VA_ARGS__)
#define QUEUE_OPTION(...) ROW(SECTION_QUEUE, queue_config, __VA_ARGS__)
#include "options.def"
};

const struct section_word section_words[N_SECTION_KINDS] = {
	[SECTION_SLUICE] = { "sluice", false },
	[SECTION_REDIS] = { "redis", false },
	[SECTION_STATS] = { "stats", false },
	[SECTION_DATABASE] = { "database", true },
	[SECTION_QUEUE] = { "queue", true },
};

/* Suffixes of OPTION_SIZE: each is worth 1024 times the one before. */
static const char size_suffixes[] = " KMG";

const struct option *
option_find(enum section_kind kind, const char *name)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].section == kind && strcmp(options[i].name, name) == 0)
			return &options[i];
	}
	return NULL;
}

void *
section_base(struct config *config, enum section_kind kind, size_t index)
{
	switch (kind) {
	case SECTION_SLUICE: return config;
	case SECTION_REDIS: return &config->redis;
	case SECTION_STATS: return &config->stats;
	case SECTION_DATABASE:
		ASSERT(index < config->n_databases);
		return &config->databases[index];
	case SECTION_QUEUE:
		ASSERT(index < config->n_queues);
		return &config->queues[index];
	case N_SECTION_KINDS: break;
	}
	check_failed("every kind of section has its struct", __FILE__, __LINE__);
}

bool
name_ok(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t n = strlen(name);
	return n > 0 && n <= NAME_MAX_BYTES && strspn(name, allowed) == n;
}

/* Reads digits and, if `suffixes`, one of K, M, G; returns what follows them, or NULL if there is no such number. */
static const char *
number_scan(const char *text, bool suffixes, unsigned long long *number)
{
	if (*text < '0' || *text > '9') /* no sign, no blank */
		return NULL;
	char *end;
	errno = 0;
	*number = strtoull(text, &end, 10);
	if (errno != 0)
		return NULL;
	const char *suffix = suffixes && *end != '\0' ? strchr(size_suffixes + 1, *end) : NULL;
	if (suffix == NULL)
		return end;
	unsigned shift = 10 * (unsigned)(suffix - size_suffixes);
	if (*number > ULLONG_MAX >> shift)
		return NULL;
	*number <<= shift;
	return end + 1;
}

bool
number_read(const char *text, unsigned long long min, unsigned long long max, unsigned long long *number)
{
	ASSERT(min <= max);
	const char *end = number_scan(text, false, number);
	return end != NULL && *end == '\0' && *number >= min && *number <= max;
}

static bool
read_limited(const struct option *option, const char *value, unsigned long long *number, struct buf *why)
{
	bool size = option->type == OPTION_SIZE;
	unsigned long long min, max;
	const char *end = number_scan(option->limits, size, &min);
	ASSERT(end != NULL && strncmp(end, "..", 2) == 0);
	end = number_scan(end + 2, size, &max);
	ASSERT(end != NULL && *end == '\0' && min <= max);

	end = number_scan(value, size, number);
	if (end == NULL || *end != '\0')
		buf_addf(why, "\"%s\" is not a number%s of %s", value, size ? " (with K, M or G behind it)" : "", option->limits);
	else if (*number < min || *number > max)
		buf_addf(why, "\"%s\" is out of range %s%s%s", value, option->limits, *option->unit == '\0' ? "" : " ", option->unit);
	else
		return true;
	return false;
}

/* Copies choice `index` of "a|b|c" to `out`; false: there are not so many. */
static bool
choice_name(const char *limits, int index, char *out, size_t size)
{
	while (index-- > 0) {
		limits = strchr(limits, '|');
		if (limits == NULL)
			return false;
		limits++;
	}
	size_t n = strcspn(limits, "|");
	ASSERT(n < size);
	memcpy(out, limits, n);
	out[n] = '\0';
	return true;
}

static bool
read_choice(const struct option *option, const char *value, int *index, struct buf *why)
{
	char names[CHOICES_MAX][CHOICE_SIZE];
	struct nearest nearest = { .wanted = value };
	for (int i = 0; i < CHOICES_MAX && choice_name(option->limits, i, names[i], CHOICE_SIZE); i++) {
		if (strcmp(names[i], value) == 0) {
			*index = i;
			return true;
		}
		nearest_offer(&nearest, names[i]);
	}
	buf_addf(why, "\"%s\" is not one of %s", value, option->limits);
	nearest_suggest(&nearest, why);
	return false;
}

bool
option_set(const struct option *option, void *base, const char *value, struct buf *why)
{
	void *field = (char *)base + option->offset;
	unsigned long long number;
	switch (option->type) {
	case OPTION_STRING:
		free(*(char **)field);
		*(char **)field = *value == '\0' ? NULL : xstrdup(value);
		return true;
	case OPTION_UINT:
		if (!read_limited(option, value, &number, why))
			return false;
		ASSERT(number <= UINT_MAX);
		*(unsigned *)field = (unsigned)number;
		return true;
	case OPTION_SIZE:
		if (!read_limited(option, value, &number, why))
			return false;
		ASSERT(number <= SIZE_MAX);
		*(size_t *)field = (size_t)number;
		return true;
	case OPTION_CHOICE: return read_choice(option, value, field, why);
	}
	check_failed("every type of option can be set", __FILE__, __LINE__);
}

static void
print_size(size_t size, struct buf *out)
{
	unsigned suffix = 0;
	while (size > 0 && size % 1024 == 0 && size_suffixes[suffix + 1] != '\0') {
		size /= 1024;
		suffix++;
	}
	buf_addf(out, "%zu%.*s", size, suffix > 0, &size_suffixes[suffix]);
}

static void
print_text(const char *text, bool json, struct buf *out)
{
	if (json && text == NULL)
		buf_adds(out, "null");
	else if (json)
		buf_add_json(out, text, strlen(text));
	else if (text != NULL)
		buf_adds(out, text);
}

void
option_print(const struct option *option, const void *base, bool json, struct buf *out)
{
	const void *field = (const char *)base + option->offset;
	char choice[CHOICE_SIZE];
	bool known;
	switch (option->type) {
	case OPTION_STRING: print_text(*(char *const *)field, json, out); break;
	case OPTION_UINT: buf_addf(out, "%u", *(const unsigned *)field); break;
	case OPTION_SIZE:
		if (json)
			buf_addf(out, "%zu", *(const size_t *)field);
		else
			print_size(*(const size_t *)field, out);
		break;
	case OPTION_CHOICE:
		known = choice_name(option->limits, *(const int *)field, choice, sizeof choice);
		ASSERT(known);
		print_text(choice, json, out);
		break;
	}
}
