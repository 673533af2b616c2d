/* sluice check: a database server. Two queries, what must be seen and what may be hidden, with answers of the same shape from both kinds of server: a
 * name, and up to three values.
 *
 *   version    text
 *   old        1: too old
 *   encoding   the server's
 *   ledger     1: the table is there      1: it may be made      1: a crash empties it, or it knows no transactions
 *
 *   now        its clock, seconds since 1970
 *   server, role, database
 *              connections at most        all of them now        those of sluice now, as far as it can be told; ours, that asks, in neither
 *   others     settings, see `settings`
 */
#include "check_private.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "config.h"
#include "db.h"
#include "ledger.h"

enum { NAME, VALUE_1, VALUE_2, VALUE_3, WIDTH };

#define PG_SESSIONS(of) "(SELECT count(*)::text FROM s WHERE " of "), (SELECT count(*)::text FROM s WHERE ours AND " of ")"

static const char *const basic_queries[] = {
	[DRIVER_POSTGRESQL] = "SELECT 'version', current_setting('server_version'), NULL, NULL"
	    " UNION ALL SELECT 'old', (current_setting('server_version_num')::int < 120000)::int::text, NULL, NULL"
	    " UNION ALL SELECT 'encoding', current_setting('server_encoding'), NULL, NULL"
	    " UNION ALL SELECT 'ledger', (to_regclass('" LEDGER_TABLE "') IS NOT NULL)::int::text,"
	    "  coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)::int::text,"
	    "  (SELECT (relpersistence <> 'p')::int::text FROM pg_class WHERE oid = to_regclass('" LEDGER_TABLE "'))",
	[DRIVER_MYSQL] = "SELECT 'version', VERSION(), NULL, NULL"
	    " UNION ALL SELECT 'ledger', count(*), 1,"
	    "  MAX(engine NOT IN (SELECT e.engine FROM information_schema.engines e WHERE e.transactions = 'YES'))"
	    "  FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '" LEDGER_TABLE "'",
};

static const char *const server_queries[] = {
	/* Of others' sessions all may see who and where they are, and what they call themselves. */
	[DRIVER_POSTGRESQL] = "WITH s AS (SELECT datname, usename, application_name = 'sluice' AS ours FROM pg_stat_activity"
	    "  WHERE pid <> pg_backend_pid() AND datname IS NOT NULL AND usename IS NOT NULL"
	    "  AND coalesce(backend_type, 'client backend') = 'client backend')"
	    " SELECT 'now', extract(epoch FROM clock_timestamp())::text, NULL, NULL"
	    " UNION ALL SELECT name, setting, NULL, NULL FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit')"
	    " UNION ALL SELECT 'server', (current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
	    "  - coalesce(current_setting('reserved_connections', true), '0')::int)::text, " PG_SESSIONS("true")
	    " UNION ALL SELECT 'role', rolconnlimit::text, " PG_SESSIONS("usename = current_user")
	    "  FROM pg_roles WHERE rolname = current_user AND rolconnlimit >= 0"
	    " UNION ALL SELECT 'database', datconnlimit::text, " PG_SESSIONS("datname = current_database()")
	    "  FROM pg_database WHERE datname = current_database() AND datconnlimit >= 0",
	/* Without the right PROCESS a user sees nobody's sessions but its own, and what they call themselves is seldom recorded. MariaDB alone reads
	 * what stands in M!, and skips what is for MySQL 5.7 and up. */
	[DRIVER_MYSQL] = "SELECT 'now', UNIX_TIMESTAMP(SYSDATE(6)), NULL, NULL"
	    " UNION ALL SELECT 'innodb_flush_log_at_trx_commit', @@innodb_flush_log_at_trx_commit, NULL, NULL"
	    " UNION ALL SELECT 'sync_binlog', IF(@@log_bin AND @@sync_binlog <> 1, 'not 1', NULL), NULL, NULL"
	    " UNION ALL SELECT 'server', @@max_connections, (SELECT variable_value - 1 FROM"
	    "  /*!50700 performance_schema.global_status *//*M!100300 information_schema.global_status */"
	    "  WHERE variable_name = 'Threads_connected'), count(*)"
	    "  FROM information_schema.processlist WHERE user = SUBSTRING_INDEX(USER(), '@', 1) AND id <> CONNECTION_ID()"
	    " UNION ALL SELECT 'role', NULLIF(@@max_user_connections, 0), count(*), count(*)"
	    "  FROM information_schema.processlist WHERE user = SUBSTRING_INDEX(USER(), '@', 1) AND id <> CONNECTION_ID()",
};

