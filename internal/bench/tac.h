/* The bare C loop of a TAC check. See tac.c. */
#ifndef TAPVAULT_TAC_H
#define TAPVAULT_TAC_H

#include "bare.h"

/* bare_tac computes the TACs of n different cards over one padded message; mac
 * is the last of them. */
ck_ulong bare_tac(struct bare *b, ck_ulong n, ck_ulong seed, ck_byte *msg, ck_ulong len, ck_byte *mac);

#endif
