/* The queue's state machine, told as stories: what random schedules do not come to. */
#include "queue_world.h"

static void
drains_a_list(void **state)
{
	struct world *w = *state;
	drain(w, "abcdefghi");
	show(w);
	assert_int_equal(look(w).inflight, 9);
	commit(w);
	assert_int_equal(w->settles, 1);
	commit(w);
	settle(w);
	assert_int_equal(look(w).settled, 4);
	settle(w);
	commit(w);
	settle(w);
	assert_int_equal(look(w).settled, 9);
	assert_int_equal(look(w).counters->committed, 9);
	assert_int_equal(w->waits, 1);
	assert_string_equal(queue_state_name(look(w).state), "drain");
}

static void
without_a_ledger_a_lost_commit_is_run_again(void **state)
{
	struct world *w = *state;
	w->limits.ledger = false;
	drain(w, "ab");
	show(w);
	pass(w, 1000);
	w->misfit = true; /* the table was last looked at long ago: look again before storing */
	assert_true(give(w));
	ok(w, STATEMENT_CATALOGUE);
	assert_true(give(w)); /* just looked at, so the misfit is the order's */
	ok(w, STATEMENT_ROWS);
	gets_lost(w, STATEMENT_COMMIT);
	assert_int_equal(w->useless, 1);
	assert_false(give(w)); /* the backoff */
	pass(w, 100);
	commit(w);
	settle(w);
	assert_int_equal(look(w).settled, 2);
}

static void
says_who_drains_it(void **state)
{
	struct world *w = *state;
	static const struct { const char *holder, *reason; } cases[] = { { "me 77", "a daemon with our instance name" }, { "me2 77", "me2 77 drains it" },
		{ "you 77", "you 77 drains it" } };
	begin(w, "");
	assert_false(give(w));
	for (size_t i = 0; i < 3; i++) {
		queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .holder = cases[i].holder, .ttl_ms = 100 });
		assert_non_null(strstr(look(w).reason, cases[i].reason));
		pass(w, 110);
		assert_int_equal(w->leases, i + 2);
	}
}

static void
no_wait_is_longer_than_half_a_minute(void **state)
{
	static const unsigned backoffs[] = { 20000, 40000 };
	for (size_t i = 0; i < 2; i++) {
		struct world *w = *state;
		w->limits.backoff_ms = backoffs[i];
		begin(w, "");
		lease(w);
		queue_owned(w->q, w->now, w->view, &(struct own_answer){ .class = REDIS_PAUSE, .why = "loading" });
		assert_int_equal(look(w).state, QUEUE_STANDBY);
		pass(w, 30000);
		assert_int_equal(w->leases, 2);
		queue_free(&w->q);
		set_up(state);
	}
}

static void
a_stopped_queue_takes_nothing(void **state)
{
	struct world *w = *state;
	drain(w, "ab");
	show(w);
	queue_stop(w->q, w->now);
	queue_stop(w->q, w->now);
	release(w);
	assert_int_equal(w->releases, 1);
	assert_false(give(w));
}

/* What is committed behind a window that failed can be settled only after it. */
static void
a_stopping_queue_stores_what_stands_before_the_committed(void **state)
{
	struct world *w = *state;
	drain(w, "abcdefghijkl");
	show(w);
	assert_true(give(w));
	assert_true(give(w));
	ok(w, STATEMENT_LEDGER);
	ok(w, STATEMENT_LEDGER);
	fails(w, STATEMENT_ROWS, DB_RETRY);
	ok(w, STATEMENT_ROWS);
	ok(w, STATEMENT_ROLLBACK);
	queue_stop(w->q, w->now);
	assert_int_equal(look(w).inflight, 8);
	ok(w, STATEMENT_COMMIT);
	assert_int_equal(look(w).state, QUEUE_DRAIN);
	pass(w, 100);
	commit(w);
	assert_int_equal(w->windows, 2);
	settle(w);
	release(w);
	assert_int_equal(look(w).counters->settled, 8);
}

static void
a_blocked_queue_stops_at_once(void **state)
{
	struct world *w = *state;
	drain(w, "abcdefgh");
	show(w);
	assert_true(give(w));
	assert_true(give(w));
	fails(w, STATEMENT_LEDGER, DB_SETUP);
	ok(w, STATEMENT_LEDGER);
	ok(w, STATEMENT_ROLLBACK);
	ok(w, STATEMENT_ROWS);
	queue_pause(w->q, w->now);
	queue_stop(w->q, w->now);
	ok(w, STATEMENT_COMMIT);
	assert_int_equal(look(w).state, QUEUE_DRAIN);
	assert_true(give(w));
	fails(w, STATEMENT_CATALOGUE, DB_SETUP);
	release(w);
	assert_int_equal(look(w).counters->settled, 0);
}

static void
a_stopped_queue_begins_anew(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	show(w);
	commit(w);
	settle(w);
	queue_pause(w->q, w->now);
	queue_stop(w->q, w->now);
	release(w);
	w->limits.ledger = false; /* whatever it was */
	w->limits.sessions = 1;
	queue_renew(w->q, w->now, &w->limits);
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	assert_int_equal(look(w).block, BLOCK_OPERATOR);
	assert_int_equal(look(w).counters->committed, 4);
	queue_resume(w->q, w->now);
	w->list = "ef";
	queue_redis_up(w->q, w->now);
	assert_int_equal(w->leases, 2);
	lease(w);
	own(w);
	show(w);
	commit(w);
	settle(w);
	assert_int_equal(look(w).settled, 6);
	assert_int_equal(look(w).counters->committed, 6);
	assert_int_equal(look(w).counters->takeovers, 2);
}

/* The lease is renewed; in Redis stands this epoch. */
static void
renew(struct world *w, uint64_t epoch)
{
	queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .granted = true, .holder = "", .epoch = epoch, .elsewhere = w->elsewhere });
}

/* Time passes, and the lease is renewed. */
static void
pass_leased(struct world *w, uint64_t ms)
{
	pass(w, ms);
	renew(w, look(w).epoch);
}

