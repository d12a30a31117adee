struct buffer {
	uint64_t base, size;
	enum { NEVER, LIVE, GONE } state;
};

/* One allocator, its source of arenas, and its buffers. */
struct world {
	struct coalloc_source source;
	void *space;
	struct buffer buffers[N_BUFFERS];
	struct {
		uint64_t base, size;
	} ranges[N_RANGES + 1];
	int n_ranges, starving, odd_map, meanwhile, n_answers;
	uint64_t limit, answers[2 * N_STEPS + 2];
};

static struct world worlds[2], *now = &worlds[0];
static uint64_t seen; /* a hash of what is seen after a step */
static const char *step = "open";
static int failed, doing = -1;

static uint64_t
rounded(uint64_t size, uint64_t unit)
{
	return (size + (unit - size % unit) % unit);
}

static void
fold(uint64_t word)
{
	seen = (seen ^ word) * 1099511628211u;
}

/* Tell whether a live buffer begins at an address. */
static inline int
is_live(uint64_t base)
{
	for (int i = 0; i < N_BUFFERS; i++)
		if (now->buffers[i].state == LIVE && now->buffers[i].base == base)
			return (1);
	return (0);
}

/* --- the source of arenas ----------------------------------------------------------------------------------------------- */

/* What the source does in the middle of a map call: free a buffer, or reclaim, as memory pressure makes a kernel do. */
static void
in_the_middle(struct world *world)
{
	int n = world->meanwhile;

	world->meanwhile = -1;
	if (n >= 0 && n != doing && world->buffers[n].state == LIVE) {
		(void)SUBJECT(free)(world->space, world->buffers[n].base);
		world->buffers[n].state = GONE;
	}
#if HAS_RECLAIM && HAS_PRESSURE
	static int reclaiming;

	if (!reclaiming) {
		uint64_t unmapped;

		reclaiming = 1;
		(void)SUBJECT(reclaim)(world->space, &unmapped);
		reclaiming = 0;
	}
#endif
}

static int
source_map(void *cookie, uint64_t size, uint64_t *base)
{
	struct world *world = cookie;
	uint64_t whole = rounded(size, GRANULE), at = SOURCE_BASE, beside = SOURCE_APART ? GRANULE : 0, fits[N_RANGES + 2][2];
	int n_fits = 0, index, i, down;

	world->odd_map = !world->odd_map;
	if (size == 0 || whole < size)
		FAIL("%s: the source is asked to map %llu bytes", step, (unsigned long long)size);
	in_the_middle(world);
	if (world->starving > 0 && --world->starving == 0)
		return (COALLOC_NOSPACE);
	for (i = 0; i <= world->n_ranges; i++) {
		uint64_t end = i < world->n_ranges ? world->ranges[i].base - beside : SOURCE_BASE + SOURCE_SIZE;

		if (end - at <= SOURCE_SIZE && end - at >= whole && end != at) {
			fits[n_fits][0] = at;
			fits[n_fits++][1] = end;
		}
		if (i < world->n_ranges)
			at = world->ranges[i].base + world->ranges[i].size + beside;
	}
	if (failed || n_fits == 0 || world->n_ranges == N_RANGES)
		return (COALLOC_NOSPACE);
	down = SOURCE_DOWN || (SOURCE_MIXED && world->odd_map);
	index = down ? n_fits - 1 : SOURCE_MIXED ? n_fits / 2 : 0;
	at = down ? fits[index][1] - whole : fits[index][0];
	if (SOURCE_MIXED && !down)
		at += (fits[index][1] - fits[index][0] - whole) / (2 * GRANULE) * GRANULE;
	for (i = world->n_ranges++; i > 0 && world->ranges[i - 1].base > at; i--)
		world->ranges[i] = world->ranges[i - 1];
	world->ranges[i].base = *base = at;
	world->ranges[i].size = whole;
	return (COALLOC_OK);
}

static int
source_unmap(void *cookie, uint64_t base, uint64_t size)
{
	struct world *world = cookie;

	for (int i = 0; i < world->n_ranges; i++)
		if (world->ranges[i].base == base && world->ranges[i].size == rounded(size, GRANULE)) {
			for (world->n_ranges--; i < world->n_ranges; i++)
				world->ranges[i] = world->ranges[i + 1];
			return (COALLOC_OK);
		}
	FAIL("%s: an arena is unmapped that was not mapped so: %#llx+%llu", step, (unsigned long long)base,
	    (unsigned long long)size);
	return (COALLOC_INVALID);
}

/* --- what is seen, and what each step must leave ------------------------------------------------------------------------ */

#if HAS_WALK
static void
show(void *cookie, const struct coalloc_segment *segment)
{
	(void)cookie;
	fold(segment->base);
	fold(segment->size);
	fold(segment->arena);
	fold(segment->kind);
}
#endif

