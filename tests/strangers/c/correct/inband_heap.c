/*
 * inband_heap.c: a textbook malloc whose heap is not where it says.
 *
 * Behind each arena stands a buffer of host memory of the same size, and in it is an ordinary heap: an implicit list of blocks,
 * each with a 16-byte header in front of its payload (size and in-use bit, size of the previous block).  What malloc would
 * return as a pointer is returned as the arena's base plus the offset in the buffer.  So that payloads are multiples of the
 * quantum the header has a quantum for itself, of which it uses 16 bytes; a quantum of less than 16 is refused.
 *
 * First fit in address order, split always, coalesce at once, give empty heaps back at once.
 */
#include <stdlib.h>
#include <string.h>

#include "coalloc.h"

COALLOC_SUBJECT(ibh_);

#define WSIZE 16
#define BIGGEST ((uint64_t)256 << 20) /* the largest payload: there is host memory behind it */

/* What is in the heap. */
struct header {
	uint64_t size_inuse; /* of the block with its header; lowest bit: in use */
	uint64_t prev_size;  /* 0 for the first */
};

struct heap {
	struct heap *next; /* higher address */
	uint64_t base;
	uint64_t size;
	unsigned char *memory;
};

struct ibh {
	const struct coalloc_source *source;
	uint64_t limit, quantum, mapped;
	struct heap *heaps;
};

static struct header
get(const struct heap *heap, uint64_t offset)
{
	struct header header;

	memcpy(&header, heap->memory + offset, sizeof(header));
	return (header);
}

static void
put(struct heap *heap, uint64_t offset, uint64_t size, int inuse, uint64_t prev_size)
{
	struct header header;

	header.size_inuse = size | (inuse ? 1 : 0);
	header.prev_size = prev_size;
	memcpy(heap->memory + offset, &header, sizeof(header));
}

#define SIZE(header) ((header).size_inuse & ~(uint64_t)1)
#define INUSE(header) ((header).size_inuse & 1)

/* Tell the block behind how large the one at offset now is. */
static void
put_footer(struct heap *heap, uint64_t offset)
{
	uint64_t size = SIZE(get(heap, offset));
	struct header behind;

	if (offset + size == heap->size)
		return;
	behind = get(heap, offset + size);
	put(heap, offset + size, SIZE(behind), INUSE(behind) != 0, size);
}

const char *
ibh_contract(void)
{
	return "completeness=best-effort,rounding=shown,max-size=256M,release=eager,laws=shift";
}

int
ibh_open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options, void **space)
{
	struct ibh *ibh;

	(void)options;
	if (quantum < WSIZE || (quantum & (quantum - 1)) != 0 || quantum > source->granule || source->granule % quantum != 0 ||
	    quantum > BIGGEST)
		return COALLOC_INVALID;
	ibh = malloc(sizeof(*ibh));
	if (ibh == NULL)
		return COALLOC_NOSPACE;
	ibh->source = source;
	ibh->limit = limit;
	ibh->quantum = quantum;
	ibh->mapped = 0;
	ibh->heaps = NULL;
	*space = ibh;
	return COALLOC_OK;
}

void
ibh_close(void *space)
{
	struct ibh *ibh = space;
	struct heap *heap;

	while ((heap = ibh->heaps) != NULL) {
		ibh->heaps = heap->next;
		free(heap->memory);
		free(heap);
	}
	free(ibh);
}

static struct heap *
new_heap(struct ibh *ibh, uint64_t size)
{
	const struct coalloc_source *source = ibh->source;
	struct heap *heap, **link;
	uint64_t rest = size % source->granule;

	if (rest != 0) {
		if (source->granule - rest > UINT64_MAX - size)
			return NULL;
		size += source->granule - rest;
	}
	if (size > ibh->limit - ibh->mapped || size > SIZE_MAX / 2)
		return NULL;
	heap = malloc(sizeof(*heap));
	if (heap == NULL)
		return NULL;
	heap->memory = malloc((size_t)size);
	if (heap->memory == NULL) {
		free(heap);
		return NULL;
	}
	if (source->map(source->cookie, size, &heap->base) != COALLOC_OK) {
		free(heap->memory);
		free(heap);
		return NULL;
	}
	ibh->mapped += size;
	heap->size = size;
	put(heap, 0, size, 0, 0);
	for (link = &ibh->heaps; *link != NULL && (*link)->base < heap->base; link = &(*link)->next)
		continue;
	heap->next = *link;
	*link = heap;
	return heap;
}

