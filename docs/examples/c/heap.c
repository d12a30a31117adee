/*
 * heap.c: an in-band heap as an allocator of address ranges.  The heap keeps its headers in front of the buffers, as malloc
 * does; it gets real memory, as large as each arena, and the offsets of its buffers in that memory are reported as addresses.
 *
 * The part up to heap_alloc is the heap, such as one finds it; the rest is what every heap of this kind needs.
 */
#include <stdlib.h>
#include <string.h>

#include <coalloc.h>

COALLOC_SUBJECT(band_);

#define HEADER 16
struct header {
	uint64_t size; /* of the block, header included */
	uint64_t busy;
};

/* --- the heap: first fit over blocks that follow each other in one piece of memory -------------------------------------- */

static void
heap_init(unsigned char *memory, uint64_t size)
{
	struct header whole = { size, 0 };

	memcpy(memory, &whole, HEADER);
}

static unsigned char *
heap_alloc(unsigned char *memory, uint64_t size, uint64_t block)
{
	for (unsigned char *at = memory; at < memory + size;) {
		struct header *here = (struct header *)(void *)at;

		while (!here->busy && at + here->size < memory + size) { /* join what is free behind */
			struct header *next = (struct header *)(void *)(at + here->size);
			if (next->busy)
				break;
			here->size += next->size;
		}
		if (!here->busy && here->size >= block) {
			if (here->size > block)
				heap_init(at + block, here->size - block);
			here->size = block;
			here->busy = 1;
			return (at + HEADER);
		}
		at += here->size;
	}
	return (NULL);
}

static int
heap_free(unsigned char *memory, uint64_t size, const unsigned char *buffer)
{
	for (unsigned char *at = memory; at < memory + size; at += ((struct header *)(void *)at)->size) {
		struct header *here = (struct header *)(void *)at;

		if (at + HEADER == buffer && here->busy) {
			here->busy = 0;
			return (1);
		}
	}
	return (0);
}

/* --- the adapter -------------------------------------------------------------------------------------------------------- */

struct arena {
	uint64_t base, size;
	unsigned char *memory;
};

struct space {
	const struct coalloc_source *source;
	uint64_t quantum;
	struct arena only; /* this heap has one piece of memory, as large as the limit */
};

const char *
band_contract(void)
{
	return ("fit=first,header=16,release=never,reclaims=no");
}

int
band_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **opened)
{
	struct space *space;
	struct arena arena = { 0, limit - limit % source->granule, NULL };

	(void)options;
	if (HEADER % quantum || arena.size == 0)
		return (COALLOC_INVALID);
	space = calloc(1, sizeof(*space));
	arena.memory = malloc(arena.size);
	if (space == NULL || arena.memory == NULL || source->map(source->cookie, arena.size, &arena.base) != COALLOC_OK) {
		free(arena.memory);
		free(space);
		return (COALLOC_NOSPACE);
	}
	heap_init(arena.memory, arena.size);
	*space = (struct space){ source, quantum, arena };
	*opened = space;
	return (COALLOC_OK);
}

void
band_close(void *opened)
{
	struct space *space = opened;

	free(space->only.memory);
	free(space);
}

int
band_alloc(void *opened, uint64_t size, uint64_t *base)
{
	struct space *space = opened;
	unsigned char *buffer = NULL;

	if (size == 0 || size > (uint64_t)1 << 63)
		return (COALLOC_INVALID);
	size = (size + HEADER + space->quantum - 1) & ~(space->quantum - 1);
	if (size <= space->only.size)
		buffer = heap_alloc(space->only.memory, space->only.size, size);
	if (buffer == NULL)
		return (COALLOC_NOSPACE);
	*base = space->only.base + (uint64_t)(buffer - space->only.memory);
	return (COALLOC_OK);
}

int
band_free(void *opened, uint64_t base)
{
	struct space *space = opened;
	uint64_t offset = base - space->only.base;

	if (offset >= space->only.size || !heap_free(space->only.memory, space->only.size, space->only.memory + offset))
		return (COALLOC_BADFREE);
	return (COALLOC_OK);
}
