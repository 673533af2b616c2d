/* The parts of the message fuzzer: what it checks by itself, what the servers say, and what makes messages. */
#ifndef FUZZ_MESSAGE_H
#define FUZZ_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "encode.h"
#include "table.h"

struct mapping;

/* The ways in which rows are written; each has its mapping. */
enum shape { SHAPE_COPY, SHAPE_INSERT, SHAPE_MYSQL, N_SHAPES };

enum { N_COLUMNS = 13 };

/* A column of the target table, which the oracles' SQL knows too. */
struct fuzz_column {
	const char *name;
	const char *expression;     /* of its `column.` line */
	enum column_kind kinds[2];  /* by enum driver */
	bool same;                  /* both drivers write the same text */
};
extern const struct fuzz_column fuzz_columns[N_COLUMNS];

/* Encodes items with the first at position 0; reasons[i] becomes why item i is none, "" for a row. Asserts that each item is either.
 * Fields that a reason names are in fields[i], if given. */
void fuzz_encode(struct encoder *encoder, const struct mapping *mapping, const struct item *items, uint32_t n, struct batch *batch,
    struct buf *reasons, struct buf *fields);

struct oracle;

/* Connects to the servers that the environment names, FUZZ_PG and FUZZ_MYSQL; none is fine. Differences are kept in files whose names begin
 * with `prefix`. Nothing of it is ever freed. */
struct oracle *oracle_new(struct mapping *const mappings[N_SHAPES], const char *prefix);
/* Keeps a message for the next question; when there are enough of them, asks. */
void oracle_add(struct oracle *oracle, const void *text, size_t len);
/* Asks the servers about all messages that are kept. A difference is printed, its message written to a file, and the process aborts. */
void oracle_ask(struct oracle *oracle);

/* Makes a message, mostly valid JSON with the keys of the columns. The same seed gives the same. */
void generate_message(unsigned seed, struct buf *out);

#endif
