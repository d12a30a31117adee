/**
 * @file bitmap_first.c
 * @brief First fit on bitmaps: one bit per quantum, and one that marks where a buffer begins.
 *
 * Each arena has two bitmaps.  In `busy` the bit of each quantum in use is set, in `head` the bit of the first quantum of each
 * buffer.  A buffer ends where the next begins, or where busy does.  Arenas are in an array by address; the lowest run of zeros
 * in the lowest arena that has one is taken.  An arena whose last buffer goes is unmapped.  Requests above 256 MiB are refused,
 * so that the bitmaps stay of a sensible size.
 */
#include <stdlib.h>
#include <string.h>

#include "coalloc.h"

COALLOC_SUBJECT(bmp_);

#define MAX_REQUEST (UINT64_C(256) << 20)
#define WORD_BITS   64u
#define NOT_FOUND   UINT64_MAX

typedef struct
{
    uint64_t  base;
    uint64_t  quanta;
    uint64_t  in_use;   /* quanta */
    uint64_t *busy;
    uint64_t *head;     /* in the same piece of memory */
} bmp_arena_t;

typedef struct
{
    const struct coalloc_source *p_source;
    uint64_t     limit;
    uint64_t     quantum;
    uint64_t     mapped;
    bmp_arena_t *p_arenas;
    size_t       count;
    size_t       capacity;
    struct coalloc_stats totals;
} bmp_space_t;

/** The first bit at or behind `from` that has this value, or `end` if there is none before it. */
static uint64_t next_bit(const uint64_t *p_map, uint64_t from, uint64_t end, int value)
{
    while (from < end)
    {
        uint64_t word = p_map[from / WORD_BITS];

        if (!value)
        {
            word = ~word;
        }
        word >>= from % WORD_BITS;
        if (word != 0u)
        {
            from += (uint64_t)__builtin_ctzll(word);
            return (from < end) ? from : end;
        }
        from = (from / WORD_BITS + 1u) * WORD_BITS;
    }
    return end;
}

static void put_bits(uint64_t *p_map, uint64_t from, uint64_t count, int value)
{
    while (count > 0u)
    {
        uint64_t offset = from % WORD_BITS;
        uint64_t now = WORD_BITS - offset;
        uint64_t mask;

        if (now > count)
        {
            now = count;
        }
        mask = ((now == WORD_BITS) ? ~UINT64_C(0) : ((UINT64_C(1) << now) - 1u)) << offset;
        if (value)
        {
            p_map[from / WORD_BITS] |= mask;
        }
        else
        {
            p_map[from / WORD_BITS] &= ~mask;
        }
        from += now;
        count -= now;
    }
}

static int get_bit(const uint64_t *p_map, uint64_t bit)
{
    return (int)((p_map[bit / WORD_BITS] >> (bit % WORD_BITS)) & 1u);
}

static uint64_t find_run(const bmp_arena_t *p_arena, uint64_t quanta)
{
    uint64_t start = 0u;

    if (quanta > p_arena->quanta - p_arena->in_use)
    {
        return NOT_FOUND;
    }
    for (;;)
    {
        uint64_t stop;

        start = next_bit(p_arena->busy, start, p_arena->quanta, 0);
        if (quanta > p_arena->quanta - start)
        {
            return NOT_FOUND;
        }
        stop = next_bit(p_arena->busy, start, start + quanta, 1);
        if (stop - start >= quanta)
        {
            return start;
        }
        start = stop;
    }
}

static uint64_t buffer_end(const bmp_arena_t *p_arena, uint64_t start)
{
    uint64_t end = next_bit(p_arena->busy, start, p_arena->quanta, 0);

    return next_bit(p_arena->head, start + 1u, end, 1);
}