/* Only who surely has the lease begins to store: a database that came back from a backup may have forgotten that another has taken over. */
static void
stores_only_while_its_lease_lasts(void **state)
{
	struct world *w = *state;
	w->limits.lease_ms = 900; /* sooner than the table is looked at again */
	drain(w, "abcd");
	show(w);
	pass(w, w->limits.lease_ms);
	assert_false(give(w));
	assert_int_equal(look(w).wanted, 0);
	renew(w, look(w).epoch);
	assert_true(look(w).wanted > 0);
	pass(w, w->limits.lease_ms - 1);
	commit(w);
	pass(w, 1);
	settle(w);
	assert_int_equal(look(w).settled, 4);
}

/* Another has owned the list since, and is gone again. */
static void
the_lease_tells_that_another_has_come_and_gone(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	show(w);
	renew(w, look(w).epoch + 1);
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	assert_told(w, "another epoch than our");
	lease(w);
	own(w);
	recall(w, &(struct ledger_row){ .dead = "" }, 0);
	show(w);
	commit(w);
	settle(w);
}

/* Of two ledgers, both may have counted up to the same epoch, where Redis was emptied between. */
static void
the_lease_tells_that_the_epoch_is_anothers(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	show(w);
	pass(w, w->limits.lease_ms);
	renew(w, look(w).epoch);
	assert_int_equal(look(w).state, QUEUE_DRAIN);
	for (enum queue_state next = QUEUE_STANDBY; next <= QUEUE_PREPARE; next++) {
		pass(w, w->limits.lease_ms);
		queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .granted = true, .holder = "", .epoch = look(w).epoch, .others = true });
		assert_int_equal(look(w).state, next);
	}
}

/* While the database was asked somebody took the list over, perhaps with another ledger, and went: what he left is not ours to know. */
static void
owns_only_what_nobody_owned_since_the_lease(void **state)
{
	struct world *w = *state;
	begin(w, "abcd");
	renew(w, 3);
	renew(w, 4);
	raise_epoch(w);
	assert_true(w->owns == 1 && w->before == 3);
	queue_owned(w->q, w->now, w->view, &(struct own_answer){ .why = "", .refused = true, .generation = "g", .settled = 1 });
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	pass(w, 30000);
	renew(w, 4);
	raise_epoch(w);
	assert_true(w->owns == 2 && w->before == 4);
}

/* The lease comes, of a list that was left clean. */
static void
renew_clean(struct world *w)
{
	queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .granted = true, .holder = "", .epoch = 3, .clean = true });
}

static void
hands_over_when_nothing_is_left_to_settle(void **state)
{
	struct world *w = *state;
	drain(w, "abcdefgh");
	show(w);
	commit(w);
	queue_hand_over(w->q, w->now);
	queue_hand_over(w->q, w->now);
	assert_int_equal(look(w).inflight, 4); /* what was only read is let go */
	assert_int_equal(w->leases, 1);
	assert_int_equal(look(w).state, QUEUE_DRAIN);
	settle(w);
	release(w);
	assert_true(w->releases == 1 && w->clean);
	assert_int_equal(w->peeks, 1);
	queue_hand_over(w->q, w->now);
	assert_int_equal(look(w).state, QUEUE_STOPPED);
	assert_null(strstr(w->told, "another ledger"));
}

/* What was committed when the link was lost is settled, and what stands before it; nothing behind it is read. */
static void
hands_over_what_the_ledger_tells(void **state)
{
	struct world *w = *state;
	uint64_t hashes[8];
	struct ledger_row row = row_of(4, "efgh", hashes);
	drain(w, "abcdefghijkl");
	queue_redis_down(w->q, w->now);
	queue_hand_over(w->q, w->now);
	assert_string_equal(look(w).reason, "");
	assert_int_equal(w->wake_at, w->now + 2000);
	pass(w, 2000);
	assert_non_null(strstr(look(w).reason, "Waits for: Redis to come back"));
	assert_told(w, "Waits for: Redis to come back");
	queue_redis_up(w->q, w->now);
	assert_non_null(strstr(look(w).reason, "Waits for: the lease"));
	lease(w);
	own(w);
	assert_non_null(strstr(look(w).reason, "Waits for: the database"));
	recall(w, &row, 1);
	assert_non_null(strstr(look(w).reason, "Waits for: what is in flight"));
	show(w);
	show(w);
	assert_int_equal(w->offset + w->count, 8);
	assert_int_equal(look(w).inflight, 8);
	fails(w, (assert_true(give(w)), STATEMENT_LEDGER), DB_SETUP);
	ok(w, STATEMENT_ROLLBACK);
	assert_non_null(strstr(look(w).reason, "Waits for: cannot store: no"));
	assert_int_equal(look(w).state, QUEUE_DRAIN);
	pass_leased(w, 30000);
	assert_true(give(w));
	ok(w, STATEMENT_CATALOGUE);
	commit(w);
	settle(w);
	release(w);
	assert_true(w->clean);
	assert_string_equal(w->list, "ijkl");
	assert_null(strstr(w->told, "another ledger only"));
}

static void
has_nothing_to_hand_over_where_another_ledger_was_written(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct world *w = *state;
		begin(w, "abcd");
		w->view = look(w).epoch; /* what was asked before says nothing */
		queue_redis_down(w->q, w->now);
		queue_hand_over(w->q, w->now);
		queue_redis_up(w->q, w->now);
		assert_int_equal(w->leases, 2);
		queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .granted = i > 0, .holder = "you 1", .epoch = i < 2 ? 3 : 0,
		    .elsewhere = i < 2 });
		assert_int_equal(w->releases, i > 0);
		assert_false(w->clean);
		if (i > 0)
			release(w);
		assert_int_equal(look(w).state, QUEUE_STOPPED);
		queue_free(&w->q);
		set_up(state);
	}
}

static void
hands_over_what_was_only_read(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	show(w);
	queue_hand_over(w->q, w->now);
	release(w);
	assert_true(w->clean);
	assert_string_equal(w->list, "abcd");
}

