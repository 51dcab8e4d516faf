/* The limit that the TAC bench is held to: the fewest PKCS #11 calls that the TAC
 * of a card takes which was not met before, with the same attributes. A folded
 * key can only be made outside and taken in. */
#include <string.h>

#include "tac.h"
#include "key.h"

static struct ck_attribute card_key[] = ANY_KEY(no, yes, no, no), folded_key[KEY_ATTRIBUTES + 1] = KEY(no, yes);

ck_ulong bare_tac(struct bare *b, ck_ulong n, ck_ulong seed, ck_byte *msg, ck_ulong len, ck_byte *mac) {
	struct ck_mechanism cbc = { CKM_DES3_CBC, zero_iv, sizeof zero_iv };
	struct ck_attribute folded[KEY_ATTRIBUTES + 1];
	ck_byte data[24], key[24], out[64];
	ck_ulong rv = 0, card, h, got;
	if (len < 8 || len > sizeof out) return CKR_GENERAL_ERROR;
	memcpy(folded, folded_key, sizeof folded);
	folded[KEY_ATTRIBUTES].type = CKA_VALUE; folded[KEY_ATTRIBUTES].value = key; folded[KEY_ATTRIBUTES].len = 24;
	for (ck_ulong i = 0; i < n; i++) {
		struct ck_string_data d = { data, 24 };
		struct ck_mechanism m = { CKM_DES3_ECB_ENCRYPT_DATA, &d, sizeof d };
		struct ck_attribute value = { CKA_VALUE, key, 24 };
		for (int k = 0; k < 8; k++) {
			data[k] = data[16 + k] = (ck_byte)((seed + i) >> (56 - 8 * k));
			data[8 + k] = (ck_byte)~data[k];
		}
		if ((rv = ((ck_derive)b->f->fn[CK_DERIVE_KEY])(b->session, &m, b->master, card_key, KEY_ATTRIBUTES, &card))) return rv;
		if ((rv = ((ck_get)b->f->fn[CK_GET_ATTRIBUTE_VALUE])(b->session, card, &value, 1))) return rv;
		for (int k = 0; k < 8; k++) key[k] = key[8 + k] = key[16 + k] = key[k] ^ key[8 + k];
		if ((rv = ((ck_create)b->f->fn[CK_CREATE_OBJECT])(b->session, folded, KEY_ATTRIBUTES + 1, &h))) return rv;
		got = sizeof out;
		if ((rv = ((ck_encrypt_init)b->f->fn[CK_ENCRYPT_INIT])(b->session, &cbc, h))) return rv;
		if ((rv = ((ck_encrypt)b->f->fn[CK_ENCRYPT])(b->session, msg, len, out, &got))) return rv;
		memcpy(mac, out + len - 8, 8);
		((ck_destroy)b->f->fn[CK_DESTROY_OBJECT])(b->session, h);
		((ck_destroy)b->f->fn[CK_DESTROY_OBJECT])(b->session, card);
	}
	return rv;
}
