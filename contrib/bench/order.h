/* The orders of the benchmark: order i is always the same text. */
#ifndef BENCH_ORDER_H
#define BENCH_ORDER_H

struct buf;

/* What all orders of a list are like. */
struct order_shape {
	unsigned columns;      /* of the table: 8, or more, which are called c9, c10 ... */
	unsigned bytes;        /* of an order, about; 0: as long as it comes, some 200. 100: without `note` and `items` */
	unsigned bad_every;    /* each such order is one that the table refuses; 0: none */
	unsigned repeat_every; /* each such order, once there were ORDER_REPEAT others, has the id of one before; 0: none */
};

/* How far back the order is whose id comes again. No multiple of 10, or the same ids would come again and again. */
#define ORDER_REPEAT 10005

/* Appends order `i`, counted from 1, as JSON. Its id is i, unless it repeats one. */
void order_write(const struct order_shape *shape, unsigned i, struct buf *out);

#endif
