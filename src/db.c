/* What is the same for all servers: names, error values, the one-off connection. */
#include "db.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "config.h"
#include "db_driver.h"
#include "utf8.h"

static const char *const class_names[] = {
	[DB_OK] = "ok",
	[DB_RETRY] = "retry",
	[DB_RECONNECT] = "reconnect",
	[DB_NOT_WRITABLE] = "not writable",
	[DB_PAUSE] = "pause",
	[DB_DATA] = "data",
	[DB_TOO_BIG] = "too big",
	[DB_SETUP] = "setup",
	[DB_FORGOTTEN] = "forgotten",
	[DB_UNKNOWN] = "unknown",
};

static const struct db_ops *const drivers[] = {
	[DRIVER_POSTGRESQL] = &db_postgresql,
	[DRIVER_MYSQL] = &db_mysql,
};

const char *
db_class_name(enum db_class class)
{
	ASSERT(class < sizeof class_names / sizeof *class_names);
	return class_names[class];
}

const struct db_ops *
db_driver(int driver)
{
	ASSERT(driver >= 0 && (size_t)driver < sizeof drivers / sizeof drivers[0]);
	return drivers[driver];
}

enum db_class
db_code_class(const struct db_code *table, const char *code)
{
	ASSERT(code != NULL);
	while (table->code != NULL && strncmp(code, table->code, strlen(table->code)) != 0)
		table++;
	return table->code == NULL ? DB_UNKNOWN : table->class;
}

void
db_text(char *out, size_t size, const char *text)
{
	ASSERT(size > 0);
	size_t len = 0;
	size_t left = strlen(text);
	while (left > 0 && (text[left - 1] == '\n' || text[left - 1] == ' '))
		left--;
	while (left > 0) {
		size_t n = utf8_char(text, left);
		if (len + (n == 0 ? 1 : n) >= size)
			break;
		bool control = (unsigned char)*text < ' ' || *text == 0x7f || (n == 2 && *text == '\xc2' && (unsigned char)text[1] < 0xa0);
		size_t taken = n == 0 ? 1 : n;
		if (n == 0 || control) {
			out[len++] = n == 0 ? '?' : ' ';
		} else {
			memcpy(out + len, text, n);
			len += n;
		}
		text += taken;
		left -= taken;
	}
	out[len] = '\0';
}

struct db_error
db_error_make(enum db_class class, const char *code, const char *message, const char *detail)
{
	ASSERT(class != DB_OK);
	struct db_error error = { .class = class, .row = -1, .offset = -1 };
	struct buf text = BUF_INIT;
	buf_adds(&text, message);
	if (detail != NULL) {
		buf_adds(&text, ": ");
		buf_adds(&text, detail);
	}
	db_text(error.message, sizeof error.message, buf_cstr(&text));
	db_text(error.code, sizeof error.code, code);
	buf_free(&text);
	return error;
}

struct db_error
db_error_flood(size_t max)
{
	char message[DB_MESSAGE_MAX];
	snprintf(message, sizeof message, "the server sends more than anybody asked for: over %zu bytes for one statement", max);
	return db_error_make(DB_RECONNECT, "", message, NULL);
}

bool
db_host(const char *hosts, size_t n, struct buf *out)
{
	ASSERT(hosts != NULL);
	for (; n > 0; n--) {
		hosts = strchr(hosts, ',');
		if (hosts == NULL)
			return false;
		hosts++;
	}
	hosts += strspn(hosts, " \t");
	size_t len = strcspn(hosts, ",");
	while (len > 0 && (hosts[len - 1] == ' ' || hosts[len - 1] == '\t'))
		len--;
	buf_reset(out);
	buf_add(out, hosts, len);
	return true;
}

/* The one statement of db_run_once(). */
struct once {
	struct event_base *base; /* owned */
	const struct db_ops *ops;
	struct db_conn *conn; /* owned */
	const char *sql;      /* the caller's */
	size_t len;           /* bytes of sql */
	db_answer_fn *answer; /* the caller's; NULL once it was called */
	void *arg;            /* its argument */
};

static void
once_answered(void *arg, const struct db_result *result)
{
	struct once *once = arg;
	ASSERT(once->answer != NULL);
	once->answer(once->arg, result);
	once->answer = NULL;
	event_base_loopbreak(once->base);
}

static void
once_failed(void *arg, const struct db_error *error)
{
	once_answered(arg, &(struct db_result){ .error = *error });
}

static void
once_opened(void *arg, const struct db_error *error)
{
	struct once *once = arg;
	if (error != NULL)
		once_failed(once, error);
	else
		once->ops->query(once->conn, once->sql, once->len, once_answered, once);
}

void
db_run_once(const struct database_config *config, const char *sql, size_t len, db_answer_fn *answer, void *arg)
{
	static const struct db_events events = { once_opened, once_failed };
	struct once once = { .ops = db_driver(config->driver), .sql = sql, .len = len, .answer = answer, .arg = arg };
	once.base = event_base_new();
	ASSERT(once.base != NULL);
	once.conn = once.ops->open(once.base, config, 0, &events, &once);
	event_base_dispatch(once.base);
	ASSERT(once.answer == NULL);
	once.ops->close(&once.conn);
	event_base_free(once.base);
}
