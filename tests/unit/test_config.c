/* sluice.ini: what is read, what is refused and how it is said. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "buf.h"
#include "mapping.h"

#define MAIN_FILE "sluice.ini"
#define DATABASE "[database shop]\ndriver = mysql\ndbname = shop\nuser = u\n"
#define QUEUE "[queue orders]\nsource = list:orders\ndatabase = shop\ntable = t\n"

/* Stands in where the program's own is not linked. */
__attribute__((weak)) bool
mapping_expression_ok(const char *expression, struct buf *why)
{
	if (*expression == '$' || *expression == '@' || strncmp(expression, "base64(", 7) == 0)
		return true;
	buf_adds(why, "no expression");
	return false;
}

static void
write_bytes(const char *path, const char *text, size_t n)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
}

static void
write_file(const char *path, const char *text)
{
	write_bytes(path, text, strlen(text));
}

/* Reads the main file, which must be right. */
static struct config *
read_good(const char *text)
{
	struct buf errors = BUF_INIT;
	write_file(MAIN_FILE, text);
	struct config *config = config_read(MAIN_FILE, &errors);
	if (config == NULL)
		fail_msg("refused: %s", buf_cstr(&errors));
	assert_int_equal(errors.len, 0);
	buf_free(&errors);
	return config;
}

/* Reads the main file, which must be refused for `expected`, among other things if `whole` is not set. */
static void
read_bad(const char *text, const char *expected, bool whole)
{
	struct buf errors = BUF_INIT;
	write_file(MAIN_FILE, text);
	struct config *config = config_read(MAIN_FILE, &errors);
	const char *said = buf_cstr(&errors);
	if (config != NULL)
		fail_msg("accepted:\n%s\nexpected: %s", text, expected);
	if (whole ? strcmp(said, expected) != 0 : strstr(said, expected) == NULL)
		fail_msg("expected: %s\nsaid: %s", expected, said);
	buf_free(&errors);
}

static void
test_minimal(void **state)
{
	(void)state;
	struct config *config = read_good(DATABASE QUEUE);
	assert_int_equal(config->n_databases, 1);
	assert_int_equal(config->n_queues, 1);
	assert_int_equal(config->n_files, 1);
	assert_string_equal(config->files[0], MAIN_FILE);
	assert_int_equal(config->lease_ttl, 5);
	assert_int_equal(config->log_level, 2);
	assert_null(config->include);
	assert_string_equal(config->redis.address.unix_path, "/run/redis/redis-server.sock");
	assert_null(config->redis.password);
	const struct database_config *database = &config->databases[0];
	assert_string_equal(database->name, "shop");
	assert_int_equal(database->line, 1);
	assert_int_equal(database->driver, DRIVER_MYSQL);
	assert_int_equal(database->sslmode, SSLMODE_PREFER);
	assert_int_equal(database->pool_size, 10);
	assert_null(database->connect_query);
	const struct queue_config *queue = &config->queues[0];
	assert_ptr_equal(queue->target, database);
	assert_int_equal(queue->line, 5);
	assert_string_equal(queue->list_key, "orders");
	assert_string_equal(queue->dead_letter, "{orders}:dead");
	assert_int_equal(queue->batch_bytes, 1 << 20);
	assert_int_equal(queue->ledger, SWITCH_ON);
	assert_int_equal(queue->n_columns, 0);
	config_free(&config);
	assert_null(config);
	config_free(&config);
}

static void
test_lines(void **state)
{
	(void)state;
	/* byte order mark, CRLF, comments of all kinds, no newline at the end */
	struct config *config = read_good("\xef\xbb\xbf[sluice] ; first\r\nlog_level = debug ; loud\r\n\r\n  ; indented comment\r\n# another\r\n"
	    "[stats]\nlisten =\n" DATABASE "pool_size=7\nconnect_query = SET a = 1; SET b = ';'\n" QUEUE "batch_bytes = 2K\nmax_batches = 7");
	assert_int_equal(config->log_level, 3);
	assert_null(config->stats.listen);
	assert_string_equal(config->databases[0].connect_query, "SET a = 1; SET b = ';'");
	assert_int_equal(config->databases[0].pool_size, 7);
	assert_int_equal(config->queues[0].batch_bytes, 2048);
	assert_int_equal(config->queues[0].max_batches, 7);
	config_free(&config);
}

static void
test_instance(void **state)
{
	(void)state;
	char host[256] = "", expected[600];
	assert_int_equal(gethostname(host, sizeof host - 1), 0);
	struct config *config = read_good("[sluice]\ninstance = a_%H.%H\n" DATABASE QUEUE);
	snprintf(expected, sizeof expected, "a_%s.%s", host, host);
	assert_string_equal(config->instance, expected);
	config_free(&config);
	read_bad("[sluice]\ninstance = a b\n" DATABASE QUEUE, "sluice.ini:2: [sluice] instance: \"a b\" may hold", false);
	read_bad("[sluice]\ninstance =\n" DATABASE QUEUE, "sluice.ini:2: [sluice] instance: must not be empty\n", true);
}

