/* The page for browsers. */
#include "dashboard.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "buf.h"
#include "dashboard.html.h"

static const char place[] = "@NONCE@"; /* where the page wants the number */

void
dashboard_page(struct buf *out, char policy[DASHBOARD_POLICY_MAX])
{
	uint64_t random[2];
	char nonce[33];
	ssize_t got = getrandom(random, sizeof random, 0);
	ASSERT(got == (ssize_t)sizeof random);
	snprintf(nonce, sizeof nonce, "%016llx%016llx", (unsigned long long)random[0], (unsigned long long)random[1]);
	const char *from = dashboard_html;
	for (const char *to; (to = strstr(from, place)) != NULL; from = to + sizeof place - 1) {
		buf_add(out, from, (size_t)(to - from));
		buf_adds(out, nonce);
	}
	ASSERT(from != dashboard_html);
	buf_adds(out, from);
	int len = snprintf(policy, DASHBOARD_POLICY_MAX, "default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; connect-src 'self'; img-src data:; "
	    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'", nonce, nonce);
	ASSERT(len > 0 && len < DASHBOARD_POLICY_MAX);
}
