/* How long an order takes from its push to a row that others see, beside the commit of one plain INSERT.
 *
 *   latency SLUICE.INI ORDERS_PER_SECOND SECONDS
 *
 * One thread pushes orders at a steady rate; the other looks for their rows while one is missing, on a connection of its own. An order's clock starts
 * when its push is sent, or when it should have been sent, if the push before it took so long; what is due by then is pushed together, as it would have
 * come from many functions, of which none waits for another. The clock stops when the look that found the row was sent, so a time is at most one look
 * too long, and with more than INSERT_RATE_MAX orders a second, when looks without a pause would take a CPU, PAUSE_US.
 *
 * Up to INSERT_RATE_MAX orders a second, each push is followed, half way to the next, by an INSERT of one more order on an open connection: by turns a
 * plain one, whose clock runs from the INSERT to its answer, the commit; and one in a transaction that also writes a row of a ledger, whose clock
 * runs from BEGIN to the answer to COMMIT. What slows down the disk or the server slows down all of them.
 *
 * Prints the 50th, 99th and 99.9th percentile in microseconds and how many orders there were: a line for the pushes, then one for the plain INSERTs and
 * one for those with a ledger.
 */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "buf.h"
#include "config.h"
#include "db.h"
#include "ledger.h"
#include "order.h"
#include "sql.h"
#include "task.h"
#include "window.h"

enum { PAUSE_US = 100, LOST_AFTER_US = 30000000, INSERT_RATE_MAX = 100, LEDGER_ROWS = 64 };

#define LEDGER_QUEUE "plain INSERTs" /* no queue of the daemon's */
#define GENERATION "0123456789abcdef0123456789abcdef"

/* What both threads share. Orders are numbered from 1; with INSERTs, the odd ones are pushed. */
struct race {
	const struct config *config;
	bool inserts;         /* every second order is an INSERT, and every fourth one with a ledger */
	unsigned rate, n;     /* orders a second; orders */
	int64_t *started;     /* us; when each order's clock started; n + 1 of them */
	int64_t *took;        /* us until it was seen, -1: not yet; n + 1 of them */
	int64_t *committed;   /* us that the INSERT of an order took; n + 1 of them */
	atomic_uint sent;     /* orders that were sent */
};

