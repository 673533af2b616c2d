/* sluice init: makes the ledger tables, or prints everything that has to be granted. */
#include "commands.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "buf.h"
#include "config.h"
#include "db.h"
#include "ledger.h"

static bool
uses_ledger(const struct config *config, const struct database_config *database)
{
	for (size_t i = 0; i < config->n_queues; i++) {
		if (config->queues[i].target == database && config->queues[i].ledger == SWITCH_ON)
			return true;
	}
	return false;
}

/* -- making */

static void
keep_error(void *arg, const struct db_result *result)
{
	*(struct db_error *)arg = result->error;
}

/* Looks before it makes: who may not create tables may still have one that was made for him. */
static int
make_ledger(const struct database_config *database)
{
	static const char look[] = "SELECT 1 FROM " LEDGER_TABLE " WHERE queue = ''";
	struct db_error error;
	db_run_once(database, look, strlen(look), keep_error, &error);
	if (error.class == DB_OK) {
		printf("database %s: " LEDGER_TABLE " is there already\n", database->name);
		return EX_OK;
	}
	if (error.class == DB_SETUP) {
		struct buf sql = BUF_INIT;
		ledger_ddl(database->driver, &sql);
		db_run_once(database, sql.data, sql.len, keep_error, &error);
		buf_free(&sql);
	}
	if (error.class == DB_OK) {
		printf("database %s: made " LEDGER_TABLE "\n", database->name);
		return EX_OK;
	}
	fprintf(stderr, "sluice init: database %s: %s%s%s%s\n", database->name, error.message, error.code[0] == '\0' ? "" : " (", error.code,
	    error.code[0] == '\0' ? "" : ")");
	if (error.class != DB_SETUP)
		return EX_UNAVAILABLE;
	fputs("If the user may not create tables: sluice init --print shows what an administrator has to run.\n", stderr);
	return EX_CONFIG;
}

static int
make_all(const struct config *config)
{
	int status = EX_OK;
	for (size_t i = 0; i < config->n_databases; i++) {
		const struct database_config *database = &config->databases[i];
		if (!uses_ledger(config, database)) {
			printf("database %s: nothing to do, no queue uses a ledger there\n", database->name);
			continue;
		}
		int result = make_ledger(database);
		if (status == EX_OK)
			status = result;
	}
	return status;
}

/* -- printing: SQL */

/* What rows of a mode need on their table. Any right shows it in the catalogue. */
static const char *
table_rights(int driver, int mode)
{
	static const char *const rights[][3] = {
		[DRIVER_POSTGRESQL] = { [MODE_INSERT] = "INSERT", [MODE_IGNORE] = "SELECT, INSERT", [MODE_UPSERT] = "SELECT, INSERT, UPDATE" },
		[DRIVER_MYSQL] = { [MODE_INSERT] = "INSERT", [MODE_IGNORE] = "SELECT, INSERT, UPDATE", [MODE_UPSERT] = "SELECT, INSERT, UPDATE" },
	};
	ASSERT(driver == DRIVER_POSTGRESQL || driver == DRIVER_MYSQL);
	ASSERT(mode >= MODE_INSERT && mode <= MODE_UPSERT);
	return rights[driver][mode];
}

/* The schema of "schema.table", or the default one; the caller frees it. */
static char *
schema_of(const char *table, const char *otherwise)
{
	const char *dot = strchr(table, '.');
	char *schema = xstrdup(dot == NULL ? otherwise : table);
	if (dot != NULL)
		schema[dot - table] = '\0';
	return schema;
}

/* The user as GRANT wants it. From where MySQL's user comes is an administrator's guess. */
static void
add_user(const struct database_config *database, struct buf *out)
{
	const struct db_ops *driver = db_driver(database->driver);
	driver->quote_name(out, database->user);
	if (database->driver == DRIVER_MYSQL)
		buf_adds(out, database->host[0] == '/' || strcmp(database->host, "localhost") == 0 ? "@`localhost`" : "@`%`");
}

static void
add_grant(const struct database_config *database, const char *rights, const char *schema, const char *table, struct buf *out)
{
	const struct db_ops *driver = db_driver(database->driver);
	buf_addf(out, "GRANT %s ON ", rights);
	driver->quote_name(out, schema);
	buf_addc(out, '.');
	driver->quote_name(out, table);
	buf_adds(out, " TO ");
	add_user(database, out);
	buf_adds(out, ";\n");
}

/* PostgreSQL: to get in, and into a schema. */
static void
add_way_in(const struct database_config *database, const char *right, const char *kind, const char *name, struct buf *out)
{
	buf_addf(out, "GRANT %s ON %s ", right, kind);
	db_postgresql.quote_name(out, name);
	buf_adds(out, " TO ");
	add_user(database, out);
	buf_adds(out, ";\n");
}

static void
add_queue(const struct queue_config *queue, struct buf *out)
{
	const struct database_config *database = queue->target;
	ASSERT(database != NULL && queue->table != NULL);
	bool pg = database->driver == DRIVER_POSTGRESQL;
	const char *dot = strchr(queue->table, '.');
	char *schema = schema_of(queue->table, pg ? "public" : database->dbname);
	buf_addf(out, "-- queue %s\n", queue->name);
	if (pg && dot != NULL && strcmp(schema, "public") != 0)
		add_way_in(database, "USAGE", "SCHEMA", schema, out);
	add_grant(database, table_rights(database->driver, queue->mode), schema, dot == NULL ? queue->table : dot + 1, out);
	free(schema);
}

