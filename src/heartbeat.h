/* What the service manager hears of a daemon at work: that its loop goes round, and a line for `systemctl status`. */
#ifndef SLUICE_HEARTBEAT_H
#define SLUICE_HEARTBEAT_H

struct daemon_view;
struct event_base;
struct heartbeat;

/* Tells how things stand, now and every few seconds when that has changed, and that we live, at least twice in the time that the manager's watchdog
 * waits. The view is borrowed. NULL: no manager listens. */
struct heartbeat *heartbeat_new(struct event_base *base, const struct daemon_view *view);
/* Tells nothing any more; NULL is fine. Nulls the caller's pointer. */
void heartbeat_free(struct heartbeat **heartbeat);

#endif
