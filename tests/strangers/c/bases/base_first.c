/*
 * First fit over a doubly linked list of segments in address order.  A segment knows its neighbours, so a freed one is joined
 * with both of them at once.  sp->low is the lowest hole: no search has to begin before it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coalloc.h"

COALLOC_SUBJECT(bf_);

#define MAX_SIZE ((uint64_t)1 << 63)

enum seg_kind { SEG_FREE = 0, SEG_BUSY = 1 };

struct arena {
	uint64_t base;
	uint64_t size;
};

struct seg {
	uint64_t base;
	uint64_t size;
	struct seg *prev; /* in address order, over all arenas */
	struct seg *next;
	struct arena *arena;
	enum seg_kind kind;
};

struct space {
	const struct coalloc_source *source;
	uint64_t limit;
	uint64_t quantum;
	uint64_t mapped;
	struct seg *head;
	struct seg *low; /* the lowest hole, or NULL */
	size_t nsegs;
};

static uint64_t
round_up(uint64_t value, uint64_t unit)
{
	uint64_t rest = value % unit;

	return (rest == 0 ? value : value + (unit - rest));
}

static struct seg *
seg_new(uint64_t base, uint64_t size, struct arena *arena, enum seg_kind kind)
{
	struct seg *s = malloc(sizeof(*s));

	if (s == NULL)
		return (NULL);
	s->base = base;
	s->size = size;
	s->prev = NULL;
	s->next = NULL;
	s->arena = arena;
	s->kind = kind;
	return (s);
}

/* Link s behind after; NULL for the front. */
static void
seg_link(struct space *sp, struct seg *after, struct seg *s)
{
	struct seg *next = after != NULL ? after->next : sp->head;

	s->prev = after;
	s->next = next;
	if (next != NULL)
		next->prev = s;
	if (after != NULL)
		after->next = s;
	else
		sp->head = s;
	sp->nsegs++;
}

static void
seg_unlink(struct space *sp, struct seg *s)
{
	if (s->next != NULL)
		s->next->prev = s->prev;
	if (s->prev != NULL)
		s->prev->next = s->next;
	else
		sp->head = s->next;
	sp->nsegs--;
}

/* s has become a hole, or grew downwards. */
static void
low_lower(struct space *sp, struct seg *s)
{
	if (sp->low == NULL || s->base < sp->low->base)
		sp->low = s;
}

/* s is no hole any more. */
static void
low_raise(struct space *sp, struct seg *s)
{
	if (sp->low != s)
		return;
	while (s != NULL && (s->kind != SEG_FREE || s == sp->low))
		s = s->next;
	sp->low = s;
}

static struct seg *
seg_find(struct space *sp, uint64_t base)
{
	struct seg *s;

	for (s = sp->head; s != NULL; s = s->next)
		if (s->base == base)
			return (s->kind == SEG_BUSY ? s : NULL);
	return (NULL);
}

static struct seg *
fit_first(struct space *sp, uint64_t size)
{
	struct seg *s;

	for (s = sp->low; s != NULL; s = s->next)
		if (s->kind == SEG_FREE && s->size >= size)
			return (s);
	return (NULL);
}

/* Make the first size bytes of the hole s busy; rest is a spare segment for what remains. */
static void
seg_carve(struct space *sp, struct seg *s, uint64_t size, struct seg *rest)
{
	if (s->size > size) {
		rest->base = s->base + size;
		rest->size = s->size - size;
		rest->arena = s->arena;
		rest->kind = SEG_FREE;
		s->size = size;
		seg_link(sp, s, rest);
	} else {
		free(rest);
	}
	s->kind = SEG_BUSY;
	low_raise(sp, s);
}

/* Join s with the hole behind it. */
static void
seg_join_next(struct space *sp, struct seg *s)
{
	struct seg *next = s->next;

	if (sp->low == next)
		sp->low = s;
	s->size += next->size;
	seg_unlink(sp, next);
	free(next);
}

/* Join s with its neighbours that are holes of the same arena. */
static struct seg *
seg_coalesce(struct space *sp, struct seg *s)
{
	if (s->next != NULL && s->next->kind == SEG_FREE && s->next->arena == s->arena)
		seg_join_next(sp, s);
	if (s->prev != NULL && s->prev->kind == SEG_FREE && s->prev->arena == s->arena) {
		s = s->prev;
		seg_join_next(sp, s);
	}
	return (s);
}

/* Give a wholly free arena back; s is its only segment. */
static void
arena_release(struct space *sp, struct seg *s)
{
	struct arena *arena = s->arena;

	low_raise(sp, s);
	seg_unlink(sp, s);
	free(s);
	sp->source->unmap(sp->source->cookie, arena->base, arena->size);
	sp->mapped -= arena->size;
	free(arena);
}

static int
arena_import(struct space *sp, uint64_t size, struct seg *rest, uint64_t *base)
{
	struct arena *arena;
	struct seg *s, *after, *at;
	uint64_t need, where;

	need = round_up(size, sp->source->granule);
	if (need < size || need > sp->limit - sp->mapped)
		return (COALLOC_NOSPACE);
	arena = malloc(sizeof(*arena));
	s = seg_new(0, need, arena, SEG_FREE);
	if (arena == NULL || s == NULL ||
	    sp->source->map(sp->source->cookie, need, &where) != COALLOC_OK) {
		free(arena);
		free(s);
		return (COALLOC_NOSPACE);
	}
	sp->mapped += need;
	arena->base = where;
	arena->size = need;
	s->base = where;
	after = NULL;
	for (at = sp->head; at != NULL && at->base < where; at = at->next)
		after = at;
	seg_link(sp, after, s);
	low_lower(sp, s);
	seg_carve(sp, s, size, rest);
	*base = where;
	return (COALLOC_OK);
}

