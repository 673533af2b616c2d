/* What differs between two configurations, for a reload. */
#include "config_private.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"

/* Two sections of one name being compared. */
struct comparison {
	enum section_kind kind;    /* of both */
	const char *name;          /* of both; "" where a section has none */
	struct buf *report;        /* the caller's; NULL: nobody reads it */
	enum config_change change; /* the weightiest so far */
};

/* Begins a line of the report. */
static void
add_subject(struct buf *report, enum section_kind kind, const char *name)
{
	buf_addf(report, "%s%s%s: ", section_words[kind].word, *name == '\0' ? "" : " ", name);
}

/* Notes a difference. `to` NULL: it is a secret. */
static void
differs(struct comparison *c, enum config_change change, const char *key, const char *from, const char *to)
{
	ASSERT(change != CHANGE_NONE);
	if (change > c->change)
		c->change = change;
	if (c->report == NULL)
		return;
	if (change == CHANGE_RESTART)
		buf_adds(c->report, "needs a restart: ");
	add_subject(c->report, c->kind, c->name);
	if (to == NULL)
		buf_addf(c->report, "%s changed\n", key);
	else
		buf_addf(c->report, "%s %s -> %s\n", key, *from == '\0' ? "none" : from, *to == '\0' ? "none" : to);
}

static void
compare_options(struct comparison *c, const void *from, const void *to)
{
	struct buf old = BUF_INIT, new = BUF_INIT;
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].section != c->kind)
			continue;
		buf_reset(&old);
		buf_reset(&new);
		option_print(&options[i], from, false, &old);
		option_print(&options[i], to, false, &new);
		if (strcmp(buf_cstr(&old), buf_cstr(&new)) != 0)
			differs(c, options[i].change, options[i].name, buf_cstr(&old), buf_cstr(&new));
	}
	buf_free(&old);
	buf_free(&new);
}

/* The file may have the same name and hold another password. */
static void
compare_passwords(struct comparison *c, enum config_change change, const char *from, const char *to)
{
	if (from == NULL || to == NULL ? from != to : strcmp(from, to) != 0)
		differs(c, change, "password", "", NULL);
}

/* The expression of the queue's line for a column; "": it has none. */
static const char *
expression_of(const struct queue_config *queue, const char *column)
{
	for (size_t i = 0; i < queue->n_columns; i++) {
		if (strcmp(queue->columns[i].column, column) == 0)
			return queue->columns[i].expression;
	}
	return "";
}

static void
compare_column(struct comparison *c, const char *column, const char *from, const char *to)
{
	struct buf key = BUF_INIT;
	buf_addf(&key, "column.%s", column);
	if (strcmp(from, to) != 0)
		differs(c, CHANGE_ANEW, buf_cstr(&key), from, to);
	buf_free(&key);
}

static void
compare_columns(struct comparison *c, const struct queue_config *from, const struct queue_config *to)
{
	for (size_t i = 0; i < to->n_columns; i++)
		compare_column(c, to->columns[i].column, expression_of(from, to->columns[i].column), to->columns[i].expression);
	for (size_t i = 0; i < from->n_columns; i++) {
		const char *column = from->columns[i].column;
		if (*expression_of(to, column) == '\0')
			compare_column(c, column, from->columns[i].expression, "");
	}
}

enum config_change
config_compare_redis(const struct redis_config *from, const struct redis_config *to, struct buf *report)
{
	struct comparison c = { .kind = SECTION_REDIS, .name = "", .report = report };
	compare_options(&c, from, to);
	compare_passwords(&c, options[REDIS_password_file].change, from->password, to->password);
	return c.change;
}

enum config_change
config_compare_database(const struct database_config *from, const struct database_config *to, struct buf *report)
{
	ASSERT(strcmp(from->name, to->name) == 0);
	struct comparison c = { .kind = SECTION_DATABASE, .name = to->name, .report = report };
	compare_options(&c, from, to);
	compare_passwords(&c, options[DATABASE_password_file].change, from->password, to->password);
	return c.change;
}

