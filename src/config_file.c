/* Lines of sluice.ini -> a draft. Wraps inih, whose limits (a line of 199 bytes, a section of 49, an indented line that joins the one before, no line
 * number for the handler) would otherwise change values silently: every line passes our own reader first, which refuses what inih would bend. */
#include "config_private.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "mapping.h"
#include "nearest.h"
#include "utf8.h"

#define SECTION_MAX_BYTES 49 /* inih's MAX_SECTION without the NUL */
#define INCLUDED_MAX_BYTES (1 << 20)
#define COLUMN_PREFIX "column."

static const char byte_order_mark[] = "\xef\xbb\xbf";
static const char blanks[] = " \t";

/* One file being read. */
struct reader {
	struct draft *draft;
	FILE *stream;
	const char *path;        /* owned by the config */
	char *text;              /* getline's; holds the line under way */
	size_t text_size;        /* bytes allocated for it */
	int line;                /* number of the line under way */
	int room;                /* bytes of inih's buffer for a line; 0: no line has been read */
	bool included;           /* by another file: must not include any more */
	bool pending;            /* a line that should be `key = value` went to inih, and the handler has not been called yet */
	bool header_seen;        /* a section, good or bad, has begun */
	struct section *section; /* keys go there; NULL: nowhere, the last header was bad */
};

/* Begins an error about the line under way. */
static struct buf *
line_error(struct reader *reader)
{
	if (reader->section != NULL)
		return draft_error(reader->draft, reader->section, reader->line);
	return draft_error_at(reader->draft, reader->path, reader->line);
}

/* Sections */

static struct section *
find_section(struct draft *draft, enum section_kind kind, const char *name)
{
	for (size_t i = 0; i < draft->n_sections; i++) {
		struct section *section = &draft->sections[i];
		if (section->kind == kind && strcmp(section_name(draft, section), name) == 0)
			return section;
	}
	return NULL;
}

static size_t
add_database(struct config *config, const char *name, int line)
{
	config->databases = xrealloc(config->databases, (config->n_databases + 1) * sizeof *config->databases);
	config->databases[config->n_databases] = (struct database_config){ .name = xstrdup(name), .line = line };
	return config->n_databases++;
}

static size_t
add_queue(struct config *config, const char *name, int line)
{
	config->queues = xrealloc(config->queues, (config->n_queues + 1) * sizeof *config->queues);
	config->queues[config->n_queues] = (struct queue_config){ .name = xstrdup(name), .line = line };
	return config->n_queues++;
}

/* The kind of section that the word names, or N_SECTION_KINDS after an error. */
static enum section_kind
find_kind(struct reader *reader, const char *word)
{
	struct nearest nearest = { .wanted = word };
	for (enum section_kind kind = 0; kind < N_SECTION_KINDS; kind++) {
		if (strcmp(section_words[kind].word, word) == 0)
			return kind;
		nearest_offer(&nearest, section_words[kind].word);
	}
	struct buf *errors = line_error(reader);
	buf_addf(errors, "unknown section [%s]", word);
	nearest_suggest(&nearest, errors);
	buf_addc(errors, '\n');
	return N_SECTION_KINDS;
}

/* Makes the section the one that keys go to; its parts are NUL-terminated. */
static void
enter_section(struct reader *reader, const char *word, const char *name)
{
	enum section_kind kind = find_kind(reader, word);
	if (kind == N_SECTION_KINDS)
		return;
	if (!section_words[kind].named && *name != '\0') {
		buf_addf(line_error(reader), "[%s] takes no name, here \"%s\"\n", word, name);
		return;
	}
	if (section_words[kind].named && !name_ok(name)) {
		buf_addf(line_error(reader), "[%s NAME] needs a name of letters, digits, \"_\", \".\" and \"-\", here \"%s\"\n", word, name);
		return;
	}
	struct draft *draft = reader->draft;
	struct section *section = find_section(draft, kind, name);
	if (section != NULL && section->file != NULL) {
		const char *blank = section_words[kind].named ? " " : "";
		buf_addf(line_error(reader), "[%s%s%s] is already at %s:%d; put all its keys there\n", word, blank, name, section->file, section->line);
		return;
	}
	if (kind == SECTION_DATABASE)
		section = draft_add_section(draft, kind, add_database(draft->config, name, reader->line));
	else if (kind == SECTION_QUEUE)
		section = draft_add_section(draft, kind, add_queue(draft->config, name, reader->line));
	ASSERT(section != NULL);
	section->file = reader->path;
	section->line = reader->line;
	reader->section = section;
}

