/* sluice check: Redis. */
#include "check_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "clock.h"
#include "commands.h"
#include "config.h"
#include "source_list.h"

#define FIELD_MAX 200 /* bytes of a field of INFO */
#define BULK_MAX (64ull << 20) /* bytes of an order that nobody needs, but for whom max_item_bytes says so */

/* May the question not be asked? An ACL, or a service that has no such command, is no fault of the queue. */
static bool
is_hidden(const struct redis_value *value)
{
	return value != NULL && value->type == REDIS_ERROR &&
	    (strncmp(value->text, "NOPERM", 6) == 0 || strncmp(value->text, "ERR unknown", 11) == 0);
}

/* Asks Redis for what a sentence calls `what`. False: there is no answer of that type, and that was said. */
static bool
ask(struct check *c, const char *what, enum redis_type type, int argc, const char *const *words, struct command_answer *answer)
{
	command_ask_redis(&c->config->redis, argc, words, NULL, 0, answer);
	if (answer->class == REDIS_OK && answer->value->type == type)
		return true;
	if (answer->class == REDIS_OK || is_hidden(answer->value)) {
		check_finding(c, LEVEL_WARNING, "redis", "cannot see %s%s%s: allow what sluice init --print shows, or look yourself", what,
		    answer->why[0] == '\0' ? "" : ": ", answer->why);
	} else {
		check_finding(c, LEVEL_ERROR, "redis", "%s", answer->why);
		c->redis = false;
		c->unreachable = c->unreachable || command_redis_status(answer->class) == EX_UNAVAILABLE;
	}
	command_answer_free(answer);
	return false;
}

/* -- what INFO says */

/* Copies what stands behind "name:" in the answer to INFO; false: it is not there. */
static bool
info_field(const char *info, const char *name, char field[static FIELD_MAX])
{
	char key[FIELD_MAX];
	int n = snprintf(key, sizeof key, "\n%s:", name);
	ASSERT(n > 0 && n < FIELD_MAX);
	const char *at = strstr(info, key);
	field[0] = '\0';
	if (at == NULL)
		return false;
	snprintf(field, FIELD_MAX, "%.*s", (int)strcspn(at + n, "\r\n"), at + n);
	return true;
}

/* 0: it is not there. */
static unsigned long long
info_number(const char *info, const char *name)
{
	char field[FIELD_MAX];
	return info_field(info, name, field) ? strtoull(field, NULL, 10) : 0;
}

/* Before 6.2 there is no BLMOVE: a queue is looked at again and again. */
static void
check_version(struct check *c, const char *info)
{
	char version[FIELD_MAX], *rest;
	bool known = info_field(info, "redis_version", version);
	unsigned long major = strtoul(version, &rest, 10), minor = *rest == '.' ? strtoul(rest + 1, NULL, 10) : 0;
	if (!known || major > 6 || (major == 6 && minor >= 2))
		check_finding(c, LEVEL_OK, "redis", "reachable, version %s", known ? version : "unknown");
	else
		check_finding(c, LEVEL_WARNING, "redis", "version %s cannot wait for an item without taking it, so that idle queues are polled: use "
		    "6.2 or later", version);
}

static void
check_memory(struct check *c, const char *info)
{
	unsigned long long max = info_number(info, "maxmemory"), used = info_number(info, "used_memory");
	unsigned long long host = info_number(info, "total_system_memory");
	char field[FIELD_MAX];
	if (!info_field(info, "maxmemory", field))
		return;
	if (max == 0)
		check_finding(c, LEVEL_WARNING, "redis", "maxmemory 0: a long backlog grows until the host has no memory left, and the system kills "
		    "Redis: set maxmemory below what the host has");
	else if (host > 0 && max > host)
		check_finding(c, LEVEL_WARNING, "redis", "maxmemory %llu is more than the %llu bytes that its host has: the system kills Redis "
		    "before it is full: set less", max, host);
	else if (used > max / 5 * 4)
		check_finding(c, LEVEL_WARNING, "redis", "maxmemory %llu, of which %.0f %% are used: full, it refuses producers: raise it, or "
		    "drain the queues faster", max, 100.0 * (double)used / (double)max);
	else
		check_finding(c, LEVEL_OK, "redis", "maxmemory %llu, of which %.0f %% are used", max, 100.0 * (double)used / (double)max);
}

/* -- what settings and states mean */

