/*
 * A probe of pipes: the calls of programs that were drawn elsewhere, and what this kernel answers, as JSON on standard output.
 *
 * Compile it with a C compiler and nothing else:
 *
 *     cc -o probe probe.c && ./probe > answers.jsonl
 *
 * It changes no setting of the system.  What this kernel does not have is answered with -38.
 */
#ifdef __linux__
#define _GNU_SOURCE
#endif

#include <sys/types.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WRITE, READ, SIZE, TEE, SPLICE, FROM_FILE, VMSPLICE, PACKET, CLOSE, PIPE, MORE };

static const char *const names[] = {
	"write", "read", "size", "tee", "splice", "file", "vmsplice", "packet", "close", "pipe", "more"
};
static const int n_numbers[] = { 2, 2, 2, 2, 2, 3, 5, 2, 2, 1, 2 };

struct step {
	int call;
	long long a[5];
};

/* The programs; each ends with a call of -1. */
static const struct step steps[] = {
/*STEPS*/
};

#define FILE_SIZE (4L << 20)
#define AREA (4L << 20)
#define MOST (1L << 22)
#define KEPT 1024

static int fds[2][2] = { { -1, -1 }, { -1, -1 } };
static int kept[KEPT], n_kept;
static char *buffer, *area;
static FILE *zeros;
static long page;

/* Errors have the numbers of Linux on x86. */
static long long
failed(void)
{
	static const struct { int here, there; } numbers[] = {
		{ EPERM, 1 }, { EINTR, 4 }, { EBADF, 9 }, { EAGAIN, 11 }, { ENOMEM, 12 }, { EFAULT, 14 }, { EBUSY, 16 },
		{ EINVAL, 22 }, { ENFILE, 23 }, { EMFILE, 24 }, { ESPIPE, 29 }, { EPIPE, 32 }, { ENOSYS, 38 },
	};
	size_t i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (numbers[i].here == errno)
			return (-numbers[i].there);
	return (-1000 - errno);
}

static unsigned long
checksum(const char *bytes, long n)
{
	unsigned long crc = 0xffffffffUL;
	long i;
	int bit;

	for (i = 0; i < n; i++) {
		crc ^= (unsigned char)bytes[i];
		for (bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320UL : 0);
	}
	return (~crc & 0xffffffffUL);
}

static int
closes(int pipe, int end)
{
	int fd = fds[pipe][end];

	fds[pipe][end] = -1;
	if (fd < 0) {
		errno = EBADF;
		return (-1);
	}
	return (close(fd));
}

static int
makes(int ends[2])
{
	if (pipe(ends) != 0)
		return (-1);
	if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0)
		return (-1);
	return (0);
}

static int
begins(int pipe)
{
	(void)closes(pipe, 0);
	(void)closes(pipe, 1);
	if (makes(fds[pipe]) == 0)
		return (0);
	fds[pipe][0] = fds[pipe][1] = -1;
	return (-1);
}