/* Settings by which a server may forget what it has committed. */
static const struct setting {
	const char *name;
	const char *value;  /* all of it */
	const char *means;  /* and what to do */
	const char *losing; /* for the guarantee, behind "database NAME" */
} settings[] = {
	{ "fsync", "off", "nothing is sure to be on its disk when its host fails, and the database may be beyond repair: set fsync = on",
	    "may lose anything when its host fails: fsync off" },
	{ "synchronous_commit", "off", "what it committed last is lost in a crash: connect_query = SET synchronous_commit = on",
	    "may lose in a crash what it committed within the last second: synchronous_commit off" },
	{ "innodb_flush_log_at_trx_commit", "0", "what it committed last is lost in a crash: set it to 1",
	    "may lose in a crash what it committed within the last second: innodb_flush_log_at_trx_commit 0" },
	{ "innodb_flush_log_at_trx_commit", "2", "what it committed last is lost when its host fails: set it to 1",
	    "may lose what it committed within the last second when its host fails: innodb_flush_log_at_trx_commit 2" },
	{ "sync_binlog", "not 1", "what the binary log lacks when its host fails is rolled back: set it to 1",
	    "may lose what it committed last when its host fails: sync_binlog not 1" },
};

/* Arguments of a callback. */
struct asking {
	struct check *check;
	const struct database_config *database;
	struct check_database *found; /* where it goes */
	const char *where;            /* "database NAME" */
	const char *what;             /* an error's text begins with it */
	int64_t asked_us;             /* when; microseconds since 1970 */
	bool ok;                      /* it went well */
	bool ledger;                  /* the ledger table is there */
	bool creates;                 /* it may be made, as far as can be seen */
	bool lossy;                   /* a crash empties it, or it knows no transactions */
};

/* The row of that name; NULL: there is none, or no first value. */
static const char *const *
fact(const struct db_result *r, const char *name)
{
	ASSERT(r->error.class == DB_OK);
	for (size_t i = 0; r->columns == WIDTH && i < r->rows; i++) {
		const char *const *row = r->values + i * WIDTH;
		if (row[NAME] != NULL && strcmp(row[NAME], name) == 0)
			return row[VALUE_1] == NULL ? NULL : row;
	}
	return NULL;
}

static bool
is_yes(const char *value)
{
	return value != NULL && value[0] == '1';
}

/* -- connections */

/* What bounds connections. */
static const struct limit {
	const char *name;  /* of the fact */
	const char *whose; /* behind "N connections" */
	const char *raise; /* how there could be more */
} limits[] = {
	{ "server", "that this server has for users", "raise max_connections" },
	{ "role", "that its user may have", "raise that (ALTER ROLE ... CONNECTION LIMIT, ALTER USER ... MAX_USER_CONNECTIONS)" },
	{ "database", "that this database may have", "raise that (ALTER DATABASE ... CONNECTION LIMIT)" },
};

