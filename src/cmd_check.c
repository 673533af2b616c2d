/* sluice check: one line a finding. */
#include "commands.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "buf.h"
#include "config.h"
#include "db.h"
#include "ledger.h"
#include "mapping.h"
#include "table.h"
#include "text.h"

enum level { LEVEL_OK, LEVEL_WARNING, LEVEL_ERROR };

/* What has been found so far. */
struct check {
	const struct config *config;
	bool unreachable;    /* a server does not answer, or takes no writes */
	bool wrong;          /* something must be corrected */
	bool *reachable;     /* of each database */
	bool redis;          /* Redis answers */
	const char *losing;  /* what Redis may lose when it is killed; NULL: not known */
};

static void PRINTF_LIKE(4, 5)
finding(struct check *c, enum level level, const char *where, const char *fmt, ...)
{
	static const char *const names[] = { "ok", "warning", "error" };
	char text[2000];
	struct buf line = BUF_INIT;
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	ASSERT(n >= 0);
	buf_addf(&line, "%-7s  %s  ", names[level], where);
	text_clean(&line, text, strlen(text));
	puts(buf_cstr(&line));
	buf_free(&line);
	c->wrong = c->wrong || level == LEVEL_ERROR;
}

/* -- Redis */

/* May the question not be asked? An ACL, or a service that has no such command, is no fault of the queue. */
static bool
is_hidden(const struct redis_value *value)
{
	return value != NULL && value->type == REDIS_ERROR && (strncmp(value->text, "NOPERM", 6) == 0 || strncmp(value->text, "ERR unknown", 11) == 0);
}

/* Asks Redis. False: there is no answer of that type, and that was said. */
static bool
ask(struct check *c, const char *what, enum redis_type type, int argc, const char *const *words, struct command_answer *answer)
{
	command_ask_redis(&c->config->redis, argc, words, NULL, answer);
	if (answer->class == REDIS_OK && answer->value->type == type)
		return true;
	if (answer->class == REDIS_OK || is_hidden(answer->value)) {
		finding(c, LEVEL_WARNING, "redis", "cannot see %s%s%s", what, answer->why[0] == '\0' ? "" : ": ", answer->why);
	} else {
		finding(c, LEVEL_ERROR, "redis", "%s", answer->why);
		c->redis = false;
		c->unreachable = c->unreachable || command_redis_status(answer->class) == EX_UNAVAILABLE;
	}
	command_answer_free(answer);
	return false;
}

/* What stands behind "name:" in the answer to INFO; NULL: it is not there. */
static const char *
info_field(const char *info, const char *name)
{
	const char *at = strstr(info, name);
	return at == NULL ? NULL : at + strlen(name);
}

/* Before 6.2 there is no BLMOVE: a queue is looked at again and again. */
static void
check_version(struct check *c, const char *version)
{
	int len = (int)strspn(version, "0123456789.");
	char *rest;
	unsigned long major = strtoul(version, &rest, 10), minor = *rest == '.' ? strtoul(rest + 1, NULL, 10) : 0;
	if (major > 6 || (major == 6 && minor >= 2))
		finding(c, LEVEL_OK, "redis", "reachable, version %.*s", len, version);
	else
		finding(c, LEVEL_WARNING, "redis",
		    "version %.*s cannot wait for an item without taking it, so that idle queues are polled: use 6.2 or later", len, version);
}

static void
check_redis_server(struct check *c)
{
	struct command_answer answer;
	static const char *const info[] = { "INFO" };
	if (!ask(c, "its version and role", REDIS_STRING, 1, info, &answer))
		return;
	const char *version = info_field(answer.value->text, "redis_version:"), *role = info_field(answer.value->text, "\nrole:");
	check_version(c, version == NULL ? "?" : version);
	if (role != NULL && strncmp(role, "slave", 5) == 0)
		finding(c, LEVEL_ERROR, "redis", "this is a replica: url must lead to the primary");
	command_answer_free(&answer);
}

