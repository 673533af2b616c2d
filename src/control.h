/* The commands of the admin socket: a name, at most one word behind it, and a few lines for the operator to read. */
#ifndef SLUICE_CONTROL_H
#define SLUICE_CONTROL_H

#include <stdbool.h>

struct buf;
struct daemon;
struct daemon_view;

/* One command. */
struct control {
	const char *name;
	int min, max; /* words that may follow: 0 or 1 */
	bool changes; /* something: then it is logged who asked for it */
	/* Does it, and appends what there is to say, whole lines. `word` is NULL where none followed. Returns the exit status that the operator's
	 * command ends with: EX_OK, EX_USAGE, EX_CONFIG. */
	int (*run)(struct daemon *daemon, const struct daemon_view *view, const char *word, struct buf *answer);
};

/* The command of that name, or NULL. */
const struct control *control_find(const char *name);

#endif
