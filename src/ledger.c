/* The ledger table as SQL text. */
#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "config.h"
#include "window.h"

void
ledger_ddl(int driver, struct buf *out)
{
	/* fillfactor: an update finds room on its own page and touches no index (HOT). EXTERNAL: hashes do not compress, do not try */
	if (driver == DRIVER_POSTGRESQL)
		buf_adds(out, "CREATE TABLE IF NOT EXISTS " LEDGER_TABLE " (\n"
		    "  queue text NOT NULL,\n"
		    "  slot integer NOT NULL,\n"
		    "  generation text NOT NULL DEFAULT '',\n"
		    "  epoch bigint NOT NULL DEFAULT 0,\n"
		    "  first bigint NOT NULL DEFAULT 0,\n"
		    "  count integer NOT NULL DEFAULT 0,\n"
		    "  items bytea NOT NULL DEFAULT '',\n"
		    "  dead text,\n"
		    "  updated_at timestamptz NOT NULL DEFAULT now(),\n"
		    "  PRIMARY KEY (queue, slot)\n"
		    ") WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)");
	else
		buf_adds(out, "CREATE TABLE IF NOT EXISTS " LEDGER_TABLE " (\n"
		    "  queue varchar(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,\n"
		    "  slot int unsigned NOT NULL,\n"
		    "  generation varchar(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',\n"
		    "  epoch bigint unsigned NOT NULL DEFAULT 0,\n"
		    "  first bigint unsigned NOT NULL DEFAULT 0,\n"
		    "  count int unsigned NOT NULL DEFAULT 0,\n"
		    "  items longblob NOT NULL,\n"
		    "  dead longtext CHARACTER SET utf8mb4,\n"
		    "  updated_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),\n"
		    "  PRIMARY KEY (queue, slot)\n"
		    ") ENGINE=InnoDB");
}

static void
where_queue(const struct db_ops *driver, const char *queue, struct buf *out)
{
	buf_adds(out, " WHERE queue = ");
	driver->quote_text(out, queue, strlen(queue));
}

/* A client that was stopped, or cut off without a word, in the middle of a COPY holds its row for ever: the server's idle timeout does not count that
 * as idle. So sessions of our own user that wrote the ledger and wait for their client after that same time are ended; what they did is rolled back. */
static void
end_stalled_sessions(struct buf *out)
{
	buf_adds(out, "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid WHERE l.relation = '" LEDGER_TABLE
	    "'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted AND a.usename = current_user AND a.pid <> pg_backend_pid()"
	    " AND a.wait_event_type = 'Client'"
	    " AND a.xact_start < clock_timestamp() - current_setting('idle_in_transaction_session_timeout')::interval;");
}

void
ledger_count_sql(const struct db_ops *driver, const char *queue, struct buf *out)
{
	if (driver == &db_postgresql)
		end_stalled_sessions(out);
	buf_adds(out, "SELECT count(*) FROM " LEDGER_TABLE);
	where_queue(driver, queue, out);
}

void
ledger_fill_sql(const struct db_ops *driver, const char *queue, uint32_t rows, struct buf *out)
{
	ASSERT(rows > 0);
	bool pg = driver == &db_postgresql;
	buf_adds(out, "INSERT INTO " LEDGER_TABLE " (queue, slot, items) VALUES ");
	for (uint32_t i = 0; i < rows; i++) {
		buf_adds(out, i == 0 ? "(" : ",(");
		driver->quote_text(out, queue, strlen(queue));
		buf_addf(out, ",%u,'')", i);
	}
	buf_adds(out, pg ? " ON CONFLICT DO NOTHING" : " ON DUPLICATE KEY UPDATE slot = VALUES(slot)");
}

/* The columns of RING_READ and ROW_LOCK; `wanted`: a condition for the two long ones, NULL: always. */
static void
select_rows(int driver, const char *generation, const char *wanted, struct buf *out)
{
	const char *hex = driver == DRIVER_POSTGRESQL ? "encode(items, 'hex')" : "hex(items)";
	buf_addf(out, "SELECT slot, CASE WHEN generation = '%s' THEN 1 ELSE 0 END, epoch, first, count", generation);
	if (wanted != NULL)
		buf_addf(out, ", CASE WHEN %s THEN %s END, CASE WHEN %s THEN dead END", wanted, hex, wanted);
	else
		buf_addf(out, ", %s, dead", hex);
	buf_adds(out, " FROM " LEDGER_TABLE);
}

