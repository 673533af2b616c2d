/* What the subcommands share. */
#include "commands.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "admin.h"
#include "arena.h"
#include "buf.h"
#include "config.h"
#include "httpd.h"
#include "nearest.h"

#define WORD_BYTES 200 /* longer than any name can be */

int
command_usage(const char *command, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fprintf(stderr, "sluice %s: ", command);
	vfprintf(stderr, fmt, args);
	fprintf(stderr, "\nsluice %s --help explains it.\n", command);
	va_end(args);
	return EX_USAGE;
}

static int
unknown_option(const char *command, const char *word, const struct option *options)
{
	struct nearest nearest = { .wanted = word + strspn(word, "-") };
	struct buf hint = BUF_INIT;
	for (; options->name != NULL; options++)
		nearest_offer(&nearest, options->name);
	nearest_suggest(&nearest, &hint);
	command_usage(command, "there is no option %s here%s", word, buf_cstr(&hint));
	buf_free(&hint);
	return -1;
}

int
command_options(int argc, char **argv, const struct option *options, int min, int max)
{
	int found;
	ASSERT(argc > 0 && min <= max);
	optind = 0; /* starts anew: main() has used getopt too */
	opterr = 0;
	while ((found = getopt_long(argc, argv, "", options, NULL)) == 0)
		;
	if (found != -1)
		return unknown_option(argv[0], argv[optind - 1], options);
	int words = argc - optind;
	if (words < min || words > max) {
		command_usage(argv[0], words < min ? "a word is missing" : "there is a word too many: %s", argv[argc - 1]);
		return -1;
	}
	memmove(argv + 1, argv + optind, (size_t)words * sizeof *argv);
	return words;
}

static void
keep_answer(void *arg, enum redis_class class, const struct redis_value *value, struct arena *arena, const char *why)
{
	struct command_answer *answer = arg;
	answer->class = class;
	answer->value = value;
	answer->arena = arena == NULL ? NULL : arena_ref(arena);
	snprintf(answer->why, sizeof answer->why, "%s", why);
}

void
command_ask_redis(const struct redis_config *redis, int argc, const char *const *words, const size_t *lens, size_t budget,
    struct command_answer *answer)
{
	*answer = (struct command_answer){ .class = REDIS_LOST };
	redis_run_once(redis, argc, words, lens, budget, keep_answer, answer);
	ASSERT(answer->class != REDIS_OK || answer->value != NULL);
}

void
command_answer_free(struct command_answer *answer)
{
	arena_unref(&answer->arena);
	answer->value = NULL;
}

int
command_redis_status(enum redis_class class)
{
	ASSERT(class != REDIS_OK);
	return class == REDIS_SETUP ? EX_CONFIG : EX_UNAVAILABLE;
}

/* As admin_ask(), of the daemon with this configuration. */
static int
ask_socket(const struct config *config, const char *command, const char *word, struct buf *answer)
{
	ASSERT(answer->len == 0);
	if (config->stats.admin_socket != NULL)
		return admin_ask(config->stats.admin_socket, command, word, answer);
	buf_adds(answer, "the daemon has no admin socket to ask: set `admin_socket` in [stats] and restart it\n");
	return EX_CONFIG;
}

int
command_ask_daemon(const struct config *config, const char *command, const char *word, struct buf *answer)
{
	if (word != NULL && (strlen(word) > WORD_BYTES || strpbrk(word, " \t\r\n") != NULL))
		return command_usage(command, "a name has no blanks in it, and at most %d bytes", WORD_BYTES);
	int status = ask_socket(config, command, word, answer);
	if (status != EX_OK)
		fprintf(stderr, "sluice %s: %s", command, buf_cstr(answer));
	return status;
}

int
command_look(const struct config *config, const char *page, const char *word, struct buf *answer)
{
	const char *listen = config->stats.listen;
	if (listen == NULL)
		return ask_socket(config, "show", word, answer);
	ASSERT(page[0] == '/' && answer->len == 0);
	int answered = httpd_get(listen, page, answer);
	if (answered == 200)
		return EX_OK;
	buf_reset(answer);
	if (answered == 0)
		buf_addf(answer, "nobody answers at %s: does `sluice run` run here, with this `listen`?\n", listen);
	else
		buf_addf(answer, "%s gives an answer that is not sluice's (status %d): does another version, or program, listen there?\n", listen, answered);
	return EX_UNAVAILABLE;
}
