//go:build cgo

#define _GNU_SOURCE
#include <features.h>
#include "c_linux.h"

#ifdef __GLIBC__
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* roomy says that the heap has its room, in large pages. */
static int roomy;

/* Each thread would have a heap of its own, and Go changes threads all the time: what
   a module has would be scattered over sixteen of them. It has to be said before Go makes
   its first thread. Where many threads are in C at once they wait for each other
   (docs/decisions/190). */
__attribute__((constructor)) static void one_heap(void)
{
	mallopt(M_ARENA_MAX, 1);
}

/* grow has the heap grow, and returns whether it did. */
static int grow(void)
{
	enum { most = 64, size = 64 << 10 };
	void *volatile some[most]; /* or a compiler would see that nobody needs them */
	void *end = sbrk(0);
	int n = 0;
	while (n < most && sbrk(0) == end && (some[n] = malloc(size)))
		n++;
	int grown = sbrk(0) != end;
	while (n > 0)
		free(some[--n]);
	return grown;
}

int hugepage_room(size_t room)
{
	uintptr_t large = 2 << 20, from = (uintptr_t)sbrk(0) & ~(large - 1);
	if (!mallopt(M_TOP_PAD, room) || !mallopt(M_TRIM_THRESHOLD, 2 * room))
		return EINVAL;
	if (!grow())
		return ENOMEM;
	/* ENOMEM: the heap begins behind from, and the rest is done. */
	if (madvise((void *)from, (uintptr_t)sbrk(0) - from, MADV_HUGEPAGE) && errno != ENOMEM)
		return errno;
	roomy = 1;
	return 0;
}

void hugepage_trim(void)
{
	if (!roomy)
		malloc_trim(0);
}
#else
int hugepage_room(size_t room)
{
	(void)room;
	return 0;
}

void hugepage_trim(void)
{
}
#endif
