/* class_arenas.c
 *
 * Power-of-two classes, each with arenas of its own.
 *
 * An arena is cut into equal blocks once and for all; blocks are never joined, so space that was used for one class serves
 * another only by way of the source.  Each class keeps one empty arena in hand.  Those go when the limit would otherwise refuse
 * a request, and on reclaim.
 */

#include "coalloc.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

COALLOC_SUBJECT(ca_);

#define CLASSES    64
#define BLOCKS     8       /* wanted in a new arena ... */
#define MAX_BLOCKS 1024    /* ... and as many as this if the granule makes it so large */

struct ca_arena {
    struct ca_arena *next;     /* of its class, youngest first */
    uint64_t base, size;
    int class;                 /* blocks are of 2^class bytes */
    uint32_t total, used;
    uint32_t freelist;         /* the first free block, or NONE */
    uint32_t link[];           /* of a free block: the next; of a busy one: BUSY */
};
#define NONE UINT32_MAX
#define BUSY (UINT32_MAX - 1)

struct ca {
    const struct coalloc_source *source;
    uint64_t limit;
    int smallest;              /* class of the quantum */
    uint64_t mapped;
    uint64_t empty_bytes;      /* of the empty arenas */
    struct ca_arena *class[CLASSES];
    struct ca_arena *empty[CLASSES];   /* the empty one, which is in class[] too */
};

const char *ca_contract(void)
{
    return "completeness=best-effort,coalescing=by-arena,rounding=power,release=any,laws=shift";
}

int ca_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **space)
{
    (void)options;
    if (quantum == 0 || (quantum & (quantum - 1)) || quantum > source->granule || source->granule % quantum)
        return COALLOC_INVALID;
    struct ca *ca = calloc(1, sizeof *ca);
    if (!ca)
        return COALLOC_NOSPACE;
    ca->source = source;
    ca->limit = limit;
    while ((uint64_t)1 << ca->smallest < quantum)
        ca->smallest++;
    *space = ca;
    return COALLOC_OK;
}

void ca_close(void *space)
{
    struct ca *ca = space;
    for (int c = 0; c < CLASSES; c++)
        for (struct ca_arena *a; (a = ca->class[c]) != NULL; ) {
            ca->class[c] = a->next;
            free(a);
        }
    free(ca);
}

static uint64_t unmap_empty(struct ca *ca, int c)
{
    struct ca_arena *a = ca->empty[c], **p;
    uint64_t size;

    if (!a)
        return 0;
    for (p = &ca->class[c]; *p != a; p = &(*p)->next)
        ;
    *p = a->next;
    ca->empty[c] = NULL;
    size = a->size;
    ca->source->unmap(ca->source->cookie, a->base, size);
    ca->empty_bytes -= size;
    ca->mapped -= size;
    free(a);
    return size;
}

/* rounded up to the granule, or 0 if that is too much */
static uint64_t to_granule(const struct ca *ca, uint64_t size)
{
    uint64_t g = ca->source->granule, over = size % g;
    if (!over)
        return size;
    return g - over > UINT64_MAX - size ? 0 : size + (g - over);
}

static struct ca_arena *map_arena(struct ca *ca, int c, uint64_t size)
{
    uint64_t blocks = size >> c;
    struct ca_arena *a;

    if (blocks > MAX_BLOCKS)
        blocks = MAX_BLOCKS;
    a = malloc(sizeof *a + blocks * sizeof a->link[0]);
    if (!a)
        return NULL;
    if (ca->source->map(ca->source->cookie, size, &a->base) != COALLOC_OK) {
        free(a);
        return NULL;
    }
    ca->mapped += size;
    a->size = size;
    a->class = c;
    a->total = (uint32_t)blocks;
    a->used = 0;
    for (uint32_t i = 0; i < a->total; i++)
        a->link[i] = i + 1 < a->total ? i + 1 : NONE;
    a->freelist = 0;
    a->next = ca->class[c];
    ca->class[c] = a;
    return a;
}

static struct ca_arena *grow(struct ca *ca, int c)
{
    uint64_t one = to_granule(ca, (uint64_t)1 << c), many, left;
    struct ca_arena *a;

    if (!one || one > ca->limit)
        return NULL;
    if (one > ca->limit - ca->mapped) {
        /* do the empty arenas of other classes stand in the way? (this class has none, or we were not here) */
        if (one > ca->limit - (ca->mapped - ca->empty_bytes))
            return NULL;
        for (int d = 0; one > ca->limit - ca->mapped; d++)
            unmap_empty(ca, d);
    }
    left = ca->limit - ca->mapped;
    /* several at once only where that is a small part of what is left */
    if ((uint64_t)1 << c <= UINT64_MAX / BLOCKS / 8 && (many = to_granule(ca, (uint64_t)BLOCKS << c)) > one && many <= left / 8) {
        a = map_arena(ca, c, many);
        if (a)
            return a;
    }
    return map_arena(ca, c, one);
}

int ca_alloc(void *space, uint64_t size, uint64_t *base)
{
    struct ca *ca = space;
    struct ca_arena *a;
    uint32_t i;
    int c;

    if (size == 0 || size > (uint64_t)1 << 63)
        return COALLOC_INVALID;
    for (c = ca->smallest; (uint64_t)1 << c < size; c++)
        ;
    for (a = ca->class[c]; a; a = a->next)
        if (a->freelist != NONE)
            break;
    if (!a && !(a = grow(ca, c)))
        return COALLOC_NOSPACE;
    if (a == ca->empty[c]) {
        ca->empty[c] = NULL;
        ca->empty_bytes -= a->size;
    }
    i = a->freelist;
    a->freelist = a->link[i];
    a->link[i] = BUSY;
    a->used++;
    *base = a->base + ((uint64_t)i << c);
    return COALLOC_OK;
}

static struct ca_arena *whose(struct ca *ca, uint64_t base, uint32_t *block)
{
    for (int c = ca->smallest; c < CLASSES; c++)
        for (struct ca_arena *a = ca->class[c]; a; a = a->next) {
            if (base < a->base || base - a->base >= a->size)
                continue;
            uint64_t offset = base - a->base, i = offset >> c;
            if (offset & (((uint64_t)1 << c) - 1) || i >= a->total || a->link[i] != BUSY)
                return NULL;
            *block = (uint32_t)i;
            return a;
        }
    return NULL;
}

int ca_free(void *space, uint64_t base)
{
    struct ca *ca = space;
    uint32_t i;
    struct ca_arena *a = whose(ca, base, &i);

    if (!a)
        return COALLOC_BADFREE;
    a->link[i] = a->freelist;
    a->freelist = i;
    if (--a->used == 0) {
        unmap_empty(ca, a->class);
        ca->empty[a->class] = a;
        ca->empty_bytes += a->size;
    }
    return COALLOC_OK;
}

int ca_size_of(void *space, uint64_t base, uint64_t *size)
{
    uint32_t i;
    struct ca_arena *a = whose(space, base, &i);

    if (!a)
        return COALLOC_BADFREE;
    *size = (uint64_t)1 << a->class;
    return COALLOC_OK;
}

int ca_reclaim(void *space, uint64_t *unmapped)
{
    struct ca *ca = space;
    uint64_t sum = 0;

    for (int c = 0; c < CLASSES; c++)
        sum += unmap_empty(ca, c);
    *unmapped = sum;
    return COALLOC_OK;
}
