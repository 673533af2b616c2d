/* Drives one connection of a driver from the command line, for test_drivers.py:
 *
 *   db_probe [--key value]... [command argument...]...
 *
 * Options are `--key value` for the keys of a [database] section (choices by number), `--password`, `--idle_transaction`. Commands run one after the
 * other, each begun inside the callback of the one before: `query SQL`, `queryfile FILE`, `copy SQL FILE`, `guarded GUARD SQL FILE` (a
 * COPY with a guard), `table NAME`, `expect BYTES` (of the next answer), `pause` (until a byte comes on stdin; events are served meanwhile), `closing SQL`
 * (closes inside the callback), `abandon SQL` (closes as soon as the statement was started), `once SQL` (db_run_once(), alone). Each answer and event is one line of JSON on stdout. */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aside.h"
#include "buf.h"
#include "check.h"
#include "config.h"
#include "db.h"
#include "log.h"
#include "table.h"
#include "utf8.h"

struct probe {
	struct event_base *base;       /* owned */
	struct database_config config; /* strings are argv's */
	unsigned idle_transaction_s;   /* for open() */
	const struct db_ops *ops;
	struct db_conn *conn;   /* owned */
	struct event *input;    /* stdin, for `pause` */
	char **words;           /* what is left of argv */
	struct buf sql;         /* the statement under way */
	struct buf data;        /* its COPY data */
	bool in_start;          /* within the call that started a statement: no callback may come now */
};

static void next_command(struct probe *probe);

static void
emit(struct buf *line)
{
	buf_adds(line, "}\n");
	fwrite(line->data, 1, line->len, stdout);
	fflush(stdout);
	buf_free(line);
}

static void
add_text(struct buf *line, const char *key, const char *value)
{
	ASSERT(utf8_valid(value, strlen(value)));
	buf_addf(line, ", \"%s\": ", key);
	buf_add_json(line, value, strlen(value));
}

static void
add_error(struct buf *line, const struct db_error *error)
{
	add_text(line, "class", db_class_name(error->class));
	if (error->class == DB_OK)
		return;
	add_text(line, "code", error->code);
	add_text(line, "column", error->column);
	add_text(line, "message", error->message);
	buf_addf(line, ", \"row\": %ld, \"offset\": %ld, \"lost\": %s", error->row, error->offset, error->lost ? "true" : "false");
}

static void
add_rows(struct buf *line, const struct db_result *result)
{
	buf_adds(line, ", \"rows\": [");
	for (size_t i = 0; i < result->rows * result->columns; i++) {
		buf_adds(line, i == 0 ? "[" : i % result->columns == 0 ? "], [" : ", ");
		if (result->values[i] == NULL)
			buf_adds(line, "null");
		else
			buf_add_json(line, result->values[i], result->lengths[i]);
	}
	buf_adds(line, result->rows > 0 && result->columns > 0 ? "]]" : "]");
}

static void
emit_result(const struct db_result *result)
{
	struct buf line = BUF_INIT;
	buf_adds(&line, "{\"event\": \"answer\"");
	add_error(&line, &result->error);
	buf_addf(&line, ", \"affected\": %llu, \"rolled_back\": %s", (unsigned long long)result->affected, result->rolled_back ? "true" : "false");
	buf_addf(&line, ", \"done\": %u, \"changed\": [", result->n_done);
	for (unsigned i = 0; i < result->n_done && i < DB_STATEMENTS; i++)
		buf_addf(&line, "%s%llu", i == 0 ? "" : ", ", (unsigned long long)result->changed[i]);
	buf_addc(&line, ']');
	add_rows(&line, result);
	emit(&line);
}

static void
emit_event(const char *name, const struct db_error *error)
{
	struct buf line = BUF_INIT;
	buf_addf(&line, "{\"event\": \"%s\"", name);
	add_error(&line, error);
	emit(&line);
}

static void
stop(struct probe *probe)
{
	probe->ops->close(&probe->conn);
	ASSERT(probe->conn == NULL);
	event_base_loopbreak(probe->base);
}

static void
on_opened(void *arg, const struct db_error *error)
{
	struct probe *probe = arg;
	if (error != NULL) {
		emit_event("failed", error);
		stop(probe);
		return;
	}
	struct buf line = BUF_INIT;
	buf_addf(&line, "{\"event\": \"opened\", \"server_id\": %llu, \"statement_max\": %zu", (unsigned long long)probe->ops->server_id(probe->conn),
	    probe->ops->statement_max(probe->conn));
	add_text(&line, "version", probe->ops->server_version(probe->conn));
	emit(&line);
	next_command(probe);
}

