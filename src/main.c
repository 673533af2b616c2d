/* sluice [-c FILE] COMMAND: reads the command line and the configuration, hands over to the command. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "buf.h"
#include "commands.h"
#include "config.h"
#include "daemon.h"
#include "nearest.h"
#include "version.h"

#ifndef SYSCONFDIR
#define SYSCONFDIR "/etc"
#endif
#define DEFAULT_FILE SYSCONFDIR "/sluice/sluice.ini"

static const struct command {
	const char *name;
	command_fn *run;
	const char *summary; /* one line of `sluice --help` */
	const char *usage;   /* behind the name */
	const char *help;    /* what it does, with an example */
} commands[] = {
	{ "run", cmd_run, "drain the queues, in the foreground", " [--core]",
	    "Drains every queue of the configuration into its table until SIGTERM or SIGINT; logs to stderr. A second signal ends it at once.\n"
	    "SIGUSR1 pauses all queues, SIGUSR2 resumes them.\n\n"
	    "  --core  allows core files and debuggers, who will see passwords and orders; without it nobody but root reads its memory\n\n"
	    "  sluice -c /etc/sluice/sluice.ini run\n" },
	{ "check", cmd_check, "look for what is wrong with the configuration and the servers", " [--offline]",
	    "Reads the configuration, logs in everywhere, compares tables and columns, connections and limits, and says what each queue guarantees.\n"
	    "One line a finding: ok, warning or error, where, and what to do. Changes nothing. Exit status: 0 without errors, 69 a server cannot be\n"
	    "reached, 78 something must be corrected.\n\n"
	    "  --offline  only the configuration, no server\n\n"
	    "  sluice check\n" },
	{ "init", cmd_init, "make the ledger tables, or print what an administrator has to do", " [--print]",
	    "Makes the table sluice_ledger in each database where it is missing.\n\n"
	    "  --print  makes nothing: prints the statements, the smallest GRANTs and the Redis ACL that sluice needs\n\n"
	    "  sluice init --print | less\n" },
	{ "show", cmd_show, "show queues, orders, pools, connections, counters, dead letters or the configuration",
	    " queues|orders|pools|connections|stats|dead|config [--json]",
	    "Asks the running daemon by its stats port (`listen` in [stats]), or where it has none by its admin socket; `config` only reads the file.\n"
	    "No passwords are shown.\n\n"
	    "  --json  as JSON\n\n"
	    "  sluice show queues\n" },
	{ "pause", cmd_control, "start nothing new", " [QUEUE]",
	    "The daemon finishes what is in flight and then takes nothing from the queue; without QUEUE from all queues. The orders stay in their list.\n"
	    "It lasts until sluice resume, or until the daemon is started anew.\n\n"
	    "  sluice pause orders\n" },
	{ "resume", cmd_control, "go on after a pause, or try again now", " [QUEUE]",
	    "Ends a pause. A queue that waits because of an error tries again at once. Without QUEUE: all queues.\n\n"
	    "  sluice resume orders\n" },
	{ "accept", cmd_control, "after Redis fell back too far: store what is in doubt", " QUEUE",
	    "When Redis comes back from a copy that is older than what the ledger remembers, some of the orders that wait may have been stored before.\n"
	    "The queue stops then, and says how many they are. This stores them, perhaps a second time: nothing is lost.\n\n"
	    "  sluice accept orders\n" },
	{ "skip", cmd_control, "after Redis fell back too far: make dead letters of what is in doubt", " QUEUE",
	    "As sluice accept, but those orders become dead letters: nothing comes twice, and nothing is lost as long as you look through them.\n"
	    "sluice dead show, retry and drop deal with them one by one, or all at once.\n\n"
	    "  sluice skip orders && sluice dead list orders\n" },
	{ "reconnect", cmd_control, "open all connections to a database anew", " [DATABASE]",
	    "Connections that rest are opened anew at once, the others when their batch is done; without DATABASE those of all databases. After a\n"
	    "failover, or a change of a role's settings, for instance. There is never one connection more than pool_size.\n\n"
	    "  sluice reconnect shop\n" },
	{ "reload", cmd_control, "read the configuration again", "",
	    "All or nothing: when anything in it is wrong, the old one stays in force. Says what has changed, and what takes a restart. Exit status: 78\n"
	    "nothing was changed. SIGHUP does the same.\n\n"
	    "  sluice reload\n" },
	{ "loglevel", cmd_control, "log more, or less", " error|warning|info|debug",
	    "Until the daemon reads its configuration again.\n\n"
	    "  sluice loglevel debug\n" },
	{ "dead", cmd_dead, "list, show, retry or drop dead letters",
	    " list QUEUE [--json]\n       sluice [-c FILE] dead show|retry|drop QUEUE [INDEX|--all] [--yes]",
	    "  list   index, position, time and reason of each; not the payload\n"
	    "  show   reason and payload\n"
	    "  retry  pushes the payload to the producer's end of the queue and takes the dead letter off its list, in one step\n"
	    "  drop   takes it off its list; asks first on a terminal\n\n"
	    "Without INDEX, or with --all: all dead letters of the queue.\n\n"
	    "  --json  one JSON object a dead letter\n"
	    "  --yes   does not ask\n\n"
	    "  sluice dead retry orders 0\n" },
};

