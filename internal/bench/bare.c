/* The limit that the purchase bench is held to: the same PKCS #11 calls, with
 * the same attributes, from a session copy of the same master, in the plainest
 * loop that C can have. It shares no code with hsm but the header. */
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "key.h"

typedef ck_ulong (*slot_list)(ck_byte, ck_ulong *, ck_ulong *);
typedef ck_ulong (*token_info)(ck_ulong, void *);
typedef ck_ulong (*open_session)(ck_ulong, ck_ulong, void *, void *, ck_ulong *);
typedef ck_ulong (*one_handle)(ck_ulong);
typedef ck_ulong (*find_init)(ck_ulong, struct ck_attribute *, ck_ulong);
typedef ck_ulong (*find_next)(ck_ulong, ck_ulong *, ck_ulong, ck_ulong *);

static struct ck_attribute card_key[] = KEY(yes, no), process_key[] = KEY(no, yes);

static ck_ulong find_slot(struct ck_functions *f, const char *token, ck_ulong *slot) {
	ck_ulong slots[256], n = 256;
	unsigned char info[1024]; /* CK_TOKEN_INFO is far smaller; its label comes first */
	ck_ulong rv = ((slot_list)f->fn[CK_GET_SLOT_LIST])(1, slots, &n);
	for (ck_ulong i = 0; !rv && i < n; i++) {
		if (((token_info)f->fn[CK_GET_TOKEN_INFO])(slots[i], info)) continue;
		if (!memcmp(info, token, 32)) { *slot = slots[i]; return 0; }
	}
	return rv ? rv : CKR_GENERAL_ERROR;
}

static ck_ulong copy_master(struct bare *b, char *label, ck_ulong len) {
	struct ck_attribute find[] = { { CKA_TOKEN, &yes, 1 }, { CKA_LABEL, label, len } }, session[] = { { CKA_TOKEN, &no, 1 } };
	ck_ulong h = 0, n = 0, rv = ((find_init)b->f->fn[CK_FIND_OBJECTS_INIT])(b->session, find, 2);
	if (rv) return rv;
	rv = ((find_next)b->f->fn[CK_FIND_OBJECTS])(b->session, &h, 1, &n);
	((one_handle)b->f->fn[CK_FIND_OBJECTS_FINAL])(b->session);
	if (rv || n != 1) return rv ? rv : CKR_GENERAL_ERROR;
	return ((ck_copy)b->f->fn[CK_COPY_OBJECT])(b->session, h, session, 1, &b->master);
}

ck_ulong bare_open(struct bare *b, const char *module, const char *token, char *label, ck_ulong len) {
	void *lib = dlopen(module, RTLD_LAZY);
	ck_ulong (*list)(struct ck_functions **), slot, rv;
	if (!lib) return CKR_GENERAL_ERROR;
	*(void **)&list = dlsym(lib, "C_GetFunctionList");
	if (!list || list(&b->f)) return CKR_GENERAL_ERROR;
	if ((rv = find_slot(b->f, token, &slot))) return rv;
	rv = ((open_session)b->f->fn[CK_OPEN_SESSION])(slot, CKF_RW_SERIAL_SESSION, NULL, NULL, &b->session);
	return rv ? rv : copy_master(b, label, len);
}

void bare_close(struct bare *b) { ((one_handle)b->f->fn[CK_CLOSE_SESSION])(b->session); }

static ck_ulong derive(struct bare *b, ck_ulong base, ck_byte *data, struct ck_attribute *t, ck_ulong *h) {
	struct ck_string_data d = { data, 24 };
	struct ck_mechanism m = { CKM_DES3_ECB_ENCRYPT_DATA, &d, sizeof d };
	return ((ck_derive)b->f->fn[CK_DERIVE_KEY])(b->session, &m, base, t, KEY_ATTRIBUTES, h);
}

static ck_ulong mac(struct bare *b, ck_ulong key, ck_byte *msg, ck_ulong len, ck_byte *out) {
	struct ck_mechanism m = { CKM_DES3_CBC, zero_iv, sizeof zero_iv };
	ck_byte buf[64];
	ck_ulong n = sizeof buf, rv = ((ck_encrypt_init)b->f->fn[CK_ENCRYPT_INIT])(b->session, &m, key);
	if (!rv) rv = ((ck_encrypt)b->f->fn[CK_ENCRYPT])(b->session, msg, len, buf, &n);
	if (!rv) memcpy(out, buf + n - 8, 4);
	return rv;
}

static void diversifier(ck_byte *factor, ck_ulong n) {
	for (int k = 0; k < 8; k++) {
		factor[k] = factor[16 + k] = (ck_byte)(n >> (56 - 8 * k));
		factor[8 + k] = (ck_byte)~factor[k];
	}
}

/* bare_run does n purchase checks of n different cards; mac is MAC1 and MAC2
 * of the last. The messages have the lengths of a purchase: 18 and 4 bytes
 * before padding. */
ck_ulong bare_run(struct bare *b, ck_ulong n, ck_ulong seed, ck_byte *out) {
	ck_byte factor[24], input[24], m1[24] = { 0 }, m2[8] = { 0 };
	ck_ulong rv = 0, card, process;
	m1[3] = m2[3] = 200; m1[4] = 6; m1[18] = m2[4] = 0x80;
	memset(input, 0x11, sizeof input);
	for (ck_ulong i = 0; i < n && !rv; i++) {
		diversifier(factor, seed + i);
		if ((rv = derive(b, b->master, factor, card_key, &card))) return rv;
		if ((rv = derive(b, card, input, process_key, &process))) return rv;
		if (!(rv = mac(b, process, m1, sizeof m1, out))) rv = mac(b, process, m2, sizeof m2, out + 4);
		((ck_destroy)b->f->fn[CK_DESTROY_OBJECT])(b->session, process);
		((ck_destroy)b->f->fn[CK_DESTROY_OBJECT])(b->session, card);
	}
	return rv;
}

/* The use descriptor of every slot is eight times 22h. */
ck_ulong bare_slots(struct bare *b, ck_ulong n, ck_ulong seed, ck_byte *key) {
	struct ck_mechanism ecb = { CKM_DES3_ECB, NULL, 0 };
	ck_byte factor[24], ud[16];
	ck_ulong rv = 0, token;
	memset(ud, 0x22, 8);
	memset(ud + 8, 0xDD, 8);
	diversifier(factor, 0x1111111111111111);
	if (!b->issuer && (rv = derive(b, b->master, factor, card_key, &b->issuer))) return rv;
	for (ck_ulong i = 0; i < 2 * n && !rv; i++) {
		ck_ulong len = 16;
		diversifier(factor, seed + i / 2);
		if ((rv = derive(b, b->issuer, factor, process_key, &token))) return rv;
		rv = ((ck_encrypt_init)b->f->fn[CK_ENCRYPT_INIT])(b->session, &ecb, token);
		if (!rv) rv = ((ck_encrypt)b->f->fn[CK_ENCRYPT])(b->session, ud, sizeof ud, key, &len);
		((ck_destroy)b->f->fn[CK_DESTROY_OBJECT])(b->session, token);
	}
	return rv;
}
