/* What the files config*.c share among themselves; nobody else includes this.
 *
 *   config_option.c   the table made of options.def: find, set, print
 *   config_file.c     lines -> struct draft                                [inih]
 *   config_address.c  URLs and addresses
 *   config_check.c    a draft's values held against each other, the host and its files
 *   config.c          the whole of it in a row, and the end of a configuration
 *   config_show.c     back to text: the values in force, the sample file
 *   config_diff.c     what differs between two configurations
 */
#ifndef SLUICE_CONFIG_PRIVATE_H
#define SLUICE_CONFIG_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

#define NAME_MAX_BYTES 190 /* of a queue, a database, an instance: they go into primary keys and file names */

enum section_kind { SECTION_SLUICE, SECTION_REDIS, SECTION_STATS, SECTION_DATABASE, SECTION_QUEUE, N_SECTION_KINDS };

enum option_type { OPTION_STRING, OPTION_UINT, OPTION_SIZE, OPTION_CHOICE };

/* SLUICE_instance ... QUEUE_ledger_rows: the index of each key in `options`. */
enum option_id {
#define SLUICE_OPTION(key, type, def, limits, unit, reload, help) SLUICE_##key,
#define REDIS_OPTION(key, type, def, limits, unit, reload, help) REDIS_##key,
#define STATS_OPTION(key, type, def, limits, unit, reload, help) STATS_##key,
#define DATABASE_OPTION(key, type, def, limits, unit, reload, help) DATABASE_##key,
#define QUEUE_OPTION(key, type, def, limits, unit, reload, help) QUEUE_##key,
#include "options.def"
	N_OPTIONS
};

/* One row of options.def. */
struct option {
	enum section_kind section;
	const char *name;      /* the key */
	enum option_type type;
	const char *def;       /* as it would be written; NULL: none */
	const char *limits;    /* see options.def */
	const char *unit;      /* "" : none */
	enum config_change change; /* what a reload has to do to apply it */
	const char *help;
	size_t offset;         /* of the field in its section's struct */
};
extern const struct option options[N_OPTIONS];

/* The word in [brackets], and whether a name follows it. */
struct section_word {
	const char *word; /* a literal */
	bool named;       /* a name follows: [queue orders] */
};
extern const struct section_word section_words[N_SECTION_KINDS];

/* A section of the draft, and where its parts were written. */
struct section {
	enum section_kind kind;
	size_t index;         /* in databases or queues of the config */
	const char *file;     /* where its header stands; NULL: nowhere, all defaults. Owned by the config */
	int line;             /* of the header */
	int lines[N_OPTIONS]; /* where each key stands in `file`; 0: nowhere, its default is in force */
};

/* A configuration while it is read. */
struct draft {
	struct config *config;    /* the result; owned until config_read() returns it */
	struct section *sections; /* n_sections; the first are those without a name, one each, in the order of enum section_kind; owned */
	size_t n_sections;
	struct buf *errors;       /* one line an error; the caller's */
	bool opens_files;         /* passwords, certificates, keys */
};

#define LIMITS_REQUIRED "required"

/* config.c */

/* Adds a section whose keys all have their defaults. Sections move: earlier pointers to them are void. */
struct section *draft_add_section(struct draft *draft, enum section_kind kind, size_t index);
/* NAME of `[queue NAME]`; "" where a section has none. */
const char *section_name(const struct draft *draft, const struct section *section);

/* Begins an error: appends "file:line: [section] " and returns the buffer, to which the caller adds the rest and a newline. */
struct buf *draft_error(struct draft *draft, const struct section *section, int line);
/* The same for a file as a whole, or a line outside of all sections (line 0: none). */
struct buf *draft_error_at(struct draft *draft, const char *file, int line);

/* config_option.c */

/* The option of that name in that kind of section, or NULL. */
const struct option *option_find(enum section_kind kind, const char *name);
/* Puts the value into the option's field of `base`, its section's struct. False: `why` says what is wrong with it, and the field is unchanged. */
bool option_set(const struct option *option, void *base, const char *value, struct buf *why) MUST_CHECK;
/* Appends the value as option_set() takes it, or as a JSON value, sizes in bytes; a string that is not set is nothing, or null. */
void option_print(const struct option *option, const void *base, bool json, struct buf *out);
/* The struct whose fields the options of this section are. */
void *section_base(struct config *config, enum section_kind kind, size_t index);
/* A whole number in [min, max], digits only. */
bool number_read(const char *text, unsigned long long min, unsigned long long max, unsigned long long *number) MUST_CHECK;
/* One to NAME_MAX_BYTES of [A-Za-z0-9_.-]? */
bool name_ok(const char *name) MUST_CHECK;

/* config_file.c */

/* Reads one file into the draft; what it includes, too, unless it is included itself. False: it could not be read, which was told. */
bool draft_read_file(struct draft *draft, const char *path, bool included);
/* Appends a path or pattern as seen from the directory of the file that names it. */
void path_add(struct buf *out, const char *path, const char *file);

/* config_address.c */

/* Takes url apart into `address`. False: `why` says what is wrong, and never quotes a password. */
bool redis_address_read(const char *url, struct redis_address *address, struct buf *why) MUST_CHECK;
/* Is it "host:port", "[v6]:port" or ":port"? Else `why` says what is wrong. */
bool listen_address_ok(const char *text, struct buf *why) MUST_CHECK;

/* config_check.c */

/* Checks all that one value alone cannot tell, reads password files, and fills in what follows from other values. */
void draft_check(struct draft *draft);

#endif
