/* Values of replies, made by hiredis's reader in an arena: one peek of a thousand items costs some dozen allocations, not two thousand. */
#include "redis_reply.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <string.h>

#include "arena.h"
#include "check.h"

/* Slots that an array gets at once. More come as elements arrive, so that a claimed length alone costs nothing. Must be a power of two. */
#define ARRAY_SLOTS 1024

#if HIREDIS_MAJOR >= 1
typedef size_t array_length;
#else
typedef int array_length;
#endif

/* Makes room in a parent array for its element i, of `total` that the server announced. */
static void
array_reserve(struct arena *arena, struct redis_value *array, size_t i, size_t total)
{
	bool full = i == 0 || (i >= ARRAY_SLOTS && (i & (i - 1)) == 0);
	if (!full)
		return;
	size_t slots = i == 0 ? ARRAY_SLOTS : 2 * i;
	if (slots > total)
		slots = total;
	struct redis_value **elements = arena_alloc(arena, slots * sizeof(struct redis_value *));
	if (i > 0)
		memcpy(elements, array->elements, i * sizeof(struct redis_value *));
	array->elements = elements;
}

/* A new value in its place: the root, or the next element of its parent. NULL when the reply has grown absurd. */
static struct redis_value *
value_new(const redisReadTask *task, enum redis_type type)
{
	struct reply_sink *sink = task->privdata;
	if (sink->arena == NULL)
		sink->arena = arena_new();
	if (arena_used(sink->arena) > REPLY_MAX || arena_used(sink->arena) - sink->strings > SHAPE_MAX)
		return NULL;
	struct redis_value *value = arena_alloc(sink->arena, sizeof *value);
	*value = (struct redis_value){ .type = type };
	if (task->parent != NULL) {
		struct redis_value *parent = task->parent->obj;
		ASSERT(parent != NULL && parent->type == REDIS_ARRAY);
		ASSERT(task->idx >= 0 && parent->n == (size_t)task->idx);
		array_reserve(sink->arena, parent, parent->n, (size_t)task->parent->elements);
		parent->elements[parent->n++] = value;
	}
	return value;
}

static enum redis_type
string_type(int type)
{
	switch (type) {
	case REDIS_REPLY_ERROR:
		return REDIS_ERROR;
	case REDIS_REPLY_STATUS:
		return REDIS_STATUS;
	default:
		return REDIS_STRING;
	}
}