static long long
does(const struct step *step, long number, unsigned long *sum)
{
	const long long *a = step->a;
	long long done = -1;
#ifdef __linux__
	int other;
#endif

	switch (step->call) {
	case WRITE:
		if (a[1] > MOST) {
			errno = ENOSYS;
			break;
		}
		memset(buffer, (int)(number % 251 + 1), (size_t)a[1]);
		done = write(fds[a[0]][1], buffer, (size_t)a[1]);
		break;
	case READ:
		done = read(fds[a[0]][0], buffer, a[1] > MOST ? (size_t)MOST : (size_t)a[1]);
		if (done >= 0)
			*sum = checksum(buffer, (long)done);
		break;
	case CLOSE:
		done = closes((int)a[0], (int)a[1]);
		break;
	case PIPE:
		done = begins((int)a[0]);
		break;
#ifdef __linux__
	case SIZE:
		done = fcntl(fds[a[0]][0] >= 0 ? fds[a[0]][0] : fds[a[0]][1], F_SETPIPE_SZ, (long)a[1]);
		break;
	case TEE:
		other = fds[1 - a[0]][1];
		done = tee(fds[a[0]][0], other, (size_t)a[1], SPLICE_F_NONBLOCK);
		break;
	case SPLICE:
		other = fds[1 - a[0]][1];
		done = splice(fds[a[0]][0], NULL, other, NULL, (size_t)a[1], SPLICE_F_NONBLOCK);
		break;
	case FROM_FILE: {
		loff_t at = (loff_t)a[1];

		done = splice(fileno(zeros), &at, fds[a[0]][1], NULL, (size_t)a[2], SPLICE_F_NONBLOCK);
		break;
	}
	case VMSPLICE: {
		struct iovec parts[64];
		long i, stride = (long)((a[3] + a[2] + page - 1) / page * page);

		if (a[1] > 64 || a[1] * stride > AREA) {
			errno = ENOSYS;
			break;
		}
		for (i = 0; i < a[1]; i++) {
			parts[i].iov_base = area + i * stride + a[3];
			parts[i].iov_len = (size_t)a[2];
		}
		done = vmsplice(fds[a[0]][1], parts, (unsigned long)a[1], SPLICE_F_NONBLOCK | (a[4] ? SPLICE_F_GIFT : 0));
		break;
	}
	case PACKET:
		done = fcntl(fds[a[0]][1], F_SETFL, O_NONBLOCK | (a[1] ? O_DIRECT : 0));
		break;
	case MORE: {
		long i;

		for (done = 0, i = 0; i < a[0] && n_kept + 2 <= KEPT; i++) {
			if (makes(&kept[n_kept]) != 0)
				return (failed());
			(void)fcntl(kept[n_kept], F_SETPIPE_SZ, (long)a[1]);
			done += fcntl(kept[n_kept], F_GETPIPE_SZ) / page;
			n_kept += 2;
		}
		break;
	}
#endif
	default:
		errno = ENOSYS;
		break;
	}
	return (done < 0 ? failed() : done);
}

static void
tells(int pipe)
{
	struct pollfd polled[2];
	int i, fd, n = 0, size = -1, events[2] = { -1, -1 };

	fd = fds[pipe][0] >= 0 ? fds[pipe][0] : fds[pipe][1];
	if (fd < 0) {
		printf(", -1, -1, -1, -1");
		return;
	}
	if (ioctl(fd, FIONREAD, &n) != 0)
		n = -2;
#ifdef __linux__
	size = fcntl(fd, F_GETPIPE_SZ);
#endif
	for (i = 0; i < 2; i++) {
		polled[i].fd = fds[pipe][i];
		polled[i].events = POLLIN | POLLOUT;
		polled[i].revents = 0;
	}
	(void)poll(polled, 2, 0);
	for (i = 0; i < 2; i++)
		if (fds[pipe][i] >= 0)
			events[i] = (polled[i].revents & POLLIN ? 1 : 0) | (polled[i].revents & POLLOUT ? 4 : 0) |
			    (polled[i].revents & POLLERR ? 8 : 0) | (polled[i].revents & POLLHUP ? 16 : 0);
	printf(", %d, %d, %d, %d", n, size, events[0], events[1]);
}

static unsigned long long
setting(const char *name)
{
	char path[64], line[256];
	unsigned long long value = 0, caps;
	FILE *file;

	(void)snprintf(path, sizeof(path), name[0] == 'C' ? "/proc/self/status" : "/proc/sys/fs/%s", name);
	file = fopen(path, "r");
	if (file == NULL)
		return (0);
	while (fgets(line, sizeof(line), file) != NULL) {
		if (name[0] != 'C')
			value = strtoull(line, NULL, 10);
		else if (sscanf(line, "CapEff: %llx", &caps) == 1)
			value = caps;
	}
	(void)fclose(file);
	return (value);
}

#ifdef __linux__
#define DEFAULT_SLOTS 16
#define RESERVE 4

/* Makes a pipe, keeps one end of it, and returns that; the others are closed at the end. */
static int
keeps(void)
{
	int ends[2];

	if (n_kept == KEPT || pipe(ends) != 0) {
		perror("probe: cannot find out what the user's other pipes are charged for");
		exit(2);
	}
	(void)close(ends[1]);
	kept[n_kept++] = ends[0];
	return (ends[0]);
}

/* Sets the size of a pipe; its slots, or -1. */
static long
resized(int fd, long size)
{
	int done = fcntl(fd, F_SETPIPE_SZ, size);

	return (done < 0 ? -1 : done / page);
}
#endif

/*
 * How many slots the user's other pipes are charged for, where a limit holds: more are asked for until the kernel refuses.
 * A new pipe is small when 16 more slots would exceed the soft limit, and pipes grow as long as they do not.  Four pipes of a
 * slot are closed one by one at the end, if the last one that was made already exceeds it.
 */
