/* One SQL connection, whichever the server: non-blocking in the libevent loop, one statement under way at a time.
 *
 * Each driver is one file with one `struct db_ops` and one table that maps its codes to `enum db_class` (the design's error classes).
 */
#ifndef SLUICE_DB_H
#define SLUICE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct database_config;
struct event_base;
struct buf;

/* What to do about an error; see errors.def in each driver for the codes. */
enum db_class {
	DB_OK,
	DB_RETRY,        /* roll back, same rows again, after a backoff */
	DB_RECONNECT,    /* the connection is of no use; in doubt if COMMIT was sent */
	DB_NOT_WRITABLE, /* read-only server: close and find the primary again */
	DB_PAUSE,        /* the server is out of something: wait, take nothing */
	DB_DATA,         /* a row is bad: split, down to the dead letter */
	DB_TOO_BIG,      /* split by size */
	DB_SETUP,        /* table, rights or login are wrong: an operator must act */
	DB_FORGOTTEN,    /* the server forgot something prepared */
	DB_UNKNOWN,      /* anything else: try again some times, then split */
};
/* "retry", "data" ...: the name in metrics, logs and dead letters. */
const char *db_class_name(enum db_class class);

#define DB_MESSAGE_MAX 400
/* Bytes of a statement's answer at most, unless expect() says another figure: the catalogue's is the largest, thousands of columns and types. */
#define DB_ANSWER_MAX ((size_t)16 << 20)

/* An error as plain value. */
struct db_error {
	enum db_class class;
	char code[8];                 /* SQLSTATE (PostgreSQL) or errno (MySQL); "" : none, the client library's own */
	char column[64];              /* where the server names it, else "" */
	char message[DB_MESSAGE_MAX]; /* UTF-8, cut to fit; may quote values of the row: for dead letters, not for logs */
	long row;                     /* 0-based row of the COPY or multi-row INSERT that the server named; -1: not named */
	long offset;                  /* 0-based byte of the statement text that the server pointed at; -1: none */
	bool lost;                    /* the connection is gone; nothing more can be asked on it */
};

/* Of a text of several statements, so many are told apart in the answer. */
#define DB_STATEMENTS 4

/* What a text of one or more statements answered. Values are valid only inside the callback. */
struct db_result {
	struct db_error error;  /* class DB_OK: none; else of the first statement that failed, behind which none was run */
	unsigned n_done;        /* statements that were done; after a loss not known */
	uint64_t changed[DB_STATEMENTS]; /* rows changed by each of the first that were done */
	uint64_t affected;      /* rows changed by the last statement */
	bool rolled_back;       /* COMMIT was answered with ROLLBACK */
	bool in_transaction;    /* one is open still; not known after an error */
	size_t rows, columns;   /* of the last statement's result set; 0 if none */
	const char *const *values; /* rows * columns texts, row by row; NULL is SQL's NULL; bytes may hold NUL, see lengths */
	const size_t *lengths;     /* rows * columns */
};

#define DB_NO_GUARD UINT32_MAX

struct db_conn;

/* Called once for each text; never from within the call that started it. The callback may start the next statement or close. */
typedef void db_answer_fn(void *arg, const struct db_result *result);

/* What a connection tells its owner without being asked. Never called from within open(). */
struct db_events {
	/* Ready for statements (error NULL), or could not be opened: then the owner closes it. */
	void (*opened)(void *arg, const struct db_error *error);
	/* An idle connection was closed by the server or broke; the owner closes it. While a statement is under way its answer says so instead. */
	void (*lost)(void *arg, const struct db_error *error);
};

struct db_ops {
	const char *name; /* as in `driver =` */
	bool error_names_row; /* the row that an error names is the row; false: it may be a row of a statement inside of a trigger */
	bool error_aborts;    /* an error ends the whole transaction but for what is behind a savepoint; false: it undoes its statement only */
	/* Starts to connect to the first of `hosts` that accepts writes, logs in, sets up the session (strict, UTC, utf8, timeouts:
	 * idle-in-transaction `idle_transaction_s` seconds, statements query_timeout), runs connect_query. The config outlives the connection. */
	struct db_conn *(*open)(struct event_base *base, const struct database_config *config, unsigned idle_transaction_s,
	    const struct db_events *events, void *arg);
	/* Runs sql[0..len): one statement, or, where joins() says so, several joined by `;`, with one answer. PostgreSQL makes one transaction of several
	 * that have no BEGIN, and commits it before the last of them is answered.
	 * The text must stay valid until the answer. One that is not answered within query_timeout + 5 s: lost. */
	void (*query)(struct db_conn *conn, const char *sql, size_t len, db_answer_fn *answer, void *arg);
	/* The same for a text with one `COPY ... FROM STDIN`, with data[0..data_len). NULL where the server has no such thing. Text and data stay valid until
	 * the answer. The data goes out when the statements before the COPY are done. `guard`: the number (from 0) of one of them that must have changed exactly
	 * one row, or the COPY is made to fail instead, and nothing behind it is run; DB_NO_GUARD: none. */
	void (*copy)(struct db_conn *conn, const char *sql, size_t len, const char *data, size_t data_len, unsigned guard, db_answer_fn *answer, void *arg);
	/* May statements be joined on this connection? Known once it is opened. */
	bool (*joins)(const struct db_conn *conn);
	/* The answer of the next statement may have so many bytes, all that the server sends until it ends counted. A server that sends more is broken, or
	 * means harm: the connection is lost. */
	void (*expect)(struct db_conn *conn, size_t bytes);
	/* Closes at once, whatever is under way; no callback comes any more. Nulls the caller's pointer. Safe inside a callback. */
	void (*close)(struct db_conn **conn);
	/* The same database in a newer configuration. Only for an open connection: one that is being opened still uses the former. */
	void (*configure)(struct db_conn *conn, const struct database_config *config);
	/* The server's own number of this connection (backend pid, connection id), for the stats page; 0 until opened. */
	uint64_t (*server_id)(const struct db_conn *conn);
	/* The largest statement the server takes, in bytes (max_allowed_packet); SIZE_MAX where there is no limit. 0 until opened. */
	size_t (*statement_max)(const struct db_conn *conn);
	/* The server's version text, for logs and `check`; "" until opened. */
	const char *(*server_version)(const struct db_conn *conn);
	/* Appends an identifier, quoted. */
	void (*quote_name)(struct buf *out, const char *name);
	/* Appends a string literal, quoted; bytes are valid UTF-8 without NUL. */
	void (*quote_text)(struct buf *out, const char *text, size_t len);
};

extern const struct db_ops db_postgresql; /* db_pg.c */
extern const struct db_ops db_mysql;      /* db_mysql.c */
/* The driver for `enum driver`. */
const struct db_ops *db_driver(int driver);

/* Connects, runs one statement, waits for its answer in a private loop of its own and closes: for commands such as `init` and `check`, never for
 * the daemon. Calls `answer` once, a failure to connect included. */
void db_run_once(const struct database_config *config, const char *sql, size_t len, db_answer_fn *answer, void *arg);

#endif
