/* MySQL and MariaDB, through MariaDB Connector/C.
 *
 *   host 1, 2 ... --connect--> session settings --> connect_query --> checks --> opened() --> idle <--> a statement under way
 *        ^------- any failure ------'                  '                '            '--- closed by the server: lost()
 */
#include "db.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <errmsg.h>
#include <limits.h>
#include <mysql.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "aside.h"
#include "buf.h"
#include "config.h"
#include "db_driver.h"
#include "db_mysql_login.h"
#include "db_mysql_session.h"
#include "db_mysql_text.h"
#include "intake.h"
#include "log.h"
#include "priorities.h"

/* What a packet holds besides the statement, generously. */
#define PACKET_OVERHEAD 64

static const struct db_code codes[] = {
#define MYSQL_CODE(code, class) { code, class },
#include "db_mysql_errors.def"
	{ NULL, DB_UNKNOWN },
};

struct db_conn {
	struct event_base *base;              /* the loop; not owned */
	const struct database_config *config; /* not owned */
	const struct db_events *events;       /* the owner's; not owned */
	void *arg;                            /* their argument */
	unsigned idle_transaction_s;          /* seconds a transaction may be idle */
	struct aside *login;                  /* under way; NULL: none. Owned */
	MYSQL *mysql;                         /* logged in; or what that failed with. NULL: neither. Owned */
	struct buf host;                      /* the host that is tried or was taken, NUL-terminated for the library */
	size_t host_index;                    /* which of config->host that is */
	bool opened;                          /* the owner was told so */
	bool failed;                          /* of no use any more, and the owner was told */
	struct mysql_text text;               /* under way */
	struct intake intake;                 /* what the server sends */
	size_t answer_max;                    /* bytes of the next statement's answer; 0: DB_ANSWER_MAX */
	struct event io;                      /* the socket */
	struct event timer;                   /* the time limit of what is under way */
	void (*due)(struct db_conn *conn);    /* what the timer does instead, in the next loop; NULL: nothing */
	db_answer_fn *answer;                 /* of the statement under way; NULL: idle */
	void *answer_arg;                     /* its argument */
	struct db_result refusal;             /* what a text failed with, while the server is asked for which row */
	db_answer_fn *refused;                /* of that text */
	void *refused_arg;                    /* its argument */
	struct event alive;                   /* MySQL, idle outside of a transaction: time to show that we live */
	bool showing;                         /* that is under way, and what is asked meanwhile waits for it: */
	const char *next_sql;                 /* the caller's */
	size_t next_len;                      /* bytes of it */
	db_answer_fn *next_answer;            /* NULL: nothing waits */
	void *next_arg;                       /* its argument */
	struct buf setup_sql;                 /* statement that sets up the session, while it is under way */
	unsigned setup;                       /* next step of setting up */
	struct mysql_session session;         /* what it is like, once it is opened */
};

static void connect_host(struct db_conn *conn);
static void start(struct db_conn *conn, const char *sql, size_t len, db_answer_fn *answer, void *arg);
static void on_io(evutil_socket_t fd, short what, void *arg);

/* Waits for the socket as the library asked; 0: no more. */
static void
watch(struct db_conn *conn, int waiting)
{
	event_del(&conn->io);
	if (waiting == 0)
		return;
	short what = (short)((waiting & MYSQL_WAIT_READ ? EV_READ : 0) | (waiting & MYSQL_WAIT_WRITE ? EV_WRITE : 0));
	unsigned ms = mysql_get_timeout_value_ms(conn->mysql);
	struct timeval limit = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	event_assign(&conn->io, conn->base, mysql_get_socket(conn->mysql), what, on_io, conn);
	event_add(&conn->io, waiting & MYSQL_WAIT_TIMEOUT ? &limit : NULL);
}

static void
set_timer(struct db_conn *conn, unsigned seconds)
{
	struct timeval limit = { .tv_sec = seconds };
	event_add(&conn->timer, &limit);
}

static void
do_later(struct db_conn *conn, void (*due)(struct db_conn *conn))
{
	ASSERT(conn->due == NULL);
	conn->due = due;
	event_active(&conn->timer, EV_TIMEOUT, 1);
}

