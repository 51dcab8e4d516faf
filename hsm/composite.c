/* The hot path: what one purchase check needs from the HSM, done behind one
 * crossing from Go with templates built once. Go decides what to do and keeps
 * the handles; this file only calls.
 *
 * The module is loaded and initialised by miekg/pkcs11. Both call it by the same
 * table, so they share sessions and login. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "composite.h"

static ck_byte yes = 1, no = 0;
static ck_ulong secret_key = CKO_SECRET_KEY, des3 = CKK_DES3;
static ck_byte zero_iv[TV_BLOCK];

#define FLAG(t, v) { t, &(v), 1 }
#define TEMPLATE(sensitive, extractable, derive, encrypt) { \
	{ CKA_CLASS, &secret_key, sizeof secret_key }, { CKA_KEY_TYPE, &des3, sizeof des3 }, \
	FLAG(CKA_TOKEN, no), FLAG(CKA_PRIVATE, yes), FLAG(CKA_SENSITIVE, sensitive), FLAG(CKA_EXTRACTABLE, extractable), \
	FLAG(CKA_DERIVE, derive), FLAG(CKA_ENCRYPT, encrypt), FLAG(CKA_DECRYPT, no), FLAG(CKA_SIGN, no), \
	FLAG(CKA_VERIFY, no), FLAG(CKA_WRAP, no), FLAG(CKA_UNWRAP, no) }
enum { ATTRIBUTES = 13 };

static struct ck_attribute templates[3][ATTRIBUTES] = {
	TEMPLATE(yes, no, yes, no), /* TV_DERIVES */
	TEMPLATE(yes, no, no, yes), /* TV_ENCRYPTS */
	TEMPLATE(no, yes, no, no),  /* TV_READABLE: a child to be folded, read once and destroyed */
};

/* wipe is a memset that no compiler removes. */
static void wipe(void *p, size_t n) { volatile ck_byte *v = p; while (n--) *v++ = 0; }

/* locked is memory that never reaches the swap. */
static void *locked(size_t n) {
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) return NULL;
	if (mlock(p, n)) { munmap(p, n); return NULL; }
	return p;
}

struct tv_batch *tv_new(void) { return locked(sizeof(struct tv_batch)); }
void tv_free(struct tv_batch *b) { wipe(b, sizeof *b); munmap(b, sizeof *b); }

ck_byte *tv_secret_new(void) { return locked(TV_SECRET); }
void tv_secret_free(ck_byte *secret) { wipe(secret, TV_SECRET); munmap(secret, TV_SECRET); }

/* made is the outcome of a call that makes a key: a module that says so has to give
 * its handle, which is never 0. What it wrote there with an error means nothing. */
static ck_ulong made(ck_ulong rv, ck_ulong *h) {
	if (rv) *h = 0;
	return rv || *h ? rv : TV_ODD_HANDLE;
}

/* blank reports whether nothing was written where zeros were. */
static int blank(const ck_byte *p, ck_ulong n) { while (n && !*p) p++, n--; return !n; }

static ck_ulong derive_key(struct ck_functions *f, ck_ulong s, struct ck_mechanism *m, ck_ulong base,
		struct ck_attribute *t, ck_ulong n, ck_ulong *h) {
	*h = 0;
	return made(((ck_derive)f->fn[CK_DERIVE_KEY])(s, m, base, t, n, h), h);
}

static ck_ulong create(struct ck_functions *f, ck_ulong s, struct ck_attribute *t, ck_ulong n, ck_ulong *h) {
	*h = 0;
	return made(((ck_create)f->fn[CK_CREATE_OBJECT])(s, t, n, h), h);
}

static ck_ulong derive(struct ck_functions *f, ck_ulong s, ck_ulong base, struct tv_step *st, ck_ulong *h) {
	struct ck_string_data d = { st->data, sizeof st->data };
	struct ck_mechanism m = { CKM_DES3_ECB_ENCRYPT_DATA, &d, sizeof d };
	return derive_key(f, s, &m, base, templates[st->kind], ATTRIBUTES, h);
}