/* What a setting of Redis means. */
static const struct setting {
	const char *name;
	const char *value;  /* its beginning; "": any other */
	enum level level;
	const char *means;
	const char *losing; /* what may be lost when Redis is killed; NULL: says nothing about it */
} settings[] = {
	{ "maxmemory-policy", "noeviction", LEVEL_OK, "when it is full, producers are refused and nothing is lost", NULL },
	{ "maxmemory-policy", "volatile-", LEVEL_WARNING, "when it is full, keys that expire are dropped, leases among them: set noeviction", NULL },
	{ "maxmemory-policy", "", LEVEL_ERROR, "when it is full, whole queues are dropped: set noeviction", NULL },
	{ "appendonly", "yes", LEVEL_OK, "a restart keeps the queues", NULL },
	{ "appendonly", "", LEVEL_WARNING, "a restart loses what came since the last snapshot: set appendonly yes",
	    "orders that Redis acknowledged since its last snapshot may be lost when Redis is killed: appendonly no" },
	{ "appendfsync", "always", LEVEL_OK, "every write is on disk before it is acknowledged", "" },
	{ "appendfsync", "everysec", LEVEL_OK, "writes are on disk within a second",
	    "orders that Redis acknowledged within the last second may be lost when Redis is killed or its host fails: appendfsync everysec" },
	{ "appendfsync", "", LEVEL_WARNING, "writes reach the disk whenever the system likes: set everysec or always",
	    "orders that Redis acknowledged within the last half minute or so may be lost when Redis is killed or its host fails: appendfsync no" },
};

/* The value of a setting, as its row; NULL: it cannot be seen. */
static const struct setting *
check_setting(struct check *c, const char *name)
{
	struct command_answer answer;
	const char *const words[] = { "CONFIG", "GET", name };
	const struct setting *s = settings;
	if (!ask(c, name, REDIS_ARRAY, 3, words, &answer))
		return NULL;
	const char *value = answer.value->n == 2 && answer.value->elements[1]->type == REDIS_STRING ? answer.value->elements[1]->text : "";
	while (strcmp(s->name, name) != 0 || strncmp(value, s->value, strlen(s->value)) != 0) {
		s++;
		ASSERT(s < settings + sizeof settings / sizeof *settings);
	}
	finding(c, s->level, "redis", "%s %s: %s", name, value, s->means);
	command_answer_free(&answer);
	return s;
}

static void
check_redis(struct check *c)
{
	c->redis = true;
	check_redis_server(c);
	if (!c->redis)
		return;
	(void)check_setting(c, "maxmemory-policy");
	const struct setting *file = check_setting(c, "appendonly");
	const struct setting *sync = file == NULL || file->losing != NULL ? NULL : check_setting(c, "appendfsync");
	if (file != NULL)
		c->losing = file->losing != NULL ? file->losing : sync != NULL ? sync->losing : NULL;
}

static void
check_key(struct check *c, const char *where, const char *option, const char *key)
{
	struct command_answer answer;
	const char *const words[] = { "TYPE", key };
	if (!ask(c, "the types of keys", REDIS_STATUS, 2, words, &answer))
		return;
	if (strcmp(answer.value->text, "list") != 0 && strcmp(answer.value->text, "none") != 0)
		finding(c, LEVEL_ERROR, where, "%s: the key %s is a %s and no list: correct it, or remove the key", option, key, answer.value->text);
	command_answer_free(&answer);
}

/* -- databases */

/* Arguments of a callback. */
struct asking {
	struct check *check;
	const struct database_config *database;
	const struct queue_config *queue; /* NULL: not about one */
	const char *what;                 /* where an error shall say what it was about */
	const char *where;                /* "database NAME" or "queue NAME" */
	bool ok;                          /* it went well */
	bool ledger;                      /* the ledger table is there */
	bool creates;                     /* it may be made, as far as can be seen */
	struct buf probe;                 /* a statement to try then, explained and not run */
};

static void
sql_error(const struct asking *a, const struct db_error *error)
{
	finding(a->check, LEVEL_ERROR, a->where, "%s%s%s%s%s", a->what, error->message, error->code[0] == '\0' ? "" : " (", error->code,
	    error->code[0] == '\0' ? "" : ")");
	if (error->class != DB_SETUP)
		a->check->unreachable = true;
}

static unsigned
pools_on_server(const struct config *config, const struct database_config *database)
{
	unsigned sum = 0;
	ASSERT(database->host != NULL);
	for (size_t i = 0; i < config->n_databases; i++) {
		const struct database_config *other = &config->databases[i];
		if (other->driver == database->driver && other->port == database->port && strcmp(other->host, database->host) == 0)
			sum += other->pool_size;
	}
	return sum;
}