static void
stands_by_for_who_owns_the_list_now(void **state)
{
	struct world *w = *state;
	begin(w, "abcd");
	queue_hand_over(w->q, w->now);
	queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .granted = true, .holder = "", .epoch = 2 });
	assert_int_equal(look(w).state, QUEUE_PREPARE);
	pass(w, 1000);
	queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .holder = "you 1", .epoch = 3 });
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	pass(w, 1000);
	assert_told(w, "Waits for: you 1 drains it");
	queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .class = REDIS_PAUSE, .why = "loading" });
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	queue_stop(w->q, w->now); /* the process ends */
	assert_int_equal(look(w).state, QUEUE_STOPPED);
}

static void
an_owner_that_slept_reads_what_the_next_one_left(void **state)
{
	struct world *w = *state;
	uint64_t hashes[8];
	struct ledger_row row = row_of(0, "abcd", hashes);
	drain(w, "abcd");
	queue_hand_over(w->q, w->now);
	assert_true(w->releases == 1 && w->clean);
	queue_released(w->q, w->now, w->view, REDIS_OK, false);
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	w->clean = false;
	lease(w);
	own(w);
	recall(w, &row, 1);
	show(w);
	renew(w, 9);
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	lease(w);
	own(w);
	recall(w, &row, 1);
	show(w);
	settle(w);
	release(w);
}

/* Who writes another ledger waits for the word that nothing is left: it must arrive. */
static void
the_clean_end_is_said_until_redis_has_heard_it(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	queue_hand_over(w->q, w->now);
	assert_true(w->releases == 1 && w->clean);
	queue_hand_over(w->q, w->now);
	queue_tick(w->q, w->now);
	assert_int_equal(w->releases, 1);
	queue_redis_down(w->q, w->now); /* perhaps it was heard */
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	uint64_t view = w->view;
	queue_redis_up(w->q, w->now);
	queue_released(w->q, w->now, view, REDIS_OK, true); /* too late: it was asked on another link */
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	w->clean = false;
	lease(w);
	own(w);
	recall(w, &(struct ledger_row){ .dead = "" }, 0);
	assert_true(w->releases == 2 && w->clean);
	queue_released(w->q, w->now, w->view, REDIS_PAUSE, false);
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	unsigned leases = w->leases;
	pass(w, w->limits.lease_ms / 3);
	assert_int_equal(w->leases, leases + 1);
	renew_clean(w);
	assert_int_equal(w->releases, 3);
	queue_stop(w->q, w->now);
	queue_hand_over(w->q, w->now);
	release(w);
	assert_true(w->clean);
}

/* A stop waits for the answer, whatever it is. */
static void
a_stop_gives_the_lease_back_once(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct world *w = *state;
		drain(w, "abcd");
		queue_stop(w->q, w->now);
		queue_tick(w->q, w->now);
		assert_int_equal(w->releases, 1);
		if (i == 2)
			queue_redis_down(w->q, w->now);
		else
			queue_released(w->q, w->now, w->view, i == 0 ? REDIS_PAUSE : REDIS_OK, false);
		assert_int_equal(look(w).state, QUEUE_STOPPED);
		assert_int_equal(w->releases, 1);
		queue_free(&w->q);
		set_up(state);
	}
}

/* Somebody else's word says as much, without a look into the ledger; not while something of ours is under way. */
static void
what_another_has_left_clean_is_handed_over(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	show(w);
	assert_true(give(w));
	queue_redis_down(w->q, w->now);
	queue_hand_over(w->q, w->now);
	queue_redis_up(w->q, w->now);
	renew_clean(w);
	assert_int_equal(look(w).state, QUEUE_PREPARE);
	assert_int_equal(look(w).wanted, 0);
	assert_false(give(w));
	gets_lost(w, STATEMENT_LEDGER);
	assert_true(w->releases == 1 && w->clean);
	release(w);
}

static void
a_stop_becomes_a_handing_over_and_a_stop_again(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	show(w);
	assert_true(give(w));
	queue_stop(w->q, w->now);
	queue_hand_over(w->q, w->now);
	ok(w, STATEMENT_LEDGER);
	ok(w, STATEMENT_ROWS);
	queue_redis_down(w->q, w->now);
	ok(w, STATEMENT_COMMIT);
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	queue_stop(w->q, w->now);
	assert_int_equal(look(w).state, QUEUE_STOPPED);
	assert_int_equal(w->releases, 0);
	queue_hand_over(w->q, w->now); /* too late */
	assert_int_equal(look(w).state, QUEUE_STOPPED);
}

static void
without_a_ledger_there_is_nothing_to_hand_over(void **state)
{
	struct world *w = *state;
	w->limits.ledger = false;
	drain(w, "abcd");
	queue_redis_down(w->q, w->now);
	queue_hand_over(w->q, w->now);
	assert_int_equal(look(w).state, QUEUE_STOPPED);
}

static void
given_up_it_waits_only_for_answers(void **state)
{
	struct world *w = *state;
	drain(w, "abcdefghijkl");
	show(w);
	assert_true(give(w));
	assert_true(give(w));
	for (unsigned i = 0; i < 4; i++)
		ok(w, i < 2 ? STATEMENT_LEDGER : STATEMENT_ROWS);
	gets_lost(w, STATEMENT_COMMIT);
	queue_stop(w->q, w->now);
	assert_int_equal(look(w).wanted, 1); /* to look into the ledger */
	queue_give_up(w->q, w->now);
	assert_int_equal(look(w).wanted, 0);
	assert_false(give(w));
	assert_int_equal(look(w).state, QUEUE_DRAIN);
	ok(w, STATEMENT_COMMIT);
	assert_true(w->releases == 1 && !w->clean);
	release(w);
}

/* An epoch in Redis that the ledger of that name does not know: what its owner left behind is told, unless he left nothing. */
static void
a_ledger_that_is_not_the_last_owners_is_told(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct world *w = *state;
		bool clean = i % 2, elsewhere = i / 2;
		drain(w, "abcd");
		w->clean = clean;
		w->elsewhere = elsewhere;
		w->settled = 8;
		queue_redis_down(w->q, w->now);
		queue_redis_up(w->q, w->now);
		uint64_t hashes[8];
		struct ledger_row row = row_of(0, "wxyz", hashes);
		lease(w);
		const char *told = strstr(w->told, "this is not the ledger that the last owner of the list wrote: its epoch is 0, in Redis it is 1");
		assert_int_equal(told != NULL, !clean && !elsewhere);
		own(w);
		recall(w, &row, 1);
		assert_int_equal(strstr(w->told, "SQL has lost") != NULL, !elsewhere);
		queue_free(&w->q);
		set_up(state);
	}
}

