/* What stands before and behind the rows of a statement. */
#ifndef SLUICE_ENCODE_CLAUSE_H
#define SLUICE_ENCODE_CLAUSE_H

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct mapping;

/* A set of mapped columns: byte i is 1 if column i is in it, else 0. */
typedef unsigned char column_set;

/* Is column i in the set? */
static inline bool
column_set_has(const column_set *set, size_t i)
{
	return set[i];
}

/* Puts column i into the set. */
static inline void
column_set_add(column_set *set, size_t i)
{
	set[i] = 1;
}

/* Appends `COPY ... FROM STDIN`, or `INSERT INTO ... VALUES `, with the columns of the set. */
void encode_head(const struct mapping *mapping, const column_set *listed, bool is_copy, struct buf *out);
/* Appends what an INSERT into these columns of PostgreSQL is made from where it takes arrays, each part NUL-terminated: its beginning, up to the names
 * of the columns; then for each column its name, the type of its array, and the cast of an element, as struct column has them. */
void encode_columns(const struct mapping *mapping, const column_set *listed, struct buf *out);
/* Appends what an INSERT says of keys that are there already; nothing for MODE_INSERT. */
void encode_tail(const struct mapping *mapping, const column_set *listed, struct buf *out);

#endif
