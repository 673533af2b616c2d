/* What the thread does, and whom its end is told. */
#include "db_mysql_login.h"

#include <event2/util.h>
#include <mysql.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "aside.h"
#include "clock.h"
#include "config.h"

/* The thread gives up so much later than the loop, which has told by then that it took too long. */
#define LATE_SECONDS 1

/* All is its own, as the configuration may change meanwhile. */
struct job {
	mysql_login_fn *done;
	void *arg;          /* its argument */
	MYSQL *mysql;
	char *host;
	char *user;
	char *password;     /* NULL: none */
	char *dbname;
	unsigned port;
	unsigned timeout;   /* seconds */
	bool logged_in;     /* what came of it */
};

static bool
is_path(const char *host)
{
	return host[0] == '/';
}

static void
free_text(char **text)
{
	if (*text != NULL)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

static void
free_job(struct job *job)
{
	free_text(&job->host);
	free_text(&job->user);
	free_text(&job->password);
	free_text(&job->dbname);
	free(job);
}

/* The library verifies certificate and host name together: verify-ca is as strict as verify-full here. */
static void
set_options(MYSQL *mysql, const struct database_config *config, bool path)
{
	unsigned limit = config->server_connect_timeout + LATE_SECONDS;
	my_bool yes = 1;
	unsigned off = 0, protocol = MYSQL_PROTOCOL_TCP;
	size_t packet_max = MYSQL_ANSWER_PACKET_MAX;
	mysql_options(mysql, MYSQL_OPT_NONBLOCK, NULL);
	mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &limit); /* else a handshake in which limit_calls() ended a call would wait on for ever */
	mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &off); /* a server may not ask for our files */
	mysql_options(mysql, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet_max);
	mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	mysql_options4(mysql, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "sluice");
	if (path)
		return;
	if (config->port != 0)
		mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol); /* else "localhost" would mean the socket */
	if (config->sslmode == SSLMODE_DISABLE)
		return;
	mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &yes);
	mysql_options(mysql, MYSQL_OPT_SSL_CA, config->sslrootcert);
	mysql_options(mysql, MYSQL_OPT_SSL_CERT, config->sslcert);
	mysql_options(mysql, MYSQL_OPT_SSL_KEY, config->sslkey);
	if (config->sslmode >= SSLMODE_VERIFY_CA)
		mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
}

/* -- in the thread */

/* For the calls that block: a silent server ends them. */
static void
limit_calls(int fd, unsigned seconds)
{
	struct timeval limit = { .tv_sec = seconds };
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

/* Waits as the library asks, until `end` at the latest; what it has waited for. */
static int
wait_for(int fd, int waiting, uint64_t end)
{
	uint64_t now = clock_ms();
	struct pollfd socket = { .fd = fd, .events = (short)((waiting & MYSQL_WAIT_READ ? POLLIN : 0) | (waiting & MYSQL_WAIT_WRITE ? POLLOUT : 0)) };
	int n = poll(&socket, 1, now < end ? (int)(end - now) : 0);
	return n <= 0 ? MYSQL_WAIT_TIMEOUT : (waiting & (MYSQL_WAIT_READ | MYSQL_WAIT_WRITE));
}

/* The library suspends itself where it can, and blocks in the rest. What it leaves for TLS is a socket that would block amid a record. */
static void
log_in(void *work)
{
	struct job *job = work;
	MYSQL *connected = NULL;
	bool path = is_path(job->host);
	uint64_t end = clock_ms() + job->timeout * (uint64_t)1000;
	int waiting = mysql_real_connect_start(&connected, job->mysql, path ? NULL : job->host, job->user, job->password, job->dbname, job->port,
	    path ? job->host : NULL, CLIENT_MULTI_STATEMENTS);
	while (waiting != 0) {
		int fd = (int)mysql_get_socket(job->mysql);
		limit_calls(fd, job->timeout);
		waiting = mysql_real_connect_cont(&connected, job->mysql, wait_for(fd, waiting, end));
	}
	if (connected != NULL && !mysql_login_joins(job->mysql) && mysql_set_server_option(job->mysql, MYSQL_OPTION_MULTI_STATEMENTS_OFF) != 0)
		connected = NULL;
	job->logged_in = connected != NULL && evutil_make_socket_nonblocking((evutil_socket_t)mysql_get_socket(job->mysql)) == 0;
}

bool
mysql_login_joins(MYSQL *mysql)
{
	return mysql_get_ssl_cipher(mysql) == NULL;
}

static void
drop(void *work)
{
	struct job *job = work;
	mysql_close(job->mysql);
	free_job(job);
}

/* -- in the loop */

static void
tell(void *work)
{
	struct job *job = work;
	job->done(job->arg, job->mysql, job->logged_in);
	free_job(job);
}

static struct job *
make_job(const struct database_config *config, const char *host)
{
	struct job *job = xcalloc(1, sizeof *job);
	*job = (struct job){ .mysql = xchecked(mysql_init(NULL)), .host = xstrdup(host), .user = xstrdup(config->user),
		.password = xstrdup(config->password), .dbname = xstrdup(config->dbname), .port = config->port,
		.timeout = config->server_connect_timeout + LATE_SECONDS };
	set_options(job->mysql, config, is_path(host));
	return job;
}

struct aside *
mysql_login_start(struct event_base *base, const struct database_config *config, const char *host, mysql_login_fn *done, void *arg)
{
	static const struct aside_work kind = { .run = log_in, .done = tell, .drop = drop };
	struct job *job = make_job(config, host);
	job->done = done;
	job->arg = arg;
	struct aside *aside = aside_start(base, &kind, job);
	if (aside == NULL)
		drop(job);
	return aside;
}
