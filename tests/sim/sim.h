/* A world in one process: daemons that drive the real queue objects, a Redis and a SQL server that can fail in every way, a clock, and one seed that
 * decides the order of everything. The same seed, kind and number of queues give the same schedule.
 *
 *   lane     one configured queue as Redis and SQL hold it: its keys, its orders, and two ledgers: a reload moves it from one to the other
 *   daemon   a process: one worker a lane, and one pool of sessions that they share
 *   worker   one queue object in a process, and its link to Redis: worker.c gives each queue its own
 */
#ifndef SLUICE_SIM_H
#define SLUICE_SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "encode.h"
#include "queue.h"
#include "task.h"
#include "window.h"

#define PUSHES_MAX 160
#define RING_MAX 24
#define BATCH_MAX 4
#define DAEMONS_MAX 3
#define SESSIONS_MAX 3
#define LANES_MAX 3
#define LEDGERS 2        /* of each lane: it is renamed, or moved to another database, and back */
#define LINKS_MAX (DAEMONS_MAX * LANES_MAX + 5) /* some orphans more than workers */
#define POOL_MAX 20      /* SQL connections of the world, those whose client is gone included */
#define COMMANDS_MAX 64
#define SNAPSHOTS_MAX 4
#define DEAD_TEXT_MAX 160
#define LEASE_MS 1000
#define EPOCHS_MAX 1024  /* far more than takeovers in a schedule */
#define AWAY UINT64_MAX

/* Visits each of the first n members of an array. */
#define EACH(array, n, member) for (__auto_type member = &(array)[0]; member < (array) + (n); member++)

/* What may happen in a schedule, and how strict the audit is. */
enum kind {
	KIND_CRASHES,   /* crashes, takeovers, stalls, lost answers, failing statements, poison: exactly once */
	KIND_FALL_BACK, /* and Redis comes back without its last writes: exactly once for what Redis still has */
	KIND_ALIKE,     /* as the first, many payloads identical */
	KIND_FOREIGN,   /* and others take and add items at the consuming end: nothing is removed that was not committed */
	KIND_FLUSH,     /* and Redis is emptied: exactly once for what was pushed later */
	KIND_RESTORE,   /* and SQL comes back from a backup: exactly once for what it had not stored since */
	KIND_PLAIN,     /* as the first, without a ledger: at least once */
	KINDS,
};

enum poison { POISON_NONE, POISON_MESSAGE, POISON_NAMED, POISON_UNNAMED, POISON_DEFERRED };

/* What keeps one of several queues from draining when faults have ceased: the others must drain all the same. */
enum ailment {
	AILMENT_NONE,
	AILMENT_PAUSED,   /* the operator has paused it */
	AILMENT_FULL,     /* there is no room for a dead letter */
	AILMENT_NO_TABLE, /* its table is gone */
	AILMENT_REDIS,    /* Redis refuses to settle it */
	AILMENTS,
};

/* One push. Its number is the index in its lane's orders. */
struct order {
	char text[16];      /* the payload, alike in all lanes; its address tells which push an item is */
	uint32_t len;       /* bytes of text */
	enum poison poison; /* refused: before SQL, by ROWS with or without its name, by COMMIT */
	uint8_t rows;       /* committed rows of it */
	uint8_t dead;       /* dead letters of it that an operator took away */
	bool lost;          /* Redis or SQL lost it, or somebody else took it: need not arrive */
	bool doubtful;      /* in the list after a fall-back further than the ledger remembers: may come twice or die, as the operator says */
	bool accepted;      /* in the list when the operator took the risk that another ledger knows it: may come twice */
};

/* -- Redis */

/* The keys of one queue; list[0] is the consuming end. */
struct redis_data {
	uint16_t list[PUSHES_MAX]; /* orders */
	uint32_t n_list;
	bool known;                /* the hash is there */
	char generation[QUEUE_GENERATION_MAX];
	uint64_t epoch, settled;
	char owner[16];            /* of the epoch: "instance boot" */
	unsigned ledger;           /* that the last owner wrote; if known */
	bool clean;                /* he left nothing that was committed and not settled */
	char lease[16];            /* "instance boot"; "": nobody */
	uint64_t lease_until;      /* ms */
	uint16_t dead[PUSHES_MAX]; /* dead letters, by order */
	uint32_t n_dead;
	uint32_t n_orders;         /* pushes ever, when this was the state: later ones are lost with a fall-back to it */
};