static void
add_database(const struct config *config, const struct database_config *database, struct buf *out)
{
	bool pg = database->driver == DRIVER_POSTGRESQL;
	buf_addf(out, "-- [database %s]: run this in %s as an administrator\n", database->name, database->dbname);
	if (pg) {
		add_way_in(database, "CONNECT", "DATABASE", database->dbname, out);
		add_way_in(database, "USAGE", "SCHEMA", "public", out);
	}
	if (uses_ledger(config, database)) {
		ledger_ddl(database->driver, out);
		buf_adds(out, ";\n");
		add_grant(database, "SELECT, INSERT, UPDATE", pg ? "public" : database->dbname, LEDGER_TABLE, out);
	}
	for (size_t i = 0; i < config->n_queues; i++) {
		if (config->queues[i].target == database)
			add_queue(&config->queues[i], out);
	}
	if (pg)
		buf_adds(out, "-- a column whose default is a sequence (serial) and that messages leave out: GRANT USAGE ON SEQUENCE ... too\n");
	buf_addc(out, '\n');
}

/* -- printing: Redis */

/* Every command that the daemon sends, also those in scripts, and those of `check` and `dead`. */
static const char *const redis_commands[] = {
	"ping", "info", "client|setname",                               /* logging in */
	"lrange", "blmove", "eval", /* reading, waiting, and what runs the scripts */
	"llen", "lindex", "ltrim", "lpush", "rpush", "lset", "lrem",    /* in scripts, on the list and the dead letters */
	"get", "set", "del", "pttl", "pexpire",                         /* in scripts, on the lease */
	"hmget", "hset", "hdel", "hincrby",                             /* in scripts, on the state */
	"type", "config|get",                                           /* sluice check */
};

/* A word as redis-cli reads it. */
static void
add_word(struct buf *out, const char *word)
{
	buf_addc(out, ' ');
	if (word[strcspn(word, " \t\"'\\")] == '\0')
		buf_adds(out, word);
	else
		buf_add_json(out, word, strlen(word));
}

/* A key as a pattern that matches nothing else; `rest` is put behind it. */
static void
add_key(struct buf *out, const char *key, const char *rest)
{
	struct buf pattern = BUF_INIT;
	buf_addc(&pattern, '~');
	for (; *key != '\0'; key++) {
		if (strchr("*?[\\", *key) != NULL)
			buf_addc(&pattern, '\\');
		buf_addc(&pattern, *key);
	}
	buf_adds(&pattern, rest);
	add_word(out, buf_cstr(&pattern));
	buf_free(&pattern);
}

/* The list, its companions `{key}:...`, and the dead letters where they stand elsewhere. */
static void
add_keys(struct buf *out, const struct queue_config *queue)
{
	const char *open = strchr(queue->list_key, '{'), *close = open == NULL ? NULL : strchr(open, '}');
	ASSERT(queue->list_key[0] != '\0');
	bool tagged = close != NULL && close > open + 1;
	struct buf companions = BUF_INIT;
	buf_addf(&companions, tagged ? "%s:" : "{%s}:", queue->list_key);
	add_key(out, queue->list_key, "");
	add_key(out, buf_cstr(&companions), "*");
	if (strncmp(queue->dead_letter, buf_cstr(&companions), companions.len) != 0)
		add_key(out, queue->dead_letter, "");
	buf_free(&companions);
}

static void
add_acl(const struct config *config, struct buf *out)
{
	const char *user = config->redis.address.user;
	buf_adds(out, "-- [redis]: run this in redis-cli, with a password of your own, and keep it by CONFIG REWRITE or ACL SAVE\n");
	buf_addf(out, "ACL SETUSER %s reset on >PASSWORD", user == NULL ? "sluice" : user);
	for (size_t i = 0; i < config->n_queues; i++)
		add_keys(out, &config->queues[i]);
	for (size_t i = 0; i < sizeof redis_commands / sizeof *redis_commands; i++)
		buf_addf(out, " +%s", redis_commands[i]);
	if (config->redis.address.db != 0)
		buf_adds(out, " +select");
	buf_addc(out, '\n');
	if (user == NULL)
		buf_adds(out, "-- then name the user in url, redis://sluice@HOST:6379/0, and set password_file\n");
}

static int
print_all(const struct config *config)
{
	struct buf out = BUF_INIT;
	for (size_t i = 0; i < config->n_databases; i++)
		add_database(config, &config->databases[i], &out);
	add_acl(config, &out);
	fwrite(out.data, 1, out.len, stdout);
	buf_free(&out);
	return EX_OK;
}

int
cmd_init(const struct config *config, int argc, char **argv)
{
	int print = 0;
	const struct option options[] = { { "print", no_argument, &print, 1 }, { 0 } };
	if (command_options(argc, argv, options, 0, 0) < 0)
		return EX_USAGE;
	ASSERT(config->n_databases > 0);
	return print ? print_all(config) : make_all(config);
}
