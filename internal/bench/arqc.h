/* The bare C loop of an ARQC check. See arqc.c. */
#ifndef TAPVAULT_ARQC_H
#define TAPVAULT_ARQC_H

#include "bare.h"

/* bare_arqc computes n cryptograms of n different cards, whose derivation
 * inputs count up from seed; mac is the last of them. */
ck_ulong bare_arqc(struct bare *b, ck_ulong n, ck_ulong seed, ck_byte *step, ck_byte *msg, ck_ulong len, ck_byte *mac);

#endif
