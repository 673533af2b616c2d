/* What the parts of the queue's state machine share: queue.c (life cycle), queue_block.c (what was refused), queue_flow.c (peek and settle),
 * queue_store.c (tasks on SQL), queue_ring.c (the ledger's rows), queue_history.c (a fall-back further than they remember). */
#ifndef SLUICE_QUEUE_INNER_H
#define SLUICE_QUEUE_INNER_H

#include "list.h"
#include "log.h"
#include "queue.h"
#include "reconcile.h"
#include "window.h"

#define NEVER UINT64_MAX
#define REASON_MAX 600
#define SETTLE_WINDOWS_MAX 32 /* bounds how long one script holds Redis up */
#define SETTLE_DEAD_MAX 1000  /* dead letters of one script, unless a single window has more: Redis before 7 takes a million words at most */
#define BACKOFF_MAX_MS 30000

/* How it is to end; what comes later waits for less. */
enum ending { GOES_ON, HANDS_OVER, STOPS, GIVES_UP };

/* A row of the ledger ring, as far as choosing one needs it. */
struct ring_row {
	uint64_t first, end; /* positions that it covers; alike: empty, or cut away from `first` on */
	bool busy;           /* a transaction of ours writes it, or may have */
};

/* Rows that are not busy, in the order of their ends. */
struct ring_order {
	uint32_t *slots; /* n of them; owned */
	size_t n;
};

/* The ledger ring: n rows, by slot. */
struct ring {
	struct ring_row *rows;    /* owned; only ring_set() changes one */
	size_t n;
	struct ring_order empty;  /* those that may be used */
	struct ring_order full;   /* those that may be, once their end is settled */
	unsigned n_rows;          /* in all; without the slots that SQL did not show */
	unsigned n_busy, n_empty; /* of them */
};

/* A settle under way. */
struct settling {
	bool active;
	uint64_t base;                                /* settled when it was sent */
	uint32_t remove, advance;                     /* as in struct settle */
	struct window *windows[SETTLE_WINDOWS_MAX]; /* n of them; still on the queue's list */
	size_t n;
};

/* A peek under way. */
struct peeking {
	bool active;
	bool stale;      /* the view on the list changed after it was sent: drop the answer */
	bool aligning;   /* reads the list's end again, to align it with what we know */
	bool overlap;    /* items[0] must be the last item that we know */
	uint64_t first;  /* position of the first new item */
	uint32_t count;  /* asked for */
	bool planned;    /* exactly the next plan row's range */
};

struct queue {
	const struct queue_ports *ports;
	void *world; /* handed to the ports */
	struct queue_limits limits;
	char *instance; /* owned */
	enum queue_state state;
	uint64_t now;  /* ms, of the last input */
	uint64_t view; /* grows whenever what we know of the list starts anew; older answers are dropped */

	/* why nothing new is started */
	enum queue_block block;
	char reason[REASON_MAX];
	uint64_t block_until; /* ms */
	unsigned block_ms;    /* last wait, doubling */
	const char *refused_by_redis; /* what Redis refused, if that is the reason; ends when it takes just that. NULL: another reason. A literal */
	bool paused;          /* by the operator */
	enum ending ending;
	bool handed_over;     /* our ledger has nothing to say (any more) about what is in the list */
	bool releasing;       /* the lease is being given back: the last that happens */
	bool left_clean;      /* and with it that nothing is left to settle, which must not get lost: who writes another ledger waits for that */
	bool released;        /* it is */
	uint64_t tell_at;     /* ms; HANDS_OVER: say then what it waits for, 0: it was said */
	char waits_for[REASON_MAX + 400]; /* HANDS_OVER: the sentence; "" before tell_at */
	unsigned refused;     /* rows that the table refused, less those that it took: most of them bad is no longer the data's fault */
	double refusal_rate;  /* rows that the table refused, of all rows of late */

	/* ownership */
	bool redis_up;
	bool leasing;          /* lease asked for, not answered */
	uint64_t lease_at;     /* ms; ask (again) then */
	uint64_t asked_until;  /* ms; what was asked for lasts so long, if it is given */
	uint64_t lease_end;    /* ms; so long nobody else gets it, surely */
	uint64_t epoch;        /* ours, from RAISE on; before, leased_epoch */
	uint64_t leased_epoch; /* the one that was in Redis when the lease was given */
	char generation[QUEUE_GENERATION_MAX];
	bool rewritten;        /* the list made no sense: take a new generation at the next OWN */
	bool renewed;          /* this generation is there because of that */
	bool elsewhere;        /* as in the lease's answer */
	bool clean;            /* as there */
	uint64_t doubted;      /* epoch of an owner whose ledger is not ours, and which the operator was asked about; 0: none */
	uint64_t accepted;     /* epoch of the one that he has accepted; 0: none */
	uint64_t settled;      /* position of the list's oldest item */

	/* the ledger */
	struct ring ring;
	struct plan plan;      /* rows still to be held against the list */
	struct ledger_cut *cuts; /* n_cuts waiting for a CUT task; owned until then */
	size_t n_cuts;
	bool cutting;          /* cuts wait or run: nothing new is written */
	enum history_choice choice; /* what happens to the orders in doubt; ASK: there are none, or nobody has chosen yet */
	uint64_t doubt_from;   /* with choice: it holds for positions from here on, */
	uint64_t doubt_memory; /* as long as the ledger surely remembers from here on */
	uint64_t doubt_end;    /* with choice, in DRAIN: positions before this one are in doubt; nothing behind them is read before they are settled */
	bool history_ended;    /* what stands behind them was pushed later, at positions that the ledger knows as something else: needs a new generation */
	bool recheck;          /* the table must be looked at again before the next store */
	bool row_locked;       /* and the ledger with it: somebody has a row locked, perhaps a lost connection of ours, which the look ends */
	uint64_t tell_locked_at; /* ms; not told again before this */
	uint64_t looked_at;    /* ms; when the table was last looked at */
	bool altered;          /* it was another table then, and has taken no row since: what it refuses now is not the rows' fault */

