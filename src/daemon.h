/* `sluice run`: the signals, the stats port and the admin socket of one process; its pools and workers are the supervisor's. */
#ifndef SLUICE_DAEMON_H
#define SLUICE_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct config;
struct daemon;
struct events;
struct pool;
struct worker;

/* What the stats port shows; owned by the daemon. It stays where it is, but all in it may be replaced by a reload. */
struct daemon_view {
	const struct config *config;
	struct pool *const *pools;     /* n_pools, in the order of the configuration; behind them those that a reload removed and that are lent still */
	size_t n_pools;
	struct worker *const *workers; /* n_workers, in the order of the configuration; behind them those that a reload removed and that are not done yet */
	size_t n_workers;
	uint64_t started_us;           /* microseconds since 1970 */
	uint64_t configured_us;        /* when `config` was read; microseconds since 1970 */
	const struct events *events;   /* what happened lately */
	bool reload_ok;                /* false: at the last reload the configuration was refused */
};

/* Reads the configuration file again and follows it, or, if anything is wrong with it, keeps the one in force as it is: false. Appends to `report`
 * what was wrong ("file:line: what") or what has changed, a line each; the same is logged. */
bool daemon_reload(struct daemon *d, struct buf *report);
/* Runs until SIGTERM or SIGINT; returns the process's exit status. */
int daemon_run(const struct config *config);

#endif
