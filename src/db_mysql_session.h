/* What a session of MySQL or MariaDB is set up with, whatever the server's defaults are: strict, UTC, autocommit, READ COMMITTED, time limits; then the
 * connect_query; and last a look whether it is so still, and what the server is like. Pure: texts and what their answers mean.
 */
#ifndef SLUICE_DB_MYSQL_SESSION_H
#define SLUICE_DB_MYSQL_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"
#include "db.h"

struct buf;
struct database_config;

struct mysql_session {
	size_t packet_max; /* max_allowed_packet, bytes */
	char version[64];  /* of the server */
};

/* Appends statement number `step`, from 0 on; false: all have been run. Transactions may be idle for so many seconds. */
bool mysql_session_statement(unsigned step, const struct database_config *config, unsigned idle_transaction_s, struct buf *sql) MUST_CHECK;
/* What the answer to that statement, which was no error, says: class DB_OK, or why the session is of no use. The last one fills *session. */
struct db_error mysql_session_answered(unsigned step, const struct db_result *result, struct mysql_session *session) MUST_CHECK;

#endif
