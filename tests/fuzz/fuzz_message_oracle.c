/* The differential oracle: the servers read the same bytes with their own JSON functions, hold them against our rows and reasons, and tell where they
 * differ. What must be equal, and where a server is known to deviate, stands in fuzz_message_pg.sql and fuzz_message_mysql.sql. */
#include "fuzz_message.h"

#include <libpq-fe.h>
#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"

enum { MAX_MESSAGES = 1000, MAX_BYTES = 500000 };

struct oracle {
	struct mapping *const *mappings; /* by shape; not owned */
	const char *prefix;              /* of the files of differences; owned by libFuzzer */
	PGconn *pg;                      /* NULL: not asked */
	MYSQL *mysql;                    /* NULL: not asked */
	struct encoder *encoder;         /* owned, as all below */
	struct batch batch;
	char *texts;                     /* of the messages: n of them, `bytes` with what stands behind each. Allocated once: libFuzzer looks for
					    leaks whenever a run keeps memory */
	size_t bytes;
	struct item items[MAX_MESSAGES]; /* the messages */
	struct buf reasons[MAX_MESSAGES], fields[MAX_MESSAGES]; /* what was said of them last */
	uint32_t n;
	struct buf sql;
};

/* The text of a file as a NUL-terminated array. */
#define EMBED(name, file) \
	__asm__(".section .rodata\n.global " #name "\n" #name ":\n.incbin \"" file "\"\n.byte 0\n.previous"); \
	extern const char name[]

EMBED(oracle_pg_sql, "fuzz_message_pg.sql");
EMBED(oracle_mysql_sql, "fuzz_message_mysql.sql");

/* Writes message n to a file and prints its name. */
static void
keep(const struct oracle *oracle, uint32_t n)
{
	const struct item *item = &oracle->items[n];
	char path[4096];

	ASSERT(n < oracle->n);
	snprintf(path, sizeof path, "%sdifference-%d-%u", oracle->prefix, (int)getpid(), n);
	FILE *file = fopen(path, "w");
	if (file == NULL || fwrite(item->text, 1, item->len, file) != item->len || fclose(file) != 0)
		perror(path);
	else
		fprintf(stderr, "kept: %s\n", path);
}

/* Prints what a server and a message differ in, keeps the message, and ends. */
static void
report(const struct oracle *oracle, const char *server, const char *number, const char *what)
{
	uint32_t n = (uint32_t)strtoul(number, NULL, 10);

	fprintf(stderr, "%s differs: %s\n%.*s\n", server, what, (int)oracle->items[n].len, oracle->items[n].text);
	keep(oracle, n);
	abort();
}

/* The server cannot be asked any more, perhaps because of a message: keeps all, and ends. */
static void
give_up(const struct oracle *oracle, const char *server, const char *message, const char *sql)
{
	fprintf(stderr, "%s: %s\n%.1000s\n", server, message, sql);
	for (uint32_t i = 0; i < oracle->n; i++)
		keep(oracle, i);
	abort();
}

/* Runs statements and returns the last one's result, to be freed by the caller. */
static PGresult *
run_pg(struct oracle *oracle, const char *sql)
{
	PGresult *result = PQexec(oracle->pg, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN)
		give_up(oracle, "PostgreSQL", PQerrorMessage(oracle->pg), sql);
	return result;
}

static void
copy_pg(struct oracle *oracle, struct batch_statement *statement)
{
	PQclear(run_pg(oracle, buf_cstr(&statement->sql)));
	ASSERT(PQputCopyData(oracle->pg, statement->copy.data, (int)statement->copy.len) == 1 && PQputCopyEnd(oracle->pg, NULL) == 1);
	for (PGresult *result; (result = PQgetResult(oracle->pg)) != NULL; PQclear(result)) {
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			give_up(oracle, "PostgreSQL", PQerrorMessage(oracle->pg), statement->copy.data);
	}
}

/* Runs statements; their results are dropped. */
static void
run_mysql(struct oracle *oracle, const char *sql, size_t len)
{
	int more = mysql_real_query(oracle->mysql, sql, len);

	for (; more == 0; more = mysql_next_result(oracle->mysql))
		mysql_free_result(mysql_store_result(oracle->mysql));
	if (more > 0)
		give_up(oracle, "MariaDB", mysql_error(oracle->mysql), sql);
}

/* Encodes all messages in one shape and stores the rows. */
static void
store_rows(struct oracle *oracle, enum shape shape)
{
	fuzz_encode(oracle->encoder, oracle->mappings[shape], oracle->items, oracle->n, &oracle->batch, oracle->reasons, oracle->fields);
	for (size_t i = 0; i < oracle->batch.n; i++) {
		struct batch_statement *statement = &oracle->batch.statements[i];
		if (statement->is_copy)
			copy_pg(oracle, statement);
		else if (shape == SHAPE_MYSQL)
			run_mysql(oracle, statement->sql.data, statement->sql.len);
		else
			PQclear(run_pg(oracle, buf_cstr(&statement->sql)));
	}
}

/* The statement that stores the messages and what was said of them; bytes stand between `open` and a quote as hex. */
static const char *
messages_sql(struct oracle *oracle, const char *open)
{
	struct buf *sql = &oracle->sql;

	buf_reset(sql);
	buf_adds(sql, "INSERT INTO messages VALUES ");
	for (uint32_t i = 0; i < oracle->n; i++) {
		buf_addf(sql, "%s(%u,%s", i > 0 ? "," : "", i, open);
		buf_add_hex(sql, oracle->items[i].text, oracle->items[i].len);
		buf_addf(sql, "',%s", open);
		buf_add_hex(sql, oracle->reasons[i].data, oracle->reasons[i].len);
		buf_addf(sql, "','%s')", buf_cstr(&oracle->fields[i]));
	}
	return buf_cstr(sql);
}

static void
ask_pg(struct oracle *oracle)
{
	PQclear(run_pg(oracle, "BEGIN"));
	store_rows(oracle, SHAPE_COPY);
	store_rows(oracle, SHAPE_INSERT);
	PQclear(run_pg(oracle, messages_sql(oracle, "'\\x")));
	PGresult *result = run_pg(oracle, "SELECT n, what FROM differences");
	if (PQntuples(result) > 0)
		report(oracle, "PostgreSQL", PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 1));
	PQclear(result);
	PQclear(run_pg(oracle, "COMMIT"));
}

