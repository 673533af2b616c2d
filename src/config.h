/* sluice.ini as structs. One row of options.def is one key; this file only gives the rows their C shape. */
#ifndef SLUICE_CONFIG_H
#define SLUICE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"

struct buf;

/* Choices, in the order of options.def. */
enum driver { DRIVER_POSTGRESQL, DRIVER_MYSQL };
enum sslmode { SSLMODE_DISABLE, SSLMODE_PREFER, SSLMODE_REQUIRE, SSLMODE_VERIFY_CA, SSLMODE_VERIFY_FULL };
enum redis_sslmode { REDIS_VERIFY_FULL, REDIS_VERIFY_CA, REDIS_VERIFY_NOTHING };
enum pop { POP_RIGHT, POP_LEFT };
enum unknown_field { UNKNOWN_IGNORE, UNKNOWN_REJECT };
enum mode { MODE_INSERT, MODE_IGNORE, MODE_UPSERT };
enum on_off { SWITCH_ON, SWITCH_OFF };

/* What a reload has to do to apply a changed option; see options.def. A weightier one includes the lighter. */
enum config_change { CHANGE_NONE, CHANGE_LIVE, CHANGE_RECYCLE, CHANGE_ANEW, CHANGE_RESTART };

#define OPTION_FIELD_STRING(key) char *key
#define OPTION_FIELD_UINT(key) unsigned key
#define OPTION_FIELD_SIZE(key) size_t key
#define OPTION_FIELD_CHOICE(key) int key
#define OPTION_FIELD(key, type) OPTION_FIELD_##type(key);

/* [redis] url, taken apart. Strings owned. */
struct redis_address {
	bool tls;        /* rediss:// */
	char *unix_path; /* unix:// ; NULL: TCP */
	char *host;      /* without brackets; NULL with unix_path */
	unsigned port;
	char *user;      /* ACL user; NULL: none given */
	unsigned db;     /* SELECT this */
};

struct redis_config {
#define REDIS_OPTION(key, type, def, limits, unit, reload, help) OPTION_FIELD(key, type)
#include "options.def"
	struct redis_address address; /* from url */
	char *password;               /* from password_file; owned, wiped when freed; NULL: none */
};

struct stats_config {
#define STATS_OPTION(key, type, def, limits, unit, reload, help) OPTION_FIELD(key, type)
#include "options.def"
	bool admin_socket_given; /* the file names it: somebody counts on it */
};

struct database_config {
	char *name; /* of the section; owned, as all strings here */
	int line;   /* of the section's header, for messages */
#define DATABASE_OPTION(key, type, def, limits, unit, reload, help) OPTION_FIELD(key, type)
#include "options.def"
	char *password; /* from password_file; wiped when freed; NULL: none */
};

/* One `column.NAME = EXPR` line. */
struct column_config {
	char *column;      /* owned */
	char *expression;  /* `$`, `$.a.b`, `base64($.x)`, `@now`, `@queue`, `@position`; owned */
	const char *file;  /* where it stands; owned by the config */
	int line;
};

struct queue_config {
	char *name; /* of the section; at most 190 bytes of [A-Za-z0-9_.-] */
	int line;
#define QUEUE_OPTION(key, type, def, limits, unit, reload, help) OPTION_FIELD(key, type)
#include "options.def"
	char *list_key;                /* KEY of source = list:KEY */
	struct column_config *columns; /* n_columns of them, in the file's order; owned */
	size_t n_columns;
	const struct database_config *target; /* the section that `database` names */
};

struct config {
#define SLUICE_OPTION(key, type, def, limits, unit, reload, help) OPTION_FIELD(key, type)
#include "options.def"
	struct redis_config redis;
	struct stats_config stats;
	struct database_config *databases; /* n_databases of them */
	size_t n_databases;
	struct queue_config *queues; /* n_queues of them */
	size_t n_queues;
	char **files; /* every file that was read, the main one first; n_files of them */
	size_t n_files;
};

/* Reads the file and what it includes, fills in defaults, checks every value and the references between sections, reads password files.
 * NULL when anything is wrong: then `errors` holds one line an error, "file:line: what, and what to do", all of them, not only the first.
 * The caller frees the result with config_free(). */
struct config *config_read(const char *path, struct buf *errors) MUST_CHECK;
/* The same without the files that it names, included ones excepted: no passwords, and whether certificates and keys are there is not looked at. */
struct config *config_read_only(const char *path, struct buf *errors) MUST_CHECK;
/* Frees all of it, passwords wiped; nulls the caller's pointer. */
void config_free(struct config **ref);
/* Appends the sample sluice.ini, every key commented with its default and help, to `out`. etc/sluice.ini is this text. */
void config_sample(struct buf *out);
/* Appends every key in force as `section.key = value` lines, or as one JSON object; passwords never. */
void config_show(const struct config *config, bool json, struct buf *out);

/* For a reload: what differs between two configurations, or two sections of one name. Each returns the weightiest change, and appends one line a
 * difference to `report`, if that is not NULL: "queue orders: batch_rows 1000 -> 500". Passwords are compared, never shown. */
enum config_change config_compare(const struct config *from, const struct config *to, struct buf *report);
/* As above. */
enum config_change config_compare_redis(const struct redis_config *from, const struct redis_config *to, struct buf *report);
/* As above. */
enum config_change config_compare_database(const struct database_config *from, const struct database_config *to, struct buf *report);
/* As above. */
enum config_change config_compare_queue(const struct queue_config *from, const struct queue_config *to, struct buf *report);
/* Appends what names the queue's ledger together with the end of the list that its positions count from: for one list, where this text is the same, the
 * ledger tells the next owner what the last one committed. */
void config_ledger_name(const struct queue_config *queue, struct buf *out);
/* Gives `to` what `from` has for every option that takes a restart. */
void config_keep(struct config *to, const struct config *from);
/* The section of that name, or NULL. */
const struct database_config *config_database(const struct config *config, const char *name);
/* As above. */
const struct queue_config *config_queue(const struct config *config, const char *name);

#endif
