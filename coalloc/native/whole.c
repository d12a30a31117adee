/*
 * whole.c: run a whole program, with a source of arenas that is played here; the answers are collected, and nothing is judged.
 *
 * A step on a buffer that is not live is passed over, as an alloc is whose buffer has been live before.  A buffer has a number,
 * from 0 to less than the number of buffers.  The source puts its ranges as the kit's own source does (testing/source.py),
 * and in some programs the kit compares the two.
 */
#include <stdlib.h>
#include <string.h>

#include "host.h"

enum action { A_ALLOC, A_XALLOC, A_FREE, A_RESIZE, A_RESERVE, A_REFREE, A_INSIDE, A_WILD, A_RECLAIM, A_STARVE };
enum order { UP, DOWN, APART, MIXED };
enum event { UNMAPPED, MAPPED, REFUSED };

enum { PASSED_OVER = 0x100, TOO_MANY = 0x101, MISUSED = 0x102 }; /* beside the statuses */
#define MOST_CALLS 200 /* of map in one step */

struct request {
	uint64_t limit, quantum, granule;
	uint64_t base, size, order; /* of the source */
	uint64_t n_buffers, n_steps, n_bounds;
	/* steps, bounds, and the text of the options follow */
};

struct step {
	uint32_t action;
	uint32_t buffer;
	uint64_t size;
	uint64_t at; /* an address; of an xalloc the number of its bounds */
};

struct done {
	uint32_t status;
	uint32_t n_events;
	uint64_t base;
};

struct happened {
	uint64_t kind, base, size;
};

struct range {
	uint64_t base, size;
};

struct buffer {
	uint64_t base, size;
	enum { NEVER, LIVE, GONE } state;
};

struct world {
	uint64_t base, size, granule;
	enum order order;
	struct range *ranges; /* ascending */
	size_t n_ranges, room;
	struct happened *events;
	size_t n_events, events_room;
	uint64_t starve, map_calls, calls_left;
	int trouble; /* the status that a step gets whatever the allocator says */
};

static void *
more(void *array, size_t n, size_t *room, size_t each)
{
	if (n < *room)
		return (array);
	*room = *room ? 2 * *room : 64;
	array = own_realloc(array, *room * each);
	if (array == NULL)
		host_fail("no memory is left for what a program does");
	return (array);
}

static uint64_t
rounded(uint64_t size, uint64_t unit)
{
	return (size + (unit - size % unit) % unit);
}

static void
note(struct world *world, enum event kind, uint64_t base, uint64_t size)
{
	world->events = more(world->events, world->n_events, &world->events_room, sizeof(*world->events));
	world->events[world->n_events++] = (struct happened){ kind, base, size };
}

/* Find room for a range; tell whether there is any.  Gap number i lies in front of range number i. */
static int
placed(const struct world *world, uint64_t size, uint64_t *base)
{
	uint64_t beside = world->order == APART ? world->granule : 0, at = world->base;
	struct range fits[2];
	size_t n_fits = 0, middle = 0, seen = 0;

	for (int counting = 1; counting >= 0; counting--) { /* twice: how many fit, then which is in the middle */
		at = world->base;
		seen = 0;
		for (size_t i = 0; i <= world->n_ranges; i++) {
			uint64_t end = i < world->n_ranges ? world->ranges[i].base - beside : world->base + world->size;
			uint64_t length = end - at;

			if ((int64_t)length > 0 && length >= size) {
				if (counting) {
					if (n_fits++ == 0)
						fits[0] = (struct range){ at, length };
					fits[1] = (struct range){ at, length };
				} else if (seen++ == middle) {
					*base = at + (length - size) / (2 * world->granule) * world->granule;
					return (1);
				}
			}
			if (i < world->n_ranges)
				at = world->ranges[i].base + world->ranges[i].size + beside;
		}
		if (n_fits == 0)
			return (0);
		if (world->order == DOWN || (world->order == MIXED && world->map_calls % 2)) {
			*base = fits[1].base + fits[1].size - size;
			return (1);
		}
		if (world->order != MIXED) {
			*base = fits[0].base;
			return (1);
		}
		middle = n_fits / 2;
	}
	return (0);
}

static int
map(void *cookie, uint64_t size, uint64_t *base)
{
	struct world *world = cookie;
	uint64_t whole = rounded(size, world->granule), at = 0;
	int starved = world->starve == 1;
	size_t i;

	host_require_call();
	world->map_calls++;
	if (world->calls_left == 0) {
		world->trouble = TOO_MANY;
		return (COALLOC_INVALID);
	}
	world->calls_left--;
	if (size == 0) {
		world->trouble = MISUSED;
		return (COALLOC_INVALID);
	}
	if (world->starve > 0)
		world->starve--;
	if (starved || whole < size || !placed(world, whole, &at)) {
		note(world, REFUSED, 0, size);
		return (COALLOC_NOSPACE);
	}
	world->ranges = more(world->ranges, world->n_ranges, &world->room, sizeof(*world->ranges));
	for (i = world->n_ranges++; i > 0 && world->ranges[i - 1].base > at; i--)
		world->ranges[i] = world->ranges[i - 1];
	world->ranges[i] = (struct range){ at, whole };
	note(world, MAPPED, at, whole);
	*base = at;
	return (COALLOC_OK);
}

