/* PostgreSQL, through libpq.
 *
 *   host 1, 2 ... --connect--> session settings --> connect_query --> opened() --> idle <--> a statement under way
 *        ^------- any failure ------'                  '                            '--- closed by the server: lost()
 */
#include "db.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aside.h"
#include "buf.h"
#include "config.h"
#include "db_driver.h"
#include "db_pg_connect.h"
#include "db_pg_result.h"
#include "intake.h"
#include "log.h"
#include "priorities.h"
#include "resolve.h"

/* COPY data is handed to libpq in pieces, so that it never holds a second copy of it all; with their five bytes of header they fill packets of its. */
#define COPY_PIECE ((size_t)64 * 1024 - 5)
/* A message to the server has at most 1 GB. */
#define STATEMENT_MAX ((size_t)0x3fffff00)

struct db_conn {
	struct event_base *base;              /* the loop; not owned */
	const struct database_config *config; /* not owned */
	const struct db_events *events;       /* the owner's; not owned */
	void *arg;                            /* their argument */
	unsigned idle_transaction_s;          /* seconds a transaction may be idle */
	struct aside *resolve;                /* the host's name is looked up; NULL: not now. Owned */
	PGconn *pg;                           /* owned; NULL between two hosts, and until this one's name is looked up */
	size_t host;                          /* which of config->host is tried or was taken */
	bool connected;                       /* libpq has logged in */
	bool opened;                          /* the owner was told so */
	bool failed;                          /* of no use any more: `error` says why, and the owner was or will be told */
	struct intake intake;                 /* what the server sends */
	size_t answer_max;                    /* bytes of the next statement's answer; 0: DB_ANSWER_MAX */
	struct event io;                      /* the socket */
	short watched;                        /* what `io` waits for; 0: nothing */
	struct event timer;                   /* the time limit of what is under way; also tells of a failure one loop later */
	db_answer_fn *answer;                 /* of the statement under way; NULL: idle */
	void *answer_arg;                     /* its argument */
	struct buf text;                      /* the statement under way, NUL-terminated for libpq */
	const char *data;                     /* COPY data, the caller's; NULL: the statement is not a COPY */
	size_t data_len;                      /* bytes of it */
	unsigned guard;                       /* as copy() says */
	size_t data_sent;                     /* bytes that libpq has taken */
	bool partial;                         /* libpq has read, and waits for the rest of something */
	bool in_copy;                         /* the server waits for the rest of the data */
	bool rolled_back;                     /* a COMMIT was answered with ROLLBACK */
	unsigned n_done;                      /* statements of the text under way that are done */
	uint64_t changed[DB_STATEMENTS];      /* by the first of them */
	PGresult *result;                     /* the last, or the first that failed, of the statement under way */
	struct db_error error;                /* with `failed`, or while the server says goodbye */
	unsigned setup;                       /* next step of setting up the session */
};

static void connect_host(struct db_conn *conn);
static void on_io(evutil_socket_t fd, short what, void *arg);

static void
watch(struct db_conn *conn, short what)
{
	if (what == conn->watched && (what & EV_PERSIST))
		return;
	event_del(&conn->io);
	conn->watched = what;
	if (what != 0) {
		event_assign(&conn->io, conn->base, PQsocket(conn->pg), what, on_io, conn);
		event_add(&conn->io, NULL);
	}
}

static void
set_timer(struct db_conn *conn, unsigned seconds)
{
	struct timeval limit = { .tv_sec = seconds };
	event_add(&conn->timer, &limit);
}

/* Tells the owner of conn->error. Last thing to do in an event: the owner may close. */
static void
tell_failure(struct db_conn *conn)
{
	ASSERT(conn->error.class != DB_OK);
	conn->error.lost = true;
	conn->failed = true;
	watch(conn, 0);
	event_del(&conn->timer);
	db_answer_fn *answer = conn->answer;
	conn->answer = NULL;
	struct buf host = BUF_INIT;
	if (!conn->opened && db_host(conn->config->host, conn->host + 1, &host)) {
		log_debug(conn->config->name, "%s; trying %s", conn->error.message, buf_cstr(&host));
		conn->host++;
		connect_host(conn);
	} else if (!conn->opened) {
		conn->events->opened(conn->arg, &conn->error);
	} else if (answer != NULL) {
		struct db_result result = { .error = conn->error };
		answer(conn->answer_arg, &result);
	} else {
		conn->events->lost(conn->arg, &conn->error);
	}
	buf_free(&host);
}

