package sysmon

/*
#define _GNU_SOURCE
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static sem_t done;
static int option, answer;
static unsigned long argument;

// here runs on the thread that is meant.
static void here(int sig) {
	int kept = errno;
	answer = prctl(option, argument);
	if (answer < 0)
		answer = -errno;
	sem_post(&done);
	errno = kept;
}

// wait returns 0 when the thread has answered, within two seconds.
static int wait(void) {
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 2;
	while (sem_timedwait(&done, &until))
		if (errno != EINTR)
			return -errno;
	return 0;
}

// sysmon_on has a thread of this process call prctl. It returns what that
// returned, or an errno below 0. One at a time.
static int sysmon_on(int tid, int opt, unsigned long arg) {
	struct sigaction mine = {.sa_handler = here, .sa_flags = SA_ONSTACK | SA_RESTART}, before;
	int sig = SIGRTMAX, e;
	option = opt;
	argument = arg;
	if (sem_init(&done, 0, 0) || sigaction(sig, &mine, &before))
		return -errno;
	e = syscall(SYS_tgkill, getpid(), tid, sig) ? -errno : wait();
	if (sigaction(sig, &before, NULL) && !e)
		e = -errno;
	return e ? e : answer;
}
*/
import "C"

import (
	"sync"
	"syscall"
)

var one sync.Mutex

// on has a thread of this process call prctl and returns what that returned. Only
// a thread itself may say of its timers what it needs no privilege for, so it is
// sent a signal that nobody else uses, whose handler is put back at once.
func on(tid, option int, arg uint64) (int, error) {
	one.Lock()
	defer one.Unlock()
	got := C.sysmon_on(C.int(tid), C.int(option), C.ulong(arg))
	if got < 0 {
		return 0, syscall.Errno(-got)
	}
	return int(got), nil
}
