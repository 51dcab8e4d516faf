/* The part of the PKCS #11 2.40 interface that Tapvault's C code calls,
 * written from the standard's tables. Linux and other systems where structures
 * are not packed. */
#ifndef TAPVAULT_CRYPTOKI_H
#define TAPVAULT_CRYPTOKI_H

typedef unsigned char ck_byte;
typedef unsigned long ck_ulong;

struct ck_attribute { ck_ulong type; void *value; ck_ulong len; };
struct ck_mechanism { ck_ulong type; void *param; ck_ulong len; };
struct ck_string_data { ck_byte *data; ck_ulong len; }; /* CK_KEY_DERIVATION_STRING_DATA */

struct ck_ecdh1 { ck_ulong kdf, shared_len; ck_byte *shared; ck_ulong public_len; ck_byte *public; }; /* CK_ECDH1_DERIVE_PARAMS */

struct ck_oaep { ck_ulong hash, mgf, source; void *data; ck_ulong len; }; /* CK_RSA_PKCS_OAEP_PARAMS */

/* The table that C_GetFunctionList returns: a version, then one pointer for
 * each function in the order of the standard. */
enum { CK_FUNCTIONS = 68 };
struct ck_functions { ck_byte major, minor; void *fn[CK_FUNCTIONS]; };

enum { /* places in the table */
	CK_GET_SLOT_LIST = 4, CK_GET_TOKEN_INFO = 6, CK_OPEN_SESSION = 12, CK_CLOSE_SESSION = 13,
	CK_LOGIN = 18, CK_CREATE_OBJECT = 20, CK_COPY_OBJECT = 21, CK_DESTROY_OBJECT = 22,
	CK_GET_ATTRIBUTE_VALUE = 24, CK_FIND_OBJECTS_INIT = 26, CK_FIND_OBJECTS = 27,
	CK_FIND_OBJECTS_FINAL = 28, CK_ENCRYPT_INIT = 29, CK_ENCRYPT = 30, CK_DECRYPT = 34, CK_SIGN_INIT = 42, CK_SIGN = 43, CK_WRAP_KEY = 60, CK_DERIVE_KEY = 62, CK_GENERATE_RANDOM = 64,
	CK_LAST = CK_GENERATE_RANDOM /* of those that are called */
};

typedef ck_ulong (*ck_slots)(ck_byte, ck_ulong *, ck_ulong *);
typedef ck_ulong (*ck_login)(ck_ulong, ck_ulong, ck_byte *, ck_ulong);
typedef ck_ulong (*ck_create)(ck_ulong, struct ck_attribute *, ck_ulong, ck_ulong *);
typedef ck_ulong (*ck_copy)(ck_ulong, ck_ulong, struct ck_attribute *, ck_ulong, ck_ulong *);
typedef ck_ulong (*ck_destroy)(ck_ulong, ck_ulong);
typedef ck_ulong (*ck_get)(ck_ulong, ck_ulong, struct ck_attribute *, ck_ulong);
typedef ck_ulong (*ck_find)(ck_ulong, ck_ulong *, ck_ulong, ck_ulong *);
typedef ck_ulong (*ck_random)(ck_ulong, ck_byte *, ck_ulong);
typedef ck_ulong (*ck_wrap)(ck_ulong, struct ck_mechanism *, ck_ulong, ck_ulong, ck_byte *, ck_ulong *);
typedef ck_ulong (*ck_encrypt_init)(ck_ulong, struct ck_mechanism *, ck_ulong);
typedef ck_ulong (*ck_encrypt)(ck_ulong, ck_byte *, ck_ulong, ck_byte *, ck_ulong *);
typedef ck_ulong (*ck_derive)(ck_ulong, struct ck_mechanism *, ck_ulong, struct ck_attribute *, ck_ulong, ck_ulong *);

/* Constants of the standard. */
#define CKO_SECRET_KEY 4UL
#define CKK_GENERIC_SECRET 0x10UL
#define CKK_DES3 0x15UL
#define CKA_CLASS 0x000UL
#define CKA_TOKEN 0x001UL
#define CKA_PRIVATE 0x002UL
#define CKA_LABEL 0x003UL
#define CKA_VALUE 0x011UL
#define CKA_KEY_TYPE 0x100UL
#define CKA_SENSITIVE 0x103UL
#define CKA_ENCRYPT 0x104UL
#define CKA_DECRYPT 0x105UL
#define CKA_WRAP 0x106UL
#define CKA_UNWRAP 0x107UL
#define CKA_SIGN 0x108UL
#define CKA_VERIFY 0x10AUL
#define CKA_DERIVE 0x10CUL
#define CKA_VALUE_LEN 0x161UL
#define CKA_EXTRACTABLE 0x162UL
#define CKM_RSA_PKCS_OAEP 0x009UL
#define CKM_SHA_1 0x220UL
#define CKG_MGF1_SHA1 1UL
#define CKZ_DATA_SPECIFIED 1UL
#define CKM_DES3_ECB 0x132UL
#define CKM_DES3_CBC 0x133UL
#define CKM_ECDH1_DERIVE 0x1050UL
#define CKD_NULL 1UL
#define CKM_DES3_ECB_ENCRYPT_DATA 0x1102UL
#define CKU_USER 1UL
#define CKR_GENERAL_ERROR 5UL
#define CKR_FUNCTION_NOT_SUPPORTED 0x54UL
#define CKF_RW_SERIAL_SESSION 6UL

#endif
