/* The simulated Redis: of each queue a list, a hash, a lease, dead letters; scripts are atomic, links keep their order. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

struct command *
redis_unrun(struct link *link)
{
	return link->n_ran < link->n ? &link->commands[(link->head + link->n_ran) % COMMANDS_MAX] : NULL;
}

struct link *
redis_connect(struct worker *k)
{
	struct world *w = k->lane->world;
	EACH(w->links, LINKS_MAX, link) {
		if (link->used)
			continue;
		link->used = true;
		link->owner = k;
		link->lane = k->lane;
		link->head = link->n = link->n_ran = 0;
		return link;
	}
	EACH(w->links, LINKS_MAX, link) /* too many orphans: what they sent never arrives */
		link->used = link->owner != NULL;
	return NULL;
}

struct command *
redis_send(struct worker *k, enum command_kind kind, uint64_t view)
{
	struct world *w = k->lane->world;
	struct link *link = k->link;
	if (k->daemon->dying)
		return NULL;
	if (link == NULL)
		fail(w, "%s sends a command without a link", k->name);
	if (link->n == COMMANDS_MAX)
		fail(w, "%s has %u commands under way", k->name, link->n);
	struct command *c = &link->commands[(link->head + link->n++) % COMMANDS_MAX];
	*c = (struct command){ .kind = kind, .view = view, .sent_at = w->now, .ready_at = w->now + delay(w) };
	snprintf(c->owner, sizeof c->owner, "%s %u", k->daemon->name, k->daemon->boot);
	c->ledger = k->ledger;
	return c;
}

static bool
is_leased(const struct lane *lane)
{
	return lane->redis.lease[0] != '\0' && lane->redis.lease_until > lane->world->now;
}

/* Did the last owner write another ledger, and may he have left there what stands in the list? */
static bool
is_in_doubt(const struct lane *lane, const struct command *c)
{
	const struct redis_data *r = &lane->redis;
	return lane->limits.ledger && r->known && r->ledger != c->ledger && !r->clean && r->n_list > 0;
}

static void
run_lease(struct lane *lane, struct command *c)
{
	struct redis_data *r = &lane->redis;
	size_t name = strcspn(c->owner, " ");
	c->yes = !is_leased(lane) || strncmp(r->lease, c->owner, name + 1) == 0;
	c->in_doubt = c->yes && is_in_doubt(lane, c) && c->accepted != r->epoch;
	c->yes &= !c->in_doubt;
	if (c->yes) {
		memcpy(r->lease, c->owner, sizeof r->lease);
		r->lease_until = lane->world->now + LEASE_MS;
	}
	memcpy(c->holder, r->lease, sizeof c->holder);
	c->ttl = r->lease_until - lane->world->now;
	c->epoch = r->known ? r->epoch : 0;
	c->elsewhere = r->known && r->ledger != c->ledger;
	c->others = !r->known || strcmp(r->owner, c->owner) != 0;
	c->clean = r->known && r->clean;
}

static void
run_own(struct lane *lane, struct command *c)
{
	struct redis_data *r = &lane->redis;
	bool theirs = (r->known ? r->epoch : 0) != c->before || !is_leased(lane) || strcmp(r->lease, c->owner) != 0;
	c->in_doubt = !theirs && is_in_doubt(lane, c) && c->accepted != r->epoch;
	c->yes = theirs || c->in_doubt;
	if (c->yes)
		return;
	if (is_in_doubt(lane, c))
		audit_risk(lane);
	c->fresh = !r->known || c->rewritten;
	if (c->fresh) {
		memcpy(r->generation, c->generation, sizeof r->generation);
		r->settled = 0;
	}
	if (r->known && lane->world->faults.move > 0 && (r->ledger != c->ledger || r->clean))
		lane->world->n_snapshots = 0; /* of a fall-back to before it, another ledger knows nothing; that the list was left clean counts no more */
	r->known = true;
	r->clean = false;
	r->ledger = c->ledger;
	r->epoch = c->epoch;
	memcpy(r->owner, c->owner, sizeof r->owner);
	memcpy(c->generation, r->generation, sizeof c->generation);
	c->settled = r->settled;
	c->backlog = r->n_list;
	lane->world->totals->takeovers++;
	audit_doubt(lane);
}