/* Version; is it new enough; connections for users; is the ledger there; may it be made. */
static const char *const server_queries[] = {
	[DRIVER_POSTGRESQL] = "SELECT current_setting('server_version'), (current_setting('server_version_num')::int >= 120000)::int,"
	    " current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
	    " - coalesce(current_setting('reserved_connections', true), '0')::int,"
	    " (to_regclass('" LEDGER_TABLE "') IS NOT NULL)::int, coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)::int",
	[DRIVER_MYSQL] = "SELECT VERSION(), 1, @@max_connections, (SELECT count(*) FROM information_schema.tables"
	    " WHERE table_schema = DATABASE() AND table_name = '" LEDGER_TABLE "'), 1",
};

static void
on_server(void *arg, const struct db_result *r)
{
	struct asking *a = arg;
	if (r->error.class != DB_OK) {
		sql_error(a, &r->error);
		return;
	}
	ASSERT(r->rows == 1 && r->columns == 5);
	const char *const *v = r->values;
	ASSERT(v[0] != NULL && v[1] != NULL && v[2] != NULL && v[3] != NULL && v[4] != NULL);
	unsigned wanted = pools_on_server(a->check->config, a->database), most = (unsigned)strtoul(v[2], NULL, 10);
	a->ok = true;
	a->ledger = strcmp(v[3], "0") != 0;
	a->creates = strcmp(v[4], "0") != 0;
	finding(a->check, LEVEL_OK, a->where, "reachable and writable, %s %s", a->database->driver == DRIVER_POSTGRESQL ? "PostgreSQL" : "MySQL or MariaDB",
	    v[0]);
	if (strcmp(v[1], "1") != 0)
		finding(a->check, LEVEL_ERROR, a->where, "the server is too old: use PostgreSQL 12 or later");
	if (wanted > most)
		finding(a->check, LEVEL_ERROR, a->where,
		    "all pools on this server want %u connections, and it has %u for users: lower pool_size, or raise max_connections", wanted, most);
	else
		finding(a->check, LEVEL_OK, a->where, "%u connections of %u on this server", wanted, most);
}

static void
on_probe(void *arg, const struct db_result *r)
{
	struct asking *a = arg;
	a->ok = a->ok && r->error.class == DB_OK;
	if (r->error.class != DB_OK)
		sql_error(a, &r->error);
}

/* Nobody's row is read or changed: what is asked is whether we may. */
static void
check_ledger(struct asking *a)
{
	static const char *const probes[] = {
		"SELECT queue, slot, generation, epoch, first, count, items, dead, updated_at FROM " LEDGER_TABLE " WHERE queue = '' FOR UPDATE",
		"INSERT INTO " LEDGER_TABLE " (queue, slot, items) SELECT queue, slot, items FROM " LEDGER_TABLE " WHERE queue = ''",
		"UPDATE " LEDGER_TABLE " SET epoch = epoch WHERE queue = ''",
	};
	if (!a->ledger && a->creates)
		finding(a->check, LEVEL_WARNING, a->where, "the table " LEDGER_TABLE " is not there yet: the first run, or sluice init, makes it if the user may");
	else if (!a->ledger)
		finding(a->check, LEVEL_ERROR, a->where, "the table " LEDGER_TABLE " is not there, and the user may not make it: have an administrator run "
		    "what sluice init --print shows");
	a->what = LEDGER_TABLE ": ";
	for (size_t i = 0; a->ledger && a->ok && i < sizeof probes / sizeof *probes; i++)
		db_run_once(a->database, probes[i], strlen(probes[i]), on_probe, a);
	if (a->ledger && a->ok)
		finding(a->check, LEVEL_OK, a->where, "the table " LEDGER_TABLE " is there and usable");
}

static bool
uses_ledger(const struct config *config, const struct database_config *database)
{
	bool used = false;
	for (size_t i = 0; i < config->n_queues; i++)
		used = used || (config->queues[i].target == database && config->queues[i].ledger == SWITCH_ON);
	return used;
}

static void
check_database(struct check *c, size_t i)
{
	const struct database_config *database = &c->config->databases[i];
	struct buf where = BUF_INIT;
	buf_addf(&where, "database %s", database->name);
	struct asking a = { .check = c, .database = database, .what = "", .where = buf_cstr(&where) };
	const char *sql = server_queries[database->driver];
	db_run_once(database, sql, strlen(sql), on_server, &a);
	c->reachable[i] = a.ok;
	if (a.ok && uses_ledger(c->config, database))
		check_ledger(&a);
	buf_free(&where);
}

/* -- queues */

