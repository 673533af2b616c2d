/* The library's calls, one after the other. */
#include "db_mysql_text.h"

#include <limits.h>
#include <mysql.h>
#include <string.h>
#include <sys/socket.h>

#include "intake.h"

/* The text for which the library is called now. There are no calls but in the loop and, without a text, in the threads that log in. */
static _Thread_local const struct mysql_text *calling;

/* MariaDB Connector/C calls this after each piece that it reads or writes. The function that asks for it is exported and not declared; its own plugin
 * "trace" is built on it. */
typedef void transfer_fn(int writes, MYSQL *mysql, const unsigned char *bytes, size_t n);
int ma_pvio_register_callback(my_bool registers, transfer_fn *callback);

static void
on_transfer(int writes, MYSQL *mysql, const unsigned char *bytes, size_t n)
{
	(void)bytes;
	if (writes || calling == NULL || n == 0 || n > SSIZE_MAX)
		return;
	ASSERT(mysql == calling->mysql);
	intake_took(calling->intake, (int)mysql_get_socket(mysql), n);
}

static void
note(struct mysql_text *t, bool read_failed)
{
	if (read_failed || (t->step == MYSQL_STEP_SEND && t->returned != 0))
		t->returned = 1;
	calling = NULL;
}

/* Begins the step; a text to SEND. Whether the call has returned: t->waiting. */
static void
call_start(struct mysql_text *t, enum mysql_step step, const char *sql, size_t len)
{
	my_bool failed = 0;
	ASSERT(calling == NULL && t->waiting == 0);
	calling = t;
	t->step = step;
	t->returned = 0;
	if (step == MYSQL_STEP_SEND)
		t->waiting = mysql_send_query_start(&t->returned, t->mysql, sql, len);
	else if (step == MYSQL_STEP_READ)
		t->waiting = mysql_read_query_result_start(&failed, t->mysql);
	else if (step == MYSQL_STEP_NEXT)
		t->waiting = mysql_next_result_start(&t->returned, t->mysql);
	else
		t->waiting = mysql_store_result_start(&t->stored, t->mysql);
	note(t, failed);
}

/* Goes on with the call that waits. */
static void
call_cont(struct mysql_text *t, int ready)
{
	my_bool failed = 0;
	ASSERT(calling == NULL && t->waiting != 0 && t->step != MYSQL_STEP_SENT);
	calling = t;
	if (t->step == MYSQL_STEP_SEND)
		t->waiting = mysql_send_query_cont(&t->returned, t->mysql, ready);
	else if (t->step == MYSQL_STEP_READ)
		t->waiting = mysql_read_query_result_cont(&failed, t->mysql, ready);
	else if (t->step == MYSQL_STEP_NEXT)
		t->waiting = mysql_next_result_cont(&t->returned, t->mysql, ready);
	else
		t->waiting = mysql_store_result_cont(&t->stored, t->mysql, ready);
	note(t, failed);
}

/* A statement was answered without an error. */
static void
count(struct mysql_text *t)
{
	if (t->n_done < DB_STATEMENTS)
		t->changed[t->n_done] = t->stored != NULL ? 0 : mysql_affected_rows(t->mysql);
	t->n_done++;
}

/* The call has returned: on to the next one; false: there is none, all has been answered. */
static bool
next_call(struct mysql_text *t)
{
	if (mysql_text_failed(t))
		return false;
	if (t->step != MYSQL_STEP_STORE) {
		call_start(t, MYSQL_STEP_STORE, NULL, 0);
		return true;
	}
	count(t);
	if (!mysql_more_results(t->mysql))
		return false;
	mysql_free_result(t->stored);
	t->stored = NULL;
	call_start(t, MYSQL_STEP_NEXT, NULL, 0);
	return true;
}

/* Calls for as long as they return. */
static void
advance(struct mysql_text *t)
{
	if (t->waiting == 0 && t->step == MYSQL_STEP_SEND && t->returned == 0) {
		t->step = MYSQL_STEP_SENT;
		return;
	}
	while (t->waiting == 0 && next_call(t))
		;
	if (t->waiting == 0)
		t->step = MYSQL_STEP_NONE;
}

void
mysql_text_start(struct mysql_text *t, MYSQL *mysql, struct intake *intake, const char *sql, size_t len)
{
	ASSERT(t->step == MYSQL_STEP_NONE && t->stored == NULL);
	*t = (struct mysql_text){ .mysql = mysql, .intake = intake };
	call_start(t, MYSQL_STEP_SEND, sql, len);
	advance(t);
}

int
mysql_text_waits(const struct mysql_text *t)
{
	return t->step == MYSQL_STEP_SENT ? MYSQL_WAIT_READ : t->waiting;
}

void
mysql_text_go_on(struct mysql_text *t, int ready)
{
	if (t->step == MYSQL_STEP_SENT)
		call_start(t, MYSQL_STEP_READ, NULL, 0);
	else
		call_cont(t, ready);
	advance(t);
}

bool
mysql_text_is_under_way(const struct mysql_text *t)
{
	return t->step != MYSQL_STEP_NONE;
}

bool
mysql_text_failed(const struct mysql_text *t)
{
	return t->returned > 0 || mysql_errno(t->mysql) != 0;
}

struct st_mysql_res *
mysql_text_answer(struct mysql_text *t, struct db_result *result)
{
	unsigned status = 0;
	MYSQL_RES *stored = t->stored;
	ASSERT(t->step == MYSQL_STEP_NONE);
	t->stored = NULL;
	result->n_done = t->n_done;
	memcpy(result->changed, t->changed, sizeof result->changed);
	if (mysql_text_failed(t)) {
		ASSERT(stored == NULL);
		return NULL;
	}
	result->affected = stored != NULL ? 0 : mysql_affected_rows(t->mysql);
	result->in_transaction = mariadb_get_infov(t->mysql, MARIADB_CONNECTION_SERVER_STATUS, &status) == 0 && (status & SERVER_STATUS_IN_TRANS) != 0;
	return stored;
}

void
mysql_text_abandon(struct mysql_text *t)
{
	if (t->step != MYSQL_STEP_NONE)
		(void)shutdown((int)mysql_get_socket(t->mysql), SHUT_RDWR);
	while (t->waiting != 0)
		call_cont(t, MYSQL_WAIT_TIMEOUT);
	mysql_free_result(t->stored);
	*t = (struct mysql_text){ .mysql = NULL };
}

void
mysql_text_prepare(void)
{
	static bool registered;
	if (registered)
		return;
	int rc = ma_pvio_register_callback(1, on_transfer);
	ASSERT(rc == 0);
	registered = true;
}