/* Is he still the owner who sent this? */
static bool
is_owner(const struct redis_data *r, const struct command *c)
{
	return r->known && r->epoch == c->epoch && strcmp(r->owner, c->owner) == 0;
}

static void
run_peek(const struct lane *lane, struct command *c)
{
	const struct redis_data *r = &lane->redis;
	size_t bytes = 0;
	c->n_items = 0;
	while (c->n_items < c->count && c->offset + c->n_items < r->n_list) {
		uint16_t order = r->list[c->offset + c->n_items];
		if (c->budget > 0 && bytes > c->budget) {
			c->yes = true;
			break;
		}
		bytes += lane->orders[order].len;
		c->items[c->n_items++] = order;
	}
	c->disowned = !is_owner(r, c);
}

static bool
is_sampled(const struct lane *lane, const struct command *c)
{
	const struct redis_data *r = &lane->redis;
	for (size_t i = 0; i < c->n_samples; i++) {
		uint32_t at = c->skip + c->sample_at[i];
		if (at >= r->n_list || strcmp(lane->orders[r->list[at]].text, lane->orders[c->sample[i]].text) != 0)
			return false;
	}
	return r->n_list >= c->skip + c->remove;
}

static enum settle_status
settle_status(const struct lane *lane, const struct command *c)
{
	const struct redis_data *r = &lane->redis;
	if (!r->known)
		return SETTLE_MOVED;
	if (!is_owner(r, c))
		return SETTLE_FENCED;
	if (r->settled != c->settled)
		return SETTLE_MOVED;
	if (!is_sampled(lane, c))
		return SETTLE_GUARD;
	return c->n_items > 0 && r->n_dead + c->n_items > lane->dead_max ? SETTLE_FULL : SETTLE_OK;
}

static void
run_settle(struct lane *lane, struct command *c)
{
	struct redis_data *r = &lane->redis;
	struct world *w = lane->world;
	c->status = settle_status(lane, c);
	if (c->status == SETTLE_OK) {
		for (uint32_t i = 0; i < c->remove; i++)
			audit_remove(lane, r->list[c->skip + i], c->items, c->n_items);
		memmove(r->list + c->skip, r->list + c->skip + c->remove, (r->n_list - c->skip - c->remove) * sizeof *r->list);
		r->n_list -= c->remove;
		r->settled += c->advance;
		for (uint32_t i = 0; i < c->n_items; i++) {
			if (r->n_dead == PUSHES_MAX)
				fail(w, "more dead letters than orders");
			r->dead[r->n_dead++] = c->items[i];
		}
		if (strcmp(r->lease, c->owner) == 0 && is_leased(lane))
			r->lease_until = lane->world->now + LEASE_MS;
		w->totals->settles++;
		w->totals->dead += c->n_items;
	}
	w->totals->guard += c->status == SETTLE_GUARD;
	c->settled = r->known ? r->settled : 0;
	c->backlog = r->n_list;
	c->dead = r->n_dead;
	trace(w, "redis: settle of %s of %s: status %d, position %llu", lane->name, c->owner, (int)c->status, (unsigned long long)c->settled);
}

static void
run_release(struct redis_data *r, struct command *c)
{
	c->yes = strcmp(r->lease, c->owner) == 0;
	if (!c->yes)
		return;
	r->lease[0] = '\0';
	if (!c->clean)
		return;
	c->yes = (r->known && r->clean) || is_owner(r, c);
	r->clean |= c->yes;
}

/* An answer that is an error, for some reason or other: false if there is none. */
static bool
is_refused(const struct link *link, struct command *c)
{
	static const enum redis_class classes[] = { REDIS_RETRY, REDIS_READONLY, REDIS_PAUSE, REDIS_SETUP };
	struct world *w = link->lane->world;
	if (c->kind == COMMAND_SETTLE && link->lane->ailment == AILMENT_REDIS)
		c->class = REDIS_SETUP;
	else if (link->owner != NULL && fault(w, w->faults.redis_error))
		c->class = classes[chance(w, 4)];
	return c->class != REDIS_OK;
}

