/* For LD_PRELOAD: the n-th allocation fails, n = FAIL_AT, counted over malloc, calloc and realloc of one process. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *ptr, size_t size);

static atomic_long left = -1; /* until the failure; negative: not counting */

__attribute__((constructor)) static void
read_environment(void)
{
	const char *at = getenv("FAIL_AT");
	if (at != NULL)
		left = atol(at);
}

static int
fails(void)
{
	static const char note[] = "an allocation fails\n";
	if (left < 0 || atomic_fetch_sub(&left, 1) != 0)
		return 0;
	return write(2, note, sizeof note - 1) > 0;
}

void *
malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *ptr, size_t size)
{
	return fails() ? NULL : __libc_realloc(ptr, size);
}
