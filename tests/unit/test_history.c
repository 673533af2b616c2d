/* Redis falls back further than the ledger remembers, and the operator chooses. */
#include "queue_world.h"

#define LETTERS "ABcdefghijklmnopqrstuvwxyz01234567" /* positions 0 and 1 are forgotten, each of the others has its row */
#define SURE 9                                        /* from this position on a ring of 32 surely remembers */

/* The ring is full of rows for LETTERS from position 2 on. */
static void
recall_full(struct world *w)
{
	static uint64_t hashes[RING][8];
	struct ledger_row rows[RING];
	char letter[2] = "";
	for (uint32_t i = 0; i < RING; i++) {
		letter[0] = LETTERS[2 + i];
		rows[i] = row_of(2 + i, letter, hashes[i]);
	}
	recall(w, rows, RING);
}

/* To the question. */
static void
fall_back(struct world *w, const char *list)
{
	begin(w, list);
	lease(w);
	own(w);
	recall_full(w);
}

/* The lease comes, and the ring again. */
static void
take_over(struct world *w)
{
	lease(w);
	own(w);
	recall_full(w);
}

static void
choose(struct world *w, enum history_choice choice)
{
	assert_int_equal(look(w).block, BLOCK_HISTORY);
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	unsigned leases = w->leases;
	assert_true(queue_choose(w->q, w->now, choice));
	assert_int_equal(w->leases, leases + 1);
	assert_int_equal(look(w).block, BLOCK_NONE);
	take_over(w);
}

/* What the ledger does not track is stored in a transaction of its own. */
static void
commit_untracked(struct world *w)
{
	assert_true(give(w));
	ok(w, STATEMENT_ROWS);
	ok(w, STATEMENT_COMMIT);
}

static void
nobody_is_asked_without_need(void **state)
{
	struct world *w = *state;
	drain(w, "ab");
	assert_false(queue_choose(w->q, w->now, HISTORY_SKIP));
}

static void
accepted_orders_are_stored_and_the_rest_is_matched(void **state)
{
	struct world *w = *state;
	fall_back(w, LETTERS "!");
	assert_told(w, "the next 9 orders may have been stored already");
	choose(w, HISTORY_ACCEPT);
	assert_int_equal(w->count, 2);
	show(w);
	commit_untracked(w);
	assert_int_equal(look(w).counters->committed, 2);
	while (look(w).settled < strlen(LETTERS) || look(w).inflight == 0) {
		if (look(w).settled < SURE) /* nothing behind the doubt is read before it is settled; then rows are matched as ever */
			assert_true(w->waits_for[0] == 's' || w->offset + w->count <= SURE - look(w).settled);
		go_on(w);
	}
	assert_int_equal(look(w).counters->reconciled, RING);
	commit(w);
	settle(w);
	assert_int_equal(look(w).settled, strlen(LETTERS) + 1);
	assert_false(w->rewritten);
}

static void
skipped_orders_are_dead_letters_and_a_generation_begins(void **state)
{
	struct world *w = *state;
	fall_back(w, "AB");
	assert_told(w, "the next 2 orders may have been stored already");
	choose(w, HISTORY_SKIP);
	show(w);
	assert_int_equal(w->settles, 1);
	assert_int_equal(w->remove, 2);
	settle(w);
	assert_int_equal(look(w).counters->dead[DB_UNKNOWN], 2);
	assert_told(w, "taking a new generation");
	pass(w, 1);
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	lease(w);
	assert_true(w->rewritten);
	queue_owned(w->q, w->now, w->view, &(struct own_answer){ .why = "", .generation = "h", .fresh = true });
	uint64_t hashes[8];
	struct ledger_row former = row_of(0, "AB", hashes);
	former.ours = false;
	recall(w, &former, 1);
	assert_told(w, "1 windows of the former generation are cleared");
}

/* What is in doubt is decided on before another ledger begins, and what the ring tells is settled; what is new stays in the list. */
static void
orders_in_doubt_are_not_handed_over(void **state)
{
	struct world *w = *state;
	fall_back(w, "ABcdX");
	choose(w, HISTORY_ACCEPT);
	queue_hand_over(w->q, w->now);
	while (w->waits_for[0] == 'p')
		show(w);
	assert_int_equal(look(w).inflight, 4);
	commit_untracked(w);
	while (w->waits_for[0] != '\0')
		go_on(w);
	assert_string_equal(w->list, "X");
	assert_told(w, "taking a new generation");
	pass(w, 1);
	w->settled = 0;
	lease(w);
	own(w);
	uint64_t hashes[8];
	struct ledger_row former = row_of(2, "c", hashes);
	former.ours = false;
	recall(w, &former, 1);
	assert_true(give(w));
	ok(w, STATEMENT_RING_CUT);
	ok(w, STATEMENT_COMMIT);
	release(w);
}

static void
what_is_pushed_after_the_choice_is_not_in_doubt(void **state)
{
	struct world *w = *state;
	fall_back(w, "AB");
	choose(w, HISTORY_SKIP);
	w->list = "ABnew";
	show(w);
	assert_int_equal(w->remove, 2);
	settle(w);
	pass(w, 1);
	lease(w);
	assert_true(w->rewritten);
}

