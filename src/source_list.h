/* A Redis list as a source of items: lease, own, peek, settle, as the protocol wants them, each one command or one atomic script.
 *
 * Positions count from the consuming end: offset 0 is the item that goes next. All calls are asynchronous: they need the link to be up, the answer
 * comes later, never from within the call, as one struct of plain results that is valid during the callback. Each result begins with `class`
 * (REDIS_OK, or what is wrong: then the rest means nothing) and `why` (for the log).
 */
#ifndef SLUICE_SOURCE_LIST_H
#define SLUICE_SOURCE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis.h"

struct arena;
struct source_list;

#define SOURCE_SAMPLE_EDGE 256 /* bytes of each end of an item that a sample shows */

/* The hash in which a list's positions stand, "{orders}:sluice". The caller frees it. */
char *source_list_state_key(const char *key);

struct source_lease {
	enum redis_class class;
	const char *why;
	bool granted;           /* it is ours for ttl_ms */
	bool in_doubt;          /* nobody has it, and we do not get it: the last owner wrote another ledger, and may have left orders stored, but not removed */
	const char *holder;     /* "instance boot" of who has it */
	uint64_t ttl_ms;        /* left to the holder */
	uint64_t epoch;         /* in Redis; 0: none */
	uint64_t settled;       /* in Redis; 0: none */
	const char *generation; /* in Redis; "": none */
	uint64_t length;        /* items in the list */
	const char *ledger;     /* of the last owner; "": none */
	bool elsewhere;         /* the last owner wrote another ledger than ours */
	bool others;            /* the last owner is another process, or there is none */
	bool clean;             /* the last owner left nothing that was committed and not settled */
};

struct source_claim {
	uint64_t before;            /* the epoch that came with the lease */
	uint64_t epoch;             /* ours, a higher one */
	uint64_t accepted;          /* as for the lease */
	const char *new_generation; /* for when Redis has none, */
	bool force;                 /* or the list was rewritten: positions start anew */
};

struct source_own {
	enum redis_class class;
	const char *why;
	bool refused;           /* another epoch than `before` stands there, or the lease is not ours any more */
	bool in_doubt;          /* refused as the lease is */
	uint64_t epoch;         /* in Redis */
	const char *generation; /* that positions belong to; 1 to 32 letters and digits */
	bool fresh;             /* it was made by this call: settled is 0 */
	uint64_t settled;       /* position of the item at offset 0 */
	uint64_t length;        /* items in the list */
};

/* Bytes of an item or of a dead letter. */
struct source_text {
	const char *text; /* not necessarily NUL-terminated when given; ARENA_PADDING readable bytes behind it when received */
	size_t len;
};

struct source_peek {
	enum redis_class class;
	const char *why;
	const struct source_text *items; /* n of them, the one at the offset first; in the arena */
	size_t n;
	bool cut;                        /* the budget ended it; else fewer than asked for means the list's end. n is 0 where it must be asked for anew */
	uint64_t epoch;                  /* that stood in Redis after the reading, if it was ours; 0: none, or another owner's */
	struct arena *arena;             /* who keeps items takes a reference */
};

/* What an item that is to be removed must look like. */
struct source_sample {
	uint64_t offset;  /* behind skip */
	size_t len;       /* of the whole item */
	const char *head; /* its first bytes, SOURCE_SAMPLE_EDGE or all */
	const char *tail; /* its last bytes, SOURCE_SAMPLE_EDGE or all */
};

struct source_settle {
	uint64_t epoch, settled;             /* what we believe; refused otherwise */
	uint64_t skip;                       /* items at the consuming end that stay; costs their bytes, normally 0 */
	uint64_t remove;                     /* items to take off behind them */
	uint64_t advance;                    /* positions to go on: remove, and items that others took */
	const struct source_sample *samples; /* n_samples of them */
	size_t n_samples;
	const struct source_text *dead;      /* n_dead dead letters to store */
	size_t n_dead;
	uint64_t dead_max;                   /* so many dead letters may stand there afterwards */
	unsigned ttl_ms;                     /* renews the lease, if it is ours */
};