/* A line at the library's limit is read whole; one byte more is refused. Comments may be of any length. */
static void
test_long_lines(void **state)
{
	(void)state;
	char text[2048], value[300];
	memset(value, 'x', sizeof value);
	int length = 199 - (int)strlen("connect_query = ");
	snprintf(text, sizeof text, DATABASE "connect_query = %.*s\n;%.*s\n" QUEUE, length, value, (int)sizeof value, value);
	struct config *config = read_good(text);
	assert_int_equal(strlen(config->databases[0].connect_query), length);
	config_free(&config);
	snprintf(text, sizeof text, DATABASE "connect_query = %.*s\n" QUEUE, length + 1, value);
	read_bad(text, "sluice.ini:5: [database shop] a line of 200 bytes; at most 199 can be read", false);
	snprintf(text, sizeof text, "[queue %.*s]\n" DATABASE QUEUE, 44, value);
	read_bad(text, "sluice.ini:1: a section of 50 bytes; at most 49", false);
	snprintf(text, sizeof text, DATABASE QUEUE "[queue %.*s]\nsource = list:b\ndatabase = shop\ntable = t\n", 43, value);
	config = read_good(text);
	assert_int_equal(strlen(config->queues[1].name), 43);
	config_free(&config);
}

static void
test_nul_byte(void **state)
{
	(void)state;
	static const char text[] = DATABASE "host = a\0b\n" QUEUE;
	struct buf errors = BUF_INIT;
	write_bytes(MAIN_FILE, text, sizeof text - 1);
	assert_null(config_read(MAIN_FILE, &errors));
	assert_non_null(strstr(buf_cstr(&errors), "sluice.ini:5: [database shop] a control character"));
	buf_free(&errors);
}