/* Those of INFO stand there only where they are no good. */
static const struct setting {
	const char *name;
	const char *value;  /* its beginning; "": any other */
	enum level level;
	const char *means;  /* and what to do; NULL: nothing to say */
	const char *losing; /* what may be lost when Redis is killed; NULL: says nothing about it */
} settings[] = {
	{ "maxmemory-policy", "noeviction", LEVEL_OK, "when it is full, producers are refused and nothing is lost", NULL },
	{ "maxmemory-policy", "volatile-", LEVEL_WARNING, "when it is full, keys that expire are dropped, leases among them: set noeviction", NULL },
	{ "maxmemory-policy", "", LEVEL_ERROR, "when it is full, whole queues are dropped: set noeviction", NULL },
	{ "appendonly", "yes", LEVEL_OK, "a restart keeps the queues", NULL },
	{ "appendonly", "", LEVEL_WARNING, "a restart loses what came since the last snapshot: set appendonly yes",
	    "orders that Redis acknowledged since its last snapshot may be lost when Redis is killed: appendonly no" },
	{ "appendfsync", "always", LEVEL_OK, "every write is on disk before it is acknowledged", "" },
	{ "appendfsync", "everysec", LEVEL_OK, "writes are on disk within a second",
	    "orders that Redis acknowledged within the last second may be lost when Redis is killed or its host fails: appendfsync everysec" },
	{ "appendfsync", "", LEVEL_WARNING, "writes reach the disk whenever the system likes: set everysec or always",
	    "orders that Redis acknowledged within the last half minute or so may be lost when Redis is killed or its host fails: appendfsync no" },
	{ "tcp-keepalive", "0", LEVEL_WARNING, "connections of producers that vanished stay until maxclients is reached: set 60", NULL },
	{ "tcp-keepalive", "", LEVEL_OK, "connections of producers that vanished are closed", NULL },
	{ "aof_last_write_status", "ok", LEVEL_OK, NULL, NULL },
	{ "aof_last_write_status", "", LEVEL_ERROR,
	    "its append-only file cannot be written, and writes are refused: make room on its disk, and look into its log", NULL },
	{ "aof_last_bgrewrite_status", "ok", LEVEL_OK, NULL, NULL },
	{ "aof_last_bgrewrite_status", "", LEVEL_WARNING, "the append-only file cannot be written anew, and grows: look at its disk, memory and log",
	    NULL },
	{ "rdb_last_bgsave_status", "ok", LEVEL_OK, NULL, NULL },
	{ "rdb_last_bgsave_status", "", LEVEL_WARNING,
	    "its last snapshot failed; with save and stop-writes-on-bgsave-error it refuses writes: look at its disk, memory and log", NULL },
};

/* Its row; what that says is said. */
static const struct setting *
say_setting(struct check *c, const char *name, const char *value)
{
	const struct setting *s = settings;
	ASSERT(name[0] != '\0');
	while (strcmp(s->name, name) != 0 || strncmp(value, s->value, strlen(s->value)) != 0) {
		s++;
		ASSERT(s < settings + sizeof settings / sizeof *settings);
	}
	if (s->means != NULL)
		check_finding(c, s->level, "redis", "%s %s: %s", name, value, s->means);
	return s;
}

static void
check_states(struct check *c, const char *info)
{
	static const char *const names[] = { "aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status" };
	char field[FIELD_MAX];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (info_field(info, names[i], field))
			(void)say_setting(c, names[i], field);
	}
}

/* -- what CONFIG says */

/* Copies the setting's value, "" where this Redis has none of that name; false: that may not be seen, which was said. */
static bool
config_get(struct check *c, const char *name, char field[static FIELD_MAX])
{
	struct command_answer answer;
	const char *const words[] = { "CONFIG", "GET", name };
	if (!ask(c, "settings", REDIS_ARRAY, 3, words, &answer))
		return false;
	bool there = answer.value->n == 2 && answer.value->elements[1]->type == REDIS_STRING;
	snprintf(field, FIELD_MAX, "%s", there ? answer.value->elements[1]->text : "");
	command_answer_free(&answer);
	return true;
}

static bool
is_local(const char *address)
{
	return address[0] == '\0' || strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 || strcmp(address, "localhost") == 0;
}

/* Does a list of addresses, as `bind` has it, hold one that others reach? */
static bool
is_open(const char *addresses)
{
	char list[FIELD_MAX], *rest = list, *address;
	bool open = addresses[0] == '\0'; /* bound to all */
	snprintf(list, sizeof list, "%s", addresses);
	while (!open && (address = strsep(&rest, " ")) != NULL)
		open = !is_local(address[0] == '-' ? address + 1 : address);
	return open;
}

/* We came in without a password: who else can? */
static void
check_door(struct check *c)
{
	const struct redis_config *redis = &c->config->redis;
	char port[FIELD_MAX], guarded[FIELD_MAX], addresses[FIELD_MAX];
	if (redis->password != NULL || redis->address.user != NULL)
		return;
	if (!config_get(c, "port", port) || !config_get(c, "protected-mode", guarded) || !config_get(c, "bind", addresses))
		return;
	if (strcmp(port, "0") != 0 && strcmp(guarded, "no") == 0 && is_open(addresses))
		check_finding(c, LEVEL_WARNING, "redis", "whoever reaches port %s at \"%s\" may read, change and drop queues, without a password: "
		    "give it users (ACL SETUSER), bind it to private addresses, or set protected-mode yes", port, addresses);
}

/* A failover falls back to what the replica has. Reconciling sees to what was stored, but pushes that are not there are gone. */
static void
check_replicas(struct check *c, const char *info)
{
	char wanted[FIELD_MAX];
	if (info_number(info, "connected_slaves") > 0 && config_get(c, "min-replicas-to-write", wanted) && strcmp(wanted, "0") == 0)
		check_finding(c, LEVEL_WARNING, "redis", "min-replicas-to-write 0: it goes on acknowledging orders when its replica lags or is "
		    "gone, and a failover loses them: set 1, and min-replicas-max-lag");
}

