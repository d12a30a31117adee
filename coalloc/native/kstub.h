/*
 * kstub.h: enough of a kernel to compile an allocator that is written for one: locks, lists, panics and memory.
 *
 * FreeBSD's and Linux's names stand side by side.  The stubs check what the kernels' own debugging checks: a lock is taken once
 * and released by whoever has it, a call returns with no lock held, and a list is linked both ways.  What breaks that panics, and
 * a panic ends the process with its message, which coalloc reports with the calls that led there.
 *
 * Include it before anything else in the one file of the allocator.  It is C99, and not for C++.
 *
 * SPDX-License-Identifier: BSD-2-Clause (see coalloc.h)
 */
#ifndef COALLOC_KSTUB_H
#define COALLOC_KSTUB_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define KSTUB_UNUSED __attribute__((unused))
#define KSTUB_WEAK __attribute__((weak))
#define KSTUB_PRINTF __attribute__((format(printf, 1, 2), noreturn, unused))
#else
#define KSTUB_UNUSED
#define KSTUB_WEAK
#define KSTUB_PRINTF
#endif

/* --- panic and assertions ----------------------------------------------------------------------------------------------- */

KSTUB_PRINTF static void
panic(const char *format, ...)
{
	va_list words;

	fputs("panic: ", stderr);
	va_start(words, format);
	vfprintf(stderr, format, words);
	va_end(words);
	fputc('\n', stderr);
	fflush(stderr);
	abort();
}

#define KASSERT(condition, message)                                                                                            \
	do {                                                                                                                   \
		if (!(condition))                                                                                              \
			panic message;                                                                                         \
	} while (0)
#define MPASS(condition) KASSERT(condition, ("Assertion %s failed at %s:%d", #condition, __FILE__, __LINE__))
#define BUG_ON(condition) KASSERT(!(condition), ("BUG_ON(%s) at %s:%d", #condition, __FILE__, __LINE__))
#define BUG() panic("BUG at %s:%d", __FILE__, __LINE__)
#define WARN_ON(condition) (condition)
#define VM_BUG_ON(condition) BUG_ON(condition)

/* --- locks -------------------------------------------------------------------------------------------------------------- */

/* How many locks are held, and the name of the last that was taken; the host looks at them when a call returns. */
KSTUB_WEAK int coalloc_kstub_held;
KSTUB_WEAK const char *coalloc_kstub_last;

struct kstub_lock {
	const char *name;
	int held;
	uint32_t magic;
};

#define KSTUB_MAGIC 0x10c4ed0fu

KSTUB_UNUSED static void
kstub_lock_init(struct kstub_lock *lock, const char *name)
{
	lock->name = name;
	lock->held = 0;
	lock->magic = KSTUB_MAGIC;
}

KSTUB_UNUSED static void
kstub_lock_known(const struct kstub_lock *lock, const char *what)
{
	if (lock->magic != KSTUB_MAGIC)
		panic("%s of a lock that was never initialised, or was destroyed", what);
}

KSTUB_UNUSED static void
kstub_lock(struct kstub_lock *lock)
{
	kstub_lock_known(lock, "lock");
	if (lock->held)
		panic("%s is locked by a thread that holds it already", lock->name);
	lock->held = 1;
	coalloc_kstub_held++;
	coalloc_kstub_last = lock->name;
}

KSTUB_UNUSED static void
kstub_unlock(struct kstub_lock *lock)
{
	kstub_lock_known(lock, "unlock");
	if (!lock->held)
		panic("%s is unlocked, and nobody holds it", lock->name);
	lock->held = 0;
	coalloc_kstub_held--;
}

KSTUB_UNUSED static void
kstub_lock_assert(const struct kstub_lock *lock, int owned)
{
	kstub_lock_known(lock, "assertion");
	if (lock->held != owned)
		panic("%s is %s", lock->name, owned ? "not held, and should be" : "held, and should not be");
}

KSTUB_UNUSED static void
kstub_lock_destroy(struct kstub_lock *lock)
{
	kstub_lock_assert(lock, 0);
	lock->magic = 0;
}

/* FreeBSD: mutex(9) */
struct mtx {
	struct kstub_lock lock;
};
#define MTX_DEF 0
#define MTX_SPIN 1
#define MTX_RECURSE 4
#define MA_OWNED 1
#define MA_NOTOWNED 0
#define mtx_init(m, name, type, options) kstub_lock_init(&(m)->lock, name)
#define mtx_lock(m) kstub_lock(&(m)->lock)
#define mtx_unlock(m) kstub_unlock(&(m)->lock)
#define mtx_assert(m, what) kstub_lock_assert(&(m)->lock, what)
#define mtx_owned(m) ((m)->lock.held)
#define mtx_destroy(m) kstub_lock_destroy(&(m)->lock)