static void
on_lost(void *arg, const struct db_error *error)
{
	emit_event("lost", error);
	stop(arg);
}

static void
on_answer(void *arg, const struct db_result *result)
{
	struct probe *probe = arg;
	ASSERT(!probe->in_start);
	emit_result(result);
	if (result->error.lost)
		stop(probe);
	else
		next_command(probe);
}

static void
on_answer_close(void *arg, const struct db_result *result)
{
	struct probe *probe = arg;
	probe->ops->close(&probe->conn);
	emit_result(result); /* still valid, although the connection is not */
	event_base_loopbreak(probe->base);
}

static void
on_answer_never(void *arg, const struct db_result *result)
{
	(void)arg;
	emit_result(result);
	abort();
}

static void
on_once(void *arg, const struct db_result *result)
{
	(void)arg;
	emit_result(result);
}

static const char *const kind_names[] = { "plain", "bool", "number", "json", "binary", "datetime", "date", "time", "bit", "array" };

static void
add_flag(struct buf *line, const char *key, bool value)
{
	buf_addf(line, ", \"%s\": %s", key, value ? "true" : "false");
}

static void
emit_table(const struct table *table)
{
	struct buf line = BUF_INIT;
	buf_adds(&line, "{\"event\": \"table\"");
	add_flag(&line, "exists", table->exists);
	add_flag(&line, "is_table", table->is_table);
	add_flag(&line, "transactional", table->transactional);
	add_flag(&line, "row_security", table->row_security);
	add_text(&line, "engine", table->engine);
	buf_adds(&line, ", \"columns\": [");
	for (size_t i = 0; i < table->n_columns; i++) {
		const struct column *column = &table->columns[i];
		buf_adds(&line, i == 0 ? "{\"nr\": 0" : ", {\"nr\": 0");
		add_text(&line, "name", column->name);
		add_text(&line, "type", column->type);
		add_text(&line, "kind", kind_names[column->kind]);
		add_text(&line, "array", column->array);
		add_text(&line, "cast", column->cast);
		add_flag(&line, "nullable", column->nullable);
		add_flag(&line, "default", column->has_default);
		add_flag(&line, "generated", column->generated);
		buf_addc(&line, '}');
	}
	buf_adds(&line, "], \"uniques\": {");
	for (size_t i = 0; i < table->n_uniques; i++) {
		buf_adds(&line, i == 0 ? "" : ", ");
		buf_add_json(&line, table->uniques[i].name, strlen(table->uniques[i].name));
		buf_adds(&line, ": [");
		for (size_t j = 0; j < table->uniques[i].n_columns; j++) {
			buf_adds(&line, j == 0 ? "" : ", ");
			buf_add_json(&line, table->uniques[i].columns[j], strlen(table->uniques[i].columns[j]));
		}
		buf_addc(&line, ']');
	}
	buf_addc(&line, '}');
	emit(&line);
}

static void
on_table(void *arg, const struct db_result *result)
{
	struct probe *probe = arg;
	if (result->error.class != DB_OK) {
		on_answer(arg, result);
		return;
	}
	struct table *table = table_read(probe->config.driver, result);
	struct table *again = table_read(probe->config.driver, result);
	ASSERT(table_equal(table, again));
	if (table->n_columns > 0) {
		again->columns[0].nullable = !again->columns[0].nullable;
		ASSERT(!table_equal(table, again));
		ASSERT(table_column(table, probe->config.driver, table->columns[0].name) == &table->columns[0]);
	}
	emit_table(table);
	table_free(&table);
	table_free(&again);
	next_command(probe);
}

static void
on_input(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	char byte;
	if (read(fd, &byte, 1) == 1)
		next_command(arg);
	else
		stop(arg);
}

static void
read_file(const char *path, struct buf *out)
{
	FILE *file = fopen(path, "rb");
	ASSERT(file != NULL);
	buf_reset(out);
	size_t n;
	do {
		n = fread(buf_reserve(out, 65536), 1, 65536, file);
		out->len += n;
	} while (n > 0);
	fclose(file);
}

static char *
word(struct probe *probe)
{
	ASSERT(*probe->words != NULL);
	return *probe->words++;
}