/* The last owner wrote another ledger, and did not end cleanly: it does not get the lease. */
static void
doubt(struct world *w, uint64_t epoch)
{
	queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .holder = "", .epoch = epoch, .ledger = "sales of mysql shop",
	    .elsewhere = true, .in_doubt = true });
}

static void
another_ledgers_orders_are_the_operators_to_accept(void **state)
{
	struct world *w = *state;
	begin(w, "abcd");
	doubt(w, 3);
	assert_true(look(w).state == QUEUE_STANDBY && look(w).block == BLOCK_HISTORY);
	assert_non_null(strstr(look(w).reason, "another ledger (sales of mysql shop)"));
	assert_false(give(w));
	assert_false(queue_choose(w->q, w->now, HISTORY_SKIP));
	pass(w, 500);
	assert_true(w->leases == 2 && w->accepted == 0);
	doubt(w, 3);
	assert_true(queue_choose(w->q, w->now, HISTORY_ACCEPT));
	assert_int_equal(look(w).block, BLOCK_NONE);
	assert_true(w->leases == 3 && w->accepted == 3);
	renew(w, 3);
	raise_epoch(w);
	assert_true(w->owns == 1 && w->accepted == 3);
	own(w);
	assert_int_equal(look(w).state, QUEUE_RECALL);
	/* another owner since is another question */
	queue_redis_down(w->q, w->now);
	queue_redis_up(w->q, w->now);
	doubt(w, 6);
	assert_int_equal(look(w).block, BLOCK_HISTORY);
	assert_true(queue_choose(w->q, w->now, HISTORY_ACCEPT));
	assert_int_equal(w->accepted, 6);
	assert_null(strstr(w->told, "skipped"));
}

static void
another_ledgers_daemon_ends_the_doubt(void **state)
{
	struct world *w = *state;
	begin(w, "abcd");
	doubt(w, 3);
	pass(w, 500);
	queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .holder = "you 1", .ttl_ms = 1000, .epoch = 4, .elsewhere = true });
	assert_true(look(w).block == BLOCK_NONE && strcmp(look(w).reason, "you 1 drains it") == 0);
	assert_false(queue_choose(w->q, w->now, HISTORY_ACCEPT));
	pass(w, 500);
	doubt(w, 4);
	pass(w, 500);
	renew(w, 4);
	assert_true(look(w).block == BLOCK_NONE && look(w).state == QUEUE_PREPARE);
	assert_int_equal(w->accepted, 0);
}

/* When it got the lease the list was empty. */
static void
orders_that_came_meanwhile_may_be_in_doubt(void **state)
{
	struct world *w = *state;
	w->elsewhere = true;
	begin(w, "");
	renew(w, 3);
	raise_epoch(w);
	queue_owned(w->q, w->now, w->view, &(struct own_answer){ .why = "", .refused = true, .in_doubt = true, .generation = "g" });
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	assert_int_equal(look(w).counters->fenced, 0);
	assert_int_equal(w->leases, 2);
	renew(w, 3);
	assert_int_equal(look(w).state, QUEUE_PREPARE);
	pass(w, 10000);
	doubt(w, 3);
	assert_true(look(w).state == QUEUE_STANDBY && look(w).block == BLOCK_HISTORY);
	queue_hand_over(w->q, w->now);
	pass(w, 500);
	doubt(w, 3);
	assert_int_equal(look(w).state, QUEUE_STOPPED);
	assert_int_equal(w->releases, 0);
}

static void
new_limits_count_from_now_on(void **state)
{
	struct world *w = *state;
	drain(w, "abcdefghijklmnopqrstuvwxyz");
	show(w);
	assert_true(give(w));
	assert_true(give(w));
	w->limits.sessions = 1;
	w->limits.rate = 1;
	queue_set_limits(w->q, w->now, &w->limits);
	ok(w, STATEMENT_LEDGER);
	assert_false(give(w));
	w->limits.sessions = 3;
	queue_set_limits(w->q, w->now, &w->limits);
	assert_int_equal(look(w).wanted, 1);
	assert_true(give(w)); /* the one token that there was pays for a whole window, and is owed then */
	assert_false(give(w));
	pass(w, 500);
	w->limits.sessions = 4;
	queue_set_limits(w->q, w->now, &w->limits);
	assert_false(give(w));
	show(w); /* more sessions, more windows */
	w->limits.rate = 0;
	queue_set_limits(w->q, w->now, &w->limits);
	assert_true(give(w));
	assert_int_equal(look(w).sessions, 4);
}

static void
takes_no_session_that_it_has_no_use_for(void **state)
{
	struct world *w = *state;
	drain(w, "abcdefghijkl");
	assert_false(give(w)); /* nothing read yet */
	show(w);
	queue_pause(w->q, w->now);
	assert_false(give(w));
	queue_resume(w->q, w->now);
	assert_true(give(w));
	assert_true(give(w));
	assert_false(give(w)); /* two is all that it may have */
}