enum config_change
config_compare_queue(const struct queue_config *from, const struct queue_config *to, struct buf *report)
{
	ASSERT(strcmp(from->name, to->name) == 0);
	struct comparison c = { .kind = SECTION_QUEUE, .name = to->name, .report = report };
	compare_options(&c, from, to);
	compare_columns(&c, from, to);
	return c.change;
}

const struct database_config *
config_database(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_databases; i++) {
		if (strcmp(config->databases[i].name, name) == 0)
			return &config->databases[i];
	}
	return NULL;
}

const struct queue_config *
config_queue(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_queues; i++) {
		if (strcmp(config->queues[i].name, name) == 0)
			return &config->queues[i];
	}
	return NULL;
}

static enum config_change
weightier(enum config_change a, enum config_change b)
{
	return a > b ? a : b;
}

/* A whole section came or went. */
static enum config_change
whole_section(enum section_kind kind, const char *name, const char *what, struct buf *report)
{
	if (report != NULL) {
		add_subject(report, kind, name);
		buf_addf(report, "%s\n", what);
	}
	return CHANGE_ANEW;
}

static enum config_change
compare_databases(const struct config *from, const struct config *to, struct buf *report)
{
	enum config_change change = CHANGE_NONE;
	for (size_t i = 0; i < to->n_databases; i++) {
		const struct database_config *new = &to->databases[i], *old = config_database(from, new->name);
		change = weightier(change, old == NULL ? whole_section(SECTION_DATABASE, new->name, "new", report) : config_compare_database(old, new, report));
	}
	for (size_t i = 0; i < from->n_databases; i++) {
		if (config_database(to, from->databases[i].name) == NULL)
			change = weightier(change, whole_section(SECTION_DATABASE, from->databases[i].name, "removed", report));
	}
	return change;
}

static enum config_change
compare_queues(const struct config *from, const struct config *to, struct buf *report)
{
	enum config_change change = CHANGE_NONE;
	for (size_t i = 0; i < to->n_queues; i++) {
		const struct queue_config *new = &to->queues[i], *old = config_queue(from, new->name);
		change = weightier(change, old == NULL ? whole_section(SECTION_QUEUE, new->name, "new", report) : config_compare_queue(old, new, report));
	}
	for (size_t i = 0; i < from->n_queues; i++) {
		if (config_queue(to, from->queues[i].name) == NULL)
			change = weightier(change, whole_section(SECTION_QUEUE, from->queues[i].name, "removed", report));
	}
	return change;
}

enum config_change
config_compare(const struct config *from, const struct config *to, struct buf *report)
{
	struct comparison main_section = { .kind = SECTION_SLUICE, .name = "", .report = report };
	struct comparison stats = { .kind = SECTION_STATS, .name = "", .report = report };
	compare_options(&main_section, from, to);
	compare_options(&stats, &from->stats, &to->stats);
	enum config_change change = weightier(main_section.change, stats.change);
	change = weightier(change, config_compare_redis(&from->redis, &to->redis, report));
	change = weightier(change, compare_databases(from, to, report));
	return weightier(change, compare_queues(from, to, report));
}

void
config_ledger_name(const struct queue_config *queue, struct buf *out)
{
	const struct database_config *database = queue->target;
	if (queue->ledger == SWITCH_ON)
		buf_addf(out, "%s of %s %s, from the %s", queue->name, database->driver == DRIVER_POSTGRESQL ? "postgresql" : "mysql", database->dbname,
		    queue->pop == POP_RIGHT ? "right" : "left");
	else
		buf_adds(out, "none");
}

static void
keep_section(enum section_kind kind, void *to, const void *from)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].section != kind || options[i].change != CHANGE_RESTART)
			continue;
		ASSERT(options[i].type == OPTION_STRING);
		char **field = (char **)(void *)((char *)to + options[i].offset);
		free(*field);
		*field = xstrdup(*(char *const *)(const void *)((const char *)from + options[i].offset));
	}
}

void
config_keep(struct config *to, const struct config *from)
{
	keep_section(SECTION_SLUICE, to, from);
	keep_section(SECTION_STATS, &to->stats, &from->stats);
}
