/*
 * host.c: the process in which an allocator in C lives; it does what coalloc asks for, and survives nothing that it must not.
 *
 * It is compiled with the allocator, or opens it as a shared library: host REQUESTS ANSWERS PREFIX CPU WALL [LIBRARY].  Requests
 * and answers are frames on two pipes.  While the allocator asks its source for an arena, the host sends a frame of its own and
 * serves requests until it is answered; so a source may call the allocator again.  A request may be a whole program, too.
 *
 * What the allocator prints is a fault, and is reported with the answer.  A signal is reported on standard error, with the C
 * backtrace where the C library has one; then the process ends by it.  So does a call that takes more than CPU milliseconds of
 * processor time, or WALL milliseconds at all.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#if defined(__has_include)
#if __has_include(<execinfo.h>)
#include <execinfo.h>
#define HAS_BACKTRACE 1
#endif
#endif

#include "host.h"

enum kind {
	OPEN, CLOSE, ALLOC, FREE, XALLOC, RESIZE, RESERVE, RECLAIM, SIZE_OF, WALK, STATS, CONTRACT, /* asked for */
	MAP, UNMAP, /* asked of the source */
	ANSWER, REPLY,
	WHOLE, /* a whole program */
	HELD,  /* bytes that the allocator has of this process */
	PRINTED = 0x100 /* beside ANSWER: something is on standard output */
};

struct subject subject;

struct instance {
	struct coalloc_source source;
	void *space;
	uint32_t number;
};

#define UNSET 0xa5a5a5a5a5a5a5a5u /* in a result that the allocator has to set */
#define TICK 25                    /* milliseconds between two looks at whether a call hangs */
#define MOST_MEMORY ((rlim_t)2 << 30)
#define MOST_STACK ((rlim_t)256 << 10) /* a kernel has less */

static int requests, answers;
static pthread_t main_thread;
static struct instance **instances;
static uint32_t n_instances;
static volatile int current; /* the serial number of the call that is under way; 0 while there is none, or it waits */
static int serial;
static long most_cpu, most_wall;
static const int *locks_held; /* of kstub.h; NULL if the allocator does without */
static const char *const *last_lock;

static void
complain(const char *text)
{
	ssize_t ignored = write(2, text, strlen(text));

	(void)ignored;
}

/* Write where the calls under way are, as "@ file offset", which a debugger's tools turn into lines of source. */
static void
trace(void)
{
#ifdef HAS_BACKTRACE
	void *frames[64];
	int n = backtrace(frames, 64);

	for (int i = 0; i < n; i++) {
		Dl_info where;
		char line[512];

		if (dladdr(frames[i], &where) && where.dli_fname != NULL) {
			snprintf(line, sizeof(line), "@ %s %#lx\n", where.dli_fname,
			    (unsigned long)((char *)frames[i] - (char *)where.dli_fbase));
			complain(line);
		}
	}
#endif
}

void
host_end(int status, const char *text)
{
	complain(text);
	trace();
	_exit(status);
}

void
host_fail(const char *text)
{
	complain(text);
	host_end(ENDED_MISUSE, "\n");
}

int
host_enter(void)
{
	serial = serial == INT32_MAX ? 1 : serial + 1;
	return (current = serial);
}

void
host_leave(int entered)
{
	if (current != entered)
		host_fail("a call was left by a jump out of another one (longjmp)");
	current = 0;
	if (locks_held != NULL && *locks_held != 0) {
		complain(last_lock != NULL && *last_lock != NULL ? *last_lock : "a lock");
		host_fail(" is still held when the call returns");
	}
}

void
host_require_call(void)
{
	if (!pthread_equal(pthread_self(), main_thread))
		host_fail("the source was called from another thread than the allocator was");
	if (current == 0)
		host_fail("the source was called while no call of the allocator was under way");
}

