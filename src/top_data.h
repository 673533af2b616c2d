/* What the daemon says of itself (the JSON of /stats), read back for `sluice top`. Whoever wrote it, its texts are fit for a terminal here. A number
 * that it does not say is NAN, a text "", a list empty. */
#ifndef SLUICE_TOP_DATA_H
#define SLUICE_TOP_DATA_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"

struct arena;

/* n things of one type, which the field's comment names. */
struct top_list {
	void *items; /* n of them; in the arena of what was read */
	size_t n;
};

/* A dead letter, without payload. */
struct top_dead {
	double time_s;         /* since 1970 */
	double position;
	const char *reason;
	const char *code;      /* SQLSTATE or errno; "": none */
	const char *meaning;   /* of both, in words */
};

struct top_queue {
	const char *name, *database, *state;
	const char *bound_by;  /* one or two words: the verdict */
	const char *severity;  /* how much somebody should care: "ok", "notice", "alarm" */
	const char *advice;    /* a sentence: why, and what to do */
	double backlog;
	double oldest_age_s;
	double in, out;        /* orders a second, of late */
	double rows_per_batch;
	double commit_s;       /* mean, of late */
	double dead;           /* letters in the list */
	double empty_s;        /* until the backlog is gone; NAN: never */
	double pushed, stored, duplicate, dead_new, taken, waiting, difference; /* the account: pushed is the sum of the others */
	double step_s;         /* of one point of the series below */
	struct top_list in_series, out_series, backlog_series; /* of double, the oldest first */
	struct top_list commit_series, slowest_series;         /* of double, milliseconds: mean and 99 %; NAN: nothing was committed */
	struct top_list last_dead; /* of struct top_dead, the newest first */
};

struct top_connection {
	const char *state;
	const char *queue;     /* "": none */
	double since_s;        /* that it has this state */
	double rows;
	double server_id;      /* 0: not connected */
};

struct top_pool {
	const char *name, *driver;
	const char *why;       /* of the last failure */
	bool up;
	double size, busy, idle, connecting;
	struct top_list connections; /* of struct top_connection */
};

struct top_event {
	double time_s;         /* since 1970 */
	double times;          /* that it came; time_s is the last */
	const char *level, *subject, *text;
};

struct top_data {
	struct arena *arena;   /* everything below lives there */
	const char *version, *instance;
	double time_s;         /* the daemon's clock when it said this; since 1970 */
	double uptime_s;
	bool reload_ok;        /* the last reload */
	bool redis_up;
	const char *redis_why, *redis_version;
	double memory_ratio;   /* of Redis's maxmemory; 0: no limit, or not known */
	double memory_used;    /* bytes */
	struct top_list queues; /* of struct top_queue */
	struct top_list pools;  /* of struct top_pool */
	struct top_list events; /* of struct top_event, the newest first */
};

/* Orders that queues may be shown in. */
#define TOP_ORDERS 7

/* Reads text[0..len), behind which ARENA_PADDING bytes are readable. NULL: this is not what sluice says. */
struct top_data *top_data_read(const char *text, size_t len) MUST_CHECK;
/* Frees; nulls the caller's pointer. NULL inside is harmless. */
void top_data_free(struct top_data **data);
/* Puts the queues into that order. */
void top_data_sort(struct top_data *data, unsigned order);
/* What the order goes by: "name" ... */
const char *top_data_order(unsigned order);
/* The index of the queue of that name; 0 where there is none. */
size_t top_data_find(const struct top_data *data, const char *name);

#endif