/* MySQL ends sessions that are idle in a transaction only as it ends all that are idle. */
static void
expect_idleness(struct db_conn *conn, bool in_transaction)
{
	struct timeval pause = { .tv_sec = (conn->idle_transaction_s + 2) / 3 };
	if (!in_transaction && pause.tv_sec > 0 && !mariadb_connection(conn->mysql))
		event_add(&conn->alive, &pause);
}

/* Calls back with the answer. Last thing to do in an event: the owner may close. */
static void
give_answer(struct db_conn *conn, const struct db_result *result)
{
	event_del(&conn->timer);
	if (!result->error.lost)
		expect_idleness(conn, result->in_transaction);
	db_answer_fn *answer = conn->answer;
	conn->answer = NULL;
	ASSERT(answer != NULL);
	answer(conn->answer_arg, result);
}

/* Tells the owner that the connection is of no use. Last thing to do in an event. */
static void
tell_failure(struct db_conn *conn, struct db_error error)
{
	ASSERT(error.class != DB_OK && !conn->failed);
	error.lost = true;
	watch(conn, 0);
	event_del(&conn->timer);
	event_del(&conn->alive);
	struct db_result result = { .error = error };
	if (!conn->opened && db_host(conn->config->host, conn->host_index + 1, &conn->host)) {
		log_debug(conn->config->name, "%s; trying %s", error.message, buf_cstr(&conn->host));
		conn->host_index++;
		connect_host(conn);
		return;
	}
	conn->failed = true;
	if (!conn->opened)
		conn->events->opened(conn->arg, &error);
	else if (conn->answer != NULL)
		give_answer(conn, &result);
	else
		conn->events->lost(conn->arg, &error);
}

static bool
is_client_error(unsigned number)
{
	return (number >= CR_MIN_ERROR && number < 3000) || (number >= CER_MIN_ERROR && number < 6000);
}

static struct db_error
last_error(const struct db_conn *conn)
{
	unsigned number = mysql_errno(conn->mysql);
	const char *message = mysql_error(conn->mysql);
	char code[12];
	snprintf(code, sizeof code, "%u", number);
	enum db_class class = db_code_class(codes, code);
	bool client = number == 0 || is_client_error(number);
	if (client && (conn->opened || class == DB_UNKNOWN))
		class = DB_RECONNECT;
	struct db_error error = db_error_make(class, code, message, NULL);
	error.lost = client || class == DB_RECONNECT || class == DB_TOO_BIG;
	db_read_mysql_message(&error, message);
	return error;
}

/* The values of what was stored, in two arrays that the caller frees. */
static void
read_values(MYSQL_RES *stored, struct db_result *result, const char ***values, size_t **lengths)
{
	result->rows = (size_t)mysql_num_rows(stored);
	result->columns = mysql_num_fields(stored);
	*values = xcalloc(result->rows * result->columns + 1, sizeof **values);
	*lengths = xcalloc(result->rows * result->columns + 1, sizeof **lengths);
	size_t i = 0;
	for (size_t n = 0; n < result->rows; n++) {
		MYSQL_ROW row = mysql_fetch_row(stored);
		const unsigned long *row_lengths = mysql_fetch_lengths(stored);
		ASSERT(row != NULL && row_lengths != NULL);
		for (size_t column = 0; column < result->columns; column++, i++) {
			(*values)[i] = row[column];
			(*lengths)[i] = row_lengths[column];
		}
	}
	result->values = *values;
	result->lengths = *lengths;
}

/* -- which row it was: MariaDB knows since 10.7, also where its message does not say */

static void
on_row_number(void *arg, const struct db_result *result)
{
	struct db_conn *conn = arg;
	struct db_result failure = conn->refusal;
	if (result->error.lost)
		failure = (struct db_result){ .error = result->error };
	if (result->error.class == DB_OK && result->rows == 1 && result->values[0] != NULL)
		failure.error.row = strtol(result->values[0], NULL, 10) - 1;
	conn->refused(conn->refused_arg, &failure);
}

static void
on_diagnosed(void *arg, const struct db_result *result)
{
	static const char sql[] = "SELECT @sluice_row";
	if (result->error.class == DB_OK)
		start(arg, sql, strlen(sql), on_row_number, arg);
	else
		on_row_number(arg, result);
}

