/* The thread and the loop share nothing but a socket pair: what comes through it belongs to the loop, and what does not find an open end there stays
 * the thread's, to be closed.
 */
#include "db_mysql_login.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <mysql.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"

/* The thread's. All is its own, as the configuration may change meanwhile. */
struct job {
	MYSQL *mysql;
	char *host;
	char *user;
	char *password;     /* NULL: none */
	char *dbname;
	unsigned port;
	unsigned timeout;   /* seconds */
	int out;            /* its end of the pair */
};

/* Is there a thread that nobody waits for? */
static bool threads_left;

/* What the thread sends. */
struct outcome {
	MYSQL *mysql;
	bool logged_in;
};

struct mysql_login {
	pthread_t thread;
	struct event in;    /* the loop's end of the pair */
	mysql_login_fn *done;
	void *arg;          /* its argument */
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
	close(job->out);
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
	unsigned limit = config->server_connect_timeout;
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
static bool
log_in(const struct job *job)
{
	MYSQL *connected = NULL;
	bool path = is_path(job->host);
	uint64_t end = clock_ms() + job->timeout * (uint64_t)1000;
	int waiting = mysql_real_connect_start(&connected, job->mysql, path ? NULL : job->host, job->user, job->password, job->dbname, job->port,
	    path ? job->host : NULL, 0);
	while (waiting != 0) {
		int fd = (int)mysql_get_socket(job->mysql);
		limit_calls(fd, job->timeout);
		waiting = mysql_real_connect_cont(&connected, job->mysql, wait_for(fd, waiting, end));
	}
	return connected != NULL && evutil_make_socket_nonblocking((evutil_socket_t)mysql_get_socket(job->mysql)) == 0;
}

static void *
run_job(void *arg)
{
	struct job *job = arg;
	struct outcome outcome = { .mysql = job->mysql, .logged_in = log_in(job) };
	if (send(job->out, &outcome, sizeof outcome, MSG_NOSIGNAL) != (ssize_t)sizeof outcome)
		mysql_close(job->mysql);
	free_job(job);
	return NULL;
}

/* -- in the loop */

/* Lets go of the loop's side. */
static void
free_login(struct mysql_login *login)
{
	int fd = (int)event_get_fd(&login->in);
	event_del(&login->in);
	close(fd);
	free(login);
}

static void
on_outcome(evutil_socket_t fd, short what, void *arg)
{
	struct mysql_login *login = arg;
	mysql_login_fn *done = login->done;
	void *done_arg = login->arg;
	struct outcome outcome;
	(void)what;
	ssize_t n = recv(fd, &outcome, sizeof outcome, 0);
	ASSERT(n == (ssize_t)sizeof outcome);
	pthread_join(login->thread, NULL);
	free_login(login);
	done(done_arg, outcome.mysql, outcome.logged_in);
}

/* Starts the thread, which hears no signal: those are the loop's. 0, or an errno. */
static int
start_thread(pthread_t *thread, struct job *job)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(thread, NULL, run_job, job);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static struct job *
make_job(const struct database_config *config, const char *host, int out)
{
	struct job *job = xcalloc(1, sizeof *job);
	*job = (struct job){ .mysql = xchecked(mysql_init(NULL)), .host = xstrdup(host), .user = xstrdup(config->user),
		.password = xstrdup(config->password), .dbname = xstrdup(config->dbname), .port = config->port,
		.timeout = config->server_connect_timeout, .out = out };
	set_options(job->mysql, config, is_path(host));
	return job;
}

struct mysql_login *
mysql_login_start(struct event_base *base, const struct database_config *config, const char *host, mysql_login_fn *done, void *arg)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return NULL;
	struct job *job = make_job(config, host, ends[1]);
	struct mysql_login *login = xcalloc(1, sizeof *login);
	login->done = done;
	login->arg = arg;
	event_assign(&login->in, base, ends[0], EV_READ, on_outcome, login);
	event_add(&login->in, NULL);
	int error = start_thread(&login->thread, job);
	if (error == 0)
		return login;
	mysql_close(job->mysql);
	free_job(job);
	free_login(login);
	errno = error;
	return NULL;
}

/* The end is shut first: what was sent before is here then, and what is sent later stays there. */
void
mysql_login_abandon(struct mysql_login **place)
{
	struct mysql_login *login = *place;
	struct outcome outcome;
	*place = NULL;
	if (login == NULL)
		return;
	int fd = (int)event_get_fd(&login->in);
	(void)shutdown(fd, SHUT_RDWR);
	if (recv(fd, &outcome, sizeof outcome, MSG_DONTWAIT) == (ssize_t)sizeof outcome)
		mysql_close(outcome.mysql);
	pthread_detach(login->thread);
	threads_left = true;
	free_login(login);
}

bool
mysql_login_threads_left(void)
{
	return threads_left;
}
