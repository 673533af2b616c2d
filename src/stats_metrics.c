/* The snapshot as Prometheus text (https://prometheus.io/docs/instrumenting/exposition_formats/). */
#include "stats.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "buf.h"
#include "config.h"
#include "daemon.h"
#include "stats_private.h"
#include "version.h"

#define EXACT_MAX 9007199254740992.0 /* whole numbers up to here are exact in a double */

static void
family(struct buf *out, const char *name, const char *type, const char *help)
{
	ASSERT(help[strcspn(help, "\\\n")] == '\0');
	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
add_value(struct buf *out, double value)
{
	if (value >= 0 && value <= EXACT_MAX && floor(value) >= value)
		buf_addf(out, " %.0f\n", value);
	else
		buf_addf(out, " %.15g\n", value);
}

static void
add_label(struct buf *out, const char *name, const char *text)
{
	buf_addf(out, "%s=\"", name);
	for (; *text != '\0'; text++) {
		if (*text == '\n')
			buf_adds(out, "\\n");
		else if (*text == '"' || *text == '\\')
			buf_addf(out, "\\%c", *text);
		else
			buf_addc(out, *text);
	}
	buf_addc(out, '"');
}

/* One line; behind the value come names and texts of labels in turn, then NULL. */
static void
sample(struct buf *out, const char *name, double value, ...)
{
	const char *label;
	char before = '{';
	va_list labels;
	ASSERT(name[0] != '\0' && name[strcspn(name, " {}\"")] == '\0');
	buf_adds(out, name);
	va_start(labels, value);
	while ((label = va_arg(labels, const char *)) != NULL) {
		buf_addc(out, before);
		add_label(out, label, va_arg(labels, const char *));
		before = ',';
	}
	va_end(labels);
	if (before == ',')
		buf_addc(out, '}');
	add_value(out, value);
}

static void
single(struct buf *out, const char *name, const char *type, const char *help, double value)
{
	family(out, name, type, help);
	sample(out, name, value, NULL);
}

/* One sample a queue; `expression` is about `q`, and `queue` is its name. */
#define EACH_QUEUE(s, q) \
	for (const struct stats_queue *q = (s)->queues; q < (s)->queues + (s)->n_queues; q++)
#define QUEUE_NAME(q) ((q)->worker.config->name)
#define QUEUE_FAMILY(name, type, help, expression) \
	do { \
		family(out, name, type, help); \
		EACH_QUEUE (s, q) \
			sample(out, name, (double)(expression), "queue", QUEUE_NAME(q), NULL); \
	} while (0)

static void
queue_gauges(const struct stats *s, struct buf *out)
{
	QUEUE_FAMILY("sluice_queue_backlog", "gauge", "items in the list, those in flight included", q->queue.backlog);
	QUEUE_FAMILY("sluice_queue_inflight_items", "gauge", "items read and not settled yet", q->queue.inflight);
	QUEUE_FAMILY("sluice_queue_oldest_age_seconds", "gauge", "how long the oldest item has waited in the list", q->worker.oldest_age_s);
	QUEUE_FAMILY("sluice_queue_pushed_items", "gauge", "items that came since the queue was taken over, those that waited then included",
	    q->queue.pushed);
	QUEUE_FAMILY("sluice_queue_difference_items", "gauge", "items removed from the list whose fate is not counted; anything but 0 is an alarm",
	    q->queue.difference);
	QUEUE_FAMILY("sluice_queue_dead_letters", "gauge", "dead letters in their list", q->queue.dead);
	family(out, "sluice_queue_state", "gauge", "1 for the state that the queue is in");
	EACH_QUEUE (s, q) {
		const char *state;
		for (size_t i = 0; (state = stats_state(i)) != NULL; i++)
			sample(out, "sluice_queue_state", strcmp(state, q->state) == 0, "queue", QUEUE_NAME(q), "state", state, NULL);
	}
}

static void
queue_counters(const struct stats *s, struct buf *out)
{
#define COUNTER(field, metric, help) QUEUE_FAMILY(metric, "counter", help, q->queue.counters->field);
#include "counters.def"
#undef COUNTER
	family(out, "sluice_items_dead_total", "counter", "items that became dead letters");
	EACH_QUEUE (s, q) {
		for (size_t i = 0; i < STATS_CLASSES; i++)
			sample(out, "sluice_items_dead_total", (double)q->queue.counters->dead[i], "queue", QUEUE_NAME(q), "reason", stats_reason(i), NULL);
	}
	family(out, "sluice_batches_total", "counter", "transactions that ended");
	EACH_QUEUE (s, q) {
		sample(out, "sluice_batches_total", (double)q->queue.counters->batches_ok, "queue", QUEUE_NAME(q), "result", "committed", NULL);
		sample(out, "sluice_batches_total", (double)q->queue.counters->batches_failed, "queue", QUEUE_NAME(q), "result", "rolled back", NULL);
	}
	family(out, "sluice_retries_total", "counter", "failures, by what they meant");
	EACH_QUEUE (s, q) {
		for (size_t i = DB_OK + 1; i < STATS_CLASSES; i++)
			sample(out, "sluice_retries_total", (double)q->queue.counters->retries[i], "queue", QUEUE_NAME(q), "class",
			    db_class_name((enum db_class)i), NULL);
	}
}

/* `name` with a suffix, for the three parts of a histogram. */
static void
histogram(struct buf *out, const char *name, const char *queue, const struct histogram *h)
{
	char part[80], bound[32];
	uint64_t count = 0;
	ASSERT(h->bounds != NULL);
	ASSERT(strlen(name) + sizeof "_bucket" <= sizeof part);
	snprintf(part, sizeof part, "%s_bucket", name);
	for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
		ASSERT(i == 0 || i == HISTOGRAM_BUCKETS || h->bounds[i - 1] < h->bounds[i]);
		count += h->counts[i];
		if (i < HISTOGRAM_BUCKETS)
			snprintf(bound, sizeof bound, "%g", h->bounds[i]);
		sample(out, part, (double)count, "queue", queue, "le", i < HISTOGRAM_BUCKETS ? bound : "+Inf", NULL);
	}
	snprintf(part, sizeof part, "%s_sum", name);
	sample(out, part, h->sum, "queue", queue, NULL);
	snprintf(part, sizeof part, "%s_count", name);
	sample(out, part, (double)count, "queue", queue, NULL);
}