int
bf_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **space)
{
	struct space *sp;

	(void)options;
	if (quantum == 0 || (quantum & (quantum - 1)) != 0 || quantum > source->granule)
		return (COALLOC_INVALID);
	sp = calloc(1, sizeof(*sp));
	if (sp == NULL)
		return (COALLOC_NOSPACE);
	sp->source = source;
	sp->limit = limit;
	sp->quantum = quantum;
	*space = sp;
	return (COALLOC_OK);
}

void
bf_close(void *space)
{
	struct space *sp = space;
	struct seg *s, *next;

	for (s = sp->head; s != NULL; s = next) {
		next = s->next;
		if (next == NULL || next->arena != s->arena)
			free(s->arena);
		free(s);
	}
	free(sp);
}

int
bf_alloc(void *space, uint64_t size, uint64_t *base)
{
	struct space *sp = space;
	struct seg *s, *rest;
	int status;

	if (size == 0 || size > MAX_SIZE)
		return (COALLOC_INVALID);
	size = round_up(size, sp->quantum);
	rest = seg_new(0, 0, NULL, SEG_FREE);
	if (rest == NULL)
		return (COALLOC_NOSPACE);
	s = fit_first(sp, size);
	if (s != NULL) {
		*base = s->base;
		seg_carve(sp, s, size, rest);
		return (COALLOC_OK);
	}
	status = arena_import(sp, size, rest, base);
	if (status != COALLOC_OK)
		free(rest);
	return (status);
}

int
bf_free(void *space, uint64_t base)
{
	struct space *sp = space;
	struct seg *s;

	s = seg_find(sp, base);
	if (s == NULL)
		return (COALLOC_BADFREE);
	s->kind = SEG_FREE;
	low_lower(sp, s);
	s = seg_coalesce(sp, s);
	if (s->size == s->arena->size)
		arena_release(sp, s);
	return (COALLOC_OK);
}

const char *
bf_contract(void)
{
	return ("fit=first,coalescing=immediate,release=eager,resize=in-place-only");
}

int
bf_resize(void *space, uint64_t old_base, uint64_t size, uint64_t *base)
{
	struct space *sp = space;
	struct seg *s, *next, *rest;
	uint64_t delta;

	if (size == 0 || size > MAX_SIZE)
		return (COALLOC_INVALID);
	s = seg_find(sp, old_base);
	if (s == NULL)
		return (COALLOC_BADFREE);
	size = round_up(size, sp->quantum);
	next = s->next;
	if (next != NULL && (next->kind != SEG_FREE || next->arena != s->arena))
		next = NULL;
	if (size < s->size) {
		delta = s->size - size;
		if (next != NULL) {
			next->base -= delta;
			next->size += delta;
		} else {
			rest = seg_new(s->base + size, delta, s->arena, SEG_FREE);
			if (rest == NULL)
				return (COALLOC_NOSPACE);
			seg_link(sp, s, rest);
			low_lower(sp, rest);
		}
		s->size = size;
	} else if (size > s->size) {
		delta = size - s->size;
		if (next == NULL || next->size < delta)
			return (COALLOC_NOSPACE);
		if (next->size == delta) {
			next->kind = SEG_BUSY;
			low_raise(sp, next);
			seg_unlink(sp, next);
			free(next);
		} else {
			next->base += delta;
			next->size -= delta;
		}
		s->size = size;
	}
	*base = old_base;
	return (COALLOC_OK);
}

int
bf_reserve(void *space, uint64_t base, uint64_t size)
{
	struct space *sp = space;
	struct seg *s, *front, *rest;
	uint64_t skip;

	if (size == 0)
		return (COALLOC_INVALID);
	for (s = sp->low; s != NULL; s = s->next)
		if (s->kind == SEG_FREE && base >= s->base && base - s->base < s->size)
			break;
	if (s == NULL || size > s->size - (base - s->base))
		return (COALLOC_OVERLAP);
	rest = seg_new(0, 0, NULL, SEG_FREE);
	if (rest == NULL)
		return (COALLOC_NOSPACE);
	skip = base - s->base;
	if (skip != 0) {
		front = s;
		s = seg_new(base, front->size - skip, front->arena, SEG_FREE);
		if (s == NULL) {
			free(rest);
			return (COALLOC_NOSPACE);
		}
		front->size = skip;
		seg_link(sp, front, s);
	}
	seg_carve(sp, s, size, rest);
	return (COALLOC_OK);
}

int
bf_reclaim(void *space, uint64_t *unmapped)
{
	struct space *sp = space;
	struct seg *s, *next;

	*unmapped = 0;
	for (s = sp->head; s != NULL; s = next) {
		next = s->next;
		if (s->kind == SEG_FREE && s->size == s->arena->size) {
			*unmapped += s->size;
			arena_release(sp, s);
		}
	}
	return (COALLOC_OK);
}

int
bf_size_of(void *space, uint64_t base, uint64_t *size)
{
	struct seg *s = seg_find(space, base);

	if (s == NULL)
		return (COALLOC_BADFREE);
	*size = s->size;
	return (COALLOC_OK);
}

void
bf_walk(void *space, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie)
{
	struct space *sp = space;
	struct seg *s;

	for (s = sp->head; s != NULL; s = s->next) {
		struct coalloc_segment segment;

		segment.base = s->base;
		segment.size = s->size;
		segment.arena = s->arena->base;
		segment.kind = s->kind == SEG_BUSY ? COALLOC_BUSY : COALLOC_FREE;
		show(cookie, &segment);
	}
}