/* encipher enciphers n bytes, whole blocks, of which as many come out. Some modules
 * want room for one block more; out has TV_SPARE. The last block is zero by chance
 * once in 2^64 times: else nothing was written. */
static ck_ulong encipher(struct ck_functions *f, ck_ulong s, struct ck_mechanism *m, ck_ulong key, ck_byte *in, ck_ulong n,
		ck_byte *out) {
	ck_ulong len = n + TV_BLOCK, rv = ((ck_encrypt_init)f->fn[CK_ENCRYPT_INIT])(s, m, key);
	memset(out + n - TV_BLOCK, 0, TV_BLOCK);
	if (!rv) rv = ((ck_encrypt)f->fn[CK_ENCRYPT])(s, in, n, out, &len);
	if (rv) return rv;
	if (len != n) return TV_ODD_LENGTH;
	return blank(out + n - TV_BLOCK, TV_BLOCK) ? TV_ODD_SILENT : 0;
}

/* value reads the n bytes of a key that may be read. */
static ck_ulong value(struct ck_functions *f, ck_ulong s, ck_ulong h, ck_byte *out, ck_ulong n) {
	struct ck_attribute a = { CKA_VALUE, out, n };
	memset(out, 0, n);
	ck_ulong rv = ((ck_get)f->fn[CK_GET_ATTRIBUTE_VALUE])(s, h, &a, 1);
	if (rv) return rv;
	if (a.len != n) return TV_ODD_LENGTH;
	return blank(out, n) ? TV_ODD_SILENT : 0;
}

static ck_ulong destroy(struct ck_functions *f, ck_ulong s, ck_ulong h) { return ((ck_destroy)f->fn[CK_DESTROY_OBJECT])(s, h); }

/* macs enciphers each message from a zero IV and keeps the last block. */
static ck_ulong macs(struct ck_functions *f, ck_ulong s, ck_ulong key, struct tv_job *j) {
	struct ck_mechanism m = { CKM_DES3_CBC, zero_iv, sizeof zero_iv };
	ck_byte out[TV_DATA + TV_SPARE], *in = j->data;
	for (ck_ulong i = 0, rv; i < j->messages; in += j->len[i++]) {
		if ((rv = encipher(f, s, &m, key, in, j->len[i], out))) return rv;
		memcpy(j->mac[i], out + j->len[i] - TV_BLOCK, TV_BLOCK);
	}
	return 0;
}

/* blocks enciphers the first message in place. */
static ck_ulong blocks(struct ck_functions *f, ck_ulong s, ck_ulong key, struct tv_job *j) {
	struct ck_mechanism ecb = { CKM_DES3_ECB, NULL, 0 }, cbc = { CKM_DES3_CBC, zero_iv, sizeof zero_iv };
	ck_byte out[TV_DATA + TV_SPARE];
	ck_ulong rv = encipher(f, s, j->op == TV_ECB ? &ecb : &cbc, key, j->data, j->len[0], out);
	if (!rv) memcpy(j->data, out, j->len[0]);
	wipe(out, sizeof out);
	return rv;
}

/* fold makes the key "left half xor right half" of a readable key, as single
 * DES. No standard mechanism does it inside, so the value passes through buf,
 * which is locked memory, and is wiped at once. */
static ck_ulong fold(struct ck_functions *f, ck_ulong s, ck_ulong key, ck_byte *buf, ck_ulong *h) {
	struct ck_attribute t[ATTRIBUTES + 1];
	ck_ulong rv = value(f, s, key, buf, 24);
	if (!rv) {
		for (int i = 0; i < 8; i++) buf[i] ^= buf[8 + i];
		memcpy(buf + 8, buf, 8);
		memcpy(buf + 16, buf, 8);
		memcpy(t, templates[TV_ENCRYPTS], sizeof templates[TV_ENCRYPTS]);
		t[ATTRIBUTES].type = CKA_VALUE; t[ATTRIBUTES].value = buf; t[ATTRIBUTES].len = 24;
		rv = create(f, s, t, ATTRIBUTES + 1, h);
	}
	wipe(buf, 24);
	return rv;
}