static void
ask_mysql(struct oracle *oracle)
{
	static const char empty[] = "TRUNCATE messages; TRUNCATE inserted", ask[] = "CALL ask()";

	run_mysql(oracle, empty, strlen(empty));
	store_rows(oracle, SHAPE_MYSQL);
	messages_sql(oracle, "x'");
	run_mysql(oracle, oracle->sql.data, oracle->sql.len);
	MYSQL_RES *result = mysql_real_query(oracle->mysql, ask, strlen(ask)) == 0 ? mysql_store_result(oracle->mysql) : NULL;
	if (result == NULL)
		give_up(oracle, "MariaDB", mysql_error(oracle->mysql), ask);
	MYSQL_ROW row = mysql_fetch_row(result);
	if (row != NULL)
		report(oracle, "MariaDB", row[0], row[1] != NULL ? row[1] : "(it could not say how)");
	mysql_free_result(result);
	ASSERT(mysql_next_result(oracle->mysql) == 0);
}

void
oracle_ask(struct oracle *oracle)
{
	if (oracle->n > 0 && oracle->pg != NULL)
		ask_pg(oracle);
	if (oracle->n > 0 && oracle->mysql != NULL)
		ask_mysql(oracle);
	oracle->n = 0;
	oracle->bytes = 0;
}

void
oracle_add(struct oracle *oracle, const void *text, size_t len)
{
	if ((oracle->pg == NULL && oracle->mysql == NULL) || len > MAX_BYTES)
		return;
	if (oracle->n == MAX_MESSAGES || oracle->bytes + len > MAX_BYTES)
		oracle_ask(oracle);
	char *at = oracle->texts + oracle->bytes;
	memcpy(at, text, len);
	memset(at + len, ' ', ARENA_PADDING);
	oracle->items[oracle->n++] = (struct item){ at, len };
	oracle->bytes += len + ARENA_PADDING;
}

static void
connect_pg(struct oracle *oracle, const char *where)
{
	oracle->pg = PQconnectdb(where);
	if (PQstatus(oracle->pg) != CONNECTION_OK)
		give_up(oracle, "PostgreSQL", PQerrorMessage(oracle->pg), where);
	PQclear(run_pg(oracle, "SET client_min_messages = warning; SET client_encoding = 'UTF8'; SET standard_conforming_strings = on"));
	PQclear(run_pg(oracle, oracle_pg_sql));
}

/* In a database of its own: views and temporary tables do not go together. */
static void
connect_mysql(struct oracle *oracle, const char *socket)
{
	char sql[500];

	oracle->mysql = mysql_init(NULL);
	mysql_options(oracle->mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	if (mysql_real_connect(oracle->mysql, NULL, "root", NULL, NULL, 0, socket, CLIENT_MULTI_STATEMENTS) == NULL)
		give_up(oracle, "MariaDB", mysql_error(oracle->mysql), socket);
	snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS fuzz_%1$d; CREATE DATABASE fuzz_%1$d CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; USE fuzz_%1$d",
	    (int)getpid());
	run_mysql(oracle, sql, strlen(sql));
	run_mysql(oracle, oracle_mysql_sql, strlen(oracle_mysql_sql));
}

/* At exit: what is left is asked, and the database removed. */
static void
finish(int status, void *arg)
{
	struct oracle *oracle = arg;
	char sql[100];

	(void)status;
	oracle_ask(oracle);
	if (oracle->mysql != NULL) {
		snprintf(sql, sizeof sql, "DROP DATABASE fuzz_%d", (int)getpid());
		run_mysql(oracle, sql, strlen(sql));
	}
}

struct oracle *
oracle_new(struct mapping *const mappings[N_SHAPES], const char *prefix)
{
	struct oracle *oracle = xcalloc(1, sizeof *oracle);
	const char *pg = getenv("FUZZ_PG"), *mysql = getenv("FUZZ_MYSQL");

	oracle->mappings = mappings;
	oracle->prefix = prefix;
	oracle->encoder = encoder_new();
	oracle->texts = xmalloc(MAX_BYTES + ARENA_PADDING);
	if (pg != NULL)
		connect_pg(oracle, pg);
	if (mysql != NULL)
		connect_mysql(oracle, mysql);
	/* What the encoder makes at its first message must be there at exit: of such things the last made is the first to go. */
	oracle_add(oracle, "{}", 2);
	oracle_ask(oracle);
	on_exit(finish, oracle);
	return oracle;
}