/* Files that must be refused, and one thing that must be said. */
static const struct bad {
	const char *text;
	const char *said;
} bads[] = {
	{ "", "sluice.ini: there is no [queue NAME]; add one\n" },
	{ "", "sluice.ini: there is no [database NAME]; add one\n" },
	{ "a = b\n" DATABASE QUEUE, "sluice.ini:1: \"a\" stands before the first [section]\n" },
	{ "[sluce]\n" DATABASE QUEUE, "sluice.ini:1: unknown section [sluce]; did you mean \"sluice\"?\n" },
	{ "[xyzzy]\nfoo = bar\n" DATABASE QUEUE, "sluice.ini:1: unknown section [xyzzy]\n" },
	{ "[redis\n" DATABASE QUEUE, "sluice.ini:1: \"[redis\" lacks its \"]\"\n" },
	{ "[redis] url = x\n" DATABASE QUEUE, "sluice.ini:1: \"url = x\" does not belong behind a section\n" },
	{ "[redis a]\n" DATABASE QUEUE, "sluice.ini:1: [redis] takes no name, here \"a\"\n" },
	{ "[queue]\n" DATABASE QUEUE, "sluice.ini:1: [queue NAME] needs a name" },
	{ "[queue a/b]\n" DATABASE QUEUE, "sluice.ini:1: [queue NAME] needs a name" },
	{ "[database a b]\n" DATABASE QUEUE, "sluice.ini:1: [database NAME] needs a name" },
	{ DATABASE QUEUE "[redis]\n[redis]\n", "sluice.ini:10: [redis] is already at sluice.ini:9; put all its keys there\n" },
	{ DATABASE QUEUE QUEUE, "sluice.ini:9: [queue orders] is already at sluice.ini:5; put all its keys there\n" },
	{ DATABASE QUEUE "table = u\n", "sluice.ini:9: [queue orders] \"table\" is already on line 8\n" },
	{ DATABASE QUEUE "batch_row = 9\n", "sluice.ini:9: [queue orders] unknown key \"batch_row\"; did you mean \"batch_rows\"?\n" },
	{ DATABASE "password = secret\n" QUEUE, "sluice.ini:5: [database shop] unknown key \"password\"; did you mean \"password_file\"?\n" },
	{ DATABASE QUEUE "pool_size = 1\n", "sluice.ini:9: [queue orders] unknown key \"pool_size\"" },
	{ DATABASE QUEUE "nonsense\n", "sluice.ini:9: [queue orders] is neither \"[section]\" nor \"key = value\"\n" },
	{ DATABASE QUEUE "nonsense", "sluice.ini:9: [queue orders] is neither" },
	{ DATABASE QUEUE " key = a\n", "sluice.ini:9: [queue orders] an indented line" },
	{ DATABASE QUEUE "key = \xff\n", "sluice.ini:9: [queue orders] not UTF-8" },
	{ DATABASE QUEUE "key = a\x01\n", "sluice.ini:9: [queue orders] a control character" },
	{ DATABASE "connect_query = SET a = 'b ; c'\n" QUEUE, "sluice.ini:5: [database shop] a blank and \";\" begin a comment, in quotes too" },
	/* values */
	{ DATABASE QUEUE "pop = rigth\n", "sluice.ini:9: [queue orders] pop = \"rigth\" is not one of right|left; did you mean \"right\"?\n" },
	{ DATABASE QUEUE "pop =\n", "sluice.ini:9: [queue orders] pop = \"\" is not one of right|left\n" },
	{ DATABASE QUEUE "batch_rows = 0\n", "[queue orders] batch_rows = \"0\" is out of range 1..100000 rows\n" },
	{ DATABASE QUEUE "batch_rows = 100001\n", "is out of range 1..100000 rows\n" },
	{ DATABASE QUEUE "batch_rows = 99999999999999999999\n", "is not a number of 1..100000\n" },
	{ DATABASE QUEUE "batch_rows = -1\n", "batch_rows = \"-1\" is not a number of 1..100000\n" },
	{ DATABASE QUEUE "batch_rows = 1K\n", "batch_rows = \"1K\" is not a number of 1..100000\n" },
	{ DATABASE QUEUE "batch_rows = 0x10\n", "is not a number" },
	{ DATABASE QUEUE "batch_bytes = 1023\n", "batch_bytes = \"1023\" is out of range 1K..1G bytes\n" },
	{ DATABASE QUEUE "batch_bytes = 2G\n", "is out of range" },
	{ DATABASE QUEUE "batch_bytes = 18014398509481984K\n", "is not a number" },
	{ DATABASE QUEUE "batch_bytes = 1MB\n", "is not a number (with K, M or G behind it) of 1K..1G\n" },
	{ DATABASE QUEUE "dead_letter =\n", "[queue orders] dead_letter: must not be empty\n" },
	{ DATABASE QUEUE "column.id = 5\n", "sluice.ini:9: [queue orders] column.id: " },
	{ DATABASE QUEUE "column. = $\n", "sluice.ini:9: [queue orders] \"column.\" lacks the name" },
	{ DATABASE QUEUE "column.a = $\ncolumn.a = $.a\n", "sluice.ini:10: [queue orders] \"column.a\" is already on line 9\n" },
	{ "[database shop]\ncolumn.a = $\n" QUEUE, "sluice.ini:2: [database shop] unknown key \"column.a\"" },
	/* what is missing */
	{ "[database shop]\ndbname = a\nuser = u\n" QUEUE, "sluice.ini:1: [database shop] driver: must be given\n" },
	{ "[database shop]\ndriver = mysql\nuser = u\n" QUEUE, "sluice.ini:1: [database shop] dbname: must be given\n" },
	{ "[database shop]\ndriver = mysql\ndbname = a\nuser =\n" QUEUE, "sluice.ini:4: [database shop] user: must not be empty\n" },
	{ DATABASE "[queue a]\n", "sluice.ini:5: [queue a] source: must be given\n" },
	/* what does not go together */
	{ "[database shpo]\ndriver = mysql\ndbname = a\nuser = u\n" QUEUE,
	    "sluice.ini:7: [queue orders] database: there is no section [database shop]; did you mean \"shpo\"?\n" },
	{ DATABASE QUEUE "[queue b]\nsource = list:orders\ndatabase = shop\ntable = t\n",
	    "sluice.ini:10: [queue b] source: [queue orders] at sluice.ini:5 drains it already\n" },
	{ DATABASE QUEUE "mode = upsert\n", "sluice.ini:9: [queue orders] mode: upsert needs key" },
	{ DATABASE QUEUE "key = id\n", "sluice.ini:9: [queue orders] key: has no use with mode = insert" },
	{ DATABASE QUEUE "mode = ignore\nnewer = at\n", "sluice.ini:10: [queue orders] newer: has a use with mode = upsert only\n" },
	{ DATABASE QUEUE "mode = upsert\nkey = id\nmax_batches = 2\n", "sluice.ini:11: [queue orders] max_batches: must be 1 for an upsert" },
	{ DATABASE QUEUE "max_batches = 11\n", "sluice.ini:9: [queue orders] max_batches: 11 is more than pool_size = 10 of [database shop]\n" },
	{ DATABASE QUEUE "dead_letter = orders\n", "sluice.ini:9: [queue orders] dead_letter: is the source itself" },
	{ DATABASE "[queue a]\nsource = orders\n", "sluice.ini:6: [queue a] source: \"orders\" is not list:KEY\n" },
	{ DATABASE "[queue a]\nsource = list:\n", "is not list:KEY\n" },
	/* addresses */
	{ "[redis]\nurl = http://x\n" DATABASE QUEUE, "sluice.ini:2: [redis] url: must begin with unix://, redis:// or rediss://\n" },
	{ "[redis]\nurl =\n" DATABASE QUEUE, "sluice.ini:2: [redis] url: must not be empty\n" },
	{ "[redis]\nurl = unix://run\n" DATABASE QUEUE, "the socket's path must be absolute" },
	{ "[redis]\nurl = unix:///run?x=1\n" DATABASE QUEUE, "only ?db=N may follow the path\n" },
	{ "[redis]\nurl = unix:///run?db=\n" DATABASE QUEUE, "the database must be a number" },
	{ "[redis]\nurl = redis://\n" DATABASE QUEUE, "the host is missing" },
	{ "[redis]\nurl = redis://u@:1\n" DATABASE QUEUE, "the host is missing" },
	{ "[redis]\nurl = redis://::1\n" DATABASE QUEUE, "an IPv6 address needs [brackets]\n" },
	{ "[redis]\nurl = redis://[::1\n" DATABASE QUEUE, "lacks its \"]\"\n" },
	{ "[redis]\nurl = redis://[x]\n" DATABASE QUEUE, "there is no IPv6 address in the brackets\n" },
	{ "[redis]\nurl = redis://[::1]x\n" DATABASE QUEUE, "the port must be" },
	{ "[redis]\nurl = redis://a:0\n" DATABASE QUEUE, "the port must be" },
	{ "[redis]\nurl = redis://a:65536\n" DATABASE QUEUE, "the port must be" },
	{ "[redis]\nurl = redis://a:123456789\n" DATABASE QUEUE, "the port must be" },
	{ "[redis]\nurl = redis://a:\n" DATABASE QUEUE, "the port must be" },
	{ "[redis]\nurl = redis://a b/0\n" DATABASE QUEUE, "that is not a host name\n" },
	{ "[redis]\nurl = redis://a/x\n" DATABASE QUEUE, "the database must be a number" },
#ifndef HAVE_HIREDIS_SSL
	{ "[redis]\nurl = rediss://a\n" DATABASE QUEUE, "sluice.ini:2: [redis] url: this build's hiredis has no TLS" },
#endif
	{ "[redis]\nurl = redis://a\nsslname = b\n" DATABASE QUEUE, "sluice.ini:3: [redis] sslname: has a use with rediss:// only\n" },
	{ "[redis]\nurl = rediss://a\nsslmode = prefer\n" DATABASE QUEUE, "sluice.ini:3: [redis] sslmode = \"prefer\" is not one of verify-full|verify-ca|require" },
	{ "[redis]\nurl = rediss://a\nsslcert = /dev/null\n" DATABASE QUEUE, "sluice.ini:3: [redis] sslcert: sslcert and sslkey go together\n" },
	{ "[redis]\nurl = rediss://a\nsslkey = /nowhere/key\n" DATABASE QUEUE, "sluice.ini:3: [redis] sslkey: sslcert and sslkey go together\n" },
	{ "[redis]\nurl = rediss://a\nsslrootcert = /nowhere/ca\n" DATABASE QUEUE, "sluice.ini:3: [redis] sslrootcert: /nowhere/ca cannot be read" },
	{ "[stats]\nlisten = here\n" DATABASE QUEUE, "sluice.ini:2: [stats] listen: \"here\": the port is missing" },
	{ "[stats]\nlisten = a:b\n" DATABASE QUEUE, "the port must be" },
	/* files */
	{ DATABASE "sslkey = /nowhere/key\n" QUEUE, "sluice.ini:5: [database shop] sslkey: /nowhere/key cannot be read: No such file or directory\n" },
	{ DATABASE "password_file = .\n" QUEUE, "sluice.ini:5: [database shop] password_file: . is not a regular file\n" },
	{ "[redis]\npassword_file = /nowhere/p\n" DATABASE QUEUE, "sluice.ini:2: [redis] password_file: /nowhere/p cannot be read" },
	{ "[sluice]\ninclude = missing.ini\n" DATABASE QUEUE, "sluice.ini:2: [sluice] include: missing.ini cannot be read\n" },
};

