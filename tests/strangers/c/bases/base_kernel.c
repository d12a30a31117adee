/*
 * A small vmem in the manner of FreeBSD's subr_vmem.c: boundary tags in one address-ordered queue, where a span tag stands in
 * front of the tags of its span; free tags in lists by power of two; busy tags in a hash table.  Best fit, lowest of equals.
 * The lock is dropped while the source is called.
 */
#include "kstub.h"
#include "coalloc.h"

COALLOC_SUBJECT(kv_);

MALLOC_DEFINE(M_VMEM, "vmem", "vmem structures");

#define VMEM_MAXORDER 64
#define VMEM_HASHSIZE_MIN 16
#define VMEM_SIZE_MAX ((uint64_t)1 << 63)
#define BT_MAXALLOC 3

struct vmem_btag {
	TAILQ_ENTRY(vmem_btag) bt_seglist;
	LIST_ENTRY(vmem_btag) bt_list; /* a free list, a hash list, or the spare tags */
	uint64_t bt_start;
	uint64_t bt_size;
	int bt_type;
};
typedef struct vmem_btag bt_t;

#define BT_TYPE_SPAN 1
#define BT_TYPE_FREE 2
#define BT_TYPE_BUSY 3

LIST_HEAD(vmem_list, vmem_btag);
TAILQ_HEAD(vmem_seglist, vmem_btag);

struct vmem {
	struct mtx vm_lock;
	const struct coalloc_source *vm_source;
	uint64_t vm_limit;
	uint64_t vm_quantum_mask;
	int vm_quantum_shift;
	struct vmem_list vm_freelist[VMEM_MAXORDER];
	struct vmem_list *vm_hashlist;
	size_t vm_hashsize;
	size_t vm_nbusytag;
	size_t vm_nsegs; /* free and busy tags */
	struct vmem_list vm_sparetags;
	int vm_nsparetags;
	struct vmem_seglist vm_seglist;
	struct coalloc_stats vm_stats;
};
typedef struct vmem vmem_t;

#define VMEM_LOCK(vm) mtx_lock(&(vm)->vm_lock)
#define VMEM_UNLOCK(vm) mtx_unlock(&(vm)->vm_lock)
#define VMEM_ASSERT_LOCKED(vm) mtx_assert(&(vm)->vm_lock, MA_OWNED)

/* --- tags --- */

static int
bt_fill(vmem_t *vm, int want)
{
	bt_t *bt;

	VMEM_ASSERT_LOCKED(vm);
	while (vm->vm_nsparetags < want) {
		bt = malloc(sizeof(*bt), M_VMEM, M_NOWAIT | M_ZERO);
		if (bt == NULL)
			return (COALLOC_NOSPACE);
		LIST_INSERT_HEAD(&vm->vm_sparetags, bt, bt_list);
		vm->vm_nsparetags++;
	}
	return (COALLOC_OK);
}

static bt_t *
bt_alloc(vmem_t *vm)
{
	bt_t *bt;

	VMEM_ASSERT_LOCKED(vm);
	bt = LIST_FIRST(&vm->vm_sparetags);
	KASSERT(bt != NULL, ("bt_alloc: no spare tag"));
	LIST_REMOVE(bt, bt_list);
	vm->vm_nsparetags--;
	return (bt);
}

static void
bt_free(vmem_t *vm, bt_t *bt)
{
	VMEM_ASSERT_LOCKED(vm);
	LIST_INSERT_HEAD(&vm->vm_sparetags, bt, bt_list);
	vm->vm_nsparetags++;
	while (vm->vm_nsparetags > 2 * BT_MAXALLOC) {
		bt = LIST_FIRST(&vm->vm_sparetags);
		LIST_REMOVE(bt, bt_list);
		vm->vm_nsparetags--;
		free(bt, M_VMEM);
	}
}

