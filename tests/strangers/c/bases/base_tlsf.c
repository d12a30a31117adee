/*
 * Two-level segregated fit.  Holes hang in lists by the highest bit of their size in quanta, and the SL_BITS bits below it; two
 * levels of bitmaps tell which lists hold any.  Busy segments are found through an open-addressed hash table.  The arenas are
 * in a table that is sorted by address; each has its segments in a list of its own.  One idle arena stays mapped.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coalloc.h"

COALLOC_SUBJECT(tl_);

#define MAX_SIZE ((uint64_t)1 << 63)
#define SL_BITS 3
#define SL_COUNT (1 << SL_BITS)
#define FL_COUNT (64 - SL_BITS + 1)
#define RETAIN 1

struct seg {
	uint64_t base;
	uint64_t size;
	struct seg *prev; /* in the arena, in address order */
	struct seg *next;
	struct seg *fprev; /* in the list of holes */
	struct seg *fnext;
	int busy;
};

struct arena {
	uint64_t base;
	uint64_t size;
	struct seg *first;
	uint64_t serial;
};

struct space {
	const struct coalloc_source *source;
	uint64_t limit;
	uint64_t quantum;
	uint64_t fl_map;
	uint32_t sl_map[FL_COUNT];
	struct seg *heads[FL_COUNT][SL_COUNT];
	struct arena *arenas;
	size_t narenas;
	size_t cap_arenas;
	struct seg **slots;
	size_t nslots; /* a power of two */
	size_t nbusy;
	size_t ntombs;
	uint64_t idle;       /* wholly free arenas */
	uint64_t idle_bytes; /* and what they have */
	struct coalloc_stats st;
};

static struct seg tomb;
#define TOMB (&tomb)

static uint64_t
round_up(uint64_t value, uint64_t unit)
{
	uint64_t rest = value % unit;

	return (rest == 0 ? value : value + (unit - rest));
}

static int
top_bit(uint64_t n)
{
	return (63 - __builtin_clzll(n));
}

/* --- the lists of holes --- */

static void
mapping(uint64_t n, int *fl, int *sl)
{
	if (n < SL_COUNT) {
		*fl = 0;
		*sl = (int)n;
	} else {
		int t = top_bit(n);

		*fl = t - SL_BITS + 1;
		*sl = (int)((n >> (t - SL_BITS)) & (SL_COUNT - 1));
	}
}

static void
hole_insert(struct space *sp, struct seg *s)
{
	int fl, sl;

	mapping(s->size / sp->quantum, &fl, &sl);
	s->fprev = NULL;
	s->fnext = sp->heads[fl][sl];
	if (s->fnext != NULL)
		s->fnext->fprev = s;
	sp->heads[fl][sl] = s;
	sp->sl_map[fl] |= 1u << sl;
	sp->fl_map |= (uint64_t)1 << fl;
}

static void
hole_remove(struct space *sp, struct seg *s)
{
	int fl, sl;

	mapping(s->size / sp->quantum, &fl, &sl);
	if (s->fnext != NULL)
		s->fnext->fprev = s->fprev;
	if (s->fprev != NULL) {
		s->fprev->fnext = s->fnext;
	} else {
		sp->heads[fl][sl] = s->fnext;
		if (s->fnext == NULL) {
			sp->sl_map[fl] &= ~(1u << sl);
			if (sp->sl_map[fl] == 0)
				sp->fl_map &= ~((uint64_t)1 << fl);
		}
	}
}

static struct seg *
hole_find(struct space *sp, uint64_t size)
{
	uint64_t n = size / sp->quantum, fls;
	uint32_t sls;
	int fl, sl;

	if (n >= SL_COUNT)
		n += ((uint64_t)1 << (top_bit(n) - SL_BITS)) - 1;
	mapping(n, &fl, &sl);
	sls = sp->sl_map[fl] & (~0u << sl);
	if (sls == 0) {
		fls = sp->fl_map & (~(uint64_t)0 << (fl + 1));
		if (fls == 0)
			return (NULL);
		fl = __builtin_ctzll(fls);
		sls = sp->sl_map[fl];
	}
	sl = __builtin_ctz(sls);
	return (sp->heads[fl][sl]);
}

/* --- the table of busy segments --- */

static size_t
slot_of(struct space *sp, uint64_t base)
{
	return ((size_t)(((base / sp->quantum) * 0x9e3779b97f4a7c15u) >> 32) & (sp->nslots - 1));
}

static void
busy_put(struct space *sp, struct seg *s)
{
	size_t i = slot_of(sp, s->base);

	while (sp->slots[i] != NULL && sp->slots[i] != TOMB)
		i = (i + 1) & (sp->nslots - 1);
	if (sp->slots[i] == TOMB)
		sp->ntombs--;
	sp->slots[i] = s;
	sp->nbusy++;
}

