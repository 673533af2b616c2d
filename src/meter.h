/* What a queue's worker measures: how long orders wait, how long commits take, rates, and how all this went in the last quarter of an hour. Pure:
 * times and totals come in as arguments. */
#ifndef SLUICE_METER_H
#define SLUICE_METER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "age.h"

/* Upper bounds of a histogram's buckets; the last bucket is +Inf. */
#define HISTOGRAM_BUCKETS 12
struct histogram {
	const double *bounds;                    /* HISTOGRAM_BUCKETS of them, ascending */
	uint64_t counts[HISTOGRAM_BUCKETS + 1];  /* not cumulative */
	double sum;                              /* of all values */
};

#define METER_STEP_S 5       /* one point of the history */
#define METER_POINTS 180     /* 15 minutes */
#define METER_DEAD_MAX 20    /* last dead letters */
#define METER_NONE (-1.0F)   /* of a point's commit times: nothing was committed */

/* Totals since the worker began, at a moment. */
struct meter_totals {
	uint64_t at_ms;           /* monotonic */
	uint64_t pushed;          /* orders that came */
	uint64_t settled;         /* orders that were removed */
	uint64_t dead;            /* dead letters */
	uint64_t busy_ms;         /* of all connections that it had, together */
	uint64_t backlog;         /* no total: as it is */
};

/* What was known at a tick. */
struct meter_mark {
	struct meter_totals totals;
	struct histogram commit_duration, batch_rows;
};

/* One step of the history. */
struct meter_point {
	float in, out, dead;      /* orders a second */
	float backlog;            /* at its end */
	float commit_ms;          /* mean; METER_NONE */
	float commit_p99_ms;      /* METER_NONE */
};

/* One dead letter, without anything that the order or the server said. */
struct meter_dead {
	int64_t at_us;            /* since 1970 */
	uint64_t position;
	char reason[12];          /* as struct reject's class */
	char code[8];             /* SQLSTATE or errno; "": none */
};

/* All of it: 13 kB, of which the history has 4320 bytes. */
struct meter {
	struct age age;                                        /* of the orders in the list */
	struct histogram commit_duration;                      /* seconds from BEGIN to COMMIT's answer */
	struct histogram batch_rows;                           /* rows of each committed transaction */
	struct histogram wait;                                 /* seconds that an order stood in the list, one sample a settle */
	struct meter_mark marks[2];                            /* of the last two ticks, the older one first */
	uint64_t due_ms;                                       /* when the step ends, whenever that is noticed */
	struct meter_point points[METER_POINTS];               /* a ring */
	uint64_t n_points;                                     /* that ever came */
	struct meter_dead dead[METER_DEAD_MAX];                /* a ring */
	uint64_t n_dead;                                       /* that ever came */
	struct meter_dead leaving[METER_DEAD_MAX];             /* of the settle under way, the last of them */
	size_t n_leaving;
};

/* Over the last 5 to 10 seconds. */
struct meter_rates {
	double in, out, dead;     /* orders a second */
	double rows_per_batch;    /* of the transactions committed meanwhile; of all so far if there was none; 0: never */
	double commit_s;          /* mean of these transactions' commits; 0: never */
	double busy;              /* connections at work, on average */
};

/* An empty meter; `now` are the totals to begin with. */
void meter_init(struct meter *m, const struct meter_totals *now);
/* A transaction was committed. */
void meter_commit(struct meter *m, double seconds, uint32_t rows);
/* Orders are to be removed; forgets what was left of a settle that never was answered. */
void meter_leaving(struct meter *m);
/* One of them becomes a dead letter. */
void meter_leaving_dead(struct meter *m, const struct meter_dead *dead);
/* They were removed; `position` is that of the last. */
void meter_settled(struct meter *m, uint64_t now_ms, uint64_t position);
/* Has a step of the history ended? */
bool meter_is_due(const struct meter *m, uint64_t now_ms);
/* A step has ended, or several since this was called last: as many points. */
void meter_tick(struct meter *m, const struct meter_totals *now);
/* What the totals say now. */
struct meter_rates meter_rates(const struct meter *m, const struct meter_totals *now);
/* How many points there are. */
size_t meter_points(const struct meter *m);
/* The i-th, the oldest first. */
const struct meter_point *meter_point(const struct meter *m, size_t i);
/* How many dead letters are remembered. */
size_t meter_dead_letters(const struct meter *m);
/* The i-th, the newest first. */
const struct meter_dead *meter_dead_letter(const struct meter *m, size_t i);
/* How many values were observed. */
uint64_t histogram_count(const struct histogram *h);
/* The value that a share of all values since `before` (alike, but older) does not exceed, between the bounds of its bucket; -1: there was none. */
double histogram_quantile(const struct histogram *h, const struct histogram *before, double share);

#endif