bool
ledger_prepare_sql(int driver, struct buf *out)
{
	if (driver != DRIVER_POSTGRESQL)
		return false;
	buf_adds(out, "PREPARE " LEDGER_TABLE "_row (text, bigint, integer, bytea, text, text, integer, bigint) AS UPDATE " LEDGER_TABLE
	    " SET generation = $1, first = $2, count = $3, items = $4, dead = $5, updated_at = CURRENT_TIMESTAMP(6)"
	    " WHERE queue = $6 AND slot = $7 AND epoch = $8");
	return true;
}

/* The rejects of a window as a literal. */
static void
add_dead(const struct db_ops *driver, const struct window *w, struct buf *out)
{
	struct buf dead = BUF_INIT;
	window_dead_write(w, &dead);
	if (w->n_rejects > 0)
		driver->quote_text(out, dead.data, dead.len);
	else
		buf_adds(out, "NULL");
	buf_free(&dead);
}

static void
write_window(const struct db_ops *driver, bool pg, const char *queue, const char *generation, const struct statement *s, struct buf *out)
{
	const struct window *w = s->window;
	buf_adds(out, pg ? "EXECUTE " LEDGER_TABLE "_row (" : "UPDATE " LEDGER_TABLE " SET updated_at = CURRENT_TIMESTAMP(6), generation = ");
	buf_addf(out, pg ? "'%s',%llu,%u,'\\x" : "'%s', first = %llu, count = %u, items = x'", generation, (unsigned long long)w->first, w->count);
	buf_add_hex(out, w->hashes, w->count * sizeof *w->hashes);
	buf_adds(out, pg ? "'," : "', dead = ");
	add_dead(driver, w, out);
	buf_adds(out, pg ? "," : " WHERE queue = ");
	driver->quote_text(out, queue, strlen(queue));
	buf_addf(out, pg ? ",%u,%llu)" : " AND slot = %u AND epoch = %llu", s->slot, (unsigned long long)s->epoch);
}

size_t
ledger_row_max(const struct window *w)
{
	enum { WORDS = 512, REJECT = 2 * (sizeof(struct reject) + 16) }; /* quotes and backslashes in a reject are doubled */
	return WORDS + w->count * 2 * sizeof *w->hashes + w->n_rejects * (size_t)REJECT;
}

void
ledger_sql(const struct db_ops *driver, int driver_kind, const char *queue, const char *generation, const struct statement *s, struct buf *out)
{
	bool pg = driver_kind == DRIVER_POSTGRESQL;
	char wanted[120];
	switch (s->kind) {
	case STATEMENT_RING_LOCK:
		if (pg) {
			end_stalled_sessions(out);
			buf_adds(out, "SET LOCAL lock_timeout = '3s';");
		}
		buf_adds(out, pg ? "SELECT max(epoch) FROM (SELECT epoch FROM " LEDGER_TABLE : "SELECT max(epoch) FROM " LEDGER_TABLE);
		where_queue(driver, queue, out);
		buf_adds(out, pg ? " ORDER BY slot FOR UPDATE) AS locked" : " FOR UPDATE");
		return;
	case STATEMENT_EPOCH:
		buf_addf(out, "UPDATE " LEDGER_TABLE " SET epoch = %llu", (unsigned long long)s->epoch);
		where_queue(driver, queue, out);
		return;
	case STATEMENT_RING_READ:
		snprintf(wanted, sizeof wanted, "generation = '%s' AND count > 0 AND first + count > %llu", generation, (unsigned long long)s->settled);
		select_rows(driver_kind, generation, wanted, out);
		where_queue(driver, queue, out);
		buf_adds(out, " ORDER BY slot");
		return;
	case STATEMENT_ROW_LOCK:
		if (pg)
			end_stalled_sessions(out);
		select_rows(driver_kind, generation, NULL, out);
		where_queue(driver, queue, out);
		buf_addf(out, " AND slot = %u FOR UPDATE", s->slot);
		return;
	case STATEMENT_RING_CUT:
		buf_addf(out, "UPDATE " LEDGER_TABLE " SET count = %u, items = substr(items, 1, %llu), updated_at = CURRENT_TIMESTAMP(6)", s->cut.count,
		    (unsigned long long)s->cut.count * sizeof(uint64_t));
		where_queue(driver, queue, out);
		buf_addf(out, " AND slot = %u AND first = %llu AND epoch = %llu", s->cut.slot, (unsigned long long)s->cut.first, (unsigned long long)s->epoch);
		return;
	case STATEMENT_LEDGER:
	case STATEMENT_BATCH:
		write_window(driver, pg, queue, generation, s, out);
		return;
	default:
		ASSERT(s->kind == STATEMENT_LEDGER);
	}
}

