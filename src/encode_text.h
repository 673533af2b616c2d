/* Texts -> texts, as a column wants them: base64, dates of MySQL, arrays of PostgreSQL. Each appends to a buffer. */
#ifndef SLUICE_ENCODE_TEXT_H
#define SLUICE_ENCODE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"

struct buf;

/* The bytes of base64 text, standard or URL-safe, padded or not. False: it is none; then `out` is as it was. */
bool text_from_base64(struct buf *out, const char *text, size_t len) MUST_CHECK;
/* An ISO 8601 date and time (YYYY-MM-DDTHH:MM[:SS[.fraction]][Z|+HH[:MM]]) as MySQL's `YYYY-MM-DD HH:MM:SS[.fraction]` in UTC; the date alone if
 * `date_only`. A fraction is cut to 6 digits. False: it is something else, which the server may judge; then `out` is as it was. */
bool text_from_iso(struct buf *out, const char *text, size_t len, bool date_only) MUST_CHECK;
/* Microseconds since 1970 as `YYYY-MM-DD HH:MM:SS.ffffff`, UTC. */
void text_from_time(struct buf *out, int64_t time_us);
/* A JSON array that json_read() has accepted as a literal of a PostgreSQL array. False: it is no box, which is arrays of one length at each depth, and
 * values only in the innermost. PostgreSQL before 17 takes some of these all the same, and makes of [[[1]],[2]] an empty array. */
bool text_from_array(struct buf *out, const char *raw, size_t len) MUST_CHECK;

#endif
