/*
 * kernel.c: an allocator as a kernel has it, compiled against the stubs of kstub.h: a mutex, a list, assertions, malloc(9).
 * Best fit.  The mutex is dropped over map and unmap, which may sleep, and may free buffers.
 */
#include <kstub.h>
#include <coalloc.h>

COALLOC_SUBJECT(kva_);
MALLOC_DEFINE(M_KVA, "kva", "address ranges");

struct range {
	TAILQ_ENTRY(range) link;
	uint64_t base, size, arena, arena_size;
	bool busy;
};
TAILQ_HEAD(ranges, range);

struct kva {
	struct mtx lock;
	struct ranges ranges; /* in address order in each arena; one arena follows another */
	const struct coalloc_source *source;
	uint64_t limit, quantum, mapped;
};

const char *
kva_contract(void)
{
	return ("fit=best,tie=none,coalescing=immediate,release=eager,reentrant=yes");
}

int
kva_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options __unused, void **opened)
{
	struct kva *kva = malloc(sizeof(*kva), M_KVA, M_NOWAIT);

	if ((*opened = kva) == NULL)
		return (COALLOC_NOSPACE);
	*kva = (struct kva){ .source = source, .limit = limit, .quantum = quantum };
	mtx_init(&kva->lock, "kva", NULL, MTX_DEF);
	TAILQ_INIT(&kva->ranges);
	return (COALLOC_OK);
}

void
kva_close(void *opened)
{
	struct kva *kva = opened;
	struct range *range;

	while ((range = TAILQ_FIRST(&kva->ranges)) != NULL) {
		TAILQ_REMOVE(&kva->ranges, range, link);
		free(range, M_KVA);
	}
	mtx_destroy(&kva->lock);
	free(kva, M_KVA);
}

/* Map an arena, and enter it; the lock is dropped meanwhile. */
static struct range *import(struct kva *kva, uint64_t size, struct range *arena)
{
	mtx_assert(&kva->lock, MA_OWNED);
	if (size > kva->limit - kva->mapped)
		return (NULL);
	kva->mapped += size;
	mtx_unlock(&kva->lock);
	int status = kva->source->map(kva->source->cookie, size, &arena->base);
	mtx_lock(&kva->lock);
	if (status != COALLOC_OK) {
		kva->mapped -= size;
		return (NULL);
	}
	arena->arena = arena->base;
	arena->size = arena->arena_size = size;
	TAILQ_INSERT_HEAD(&kva->ranges, arena, link);
	return (arena);
}

int
kva_alloc(void *opened, uint64_t size, uint64_t *base)
{
	struct kva *kva = opened;
	struct range *range, *best = NULL, *fresh, *rest;

	if (size == 0 || size > (uint64_t)1 << 63)
		return (COALLOC_INVALID);
	fresh = malloc(sizeof(*fresh), M_KVA, M_NOWAIT | M_ZERO);
	rest = malloc(sizeof(*rest), M_KVA, M_NOWAIT | M_ZERO);
	size = roundup2(size, kva->quantum);
	mtx_lock(&kva->lock);
	if (fresh != NULL && rest != NULL) {
		TAILQ_FOREACH(range, &kva->ranges, link)
			if (!range->busy && range->size >= size && (best == NULL || range->size < best->size))
				best = range;
		if (best == NULL && (best = import(kva, roundup2(size, kva->source->granule), fresh)) != NULL)
			fresh = NULL;
	}
	if (best != NULL) {
		KASSERT(!best->busy && best->size >= size, ("%#jx is no hole of %ju bytes", (uintmax_t)best->base, (uintmax_t)size));
		if (best->size > size) {
			*rest = *best;
			rest->base += size;
			rest->size -= size;
			TAILQ_INSERT_AFTER(&kva->ranges, best, rest, link);
			rest = NULL;
		}
		best->size = size;
		best->busy = true;
		*base = best->base;
	}
	mtx_unlock(&kva->lock);
	free(fresh, M_KVA);
	free(rest, M_KVA);
	return (best != NULL ? COALLOC_OK : COALLOC_NOSPACE);
}

int
kva_free(void *opened, uint64_t base)
{
	struct kva *kva = opened;
	struct range *range, *next, *prev;

	mtx_lock(&kva->lock);
	TAILQ_FOREACH(range, &kva->ranges, link)
		if (range->busy && range->base == base)
			break;
	if (range == NULL) {
		mtx_unlock(&kva->lock);
		return (COALLOC_BADFREE);
	}
	range->busy = false;
	prev = TAILQ_PREV(range, ranges, link);
	if (prev != NULL && !prev->busy && prev->arena == range->arena)
		range = prev;
	while ((next = TAILQ_NEXT(range, link)) != NULL && !next->busy && next->arena == range->arena) {
		range->size += next->size;
		TAILQ_REMOVE(&kva->ranges, next, link);
		free(next, M_KVA);
	}
	if (range->size == range->arena_size) {
		TAILQ_REMOVE(&kva->ranges, range, link);
		kva->mapped -= range->size;
	} else
		range = NULL;
	mtx_unlock(&kva->lock);
	if (range != NULL)
		kva->source->unmap(kva->source->cookie, range->base, range->size);
	free(range, M_KVA);
	return (COALLOC_OK);
}
