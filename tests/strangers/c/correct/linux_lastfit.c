// SPDX-License-Identifier: BSD-2-Clause
/*
 * Top-down range allocator in the style of the Linux kernel.
 *
 * The highest hole that fits is taken, and the range is cut from its high end
 * (as mmap does it).  All nodes are on one list in address order, busy nodes
 * are on a hash chain as well.  One empty chunk is kept for the next request.
 */
#include "kstub.h"
#include "coalloc.h"

COALLOC_SUBJECT(tdra_);

#define TDRA_HASH_BITS	8
#define TDRA_HASH_SIZE	(1 << TDRA_HASH_BITS)

struct tdra_chunk {
	uint64_t start;
	uint64_t size;
};

struct tdra_node {
	struct list_head node;		/* tdra->nodes, by address */
	struct list_head hash;		/* tdra->hash[], while busy */
	struct tdra_chunk *chunk;
	uint64_t start;
	uint64_t size;
	bool busy;
};

struct tdra {
	struct mutex lock;
	const struct coalloc_source *source;
	uint64_t limit;
	uint64_t quantum;
	uint64_t mapped;		/* what a map call will add is in it */
	struct list_head nodes;
	struct tdra_node *spare;	/* the empty chunk's only node */
	struct list_head hash[TDRA_HASH_SIZE];
	struct coalloc_stats stats;
};

const char *tdra_contract(void)
{
	return "fit=last,end=high,release=retain(1)";
}

static struct list_head *tdra_bucket(struct tdra *t, uint64_t start)
{
	start = start / t->quantum * 0x61c8864680b583ebull;
	return &t->hash[start >> (64 - TDRA_HASH_BITS)];
}

static struct tdra_node *tdra_find(struct tdra *t, uint64_t start)
{
	struct tdra_node *n;

	lockdep_assert_held(&t->lock);
	list_for_each_entry(n, tdra_bucket(t, start), hash)
		if (n->start == start)
			return n;
	return NULL;
}

int tdra_open(const struct coalloc_source *source, uint64_t limit,
	      uint64_t quantum, const char *options, void **space)
{
	struct tdra *t;
	int i;

	(void)options;
	if (!quantum || !powerof2(quantum) || quantum > source->granule ||
	    source->granule % quantum)
		return COALLOC_INVALID;

	t = kzalloc(sizeof(*t), GFP_KERNEL);
	if (unlikely(!t))
		return COALLOC_NOSPACE;

	mutex_init(&t->lock);
	INIT_LIST_HEAD(&t->nodes);
	for (i = 0; i < TDRA_HASH_SIZE; i++)
		INIT_LIST_HEAD(&t->hash[i]);
	t->source = source;
	t->limit = limit;
	t->quantum = quantum;
	*space = t;
	return COALLOC_OK;
}

void tdra_close(void *space)
{
	struct tdra *t = space;
	struct tdra_chunk *chunk = NULL;
	struct tdra_node *n, *tmp;

	list_for_each_entry_safe(n, tmp, &t->nodes, node) {
		if (n->chunk != chunk) {
			kfree(chunk);
			chunk = n->chunk;
		}
		list_del(&n->node);
		kfree(n);
	}
	kfree(chunk);
	mutex_destroy(&t->lock);
	kfree(t);
}

/*
 * Unmap an empty chunk, of which this is the only node.  The lock is dropped
 * while the source is called; by then the node is on no list.
 */
static uint64_t tdra_drop(struct tdra *t, struct tdra_node *n)
{
	uint64_t size;

	lockdep_assert_held(&t->lock);
	if (!n)
		return 0;

	BUG_ON(n->busy || n->size != n->chunk->size);
	if (t->spare == n)
		t->spare = NULL;
	list_del(&n->node);
	size = n->size;

	mutex_unlock(&t->lock);
	t->source->unmap(t->source->cookie, n->start, size);
	kfree(n->chunk);
	kfree(n);
	mutex_lock(&t->lock);

	t->mapped -= size;
	t->stats.releases++;
	return size;
}

/* Returns the node of a new chunk, or NULL.  Drops the lock meanwhile. */
static struct tdra_node *tdra_grow(struct tdra *t, uint64_t size)
{
	uint64_t granule = t->source->granule, start, rem = size % granule;
	struct tdra_chunk *chunk;
	struct tdra_node *n, *pos;
	int ret = COALLOC_NOSPACE;

	lockdep_assert_held(&t->lock);
	if (rem) {
		if (granule - rem > UINT64_MAX - size)
			return NULL;
		size += granule - rem;
	}
	if (size > t->limit)
		return NULL;

	chunk = kzalloc(sizeof(*chunk), GFP_KERNEL);
	n = kzalloc(sizeof(*n), GFP_KERNEL);
	if (!chunk || !n)
		goto out_free;

	if (size > t->limit - t->mapped) {
		/* Would the spare chunk make room? */
		if (!t->spare || size > t->limit - (t->mapped - t->spare->size))
			goto out_free;
		tdra_drop(t, t->spare);
		/* The lock was dropped, so look again. */
		if (size > t->limit - t->mapped)
			goto out_free;
	}

	t->mapped += size;
	mutex_unlock(&t->lock);
	ret = t->source->map(t->source->cookie, size, &start);
	mutex_lock(&t->lock);
	if (ret != COALLOC_OK) {
		t->mapped -= size;
		goto out_free;
	}

