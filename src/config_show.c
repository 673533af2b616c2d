/* Back to text: the values in force, and the sample file. */
#include "config_private.h"

#include <string.h>

#include "buf.h"

#define HELP_COLUMN 31 /* of the sample: where comments begin */
#define HELP_WIDTH 118 /* and where they are wrapped */

static void
show_pair(struct buf *out, bool json, const char *key, const struct buf *value)
{
	ASSERT(!json || out->len > 0);
	if (json) {
		if (out->data[out->len - 1] != '{')
			buf_addc(out, ',');
		buf_add_json(out, key, strlen(key));
		buf_addc(out, ':');
	} else {
		buf_addf(out, "%s =%s", key, value->len > 0 ? " " : "");
	}
	buf_add(out, value->data, value->len);
	if (!json)
		buf_addc(out, '\n');
}

/* All keys of a section; `prefix` is what stands before them, with the dot. */
static void
show_section(enum section_kind kind, const void *base, const char *prefix, bool json, struct buf *out)
{
	struct buf key = BUF_INIT, value = BUF_INIT;
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].section != kind)
			continue;
		buf_reset(&key);
		buf_reset(&value);
		buf_addf(&key, "%s%s", prefix, options[i].name);
		option_print(&options[i], base, json, &value);
		show_pair(out, json, buf_cstr(&key), &value);
	}
	buf_free(&key);
	buf_free(&value);
}

static void
show_columns(const struct queue_config *queue, const char *prefix, bool json, struct buf *out)
{
	struct buf key = BUF_INIT, value = BUF_INIT;
	for (size_t i = 0; i < queue->n_columns; i++) {
		const struct column_config *column = &queue->columns[i];
		buf_reset(&key);
		buf_reset(&value);
		buf_addf(&key, "%scolumn.%s", prefix, column->column);
		if (json)
			buf_add_json(&value, column->expression, strlen(column->expression));
		else
			buf_adds(&value, column->expression);
		show_pair(out, json, buf_cstr(&key), &value);
	}
	buf_free(&key);
	buf_free(&value);
}

void
config_show(const struct config *config, bool json, struct buf *out)
{
	if (json)
		buf_addc(out, '{');
	show_section(SECTION_SLUICE, config, "sluice.", json, out);
	show_section(SECTION_REDIS, &config->redis, "redis.", json, out);
	show_section(SECTION_STATS, &config->stats, "stats.", json, out);
	struct buf prefix = BUF_INIT;
	for (size_t i = 0; i < config->n_databases; i++) {
		buf_reset(&prefix);
		buf_addf(&prefix, "database.%s.", config->databases[i].name);
		show_section(SECTION_DATABASE, &config->databases[i], buf_cstr(&prefix), json, out);
	}
	for (size_t i = 0; i < config->n_queues; i++) {
		buf_reset(&prefix);
		buf_addf(&prefix, "queue.%s.", config->queues[i].name);
		show_section(SECTION_QUEUE, &config->queues[i], buf_cstr(&prefix), json, out);
		show_columns(&config->queues[i], buf_cstr(&prefix), json, out);
	}
	buf_free(&prefix);
	if (json)
		buf_addc(out, '}');
}

static const char sample_head[] =
    ";;; sluice.ini: what is drained from where to where; see sluice.ini(5).\n"
    ";;; Owner root:sluice, mode 0640. A commented line shows the default. [R] = takes a restart, all else reloads.\n"
    ";;; A line holds at most 199 bytes and begins in the first column; a blank and `;` begin a comment, in quotes too.\n";

/* What the sample's sections of several are called. */
static const char *const sample_names[N_SECTION_KINDS] = {
	[SECTION_DATABASE] = "shop",
	[SECTION_QUEUE] = "orders",
};

/* What the sample has for the keys that have no default and must be given. */
static const struct sample_value {
	enum option_id option;
	const char *value;
} sample_values[] = {
	{ DATABASE_driver, "postgresql" },
	{ DATABASE_dbname, "shop" },
	{ DATABASE_user, "sluice" },
	{ QUEUE_source, "list:orders" },
	{ QUEUE_database, "shop" },
	{ QUEUE_table, "public.orders" },
};

/* `column.` lines are no options: their names are the table's. */
static const struct sample_column {
	const char *line;
	const char *help;
} sample_columns[] = {
	{ ";column.id = $.id", "without column lines a JSON key goes to the column of its name" },
	{ ";column.customer_id = $.customer.id", "a key inside of an object" },
	{ ";column.total = $.total", "number text reaches the database as written: money is never rounded" },
	{ ";column.photo = base64($.photo)", "for binary columns" },
	{ ";column.body = $", "the whole message" },
	{ ";column.received_at = @now", "also @queue, @position" },
};

static const char *
sample_value(enum option_id id)
{
	for (size_t i = 0; i < sizeof sample_values / sizeof *sample_values; i++) {
		if (sample_values[i].option == id)
			return sample_values[i].value;
	}
	return NULL;
}

/* One line whose text is already in `out` from byte `start`, and its comment, wrapped. */
static void
sample_comment(struct buf *out, size_t start, const char *help)
{
	size_t column = out->len - start;
	buf_addf(out, "%*s ;", column < HELP_COLUMN ? (int)(HELP_COLUMN - column) : 0, "");
	column = column < HELP_COLUMN ? HELP_COLUMN : column;
	while (*help != '\0') {
		size_t n = strcspn(help, " ");
		if (column + n + 1 > HELP_WIDTH) {
			buf_addf(out, "\n%*s ;", HELP_COLUMN, "");
			column = HELP_COLUMN;
		}
		buf_addc(out, ' ');
		buf_add(out, help, n);
		column += n + 1;
		help += n + (help[n] == ' ');
	}
	buf_addc(out, '\n');
}

static void
sample_option(struct buf *out, enum option_id id)
{
	const struct option *option = &options[id];
	const char *given = sample_value(id);
	ASSERT(given == NULL || option->def == NULL);
	const char *value = given != NULL ? given : option->def != NULL ? option->def : "";
	size_t start = out->len;
	buf_addf(out, "%s%s =%s%s", given == NULL ? ";" : "", option->name, *value == '\0' ? "" : " ", value);

	struct buf help = BUF_INIT;
	if (given != NULL)
		buf_adds(&help, "required; ");
	if (option->type != OPTION_STRING)
		buf_addf(&help, "%s%s%s; ", option->limits, *option->unit == '\0' ? "" : " ", option->unit);
	buf_addf(&help, "%s%s", option->help, option->change == CHANGE_RESTART ? " [R]" : "");
	sample_comment(out, start, buf_cstr(&help));
	buf_free(&help);
}

void
config_sample(struct buf *out)
{
	buf_adds(out, sample_head);
	for (enum section_kind kind = 0; kind < N_SECTION_KINDS; kind++) {
		ASSERT(section_words[kind].named == (sample_names[kind] != NULL));
		buf_addf(out, "\n[%s%s%s]\n", section_words[kind].word, sample_names[kind] == NULL ? "" : " ",
		    sample_names[kind] == NULL ? "" : sample_names[kind]);
		for (enum option_id id = 0; id < N_OPTIONS; id++) {
			if (options[id].section == kind)
				sample_option(out, id);
		}
	}
	for (size_t i = 0; i < sizeof sample_columns / sizeof *sample_columns; i++) {
		size_t start = out->len;
		buf_adds(out, sample_columns[i].line);
		sample_comment(out, start, sample_columns[i].help);
	}
}