/* The same for use outside of events: one loop later. */
static void
fail_later(struct db_conn *conn, struct db_error error)
{
	conn->error = error;
	conn->failed = true;
	watch(conn, 0);
	event_active(&conn->timer, EV_TIMEOUT, 1);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct db_conn *conn = arg;
	if (!conn->failed)
		conn->error = db_error_make(DB_RECONNECT, "", conn->opened ? "no answer in time" : "could not connect and log in in time", NULL);
	tell_failure(conn);
}

static struct db_error
result_error(const struct db_conn *conn, const PGresult *res)
{
	struct db_error error = pg_result_error(res, &conn->text, conn->data != NULL);
	if (PQstatus(conn->pg) == CONNECTION_BAD) {
		error.class = DB_RECONNECT;
		error.lost = true;
	}
	return error;
}

static void
on_notice(void *arg, const PGresult *res)
{
	struct db_conn *conn = arg;
	struct db_error error = result_error(conn, res);
	if (error.lost)
		conn->error = error; /* the goodbye of a server that closes an idle connection */
	else
		log_debug(conn->config->name, "the server sent a notice, code %s", error.code[0] == '\0' ? "none" : error.code); /* its text may quote a row */
}

/* Everything has been answered: on to the callback. Last thing to do in an event. */
static void
finish(struct db_conn *conn)
{
	PGresult *res = conn->result;
	conn->result = NULL;
	struct db_result result = { .error.class = DB_OK, .error.row = -1, .error.offset = -1, .n_done = conn->n_done };
	const char **values = NULL;
	size_t *lengths = NULL;
	memcpy(result.changed, conn->changed, sizeof result.changed);
	if (res == NULL) {
		result.error = db_error_make(DB_RECONNECT, "", PQerrorMessage(conn->pg), NULL);
		result.error.lost = true;
	} else if (pg_result_is_error(res)) {
		result.error = result_error(conn, res);
	} else {
		pg_result_values(res, &result, &values, &lengths);
		result.affected = pg_result_changed(res);
		result.rolled_back = conn->rolled_back;
		result.in_transaction = PQtransactionStatus(conn->pg) == PQTRANS_INTRANS;
	}
	event_del(&conn->timer);
	conn->failed = result.error.lost;
	watch(conn, conn->failed ? 0 : EV_READ | EV_PERSIST);
	db_answer_fn *answer = conn->answer;
	conn->answer = NULL;
	ASSERT(answer != NULL);
	answer(conn->answer_arg, &result);
	free(values);
	free(lengths);
	PQclear(res);
}

/* Hands COPY data to libpq; false: the socket is full, go on when it is writable. The server reads all of it even after an error, so nothing can get
 * stuck. A lost connection ends the copy as failed, so that half of the data never counts as all of it. */
static bool
feed(struct db_conn *conn, bool lost)
{
	ASSERT(conn->in_copy);
	bool guarded = conn->guard == DB_NO_GUARD || (conn->guard < conn->n_done && conn->changed[conn->guard] == 1);
	int taken = lost || conn->data == NULL || !guarded ? -1 : 1;
	while (taken == 1 && conn->data_sent < conn->data_len) {
		size_t piece = conn->data_len - conn->data_sent;
		piece = piece < COPY_PIECE ? piece : COPY_PIECE;
		taken = PQputCopyData(conn->pg, conn->data + conn->data_sent, (int)piece);
		if (taken == 1)
			conn->data_sent += piece;
		if (conn->data_sent < conn->data_len && PQflush(conn->pg) == 1) /* the last one goes out with the end */
			return false;
	}
	if (taken == 0 || PQputCopyEnd(conn->pg, taken < 0 ? "not all data could be sent, or was to be sent" : NULL) == 0)
		return false;
	conn->in_copy = false;
	return true;
}

/* Keeps the result if it is the one to answer with: the last, or the first that failed. */
static void
take(struct db_conn *conn, PGresult *res)
{
	conn->in_copy = PQresultStatus(res) == PGRES_COPY_IN;
	if (conn->in_copy || (conn->result != NULL && pg_result_is_error(conn->result))) {
		PQclear(res);
		return;
	}
	PQclear(conn->result);
	conn->result = res;
	if (pg_result_is_error(res))
		return;
	if (conn->n_done < DB_STATEMENTS)
		conn->changed[conn->n_done] = pg_result_changed(res);
	conn->n_done++;
	/* A failed transaction answers COMMIT with the tag ROLLBACK, and with no error. */
	if (strcmp(PQcmdStatus(res), "ROLLBACK") == 0 && strncasecmp(buf_cstr(&conn->text), "ROLLBACK", 8) != 0)
		conn->rolled_back = true;
}

