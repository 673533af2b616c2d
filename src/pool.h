/* The fixed pool of one database: pool_size connections, opened at start and kept warm, never one more, until a reload changes the number. Everything
 * that talks to the database borrows from here: batches, ledger, probes, recovery.
 *
 *   CLOSED --> CONNECTING --> IDLE <--> BUSY      state is membership of a list; session_set_state() alone moves
 *      ^           |           |         |
 *      +-----------+-----------+---------+        lost, refused, or old enough to be recycled
 */
#ifndef SLUICE_POOL_H
#define SLUICE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db.h"
#include "encode.h"
#include "list.h"

struct database_config;
struct event_base;
struct pool;
struct pool_client;

enum session_state { SESSION_CLOSED, SESSION_CONNECTING, SESSION_IDLE, SESSION_BUSY };

/* One connection, and the buffers that whoever borrows it may use. */
struct session {
	struct list node;           /* in the pool's list of its state */
	struct pool *pool;          /* its owner */
	enum session_state state;   /* see above */
	struct db_conn *conn;       /* NULL while CLOSED; owned */
	struct pool_client *client; /* who has it, while BUSY */
	uint64_t since_ms;          /* in this state since */
	uint64_t recycle_ms;        /* to be opened anew after this, one at a time; 0: as soon as it comes back; UINT64_MAX: never */
	struct buf sql;             /* the borrower's statement; kept, so that a connection's buffers are allocated once */
	struct batch batch;         /* the borrower's rows */
	void *borrower;             /* what it likes */
	bool prepared;              /* the ledger's statement is, by a borrower, on this connection */
};

/* Somebody who borrows: a queue. */
struct pool_client {
	struct list node;            /* in the pool's clients */
	struct pool *pool;           /* borrowed */
	const char *name;            /* of the queue; borrowed */
	unsigned weight;             /* share of the pool between clients that want more than there is */
	unsigned max;                /* sessions it may hold at once; 0: all */
	unsigned wanted;             /* sessions it could use at once, besides those held */
	unsigned held;               /* sessions it has */
	double pass;                 /* connection-milliseconds had so far, by weight: who has the least comes next (stride scheduling,
	                              * Waldspurger and Weihl 1995) */
	double average_ms;           /* of its recent loans: what the next one will probably cost */
	uint64_t busy_ms;            /* of all its loans that have ended */
	bool (*give)(void *arg, struct session *session); /* lends it one; false: it has no use for it now */
	void *arg;
};

/* Opens the pool. `idle_transaction_s`: as for db_ops.open. The config outlives it. */
struct pool *pool_new(struct event_base *base, const struct database_config *config, unsigned idle_transaction_s);
/* Closes all connections, lent ones too (their answers never come). Nulls the caller's pointer. */
void pool_free(struct pool **pool);
/* Joins and leaves. The client is the caller's, filled in from name to arg; it must not hold sessions when it leaves. */
void pool_join(struct pool *pool, struct pool_client *client);
/* As above. */
void pool_leave(struct pool_client *client);
/* How many more sessions the client could use from now on. give() is called later, never from within the call. */
void pool_want(struct pool_client *client, unsigned sessions);
/* The client is done with it. `lost`: the connection is of no use any more, it is closed and opened anew. */
void pool_give_back(struct session *session, bool lost);
/* Closes idle sessions at once and lent ones when they come back; all are opened anew. */
void pool_reconnect(struct pool *pool);
/* The database's section in a newer configuration, which outlives the pool or the next call. With fewer connections than before, idle ones are closed
 * at once and lent ones when they come back; with another login, all are opened anew, one at a time. Another database or driver closes all of them
 * at once: none may be lent then. */
void pool_configure(struct pool *pool, const struct database_config *config, unsigned idle_transaction_s);
/* Has anybody joined? */
bool pool_is_used(const struct pool *pool);
/* How many sessions there are: pool_size, and until they come back those that became too many. */
unsigned pool_sessions(const struct pool *pool);
/* What sessions are there in a state. */
unsigned pool_count(const struct pool *pool, enum session_state state);
/* Is any connection open? */
bool pool_is_up(const struct pool *pool);
/* Why the last connection attempt failed; "" if it did not. */
const char *pool_why(const struct pool *pool);
/* The database's section. */
const struct database_config *pool_config(const struct pool *pool);
/* The i-th session, i < pool_sessions(), for the stats. */
const struct session *pool_session(const struct pool *pool, size_t i);
/* Failed attempts and lost connections by enum db_class, 10 of them. */
const uint64_t *pool_errors(const struct pool *pool);
/* Milliseconds that it has had connections since it joined, of all together, up to `now`. */
uint64_t pool_busy_ms(const struct pool_client *client, uint64_t now);
/* The driver. */
const struct db_ops *pool_driver(const struct pool *pool);

#endif
