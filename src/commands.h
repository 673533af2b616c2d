/* The subcommands of `sluice`; each returns the process's exit status: 0, or one of sysexits (64 usage, 69 a server is unreachable, 70, 78). */
#ifndef SLUICE_COMMANDS_H
#define SLUICE_COMMANDS_H

#include <stdbool.h>

struct config;

/* argv[0] is the subcommand's name; options are the command's own. */
typedef int command_fn(const struct config *config, int argc, char **argv);

/* sluice check [--offline] */
command_fn cmd_check;
/* sluice init [--print] */
command_fn cmd_init;
/* sluice show WHAT [--json] */
command_fn cmd_show;
/* sluice dead list|show|retry|drop QUEUE */
command_fn cmd_dead;
/* sluice run */
command_fn cmd_run;

#endif
