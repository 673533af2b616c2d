/* The statements that set up a session, as text. */
#include "db_mysql_session.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "config.h"
#include "db_driver.h"

enum { SETTINGS, ISOLATION, CONNECT_QUERY, CHECK, STATEMENTS };

static const struct db_error no_error = { .class = DB_OK, .row = -1, .offset = -1 };

/* MariaDB alone reads what stands in M!, and not what MySQL reads from 5.7 on. MySQL has no time limit for transactions that are idle, only one for all
 * sessions that are: the driver shows then and now that it lives. */
static void
add_settings(const struct database_config *config, unsigned idle_transaction_s, struct buf *sql)
{
	unsigned limit = config->query_timeout;
	buf_addf(sql, "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION',"
	    " time_zone = '+00:00', autocommit = 1, innodb_lock_wait_timeout = %u, lock_wait_timeout = %u"
	    " /*M!100300 , idle_write_transaction_timeout = %u, max_statement_time = %u */",
	    limit, limit, idle_transaction_s, limit);
	if (idle_transaction_s > 0)
		buf_addf(sql, " /*!50700 , wait_timeout = %u */", idle_transaction_s);
}

static const char isolation[] = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/* Version, largest packet; does it accept writes; does what we quote still mean what we mean? */
static const char check[] = "SELECT VERSION(), @@max_allowed_packet, CONCAT(@@global.read_only) IN ('0', 'OFF') AND NOT @@innodb_read_only,"
    " @@sql_mode LIKE '%STRICT_ALL_TABLES%' AND @@sql_mode NOT LIKE '%NO_BACKSLASH_ESCAPES%' AND @@sql_mode NOT LIKE '%ANSI_QUOTES%'"
    " AND @@character_set_client = 'utf8mb4' AND @@time_zone = '+00:00' AND @@autocommit = 1";

static struct db_error
read_check(const struct db_result *result, struct mysql_session *session)
{
	if (result->rows != 1 || result->columns != 4 || result->values[1] == NULL || result->values[2] == NULL || result->values[3] == NULL)
		return db_error_make(DB_UNKNOWN, "", "the server does not tell its settings", NULL);
	db_text(session->version, sizeof session->version, result->values[0] == NULL ? "" : result->values[0]);
	session->packet_max = strtoull(result->values[1], NULL, 10);
	if (strcmp(result->values[2], "1") != 0)
		return db_error_make(DB_NOT_WRITABLE, "", "the server is read-only", NULL);
	if (strcmp(result->values[3], "1") != 0)
		return db_error_make(DB_SETUP, "", "connect_query must leave sql_mode, character set, time_zone and autocommit as they are", NULL);
	return no_error;
}

bool
mysql_session_statement(unsigned step, const struct database_config *config, unsigned idle_transaction_s, struct buf *sql)
{
	switch (step) {
	case SETTINGS:
		add_settings(config, idle_transaction_s, sql);
		break;
	case ISOLATION:
		buf_adds(sql, isolation);
		break;
	case CONNECT_QUERY:
		buf_adds(sql, config->connect_query == NULL ? "DO 0" : config->connect_query);
		break;
	case CHECK:
		buf_adds(sql, check);
		break;
	default:
		ASSERT(step == STATEMENTS);
	}
	return step < STATEMENTS;
}

struct db_error
mysql_session_answered(unsigned step, const struct db_result *result, struct mysql_session *session)
{
	ASSERT(step < STATEMENTS);
	return step == CHECK ? read_check(result, session) : no_error;
}
