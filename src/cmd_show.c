/* sluice show: the configuration from the file, everything else from the daemon, by its stats port, or by its admin socket where it has none. */
#include "commands.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "arena.h"
#include "buf.h"
#include "config.h"
#include "json.h"
#include "nearest.h"

static const struct view {
	const char *name;
	const char *member; /* of /stats, for --json; NULL: all of it */
} views[] = {
	{ "queues", "queues" },
	{ "orders", "queues" },
	{ "pools", "pools" },
	{ "connections", "pools" }, /* each with its connections */
	{ "stats", NULL },
	{ "dead", "queues" },       /* each with its dead letters */
};

#define N_VIEWS (sizeof views / sizeof *views)

static void
print(const char *text, size_t len)
{
	fwrite(text, 1, len, stdout);
	if (len == 0 || text[len - 1] != '\n')
		putchar('\n');
}

static int
show_config(const struct config *config, bool json)
{
	struct buf out = BUF_INIT;
	config_show(config, json, &out);
	print(out.data, out.len);
	buf_free(&out);
	return EX_OK;
}

/* Prints one member of an object as it stands there. */
static bool
print_member(struct buf *text, const char *member)
{
	const char *const path[] = { member, NULL };
	const char *const *const list[] = { path };
	struct json_reader *reader = json_reader_new();
	struct json_paths *paths = json_paths_new(list, 1);
	struct json_value value;
	ASSERT(member != NULL);
	memset(buf_reserve(text, ARENA_PADDING), 0, ARENA_PADDING);
	bool found = json_read(reader, paths, text->data, text->len, false, &value, NULL) == JSON_OK && value.kind != JSON_ABSENT;
	if (found)
		print(value.raw, value.raw_len);
	json_paths_free(&paths);
	json_reader_free(&reader);
	return found;
}

static int
show_view(const struct config *config, const struct view *view, bool json)
{
	struct buf page = BUF_INIT, body = BUF_INIT;
	if (json)
		buf_adds(&page, "/stats");
	else
		buf_addf(&page, "/?table=%s", view->name);
	int status = command_look(config, buf_cstr(&page), json ? "json" : view->name, &body);
	if (status != EX_OK) {
		fprintf(stderr, "sluice show: %s", buf_cstr(&body));
	} else if (!json || view->member == NULL) {
		print(body.data, body.len);
	} else if (!print_member(&body, view->member)) {
		fputs("sluice show: the answer is not sluice's: does another version, or program, answer?\n", stderr);
		status = EX_UNAVAILABLE;
	}
	buf_free(&page);
	buf_free(&body);
	return status;
}

int
cmd_show(const struct config *config, int argc, char **argv)
{
	int json = 0;
	const struct option options[] = { { "json", no_argument, &json, 1 }, { 0 } };
	if (command_options(argc, argv, options, 1, 1) < 0)
		return EX_USAGE;
	const char *what = argv[1];
	struct nearest nearest = { .wanted = what };
	if (strcmp(what, "config") == 0)
		return show_config(config, json != 0);
	nearest_offer(&nearest, "config");
	for (size_t i = 0; i < N_VIEWS; i++) {
		if (strcmp(what, views[i].name) == 0)
			return show_view(config, &views[i], json != 0);
		nearest_offer(&nearest, views[i].name);
	}
	struct buf hint = BUF_INIT;
	nearest_suggest(&nearest, &hint);
	int status = command_usage(argv[0], "cannot show \"%s\"%s", what, buf_cstr(&hint));
	buf_free(&hint);
	return status;
}
