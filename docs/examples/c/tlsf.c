/*
 * tlsf.c: two-level segregated fit: lists of holes by size, each power of two cut into eight, and bits that say which have any.
 * A search rounds its size up to the next list, so that any hole of the list that it finds is large enough.
 */
#include <stdlib.h>
#include <coalloc.h>

COALLOC_SUBJECT(tlsf_);

#define HOLES (64 * 8) /* lists of holes; those of busy segments, by a hash of the base, follow */
#define LISTS (HOLES + 1024)
struct segment {
	uint64_t base, size;
	struct segment *left, *right;  /* in the arena; NULL at its ends */
	struct segment *next, **place; /* in its list */
	int list;
};
struct space {
	const struct coalloc_source *source;
	uint64_t limit, quantum, mapped, powers; /* bit p of powers: there is a hole of 2^p quanta or more */
	unsigned char eighths[64];
	struct segment *lists[LISTS];
};

const char *tlsf_contract(void)
{
	return ("completeness=tlsf(8),coalescing=immediate,release=eager");
}

int tlsf_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **opened)
{
	struct space *space = calloc(1, sizeof(*space));

	(void)options;
	if ((*opened = space) == NULL)
		return (COALLOC_NOSPACE);
	*space = (struct space){ .source = source, .limit = limit, .quantum = quantum };
	return (COALLOC_OK);
}
/* The list of holes of n quanta: its power of two times eight, and which eighth of that. */
static int list_of(uint64_t n)
{
	int power = 63 - __builtin_clzll(n);

	return (power * 8 + (int)((power >= 3 ? n >> (power - 3) : n << (3 - power)) & 7));
}

static void put(struct space *space, struct segment *segment, int list)
{
	segment->list = list;
	segment->place = &space->lists[list];
	if ((segment->next = *segment->place) != NULL)
		segment->next->place = &segment->next;
	*segment->place = segment;
	if (list < HOLES) {
		space->eighths[list / 8] |= 1u << list % 8;
		space->powers |= (uint64_t)1 << list / 8;
	}
}

static struct segment *take(struct space *space, struct segment *segment)
{
	int list = segment->list;

	if ((*segment->place = segment->next) != NULL)
		segment->next->place = segment->place;
	if (list < HOLES && space->lists[list] == NULL && (space->eighths[list / 8] &= ~(1u << list % 8)) == 0)
		space->powers &= ~((uint64_t)1 << list / 8);
	return (segment);
}

void tlsf_close(void *opened)
{
	struct space *space = opened;

	for (int list = 0; list < LISTS; list++)
		while (space->lists[list] != NULL)
			free(take(space, space->lists[list]));
	free(space);
}

int tlsf_alloc(void *opened, uint64_t size, uint64_t *base)
{
	struct space *space = opened;
	struct segment *segment = NULL, *rest = calloc(1, sizeof(*rest));
	uint64_t granule = space->source->granule, n = (size + space->quantum - 1) / space->quantum, powers, whole;
	int list = size == 0 ? 0 : list_of(n < 8 ? n : n + ((uint64_t)1 << (60 - __builtin_clzll(n))) - 1);
	int bits = space->eighths[list / 8] >> list % 8 << list % 8, bad = size == 0 || size > (uint64_t)1 << 63;

	powers = list / 8 < 63 ? space->powers >> (list / 8 + 1) << (list / 8 + 1) : 0;
	if (bits == 0 && powers != 0)
		bits = space->eighths[list = __builtin_ctzll(powers) * 8, list / 8];
	if (!bad && rest != NULL && bits != 0)
		segment = take(space, space->lists[list / 8 * 8 + __builtin_ctz((unsigned)bits)]);
	else if (!bad && rest != NULL && (segment = calloc(1, sizeof(*segment))) != NULL) {
		segment->size = whole = (size + granule - 1) & ~(granule - 1);
		if (whole > space->limit - space->mapped || space->source->map(space->source->cookie, whole, &segment->base) != COALLOC_OK) {
			free(segment);
			segment = NULL;
		} else
			space->mapped += whole;
	}
	if (segment == NULL) {
		free(rest);
		return (bad ? COALLOC_INVALID : COALLOC_NOSPACE);
	}
	if ((size = n * space->quantum) < segment->size) {
		*rest = (struct segment){ segment->base + size, segment->size - size, segment, segment->right, NULL, NULL, 0 };
		if (rest->right != NULL)
			rest->right->left = rest;
		segment->right = rest;
		segment->size = size;
		put(space, rest, list_of(rest->size / space->quantum));
	} else
		free(rest);
	put(space, segment, HOLES + (int)(segment->base / space->quantum % (LISTS - HOLES)));
	*base = segment->base;
	return (COALLOC_OK);
}

int tlsf_free(void *opened, uint64_t base)
{
	struct space *space = opened;
	struct segment *segment = space->lists[HOLES + base / space->quantum % (LISTS - HOLES)], *right;

	while (segment != NULL && segment->base != base)
		segment = segment->next;
	if (segment == NULL)
		return (COALLOC_BADFREE);
	take(space, segment);
	if (segment->left != NULL && segment->left->list < HOLES)
		segment = take(space, segment->left);
	while ((right = segment->right) != NULL && (right->list < HOLES || right->base == base)) {
		if (right->base != base)
			take(space, right);
		segment->size += right->size;
		if ((segment->right = right->right) != NULL)
			right->right->left = segment;
		free(right);
	}
	if (segment->left != NULL || segment->right != NULL) {
		put(space, segment, list_of(segment->size / space->quantum));
	} else {
		space->mapped -= segment->size;
		space->source->unmap(space->source->cookie, segment->base, segment->size);
		free(segment);
	}
	return (COALLOC_OK);
}