static int64_t
now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void
sleep_until(int64_t us)
{
	struct timespec t = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* Waits for the moment when order i is due, and starts its clock, and those of all that are due by then. Returns how many these are. */
static unsigned
wait_for_turn(struct race *race, int64_t begin, unsigned i)
{
	int64_t due = begin + (int64_t)i * 1000000 / race->rate, now = now_us();
	unsigned n = 0;

	if (now < due) {
		sleep_until(due);
		race->started[i] = now_us();
		return 1;
	}
	do {
		race->started[i + n++] = due;
		due = begin + (int64_t)(i + n) * 1000000 / race->rate;
	} while (due <= now && i + n <= race->n && !race->inserts);
	return n;
}

/* Pushes n orders from number i on, each by an LPUSH. */
static void
push(redisContext *redis, const char *key, unsigned i, unsigned n, struct buf *text)
{
	static const struct order_shape shape = { .columns = 8 };

	for (unsigned k = 0; k < n; k++) {
		buf_reset(text);
		order_write(&shape, i + k, text);
		redisAppendCommand(redis, "LPUSH %s %b", key, text->data, text->len);
	}
	for (unsigned k = 0; k < n; k++) {
		redisReply *reply;
		if (redisGetReply(redis, (void **)&reply) != REDIS_OK || reply->type != REDIS_REPLY_INTEGER)
			sql_die("LPUSH", redis->err != 0 ? redis->errstr : reply->str);
		freeReplyObject(reply);
	}
}

static void
write_insert(unsigned i, struct buf *text)
{
	buf_addf(text, "INSERT INTO orders (id,customer,total,placed_at,note,quantity,items) VALUES (%u,'customer %u','%u.10',"
	    "'2024-05-06 07:08:09.123','as usual',3,'[{\"sku\":\"A-17\",\"quantity\":3}]')", i, i % 1000, i % 500);
	buf_cstr(text);
}

/* Makes the rows that insert_with_ledger() writes. */
static void
make_ledger(const struct race *race, struct sql *sql)
{
	const struct db_ops *driver = db_driver(race->config->queues[0].target->driver);
	struct buf text = BUF_INIT;

	buf_adds(&text, "DELETE FROM " LEDGER_TABLE " WHERE queue = '" LEDGER_QUEUE "'");
	sql_do(sql, buf_cstr(&text), text.len);
	buf_reset(&text);
	ledger_fill_sql(driver, LEDGER_QUEUE, LEDGER_ROWS, &text);
	sql_do(sql, buf_cstr(&text), text.len);
	buf_reset(&text);
	if (ledger_prepare_sql(race->config->queues[0].target->driver, &text))
		sql_do(sql, buf_cstr(&text), text.len);
	buf_free(&text);
}

/* Returns the microseconds until the commit. */
static int64_t
insert(struct sql *sql, unsigned i)
{
	struct buf text = BUF_INIT;

	write_insert(i, &text);
	int64_t begin = now_us();
	sql_do(sql, text.data, text.len);
	int64_t took = now_us() - begin;
	buf_free(&text);
	return took;
}

/* The same in a transaction as sluice's: with a ledger row, and in two messages. */
static int64_t
insert_with_ledger(const struct race *race, struct sql *sql, unsigned i)
{
	int driver = race->config->queues[0].target->driver;
	struct item item = { .text = "", .len = 0 };
	struct window *window = window_new(i, &item, 1, NULL);
	struct statement row = { .kind = STATEMENT_LEDGER, .window = window, .slot = i / 4 % LEDGER_ROWS, .epoch = 0 };
	struct buf text = BUF_INIT;
	unsigned long changed[3]; /* by BEGIN, UPDATE, INSERT */

	buf_adds(&text, "BEGIN;");
	ledger_sql(db_driver(driver), driver, LEDGER_QUEUE, GENERATION, &row, &text);
	buf_addc(&text, ';');
	write_insert(i, &text);
	int64_t begin = now_us();
	sql_do_all(sql, text.data, text.len, NULL, changed, 3);
	if (changed[1] != 1)
		sql_die(LEDGER_TABLE, "no such row");
	sql_do(sql, "COMMIT", 6);
	int64_t took = now_us() - begin;
	window_free(&window);
	buf_free(&text);
	return took;
}

static void
send_all(struct race *race)
{
	const struct queue_config *queue = &race->config->queues[0];
	struct buf text = BUF_INIT;
	struct sql *sql = sql_open(queue->target);
	redisContext *redis = xchecked(redisConnectUnix(race->config->redis.address.unix_path));

	if (redis->err != 0)
		sql_die("Redis", redis->errstr);
	make_ledger(race, sql);
	int64_t begin = now_us();
	for (unsigned i = 1, n; i <= race->n; i += n) {
		n = wait_for_turn(race, begin, i);
		atomic_store(&race->sent, i + n - 1);
		if (race->inserts && i % 4 == 0)
			race->committed[i] = insert_with_ledger(race, sql, i);
		else if (race->inserts && i % 2 == 0)
			race->committed[i] = insert(sql, i);
		else
			push(redis, queue->list_key, i, n, &text);
	}
	redisFree(redis);
	sql_close(sql);
	buf_free(&text);
}

/* One look for rows behind order `low`, below which all were seen. Returns the new `low`. */
static unsigned
look(struct race *race, struct sql *sql, unsigned low)
{
	char query[100];
	int len = snprintf(query, sizeof query, "SELECT id FROM orders WHERE id > %u ORDER BY id", low);
	int64_t sent = now_us();
	const struct db_result *rows = sql_ask(sql, query, (size_t)len);

	for (size_t row = 0; row < rows->rows; row++) {
		unsigned long id = strtoul(rows->values[row], NULL, 10);
		if (id > race->n)
			sql_die("orders", "a row that nobody pushed");
		if (race->took[id] < 0)
			race->took[id] = sent > race->started[id] ? sent - race->started[id] : 0;
	}
	while (low < race->n && race->took[low + 1] >= 0)
		low++;
	return low;
}

static void *
look_on(void *arg)
{
	static const char *const settings[] = { "SET enable_seqscan = off", "SET enable_bitmapscan = off" };
	struct race *race = arg;
	const struct database_config *database = race->config->queues[0].target;
	struct sql *sql = sql_open(database);
	int64_t moved = now_us();

	prctl(PR_SET_TIMERSLACK, 1000UL); /* or the thread sleeps longer than it wants */
	if (database->driver == DRIVER_POSTGRESQL) /* a fresh table has no statistics: it would read all of it at each look */
		for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
			sql_do(sql, settings[i], strlen(settings[i]));
	for (unsigned low = 0; low < race->n;) {
		if (atomic_load(&race->sent) == low) {
			sleep_until(now_us() + PAUSE_US);
			moved = now_us();
			continue;
		}
		unsigned before = low;
		low = look(race, sql, low);
		if (low > before)
			moved = now_us();
		if (now_us() - moved > LOST_AFTER_US)
			sql_die("orders", "a row does not come");
		if (!race->inserts)
			sleep_until(now_us() + PAUSE_US);
	}
	sql_close(sql);
	return NULL;
}

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* Of every step-th time from the first on. */
static void
print_percentiles(const int64_t *times, unsigned n, unsigned step)
{
	static const unsigned per_mille[] = { 500, 990, 999 };
	int64_t *sorted = xcalloc(n, sizeof *sorted);

	ASSERT(n > 0);
	for (unsigned i = 0; i < n; i++)
		sorted[i] = times[i * step];
	qsort(sorted, n, sizeof *sorted, compare);
	for (size_t i = 0; i < sizeof per_mille / sizeof *per_mille; i++)
		printf("%lld ", (long long)sorted[((unsigned long)n * per_mille[i] + 999) / 1000 - 1]);
	printf("%u\n", n);
	free(sorted);
}

/* All orders of one run. */
static void
run(struct race *race)
{
	pthread_t looker;
	size_t size = (race->n + 1) * sizeof *race->took;
	unsigned step = race->inserts ? 2 : 1;

	race->started = xcalloc(race->n + 1, sizeof *race->started);
	race->committed = xcalloc(race->n + 1, sizeof *race->committed);
	race->took = xmalloc(size);
	memset(race->took, 0xff, size); /* -1 each */
	prctl(PR_SET_TIMERSLACK, 1000UL);
	if (pthread_create(&looker, NULL, look_on, race) != 0)
		sql_die("thread", "cannot be started");
	send_all(race);
	pthread_join(looker, NULL);
	print_percentiles(race->took + 1, race->n / step, step);
	if (race->inserts) {
		print_percentiles(race->committed + 2, race->n / 4, 4);
		print_percentiles(race->committed + 4, race->n / 4, 4);
	}
	free(race->started);
	free(race->took);
	free(race->committed);
}

int
main(int argc, char **argv)
{
	struct buf errors = BUF_INIT;
	unsigned rate = argc == 4 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	unsigned seconds = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;

	if (rate == 0 || seconds == 0) {
		fputs("usage: latency SLUICE.INI ORDERS_PER_SECOND SECONDS\n", stderr);
		return 64;
	}
	struct config *config = config_read(argv[1], &errors);
	if (config == NULL)
		sql_die(argv[1], buf_cstr(&errors));
	struct race race = { .config = config, .inserts = rate <= INSERT_RATE_MAX };
	race.rate = race.inserts ? 2 * rate : rate;
	race.n = race.rate * seconds;
	run(&race);
	config_free(&config);
	return 0;
}