/* The next that comes is the beginning of an answer. */
static void
expect_answer(struct db_conn *conn)
{
	(void)event_priority_set(&conn->io, PRIORITY_ANSWER);
}

/* Sends what can be sent and takes what has come; `lost`: nothing more will come. */
static void
advance(struct db_conn *conn, bool lost)
{
	bool copying = conn->in_copy;
	for (;;) {
		if (conn->in_copy && !feed(conn, lost))
			break;
		if (!lost && PQisBusy(conn->pg))
			break;
		PGresult *res = PQgetResult(conn->pg);
		if (res == NULL) {
			finish(conn);
			return;
		}
		ExecStatusType status = PQresultStatus(res);
		if (status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
			PQclear(res);
			conn->error = db_error_make(DB_RECONNECT, "", "the server began to send a COPY that nobody asked for", NULL);
			tell_failure(conn);
			return;
		}
		take(conn, res);
		copying |= conn->in_copy;
	}
	bool unsent = PQflush(conn->pg) == 1;
	watch(conn, (short)(EV_READ | EV_PERSIST | (unsent || conn->in_copy ? EV_WRITE : 0)));
	if (copying && !conn->in_copy)
		expect_answer(conn);
}

/* A connect_query may say LISTEN; libpq would keep what comes of it. */
static void
drop_notifications(struct db_conn *conn)
{
	for (PGnotify *n; (n = PQnotifies(conn->pg)) != NULL;)
		PQfreemem(n);
}

/* Something came on an idle connection: a notice, a changed setting, or the end. */
static void
read_idle(struct db_conn *conn, bool lost)
{
	(void)PQisBusy(conn->pg); /* makes libpq look at what it has read, and call on_notice() */
	if (lost && conn->error.class == DB_OK)
		conn->error = db_error_make(DB_RECONNECT, "", PQerrorMessage(conn->pg), NULL);
	if (conn->error.class != DB_OK)
		tell_failure(conn);
}

static void
start(struct db_conn *conn, const char *sql, size_t len, db_answer_fn *answer, void *arg)
{
	ASSERT(conn->connected && !conn->failed && conn->answer == NULL && conn->result == NULL);
	ASSERT(answer != NULL && memchr(sql, '\0', len) == NULL);
	buf_reset(&conn->text);
	buf_add(&conn->text, sql, len);
	conn->answer = answer;
	conn->answer_arg = arg;
	conn->in_copy = conn->rolled_back = conn->partial = false;
	conn->data_sent = 0;
	conn->n_done = 0;
	intake_begin(&conn->intake, conn->answer_max == 0 ? DB_ANSWER_MAX : conn->answer_max);
	conn->answer_max = 0;
	set_timer(conn, conn->config->query_timeout + DB_GRACE_SECONDS);
	int flushed = PQsendQuery(conn->pg, buf_cstr(&conn->text)) == 1 ? PQflush(conn->pg) : -1;
	if (flushed < 0)
		fail_later(conn, db_error_make(DB_RECONNECT, "", PQerrorMessage(conn->pg), NULL));
	else
		watch(conn, (short)(EV_READ | EV_PERSIST | (flushed == 1 ? EV_WRITE : 0)));
	expect_answer(conn);
}

/* What every session is, whatever the server's or the role's defaults are. Only a superuser may have messages in English. */
static void
session_settings(const struct db_conn *conn, struct buf *sql)
{
	unsigned limit = conn->config->query_timeout;
	buf_addf(sql, "SET standard_conforming_strings = on; SET timezone = 'UTC'; SET bytea_output = hex; SET client_min_messages = warning;"
	    " SET default_transaction_isolation = 'read committed'; SET statement_timeout = '%us'; SET lock_timeout = '%us';"
	    " SET idle_in_transaction_session_timeout = '%us'; " PG_KEEP_MEMORY ";"
	    " SELECT set_config('lc_messages', 'C', false) FROM pg_roles WHERE rolname = current_user AND rolsuper",
	    limit, limit, conn->idle_transaction_s);
}

/* Does what we quote still mean what we mean? A connect_query must not change that. */
static bool
session_ok(const struct db_conn *conn)
{
	const char *strings = PQparameterStatus(conn->pg, "standard_conforming_strings");
	const char *encoding = PQparameterStatus(conn->pg, "client_encoding");
	return strings != NULL && strcmp(strings, "on") == 0 && encoding != NULL && strcmp(encoding, "UTF8") == 0;
}

