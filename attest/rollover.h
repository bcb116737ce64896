/*
 * The roll-over of Microsoft's Secure Boot certificates: those of 2011 expired in 2026 (KEK and third
 * party CA in June, the Windows CA in October), those of 2023 take their place. Firmware does not look
 * at validity, so nothing stops booting by the calendar alone; what stops is (a) updates of db and dbx
 * where the KEK of 2023 is missing, (b) a loader signed by a CA of 2023 where db does not have it, and
 * (c) a loader signed by a CA that dbx revokes.
 *
 * The certificates are told by the SHA-1 of their DER, which is how their issuer lists them. Nothing
 * else is decoded, so a log's answer costs some SHA-1 of KEK, db and dbx. Pure; any thread.
 */
#ifndef ATTEST_ROLLOVER_H
#define ATTEST_ROLLOVER_H

#include "attest/attest.h"
#include "attest/claims.h"
#include "core/buf.h"

enum rollover_ca {
    ROLLOVER_KEK_2011,
    ROLLOVER_KEK_2023,
    ROLLOVER_WINDOWS_2011,
    ROLLOVER_WINDOWS_2023,
    ROLLOVER_UEFI_2011,
    ROLLOVER_UEFI_2023,
    ROLLOVER_OPTION_ROM_2023,
    ROLLOVER_CAS,
};

/* Where a certificate was seen. AUTHORITY: it vouched for something that was loaded. */
enum rollover_place {
    ROLLOVER_IN_KEK,
    ROLLOVER_IN_DB,
    ROLLOVER_IN_DBX,
    ROLLOVER_AUTHORITY,
    ROLLOVER_PLACES,
};

/* A set of (place, certificate), and whether it was read from a log at all. A stable encoding: it is
 * stored. 0: nothing is known. */
#define ROLLOVER_KNOWN (UINT32_C(1) << 31)
/* A certificate that vouched for something that was loaded stands in dbx, be it one of these or not. */
#define ROLLOVER_BOOTED_REVOKED (UINT32_C(1) << 30)

static inline uint32_t rollover_bit(enum rollover_place place, enum rollover_ca ca)
{
    return UINT32_C(1) << ((unsigned)place * ROLLOVER_CAS + (unsigned)ca);
}

static inline bool rollover_has(uint32_t set, enum rollover_place place, enum rollover_ca ca)
{
    return set & rollover_bit(place, ca);
}

/* 0 where one of KEK, db and dbx was not measured. */
uint32_t rollover_of(const struct log_claims *c);
/* Something was loaded that a CA vouched for which signs nothing but Windows. */
bool rollover_booted_windows(const struct log_claims *c);
/* Of what was proven; 0 where nothing was. */
uint32_t rollover_of_result(const struct attest_result *r);

/* States in JSON: unknown ready incomplete atRisk revoked notApplicable. */
enum rollover_state {
    ROLLOVER_UNKNOWN,        /* no proven log */
    ROLLOVER_READY,          /* trusts the successors of all it trusts */
    ROLLOVER_INCOMPLETE,     /* boots on, but misses a certificate of 2023 */
    ROLLOVER_AT_RISK,        /* booted by a CA of 2011 whose successor is not in db */
    ROLLOVER_REVOKED,        /* booted by what dbx revokes: will not boot again */
    ROLLOVER_NOT_APPLICABLE, /* trusts none of Microsoft's certificates */
    ROLLOVER_STATES,
};
enum rollover_state rollover_state_of(uint32_t set);
const char *rollover_state_name(enum rollover_state s);
bool rollover_state_parse(const char *name, enum rollover_state *out) MUST_CHECK;

const char *rollover_ca_id(enum rollover_ca ca);        /* "uefiCa2023" */
const char *rollover_place_name(enum rollover_place p); /* "kek", "db", "dbx", "bootedWith" */

/* Members of an object (without its braces): "state", a list of certificates for each place,
 * "findings": [{"code","severity","reason","remedy"}]. */
void rollover_write(struct jw *w, uint32_t set);

#endif