static void
look(int status, uint64_t base)
{
	uint64_t mapped = 0;

	now->answers[now->n_answers++] = (uint64_t)status;
	now->answers[now->n_answers++] = base;
	seen = 14695981039346656037u;
	fold((uint64_t)status);
	fold(base);
	for (int i = 0; i < now->n_ranges; i++) {
		mapped += now->ranges[i].size;
		fold(now->ranges[i].base);
		fold(now->ranges[i].size);
	}
	if (PRINTED)
		FAIL("%s: it prints on standard output", step);
	if (IS_LIMITED && mapped > now->limit)
		FAIL("%s: %llu bytes are mapped, and the limit is %llu", step, (unsigned long long)mapped,
		    (unsigned long long)now->limit);
#if HAS_WALK
	SUBJECT(walk)(now->space, show, NULL);
#endif
#if HAS_STATS
	uint64_t words[sizeof(struct coalloc_stats) / sizeof(uint64_t)];
	struct coalloc_stats stats;

	memset(&stats, 0xff, sizeof(stats));
	SUBJECT(stats)(now->space, &stats);
	memcpy(words, &stats, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		fold(words[i]);
#endif
#if HAS_SIZE_OF
	for (int n = 0; n < N_BUFFERS; n++)
		if (now->buffers[n].state == LIVE) {
			uint64_t size = 0xa5a5a5a5a5a5a5a5u;

			fold((uint64_t)SUBJECT(size_of)(now->space, now->buffers[n].base, &size));
			fold(size);
		}
	for (int n = 0; n < N_BUFFERS && CHECKS_FREES; n++)
		if (now->buffers[n].state == GONE && !is_live(now->buffers[n].base)) {
			uint64_t size;

			fold((uint64_t)SUBJECT(size_of)(now->space, now->buffers[n].base, &size));
		}
#endif
}

/* Enter what was granted, after a look at where it lies. */
static void
enter(int n, int status, uint64_t base, uint64_t size)
{
	int inside = 0;

	size = rounded(size, QUANTUM);
	if (status == COALLOC_OK) {
		for (int i = 0; i < now->n_ranges; i++)
			inside |= base >= now->ranges[i].base && base - now->ranges[i].base < now->ranges[i].size &&
			    size <= now->ranges[i].base + now->ranges[i].size - base;
		if (IS_PLAIN && !inside)
			FAIL("%s: %#llx+%llu lies in no arena", step, (unsigned long long)base, (unsigned long long)size);
		if (base % QUANTUM)
			FAIL("%s: %#llx is no multiple of the quantum", step, (unsigned long long)base);
		for (int i = 0; i < N_BUFFERS; i++)
			if (i != n && now->buffers[i].state == LIVE && base < now->buffers[i].base + now->buffers[i].size &&
			    now->buffers[i].base < base + size)
				FAIL("%s: %#llx+%llu overlaps the live buffer %d", step, (unsigned long long)base, (unsigned long long)size, i);
		now->buffers[n].base = base;
		now->buffers[n].size = size;
		now->buffers[n].state = LIVE;
	}
	look(status, status == COALLOC_OK ? base : 0);
}

static void
begin(const char *what, int n)
{
	step = what;
	doing = n;
	if (now == &worlds[0])
		NOTE("%s", what);
}

static int
is_no_size(uint64_t size, int status)
{
	if (size != 0 && size <= (uint64_t)1 << 63)
		return (0);
	if (status == COALLOC_OK)
		FAIL("%s: it was accepted, and is no size that a request may have", step);
	look(status, 0);
	return (1);
}

static void
open_world(int number, uint64_t limit)
{
	now = &worlds[number];
	memset(now, 0, sizeof(*now));
	now->source.granule = GRANULE;
	now->source.cookie = now;
	now->source.map = source_map;
	now->source.unmap = source_unmap;
	now->limit = limit;
	now->meanwhile = -1;
	begin("open", -1);
	if (SUBJECT(open)(&now->source, limit, QUANTUM, OPTIONS, &now->space) != COALLOC_OK)
		FAIL("%s: it cannot be opened", step);
	else
		look(COALLOC_OK, 0);
}

static inline void
do_alloc(const char *what, int n, uint64_t size)
{
	uint64_t base = 0;
	int status;

	if (failed || now->buffers[n].state != NEVER)
		return;
	begin(what, n);
	status = SUBJECT(alloc)(now->space, size, &base);
	if (!is_no_size(size, status))
		enter(n, status, base, size);
}

static inline void
do_free(const char *what, int n)
{
	int status;

	if (failed || now->buffers[n].state != LIVE)
		return;
	begin(what, n);
	status = SUBJECT(free)(now->space, now->buffers[n].base);
	if (status != COALLOC_OK)
		FAIL("%s: free(%#llx) returned %d", step, (unsigned long long)now->buffers[n].base, status);
	now->buffers[n].state = GONE;
	look(status, 0);
}

/* Free an address that is not the base of a live buffer. */
static inline void
do_bad_free(const char *what, uint64_t base)
{
	int status;

	if (failed || is_live(base))
		return;
	begin(what, -1);
	status = SUBJECT(free)(now->space, base);
	if (status == COALLOC_OK)
		FAIL("%s: free(%#llx) was accepted, and no live buffer begins there", step, (unsigned long long)base);
	look(status, 0);
}

static inline void
do_refree(const char *what, int n)
{
	if (now->buffers[n].state == GONE)
		do_bad_free(what, now->buffers[n].base);
}

static inline void
do_free_inside(const char *what, int n, uint64_t by)
{
	if (now->buffers[n].state == LIVE && by > 0 && by < now->buffers[n].size)
		do_bad_free(what, now->buffers[n].base + by);
}

#if HAS_XALLOC
static inline void
do_xalloc(const char *what, int n, uint64_t size, struct coalloc_bounds bounds)
{
	uint64_t base = 0;
	int status;

	if (failed || now->buffers[n].state != NEVER)
		return;
	begin(what, n);
	status = SUBJECT(xalloc)(now->space, size, &bounds, &base);
	if (is_no_size(size, status))
		return;
	if (status == COALLOC_OK &&
	    ((bounds.align && base % bounds.align != bounds.phase) || base < bounds.lo || base + size - 1 > bounds.hi ||
		(bounds.nocross && base / bounds.nocross != (base + rounded(size, QUANTUM) - 1) / bounds.nocross)))
		FAIL("%s: %#llx does not meet the constraints", step, (unsigned long long)base);
	enter(n, status, base, size);
}
#endif

#if HAS_RESIZE
static inline void
do_resize(const char *what, int n, uint64_t size)
{
	uint64_t base = 0;
	int status;

	if (failed || now->buffers[n].state != LIVE)
		return;
	begin(what, n);
	status = SUBJECT(resize)(now->space, now->buffers[n].base, size, &base);
	if (!is_no_size(size, status))
		enter(n, status, base, size);
}
#endif

#if HAS_RESERVE
static inline void
do_reserve(const char *what, int n, uint64_t size, uint64_t at)
{
	int status;

	if (failed || now->buffers[n].state != NEVER)
		return;
	begin(what, n);
	status = SUBJECT(reserve)(now->space, at, size);
	if (!is_no_size(size, status))
		enter(n, status, at, size);
}
#endif

#if HAS_RECLAIM
static inline void
do_reclaim(const char *what)
{
	uint64_t unmapped = 0xa5a5a5a5a5a5a5a5u;
	int status;

	if (failed)
		return;
	begin(what, -1);
	status = SUBJECT(reclaim)(now->space, &unmapped);
	look(status, unmapped);
}
#endif

/* --- what the last step must come to ------------------------------------------------------------------------------------ */

/* The request of a buffer has to be served, at one of these addresses if there are any. */
static inline void
expect_served(int n, int n_places, const uint64_t *places, const char *message)
{
	int right = n_places == 0;

	if (failed)
		return;
	for (int i = 0; i < n_places; i++)
		right |= now->buffers[n].base == places[i];
	if (now->buffers[n].state != LIVE || !right)
		FAIL("%s: expected otherwise: %s", step, message);
}

/* What is seen after the last step must not be what was seen when the fault was found. */
static inline void
expect_other_than(uint64_t wrong, const char *message)
{
	if (!failed && seen == wrong)
		FAIL("%s: expected otherwise: %s", step, message);
}

/* The same program must have the same answers alone, beside another allocator, and beside one with half the limit. */
static void do_step(int number);

static inline void
expect_same_beside_another(const char *message)
{
	static uint64_t alone[2 * N_STEPS + 2];
	int n_alone = 0;

	for (int round = 0; round < 3 && !failed; round++) {
		if (round > 0)
			open_world(1, round == 1 ? LIMIT : LESS);
		open_world(0, LIMIT);
		for (int i = 0; i < N_STEPS && !failed; i++) {
			if (round > 0) {
				now = &worlds[1];
				do_step(i);
			}
			now = &worlds[0];
			do_step(i);
		}
		if (round == 0) {
			n_alone = now->n_answers;
			memcpy(alone, now->answers, sizeof(alone));
		} else if (!failed && (now->n_answers != n_alone || memcmp(alone, now->answers, sizeof(alone)) != 0))
			FAIL("beside another allocator it gives other answers than alone: %s", message);
		if (round > 0)
			SUBJECT(close)(worlds[1].space);
		SUBJECT(close)(worlds[0].space);
	}
}

static inline void
run(void)
{
	open_world(0, LIMIT);
	for (int i = 0; i < N_STEPS && !failed; i++)
		do_step(i);
}
