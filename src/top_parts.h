/* The parts below the queues: history, pools, events, dead letters. Only top_*.c include this. */
#ifndef SLUICE_TOP_PARTS_H
#define SLUICE_TOP_PARTS_H

#include "top_data.h"
#include "top_page.h"
#include "top_view.h"

struct part {
	/* Lines that it could fill, its title included, `tall` being the lines of each chart; queue NULL: there is none. */
	unsigned (*wants)(const struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned tall);
	/* Puts as many lines. */
	void (*put)(struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned tall, unsigned lines);
	unsigned once_most; /* lines where the page has no end */
};

/* TOP_PARTS of them. */
extern const struct part top_parts[];

/* One line across the page. */
void part_title(struct page *page, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* What came to the queue and what became of it, in up to `most` lines. */
void part_account(struct page *page, const struct top_queue *queue, unsigned most);
/* Lines that part_curves() needs for one queue; `all`: more than the overview has. */
unsigned part_curves_want(bool all, unsigned tall);
/* Charts, `tall` lines each, as many as fit into so many lines. */
void part_curves(struct page *page, const struct top_queue *queue, bool all, unsigned tall, unsigned lines);
/* The last dead letters of one queue, NULL: of all. */
void part_dead(struct page *page, const struct top_data *data, const struct top_queue *queue, unsigned lines);

#endif