/* Linux: mutex and spinlock */
struct mutex {
	struct kstub_lock lock;
};
typedef struct {
	struct kstub_lock lock;
} spinlock_t;
#define DEFINE_MUTEX(name) struct mutex name = { { #name, 0, KSTUB_MAGIC } }
#define DEFINE_SPINLOCK(name) spinlock_t name = { { #name, 0, KSTUB_MAGIC } }
#define mutex_init(m) kstub_lock_init(&(m)->lock, #m)
#define mutex_lock(m) kstub_lock(&(m)->lock)
#define mutex_unlock(m) kstub_unlock(&(m)->lock)
#define mutex_is_locked(m) ((m)->lock.held)
#define mutex_destroy(m) kstub_lock_destroy(&(m)->lock)
#define spin_lock_init(m) kstub_lock_init(&(m)->lock, #m)
#define spin_lock(m) kstub_lock(&(m)->lock)
#define spin_unlock(m) kstub_unlock(&(m)->lock)
#define lockdep_assert_held(m) kstub_lock_assert(&(m)->lock, 1)

/* --- memory ------------------------------------------------------------------------------------------------------------- */

#define M_NOWAIT 1
#define M_WAITOK 2
#define M_ZERO 0x100
#define GFP_KERNEL 0
#define GFP_ATOMIC 1
#define GFP_NOWAIT 1
#define MALLOC_DECLARE(type) struct kstub_semicolon
#define MALLOC_DEFINE(type, name, description) struct kstub_semicolon

KSTUB_UNUSED static void *
kstub_malloc(size_t size, int flags)
{
	return (flags & M_ZERO ? calloc(1, size) : malloc(size));
}

KSTUB_UNUSED static void
kstub_free(void *memory)
{
	free(memory);
}

#define kmalloc(size, flags) kstub_malloc(size, 0)
#define kzalloc(size, flags) kstub_malloc(size, M_ZERO)
#define kfree(memory) kstub_free(memory)
/* FreeBSD's malloc(9) and free(9) have more arguments than the C library's. */
#define malloc(size, type, flags) kstub_malloc(size, flags)
#define free(memory, type) kstub_free(memory)

/* --- numbers ------------------------------------------------------------------------------------------------------------ */

#define PAGE_SIZE 4096
#define PAGE_SHIFT 12
#ifndef powerof2
#define powerof2(x) ((((x)-1) & (x)) == 0)
#endif
#ifndef roundup2
#define roundup2(x, y) (((x) + ((y)-1)) & ~((__typeof__(x))(y)-1))
#define rounddown2(x, y) ((x) & ~((__typeof__(x))(y)-1))
#endif
#ifndef roundup
#define roundup(x, y) ((((x) + ((y)-1)) / (y)) * (y))
#endif
#define ALIGN(x, a) roundup2(x, a)
#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define READ_ONCE(x) (x)
#define WRITE_ONCE(x, value) ((x) = (value))
#define likely(x) (x)
#define unlikely(x) (x)
#define __unused KSTUB_UNUSED

/* --- lists: FreeBSD, queue(3) ------------------------------------------------------------------------------------------- */

/* What is linked must point back; an entry that was removed points nowhere. */
#define KSTUB_GONE ((void *)(uintptr_t)0xdead4001)

#define LIST_HEAD_INITIALIZER(head) { NULL }
#define KSTUB_LIST_HEAD(name, type)                                                                                            \
	struct name {                                                                                                          \
		struct type *lh_first;                                                                                         \
	}
#define LIST_ENTRY(type)                                                                                                       \
	struct {                                                                                                               \
		struct type *le_next;                                                                                          \
		struct type **le_prev;                                                                                         \
	}
#define LIST_INIT(head) ((head)->lh_first = NULL)
#define LIST_FIRST(head) ((head)->lh_first)
#define LIST_EMPTY(head) ((head)->lh_first == NULL)
#define LIST_NEXT(entry, field) ((entry)->field.le_next)
#define LIST_FOREACH(entry, head, field) for ((entry) = LIST_FIRST(head); (entry) != NULL; (entry) = LIST_NEXT(entry, field))
#define LIST_FOREACH_SAFE(entry, head, field, following)                                                                       \
	for ((entry) = LIST_FIRST(head); (entry) != NULL && ((following) = LIST_NEXT(entry, field), 1); (entry) = (following))
#define KSTUB_LIST_LINK(place, entry, field)                                                                                   \
	do {                                                                                                                   \
		if (((entry)->field.le_next = *(place)) != NULL)                                                               \
			(entry)->field.le_next->field.le_prev = &(entry)->field.le_next;                                       \
		*(place) = (entry);                                                                                            \
		(entry)->field.le_prev = (place);                                                                              \
	} while (0)