static void
a_settle_takes_thirty_two_windows_at_most(void **state)
{
	struct world *w = *state;
	w->limits.batch_rows = 1;
	w->limits.sessions = 36;
	w->limits.ledger = false;
	drain(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
	show(w);
	for (unsigned i = 0; i < 36; i++)
		assert_true(give(w));
	for (size_t i = 36; i-- > 0;) { /* the oldest comes last */
		const struct answer fine = { .item = -1 };
		answer_at(w, i, STATEMENT_ROWS, &fine);
		answer_at(w, w->n_asked - 1, STATEMENT_COMMIT, &fine);
	}
	assert_int_equal(w->settles, 1);
	assert_int_equal(w->windows, 32);
	settle(w);
	assert_int_equal(w->windows, 4);
}

static void
the_window_that_comes_next_can_be_seen(void **state)
{
	struct world *w = *state;
	w->limits.batch_rows = 4;
	w->limits.sessions = 1;
	drain(w, "abcdefgh");
	assert_null(queue_next(w->q, 0));
	show(w);
	assert_int_equal(queue_next(w->q, 0)->first, 0);
	assert_int_equal(queue_next(w->q, 1)->first, 4);
	assert_null(queue_next(w->q, 2));
	assert_true(give(w));
	assert_int_equal(queue_next(w->q, 0)->first, 4);
	assert_int_equal(queue_next(w->q, 0)->state, WINDOW_READ);
	ok(w, STATEMENT_LEDGER);
	ok(w, STATEMENT_ROWS);
	ok(w, STATEMENT_COMMIT);
	assert_true(give(w));
	assert_null(queue_next(w->q, 0));
}

static void
a_settle_takes_a_thousand_dead_letters_at_most(void **state)
{
	struct world *w = *state;
	char list[6 * 250 + 1] = "";
	memset(list, 'x', sizeof list - 1);
	w->limits.batch_rows = 250;
	w->limits.sessions = 6;
	w->all_bad = true;
	drain(w, list);
	while (strchr(w->waits_for, 'p') != NULL)
		show(w);
	for (unsigned i = 0; i < 6; i++)
		assert_true(give(w));
	for (size_t i = 6; i-- > 0;) { /* the oldest comes last */
		answer_at(w, i, STATEMENT_LEDGER, &(struct answer){ .item = -1, .affected = 1 });
		answer_at(w, w->n_asked - 1, STATEMENT_COMMIT, &(struct answer){ .item = -1 });
	}
	assert_int_equal(w->windows, 4);
	assert_in_range(w->remove, 751, 1000);
	settle(w);
	assert_int_equal(w->windows, 2);
}

static void
gives_up_a_list_that_never_fits(void **state)
{
	struct world *w = *state;
	drain(w, "ab");
	show(w);
	commit(w);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(w->settles, i + 1);
		settle_is_refused(w, SETTLE_GUARD);
		show(w); /* just as we know it */
	}
	assert_told(w, "the list was rewritten");
	lease(w);
	assert_true(w->rewritten);
}

static void
a_refused_row_undoes_its_piece_only(void **state)
{
	struct world *w = *state;
	w->limits.batch_rows = 8;
	drain(w, "abcdefgh");
	show(w);
	refuse(w, -1, "23505", ""); /* somewhere: in pieces from now on */
	assert_false(goes_on(w));
	refuse(w, 2, "23505", "");
	assert_true(goes_on(w));
	refuse(w, 5, "23505", "");
	assert_true(goes_on(w));
	commit(w);
	settle(w);
	assert_int_equal(look(w).counters->committed, 6);
	assert_int_equal(look(w).counters->dead[DB_DATA], 2);
	assert_int_equal(look(w).counters->batches_failed, 1);
}

static void
a_piece_is_refused_by_a_table_long_not_seen(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	show(w);
	refuse(w, -1, "23505", "");
	assert_true(give(w));
	w->now += 1000;
	ok(w, STATEMENT_LEDGER);
	answer_at(w, 0, STATEMENT_ROWS, &(struct answer){ .item = 1, .error = { .class = DB_DATA } });
	ok(w, STATEMENT_ROLLBACK);
	assert_true(give(w));
	ok(w, STATEMENT_CATALOGUE);
	commit(w); /* it was the table */
	settle(w);
	assert_int_equal(look(w).counters->committed, 4);
}

static void
a_piece_is_refused_by_an_altered_table(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	show(w);
	refuse(w, -1, "23505", "");
	pass_leased(w, 6000);
	assert_true(give(w));
	answer_at(w, 0, STATEMENT_CATALOGUE, &(struct answer){ .item = -1, .altered = true });
	refuse(w, 1, "23505", "");
	assert_false(goes_on(w));
	assert_int_equal(look(w).block, BLOCK_SETUP);
	assert_told(w, "the table was altered and refuses now");
}

static void
a_piece_fails_otherwise(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	show(w);
	refuse(w, -1, "23505", "");
	assert_true(give(w));
	ok(w, STATEMENT_LEDGER);
	answer_at(w, 0, STATEMENT_ROWS, &(struct answer){ .item = 1, .error = { .class = DB_RETRY } });
	ok(w, STATEMENT_ROLLBACK);
	pass(w, 150);
	assert_true(give(w));
	ok(w, STATEMENT_LEDGER);
	answer_at(w, 0, STATEMENT_ROWS, &(struct answer){ .item = 1, .error = { .class = DB_DATA, .lost = true } });
	commit(w);
	assert_int_equal(look(w).counters->committed, 3);
	assert_int_equal(look(w).counters->dead[DB_DATA], 0); /* not settled yet */
}

static void
rows_of_the_ledger_may_overlap(void **state)
{
	struct world *w = *state;
	uint64_t hashes[2][8];
	struct ledger_row rows[] = { row_of(0, "abc", hashes[0]), row_of(1, "b", hashes[1]) };
	begin(w, "abcd");
	lease(w);
	own(w);
	recall(w, rows, 2);
	assert_int_equal(w->count, 3);
	show(w);
	assert_int_equal(look(w).counters->reconciled, 3);
	settle(w);
	show(w); /* the second says nothing that is new */
	show(w);
	commit(w);
	settle(w);
	assert_int_equal(look(w).settled, 4);
	assert_int_equal(look(w).counters->committed, 1);
}

static void
half_of_a_window_is_settled(void **state)
{
	struct world *w = *state;
	uint64_t hashes[8];
	struct ledger_row row = row_of(0, "abc", hashes);
	w->settled = 1;
	begin(w, "bcd");
	lease(w);
	own(w);
	recall(w, &row, 1);
	assert_int_equal(w->count, 2);
	show(w);
	assert_int_equal(look(w).counters->reconciled, 2);
}