static struct vmem_list *
bt_freehead(vmem_t *vm, uint64_t size)
{
	uint64_t qsize = size >> vm->vm_quantum_shift;

	MPASS(qsize != 0);
	return (&vm->vm_freelist[63 - __builtin_clzll(qsize)]);
}

static void
bt_insfree(vmem_t *vm, bt_t *bt)
{
	MPASS(bt->bt_type == BT_TYPE_FREE);
	LIST_INSERT_HEAD(bt_freehead(vm, bt->bt_size), bt, bt_list);
}

static void
bt_remfree(vmem_t *vm, bt_t *bt)
{
	(void)vm;
	MPASS(bt->bt_type == BT_TYPE_FREE);
	LIST_REMOVE(bt, bt_list);
}

static struct vmem_list *
bt_hashhead(vmem_t *vm, uint64_t addr)
{
	uint64_t h = (addr >> vm->vm_quantum_shift) * 0x9e3779b97f4a7c15u;

	return (&vm->vm_hashlist[(h >> 32) & (vm->vm_hashsize - 1)]);
}

static void
bt_insbusy(vmem_t *vm, bt_t *bt)
{
	MPASS(bt->bt_type == BT_TYPE_BUSY);
	LIST_INSERT_HEAD(bt_hashhead(vm, bt->bt_start), bt, bt_list);
	vm->vm_nbusytag++;
	vm->vm_stats.live += bt->bt_size;
}

static void
bt_rembusy(vmem_t *vm, bt_t *bt)
{
	MPASS(bt->bt_type == BT_TYPE_BUSY);
	LIST_REMOVE(bt, bt_list);
	vm->vm_nbusytag--;
	vm->vm_stats.live -= bt->bt_size;
}

static bt_t *
bt_lookupbusy(vmem_t *vm, uint64_t addr)
{
	bt_t *bt;

	VMEM_ASSERT_LOCKED(vm);
	LIST_FOREACH(bt, bt_hashhead(vm, addr), bt_list) {
		if (bt->bt_start == addr)
			break;
	}
	return (bt);
}

/* The lowest of the smallest holes that hold size bytes. */
static bt_t *
vmem_bestfit(vmem_t *vm, uint64_t size)
{
	struct vmem_list *list;
	bt_t *bt, *best;

	best = NULL;
	for (list = bt_freehead(vm, size); list < &vm->vm_freelist[VMEM_MAXORDER] && best == NULL; list++) {
		LIST_FOREACH(bt, list, bt_list) {
			if (bt->bt_size < size)
				continue;
			if (best == NULL || bt->bt_size < best->bt_size ||
			    (bt->bt_size == best->bt_size && bt->bt_start < best->bt_start))
				best = bt;
		}
	}
	return (best);
}

/* Make the front of the free tag busy. */
static void
vmem_clip(vmem_t *vm, bt_t *bt, uint64_t size)
{
	bt_t *btnew;

	VMEM_ASSERT_LOCKED(vm);
	MPASS(bt->bt_size >= size);
	bt_remfree(vm, bt);
	if (bt->bt_size - size > vm->vm_quantum_mask) {
		btnew = bt_alloc(vm);
		btnew->bt_type = BT_TYPE_FREE;
		btnew->bt_start = bt->bt_start + size;
		btnew->bt_size = bt->bt_size - size;
		bt->bt_size = size;
		TAILQ_INSERT_AFTER(&vm->vm_seglist, bt, btnew, bt_seglist);
		vm->vm_nsegs++;
		bt_insfree(vm, btnew);
	}
	bt->bt_type = BT_TYPE_BUSY;
	bt_insbusy(vm, bt);
	vm->vm_stats.allocs++;
}

