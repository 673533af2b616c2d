/* sluice.ini: any text through the whole loader. Text that is accepted comes back to the same configuration from what config_show() says of it; text
 * that is refused is told why, in whole lines of clean UTF-8. No file of the machine is read: the linker leads open() and glob() here. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "config.h"
#include "utf8.h"

#define LINE_MAX_BYTES 199 /* longer ones are refused, also where a default or %H made them so long */
#define PASSWORD "tgMsZ2uPqK"

/* Keys of a section of each kind, as config_show() prints them. */
enum {
	SLUICE_KEYS = 0
#define SLUICE_OPTION(...) + 1
#include "options.def"
	,
	REDIS_KEYS = 0
#define REDIS_OPTION(...) + 1
#include "options.def"
	,
	STATS_KEYS = 0
#define STATS_OPTION(...) + 1
#include "options.def"
	,
	DATABASE_KEYS = 0
#define DATABASE_OPTION(...) + 1
#include "options.def"
	,
	QUEUE_KEYS = 0
#define QUEUE_OPTION(...) + 1
#include "options.def"
};

/* A file in memory. */
struct file {
	int fd;
	char path[40];
};

/* The files that a configuration under test can see; made once. */
static struct {
	struct file ini, included, password;
	bool reading; /* a configuration is read: other files are not there */
} files;

static struct file
file_new(const char *text, mode_t mode)
{
	struct file f = { .fd = memfd_create("fuzz", 0) };
	ASSERT(f.fd >= 0 && fchmod(f.fd, mode) == 0);
	ASSERT(write(f.fd, text, strlen(text)) == (ssize_t)strlen(text));
	snprintf(f.path, sizeof f.path, "/proc/self/fd/%d", f.fd);
	return f;
}

/* Where files may be large by default, the calls have other names. */
int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...) __attribute__((alias("__wrap_open")));
int __real_open(const char *path, int flags, ...);
int __wrap_glob(const char *pattern, int flags, int (*on_error)(const char *, int), glob_t *found);
int __wrap_glob64(const char *pattern, int flags, int (*on_error)(const char *, int), glob_t *found) __attribute__((alias("__wrap_glob")));

/* open() of everything that is linked in: there are "secret" and the included file. */
int
__wrap_open(const char *path, int flags, ...)
{
	va_list args;
	va_start(args, flags);
	int mode = flags & O_CREAT ? va_arg(args, int) : 0;
	va_end(args);
	if (!files.reading || strcmp(path, files.included.path) == 0)
		return __real_open(path, flags, mode);
	if (strcmp(path, "secret") == 0)
		return __real_open(files.password.path, flags);
	errno = ENOENT;
	return -1;
}

/* glob() of everything that is linked in: a pattern that ends in "*.ini" finds the included file. */
int
__wrap_glob(const char *pattern, int flags, int (*on_error)(const char *, int), glob_t *found)
{
	(void)flags, (void)on_error;
	static char *one[2];
	size_t n = strlen(pattern);
	one[0] = files.included.path;
	*found = (glob_t){ .gl_pathc = 0 };
	if (n < 5 || strcmp(pattern + n - 5, "*.ini") != 0)
		return GLOB_NOMATCH;
	found->gl_pathv = xcalloc(2, sizeof *found->gl_pathv); /* globfree() frees what it holds */
	found->gl_pathv[0] = xstrdup(one[0]);
	found->gl_pathc = 1;
	return 0;
}

static struct config *
read_text(const char *text, size_t n, struct buf *errors)
{
	ASSERT(ftruncate(files.ini.fd, 0) == 0);
	ASSERT(pwrite(files.ini.fd, text, n, 0) == (ssize_t)n);
	files.reading = true;
	struct config *config = config_read(files.ini.path, errors);
	files.reading = false;
	return config;
}

static void
check_errors(const struct buf *errors)
{
	ASSERT(errors->len > 0 && errors->data[errors->len - 1] == '\n');
	ASSERT(utf8_valid(errors->data, errors->len));
	for (size_t i = 0; i < errors->len; i++)
		ASSERT((unsigned char)errors->data[i] >= 0x20 || strchr("\n\t", errors->data[i]) != NULL);
}

