/*
 * vmem_full.c -- the whole interface over first fit and boundary tags.
 *
 * Every segment has a tag, which is outside the managed space.  The tags are on one list in address order, and each knows its
 * arena; two tags of one arena that follow each other touch.  Requests, constrained or not, get the lowest address that will do.
 * resize() works in place only.  One idle arena is kept; it goes when the limit would refuse a request because of it, and on
 * reclaim().
 */
#include "coalloc.h"

#include <assert.h>
#include <stdlib.h>

COALLOC_SUBJECT(vmf_);

#define VMF_BUCKETS 1024
#define VMF_MAXSIZE (UINT64_C(1) << 63)

typedef struct vmf_arena {
	uint64_t base;
	uint64_t size;
} vmf_arena_t;

typedef struct vmf_tag {
	struct vmf_tag	*prev, *next;	/* by address; the list is a ring through the space's head */
	struct vmf_tag	*chain;		/* of the hash bucket, if busy */
	vmf_arena_t	*arena;
	uint64_t	base;
	uint64_t	size;
	int		busy;
} vmf_tag_t;

typedef struct vmf {
	const struct coalloc_source *source;
	uint64_t	limit;
	uint64_t	quantum;
	vmf_tag_t	head;
	vmf_tag_t	*idle;			/* the tag of the idle arena, or NULL */
	vmf_tag_t	*bucket[VMF_BUCKETS];
	struct coalloc_stats count;		/* mapped, arenas, peak, and the counters */
} vmf_t;

const char *
vmf_contract(void)
{
	return ("fit=first,constraints=all,resize=in-place-only,release=retain(1)");
}

/* ------------------------------------------------------------------ tags */

static void
tag_insert_after(vmf_tag_t *where, vmf_tag_t *tag)
{
	tag->prev = where;
	tag->next = where->next;
	where->next->prev = tag;
	where->next = tag;
}

static void
tag_remove(vmf_tag_t *tag)
{
	tag->prev->next = tag->next;
	tag->next->prev = tag->prev;
	free(tag);
}

static vmf_tag_t *
tag_new(vmf_arena_t *arena, uint64_t base, uint64_t size)
{
	vmf_tag_t *tag = malloc(sizeof (*tag));

	if (tag != NULL) {
		tag->prev = tag->next = tag->chain = NULL;
		tag->arena = arena;
		tag->base = base;
		tag->size = size;
		tag->busy = 0;
	}
	return (tag);
}

static vmf_tag_t **
hash_slot(vmf_t *v, uint64_t base)
{
	uint64_t n = base / v->quantum;
	vmf_tag_t **slot = &v->bucket[(n ^ (n >> 10) ^ (n >> 24)) % VMF_BUCKETS];

	while (*slot != NULL && (*slot)->base != base)
		slot = &(*slot)->chain;
	return (slot);
}

static void
tag_set_busy(vmf_t *v, vmf_tag_t *tag)
{
	vmf_tag_t **slot = hash_slot(v, tag->base);

	assert(*slot == NULL);
	if (v->idle == tag)
		v->idle = NULL;
	tag->busy = 1;
	tag->chain = NULL;
	*slot = tag;
}

/* Whether the next tag is a hole of the same arena. */
static int
hole_behind(const vmf_t *v, const vmf_tag_t *tag)
{
	return (tag->next != &v->head && !tag->next->busy && tag->next->arena == tag->arena);
}

/* ---------------------------------------------------------------- placing */

/*
 * The lowest base in [first, last] for size bytes under the bounds.  The bounds have been normalised: align is a power of two
 * of at least a quantum, nocross is 0 or can be kept, and phase is a multiple of the quantum.
 */
static int
place(uint64_t first, uint64_t last, uint64_t size, const struct coalloc_bounds *b, uint64_t *base)
{
	uint64_t at, step;

	if (first < b->lo)
		first = b->lo;
	if (last > b->hi)
		last = b->hi;
	at = first;
	for (;;) {
		step = (b->phase - at) & (b->align - 1);
		if (step > UINT64_MAX - at)
			return (0);
		at += step;
		if (at > last || last - at < size - 1)
			return (0);
		if (b->nocross == 0 || ((at ^ (at + (size - 1))) & ~(b->nocross - 1)) == 0) {
			*base = at;
			return (1);
		}
		/* to the next multiple of nocross; there is one, since the range reaches it */
		at = (at | (b->nocross - 1)) + 1;
	}
}