static void
transfer(int fd, void *data, size_t size, int out)
{
	char *at = data;

	while (size > 0) {
		ssize_t n = out ? write(fd, at, size) : read(fd, at, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(0); /* nobody is there any more */
		at += n;
		size -= (size_t)n;
	}
}

static void serve(int until_reply, struct frame *reply);

static void
ask(struct instance *who, uint32_t kind, uint64_t first, uint64_t second, struct frame *reply)
{
	struct frame question = { kind, who->number, 0, { first, second, 0, 0, 0, 0 } };
	int were = current;

	host_require_call();
	current = 0;
	transfer(answers, &question, sizeof(question), 1);
	serve(1, reply);
	current = were;
}

static int
map(void *cookie, uint64_t size, uint64_t *base)
{
	struct frame reply;

	ask(cookie, MAP, size, 0, &reply);
	if (reply.status == COALLOC_OK)
		*base = reply.a[0];
	return ((int)reply.status);
}

static int
unmap(void *cookie, uint64_t base, uint64_t size)
{
	struct frame reply;

	ask(cookie, UNMAP, base, size, &reply);
	return ((int)reply.status);
}

struct walked {
	struct coalloc_segment *segments;
	size_t n, room;
};

static void
show(void *cookie, const struct coalloc_segment *segment)
{
	struct walked *walked = cookie;

	if (walked->n == walked->room) {
		walked->room = walked->room ? 2 * walked->room : 64;
		walked->segments = own_realloc(walked->segments, walked->room * sizeof(*segment));
		if (walked->segments == NULL)
			host_fail("no memory is left for the segments that walk shows");
	}
	walked->segments[walked->n++] = *segment;
}

static struct instance *
opened(const struct frame *asked, const char *options, int *status)
{
	struct instance *it = own_calloc(1, sizeof(*it));
	struct instance **more = own_realloc(instances, (n_instances + 1) * sizeof(*more));

	if (it == NULL || more == NULL)
		host_fail("no memory is left for another allocator");
	instances = more;
	instances[n_instances] = it;
	it->number = n_instances++;
	it->source.granule = asked->a[2];
	it->source.cookie = it;
	it->source.map = map;
	it->source.unmap = unmap;
	*status = subject.open(&it->source, asked->a[0], asked->a[1], options, &it->space);
	return (it);
}

/* Tell whether the allocator has printed something since it was made. */
static int
printed(void)
{
	struct stat output;

	fflush(stdout);
	return (fstat(1, &output) == 0 && output.st_size > 0);
}

static void
answer(const struct frame *asked, void *payload)
{
	struct frame said = { ANSWER, COALLOC_OK, 0, { UNSET, 0, 0, 0, 0, 0 } };
	struct instance *it = NULL;
	struct walked walked = { NULL, 0, 0 };
	struct coalloc_stats stats;
	struct coalloc_bounds bounds;
	void *more = NULL;
	size_t size = 0;
	const char *contract;
	uint32_t was = asked->kind;
	int status = COALLOC_OK, entered;

	if (was == WHOLE) {
		more = whole_run(payload, &size);
		said.size = size;
		said.kind |= printed() ? PRINTED : 0;
		transfer(answers, &said, sizeof(said), 1);
		transfer(answers, more, size, 1);
		own_free(more);
		return;
	}
	if (was == HELD) {
		said.a[0] = guard_held();
		transfer(answers, &said, sizeof(said), 1);
		return;
	}
	if (was != OPEN && was != CONTRACT)
		it = instances[asked->status];
	entered = host_enter();
	switch (was) {
	case OPEN:
		it = opened(asked, payload, &status);
		said.a[0] = it->number;
		break;
	case CLOSE:
		subject.close(it->space);
		guard_check(1);
		break;
	case ALLOC:
		status = subject.alloc(it->space, asked->a[0], &said.a[0]);
		break;
	case FREE:
		status = subject.free(it->space, asked->a[0]);
		break;
	case XALLOC:
		bounds.align = asked->a[1];
		bounds.phase = asked->a[2];
		bounds.nocross = asked->a[3];
		bounds.lo = asked->a[4];
		bounds.hi = asked->a[5];
		status = subject.xalloc(it->space, asked->a[0], &bounds, &said.a[0]);
		break;
	case RESIZE:
		status = subject.resize(it->space, asked->a[0], asked->a[1], &said.a[0]);
		break;
	case RESERVE:
		status = subject.reserve(it->space, asked->a[0], asked->a[1]);
		break;
	case RECLAIM:
		status = subject.reclaim(it->space, &said.a[0]);
		break;
	case SIZE_OF:
		status = subject.size_of(it->space, asked->a[0], &said.a[0]);
		break;
	case WALK:
		subject.walk(it->space, show, &walked);
		more = walked.segments;
		said.size = walked.n * sizeof(*walked.segments);
		break;
	case STATS:
		memset(&stats, 0xff, sizeof(stats)); /* COALLOC_UNKNOWN */
		subject.stats(it->space, &stats);
		more = &stats;
		said.size = sizeof(stats);
		break;
	case CONTRACT:
		contract = subject.contract();
		more = (void *)(uintptr_t)contract;
		said.size = contract ? strlen(contract) : 0;
		break;
	default:
		host_fail("an unknown request");
	}
	if (was != asked->kind)
		host_fail("a call returned from another one (longjmp)");
	host_leave(entered);
	if (was == CLOSE) {
		own_free(it);
		instances[asked->status] = NULL;
	}
	guard_check(0);
	said.status = (uint32_t)status;
	said.kind |= printed() ? PRINTED : 0;
	transfer(answers, &said, sizeof(said), 1);
	if (said.size > 0)
		transfer(answers, more, said.size, 1);
	own_free(walked.segments);
}

static void
serve(int until_reply, struct frame *reply)
{
	struct frame asked;

	for (;;) {
		char *payload;

		transfer(requests, &asked, sizeof(asked), 0);
		if (until_reply && asked.kind == REPLY) {
			*reply = asked;
			return;
		}
		payload = own_calloc(1, asked.size + 1);
		if (payload == NULL)
			host_fail("no memory is left for a request");
		transfer(requests, payload, asked.size, 0);
		answer(&asked, payload);
		own_free(payload);
	}
}

#ifndef COALLOC_SANITIZED
static void
died(int number)
{
	trace();
	signal(number, SIG_DFL);
	raise(number);
}
#endif

static long
milliseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (now.tv_sec * 1000L + now.tv_nsec / 1000000);
}

