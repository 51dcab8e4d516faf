/* A PKCS #11 module that stands in front of another one and breaks it on
 * demand. What breaks is said in a control file beside the library, which both
 * sides map: FILE.ctl, laid out as struct control. FILE.module names the module
 * behind. Linux, where the first eight arguments of a call are words that may
 * be passed on unread. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long word;
typedef word (*call)(word, word, word, word, word, word, word, word);

enum { FUNCTIONS = 68, INITIALIZE = 0, FINALIZE = 1, INFO = 2, FUNCTION_LIST = 3, SLOT_LIST = 4, SLOT_INFO = 5, TOKEN_INFO = 6, MECHANISM_INFO = 8, INIT_PIN = 10,
	SET_PIN = 11, OPEN = 12, CREATE = 20, COPY = 21, ATTRIBUTE = 24, FIND = 27, ENCRYPT = 30, DECRYPT = 34, SIGN = 43, GENERATE = 58, PAIR = 59,
	WRAP = 60, UNWRAP = 61, DERIVE = 62, CLOSE = 13, CLOSE_ALL = 14, SESSION_INFO = 15, LOGOUT = 19, DESTROY = 22, FIND_FINAL = 28, WAIT = 67 };
enum { FAIL = 1, DO_THEN_FAIL = 2, HANG = 3, LIE = 4 };
/* what is untrue in the answer to a call; the order is that of shim.go */
enum { TOO_LONG = 1, HUGE_LENGTH, NO_LENGTH, HUGE_WHEN_ASKED, NOTHING_DONE, NO_HANDLE, TOO_SMALL, ZEROS, NOT_TEXT };
#define DEVICE_REMOVED 0x32UL
#define TOKEN_NOT_PRESENT 0xE0UL
#define BUFFER_TOO_SMALL 0x150UL

struct fault { uint64_t mode, rv, skip, count, delay_us, calls, hole; };
struct control { uint64_t delay_us, removed, drop, logout, reused, open, remove_in, drop_in, cut, away, narrow, major; struct fault fn[FUNCTIONS]; };

struct list { unsigned char major, minor; call fn[FUNCTIONS]; };
static struct list mine, given, *real; /* given is mine with its holes */
static struct control *ctl;

/* sessions that are open; sick are those in which a call was made to fail */
enum { SESSIONS = 4096 };
static struct { word h; int sick; } session[SESSIONS];
static int sessions;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A real module is not asked to close a session under a call that runs in it:
 * SoftHSM crashes then. Calls hold this for reading, breaking for writing. */
static pthread_rwlock_t world = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

static uint64_t get(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static void inc(uint64_t *p) { __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST); }
static int take(uint64_t *p) { return __atomic_exchange_n(p, 0, __ATOMIC_SEQ_CST) != 0; }

/* lower lowers a counter that is not zero, and returns what it was. */
static uint64_t lower(uint64_t *p) {
	uint64_t n = get(p);
	while (n && !__atomic_compare_exchange_n(p, &n, n - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) ;
	return n;
}

static void pause_us(uint64_t us) {
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };
	if (us) nanosleep(&t, NULL);
}

static int find(word h) {
	for (int i = 0; i < sessions; i++) if (session[i].h == h) return i;
	return -1;
}

static void forget(word h) {
	pthread_mutex_lock(&lock);
	int i = find(h);
	if (i >= 0) session[i] = session[--sessions];
	ctl->open = sessions;
	pthread_mutex_unlock(&lock);
}

static void remember(word h) {
	forget(h);
	pthread_mutex_lock(&lock);
	if (sessions < SESSIONS) { session[sessions].h = h; session[sessions++].sick = 0; }
	ctl->open = sessions;
	pthread_mutex_unlock(&lock);
}

static void forget_all(void) {
	pthread_mutex_lock(&lock);
	ctl->open = sessions = 0;
	pthread_mutex_unlock(&lock);
}

/* sicken marks a session; with mark 0 it only says whether it was. */
static int sicken(word h, int mark) {
	pthread_mutex_lock(&lock);
	int i = find(h), was = i >= 0 && session[i].sick;
	if (i >= 0 && mark) session[i].sick = 1;
	pthread_mutex_unlock(&lock);
	return was;
}

static void drop_all(void) {
	pthread_rwlock_wrlock(&world);
	pthread_mutex_lock(&lock);
	while (sessions) real->fn[CLOSE](session[--sessions].h, 0, 0, 0, 0, 0, 0, 0);
	ctl->open = 0;
	pthread_mutex_unlock(&lock);
	pthread_rwlock_unlock(&world);
}

