/* How libpq is told whom to connect to, and what its errors mean. */
#ifndef SLUICE_DB_PG_CONNECT_H
#define SLUICE_DB_PG_CONNECT_H

#include "check.h"
#include "db.h"

struct database_config;
struct pg_conn; /* libpq's PGconn */

/* Begins to connect, as PQconnectStartParams() does, with its results. `addresses` of that host, divided by commas; NULL: libpq needs none. */
struct pg_conn *pg_connect_start(const struct database_config *config, const char *host, const char *addresses) MUST_CHECK;
/* Why it could not connect; the connection must be one of PQERRORS_VERBOSE, else the server's SQLSTATE is missing. */
struct db_error pg_connect_error(const struct pg_conn *pg);
/* The class of an SQLSTATE, as db_pg_errors.def has it. */
enum db_class pg_code_class(const char *code);

#endif