/*
 * Make [base, base + size) of a hole busy.  Up to two new tags are taken from spare[]; those that are used are set to NULL there.
 */
static void
carve(vmf_t *v, vmf_tag_t *hole, uint64_t base, uint64_t size, vmf_tag_t *spare[2])
{
	uint64_t front = base - hole->base;
	vmf_tag_t *tag = hole, *rest;

	assert(!hole->busy && front < hole->size && size <= hole->size - front);
	if (v->idle == hole)
		v->idle = NULL;
	if (front != 0) {
		tag = spare[0];
		spare[0] = NULL;
		tag->arena = hole->arena;
		tag->base = base;
		tag->size = hole->size - front;
		hole->size = front;
		tag_insert_after(hole, tag);
	}
	if (tag->size > size) {
		rest = spare[1];
		spare[1] = NULL;
		rest->arena = tag->arena;
		rest->base = base + size;
		rest->size = tag->size - size;
		tag->size = size;
		tag_insert_after(tag, rest);
	}
	tag_set_busy(v, tag);
}

/* ----------------------------------------------------------------- arenas */

static uint64_t
arena_unmap(vmf_t *v, vmf_tag_t *tag)
{
	vmf_arena_t *arena = tag->arena;
	uint64_t size = arena->size;

	assert(!tag->busy && tag->size == size);
	if (v->idle == tag)
		v->idle = NULL;
	tag_remove(tag);
	v->source->unmap(v->source->cookie, arena->base, size);
	v->count.mapped -= size;
	v->count.arenas--;
	v->count.releases++;
	free(arena);
	return (size);
}

/* Map size bytes, a multiple of the granule that the limit allows.  Returns the arena's one tag. */
static vmf_tag_t *
arena_map(vmf_t *v, uint64_t size)
{
	vmf_arena_t *arena = malloc(sizeof (*arena));
	vmf_tag_t *tag = tag_new(arena, 0, size), *after;

	if (arena == NULL || tag == NULL ||
	    v->source->map(v->source->cookie, size, &arena->base) != COALLOC_OK) {
		free(arena);
		free(tag);
		return (NULL);
	}
	arena->size = size;
	tag->base = arena->base;
	for (after = v->head.next; after != &v->head && after->base < tag->base; after = after->next)
		continue;
	tag_insert_after(after->prev, tag);
	v->count.mapped += size;
	v->count.arenas++;
	v->count.imports++;
	if (v->count.peak_mapped < v->count.mapped)
		v->count.peak_mapped = v->count.mapped;
	return (tag);
}

/* a + b, or UINT64_MAX */
static uint64_t
add(uint64_t a, uint64_t b)
{
	return (b > UINT64_MAX - a ? UINT64_MAX : a + b);
}

/*
 * Map an arena in which the request has a place.  Nobody can tell the source where; so where the constraints might not be met
 * at the base of any arena, try one with enough to spare first, and then one that is just large enough, with luck.
 */
static vmf_tag_t *
arena_for(vmf_t *v, uint64_t size, const struct coalloc_bounds *b, uint64_t *base)
{
	uint64_t granule = v->source->granule, need, want, left, attempt;
	vmf_tag_t *tag;
	int pass;

	need = size;
	if (need % granule != 0)
		need = add(need, granule - need % granule);
	want = size;
	if (granule % b->align == 0)
		want = add(want, b->phase);
	else
		want = add(want, b->align);
	if (b->nocross != 0 && granule % b->nocross != 0)
		want = add(want, add(size, b->align));
	if (want % granule != 0)
		want = add(want, granule - want % granule);
	if (need == UINT64_MAX || need > v->limit)
		return (NULL);

	for (pass = 0; pass < 2; pass++) {
		attempt = pass == 0 ? want : need;
		if (pass == 1 && want == need)
			break;
		left = v->limit - v->count.mapped;
		if (attempt > left && v->idle != NULL && attempt <= left + v->idle->size)
			left += arena_unmap(v, v->idle);
		if (attempt > left || attempt == UINT64_MAX)
			continue;
		tag = arena_map(v, attempt);
		if (tag == NULL)
			continue;
		if (place(tag->base, tag->base + (tag->size - 1), size, b, base))
			return (tag);
		arena_unmap(v, tag);
	}
	return (NULL);
}

