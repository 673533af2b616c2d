/* The simulated Redis: a list, a hash, a lease, dead letters; scripts are atomic, links keep their order. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

struct command *
redis_unrun(struct link *link)
{
	return link->n_ran < link->n ? &link->commands[(link->head + link->n_ran) % COMMANDS_MAX] : NULL;
}

struct command *
redis_send(struct daemon *d, enum command_kind kind, uint64_t view)
{
	struct world *w = d->world;
	struct link *link = d->link;
	if (d->dying)
		return NULL;
	if (link == NULL)
		fail(w, "%s sends a command without a link", d->name);
	if (link->n == COMMANDS_MAX)
		fail(w, "%s has %u commands under way", d->name, link->n);
	struct command *c = &link->commands[(link->head + link->n++) % COMMANDS_MAX];
	*c = (struct command){ .kind = kind, .view = view, .sent_at = w->now, .ready_at = w->now + delay(w) };
	snprintf(c->owner, sizeof c->owner, "%s %u", d->name, d->boot);
	return c;
}

static bool
is_leased(const struct world *w)
{
	return w->redis.lease[0] != '\0' && w->redis.lease_until > w->now;
}

static void
run_lease(struct world *w, struct command *c)
{
	struct redis_data *r = &w->redis;
	size_t name = strcspn(c->owner, " ");
	c->yes = !is_leased(w) || strncmp(r->lease, c->owner, name + 1) == 0;
	if (c->yes) {
		memcpy(r->lease, c->owner, sizeof r->lease);
		r->lease_until = w->now + w->limits.lease_ms;
	}
	memcpy(c->holder, r->lease, sizeof c->holder);
	c->ttl = r->lease_until - w->now;
	c->epoch = r->known ? r->epoch : 0;
}

static void
run_own(struct world *w, struct command *c)
{
	struct redis_data *r = &w->redis;
	c->yes = (r->known && r->epoch >= c->epoch) || !is_leased(w) || strcmp(r->lease, c->owner) != 0;
	if (c->yes)
		return;
	c->fresh = !r->known || c->rewritten;
	if (c->fresh) {
		memcpy(r->generation, c->generation, sizeof r->generation);
		r->settled = 0;
	}
	r->known = true;
	r->epoch = c->epoch;
	memcpy(c->generation, r->generation, sizeof c->generation);
	c->settled = r->settled;
	c->backlog = r->n_list;
	w->totals->takeovers++;
	audit_doubt(w);
}

static void
run_peek(struct world *w, struct command *c)
{
	const struct redis_data *r = &w->redis;
	size_t bytes = 0;
	c->n_items = 0;
	while (c->n_items < c->count && c->offset + c->n_items < r->n_list) {
		uint16_t order = r->list[c->offset + c->n_items];
		if (c->budget > 0 && bytes > c->budget) {
			c->yes = true;
			break;
		}
		bytes += w->orders[order].len;
		c->items[c->n_items++] = order;
	}
	c->disowned = !r->known || r->epoch != c->epoch;
}

static bool
is_sampled(const struct world *w, const struct command *c)
{
	const struct redis_data *r = &w->redis;
	for (size_t i = 0; i < c->n_samples; i++) {
		uint32_t at = c->skip + c->sample_at[i];
		if (at >= r->n_list || strcmp(w->orders[r->list[at]].text, w->orders[c->sample[i]].text) != 0)
			return false;
	}
	return r->n_list >= c->skip + c->remove;
}

static enum settle_status
settle_status(const struct world *w, const struct command *c)
{
	const struct redis_data *r = &w->redis;
	if (!r->known)
		return SETTLE_MOVED;
	if (r->epoch != c->epoch)
		return SETTLE_FENCED;
	if (r->settled != c->settled)
		return SETTLE_MOVED;
	if (!is_sampled(w, c))
		return SETTLE_GUARD;
	return c->n_items > 0 && r->n_dead + c->n_items > w->dead_max ? SETTLE_FULL : SETTLE_OK;
}

static void
run_settle(struct world *w, struct command *c)
{
	struct redis_data *r = &w->redis;
	c->status = settle_status(w, c);
	if (c->status == SETTLE_OK) {
		for (uint32_t i = 0; i < c->remove; i++)
			audit_remove(w, r->list[c->skip + i], c->items, c->n_items);
		memmove(r->list + c->skip, r->list + c->skip + c->remove, (r->n_list - c->skip - c->remove) * sizeof *r->list);
		r->n_list -= c->remove;
		r->settled += c->advance;
		for (uint32_t i = 0; i < c->n_items; i++) {
			if (r->n_dead == PUSHES_MAX)
				fail(w, "more dead letters than orders");
			r->dead[r->n_dead++] = c->items[i];
		}
		if (strcmp(r->lease, c->owner) == 0 && is_leased(w))
			r->lease_until = w->now + w->limits.lease_ms;
		w->totals->settles++;
		w->totals->dead += c->n_items;
	}
	w->totals->guard += c->status == SETTLE_GUARD;
	c->settled = r->known ? r->settled : 0;
	c->backlog = r->n_list;
	c->dead = r->n_dead;
	trace(w, "redis: settle of %s: status %d, position %llu", c->owner, (int)c->status, (unsigned long long)c->settled);
}

void
redis_run(struct world *w, struct link *link)
{
	static const char *const names[] = { "lease", "own", "peek", "settle", "length", "release" };
	struct command *c = redis_unrun(link);
	ASSERT(c != NULL && !c->ran);
	c->ran = true;
	link->n_ran++;
	c->ready_at = w->now + delay(w);
	if (link->owner != NULL && fault(w, w->faults.redis_error)) {
		static const enum redis_class classes[] = { REDIS_RETRY, REDIS_READONLY, REDIS_PAUSE, REDIS_SETUP };
		c->class = classes[chance(w, 4)];
		w->totals->redis_errors++;
		trace(w, "redis: %s of %s fails with class %d", names[c->kind], c->owner, (int)c->class);
		return;
	}
	switch (c->kind) {
	case COMMAND_LEASE: run_lease(w, c); break;
	case COMMAND_OWN: run_own(w, c); break;
	case COMMAND_PEEK: run_peek(w, c); break;
	case COMMAND_SETTLE: run_settle(w, c); break;
	case COMMAND_LENGTH:
		c->backlog = w->redis.n_list;
		c->dead = w->redis.n_dead;
		break;
	case COMMAND_RELEASE:
		if (strcmp(w->redis.lease, c->owner) == 0)
			w->redis.lease[0] = '\0';
		break;
	}
	if (c->kind != COMMAND_SETTLE)
		trace(w, "redis: %s of %s: yes %d, items %u", names[c->kind], c->owner, c->yes, c->n_items);
}

void
redis_orphan(struct world *w, struct link *link, bool late)
{
	link->owner = NULL;
	unsigned unrun = link->n - link->n_ran;
	link->head = (link->head + link->n_ran) % COMMANDS_MAX;
	link->n_ran = 0;
	link->n = late && unrun > 0 ? chance(w, unrun + 1) : 0; /* only the first so many had left the client */
	link->used = link->n > 0;
}

