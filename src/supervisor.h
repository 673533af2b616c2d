/* The pools and workers of a daemon: those that the configuration in force asks for. When it is replaced they follow:
 *
 *   - a queue whose section did not change is not touched; changed numbers count at once;
 *   - a queue that is gone, or is to work otherwise, finishes what is in flight and gives its lease back; then it ends, or begins anew;
 *   - if its list goes to another ledger (another name, driver, dbname, end of the list, `ledger = off`) or to nobody, it hands over: all that it has
 *     stored is off the list first, however long that takes. Else it is given up after drain_timeout, for its successor reads the same ledger;
 *   - a pool changes in place; it goes when its section is gone and nobody borrows from it any more.
 *
 * Two workers never drain the same list, and none works on two databases at once: what begins waits for what ends.
 */
#ifndef SLUICE_CREW_H
#define SLUICE_CREW_H

#include <stddef.h>

struct config;
struct supervisor;
struct daemon_view;
struct event_base;

/* Opens all pools and starts all workers. `owner` is "instance boot", for leases. What is given is borrowed. The supervisor keeps configuration, pools and
 * workers in `view` up to date. */
struct supervisor *supervisor_new(struct event_base *base, const struct config *config, const char *owner, struct daemon_view *view);
/* Follows another configuration, whose options that take a restart are those in force. Takes it; the former is freed when nobody works by it. */
void supervisor_follow(struct supervisor *supervisor, struct config *config);
/* All finish what is in flight and give their leases back. */
void supervisor_stop(struct supervisor *supervisor);
/* How many have not done so yet? */
size_t supervisor_at_work(const struct supervisor *supervisor);
/* Closes everything at once; nulls the caller's pointer. */
void supervisor_free(struct supervisor **supervisor);

#endif
