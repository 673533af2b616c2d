/* The subcommands of `sluice`, and what they share. */
#ifndef SLUICE_COMMANDS_H
#define SLUICE_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"
#include "redis.h"

struct arena;
struct buf;
struct config;
struct option;
struct redis_config;

/* argv[0] is the subcommand's name; options are the command's own. Returns the process's exit status: 0, or one of sysexits (64 usage, 69 a server is
 * unreachable, 70, 78). */
typedef int command_fn(const struct config *config, int argc, char **argv);

/* sluice check [--offline] */
command_fn cmd_check;
/* sluice init [--print] */
command_fn cmd_init;
/* sluice show WHAT [--json] */
command_fn cmd_show;
/* sluice dead list|show|retry|drop QUEUE */
command_fn cmd_dead;
/* sluice pause, resume, accept, skip, reconnect, reload, loglevel */
command_fn cmd_control;
/* sluice top [SECONDS] [--once|--json|--stat] */
command_fn cmd_top;
/* sluice run */
command_fn cmd_run;

/* Reads a command's long options (getopt.h, each with a flag to set) and moves the other words, at least `min` and at most `max`, to argv[1] and on;
 * returns how many. -1: something is wrong and was said; the command returns EX_USAGE. */
int command_options(int argc, char **argv, const struct option *options, int min, int max) MUST_CHECK;
/* Says on stderr what is wrong with the command line, printf style, and where there is help. Returns EX_USAGE. */
int command_usage(const char *command, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* One answer of Redis. */
struct command_answer {
	enum redis_class class;          /* REDIS_OK: none of the errors */
	const struct redis_value *value; /* in the arena; NULL where nothing came */
	struct arena *arena;             /* a reference; NULL where nothing came */
	char why[600];                   /* a sentence; "" for REDIS_OK */
};

/* Runs one command in Redis and waits for the answer, which is to be freed with command_answer_free(). `lens` NULL: words are strings; `budget` as
 * for redis_command(). */
void command_ask_redis(const struct redis_config *redis, int argc, const char *const *words, const size_t *lens, size_t budget,
    struct command_answer *answer);
/* Frees; the answer may be used anew. */
void command_answer_free(struct command_answer *answer);
/* The exit status that an error of Redis means: EX_UNAVAILABLE, or EX_CONFIG where an operator must act. */
int command_redis_status(enum redis_class class);

/* Has the running daemon carry out a command of its admin socket (control.h), `word` NULL or what follows it; its answer goes into the empty buffer.
 * Returns the exit status; other than EX_OK: it was said on stderr why. */
int command_ask_daemon(const struct config *config, const char *command, const char *word, struct buf *answer) MUST_CHECK;
/* Has the running daemon show what it knows: a page of its stats port, or where it has none what its admin socket's `show` says to the word. That goes
 * into the empty buffer. Returns the exit status; other than EX_OK: the buffer has a sentence why. */
int command_look(const struct config *config, const char *page, const char *word, struct buf *answer) MUST_CHECK;

#endif