/* once derives a key, enciphers n bytes under it and destroys it. */
static ck_ulong once(struct ck_functions *f, ck_ulong s, ck_ulong base, struct tv_step *st, struct ck_mechanism *m, ck_byte *in, ck_ulong n, ck_byte *out) {
	ck_ulong h, rv = derive(f, s, base, st, &h);
	if (rv) return rv;
	rv = encipher(f, s, m, h, in, n, out);
	ck_ulong bad = destroy(f, s, h);
	return rv ? rv : bad;
}

/* retail is algorithm 3: CBC with the left half alone, then the last block with
 * the whole key. */
static ck_ulong retail(struct ck_functions *f, ck_ulong s, ck_ulong key, struct tv_job *j) {
	struct ck_mechanism ecb = { CKM_DES3_ECB, NULL, 0 }, cbc = { CKM_DES3_CBC, zero_iv, sizeof zero_iv };
	ck_ulong n = j->len[0] - TV_BLOCK, rv = 0;
	ck_byte out[TV_DATA + TV_SPARE], *last = j->data + n;
	if (n) {
		if ((rv = once(f, s, key, &j->step[j->steps - 2], &cbc, j->data, n, out))) return rv;
		for (int i = 0; i < TV_BLOCK; i++) last[i] ^= out[n - TV_BLOCK + i];
	}
	rv = once(f, s, key, &j->step[j->steps - 1], &ecb, last, TV_BLOCK, out);
	if (!rv) memcpy(j->mac[0], out, TV_BLOCK);
	return rv;
}

static ck_ulong run(struct ck_functions *f, ck_ulong s, struct tv_job *j, ck_byte *buf, ck_ulong *left) {
	ck_ulong key = j->base, made = 0, rv = 0, bad, levels = j->op == TV_RETAIL ? j->steps - 2 : j->steps;
	for (; !rv && made < levels; made++) {
		rv = derive(f, s, key, &j->step[made], &j->handle[made]);
		if (rv) break;
		key = j->handle[made];
	}
	if (!rv && j->op == TV_FOLD) {
		rv = fold(f, s, key, buf, &j->folded);
		key = j->folded;
	}
	if (!rv && j->op == TV_RETAIL) rv = retail(f, s, key, j);
	else if (!rv) rv = j->op == TV_ECB || j->op == TV_CHAIN ? blocks(f, s, key, j) : macs(f, s, key, j);
	while (made > (rv ? 0 : j->keep)) if ((bad = destroy(f, s, j->handle[--made]))) *left = bad;
	if (j->folded && (rv || !j->keep_folded)) {
		if ((bad = destroy(f, s, j->folded))) *left = bad;
		j->folded = 0;
	}
	return rv;
}

/* thread_time is the CPU time of this thread, in nanoseconds. */
static ck_ulong thread_time(void) {
	struct timespec t;
	return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) ? 0 : (ck_ulong)t.tv_sec * 1000000000 + (ck_ulong)t.tv_nsec;
}

ck_ulong tv_run(struct ck_functions *f, ck_ulong s, struct tv_batch *b, ck_ulong n, ck_ulong drops) {
	ck_ulong left = 0, bad, timed = __atomic_load_n(&b->timed, __ATOMIC_RELAXED), begun = timed ? thread_time() : 0;
	for (ck_ulong i = 0; i < drops; i++) if ((bad = destroy(f, s, b->drop[i]))) left = bad;
	for (ck_ulong i = 0; i < n; i++) {
		struct tv_job *j = &b->job[i];
		j->done = 1;
		if ((j->rv = run(f, s, j, b->key, &left))) break;
	}
	if (timed) __atomic_fetch_add(&b->spent, thread_time() - begun, __ATOMIC_RELAXED);
	return left;
}

