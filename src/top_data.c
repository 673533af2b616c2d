/* Each object of the JSON is a table here: which member goes into which field. */
#include "top_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "buf.h"
#include "json.h"
#include "text.h"

#define FIELDS_MAX 32 /* of one object */

enum kind { TEXT, NUMBER, TRUTH, NUMBERS, LIST };

struct shape;

/* One field. */
struct field {
	const char *path[3];       /* ended by NULL */
	enum kind kind;
	size_t offset;             /* in the struct; a const char *, double, bool or struct top_list */
	const struct shape *items; /* LIST: what it is a list of */
};

/* One struct. */
struct shape {
	const struct field *fields;
	size_t n_fields;
	size_t size;               /* bytes of the struct */
};

#define SHAPE(list, type) { list, sizeof(list) / sizeof *(list), sizeof(type) }

static const struct field dead_fields[] = {
	{ { "time_s" }, NUMBER, offsetof(struct top_dead, time_s), NULL },
	{ { "position" }, NUMBER, offsetof(struct top_dead, position), NULL },
	{ { "reason" }, TEXT, offsetof(struct top_dead, reason), NULL },
	{ { "code" }, TEXT, offsetof(struct top_dead, code), NULL },
	{ { "meaning" }, TEXT, offsetof(struct top_dead, meaning), NULL },
};
static const struct shape dead_shape = SHAPE(dead_fields, struct top_dead);

static const struct field queue_fields[] = {
	{ { "name" }, TEXT, offsetof(struct top_queue, name), NULL },
	{ { "database" }, TEXT, offsetof(struct top_queue, database), NULL },
	{ { "state" }, TEXT, offsetof(struct top_queue, state), NULL },
	{ { "bound_by" }, TEXT, offsetof(struct top_queue, bound_by), NULL },
	{ { "severity" }, TEXT, offsetof(struct top_queue, severity), NULL },
	{ { "advice" }, TEXT, offsetof(struct top_queue, advice), NULL },
	{ { "backlog" }, NUMBER, offsetof(struct top_queue, backlog), NULL },
	{ { "oldest_age_s" }, NUMBER, offsetof(struct top_queue, oldest_age_s), NULL },
	{ { "in_per_s" }, NUMBER, offsetof(struct top_queue, in), NULL },
	{ { "out_per_s" }, NUMBER, offsetof(struct top_queue, out), NULL },
	{ { "rows_per_batch" }, NUMBER, offsetof(struct top_queue, rows_per_batch), NULL },
	{ { "commit_s" }, NUMBER, offsetof(struct top_queue, commit_s), NULL },
	{ { "dead" }, NUMBER, offsetof(struct top_queue, dead), NULL },
	{ { "time_to_empty_s" }, NUMBER, offsetof(struct top_queue, empty_s), NULL },
	{ { "pushed" }, NUMBER, offsetof(struct top_queue, pushed), NULL },
	{ { "difference" }, NUMBER, offsetof(struct top_queue, difference), NULL },
	{ { "conservation", "stored" }, NUMBER, offsetof(struct top_queue, stored), NULL },
	{ { "conservation", "duplicate" }, NUMBER, offsetof(struct top_queue, duplicate), NULL },
	{ { "conservation", "dead" }, NUMBER, offsetof(struct top_queue, dead_new), NULL },
	{ { "conservation", "taken" }, NUMBER, offsetof(struct top_queue, taken), NULL },
	{ { "conservation", "waiting" }, NUMBER, offsetof(struct top_queue, waiting), NULL },
	{ { "history", "step_s" }, NUMBER, offsetof(struct top_queue, step_s), NULL },
	{ { "history", "in" }, NUMBERS, offsetof(struct top_queue, in_series), NULL },
	{ { "history", "out" }, NUMBERS, offsetof(struct top_queue, out_series), NULL },
	{ { "history", "backlog" }, NUMBERS, offsetof(struct top_queue, backlog_series), NULL },
	{ { "history", "commit_ms" }, NUMBERS, offsetof(struct top_queue, commit_series), NULL },
	{ { "history", "commit_p99_ms" }, NUMBERS, offsetof(struct top_queue, slowest_series), NULL },
	{ { "last_dead" }, LIST, offsetof(struct top_queue, last_dead), &dead_shape },
};
static const struct shape queue_shape = SHAPE(queue_fields, struct top_queue);

static const struct field connection_fields[] = {
	{ { "state" }, TEXT, offsetof(struct top_connection, state), NULL },
	{ { "queue" }, TEXT, offsetof(struct top_connection, queue), NULL },
	{ { "since_s" }, NUMBER, offsetof(struct top_connection, since_s), NULL },
	{ { "rows" }, NUMBER, offsetof(struct top_connection, rows), NULL },
	{ { "server_id" }, NUMBER, offsetof(struct top_connection, server_id), NULL },
};
static const struct shape connection_shape = SHAPE(connection_fields, struct top_connection);