static void
test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bads / sizeof *bads; i++)
		read_bad(bads[i].text, bads[i].said, false);
}

/* All errors come at once, in the order of the file. */
static void
test_all_errors(void **state)
{
	(void)state;
	read_bad("[redis]\nurll = x\nconnect_timeout = soon\n" DATABASE "pool_size = 0\nline\n" QUEUE,
	    "sluice.ini:2: [redis] unknown key \"urll\"; did you mean \"url\"?\n"
	    "sluice.ini:3: [redis] connect_timeout = \"soon\" is not a number of 1..3600\n"
	    "sluice.ini:8: [database shop] pool_size = \"0\" is out of range 1..1000 connections\n"
	    "sluice.ini:9: [database shop] is neither \"[section]\" nor \"key = value\"\n",
	    true);
}

static void
test_unreadable(void **state)
{
	(void)state;
	struct buf errors = BUF_INIT;
	assert_null(config_read("/nowhere/sluice.ini", &errors));
	assert_string_equal(buf_cstr(&errors), "/nowhere/sluice.ini: cannot be read: No such file or directory\n");
	buf_reset(&errors);
	assert_null(config_read(".", &errors));
	assert_string_equal(buf_cstr(&errors), ".: cannot be read: Is a directory\n");
	buf_free(&errors);
}

