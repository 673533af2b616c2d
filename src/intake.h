/* What a connection takes in from its database server: counted, and in pieces.
 *
 * A client library reads for as long as there is something to read, and keeps it all: a server that sends without end would hold up the loop and fill
 * the memory. So we look how much it reads, or is about to read. If that is much, or may become much, a relay is put between server and library for
 * the rest of that answer; the library then finds one piece at a time, and what is left waits in the kernel.
 *
 *   server <-----------------------------> library   little waits
 *   server <---> relay <-- socket pair --> library   much waits
 *
 * The library keeps its descriptor; which of the two it leads to is changed behind its back.
 */
#ifndef SLUICE_INTAKE_H
#define SLUICE_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "check.h"

struct bufferevent;
struct event;
struct event_base;

struct intake {
	struct event_base *base;     /* the loop; not owned */
	struct event *io;            /* the driver's for the library's descriptor, which must be told of a change; not owned */
	size_t taken;                /* bytes that came since intake_begin() */
	size_t max;                  /* bytes that may come */
	struct bufferevent *server;  /* the relay's side of the server; owned; NULL: no relay */
	struct bufferevent *library; /* its side of the library; owned */
	int fd;                      /* the library's, while there is a relay */
	ino_t pair;                  /* tells the library's end of the socket pair from whatever else has its number later */
	bool ended;                  /* the server has hung up; what is left goes to the library, then its end */
};

/* Ready for a new connection, for which the driver will wait by `io`; at most `max` bytes until intake_begin(). */
void intake_init(struct intake *intake, struct event_base *base, struct event *io, size_t max);
/* The next answer, at most `max` bytes; takes away a relay that has nothing left to pass on. */
void intake_begin(struct intake *intake, size_t max);
/* For a library that cannot tell us what it reads, before it reads from `fd`, its descriptor. `careful`: puts the relay there even if little waits,
 * because more may come while the library reads, and it would read that, too. */
void intake_look(struct intake *intake, int fd, bool careful);
/* For a library that can, whenever it has read n bytes from `fd`, and before it reads on. */
void intake_took(struct intake *intake, int fd, size_t n);
/* Did more than `max` come? Then the connection is of no use. */
bool intake_is_flooded(const struct intake *intake);
/* Before the library says goodbye and closes its descriptor: frees what is inside. */
void intake_end(struct intake *intake);

#endif
