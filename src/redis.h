/* One Redis connection in the libevent loop: connect, authenticate, pipeline commands, run scripts, connect again. Wraps hiredis (its reader and
 * its non-blocking context; not its asynchronous API, which has no timeouts in Debian 12's version).
 */
#ifndef SLUICE_REDIS_H
#define SLUICE_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct event_base;
struct redis_config;

enum redis_type { REDIS_NIL, REDIS_STRING, REDIS_INTEGER, REDIS_ARRAY, REDIS_STATUS, REDIS_ERROR };

/* One value of a reply. Lives in the reply's arena. */
struct redis_value {
	enum redis_type type;
	long long integer;            /* REDIS_INTEGER */
	const char *text;             /* STRING, STATUS, ERROR: NUL-terminated, ARENA_PADDING readable bytes behind; NULL: dropped, see `budget` */
	size_t len;                   /* bytes of text, also of a dropped one */
	struct redis_value **elements; /* ARRAY: n of them */
	size_t n;
};

/* What an error or a lost connection means. */
enum redis_class {
	REDIS_OK,
	REDIS_LOST,       /* connection lost, timeout or protocol error: whether the command ran is not known */
	REDIS_RETRY,      /* TRYAGAIN */
	REDIS_READONLY,   /* READONLY, MOVED: not the primary; the link reconnects */
	REDIS_PAUSE,      /* OOM LOADING MASTERDOWN NOREPLICAS CLUSTERDOWN BUSY MISCONF, and unknown errors: wait and say so */
	REDIS_SETUP,      /* NOAUTH WRONGPASS NOPERM WRONGTYPE CROSSSLOT: an operator must act */
};

/* Called once for each command, in the order sent; never from within the call that sent it. `reply` is NULL for REDIS_LOST (the link is not up then);
 * for the other errors it is the REDIS_ERROR value. It lives in `arena`: who keeps values takes a reference, arena_ref(). `why` is a sentence for the
 * log, "" for REDIS_OK. */
typedef void redis_reply_fn(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why);

/* Called when the link becomes usable (up: connected, authenticated, database selected) and when it is lost or could not be opened.
 * Before `down`, every command under way has been answered with REDIS_LOST. */
struct redis_events {
	void (*up)(void *arg);
	void (*down)(void *arg, enum redis_class class, const char *why);
};

struct redis;

/* A link that connects at once and, after a loss, again and again: backoff 100 ms doubling with jitter to 5 s. The config outlives the link.
 * `name` is its CLIENT SETNAME (letters, digits, `-_.:`). Nothing is called from within redis_open(). The process must ignore SIGPIPE. */
struct redis *redis_open(struct event_base *base, const struct redis_config *config, const char *name, const struct redis_events *events, void *arg);
/* Closes at once; commands under way are forgotten without an answer. Nulls the caller's pointer. Safe inside a callback. */
void redis_close(struct redis **redis);
/* Can commands be sent now? */
bool redis_is_up(const struct redis *redis);
/* Bytes of a word that every Redis takes: proto-max-bulk-len cannot be set to less than twice that. What may be longer goes to a script in pieces. */
#define REDIS_WORD_MAX ((size_t)512 * 1024)
/* Sends a command of argc words; words are copied. Must be up. `timeout_s` 0: the config's command_timeout; a blocking command gives more.
 * `budget`: once the strings of the reply are longer than this together, further ones are dropped (text NULL, len kept), so that memory stays
 * bounded; 0: no bound. A command that is not answered in time closes the link (REDIS_LOST for it and all behind it). */
void redis_command(struct redis *redis, int argc, const char *const *words, const size_t *lens, unsigned timeout_s, size_t budget,
    redis_reply_fn *reply, void *arg);
/* The commands under way that were given this `arg` get no answer any more. */
void redis_forget(struct redis *redis, const void *arg);
/* Drops the connection and connects again (after a failover was seen, or on an operator's word). */
void redis_reconnect(struct redis *redis);
/* The same server in a newer configuration: timeouts count from now on, all else when it connects again. */
void redis_configure(struct redis *redis, const struct redis_config *config);
/* "7.0.15", from INFO at connect time; "" before, or where the ACL forbids INFO. */
const char *redis_version(const struct redis *redis);

/* One blocking command on a connection of its own, for commands such as `check` and `dead`: calls `reply` once, a failure to connect included
 * (then without a value, whatever the class). */
void redis_run_once(const struct redis_config *config, int argc, const char *const *words, const size_t *lens, size_t budget, redis_reply_fn *reply,
    void *arg);

#endif
