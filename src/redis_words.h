/* A command to Redis, put together word by word. */
#ifndef SLUICE_REDIS_WORDS_H
#define SLUICE_REDIS_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "check.h"

struct words {
	const char **word;  /* n of them; the texts are borrowed, or in `numbers` */
	size_t *len;        /* of each, bytes */
	int n;              /* so far */
	int room;           /* at most */
	struct buf numbers; /* their digits; has room for as many as there are words, so that it never moves */
};

/* Room for so many words, more than none. */
struct words words_new(size_t room) MUST_CHECK;
/* Frees the content. All words must have been added. */
void words_free(struct words *words);
/* Adds a word of len bytes, which must stay until words_free(). */
void words_add(struct words *words, const char *text, size_t len);
/* The same for a text that ends with a NUL. */
void words_add_text(struct words *words, const char *text);
/* Adds a number, in decimal. */
void words_add_number(struct words *words, uint64_t number);

#endif