enum command_kind { COMMAND_LEASE, COMMAND_OWN, COMMAND_PEEK, COMMAND_SETTLE, COMMAND_LENGTH, COMMAND_RELEASE };

struct command {
	enum command_kind kind;
	uint64_t view;
	uint64_t sent_at;   /* ms */
	uint64_t ready_at;  /* ms; not run, then not delivered, before */
	bool ran;
	char owner[16];     /* who sent it */
	uint64_t accepted;  /* LEASE, OWN: epoch of the owner whose ledger may be done without */
	bool in_doubt;      /* the answer to these: that owner has to be, and is not */
	uint64_t before;    /* OWN: the epoch that came with the lease */
	uint64_t epoch;     /* OWN, SETTLE, and of the sender at a PEEK */
	char generation[QUEUE_GENERATION_MAX]; /* OWN: the new one; then the answer's */
	bool rewritten;     /* OWN */
	unsigned ledger;    /* of the sender */
	bool clean;         /* RELEASE; then LEASE: the answer's */
	uint64_t offset;    /* PEEK */
	uint32_t count;     /* PEEK */
	size_t budget;      /* PEEK */
	uint64_t settled;   /* SETTLE: believed; then the answer's */
	uint32_t skip, remove, advance; /* SETTLE */
	uint32_t sample_at[4];  /* SETTLE */
	uint16_t sample[4];     /* SETTLE: orders */
	size_t n_samples;
	uint16_t items[PUSHES_MAX]; /* SETTLE: dead letters to write; then PEEK: the answer's */
	uint32_t n_items;
	/* the answer */
	enum redis_class class;
	bool yes;           /* LEASE: granted, OWN: refused, PEEK: cut */
	bool elsewhere;     /* LEASE */
	bool others;        /* LEASE */
	bool fresh;         /* OWN */
	bool disowned;      /* PEEK */
	char holder[16];    /* LEASE */
	uint64_t ttl;       /* LEASE */
	uint64_t backlog, dead; /* lengths */
	enum settle_status status;
};

/* A connection to Redis, in order both ways. */
struct link {
	bool used;
	struct worker *owner;  /* NULL: the client is gone, what it had sent may still run */
	struct lane *lane;     /* whose keys its commands name */
	struct command commands[COMMANDS_MAX]; /* a ring of n from head on; the first `n_ran` of them ran and wait to be delivered */
	unsigned head, n, n_ran;
};

/* -- SQL */

struct sql_row {
	char generation[QUEUE_GENERATION_MAX];
	uint64_t epoch, first;
	uint32_t count;
	uint64_t hashes[BATCH_MAX];
	uint16_t dead_len;
	char dead[DEAD_TEXT_MAX];
};

/* The rows of one queue name in one database. */
struct sql_ledger {
	bool made;
	struct sql_row ring[RING_MAX];
};

/* A statement with all that it needs, as it lies in the server's socket. */
struct sql_request {
	struct statement s;        /* its window pointer is not used any more */
	struct lane *lane;         /* the queue that it names */
	struct sql_ledger *ledger; /* its rows there */
	char generation[QUEUE_GENERATION_MAX];
	uint32_t n_items;          /* of the window */
	uint16_t items[BATCH_MAX]; /* orders */
	bool skip[BATCH_MAX];
	bool untracked;            /* the window wants no row of the ledger */
	struct sql_row row;        /* LEDGER */
};

