/* A draft's values held against each other, the host and its files. */
#include "config_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "buf.h"
#include "nearest.h"

#define PASSWORD_MAX_BYTES 1024
#define SOURCE_PREFIX "list:"

/* Begins an error about one key. */
static struct buf *
key_error(struct draft *draft, const struct section *section, enum option_id id)
{
	ASSERT(options[id].section == section->kind);
	struct buf *errors = draft_error(draft, section, section->lines[id]);
	buf_addf(errors, "%s: ", options[id].name);
	return errors;
}

static void
check_required(struct draft *draft, const struct section *section)
{
	const void *base = section_base(draft->config, section->kind, section->index);
	for (enum option_id id = 0; id < N_OPTIONS; id++) {
		const struct option *option = &options[id];
		if (option->section != section->kind)
			continue;
		const char *text = option->type == OPTION_STRING ? *(char *const *)(const void *)((const char *)base + option->offset) : NULL;
		bool given = section->lines[id] != 0;
		if (option->def == NULL && !given && (option->type != OPTION_STRING || strcmp(option->limits, LIMITS_REQUIRED) == 0))
			buf_adds(key_error(draft, section, id), "must be given\n");
		else if (given && text == NULL && strcmp(option->limits, LIMITS_REQUIRED) == 0)
			buf_adds(key_error(draft, section, id), "must not be empty\n");
	}
}

/* Files */