static int
unmap(void *cookie, uint64_t base, uint64_t size)
{
	struct world *world = cookie;
	uint64_t whole = rounded(size, world->granule);

	host_require_call();
	for (size_t i = 0; i < world->n_ranges; i++)
		if (world->ranges[i].base == base && world->ranges[i].size == whole) {
			memmove(&world->ranges[i], &world->ranges[i + 1], (world->n_ranges - i - 1) * sizeof(*world->ranges));
			world->n_ranges--;
			note(world, UNMAPPED, base, whole);
			return (COALLOC_OK);
		}
	world->trouble = MISUSED;
	return (COALLOC_INVALID);
}

/* Tell whether a live buffer begins at an address. */
static int
taken(const struct buffer *buffers, uint64_t n, uint64_t base)
{
	for (uint64_t i = 0; i < n; i++)
		if (buffers[i].state == LIVE && buffers[i].base == base)
			return (1);
	return (0);
}

void *
whole_run(const void *payload, size_t *answered)
{
	const struct request *request = payload;
	const struct step *steps = (const struct step *)(request + 1);
	const struct coalloc_bounds *bounds = (const struct coalloc_bounds *)(steps + request->n_steps);
	const char *options = (const char *)(bounds + request->n_bounds);
	struct world world = { request->base, request->size, request->granule, (enum order)request->order,
		NULL, 0, 0, NULL, 0, 0, 0, 0, MOST_CALLS, 0 };
	struct coalloc_source source = { request->granule, &world, map, unmap };
	struct buffer *buffers = own_calloc(request->n_buffers + 1, sizeof(*buffers));
	struct done *dones = own_calloc(request->n_steps + 1, sizeof(*dones));
	void *space = NULL;
	char *all;
	int status, entered;

	if (buffers == NULL || dones == NULL)
		host_fail("no memory is left for a program");
	entered = host_enter();
	status = subject.open(&source, request->limit, request->quantum, options, &space);
	host_leave(entered);
	dones[0].status = (uint32_t)status;
	dones[0].n_events = (uint32_t)world.n_events;
	for (uint64_t i = 0; i < request->n_steps && status == COALLOC_OK; i++) {
		const struct step *step = &steps[i];
		struct buffer *buffer = &buffers[step->buffer];
		struct done *done = &dones[i + 1];
		size_t before = world.n_events;
		uint64_t at = step->at;
		int answer = PASSED_OVER;

		done->base = 0xa5a5a5a5a5a5a5a5u;
		world.calls_left = MOST_CALLS;
		world.trouble = 0;
		entered = host_enter();
		switch ((enum action)step->action) {
		case A_ALLOC:
		case A_XALLOC:
		case A_RESERVE:
			if (buffer->state != NEVER)
				break;
			if (step->action == A_ALLOC)
				answer = subject.alloc(space, step->size, &done->base);
			else if (step->action == A_XALLOC)
				answer = subject.xalloc(space, step->size, &bounds[step->at], &done->base);
			else {
				answer = subject.reserve(space, step->at, step->size);
				done->base = step->at;
			}
			if (answer == COALLOC_OK)
				*buffer = (struct buffer){ done->base, rounded(step->size, request->quantum), LIVE };
			break;
		case A_FREE:
			if (buffer->state != LIVE)
				break;
			answer = subject.free(space, buffer->base);
			buffer->state = GONE;
			break;
		case A_RESIZE:
			if (buffer->state != LIVE)
				break;
			answer = subject.resize(space, buffer->base, step->size, &done->base);
			if (answer == COALLOC_OK)
				*buffer = (struct buffer){ done->base, rounded(step->size, request->quantum), LIVE };
			break;
		case A_REFREE:
		case A_INSIDE:
		case A_WILD:
			if (step->action == A_REFREE) {
				if (buffer->state != GONE)
					break;
				at = buffer->base;
			} else if (step->action == A_INSIDE) {
				if (buffer->state != LIVE || step->size == 0 || step->size >= buffer->size)
					break;
				at = buffer->base + step->size;
			}
			if (!taken(buffers, request->n_buffers, at))
				answer = subject.free(space, at);
			break;
		case A_RECLAIM:
			answer = subject.reclaim(space, &done->base);
			break;
		case A_STARVE:
			world.starve = step->size;
			break;
		}
		host_leave(entered);
		done->status = (uint32_t)(world.trouble ? world.trouble : answer);
		done->n_events = (uint32_t)(world.n_events - before);
	}
	if (status == COALLOC_OK) {
		entered = host_enter();
		subject.close(space);
		host_leave(entered);
	}
	guard_check(1);
	*answered = (request->n_steps + 1) * sizeof(*dones) + world.n_events * sizeof(*world.events);
	all = own_malloc(*answered);
	if (all == NULL)
		host_fail("no memory is left for the answers");
	memcpy(all, dones, (request->n_steps + 1) * sizeof(*dones));
	if (world.n_events > 0)
		memcpy(all + (request->n_steps + 1) * sizeof(*dones), world.events, world.n_events * sizeof(*world.events));
	own_free(dones);
	own_free(buffers);
	own_free(world.ranges);
	own_free(world.events);
	return (all);
}