#define LIST_INSERT_HEAD(head, entry, field) KSTUB_LIST_LINK(&(head)->lh_first, entry, field)
#define LIST_INSERT_AFTER(before, entry, field) KSTUB_LIST_LINK(&(before)->field.le_next, entry, field)
#define LIST_INSERT_BEFORE(after, entry, field)                                                                                \
	do {                                                                                                                   \
		__typeof__((after)->field.le_prev) kstub_place = (after)->field.le_prev;                                       \
		KSTUB_LIST_LINK(kstub_place, entry, field);                                                                    \
	} while (0)
#define LIST_REMOVE(entry, field)                                                                                              \
	do {                                                                                                                   \
		if ((void *)(entry)->field.le_prev == KSTUB_GONE)                                                              \
			panic("LIST_REMOVE of an entry that was removed before, at %s:%d", __FILE__, __LINE__);                \
		if (*(entry)->field.le_prev != (entry))                                                                        \
			panic("Bad link elm %p prev->next != elm, at %s:%d", (void *)(entry), __FILE__, __LINE__);             \
		if ((entry)->field.le_next != NULL) {                                                                          \
			if ((entry)->field.le_next->field.le_prev != &(entry)->field.le_next)                                  \
				panic("Bad link elm %p next->prev != elm, at %s:%d", (void *)(entry), __FILE__, __LINE__);     \
			(entry)->field.le_next->field.le_prev = (entry)->field.le_prev;                                        \
		}                                                                                                              \
		*(entry)->field.le_prev = (entry)->field.le_next;                                                              \
		(entry)->field.le_prev = KSTUB_GONE;                                                                           \
		(entry)->field.le_next = KSTUB_GONE;                                                                           \
	} while (0)

#define TAILQ_HEAD_INITIALIZER(head) { NULL, &(head).tqh_first }
#define TAILQ_HEAD(name, type)                                                                                                 \
	struct name {                                                                                                          \
		struct type *tqh_first;                                                                                        \
		struct type **tqh_last;                                                                                        \
	}
#define TAILQ_ENTRY(type)                                                                                                      \
	struct {                                                                                                               \
		struct type *tqe_next;                                                                                         \
		struct type **tqe_prev;                                                                                        \
	}
#define TAILQ_INIT(head) ((head)->tqh_first = NULL, (head)->tqh_last = &(head)->tqh_first)
#define TAILQ_FIRST(head) ((head)->tqh_first)
#define TAILQ_EMPTY(head) ((head)->tqh_first == NULL)
#define TAILQ_NEXT(entry, field) ((entry)->field.tqe_next)
#define TAILQ_LAST(head, name) (*(((struct name *)(void *)((head)->tqh_last))->tqh_last))
#define TAILQ_PREV(entry, name, field) (*(((struct name *)(void *)((entry)->field.tqe_prev))->tqh_last))
#define TAILQ_FOREACH(entry, head, field) for ((entry) = TAILQ_FIRST(head); (entry) != NULL; (entry) = TAILQ_NEXT(entry, field))
#define TAILQ_FOREACH_SAFE(entry, head, field, following)                                                                      \
	for ((entry) = TAILQ_FIRST(head); (entry) != NULL && ((following) = TAILQ_NEXT(entry, field), 1); (entry) = (following))
#define KSTUB_TAILQ_LINK(head, place, entry, field)                                                                            \
	do {                                                                                                                   \
		if (((entry)->field.tqe_next = *(place)) != NULL)                                                              \
			(entry)->field.tqe_next->field.tqe_prev = &(entry)->field.tqe_next;                                    \
		else                                                                                                           \
			(head)->tqh_last = &(entry)->field.tqe_next;                                                           \
		*(place) = (entry);                                                                                            \
		(entry)->field.tqe_prev = (place);                                                                             \
	} while (0)
#define TAILQ_INSERT_HEAD(head, entry, field) KSTUB_TAILQ_LINK(head, &(head)->tqh_first, entry, field)
#define TAILQ_INSERT_TAIL(head, entry, field)                                                                                  \
	do {                                                                                                                   \
		__typeof__((head)->tqh_last) kstub_place = (head)->tqh_last;                                                   \
		KSTUB_TAILQ_LINK(head, kstub_place, entry, field);                                                             \
	} while (0)
#define TAILQ_INSERT_AFTER(head, before, entry, field) KSTUB_TAILQ_LINK(head, &(before)->field.tqe_next, entry, field)
#define TAILQ_INSERT_BEFORE(after, entry, field)                                                                               \
	do {                                                                                                                   \
		__typeof__((after)->field.tqe_prev) kstub_place = (after)->field.tqe_prev;                                     \
		(entry)->field.tqe_next = (after);                                                                             \
		(entry)->field.tqe_prev = kstub_place;                                                                         \
		*kstub_place = (entry);                                                                                        \
		(after)->field.tqe_prev = &(entry)->field.tqe_next;                                                            \
	} while (0)