static void
test_redis_url(void **state)
{
	(void)state;
	struct config *config = read_good("[redis]\nurl = redis://me@[::1]:7000/3\n" DATABASE QUEUE);
	assert_null(config->redis.address.unix_path);
	assert_string_equal(config->redis.address.host, "::1");
	assert_string_equal(config->redis.address.user, "me");
	assert_int_equal(config->redis.address.port, 7000);
	assert_int_equal(config->redis.address.db, 3);
	assert_false(config->redis.address.tls);
	config_free(&config);
	config = read_good("[redis]\nurl = redis://cache.example.com\n" DATABASE QUEUE);
	assert_string_equal(config->redis.address.host, "cache.example.com");
	assert_int_equal(config->redis.address.port, 6379);
	assert_null(config->redis.address.user);
	config_free(&config);
	config = read_good("[redis]\nurl = unix:///tmp/r.sock?db=2\n" DATABASE QUEUE);
	assert_string_equal(config->redis.address.unix_path, "/tmp/r.sock");
	assert_int_equal(config->redis.address.db, 2);
	config_free(&config);
	/* whole, so that no part of the password is in it */
	read_bad("[redis]\nurl = redis://u:se/cr@et@h\n" DATABASE QUEUE,
	    "sluice.ini:2: [redis] url: a password does not belong here: put it into a file and name that in password_file\n", true);
}

static void
test_listen(void **state)
{
	(void)state;
	static const char *const good[] = { "127.0.0.1:9864", "[::1]:1", ":9864", "localhost:65535", "[fe80::1%eth0]:80" };
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		char text[512];
		snprintf(text, sizeof text, "[stats]\nlisten = %s\n" DATABASE QUEUE, good[i]);
		struct config *config = read_good(text);
		assert_string_equal(config->stats.listen, good[i]);
		config_free(&config);
	}
}

