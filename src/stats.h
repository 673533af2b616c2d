/* What the daemon shows: one snapshot as Prometheus text, as JSON, as tables for a terminal. */
#ifndef SLUICE_STATS_H
#define SLUICE_STATS_H

#include <stdbool.h>

struct buf;
struct daemon_view;

/* Appends the metrics in Prometheus' text format 0.0.4. */
void stats_metrics(const struct daemon_view *daemon, struct buf *out);
/* Appends one JSON object; `queue`: only that one, NULL: all; `history`: with the last quarter of an hour. False: there is no such queue. */
bool stats_json(const struct daemon_view *daemon, const char *queue, bool history, struct buf *out);
/* Appends text tables for people at a terminal. */
void stats_text(const struct daemon_view *daemon, struct buf *out);
/* Appends one of these tables: queues, orders, pools, connections, stats, dead. False: there is none of that name. */
bool stats_table(const struct daemon_view *daemon, const char *name, struct buf *out);
/* Ready: Redis and every pool are up. Else appends the reasons, a line each. */
bool stats_ready(const struct daemon_view *daemon, struct buf *why);

#endif