static void
vmem_rehash(vmem_t *vm, size_t newsize)
{
	struct vmem_list *newlist, *oldlist;
	size_t oldsize, i;
	bt_t *bt;

	VMEM_ASSERT_LOCKED(vm);
	VMEM_UNLOCK(vm);
	newlist = malloc(newsize * sizeof(*newlist), M_VMEM, M_WAITOK | M_ZERO);
	VMEM_LOCK(vm);
	if (newlist == NULL)
		return;
	for (i = 0; i < newsize; i++)
		LIST_INIT(&newlist[i]);
	oldlist = vm->vm_hashlist;
	oldsize = vm->vm_hashsize;
	vm->vm_hashlist = newlist;
	vm->vm_hashsize = newsize;
	for (i = 0; i < oldsize; i++) {
		while ((bt = LIST_FIRST(&oldlist[i])) != NULL) {
			LIST_REMOVE(bt, bt_list);
			LIST_INSERT_HEAD(bt_hashhead(vm, bt->bt_start), bt, bt_list);
		}
	}
	free(oldlist, M_VMEM);
}

/* Add a span; the tags are the caller's. */
static void
vmem_add(vmem_t *vm, uint64_t addr, uint64_t size, bt_t *btspan, bt_t *btfree)
{
	bt_t *bt;

	VMEM_ASSERT_LOCKED(vm);
	btspan->bt_type = BT_TYPE_SPAN;
	btspan->bt_start = addr;
	btspan->bt_size = size;
	btfree->bt_type = BT_TYPE_FREE;
	btfree->bt_start = addr;
	btfree->bt_size = size;
	TAILQ_FOREACH(bt, &vm->vm_seglist, bt_seglist) {
		if (bt->bt_type == BT_TYPE_SPAN && bt->bt_start > addr)
			break;
	}
	if (bt != NULL)
		TAILQ_INSERT_BEFORE(bt, btspan, bt_seglist);
	else
		TAILQ_INSERT_TAIL(&vm->vm_seglist, btspan, bt_seglist);
	TAILQ_INSERT_AFTER(&vm->vm_seglist, btspan, btfree, bt_seglist);
	vm->vm_nsegs++;
	bt_insfree(vm, btfree);
}

static int
vmem_import(vmem_t *vm, uint64_t size, bt_t **btp)
{
	bt_t *btspan, *btfree;
	uint64_t addr, granule;
	int error;

	VMEM_ASSERT_LOCKED(vm);
	granule = vm->vm_source->granule;
	size = roundup2(size, granule);
	if (size == 0 || size > vm->vm_limit - vm->vm_stats.mapped)
		return (COALLOC_NOSPACE);
	btspan = bt_alloc(vm);
	btfree = bt_alloc(vm);
	vm->vm_stats.mapped += size;
	VMEM_UNLOCK(vm);
	error = vm->vm_source->map(vm->vm_source->cookie, size, &addr);
	VMEM_LOCK(vm);
	if (error != COALLOC_OK) {
		vm->vm_stats.mapped -= size;
		bt_free(vm, btspan);
		bt_free(vm, btfree);
		return (COALLOC_NOSPACE);
	}
	if (vm->vm_stats.mapped > vm->vm_stats.peak_mapped)
		vm->vm_stats.peak_mapped = vm->vm_stats.mapped;
	vm->vm_stats.imports++;
	vm->vm_stats.arenas++;
	vmem_add(vm, addr, size, btspan, btfree);
	*btp = btfree;
	return (COALLOC_OK);
}

/* If the free tag, which is in no list of free tags, is all of its span, give the span back. */
static int
vmem_release(vmem_t *vm, bt_t *bt)
{
	uint64_t addr, size;
	bt_t *span;

	VMEM_ASSERT_LOCKED(vm);
	span = TAILQ_PREV(bt, vmem_seglist, bt_seglist);
	MPASS(span != NULL);
	if (span->bt_type != BT_TYPE_SPAN || span->bt_size != bt->bt_size)
		return (0);
	addr = span->bt_start;
	size = span->bt_size;
	TAILQ_REMOVE(&vm->vm_seglist, bt, bt_seglist);
	TAILQ_REMOVE(&vm->vm_seglist, span, bt_seglist);
	vm->vm_nsegs--;
	bt_free(vm, bt);
	bt_free(vm, span);
	vm->vm_stats.arenas--;
	vm->vm_stats.releases++;
	VMEM_UNLOCK(vm);
	vm->vm_source->unmap(vm->vm_source->cookie, addr, size);
	VMEM_LOCK(vm);
	vm->vm_stats.mapped -= size;
	return (1);
}