/* Takes a header apart; false: inih must not see it. `line` begins with the bracket. */
static bool
read_header(struct reader *reader, const char *line)
{
	ASSERT(*line == '[');
	reader->section = NULL;
	reader->header_seen = true;
	const char *end = strchr(line, ']');
	if (end == NULL) {
		buf_addf(line_error(reader), "\"%s\" lacks its \"]\"\n", line);
		return false;
	}
	const char *rest = end + 1 + strspn(end + 1, blanks);
	if (*rest != '\0' && *rest != ';' && *rest != '#') {
		buf_addf(line_error(reader), "\"%s\" does not belong behind a section\n", rest);
		return false;
	}
	size_t n = (size_t)(end - line - 1);
	if (n > SECTION_MAX_BYTES) {
		buf_addf(line_error(reader), "a section of %zu bytes; at most %d can be read: choose a shorter name\n", n, SECTION_MAX_BYTES);
		return false;
	}
	char word[SECTION_MAX_BYTES + 1];
	memcpy(word, line + 1, n);
	word[n] = '\0';
	char *name = word + strcspn(word, blanks);
	if (*name != '\0') {
		*name++ = '\0';
		name += strspn(name, blanks);
	}
	enter_section(reader, word, name);
	return true;
}

/* Lines */

/* Would a comment of inih's begin inside of quotes? */
static bool
comment_in_quotes(const char *line)
{
	bool single = false, twice = false;
	for (const char *c = line; *c != '\0'; c++) {
		if (*c == ';' && c > line && strchr(blanks, c[-1]) != NULL)
			return single || twice;
		if (*c == '\'' && !twice)
			single = !single;
		if (*c == '"' && !single)
			twice = !twice;
	}
	return false;
}

static bool
has_control(const char *line, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
			return true;
	}
	return false;
}

/* Would inih read the line as it is written? `room` is how many bytes it takes. */
static bool
line_ok(struct reader *reader, const char *line, size_t n, size_t room)
{
	if (has_control(line, n))
		buf_adds(line_error(reader), "a control character; is this a text file?\n");
	else if (!utf8_valid(line, n))
		buf_adds(line_error(reader), "not UTF-8; save the file in that encoding\n");
	else if (n > room)
		buf_addf(line_error(reader), "a line of %zu bytes; at most %zu can be read: shorten it, or put its comment on a line of its own\n", n, room);
	else if (strchr(blanks, *line) != NULL)
		buf_adds(line_error(reader), "an indented line; begin it in the first column\n");
	else if (*line != '[' && comment_in_quotes(line))
		buf_adds(line_error(reader), "a blank and \";\" begin a comment, in quotes too; leave out the blank\n");
	else
		return true;
	return false;
}

/* Was the line before not `key = value`? */
static void
settle_pending(struct reader *reader)
{
	if (reader->pending)
		buf_adds(line_error(reader), "is neither \"[section]\" nor \"key = value\"\n");
	reader->pending = false;
}

/* inih's reader: the next line without its end; an empty one in place of what is refused, so that all errors are found in one go. */
static char *
next_line(char *out, int size, void *arg)
{
	struct reader *reader = arg;
	ASSERT(size >= (int)sizeof "\n");
	if (size < reader->room) /* a newer inih believes that a line which fills its buffer has a rest, and throws that away */
		return memcpy(out, "\n", sizeof "\n");
	reader->room = size;
	settle_pending(reader);
	ssize_t got = getline(&reader->text, &reader->text_size, reader->stream);
	if (got < 0)
		return NULL;
	reader->line++;
	char *line = reader->text;
	size_t n = (size_t)got;
	if (reader->line == 1 && strncmp(line, byte_order_mark, 3) == 0) {
		line += 3;
		n -= 3;
	}
	while (n > 0 && strchr("\r\n \t", line[n - 1]) != NULL && line[n - 1] != '\0')
		n--;
	line[n] = '\0';
	out[0] = '\0';
	char first = line[strspn(line, blanks)];
	if (n == 0 || first == ';' || first == '#')
		return out;
	if (!line_ok(reader, line, n, (size_t)size - 1))
		return out;
	if (*line == '[') {
		if (!read_header(reader, line))
			return out;
	} else {
		reader->pending = true;
	}
	memcpy(out, line, n + 1);
	return out;
}

/* Keys */

static void
read_column(struct reader *reader, const char *name, const char *expression)
{
	ASSERT(reader->section->kind == SECTION_QUEUE);
	struct queue_config *queue = &reader->draft->config->queues[reader->section->index];
	if (*name == '\0') {
		buf_adds(line_error(reader), "\"column.\" lacks the name of a column: column.NAME = EXPR\n");
		return;
	}
	for (size_t i = 0; i < queue->n_columns; i++) {
		if (strcmp(queue->columns[i].column, name) == 0) {
			buf_addf(line_error(reader), "\"column.%s\" is already on line %d\n", name, queue->columns[i].line);
			return;
		}
	}
	struct buf why = BUF_INIT;
	if (!mapping_expression_ok(expression, &why))
		buf_addf(line_error(reader), "column.%s: %s\n", name, buf_cstr(&why));
	buf_free(&why);
	queue->columns = xrealloc(queue->columns, (queue->n_columns + 1) * sizeof *queue->columns);
	queue->columns[queue->n_columns++] = (struct column_config){ xstrdup(name), xstrdup(expression), reader->path, reader->line };
}