/* Make room for one more. */
static int
busy_room(struct space *sp)
{
	struct seg **old = sp->slots, **slots;
	size_t nold = sp->nslots, n = nold, i;

	if ((sp->nbusy + sp->ntombs + 1) * 4 <= nold * 3)
		return (1);
	while ((sp->nbusy + 1) * 2 > n)
		n *= 2;
	slots = calloc(n, sizeof(*slots));
	if (slots == NULL)
		return (0);
	sp->slots = slots;
	sp->nslots = n;
	sp->nbusy = 0;
	sp->ntombs = 0;
	for (i = 0; i < nold; i++)
		if (old[i] != NULL && old[i] != TOMB)
			busy_put(sp, old[i]);
	free(old);
	return (1);
}

static struct seg **
busy_find(struct space *sp, uint64_t base)
{
	size_t i = slot_of(sp, base);

	while (sp->slots[i] != NULL) {
		if (sp->slots[i] != TOMB && sp->slots[i]->base == base)
			return (&sp->slots[i]);
		i = (i + 1) & (sp->nslots - 1);
	}
	return (NULL);
}

/* --- arenas --- */

/* The index of the first arena that is not below base. */
static size_t
arena_index(struct space *sp, uint64_t base)
{
	size_t lo = 0, hi = sp->narenas;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (sp->arenas[mid].base < base)
			lo = mid + 1;
		else
			hi = mid;
	}
	return (lo);
}

static int
arena_room(struct space *sp)
{
	struct arena *arenas;
	size_t cap;

	if (sp->narenas < sp->cap_arenas)
		return (1);
	cap = sp->cap_arenas != 0 ? sp->cap_arenas * 2 : 8;
	arenas = malloc(cap * sizeof(*arenas));
	if (arenas == NULL)
		return (0);
	if (sp->narenas != 0)
		memcpy(arenas, sp->arenas, sp->narenas * sizeof(*arenas));
	free(sp->arenas);
	sp->arenas = arenas;
	sp->cap_arenas = cap;
	return (1);
}

static void
arena_insert(struct space *sp, struct seg *s)
{
	size_t i = arena_index(sp, s->base);

	memmove(&sp->arenas[i + 1], &sp->arenas[i], (sp->narenas - i) * sizeof(*sp->arenas));
	sp->arenas[i].base = s->base;
	sp->arenas[i].size = s->size;
	sp->arenas[i].first = s;
	sp->arenas[i].serial = sp->st.imports;
	sp->narenas++;
}

static int
is_whole(const struct seg *s)
{
	return (s->prev == NULL && s->next == NULL);
}

/* Give the idle arena back whose only segment is s; s is in no list of holes, and not counted as idle. */
static void
arena_release(struct space *sp, struct seg *s)
{
	size_t i = arena_index(sp, s->base);

	sp->source->unmap(sp->source->cookie, sp->arenas[i].base, sp->arenas[i].size);
	sp->st.mapped -= sp->arenas[i].size;
	sp->st.releases++;
	memmove(&sp->arenas[i], &sp->arenas[i + 1], (sp->narenas - i - 1) * sizeof(*sp->arenas));
	sp->narenas--;
	free(s);
}

static uint64_t
drain(struct space *sp)
{
	uint64_t bytes = 0;
	size_t i = 0;

	while (i < sp->narenas) {
		struct seg *s = sp->arenas[i].first;

		if (!s->busy && is_whole(s)) {
			bytes += s->size;
			sp->idle--;
			sp->idle_bytes -= s->size;
			hole_remove(sp, s);
			arena_release(sp, s);
		} else {
			i++;
		}
	}
	return (bytes);
}

/* Make the first size bytes of s busy; s is in no list of holes.  rest is a spare segment. */
static void
seg_carve(struct space *sp, struct seg *s, uint64_t size, struct seg *rest)
{
	if (s->size > size) {
		rest->base = s->base + size;
		rest->size = s->size - size;
		rest->busy = 0;
		rest->prev = s;
		rest->next = s->next;
		if (rest->next != NULL)
			rest->next->prev = rest;
		s->next = rest;
		s->size = size;
		hole_insert(sp, rest);
	} else {
		free(rest);
	}
	s->busy = 1;
	busy_put(sp, s);
	sp->st.live += size;
	sp->st.allocs++;
}

static int
import(struct space *sp, uint64_t size, struct seg *rest, uint64_t *base)
{
	struct seg *s;
	uint64_t need, where;

	need = round_up(size, sp->source->granule);
	if (need < size)
		return (COALLOC_NOSPACE);
	if (need > sp->limit - sp->st.mapped) {
		if (need > sp->limit - (sp->st.mapped - sp->idle_bytes))
			return (COALLOC_NOSPACE);
		drain(sp);
	}
	if (!arena_room(sp))
		return (COALLOC_NOSPACE);
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return (COALLOC_NOSPACE);
	if (sp->source->map(sp->source->cookie, need, &where) != COALLOC_OK) {
		free(s);
		return (COALLOC_NOSPACE);
	}
	s->base = where;
	s->size = need;
	sp->st.mapped += need;
	if (sp->st.mapped > sp->st.peak_mapped)
		sp->st.peak_mapped = sp->st.mapped;
	sp->st.imports++;
	arena_insert(sp, s);
	seg_carve(sp, s, size, rest);
	*base = where;
	return (COALLOC_OK);
}

