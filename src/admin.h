/* The admin socket: every command that changes something. A Unix socket in the daemon's own loop, for its owner and group only. One line in ("pause
 * orders"), an answer out, then it closes; the answer's first line is the exit status of the operator's command, the rest is for him to read:
 *
 *   $ echo pause orders | nc -U /run/sluice/admin.sock
 *   0
 *   queue orders: paused
 */
#ifndef SLUICE_ADMIN_H
#define SLUICE_ADMIN_H

#include "check.h"

struct admin;
struct buf;
struct daemon;
struct daemon_view;
struct event_base;

/* Listens at the path; a socket that a dead daemon left there is replaced, one on which somebody answers is not. What is given is borrowed.
 * NULL: cannot; then `why` says so, and what to do. */
struct admin *admin_new(struct event_base *base, const char *path, struct daemon *daemon, const struct daemon_view *view, struct buf *why) MUST_CHECK;
/* Takes the socket away and frees; nulls the caller's pointer. */
void admin_free(struct admin **admin);

/* For commands, never for the daemon: has the daemon that listens there carry out a command, `word` NULL or its one word, and appends what it says.
 * Returns the exit status; EX_UNAVAILABLE: nobody does, and what was appended says why. */
int admin_ask(const char *path, const char *command, const char *word, struct buf *answer) MUST_CHECK;

#endif
