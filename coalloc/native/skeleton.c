/*
 * mine.c: an allocator of address ranges that maps an arena for each buffer, to begin with.
 *
 *     coalloc check mine.c
 *
 * Change what mine_contract promises together with the code: coalloc holds the code to it.  Functions that are missing, such as
 * mine_walk and mine_xalloc, are things that the allocator cannot do; coalloc.h has them all (coalloc native header).
 */
#include <stdlib.h>

#include <coalloc.h>

COALLOC_SUBJECT(mine_);

struct buffer {
	uint64_t base;
	uint64_t size; /* as handed out */
	uint64_t arena; /* bytes that were mapped for it */
	struct buffer *next;
};

struct space {
	const struct coalloc_source *source;
	uint64_t limit;
	uint64_t quantum;
	uint64_t mapped;
	struct buffer *buffers;
};

static uint64_t
round_up(uint64_t size, uint64_t unit)
{
	return ((size + unit - 1) & ~(unit - 1));
}

const char *
mine_contract(void)
{
	return ("completeness=best-effort,coalescing=by-arena,release=eager");
}

int
mine_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **opened)
{
	struct space *space = calloc(1, sizeof(*space));

	(void)options;
	if (space == NULL)
		return (COALLOC_NOSPACE);
	space->source = source;
	space->limit = limit;
	space->quantum = quantum;
	*opened = space;
	return (COALLOC_OK);
}

void
mine_close(void *opened)
{
	struct space *space = opened;
	struct buffer *buffer;

	while ((buffer = space->buffers) != NULL) {
		space->buffers = buffer->next;
		free(buffer);
	}
	free(space);
}

int
mine_alloc(void *opened, uint64_t size, uint64_t *base)
{
	struct space *space = opened;
	struct buffer *buffer;

	if (size == 0 || size > (uint64_t)1 << 63)
		return (COALLOC_INVALID);
	buffer = malloc(sizeof(*buffer));
	if (buffer == NULL)
		return (COALLOC_NOSPACE);
	buffer->size = round_up(size, space->quantum);
	buffer->arena = round_up(size, space->source->granule);
	if (buffer->arena > space->limit - space->mapped ||
	    space->source->map(space->source->cookie, buffer->arena, &buffer->base) != COALLOC_OK) {
		free(buffer);
		return (COALLOC_NOSPACE);
	}
	space->mapped += buffer->arena;
	buffer->next = space->buffers;
	space->buffers = buffer;
	*base = buffer->base;
	return (COALLOC_OK);
}

static struct buffer **
find(struct space *space, uint64_t base)
{
	struct buffer **place = &space->buffers;

	while (*place != NULL && (*place)->base != base)
		place = &(*place)->next;
	return (place);
}

int
mine_free(void *opened, uint64_t base)
{
	struct space *space = opened;
	struct buffer **place = find(space, base), *buffer = *place;

	if (buffer == NULL)
		return (COALLOC_BADFREE);
	*place = buffer->next;
	space->mapped -= buffer->arena;
	space->source->unmap(space->source->cookie, buffer->base, buffer->arena);
	free(buffer);
	return (COALLOC_OK);
}

int
mine_size_of(void *opened, uint64_t base, uint64_t *size)
{
	struct buffer *buffer = *find(opened, base);

	if (buffer == NULL)
		return (COALLOC_BADFREE);
	*size = buffer->size;
	return (COALLOC_OK);
}