static void
unknown_key(struct reader *reader, const char *name)
{
	enum section_kind kind = reader->section->kind;
	struct nearest nearest = { .wanted = name };
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].section == kind)
			nearest_offer(&nearest, options[i].name);
	}
	struct buf *errors = line_error(reader);
	buf_addf(errors, "unknown key \"%s\"", name);
	nearest_suggest(&nearest, errors);
	buf_addc(errors, '\n');
}

static void
read_option(struct reader *reader, const struct option *option, const char *value)
{
	struct section *section = reader->section;
	ASSERT(option->section == section->kind && section->file == reader->path);
	int *line = &section->lines[option - options];
	if (*line != 0) {
		buf_addf(line_error(reader), "\"%s\" is already on line %d\n", option->name, *line);
		return;
	}
	*line = reader->line;
	struct buf why = BUF_INIT;
	if (!option_set(option, section_base(reader->draft->config, section->kind, section->index), value, &why))
		buf_addf(line_error(reader), "%s = %s\n", option->name, buf_cstr(&why));
	buf_free(&why);
	if (option == &options[SLUICE_include] && reader->included)
		buf_adds(line_error(reader), "an included file must not include others; list them all in the main file\n");
}

/* inih's handler. */
static int
take_key(void *arg, const char *header, const char *name, const char *value)
{
	struct reader *reader = arg;
	(void)header; /* ours is the one that was checked */
	reader->pending = false;
	if (!reader->header_seen) {
		buf_addf(line_error(reader), "\"%s\" stands before the first [section]\n", name);
		return 1;
	}
	if (reader->section == NULL) /* its header's error was told */
		return 1;
	const struct option *option = option_find(reader->section->kind, name);
	if (option != NULL)
		read_option(reader, option, value);
	else if (reader->section->kind == SECTION_QUEUE && strncmp(name, COLUMN_PREFIX, strlen(COLUMN_PREFIX)) == 0)
		read_column(reader, name + strlen(COLUMN_PREFIX), value);
	else
		unknown_key(reader, name);
	return 1;
}

/* Files */

void
path_add(struct buf *out, const char *path, const char *file)
{
	const char *slash = strrchr(file, '/');
	ASSERT(path != NULL);
	if (*path != '/' && slash != NULL)
		buf_add(out, file, (size_t)(slash - file) + 1);
	buf_adds(out, path);
}

static void
read_included(struct draft *draft)
{
	const struct section *section = &draft->sections[SECTION_SLUICE];
	struct buf pattern = BUF_INIT;
	path_add(&pattern, draft->config->include, section->file);
	glob_t found;
	int rc = glob(buf_cstr(&pattern), 0, NULL, &found);
	if (rc == 0) { /* `section` moves with the first */
		for (size_t i = 0; i < found.gl_pathc; i++)
			draft_read_file(draft, found.gl_pathv[i], true);
	} else if (rc != GLOB_NOMATCH || strpbrk(draft->config->include, "*?[") == NULL) { /* an empty directory is no error */
		buf_addf(draft_error(draft, section, section->lines[SLUICE_include]), "include: %s cannot be read\n", buf_cstr(&pattern));
	}
	globfree(&found);
	buf_free(&pattern);
}

/* A copy of the path among the config's files. */
static const char *
remember_file(struct config *config, const char *path)
{
	config->files = xrealloc(config->files, (config->n_files + 1) * sizeof *config->files);
	return config->files[config->n_files++] = xstrdup(path);
}

/* A pattern may match anything: a pipe or a device would be waited for, a large file fill the memory. NULL: see errno. */
static FILE *
open_included(const char *path)
{
	struct stat is;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &is) != 0 || !S_ISREG(is.st_mode) || is.st_size > INCLUDED_MAX_BYTES) {
		close(fd);
		errno = EINVAL;
		return NULL;
	}
	return xchecked(fdopen(fd, "r"));
}

bool
draft_read_file(struct draft *draft, const char *path, bool included)
{
	struct reader reader = { .draft = draft, .path = remember_file(draft->config, path), .included = included };
	reader.stream = included ? open_included(path) : fopen(path, "re");
	if (reader.stream == NULL) {
		buf_addf(draft_error_at(draft, path, 0), "cannot be read: %s\n", errno == EINVAL ? "it is not a file of at most 1 MB" : strerror(errno));
		return false;
	}
	errno = 0;
	int rc = ini_parse_stream(next_line, &reader, take_key, &reader);
	settle_pending(&reader);
	bool failed = rc < 0 || ferror(reader.stream);
	if (failed)
		buf_addf(draft_error_at(draft, path, 0), "cannot be read: %s\n", strerror(errno));
	fclose(reader.stream);
	free(reader.text);

	if (!included && draft->config->include != NULL)
		read_included(draft);
	return !failed;
}
