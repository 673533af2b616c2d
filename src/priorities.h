/* Which of the events that are ready in a loop comes first. The daemon's loop has all of these; a command's own has one, where they are all alike. */
#ifndef SLUICE_PRIORITIES_H
#define SLUICE_PRIORITIES_H

enum {
	PRIORITY_ANSWER, /* a database begins to answer: until it hears from us again, its connection is idle. Once a statement, or once a COPY's end too:
	                  * were more than the beginning served first, a server that sends without end would keep all else from its turn */
	PRIORITY_USUAL,  /* what says nothing else: the middle one, as libevent has it */
	PRIORITY_IDLE,   /* when nothing else is to be done */
	PRIORITIES
};

#endif
