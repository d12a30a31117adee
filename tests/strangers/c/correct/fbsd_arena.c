/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * kva(9)-like address range allocator, as a FreeBSD kernel would have it.
 *
 * Spans are on a list by address, each with a list of its segments.  Free segments are also on a list of their power-of-two
 * class; the first that fits of the lowest class that can hold one is taken.  Busy segments are hashed by address.  The mutex
 * is dropped around calls of the source, so buffers may be freed while it is at work.  A span that becomes free is released.
 */
#include "kstub.h"
#include "coalloc.h"

COALLOC_SUBJECT(kvar_);

MALLOC_DEFINE(M_KVAR, "kvar", "address range allocator");

#define	KVAR_CLASSES	64
#define	KVAR_HASH	256

struct kvar_span;

struct kvar_seg {
	TAILQ_ENTRY(kvar_seg)	ks_segs;	/* all of the span */
	LIST_ENTRY(kvar_seg)	ks_link;	/* class list or hash chain */
	struct kvar_span	*ks_span;
	uint64_t		ks_start;
	uint64_t		ks_size;
	bool			ks_busy;
};

TAILQ_HEAD(kvar_seglist, kvar_seg);
LIST_HEAD(kvar_class, kvar_seg);

struct kvar_span {
	TAILQ_ENTRY(kvar_span)	ksp_link;
	struct kvar_seglist	ksp_segs;
	uint64_t		ksp_start;
	uint64_t		ksp_size;
};

TAILQ_HEAD(kvar_spanlist, kvar_span);

struct kvar {
	struct mtx		kv_mtx;
	const struct coalloc_source *kv_source;
	uint64_t		kv_limit;
	uint64_t		kv_qmask;
	uint64_t		kv_charged;	/* mapped, or about to be */
	struct kvar_spanlist	kv_spans;
	struct kvar_class	kv_free[KVAR_CLASSES];
	struct kvar_class	kv_hash[KVAR_HASH];
	struct coalloc_stats	kv_stats;	/* but for holes and free space */
};

#define	KVAR_LOCK(kv)		mtx_lock(&(kv)->kv_mtx)
#define	KVAR_UNLOCK(kv)		mtx_unlock(&(kv)->kv_mtx)
#define	KVAR_ASSERT_LOCKED(kv)	mtx_assert(&(kv)->kv_mtx, MA_OWNED)

const char *
kvar_contract(void)
{

	return ("release=eager,reentrant=yes,laws=shift");
}

static int
kvar_classof(uint64_t size)
{

	MPASS(size != 0);
	return (63 - __builtin_clzll(size));
}

static struct kvar_class *
kvar_hashof(struct kvar *kv, uint64_t start)
{

	start /= kv->kv_qmask + 1;
	return (&kv->kv_hash[(start ^ (start >> 8) ^ (start >> 20)) % KVAR_HASH]);
}

static void
kvar_seg_setfree(struct kvar *kv, struct kvar_seg *seg)
{

	KVAR_ASSERT_LOCKED(kv);
	seg->ks_busy = false;
	LIST_INSERT_HEAD(&kv->kv_free[kvar_classof(seg->ks_size)], seg, ks_link);
}

static struct kvar_seg *
kvar_lookup(struct kvar *kv, uint64_t start)
{
	struct kvar_seg *seg;

	KVAR_ASSERT_LOCKED(kv);
	LIST_FOREACH(seg, kvar_hashof(kv, start), ks_link) {
		KASSERT(seg->ks_busy, ("kvar: free segment %p in the hash", (void *)seg));
		if (seg->ks_start == start)
			break;
	}
	return (seg);
}

int
kvar_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options __unused, void **space)
{
	struct kvar *kv;
	int i;

	if (quantum == 0 || !powerof2(quantum) || quantum > source->granule || source->granule % quantum != 0)
		return (COALLOC_INVALID);
	kv = malloc(sizeof(*kv), M_KVAR, M_NOWAIT | M_ZERO);
	if (kv == NULL)
		return (COALLOC_NOSPACE);
	mtx_init(&kv->kv_mtx, "kvar", NULL, MTX_DEF);
	kv->kv_source = source;
	kv->kv_limit = limit;
	kv->kv_qmask = quantum - 1;
	TAILQ_INIT(&kv->kv_spans);
	for (i = 0; i < KVAR_CLASSES; i++)
		LIST_INIT(&kv->kv_free[i]);
	for (i = 0; i < KVAR_HASH; i++)
		LIST_INIT(&kv->kv_hash[i]);
	*space = kv;
	return (COALLOC_OK);
}

