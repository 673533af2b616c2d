/* The limit: stores ready-made rows as fast as the database takes them.
 *
 *   loader SLUICE.INI
 *
 * Reads what the daemon would read: the file's one queue, its list, its table. Before the clock starts it makes the very statements that sluice
 * sends, with sluice's own encoder: the same batches, the same ledger row in each transaction, under the epoch 0, in the same messages. Then `pool_size` threads with a
 * connection each send them. Nothing is read, parsed, encoded or settled meanwhile; the list stays as it is. Says "ready", waits for a line, prints
 * the seconds from the first BEGIN to the last COMMIT, and ends when stdin does.
 */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "arena.h"
#include "buf.h"
#include "config.h"
#include "db.h"
#include "encode.h"
#include "ledger.h"
#include "mapping.h"
#include "sql.h"
#include "table.h"
#include "window.h"

#define GENERATION "0123456789abcdef0123456789abcdef"

/* One transaction, ready to be sent. */
struct ready {
	struct buf first;   /* the first message: BEGIN, its ledger row and, where they are one statement, its rows; with a COPY without BEGIN */
	bool joined;        /* they are */
	bool commits;       /* and it does */
	struct batch batch; /* its rows */
};

/* What all threads share. */
struct load {
	const struct queue_config *queue;
	struct mapping *mapping;
	struct ready *readies;   /* n of them */
	unsigned n;
	atomic_uint next;        /* the one to send next */
	pthread_barrier_t start; /* met twice: all are connected; the clock runs */
};

static bool
is_pg(const struct load *l)
{
	return l->queue->target->driver == DRIVER_POSTGRESQL;
}

static struct mapping *
read_table(const struct queue_config *queue)
{
	struct buf query = BUF_INIT, why = BUF_INIT;
	struct sql *sql = sql_open(queue->target);

	table_query(queue->target->driver, queue->table, &query);
	buf_cstr(&query);
	struct table *table = table_read(queue->target->driver, sql_ask(sql, query.data, query.len));
	struct mapping *mapping = mapping_new(queue, table, &why);
	if (mapping == NULL)
		sql_die(queue->table, buf_cstr(&why));
	table_free(&table);
	sql_close(sql);
	buf_free(&query);
	return mapping;
}

static void
on_reject(void *arg, uint32_t item, const char *column, const char *message)
{
	(void)arg;
	(void)item;
	sql_die(column, message); /* the limit knows good rows only */
}

/* Copies the list's items number `first` and on, oldest first; returns how many there were. */
static uint32_t
read_items(redisContext *redis, const struct queue_config *queue, unsigned long first, struct arena *arena, struct item *items)
{
	redisReply *reply = redisCommand(redis, "LRANGE %s %ld %ld", queue->list_key, -(long)(first + queue->batch_rows), -(long)first - 1);
	if (reply == NULL || reply->type != REDIS_REPLY_ARRAY)
		sql_die("LRANGE", reply != NULL ? reply->str : redis->errstr);
	uint32_t n = (uint32_t)reply->elements;
	for (uint32_t i = 0; i < n; i++) {
		const redisReply *element = reply->element[n - 1 - i];
		char *text = arena_bytes(arena, (size_t)element->len);
		memcpy(text, element->str, (size_t)element->len);
		items[i] = (struct item){ .text = text, .len = (size_t)element->len };
	}
	freeReplyObject(reply);
	return n;
}

/* Makes the statement's text the one that sluice sends. */
static void
take_arrays(struct batch_statement *statement)
{
	struct buf arrays = BUF_INIT;

	if (!statement->is_copy && batch_add_arrays(statement, &arrays)) {
		buf_free(&statement->sql);
		statement->sql = arrays;
	}
	buf_cstr(&statement->sql);
}

static void
make_ready(struct load *l, struct encoder *encoder, const struct item *items, uint32_t n_items, unsigned long first)
{
	struct ready *ready = &l->readies[l->n];
	struct window *window = window_new(first, items, n_items, NULL);
	struct statement ledger = { .kind = STATEMENT_LEDGER, .window = window, .slot = l->n % l->queue->ledger_rows, .epoch = 0 };
	struct encode_input input = { .mapping = l->mapping, .items = items, .n_items = n_items, .max_item_bytes = SIZE_MAX, .statement_max = 15 << 20 };

	*ready = (struct ready){ .first = BUF_INIT, .batch = BATCH_INIT };
	encode(encoder, &input, &ready->batch, on_reject, NULL);
	ready->joined = ready->batch.n == 1;
	ready->commits = ready->joined && ready->batch.statements[0].is_copy; /* all of it is a transaction */
	if (!ready->commits)
		buf_adds(&ready->first, "BEGIN;");
	ledger_sql(is_pg(l) ? &db_postgresql : &db_mysql, l->queue->target->driver, l->queue->name, GENERATION, &ledger, &ready->first);
	for (size_t i = 0; i < ready->batch.n; i++)
		take_arrays(&ready->batch.statements[i]);
	if (ready->joined)
		buf_addf(&ready->first, ";%s", buf_cstr(&ready->batch.statements[0].sql));
	buf_cstr(&ready->first);
	window_free(&window);
	l->n++;
}