/* -------------------------------------------------------------- interface */

int
vmf_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **space)
{
	vmf_t *v;

	(void) options;
	if (quantum == 0 || (quantum & (quantum - 1)) != 0 || quantum > source->granule || source->granule % quantum != 0)
		return (COALLOC_INVALID);
	if ((v = calloc(1, sizeof (*v))) == NULL)
		return (COALLOC_NOSPACE);
	v->source = source;
	v->limit = limit;
	v->quantum = quantum;
	v->head.prev = v->head.next = &v->head;
	v->head.busy = 1;
	*space = v;
	return (COALLOC_OK);
}

void
vmf_close(void *space)
{
	vmf_t *v = space;
	vmf_tag_t *tag;

	while ((tag = v->head.next) != &v->head) {
		if (tag->next->arena != tag->arena)	/* the head has none */
			free(tag->arena);
		tag_remove(tag);
	}
	free(v);
}

static int
take(vmf_t *v, uint64_t size, const struct coalloc_bounds *b, uint64_t *base)
{
	vmf_tag_t *spare[2], *tag;
	uint64_t at = 0;
	int status = COALLOC_NOSPACE;

	spare[0] = tag_new(NULL, 0, 0);
	spare[1] = tag_new(NULL, 0, 0);
	if (spare[0] == NULL || spare[1] == NULL)
		goto out;
	for (tag = v->head.next; tag != &v->head; tag = tag->next)
		if (!tag->busy && tag->size >= size && place(tag->base, tag->base + (tag->size - 1), size, b, &at))
			break;
	if (tag == &v->head && (tag = arena_for(v, size, b, &at)) == NULL)
		goto out;
	carve(v, tag, at, size, spare);
	v->count.allocs++;
	*base = at;
	status = COALLOC_OK;
out:
	if (status == COALLOC_NOSPACE)
		v->count.refusals++;
	free(spare[0]);
	free(spare[1]);
	return (status);
}

int
vmf_alloc(void *space, uint64_t size, uint64_t *base)
{
	vmf_t *v = space;
	struct coalloc_bounds b;

	if (size == 0 || size > VMF_MAXSIZE)
		return (COALLOC_INVALID);
	b.align = v->quantum;
	b.phase = 0;
	b.nocross = 0;
	b.lo = 0;
	b.hi = UINT64_MAX;
	return (take(v, (size + v->quantum - 1) & ~(v->quantum - 1), &b, base));
}

int
vmf_xalloc(void *space, uint64_t size, const struct coalloc_bounds *bounds, uint64_t *base)
{
	vmf_t *v = space;
	struct coalloc_bounds b = *bounds;
	uint64_t any;

	if (size == 0 || size > VMF_MAXSIZE)
		return (COALLOC_INVALID);
	size = (size + v->quantum - 1) & ~(v->quantum - 1);
	if ((b.align & (b.align - 1)) != 0 || (b.nocross & (b.nocross - 1)) != 0 || b.lo > b.hi)
		return (COALLOC_INVALID);
	if (b.align == 0 ? b.phase != 0 : b.phase >= b.align)
		return (COALLOC_INVALID);
	if (b.phase % v->quantum != 0)
		return (COALLOC_INVALID);
	if (b.align < v->quantum)
		b.align = v->quantum;
	if (b.nocross != 0 && (size > b.nocross || (b.phase & (b.nocross - 1)) > b.nocross - size))
		return (COALLOC_INVALID);
	if (!place(0, UINT64_MAX, size, &b, &any))
		return (COALLOC_INVALID);
	return (take(v, size, &b, base));
}

int
vmf_free(void *space, uint64_t base)
{
	vmf_t *v = space;
	vmf_tag_t **slot = hash_slot(v, base), *tag = *slot, *before;

	if (tag == NULL)
		return (COALLOC_BADFREE);
	*slot = tag->chain;
	tag->chain = NULL;
	tag->busy = 0;
	v->count.frees++;
	if (hole_behind(v, tag)) {
		tag->size += tag->next->size;
		tag_remove(tag->next);
	}
	before = tag->prev;
	if (before != &v->head && !before->busy && before->arena == tag->arena) {
		before->size += tag->size;
		tag_remove(tag);
		tag = before;
	}
	if (tag->size == tag->arena->size) {
		if (v->idle == NULL)
			v->idle = tag;
		else
			arena_unmap(v, tag);
	}
	return (COALLOC_OK);
}

