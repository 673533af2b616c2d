/* Assertions that stay on in production, and allocation that cannot fail.
 *
 * ASSERT is for our own mistakes only: a daemon that moves money stops rather than goes on with a broken invariant; the protocol makes stopping
 * harmless. Input, network, servers and disk are handled, never asserted.
 */
#ifndef SLUICE_CHECK_H
#define SLUICE_CHECK_H

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#define ASSERT(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))

/* Writes the failed condition to stderr and aborts. */
void check_failed(const char *cond, const char *file, int line) __attribute__((noreturn, cold));

/* The four below never return NULL: out of memory is one clear line on stderr and exit status 70. What they return is freed with free(). */
void *xmalloc(size_t size) __attribute__((malloc, alloc_size(1)));
/* Zeroed; the product n * size is checked for overflow. */
void *xcalloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2)));
/* As realloc(); ptr may be NULL. */
void *xrealloc(void *ptr, size_t size) __attribute__((alloc_size(2)));
/* Copy of a string; NULL gives NULL. */
char *xstrdup(const char *s) __attribute__((malloc));
/* What a library made, when NULL can only mean that memory was out: the process ends as in xmalloc(). */
void *xchecked(void *made);

#endif
