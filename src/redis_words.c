/* Words of a command. */
#include "redis_words.h"

#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 20 /* of a uint64_t */

struct words
words_new(size_t room)
{
	ASSERT(room > 0 && room < 1u << 30);
	struct words w = { .word = xcalloc(room, sizeof(char *)), .len = xcalloc(room, sizeof(size_t)), .room = (int)room };
	(void)buf_reserve(&w.numbers, room * DIGITS_MAX);
	return w;
}

void
words_free(struct words *w)
{
	ASSERT(w->n == w->room);
	buf_free(&w->numbers);
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
	size_t before = w->numbers.len;
	buf_add_number(&w->numbers, number);
	words_add(w, w->numbers.data + before, w->numbers.len - before);
}