/* In the order of the checks; nothing was changed unless SETTLED. */
enum source_status {
	SOURCE_SETTLED,
	SOURCE_GONE,   /* Redis knows no epoch for this queue: it was emptied */
	SOURCE_FENCED, /* another epoch stands there, or another owner's */
	SOURCE_MOVED,  /* `settled` is another */
	SOURCE_GUARD,  /* an item is not what the sample shows, or the list is too short */
	SOURCE_FULL,   /* the dead letters would be more than dead_max */
};

struct source_settled {
	enum redis_class class;
	const char *why;
	enum source_status status;
	uint64_t settled; /* as it is now */
	uint64_t length;  /* items in the list now */
	uint64_t dead;    /* dead letters now */
	uint64_t epoch;   /* in Redis */
	size_t sample;    /* GUARD: index of the one that differs; n_samples: the list is too short */
};

struct source_length {
	enum redis_class class;
	const char *why;
	uint64_t length; /* items in the list */
	uint64_t dead;   /* dead letters */
};

struct source_wait {
	enum redis_class class;
	const char *why;
	bool ready; /* there is an item; else time is up */
	bool poll;  /* this Redis cannot block for us now (see why): look again in a little while */
};

struct source_release {
	enum redis_class class;
	const char *why;
	bool released; /* it was ours, and clean if it was to be */
};

typedef void source_lease_fn(void *arg, const struct source_lease *result);
typedef void source_own_fn(void *arg, const struct source_own *result);
typedef void source_peek_fn(void *arg, const struct source_peek *result);
typedef void source_settle_fn(void *arg, const struct source_settled *result);
typedef void source_length_fn(void *arg, const struct source_length *result);
typedef void source_wait_fn(void *arg, const struct source_wait *result);
typedef void source_release_fn(void *arg, const struct source_release *result);

/* A queue's list. `commands` carries everything but source_list_wait(), which blocks the link `waiting` (NULL: never used). Both are borrowed and
 * must be closed after the source. `pop` is enum pop. `owner` is "instance boot", the boot id without spaces; `ledger` names what it writes, the same
 * text for the same ledger. Strings are copied. */
struct source_list *source_list_new(struct redis *commands, struct redis *waiting, const char *key, int pop, const char *dead_key, const char *owner,
    const char *ledger);
/* Frees; what is under way gets no answer. Nulls the caller's pointer. Safe inside a callback. */
void source_list_free(struct source_list **source);

/* Takes the lease, or renews it: if it is free, ours, or of an earlier boot of the same instance. `accepted`: the epoch of an owner whose orders may be
 * stored again, see in_doubt; 0: none. */
void source_list_lease(struct source_list *s, unsigned ttl_ms, uint64_t accepted, source_lease_fn *done, void *arg);
/* Becomes the owner of the positions from claim->epoch on, if nobody has since claim->before. The text is copied. */
void source_list_own(struct source_list *s, const struct source_claim *claim, source_own_fn *done, void *arg);
/* Reads up to `count` items from `offset` on. Takes nothing. Stops behind the item that passes `budget` bytes together (0: no bound), so that there
 * always is one if the list has one. */
void source_list_peek(struct source_list *s, uint64_t offset, size_t count, size_t budget, source_peek_fn *done, void *arg);
/* Removes committed items, moves the position and stores dead letters, all or nothing. What `settle` points to is copied. */
void source_list_settle(struct source_list *s, const struct source_settle *settle, source_settle_fn *done, void *arg);
/* Gives the lease back, if it is ours. `clean_epoch`: our epoch if we leave nothing that is committed and not settled, else 0. */
void source_list_release(struct source_list *s, uint64_t clean_epoch, source_release_fn *done, void *arg);
/* Lengths of the list and of the dead letters. */
void source_list_length(struct source_list *s, source_length_fn *done, void *arg);
/* Waits on the link `waiting` until there is an item, at most timeout_s seconds (at least 1). Takes nothing. */
void source_list_wait(struct source_list *s, unsigned timeout_s, source_wait_fn *done, void *arg);
/* Sent behind a wait, on its link: what the list holds when the wait ends, as a peek at offset 0, in the same answer. If a settle was sent meanwhile, the
 * offset may have been another one: then it brings nothing, and is cut. */
void source_list_look(struct source_list *s, unsigned timeout_s, size_t count, size_t budget, source_peek_fn *done, void *arg);

#endif