/* One connection, the server's side and the pool's. */
struct session {
	bool used;
	struct daemon *owner;      /* NULL: its client is gone */
	struct worker *worker;     /* lent to it; NULL: idle in the pool */
	struct worker *last;       /* had it before; NULL: nobody yet */
	struct task *task;         /* that asked the statement under way */
	uint64_t ready_at;         /* ms; nothing happens on it before */
	uint64_t asked_at;         /* ms; of the statement under way */
	bool asked, ran;           /* a statement is under way; its answer is */
	bool broken;               /* the server closed it: the next statement finds out */
	struct sql_request request;
	struct answer answer;      /* once it ran; answer.rows is filled in on delivery */
	struct sql_row rows[RING_MAX]; /* of the answer */
	uint32_t row_slot;         /* ROW_LOCK: the slot of rows[0] */
	/* the transaction */
	struct lane *lane;         /* the queue that began it; while open */
	struct sql_ledger *ledger; /* as above */
	bool open, aborted;        /* aborted: only ROLLBACK is left (PostgreSQL) */
	bool locked[RING_MAX];     /* rows that it holds */
	bool touched[RING_MAX];    /* rows that it changes when it commits */
	struct sql_row changes[RING_MAX];
	uint16_t stored[2 * BATCH_MAX]; /* orders */
	uint32_t n_stored;
	bool ledger_written;       /* LEDGER said 1 in this transaction */
	bool refused;              /* ROWS in pieces refused an item of it, and may go on */
	bool copying;              /* BATCH that commits: the ledger row is written, and the client sends the rows */
};

/* -- one queue, outside of the daemons */

struct lane {
	struct world *world;
	char name[4];
	struct queue_limits limits;
	enum history_choice choice; /* what the operator says to a pause for forgotten history; ASK: nothing */
	enum ailment ailment;
	bool forgotten;        /* paused for forgotten history, and nobody says how to go on */
	uint32_t most_orders;  /* the producer stops there */
	uint32_t n_orders;
	struct redis_data redis;
	uint32_t dead_max;
	struct sql_ledger ledgers[LEDGERS];
	unsigned ledger;       /* the one in force */
	bool consent[EPOCHS_MAX]; /* the operator has said of the owner with that epoch that what he left may be stored again */
	bool moving;           /* a reload names the other one: it is in force once the first worker has handed over */
	/* from here on nothing need be cleared for a new schedule */
	struct redis_data snapshots[SNAPSHOTS_MAX]; /* states that it may fall back to, newest first; world.n_snapshots */
	struct backup {
		struct sql_row rings[LEDGERS][RING_MAX];
		uint8_t rows[PUSHES_MAX]; /* of each order */
	} backup;
	struct order orders[PUSHES_MAX]; /* n_orders of them */
};

/* -- daemons */

/* One queue at work in a process. */
struct worker {
	struct daemon *daemon;
	struct lane *lane;
	char name[8];          /* of both, for the trace */
	struct queue *queue;   /* owned; NULL: the process does not run */
	uint64_t wake_at;      /* ms */
	unsigned wanted;       /* sessions that the pool believes it wants */
	unsigned held;         /* sessions that it has */
	struct link *link;     /* NULL: down */
	uint64_t connect_at;   /* ms; try again then */
	bool waiting;          /* a wait is under way */
	uint64_t wait_until;   /* ms */
	unsigned ledger;       /* that it works with */
	uint64_t doubted;      /* epoch of the owner of whom it was last told that he is in doubt */
	bool ending;           /* told by a reload to stop; begins anew then */
	bool handing;          /* told to hand over */
	uint64_t give_up_at;   /* ms; ending and not handing: then it is given up */
};

struct daemon {
	struct world *world;
	char name[4];
	unsigned boot;
	bool alive;
	bool dying;             /* killed: what the queues still say is not heard */
	bool resting;           /* told to stop; the process ends when all its queues have */
	uint64_t unaware_until; /* ms; hears of no other ledger before */
	uint64_t start_at;      /* ms; while not alive */
	uint64_t stalled_until; /* ms; sees nothing before, not even the clock */
	struct session *sessions[SESSIONS_MAX]; /* its fixed pool, pool_size of them */
	struct worker workers[LANES_MAX]; /* one a lane */
};

