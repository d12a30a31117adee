/*
 * guard.c: memory for the allocator, with guards on both sides; it keeps what was freed for a while.
 *
 * The linker sends the allocator's malloc, calloc, realloc and free here (--wrap).  New memory is filled with 0xa5 and freed
 * memory with 0xdd, so that a field that was never set, or is used after it was freed, has a value that nobody expects.  A
 * guard that has changed, memory that is freed twice, and freed memory that is written end the process with one line.
 * Memory that others allocated, such as the C library, is passed on to them.
 */
#include <stdio.h>
#include <string.h>

#include "host.h"

#ifdef COALLOC_SANITIZED /* the sanitizer guards better */

void
guard_check(int all)
{
	(void)all;
}

uint64_t
guard_held(void)
{
	return (0);
}

#else

#define GUARD 32 /* bytes on either side; a multiple of what malloc aligns to */
#define KEPT 512 /* freed blocks that are kept */
#define FEW 64   /* so many blocks are checked at every call */

void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void __wrap_free(void *);

struct block {
	unsigned char *at; /* what the allocator got */
	size_t size;
};

/* Live blocks, hashed by address with linear probing; a free slot has at == NULL. */
static struct block *live;
static size_t n_live, n_slots;
static uint64_t held;
static struct block kept[KEPT];
static size_t next_kept;

static size_t
slot_of(const void *at)
{
	uintptr_t key = (uintptr_t)at;
	size_t slot = (size_t)((key >> 4) * (uintptr_t)0x9e3779b97f4a7c15u) & (n_slots - 1);

	while (live[slot].at != NULL && live[slot].at != at)
		slot = (slot + 1) & (n_slots - 1);
	return (slot);
}

static void
enter(struct block block)
{
	if (2 * (n_live + 1) > n_slots) {
		struct block *old = live;
		size_t old_slots = n_slots;

		n_slots = old_slots ? 2 * old_slots : 256;
		live = own_calloc(n_slots, sizeof(*live));
		if (live == NULL)
			host_fail("no memory is left for the allocator's blocks");
		for (size_t i = 0; i < old_slots; i++)
			if (old[i].at != NULL)
				live[slot_of(old[i].at)] = old[i];
		own_free(old);
	}
	live[slot_of(block.at)] = block;
	n_live++;
	held += block.size;
}

static void
strike(size_t slot)
{
	held -= live[slot].size;
	live[slot].at = NULL;
	n_live--;
	for (;;) { /* put those that follow where they are found again */
		struct block moved;

		slot = (slot + 1) & (n_slots - 1);
		if (live[slot].at == NULL)
			return;
		moved = live[slot];
		live[slot].at = NULL;
		live[slot_of(moved.at)] = moved;
	}
}

static void
report(const char *what, const struct block *block)
{
	char line[160];

	snprintf(line, sizeof(line), "%s a block of %zu bytes\n", what, block->size);
	host_end(ENDED_MEMORY, line);
}

/* Find the first byte that is not as it was; n if all are. */
static size_t
changed(const unsigned char *bytes, size_t n, unsigned char value)
{
	size_t i = 0;

	while (i < n && bytes[i] == value)
		i++;
	return (i);
}

static void
check(const struct block *block)
{
	char what[80];
	size_t at = changed(block->at + block->size, GUARD, 0xfd);

	if (at < GUARD) {
		snprintf(what, sizeof(what), "something was written %zu bytes behind the end of", at);
		report(what, block);
	}
	if (changed(block->at - GUARD, GUARD, 0xfd) < GUARD)
		report("something was written in front of", block);
}

static void
check_kept(const struct block *block)
{
	if (changed(block->at, block->size, 0xdd) < block->size)
		report("something was written after it was freed into", block);
}

void
guard_check(int all)
{
	if (!all && n_live > FEW)
		return;
	for (size_t i = 0; i < n_slots; i++)
		if (live[i].at != NULL)
			check(&live[i]);
	for (size_t i = 0; i < KEPT && all; i++)
		if (kept[i].at != NULL)
			check_kept(&kept[i]);
}

uint64_t
guard_held(void)
{
	return (held);
}

/* Put guards around new memory, which the allocator then has. */
static void *
guarded(unsigned char *whole, size_t size)
{
	struct block block;

	if (whole == NULL)
		return (NULL);
	block.at = whole + GUARD;
	block.size = size;
	memset(whole, 0xfd, GUARD);
	memset(block.at + size, 0xfd, GUARD);
	enter(block);
	return (block.at);
}

void *
__wrap_malloc(size_t size)
{
	unsigned char *whole = size <= SIZE_MAX - 2 * GUARD ? own_malloc(size + 2 * GUARD) : NULL;

	if (whole != NULL)
		memset(whole + GUARD, 0xa5, size);
	return (guarded(whole, size));
}

void *
__wrap_calloc(size_t n, size_t each)
{
	size_t size = n * each;

	if ((each != 0 && n > SIZE_MAX / each) || size > SIZE_MAX - 2 * GUARD)
		return (NULL);
	return (guarded(own_calloc(1, size + 2 * GUARD), size)); /* pages that are never touched cost nothing */
}

void
__wrap_free(void *at)
{
	struct block block, old;
	size_t slot;

	if (at == NULL)
		return;
	slot = n_slots ? slot_of(at) : 0;
	if (n_slots == 0 || live[slot].at == NULL) {
		for (size_t i = 0; i < KEPT; i++)
			if (kept[i].at == at)
				report("free was called a second time for", &kept[i]);
		own_free(at); /* it came from somebody else */
		return;
	}
	block = live[slot];
	check(&block);
	strike(slot);
	memset(block.at, 0xdd, block.size);
	old = kept[next_kept];
	kept[next_kept] = block;
	next_kept = (next_kept + 1) % KEPT;
	if (old.at != NULL) {
		check_kept(&old);
		own_free(old.at - GUARD);
	}
}

void *
__wrap_realloc(void *at, size_t size)
{
	void *moved;
	size_t slot;

	if (at == NULL)
		return (__wrap_malloc(size));
	if (n_slots == 0 || live[slot = slot_of(at)].at == NULL)
		return (own_realloc(at, size));
	moved = __wrap_malloc(size);
	if (moved == NULL)
		return (NULL);
	memcpy(moved, at, live[slot_of(at)].size < size ? live[slot_of(at)].size : size);
	__wrap_free(at);
	return (moved);
}

#endif