/* Reads the whole list. */
static void
make_all_ready(struct load *l, const char *redis_path)
{
	redisContext *redis = xchecked(redisConnectUnix(redis_path));
	struct encoder *encoder = encoder_new();
	struct item *items = xcalloc(l->queue->batch_rows, sizeof *items);
	unsigned long first = 0;

	if (redis->err != 0)
		sql_die(redis_path, redis->errstr);
	for (;;) {
		struct arena *arena = arena_new();
		uint32_t n = read_items(redis, l->queue, first, arena, items);
		if (n > 0) {
			l->readies = xrealloc(l->readies, (l->n + 1) * sizeof *l->readies);
			make_ready(l, encoder, items, n, first);
		}
		arena_unref(&arena);
		first += n;
		if (n == 0)
			break;
	}
	free(items);
	encoder_free(&encoder);
	redisFree(redis);
}

static const struct buf *
copy_of(const struct batch_statement *statement)
{
	return statement->is_copy ? &statement->copy : NULL;
}

static void
store(struct sql *sql, const struct ready *ready)
{
	const struct batch_statement *statements = ready->batch.statements;
	unsigned long changed[3]; /* by BEGIN, the ledger row and the rows */
	unsigned begin = !ready->commits;

	sql_do_all(sql, ready->first.data, ready->first.len, ready->joined ? copy_of(statements) : NULL, changed, begin + 1U + ready->joined);
	if (changed[begin] != 1)
		sql_die(LEDGER_TABLE, "no such row");
	for (size_t i = ready->joined ? 1 : 0; i < ready->batch.n; i++)
		sql_do_all(sql, statements[i].sql.data, statements[i].sql.len, copy_of(&statements[i]), changed, 1);
	if (!ready->commits)
		sql_do(sql, "COMMIT", 6);
}

static void *
run(void *arg)
{
	struct load *l = arg;
	struct sql *sql = sql_open(l->queue->target);
	struct buf prepare = BUF_INIT;

	if (ledger_prepare_sql(l->queue->target->driver, &prepare))
		sql_do(sql, buf_cstr(&prepare), prepare.len);
	buf_free(&prepare);
	pthread_barrier_wait(&l->start);
	pthread_barrier_wait(&l->start);
	for (unsigned i; (i = atomic_fetch_add(&l->next, 1)) < l->n;)
		store(sql, &l->readies[i]);
	sql_close(sql);
	return NULL;
}

/* Until a line or the end of stdin comes. */
static void
wait_for_line(void)
{
	for (int c; (c = getchar()) != '\n' && c != EOF;)
		continue;
}

static double
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Sends everything; returns the seconds that it took. */
static double
send_all(struct load *l)
{
	unsigned n = l->queue->max_batches > 0 ? l->queue->max_batches : l->queue->target->pool_size;
	pthread_t *threads = xcalloc(n, sizeof *threads);

	pthread_barrier_init(&l->start, NULL, n + 1);
	for (unsigned i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, run, l);
	pthread_barrier_wait(&l->start);
	puts("ready");
	fflush(stdout);
	wait_for_line();
	double begin = now();
	pthread_barrier_wait(&l->start);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	double seconds = now() - begin;
	free(threads);
	return seconds;
}

int
main(int argc, char **argv)
{
	struct buf errors = BUF_INIT;

	if (argc != 2) {
		fputs("usage: loader SLUICE.INI\n", stderr);
		return 64;
	}
	struct config *config = config_read(argv[1], &errors);
	if (config == NULL)
		sql_die(argv[1], buf_cstr(&errors));
	struct load l = { .queue = &config->queues[0], .mapping = read_table(&config->queues[0]) };
	make_all_ready(&l, config->redis.address.unix_path);
	printf("%.6f\n", send_all(&l));
	fflush(stdout);
	wait_for_line();
	for (unsigned i = 0; i < l.n; i++) {
		buf_free(&l.readies[i].first);
		batch_free(&l.readies[i].batch);
	}
	free(l.readies);
	mapping_free(&l.mapping);
	config_free(&config);
	return 0;
}
