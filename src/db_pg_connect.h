/* How libpq is told whom to connect to, and what its errors mean. */
#ifndef SLUICE_DB_PG_CONNECT_H
#define SLUICE_DB_PG_CONNECT_H

#include "check.h"
#include "db.h"

struct database_config;
struct pg_conn; /* libpq's PGconn */

/* Makes the session's process keep the memory of a statement for the next one, up to 32 MB of it. On glibc it would give most of it back to the kernel
 * each time, and to get it again took a quarter of its CPU in mode ignore. Once malloc has freed a piece as large as this one, it takes smaller ones from
 * its heap, and trims that only above twice the size: mallopt(3), M_MMAP_THRESHOLD. Does nothing where malloc is another one, or MALLOC_TRIM_THRESHOLD_
 * stands in the server's environment. Takes the server 10 ms, and twice that if the planner could see that it is a constant. */
#define PG_KEEP_MEMORY "SELECT pg_catalog.octet_length(pg_catalog.repeat(pg_catalog.repeat(' ', 4096), n)) FROM pg_catalog.generate_series(4096, 4096) AS n"

/* Begins to connect, as PQconnectStartParams() does, with its results. `addresses` of that host, divided by commas; NULL: libpq needs none. */
struct pg_conn *pg_connect_start(const struct database_config *config, const char *host, const char *addresses) MUST_CHECK;
/* Why it could not connect; the connection must be one of PQERRORS_VERBOSE, else the server's SQLSTATE is missing. */
struct db_error pg_connect_error(const struct pg_conn *pg);
/* The class of an SQLSTATE, as db_pg_errors.def has it. */
enum db_class pg_code_class(const char *code);

#endif
