"""Allocators in C for tests: the skeleton, and one with every function; and how to change them."""

from __future__ import annotations

from typing import Final

from coalloc.native import FOLDER

__all__ = ["FULL", "SKELETON", "changed"]

SKELETON: Final = (FOLDER / "skeleton.c").read_text(encoding="utf-8")


def changed(text: str, *pairs: str) -> str:
    """Return a text with each first of two replaced by the second; the first must be there."""
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


FULL: Final = r"""
#include <stdlib.h>
#include <coalloc.h>
COALLOC_SUBJECT(mine_);
struct arena { uint64_t base, size; unsigned char *busy; uint64_t *sizes; struct arena *next; };
struct space {
	const struct coalloc_source *source;
	uint64_t limit, quantum;
	struct arena *arenas;
	struct coalloc_stats count;
};
const char *mine_contract(void) { return "fit=first,release=eager,constraints=all,resize=in-place-only"; }
int mine_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **opened)
{
	struct space *space = calloc(1, sizeof(*space));
	(void)options;
	if (space == NULL)
		return (COALLOC_NOSPACE);
	space->source = source;
	space->limit = limit;
	space->quantum = quantum;
	*opened = space;
	return (COALLOC_OK);
}
static void drop(struct space *space, struct arena **place)
{
	struct arena *arena = *place;
	*place = arena->next;
	space->count.mapped -= arena->size;
	space->count.releases++;
	space->source->unmap(space->source->cookie, arena->base, arena->size);
	free(arena->busy);
	free(arena->sizes);
	free(arena);
}
void mine_close(void *opened)
{
	struct space *space = opened;
	while (space->arenas != NULL)
		drop(space, &space->arenas);
	free(space);
}
static int all_free(const struct space *space, const struct arena *arena)
{
	for (uint64_t i = 0; i < arena->size / space->quantum; i++)
		if (arena->busy[i])
			return (0);
	return (1);
}
static int
fits(const struct space *space, const struct arena *arena, uint64_t at, uint64_t n, const struct coalloc_bounds *bounds)
{
	uint64_t base = arena->base + at * space->quantum, last = base + n * space->quantum - 1;
	for (uint64_t i = at; i < at + n; i++)
		if (arena->busy[i])
			return (0);
	if (bounds->align && base % bounds->align != bounds->phase)
		return (0);
	if (bounds->nocross && base / bounds->nocross != last / bounds->nocross)
		return (0);
	return (base >= bounds->lo && last <= bounds->hi);
}
static int take(struct space *space, struct arena *arena, uint64_t at, uint64_t n, uint64_t *base)
{
	for (uint64_t i = at; i < at + n; i++)
		arena->busy[i] = 1;
	arena->sizes[at] = n * space->quantum;
	space->count.allocs++;
	space->count.live += n * space->quantum;
	*base = arena->base + at * space->quantum;
	return (COALLOC_OK);
}
static int search(struct space *space, uint64_t n, const struct coalloc_bounds *bounds, uint64_t *base)
{
	for (struct arena *arena = space->arenas; arena != NULL; arena = arena->next)
		for (uint64_t at = 0; at + n <= arena->size / space->quantum; at++)
			if (fits(space, arena, at, n, bounds))
				return (take(space, arena, at, n, base));
	return (COALLOC_NOSPACE);
}
int mine_xalloc(void *opened, uint64_t size, const struct coalloc_bounds *bounds, uint64_t *base)
{
	struct space *space = opened;
	uint64_t n, whole, granule = space->source->granule;
	struct arena *arena, **place = &space->arenas;
	if (size == 0 || size > (uint64_t)1 << 63)
		return (COALLOC_INVALID);
	n = (size + space->quantum - 1) / space->quantum;
	if (search(space, n, bounds, base) == COALLOC_OK)
		return (COALLOC_OK);
	whole = (n * space->quantum + granule - 1) / granule * granule;
	if (whole > space->limit - space->count.mapped || (arena = calloc(1, sizeof(*arena))) == NULL) {
		space->count.refusals++;
		return (COALLOC_NOSPACE);
	}
	if (space->source->map(space->source->cookie, whole, &arena->base) != COALLOC_OK) {
		free(arena);
		space->count.refusals++;
		return (COALLOC_NOSPACE);
	}
	arena->size = whole;
	arena->busy = calloc(whole / space->quantum, 1);
	arena->sizes = calloc(whole / space->quantum, sizeof(*arena->sizes));
	space->count.mapped += whole;
	space->count.imports++;
	if (space->count.peak_mapped < space->count.mapped)
		space->count.peak_mapped = space->count.mapped;
	while (*place != NULL && (*place)->base < arena->base)
		place = &(*place)->next;
	arena->next = *place;
	*place = arena;
	if (search(space, n, bounds, base) == COALLOC_OK)
		return (COALLOC_OK);
	drop(space, place);
	space->count.refusals++;
	return (COALLOC_NOSPACE);
}
int mine_alloc(void *opened, uint64_t size, uint64_t *base)
{
	static const struct coalloc_bounds none = { 0, 0, 0, 0, UINT64_MAX };
	return (mine_xalloc(opened, size, &none, base));
}
static struct arena **holder(struct space *space, uint64_t base)
{
	struct arena **place = &space->arenas;
	while (*place != NULL && !(base >= (*place)->base && base - (*place)->base < (*place)->size))
		place = &(*place)->next;
	return (place);
}
static uint64_t *entry(struct space *space, uint64_t base)
{
	struct arena *arena = *holder(space, base);
	if (arena == NULL || (base - arena->base) % space->quantum)
		return (NULL);
	uint64_t *size = &arena->sizes[(base - arena->base) / space->quantum];
	return (*size ? size : NULL);
}
int mine_free(void *opened, uint64_t base)
{
	struct space *space = opened;
	struct arena **place = holder(space, base);
	uint64_t *size = entry(space, base), at;
	if (size == NULL)
		return (COALLOC_BADFREE);
	at = (base - (*place)->base) / space->quantum;
	for (uint64_t i = 0; i < *size / space->quantum; i++)
		(*place)->busy[at + i] = 0;
	space->count.frees++;
	space->count.live -= *size;
	*size = 0;
	if (all_free(space, *place))
		drop(space, place);
	return (COALLOC_OK);
}
int mine_size_of(void *opened, uint64_t base, uint64_t *size)
{
	uint64_t *found = entry(opened, base);
	if (found == NULL)
		return (COALLOC_BADFREE);
	*size = *found;
	return (COALLOC_OK);
}
int mine_resize(void *opened, uint64_t old, uint64_t size, uint64_t *base)
{
	struct space *space = opened;
	uint64_t *found = entry(space, old), n = (size + space->quantum - 1) / space->quantum, have, at;
	struct arena *arena;
	if (size == 0 || size > (uint64_t)1 << 63)
		return (COALLOC_INVALID);
	if (found == NULL)
		return (COALLOC_BADFREE);
	arena = *holder(space, old);
	have = *found / space->quantum;
	at = (old - arena->base) / space->quantum;
	for (uint64_t i = have; i < n; i++)
		if (at + i >= arena->size / space->quantum || arena->busy[at + i]) {
			space->count.refusals++;
			return (COALLOC_NOSPACE);
		}
	for (uint64_t i = 0; i < (n > have ? n : have); i++)
		arena->busy[at + i] = i < n;
	space->count.resizes_in_place += n != have;
	space->count.live += (n - have) * space->quantum;
	*found = n * space->quantum;
	*base = old;
	return (COALLOC_OK);
}
int mine_reserve(void *opened, uint64_t base, uint64_t size)
{
	static const struct coalloc_bounds none = { 0, 0, 0, 0, UINT64_MAX };
	struct space *space = opened;
	struct arena *arena = *holder(space, base);
	uint64_t at, n = size / space->quantum;
	if (arena == NULL)
		return (COALLOC_OVERLAP);
	at = (base - arena->base) / space->quantum;
	if (n > arena->size / space->quantum - at || !fits(space, arena, at, n, &none))
		return (COALLOC_OVERLAP);
	return (take(space, arena, at, n, &base));
}
int mine_reclaim(void *opened, uint64_t *unmapped)
{
	(void)opened;
	*unmapped = 0;
	return (COALLOC_OK);
}
void mine_walk(void *opened, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie)
{
	struct space *space = opened;
	for (struct arena *arena = space->arenas; arena != NULL; arena = arena->next) {
		uint64_t all = arena->size / space->quantum, next;
		for (uint64_t at = 0; at < all; at = next) {
			struct coalloc_segment shown = { arena->base + at * space->quantum, arena->sizes[at], arena->base, COALLOC_BUSY };
			next = at + 1;
			if (!arena->busy[at]) {
				while (next < all && !arena->busy[next])
					next++;
				shown.size = (next - at) * space->quantum;
				shown.kind = COALLOC_FREE;
			}
			next = at + shown.size / space->quantum;
			shown.kind = shown.kind;
			show(cookie, &shown);
		}
	}
}
static void add(void *cookie, const struct coalloc_segment *segment)
{
	struct coalloc_stats *stats = cookie;
	if (segment->kind != COALLOC_FREE)
		return;
	stats->free += segment->size;
	stats->holes++;
	if (segment->size > stats->holes * 0 + stats->cached)
		stats->cached = segment->size;
}
void mine_stats(void *opened, struct coalloc_stats *stats)
{
	struct space *space = opened;
	struct coalloc_stats sums = { 0 };
	uint64_t arenas = 0;
	mine_walk(space, add, &sums);
	for (struct arena *arena = space->arenas; arena != NULL; arena = arena->next)
		arenas++;
	stats->mapped = space->count.mapped;
	stats->live = space->count.live;
	stats->cached = 0;
	stats->free = sums.free;
	stats->holes = sums.holes;
	stats->largest_hole = sums.cached;
	stats->arenas = arenas;
	stats->peak_mapped = space->count.peak_mapped;
	stats->allocs = space->count.allocs;
	stats->frees = space->count.frees;
	stats->imports = space->count.imports;
	stats->releases = space->count.releases;
	stats->refusals = space->count.refusals;
	stats->resizes_in_place = space->count.resizes_in_place;
	stats->resizes_moved = 0;
}
"""
"""First fit over bytes that say whether a quantum is busy; it has every function."""
