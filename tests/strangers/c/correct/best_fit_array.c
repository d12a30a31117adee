/*
 * Best fit over a sorted array of holes.
 *
 * Three flat arrays, each sorted by address: arenas, holes, live buffers.  The smallest hole that is large enough is taken, the
 * lowest one among equals, and a request is cut from its low end.  Freed space is merged at once, and an arena that is wholly
 * free is given back at once.  Free never needs memory: room for every hole that can arise is made when a buffer is handed out.
 */
#include "coalloc.h"

#include <stdlib.h>
#include <string.h>

COALLOC_SUBJECT(bfa_);

#define ARENA_GRANULES 16 /* what we like to map at once, if the limit and the source let us */
#define TOO_LARGE ((uint64_t)1 << 63)

struct range {
	uint64_t base;
	uint64_t size;
	uint64_t arena;
};

struct table {
	struct range *at;
	size_t used;
	size_t room;
};

struct space {
	const struct coalloc_source *source;
	uint64_t limit;
	uint64_t quantum;
	uint64_t mapped;
	struct table arenas;
	struct table holes;
	struct table live;
	struct coalloc_stats counts;
};

/* --- tables --- */

static int
table_room(struct table *table, size_t room)
{
	struct range *bigger;
	size_t wish;

	if (room <= table->room)
		return (1);
	wish = table->room ? table->room : 8;
	while (wish < room)
		wish *= 2;
	bigger = realloc(table->at, wish * sizeof(*bigger));
	if (bigger == NULL)
		return (0);
	table->at = bigger;
	table->room = wish;
	return (1);
}

/* The index of the first entry whose base is not below this one. */
static size_t
table_seek(const struct table *table, uint64_t base)
{
	size_t low = 0, high = table->used, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (table->at[middle].base < base)
			low = middle + 1;
		else
			high = middle;
	}
	return (low);
}

static int
table_has(const struct table *table, size_t index, uint64_t base)
{
	return (index < table->used && table->at[index].base == base);
}

static void
table_insert(struct table *table, size_t index, struct range range)
{
	memmove(table->at + index + 1, table->at + index, (table->used - index) * sizeof(*table->at));
	table->at[index] = range;
	table->used++;
}

static void
table_remove(struct table *table, size_t index)
{
	table->used--;
	memmove(table->at + index, table->at + index + 1, (table->used - index) * sizeof(*table->at));
}

/* --- the allocator --- */

const char *
bfa_contract(void)
{
	return ("fit=best,tie=lowest,release=eager");
}

int
bfa_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **space)
{
	struct space *s;

	(void)options;
	if (quantum == 0 || (quantum & (quantum - 1)) != 0 || quantum > source->granule || source->granule % quantum != 0)
		return (COALLOC_INVALID);
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return (COALLOC_NOSPACE);
	s->source = source;
	s->limit = limit;
	s->quantum = quantum;
	*space = s;
	return (COALLOC_OK);
}

void
bfa_close(void *space)
{
	struct space *s = space;

	free(s->arenas.at);
	free(s->holes.at);
	free(s->live.at);
	free(s);
}

static size_t
best_hole(const struct space *s, uint64_t size)
{
	size_t index, best = s->holes.used;

	for (index = 0; index < s->holes.used; index++)
		if (s->holes.at[index].size >= size &&
		    (best == s->holes.used || s->holes.at[index].size < s->holes.at[best].size))
			best = index;
	return (best);
}

/* Map an arena with room for size bytes, and enter it with its one hole.  There is room in the tables already. */
static int
import(struct space *s, uint64_t size, uint64_t *arena)
{
	uint64_t granule = s->source->granule, need, want, left, base;
	struct range range;

	need = size;
	if (need % granule != 0) {
		if (granule - need % granule > UINT64_MAX - need)
			return (COALLOC_NOSPACE);
		need += granule - need % granule;
	}
	left = s->limit - s->mapped;
	if (need > left)
		return (COALLOC_NOSPACE);
	want = granule <= UINT64_MAX / ARENA_GRANULES ? granule * ARENA_GRANULES : need;
	if (want < need || want > left)
		want = need;
	if (s->source->map(s->source->cookie, want, &base) != COALLOC_OK) {
		if (want == need)
			return (COALLOC_NOSPACE);
		want = need;
		if (s->source->map(s->source->cookie, want, &base) != COALLOC_OK)
			return (COALLOC_NOSPACE);
	}
	s->mapped += want;
	s->counts.imports++;
	if (s->mapped > s->counts.peak_mapped)
		s->counts.peak_mapped = s->mapped;
	range.base = base;
	range.size = want;
	range.arena = base;
	table_insert(&s->arenas, table_seek(&s->arenas, base), range);
	table_insert(&s->holes, table_seek(&s->holes, base), range);
	*arena = base;
	return (COALLOC_OK);
}

