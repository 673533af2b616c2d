/* A growing byte buffer, kept and reused by its owner. Text in it is not NUL-terminated unless buf_cstr() was asked. */
#ifndef SLUICE_BUF_H
#define SLUICE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"

struct buf {
	char *data; /* owned; NULL until the first byte */
	size_t len; /* bytes in use */
	size_t cap; /* bytes allocated */
};

#define BUF_INIT { NULL, 0, 0 }

/* Frees the bytes; the buffer is empty and usable again. */
void buf_free(struct buf *b);
/* Moves the bytes to where n more have room. For buf_reserve(). */
void buf_grow(struct buf *b, size_t n);
/* printf at the end. */
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Appends the number in decimal. */
void buf_add_number(struct buf *b, uint64_t number);
/* Appends a double-quoted JSON string with everything escaped that RFC 8259 wants escaped; bytes must be valid UTF-8. */
void buf_add_json(struct buf *b, const char *s, size_t n);
/* Appends lower-case hex digits of n bytes. */
void buf_add_hex(struct buf *b, const void *bytes, size_t n);
/* NUL-terminated view of the bytes, valid until the next change; the NUL does not count in len. */
const char *buf_cstr(struct buf *b);

/* Makes room for n more bytes and returns where they go; the caller then adds to b->len what it wrote. */
static inline char *
buf_reserve(struct buf *b, size_t n)
{
	if (b->cap - b->len < n)
		buf_grow(b, n);
	return b->data + b->len;
}

/* Forgets the content, keeps the memory. */
static inline void
buf_reset(struct buf *b)
{
	b->len = 0;
}

/* Appends n bytes. */
static inline void
buf_add(struct buf *b, const char *s, size_t n)
{
	if (n > 0) {
		char *at = buf_reserve(b, n);
		ASSERT(at != NULL);
		memcpy(at, s, n);
		b->len += n;
	}
}

/* Appends a NUL-terminated string. */
static inline void
buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

/* Appends one byte. */
static inline void
buf_addc(struct buf *b, char c)
{
	*buf_reserve(b, 1) = c;
	b->len++;
}

/* Appends one byte, unless it is NUL. */
static inline void
buf_add_if(struct buf *b, char c)
{
	if (c != '\0')
		buf_addc(b, c);
}

#endif
