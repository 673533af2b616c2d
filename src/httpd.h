/* The stats port: GET and HEAD of a few read-only pages, by evhttp in the daemon's own loop. Bounded in header, body, connections and time. */
#ifndef SLUICE_HTTPD_H
#define SLUICE_HTTPD_H

#include "check.h"

struct buf;
struct daemon_view;
struct event_base;
struct httpd;

/* Listens on "host:port" ("[v6]:port", ":port"). NULL: cannot, the reason was logged. */
struct httpd *httpd_new(struct event_base *base, const char *listen, const struct daemon_view *daemon) MUST_CHECK;
/* Stops listening and frees; nulls the caller's pointer. */
void httpd_free(struct httpd **httpd);

/* For commands, never for the daemon: waits for a page of the daemon that listens there and appends its body. The HTTP status; 0: nobody answers. */
int httpd_get(const char *listen, const char *page, struct buf *body) MUST_CHECK;

#endif