#define N_COMMANDS (sizeof commands / sizeof *commands)

/* May core files and other processes of this user see our memory? Passwords are in there, in copies that the client libraries keep. */
static void
show_memory(bool may)
{
	int rc = prctl(PR_SET_DUMPABLE, may ? 1 : 0, 0, 0, 0);
	ASSERT(rc == 0);
}

int
cmd_run(const struct config *config, int argc, char **argv)
{
	int core = 0;
	const struct option options[] = { { "core", no_argument, &core, 1 }, { 0 } };
	if (command_options(argc, argv, options, 0, 0) < 0)
		return EX_USAGE;
	show_memory(core);
	return daemon_run(config);
}

static void
print_help(void)
{
	printf("usage: sluice [-c FILE] COMMAND [ARGUMENT]...\n"
	       "Drains Redis lists into PostgreSQL, MySQL or MariaDB tables, exactly once.\n\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		printf("  %-9s  %s\n", commands[i].name, commands[i].summary);
	printf("\n  -c, --config FILE  the configuration, default " DEFAULT_FILE "\n"
	       "  -h, --help         this text; sluice COMMAND --help explains a command\n"
	       "  -V, --version      the version\n");
}

static const struct command *
find_command(const char *name)
{
	struct nearest nearest = { .wanted = name };
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
		nearest_offer(&nearest, commands[i].name);
	}
	struct buf hint = BUF_INIT;
	nearest_suggest(&nearest, &hint);
	fprintf(stderr, "sluice: there is no command \"%s\"%s\nsluice --help lists them.\n", name, buf_cstr(&hint));
	buf_free(&hint);
	return NULL;
}

static bool
wants_help(int argc, char **argv)
{
	bool help = false;
	for (int i = 1; i < argc; i++)
		help = help || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
	return help;
}

static int
run_command(const char *file, int argc, char **argv)
{
	const struct command *command = find_command(argv[0]);
	if (command == NULL)
		return EX_USAGE;
	ASSERT(command->run != NULL && argc > 0);
	if (wants_help(argc, argv)) {
		printf("usage: sluice [-c FILE] %s%s\n%s", command->name, command->usage, command->help);
		return EX_OK;
	}
	struct buf errors = BUF_INIT;
	struct config *config = config_read(file, &errors);
	if (config == NULL) {
		fputs(buf_cstr(&errors), stderr);
		buf_free(&errors);
		return EX_CONFIG;
	}
	buf_free(&errors);
	int status = command->run(config, argc, argv);
	config_free(&config);
	return status;
}

/* A standard file that is closed would become the next socket, and our words its data. What stands in here refuses them. */
static void
hold_standard_files(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			_exit(EX_OSERR);
	}
}

/* Output that got lost is an error, whatever else went well. */
static int
end_output(int status)
{
	bool failed = ferror(stdout) != 0;
	if (fclose(stdout) == 0 && !failed)
		return status;
	fprintf(stderr, "sluice: the output could not be written: %s\n", strerror(errno));
	return status == EX_OK ? EX_SOFTWARE : status;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	const char *file = DEFAULT_FILE;
	hold_standard_files();
	show_memory(false);
	signal(SIGPIPE, SIG_IGN);
	for (int option; (option = getopt_long(argc, argv, "+c:hV", options, NULL)) != -1;) {
		switch (option) {
		case 'c':
			file = optarg;
			break;
		case 'h':
			print_help();
			return end_output(EX_OK);
		case 'V':
			puts("sluice " PACKAGE_VERSION);
			return end_output(EX_OK);
		default:
			fputs("sluice --help shows what there is.\n", stderr);
			return EX_USAGE;
		}
	}
	if (optind == argc) {
		fputs("sluice: a command is missing; sluice --help lists them.\n", stderr);
		return EX_USAGE;
	}
	return end_output(run_command(file, argc - optind, argv + optind));
}