static void
tick(int number)
{
	static int seen;
	static long cpu, wall;

	(void)number;
	if (current == 0 || current != seen) {
		seen = current;
		cpu = milliseconds(CLOCK_PROCESS_CPUTIME_ID);
		wall = milliseconds(CLOCK_MONOTONIC);
	} else if (milliseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu >= most_cpu || milliseconds(CLOCK_MONOTONIC) - wall >= most_wall)
		host_end(ENDED_HANG, "");
}

static void
left(void)
{
	if (current)
		host_end(ENDED_EXIT, "");
}

static void
watch(void)
{
	static char stack[1 << 16];
	stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action;
	struct itimerval each = { { 0, TICK * 1000 }, { 0, TICK * 1000 } };
	struct rlimit none = { 0, 0 };

	memset(&action, 0, sizeof(action));
	setrlimit(RLIMIT_CORE, &none);
#ifndef COALLOC_SANITIZED
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP };
	struct rlimit most = { MOST_MEMORY, MOST_MEMORY }, deep = { MOST_STACK, MOST_STACK };

	setrlimit(RLIMIT_STACK, &deep);
	setrlimit(RLIMIT_AS, &most); /* so that an allocator that asks without end gets NULL, and this machine keeps its memory */
	sigaltstack(&other, NULL);
	action.sa_handler = died;
	action.sa_flags = SA_ONSTACK;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
		sigaction(fatal[i], &action, NULL);
#else
	(void)other;
#endif
	action.sa_handler = tick;
	action.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &each, NULL);
	atexit(left);
#ifdef HAS_BACKTRACE
	void *first[1];

	backtrace(first, 1); /* the first call loads a library, which a signal handler must not */
#endif
}

static void *
found(void *library, const char *prefix, const char *name)
{
	char whole[256];

	if ((size_t)snprintf(whole, sizeof(whole), "%s%s", prefix, name) >= sizeof(whole))
		host_fail("the prefix is too long");
	return (dlsym(library, whole));
}

int
main(int argc, char **argv)
{
	static const char *const names[] = {
		"open", "close", "alloc", "free", "contract", "xalloc", "resize", "reserve", "reclaim", "size_of", "walk", "stats"
	};
	void *library, *symbols[12], *version;
	struct frame hello = { ANSWER, COALLOC_OK, 0, { 0, 0, 0, 0, 0, 0 } };

	if (argc < 6)
		host_fail("host REQUESTS ANSWERS PREFIX CPU WALL [LIBRARY]");
	requests = atoi(argv[1]);
	answers = atoi(argv[2]);
	most_cpu = atol(argv[4]);
	most_wall = atol(argv[5]);
	main_thread = pthread_self();
	library = dlopen(argc > 6 ? argv[6] : NULL, RTLD_NOW);
	if (library == NULL)
		host_fail(dlerror());
	for (size_t i = 0; i < 12; i++) {
		symbols[i] = found(library, argv[3], names[i]);
		if (symbols[i] != NULL)
			hello.a[0] |= (uint64_t)1 << i;
	}
	memcpy(&subject, symbols, sizeof(subject));
	version = found(library, argv[3], "coalloc_abi");
	locks_held = dlsym(library, "coalloc_kstub_held");
	last_lock = dlsym(library, "coalloc_kstub_last");
	hello.a[1] = version ? *(const uint32_t *)version : 0;
	watch();
	transfer(answers, &hello, sizeof(hello), 1);
	serve(0, NULL);
	return (0);
}
