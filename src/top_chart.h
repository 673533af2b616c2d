/* A series as a row of blocks that stand on a common ground, or as several rows of them. */
#ifndef SLUICE_TOP_CHART_H
#define SLUICE_TOP_CHART_H

#include <stddef.h>

#include "top_page.h"

#define CHART_POINTS 180 /* of a whole chart, the newest at its right end */

/* The greatest of n values, NAN left out; 0: there is none. */
double chart_most(const double *values, size_t n);
/* Puts one row of a chart of so many rows, the lowest being row 0, in so many columns: values from 0 to `most`. A column shows the greatest of the
 * points that it stands for; one without any (NAN, or before the daemon began) is blank. */
void chart_row(struct page *page, enum look look, unsigned columns, const double *values, size_t n, double most, unsigned row, unsigned rows);

#endif