/** The arena and the quantum of a live buffer. */
static bmp_arena_t *find_buffer(bmp_space_t *p_space, uint64_t base, uint64_t *p_start)
{
    size_t low = 0u;
    size_t high = p_space->count;
    bmp_arena_t *p_arena;
    uint64_t offset;

    while (low < high)
    {
        size_t middle = (low + high) / 2u;

        if (p_space->p_arenas[middle].base <= base)
        {
            low = middle + 1u;
        }
        else
        {
            high = middle;
        }
    }
    if (low == 0u)
    {
        return NULL;
    }
    p_arena = &p_space->p_arenas[low - 1u];
    offset = base - p_arena->base;
    if ((offset % p_space->quantum != 0u) || (offset / p_space->quantum >= p_arena->quanta))
    {
        return NULL;
    }
    *p_start = offset / p_space->quantum;
    return get_bit(p_arena->head, *p_start) ? p_arena : NULL;
}

const char *bmp_contract(void)
{
    return "fit=first,max-size=256M,release=eager";
}

int bmp_open(const struct coalloc_source *p_source, uint64_t limit, uint64_t quantum, const char *p_options, void **pp_space)
{
    bmp_space_t *p_space;

    (void)p_options;
    if ((quantum == 0u) || ((quantum & (quantum - 1u)) != 0u) || (quantum > p_source->granule) ||
        (p_source->granule % quantum != 0u) || (quantum > MAX_REQUEST))
    {
        return COALLOC_INVALID;
    }
    p_space = calloc(1u, sizeof(*p_space));
    if (p_space == NULL)
    {
        return COALLOC_NOSPACE;
    }
    p_space->p_source = p_source;
    p_space->limit = limit;
    p_space->quantum = quantum;
    *pp_space = p_space;
    return COALLOC_OK;
}

void bmp_close(void *p_void)
{
    bmp_space_t *p_space = p_void;
    size_t i;

    for (i = 0u; i < p_space->count; i++)
    {
        free(p_space->p_arenas[i].busy);
    }
    free(p_space->p_arenas);
    free(p_space);
}

/** Map an arena for so many bytes; its place in the array, or NULL. */
static bmp_arena_t *new_arena(bmp_space_t *p_space, uint64_t size)
{
    uint64_t granule = p_space->p_source->granule;
    bmp_arena_t arena;
    uint64_t words;
    size_t i;

    if (size % granule != 0u)
    {
        if (granule - size % granule > UINT64_MAX - size)
        {
            return NULL;
        }
        size += granule - size % granule;
    }
    if (size > p_space->limit - p_space->mapped)
    {
        return NULL;
    }
    if (p_space->count == p_space->capacity)
    {
        size_t capacity = p_space->capacity * 2u + 4u;
        bmp_arena_t *p_more = realloc(p_space->p_arenas, capacity * sizeof(*p_more));

        if (p_more == NULL)
        {
            return NULL;
        }
        p_space->p_arenas = p_more;
        p_space->capacity = capacity;
    }
    arena.quanta = size / p_space->quantum;
    arena.in_use = 0u;
    words = arena.quanta / WORD_BITS + 1u;
    if (words > SIZE_MAX / (2u * sizeof(uint64_t)))
    {
        return NULL;
    }
    arena.busy = calloc((size_t)words * 2u, sizeof(uint64_t));
    if (arena.busy == NULL)
    {
        return NULL;
    }
    arena.head = arena.busy + words;
    if (p_space->p_source->map(p_space->p_source->cookie, size, &arena.base) != COALLOC_OK)
    {
        free(arena.busy);
        return NULL;
    }
    p_space->mapped += size;
    p_space->totals.imports++;
    if (p_space->totals.peak_mapped < p_space->mapped)
    {
        p_space->totals.peak_mapped = p_space->mapped;
    }
    for (i = p_space->count; (i > 0u) && (p_space->p_arenas[i - 1u].base > arena.base); i--)
    {
        p_space->p_arenas[i] = p_space->p_arenas[i - 1u];
    }
    p_space->p_arenas[i] = arena;
    p_space->count++;
    return &p_space->p_arenas[i];
}

