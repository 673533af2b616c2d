/* Rubbish in the ledger: rows, as a database gives them, that somebody else has written, through the real statements (errand.c, ledger.c, task.c) into
 * the real queue, which must go on, or stop with a reason. A Redis that works and a table that takes all but what the input says stand around it.
 *
 * An input is read byte by byte as decisions: where the list stands, what the rows hold, then what happens to each statement. When it is used up
 * nothing goes wrong any more.
 */
#include "fuzz_ledger.h"

#include "ledger.h"
#include "window.h"

#define STEPS_MAX 4000
#define OPERATOR 250 /* from this byte on a step begins with the operator's choice of what happens to orders in doubt */

struct world world;

/* -- Redis */

static struct call *
call_new(enum call_kind kind, uint64_t view)
{
	ASSERT(world.n_calls < CALLS_MAX);
	struct call *c = &world.calls[world.n_calls++];
	*c = (struct call){ .kind = kind, .view = view };
	return c;
}

static void
answer_peek(const struct call *c)
{
	struct item items[LIST_MAX];
	uint32_t n = 0;
	while (n < c->count && c->offset + n < world.list) {
		items[n] = item_at(world.settled + c->offset + n);
		n++;
	}
	struct queue_view v;
	queue_look(world.queue, &v);
	queue_peeked(world.queue, world.now, c->view, &(struct peek_answer){ .why = "", .items = items, .n = n, .disowned = v.epoch != world.epoch });
}

static void
answer_settle(const struct call *c)
{
	struct settle_answer a = { .why = "", .status = SETTLE_OK };
	if (c->epoch != world.epoch) {
		a.status = SETTLE_FENCED;
	} else if (c->settled != world.settled) {
		a.status = SETTLE_MOVED;
	} else {
		ASSERT(c->guarded && c->count <= world.list); /* nobody else takes or adds */
		world.settled += c->count;
		world.list -= c->count;
	}
	a.settled = world.settled + (input_byte(&world.in) == 255 ? 1 : 0); /* a Redis that does not tell the truth */
	a.backlog = world.list;
	queue_settled(world.queue, world.now, c->view, &a);
}

/* A new generation counts from 0, and no row of the ledger is of it. */
static void
begin_generation(void)
{
	world.shift += world.settled;
	world.settled = 0;
	for (size_t i = 0; i < world.n_rows; i++)
		cell_set(&world.rows[i].cells[OURS], "0");
}

static void
answer_call(void)
{
	struct call c = world.calls[0];
	memmove(world.calls, world.calls + 1, --world.n_calls * sizeof c);
	switch (c.kind) {
	case CALL_LEASE:
		queue_leased(world.queue, world.now, c.view, &(struct lease_answer){ .why = "", .granted = true, .holder = "a 1", .ttl_ms = 1000,
		    .epoch = world.epoch, .ledger = "" });
		break;
	case CALL_OWN:
		world.epoch = c.epoch;
		if (c.rewritten)
			begin_generation();
		queue_owned(world.queue, world.now, c.view, &(struct own_answer){ .why = "", .generation = "00", .settled = world.settled, .backlog = world.list });
		break;
	case CALL_PEEK: answer_peek(&c); break;
	case CALL_SETTLE: answer_settle(&c); break;
	case CALL_WAIT: queue_woken(world.queue, world.now, false); break;
	case CALL_LENGTH: queue_measured(world.queue, world.now, c.view, world.list, 0); break;
	}
}

/* -- ports */

static void
port_lease(void *arg, uint64_t view, uint64_t accepted)
{
	(void)arg, (void)accepted;
	call_new(CALL_LEASE, view);
}

static void
port_own(void *arg, uint64_t view, const struct claim *claim)
{
	(void)arg;
	ASSERT(claim->epoch > claim->before); /* as source_list_own() wants it */
	struct call *c = call_new(CALL_OWN, view);
	c->epoch = claim->epoch;
	c->rewritten = claim->rewritten;
}

static void
port_peek(void *arg, uint64_t view, uint64_t offset, uint32_t count, size_t budget)
{
	(void)arg, (void)budget;
	ASSERT(count > 0);
	struct call *c = call_new(CALL_PEEK, view);
	c->offset = offset;
	c->count = count;
}

static void
port_settle(void *arg, uint64_t view, const struct settle *s)
{
	(void)arg;
	ASSERT(s->skip == 0 && s->remove == s->advance);
	struct call *c = call_new(CALL_SETTLE, view);
	c->epoch = s->epoch;
	c->settled = s->settled;
	c->count = s->remove;
	c->guarded = true;
	for (size_t i = 0; i < s->n_samples; i++) {
		struct item item = item_at(s->settled + s->samples[i].offset);
		c->guarded &= s->samples[i].item->len == item.len && memcmp(s->samples[i].item->text, item.text, item.len) == 0;
	}
}

static void
port_wait(void *arg, uint64_t view)
{
	(void)arg;
	call_new(CALL_WAIT, view);
}

static void
port_length(void *arg, uint64_t view)
{
	(void)arg;
	call_new(CALL_LENGTH, view);
}

static void
port_release(void *arg, uint64_t view, bool clean)
{
	(void)view, (void)clean;
	(void)arg;
}

static void
port_ask(void *arg, struct task *task, const struct statement *statement)
{
	(void)arg;
	struct pending *p = pending_of(task->session);
	ASSERT(p->answer == NULL);
	p->task = task;
	p->statement = *statement;
	if (statement->kind != STATEMENT_CATALOGUE && statement->kind != STATEMENT_ROWS)
		errand_run(&world.place, task, statement);
}

