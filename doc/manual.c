/* Writes the manual pages whose truth is a table: copies a template from stdin to stdout, and replaces the line @commands@ by all of commands.def,
 * @options NAME@ by the rows of options.def of that section. `make manuals` runs it. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option {
	const char *section;
	const char *key;
	const char *type;
	const char *def;    /* as options.def has it; NULL: none */
	const char *limits;
	const char *unit;
	const char *reload; /* LIVE, RECYCLE, ANEW, RESTART */
	const char *help;
} options[] = {
#define ROW(section, key, type, def, limits, unit, reload, help) { section, #key, #type, def, limits, unit, #reload, help },
#define SLUICE_OPTION(...) ROW("sluice", __VA_ARGS__)
#define REDIS_OPTION(...) ROW("redis", __VA_ARGS__)
#define STATS_OPTION(...) ROW("stats", __VA_ARGS__)
#define DATABASE_OPTION(...) ROW("database", __VA_ARGS__)
#define QUEUE_OPTION(...) ROW("queue", __VA_ARGS__)
#include "options.def"
};

static const struct command {
	const char *name;
	const char *summary; /* this and the rest as in commands.def */
	const char *usage;
	const char *help;
} commands[] = {
#define COMMAND(name, function, doing, summary, usage, help) { #name, summary, usage, help },
#include "commands.def"
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

#define WIDTH 74 /* of a line of text in the page's source */

/* Prints n bytes so that roff shows them as they are. */
static void
print_plain(const char *text, size_t n)
{
	if (n > 0 && (text[0] == '.' || text[0] == '\''))
		fputs("\\&", stdout);
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '\\')
			fputs("\\e", stdout);
		else if (text[i] == '-')
			fputs("\\-", stdout);
		else if (text[i] == '`')
			fputs(i == 0 || text[i - 1] == '(' ? "\\(lq" : "\\(rq", stdout);
		else
			putchar(text[i]);
	}
}

/* Does the word end a sentence, if what follows is another one? */
static bool
ends_sentence(const char *word, size_t n, const char *rest)
{
	return n > 1 && word[n - 1] == '.' && (n < 3 || word[n - 3] != '.') && isupper((unsigned char)*rest);
}

/* Prints a paragraph in short lines, a new one for each sentence, as roff wants it to space them. */
static void
print_text(const char *text, size_t length)
{
	size_t column = 0;
	for (const char *word = text, *end = text + length; word < end;) {
		size_t n = strcspn(word, " \n");
		n = n > (size_t)(end - word) ? (size_t)(end - word) : n;
		if (column > 0)
			putchar(column + n > WIDTH ? '\n' : ' ');
		column = column + n > WIDTH ? 0 : column;
		print_plain(word, n);
		column += n + 1;
		word += n + (word + n < end);
		if (word < end && ends_sentence(word - n - 1, n, word)) {
			putchar('\n');
			column = 0;
		}
	}
	putchar('\n');
}

/* Lines "  WORD  what". */
static void
print_words(const char *text, size_t n)
{
	puts(".Bl -tag -width Ds");
	for (const char *line = text, *end; line < text + n; line = end + 1) {
		end = memchr(line, '\n', (size_t)(text + n - line));
		end = end == NULL ? text + n : end;
		const char *word = line + 2, *gap = strstr(word, "  ");
		if (gap == NULL || gap > end)
			abort(); /* commands.def says how these lines look */
		fputs(".It ", stdout);
		print_plain(word, (size_t)(gap - word));
		putchar('\n');
		gap += strspn(gap, " ");
		print_text(gap, (size_t)(end - gap));
	}
	puts(".El");
}

/* A line that the tests run. */
static void
print_example(const char *text, size_t n)
{
	puts(".Pp\nFor example:\n.\\\" example: sh\n.Bd -literal -offset indent");
	print_plain(text + 2, n - 2);
	puts("\n.Ed");
}

static void
print_usage(const char *name, const char *usage)
{
	printf(".Dl sluice %s", name);
	for (size_t n; *usage != '\0'; usage += n) {
		n = strcspn(usage, "\n");
		print_plain(usage, n);
		n += strspn(usage + n, "\n ");
		fputs(usage[n] == '\0' ? "" : "\n.Dl ", stdout);
	}
	putchar('\n');
}

static void
print_command(const struct command *command)
{
	printf(".Ss %s: ", command->name);
	print_plain(command->summary, strlen(command->summary));
	putchar('\n');
	print_usage(command->name, command->usage);
	for (const char *text = command->help; *text != '\0';) {
		const char *end = strstr(text, "\n\n");
		size_t n = end == NULL ? strlen(text) - 1 : (size_t)(end - text);
		if (strncmp(text, "  sluice ", 9) == 0) {
			print_example(text, n);
		} else if (strncmp(text, "  ", 2) == 0) {
			print_words(text, n);
		} else {
			puts(".Pp");
			print_text(text, n);
		}
		text += n + strspn(text + n, "\n");
	}
}

static void
print_option(const struct option *option)
{
	bool number = strcmp(option->type, "STRING") != 0;
	printf(".It Cm %s", option->key);
	if (option->def != NULL)
		printf(" No = %s", option->def);
	putchar('\n');
	print_text(option->help, strlen(option->help));
	printf("(%s%s%s%s", option->def == NULL && (number || *option->limits != '\0') ? "required; " : "", number ? option->limits : "",
	    *option->unit == '\0' ? "" : " ", option->unit);
	printf("%s", number ? "; " : "");
	for (const char *c = option->reload; *c != '\0'; c++)
		putchar(tolower((unsigned char)*c));
	puts(")");
}

static void
print_options(const char *section)
{
	puts(".Bl -tag -width Ds");
	for (size_t i = 0; i < LENGTH(options); i++) {
		if (strcmp(options[i].section, section) == 0)
			print_option(&options[i]);
	}
	puts(".El");
}

int
main(void)
{
	char line[1000], section[20];
	puts(".\\\" Made by `make manuals` from the file of this name with .in: change that.");
	while (fgets(line, sizeof line, stdin) != NULL) {
		if (sscanf(line, "@options %19[a-z]@", section) == 1)
			print_options(section);
		else if (strcmp(line, "@commands@\n") == 0)
			for (size_t i = 0; i < LENGTH(commands); i++)
				print_command(&commands[i]);
		else
			fputs(line, stdout);
	}
	return ferror(stdin) || fflush(stdout) != 0;
}
