/* What a queue asks of one SQL connection: a short program of statements, run one after the other, with one outcome. Pure: a statement goes out
 * through a port and its answer comes back as an argument, whoever executes it (the daemon's ledger.c and worker.c, or a simulator).
 *
 *   PREPARE  read the catalogue, make the ledger ring where it is missing
 *   RAISE    lock the ring (waits for every open transaction of a former owner), write the next epoch, commit
 *   RECALL   read the ring
 *   CUT      take dead history out of the ring, fenced by the epoch, commit
 *   STORE    the ledger row under our epoch, the rows, the row once more if rows were refused, commit: exactly once rests on these being one transaction.
 *            Where the connection can, the row and the rows go out in one message, which may be all of the transaction
 *   RESOLVE  a COMMIT was not answered: read the ledger row with a lock, which waits for the old transaction's end
 */
#ifndef SLUICE_TASK_H
#define SLUICE_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "db.h"

struct session; /* one warm connection, lent by the pool; opaque here */
struct window;

/* One row of the ring, as SQL has it. */
struct ledger_row {
	uint32_t slot;          /* its number */
	bool ours;              /* its generation is the one asked for */
	uint64_t epoch;         /* under which it was written */
	uint64_t first;         /* position of its window's first item */
	uint32_t count;         /* items of the window; 0: an empty row */
	const uint64_t *hashes; /* count of them, or NULL where they were not asked for; owned by the answer */
	const char *dead;       /* window_dead_write() text; "" if none; owned by the answer */
	size_t dead_len;
};

/* A row to shorten: keep the first `count` items, if it still is the row that starts at `first`. With 0 it counts no more, but keeps its generation
 * and `first`: an empty row of ours tells that the ring has been full once, and how far back it remembers. */
struct ledger_cut {
	uint32_t slot;  /* of the row */
	uint64_t first; /* position that it starts at */
	uint32_t count; /* items to keep */
};

enum statement_kind {
	STATEMENT_CATALOGUE,  /* look at the table, make the mapping; error SETUP where it does not fit */
	STATEMENT_RING_MAKE,  /* create the ledger table and the queue's rows where missing */
	STATEMENT_RING_LOCK,  /* lock all rows of the queue; answers the highest epoch in them */
	STATEMENT_EPOCH,      /* set `epoch` on all rows of the queue */
	STATEMENT_RING_READ,  /* all rows; hashes and dead of those that end behind `settled`, or are of another generation: not */
	STATEMENT_RING_CUT,   /* apply `cut` where the row has `epoch` */
	STATEMENT_BATCH,      /* LEDGER and ROWS in one message; `commit`: a transaction of its own, committed if LEDGER changed one row and ROWS were taken */
	STATEMENT_LEDGER,     /* write `window` into `slot` where the row has `epoch` */
	STATEMENT_ROWS,       /* store the window's rows, but for its rejects */
	STATEMENT_ROW_LOCK,   /* lock and read the row in `slot` */
	STATEMENT_COMMIT,
	STATEMENT_ROLLBACK,
};

struct statement {
	enum statement_kind kind;
	bool begin;                  /* open a transaction first */
	uint64_t epoch;              /* EPOCH: to write; LEDGER, BATCH, RING_CUT: that must stand there */
	uint64_t settled;            /* RING_READ: rows from this position on */
	uint32_t slot;               /* LEDGER, BATCH, ROW_LOCK: of the row */
	const struct window *window; /* LEDGER, BATCH, ROWS; borrowed */
	uint32_t piece;              /* ROWS: rows that a refusal may undo; 0: it undoes the whole transaction */
	bool again;                  /* ROWS: go on, the item that was refused is a reject now */
	bool commit;                 /* BATCH: commits; whatever the answer, no transaction is open behind it */
	struct ledger_cut cut;       /* RING_CUT */
};

/* What came back. */
struct answer {
	struct db_error error;         /* class DB_OK: none */
	enum statement_kind part;      /* BATCH: LEDGER or ROWS, whichever the error is about; after a loss not known */
	long item;                     /* DB_DATA: index in the window of the item that the server named; -1: not named */
	uint64_t affected;             /* LEDGER, BATCH, CUT: rows of the ledger that were changed */
	uint64_t taken;                /* ROWS: rows that SQL has taken since the last answer, also where it refused one then */
	uint64_t duplicates;           /* ROWS: rows that were there already (mode ignore) */
	bool altered;                  /* CATALOGUE: the table is not what it was when it was last looked at */
	bool rolled_back;              /* COMMIT was answered with ROLLBACK */
	uint64_t epoch;                /* RING_LOCK: highest there */
	const struct ledger_row *rows; /* RING_READ, ROW_LOCK: n_rows of them, valid during the call */
	size_t n_rows;
};

enum task_kind { TASK_PREPARE, TASK_RAISE, TASK_RECALL, TASK_CUT, TASK_STORE, TASK_RESOLVE };

enum task_outcome {
	TASK_RUNNING, /* not ended yet */
	TASK_DONE,    /* committed; RESOLVE: the row is there, it was committed */
	TASK_ABSENT,  /* RESOLVE: the row is not there, it was rolled back */
	TASK_FENCED,  /* another epoch stands in the row: another daemon has taken over */
	TASK_DOUBT,   /* COMMIT was sent and not answered */
	TASK_FAILED,  /* nothing was committed; see error */
};

struct task {
	enum task_kind kind;
	uint64_t view;           /* the queue's view when it began; an older one means that the outcome concerns nobody any more */
	struct session *session; /* borrowed while it runs */
	struct window *window;   /* STORE, RESOLVE; owned by the queue, or by the task once the queue has let go of it */
	bool ledger;             /* false: at-least-once, no ledger statements */
	uint64_t epoch;          /* ours; RAISE: the epoch to write at least, then the one written */
	uint64_t found;          /* RAISE: the highest epoch that stood in the ring */
	uint64_t settled;        /* RECALL */
	uint32_t slot;           /* STORE, RESOLVE */
	uint32_t piece;          /* STORE: as in the statement */
	bool together;           /* STORE: ask for a BATCH instead of LEDGER and ROWS; only where `piece` is 0 */
	bool commits;            /* STORE: which commits; only with `together` */
	struct ledger_cut *cuts; /* CUT: n_cuts of them; owned */
	size_t n_cuts;
	/* from here on task.c's own */
	unsigned step;              /* next statement of the program */
	enum statement_kind asked;  /* the one under way */
	bool in_transaction;        /* BEGIN went out, neither COMMIT nor ROLLBACK did */
	bool again;                 /* ROWS goes on without the item that was refused */
	uint32_t listed;            /* rejects that stand in the ledger row as it was written last */
	bool abandoned;             /* the session's end decides nothing: it failed already, only ROLLBACK is left */
	enum task_outcome outcome;
	enum statement_kind failed; /* TASK_FAILED, TASK_DOUBT: the statement whose answer it was, or the part of the BATCH */
	struct db_error error;      /* TASK_FAILED, TASK_DOUBT: why */
	long item;                  /* as in the answer */
	uint64_t duplicates;        /* as in the answer */
	bool altered;               /* as in the answer */
};

/* The next statement to run into *statement; false: the task has ended, see outcome. */
bool task_next(struct task *task, struct statement *statement) MUST_CHECK;
/* Takes the answer to the statement that task_next() gave. For RING_READ the caller looks at the rows itself. */
void task_answer(struct task *task, const struct answer *answer);
/* Instead of that, where ROWS in pieces was answered with a refused item, which has become a reject: the transaction goes on without it. */
void task_go_on(struct task *task);

#endif
