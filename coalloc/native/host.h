/*
 * host.h: what the parts of the host share: the frames on its two pipes, the functions of the allocator, and the end.
 */
#ifndef COALLOC_HOST_H
#define COALLOC_HOST_H

#include <stddef.h>
#include <stdint.h>

#include "coalloc.h"

/* How the host ends by itself, so that whoever started it can tell why. */
enum { ENDED_MEMORY = 95, ENDED_EXIT = 96, ENDED_HANG = 97, ENDED_MISUSE = 98 };

struct frame {
	uint32_t kind;
	uint32_t status; /* of an answer; else the number of the space */
	uint64_t size;   /* bytes that follow */
	uint64_t a[6];
};

/* The functions of the allocator; NULL where it has none. */
struct subject {
	int (*open)(const struct coalloc_source *, uint64_t, uint64_t, const char *, void **);
	void (*close)(void *);
	int (*alloc)(void *, uint64_t, uint64_t *);
	int (*free)(void *, uint64_t);
	const char *(*contract)(void);
	int (*xalloc)(void *, uint64_t, const struct coalloc_bounds *, uint64_t *);
	int (*resize)(void *, uint64_t, uint64_t, uint64_t *);
	int (*reserve)(void *, uint64_t, uint64_t);
	int (*reclaim)(void *, uint64_t *);
	int (*size_of)(void *, uint64_t, uint64_t *);
	void (*walk)(void *, void (*)(void *, const struct coalloc_segment *), void *);
	void (*stats)(void *, struct coalloc_stats *);
};

extern struct subject subject;

/* Enter and leave a call of the allocator; what is returned is handed back, so that a jump out of a call is noticed. */
int host_enter(void);
void host_leave(int entered);
/* Report misuse and end. */
void host_fail(const char *text);
/* End if the source is called from another thread than the allocator was, or outside a call. */
void host_require_call(void);
void host_end(int status, const char *text);

/* Check the memory that the allocator has: every block, or some of them; ends if one was written past its ends. */
void guard_check(int all);
/* Tell how many bytes the allocator has; 0 where nobody counts. */
uint64_t guard_held(void);

/* The host's own memory, which has no guards. */
#ifdef COALLOC_SANITIZED
#include <stdlib.h>
#define own_malloc malloc
#define own_calloc calloc
#define own_realloc realloc
#define own_free free
#else
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void __real_free(void *);
#define own_malloc __real_malloc
#define own_calloc __real_calloc
#define own_realloc __real_realloc
#define own_free __real_free
#endif

/* Run a whole program: see whole.c.  The answer is malloced, and freed by the caller. */
void *whole_run(const void *request, size_t *answered);

#endif