/* What may go wrong in this schedule: 1 in `n` steps; 0: never. */
struct faults {
	unsigned crash, stall, stop, link_lost, session_lost, statement, commit_doubt, redis_error, slow;
	unsigned fall_back, snapshot, foreign_pop, foreign_push, foreign_del, flush, operator, kill_idle, backup, restore, anew, move, rewrite;
};

struct totals {
	uint64_t schedules, several, handed_on, ailing, steps, pushes, commits, rows, dead, settles, takeovers, fenced, reconciled, guard, rewritten;
	uint64_t crashes, stops, stalls, links_lost, sessions_lost, failed_statements, doubts, doubts_applied, lock_timeouts, redis_errors;
	uint64_t fall_backs, cuts, foreign, flushes, restores, paused_history, accepted, skipped, allowed_twice, anew, moves, rewrites, risks;
};

struct world {
	uint64_t seed;
	enum kind kind;
	unsigned queues;       /* as asked for; 0: the seed decides */
	uint64_t rng;
	uint64_t now;          /* ms */
	bool trace;
	bool calm;             /* faults have ceased */
	char failure[300];
	struct faults faults;
	unsigned n_lanes, n_daemons;
	unsigned pool_size;    /* sessions of each daemon */
	unsigned poison_in;    /* 1 in so many orders is poison; 0: none */
	bool patient;          /* no daemon ends but by itself: reloads must need no operator to say that orders may be stored again */
	bool twice_allowed;    /* events that the protocol cannot see through may come, see faults_choose() */
	unsigned idle_ticks;   /* ticks at one moment without anything else */
	uint64_t last_tick;
	unsigned n_snapshots;  /* of each lane: Redis falls back with all its keys */
	bool backed_up;        /* each lane has a backup */
	bool aborts;           /* an error aborts the transaction (PostgreSQL), else it undoes the statement only */
	unsigned lock_timeout; /* ms */
	struct totals *totals;
	/* from here on world_run() clears what must be */
	jmp_buf failed;        /* where a failed check jumps to */
	struct lane lanes[LANES_MAX];
	struct daemon daemons[DAEMONS_MAX];
	struct link links[LINKS_MAX];
	struct session pool[POOL_MAX];
};

