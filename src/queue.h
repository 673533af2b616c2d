/* One queue: peek -> commit -> settle, as a state machine. Pure: time and answers come in as arguments, what is to be done goes out through the ports;
 * the daemon's worker.c and a simulator drive the very same object.
 *
 *   STANDBY --lease--> PREPARE --> RAISE --> OWN --> RECALL --> DRAIN --> STOPPED
 *      ^                  |          |        |        |          |
 *      +--- lease lost, fenced, Redis lost: from anywhere --------+
 *
 *   STANDBY   another daemon drains, or Redis is away: asks for the lease now and then
 *   PREPARE   has the lease: reads the catalogue, makes the ledger where it is missing
 *   RAISE     writes the next epoch into the ledger, which fences every former owner
 *   OWN       writes the epoch into Redis, learns generation and position
 *   RECALL    reads the ledger
 *   DRAIN     peeks, commits and settles. Ledger rows behind the settled position are matched against the list as they come (reconciling)
 *   STOPPED   nothing in flight, lease given back
 *
 * How it comes to STOPPED depends on who drains the list next:
 *
 *   queue_stop()       somebody who reads the same ledger: what is committed and cannot be settled now is left to him
 *   queue_hand_over()  somebody who reads another ledger, or nobody: all that this ledger says is committed is settled first, whatever it takes. The
 *                      queue goes through the states above for that, if it must; but it begins nothing new
 *
 * A queue that cannot go on is `blocked` in its state, with a reason and a time to try again.
 */
#ifndef SLUICE_QUEUE_H
#define SLUICE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "redis.h"
#include "task.h"

struct arena;
struct item;
struct queue;

enum queue_state { QUEUE_STANDBY, QUEUE_PREPARE, QUEUE_RAISE, QUEUE_OWN, QUEUE_RECALL, QUEUE_DRAIN, QUEUE_STOPPED };
/* "standby" ... for logs and metrics. */
const char *queue_state_name(enum queue_state state);

/* Why nothing new is started. */
enum queue_block {
	BLOCK_NONE,
	BLOCK_RETRY,    /* a passing error: backoff */
	BLOCK_SETUP,    /* table, rights, schema: an operator must act; tried again now and then */
	BLOCK_DEAD_FULL, /* dead_letter_max is reached */
	BLOCK_HISTORY,  /* Redis fell back further than the ledger remembers, or another ledger may: an operator must choose */
	BLOCK_OPERATOR, /* paused by hand */
};

/* What happens to orders that may have been stored before Redis fell back. */
enum history_choice {
	HISTORY_ASK,    /* nothing, until the operator chooses */
	HISTORY_ACCEPT, /* they are stored, perhaps a second time, and without a row in the ledger: at least once */
	HISTORY_SKIP,   /* they become dead letters, to be looked at and retried */
};

#define QUEUE_GENERATION_MAX 33 /* 32 hex digits and NUL */

/* Fixed while it works, except through queue_set_limits(). */
struct queue_limits {
	uint32_t batch_rows;      /* items a window at most */
	size_t batch_bytes;       /* payload bytes a window at most; a larger item is a window of its own */
	size_t max_item_bytes;    /* known here only to size peeks */
	unsigned sessions;        /* connections it may hold at once */
	uint32_t ledger_rows;     /* rows of the ring */
	bool ledger;              /* false: at-least-once */
	unsigned lease_ms;        /* time to live of the lease */
	unsigned backoff_ms;      /* first wait after a failure */
	unsigned rate;            /* rows a second; 0: no limit */
};

struct queue_counters {
#define COUNTER(field, metric, help) uint64_t field; /* see counters.def */
#include "counters.def"
#undef COUNTER
	uint64_t batches_ok;      /* transactions committed */
	uint64_t batches_failed;  /* transactions rolled back */
	uint64_t dead[10];        /* dead letters by enum db_class; DB_OK stands for "message" */
	uint64_t retries[10];     /* failures by enum db_class */
	uint64_t recounted;       /* items that stand in two of these: committed and then found in the ledger, or taken by others, say */
	int64_t moved;            /* positions by which Redis went on or back without an answer to us: a settle's that got lost, a fall-back */
};

/* What a settle asks for; adapters turn the windows' rejects into dead letters. */
struct settle {
	uint64_t epoch, settled;         /* what we believe; refused otherwise */
	uint32_t skip;                   /* items at the consuming end that others pushed there: they stay */
	uint32_t remove;                 /* items to take off behind them */
	uint32_t advance;                /* positions to go on; remove + those that others took */
	struct window *const *windows;   /* n_windows, oldest first, all COMMITTED */
	size_t n_windows;
	struct { uint32_t offset; const struct item *item; } samples[4]; /* the guard: the list must show these, offsets counted behind skip */
	size_t n_samples;
};

