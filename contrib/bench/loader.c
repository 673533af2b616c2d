/* The limit: stores ready-made rows as fast as the database takes them. Same table, same batches, same connections and the same ledger row in each
 * transaction as sluice, but nothing to read, parse or encode, nothing to settle.
 *
 *   loader postgresql|mysql HOST DBNAME USER ROWS BATCH_ROWS CONNECTIONS
 *
 * HOST is PostgreSQL's socket directory or MySQL's socket file. The tables `orders` and `sluice_ledger` with the queue `orders`'s rows must be there.
 * Prints the seconds from the first BEGIN to the last COMMIT.
 */
#include <libpq-fe.h>
#include <mysql.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROW_MAX 300

/* What all threads share. */
struct load {
	bool pg;
	const char *host, *dbname, *user;
	unsigned rows, batch_rows, connections;
	unsigned batches;
	char **texts;    /* ready-made, one a batch */
	size_t *lengths; /* of the texts */
	char *hashes;    /* hex of one ledger row's items */
	atomic_uint next; /* batch to store */
	pthread_barrier_t start;
};

/* One connection. */
struct loader {
	struct load *load;
	unsigned slot; /* ledger row */
	PGconn *pg;
	MYSQL *my;
	pthread_t thread;
};

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "loader: %s: %s\n", what, why);
	exit(1);
}

static void *
need(void *memory)
{
	if (memory == NULL)
		die("memory", "out of it");
	return memory;
}

static unsigned
number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

static int
write_row(char *out, bool pg, unsigned id, bool first)
{
	const char *items = "[{\"sku\":\"A-17\",\"quantity\":3}]";
	if (pg)
		return snprintf(out, ROW_MAX, "%u\tcustomer %u\t%u.10\t2024-05-06T07:08:09.123Z\tas usual\t3\tf\t%s\n", id, id % 1000, id % 500, items);
	return snprintf(out, ROW_MAX, "%s('%u','customer %u','%u.10','2024-05-06 07:08:09.123','as usual','3',DEFAULT,'%s')", first ? "" : ",", id, id % 1000,
	    id % 500, items);
}

static void
make_texts(struct load *l)
{
	const char *insert = "INSERT INTO orders (id,customer,total,placed_at,note,quantity,paid,items) VALUES ";
	l->batches = (l->rows + l->batch_rows - 1) / l->batch_rows;
	l->texts = need(calloc(l->batches, sizeof *l->texts));
	l->lengths = need(calloc(l->batches, sizeof *l->lengths));
	for (unsigned b = 0; b < l->batches; b++) {
		char *text = need(malloc((size_t)l->batch_rows * ROW_MAX + 200));
		size_t n = l->pg ? 0 : (size_t)sprintf(text, "%s", insert);
		for (unsigned i = 0; i < l->batch_rows && b * l->batch_rows + i < l->rows; i++)
			n += (size_t)write_row(text + n, l->pg, b * l->batch_rows + i + 1, i == 0);
		l->texts[b] = text;
		l->lengths[b] = n;
	}
	l->hashes = need(malloc(16 * (size_t)l->batch_rows + 1));
	for (unsigned i = 0; i < l->batch_rows; i++)
		sprintf(l->hashes + 16 * (size_t)i, "%016llx", 0x9e3779b97f4a7c15ULL * (i + 1));
}

static int
ledger_update(char *out, size_t size, const struct loader *c, unsigned batch)
{
	const struct load *l = c->load;
	return snprintf(out, size, "%sUPDATE sluice_ledger SET generation = '0123456789abcdef0123456789abcdef', first = %u, count = %u, items = %s%s', dead = NULL,"
	    " updated_at = CURRENT_TIMESTAMP(6) WHERE queue = 'orders' AND slot = %u AND epoch = 0", l->pg ? "BEGIN;" : "", batch * l->batch_rows,
	    l->batch_rows, l->pg ? "'\\x" : "x'", l->hashes, (batch * l->connections + c->slot) % 4096);
}