	chunk->start = start;
	chunk->size = size;
	n->chunk = chunk;
	n->start = start;
	n->size = size;
	list_for_each_entry(pos, &t->nodes, node)
		if (pos->start > start)
			break;
	/* before pos; if there is none that is the head */
	list_add_tail(&n->node, &pos->node);

	t->stats.imports++;
	if (t->mapped > t->stats.peak_mapped)
		t->stats.peak_mapped = t->mapped;
	return n;

out_free:
	kfree(n);
	kfree(chunk);
	return NULL;
}

int tdra_alloc(void *space, uint64_t size, uint64_t *base)
{
	struct tdra *t = space;
	struct tdra_node *new, *n, *hole = NULL;
	struct list_head *pos;
	int ret = COALLOC_NOSPACE;

	if (!size || size > 1ull << 63)
		return COALLOC_INVALID;
	size = ALIGN(size, t->quantum);

	new = kzalloc(sizeof(*new), GFP_KERNEL);
	mutex_lock(&t->lock);
	if (!new)
		goto out;

	for (pos = t->nodes.prev; pos != &t->nodes; pos = pos->prev) {
		n = list_entry(pos, struct tdra_node, node);
		if (!n->busy && n->size >= size) {
			hole = n;
			break;
		}
	}
	if (!hole)
		hole = tdra_grow(t, size);
	if (!hole)
		goto out;

	if (hole == t->spare)
		t->spare = NULL;
	if (hole->size > size) {
		hole->size -= size;
		new->chunk = hole->chunk;
		new->start = hole->start + hole->size;
		new->size = size;
		list_add(&new->node, &hole->node);
		hole = new;
		new = NULL;
	}
	hole->busy = true;
	list_add(&hole->hash, tdra_bucket(t, hole->start));
	t->stats.live += size;
	t->stats.allocs++;
	*base = hole->start;
	ret = COALLOC_OK;
out:
	if (ret != COALLOC_OK)
		t->stats.refusals++;
	mutex_unlock(&t->lock);
	kfree(new);
	return ret;
}

/* Merge b, which follows a, into a. */
static void tdra_merge(struct tdra_node *a, struct tdra_node *b)
{
	BUG_ON(a->busy || b->busy || a->start + a->size != b->start);
	a->size += b->size;
	list_del(&b->node);
	kfree(b);
}

int tdra_free(void *space, uint64_t base)
{
	struct tdra *t = space;
	struct tdra_node *n, *other, *old;

	mutex_lock(&t->lock);
	n = tdra_find(t, base);
	if (!n) {
		mutex_unlock(&t->lock);
		return COALLOC_BADFREE;
	}
	list_del(&n->hash);
	n->busy = false;
	t->stats.live -= n->size;
	t->stats.frees++;

	if (n->node.next != &t->nodes) {
		other = list_next_entry(n, node);
		if (!other->busy && other->chunk == n->chunk)
			tdra_merge(n, other);
	}
	if (n->node.prev != &t->nodes) {
		other = list_prev_entry(n, node);
		if (!other->busy && other->chunk == n->chunk) {
			tdra_merge(other, n);
			n = other;
		}
	}
	if (n->size == n->chunk->size) {
		/* The chunk that has just become empty is kept, an older one goes. */
		old = t->spare;
		t->spare = n;
		tdra_drop(t, old);
	}
	mutex_unlock(&t->lock);
	return COALLOC_OK;
}

int tdra_reclaim(void *space, uint64_t *unmapped)
{
	struct tdra *t = space;

	mutex_lock(&t->lock);
	*unmapped = tdra_drop(t, t->spare);
	mutex_unlock(&t->lock);
	return COALLOC_OK;
}

int tdra_size_of(void *space, uint64_t base, uint64_t *size)
{
	struct tdra *t = space;
	struct tdra_node *n;

	mutex_lock(&t->lock);
	n = tdra_find(t, base);
	if (n)
		*size = n->size;
	mutex_unlock(&t->lock);
	return n ? COALLOC_OK : COALLOC_BADFREE;
}

void tdra_walk(void *space,
	       void (*show)(void *cookie, const struct coalloc_segment *segment),
	       void *cookie)
{
	struct tdra *t = space;
	struct tdra_node *n;

	mutex_lock(&t->lock);
	list_for_each_entry(n, &t->nodes, node) {
		struct coalloc_segment seg = {
			.base = n->start,
			.size = n->size,
			.arena = n->chunk->start,
			.kind = n->busy ? COALLOC_BUSY : COALLOC_FREE,
		};

		show(cookie, &seg);
	}
	mutex_unlock(&t->lock);
}

void tdra_stats(void *space, struct coalloc_stats *stats)
{
	struct tdra *t = space;
	struct tdra_node *n;

	mutex_lock(&t->lock);
	*stats = t->stats;
	stats->mapped = t->mapped;
	list_for_each_entry(n, &t->nodes, node) {
		if (n->start == n->chunk->start)
			stats->arenas++;
		if (n->busy)
			continue;
		stats->holes++;
		stats->free += n->size;
		if (n->size > stats->largest_hole)
			stats->largest_hole = n->size;
	}
	mutex_unlock(&t->lock);
}