static void
run(struct probe *probe, db_answer_fn *answer)
{
	probe->in_start = true;
	probe->ops->query(probe->conn, probe->sql.data, probe->sql.len, answer, probe);
	probe->in_start = false;
}

static void
copy(struct probe *probe, unsigned guard)
{
	read_file(word(probe), &probe->data);
	probe->in_start = true;
	probe->ops->copy(probe->conn, probe->sql.data, probe->sql.len, probe->data.data, probe->data.len, guard, on_answer, probe);
	probe->in_start = false;
}

static void
next_command(struct probe *probe)
{
	const char *name = *probe->words == NULL ? "close" : word(probe);
	buf_reset(&probe->sql);
	if (strcmp(name, "close") == 0) {
		stop(probe);
	} else if (strcmp(name, "pause") == 0) {
		emit_event("pause", &(struct db_error){ .class = DB_OK });
		event_add(probe->input, NULL);
	} else if (strcmp(name, "expect") == 0) {
		probe->ops->expect(probe->conn, strtoul(word(probe), NULL, 10));
		next_command(probe);
	} else if (strcmp(name, "queryfile") == 0) {
		read_file(word(probe), &probe->sql);
		run(probe, on_answer);
	} else if (strcmp(name, "table") == 0) {
		table_query(probe->config.driver, word(probe), &probe->sql);
		run(probe, on_table);
	} else if (strcmp(name, "guarded") == 0) {
		unsigned guard = (unsigned)strtoul(word(probe), NULL, 10);
		buf_adds(&probe->sql, word(probe));
		copy(probe, guard);
	} else {
		buf_adds(&probe->sql, word(probe));
		if (strcmp(name, "copy") == 0)
			copy(probe, DB_NO_GUARD);
		else if (strcmp(name, "closing") == 0)
			run(probe, on_answer_close);
		else if (strcmp(name, "abandon") == 0) {
			run(probe, on_answer_never);
			stop(probe);
		} else {
			ASSERT(strcmp(name, "query") == 0);
			run(probe, on_answer);
		}
	}
}

/* Takes one `--key value`, typed by options.def. */
static void
read_option(struct probe *probe, const char *key, char *value)
{
#define FROM_STRING(text) (text)
#define FROM_UINT(text) ((unsigned)strtoul(text, NULL, 10))
#define FROM_CHOICE(text) ((int)strtol(text, NULL, 10))
#define DATABASE_OPTION(name, type, def, limits, unit, reload, help) \
	if (strcmp(key, #name) == 0) \
		probe->config.name = FROM_##type(value);
#include "options.def"
	if (strcmp(key, "password") == 0)
		probe->config.password = value;
	if (strcmp(key, "idle_transaction") == 0)
		probe->idle_transaction_s = FROM_UINT(value);
}

int
main(int argc, char **argv)
{
	(void)argc;
	static const struct db_events events = { on_opened, on_lost };
	static char name[] = "probe", localhost[] = "localhost";
	struct probe probe = { .words = argv + 1, .idle_transaction_s = 60, .config = { .name = name, .host = localhost, .sslmode = SSLMODE_PREFER,
	    .query_timeout = 30, .server_connect_timeout = 15, .tcp_user_timeout = 10 } };
	signal(SIGPIPE, SIG_IGN); /* as sluice does */
	log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT, name);
	while (*probe.words != NULL && strncmp(*probe.words, "--", 2) == 0) {
		const char *key = word(&probe) + 2;
		read_option(&probe, key, word(&probe));
	}
	probe.ops = db_driver(probe.config.driver);
	if (*probe.words != NULL && strcmp(*probe.words, "once") == 0) {
		db_run_once(&probe.config, probe.words[1], strlen(probe.words[1]), on_once, NULL);
		return 0;
	}
	probe.base = event_base_new();
	probe.input = event_new(probe.base, STDIN_FILENO, EV_READ, on_input, &probe);
	probe.conn = probe.ops->open(probe.base, &probe.config, probe.idle_transaction_s, &events, &probe);
	ASSERT(probe.ops->server_id(probe.conn) == 0);
	event_base_dispatch(probe.base);
	ASSERT(probe.conn == NULL);
	event_free(probe.input);
	event_base_free(probe.base);
	buf_free(&probe.sql);
	buf_free(&probe.data);
	if (aside_threads_left())
		_exit(fflush(stdout));
	return 0;
}
