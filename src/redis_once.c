/* One command on a connection of its own, in a loop of its own. */
#include "redis.h"

#include <event2/event.h>

#include "check.h"

/* What redis_run_once() does. */
struct once {
	struct redis *redis;   /* owned; NULL when done */
	int argc;              /* the command, as given */
	const char *const *words;
	const size_t *lens;
	size_t budget;
	redis_reply_fn *reply; /* called once */
	void *arg;             /* its first argument */
};

static void
once_answer(void *arg, enum redis_class class, const struct redis_value *reply, struct arena *arena, const char *why)
{
	struct once *once = arg;
	redis_close(&once->redis);
	once->reply(once->arg, class, reply, arena, why);
}

static void
once_up(void *arg)
{
	struct once *once = arg;
	redis_command(once->redis, once->argc, once->words, once->lens, 0, once->budget, once_answer, once);
}

static void
once_down(void *arg, enum redis_class class, const char *why)
{
	once_answer(arg, class, NULL, NULL, why);
}

void
redis_run_once(const struct redis_config *config, int argc, const char *const *words, const size_t *lens, size_t budget, redis_reply_fn *reply,
    void *arg)
{
	static const struct redis_events events = { .up = once_up, .down = once_down };
	struct event_base *base = event_base_new();
	ASSERT(base != NULL);
	struct once once = { .argc = argc, .words = words, .lens = lens, .budget = budget, .reply = reply, .arg = arg };
	once.redis = redis_open(base, config, "sluice-once", &events, &once);
	while (once.redis != NULL && event_base_loop(base, EVLOOP_ONCE) == 0)
		;
	ASSERT(once.redis == NULL);
	event_base_free(base);
}