/* An INSERT of all mapped columns, to be explained only: it shows a missing right without firing a trigger. */
static void
write_probe(const struct mapping *mapping, struct buf *sql)
{
	ASSERT(mapping->n_columns > 0);
	buf_addf(sql, "EXPLAIN INSERT INTO %s (", mapping->table_quoted);
	for (size_t i = 0; i < mapping->n_columns; i++)
		buf_addf(sql, "%s%s", i == 0 ? "" : ",", mapping->columns[i].quoted);
	buf_adds(sql, ") VALUES (");
	for (size_t i = 0; i < mapping->n_columns; i++)
		buf_addf(sql, "%sDEFAULT", i == 0 ? "" : ",");
	buf_addc(sql, ')');
}

static void
on_table(void *arg, const struct db_result *r)
{
	struct asking *a = arg;
	struct buf why = BUF_INIT;
	ASSERT(a->queue != NULL && a->probe.len == 0);
	if (r->error.class != DB_OK) {
		sql_error(a, &r->error);
		return;
	}
	struct table *table = table_read(a->database->driver, r);
	struct mapping *mapping = mapping_new(a->queue, table, &why);
	a->ok = mapping != NULL;
	if (mapping == NULL)
		finding(a->check, LEVEL_ERROR, a->where, "%s", buf_cstr(&why));
	else
		write_probe(mapping, &a->probe);
	if (mapping != NULL && !table->transactional)
		finding(a->check, LEVEL_WARNING, a->where, "the engine %s knows no transactions: part of a batch may stay when it fails",
		    table->engine);
	mapping_free(&mapping);
	table_free(&table);
	buf_free(&why);
}

/* Only a missing right counts: an INSERT of nothing but defaults may well be refused for other reasons. */
static void
on_insert(void *arg, const struct db_result *r)
{
	struct asking *a = arg;
	if (r->error.class == DB_SETUP) {
		a->ok = false;
		sql_error(a, &r->error);
	}
}

static void
say_guarantee(const struct asking *a)
{
	const struct queue_config *queue = a->queue;
	const char *losing = a->check->losing;
	ASSERT(a->ok);
	const char *rest = losing == NULL ? "what Redis may lose when it is killed is not known here" : losing;
	if (queue->ledger == SWITCH_ON)
		finding(a->check, LEVEL_OK, a->where, "exactly once: each order that Redis holds reaches %s once%s%s", queue->table,
		    *rest == '\0' ? "" : "; ", rest);
	else
		finding(a->check, LEVEL_OK, a->where, "at least once because ledger = off: after a crash some orders may reach %s twice%s%s", queue->table,
		    *rest == '\0' ? "" : "; ", rest);
}

static void
check_queue(struct check *c, const struct queue_config *queue)
{
	struct buf where = BUF_INIT, sql = BUF_INIT;
	buf_addf(&where, "queue %s", queue->name);
	struct asking a = { .check = c, .database = queue->target, .queue = queue, .what = "", .where = buf_cstr(&where) };
	if (c->redis) {
		check_key(c, a.where, "source", queue->list_key);
		check_key(c, a.where, "dead_letter", queue->dead_letter);
	}
	if (c->reachable[queue->target - c->config->databases]) {
		table_query(queue->target->driver, queue->table, &sql);
		db_run_once(queue->target, sql.data, sql.len, on_table, &a);
	}
	if (a.ok)
		db_run_once(queue->target, a.probe.data, a.probe.len, on_insert, &a);
	if (a.ok)
		say_guarantee(&a);
	buf_free(&a.probe);
	buf_free(&where);
	buf_free(&sql);
}

int
cmd_check(const struct config *config, int argc, char **argv)
{
	int offline = 0;
	const struct option options[] = { { "offline", no_argument, &offline, 1 }, { 0 } };
	struct check c = { .config = config };
	if (command_options(argc, argv, options, 0, 0) < 0)
		return EX_USAGE;
	finding(&c, LEVEL_OK, config->files[0], "read, %zu databases and %zu queues", config->n_databases, config->n_queues);
	if (offline)
		return EX_OK;
	c.reachable = xcalloc(config->n_databases, sizeof *c.reachable);
	check_redis(&c);
	for (size_t i = 0; i < config->n_databases; i++)
		check_database(&c, i);
	for (size_t i = 0; i < config->n_queues; i++)
		check_queue(&c, &config->queues[i]);
	free(c.reachable);
	return c.unreachable ? EX_UNAVAILABLE : c.wrong ? EX_CONFIG : EX_OK;
}