static void log_out(void) {
	pthread_rwlock_wrlock(&world);
	pthread_mutex_lock(&lock);
	if (sessions) real->fn[LOGOUT](session[0].h, 0, 0, 0, 0, 0, 0, 0);
	pthread_mutex_unlock(&lock);
	pthread_rwlock_unlock(&world);
}

static int of_session(int n) { return n == INIT_PIN || n == SET_PIN || (n >= CLOSE && n != CLOSE_ALL && n != WAIT); }

/* gone answers for a token that was pulled out; 0: not this call. */
static word gone(int n, word a, word b, word c) {
	(void)a;
	if (n == SLOT_LIST && c) { *(word *)c = 0; return 0; }
	if (n == SLOT_LIST) return 7; /* CKR_ARGUMENTS_BAD */
	if (n == TOKEN_INFO || n == MECHANISM_INFO || n == OPEN) return TOKEN_NOT_PRESENT;
	(void)b;
	return of_session(n) ? DEVICE_REMOVED : 0;
}

static word forward(int n, word a, word b, word c, word d, word e, word f, word g, word h) {
	pthread_rwlock_rdlock(&world);
	word rv = real->fn[n](a, b, c, d, e, f, g, h);
	if (n == OPEN && !rv) remember(*(word *)e);
	if (n == CLOSE) forget(a);
	if (n == FINALIZE && !rv) forget_all();
	pthread_rwlock_unlock(&world);
	return rv;
}

/* narrow reports a list of slots that would not fit, which NSS writes all the same. */
static int narrow(word present, word list, word room) {
	word n = 0;
	if (!list) return 0;
	pthread_rwlock_rdlock(&world);
	word rv = real->fn[SLOT_LIST](present, 0, (word)&n, 0, 0, 0, 0, 0);
	pthread_rwlock_unlock(&world);
	if (rv || n <= *(word *)room) return 0;
	*(word *)room = n;
	inc(&ctl->narrow);
	return 1;
}

/* length is where a call says how long its answer is, or how many there are, and filled whether it was given room for them. */
static word *length(int n, word b, word c, word d, word e, word f, int *filled) {
	*filled = 1;
	if (n == SLOT_LIST) { *filled = b != 0; return (word *)c; }
	if (n == FIND) return (word *)d;
	if (n == WRAP) { *filled = e != 0; return (word *)f; }
	if (n == ENCRYPT || n == DECRYPT || n == SIGN) { *filled = d != 0; return (word *)e; }
	return NULL;
}

static word *handle(int n, word d, word e, word f, word g, word h) {
	switch (n) {
	case CREATE: return (word *)d;
	case OPEN: case COPY: case GENERATE: return (word *)e;
	case DERIVE: return (word *)f;
	case PAIR: return (word *)g;
	case UNWRAP: return (word *)h;
	}
	return NULL;
}

static void stretch(word *len, word kind, int filled) {
	if (kind == TOO_LONG && filled) *len += 9;
	if (kind == HUGE_LENGTH) *len = ~0UL;
	if (kind == NO_LENGTH && filled) *len = 0;
	if (kind == HUGE_WHEN_ASKED && !filled) *len = 1UL << 40;
}

/* lie forwards a call and spoils what it answers. */
static word lie(int n, word kind, word a, word b, word c, word d, word e, word f, word g, word h) {
	if (kind == NOTHING_DONE) return 0;
	if (kind == TOO_SMALL) return BUFFER_TOO_SMALL;
	int filled;
	word rv = forward(n, a, b, c, d, e, f, g, h), *len = length(n, b, c, d, e, f, &filled), *made = handle(n, d, e, f, g, h);
	if (rv) return rv;
	if (len) stretch(len, kind, filled);
	struct { word type; void *value; word len; } *t = (void *)c;
	if (n == ATTRIBUTE) for (word i = 0; i < d; i++) stretch(&t[i].len, kind, t[i].value != NULL);
	if (made && kind == NO_HANDLE) *made = 0;
	char *label = (char *)b; /* of 32 bytes */
	if (n == TOKEN_INFO && kind == ZEROS) for (int i = 31; i >= 0 && label[i] == ' '; i--) label[i] = 0;
	if (n == TOKEN_INFO && kind == NOT_TEXT) memset(label, 0xff, 32);
	return 0;
}

