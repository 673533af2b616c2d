/* `sluice run`: the pools, the workers, the signals and the stats port of one process. */
#ifndef SLUICE_DAEMON_H
#define SLUICE_DAEMON_H

#include <stddef.h>
#include <stdint.h>

struct config;
struct pool;
struct worker;

/* What the stats port shows; owned by the daemon, stable while it runs. */
struct daemon_view {
	const struct config *config;
	struct pool *const *pools;     /* n_pools, in the order of the configuration */
	size_t n_pools;
	struct worker *const *workers; /* n_workers, in the order of the configuration */
	size_t n_workers;
	uint64_t started_us;           /* microseconds since 1970 */
};

/* Runs until SIGTERM or SIGINT; returns the process's exit status. */
int daemon_run(const struct config *config);

#endif