static void
test_dead_letter(void **state)
{
	(void)state;
	static const struct {
		const char *key, *dead_letter;
	} cases[] = {
		{ "orders", "{orders}:dead" },
		{ "{shop}:orders", "{shop}:orders:dead" },
		{ "a{b}c", "a{b}c:dead" },
		{ "a{}c", "{a{}c}:dead" },
		{ "a{b", "{a{b}:dead" },
		{ "a}b", "{a}b}:dead" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[512];
		snprintf(text, sizeof text, DATABASE "[queue q]\nsource = list:%s\ndatabase = shop\ntable = t\n", cases[i].key);
		struct config *config = read_good(text);
		assert_string_equal(config->queues[0].list_key, cases[i].key);
		assert_string_equal(config->queues[0].dead_letter, cases[i].dead_letter);
		config_free(&config);
	}
	struct config *config = read_good(DATABASE QUEUE "dead_letter = mine\n");
	assert_string_equal(config->queues[0].dead_letter, "mine");
	config_free(&config);
}

static void
test_upsert(void **state)
{
	(void)state;
	struct config *config = read_good(DATABASE QUEUE "mode = upsert\nkey = id\n");
	assert_int_equal(config->queues[0].max_batches, 1);
	config_free(&config);
	config = read_good(DATABASE QUEUE "mode = upsert\nkey = id\nnewer = at\nmax_batches = 4\n");
	assert_int_equal(config->queues[0].max_batches, 4);
	config_free(&config);
	config = read_good(DATABASE QUEUE "mode = ignore\n");
	assert_int_equal(config->queues[0].max_batches, 0);
	config_free(&config);
}

static void
test_columns(void **state)
{
	(void)state;
	struct config *config = read_good(DATABASE QUEUE "column.id = $.id\ncolumn.Body = $ ; all of it\n");
	const struct queue_config *queue = &config->queues[0];
	assert_int_equal(queue->n_columns, 2);
	assert_string_equal(queue->columns[1].column, "Body");
	assert_string_equal(queue->columns[1].expression, "$");
	assert_string_equal(queue->columns[1].file, MAIN_FILE);
	assert_int_equal(queue->columns[1].line, 10);
	config_free(&config);
}

static void
test_include(void **state)
{
	(void)state;
	assert_int_equal(mkdir("conf.d", 0700), 0);
	write_file("conf.d/a.ini", DATABASE);
	write_file("conf.d/b.ini", QUEUE "column.id = $\n");
	struct config *config = read_good("[sluice]\ninclude = conf.d/*.ini\n");
	assert_int_equal(config->n_files, 3);
	assert_string_equal(config->files[2], "conf.d/b.ini");
	assert_string_equal(config->queues[0].columns[0].file, "conf.d/b.ini");
	config_free(&config);

	/* a pattern belongs to its file's directory, wherever the reader stands */
	write_file("conf.d/main.conf", "[sluice]\ninclude = [ab].ini\n");
	struct buf errors = BUF_INIT;
	config = config_read("conf.d/main.conf", &errors);
	assert_non_null(config);
	config_free(&config);

	write_file("conf.d/c.ini", "[redis]\nurl = x\n[sluice]\ninclude = *\n");
	read_bad("[sluice]\ninclude = conf.d/*.ini\n", "conf.d/c.ini:3: [sluice] is already at sluice.ini:1; put all its keys there\n", false);
	read_bad("[sluice]\ninclude = conf.d/*.ini\n", "conf.d/c.ini:2: [redis] url: must begin with", false);
	write_file("conf.d/main.conf", "[stats]\n");
	assert_int_equal(unlink("conf.d/c.ini"), 0);
	config = read_good("[sluice]\ninclude = conf.d/[xyz]*.ini\n" DATABASE QUEUE);
	config_free(&config);
	assert_int_equal(mkfifo("conf.d/pipe", 0600), 0); /* nobody writes it */
	read_bad("[sluice]\ninclude = conf.d/p*\n" DATABASE QUEUE, "conf.d/pipe: cannot be read: it is not a file of at most 1 MB\n", false);
	unlink("conf.d/pipe");
	unlink("conf.d/a.ini");
	unlink("conf.d/b.ini");
	unlink("conf.d/main.conf");
	assert_int_equal(rmdir("conf.d"), 0);
	buf_free(&errors);
}

static void
write_password(const char *text, size_t n, mode_t mode)
{
	write_bytes("password", text, n);
	assert_int_equal(chmod("password", mode), 0);
}

#define WITH_PASSWORD DATABASE "password_file = password\n" QUEUE

static void
test_password(void **state)
{
	(void)state;
	write_password("s3 cret;'\r\nsecond", 17, 0600);
	struct config *config = read_good("[redis]\npassword_file = password\n" WITH_PASSWORD);
	assert_string_equal(config->databases[0].password, "s3 cret;'");
	assert_string_equal(config->redis.password, "s3 cret;'");
	struct buf shown = BUF_INIT;
	config_show(config, false, &shown);
	config_show(config, true, &shown);
	assert_null(strstr(buf_cstr(&shown), "s3 cret"));
	buf_free(&shown);
	config_free(&config);
	write_password("x", 1, 0400);
	config = read_good(WITH_PASSWORD);
	assert_string_equal(config->databases[0].password, "x");
	config_free(&config);
	assert_int_equal(unlink("password"), 0);
}

/* A name without a leading slash: what the service manager gave us counts; else the file beside sluice.ini, wherever we were started. */
static void
test_password_of_the_service(void **state)
{
	(void)state;
	struct buf errors = BUF_INIT;
	assert_int_equal(mkdir("given", 0700), 0);
	write_file("given/password", "from the manager\n");
	assert_int_equal(chmod("given/password", 0400), 0);
	setenv("CREDENTIALS_DIRECTORY", "given", 1);
	struct config *config = read_good(WITH_PASSWORD);
	assert_string_equal(config->databases[0].password, "from the manager");
	config_free(&config);
	assert_int_equal(unlink("given/password"), 0);
	write_file("given/" MAIN_FILE, WITH_PASSWORD);
	read_bad(WITH_PASSWORD, "password_file: password cannot be read: No such file or directory\n", false);
	unsetenv("CREDENTIALS_DIRECTORY");
	write_file("given/password", "beside the file\n");
	assert_int_equal(chmod("given/password", 0400), 0);
	config = config_read("given/" MAIN_FILE, &errors);
	assert_non_null(config);
	assert_string_equal(config->databases[0].password, "beside the file");
	config_free(&config);
	assert_int_equal(unlink("given/password") + unlink("given/" MAIN_FILE) + rmdir("given"), 0);
}

/* Whoever asks the daemon need not be able to read what the daemon reads. */
static void
test_without_the_files(void **state)
{
	(void)state;
	struct buf errors = BUF_INIT;
	write_file(MAIN_FILE, "[redis]\nurl = unix:///r\npassword_file = no-such-file\n" DATABASE
	    "password_file = no-such-file\nsslrootcert = /nowhere/ca\nsslcert = /nowhere/cert\nsslkey = /nowhere/key\n" QUEUE);
	assert_null(config_read(MAIN_FILE, &errors));
	buf_reset(&errors);
	struct config *config = config_read_only(MAIN_FILE, &errors);
	assert_non_null(config);
	assert_int_equal(errors.len, 0);
	assert_null(config->redis.password);
	assert_null(config->databases[0].password);
	assert_string_equal(config->databases[0].sslkey, "/nowhere/key");
	config_free(&config);
	write_file(MAIN_FILE, "[stats]\nlisten = nowhere\n" DATABASE QUEUE);
	assert_null(config_read_only(MAIN_FILE, &errors));
	assert_non_null(strstr(buf_cstr(&errors), "listen"));
	buf_free(&errors);
}

static void
test_password_refused(void **state)
{
	(void)state;
	static const mode_t modes[] = { 0644, 0604, 0660, 0602, 0610, 0777 };
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		write_password("secret\n", 7, modes[i]);
		read_bad(WITH_PASSWORD, "sluice.ini:5: [database shop] password_file: others may read password: chmod 600 password\n", true);
	}
	write_password("secret\n", 7, 0640);
	if (getuid() == 0) {
		struct config *config = read_good(WITH_PASSWORD);
		config_free(&config);
	} else {
		read_bad(WITH_PASSWORD, "chmod 600 password", false);
	}
	write_password("", 0, 0600);
	read_bad(WITH_PASSWORD, "password_file: password: has no password in its first line\n", false);
	write_password("\r\nx", 3, 0600);
	read_bad(WITH_PASSWORD, "has no password in its first line\n", false);
	write_password("a\0b\n", 4, 0600);
	read_bad(WITH_PASSWORD, "has a NUL byte in its password\n", false);
	char text[2000];
	memset(text, 'x', sizeof text);
	write_password(text, sizeof text, 0600);
	read_bad(WITH_PASSWORD, "has too long a first line for a password\n", false);
	text[1024] = '\n';
	write_password(text, sizeof text, 0600);
	struct config *config = read_good(WITH_PASSWORD);
	assert_int_equal(strlen(config->databases[0].password), 1024);
	config_free(&config);
	assert_int_equal(unlink("password"), 0);
}