static bool
is_row_unknown(const struct db_conn *conn, const struct db_error *error)
{
	bool knows = mariadb_connection(conn->mysql) && mysql_get_server_version(conn->mysql) >= 100700;
	return knows && conn->opened && error->class == DB_DATA && error->row < 0;
}

static void
ask_for_row(struct db_conn *conn, const struct db_result *refusal)
{
	static const char sql[] = "GET DIAGNOSTICS CONDITION 1 @sluice_row = ROW_NUMBER";
	conn->refusal = *refusal;
	conn->refused = conn->answer;
	conn->refused_arg = conn->answer_arg;
	conn->answer = NULL;
	start(conn, sql, strlen(sql), on_diagnosed, conn);
}

/* The text has been answered. Last thing to do in an event. */
static void
text_done(struct db_conn *conn)
{
	bool failed = mysql_text_failed(&conn->text);
	struct db_result result = { .error.class = DB_OK, .error.row = -1, .error.offset = -1 };
	MYSQL_RES *stored = mysql_text_answer(&conn->text, &result);
	const char **values = NULL;
	size_t *lengths = NULL;
	if (failed)
		result.error = last_error(conn);
	else if (stored != NULL)
		read_values(stored, &result, &values, &lengths);
	if (result.error.lost) {
		tell_failure(conn, result.error);
	} else if (is_row_unknown(conn, &result.error)) {
		ask_for_row(conn, &result);
	} else {
		watch(conn, MYSQL_WAIT_READ);
		give_answer(conn, &result);
	}
	free(values);
	free(lengths);
	mysql_free_result(stored);
}

/* The text waits, or is over. */
static void
follow(struct db_conn *conn)
{
	int waiting = mysql_text_waits(&conn->text);
	if (waiting == 0) {
		text_done(conn);
		return;
	}
	watch(conn, waiting);
	if (conn->text.step == MYSQL_STEP_SENT)
		(void)event_priority_set(&conn->io, PRIORITY_ANSWER);
}

static void
on_io(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	struct db_conn *conn = arg;
	ASSERT(!conn->failed);
	if (!mysql_text_is_under_way(&conn->text)) {
		tell_failure(conn, db_error_make(DB_RECONNECT, "", "the server closed the idle connection", NULL));
		return;
	}
	if (intake_is_flooded(&conn->intake)) {
		tell_failure(conn, db_error_flood(conn->intake.max));
		return;
	}
	mysql_text_go_on(&conn->text, (what & EV_READ ? MYSQL_WAIT_READ : 0) | (what & EV_WRITE ? MYSQL_WAIT_WRITE : 0) |
	    (what & EV_TIMEOUT ? MYSQL_WAIT_TIMEOUT : 0));
	follow(conn);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct db_conn *conn = arg;
	void (*due)(struct db_conn *conn) = conn->due;
	conn->due = NULL;
	if (due != NULL)
		due(conn);
	else
		tell_failure(conn,
		    db_error_make(DB_RECONNECT, "", conn->opened ? "no answer in time" : "could not connect and log in in time", NULL));
}

static void
refuse(struct db_conn *conn)
{
	struct db_result result = { .error = db_error_make(DB_TOO_BIG, "1153", "the statement is larger than max_allowed_packet", NULL) };
	watch(conn, MYSQL_WAIT_READ);
	give_answer(conn, &result);
}

static size_t
largest_statement(const struct db_conn *conn)
{
	return conn->session.packet_max > PACKET_OVERHEAD ? conn->session.packet_max - PACKET_OVERHEAD : 1;
}

static void
start(struct db_conn *conn, const char *sql, size_t len, db_answer_fn *answer, void *arg)
{
	ASSERT(!conn->failed && conn->answer == NULL && conn->due == NULL && answer != NULL);
	conn->answer = answer;
	conn->answer_arg = arg;
	set_timer(conn, conn->config->query_timeout + DB_GRACE_SECONDS);
	event_del(&conn->alive);
	watch(conn, 0);
	if (conn->opened && len > largest_statement(conn)) { /* the server would close the connection */
		do_later(conn, refuse);
		return;
	}
	intake_begin(&conn->intake, conn->answer_max == 0 ? DB_ANSWER_MAX : conn->answer_max);
	conn->answer_max = 0;
	mysql_text_start(&conn->text, conn->mysql, &conn->intake, sql, len);
	if (mysql_text_waits(&conn->text) == 0)
		do_later(conn, follow); /* nobody is told anything before start() returns */
	else
		follow(conn);
}