int tv_keep(const char *module, char **why, int *nss) {
	void *lib = dlopen(module, RTLD_LAZY);
	if (!lib) { *why = dlerror(); return 0; }
	if (!dlsym(lib, "C_GetFunctionList")) { *why = "it has no C_GetFunctionList"; dlclose(lib); return 0; }
	*nss = dlsym(lib, "NSC_GetFunctionList") != NULL;
	return 1;
}

/* missing stands where a table has nothing. */
static ck_ulong missing(void) { return CKR_FUNCTION_NOT_SUPPORTED; }

int tv_holes(struct ck_functions *f) {
	int n = 0;
	for (int i = 0; i <= CK_LAST; i++) n += !f->fn[i];
	return n;
}

void tv_whole(struct ck_functions *f, struct ck_functions *whole) {
	whole->major = f->major;
	whole->minor = f->minor;
	for (int i = 0; i < CK_FUNCTIONS; i++) whole->fn[i] = i <= CK_LAST && f->fn[i] ? f->fn[i] : (void *)missing;
}

ck_ulong tv_slots(struct ck_functions *f, int present, ck_ulong *room, ck_ulong *n) {
	return ((ck_slots)f->fn[CK_GET_SLOT_LIST])(present != 0, room, n);
}

ck_ulong tv_login(struct ck_functions *f, ck_ulong s, ck_byte *pin, ck_ulong len) {
	return ((ck_login)f->fn[CK_LOGIN])(s, CKU_USER, pin, len);
}

static void fill(struct ck_attribute *t, ck_ulong *types, ck_ulong *lens, ck_ulong n, ck_byte *blob) {
	for (ck_ulong i = 0; i < n; blob += lens[i++]) {
		t[i].type = types[i];
		t[i].value = blob;
		t[i].len = lens[i];
	}
}

ck_ulong tv_create(struct ck_functions *f, ck_ulong s, ck_ulong *types, ck_ulong *lens, ck_ulong n, ck_byte *blob,
		ck_ulong *h) {
	struct ck_attribute t[32];
	if (n > 32) return CKR_GENERAL_ERROR;
	fill(t, types, lens, n, blob);
	return create(f, s, t, n, h);
}

ck_ulong tv_derive(struct ck_functions *f, ck_ulong s, ck_ulong base, ck_ulong mechanism, ck_byte *data, ck_ulong len,
		ck_ulong *types, ck_ulong *lens, ck_ulong n, ck_byte *blob, ck_ulong *h) {
	struct ck_string_data d = { data, len };
	struct ck_mechanism m = { mechanism, &d, sizeof d };
	struct ck_attribute t[32];
	if (n > 32) return CKR_GENERAL_ERROR;
	fill(t, types, lens, n, blob);
	return derive_key(f, s, &m, base, t, n, h);
}

ck_ulong tv_cipher(struct ck_functions *f, int fn, ck_ulong s, ck_byte *in, ck_ulong n, ck_byte *out, ck_ulong *room) {
	return ((ck_encrypt)f->fn[fn])(s, in, n, out, room);
}

ck_ulong tv_sign(struct ck_functions *f, ck_ulong s, ck_ulong mechanism, ck_ulong key, ck_byte *in, ck_ulong n,
		ck_byte *out, ck_ulong *room) {
	struct ck_mechanism m = { mechanism, NULL, 0 };
	ck_ulong rv = ((ck_encrypt_init)f->fn[CK_SIGN_INIT])(s, &m, key);
	return rv ? rv : ((ck_encrypt)f->fn[CK_SIGN])(s, in, n, out, room);
}

/* A key that may be read is read once and destroyed before these return; it
 * can do nothing else. */
#define READ_ONCE FLAG(CKA_TOKEN, no), FLAG(CKA_PRIVATE, yes), FLAG(CKA_SENSITIVE, no), FLAG(CKA_EXTRACTABLE, yes), \
	FLAG(CKA_DERIVE, no), FLAG(CKA_ENCRYPT, no), FLAG(CKA_DECRYPT, no), FLAG(CKA_SIGN, no), \
	FLAG(CKA_VERIFY, no), FLAG(CKA_WRAP, no), FLAG(CKA_UNWRAP, no)

