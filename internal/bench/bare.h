/* The bare C loop of a purchase check. See bare.c. */
#ifndef TAPVAULT_BARE_H
#define TAPVAULT_BARE_H

#include "cryptoki.h"

struct bare { struct ck_functions *f; ck_ulong session, master, issuer; };

/* bare_open opens a session on the token of a label (padded to 32 bytes),
 * which this process is logged in to, and copies the key of another label to
 * it. It returns a PKCS #11 code. */
ck_ulong bare_open(struct bare *b, const char *module, const char *token, char *label, ck_ulong len);
ck_ulong bare_run(struct bare *b, ck_ulong n, ck_ulong seed, ck_byte *mac);
/* bare_slots fetches the two keys of n slots of n different tokens, as the judge
 * of a tap needs them, below the key of an issuer that it derives once. */
ck_ulong bare_slots(struct bare *b, ck_ulong n, ck_ulong seed, ck_byte *key);
void bare_close(struct bare *b);

#endif