/* Opens the regular file that the key names; -1 after an error, or if none are to be opened. */
static int
open_file(struct draft *draft, const struct section *section, enum option_id id, const char *path, struct stat *about)
{
	if (!draft->opens_files)
		return -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* never waits for the writer of a pipe */
	if (fd < 0 || fstat(fd, about) < 0)
		buf_addf(key_error(draft, section, id), "%s cannot be read: %s\n", path, strerror(errno));
	else if (!S_ISREG(about->st_mode))
		buf_addf(key_error(draft, section, id), "%s is not a regular file\n", path);
	else
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void
check_readable(struct draft *draft, const struct section *section, enum option_id id, const char *path)
{
	struct stat about;
	int fd = path == NULL ? -1 : open_file(draft, section, id, path, &about);
	if (fd >= 0)
		close(fd);
}

/* Readable by its owner alone, or by one group where root is the owner. */
static bool
is_private(const struct stat *about)
{
	return (about->st_mode & 077) == 0 || (about->st_uid == 0 && (about->st_mode & 037) == 0);
}

/* Opens the file that the key names, which holds a secret; -1 after an error, or if it names none. */
static int
open_secret(struct draft *draft, const struct section *section, enum option_id id, const char *path)
{
	struct stat about;
	int fd = path == NULL ? -1 : open_file(draft, section, id, path, &about);
	if (fd < 0 || is_private(&about))
		return fd;
	buf_addf(key_error(draft, section, id), "others may read %s: chmod 600 %s\n", path, path);
	close(fd);
	return -1;
}

/* Copies the first line of text[0..n) without its end; NULL: `complaint` says why. */
static char *
first_line(const char *text, size_t n, const char **complaint)
{
	const char *end = memchr(text, '\n', n);
	size_t len = end == NULL ? n : (size_t)(end - text);
	if (end != NULL && len > 0 && text[len - 1] == '\r')
		len--;
	*complaint = len == 0 ? "has no password in its first line"
	    : len > PASSWORD_MAX_BYTES ? "has too long a first line for a password"
	    : memchr(text, '\0', len) != NULL ? "has a NUL byte in its password" : NULL;
	if (*complaint != NULL)
		return NULL;
	char *password = xmalloc(len + 1);
	memcpy(password, text, len);
	password[len] = '\0';
	return password;
}

/* Where a password file is: one without a leading slash is a credential that the service manager has put there for us, or stands beside the file that
 * names it. */
static void
find_secret(const struct section *section, const char *path, struct buf *found)
{
	const char *credentials = getenv("CREDENTIALS_DIRECTORY");
	ASSERT(section->file != NULL && found->len == 0);
	if (*path != '/' && credentials != NULL) {
		buf_addf(found, "%s/%s", credentials, path);
		if (access(buf_cstr(found), F_OK) == 0)
			return;
		buf_reset(found);
	}
	path_add(found, path, section->file);
}

/* The first line of an open file; NULL: `complaint` says why. */
static char *
read_first_line(int fd, const char **complaint)
{
	char *line = NULL;
	char text[PASSWORD_MAX_BYTES + 2]; /* the longest, its newline, and one to see that it is longer */
	ssize_t n = read(fd, text, sizeof text);
	if (n < 0)
		*complaint = strerror(errno);
	else
		line = first_line(text, (size_t)n, complaint);
	explicit_bzero(text, sizeof text);
	return line;
}

/* The password in the file that the key names; NULL if it names none, or after an error. */
static char *
read_password(struct draft *draft, const struct section *section, enum option_id id, const char *name)
{
	if (name == NULL)
		return NULL;
	struct buf path = BUF_INIT;
	find_secret(section, name, &path);
	int fd = open_secret(draft, section, id, buf_cstr(&path));
	const char *complaint = NULL;
	char *password = fd < 0 ? NULL : read_first_line(fd, &complaint);
	if (complaint != NULL)
		buf_addf(key_error(draft, section, id), "%s: %s\n", buf_cstr(&path), complaint);
	if (fd >= 0)
		close(fd);
	buf_free(&path);
	return password;
}

/* [sluice], [redis], [stats] */

/* Puts the host's name where %H stands. */
static void
expand_instance(char **instance)
{
	char host[256] = "";
	if (gethostname(host, sizeof host - 1) < 0)
		return;
	struct buf out = BUF_INIT;
	const char *rest = *instance;
	for (const char *mark; (mark = strstr(rest, "%H")) != NULL; rest = mark + 2) {
		buf_add(&out, rest, (size_t)(mark - rest));
		buf_adds(&out, host);
	}
	buf_adds(&out, rest);
	free(*instance);
	*instance = xstrdup(buf_cstr(&out));
	buf_free(&out);
}

static void
check_sluice(struct draft *draft)
{
	struct config *config = draft->config;
	if (config->instance == NULL)
		return;
	expand_instance(&config->instance);
	if (!name_ok(config->instance))
		buf_addf(key_error(draft, &draft->sections[SECTION_SLUICE], SLUICE_instance),
		    "\"%s\" may hold letters, digits, \"_\", \".\" and \"-\" only, at most %d of them\n", config->instance, NAME_MAX_BYTES);
}

/* An option that would do nothing, and one half of a pair, are mistakes that would be found too late. */
static void
check_redis_tls(struct draft *draft, const struct section *section)
{
	const struct redis_config *redis = &draft->config->redis;
	const struct {
		enum option_id id;
		bool given;
	} of_tls[] = { { REDIS_sslmode, redis->sslmode != REDIS_VERIFY_FULL }, { REDIS_sslrootcert, redis->sslrootcert != NULL },
		{ REDIS_sslname, redis->sslname != NULL }, { REDIS_sslcert, redis->sslcert != NULL }, { REDIS_sslkey, redis->sslkey != NULL } };
	for (size_t i = 0; i < sizeof of_tls / sizeof *of_tls; i++) {
		if (!redis->address.tls && of_tls[i].given)
			buf_adds(key_error(draft, section, of_tls[i].id), "has a use with rediss:// only\n");
	}
#ifndef HAVE_HIREDIS_SSL
	if (redis->address.tls)
		buf_adds(key_error(draft, section, REDIS_url), "this build's hiredis has no TLS: Debian 12's never has, Debian 13's does where libssl-dev is, too. "
		    "Use a sluice that was built there, or redis:// through a tunnel, or unix://\n");
#endif
	if ((redis->sslcert == NULL) != (redis->sslkey == NULL))
		buf_adds(key_error(draft, section, redis->sslcert == NULL ? REDIS_sslkey : REDIS_sslcert), "sslcert and sslkey go together\n");
	check_readable(draft, section, REDIS_sslrootcert, redis->sslrootcert);
	check_readable(draft, section, REDIS_sslcert, redis->sslcert);
	int key = open_secret(draft, section, REDIS_sslkey, redis->sslkey);
	if (key >= 0)
		close(key);
}

static void
check_redis(struct draft *draft)
{
	struct redis_config *redis = &draft->config->redis;
	const struct section *section = &draft->sections[SECTION_REDIS];
	struct buf why = BUF_INIT;
	if (redis->url != NULL && !redis_address_read(redis->url, &redis->address, &why))
		buf_addf(key_error(draft, section, REDIS_url), "%s\n", buf_cstr(&why));
	check_redis_tls(draft, section);
	redis->password = read_password(draft, section, REDIS_password_file, redis->password_file);
	buf_free(&why);
}

static void
check_stats(struct draft *draft)
{
	struct stats_config *stats = &draft->config->stats;
	const struct section *section = &draft->sections[SECTION_STATS];
	struct buf why = BUF_INIT;
	if (stats->listen != NULL && !listen_address_ok(stats->listen, &why))
		buf_addf(key_error(draft, section, STATS_listen), "\"%s\": %s\n", stats->listen, buf_cstr(&why));
	if (stats->admin_socket != NULL && strlen(stats->admin_socket) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		buf_adds(key_error(draft, section, STATS_admin_socket), "the path is too long for a socket\n");
	stats->admin_socket_given = section->lines[STATS_admin_socket] != 0;
	buf_free(&why);
}

/* [database NAME] */

static void
check_database(struct draft *draft, const struct section *section)
{
	struct database_config *database = &draft->config->databases[section->index];
	check_readable(draft, section, DATABASE_sslrootcert, database->sslrootcert);
	check_readable(draft, section, DATABASE_sslcert, database->sslcert);
	int key = open_secret(draft, section, DATABASE_sslkey, database->sslkey);
	if (key >= 0)
		close(key);
	database->password = read_password(draft, section, DATABASE_password_file, database->password_file);
}

/* [queue NAME] */

/* Does Redis Cluster hash a part of the key only? */
static bool
has_hash_tag(const char *key)
{
	const char *open = strchr(key, '{');
	const char *close = open == NULL ? NULL : strchr(open, '}');
	return close != NULL && close > open + 1;
}

static void
check_source(struct draft *draft, const struct section *section)
{
	struct queue_config *queue = &draft->config->queues[section->index];
	ASSERT(queue->list_key == NULL && (queue->dead_letter != NULL || section->lines[QUEUE_dead_letter] > 0));
	if (queue->source == NULL)
		return;
	bool is_list = strncmp(queue->source, SOURCE_PREFIX, strlen(SOURCE_PREFIX)) == 0;
	const char *key = is_list ? queue->source + strlen(SOURCE_PREFIX) : "";
	if (*key == '\0') {
		buf_addf(key_error(draft, section, QUEUE_source), "\"%s\" is not list:KEY\n", queue->source);
		return;
	}
	queue->list_key = xstrdup(key);
	if (section->lines[QUEUE_dead_letter] == 0) {
		struct buf dead_letter = BUF_INIT;
		buf_addf(&dead_letter, has_hash_tag(key) ? "%s:dead" : "{%s}:dead", key);
		free(queue->dead_letter);
		queue->dead_letter = xstrdup(buf_cstr(&dead_letter));
		buf_free(&dead_letter);
	}
	if (queue->dead_letter != NULL && strcmp(queue->dead_letter, key) == 0)
		buf_adds(key_error(draft, section, QUEUE_dead_letter), "is the source itself: refused messages would come again for ever\n");
}

/* Of two queues with one source, the later is told. */
static void
check_source_unique(struct draft *draft, const struct section *section)
{
	const struct queue_config *queue = &draft->config->queues[section->index];
	for (const struct section *other = draft->sections; other != section; other++) {
		if (other->kind != SECTION_QUEUE || queue->list_key == NULL)
			continue;
		const struct queue_config *first = &draft->config->queues[other->index];
		if (first->list_key != NULL && strcmp(first->list_key, queue->list_key) == 0) {
			buf_addf(key_error(draft, section, QUEUE_source), "[queue %s] at %s:%d drains it already\n", first->name, other->file, other->line);
			return;
		}
	}
}

static void
check_target(struct draft *draft, const struct section *section)
{
	const struct config *config = draft->config;
	struct queue_config *queue = &config->queues[section->index];
	if (queue->database == NULL)
		return;
	ASSERT(queue->target == NULL);
	struct nearest nearest = { .wanted = queue->database };
	for (size_t i = 0; i < config->n_databases; i++) {
		if (strcmp(config->databases[i].name, queue->database) == 0) {
			queue->target = &config->databases[i];
			return;
		}
		nearest_offer(&nearest, config->databases[i].name);
	}
	struct buf *errors = key_error(draft, section, QUEUE_database);
	buf_addf(errors, "there is no section [database %s]", queue->database);
	nearest_suggest(&nearest, errors);
	buf_addc(errors, '\n');
}

static void
check_mode(struct draft *draft, const struct section *section)
{
	const struct queue_config *queue = &draft->config->queues[section->index];
	if (queue->mode == MODE_UPSERT && queue->key == NULL)
		buf_adds(key_error(draft, section, QUEUE_mode), "upsert needs key = the columns of the unique index\n");
	if (queue->mode == MODE_INSERT && queue->key != NULL)
		buf_adds(key_error(draft, section, QUEUE_key), "has no use with mode = insert; choose ignore or upsert, or leave it out\n");
	if (queue->mode != MODE_UPSERT && queue->newer != NULL)
		buf_adds(key_error(draft, section, QUEUE_newer), "has a use with mode = upsert only\n");
}

static void
check_max_batches(struct draft *draft, const struct section *section)
{
	struct queue_config *queue = &draft->config->queues[section->index];
	bool in_order = queue->mode == MODE_UPSERT && queue->newer == NULL;
	if (in_order && queue->max_batches > 1)
		buf_adds(key_error(draft, section, QUEUE_max_batches), "must be 1 for an upsert without newer: "
		    "batches that overtake each other would leave the older message in the table; set newer = COLUMN, or max_batches = 1\n");
	if (in_order)
		queue->max_batches = 1;
	if (queue->target != NULL && queue->max_batches > queue->target->pool_size)
		buf_addf(key_error(draft, section, QUEUE_max_batches), "%u is more than pool_size = %u of [database %s]\n", queue->max_batches,
		    queue->target->pool_size, queue->target->name);
}

static void
check_queue(struct draft *draft, const struct section *section)
{
	check_source(draft, section);
	check_source_unique(draft, section);
	check_target(draft, section);
	check_mode(draft, section);
	check_max_batches(draft, section);
}

void
draft_check(struct draft *draft)
{
	const struct config *config = draft->config;
	ASSERT(config->n_files > 0);
	check_sluice(draft);
	check_redis(draft);
	check_stats(draft);
	for (size_t i = 0; i < draft->n_sections; i++) {
		const struct section *section = &draft->sections[i];
		check_required(draft, section);
		if (section->kind == SECTION_DATABASE)
			check_database(draft, section);
		if (section->kind == SECTION_QUEUE)
			check_queue(draft, section);
	}
	if (config->n_databases == 0)
		buf_adds(draft_error_at(draft, config->files[0], 0), "there is no [database NAME]; add one\n");
	if (config->n_queues == 0)
		buf_adds(draft_error_at(draft, config->files[0], 0), "there is no [queue NAME]; add one\n");
}
