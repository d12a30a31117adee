/*
 * tlsf.c -- two-level segregated fit over segments kept outside the managed space.
 *
 * First level: powers of two of the size in quanta; second level: 8 lists for each.  The search rounds the request up to the
 * next list boundary, so that any block of the list found is large enough, and takes the head of that list.  Both searches are
 * bit scans.  Blocks of fewer than 8 quanta have a list for each exact size.  Buffers are found by a hash of their address.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "coalloc.h"

COALLOC_SUBJECT(tlsf_);

enum { SL_LOG2 = 3, SL_COUNT = 1 << SL_LOG2, FL_COUNT = 64 - SL_LOG2 + 1, FIRST_BUCKETS = 64 };

typedef struct Block Block;
typedef struct Pool Pool;

struct Block {
    Block *physPrev, *physNext;   /* neighbours in the pool */
    Block *listPrev, *listNext;   /* free list, or hash chain (listNext only) */
    Pool *pool;
    uint64_t base;
    uint64_t quanta;
    bool free;
};

struct Pool {
    Pool *prev, *next;            /* by address */
    Block *first;
    uint64_t base;
    uint64_t size;
};

typedef struct {
    const struct coalloc_source *source;
    uint64_t limit;
    unsigned shift;               /* log2 of the quantum */
    Pool *pools;
    uint64_t flMap;
    uint8_t slMap[FL_COUNT];
    Block *lists[FL_COUNT][SL_COUNT];
    Block **buckets;
    size_t bucketCount;
    size_t liveCount;
    struct coalloc_stats stats;   /* mapped, live, free, holes, arenas and the counts are kept up to date */
} Tlsf;

static unsigned log2Floor(uint64_t x) { return 63u - (unsigned)__builtin_clzll(x); }

static void mapping(uint64_t quanta, unsigned *fl, unsigned *sl)
{
    if (quanta < SL_COUNT) {
        *fl = 0;
        *sl = (unsigned)quanta;
    } else {
        unsigned f = log2Floor(quanta);
        *fl = f - SL_LOG2 + 1;
        *sl = (unsigned)(quanta >> (f - SL_LOG2)) & (SL_COUNT - 1);
    }
}

static void insertFree(Tlsf *t, Block *b)
{
    unsigned fl, sl;
    mapping(b->quanta, &fl, &sl);
    b->free = true;
    b->listPrev = NULL;
    b->listNext = t->lists[fl][sl];
    if (b->listNext)
        b->listNext->listPrev = b;
    t->lists[fl][sl] = b;
    t->slMap[fl] |= (uint8_t)(1u << sl);
    t->flMap |= UINT64_C(1) << fl;
    t->stats.free += b->quanta << t->shift;
    t->stats.holes++;
}

static void removeFree(Tlsf *t, Block *b)
{
    unsigned fl, sl;
    mapping(b->quanta, &fl, &sl);
    if (b->listNext)
        b->listNext->listPrev = b->listPrev;
    if (b->listPrev)
        b->listPrev->listNext = b->listNext;
    else {
        t->lists[fl][sl] = b->listNext;
        if (!b->listNext) {
            t->slMap[fl] &= (uint8_t)~(1u << sl);
            if (!t->slMap[fl])
                t->flMap &= ~(UINT64_C(1) << fl);
        }
    }
    b->free = false;
    t->stats.free -= b->quanta << t->shift;
    t->stats.holes--;
}

static Block *searchSuitable(Tlsf *t, uint64_t quanta)
{
    unsigned fl, sl, bits;
    uint64_t levels;

    if (quanta >= SL_COUNT)
        quanta += (UINT64_C(1) << (log2Floor(quanta) - SL_LOG2)) - 1;
    mapping(quanta, &fl, &sl);
    bits = t->slMap[fl] & (0xffu << sl) & 0xffu;
    if (!bits) {
        if (fl + 1 >= FL_COUNT)
            return NULL;
        levels = t->flMap & (~UINT64_C(0) << (fl + 1));
        if (!levels)
            return NULL;
        fl = (unsigned)__builtin_ctzll(levels);
        bits = t->slMap[fl];
    }
    sl = (unsigned)__builtin_ctz(bits);
    return t->lists[fl][sl];
}

