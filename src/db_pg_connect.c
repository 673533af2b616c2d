/* Connection parameters, and error messages without an SQLSTATE. */
#include "db_pg_connect.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "config.h"
#include "db_driver.h"

static const struct db_code codes[] = {
#define PG_CODE(code, class) { code, class },
#include "db_pg_errors.def"
	{ NULL, DB_UNKNOWN },
};

/* In the order of enum sslmode. */
static const char *const sslmodes[] = { "disable", "prefer", "require", "verify-ca", "verify-full" };

/* What libpq itself says when it gives up, for which there is no SQLSTATE. */
static const struct {
	const char *text;
	enum db_class class;
} connect_texts[] = {
	{ "session is read-only", DB_NOT_WRITABLE },
	{ "no password supplied", DB_SETUP },
	{ "server does not support SSL", DB_SETUP },
	{ "certificate", DB_SETUP },
};

enum db_class
pg_code_class(const char *code)
{
	return db_code_class(codes, code);
}

PGconn *
pg_connect_start(const struct database_config *config, const char *host, const char *addresses)
{
	char port[16], user_timeout[24], keepalive[16];
	struct buf hosts = BUF_INIT; /* one for each address, as libpq wants it */
	buf_adds(&hosts, host);
	for (const char *at = addresses; at != NULL && (at = strchr(at, ',')) != NULL; at++) {
		buf_addc(&hosts, ',');
		buf_adds(&hosts, host);
	}
	bool watched = config->tcp_user_timeout > 0;
	snprintf(port, sizeof port, "%u", config->port);
	snprintf(user_timeout, sizeof user_timeout, "%u000", config->tcp_user_timeout);
	snprintf(keepalive, sizeof keepalive, "%u", config->tcp_user_timeout);
	const char *const options[][2] = {
		{ "host", buf_cstr(&hosts) },
		{ "hostaddr", addresses },
		{ "port", config->port == 0 ? NULL : port },
		{ "dbname", config->dbname },
		{ "user", config->user },
		{ "password", config->password },
		{ "sslmode", sslmodes[config->sslmode] },
		{ "sslrootcert", config->sslrootcert },
		{ "sslcert", config->sslcert },
		{ "sslkey", config->sslkey },
		{ "gssencmode", "disable" },
		{ "target_session_attrs", "read-write" },
		{ "client_encoding", "UTF8" },
		{ "application_name", "sluice" },
		{ "tcp_user_timeout", watched ? user_timeout : NULL },
		{ "keepalives_idle", watched ? keepalive : NULL },
		{ "keepalives_interval", watched ? keepalive : NULL },
	};
	enum { N = sizeof options / sizeof *options };
	const char *names[N + 1] = { NULL }, *values[N + 1] = { NULL };
	for (size_t i = 0; i < N; i++) {
		names[i] = options[i][0];
		values[i] = options[i][1];
	}
	PGconn *pg = PQconnectStartParams(names, values, 0); /* 0: a dbname is a name, never a connection string */
	buf_free(&hosts);
	return pg;
}

/* Verbose messages bring the SQLSTATE along: "FATAL:  28P01: password authentication failed ...". */
struct db_error
pg_connect_error(const PGconn *pg)
{
	const char *text = PQerrorMessage(pg);
	char code[6] = "";
	enum db_class class = DB_RECONNECT;
	for (const char *at = strstr(text, ":  "); at != NULL; at = strstr(at + 1, ":  ")) {
		if (strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && at[8] == ':') {
			memcpy(code, at + 3, 5);
			class = pg_code_class(code);
		}
	}
	for (size_t i = 0; code[0] == '\0' && class == DB_RECONNECT && i < sizeof connect_texts / sizeof *connect_texts; i++) {
		if (strstr(text, connect_texts[i].text) != NULL)
			class = connect_texts[i].class;
	}
	char *message = xstrdup(text);
	char *location = strstr(message, "\nLOCATION:");
	if (location != NULL)
		*location = '\0'; /* a line of the server's source */
	struct db_error error = db_error_make(class, code, message, NULL);
	free(message);
	return error;
}
