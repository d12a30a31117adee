/*
 * coalloc.h: what an allocator of address ranges offers, so that coalloc can hold it to its contract.
 *
 * An allocator takes arenas from a source and hands out ranges of them.  It never touches the memory behind an address: sizes
 * and addresses are numbers, and 0 is a valid address.  So results come through pointers, and functions return a status.
 *
 * Choose a prefix, such as mine_, and write COALLOC_SUBJECT(mine_) once.  That declares the functions below and defines the
 * version of this interface.  Define mine_open, mine_close, mine_alloc and mine_free; each other function is optional, and one
 * that is not defined is something that the allocator cannot do.  In C++ write it inside extern "C" { }.
 *
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Redistribution and use in source and binary forms, with or without modification, are permitted provided that the following
 * conditions are met: 1. Redistributions of source code must retain this list of conditions and the following disclaimer.
 * 2. Redistributions in binary form must reproduce this list of conditions and the following disclaimer in the documentation.
 * This software is provided "as is", without warranty of any kind; the authors are liable for no damage arising from its use.
 */
#ifndef COALLOC_H
#define COALLOC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface.  It changes if a function or structure does; new optional functions leave it. */
#define COALLOC_ABI 1

/* What a function returns. */
enum coalloc_status {
	COALLOC_OK = 0,
	COALLOC_NOSPACE = 1, /* no hole fits, and the source or the limit forbids another arena; nothing has changed */
	COALLOC_INVALID = 2, /* an argument is outside its range; nothing has changed */
	COALLOC_BADFREE = 3, /* the address is not the base of a live buffer; nothing has changed */
	COALLOC_OVERLAP = 4  /* reserve: the range does not lie in one hole; nothing has changed */
};

/* Where arenas come from.  Every base and size is a multiple of the granule.  map rounds the size up to it. */
struct coalloc_source {
	uint64_t granule;
	void *cookie;
	int (*map)(void *cookie, uint64_t size, uint64_t *base);  /* COALLOC_OK or COALLOC_NOSPACE */
	int (*unmap)(void *cookie, uint64_t base, uint64_t size); /* a whole range that was mapped */
};

/* Constraints of xalloc, as in vmem_xalloc(9).  0 for align or nocross asks for none; lo and hi are the lowest
 * and the highest address that the range may hold. */
struct coalloc_bounds {
	uint64_t align;   /* the base is phase behind a multiple of this power of two */
	uint64_t phase;   /* less than align */
	uint64_t nocross; /* the range crosses no multiple of this power of two */
	uint64_t lo;
	uint64_t hi;
};

enum coalloc_kind { COALLOC_BUSY = 0, COALLOC_CACHED = 1, COALLOC_FREE = 2 };

/* A part of an arena.  The segments of an arena cover it exactly. */
struct coalloc_segment {
	uint64_t base;
	uint64_t size;
	uint64_t arena; /* the base of its arena */
	uint64_t kind;  /* enum coalloc_kind */
};

/*
 * Bytes, and counts since open.  mapped = live + cached + free, where live counts sizes as rounded.
 *
 * allocs and frees are calls that succeeded; a reserve is an alloc, and a resize that moves is one of each.  imports and releases
 * are map and unmap calls that succeeded.  refusals are calls that returned COALLOC_NOSPACE, those of reserve excepted.
 * resizes_in_place and resizes_moved are resizes that changed the size.
 */
struct coalloc_stats {
	uint64_t mapped;
	uint64_t live;
	uint64_t cached;
	uint64_t free;
	uint64_t largest_hole;
	uint64_t holes;
	uint64_t arenas;
	uint64_t peak_mapped;
	uint64_t allocs;
	uint64_t frees;
	uint64_t imports;
	uint64_t releases;
	uint64_t refusals;
	uint64_t resizes_in_place;
	uint64_t resizes_moved;
};

/* A figure that the allocator does not count.  All have this value when stats is called. */
#define COALLOC_UNKNOWN UINT64_MAX

/*
 * The functions of an allocator, without their prefix:
 *
 *   open      Make an allocator.  It maps at most limit bytes at any time.  Bases and sizes of buffers are multiples of the
 *             quantum, a power of two that is at most the granule of the source; COALLOC_INVALID refuses a quantum.  (A header
 *             in front of buffers, header=N in the contract, has to be a multiple of each quantum that it takes.)  The source
 *             outlives the allocator.  options is a text that the user gave, "" if none.
 *   close     Free all memory of the allocator.  Its arenas need not be unmapped.
 *   alloc     Hand out size bytes, rounded up to the quantum.  A size of 0, or above 2^63, is COALLOC_INVALID.
 *   free      Take a buffer back.  What is not the base of a live buffer is COALLOC_BADFREE; an allocator that does not look
 *             says checks-frees=no in its contract, and is then never given such an address.
 *   contract  What the allocator promises, as text: "fit=first,release=retain(1)".  docs/contracts.md has the words.
 *   xalloc    As alloc, under constraints, which are in the ranges below and can be met by some address.
 *   resize    Change the size of a buffer; it may move, if the contract says so.  Sizes and addresses as for alloc and free.
 *   reserve   Hand out exactly this range if it lies in one hole of an arena that is mapped; else COALLOC_OVERLAP.  Base and
 *             size are multiples of the quantum.
 *   reclaim   Drain caches, unmap every wholly free arena, and tell how many bytes were unmapped.
 *   size_of   Tell the size of a live buffer, as rounded.  Addresses as for free.
 *   walk      Show all segments in address order.
 *   stats     Tell the figures.
 *
 * One thread calls at a time.  While a map call is under way the source may call reclaim, as a handler of memory pressure does,
 * and also free if the contract says reentrant=yes; so no lock may be held over map.  Nothing may be printed on standard output.
 * Instances are independent: there may be several at once.
 */
#define COALLOC_DECLARE(prefix)                                                                                                \
	extern const uint32_t prefix##coalloc_abi;                                                                             \
	int prefix##open(const struct coalloc_source *source, uint64_t limit, uint64_t quantum, const char *options,           \
	    void **space);                                                                                                     \
	void prefix##close(void *space);                                                                                       \
	int prefix##alloc(void *space, uint64_t size, uint64_t *base);                                                         \
	int prefix##free(void *space, uint64_t base);                                                                          \
	const char *prefix##contract(void);                                                                                    \
	int prefix##xalloc(void *space, uint64_t size, const struct coalloc_bounds *bounds, uint64_t *base);                   \
	int prefix##resize(void *space, uint64_t old_base, uint64_t size, uint64_t *base);                                     \
	int prefix##reserve(void *space, uint64_t base, uint64_t size);                                                        \
	int prefix##reclaim(void *space, uint64_t *unmapped);                                                                  \
	int prefix##size_of(void *space, uint64_t base, uint64_t *size);                                                       \
	void prefix##walk(void *space, void (*show)(void *cookie, const struct coalloc_segment *segment), void *cookie);       \
	void prefix##stats(void *space, struct coalloc_stats *stats)

#define COALLOC_SUBJECT(prefix)                                                                                                \
	COALLOC_DECLARE(prefix);                                                                                               \
	const uint32_t prefix##coalloc_abi = COALLOC_ABI

#ifdef __cplusplus
}
#endif

#endif