static void
test_sample(void **state)
{
	(void)state;
	struct buf sample = BUF_INIT, shown = BUF_INIT, shown_again = BUF_INIT;
	config_sample(&sample);
	struct config *config = read_good(buf_cstr(&sample));
	config_show(config, false, &shown);
	config_free(&config);

	/* every default as it stands there is one that can be written */
	char *text = sample.data;
	for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n') == NULL ? NULL : strchr(line, '\n') + 1) {
		if (line[0] == ';' && line[1] >= 'a' && line[1] <= 'z' && strncmp(line, ";column.", 8) != 0)
			memmove(line, line + 1, strlen(line));
	}
	config = read_good(text);
	config_show(config, false, &shown_again);
	config_free(&config);
	assert_string_equal(buf_cstr(&shown), buf_cstr(&shown_again));

	for (char *line = strstr(text, ";column."); line != NULL; line = strstr(line, ";column."))
		memmove(line, line + 1, strlen(line));
	config = read_good(text);
	assert_true(config->queues[0].n_columns > 3);
	config_free(&config);
	buf_free(&sample);
	buf_free(&shown);
	buf_free(&shown_again);
}

/* The sample in the tree is the program's. */
static void
test_sample_file(void **state)
{
	struct buf sample = BUF_INIT, file_text = BUF_INIT, path = BUF_INIT;
	buf_addf(&path, "%s/etc/sluice.ini", (const char *)*state);
	FILE *file = fopen(buf_cstr(&path), "r");
	assert_non_null(file);
	for (int c; (c = getc(file)) != EOF;)
		buf_addc(&file_text, (char)c);
	fclose(file);
	config_sample(&sample);
	assert_string_equal(buf_cstr(&file_text), buf_cstr(&sample));
	buf_free(&sample);
	buf_free(&file_text);
	buf_free(&path);
}

static void
test_show(void **state)
{
	(void)state;
	struct buf out = BUF_INIT;
	struct config *config = read_good("[sluice]\ninstance = me\n" DATABASE QUEUE "column.a\"b = $.x\nbatch_bytes = 1025\n");
	config_show(config, false, &out);
	const char *text = buf_cstr(&out);
	assert_ptr_equal(strstr(text, "sluice.instance = me\n"), text);
	assert_non_null(strstr(text, "\nqueue.orders.batch_rows = 1000\n"));
	assert_non_null(strstr(text, "\nqueue.orders.max_item_bytes = 1M\n"));
	assert_non_null(strstr(text, "\nqueue.orders.batch_bytes = 1025\n"));
	assert_non_null(strstr(text, "\nqueue.orders.key =\n"));
	assert_non_null(strstr(text, "\nqueue.orders.column.a\"b = $.x\n"));
	assert_non_null(strstr(text, "\ndatabase.shop.driver = mysql\n"));
	buf_reset(&out);
	config_show(config, true, &out);
	text = buf_cstr(&out);
	assert_ptr_equal(strstr(text, "{\"sluice.instance\":\"me\",\"sluice.log_level\":\"info\",\"sluice.log_format\":\"text\","), text);
	assert_non_null(strstr(text, ",\"sluice.include\":null,"));
	assert_non_null(strstr(text, ",\"queue.orders.max_item_bytes\":1048576,"));
	assert_non_null(strstr(text, ",\"queue.orders.column.a\\\"b\":\"$.x\"}"));
	buf_free(&out);
	config_free(&config);
}

/* -- what a reload finds */

/* Compares the first text with another. */
static void
differs(const char *from_text, const char *to_text, enum config_change expected, const char *said)
{
	struct buf report = BUF_INIT;
	struct config *from = read_good(from_text), *to = read_good(to_text);
	assert_int_equal(config_compare(from, to, &report), expected);
	assert_string_equal(buf_cstr(&report), said);
	assert_int_equal(config_compare(from, to, NULL), expected);
	assert_int_equal(config_compare(to, to, NULL), CHANGE_NONE);
	config_keep(to, from);
	assert_true(config_compare(from, to, NULL) == (expected == CHANGE_RESTART ? CHANGE_NONE : expected));
	buf_free(&report);
	config_free(&from);
	config_free(&to);
}

