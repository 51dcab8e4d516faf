/* The limit that the ARQC bench is held to: the fewest PKCS #11 calls that a
 * cryptogram of a card takes which was not met before, with the same
 * attributes. It shares no code with hsm but the header. */
#include <string.h>

#include "arqc.h"
#include "key.h"

static struct ck_attribute card_key[] = KEY(yes, no), session_key[] = KEY(no, yes);

static ck_ulong derive(struct bare *b, ck_ulong base, ck_byte *data, struct ck_attribute *t, ck_ulong *h) {
	struct ck_string_data d = { data, 24 };
	struct ck_mechanism m = { CKM_DES3_ECB_ENCRYPT_DATA, &d, sizeof d };
	return ((ck_derive)b->f->fn[CK_DERIVE_KEY])(b->session, &m, base, t, KEY_ATTRIBUTES, h);
}

static ck_ulong encrypt(struct bare *b, ck_ulong key, struct ck_mechanism *m, ck_byte *in, ck_ulong n, ck_byte *out) {
	ck_ulong len = n, rv = ((ck_encrypt_init)b->f->fn[CK_ENCRYPT_INIT])(b->session, m, key);
	return rv ? rv : ((ck_encrypt)b->f->fn[CK_ENCRYPT])(b->session, in, n, out, &len);
}

static void destroy(struct bare *b, ck_ulong h) { ((ck_destroy)b->f->fn[CK_DESTROY_OBJECT])(b->session, h); }

/* step holds the 16 bytes that the session key is made from; msg is padded. */
ck_ulong bare_arqc(struct bare *b, ck_ulong n, ck_ulong seed, ck_byte *step, ck_byte *msg, ck_ulong len, ck_byte *mac) {
	struct ck_mechanism ecb = { CKM_DES3_ECB, NULL, 0 }, cbc = { CKM_DES3_CBC, zero_iv, sizeof zero_iv };
	ck_byte card_data[24], left[24], whole[24], out[256], last[8];
	ck_ulong rv = 0, card, h;
	if (len < 16 || len > sizeof out) return CKR_GENERAL_ERROR;
	for (int i = 0; i < 24; i++) { left[i] = step[i % 8]; whole[i] = step[i % 16]; }
	for (ck_ulong i = 0; i < n; i++) {
		for (int k = 0; k < 8; k++) {
			card_data[k] = card_data[16 + k] = (ck_byte)((seed + i) >> (56 - 8 * k));
			card_data[8 + k] = (ck_byte)~card_data[k];
		}
		if ((rv = derive(b, b->master, card_data, card_key, &card))) return rv;
		if ((rv = derive(b, card, left, session_key, &h))) return rv;
		if ((rv = encrypt(b, h, &cbc, msg, len - 8, out))) return rv;
		destroy(b, h);
		for (int k = 0; k < 8; k++) last[k] = msg[len - 8 + k] ^ out[len - 16 + k];
		if ((rv = derive(b, card, whole, session_key, &h))) return rv;
		if ((rv = encrypt(b, h, &ecb, last, 8, mac))) return rv;
		destroy(b, h);
		destroy(b, card);
	}
	return rv;
}
