/* Binary buddies in arenas of 64 KiB.
 *
 * A byte per quantum: at the head of a block it says its order and whether it is in use, elsewhere it is 0.  The smallest free
 * block that is large enough is split, the lowest of equals, always leaving the upper half free.  Buddies merge when they are
 * freed.  Arenas stay mapped for good; more than 64 KiB in one piece cannot be had.
 *
 * (A granule that does not divide 64 KiB makes larger arenas; they hold several blocks of the largest order, and smaller ones.)
 */
#include "coalloc.h"
#include <stdlib.h>
#include <string.h>

COALLOC_SUBJECT(buddy_);

#define BUDDY_ARENA  65536u
#define HEAD         0x80u
#define USED         0x40u
#define ORDER(tag)   ((tag) & 0x3fu)

struct buddy_arena {
	struct buddy_arena *next;	/* by address */
	uint64_t base;
	uint8_t tag[];
};

struct buddy {
	const struct coalloc_source *src;
	uint64_t limit, quantum, arena_size, mapped;
	size_t quanta;			/* of an arena */
	unsigned max_order;
	struct buddy_arena *arenas;
	uint64_t n_allocs, n_frees, n_imports, n_refusals;
};

const char *buddy_contract(void)
{
	return "fit=best,tie=lowest,geometry=buddy,largest-block=64K,max-size=64K,arena=64K,release=never,reclaims=no,retries=no,laws=shift";
}

int buddy_open(const struct coalloc_source *src, uint64_t limit, uint64_t quantum, const char *options, void **space)
{
	struct buddy *b;
	uint64_t g = src->granule, size;

	(void)options;
	if (quantum == 0 || (quantum & (quantum - 1)) || quantum > BUDDY_ARENA || quantum > g || g % quantum)
		return COALLOC_INVALID;
	if (g > BUDDY_ARENA)
		size = g;
	else
		size = (BUDDY_ARENA + g - 1) / g * g;
	if (size / quantum > SIZE_MAX - sizeof(struct buddy_arena))
		return COALLOC_INVALID;
	b = calloc(1, sizeof *b);
	if (!b)
		return COALLOC_NOSPACE;
	b->src = src;
	b->limit = limit;
	b->quantum = quantum;
	b->arena_size = size;
	b->quanta = (size_t)(size / quantum);
	while (quantum << b->max_order < BUDDY_ARENA)
		b->max_order++;
	*space = b;
	return COALLOC_OK;
}

void buddy_close(void *space)
{
	struct buddy *b = space;
	struct buddy_arena *a;

	while ((a = b->arenas) != NULL) {
		b->arenas = a->next;
		free(a);
	}
	free(b);
}

static struct buddy_arena *buddy_import(struct buddy *b)
{
	struct buddy_arena *a, **at;
	uint64_t base;
	size_t i;

	if (b->mapped > b->limit || b->arena_size > b->limit - b->mapped)
		return NULL;
	a = calloc(1, sizeof *a + b->quanta);
	if (!a)
		return NULL;
	if (b->src->map(b->src->cookie, b->arena_size, &base) != COALLOC_OK) {
		free(a);
		return NULL;
	}
	a->base = base;
	for (i = 0; i < b->quanta; ) {
		unsigned order = b->max_order;

		while ((i & (((size_t)1 << order) - 1)) || ((size_t)1 << order) > b->quanta - i)
			order--;
		a->tag[i] = HEAD | order;
		i += (size_t)1 << order;
	}
	for (at = &b->arenas; *at && (*at)->base < base; at = &(*at)->next)
		;
	a->next = *at;
	*at = a;
	b->mapped += b->arena_size;
	b->n_imports++;
	return a;
}

/* the lowest of the smallest free blocks that are large enough */
static struct buddy_arena *buddy_search(struct buddy *b, unsigned order, size_t *where)
{
	struct buddy_arena *a, *best = NULL;
	unsigned best_order = 64;
	size_t i;

	for (a = b->arenas; a; a = a->next)
		for (i = 0; i < b->quanta; i += (size_t)1 << ORDER(a->tag[i])) {
			unsigned o = ORDER(a->tag[i]);

			if (!(a->tag[i] & USED) && o >= order && o < best_order) {
				best = a;
				best_order = o;
				*where = i;
				if (o == order)
					return best;
			}
		}
	return best;
}

int buddy_alloc(void *space, uint64_t size, uint64_t *base)
{
	struct buddy *b = space;
	struct buddy_arena *a = NULL;
	unsigned order = 0, o;
	size_t i = 0;

	if (size == 0 || size > (uint64_t)1 << 63)
		return COALLOC_INVALID;
	if (size <= BUDDY_ARENA) {
		while (b->quantum << order < size)
			order++;
		a = buddy_search(b, order, &i);
		if (!a && buddy_import(b))
			a = buddy_search(b, order, &i);	/* finds it in the new arena */
	}
	if (!a) {
		b->n_refusals++;
		return COALLOC_NOSPACE;
	}
	for (o = ORDER(a->tag[i]); o > order; ) {
		o--;
		a->tag[i + ((size_t)1 << o)] = HEAD | o;
	}
	a->tag[i] = HEAD | USED | order;
	b->n_allocs++;
	*base = a->base + i * b->quantum;
	return COALLOC_OK;
}

int buddy_free(void *space, uint64_t addr)
{
	struct buddy *b = space;
	struct buddy_arena *a;
	unsigned order;
	size_t i, other;

	for (a = b->arenas; a; a = a->next)
		if (addr >= a->base && addr - a->base < b->arena_size)
			break;
	if (!a || (addr - a->base) % b->quantum)
		return COALLOC_BADFREE;
	i = (size_t)((addr - a->base) / b->quantum);
	if ((a->tag[i] & (HEAD | USED)) != (HEAD | USED))
		return COALLOC_BADFREE;

	for (order = ORDER(a->tag[i]); order < b->max_order; order++) {
		other = i ^ ((size_t)1 << order);
		if (other >= b->quanta || a->tag[other] != (HEAD | order))
			break;
		a->tag[i > other ? i : other] = 0;
		if (other < i)
			i = other;
	}
	a->tag[i] = HEAD | order;
	b->n_frees++;
	return COALLOC_OK;
}

void buddy_walk(void *space, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie)
{
	struct buddy *b = space;
	struct buddy_arena *a;
	struct coalloc_segment s;
	size_t i;

	for (a = b->arenas; a; a = a->next)
		for (i = 0; i < b->quanta; i += (size_t)1 << ORDER(a->tag[i])) {
			s.base = a->base + i * b->quantum;
			s.size = b->quantum << ORDER(a->tag[i]);
			s.arena = a->base;
			s.kind = a->tag[i] & USED ? COALLOC_BUSY : COALLOC_FREE;
			show(cookie, &s);
		}
}

void buddy_stats(void *space, struct coalloc_stats *st)
{
	struct buddy *b = space;
	struct buddy_arena *a;
	uint64_t size;
	size_t i;

	memset(st, 0, sizeof *st);
	for (a = b->arenas; a; a = a->next) {
		st->arenas++;
		for (i = 0; i < b->quanta; i += (size_t)1 << ORDER(a->tag[i])) {
			size = b->quantum << ORDER(a->tag[i]);
			if (a->tag[i] & USED) {
				st->live += size;
				continue;
			}
			st->free += size;
			st->holes++;
			if (size > st->largest_hole)
				st->largest_hole = size;
		}
	}
	st->mapped = st->peak_mapped = b->mapped;
	st->allocs = b->n_allocs;
	st->frees = b->n_frees;
	st->imports = b->n_imports;
	st->refusals = b->n_refusals;
}