static void
setup_next(void *arg, const struct db_result *result)
{
	struct db_conn *conn = arg;
	if (result->error.class != DB_OK) {
		conn->error = result->error;
		tell_failure(conn);
		return;
	}
	struct buf sql = BUF_INIT;
	if (conn->setup == 0)
		session_settings(conn, &sql);
	else if (conn->setup == 1 && conn->config->connect_query != NULL)
		buf_adds(&sql, conn->config->connect_query);
	conn->setup++;
	if (sql.len > 0) {
		start(conn, sql.data, sql.len, setup_next, conn);
	} else if (!session_ok(conn)) {
		conn->error = db_error_make(DB_SETUP, "", "connect_query must leave standard_conforming_strings on and client_encoding UTF8", NULL);
		tell_failure(conn);
	} else {
		conn->opened = true;
		conn->events->opened(conn->arg, NULL);
	}
	buf_free(&sql);
}

static void
connect_poll(struct db_conn *conn)
{
	switch (PQconnectPoll(conn->pg)) {
	case PGRES_POLLING_READING:
		watch(conn, EV_READ);
		break;
	case PGRES_POLLING_WRITING:
		watch(conn, EV_WRITE);
		break;
	case PGRES_POLLING_OK:
		conn->connected = true;
		event_del(&conn->timer);
		PQsetnonblocking(conn->pg, 1);
		setup_next(conn, &(struct db_result){ .error.class = DB_OK });
		break;
	default:
		conn->error = pg_connect_error(conn->pg);
		tell_failure(conn);
	}
}

static void
on_io(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	struct db_conn *conn = arg;
	ASSERT(!conn->failed && conn->pg != NULL);
	/* Most answers come as a whole. Of a message that does not, libpq reads up to its announced length in one call. */
	bool careful = conn->partial || !conn->connected || conn->answer == NULL;
	(void)event_priority_set(&conn->io, PRIORITY_USUAL);
	if (what & EV_READ)
		intake_look(&conn->intake, PQsocket(conn->pg), careful);
	if (intake_is_flooded(&conn->intake)) {
		conn->error = db_error_flood(conn->intake.max);
		tell_failure(conn);
		return;
	}
	if (!conn->connected) {
		connect_poll(conn);
		return;
	}
	bool lost = (what & EV_READ) && PQconsumeInput(conn->pg) == 0;
	conn->partial = (what & EV_READ) && PQisBusy(conn->pg);
	drop_notifications(conn);
	if (conn->answer == NULL)
		read_idle(conn, lost);
	else
		advance(conn, lost);
}

static void
connect_to(struct db_conn *conn, const char *host, const char *addresses)
{
	conn->pg = xchecked(pg_connect_start(conn->config, host, addresses));
	if (PQstatus(conn->pg) == CONNECTION_BAD) {
		fail_later(conn, pg_connect_error(conn->pg));
		return;
	}
	PQsetErrorVerbosity(conn->pg, PQERRORS_VERBOSE);
	PQsetNoticeReceiver(conn->pg, on_notice, conn);
	watch(conn, EV_WRITE);
}

static void
on_resolved(void *arg, const char *addresses, const char *why)
{
	struct db_conn *conn = arg;
	struct buf host = BUF_INIT;
	bool there = db_host(conn->config->host, conn->host, &host);
	ASSERT(there && conn->pg == NULL && !conn->failed);
	conn->resolve = NULL;
	if (addresses != NULL) {
		connect_to(conn, buf_cstr(&host), addresses);
	} else {
		char text[DB_MESSAGE_MAX];
		snprintf(text, sizeof text, "the address of host \"%s\" cannot be found", buf_cstr(&host));
		conn->error = db_error_make(DB_RECONNECT, "", text, why);
		tell_failure(conn);
	}
	buf_free(&host);
}