static long
charged(void)
{
	long found = 0;
#ifdef __linux__
	unsigned long long caps = setting("CapEff");
	long soft = (long)setting("pipe-user-pages-soft"), most = (long)setting("pipe-max-size"), own = 0, size, slots;
	int reserve[RESERVE], fd, i;

	if (soft == 0 || (caps >> 24 & 1) || (caps >> 21 & 1))
		return (0);
	for (i = 0; i < RESERVE; i++) {
		reserve[i] = keeps();
		own += resized(reserve[i], page);
	}
	for (;;) {
		fd = keeps();
		slots = fcntl(fd, F_GETPIPE_SZ) / page;
		if (slots < DEFAULT_SLOTS)
			break;
		for (size = most; size > slots * page && resized(fd, size) < 0; size /= 2)
			;
		own += fcntl(fd, F_GETPIPE_SZ) / page;
	}
	own += resized(fd, page);
	while (resized(fd, 2 * page) > 0) {
		own++;
		fd = keeps();
		own += resized(fd, page);
	}
	found = soft + (1L << 16); /* others exceed the limit: how far makes no difference */
	for (i = 1; i <= RESERVE; i++) {
		(void)close(reserve[i - 1]);
		kept[i - 1] = -1;
		if (resized(fd, 2 * page) > 0) {
			found = soft + i - 1 - own;
			break;
		}
	}
	while (n_kept > 0)
		if (kept[--n_kept] >= 0)
			(void)close(kept[n_kept]);
#endif
	return (found);
}

static void
tells_machine(void)
{
	struct utsname name;
	unsigned long long caps = setting("CapEff");

	if (uname(&name) != 0)
		exit(2);
	printf("{\"kernel\": \"%s %s\", \"page\": %ld, \"uid\": %ld, \"resource\": %s, \"admin\": %s, \"max_size\": %llu, "
	    "\"soft\": %llu, \"hard\": %llu}\n", name.sysname, name.release, page, (long)getuid(), caps >> 24 & 1 ? "true" : "false",
	    caps >> 21 & 1 ? "true" : "false", setting("pipe-max-size"), setting("pipe-user-pages-soft"),
	    setting("pipe-user-pages-hard"));
}

int
main(void)
{
	const struct step *step = steps, *end = steps + sizeof(steps) / sizeof(steps[0]), *first;
	struct rlimit files;
	unsigned long sum;
	long long done;
	long number, before, programs = 0;
	int i;

	page = sysconf(_SC_PAGESIZE);
	buffer = malloc(MOST);
	zeros = tmpfile();
	if (buffer == NULL || zeros == NULL || posix_memalign((void **)&area, (size_t)page, AREA) != 0 ||
	    ftruncate(fileno(zeros), FILE_SIZE) != 0) {
		perror("probe");
		return (2);
	}
	memset(area, 1, AREA); /* so that it has pages of its own */
	memset(area, 0, AREA);
	(void)signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
		if (files.rlim_max != RLIM_INFINITY && files.rlim_max < 512) {
			(void)fprintf(stderr, "probe: 512 descriptors are needed (ulimit -n)\n");
			return (2);
		}
	}
	tells_machine();
	while (step < end) {
		before = charged();
		if (begins(0) != 0 || begins(1) != 0) {
			perror("probe");
			return (2);
		}
		printf("{\"steps\": [");
		for (first = step; step->call >= 0; step++) {
			printf("%s[\"%s\"", step == first ? "" : ", ", names[step->call]);
			for (i = 0; i < n_numbers[step->call]; i++)
				printf(", %lld", step->a[i]);
			printf("]");
		}
		printf("], \"answers\": [");
		for (step = first, number = 0; step->call >= 0; step++, number++) {
			sum = 0;
			done = does(step, number, &sum);
			printf("%s[%lld, %lu", number == 0 ? "" : ", ", done, sum);
			tells(0);
			tells(1);
			printf("]");
		}
		while (n_kept > 0)
			(void)close(kept[--n_kept]);
		(void)closes(0, 0);
		(void)closes(0, 1);
		(void)closes(1, 0);
		(void)closes(1, 1);
		printf("], \"charged\": %ld}\n", charged() == before ? before : -1);
		programs++;
		step++;
	}
	printf("{\"programs\": %ld}\n", programs);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("probe: standard output");
		return (2);
	}
	return (0);
}