/* Moves n lines of `*shown` under a header, without their prefix. */
static void
add_section(struct buf *ini, const char *kind, const char *name, size_t n, const char **shown)
{
	size_t prefix = strlen(kind) + 1 + (*name == '\0' ? 0 : strlen(name) + 1);
	buf_addf(ini, "[%s %s]\n", kind, name);
	for (; n > 0; n--) {
		const char *end = strchr(*shown, '\n'), *equals = strstr(*shown, " =");
		ASSERT(end != NULL && equals != NULL && equals < end && strncmp(*shown, kind, strlen(kind)) == 0);
		const char *key = *shown + prefix, *value = equals + 2 + (equals[2] == ' ');
		*shown = end + 1;
		buf_add(ini, key, (size_t)(equals - key));
		buf_addc(ini, '=');
		buf_add(ini, value, (size_t)(end - value) + 1);
	}
}

/* The sluice.ini that says what config_show() said. */
static void
rewrite(const struct config *config, const char *shown, struct buf *ini)
{
	add_section(ini, "sluice", "", SLUICE_KEYS, &shown);
	add_section(ini, "redis", "", REDIS_KEYS, &shown);
	add_section(ini, "stats", "", STATS_KEYS, &shown);
	for (size_t i = 0; i < config->n_databases; i++)
		add_section(ini, "database", config->databases[i].name, DATABASE_KEYS, &shown);
	for (size_t i = 0; i < config->n_queues; i++)
		add_section(ini, "queue", config->queues[i].name, QUEUE_KEYS + config->queues[i].n_columns, &shown);
	ASSERT(*shown == '\0');
}

static bool
has_long_line(const char *text)
{
	while (*text != '\0' && strcspn(text, "\n") <= LINE_MAX_BYTES)
		text += strcspn(text, "\n") + 1;
	return *text != '\0';
}

/* What is shown must lead back to the same configuration, `include` apart. */
static void
check_round_trip(struct config *config)
{
	struct buf shown = BUF_INIT, ini = BUF_INIT, errors = BUF_INIT, again = BUF_INIT;
	free(config->include);
	config->include = NULL;
	config_show(config, false, &shown);
	rewrite(config, buf_cstr(&shown), &ini);
	if (!has_long_line(buf_cstr(&ini))) {
		struct config *copy = read_text(ini.data, ini.len, &errors);
		ASSERT(copy != NULL && errors.len == 0);
		buf_reset(&shown);
		config_show(config, true, &shown);
		config_show(copy, true, &again);
		ASSERT(shown.len == again.len && memcmp(shown.data, again.data, again.len) == 0);
		config_free(&copy);
	}
	buf_free(&shown);
	buf_free(&ini);
	buf_free(&errors);
	buf_free(&again);
}

static void
check_json(const struct config *config)
{
	struct buf json = BUF_INIT;
	config_show(config, true, &json);
	ASSERT(utf8_valid(json.data, json.len));
	ASSERT(json.data[0] == '{' && json.data[json.len - 1] == '}');
	ASSERT(strstr(buf_cstr(&json), PASSWORD) == NULL);
	buf_free(&json);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (files.ini.fd == 0) {
		files.ini = file_new("", 0600);
		files.included = file_new("[queue included]\nsource = list:included\ndatabase = shop\ntable = t\n", 0600);
		files.password = file_new(PASSWORD "\n", 0600);
	}
	if (memmem(data, size, PASSWORD, strlen(PASSWORD)) != NULL)
		return 0;
	struct buf errors = BUF_INIT;
	struct config *config = read_text((const char *)data, size, &errors);
	ASSERT((config == NULL) == (errors.len > 0));
	if (config == NULL) {
		check_errors(&errors);
	} else {
		check_json(config);
		check_round_trip(config);
		config_free(&config);
	}
	buf_free(&errors);
	return 0;
}
