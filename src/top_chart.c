/* Charts of characters. */
#include "top_chart.h"

#include <math.h>

#define STEPS 8 /* that a character's height has */

static const char *const blocks[STEPS + 1] = { "\u00b7", "\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588" };
static const char *const letters[STEPS + 1] = { "_", ".", ".", ":", "-", "=", "+", "*", "#" };

double
chart_most(const double *values, size_t n)
{
	double most = 0;
	for (size_t i = 0; i < n; i++)
		most = values[i] > most ? values[i] : most;
	return most;
}

/* The greatest of the points of one column; NAN: there is none. */
static double
column_value(const double *values, size_t n, unsigned column, unsigned columns)
{
	size_t begin = (size_t)column * CHART_POINTS / columns, end = (size_t)(column + 1) * CHART_POINTS / columns;
	size_t missing = n < CHART_POINTS ? CHART_POINTS - n : 0, skipped = n - (CHART_POINTS - missing);
	double most = NAN;
	ASSERT(column < columns);
	if (end == begin)
		end++;
	for (size_t i = begin > missing ? begin : missing; i < end; i++) {
		double value = values[i - missing + skipped];
		if (isnan(most) || value > most)
			most = value;
	}
	return most;
}

static const char *
block_of(const struct page *page, double value, double most, unsigned row, unsigned rows)
{
	ASSERT(row < rows && most >= 0);
	if (isnan(value))
		return " ";
	double height = most > 0 ? ceil(value / most * rows * STEPS) : 0, above = height - row * (double)STEPS;
	if (above <= 0 && row > 0)
		return " ";
	ASSERT(above <= 0 || value >= 0);
	int step = above <= 0 ? 0 : above >= STEPS ? STEPS : (int)above;
	return page->utf8 ? blocks[step] : letters[step];
}

void
chart_row(struct page *page, enum look look, unsigned columns, const double *values, size_t n, double most, unsigned row, unsigned rows)
{
	ASSERT(row < rows);
	for (unsigned i = 0; i < columns; i++)
		page_put(page, look, "%s", block_of(page, column_value(values, n, i, columns), most, row, rows));
}
