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

#include "aside.h"
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
	enum { LOGS_IN, ASKS_DAEMON } doing; /* this and the rest as in commands.def */
	const char *summary;
	const char *usage;
	const char *help;
} commands[] = {
#define COMMAND(name, function, doing, summary, usage, help) { #name, function, doing, summary, usage, help },
#include "commands.def"
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

/* Takes `-c FILE` out of a command's arguments, where people write it as well: the file, else NULL. */
static const char *
take_file(int *argc, char **argv)
{
	static const char option[] = "--config";
	const char *file = NULL;
	int n = 1;
	for (int i = 1; i < *argc; i++) {
		bool named = strcmp(argv[i], "-c") == 0 || strcmp(argv[i], option) == 0;
		if (named && i + 1 < *argc)
			file = argv[++i];
		else if (strncmp(argv[i], option, strlen(option)) == 0 && argv[i][strlen(option)] == '=')
			file = argv[i] + strlen(option) + 1;
		else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	*argc = n;
	return file;
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
	const char *named = take_file(&argc, argv);
	struct buf errors = BUF_INIT;
	if (named != NULL)
		file = named;
	struct config *config = command->doing == LOGS_IN ? config_read(file, &errors) : config_read_only(file, &errors);
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
	int status = end_output(run_command(file, argc - optind, argv + optind));
	if (aside_threads_left())
		_exit(status);
	return status;
}