/* What makes us the owner of the list. */
struct claim {
	uint64_t before;            /* the epoch that came with the lease: refused if another stands there */
	uint64_t epoch;             /* ours */
	uint64_t accepted;          /* see the port `lease` */
	const char *new_generation; /* for when Redis has none, */
	bool rewritten;             /* or the list made no sense */
};

enum settle_status { SETTLE_OK, SETTLE_FENCED, SETTLE_MOVED, SETTLE_GUARD, SETTLE_FULL };

/* Answers of the Redis side. `class` other than REDIS_OK: the rest is undefined but `why`. */
struct lease_answer {
	enum redis_class class;
	const char *why;       /* for the log */
	bool granted;
	const char *holder;    /* who has it, if not we: "instance boot" */
	uint64_t ttl_ms;       /* left to the holder */
	uint64_t epoch;        /* in Redis; 0: the queue never had an owner */
	const char *ledger;    /* that its last owner wrote, in words; "": none */
	bool elsewhere;        /* it is another than ours */
	bool others;           /* the epoch is another process's: of two ledgers, both may have counted up to it */
	bool clean;            /* its last owner left nothing that was committed and not settled */
	bool in_doubt;         /* nobody has it, nor do we get it: not clean, elsewhere, and orders wait */
};
struct own_answer {
	enum redis_class class;
	const char *why;
	bool refused;           /* another epoch than claim.before stands there, or the lease is not ours */
	bool in_doubt;          /* refused as the lease is */
	const char *generation; /* at most QUEUE_GENERATION_MAX - 1 bytes */
	bool fresh;             /* made by this call */
	uint64_t settled, backlog;
};
struct peek_answer {
	enum redis_class class;
	const char *why;
	const struct item *items; /* n of them, the item at the offset first; texts live in the arena */
	uint32_t n;
	bool disowned;            /* after the reading another epoch than ours stood there, or another's, or none: Redis was emptied, or another took over */
	bool cut;                 /* the budget ended it; else fewer than asked for means the list's end */
	struct arena *arena;      /* may be NULL in tests */
};
struct settle_answer {
	enum redis_class class;
	const char *why;
	enum settle_status status;
	uint64_t settled, backlog, dead; /* after it */
};

/* What the queue asks the world to do. Every call that has an answer gets it later, by the function named, never from within the call, with the same
 * `view`. Answers of the Redis side may be left out when the link is lost, if queue_redis_down() is called then. */
struct queue_ports {
	void (*lease)(void *world, uint64_t view, uint64_t accepted); /* queue_leased(); what the owner of the epoch `accepted` left may be stored again */
	void (*own)(void *world, uint64_t view, const struct claim *claim);                                 /* queue_owned() */
	void (*peek)(void *world, uint64_t view, uint64_t offset, uint32_t count, size_t budget);           /* queue_peeked() */
	void (*settle)(void *world, uint64_t view, const struct settle *settle);                            /* queue_settled() */
	void (*wait)(void *world, uint64_t view);    /* queue_woken(): there is an item, or time is up; takes nothing */
	void (*length)(void *world, uint64_t view);  /* queue_measured() */
	void (*release)(void *world, uint64_t view, bool clean); /* gives the lease back; `clean`: nothing is committed and not settled. queue_released() */
	void (*ask)(void *world, struct task *task, const struct statement *statement); /* queue_answered() */
	void (*give_back)(void *world, struct session *session, bool lost); /* the session is the pool's again */
	void (*want)(void *world, unsigned sessions); /* how many more sessions it could use at once; the pool calls queue_give() */
	/* Before a STORE: marks the rejects of its window that need no server to be seen (bad JSON). False: the messages do not fit the table as it was
	 * last looked at (a field without a column); it may have been altered. */
	bool (*prepare)(void *world, struct task *task);
	void (*wake_at)(void *world, uint64_t ms);    /* queue_tick() then, or a little later; replaces the earlier one; UINT64_MAX: never */
	uint64_t (*random)(void *world);              /* 64 random bits */
	void (*tell)(void *world, int level, const char *text); /* a line for the log and the events, level as enum log_level */
};

/* A queue in STANDBY that waits for queue_redis_up(). `instance` is our name, to recognise ourselves in a lease; copied. */
struct queue *queue_new(const struct queue_ports *ports, void *world, const struct queue_limits *limits, const char *instance);
/* A stopped queue begins as queue_new() makes it; its counters and the operator's pause go on. */
void queue_renew(struct queue *q, uint64_t now, const struct queue_limits *limits);
/* Frees; no session may be out. Nulls the caller's pointer. */
void queue_free(struct queue **queue);