void
redis_snapshot(struct world *w)
{
	if (!w->redis.known)
		return; /* a queue whose very first second is lost is a new one: the protocol cannot tell */
	unsigned keep = w->n_snapshots < SNAPSHOTS_MAX ? w->n_snapshots : SNAPSHOTS_MAX - 1;
	memmove(w->snapshots + 1, w->snapshots, keep * sizeof *w->snapshots);
	w->snapshots[0] = w->redis;
	w->snapshots[0].n_orders = w->n_orders;
	w->n_snapshots = keep + 1;
}

/* Redis starts again: every connection ends, nothing sent before it reaches it. */
static void
drop_links(struct world *w)
{
	for (unsigned i = 0; i < LINKS_MAX; i++) {
		struct daemon *d = w->links[i].owner;
		if (!w->links[i].used)
			continue;
		if (d != NULL)
			daemon_link_lost(d, false);
		else
			redis_orphan(w, &w->links[i], false);
	}
}

void
redis_fall_back(struct world *w)
{
	if (w->n_snapshots == 0)
		return;
	unsigned back = chance(w, w->n_snapshots);
	w->redis = w->snapshots[back];
	memmove(w->snapshots, w->snapshots + back, (w->n_snapshots - back) * sizeof *w->snapshots);
	w->n_snapshots -= back;
	for (uint32_t i = w->redis.n_orders; i < w->n_orders; i++)
		w->orders[i].lost = true;
	w->totals->fall_backs++;
	trace(w, "FAULT Redis comes back at position %llu with %u items, %u pushes are lost", (unsigned long long)w->redis.settled, w->redis.n_list,
	    w->n_orders - w->redis.n_orders);
	drop_links(w);
}

void
redis_flush(struct world *w)
{
	trace(w, "FAULT FLUSHALL with %u items", w->redis.n_list);
	for (uint32_t i = 0; i < w->n_orders; i++)
		w->orders[i].lost = true;
	w->redis = (struct redis_data){ .n_list = 0 };
	w->n_snapshots = 0;
	w->totals->flushes++;
}
