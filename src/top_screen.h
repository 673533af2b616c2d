/* The terminal, by ncurses: shows pages, tells keys. */
#ifndef SLUICE_TOP_SCREEN_H
#define SLUICE_TOP_SCREEN_H

#include <stdbool.h>

#include "check.h"

struct page;
struct screen;

/* What a key means. TOP_END: nobody is there any more. */
enum top_key {
	TOP_NONE, TOP_END, TOP_QUIT, TOP_UP, TOP_DOWN, TOP_DETAIL, TOP_BACK, TOP_SORT, TOP_PART, TOP_HOLD, TOP_SLOWER, TOP_FASTER, TOP_HELP, TOP_KEYS
};

/* Takes over the terminal. NULL: it cannot show pages. */
struct screen *screen_new(void) MUST_CHECK;
/* Gives the terminal back as it was and frees; nulls the caller's pointer. NULL inside is harmless. */
void screen_free(struct screen **screen);
/* How large it is, asked anew. */
void screen_size(const struct screen *screen, unsigned *width, unsigned *height);
/* Shows the page, which is as large as the screen. */
void screen_show(struct screen *screen, const struct page *page);
/* The next key that was pressed; TOP_NONE: there is none yet. */
enum top_key screen_key(struct screen *screen);

#endif
