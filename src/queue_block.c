/* Why a queue starts nothing new for a while, and how long: what Redis or SQL refused. */
#include "queue_inner.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* First and longest wait of each kind, ms. */
static const struct {
	unsigned first, most;
} waits[] = {
	[BLOCK_RETRY] = { 100, 5000 },
	[BLOCK_SETUP] = { 1000, 30000 },
	[BLOCK_DEAD_FULL] = { 1000, 1000 },
	[BLOCK_HISTORY] = { 30000, 30000 },
	[BLOCK_OPERATOR] = { 0, 0 },
};

void
block_set(struct queue *q, enum queue_block block, const char *fmt, ...)
{
	char reason[REASON_MAX];
	va_list args;
	va_start(args, fmt);
	vsnprintf(reason, sizeof reason, fmt, args);
	va_end(args);
	ASSERT(block != BLOCK_NONE);
	if (q->block != block || strcmp(q->reason, reason) != 0)
		queue_tell(q, block == BLOCK_RETRY ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR, "%s: %s",
		    block == BLOCK_RETRY ? "waits" : "paused", reason);
	q->block_ms = q->block != block ? waits[block].first : q->block_ms * 2;
	if (q->block_ms > waits[block].most)
		q->block_ms = waits[block].most;
	q->block = block;
	q->refused_by_redis = NULL;
	memcpy(q->reason, reason, sizeof reason);
	q->block_until = q->now + q->block_ms;
}

void
block_clear(struct queue *q)
{
	ASSERT(q->block != BLOCK_NONE);
	queue_tell(q, LOG_LEVEL_INFO, "goes on");
	q->block = BLOCK_NONE;
	q->refused_by_redis = NULL;
	q->block_ms = 0;
	q->reason[0] = '\0';
}

/* -- Redis */

bool
block_by_redis(struct queue *q, enum redis_class class, const char *why, const char *doing)
{
	switch (class) {
	case REDIS_OK:
		if (q->refused_by_redis != NULL && strcmp(q->refused_by_redis, doing) == 0)
			block_clear(q);
		return false;
	case REDIS_LOST: /* queue_redis_down() follows; until then nothing can be sent */
		q->redis_up = false;
		queue_restart(q, 0);
		return true;
	default:
		break;
	}
	if (q->refused_by_redis != NULL && strcmp(q->refused_by_redis, doing) != 0) { /* one reason at a time, or they fill the log in turn */
		if (q->now >= q->block_until)
			q->block_until = q->now + q->block_ms;
		return true;
	}
	if (class == REDIS_SETUP)
		block_set(q, BLOCK_SETUP, "Redis refuses to %s: %s", doing, why);
	else
		block_set(q, BLOCK_RETRY, "Redis cannot %s: %s", doing, why);
	q->refused_by_redis = doing;
	return true;
}

/* -- SQL */

/* The sentence of an error, for log and page. */
static void
say_error(const struct db_error *e, char *text, size_t size)
{
	snprintf(text, size, "%s%s%s%s", e->message, e->code[0] ? " (" : "", e->code, e->code[0] ? ")" : "");
}

void
block_by_sql(struct queue *q, const struct db_error *e, const char *doing)
{
	char text[DB_MESSAGE_MAX + 32];
	say_error(e, text, sizeof text);
	if (e->class == DB_SETUP) {
		q->recheck = true;
		block_set(q, BLOCK_SETUP, "cannot %s: %s", doing, text);
	} else {
		block_set(q, BLOCK_RETRY, "cannot %s: %s", doing, text);
	}
}

void
block_by_order(struct queue *q, const struct db_error *e)
{
	/* what it says may quote the order (a trigger's own error does), and orders are not logged */
	if (e->class == DB_UNKNOWN)
		block_set(q, BLOCK_RETRY, "cannot store one order, which is kept: the server refuses it (code %s); what it says may quote the order, see its own "
		    "log", e->code);
	else
		block_by_sql(q, e, "store one order, which is kept,");
}

bool
block_is_by_sql(const struct queue *q)
{
	return (q->block == BLOCK_RETRY || q->block == BLOCK_SETUP) && q->refused_by_redis == NULL;
}