static void
on_shown(void *arg, const struct db_result *result)
{
	struct db_conn *conn = arg;
	db_answer_fn *answer = conn->next_answer;
	conn->showing = false;
	conn->next_answer = NULL;
	if (!result->error.lost && answer != NULL)
		start(conn, conn->next_sql, conn->next_len, answer, conn->next_arg);
	else if (answer != NULL)
		answer(conn->next_arg, result);
	else if (result->error.lost)
		conn->events->lost(conn->arg, &result->error);
}

static void
show_life(evutil_socket_t fd, short what, void *arg)
{
	static const char sql[] = "DO 0";
	(void)fd;
	(void)what;
	struct db_conn *conn = arg;
	conn->showing = true;
	start(conn, sql, strlen(sql), on_shown, conn);
}

static void
setup_next(void *arg, const struct db_result *result)
{
	struct db_conn *conn = arg;
	struct db_error error = result->error;
	if (error.class == DB_OK && conn->setup > 0)
		error = mysql_session_answered(conn->setup - 1, result, &conn->session);
	if (error.class != DB_OK) {
		tell_failure(conn, error);
		return;
	}
	buf_reset(&conn->setup_sql);
	if (mysql_session_statement(conn->setup++, conn->config, conn->idle_transaction_s, &conn->setup_sql)) {
		start(conn, conn->setup_sql.data, conn->setup_sql.len, setup_next, conn);
	} else {
		conn->opened = true;
		conn->events->opened(conn->arg, NULL);
	}
}

/* A peer that has vanished without a word is noticed after tcp_user_timeout. Sockets that are not TCP refuse, and need it not. */
static void
set_keepalive(const struct db_conn *conn)
{
	int fd = (int)mysql_get_socket(conn->mysql);
	int on = 1, seconds = (int)conn->config->tcp_user_timeout;
	unsigned ms = conn->config->tcp_user_timeout * 1000;
	if (seconds == 0 || setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms) != 0)
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
}

static bool
is_socket_path(const struct db_conn *conn)
{
	return conn->host.len > 0 && conn->host.data[0] == '/';
}

static void
login_done(void *arg, MYSQL *mysql, bool logged_in)
{
	struct db_conn *conn = arg;
	bool tls_wanted = conn->config->sslmode >= SSLMODE_REQUIRE && !is_socket_path(conn);
	ASSERT(conn->mysql == NULL && !conn->opened);
	conn->login = NULL;
	conn->mysql = mysql;
	if (!logged_in) {
		tell_failure(conn, last_error(conn));
	} else if (tls_wanted && mysql_get_ssl_cipher(conn->mysql) == NULL) {
		tell_failure(conn, db_error_make(DB_SETUP, "2026", "the server does not support TLS, but sslmode requires it", NULL));
	} else {
		event_del(&conn->timer);
		set_keepalive(conn);
		setup_next(conn, &(struct db_result){ .error.class = DB_OK });
	}
}

static void
no_thread(struct db_conn *conn)
{
	tell_failure(conn, db_error_make(DB_RECONNECT, "", "cannot start a thread to connect in", NULL));
}

/* Lets go of the server. */
static void
drop(struct db_conn *conn)
{
	watch(conn, 0);
	event_del(&conn->timer);
	event_del(&conn->alive);
	conn->due = NULL;
	mysql_text_abandon(&conn->text);
	intake_end(&conn->intake);
	aside_abandon(&conn->login);
	mysql_close(conn->mysql);
	conn->mysql = NULL;
}

/* Begins anew with conn->host. Each host has server_connect_timeout for itself, so that a silent one does not hide the next. */
static void
connect_host(struct db_conn *conn)
{
	const struct database_config *config = conn->config;
	drop(conn);
	intake_init(&conn->intake, conn->base, &conn->io, DB_ANSWER_MAX);
	conn->answer = NULL;
	conn->setup = 0;
	set_timer(conn, config->server_connect_timeout);
	conn->login = mysql_login_start(conn->base, config, buf_cstr(&conn->host), login_done, conn);
	if (conn->login == NULL)
		do_later(conn, no_thread);
}