static void
strange_dead_text_does_not_stop_it(void **state)
{
	struct world *w = *state;
	uint64_t hashes[8];
	struct ledger_row row = row_of(0, "ab", hashes);
	row.dead = "what is this?";
	row.dead_len = strlen(row.dead);
	begin(w, "ab");
	lease(w);
	own(w);
	recall(w, &row, 1);
	show(w);
	assert_told(w, "cannot be read");
	settle(w);
	assert_int_equal(look(w).settled, 2);
}

static void
clears_what_another_generation_left(void **state)
{
	struct world *w = *state;
	uint64_t hashes[2][8];
	struct ledger_row rows[] = { row_of(0, "xyz", hashes[0]), row_of(0, "ab", hashes[1]) };
	rows[0].ours = false;
	begin(w, "ab");
	lease(w);
	own(w);
	recall(w, rows, 2);
	assert_told(w, "1 windows of another generation");
	assert_true(give(w));
	ok(w, STATEMENT_RING_CUT);
	ok(w, STATEMENT_COMMIT);
	show(w);
	assert_int_equal(look(w).counters->reconciled, 2);
}

static void
a_ring_without_rows_is_made_anew(void **state)
{
	struct world *w = *state;
	begin(w, "ab");
	lease(w);
	own(w);
	assert_true(give(w));
	answer_at(w, 0, STATEMENT_RING_READ, &(struct answer){ .n_rows = 0 });
	assert_told(w, "has lost its rows");
	assert_int_equal(look(w).state, QUEUE_STANDBY);
}

static void
a_slot_that_stands_there_twice_is_the_operators_affair(void **state)
{
	struct world *w = *state;
	begin(w, "ab");
	lease(w);
	own(w);
	struct ledger_row rows[2] = { { .slot = 3, .epoch = look(w).epoch, .dead = "" }, { .slot = 3, .epoch = look(w).epoch, .dead = "" } };
	assert_true(give(w));
	answer_at(w, 0, STATEMENT_RING_READ, &(struct answer){ .rows = rows, .n_rows = 2 });
	assert_told(w, "has lost its primary key");
	assert_int_equal(look(w).block, BLOCK_SETUP);
}

static void
a_slot_that_sql_lacks_is_not_written(void **state)
{
	struct world *w = *state;
	struct ledger_row rows[RING - 1];
	begin(w, "ab");
	lease(w);
	own(w);
	for (uint32_t i = 0; i < RING - 1; i++)
		rows[i] = (struct ledger_row){ .slot = i + 1, .epoch = look(w).epoch, .dead = "" };
	assert_true(give(w));
	answer_at(w, 0, STATEMENT_RING_READ, &(struct answer){ .rows = rows, .n_rows = RING - 1 });
	show(w);
	assert_true(give(w));
	assert_int_equal(w->asked[0].task->slot, 1);
}

/* Nothing could be settled without it. */
static void
the_last_rows_are_for_the_oldest_window(void **state)
{
	static const char list[] = "abcdefghijklmnopqrstuvwxyzABCDEFGH";
	enum { STORED = 26 }; /* behind the oldest item */
	struct world *w = *state;
	struct ledger_row rows[STORED];
	uint64_t hashes[STORED][8];
	for (uint32_t i = 0; i < STORED; i++)
		rows[i] = row_of(i + 1, (char[]){ list[i + 1], '\0' }, hashes[i]);
	begin(w, list);
	lease(w);
	own(w);
	recall(w, rows, STORED);
	while (w->waits_for[0] == 'p')
		show(w);
	assert_int_equal(look(w).wanted, 1); /* though there are others to be stored, and rows that are empty */
	assert_true(give(w));
	assert_false(give(w));
	assert_int_equal(w->asked[0].task->window->first, 0);
}

static void
an_absurd_epoch_is_the_operators_affair(void **state)
{
	const uint64_t absurd = UINT64_C(1) << 53;
	for (uint64_t in_sql = 0; in_sql < 2; in_sql++) {
		struct world *w = *state;
		begin(w, "");
		queue_leased(w->q, w->now, w->view, &(struct lease_answer){ .why = "", .granted = true, .holder = "", .epoch = in_sql ? 1 : absurd });
		assert_true(give(w));
		ok(w, STATEMENT_CATALOGUE);
		ok(w, STATEMENT_RING_MAKE);
		assert_true(give(w));
		answer_at(w, 0, STATEMENT_RING_LOCK, &(struct answer){ .epoch = in_sql ? absurd : 1 });
		ok(w, STATEMENT_ROLLBACK);
		assert_int_equal(look(w).block, BLOCK_SETUP);
		queue_free(&w->q);
		set_up(state);
	}
}

static void
a_ledger_without_its_key_is_the_operators_affair(void **state)
{
	struct world *w = *state;
	drain(w, "a");
	show(w);
	assert_true(give(w));
	answer_at(w, 0, STATEMENT_LEDGER, &(struct answer){ .affected = 2 });
	ok(w, STATEMENT_ROLLBACK);
	assert_int_equal(look(w).block, BLOCK_SETUP);
	assert_told(w, "primary key");
}

static void
a_settle_to_a_strange_place_is_not_believed(void **state)
{
	struct world *w = *state;
	drain(w, "ab");
	show(w);
	commit(w);
	queue_settled(w->q, w->now, w->view, &(struct settle_answer){ .why = "", .settled = 7 });
	assert_told(w, "at position 7, not at 0");
	assert_int_equal(look(w).state, QUEUE_STANDBY);
	assert_int_equal(look(w).settled, 0);
}

static void
what_is_too_much_is_asked_for_again(void **state)
{
	struct world *w = *state;
	drain(w, "abcdefgh");
	w->cut = true;
	show(w);
	assert_int_equal(look(w).inflight, 0);
	assert_int_equal(w->peeks, 2);
	w->cut_at = 5;
	show(w);
	assert_int_equal(look(w).inflight, 5);
}