/* -- reading */

/* A ledger row in an answer, without its hashes. */
#define ROW_BYTES 256
/* For reasons of dead letters, and for windows from before the queue's figures were lowered. */
#define SPARE_BYTES ((size_t)256 << 20)

size_t
ledger_answer_max(const struct queue_config *queue)
{
	size_t hashes = (size_t)queue->batch_rows * sizeof(uint64_t) * 2; /* as hex digits */
	ASSERT(queue->ledger_rows > 0);
	return SPARE_BYTES + queue->ledger_rows * (ROW_BYTES + hashes);
}

enum { COLUMN_SLOT, COLUMN_OURS, COLUMN_EPOCH, COLUMN_FIRST, COLUMN_COUNT, COLUMN_ITEMS, COLUMN_DEAD, COLUMNS };

static bool
read_number(const struct db_result *r, size_t row, size_t column, uint64_t max, uint64_t *out)
{
	const char *text = r->values[row * r->columns + column];
	char *end;
	if (text == NULL || text[0] < '0' || text[0] > '9')
		return false;
	*out = strtoull(text, &end, 10);
	return *end == '\0' && *out <= max;
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool
read_hashes(const char *hex, size_t len, uint64_t *out)
{
	unsigned char *bytes = (unsigned char *)out;
	for (size_t i = 0; i < len; i += 2) {
		int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
		if (high < 0 || low < 0)
			return false;
		bytes[i / 2] = (unsigned char)(high << 4 | low);
	}
	return true;
}

static bool
read_row(const struct db_result *r, size_t i, uint64_t settled, struct ledger_row *row, uint64_t **hashes, char **texts)
{
	uint64_t slot, ours, count;
	if (!read_number(r, i, COLUMN_SLOT, 10000000, &slot) || !read_number(r, i, COLUMN_OURS, 1, &ours) ||
	    !read_number(r, i, COLUMN_EPOCH, INT64_MAX, &row->epoch) || !read_number(r, i, COLUMN_FIRST, INT64_MAX / 2, &row->first) ||
	    !read_number(r, i, COLUMN_COUNT, UINT32_MAX, &count))
		return false;
	row->slot = (uint32_t)slot;
	row->ours = ours == 1;
	row->count = (uint32_t)count;
	row->dead = "";
	const char *hex = r->values[i * r->columns + COLUMN_ITEMS], *dead = r->values[i * r->columns + COLUMN_DEAD];
	size_t hex_len = r->lengths[i * r->columns + COLUMN_ITEMS], dead_len = r->lengths[i * r->columns + COLUMN_DEAD];
	if (hex == NULL && row->ours && row->count > 0 && row->first + row->count > settled)
		return false;
	if (hex != NULL) {
		if (hex_len != (size_t)row->count * 16 || !read_hashes(hex, hex_len, *hashes))
			return false;
		row->hashes = *hashes;
		*hashes += row->count;
	}
	if (dead != NULL) {
		memcpy(*texts, dead, dead_len);
		row->dead = *texts;
		row->dead_len = dead_len;
		*texts += dead_len;
	}
	return true;
}

bool
ledger_read(const struct db_result *r, uint64_t settled, struct ledger_rows *out)
{
	size_t hashes = 0, texts = 0;
	*out = (struct ledger_rows){ .n = r->rows };
	if (r->rows > 0 && r->columns != COLUMNS)
		return false;
	for (size_t i = 0; i < r->rows; i++) {
		hashes += r->lengths[i * COLUMNS + COLUMN_ITEMS] / 16 + 1;
		texts += r->lengths[i * COLUMNS + COLUMN_DEAD];
	}
	out->rows = xcalloc(r->rows + 1, sizeof *out->rows);
	out->hashes = xcalloc(hashes + 1, sizeof *out->hashes);
	out->texts = xmalloc(texts + 1);
	uint64_t *next_hash = out->hashes;
	char *next_text = out->texts;
	for (size_t i = 0; i < r->rows; i++) {
		if (!read_row(r, i, settled, &out->rows[i], &next_hash, &next_text)) {
			ledger_rows_free(out);
			return false;
		}
	}
	return true;
}

void
ledger_rows_free(struct ledger_rows *rows)
{
	free(rows->rows);
	free(rows->hashes);
	free(rows->texts);
	*rows = (struct ledger_rows){ NULL, 0, NULL, NULL };
}