int
vmf_resize(void *space, uint64_t old_base, uint64_t size, uint64_t *base)
{
	vmf_t *v = space;
	vmf_tag_t *tag, *rest;
	uint64_t more;

	if (size == 0 || size > VMF_MAXSIZE)
		return (COALLOC_INVALID);
	if ((tag = *hash_slot(v, old_base)) == NULL)
		return (COALLOC_BADFREE);
	size = (size + v->quantum - 1) & ~(v->quantum - 1);
	if (size > tag->size) {
		more = size - tag->size;
		if (!hole_behind(v, tag) || tag->next->size < more) {
			v->count.refusals++;
			return (COALLOC_NOSPACE);
		}
		if (tag->next->size == more) {
			tag_remove(tag->next);
		} else {
			tag->next->base += more;
			tag->next->size -= more;
		}
	} else if (size < tag->size) {
		if (hole_behind(v, tag)) {
			tag->next->base -= tag->size - size;
			tag->next->size += tag->size - size;
		} else {
			rest = tag_new(tag->arena, tag->base + size, tag->size - size);
			if (rest == NULL) {
				v->count.refusals++;
				return (COALLOC_NOSPACE);
			}
			tag_insert_after(tag, rest);
		}
	}
	tag->size = size;
	*base = old_base;
	return (COALLOC_OK);
}

int
vmf_reserve(void *space, uint64_t base, uint64_t size)
{
	vmf_t *v = space;
	vmf_tag_t *spare[2], *tag;
	int status = COALLOC_OVERLAP;

	if (size == 0 || size > VMF_MAXSIZE || size % v->quantum != 0 || base % v->quantum != 0)
		return (COALLOC_INVALID);
	for (tag = v->head.next; tag != &v->head; tag = tag->next)
		if (!tag->busy && base >= tag->base && base - tag->base < tag->size && size <= tag->size - (base - tag->base))
			break;
	if (tag == &v->head)
		return (COALLOC_OVERLAP);
	spare[0] = tag_new(NULL, 0, 0);
	spare[1] = tag_new(NULL, 0, 0);
	if (spare[0] == NULL || spare[1] == NULL) {
		v->count.refusals++;
		status = COALLOC_NOSPACE;
	} else {
		carve(v, tag, base, size, spare);
		v->count.allocs++;
		status = COALLOC_OK;
	}
	free(spare[0]);
	free(spare[1]);
	return (status);
}

int
vmf_reclaim(void *space, uint64_t *unmapped)
{
	vmf_t *v = space;

	*unmapped = v->idle != NULL ? arena_unmap(v, v->idle) : 0;
	return (COALLOC_OK);
}

int
vmf_size_of(void *space, uint64_t base, uint64_t *size)
{
	vmf_tag_t *tag = *hash_slot(space, base);

	if (tag == NULL)
		return (COALLOC_BADFREE);
	*size = tag->size;
	return (COALLOC_OK);
}

void
vmf_walk(void *space, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie)
{
	vmf_t *v = space;
	const vmf_tag_t *tag;
	struct coalloc_segment s;

	for (tag = v->head.next; tag != &v->head; tag = tag->next) {
		s.base = tag->base;
		s.size = tag->size;
		s.arena = tag->arena->base;
		s.kind = tag->busy ? COALLOC_BUSY : COALLOC_FREE;
		show(cookie, &s);
	}
}

void
vmf_stats(void *space, struct coalloc_stats *stats)
{
	vmf_t *v = space;
	const vmf_tag_t *tag;

	*stats = v->count;
	stats->resizes_in_place = stats->resizes_moved = COALLOC_UNKNOWN;
	for (tag = v->head.next; tag != &v->head; tag = tag->next) {
		if (tag->busy) {
			stats->live += tag->size;
			continue;
		}
		stats->free += tag->size;
		stats->holes++;
		if (stats->largest_hole < tag->size)
			stats->largest_hole = tag->size;
	}
}