static struct db_conn *
mysql_conn_open(struct event_base *base, const struct database_config *config, unsigned idle_transaction_s, const struct db_events *events, void *arg)
{
	ASSERT(config->host != NULL && config->driver == DRIVER_MYSQL);
	mysql_text_prepare();
	struct db_conn *conn = xcalloc(1, sizeof *conn);
	conn->base = base;
	conn->config = config;
	conn->idle_transaction_s = idle_transaction_s;
	conn->events = events;
	conn->arg = arg;
	event_assign(&conn->io, base, -1, 0, on_io, conn);
	evtimer_assign(&conn->timer, base, on_timer, conn);
	evtimer_assign(&conn->alive, base, show_life, conn);
	bool there = db_host(config->host, 0, &conn->host);
	ASSERT(there);
	connect_host(conn);
	return conn;
}

static size_t
mysql_conn_statement_max(const struct db_conn *conn)
{
	return conn->opened ? largest_statement(conn) : 0;
}

/* Has the owner nothing under way? */
static bool
is_idle(const struct db_conn *conn)
{
	return conn->answer == NULL || (conn->showing && conn->next_answer == NULL);
}

static void
mysql_conn_query(struct db_conn *conn, const char *sql, size_t len, db_answer_fn *answer, void *arg)
{
	ASSERT(conn->opened && !conn->failed && is_idle(conn) && answer != NULL);
	if (conn->showing) {
		conn->next_sql = sql;
		conn->next_len = len;
		conn->next_answer = answer;
		conn->next_arg = arg;
	} else {
		start(conn, sql, len, answer, arg);
	}
}

static bool
mysql_conn_joins(const struct db_conn *conn)
{
	ASSERT(conn->opened);
	return mysql_login_joins(conn->mysql);
}

static void
mysql_conn_expect(struct db_conn *conn, size_t bytes)
{
	ASSERT(conn->opened && is_idle(conn));
	conn->answer_max = bytes;
}

static void
mysql_conn_close(struct db_conn **place)
{
	struct db_conn *conn = *place;
	*place = NULL;
	if (conn == NULL)
		return;
	drop(conn);
	buf_free(&conn->host);
	buf_free(&conn->setup_sql);
	free(conn);
}

static void
mysql_conn_configure(struct db_conn *conn, const struct database_config *config)
{
	ASSERT(conn->opened);
	conn->config = config;
}

static uint64_t
mysql_conn_server_id(const struct db_conn *conn)
{
	return conn->opened ? mysql_thread_id(conn->mysql) : 0;
}

static const char *
mysql_conn_server_version(const struct db_conn *conn)
{
	return conn->opened ? conn->session.version : "";
}

/* Quotes with `mark`, and puts `escape` before every `mark` and every `escape` in the text. */
static void
quote(struct buf *out, char mark, char escape, const char *text, size_t len)
{
	buf_addc(out, mark);
	size_t plain = 0; /* start of the run that needs no escape */
	for (size_t i = 0; i < len; i++) {
		if (text[i] == mark || text[i] == escape) {
			buf_add(out, text + plain, i - plain);
			buf_addc(out, escape);
			plain = i;
		}
	}
	buf_add(out, text + plain, len - plain);
	buf_addc(out, mark);
}

static void
mysql_conn_quote_name(struct buf *out, const char *name)
{
	quote(out, '`', '`', name, strlen(name));
}

static void
mysql_conn_quote_text(struct buf *out, const char *text, size_t len)
{
	quote(out, '\'', '\\', text, len);
}

const struct db_ops db_mysql = {
	.name = "mysql",
	.open = mysql_conn_open,
	.query = mysql_conn_query,
	.copy = NULL,
	.joins = mysql_conn_joins,
	.expect = mysql_conn_expect,
	.close = mysql_conn_close,
	.configure = mysql_conn_configure,
	.server_id = mysql_conn_server_id,
	.statement_max = mysql_conn_statement_max,
	.server_version = mysql_conn_server_version,
	.quote_name = mysql_conn_quote_name,
	.quote_text = mysql_conn_quote_text,
};
