/* Words of a command. */
#include "redis_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"

#define NUMBER_SIZE 24 /* digits and NUL of a uint64_t */

struct words
words_new(size_t room)
{
	ASSERT(room > 0 && room < 1u << 30);
	return (struct words){ .word = xcalloc(room, sizeof(char *)), .len = xcalloc(room, sizeof(size_t)), .room = (int)room, .numbers = arena_new() };
}

void
words_free(struct words *w)
{
	ASSERT(w->n == w->room);
	arena_unref(&w->numbers);
	free(w->word);
	free(w->len);
}

void
words_add(struct words *w, const char *text, size_t len)
{
	ASSERT(w->n < w->room);
	w->word[w->n] = text;
	w->len[w->n++] = len;
}

void
words_add_text(struct words *w, const char *text)
{
	words_add(w, text, strlen(text));
}

void
words_add_number(struct words *w, uint64_t number)
{
	char *text = arena_bytes(w->numbers, NUMBER_SIZE);
	words_add(w, text, (size_t)snprintf(text, NUMBER_SIZE, "%" PRIu64, number));
}