static void
test_compare(void **state)
{
	static const char *const base = DATABASE QUEUE;
	static const struct {
		const char *to;
		enum config_change change;
		const char *said;
	} cases[] = {
		{ DATABASE QUEUE, CHANGE_NONE, "" },
		{ ";\n[sluice]\n" QUEUE DATABASE "pool_size = 10 ; as it was\n", CHANGE_NONE, "" },
		{ DATABASE QUEUE "batch_bytes = 1024K\n", CHANGE_NONE, "" },
		{ DATABASE QUEUE "batch_bytes = 2M\nweight=2\n", CHANGE_LIVE, "queue orders: batch_bytes 1M -> 2M\nqueue orders: weight 1 -> 2\n" },
		{ "[sluice]\nlog_level = debug\n" DATABASE QUEUE, CHANGE_LIVE, "sluice: log_level info -> debug\n" },
		{ "[redis]\ncommand_timeout = 1\n" DATABASE QUEUE, CHANGE_LIVE, "redis: command_timeout 10 -> 1\n" },
		{ "[redis]\nurl = redis://h\n" DATABASE QUEUE, CHANGE_ANEW, "redis: url unix:///run/redis/redis-server.sock -> redis://h\n" },
		{ "[stats]\nlisten =\n" DATABASE QUEUE, CHANGE_RESTART, "needs a restart: stats: listen 127.0.0.1:9864 -> none\n" },
		{ DATABASE "pool_size = 4\nsslmode = disable\n" QUEUE, CHANGE_RECYCLE,
		    "database shop: sslmode prefer -> disable\ndatabase shop: pool_size 10 -> 4\n" },
		{ DATABASE QUEUE "mode = ignore\nkey = id\n", CHANGE_ANEW, "queue orders: mode insert -> ignore\nqueue orders: key none -> id\n" },
		{ DATABASE QUEUE "column.a = $.b\n", CHANGE_ANEW, "queue orders: column.a none -> $.b\n" },
		{ DATABASE QUEUE "[queue refunds]\nsource = list:r\ndatabase = shop\ntable = r\n", CHANGE_ANEW, "queue refunds: new\n" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		differs(base, cases[i].to, cases[i].change, cases[i].said);
	differs(DATABASE QUEUE "column.a = $.b\ncolumn.b = $.b\n", DATABASE QUEUE "column.b = $.b\n", CHANGE_ANEW, "queue orders: column.a $.b -> none\n");
	differs(DATABASE QUEUE "column.a = $.b\ncolumn.b = $.b\n", DATABASE QUEUE "column.b = $.b\ncolumn.a = $.b\n", CHANGE_NONE, "");
	differs(DATABASE "[database old]\ndriver = mysql\ndbname = o\nuser = u\n" QUEUE "[queue q]\nsource = list:q\ndatabase = old\ntable = q\n",
	    DATABASE QUEUE, CHANGE_ANEW, "database old: removed\nqueue q: removed\n");
}

/* A password is compared, wherever it comes from, and never shown. */
static void
test_compare_passwords(void **state)
{
	static const char *const text = DATABASE "password_file = password\n" QUEUE;
	struct buf report = BUF_INIT;
	(void)state;
	write_file("password", "one\n");
	assert_int_equal(chmod("password", 0600), 0);
	struct config *from = read_good(text);
	write_file("password", "two\n");
	struct config *to = read_good(text), *without = read_good(DATABASE QUEUE);
	assert_int_equal(config_compare(from, from, &report), CHANGE_NONE);
	assert_int_equal(config_compare(from, to, &report), CHANGE_RECYCLE);
	assert_string_equal(buf_cstr(&report), "database shop: password changed\n");
	buf_reset(&report);
	assert_int_equal(config_compare(to, without, &report), CHANGE_RECYCLE);
	assert_string_equal(buf_cstr(&report), "database shop: password_file password -> none\ndatabase shop: password changed\n");
	buf_free(&report);
	config_free(&from);
	config_free(&to);
	config_free(&without);
}

int
main(void)
{
	const char *srcdir = getenv("srcdir");
	char *tree = realpath(srcdir == NULL ? "." : srcdir, NULL);
	char directory[] = "/tmp/sluice_test_XXXXXX";
	if (tree == NULL || mkdtemp(directory) == NULL || chdir(directory) != 0) {
		perror("test_config");
		return 1;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_minimal),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_instance),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_nul_byte),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_all_errors),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_redis_url),
		cmocka_unit_test(test_listen),
		cmocka_unit_test(test_dead_letter),
		cmocka_unit_test(test_upsert),
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_include),
		cmocka_unit_test(test_password),
		cmocka_unit_test(test_password_of_the_service),
		cmocka_unit_test(test_without_the_files),
		cmocka_unit_test(test_password_refused),
		cmocka_unit_test(test_sample),
		cmocka_unit_test_prestate(test_sample_file, tree),
		cmocka_unit_test(test_show),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_compare_passwords),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(MAIN_FILE);
	unlink("password");
	if (rmdir(directory) != 0)
		perror(directory);
	free(tree);
	return failed == 0 ? 0 : 1;
}