static void
nothing_in_doubt_needs_no_choice(void **state)
{
	struct world *w = *state;
	fall_back(w, "");
	assert_int_equal(look(w).block, BLOCK_NONE);
	assert_told(w, "taking a new generation");
	pass(w, 1);
	lease(w);
	assert_true(w->rewritten);
}

static void
a_list_that_is_another_from_some_place_on_begins_a_generation(void **state)
{
	struct world *w = *state;
	fall_back(w, "ABc!!!!!!!!!!!!!!");
	choose(w, HISTORY_ACCEPT);
	show(w);
	commit_untracked(w);
	while (look(w).state == QUEUE_DRAIN)
		go_on(w); /* `c` is known, `d` is not there */
	assert_int_equal(w->settled, 3);
	assert_told(w, "taking a new generation");
	pass(w, 1);
	lease(w);
	assert_true(w->rewritten);
}

static void
a_lost_commit_of_accepted_orders_is_run_again(void **state)
{
	struct world *w = *state;
	fall_back(w, "AB");
	choose(w, HISTORY_ACCEPT);
	show(w);
	assert_true(give(w));
	ok(w, STATEMENT_ROWS);
	gets_lost(w, STATEMENT_COMMIT);
	pass(w, 100);
	commit_untracked(w);
	settle(w);
	assert_int_equal(look(w).counters->committed, 2);
}

static void
the_choice_outlives_a_lost_link_but_no_further_fall_back(void **state)
{
	struct world *w = *state;
	fall_back(w, LETTERS);
	choose(w, HISTORY_ACCEPT);
	queue_redis_down(w->q, w->now);
	queue_redis_up(w->q, w->now);
	take_over(w);
	assert_int_equal(look(w).state, QUEUE_DRAIN);
	show(w);
	commit_untracked(w);
	go_on(w);
	go_on(w);
	assert_true(w->settled >= 2);
	queue_redis_down(w->q, w->now);
	queue_redis_up(w->q, w->now);
	w->settled = 0; /* back to where it was before */
	w->list = LETTERS;
	take_over(w);
	assert_int_equal(look(w).block, BLOCK_HISTORY);
}

static void
a_ledger_that_remembers_less_asks_again(void **state)
{
	struct world *w = *state;
	fall_back(w, LETTERS);
	assert_true(queue_choose(w->q, w->now, HISTORY_ACCEPT));
	lease(w);
	own(w);
	static uint64_t hashes[RING][8];
	struct ledger_row rows[RING];
	for (uint32_t i = 0; i < RING; i++)
		rows[i] = row_of(100 + i, "x", hashes[i]);
	recall(w, rows, RING);
	assert_int_equal(look(w).block, BLOCK_HISTORY);
}

static void
the_choice_ends_with_what_it_was_for(void **state)
{
	struct world *w = *state;
	fall_back(w, LETTERS);
	assert_true(queue_choose(w->q, w->now, HISTORY_SKIP));
	lease(w);
	w->settled = SURE; /* the newer copy of Redis was found */
	w->list = LETTERS + SURE;
	own(w);
	recall_full(w);
	assert_int_equal(look(w).state, QUEUE_DRAIN);
	while (w->settles == 0)
		go_on(w);
	assert_int_equal(look(w).counters->dead[DB_UNKNOWN], 0);
	assert_true(look(w).counters->reconciled > 0);
}

static void
a_new_generation_ends_the_choice(void **state)
{
	struct world *w = *state;
	fall_back(w, LETTERS);
	assert_true(queue_choose(w->q, w->now, HISTORY_SKIP));
	lease(w);
	queue_owned(w->q, w->now, w->view, &(struct own_answer){ .why = "", .generation = "h", .settled = 0, .backlog = strlen(w->list) });
	recall_full(w);
	assert_int_equal(look(w).block, BLOCK_HISTORY);
}

static void
sql_that_is_behind_is_told(void **state)
{
	struct world *w = *state;
	fall_back(w, LETTERS);
	assert_true(queue_choose(w->q, w->now, HISTORY_SKIP));
	lease(w);
	w->settled = 100;
	own(w);
	recall_full(w);
	assert_told(w, "SQL has lost committed windows");
	assert_int_equal(look(w).state, QUEUE_DRAIN);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		STORY(orders_in_doubt_are_not_handed_over), STORY(nobody_is_asked_without_need),
		STORY(accepted_orders_are_stored_and_the_rest_is_matched),
		STORY(skipped_orders_are_dead_letters_and_a_generation_begins), STORY(what_is_pushed_after_the_choice_is_not_in_doubt),
		STORY(nothing_in_doubt_needs_no_choice), STORY(a_list_that_is_another_from_some_place_on_begins_a_generation),
		STORY(a_lost_commit_of_accepted_orders_is_run_again), STORY(the_choice_outlives_a_lost_link_but_no_further_fall_back),
		STORY(a_ledger_that_remembers_less_asks_again), STORY(the_choice_ends_with_what_it_was_for), STORY(a_new_generation_ends_the_choice),
		STORY(sql_that_is_behind_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