/* What is pushed has to be read before it can be a dead letter: read, written down as one, and sent back. */
static void
check_largest(struct check *c)
{
	char value[FIELD_MAX];
	size_t wanted = 0;
	if (!config_get(c, "proto-max-bulk-len", value))
		return;
	for (size_t i = 0; i < c->config->n_queues; i++)
		wanted = c->config->queues[i].max_item_bytes > wanted ? c->config->queues[i].max_item_bytes : wanted;
	unsigned long long taken = strtoull(value, NULL, 10);
	if (taken > BULK_MAX && taken / 4 > wanted)
		check_finding(c, LEVEL_WARNING, "redis", "proto-max-bulk-len %s: a single order may be as large, and takes some five times that here, and "
		    "six times in Redis, before it is a dead letter for being larger than max_item_bytes (%zu): set 16mb, or what you need", value, wanted);
	else
		check_finding(c, LEVEL_OK, "redis", "proto-max-bulk-len %s: larger orders are refused as they are pushed", value);
}

/* In the order of what matters; the first that may not be seen ends it, for the others may not either. */
static void
check_config(struct check *c, const char *info)
{
	char value[FIELD_MAX];
	if (!config_get(c, "maxmemory-policy", value))
		return;
	(void)say_setting(c, "maxmemory-policy", value);
	if (!config_get(c, "appendonly", value))
		return;
	c->losing = say_setting(c, "appendonly", value)->losing;
	if (c->losing == NULL && config_get(c, "appendfsync", value))
		c->losing = say_setting(c, "appendfsync", value)->losing;
	if (config_get(c, "tcp-keepalive", value))
		(void)say_setting(c, "tcp-keepalive", value);
	check_largest(c);
	check_door(c);
	check_replicas(c, info);
}

void
check_redis(struct check *c)
{
	struct command_answer answer;
	static const char *const words[] = { "INFO" };
	char role[FIELD_MAX];
	ASSERT(!c->redis && c->losing == NULL);
	int64_t before = clock_wall_us();
	c->redis = true;
	bool told = ask(c, "its version, role and state", REDIS_STRING, 1, words, &answer);
	const char *info = told ? answer.value->text : "";
	if (told) {
		check_version(c, info);
		if (info_field(info, "role", role) && strcmp(role, "slave") == 0)
			check_finding(c, LEVEL_ERROR, "redis", "this is a replica: url must lead to the primary");
		if (info_number(info, "server_time_usec") > 0)
			check_clock(c, "redis", (double)info_number(info, "server_time_usec") / 1e6, before, clock_wall_us());
		check_memory(c, info);
		check_states(c, info);
	}
	if (c->redis)
		check_config(c, info);
	if (told)
		command_answer_free(&answer);
}

static void
check_key(struct check *c, const char *where, const char *option, const char *key)
{
	struct command_answer answer;
	const char *const words[] = { "TYPE", key };
	if (!c->redis || !ask(c, "the types of keys", REDIS_STATUS, 2, words, &answer))
		return;
	if (strcmp(answer.value->text, "list") != 0 && strcmp(answer.value->text, "none") != 0)
		check_finding(c, LEVEL_ERROR, where, "%s: the key %s is a %s and no list: correct it, or remove the key", option, key,
		    answer.value->text);
	command_answer_free(&answer);
}

/* Did the last owner leave what only his ledger knows? lease.lua refuses as long as orders wait, then. */
static void
check_last_owner(struct check *c, const char *where, const struct queue_config *queue)
{
	struct command_answer answer;
	struct buf ours = BUF_INIT;
	char *state = source_list_state_key(queue->list_key);
	const char *const words[] = { "HMGET", state, "ledger", "clean" };
	config_ledger_name(queue, &ours);
	if (c->redis && ask(c, "who drained the queue last", REDIS_ARRAY, 4, words, &answer)) {
		struct redis_value *const *said = answer.value->elements;
		bool unclean = answer.value->n == 2 && said[0]->type == REDIS_STRING && said[1]->type == REDIS_NIL;
		bool known = strcmp(buf_cstr(&ours), "none") != 0 && unclean && strcmp(said[0]->text, "none") != 0;
		if (known && strcmp(said[0]->text, buf_cstr(&ours)) != 0)
			check_finding(c, LEVEL_WARNING, where, "the last owner of the list wrote another ledger (%s) and has not ended cleanly: a daemon that "
			    "starts with this configuration stands by while orders wait, for some may be stored already. Run one with the former configuration and "
			    "reload this one, or choose by sluice accept", said[0]->text);
		command_answer_free(&answer);
	}
	free(state);
	buf_free(&ours);
}

void
check_redis_keys(struct check *c, const char *where, const struct queue_config *queue)
{
	ASSERT(queue->list_key != NULL && queue->dead_letter != NULL);
	check_key(c, where, "source", queue->list_key);
	check_key(c, where, "dead_letter", queue->dead_letter);
	check_last_owner(c, where, queue);
}