static size_t hashOf(const Tlsf *t, uint64_t base)
{
    return (size_t)(((base >> t->shift) * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (t->bucketCount - 1);
}

static void hashInsert(Tlsf *t, Block *b)
{
    if (t->liveCount >= t->bucketCount * 2) {
        Block **bigger = calloc(t->bucketCount * 4, sizeof *bigger);
        if (bigger) {             /* without it the chains are longer, that is all */
            Block **old = t->buckets;
            size_t oldCount = t->bucketCount;
            t->buckets = bigger;
            t->bucketCount *= 4;
            for (size_t i = 0; i < oldCount; i++)
                for (Block *c = old[i], *next; c; c = next) {
                    size_t h = hashOf(t, c->base);
                    next = c->listNext;
                    c->listNext = t->buckets[h];
                    t->buckets[h] = c;
                }
            free(old);
        }
    }
    size_t h = hashOf(t, b->base);
    b->listNext = t->buckets[h];
    t->buckets[h] = b;
    t->liveCount++;
}

static Block **hashFind(Tlsf *t, uint64_t base)
{
    Block **link = &t->buckets[hashOf(t, base)];
    while (*link && (*link)->base != base)
        link = &(*link)->listNext;
    return link;
}

const char *tlsf_contract(void) { return "completeness=tlsf(8),release=eager,laws=shift"; }

int tlsf_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **space)
{
    (void)options;
    if (quantum == 0 || (quantum & (quantum - 1)) != 0 || quantum > source->granule || source->granule % quantum != 0)
        return COALLOC_INVALID;
    Tlsf *t = calloc(1, sizeof *t);
    if (!t)
        return COALLOC_NOSPACE;
    t->buckets = calloc(FIRST_BUCKETS, sizeof *t->buckets);
    if (!t->buckets) {
        free(t);
        return COALLOC_NOSPACE;
    }
    t->bucketCount = FIRST_BUCKETS;
    t->source = source;
    t->limit = limit;
    t->shift = log2Floor(quantum);
    *space = t;
    return COALLOC_OK;
}

void tlsf_close(void *space)
{
    Tlsf *t = space;
    for (Pool *p = t->pools, *nextPool; p; p = nextPool) {
        nextPool = p->next;
        for (Block *b = p->first, *next; b; b = next) {
            next = b->physNext;
            free(b);
        }
        free(p);
    }
    free(t->buckets);
    free(t);
}

/* Map a pool and return its one block, which is in no list. */
static Block *importPool(Tlsf *t, uint64_t bytes)
{
    const struct coalloc_source *src = t->source;
    uint64_t over = bytes % src->granule, size = bytes, base, left;
    Pool *pool, *before, *after;
    Block *block;

    if (over) {
        if (src->granule - over > UINT64_MAX - bytes)
            return NULL;
        size += src->granule - over;
    }
    if (t->stats.mapped > t->limit || size > t->limit - t->stats.mapped)
        return NULL;
    pool = malloc(sizeof *pool);
    block = malloc(sizeof *block);
    if (!pool || !block)
        goto fail;

    left = t->limit - t->stats.mapped;
    int status = COALLOC_NOSPACE;
    if (size <= left / 4) {       /* with plenty left, map some more than is needed */
        status = src->map(src->cookie, size * 4, &base);
        if (status == COALLOC_OK)
            size *= 4;
    }
    if (status != COALLOC_OK && src->map(src->cookie, size, &base) != COALLOC_OK)
        goto fail;

    t->stats.mapped += size;
    t->stats.arenas++;
    t->stats.imports++;
    if (t->stats.mapped > t->stats.peak_mapped)
        t->stats.peak_mapped = t->stats.mapped;

    block->physPrev = block->physNext = block->listPrev = block->listNext = NULL;
    block->pool = pool;
    block->base = base;
    block->quanta = size >> t->shift;
    block->free = false;
    pool->first = block;
    pool->base = base;
    pool->size = size;
    before = NULL;
    for (after = t->pools; after && after->base < base; after = after->next)
        before = after;
    pool->prev = before;
    pool->next = after;
    if (before)
        before->next = pool;
    else
        t->pools = pool;
    if (after)
        after->prev = pool;
    return block;

fail:
    free(pool);
    free(block);
    return NULL;
}

static void releasePool(Tlsf *t, Block *only)
{
    Pool *p = only->pool;
    if (p->prev)
        p->prev->next = p->next;
    else
        t->pools = p->next;
    if (p->next)
        p->next->prev = p->prev;
    t->source->unmap(t->source->cookie, p->base, p->size);
    t->stats.mapped -= p->size;
    t->stats.arenas--;
    t->stats.releases++;
    free(only);
    free(p);
}

int tlsf_alloc(void *space, uint64_t size, uint64_t *base)
{
    Tlsf *t = space;
    if (size == 0 || size > UINT64_C(1) << 63)
        return COALLOC_INVALID;
    uint64_t quanta = ((size - 1) >> t->shift) + 1;

    Block *rest = malloc(sizeof *rest);
    Block *b = NULL;
    if (rest) {
        b = searchSuitable(t, quanta);
        if (b)
            removeFree(t, b);
        else
            b = importPool(t, quanta << t->shift);
    }
    if (!b) {
        free(rest);
        t->stats.refusals++;
        return COALLOC_NOSPACE;
    }
    if (b->quanta > quanta) {
        rest->base = b->base + (quanta << t->shift);
        rest->quanta = b->quanta - quanta;
        rest->pool = b->pool;
        rest->physPrev = b;
        rest->physNext = b->physNext;
        if (rest->physNext)
            rest->physNext->physPrev = rest;
        b->physNext = rest;
        b->quanta = quanta;
        insertFree(t, rest);
    } else
        free(rest);
    hashInsert(t, b);
    t->stats.live += quanta << t->shift;
    t->stats.allocs++;
    *base = b->base;
    return COALLOC_OK;
}

int tlsf_free(void *space, uint64_t base)
{
    Tlsf *t = space;
    Block **link = hashFind(t, base), *b = *link, *n;
    if (!b)
        return COALLOC_BADFREE;
    *link = b->listNext;
    t->liveCount--;
    t->stats.live -= b->quanta << t->shift;
    t->stats.frees++;

    if ((n = b->physNext) != NULL && n->free) {
        removeFree(t, n);
        b->quanta += n->quanta;
        b->physNext = n->physNext;
        if (b->physNext)
            b->physNext->physPrev = b;
        free(n);
    }
    if ((n = b->physPrev) != NULL && n->free) {
        removeFree(t, n);
        n->quanta += b->quanta;
        n->physNext = b->physNext;
        if (n->physNext)
            n->physNext->physPrev = n;
        free(b);
        b = n;
    }
    if (!b->physPrev && !b->physNext)
        releasePool(t, b);
    else
        insertFree(t, b);
    return COALLOC_OK;
}

int tlsf_size_of(void *space, uint64_t base, uint64_t *size)
{
    Tlsf *t = space;
    Block *b = *hashFind(t, base);
    if (!b)
        return COALLOC_BADFREE;
    *size = b->quanta << t->shift;
    return COALLOC_OK;
}

int tlsf_reclaim(void *space, uint64_t *unmapped)
{
    (void)space;                  /* no pool is ever idle between calls */
    *unmapped = 0;
    return COALLOC_OK;
}

void tlsf_walk(void *space, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie)
{
    Tlsf *t = space;
    for (Pool *p = t->pools; p; p = p->next)
        for (Block *b = p->first; b; b = b->physNext) {
            struct coalloc_segment s = { b->base, b->quanta << t->shift, p->base, b->free ? COALLOC_FREE : COALLOC_BUSY };
            show(cookie, &s);
        }
}

void tlsf_stats(void *space, struct coalloc_stats *stats)
{
    Tlsf *t = space;
    *stats = t->stats;
    stats->largest_hole = 0;
    if (t->flMap) {
        unsigned fl = log2Floor(t->flMap), sl = log2Floor(t->slMap[fl]);
        for (Block *b = t->lists[fl][sl]; b; b = b->listNext)
            if (b->quanta << t->shift > stats->largest_hole)
                stats->largest_hole = b->quanta << t->shift;
    }
}