static word pass(int n, word a, word b, word c, word d, word e, word f, word g, word h) {
	struct fault *x = &ctl->fn[n];
	inc(&x->calls);
	pause_us(get(&ctl->delay_us) + get(&x->delay_us));
	while (get(&x->mode) == HANG) pause_us(1000);
	if (lower(&ctl->remove_in) == 1) ctl->removed = 1;
	if (lower(&ctl->drop_in) == 1 || take(&ctl->drop)) drop_all();
	if (take(&ctl->logout)) log_out();
	if (n == INITIALIZE && !get(&ctl->away)) ctl->cut = 0; /* it connects anew, and at no other time */
	if (get(&ctl->cut) && n != INITIALIZE && n != FINALIZE && n != INFO) return get(&ctl->cut);
	if (get(&ctl->removed)) {
		drop_all();
		word rv = gone(n, a, b, c);
		if (rv || n == SLOT_LIST) return rv;
	}
	if (n == SLOT_LIST && narrow(a, b, c)) return BUFFER_TOO_SMALL;
	/* cleaning up is allowed in a session that is sick */
	if (of_session(n) && n != CLOSE && n != DESTROY && n != FIND_FINAL && sicken(a, 0)) inc(&ctl->reused);
	uint64_t mode = get(&x->mode);
	if (!mode || lower(&x->skip) || !lower(&x->count)) return forward(n, a, b, c, d, e, f, g, h);
	if (mode == LIE) return lie(n, get(&x->rv), a, b, c, d, e, f, g, h);
	if (of_session(n)) sicken(a, 1);
	if (mode == DO_THEN_FAIL) forward(n, a, b, c, d, e, f, g, h);
	else if (n == CLOSE) forward(n, a, b, c, d, e, f, g, h); /* a session is given up either way */
	return get(&x->rv);
}

#define W(n) static word w##n(word a, word b, word c, word d, word e, word f, word g, word h) { return pass(n, a, b, c, d, e, f, g, h); }
#define EACH(X) X(0) X(1) X(2) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) \
	X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32) X(33) X(34) X(35) X(36) X(37) X(38) X(39) \
	X(40) X(41) X(42) X(43) X(44) X(45) X(46) X(47) X(48) X(49) X(50) X(51) X(52) X(53) X(54) X(55) X(56) X(57) X(58) X(59) \
	X(60) X(61) X(62) X(63) X(64) X(65) X(66) X(67)
EACH(W)

static void *map(const char *self) {
	char name[4096];
	snprintf(name, sizeof name, "%s.ctl", self);
	int fd = open(name, O_RDWR);
	if (fd < 0) return NULL;
	void *p = mmap(NULL, sizeof *ctl, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

static struct list *behind(const char *self) {
	char name[4096], module[4096] = "";
	struct list *l = NULL;
	snprintf(name, sizeof name, "%s.module", self);
	FILE *f = fopen(name, "r");
	if (!f || !fgets(module, sizeof module, f)) { if (f) fclose(f); return NULL; }
	fclose(f);
	module[strcspn(module, "\n")] = 0;
	void *lib = dlopen(module, RTLD_LAZY);
	word (*list)(struct list **);
	if (!lib) return NULL;
	*(void **)&list = dlsym(lib, "C_GetFunctionList");
	return list && !list(&l) ? l : NULL;
}

word C_GetFunctionList(struct list **out) {
	Dl_info me;
	pthread_mutex_lock(&lock);
	if (!ctl && dladdr((void *)C_GetFunctionList, &me)) {
		struct list *l = behind(me.dli_fname);
		struct control *c = l ? map(me.dli_fname) : NULL;
		if (c) {
			real = l;
			mine = *l;
#define SET(n) mine.fn[n] = w##n;
			EACH(SET)
			*(void **)&mine.fn[FUNCTION_LIST] = (void *)C_GetFunctionList;
			ctl = c;
			given = mine;
		}
	}
	if (ctl) {
		for (int i = 0; i < FUNCTIONS; i++) given.fn[i] = get(&ctl->fn[i].hole) ? NULL : mine.fn[i];
		if (get(&ctl->major)) given.major = get(&ctl->major);
		else given.major = mine.major;
	}
	pthread_mutex_unlock(&lock);
	if (!ctl) return 5; /* CKR_GENERAL_ERROR */
	*out = &given;
	return 0;
}

#ifdef NSS
/* so that the shim of NSS softokn is taken for what is behind it */
word NSC_GetFunctionList(struct list **out) { return C_GetFunctionList(out); }
#endif