static void
pg_do(PGconn *pg, const char *sql, ExecStatusType want)
{
	PGresult *r = PQexec(pg, sql);
	if (PQresultStatus(r) != want)
		die("PostgreSQL", PQerrorMessage(pg));
	PQclear(r);
}

static void
store_pg(struct loader *c, unsigned batch, const char *update)
{
	pg_do(c->pg, update, PGRES_COMMAND_OK);
	pg_do(c->pg, "COPY orders (id,customer,total,placed_at,note,quantity,paid,items) FROM STDIN", PGRES_COPY_IN);
	if (PQputCopyData(c->pg, c->load->texts[batch], (int)c->load->lengths[batch]) != 1 || PQputCopyEnd(c->pg, NULL) != 1)
		die("COPY", PQerrorMessage(c->pg));
	PGresult *r;
	while ((r = PQgetResult(c->pg)) != NULL) {
		if (PQresultStatus(r) != PGRES_COMMAND_OK)
			die("COPY", PQerrorMessage(c->pg));
		PQclear(r);
	}
	pg_do(c->pg, "COMMIT", PGRES_COMMAND_OK);
}

static void
store_my(struct loader *c, unsigned batch, const char *update)
{
	if (mysql_query(c->my, "BEGIN") || mysql_query(c->my, update) || mysql_real_query(c->my, c->load->texts[batch], c->load->lengths[batch]) ||
	    mysql_query(c->my, "COMMIT"))
		die("MySQL", mysql_error(c->my));
}

static void *
run(void *arg)
{
	struct loader *c = arg;
	struct load *l = c->load;
	size_t size = 16 * (size_t)l->batch_rows + 500;
	char *update = malloc(size);
	pthread_barrier_wait(&l->start);
	for (unsigned batch; (batch = atomic_fetch_add(&l->next, 1)) < l->batches;) {
		ledger_update(update, size, c, batch);
		if (l->pg)
			store_pg(c, batch, update);
		else
			store_my(c, batch, update);
	}
	free(update);
	return NULL;
}

static void
connect_one(struct loader *c)
{
	const struct load *l = c->load;
	if (l->pg) {
		const char *names[] = { "host", "dbname", "user", NULL }, *values[] = { l->host, l->dbname, l->user, NULL };
		c->pg = PQconnectdbParams(names, values, 0);
		if (PQstatus(c->pg) != CONNECTION_OK)
			die("connect", PQerrorMessage(c->pg));
	} else {
		c->my = mysql_init(NULL);
		mysql_options(c->my, MYSQL_SET_CHARSET_NAME, "utf8mb4");
		if (!mysql_real_connect(c->my, NULL, l->user, NULL, l->dbname, 0, l->host, 0))
			die("connect", mysql_error(c->my));
		if (mysql_query(c->my, "SET SESSION sql_mode = 'STRICT_ALL_TABLES', SESSION tx_isolation = 'READ-COMMITTED'"))
			die("session", mysql_error(c->my));
	}
}

static double
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	if (argc != 8) {
		fputs("usage: loader postgresql|mysql HOST DBNAME USER ROWS BATCH_ROWS CONNECTIONS\n", stderr);
		return 64;
	}
	struct load l = { .pg = strcmp(argv[1], "postgresql") == 0, .host = argv[2], .dbname = argv[3], .user = argv[4], .rows = number(argv[5]),
		.batch_rows = number(argv[6]), .connections = number(argv[7]) };
	make_texts(&l);
	pthread_barrier_init(&l.start, NULL, l.connections + 1);
	struct loader *loaders = need(calloc(l.connections, sizeof *loaders));
	for (unsigned i = 0; i < l.connections; i++) {
		loaders[i].load = &l;
		loaders[i].slot = i;
		connect_one(&loaders[i]);
		pthread_create(&loaders[i].thread, NULL, run, &loaders[i]);
	}
	pthread_barrier_wait(&l.start);
	double start = now();
	for (unsigned i = 0; i < l.connections; i++)
		pthread_join(loaders[i].thread, NULL);
	printf("%.4f\n", now() - start);
	return 0;
}
