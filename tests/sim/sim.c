/* sim [--seed N] [--count N] [--kind K] [--queues N] [--jobs N] [--failures N] [--trace] [--replay SEED]
 *
 * Runs schedules from seed N on, all kinds in turn unless one is named, of one to three queues unless so many are asked for, until so many have
 * failed (5). A schedule that fails is printed with what replays it; then the program ends with 1. --replay runs one schedule and shows every event.
 */
#include "sim.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const kind_names[KINDS] = { "crashes", "fall back", "alike", "foreign", "flush", "restore", "plain" };

struct options {
	uint64_t seed, count;
	int kind;      /* -1: all in turn */
	unsigned queues; /* 0: as the seed decides */
	unsigned jobs;
	unsigned failures; /* so many end the run */
	bool trace;
};

/* Schedules that have failed, in all jobs: memory that they share. */
static _Atomic unsigned *failed;

/* The schedule under way, for the handler of SIGABRT: an ASSERT in the code under test ends the program. */
static struct world world;

static void
aborted(int signal_number)
{
	char text[160];
	int n = snprintf(text, sizeof text, "sim: an assertion failed: replay with --kind %d --queues %u --replay %" PRIu64 "\n", (int)world.kind,
	    world.queues, world.seed);
	(void)signal_number;
	++*failed;
	if (write(STDERR_FILENO, text, (size_t)n) < 0)
		_exit(1);
	_exit(1);
}

static void
report(const struct totals *t, double seconds)
{
#define ROW(name) { #name, t->name }
	const struct { const char *name; uint64_t n; } rows[] = { ROW(schedules), ROW(several), ROW(handed_on), ROW(ailing), ROW(steps), ROW(pushes),
		ROW(commits), ROW(rows), ROW(dead), ROW(settles), ROW(takeovers), ROW(fenced), ROW(reconciled), ROW(guard), ROW(rewritten),
		ROW(crashes), ROW(stops), ROW(stalls), ROW(links_lost), ROW(sessions_lost),
		ROW(failed_statements), ROW(doubts), ROW(doubts_applied), ROW(lock_timeouts), ROW(redis_errors), ROW(fall_backs), ROW(cuts), ROW(foreign),
		ROW(flushes), ROW(restores), ROW(paused_history), ROW(accepted), ROW(skipped), ROW(allowed_twice), ROW(anew), ROW(moves), ROW(rewrites), ROW(risks) };
#undef ROW
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		printf("%-18s %12" PRIu64 "\n", rows[i].name, rows[i].n);
	printf("%.0f schedules/s\n", seconds > 0 ? (double)t->schedules / seconds : 0);
}

static double
seconds_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Every `step`-th schedule from `first` on, until so many have failed. */
static void
run_share(const struct options *o, uint64_t first, uint64_t step, struct totals *totals)
{
	double began = seconds_now(), told = began;
	for (uint64_t i = first; i < o->count && *failed < o->failures; i += step) {
		enum kind kind = o->kind >= 0 ? (enum kind)o->kind : (enum kind)(i % KINDS);
		uint64_t seed = o->seed + (o->kind >= 0 ? i : i / KINDS);
		if (!world_run(&world, seed, kind, o->queues, totals, o->trace)) {
			++*failed;
			fprintf(stderr, "sim: FAILED: %s; replay with --kind %d --queues %u --replay %" PRIu64 " (%s)\n", world.failure, (int)kind, o->queues, seed,
			    kind_names[kind]);
		}
		if (first == 0 && totals->schedules % 1000 == 0 && seconds_now() - told > 10) {
			told = seconds_now();
			fprintf(stderr, "sim: %" PRIu64 " of %" PRIu64 " schedules, %.0f s\n", i, o->count, told - began);
		}
	}
}

/* One child a job; their totals come back through a pipe. */
static void
run_jobs(const struct options *o, struct totals *totals)
{
	int pipes[2];
	if (o->jobs == 1) {
		run_share(o, 0, 1, totals);
		return;
	}
	if (pipe(pipes) != 0) {
		++*failed;
		return;
	}
	for (unsigned job = 0; job < o->jobs; job++) {
		if (fork() != 0)
			continue;
		struct totals share = { .schedules = 0 };
		run_share(o, job, o->jobs, &share);
		_exit(write(pipes[1], &share, sizeof share) != sizeof share);
	}
	close(pipes[1]);
	struct totals share;
	while (read(pipes[0], &share, sizeof share) == sizeof share) {
		for (size_t i = 0; i < sizeof share / sizeof(uint64_t); i++)
			((uint64_t *)totals)[i] += ((uint64_t *)&share)[i];
	}
	for (int status; wait(&status) > 0;)
		*failed += status != 0;
	close(pipes[0]);
}

static uint64_t
number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);
	if (end != text && *end == '\0')
		return n;
	fprintf(stderr, "sim: not a number: %s\n", text);
	exit(64);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "seed", 1, NULL, 's' }, { "count", 1, NULL, 'c' }, { "kind", 1, NULL, 'k' }, { "queues", 1, NULL, 'q' },
		{ "jobs", 1, NULL, 'j' }, { "trace", 0, NULL, 't' }, { "replay", 1, NULL, 'r' }, { "failures", 1, NULL, 'f' }, { NULL, 0, NULL, 0 } };
	struct options o = { .seed = 1, .count = 10000, .kind = -1, .jobs = 1, .failures = 5 };
	struct totals totals = { .schedules = 0 };
	int c;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's': o.seed = number(optarg); break;
		case 'c': o.count = number(optarg); break;
		case 'k': o.kind = (int)(number(optarg) % KINDS); break;
		case 'q': o.queues = (unsigned)(number(optarg) % (LANES_MAX + 1)); break;
		case 'j': o.jobs = number(optarg) > 0 ? (unsigned)number(optarg) : 1; break;
		case 'f': o.failures = (unsigned)number(optarg); break;
		case 't': o.trace = true; break;
		case 'r':
			o.seed = number(optarg);
			o.kind = o.kind < 0 ? 0 : o.kind;
			o.count = o.jobs = o.failures = 1;
			o.trace = true;
			break;
		default: return 64;
		}
	}
	failed = mmap(NULL, sizeof *failed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (failed == MAP_FAILED) {
		perror("sim: mmap");
		return 1;
	}
	signal(SIGABRT, aborted);
	double began = seconds_now();
	run_jobs(&o, &totals);
	report(&totals, seconds_now() - began);
	return *failed > 0;
}