static ck_ulong read_once(struct ck_functions *f, ck_ulong s, ck_ulong h, ck_byte *secret, ck_ulong len) {
	ck_ulong rv = value(f, s, h, secret, len);
	/* one that can be read and stays is a failure of its own */
	ck_ulong bad = destroy(f, s, h);
	return rv ? rv : bad;
}

ck_ulong tv_reveal(struct ck_functions *f, ck_ulong s, ck_ulong base, ck_ulong mechanism, ck_byte *data, ck_ulong len,
		ck_byte *secret) {
	static ck_ulong generic = CKK_GENERIC_SECRET;
	struct ck_string_data d = { data, len };
	struct ck_mechanism m = { mechanism, &d, sizeof d };
	struct ck_attribute t[] = { { CKA_CLASS, &secret_key, sizeof secret_key }, { CKA_KEY_TYPE, &generic, sizeof generic },
		{ CKA_VALUE_LEN, &len, sizeof len }, READ_ONCE };
	ck_ulong h, rv = len > TV_SECRET ? CKR_GENERAL_ERROR :
		derive_key(f, s, &m, base, t, sizeof t / sizeof *t, &h);
	return rv ? rv : read_once(f, s, h, secret, len);
}

ck_ulong tv_ecdh(struct ck_functions *f, ck_ulong s, ck_ulong base, ck_byte *point, ck_byte *secret) {
	static ck_ulong generic = CKK_GENERIC_SECRET, length = TV_SECRET;
	struct ck_ecdh1 p = { CKD_NULL, 0, NULL, TV_POINT, point };
	struct ck_mechanism m = { CKM_ECDH1_DERIVE, &p, sizeof p };
	struct ck_attribute t[] = { { CKA_CLASS, &secret_key, sizeof secret_key }, { CKA_KEY_TYPE, &generic, sizeof generic },
		{ CKA_VALUE_LEN, &length, sizeof length }, READ_ONCE };
	ck_ulong h, rv = derive_key(f, s, &m, base, t, sizeof t / sizeof *t, &h);
	return rv ? rv : read_once(f, s, h, secret, TV_SECRET);
}

ck_ulong tv_random(struct ck_functions *f, ck_ulong s, ck_byte *out, ck_ulong n) {
	return ((ck_random)f->fn[CK_GENERATE_RANDOM])(s, out, n);
}

ck_ulong tv_find(struct ck_functions *f, ck_ulong s, ck_ulong *found, ck_ulong most, ck_ulong *n) {
	return ((ck_find)f->fn[CK_FIND_OBJECTS])(s, found, most, n);
}

ck_ulong tv_get(struct ck_functions *f, ck_ulong s, ck_ulong h, ck_ulong *types, ck_ulong *lens, ck_ulong n, ck_byte *blob) {
	struct ck_attribute t[32];
	if (n > 32) return CKR_GENERAL_ERROR;
	for (ck_ulong i = 0; i < n; i++) {
		t[i].type = types[i];
		t[i].value = blob && lens[i] ? blob : NULL;
		t[i].len = lens[i];
		if (blob) blob += lens[i];
	}
	ck_ulong rv = ((ck_get)f->fn[CK_GET_ATTRIBUTE_VALUE])(s, h, t, n);
	for (ck_ulong i = 0; i < n; i++) lens[i] = t[i].len;
	return rv;
}

ck_ulong tv_wrap(struct ck_functions *f, ck_ulong s, ck_ulong by, ck_ulong key, ck_byte *out, ck_ulong *room) {
	struct ck_oaep p = { CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, NULL, 0 };
	struct ck_mechanism m = { CKM_RSA_PKCS_OAEP, &p, sizeof p };
	return ((ck_wrap)f->fn[CK_WRAP_KEY])(s, &m, by, key, out, room);
}