/* --- the interface --- */

int
kv_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **space)
{
	vmem_t *vm;
	size_t i;

	(void)options;
	if (quantum == 0 || !powerof2(quantum) || quantum > source->granule)
		return (COALLOC_INVALID);
	vm = malloc(sizeof(*vm), M_VMEM, M_WAITOK | M_ZERO);
	if (vm == NULL)
		return (COALLOC_NOSPACE);
	vm->vm_hashsize = VMEM_HASHSIZE_MIN;
	vm->vm_hashlist = malloc(vm->vm_hashsize * sizeof(*vm->vm_hashlist), M_VMEM, M_WAITOK | M_ZERO);
	if (vm->vm_hashlist == NULL) {
		free(vm, M_VMEM);
		return (COALLOC_NOSPACE);
	}
	mtx_init(&vm->vm_lock, "vmem", NULL, MTX_DEF);
	vm->vm_source = source;
	vm->vm_limit = limit;
	vm->vm_quantum_mask = quantum - 1;
	vm->vm_quantum_shift = __builtin_ctzll(quantum);
	for (i = 0; i < VMEM_MAXORDER; i++)
		LIST_INIT(&vm->vm_freelist[i]);
	for (i = 0; i < vm->vm_hashsize; i++)
		LIST_INIT(&vm->vm_hashlist[i]);
	LIST_INIT(&vm->vm_sparetags);
	TAILQ_INIT(&vm->vm_seglist);
	*space = vm;
	return (COALLOC_OK);
}

void
kv_close(void *space)
{
	vmem_t *vm = space;
	bt_t *bt;

	while ((bt = TAILQ_FIRST(&vm->vm_seglist)) != NULL) {
		TAILQ_REMOVE(&vm->vm_seglist, bt, bt_seglist);
		free(bt, M_VMEM);
	}
	while ((bt = LIST_FIRST(&vm->vm_sparetags)) != NULL) {
		LIST_REMOVE(bt, bt_list);
		free(bt, M_VMEM);
	}
	mtx_destroy(&vm->vm_lock);
	free(vm->vm_hashlist, M_VMEM);
	free(vm, M_VMEM);
}

int
kv_alloc(void *space, uint64_t size, uint64_t *base)
{
	vmem_t *vm = space;
	bt_t *bt;
	int error;

	if (size == 0 || size > VMEM_SIZE_MAX)
		return (COALLOC_INVALID);
	size = (size + vm->vm_quantum_mask) & ~vm->vm_quantum_mask;
	VMEM_LOCK(vm);
	error = bt_fill(vm, BT_MAXALLOC);
	if (error == COALLOC_OK) {
		bt = vmem_bestfit(vm, size);
		if (bt == NULL)
			error = vmem_import(vm, size, &bt);
	}
	if (error != COALLOC_OK) {
		vm->vm_stats.refusals++;
		VMEM_UNLOCK(vm);
		return (error);
	}
	vmem_clip(vm, bt, size);
	*base = bt->bt_start;
	if (vm->vm_nbusytag > 2 * vm->vm_hashsize)
		vmem_rehash(vm, 4 * vm->vm_hashsize);
	VMEM_UNLOCK(vm);
	return (COALLOC_OK);
}

