/* The addresses of a host, looked up aside of the loop: a resolver may take its time, and nobody else need wait for it. */
#ifndef SLUICE_RESOLVE_H
#define SLUICE_RESOLVE_H

#include <stdbool.h>

#include "check.h"

struct aside;
struct event_base;

/* Told once, in the loop; the aside is freed already. `addresses`: numeric, divided by commas, in the order in which to try them; NULL: there are none,
 * and `why` says why not. */
typedef void resolve_fn(void *arg, const char *addresses, const char *why);

/* Is it an address or the path of a socket, so that nobody need be asked? */
bool resolve_is_needless(const char *host);
/* Begins to look the host up; the name is copied. aside_abandon() forgets it. NULL: there is no thread for it, errno says why. */
struct aside *resolve_start(struct event_base *base, const char *host, resolve_fn *done, void *arg) MUST_CHECK;
/* The addresses of an answer, beginning with the `turn`-th, counted on from the first behind the last; to be freed. */
char *resolve_from(const char *addresses, unsigned turn);

#endif