void
kvar_close(void *space)
{
	struct kvar *kv = space;
	struct kvar_span *span;
	struct kvar_seg *seg;

	while ((span = TAILQ_FIRST(&kv->kv_spans)) != NULL) {
		TAILQ_REMOVE(&kv->kv_spans, span, ksp_link);
		while ((seg = TAILQ_FIRST(&span->ksp_segs)) != NULL) {
			TAILQ_REMOVE(&span->ksp_segs, seg, ks_segs);
			free(seg, M_KVAR);
		}
		free(span, M_KVAR);
	}
	mtx_destroy(&kv->kv_mtx);
	free(kv, M_KVAR);
}

/*
 * Find a free segment that is large enough.  Each in a class above that of the size is; those in its own class must be looked at.
 */
static struct kvar_seg *
kvar_search(struct kvar *kv, uint64_t size)
{
	struct kvar_seg *seg;
	int class;

	KVAR_ASSERT_LOCKED(kv);
	for (class = kvar_classof(size); class < KVAR_CLASSES; class++)
		LIST_FOREACH(seg, &kv->kv_free[class], ks_link)
			if (seg->ks_size >= size)
				return (seg);
	return (NULL);
}

/*
 * Map a span for size bytes, and return its segment, which is on no class list.  The lock is dropped meanwhile; the limit has
 * been charged before, so that nobody else takes what is left of it.
 */
static int
kvar_import(struct kvar *kv, uint64_t size, struct kvar_seg **segp)
{
	const struct coalloc_source *source = kv->kv_source;
	struct kvar_span *span, *after;
	struct kvar_seg *seg;
	uint64_t start, slack;
	int error;

	KVAR_ASSERT_LOCKED(kv);
	slack = size % source->granule;
	if (slack != 0) {
		slack = source->granule - slack;
		if (slack > UINT64_MAX - size)
			return (COALLOC_NOSPACE);
		size += slack;
	}
	MPASS(kv->kv_charged <= kv->kv_limit);
	if (size > kv->kv_limit - kv->kv_charged)
		return (COALLOC_NOSPACE);
	kv->kv_charged += size;
	KVAR_UNLOCK(kv);

	error = COALLOC_NOSPACE;
	span = malloc(sizeof(*span), M_KVAR, M_NOWAIT);
	seg = malloc(sizeof(*seg), M_KVAR, M_NOWAIT);
	if (span != NULL && seg != NULL)
		error = source->map(source->cookie, size, &start);

	KVAR_LOCK(kv);
	if (error != COALLOC_OK) {
		kv->kv_charged -= size;
		free(seg, M_KVAR);
		free(span, M_KVAR);
		return (COALLOC_NOSPACE);
	}
	KASSERT(start % source->granule == 0, ("kvar: span at %#jx", (uintmax_t)start));
	span->ksp_start = start;
	span->ksp_size = size;
	TAILQ_INIT(&span->ksp_segs);
	seg->ks_span = span;
	seg->ks_start = start;
	seg->ks_size = size;
	seg->ks_busy = false;
	TAILQ_INSERT_TAIL(&span->ksp_segs, seg, ks_segs);
	TAILQ_FOREACH(after, &kv->kv_spans, ksp_link)
		if (after->ksp_start > start)
			break;
	if (after != NULL)
		TAILQ_INSERT_BEFORE(after, span, ksp_link);
	else
		TAILQ_INSERT_TAIL(&kv->kv_spans, span, ksp_link);
	kv->kv_stats.arenas++;
	kv->kv_stats.imports++;
	kv->kv_stats.mapped += size;
	if (kv->kv_stats.mapped > kv->kv_stats.peak_mapped)
		kv->kv_stats.peak_mapped = kv->kv_stats.mapped;
	*segp = seg;
	return (COALLOC_OK);
}

int
kvar_alloc(void *space, uint64_t size, uint64_t *base)
{
	struct kvar *kv = space;
	struct kvar_seg *seg, *rest;

	if (size == 0 || size > (uint64_t)1 << 63)
		return (COALLOC_INVALID);
	size = (size + kv->kv_qmask) & ~kv->kv_qmask;

	rest = malloc(sizeof(*rest), M_KVAR, M_NOWAIT);
	KVAR_LOCK(kv);
	if (rest == NULL)
		goto fail;
	seg = kvar_search(kv, size);
	if (seg != NULL)
		LIST_REMOVE(seg, ks_link);
	else if (kvar_import(kv, size, &seg) != COALLOC_OK)
		goto fail;

	MPASS(!seg->ks_busy && seg->ks_size >= size);
	if (seg->ks_size > size) {
		rest->ks_span = seg->ks_span;
		rest->ks_start = seg->ks_start + size;
		rest->ks_size = seg->ks_size - size;
		TAILQ_INSERT_AFTER(&seg->ks_span->ksp_segs, seg, rest, ks_segs);
		seg->ks_size = size;
		kvar_seg_setfree(kv, rest);
		rest = NULL;
	}
	seg->ks_busy = true;
	LIST_INSERT_HEAD(kvar_hashof(kv, seg->ks_start), seg, ks_link);
	kv->kv_stats.live += size;
	kv->kv_stats.allocs++;
	*base = seg->ks_start;
	KVAR_UNLOCK(kv);
	free(rest, M_KVAR);
	return (COALLOC_OK);

fail:
	kv->kv_stats.refusals++;
	KVAR_UNLOCK(kv);
	free(rest, M_KVAR);
	return (COALLOC_NOSPACE);
}