static void
an_altered_table_is_the_operators_affair(void **state)
{
	struct world *w = *state;
	drain(w, "ab");
	show(w);
	pass_leased(w, 5000);
	assert_true(give(w));
	answer_at(w, 0, STATEMENT_CATALOGUE, &(struct answer){ .altered = true });
	assert_told(w, "was altered");
	static const char *const whys[][2] = { { "23502", "total" }, { "", "" } };
	for (size_t i = 0; i < 2; i++) {
		refuse(w, 0, whys[i][0], whys[i][1]);
		assert_int_equal(look(w).block, BLOCK_SETUP);
		assert_told(w, i == 0 ? "23502, column total" : "no code");
		pass_leased(w, 30000);
		assert_true(give(w));
		ok(w, STATEMENT_CATALOGUE);
		assert_int_equal(look(w).block, BLOCK_SETUP); /* until it takes a row */
	}
	queue_resume(w->q, w->now);
	assert_true(give(w));
	ok(w, STATEMENT_CATALOGUE);
	refuse(w, 0, "23502", "total");
	commit(w);
	settle(w);
	assert_int_equal(look(w).counters->dead[DB_DATA], 1);
}

static void
a_hundred_refusals_are_the_tables_fault(void **state)
{
	struct world *w = *state;
	char list[121] = "";
	memset(list, 'x', 120);
	w->limits.batch_rows = 120;
	drain(w, list);
	show(w);
	for (unsigned i = 0; i < 99; i++)
		refuse(w, i, "", "");
	assert_int_equal(look(w).block, BLOCK_NONE);
	refuse(w, 99, "23502", "total");
	assert_told(w, "23502 (data), column total");
	pass_leased(w, 1000);
	assert_true(give(w));
	ok(w, STATEMENT_CATALOGUE);
	assert_int_equal(look(w).block, BLOCK_SETUP);
	refuse(w, 100, "", "");
	assert_told(w, "no code (data). Mend");
	pass_leased(w, 2000);
	assert_true(give(w));
	ok(w, STATEMENT_CATALOGUE);
	commit(w);
	assert_int_equal(look(w).block, BLOCK_NONE);
}

static void
a_server_may_name_the_wrong_row(void **state)
{
	struct world *w = *state;
	drain(w, "abcd");
	show(w);
	refuse(w, 99, "22P02", "");
	refuse(w, 99, "22P02", ""); /* in pieces too */
	assert_int_equal(look(w).counters->split, 1);
	refuse(w, 0, "22P02", "");
	refuse(w, 0, "22P02", ""); /* once more, so it must be the other one */
	commit(w);
	commit(w);
	assert_int_equal(look(w).counters->committed, 2);
}

static void
a_lost_connection_may_hold_the_ledgers_row(void **state)
{
	struct world *w = *state;
	drain(w, "a");
	show(w);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(give(w));
		fails(w, STATEMENT_LEDGER, DB_RETRY);
		ok(w, STATEMENT_ROLLBACK);
		pass(w, 1000);
		assert_true(give(w)); /* the look that ends it */
		ok(w, STATEMENT_CATALOGUE);
		ok(w, STATEMENT_RING_MAKE);
	}
	assert_non_null(strstr(w->told, "is locked"));
	assert_null(strstr(strstr(w->told, "is locked") + 1, "is locked")); /* once is enough */
	commit(w);
	pass(w, 6000);
	assert_int_equal(look(w).counters->committed, 1);
}

static void
errors_of_the_ledger_are_no_rows_fault(void **state)
{
	struct world *w = *state;
	drain(w, "a");
	show(w);
	refuse(w, 0, "22P02", "");
	assert_true(give(w)); /* no rows are left */
	ok(w, STATEMENT_LEDGER);
	fails(w, STATEMENT_COMMIT, DB_DATA);
	pass(w, 100);
	assert_true(give(w));
	fails(w, STATEMENT_LEDGER, DB_DATA);
	ok(w, STATEMENT_ROLLBACK);
	pass(w, 200); /* the second wait is longer */
	commit(w);
	settle(w);
	assert_int_equal(look(w).counters->dead[DB_DATA], 1);
}

static void
only_the_very_window_ends_a_doubt(void **state)
{
	struct world *w = *state;
	uint64_t hashes[8];
	struct ledger_row other = row_of(0, "ax", hashes), bare;
	other.epoch = 1;
	bare = other;
	bare.hashes = NULL;
	const struct answer found[] = { { .n_rows = 0 }, { .rows = &other, .n_rows = 1 }, { .rows = &bare, .n_rows = 1 } };
	drain(w, "ab");
	show(w);
	for (size_t i = 0; i < 3; i++) {
		assert_true(give(w));
		ok(w, STATEMENT_LEDGER);
		ok(w, STATEMENT_ROWS);
		gets_lost(w, STATEMENT_COMMIT);
		assert_true(give(w));
		answer_at(w, 0, STATEMENT_ROW_LOCK, &found[i]);
		ok(w, STATEMENT_ROLLBACK);
	}
	assert_true(give(w));
	ok(w, STATEMENT_LEDGER);
	ok(w, STATEMENT_ROWS);
	answer_at(w, 0, STATEMENT_COMMIT, &(struct answer){ .item = -1, .rolled_back = true }); /* not in doubt */
	pass(w, 100);
	commit(w);
	assert_int_equal(look(w).counters->committed, 2);
}

/* Answers the BATCH under way with an error about a part of it. */
static void
batch_fails(struct world *w, enum statement_kind part, enum db_class class, long item)
{
	answer_at(w, 0, STATEMENT_BATCH, &(struct answer){ .part = part, .item = item, .error = { .class = class, .message = "no" } });
}

static void
a_batch_may_be_one_statement(void **state)
{
	struct world *w = *state;
	w->together = true;
	drain(w, "abcdefgh");
	show(w);
	assert_true(give(w));
	assert_false(w->asked[0].commit);
	ok(w, STATEMENT_BATCH);
	ok(w, STATEMENT_COMMIT);
	w->commits = true;
	assert_true(give(w));
	assert_true(w->asked[0].commit);
	ok(w, STATEMENT_BATCH);
	assert_int_equal(w->n_asked, 0);
	settle(w);
	settle(w);
	assert_int_equal(look(w).counters->committed, 8);
}