/* -- world.c */
/* A random number below n (0 < n). */
uint32_t chance(struct world *w, uint32_t n);
/* True once in n; never if n is 0, or if faults have ceased. */
bool fault(struct world *w, unsigned n);
/* How long something takes, ms. */
uint64_t delay(struct world *w);
/* 64 random bits. */
uint64_t random_bits(struct world *w);
/* Ends the schedule as failed. */
void fail(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3) __attribute__((noreturn));
/* A line of the trace. */
void trace(const struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Runs one schedule of so many queues (0: as the seed decides); false: it failed, see world->failure. */
bool world_run(struct world *w, uint64_t seed, enum kind kind, unsigned queues, struct totals *totals, bool trace_it) MUST_CHECK;
/* Which of the lane's orders an item is; fails if it is another lane's. */
uint16_t order_of(const struct lane *lane, const struct item *item);
/* A new order at the producers' end, or at ours. */
void world_push(struct lane *lane, bool at_our_end);

/* -- worker.c */
/* Makes its queue object. */
void worker_start(struct worker *k);
/* The process is being killed: ends what is under way but for its sessions, without any effect on the world. */
void worker_abandon(struct worker *k);
/* It has stopped because of a reload: begins anew, with the ledger that is in force now. */
void worker_renew(struct worker *k);
/* Frees the queue object, which holds no session any more. */
void worker_end(struct worker *k);
/* Its link is gone; `late`: some of what it sent may run yet. */
void worker_link_lost(struct worker *k, bool late);
/* Hands the oldest answer of its link over. */
void worker_deliver(struct worker *k);
/* Hands the answer over to whom the session is lent. */
void worker_answer(struct session *s);
/* The session that is lent is lost: the statement under way is answered so. */
void worker_answer_lost(struct session *s);
/* The operator looks, and chooses if he is asked to and means to. */
void worker_choose(struct worker *k);
/* Does it ask whether another ledger's orders may be stored again? */
bool worker_is_in_doubt(const struct worker *k);
/* Then he says yes. */
void worker_take_risk(struct worker *k);
/* The list is the other ledger's now. */
void lane_move(struct lane *lane);
/* Lends it an idle session of its daemon's. */
void worker_give(struct worker *k);

/* -- daemon.c */
/* Starts a process of this daemon. */
void daemon_start(struct daemon *d);
/* Does what a reload asks for: what must stop is told so, what has stopped begins anew. */
void daemon_follow(struct daemon *d);
/* Kills it: its links and sessions are orphans. */
void daemon_kill(struct daemon *d);
/* Its session is gone. */
void daemon_session_lost(struct session *s);
/* Takes the session out of its daemon's pool; the server finds out later. Another is connected in its place. */
void daemon_drop(struct session *s);
/* An idle session that is connected, or NULL. */
struct session *daemon_idle(const struct daemon *d);
/* Is the process there, and can it do anything now? */
bool daemon_is_awake(const struct daemon *d);

/* -- store.c: the Redis */
/* A new link, or NULL. */
struct link *redis_connect(struct worker *k);
/* Puts a command on the worker's link. NULL: the link is lost meanwhile, the command went nowhere. */
struct command *redis_send(struct worker *k, enum command_kind kind, uint64_t view);
/* Runs the oldest command of the link that did not run yet. */
void redis_run(struct link *link);
/* The oldest that did not run yet, or NULL. */
struct command *redis_unrun(struct link *link);
/* Forgets the client; what was sent may run later, or some of it, or nothing. */
void redis_orphan(struct world *w, struct link *link, bool late);
/* Remembers a state to fall back to. */
void redis_snapshot(struct world *w);
/* Comes back with an earlier state. */
void redis_fall_back(struct world *w);
/* FLUSHALL. */
void redis_flush(struct world *w);

/* -- sql.c */
/* A new connection in the pool, or NULL. */
struct session *sql_connect(struct world *w, struct daemon *d);
/* Can its statement run now, or has it waited too long? */
bool sql_can_run(const struct world *w, const struct session *s);
/* Runs the statement under way; the answer is in the session. */
void sql_run(struct world *w, struct session *s);
/* Ends an orphan: a COMMIT under way may be applied, all else is undone. */
void sql_end_orphan(struct world *w, struct session *s);
/* Undoes the transaction. */
void sql_rollback(struct session *s);
/* Remembers the rows and the ledger as they are. */
void sql_back_up(struct world *w);
/* Comes back as it was backed up. */
void sql_restore(struct world *w);
/* Is a statement of the queue under way, or a transaction open? */
bool sql_is_busy(const struct lane *lane);

/* -- faults.c */
/* What may happen in this schedule, and with how many queues. */
void faults_choose(struct world *w);
/* Lets one thing happen that is not an answer; most times nothing does. */
void faults_step(struct world *w);
/* No faults any more: all come back, stalls end; one of several queues may still be ailing. */
void faults_cease(struct world *w);
/* No queue is ailing any more; false: none was. */
bool faults_heal(struct world *w) MUST_CHECK;

/* -- audit.c */
/* At a COMMIT: this order has become a row. */
void audit_row(struct lane *lane, uint16_t order);
/* At a COMMIT: this ledger row is overwritten. */
void audit_overwrite(struct lane *lane, const struct sql_row *old);
/* At a settle: this order is removed; `dead` is what the same settle writes as dead letters. */
void audit_remove(struct lane *lane, uint16_t order, const uint16_t *dead, uint32_t n_dead);
/* After every step. */
void audit_step(struct world *w);
/* At the end: where is every order? */
void audit_end(struct lane *lane);
/* At OWN: of what waits now, the positions before those that the ledger surely remembers are in doubt. */
void audit_doubt(struct lane *lane);
/* A daemon becomes the owner without what the last one's ledger knows, as the operator has said: what waits may come twice. */
void audit_risk(struct lane *lane);
/* Is a pause for forgotten history justified? */
void audit_history(struct lane *lane);

#endif