	/* the flow */
	struct list windows;   /* by position, from `settled` on, without gaps */
	struct peeking peek;
	struct settling settle;
	bool waiting;          /* a wait is under way; it belongs to the link, not to the view */
	uint64_t poll_at;      /* ms; look at the list then, NEVER: no need */
	bool aligning;         /* the list was changed by others: see what is there before anything else */
	unsigned guard_streak; /* refusals since the last settle that was taken */
	uint32_t skip;         /* items that others pushed at our end: they stay until everything behind them is settled */
	uint64_t average;      /* bytes an item, of the last peek */
	uint64_t backlog, dead; /* lengths when last seen */
	uint64_t measure_at;   /* ms */

	/* SQL */
	unsigned running;      /* tasks under way */
	bool control;          /* one of them is not STORE or RESOLVE */
	unsigned wanted;       /* last told to the pool */
	int64_t tokens;        /* rows that rate_limit allows now */
	uint64_t tokens_at;    /* ms, when they were counted */

	struct queue_counters counters;
};

/* The smaller of the two. */
static inline unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* -- queue.c */
/* A line for the log and the event list. */
void queue_tell(struct queue *q, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* May nothing at all be started now? The operator's pause lets a stopping queue finish what was begun. */
bool queue_is_halted(const struct queue *q);
/* May the list not be read now? A stopping queue has no need of it, unless it hands over. */
bool queue_is_blocked(const struct queue *q);
/* Forgets all it knows of the list and takes the queue over anew, `wait_ms` from now. */
void queue_restart(struct queue *q, uint64_t wait_ms);
/* Another daemon has taken over: stand down. */
void queue_fenced(struct queue *q);
/* Redis has not our epoch: what was read and planned counts no more. */
void queue_disowned(struct queue *q);
/* A wait of `base` doubled `times`, at most BACKOFF_MAX_MS, with jitter: between half of it and all. */
uint64_t queue_backoff(struct queue *q, unsigned base, unsigned times);

/* -- queue_block.c */
/* Starts nothing new for a while (doubling), says why when the reason is a new one. */
void block_set(struct queue *q, enum queue_block block, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Something went well: the next failure waits shortly again. */
void block_clear(struct queue *q);
/* What a Redis error means for the queue, which wanted to do that; true: it was one. */
bool block_by_redis(struct queue *q, enum redis_class class, const char *why, const char *doing) MUST_CHECK;
/* An error of SQL that is not the rows' fault. */
void block_by_sql(struct queue *q, const struct db_error *e, const char *doing);
/* SQL does not take an order, which nobody knows the reason of. */
void block_by_order(struct queue *q, const struct db_error *e);
/* Was it SQL that failed? Then what SQL takes ends it. */
bool block_is_by_sql(const struct queue *q);

/* -- queue_flow.c */
/* Asks for the lengths when it is time to, in every state: what waits is shown whether it is drained or not. */
void flow_measure(struct queue *q);
/* Starts whatever the flow can do now: settle, peek, wait. State DRAIN. */
void flow_pump(struct queue *q);
/* Is something of the list known that was not read yet: a row of the ledger, or orders that the operator has decided on? */
bool flow_is_planned(const struct queue *q);
/* Connections a queue may ever have windows for. */
unsigned flow_window_limit(const struct queue *q);
/* Splits off what others took, so that a READ window holds only what is in the list; what they took counts as done. */
void flow_shed_gone(struct window *w);
/* Time of the flow's next timer, ms. */
uint64_t flow_wake_at(const struct queue *q);

/* -- queue_store.c */
/* How many more sessions could be used at once? */
unsigned store_wanted(struct queue *q);
/* Begins the most urgent task on this session; false: there is none. */
bool store_begin(struct queue *q, struct session *session) MUST_CHECK;
/* Time of the earliest retry, ms. */
uint64_t store_wake_at(const struct queue *q);
/* -- queue_ring.c */
/* Frees its content. */
void ring_free(struct ring *ring);
/* ASSERTs that what is counted is what is there. */
void ring_check(const struct queue *q);
/* Changes a row. */
void ring_set(struct queue *q, uint32_t slot, struct ring_row row);
/* A transaction of ours begins, or ends, that writes the row. */
void ring_set_busy(struct queue *q, uint32_t slot, bool busy);
/* How many windows may get a row now. plan_margin() rests on its number of rows being the most that are busy, and on as many being spare: only the
 * oldest window, without which nothing can be settled, may use these. */
unsigned ring_room(const struct queue *q, bool oldest_waits);
/* The usable row by which the least is forgotten. Only where there is one, see ring_room(). */
uint32_t ring_spare_row(const struct queue *q);
/* Takes the ring as read from SQL, and what it says of the positions from `settled` on: DRAIN, or blocked because too much is forgotten. */
void ring_recalled(struct queue *q, const struct answer *a);

/* -- queue_history.c */
/* The plan says PLAN_FELL_BACK: has the operator chosen, or is nothing in doubt? Else asks him and restarts the queue. */
bool history_is_answered(struct queue *q) MUST_CHECK;
/* Does with a window in doubt, just read, what was chosen. */
void history_apply(struct queue *q, struct window *w);
/* Ends the doubt when all in doubt is settled. */
void history_pump(struct queue *q);
/* From position `at` on the list is not what the ledger knows: what is in doubt ends here. */
void history_cut(struct queue *q, uint64_t at);

#endif