#define QUEUE_HISTOGRAM(name, help, field) \
	do { \
		family(out, name, "histogram", help); \
		EACH_QUEUE (s, q) \
			histogram(out, name, QUEUE_NAME(q), &q->worker.meter->field); \
	} while (0)

static void
queue_histograms(const struct stats *s, struct buf *out)
{
	QUEUE_HISTOGRAM("sluice_commit_duration_seconds", "from BEGIN to the answer to COMMIT", commit_duration);
	QUEUE_HISTOGRAM("sluice_batch_rows", "rows of a committed transaction", batch_rows);
	QUEUE_HISTOGRAM("sluice_queue_wait_seconds", "how long an item stood in the list, one sample a settle", wait);
}

static void
pools(const struct daemon_view *daemon, struct buf *out)
{
	family(out, "sluice_pool_size", "gauge", "connections that the pool keeps");
	for (size_t i = 0; i < daemon->n_pools; i++)
		sample(out, "sluice_pool_size", pool_config(daemon->pools[i])->pool_size, "database", pool_config(daemon->pools[i])->name, NULL);
	family(out, "sluice_pool_connections", "gauge", "connections in each state");
	for (size_t i = 0; i < daemon->n_pools; i++) {
		for (enum session_state state = SESSION_CONNECTING; state <= SESSION_BUSY; state++)
			sample(out, "sluice_pool_connections", pool_count(daemon->pools[i], state), "database", pool_config(daemon->pools[i])->name, "state",
			    stats_session_state(state), NULL);
	}
	family(out, "sluice_database_up", "gauge", "1 while any connection is open");
	for (size_t i = 0; i < daemon->n_pools; i++)
		sample(out, "sluice_database_up", pool_is_up(daemon->pools[i]), "database", pool_config(daemon->pools[i])->name, NULL);
	family(out, "sluice_connection_errors_total", "counter", "connections that failed to open or were lost");
	for (size_t i = 0; i < daemon->n_pools; i++) {
		for (size_t class = DB_OK + 1; class < STATS_CLASSES; class++)
			sample(out, "sluice_connection_errors_total", (double)pool_errors(daemon->pools[i])[class], "database",
			    pool_config(daemon->pools[i])->name, "class", db_class_name((enum db_class)class), NULL);
	}
}

/* Pages of virtual and resident memory; zero where /proc does not tell. */
static void
memory_pages(double *virtual, double *resident)
{
	char line[100] = "", *rest;
	FILE *file = fopen("/proc/self/statm", "re");
	if (file != NULL) {
		if (fgets(line, sizeof line, file) == NULL)
			line[0] = '\0';
		fclose(file);
	}
	*virtual = strtod(line, &rest);
	*resident = strtod(rest, NULL);
}

static double
open_files(void)
{
	int n = 0;
	DIR *directory = opendir("/proc/self/fd");
	if (directory == NULL)
		return 0;
	for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
		n += entry->d_name[0] != '.';
	closedir(directory);
	return n - 1; /* without the one that we looked through */
}

static void
process(const struct daemon_view *daemon, struct buf *out)
{
	struct rusage used;
	struct rlimit files;
	double virtual, resident, page = (double)sysconf(_SC_PAGESIZE);
	ASSERT(getrusage(RUSAGE_SELF, &used) == 0);
	ASSERT(getrlimit(RLIMIT_NOFILE, &files) == 0);
	memory_pages(&virtual, &resident);
	single(out, "process_cpu_seconds_total", "counter", "user and system time",
	    (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	single(out, "process_resident_memory_bytes", "gauge", "memory in use", resident * page);
	single(out, "process_virtual_memory_bytes", "gauge", "address space in use", virtual * page);
	single(out, "process_open_fds", "gauge", "open files and sockets", open_files());
	single(out, "process_max_fds", "gauge", "open files and sockets that are allowed", (double)files.rlim_cur);
	single(out, "process_start_time_seconds", "gauge", "when the daemon started, since 1970", (double)daemon->started_us / 1e6);
}

void
stats_metrics(const struct daemon_view *daemon, struct buf *out)
{
	struct stats s = stats_look(daemon);
	family(out, "sluice_build_info", "gauge", "the version that runs");
	sample(out, "sluice_build_info", 1, "version", PACKAGE_VERSION, NULL);
	single(out, "sluice_config_last_reload_successful", "gauge", "1 unless the configuration was refused at the last reload", daemon->reload_ok);
	single(out, "sluice_config_last_reload_success_timestamp_seconds", "gauge", "when the configuration in force was read, since 1970",
	    (double)daemon->configured_us / 1e6);
	single(out, "sluice_redis_up", "gauge", "1 while every queue is connected to Redis", s.redis_up);
	single(out, "sluice_redis_memory_ratio", "gauge", "memory that Redis uses, as a share of maxmemory; 0 without that limit", stats_memory_ratio(&s));
	queue_gauges(&s, out);
	queue_counters(&s, out);
	queue_histograms(&s, out);
	pools(daemon, out);
	process(daemon, out);
	stats_end(&s);
}
