/* A text on its way through MariaDB Connector/C: its _start/_cont calls, which run on a stack of their own until they would block.
 *
 *   send --> the answer begins --> read, store --> the next statement's: read, store ... --> over
 */
#ifndef SLUICE_DB_MYSQL_TEXT_H
#define SLUICE_DB_MYSQL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "db.h"

struct intake;
struct st_mysql;     /* the library's MYSQL */
struct st_mysql_res; /* its MYSQL_RES */

/* The call under way. NONE: no text is. SENT: no call, but an answer must come; called before it does, the library gives up over TLS. */
enum mysql_step { MYSQL_STEP_NONE, MYSQL_STEP_SEND, MYSQL_STEP_SENT, MYSQL_STEP_READ, MYSQL_STEP_STORE, MYSQL_STEP_NEXT };

/* One a connection; all zero at first. */
struct mysql_text {
	struct st_mysql *mysql;          /* logged in; borrowed while the text is under way */
	struct intake *intake;           /* told what comes; borrowed as well */
	enum mysql_step step;
	int waiting;                     /* MYSQL_WAIT_* that the call waits for; 0: it has returned */
	int returned;                    /* what SEND, READ or NEXT returned last; more than 0: an error */
	struct st_mysql_res *stored;     /* the last statement's rows; NULL: it has none. Owned */
	unsigned n_done;                 /* statements that are done */
	uint64_t changed[DB_STATEMENTS]; /* by the first of them */
};

/* Sends it. The text must stay until it is over. */
void mysql_text_start(struct mysql_text *text, struct st_mysql *mysql, struct intake *intake, const char *sql, size_t len);
/* What it waits for, MYSQL_WAIT_*; 0: it is over, and either failed, with mysql_errno() and mysql_error(), or answered. */
int mysql_text_waits(const struct mysql_text *text) MUST_CHECK;
/* Goes on: MYSQL_WAIT_* that have come true. */
void mysql_text_go_on(struct mysql_text *text, int ready);
/* Is one under way? */
bool mysql_text_is_under_way(const struct mysql_text *text) MUST_CHECK;
/* Once it is over: was it an error? */
bool mysql_text_failed(const struct mysql_text *text) MUST_CHECK;
/* Then fills what the answer says but for error and values, and returns the last statement's rows, which are the caller's now; NULL: it has none. */
struct st_mysql_res *mysql_text_answer(struct mysql_text *text, struct db_result *result) MUST_CHECK;
/* Before the connection is closed: ends what is under way. A call that waits must return, or what it holds would leak: the end of the socket is what all
 * of them notice. */
void mysql_text_abandon(struct mysql_text *text);
/* Once, before anything connects: the library tells from then on what it reads. */
void mysql_text_prepare(void);

#endif
