/* Several PKCS #11 calls behind one crossing from Go. See composite.c. */
#ifndef TAPVAULT_COMPOSITE_H
#define TAPVAULT_COMPOSITE_H

#include "cryptoki.h"

enum {
	TV_JOBS = 16,      /* jobs in one crossing */
	TV_STEPS = 4,      /* three levels and a process key */
	TV_MESSAGES = 4,   /* MACs in one job */
	TV_DATA = 2048,    /* message bytes of one job */
	TV_SPARE = 64,     /* bytes after an answer, for a module that writes more than it says */
	TV_BLOCK = 8
};

/* What no module answers, because it is the answer that is out of the standard:
 * another length than is right, no handle of what was made, nothing written. */
#define TV_ODD_LENGTH 0x5456000000000001UL
#define TV_ODD_HANDLE 0x5456000000000002UL
#define TV_ODD_SILENT 0x5456000000000003UL

/* What a derived key may do. */
enum { TV_DERIVES = 0, TV_ENCRYPTS = 1, TV_READABLE = 2 };

/* What a job does with the key at the end of its derivations. */
/* TV_CHAIN: CBC, of which all blocks are wanted. TV_RETAIL: algorithm 3 of ISO
 * 9797-1 over one message; the last two steps are both made of the key before
 * them, its left half thrice and the whole. */
enum { TV_CBC = 0, TV_ECB = 1, TV_FOLD = 2, TV_CHAIN = 3, TV_RETAIL = 4 };

struct tv_step { ck_byte data[24]; ck_ulong kind; };

struct tv_job {
	ck_ulong base;                      /* in: where the derivations start */
	ck_ulong steps, keep;               /* in: how many, and how many of their keys outlive the job */
	ck_ulong op, messages;              /* in */
	ck_ulong keep_folded;               /* in: TV_FOLD: whether the folded key outlives the job */
	ck_ulong len[TV_MESSAGES];          /* in: bytes of each message, a multiple of 8 */
	struct tv_step step[TV_STEPS];      /* in */
	ck_byte data[TV_DATA];              /* in: the messages, one after the other; TV_ECB, TV_CHAIN: also out */
	ck_ulong handle[TV_STEPS];          /* out: keys kept */
	ck_ulong folded;                    /* out: TV_FOLD: the folded key, if kept */
	ck_byte mac[TV_MESSAGES][TV_BLOCK]; /* out: last block of each message */
	ck_ulong rv;                        /* out */
	ck_ulong done;                      /* out: 0 when the job was not begun */
};

/* One worker's memory: locked, so that a key that is folded never reaches the
 * swap, and wiped when it is freed. */
struct tv_batch {
	struct tv_job job[TV_JOBS];
	ck_ulong drop[TV_JOBS * TV_STEPS];
	ck_byte key[24];
	ck_ulong timed, spent; /* any thread may ask: whether CPU time is added up, and its nanoseconds */
};

struct tv_batch *tv_new(void);
void tv_free(struct tv_batch *b);

/* tv_run destroys the first drops handles of b->drop, then does n jobs in
 * order and stops after the first that fails. It returns the code of the last
 * destroying that failed: the session is then not fit for more. While b is
 * timed, the CPU time that this took its thread is added to what b spent. */
ck_ulong tv_run(struct ck_functions *f, ck_ulong session, struct tv_batch *b, ck_ulong n, ck_ulong drops);

/* tv_keep loads a module for good: one that is unloaded under its threads crashes.
 * It returns 0 and says why where it is none, and otherwise whether it is NSS. */
int tv_keep(const char *module, char **why, int *nss);

/* tv_holes counts the functions that a table lacks. tv_whole copies it, and puts one
 * in their place that says so. */
int tv_holes(struct ck_functions *f);
void tv_whole(struct ck_functions *f, struct ck_functions *whole);

/* tv_slots lists the slots in one call: how many there are, and which if room is not
 * NULL. */
ck_ulong tv_slots(struct ck_functions *f, int present, ck_ulong *room, ck_ulong *n);

/* Calls that miekg/pkcs11 has no builder for, or would leave a secret in freed
 * memory. The values of a template stand one after the other in blob. */
ck_ulong tv_login(struct ck_functions *f, ck_ulong session, ck_byte *pin, ck_ulong len);
ck_ulong tv_create(struct ck_functions *f, ck_ulong session, ck_ulong *types, ck_ulong *lens, ck_ulong n,
	ck_byte *blob, ck_ulong *handle);
/* tv_derive makes a key of the cipher text of data under base; mechanism is
 * CKM_DES3_ECB_ENCRYPT_DATA or CKM_AES_ECB_ENCRYPT_DATA. */
ck_ulong tv_derive(struct ck_functions *f, ck_ulong session, ck_ulong base, ck_ulong mechanism, ck_byte *data, ck_ulong len,
	ck_ulong *types, ck_ulong *lens, ck_ulong n, ck_byte *blob, ck_ulong *handle);
/* tv_cipher ends an encryption (fn CK_ENCRYPT) or decryption (CK_DECRYPT) that
 * was initialised, in one call, with the room that the caller gives. */
ck_ulong tv_cipher(struct ck_functions *f, int fn, ck_ulong session, ck_byte *in, ck_ulong n, ck_byte *out, ck_ulong *room);

/* tv_get reads up to 32 attributes of an object into blob, one after the other, each
 * into as many bytes as lens says, and says in lens how many it has. Without blob only
 * the lengths are asked. */
ck_ulong tv_get(struct ck_functions *f, ck_ulong session, ck_ulong object, ck_ulong *types, ck_ulong *lens, ck_ulong n,
	ck_byte *blob);
ck_ulong tv_find(struct ck_functions *f, ck_ulong session, ck_ulong *found, ck_ulong most, ck_ulong *n);
ck_ulong tv_random(struct ck_functions *f, ck_ulong session, ck_byte *out, ck_ulong n);
/* tv_wrap enciphers a key by RSA-OAEP with SHA-1 in one call. */
ck_ulong tv_wrap(struct ck_functions *f, ck_ulong session, ck_ulong by, ck_ulong key, ck_byte *out, ck_ulong *room);

/* tv_sign signs or MACs in, by a mechanism without parameters, in two calls. */
ck_ulong tv_sign(struct ck_functions *f, ck_ulong session, ck_ulong mechanism, ck_ulong key, ck_byte *in, ck_ulong n,
	ck_byte *out, ck_ulong *room);

/* tv_ecdh puts the secret that an EC key shares with an uncompressed point of
 * P-256 into locked memory from tv_secret_new, which tv_secret_free wipes. */
enum { TV_POINT = 65, TV_SECRET = 32 };
ck_byte *tv_secret_new(void);
void tv_secret_free(ck_byte *secret);
/* tv_reveal puts the first len bytes of that cipher text into such memory. */
ck_ulong tv_reveal(struct ck_functions *f, ck_ulong session, ck_ulong base, ck_ulong mechanism, ck_byte *data, ck_ulong len,
	ck_byte *secret);
ck_ulong tv_ecdh(struct ck_functions *f, ck_ulong session, ck_ulong base, ck_byte *point, ck_byte *secret);

#endif
