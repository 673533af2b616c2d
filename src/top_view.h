/* What `sluice top` shows, as a page of cells. Pure: the daemon's words, the operator's choices and the size come in. */
#ifndef SLUICE_TOP_VIEW_H
#define SLUICE_TOP_VIEW_H

#include <stdbool.h>

struct page;
struct top_data;

/* Parts below the queues; any of them may come first. */
#define TOP_PARTS 4

struct top_view {
	const struct top_data *data; /* NULL: the daemon has not said anything yet */
	const char *trouble;         /* why it gave no answer when it was last asked; "": it did */
	double age_s;                /* of the data, or of the question where there are none */
	bool late;                   /* the data are older than they should be */
	bool held;                   /* the operator holds the display */
	bool keys;                   /* somebody is at the keyboard: one queue is marked, and the last line names the keys */
	bool help;                   /* the help page */
	bool detail;                 /* the page of the chosen queue */
	const char *chosen;          /* its name; of a queue that is gone: the first one is chosen */
	unsigned order;              /* of the queues, as top_data_sort() takes it; only told */
	unsigned first;              /* which part comes first */
	unsigned interval_s;         /* only told */
};

/* Draws it onto an empty page. */
void top_view_draw(const struct top_view *view, struct page *page);

#endif