static const struct field pool_fields[] = {
	{ { "name" }, TEXT, offsetof(struct top_pool, name), NULL },
	{ { "driver" }, TEXT, offsetof(struct top_pool, driver), NULL },
	{ { "why" }, TEXT, offsetof(struct top_pool, why), NULL },
	{ { "up" }, TRUTH, offsetof(struct top_pool, up), NULL },
	{ { "size" }, NUMBER, offsetof(struct top_pool, size), NULL },
	{ { "busy" }, NUMBER, offsetof(struct top_pool, busy), NULL },
	{ { "idle" }, NUMBER, offsetof(struct top_pool, idle), NULL },
	{ { "connecting" }, NUMBER, offsetof(struct top_pool, connecting), NULL },
	{ { "connections" }, LIST, offsetof(struct top_pool, connections), &connection_shape },
};
static const struct shape pool_shape = SHAPE(pool_fields, struct top_pool);

static const struct field event_fields[] = {
	{ { "time_s" }, NUMBER, offsetof(struct top_event, time_s), NULL },
	{ { "times" }, NUMBER, offsetof(struct top_event, times), NULL },
	{ { "level" }, TEXT, offsetof(struct top_event, level), NULL },
	{ { "subject" }, TEXT, offsetof(struct top_event, subject), NULL },
	{ { "text" }, TEXT, offsetof(struct top_event, text), NULL },
};
static const struct shape event_shape = SHAPE(event_fields, struct top_event);

static const struct field data_fields[] = {
	{ { "version" }, TEXT, offsetof(struct top_data, version), NULL },
	{ { "instance" }, TEXT, offsetof(struct top_data, instance), NULL },
	{ { "time_s" }, NUMBER, offsetof(struct top_data, time_s), NULL },
	{ { "uptime_s" }, NUMBER, offsetof(struct top_data, uptime_s), NULL },
	{ { "config_last_reload_successful" }, TRUTH, offsetof(struct top_data, reload_ok), NULL },
	{ { "redis", "up" }, TRUTH, offsetof(struct top_data, redis_up), NULL },
	{ { "redis", "why" }, TEXT, offsetof(struct top_data, redis_why), NULL },
	{ { "redis", "version" }, TEXT, offsetof(struct top_data, redis_version), NULL },
	{ { "redis", "memory_ratio" }, NUMBER, offsetof(struct top_data, memory_ratio), NULL },
	{ { "redis", "memory_used" }, NUMBER, offsetof(struct top_data, memory_used), NULL },
	{ { "queues" }, LIST, offsetof(struct top_data, queues), &queue_shape },
	{ { "pools" }, LIST, offsetof(struct top_data, pools), &pool_shape },
	{ { "events" }, LIST, offsetof(struct top_data, events), &event_shape },
};
static const struct shape data_shape = SHAPE(data_fields, struct top_data);

/* -- reading */

struct reading {
	struct json_reader *reader;
	struct arena *arena; /* of what comes out */
};

static const char *
read_text(struct reading *r, const struct json_value *value)
{
	struct buf clean = BUF_INIT;
	if (value->kind == JSON_STRING)
		text_clean(&clean, value->text, value->len);
	char *kept = arena_bytes(r->arena, clean.len + 1);
	memcpy(kept, buf_cstr(&clean), clean.len + 1);
	buf_free(&clean);
	return kept;
}

/* The text goes on behind the number, with something that is no part of it. */
static double
read_number(const char *text)
{
	return *text == '-' || (*text >= '0' && *text <= '9') ? strtod(text, NULL) : NAN;
}

static size_t
count_elements(const struct json_value *array)
{
	const char *at = array->raw, *element;
	size_t n = 0, len;
	if (array->kind != JSON_ARRAY)
		return 0;
	while (json_next(&at, &element, &len))
		n++;
	return n;
}

/* Room for as many items as the array has. */
static struct top_list
make_list(struct reading *r, const struct json_value *array, size_t size)
{
	struct top_list list = { .n = count_elements(array) };
	ASSERT(size > 0);
	list.items = arena_alloc(r->arena, list.n * size + 1);
	return list;
}

static struct top_list
read_numbers(struct reading *r, const struct json_value *array)
{
	struct top_list list = make_list(r, array, sizeof(double));
	double *numbers = list.items;
	const char *at = array->raw, *element;
	size_t len;
	ASSERT(list.items != NULL);
	for (size_t i = 0; i < list.n && json_next(&at, &element, &len); i++)
		numbers[i] = read_number(element);
	return list;
}

static struct json_paths *
paths_of(const struct shape *shape)
{
	const char *const *paths[FIELDS_MAX];
	ASSERT(shape->n_fields <= FIELDS_MAX);
	for (size_t i = 0; i < shape->n_fields; i++)
		paths[i] = shape->fields[i].path;
	return json_paths_new(paths, shape->n_fields);
}

static void read_list(struct reading *r, const struct shape *shape, const struct json_value *array, struct top_list *list);

