/* The page for browsers: one file, embedded at build time. */
#ifndef SLUICE_DASHBOARD_H
#define SLUICE_DASHBOARD_H

#include <stddef.h>

struct buf;

#define DASHBOARD_POLICY_MAX 300

/* Appends the page, and writes the Content-Security-Policy under which it works: its own script and style, known by a number that is new each time,
 * questions to this very port, and nothing else. */
void dashboard_page(struct buf *out, char policy[DASHBOARD_POLICY_MAX]);

#endif