int
kv_free(void *space, uint64_t base)
{
	vmem_t *vm = space;
	bt_t *bt, *t;

	VMEM_LOCK(vm);
	bt = bt_lookupbusy(vm, base);
	if (bt == NULL) {
		VMEM_UNLOCK(vm);
		return (COALLOC_BADFREE);
	}
	bt_rembusy(vm, bt);
	bt->bt_type = BT_TYPE_FREE;
	vm->vm_stats.frees++;

	/* coalesce */
	t = TAILQ_NEXT(bt, bt_seglist);
	if (t != NULL && t->bt_type == BT_TYPE_FREE) {
		bt_remfree(vm, t);
		bt->bt_size += t->bt_size;
		TAILQ_REMOVE(&vm->vm_seglist, t, bt_seglist);
		vm->vm_nsegs--;
		bt_free(vm, t);
	}
	t = TAILQ_PREV(bt, vmem_seglist, bt_seglist);
	if (t != NULL && t->bt_type == BT_TYPE_FREE) {
		bt_remfree(vm, t);
		bt->bt_start = t->bt_start;
		bt->bt_size += t->bt_size;
		TAILQ_REMOVE(&vm->vm_seglist, t, bt_seglist);
		vm->vm_nsegs--;
		bt_free(vm, t);
	}
	if (!vmem_release(vm, bt))
		bt_insfree(vm, bt);
	VMEM_UNLOCK(vm);
	return (COALLOC_OK);
}

const char *
kv_contract(void)
{
	return ("fit=best,tie=lowest,coalescing=immediate,release=eager");
}

int
kv_reclaim(void *space, uint64_t *unmapped)
{
	(void)space;
	*unmapped = 0; /* no span is kept that is wholly free */
	return (COALLOC_OK);
}

int
kv_size_of(void *space, uint64_t base, uint64_t *size)
{
	vmem_t *vm = space;
	bt_t *bt;

	VMEM_LOCK(vm);
	bt = bt_lookupbusy(vm, base);
	if (bt == NULL) {
		VMEM_UNLOCK(vm);
		return (COALLOC_BADFREE);
	}
	*size = bt->bt_size;
	VMEM_UNLOCK(vm);
	return (COALLOC_OK);
}

/* Takes a picture of the segments, so that no lock is held while they are shown. */
void
kv_walk(void *space, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie)
{
	vmem_t *vm = space;
	struct coalloc_segment *snap;
	uint64_t arena = 0;
	size_t n = 0, i;
	bt_t *bt;

	VMEM_LOCK(vm);
	snap = malloc((vm->vm_nsegs + 1) * sizeof(*snap), M_VMEM, M_NOWAIT);
	if (snap == NULL) {
		VMEM_UNLOCK(vm);
		return;
	}
	TAILQ_FOREACH(bt, &vm->vm_seglist, bt_seglist) {
		if (bt->bt_type == BT_TYPE_SPAN) {
			arena = bt->bt_start;
			continue;
		}
		snap[n].base = bt->bt_start;
		snap[n].size = bt->bt_size;
		snap[n].arena = arena;
		snap[n].kind = bt->bt_type == BT_TYPE_BUSY ? COALLOC_BUSY : COALLOC_FREE;
		n++;
	}
	VMEM_UNLOCK(vm);
	for (i = 0; i < n; i++)
		show(cookie, &snap[i]);
	free(snap, M_VMEM);
}

void
kv_stats(void *space, struct coalloc_stats *stats)
{
	vmem_t *vm = space;
	bt_t *bt;

	VMEM_LOCK(vm);
	*stats = vm->vm_stats;
	stats->free = stats->mapped - stats->live;
	stats->cached = 0;
	stats->holes = 0;
	stats->largest_hole = 0;
	TAILQ_FOREACH(bt, &vm->vm_seglist, bt_seglist) {
		if (bt->bt_type != BT_TYPE_FREE)
			continue;
		stats->holes++;
		if (bt->bt_size > stats->largest_hole)
			stats->largest_hole = bt->bt_size;
	}
	VMEM_UNLOCK(vm);
}
