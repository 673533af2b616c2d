/* One blocking connection to PostgreSQL or MariaDB for the programs of the benchmark, which end with a message when anything fails. */
#ifndef BENCH_SQL_H
#define BENCH_SQL_H

#include <stddef.h>

struct buf;
struct database_config;
struct db_result;
struct sql;

/* Ends the program: "what: why". */
void sql_die(const char *what, const char *why) __attribute__((noreturn));
/* Connects and logs in; sessions are strict, UTC and READ COMMITTED as sluice's are. The configuration outlives the connection. */
struct sql *sql_open(const struct database_config *database);
/* Runs a statement that answers no rows. Returns how many rows it changed. */
unsigned long sql_do(struct sql *sql, const char *text, size_t len);
/* Runs n of them, joined by `;`; changed[i]: rows that the i-th changed. With `copy` one is a COPY ... FROM STDIN, of these bytes. */
void sql_do_all(struct sql *sql, const char *text, size_t len, const struct buf *copy, unsigned long *changed, unsigned n);
/* Runs a query; its values are valid until the next call. */
const struct db_result *sql_ask(struct sql *sql, const char *text, size_t len);
/* Closes and frees. */
void sql_close(struct sql *sql);

#endif
