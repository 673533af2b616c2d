/* Assertions and allocation. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

void
check_failed(const char *cond, const char *file, int line)
{
	fprintf(stderr, "sluice: bug: %s does not hold at %s:%d; stopping, so that nothing wrong is written\n", cond, file, line);
	abort();
}

static void *
or_exit(void *ptr, size_t size)
{
	if (ptr == NULL && size > 0) {
		fprintf(stderr, "sluice: out of memory (%zu bytes wanted); stopping, nothing is lost\n", size);
		_Exit(EX_SOFTWARE);
	}
	return ptr;
}

void *
xmalloc(size_t size)
{
	return or_exit(malloc(size), size);
}

void *
xcalloc(size_t n, size_t size)
{
	return or_exit(calloc(n, size), n);
}

void *
xrealloc(void *ptr, size_t size)
{
	return or_exit(realloc(ptr, size), size);
}

char *
xstrdup(const char *s)
{
	return s == NULL ? NULL : or_exit(strdup(s), 1);
}

void *
xchecked(void *made)
{
	return or_exit(made, 1);
}