/* The pools of this configuration that the limit counts. */
static unsigned
pools_below(const struct config *config, const struct database_config *database, const struct limit *limit)
{
	unsigned sum = 0;
	ASSERT(database->host != NULL && database->user != NULL && database->dbname != NULL);
	for (size_t i = 0; i < config->n_databases; i++) {
		const struct database_config *other = &config->databases[i];
		bool same = other->driver == database->driver && other->port == database->port && strcmp(other->host, database->host) == 0;
		same = same && (strcmp(limit->name, "role") != 0 || strcmp(other->user, database->user) == 0);
		same = same && (strcmp(limit->name, "database") != 0 || strcmp(other->dbname, database->dbname) == 0);
		sum += same ? other->pool_size : 0;
	}
	ASSERT(sum >= database->pool_size);
	return sum;
}

static unsigned
number(const char *text)
{
	return text == NULL ? 0 : (unsigned)strtoul(text, NULL, 10);
}

/* Of sluice's sessions as many as the pools want are the running daemon's own, and in its pools already; the others are other daemons'. */
static void
check_limit(const struct asking *a, const struct limit *limit, const char *const *row)
{
	struct check *c = a->check;
	unsigned most = number(row[VALUE_1]), all = number(row[VALUE_2]), sluice = number(row[VALUE_3]);
	unsigned wanted = pools_below(c->config, a->database, limit);
	unsigned own = !c->running ? 0 : sluice < wanted ? sluice : wanted;
	unsigned others = all > own ? all - own : 0, daemons = sluice - own;
	ASSERT(wanted > 0 && own <= wanted && own <= sluice);
	const char *kin = a->database->driver == DRIVER_POSTGRESQL ? "by other sluice daemons" : "by the same user";
	if (wanted > most)
		check_finding(c, LEVEL_ERROR, a->where, "the pools want %u connections of the %u %s: lower pool_size, or %s", wanted, most,
		    limit->whose, limit->raise);
	else if (others > 0 && (wanted + others) * 10ULL > most * 9ULL)
		check_finding(c, LEVEL_WARNING, a->where, "the pools want %u connections of the %u %s; in use besides them: %u, of which %u %s: "
		    "lower pool_size, have fewer elsewhere, or %s", wanted, most, limit->whose, others, daemons, kin, limit->raise);
	else
		check_finding(c, LEVEL_OK, a->where, "the pools want %u connections of the %u %s; in use besides them: %u, of which %u %s", wanted,
		    most, limit->whose, others, daemons, kin);
}

static void
check_limits(const struct asking *a, const struct db_result *r)
{
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		const char *const *row = fact(r, limits[i].name);
		if (row != NULL)
			check_limit(a, &limits[i], row);
	}
}

/* -- what a crash loses */

static void
add_losing(struct check_database *found, const char *losing)
{
	ASSERT(losing != NULL && losing[0] != '\0');
	buf_addf(&found->losing, "%s%s", found->losing.len > 0 ? "; " : "", losing);
}

static void
check_settings(const struct asking *a, const struct db_result *r)
{
	for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
		const struct setting *s = &settings[i];
		const char *const *row = fact(r, s->name);
		if (row == NULL || strcmp(row[VALUE_1], s->value) != 0)
			continue;
		check_finding(a->check, LEVEL_WARNING, a->where, "%s %s: %s", s->name, s->value, s->means);
		add_losing(a->found, s->losing);
	}
}

/* -- the ledger */

static void
on_probe(void *arg, const struct db_result *r)
{
	struct asking *a = arg;
	a->ok = a->ok && r->error.class == DB_OK;
	if (r->error.class != DB_OK)
		check_sql_error(a->check, a->where, a->what, &r->error);
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
		check_finding(a->check, LEVEL_WARNING, a->where, "the table " LEDGER_TABLE " is not there yet: the first run, or sluice init, "
		    "makes it if the user may");
	else if (!a->ledger)
		check_finding(a->check, LEVEL_ERROR, a->where, "the table " LEDGER_TABLE " is not there, and the user may not make it: have an "
		    "administrator run what sluice init --print shows");
	if (a->lossy)
		check_finding(a->check, LEVEL_ERROR, a->where, "the table " LEDGER_TABLE " is %s", a->database->driver == DRIVER_POSTGRESQL
		    ? "emptied by a crash, and orders come twice then: ALTER TABLE " LEDGER_TABLE " SET LOGGED"
		    : "of an engine without transactions, and orders may come twice: ALTER TABLE " LEDGER_TABLE " ENGINE = InnoDB");
	a->what = LEDGER_TABLE ": ";
	for (size_t i = 0; a->ledger && a->ok && i < sizeof probes / sizeof *probes; i++)
		db_run_once(a->database, probes[i], strlen(probes[i]), on_probe, a);
	if (a->ledger && a->ok)
		check_finding(a->check, LEVEL_OK, a->where, "the table " LEDGER_TABLE " is there and usable");
}

