/* Numbers for people. */
#include "top_words.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "check.h"

#define DIGITS_MOST 1e8 /* from here on in millions */
#define PRECISE_BELOW 9.95 /* with a digit behind the point */

struct words
words_count(double count)
{
	struct words w = { "-" };
	if (fabs(count) < DIGITS_MOST)
		snprintf(w.s, sizeof w.s, "%.0f", count);
	else if (!isnan(count))
		snprintf(w.s, sizeof w.s, "%.4gM", count / 1e6);
	return w;
}

struct words
words_rate(double rate)
{
	struct words w = { "-" };
	if (rate == 0 || rate >= PRECISE_BELOW)
		return words_count(rate);
	if (!isnan(rate))
		snprintf(w.s, sizeof w.s, "%.1f", rate);
	return w;
}

struct words
words_span(double seconds)
{
	static const struct {
		double below, divide; /* seconds */
		int digits;           /* behind the point */
		const char *unit;
	} units[] = {
		{ 9.95, 1, 1, "s" }, { 99.5, 1, 0, "s" }, { 5970, 60, 0, "min" }, { 35820, 3600, 1, "h" }, { 169200, 3600, 0, "h" }, { INFINITY, 86400, 0, "d" },
	};
	struct words w = { "-" };
	if (isnan(seconds) || isinf(seconds))
		return w;
	size_t i = 0;
	while (seconds >= units[i].below)
		i++;
	ASSERT(i < sizeof units / sizeof *units);
	snprintf(w.s, sizeof w.s, "%.*f %s", units[i].digits, seconds / units[i].divide, units[i].unit);
	return w;
}

struct words
words_clock(double time_s)
{
	struct words w = { "-" };
	struct tm tm;
	_Static_assert(sizeof w.s >= sizeof "00:00:00", "a time of day fits");
	time_t at = fabs(time_s) < 1e11 ? (time_t)time_s : 0;
	if (!isnan(time_s) && localtime_r(&at, &tm) != NULL)
		strftime(w.s, sizeof w.s, "%H:%M:%S", &tm);
	return w;
}