void
redis_run(struct link *link)
{
	static const char *const names[] = { "lease", "own", "peek", "settle", "length", "release" };
	struct command *c = redis_unrun(link);
	struct lane *lane = link->lane;
	struct world *w = lane->world;
	ASSERT(c != NULL && !c->ran);
	c->ran = true;
	link->n_ran++;
	c->ready_at = w->now + delay(w);
	if (is_refused(link, c)) {
		w->totals->redis_errors++;
		trace(w, "redis: %s of %s of %s fails with class %d", names[c->kind], lane->name, c->owner, (int)c->class);
		return;
	}
	switch (c->kind) {
	case COMMAND_LEASE: run_lease(lane, c); break;
	case COMMAND_OWN: run_own(lane, c); break;
	case COMMAND_PEEK: run_peek(lane, c); break;
	case COMMAND_SETTLE: run_settle(lane, c); break;
	case COMMAND_LENGTH:
		c->backlog = lane->redis.n_list;
		c->dead = lane->redis.n_dead;
		break;
	case COMMAND_RELEASE: run_release(&lane->redis, c); break;
	}
	if (c->kind != COMMAND_SETTLE)
		trace(w, "redis: %s of %s of %s: yes %d, items %u", names[c->kind], lane->name, c->owner, c->yes, c->n_items);
}

void
redis_orphan(struct world *w, struct link *link, bool late)
{
	link->owner = NULL;
	unsigned unrun = link->n - link->n_ran;
	late = late && !w->patient; /* an OWN of a former link that runs after all makes a new owner ask the operator, in vain but rightly */
	link->head = (link->head + link->n_ran) % COMMANDS_MAX;
	link->n_ran = 0;
	link->n = late && unrun > 0 ? chance(w, unrun + 1) : 0; /* only the first so many had left the client */
	link->used = link->n > 0;
}

void
redis_snapshot(struct world *w)
{
	EACH(w->lanes, w->n_lanes, lane) {
		if (!lane->redis.known)
			return; /* a queue whose very first second is lost is a new one: the protocol cannot tell */
	}
	unsigned keep = w->n_snapshots < SNAPSHOTS_MAX ? w->n_snapshots : SNAPSHOTS_MAX - 1;
	EACH(w->lanes, w->n_lanes, lane) {
		memmove(lane->snapshots + 1, lane->snapshots, keep * sizeof *lane->snapshots);
		lane->snapshots[0] = lane->redis;
		lane->snapshots[0].n_orders = lane->n_orders;
	}
	w->n_snapshots = keep + 1;
}

/* Redis starts again: every connection ends, nothing sent before it reaches it. */
static void
drop_links(struct world *w)
{
	EACH(w->links, LINKS_MAX, link) {
		if (link->used && link->owner != NULL)
			worker_link_lost(link->owner, false);
		else if (link->used)
			redis_orphan(w, link, false);
	}
}

void
redis_fall_back(struct world *w)
{
	if (w->n_snapshots == 0)
		return;
	unsigned back = chance(w, w->n_snapshots);
	w->n_snapshots -= back;
	w->totals->fall_backs++;
	EACH(w->lanes, w->n_lanes, lane) {
		struct redis_data *r = &lane->redis;
		*r = lane->snapshots[back];
		memmove(lane->snapshots, lane->snapshots + back, w->n_snapshots * sizeof *lane->snapshots);
		for (uint32_t i = r->n_orders; i < lane->n_orders; i++)
			lane->orders[i].lost = true;
		trace(w, "FAULT Redis comes back: %s at position %llu with %u items, %u pushes are lost", lane->name, (unsigned long long)r->settled, r->n_list,
		    lane->n_orders - r->n_orders);
	}
	drop_links(w);
}

void
redis_flush(struct world *w)
{
	EACH(w->lanes, w->n_lanes, lane) {
		trace(w, "FAULT FLUSHALL: %s with %u items", lane->name, lane->redis.n_list);
		for (uint32_t i = 0; i < lane->n_orders; i++)
			lane->orders[i].lost = true;
		lane->redis = (struct redis_data){ .n_list = 0 };
	}
	w->n_snapshots = 0;
	w->totals->flushes++;
}
