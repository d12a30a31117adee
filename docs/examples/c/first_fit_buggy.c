/*
 * first_fit_buggy.c: first_fit.c with a bug: a free joins with the hole behind it, even if that is in another arena.
 *
 * An arena is as large as the request that imports it, and is given back when all of it is free.
 */
#include <stdlib.h>

#include <coalloc.h>

COALLOC_SUBJECT(first_);

struct segment {
	uint64_t base, size;
	int busy;
	struct segment *prev, *next; /* in address order; arenas follow each other */
	uint64_t arena, arena_size;  /* the arena that it lies in */
};

struct space {
	const struct coalloc_source *source;
	uint64_t limit, quantum, mapped;
	struct segment head; /* of the list; it counts as busy */
};

const char *
first_contract(void)
{
	return ("fit=first,completeness=exact,coalescing=immediate,release=eager");
}

int
first_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **opened)
{
	struct space *space = calloc(1, sizeof(*space));

	(void)options;
	if (space == NULL)
		return (COALLOC_NOSPACE);
	space->source = source;
	space->limit = limit;
	space->quantum = quantum;
	space->head = (struct segment){ .busy = 1, .prev = &space->head, .next = &space->head };
	*opened = space;
	return (COALLOC_OK);
}

static void
insert(struct segment *before, struct segment *segment)
{
	segment->prev = before;
	segment->next = before->next;
	before->next->prev = segment;
	before->next = segment;
}

static void
drop(struct segment *segment)
{
	segment->prev->next = segment->next;
	segment->next->prev = segment->prev;
	free(segment);
}

void
first_close(void *opened)
{
	struct space *space = opened;

	while (space->head.next != &space->head)
		drop(space->head.next);
	free(space);
}

static struct segment *
import(struct space *space, uint64_t size)
{
	uint64_t granule = space->source->granule, whole = (size + granule - 1) & ~(granule - 1);
	struct segment *arena = calloc(1, sizeof(*arena)), *at = &space->head;

	if (arena == NULL || whole > space->limit - space->mapped ||
	    space->source->map(space->source->cookie, whole, &arena->base) != COALLOC_OK) {
		free(arena);
		return (NULL);
	}
	arena->size = arena->arena_size = whole;
	arena->arena = arena->base;
	space->mapped += whole;
	while (at->next != &space->head && at->next->base < arena->base)
		at = at->next;
	insert(at, arena);
	return (arena);
}

int
first_alloc(void *opened, uint64_t size, uint64_t *base)
{
	struct space *space = opened;
	struct segment *segment = space->head.next, *rest = malloc(sizeof(*rest));

	if (size == 0 || size > (uint64_t)1 << 63) {
		free(rest);
		return (COALLOC_INVALID);
	}
	size = (size + space->quantum - 1) & ~(space->quantum - 1);
	while (segment != &space->head && (segment->busy || segment->size < size))
		segment = segment->next;
	if (rest == NULL || (segment == &space->head && (segment = import(space, size)) == NULL)) {
		free(rest);
		return (COALLOC_NOSPACE);
	}
	*rest = *segment;
	rest->base += size;
	rest->size -= size;
	segment->size = size;
	segment->busy = 1;
	insert(segment, rest);
	if (rest->size == 0)
		drop(rest);
	*base = segment->base;
	return (COALLOC_OK);
}

int
first_free(void *opened, uint64_t base)
{
	struct space *space = opened;
	struct segment *segment = space->head.next;

	while (segment != &space->head && (!segment->busy || segment->base != base))
		segment = segment->next;
	if (segment == &space->head)
		return (COALLOC_BADFREE);
	segment->busy = 0;
	if (!segment->prev->busy && segment->prev->arena == segment->arena)
		segment = segment->prev;
	while (!segment->next->busy) {
		segment->size += segment->next->size;
		drop(segment->next);
	}
	if (segment->size == segment->arena_size) {
		space->mapped -= segment->size;
		space->source->unmap(space->source->cookie, segment->arena, segment->size);
		drop(segment);
	}
	return (COALLOC_OK);
}
