/* sluice check: one line a finding. */
#include "commands.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "check_private.h"
#include "config.h"
#include "db.h"
#include "text.h"

#define CLOCK_TOLERANCE_S 3 /* NTP keeps clocks much closer */

void
check_finding(struct check *c, enum level level, const char *where, const char *fmt, ...)
{
	static const char *const names[N_LEVELS] = { "ok", "warning", "error" };
	char text[2000];
	struct buf line = BUF_INIT;
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	ASSERT(n >= 0 && level < N_LEVELS);
	buf_addf(&line, "%-7s  %s  ", names[level], where);
	text_clean(&line, text, strlen(text));
	puts(buf_cstr(&line));
	buf_free(&line);
	c->found[level]++;
}

void
check_sql_error(struct check *c, const char *where, const char *what, const struct db_error *error)
{
	static const char *const advice[] = {
		[DB_RECONNECT] = ": is the server up, and do host and port lead to it?",
		[DB_NOT_WRITABLE] = ": name the primary in host",
		[DB_PAUSE] = ": wait, or give the server more of it; besides the pools leave a connection for sluice check",
		[DB_SETUP] = ": correct the login or the configuration, or grant what sluice init --print shows",
		[DB_UNKNOWN] = ": look into the server's log",
	};
	bool coded = error->code[0] != '\0', advised = error->class < sizeof advice / sizeof *advice && advice[error->class] != NULL;
	ASSERT(error->class != DB_OK);
	check_finding(c, LEVEL_ERROR, where, "%s%s%s%s%s%s", what, error->message, coded ? " (" : "", error->code, coded ? ")" : "",
	    advised ? advice[error->class] : ": try again");
	if (error->class != DB_SETUP)
		c->unreachable = true;
}

/* No order depends on it: leases are counted down by Redis, timeouts by each side for itself. */
void
check_clock(struct check *c, const char *where, double there_s, int64_t before_us, int64_t after_us)
{
	double before_s = (double)before_us / 1e6, after_s = (double)after_us / 1e6;
	double off = there_s < before_s ? there_s - before_s : there_s > after_s ? there_s - after_s : 0;
	if (off > -CLOCK_TOLERANCE_S && off < CLOCK_TOLERANCE_S)
		return;
	check_finding(c, LEVEL_WARNING, where, "its clock is %.0f s %s this host's: no order is lost or late by that, but @now, dead letters and "
	    "logs have this host's time: let both follow NTP", off < 0 ? -off : off, off < 0 ? "behind" : "ahead of");
}

/* Is the daemon that answers where ours would listen ours? Another one would have another name. */
static bool
is_running(const struct config *config)
{
	struct buf answer = BUF_INIT, name = BUF_INIT;
	bool running = command_look(config, "/stats", "json", &answer) == EX_OK;
	buf_adds(&name, "\"instance\":");
	buf_add_json(&name, config->instance, strlen(config->instance));
	running = running && strstr(buf_cstr(&answer), buf_cstr(&name)) != NULL;
	buf_free(&answer);
	buf_free(&name);
	return running;
}

static void
check_servers(struct check *c)
{
	const struct config *config = c->config;
	ASSERT(c->databases == NULL && config->n_databases > 0);
	c->databases = xcalloc(config->n_databases, sizeof *c->databases);
	c->running = is_running(config);
	check_redis(c);
	for (size_t i = 0; i < config->n_databases; i++)
		check_database(c, i);
	for (size_t i = 0; i < config->n_queues; i++)
		check_queue(c, &config->queues[i]);
	for (size_t i = 0; i < config->n_databases; i++)
		buf_free(&c->databases[i].losing);
	free(c->databases);
}

/* The last line; returns the exit status. */
static int
sum_up(const struct check *c, bool offline)
{
	int status = c->unreachable ? EX_UNAVAILABLE : c->found[LEVEL_ERROR] > 0 ? EX_CONFIG : EX_OK;
	unsigned errors = c->found[LEVEL_ERROR], warnings = c->found[LEVEL_WARNING];
	printf("%u error%s, %u warning%s; exit status %d: %s\n", errors, errors == 1 ? "" : "s", warnings, warnings == 1 ? "" : "s", status,
	    status == EX_UNAVAILABLE ? "a server cannot be reached or used"
	    : status == EX_CONFIG ? "something must be corrected"
	    : offline ? "the configuration can be used; no server was asked" : "nothing keeps sluice from running");
	return status;
}

int
cmd_check(const struct config *config, int argc, char **argv)
{
	int offline = 0;
	const struct option options[] = { { "offline", no_argument, &offline, 1 }, { 0 } };
	struct check c = { .config = config };
	if (command_options(argc, argv, options, 0, 0) < 0)
		return EX_USAGE;
	check_finding(&c, LEVEL_OK, config->files[0], "read; databases: %zu, queues: %zu", config->n_databases, config->n_queues);
	check_files(&c);
	if (!offline)
		check_servers(&c);
	return sum_up(&c, offline);
}