/* Inputs; `now` is monotonic milliseconds and never goes back. */
/* The link to Redis is usable: asks for the lease at once. */
void queue_redis_up(struct queue *q, uint64_t now);
/* The link was lost: everything asked of Redis may have happened or not; takes the queue over anew when it is up again. */
void queue_redis_down(struct queue *q, uint64_t now);
/* Answers to the ports of the same name. */
void queue_leased(struct queue *q, uint64_t now, uint64_t view, const struct lease_answer *a);
/* As above. */
void queue_owned(struct queue *q, uint64_t now, uint64_t view, const struct own_answer *a);
/* As above; the items are copied, the arena is referenced. */
void queue_peeked(struct queue *q, uint64_t now, uint64_t view, const struct peek_answer *a);
/* As above. */
void queue_settled(struct queue *q, uint64_t now, uint64_t view, const struct settle_answer *a);
/* The lease was given back; `released`: it was ours still, and is clean if it was to be. */
void queue_released(struct queue *q, uint64_t now, uint64_t view, enum redis_class class, bool released);
/* The wait is over. `poll`: this Redis cannot block for us, look again in a little while. */
void queue_woken(struct queue *q, uint64_t now, bool poll);
/* Lengths of the list and of the dead letters. */
void queue_measured(struct queue *q, uint64_t now, uint64_t view, uint64_t backlog, uint64_t dead);
/* The answer to a task's statement; the task may be freed by this call. */
void queue_answered(struct queue *q, uint64_t now, struct task *task, const struct answer *a);
/* Time has passed. */
void queue_tick(struct queue *q, uint64_t now);
/* Lends a session; false: nothing to do with it (any more), the pool keeps it. */
bool queue_give(struct queue *q, uint64_t now, struct session *session) MUST_CHECK;
/* The window that the next lent session may get to store, behind it (n = 1) the one after that ...; NULL: none that is known. For who wants to make
 * them ready; they live until the next call. */
const struct window *queue_next(const struct queue *q, unsigned n);
/* Starts nothing new until queue_resume(); what is in flight is finished. */
void queue_pause(struct queue *q, uint64_t now);
/* Ends any block, the operator's or another, and tries again at once. */
void queue_resume(struct queue *q, uint64_t now);
/* The operator's answer to BLOCK_HISTORY: what becomes of the orders that may have been stored already. False: nobody has asked, or they cannot be
 * skipped, because only another ledger knows which they are. It holds until they are dealt with, Redis falls back once more, or another daemon owns
 * the list. */
bool queue_choose(struct queue *q, uint64_t now, enum history_choice choice);
/* Counts from now on: what was read keeps its size, a lower number of sessions is reached as they come back. The ledger must stay as it is. */
void queue_set_limits(struct queue *q, uint64_t now, const struct queue_limits *limits);
/* Finishes what is in flight, gives the lease back: then STOPPED. What was read and not begun stays in the list, unless something behind it was
 * committed; a queue that an operator must mend does not wait for that: the ledger tells the next owner. */
void queue_stop(struct queue *q, uint64_t now);
/* As queue_stop(), for a list that is drained by another ledger from now on: STOPPED only when nothing that our ledger says is committed stands in the
 * list, and until then `reason` tells what it waits for; queue_stop() ends the waiting. Where another daemon drains the list, we wait as its standby:
 * if it dies, what it left is ours to settle. It is not waited for when it writes another ledger, or when the list never had an owner: then ours has
 * nothing to say. Takes back a queue_stop() that has not ended yet. Without a ledger it is queue_stop(). */
void queue_hand_over(struct queue *q, uint64_t now);
/* As queue_stop(), but waits only for answers that are under way: neither for the truth about a COMMIT in doubt nor for what stands before a committed
 * window. The ledger tells the next owner. */
void queue_give_up(struct queue *q, uint64_t now);

/* Outputs for stats. */
struct queue_view {
	enum queue_state state;
	enum queue_block block;
	bool by_redis;          /* Redis refuses something, and that is the block */
	const char *reason;     /* of the block, the standby, or why the list is not handed over yet; "" if none */
	uint64_t settled;       /* position */
	uint64_t backlog;       /* items in the list when last seen */
	uint64_t dead;          /* dead letters when last seen */
	uint64_t inflight;      /* items in windows */
	uint64_t unsent;        /* of these, not given to SQL: read ahead, or to be tried again */
	bool asks_redis;        /* Redis is asked to make us the owner, for items, or to remove some */
	unsigned sessions;      /* connections held */
	unsigned wanted;        /* more that it could use */
	uint64_t pushed;        /* items that came since the queue was first taken over, with those that waited then */
	uint64_t unsettled;     /* items that are counted as committed or found in the ledger, and not removed from the list yet */
	int64_t difference;     /* items removed from the list, less those whose fate is counted: must be 0 */
	uint64_t epoch;
	const struct queue_counters *counters;
};
/* A snapshot; pointers are valid until the next input. */
void queue_look(const struct queue *q, struct queue_view *view);
/* The generation that positions and ledger rows belong to; "" before OWN. */
const char *queue_generation(const struct queue *q);
/* Walks all windows, ring rows and counters and ASSERTs what must hold; for debug builds and the simulator. */
void queue_check(const struct queue *q);

#endif