int
tl_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **space)
{
	struct space *sp;

	(void)options;
	if (quantum == 0 || (quantum & (quantum - 1)) != 0 || quantum > source->granule)
		return (COALLOC_INVALID);
	sp = calloc(1, sizeof(*sp));
	if (sp == NULL)
		return (COALLOC_NOSPACE);
	sp->source = source;
	sp->limit = limit;
	sp->quantum = quantum;
	sp->nslots = 32;
	sp->slots = calloc(sp->nslots, sizeof(*sp->slots));
	if (sp->slots == NULL) {
		free(sp);
		return (COALLOC_NOSPACE);
	}
	*space = sp;
	return (COALLOC_OK);
}

void
tl_close(void *space)
{
	struct space *sp = space;
	struct seg *s, *next;
	size_t i;

	for (i = 0; i < sp->narenas; i++)
		for (s = sp->arenas[i].first; s != NULL; s = next) {
			next = s->next;
			free(s);
		}
	free(sp->arenas);
	free(sp->slots);
	free(sp);
}

int
tl_alloc(void *space, uint64_t size, uint64_t *base)
{
	struct space *sp = space;
	struct seg *s, *rest;
	int status;

	if (size == 0 || size > MAX_SIZE)
		return (COALLOC_INVALID);
	size = round_up(size, sp->quantum);
	rest = calloc(1, sizeof(*rest));
	if (rest == NULL || !busy_room(sp)) {
		free(rest);
		sp->st.refusals++;
		return (COALLOC_NOSPACE);
	}
	s = hole_find(sp, size);
	if (s != NULL) {
		if (is_whole(s)) {
			sp->idle--;
			sp->idle_bytes -= s->size;
		}
		hole_remove(sp, s);
		*base = s->base;
		seg_carve(sp, s, size, rest);
		return (COALLOC_OK);
	}
	status = import(sp, size, rest, base);
	if (status != COALLOC_OK) {
		free(rest);
		sp->st.refusals++;
	}
	return (status);
}

int
tl_free(void *space, uint64_t base)
{
	struct space *sp = space;
	struct seg **slot, *s, *t;

	slot = busy_find(sp, base);
	if (slot == NULL)
		return (COALLOC_BADFREE);
	s = *slot;
	*slot = TOMB;
	sp->nbusy--;
	sp->ntombs++;
	sp->st.live -= s->size;
	sp->st.frees++;
	s->busy = 0;
	t = s->next;
	if (t != NULL && !t->busy) {
		hole_remove(sp, t);
		s->size += t->size;
		s->next = t->next;
		if (s->next != NULL)
			s->next->prev = s;
		free(t);
	}
	t = s->prev;
	if (t != NULL && !t->busy) {
		hole_remove(sp, t);
		t->size += s->size;
		t->next = s->next;
		if (t->next != NULL)
			t->next->prev = t;
		free(s);
		s = t;
	}
	if (is_whole(s)) {
		if (sp->idle >= RETAIN) {
			arena_release(sp, s);
			return (COALLOC_OK);
		}
		sp->idle++;
		sp->idle_bytes += s->size;
	}
	hole_insert(sp, s);
	return (COALLOC_OK);
}

const char *
tl_contract(void)
{
	return ("completeness=tlsf(8),coalescing=immediate,release=retain(1)");
}

int
tl_reclaim(void *space, uint64_t *unmapped)
{
	*unmapped = drain(space);
	return (COALLOC_OK);
}

int
tl_size_of(void *space, uint64_t base, uint64_t *size)
{
	struct seg **slot = busy_find(space, base);

	if (slot == NULL)
		return (COALLOC_BADFREE);
	*size = (*slot)->size;
	return (COALLOC_OK);
}

void
tl_walk(void *space, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie)
{
	struct space *sp = space;
	struct seg *s;
	size_t i;

	for (i = 0; i < sp->narenas; i++)
		for (s = sp->arenas[i].first; s != NULL; s = s->next) {
			struct coalloc_segment segment;

			segment.base = s->base;
			segment.size = s->size;
			segment.arena = sp->arenas[i].base;
			segment.kind = s->busy ? COALLOC_BUSY : COALLOC_FREE;
			show(cookie, &segment);
		}
}

void
tl_stats(void *space, struct coalloc_stats *stats)
{
	struct space *sp = space;
	struct seg *s;
	size_t i;

	*stats = sp->st;
	stats->free = sp->st.mapped - sp->st.live;
	stats->cached = 0;
	stats->arenas = sp->narenas;
	stats->holes = 0;
	stats->largest_hole = 0;
	for (i = 0; i < sp->narenas; i++)
		for (s = sp->arenas[i].first; s != NULL; s = s->next)
			if (!s->busy) {
				stats->holes++;
				if (s->size > stats->largest_hole)
					stats->largest_hole = s->size;
			}
}
