/* What the files of `sluice check` share among themselves; nobody else includes this.
 *
 *   cmd_check.c       findings as lines; what they add up to
 *   check_files.c     files, directories and limits of this host
 *   check_redis.c     Redis
 *   check_database.c  a database server: connections, rights to the ledger, what a crash of it loses, its clock
 *   check_queue.c     a queue: its table, its columns, what it guarantees
 *   check_columns.c   columns whose type cannot take what is meant for them
 */
#ifndef SLUICE_CHECK_PRIVATE_H
#define SLUICE_CHECK_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct config;
struct database_config;
struct db_error;
struct mapping;
struct queue_config;
struct table;

enum level { LEVEL_OK, LEVEL_WARNING, LEVEL_ERROR };
#define N_LEVELS 3

/* What was found out about a database. */
struct check_database {
	bool reachable;     /* it answers, and takes writes */
	struct buf losing;  /* what it may lose of what it has committed; empty: nothing that is known */
};

/* What has been found so far. */
struct check {
	const struct config *config;
	bool running;                     /* the daemon of this configuration runs on this host */
	unsigned found[N_LEVELS];         /* findings of each level */
	bool unreachable;                 /* a server does not answer, or takes no writes */
	bool redis;                       /* Redis answers */
	const char *losing;               /* what Redis may lose when it is killed; NULL: not known */
	struct check_database *databases; /* one for each of the configuration; owned */
};

/* Prints a finding: where it is, and what it is; of a warning or an error also what to do. printf style. */
void check_finding(struct check *c, enum level level, const char *where, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Prints an error of a database as a finding. `what` begins the text, and may be "". */
void check_sql_error(struct check *c, const char *where, const char *what, const struct db_error *error);
/* Prints a finding if the clock of a server differs from this host's by seconds. It showed `there_s`, seconds since 1970, when ours stood between the
 * other two, which are in microseconds. */
void check_clock(struct check *c, const char *where, double there_s, int64_t before_us, int64_t after_us);

/* Looks at the files that were read, the places where the daemon listens, and how many files it may open. */
void check_files(struct check *c);
/* Looks at the server and its settings. */
void check_redis(struct check *c);
/* Looks at the keys that the queue uses. Only if Redis answers. */
void check_redis_keys(struct check *c, const char *where, const struct queue_config *queue);
/* Looks at database i of the configuration. */
void check_database(struct check *c, size_t i);
/* Looks at a queue and its table, and says what it guarantees. */
void check_queue(struct check *c, const struct queue_config *queue);
/* Looks at the mapped columns. False: every order would be refused. */
bool check_columns(struct check *c, const char *where, const struct queue_config *queue, const struct table *table, const struct mapping *mapping);

#endif