static void *
create_string(const redisReadTask *task, char *text, size_t len)
{
	struct reply_sink *sink = task->privdata;
	struct redis_value *value = value_new(task, string_type(task->type));
	if (value == NULL)
		return NULL;
	value->len = len;
	/* The string that passes the budget is kept: one item larger than the whole budget must still get through. */
	if (value->type == REDIS_STRING && sink->budget > 0 && sink->strings > sink->budget)
		return value;
	char *copy = arena_bytes(sink->arena, len + 1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	value->text = copy;
	sink->strings += len;
	return value;
}

static void *
create_array(const redisReadTask *task, array_length n)
{
	(void)n; /* announced, not sent */
	return value_new(task, REDIS_ARRAY);
}

static void *
create_integer(const redisReadTask *task, long long integer)
{
	struct redis_value *value = value_new(task, REDIS_INTEGER);
	if (value != NULL)
		value->integer = integer;
	return value;
}

static void *
create_nil(const redisReadTask *task)
{
	return value_new(task, REDIS_NIL);
}

#if HIREDIS_MAJOR >= 1
/* Types of RESP3, which nobody asked for: a protocol error. */
static void *
create_double(const redisReadTask *task, double number, char *text, size_t len)
{
	(void)task, (void)number, (void)text, (void)len;
	return NULL;
}

static void *
create_bool(const redisReadTask *task, int truth)
{
	(void)task, (void)truth;
	return NULL;
}
#endif

void
reply_functions(struct redisReplyObjectFunctions *functions)
{
	*functions = (redisReplyObjectFunctions){
		.createString = create_string,
		.createArray = create_array,
		.createInteger = create_integer,
		.createNil = create_nil,
#if HIREDIS_MAJOR >= 1
		.createDouble = create_double,
		.createBool = create_bool,
#endif
	};
}

/* Every error that means more than "wait and say so". */
static const struct {
	const char *start;      /* the error begins with these words */
	enum redis_class class; /* what it means */
	const char *advice;     /* what to do, for the log */
} errors[] = {
	{ "TRYAGAIN", REDIS_RETRY, "its slot is being moved; will try again" },
	{ "READONLY", REDIS_READONLY, "it is a replica; url must lead to the primary" },
	{ "MOVED", REDIS_READONLY, "this cluster node does not hold the key; url must lead to the one that does" },
	{ "UNBLOCKED", REDIS_READONLY, "it changed its role; url must lead to the primary" },
	{ "OOM", REDIS_PAUSE, "it is at maxmemory; raise maxmemory or let queues drain" },
	{ "LOADING", REDIS_PAUSE, "it loads its data; will try again" },
	{ "MASTERDOWN", REDIS_PAUSE, "it is a replica without its primary; url must lead to the primary" },
	{ "NOREPLICAS", REDIS_PAUSE, "it wants more replicas before it writes; see min-replicas-to-write" },
	{ "CLUSTERDOWN", REDIS_PAUSE, "its cluster is incomplete; see CLUSTER INFO" },
	{ "BUSY", REDIS_PAUSE, "somebody's script blocks it; see SCRIPT KILL" },
	{ "MISCONF", REDIS_PAUSE, "it cannot save to disk and so takes no writes; see its log" },
	{ "ERR max number of clients", REDIS_PAUSE, "raise maxclients, or close other clients" },
	{ "NOAUTH", REDIS_SETUP, "it wants a password; set password_file" },
	{ "WRONGPASS", REDIS_SETUP, "check the user in url and password_file" },
	{ "ERR invalid password", REDIS_SETUP, "check password_file" },
	{ "ERR AUTH", REDIS_SETUP, "it has no password for this user; check url and password_file" },
	{ "ERR Client sent AUTH", REDIS_SETUP, "it has no password; check url and password_file" },
	{ "ERR DB index", REDIS_SETUP, "check the database number in url" },
	{ "ERR invalid DB index", REDIS_SETUP, "check the database number in url" },
	{ "ERR SELECT is not allowed", REDIS_SETUP, "a cluster has database 0 only; check url" },
	{ "DENIED", REDIS_SETUP, "it is in protected mode; give it a password, or use its Unix socket" },
	{ "NOPERM", REDIS_SETUP, "its ACL forbids this; `sluice init --print` shows what is needed" },
	{ "ERR The user executing the script", REDIS_SETUP, "its ACL forbids this: ACL LOG has the command, `sluice init --print` all that are needed" },
	{ "WRONGTYPE", REDIS_SETUP, "a key is not of the type it should be; check the queue's source and dead_letter" },
	{ "CROSSSLOT", REDIS_SETUP, "dead_letter must share the {tag} of the queue's key" },
};

static bool
starts_with(const char *text, const char *words)
{
	size_t n = strlen(words);
	return strncmp(text, words, n) == 0 && strchr(" ,", text[n]) != NULL;
}

enum redis_class
reply_class(const struct redis_value *reply, const char **advice)
{
	*advice = NULL;
	if (reply->type != REDIS_ERROR)
		return REDIS_OK;
	ASSERT(reply->text != NULL);
	/* Before 7.0 an error inside a script looks like "ERR Error running script (call to f_..): @user_script:1: -OOM command not allowed". */
	bool nested = strncmp(reply->text, "ERR Error running script", 24) == 0;
	for (const char *at = reply->text; at != NULL; at = nested ? strstr(at, ": ") : NULL) {
		at += strspn(at, ": -");
		for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
			if (starts_with(at, errors[i].start)) {
				*advice = errors[i].advice;
				return errors[i].class;
			}
		}
	}
	return REDIS_PAUSE;
}

const char *
connect_advice(int error)
{
	static const struct {
		int error;          /* errno */
		const char *advice; /* for the log */
	} table[] = {
		{ ECONNREFUSED, "is it running?" },
		{ ENOENT, "there is no such socket; is it running, is url right?" },
		{ EACCES, "may this user open the socket? See unixsocketperm in redis.conf and the socket's group" },
		{ EAGAIN, "it does not accept connections; is it hanging?" },
		{ ETIMEDOUT, "is the host up, is a firewall between?" },
		{ EHOSTUNREACH, "is the host up, is a firewall between?" },
	};
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (table[i].error == error)
			return table[i].advice;
	}
	return "check url";
}

bool
reply_is_error(const struct redis_value *reply, const char *code)
{
	return reply->type == REDIS_ERROR && starts_with(reply->text, code);
}