/* -- the whole */

static void
on_basics(void *arg, const struct db_result *r)
{
	struct asking *a = arg;
	if (r->error.class != DB_OK) {
		check_sql_error(a->check, a->where, a->what, &r->error);
		return;
	}
	const char *const *version = fact(r, "version"), *const *old = fact(r, "old"), *const *encoding = fact(r, "encoding"),
	    *const *ledger = fact(r, "ledger");
	a->ok = true;
	a->ledger = ledger != NULL && is_yes(ledger[VALUE_1]);
	a->creates = ledger != NULL && is_yes(ledger[VALUE_2]);
	a->lossy = ledger != NULL && is_yes(ledger[VALUE_3]);
	const char *kind = a->database->driver == DRIVER_POSTGRESQL ? "PostgreSQL" : "MySQL or MariaDB";
	check_finding(a->check, LEVEL_OK, a->where, "reachable and writable, %s %s", kind, version == NULL ? "of unknown version" : version[VALUE_1]);
	if (old != NULL && is_yes(old[VALUE_1]))
		check_finding(a->check, LEVEL_ERROR, a->where, "the server is too old: use PostgreSQL 12 or later");
	if (encoding != NULL && strcmp(encoding[VALUE_1], "UTF8") != 0)
		check_finding(a->check, LEVEL_WARNING, a->where, "its encoding is %s: orders with characters that it lacks become dead letters: "
		    "use a database with ENCODING UTF8", encoding[VALUE_1]);
}

static void
on_server(void *arg, const struct db_result *r)
{
	struct asking *a = arg;
	if (r->error.class != DB_OK) {
		check_finding(a->check, LEVEL_WARNING, a->where, "cannot see its connections, settings and clock: %s: look yourself, at "
		    "max_connections first", r->error.message);
		add_losing(a->found, "may lose what is not known here");
		return;
	}
	const char *const *now = fact(r, "now");
	check_limits(a, r);
	check_settings(a, r);
	if (now != NULL)
		check_clock(a->check, a->where, strtod(now[VALUE_1], NULL), a->asked_us, clock_wall_us());
}

static void
ask(struct asking *a, const char *sql, db_answer_fn *answer)
{
	ASSERT(sql != NULL && a->found != NULL);
	a->asked_us = clock_wall_us();
	db_run_once(a->database, sql, strlen(sql), answer, a);
}

static bool
uses_ledger(const struct config *config, const struct database_config *database)
{
	bool used = false;
	for (size_t i = 0; i < config->n_queues; i++)
		used = used || (config->queues[i].target == database && config->queues[i].ledger == SWITCH_ON);
	return used;
}

void
check_database(struct check *c, size_t i)
{
	const struct database_config *database = &c->config->databases[i];
	struct buf where = BUF_INIT;
	ASSERT(i < c->config->n_databases && !c->databases[i].reachable);
	buf_addf(&where, "database %s", database->name);
	struct asking a = { .check = c, .database = database, .found = &c->databases[i], .what = "", .where = buf_cstr(&where) };
	ask(&a, basic_queries[database->driver], on_basics);
	if (a.ok)
		ask(&a, server_queries[database->driver], on_server);
	a.found->reachable = a.ok;
	if (a.ok && uses_ledger(c->config, database))
		check_ledger(&a);
	buf_free(&where);
}
