/* A page of character cells, each with a look, filled line by line from the top. What does not fit is cut. */
#ifndef SLUICE_TOP_PAGE_H
#define SLUICE_TOP_PAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"

struct buf;

enum look { LOOK_PLAIN, LOOK_TITLE, LOOK_DIM, LOOK_GOOD, LOOK_WARN, LOOK_BAD, LOOK_CHOSEN, LOOKS };

/* One column of one line. */
struct cell {
	char text[5];          /* a character, NUL-terminated; "": the right half of a wide one */
	unsigned char look;
};

struct page {
	unsigned width, height; /* cells; height 0: as many lines as come */
	bool utf8;             /* else everything is ASCII */
	unsigned lines;        /* begun so far */
	unsigned column;       /* where in the last line text goes next */
	struct cell *cells;    /* `width` for each line; owned */
	unsigned capacity;     /* lines that there are cells for */
};

/* An empty page. */
void page_init(struct page *page, unsigned width, unsigned height, bool utf8);
/* Frees the cells. */
void page_free(struct page *page);
/* Begins the next line. False: the page is full, and what is put from now on goes nowhere. */
bool page_line(struct page *page);
/* Lines that there is room for. */
unsigned page_left(const struct page *page);
/* Puts text at the end of the line, printf style. Characters that are no UTF-8, or command a terminal, become `?`. */
void page_put(struct page *page, enum look look, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As page_put(), in so many columns, blanks and cut included; a negative width: flush right. */
void page_cell(struct page *page, enum look look, int width, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Moves right to that column. */
void page_tab(struct page *page, unsigned column);
/* Gives all of the line this look. */
void page_paint(struct page *page, enum look look);
/* Puts words from here on, and goes on in new lines at column `indent`; at most `most` lines in all. */
void page_wrap(struct page *page, enum look look, unsigned indent, unsigned most, const char *text);
/* Columns that it takes. */
unsigned page_width_of(const struct page *page, const char *text);
/* The cells of a line. */
const struct cell *page_cells(const struct page *page, unsigned line);
/* Appends the lines as text, without looks and blanks at their ends. */
void page_text(const struct page *page, struct buf *out);

#endif
