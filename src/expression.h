/* The right side of a `column.NAME =` line: `$`, `$.a.b`, `$['a.b']`, `base64($.x)`, `@now`, `@queue`, `@position`. */
#ifndef SLUICE_EXPRESSION_H
#define SLUICE_EXPRESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"
#include "mapping.h"

struct buf;

/* One expression, taken apart. */
struct expression {
	enum value_source from;
	char **keys; /* FROM_MESSAGE, FROM_BASE64: the keys of the path, ended by NULL; none: the whole message. NULL otherwise. Owned */
};

/* Takes `text` apart; false: it is none, and one line in `why` says why. The caller frees it with expression_free(), after a failure too. */
bool expression_parse(const char *text, struct expression *expression, struct buf *why) MUST_CHECK;
/* The path of one key, as `$['key']` would give it. */
struct expression expression_of_key(const char *key);
/* Frees the keys. */
void expression_free(struct expression *expression);

#endif