#define TAILQ_REMOVE(head, entry, field)                                                                                       \
	do {                                                                                                                   \
		if ((void *)(entry)->field.tqe_prev == KSTUB_GONE)                                                             \
			panic("TAILQ_REMOVE of an entry that was removed before, at %s:%d", __FILE__, __LINE__);               \
		if (*(entry)->field.tqe_prev != (entry))                                                                       \
			panic("Bad link elm %p prev->next != elm, at %s:%d", (void *)(entry), __FILE__, __LINE__);             \
		if ((entry)->field.tqe_next != NULL)                                                                           \
			(entry)->field.tqe_next->field.tqe_prev = (entry)->field.tqe_prev;                                     \
		else                                                                                                           \
			(head)->tqh_last = (entry)->field.tqe_prev;                                                            \
		*(entry)->field.tqe_prev = (entry)->field.tqe_next;                                                            \
		(entry)->field.tqe_prev = KSTUB_GONE;                                                                          \
		(entry)->field.tqe_next = KSTUB_GONE;                                                                          \
	} while (0)

/* --- lists: Linux, list_head -------------------------------------------------------------------------------------------- */

struct list_head {
	struct list_head *next, *prev;
};

/* LIST_HEAD(name) is Linux's: it defines a list.  LIST_HEAD(name, type) is FreeBSD's: it declares the head of one. */
#define KSTUB_PICK(first, second, which, ...) which
#define KSTUB_LINUX_HEAD(name) struct list_head name = { &(name), &(name) }
#define LIST_HEAD(...) KSTUB_PICK(__VA_ARGS__, KSTUB_LIST_HEAD, KSTUB_LINUX_HEAD, 0)(__VA_ARGS__)
#define LIST_HEAD_INIT(name) { &(name), &(name) }
#define INIT_LIST_HEAD(head) ((head)->next = (head)->prev = (head))

KSTUB_UNUSED static void
kstub_list_link(struct list_head *entry, struct list_head *prev, struct list_head *next)
{
	if (next->prev != prev || prev->next != next)
		panic("list_add corruption: prev->next should be next (%p), but was %p", (void *)next, (void *)prev->next);
	if (entry == prev || entry == next)
		panic("list_add double add: %p", (void *)entry);
	entry->next = next;
	entry->prev = prev;
	next->prev = prev->next = entry;
}

KSTUB_UNUSED static void
list_add(struct list_head *entry, struct list_head *head)
{
	kstub_list_link(entry, head, head->next);
}

KSTUB_UNUSED static void
list_add_tail(struct list_head *entry, struct list_head *head)
{
	kstub_list_link(entry, head->prev, head);
}

KSTUB_UNUSED static void
list_del(struct list_head *entry)
{
	if ((void *)entry->next == KSTUB_GONE || (void *)entry->prev == KSTUB_GONE)
		panic("list_del corruption: %p was deleted before", (void *)entry);
	if (entry->prev->next != entry || entry->next->prev != entry)
		panic("list_del corruption: the neighbours of %p do not point to it", (void *)entry);
	entry->prev->next = entry->next;
	entry->next->prev = entry->prev;
	entry->next = entry->prev = KSTUB_GONE;
}

KSTUB_UNUSED static void
list_del_init(struct list_head *entry)
{
	list_del(entry);
	INIT_LIST_HEAD(entry);
}

KSTUB_UNUSED static void
list_move(struct list_head *entry, struct list_head *head)
{
	list_del(entry);
	list_add(entry, head);
}

KSTUB_UNUSED static bool
list_empty(const struct list_head *head)
{
	return (head->next == head);
}

#define list_entry(pointer, type, member) container_of(pointer, type, member)
#define list_first_entry(head, type, member) list_entry((head)->next, type, member)
#define list_last_entry(head, type, member) list_entry((head)->prev, type, member)
#define list_next_entry(entry, member) list_entry((entry)->member.next, __typeof__(*(entry)), member)
#define list_prev_entry(entry, member) list_entry((entry)->member.prev, __typeof__(*(entry)), member)
#define list_for_each_entry(entry, head, member)                                                                               \
	for ((entry) = list_first_entry(head, __typeof__(*(entry)), member); &(entry)->member != (head);                       \
	     (entry) = list_next_entry(entry, member))
#define list_for_each_entry_safe(entry, following, head, member)                                                               \
	for ((entry) = list_first_entry(head, __typeof__(*(entry)), member), (following) = list_next_entry(entry, member);     \
	     &(entry)->member != (head); (entry) = (following), (following) = list_next_entry(following, member))

#endif