/* One field, if it is or is not a list: lists are read last, as what they are made of takes the place of the other values. */
static void
read_field(struct reading *r, const struct field *field, const struct json_value *value, void *into, bool lists)
{
	void *at = (char *)into + field->offset;
	if ((field->kind == LIST) != lists)
		return;
	switch (field->kind) {
	case TEXT:
		*(const char **)at = read_text(r, value);
		break;
	case NUMBER:
		*(double *)at = value->kind == JSON_NUMBER ? read_number(value->raw) : NAN;
		break;
	case TRUTH:
		*(bool *)at = value->kind == JSON_TRUE;
		break;
	case NUMBERS:
		*(struct top_list *)at = read_numbers(r, value);
		break;
	case LIST:
		read_list(r, field->items, value, at);
		break;
	}
}

/* Reads an object; one that cannot be read is as an empty one. False: it cannot. */
static bool
read_object(struct reading *r, const struct shape *shape, const struct json_paths *paths, const char *text, size_t len, void *into)
{
	ASSERT(shape->n_fields <= FIELDS_MAX && into != NULL);
	struct json_value values[FIELDS_MAX] = { 0 };
	bool well = json_read(r->reader, paths, text, len, false, values, NULL) == JSON_OK;
	for (size_t i = 0; i < shape->n_fields * 2; i++) {
		size_t field = i % shape->n_fields;
		if (!well)
			values[field].kind = JSON_ABSENT;
		read_field(r, &shape->fields[field], &values[field], into, i >= shape->n_fields);
	}
	return well;
}

static void
read_list(struct reading *r, const struct shape *shape, const struct json_value *array, struct top_list *list)
{
	struct json_paths *paths = paths_of(shape);
	const char *at = array->raw, *element;
	size_t len;
	ASSERT(shape != NULL);
	*list = make_list(r, array, shape->size);
	memset(list->items, 0, list->n * shape->size);
	for (size_t i = 0; i < list->n && json_next(&at, &element, &len); i++)
		read_object(r, shape, paths, element, len, (char *)list->items + i * shape->size);
	json_paths_free(&paths);
}

struct top_data *
top_data_read(const char *text, size_t len)
{
	struct top_data *data = xcalloc(1, sizeof *data);
	struct reading r = { .reader = json_reader_new(), .arena = arena_new() };
	struct json_paths *paths = paths_of(&data_shape);
	bool well = read_object(&r, &data_shape, paths, text, len, data) && data->instance[0] != '\0';
	data->arena = r.arena;
	json_paths_free(&paths);
	json_reader_free(&r.reader);
	if (!well)
		top_data_free(&data);
	return data;
}

void
top_data_free(struct top_data **data)
{
	if (*data != NULL)
		arena_unref(&(*data)->arena);
	free(*data);
	*data = NULL;
}

/* -- order */

static const struct order {
	const char *name;
	size_t offset; /* of the number in struct top_queue that the greatest of comes first; 0, which is the name: alphabetical */
} orders[TOP_ORDERS] = {
	{ "name", offsetof(struct top_queue, name) },
	{ "backlog", offsetof(struct top_queue, backlog) },
	{ "oldest", offsetof(struct top_queue, oldest_age_s) },
	{ "in/s", offsetof(struct top_queue, in) },
	{ "out/s", offsetof(struct top_queue, out) },
	{ "dead", offsetof(struct top_queue, dead) },
	{ "commit", offsetof(struct top_queue, commit_s) },
};
_Static_assert(offsetof(struct top_queue, name) == 0, "see struct order");

static double
number_of(const struct top_queue *queue, const struct order *order)
{
	double number;
	ASSERT(order->offset > 0);
	memcpy(&number, (const char *)queue + order->offset, sizeof number);
	return isnan(number) ? -1 : number;
}

static bool
comes_first(const struct top_queue *a, const struct top_queue *b, const struct order *order)
{
	double x = order->offset == 0 ? 0 : number_of(a, order), y = order->offset == 0 ? 0 : number_of(b, order);
	return x != y ? x > y : strcmp(a->name, b->name) < 0;
}

void
top_data_sort(struct top_data *data, unsigned order)
{
	struct top_queue *queues = data->queues.items;
	ASSERT(order < TOP_ORDERS);
	for (size_t i = 1; i < data->queues.n; i++) {
		struct top_queue moves = queues[i];
		size_t at = i;
		for (; at > 0 && comes_first(&moves, &queues[at - 1], &orders[order]); at--)
			queues[at] = queues[at - 1];
		queues[at] = moves;
	}
}

const char *
top_data_order(unsigned order)
{
	ASSERT(order < TOP_ORDERS);
	return orders[order].name;
}

size_t
top_data_find(const struct top_data *data, const char *name)
{
	const struct top_queue *queues = data->queues.items;
	for (size_t i = 0; i < data->queues.n; i++) {
		if (strcmp(queues[i].name, name) == 0)
			return i;
	}
	return 0;
}