static void
a_batch_that_was_lost_is_in_doubt_if_it_commits(void **state)
{
	struct world *w = *state;
	w->together = true;
	drain(w, "ab");
	show(w);
	assert_true(give(w));
	gets_lost(w, STATEMENT_BATCH);
	assert_int_equal(look(w).wanted, 0); /* the backoff */
	pass(w, 100);
	w->commits = true;
	assert_true(give(w));
	gets_lost(w, STATEMENT_BATCH);
	assert_true(give(w));
	answer_at(w, 0, STATEMENT_ROW_LOCK, &(struct answer){ .n_rows = 0 });
	ok(w, STATEMENT_ROLLBACK);
	assert_int_equal(w->useless, 2);
	assert_true(give(w));
	ok(w, STATEMENT_BATCH);
	settle(w);
	assert_int_equal(look(w).counters->committed, 2);
}

static void
a_batch_fails_in_each_of_its_parts(void **state)
{
	struct world *w = *state;
	w->together = w->commits = true;
	drain(w, "abcd");
	show(w);
	assert_true(give(w));
	assert_false(w->asked[0].begin);
	batch_fails(w, STATEMENT_LEDGER, DB_RETRY, -1);
	assert_int_equal(w->n_asked, 0); /* nothing to roll back */
	assert_int_equal(look(w).counters->committed, 0);
	pass(w, 400);
	assert_true(give(w));
	ok(w, STATEMENT_CATALOGUE); /* the row was locked */
	ok(w, STATEMENT_RING_MAKE);
	assert_true(give(w));
	batch_fails(w, STATEMENT_ROWS, DB_DATA, 1);
	assert_int_equal(w->n_asked, 0);
	assert_true(give(w));
	ok(w, STATEMENT_BATCH);
	assert_int_equal(look(w).counters->committed, 3);
}

static void
a_batch_under_an_old_epoch_is_rolled_back(void **state)
{
	struct world *w = *state;
	w->together = w->commits = true;
	drain(w, "ab");
	show(w);
	assert_true(give(w));
	answer_at(w, 0, STATEMENT_BATCH, &(struct answer){ .item = -1, .affected = 0 });
	assert_int_equal(w->n_asked, 0);
	assert_int_equal(look(w).counters->fenced, 1);
	assert_int_equal(look(w).counters->committed, 0);
}

static void
freeing_nothing_is_harmless(void **state)
{
	(void)state;
	struct queue *none = NULL;
	queue_free(&none);
	assert_null(none);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(drains_a_list),
		STORY(without_a_ledger_a_lost_commit_is_run_again),
		STORY(says_who_drains_it),
		STORY(no_wait_is_longer_than_half_a_minute),
		STORY(a_stopped_queue_takes_nothing),
		STORY(a_stopping_queue_stores_what_stands_before_the_committed),
		STORY(a_blocked_queue_stops_at_once),
		STORY(a_stopped_queue_begins_anew),
		STORY(stores_only_while_its_lease_lasts), STORY(the_lease_tells_that_another_has_come_and_gone),
		STORY(the_lease_tells_that_the_epoch_is_anothers),
		STORY(owns_only_what_nobody_owned_since_the_lease), STORY(hands_over_when_nothing_is_left_to_settle),
		STORY(hands_over_what_the_ledger_tells),
		STORY(has_nothing_to_hand_over_where_another_ledger_was_written),
		STORY(hands_over_what_was_only_read),
		STORY(stands_by_for_who_owns_the_list_now),
		STORY(an_owner_that_slept_reads_what_the_next_one_left),
		STORY(a_stop_becomes_a_handing_over_and_a_stop_again),
		STORY(without_a_ledger_there_is_nothing_to_hand_over),
		STORY(given_up_it_waits_only_for_answers),
		STORY(a_ledger_that_is_not_the_last_owners_is_told),
		STORY(another_ledgers_orders_are_the_operators_to_accept),
		STORY(the_clean_end_is_said_until_redis_has_heard_it),
		STORY(a_stop_gives_the_lease_back_once),
		STORY(what_another_has_left_clean_is_handed_over),
		STORY(another_ledgers_daemon_ends_the_doubt),
		STORY(orders_that_came_meanwhile_may_be_in_doubt),
		STORY(new_limits_count_from_now_on),
		STORY(takes_no_session_that_it_has_no_use_for),
		STORY(a_settle_takes_thirty_two_windows_at_most),
		STORY(the_window_that_comes_next_can_be_seen),
		STORY(a_settle_takes_a_thousand_dead_letters_at_most),
		STORY(gives_up_a_list_that_never_fits),
		STORY(a_refused_row_undoes_its_piece_only),
		STORY(a_piece_is_refused_by_a_table_long_not_seen),
		STORY(a_piece_is_refused_by_an_altered_table),
		STORY(a_piece_fails_otherwise),
		STORY(rows_of_the_ledger_may_overlap),
		STORY(half_of_a_window_is_settled),
		STORY(strange_dead_text_does_not_stop_it),
		STORY(clears_what_another_generation_left),
		STORY(a_ring_without_rows_is_made_anew),
		STORY(a_slot_that_stands_there_twice_is_the_operators_affair),
		STORY(a_slot_that_sql_lacks_is_not_written),
		STORY(the_last_rows_are_for_the_oldest_window),
		STORY(an_absurd_epoch_is_the_operators_affair),
		STORY(a_ledger_without_its_key_is_the_operators_affair),
		STORY(a_settle_to_a_strange_place_is_not_believed),
		STORY(what_is_too_much_is_asked_for_again),
		STORY(an_altered_table_is_the_operators_affair),
		STORY(a_hundred_refusals_are_the_tables_fault),
		STORY(a_server_may_name_the_wrong_row),
		STORY(a_lost_connection_may_hold_the_ledgers_row),
		STORY(errors_of_the_ledger_are_no_rows_fault),
		STORY(only_the_very_window_ends_a_doubt),
		STORY(a_batch_may_be_one_statement),
		STORY(a_batch_that_was_lost_is_in_doubt_if_it_commits),
		STORY(a_batch_fails_in_each_of_its_parts),
		STORY(a_batch_under_an_old_epoch_is_rolled_back),
		cmocka_unit_test(freeing_nothing_is_harmless),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
