/* Asks the daemon for everything it knows, without waiting: a child of this process does the waiting, so that a daemon that hangs never holds up the
 * keyboard. */
#ifndef SLUICE_TOP_ASK_H
#define SLUICE_TOP_ASK_H

#include <stdbool.h>
#include <sys/types.h>

#include "buf.h"

struct config;

/* One question at a time; all zero but `fd`, which is -1: none was asked. */
struct top_ask {
	pid_t child;       /* 0: no question is under way */
	int fd;            /* what it says comes from here; -1: no question is under way */
	struct buf answer; /* what it said so far */
};

/* Has the daemon say it, and waits. The buffer, empty at first, gets the JSON; with a status other than EX_OK a sentence why not. */
int top_ask_wait(const struct config *config, struct buf *answer) MUST_CHECK;
/* Begins to ask. False: this machine has no room for it now. */
bool top_ask_begin(struct top_ask *ask, const struct config *config) MUST_CHECK;
/* To be called when `fd` is readable. True: the answer is whole, as top_ask_wait() gives it, and *status set. */
bool top_ask_read(struct top_ask *ask, int *status) MUST_CHECK;
/* Ends a question that is under way, and frees. */
void top_ask_end(struct top_ask *ask);

#endif
