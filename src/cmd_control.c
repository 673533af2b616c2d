/* sluice pause, resume, accept, skip, reconnect, reload, loglevel: the running daemon does it. */
#include "commands.h"

#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

#include "buf.h"
#include "control.h"

int
cmd_control(const struct config *config, int argc, char **argv)
{
	static const struct option options[] = { { 0 } };
	const struct control *control = control_find(argv[0]);
	ASSERT(control != NULL);
	int words = command_options(argc, argv, options, control->min, control->max);
	if (words < 0)
		return EX_USAGE;
	struct buf answer = BUF_INIT;
	int status = command_ask_daemon(config, argv[0], words == 0 ? NULL : argv[1], &answer);
	if (status == EX_OK)
		fwrite(answer.data, 1, answer.len, stdout);
	buf_free(&answer);
	return status;
}