/* Begins anew with host number conn->host. Each host has server_connect_timeout for itself, so that a silent one does not hide the next. */
static void
connect_host(struct db_conn *conn)
{
	struct buf host = BUF_INIT;
	bool there = db_host(conn->config->host, conn->host, &host);
	ASSERT(there);
	watch(conn, 0);
	PQclear(conn->result);
	conn->result = NULL;
	intake_end(&conn->intake);
	PQfinish(conn->pg);
	conn->pg = NULL;
	aside_abandon(&conn->resolve);
	intake_init(&conn->intake, conn->base, &conn->io, DB_ANSWER_MAX);
	conn->error = (struct db_error){ .class = DB_OK };
	conn->connected = conn->failed = false;
	conn->setup = 0;
	set_timer(conn, conn->config->server_connect_timeout);
	if (resolve_is_needless(buf_cstr(&host)))
		connect_to(conn, buf_cstr(&host), NULL);
	else if ((conn->resolve = resolve_start(conn->base, buf_cstr(&host), on_resolved, conn)) == NULL)
		fail_later(conn, db_error_make(DB_RECONNECT, "", "cannot start a thread to look the host's name up in", NULL));
	buf_free(&host);
}

static struct db_conn *
pg_open(struct event_base *base, const struct database_config *config, unsigned idle_transaction_s, const struct db_events *events, void *arg)
{
	ASSERT(config->host != NULL && config->driver == DRIVER_POSTGRESQL);
	struct db_conn *conn = xcalloc(1, sizeof *conn);
	conn->base = base;
	conn->config = config;
	conn->idle_transaction_s = idle_transaction_s;
	conn->events = events;
	conn->arg = arg;
	event_assign(&conn->io, base, -1, 0, on_io, conn);
	evtimer_assign(&conn->timer, base, on_timer, conn);
	connect_host(conn);
	return conn;
}

static void
pg_query(struct db_conn *conn, const char *sql, size_t len, db_answer_fn *answer, void *arg)
{
	ASSERT(conn->opened);
	conn->data = NULL;
	conn->data_len = 0;
	start(conn, sql, len, answer, arg);
}

static void
pg_copy(struct db_conn *conn, const char *sql, size_t len, const char *data, size_t data_len, unsigned guard, db_answer_fn *answer, void *arg)
{
	ASSERT(conn->opened && data != NULL && (guard == DB_NO_GUARD || guard < DB_STATEMENTS));
	conn->guard = guard;
	conn->data = data;
	conn->data_len = data_len;
	start(conn, sql, len, answer, arg);
}

static bool
pg_joins(const struct db_conn *conn)
{
	ASSERT(conn->opened);
	return true;
}

static void
pg_expect(struct db_conn *conn, size_t bytes)
{
	ASSERT(conn->opened && conn->answer == NULL);
	conn->answer_max = bytes;
}

static void
pg_close(struct db_conn **place)
{
	struct db_conn *conn = *place;
	*place = NULL;
	if (conn == NULL)
		return;
	event_del(&conn->io);
	event_del(&conn->timer);
	PQclear(conn->result);
	intake_end(&conn->intake);
	aside_abandon(&conn->resolve);
	PQfinish(conn->pg);
	buf_free(&conn->text);
	free(conn);
}

static void
pg_configure(struct db_conn *conn, const struct database_config *config)
{
	ASSERT(conn->opened);
	conn->config = config;
}

static uint64_t
pg_server_id(const struct db_conn *conn)
{
	return conn->opened ? (uint64_t)PQbackendPID(conn->pg) : 0;
}

static size_t
pg_statement_max(const struct db_conn *conn)
{
	return conn->opened ? STATEMENT_MAX : 0;
}

static const char *
pg_server_version(const struct db_conn *conn)
{
	const char *version = conn->opened ? PQparameterStatus(conn->pg, "server_version") : NULL;
	return version == NULL ? "" : version;
}

static void
quote(struct buf *out, char mark, const char *text, size_t len)
{
	buf_addc(out, mark);
	for (const char *end = text + len, *next; text < end; text = next) {
		const char *found = memchr(text, mark, (size_t)(end - text));
		next = found == NULL ? end : found + 1;
		buf_add(out, text, (size_t)(next - text));
		if (found != NULL)
			buf_addc(out, mark);
	}
	buf_addc(out, mark);
}

static void
pg_quote_name(struct buf *out, const char *name)
{
	quote(out, '"', name, strlen(name));
}

static void
pg_quote_text(struct buf *out, const char *text, size_t len)
{
	quote(out, '\'', text, len);
}

const struct db_ops db_postgresql = {
	.name = "postgresql",
	.error_names_row = true,
	.error_aborts = true,
	.open = pg_open,
	.query = pg_query,
	.copy = pg_copy,
	.joins = pg_joins,
	.expect = pg_expect,
	.close = pg_close,
	.configure = pg_configure,
	.server_id = pg_server_id,
	.statement_max = pg_statement_max,
	.server_version = pg_server_version,
	.quote_name = pg_quote_name,
	.quote_text = pg_quote_text,
};
