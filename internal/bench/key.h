/* What the session keys of both loops are made of: the attributes that hsm gives
 * its own. */
#ifndef TAPVAULT_BENCH_KEY_H
#define TAPVAULT_BENCH_KEY_H

#include "bare.h"

static ck_byte yes = 1, no = 0, zero_iv[8];
static ck_ulong secret_key = CKO_SECRET_KEY, des3 = CKK_DES3;

#define KEY(derive, encrypt) ANY_KEY(yes, no, derive, encrypt)
#define ANY_KEY(sensitive, extractable, derive, encrypt) { \
	{ CKA_CLASS, &secret_key, sizeof secret_key }, { CKA_KEY_TYPE, &des3, sizeof des3 }, \
	{ CKA_TOKEN, &no, 1 }, { CKA_PRIVATE, &yes, 1 }, { CKA_SENSITIVE, &sensitive, 1 }, { CKA_EXTRACTABLE, &extractable, 1 }, \
	{ CKA_DERIVE, &derive, 1 }, { CKA_ENCRYPT, &encrypt, 1 }, { CKA_DECRYPT, &no, 1 }, { CKA_SIGN, &no, 1 }, \
	{ CKA_VERIFY, &no, 1 }, { CKA_WRAP, &no, 1 }, { CKA_UNWRAP, &no, 1 } }
enum { KEY_ATTRIBUTES = 13 };

#endif