int
bfa_alloc(void *space, uint64_t size, uint64_t *base)
{
	struct space *s = space;
	struct range *hole, range;
	uint64_t arena;
	size_t index;

	if (size == 0 || size > TOO_LARGE)
		return (COALLOC_INVALID);
	size = (size + s->quantum - 1) & ~(s->quantum - 1);

	/* An arena with n buffers has at most n + 1 holes. */
	if (!table_room(&s->live, s->live.used + 1) || !table_room(&s->arenas, s->arenas.used + 1) ||
	    !table_room(&s->holes, s->live.used + s->arenas.used + 2))
		goto refuse;

	index = best_hole(s, size);
	if (index == s->holes.used) {
		if (import(s, size, &arena) != COALLOC_OK)
			goto refuse;
		index = table_seek(&s->holes, arena);
	}
	hole = &s->holes.at[index];
	range.base = hole->base;
	range.size = size;
	range.arena = hole->arena;
	if (hole->size == size) {
		table_remove(&s->holes, index);
	} else {
		hole->base += size;
		hole->size -= size;
	}
	table_insert(&s->live, table_seek(&s->live, range.base), range);
	s->counts.allocs++;
	*base = range.base;
	return (COALLOC_OK);

refuse:
	s->counts.refusals++;
	return (COALLOC_NOSPACE);
}

int
bfa_free(void *space, uint64_t base)
{
	struct space *s = space;
	struct range range, *before, *behind;
	size_t index, arena;

	index = table_seek(&s->live, base);
	if (!table_has(&s->live, index, base))
		return (COALLOC_BADFREE);
	range = s->live.at[index];
	table_remove(&s->live, index);
	s->counts.frees++;

	index = table_seek(&s->holes, base);
	if (index < s->holes.used) {
		behind = &s->holes.at[index];
		if (behind->arena == range.arena && range.base + range.size == behind->base) {
			range.size += behind->size;
			table_remove(&s->holes, index);
		}
	}
	if (index > 0) {
		before = &s->holes.at[index - 1];
		if (before->arena == range.arena && before->base + before->size == range.base) {
			range.base = before->base;
			range.size += before->size;
			table_remove(&s->holes, --index);
		}
	}
	arena = table_seek(&s->arenas, range.arena);
	if (range.size != s->arenas.at[arena].size) {
		table_insert(&s->holes, index, range);
		return (COALLOC_OK);
	}
	table_remove(&s->arenas, arena);
	s->source->unmap(s->source->cookie, range.base, range.size);
	s->mapped -= range.size;
	s->counts.releases++;
	return (COALLOC_OK);
}

int
bfa_size_of(void *space, uint64_t base, uint64_t *size)
{
	struct space *s = space;
	size_t index = table_seek(&s->live, base);

	if (!table_has(&s->live, index, base))
		return (COALLOC_BADFREE);
	*size = s->live.at[index].size;
	return (COALLOC_OK);
}

void
bfa_walk(void *space, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie)
{
	struct space *s = space;
	struct coalloc_segment segment;
	const struct range *range;
	size_t hole = 0, live = 0;

	while (hole < s->holes.used || live < s->live.used) {
		if (live == s->live.used || (hole < s->holes.used && s->holes.at[hole].base < s->live.at[live].base)) {
			range = &s->holes.at[hole++];
			segment.kind = COALLOC_FREE;
		} else {
			range = &s->live.at[live++];
			segment.kind = COALLOC_BUSY;
		}
		segment.base = range->base;
		segment.size = range->size;
		segment.arena = range->arena;
		show(cookie, &segment);
	}
}

void
bfa_stats(void *space, struct coalloc_stats *stats)
{
	struct space *s = space;
	size_t index;

	*stats = s->counts;
	stats->mapped = s->mapped;
	stats->live = 0;
	stats->cached = 0;
	stats->free = 0;
	stats->largest_hole = 0;
	stats->holes = s->holes.used;
	stats->arenas = s->arenas.used;
	for (index = 0; index < s->live.used; index++)
		stats->live += s->live.at[index].size;
	for (index = 0; index < s->holes.used; index++) {
		stats->free += s->holes.at[index].size;
		if (s->holes.at[index].size > stats->largest_hole)
			stats->largest_hole = s->holes.at[index].size;
	}
}