/* Take the next segment into this one. */
static void
kvar_merge(struct kvar *kv, struct kvar_seg *seg, struct kvar_seg *next)
{

	KVAR_ASSERT_LOCKED(kv);
	KASSERT(seg->ks_start + seg->ks_size == next->ks_start, ("kvar: segments %p and %p do not touch", (void *)seg,
	    (void *)next));
	seg->ks_size += next->ks_size;
	TAILQ_REMOVE(&seg->ks_span->ksp_segs, next, ks_segs);
	free(next, M_KVAR);
}

int
kvar_free(void *space, uint64_t base)
{
	struct kvar *kv = space;
	struct kvar_span *span;
	struct kvar_seg *seg, *other;

	KVAR_LOCK(kv);
	seg = kvar_lookup(kv, base);
	if (seg == NULL) {
		KVAR_UNLOCK(kv);
		return (COALLOC_BADFREE);
	}
	LIST_REMOVE(seg, ks_link);
	seg->ks_busy = false;
	span = seg->ks_span;
	kv->kv_stats.live -= seg->ks_size;
	kv->kv_stats.frees++;

	other = TAILQ_NEXT(seg, ks_segs);
	if (other != NULL && !other->ks_busy) {
		LIST_REMOVE(other, ks_link);
		kvar_merge(kv, seg, other);
	}
	other = seg != TAILQ_FIRST(&span->ksp_segs) ? TAILQ_PREV(seg, kvar_seglist, ks_segs) : NULL;
	if (other != NULL && !other->ks_busy) {
		LIST_REMOVE(other, ks_link);
		kvar_merge(kv, other, seg);
		seg = other;
	}
	if (seg->ks_size != span->ksp_size) {
		kvar_seg_setfree(kv, seg);
		KVAR_UNLOCK(kv);
		return (COALLOC_OK);
	}

	/* Nobody sees the span any more; the limit is charged until it is gone. */
	TAILQ_REMOVE(&kv->kv_spans, span, ksp_link);
	kv->kv_stats.arenas--;
	kv->kv_stats.releases++;
	kv->kv_stats.mapped -= span->ksp_size;
	KVAR_UNLOCK(kv);
	kv->kv_source->unmap(kv->kv_source->cookie, span->ksp_start, span->ksp_size);
	KVAR_LOCK(kv);
	kv->kv_charged -= span->ksp_size;
	KVAR_UNLOCK(kv);
	free(seg, M_KVAR);
	free(span, M_KVAR);
	return (COALLOC_OK);
}

int
kvar_size_of(void *space, uint64_t base, uint64_t *size)
{
	struct kvar *kv = space;
	struct kvar_seg *seg;

	KVAR_LOCK(kv);
	seg = kvar_lookup(kv, base);
	if (seg != NULL)
		*size = seg->ks_size;
	KVAR_UNLOCK(kv);
	return (seg != NULL ? COALLOC_OK : COALLOC_BADFREE);
}

int
kvar_reclaim(void *space, uint64_t *unmapped)
{
	struct kvar *kv = space;

	/* Spans are released as soon as they are free. */
	KVAR_LOCK(kv);
	*unmapped = 0;
	KVAR_UNLOCK(kv);
	return (COALLOC_OK);
}

void
kvar_walk(void *space, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie)
{
	struct kvar *kv = space;
	struct coalloc_segment segment;
	struct kvar_span *span;
	struct kvar_seg *seg;

	KVAR_LOCK(kv);
	TAILQ_FOREACH(span, &kv->kv_spans, ksp_link)
		TAILQ_FOREACH(seg, &span->ksp_segs, ks_segs) {
			segment.base = seg->ks_start;
			segment.size = seg->ks_size;
			segment.arena = span->ksp_start;
			segment.kind = seg->ks_busy ? COALLOC_BUSY : COALLOC_FREE;
			show(cookie, &segment);
		}
	KVAR_UNLOCK(kv);
}

void
kvar_stats(void *space, struct coalloc_stats *stats)
{
	struct kvar *kv = space;
	struct kvar_seg *seg;
	int class;

	KVAR_LOCK(kv);
	*stats = kv->kv_stats;
	for (class = 0; class < KVAR_CLASSES; class++)
		LIST_FOREACH(seg, &kv->kv_free[class], ks_link) {
			stats->holes++;
			stats->free += seg->ks_size;
			if (seg->ks_size > stats->largest_hole)
				stats->largest_hole = seg->ks_size;
		}
	KVAR_UNLOCK(kv);
}