int
ibh_alloc(void *space, uint64_t size, uint64_t *base)
{
	struct ibh *ibh = space;
	struct heap *heap;
	struct header header;
	uint64_t offset = 0;

	if (size == 0 || size > (uint64_t)1 << 63)
		return COALLOC_INVALID;
	if (size > BIGGEST)
		return COALLOC_NOSPACE;
	size = (size + ibh->quantum - 1) & ~(ibh->quantum - 1);
	size += ibh->quantum; /* for the header */

	for (heap = ibh->heaps; heap != NULL; heap = heap->next)
		for (offset = 0; offset < heap->size; offset += SIZE(header)) {
			header = get(heap, offset);
			if (!INUSE(header) && SIZE(header) >= size)
				goto found;
		}
	heap = new_heap(ibh, size);
	if (heap == NULL)
		return COALLOC_NOSPACE;
	offset = 0;
	header = get(heap, offset);
found:
	put(heap, offset, size, 1, header.prev_size);
	if (SIZE(header) > size) {
		put(heap, offset + size, SIZE(header) - size, 0, size);
		put_footer(heap, offset + size);
	}
	*base = heap->base + offset + ibh->quantum;
	return COALLOC_OK;
}

/*
 * Which heap a payload is in, and where its block begins.  A header is only trusted if the list of blocks leads to it: what
 * looks like one in a payload may be left over from before.
 */
static struct heap *
locate(struct ibh *ibh, uint64_t base, uint64_t *block)
{
	struct heap *heap;
	struct header header;
	uint64_t offset;

	for (heap = ibh->heaps; heap != NULL; heap = heap->next)
		if (base >= heap->base && base - heap->base < heap->size)
			break;
	if (heap == NULL)
		return NULL;
	for (offset = 0; offset < heap->size && offset < base - heap->base; offset += SIZE(header)) {
		header = get(heap, offset);
		if (offset + ibh->quantum == base - heap->base && INUSE(header)) {
			*block = offset;
			return heap;
		}
	}
	return NULL;
}

int
ibh_free(void *space, uint64_t base)
{
	struct ibh *ibh = space;
	struct heap *heap, **link;
	struct header header, other;
	uint64_t offset, size;

	heap = locate(ibh, base, &offset);
	if (heap == NULL)
		return COALLOC_BADFREE;
	header = get(heap, offset);
	size = SIZE(header);
	if (offset + size < heap->size) {
		other = get(heap, offset + size);
		if (!INUSE(other))
			size += SIZE(other);
	}
	if (header.prev_size != 0) {
		other = get(heap, offset - header.prev_size);
		if (!INUSE(other)) {
			offset -= header.prev_size;
			size += header.prev_size;
			header.prev_size = other.prev_size;
		}
	}
	if (size < heap->size) {
		put(heap, offset, size, 0, header.prev_size);
		put_footer(heap, offset);
		return COALLOC_OK;
	}
	for (link = &ibh->heaps; *link != heap; link = &(*link)->next)
		continue;
	*link = heap->next;
	ibh->source->unmap(ibh->source->cookie, heap->base, heap->size);
	ibh->mapped -= heap->size;
	free(heap->memory);
	free(heap);
	return COALLOC_OK;
}

int
ibh_size_of(void *space, uint64_t base, uint64_t *size)
{
	struct ibh *ibh = space;
	struct heap *heap;
	uint64_t offset;

	heap = locate(ibh, base, &offset);
	if (heap == NULL)
		return COALLOC_BADFREE;
	*size = SIZE(get(heap, offset)) - ibh->quantum;
	return COALLOC_OK;
}