static void
on_answered(void *arg, struct task *task, const struct answer *a)
{
	(void)arg;
	pending_of(task->session)->task = NULL;
	queue_answered(world.queue, world.now, task, a);
}

static void
port_give_back(void *arg, struct session *session, bool lost)
{
	(void)arg, (void)lost;
	errand_end(session);
	pending_of(session)->staged = false;
	session->state = SESSION_IDLE;
}

static void
port_want(void *arg, unsigned sessions)
{
	(void)arg;
	world.wanted = sessions;
}

/* Messages that are not acceptable, with whatever the encoder may say of them. */
static bool
port_prepare(void *arg, struct task *task)
{
	(void)arg;
	struct reject r = { .class = "message" };
	if (input_byte(&world.in) % 4 != 3)
		return true;
	r.index = input_byte(&world.in) % task->window->count;
	take_text(r.column, sizeof r.column - 1);
	take_text(r.message, sizeof r.message - 1);
	window_reject(task->window, &r);
	return true;
}

static void
port_wake_at(void *arg, uint64_t ms)
{
	(void)arg;
	world.wake_at = ms;
}

static uint64_t
port_random(void *arg)
{
	(void)arg;
	world.random = world.random * 6364136223846793005u + 1442695040888963407u;
	return world.random >> 20;
}

static void
port_tell(void *arg, int level, const char *text)
{
	(void)arg, (void)level;
	ASSERT(text[0] != '\0');
}

/* -- a run */

static void
start(struct input in)
{
	static const struct queue_ports ports = { port_lease, port_own, port_peek, port_settle, port_wait, port_length, port_release, port_ask,
		port_give_back, port_want, port_prepare, port_wake_at, port_random, port_tell };
	static const struct queue_limits limits = { .batch_rows = 4, .batch_bytes = 1024, .max_item_bytes = 1024, .sessions = SESSIONS,
		.ledger_rows = RING_ROWS, .ledger = true, .lease_ms = 1000, .backoff_ms = 10 };
	texts_make();
	struct buf kept[SESSIONS]; /* statements are written anew each time, their memory stays */
	for (size_t i = 0; i < SESSIONS; i++)
		kept[i] = world.sessions[i].sql;
	memset(&world, 0, offsetof(__typeof__(world), rows));
	memset(world.pending, 0, sizeof world.pending);
	world.in = in;
	for (size_t i = 0; i < SESSIONS; i++)
		world.sessions[i] = (struct session){ .state = SESSION_IDLE, .sql = kept[i], .conn = (struct db_conn *)(void *)&world.sessions[i] };
	uint8_t how = input_byte(&world.in);
	world.settled = input_byte(&world.in) >> (how & 1 ? 0 : 5);
	world.epoch = how & 2 ? input_byte(&world.in) : 1;
	world.list = input_byte(&world.in) % (LIST_MAX + 1);
	world.n_rows = input_byte(&world.in) % (ROWS_MAX + 1);
	for (uint32_t i = 0; i < world.n_rows; i++)
		world.rows[i] = take_row(i);
	static char user[] = "sluice", name[] = "orders";
	world.database = (struct database_config){ .driver = how & 4 ? DRIVER_MYSQL : DRIVER_POSTGRESQL, .user = user };
	world.config = (struct queue_config){ .name = name, .target = &world.database, .ledger_rows = RING_ROWS };
	world.queue = queue_new(&ports, NULL, &limits, "a");
	world.place = (struct errand_place){ .config = &world.config, .generation = queue_generation(world.queue), .answered = on_answered };
	queue_redis_up(world.queue, world.now);
}

/* Lets one thing happen; false: nothing can, but that time passes. */
static bool
step(void)
{
	uint8_t first = input_byte(&world.in);
	if (first >= OPERATOR)
		(void)queue_choose(world.queue, world.now, first & 1 ? HISTORY_ACCEPT : HISTORY_SKIP);
	for (unsigned i = 0; i <= SESSIONS; i++) {
		unsigned turn = (first + i) % (SESSIONS + 1);
		if (turn == SESSIONS && world.n_calls > 0) {
			answer_call();
			return true;
		}
		if (turn == SESSIONS)
			continue;
		if (world.pending[turn].task != NULL) {
			database_answer(&world.pending[turn], false);
			return true;
		}
		struct session *session = &world.sessions[turn];
		if (world.wanted > 0 && session->state == SESSION_IDLE) {
			session->state = SESSION_BUSY;
			world.wanted--;
			if (queue_give(world.queue, world.now, session))
				return true;
			world.wanted = 0; /* as the pool counts */
			session->state = SESSION_IDLE;
		}
	}
	return world.n_calls > 0; /* who refuses a session may ask for something else */
}

/* Is there nothing left to be done, or a reason to stop? */
static bool
is_settled(void)
{
	struct queue_view v;
	queue_look(world.queue, &v);
	return world.in.left == 0 && ((v.state == QUEUE_DRAIN && world.list == 0 && v.inflight == 0) || v.block == BLOCK_SETUP || v.block == BLOCK_HISTORY);
}

static void
end(void)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		while (world.pending[i].task != NULL)
			database_answer(&world.pending[i], true);
	}
	queue_free(&world.queue);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned steps = 0;
	start((struct input){ data, size });
	while (!is_settled()) {
		ASSERT(++steps < STEPS_MAX);
		if (!step()) {
			ASSERT(world.wake_at != UINT64_MAX);
			world.now = world.wake_at > world.now ? world.wake_at : world.now + 1;
			queue_tick(world.queue, world.now);
		}
		queue_check(world.queue);
	}
	end();
	return 0;
}
