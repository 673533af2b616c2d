/* A configuration's life: read, checked, freed. */
#include "config_private.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"

struct buf *
draft_error_at(struct draft *draft, const char *file, int line)
{
	ASSERT(file != NULL && line >= 0);
	buf_adds(draft->errors, file);
	if (line > 0)
		buf_addf(draft->errors, ":%d", line);
	buf_adds(draft->errors, ": ");
	return draft->errors;
}

struct buf *
draft_error(struct draft *draft, const struct section *section, int line)
{
	const char *file = section->file == NULL ? draft->config->files[0] : section->file;
	const char *name = section_name(draft, section);
	draft_error_at(draft, file, line == 0 ? section->line : line);
	buf_addf(draft->errors, "[%s%s%s] ", section_words[section->kind].word, *name == '\0' ? "" : " ", name);
	return draft->errors;
}

const char *
section_name(const struct draft *draft, const struct section *section)
{
	switch (section->kind) {
	case SECTION_DATABASE: return draft->config->databases[section->index].name;
	case SECTION_QUEUE: return draft->config->queues[section->index].name;
	default: return "";
	}
}

struct section *
draft_add_section(struct draft *draft, enum section_kind kind, size_t index)
{
	draft->sections = xrealloc(draft->sections, (draft->n_sections + 1) * sizeof *draft->sections);
	struct section *section = &draft->sections[draft->n_sections++];
	ASSERT(kind < N_SECTION_KINDS);
	*section = (struct section){ .kind = kind, .index = index };
	void *base = section_base(draft->config, kind, index);
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].section == kind && options[i].def != NULL) {
			bool legal = option_set(&options[i], base, options[i].def, draft->errors);
			ASSERT(legal);
		}
	}
	return section;
}

static struct config *
read_config(const char *path, bool opens_files, struct buf *errors)
{
	struct draft draft = { .config = xcalloc(1, sizeof *draft.config), .errors = errors, .opens_files = opens_files };
	size_t errors_before = errors->len;
	for (enum section_kind kind = 0; kind < N_SECTION_KINDS; kind++) {
		if (!section_words[kind].named)
			draft_add_section(&draft, kind, 0);
	}
	ASSERT(draft.n_sections == SECTION_DATABASE && draft.sections[SECTION_STATS].kind == SECTION_STATS);
	if (draft_read_file(&draft, path, false))
		draft_check(&draft);
	free(draft.sections);
	if (errors->len > errors_before)
		config_free(&draft.config);
	return draft.config;
}

struct config *
config_read(const char *path, struct buf *errors)
{
	return read_config(path, true, errors);
}

struct config *
config_read_only(const char *path, struct buf *errors)
{
	return read_config(path, false, errors);
}

static void
wipe(char *secret)
{
	if (secret != NULL)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

static void
free_strings(enum section_kind kind, void *base)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (options[i].section == kind && options[i].type == OPTION_STRING)
			free(*(char **)(void *)((char *)base + options[i].offset));
	}
}

static void
free_queue(struct queue_config *queue)
{
	free_strings(SECTION_QUEUE, queue);
	for (size_t i = 0; i < queue->n_columns; i++) {
		free(queue->columns[i].column);
		free(queue->columns[i].expression);
	}
	free(queue->columns);
	free(queue->list_key);
	free(queue->name);
}

static void
free_redis(struct redis_config *redis)
{
	free_strings(SECTION_REDIS, redis);
	free(redis->address.unix_path);
	free(redis->address.host);
	free(redis->address.user);
	wipe(redis->password);
}

void
config_free(struct config **ref)
{
	struct config *config = *ref;
	*ref = NULL;
	if (config == NULL)
		return;
	for (size_t i = 0; i < config->n_queues; i++)
		free_queue(&config->queues[i]);
	for (size_t i = 0; i < config->n_databases; i++) {
		free_strings(SECTION_DATABASE, &config->databases[i]);
		wipe(config->databases[i].password);
		free(config->databases[i].name);
	}
	for (size_t i = 0; i < config->n_files; i++)
		free(config->files[i]);
	free_redis(&config->redis);
	free_strings(SECTION_STATS, &config->stats);
	free_strings(SECTION_SLUICE, config);
	free(config->queues);
	free(config->databases);
	free(config->files);
	free(config);
}