int bmp_alloc(void *p_void, uint64_t size, uint64_t *p_base)
{
    bmp_space_t *p_space = p_void;
    bmp_arena_t *p_arena = NULL;
    uint64_t quanta;
    uint64_t start = 0u;
    size_t i;

    if ((size == 0u) || (size > (UINT64_C(1) << 63)))
    {
        return COALLOC_INVALID;
    }
    if (size <= MAX_REQUEST)
    {
        quanta = (size + p_space->quantum - 1u) / p_space->quantum;
        for (i = 0u; (i < p_space->count) && (p_arena == NULL); i++)
        {
            start = find_run(&p_space->p_arenas[i], quanta);
            if (start != NOT_FOUND)
            {
                p_arena = &p_space->p_arenas[i];
            }
        }
        if (p_arena == NULL)
        {
            start = 0u;
            p_arena = new_arena(p_space, quanta * p_space->quantum);
        }
    }
    if (p_arena == NULL)
    {
        p_space->totals.refusals++;
        return COALLOC_NOSPACE;
    }
    put_bits(p_arena->busy, start, quanta, 1);
    put_bits(p_arena->head, start, 1u, 1);
    p_arena->in_use += quanta;
    p_space->totals.allocs++;
    *p_base = p_arena->base + start * p_space->quantum;
    return COALLOC_OK;
}

int bmp_free(void *p_void, uint64_t base)
{
    bmp_space_t *p_space = p_void;
    uint64_t start;
    uint64_t quanta;
    bmp_arena_t *p_arena = find_buffer(p_space, base, &start);

    if (p_arena == NULL)
    {
        return COALLOC_BADFREE;
    }
    quanta = buffer_end(p_arena, start) - start;
    put_bits(p_arena->busy, start, quanta, 0);
    put_bits(p_arena->head, start, 1u, 0);
    p_arena->in_use -= quanta;
    p_space->totals.frees++;
    if (p_arena->in_use == 0u)
    {
        uint64_t arena = p_arena->base;
        uint64_t size = p_arena->quanta * p_space->quantum;
        size_t behind = p_space->count - (size_t)(p_arena - p_space->p_arenas) - 1u;

        free(p_arena->busy);
        memmove(p_arena, p_arena + 1, behind * sizeof(*p_arena));
        p_space->count--;
        (void)p_space->p_source->unmap(p_space->p_source->cookie, arena, size);
        p_space->mapped -= size;
        p_space->totals.releases++;
    }
    return COALLOC_OK;
}

int bmp_size_of(void *p_void, uint64_t base, uint64_t *p_size)
{
    bmp_space_t *p_space = p_void;
    uint64_t start;
    const bmp_arena_t *p_arena = find_buffer(p_space, base, &start);

    if (p_arena == NULL)
    {
        return COALLOC_BADFREE;
    }
    *p_size = (buffer_end(p_arena, start) - start) * p_space->quantum;
    return COALLOC_OK;
}

void bmp_walk(void *p_void, void (*p_show)(void *, const struct coalloc_segment *), void *p_cookie)
{
    bmp_space_t *p_space = p_void;
    size_t i;

    for (i = 0u; i < p_space->count; i++)
    {
        const bmp_arena_t *p_arena = &p_space->p_arenas[i];
        uint64_t start = 0u;

        while (start < p_arena->quanta)
        {
            struct coalloc_segment segment;
            int busy = get_bit(p_arena->busy, start);
            uint64_t end = busy ? buffer_end(p_arena, start) : next_bit(p_arena->busy, start, p_arena->quanta, 1);

            segment.base = p_arena->base + start * p_space->quantum;
            segment.size = (end - start) * p_space->quantum;
            segment.arena = p_arena->base;
            segment.kind = busy ? COALLOC_BUSY : COALLOC_FREE;
            p_show(p_cookie, &segment);
            start = end;
        }
    }
}

static void count_segment(void *p_cookie, const struct coalloc_segment *p_segment)
{
    struct coalloc_stats *p_stats = p_cookie;

    if (p_segment->kind == COALLOC_BUSY)
    {
        p_stats->live += p_segment->size;
    }
    else
    {
        p_stats->free += p_segment->size;
        p_stats->holes++;
        if (p_stats->largest_hole < p_segment->size)
        {
            p_stats->largest_hole = p_segment->size;
        }
    }
}

void bmp_stats(void *p_void, struct coalloc_stats *p_stats)
{
    bmp_space_t *p_space = p_void;

    *p_stats = p_space->totals;
    p_stats->mapped = p_space->mapped;
    p_stats->arenas = p_space->count;
    bmp_walk(p_space, count_segment, p_stats);
}
