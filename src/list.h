/* An intrusive doubly linked list: the node lives in the member, membership costs no allocation. */
#ifndef SLUICE_LIST_H
#define SLUICE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev; /* last member, or the head itself when empty */
	struct list *next; /* first member, or the head itself when empty */
};

/* The struct of `type` whose `member` is this node. */
#define LIST_OWNER(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))

/* Visits every node of a list that does not change meanwhile. */
#define LIST_EACH(head, node) for (struct list *node = (head)->next; node != (head); node = node->next)

/* As LIST_EACH, for a body that may remove `node`. */
#define LIST_EACH_SAFE(head, node, after) \
	for (struct list *node = (head)->next, *after = node->next; node != (head); node = after, after = node->next)

/* Makes an empty list, or a node that is on no list. */
static inline void
list_init(struct list *head)
{
	head->prev = head->next = head;
}

/* Is the list empty (or the node on no list)? */
static inline bool
list_empty(const struct list *head)
{
	return head->next == head;
}

/* Puts `node`, which is on no list, before `place`; before the head means last. */
static inline void
list_insert_before(struct list *place, struct list *node)
{
	node->prev = place->prev;
	node->next = place;
	place->prev->next = node;
	place->prev = node;
}

/* Puts `node`, which is on no list, at the end. */
static inline void
list_append(struct list *head, struct list *node)
{
	list_insert_before(head, node);
}

/* Takes `node` off its list; harmless when it is on none. */
static inline void
list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

#endif
