/*
 * What real firmware and loaders get wrong in ways that are harmless and known: where it may be, what
 * is let pass, and who says so. Each time one is met it is a remark (`warn`) of its name, so that
 * nothing is tolerated in silence. The table (quirk.c) is the only place where a deviation is let pass.
 */
#ifndef ATTEST_QUIRK_H
#define ATTEST_QUIRK_H

#include "attest/result.h"

enum quirk {
    QUIRK_EXIT_BOOT_SERVICES,
    QUIRK_SHIM_EXTRA_BYTE,
    QUIRK_SEPARATOR_DIGEST,
    QUIRK_BOOT_VARIABLE_VALUE,
    QUIRK_ACTION_TERMINATED,
    QUIRKS
};

struct quirk_info {
    enum attest_check check;
    const char *reason; /* of the remark; its words are in reasons.def */
    uint32_t pcrs;      /* bit i: it is tolerated in PCR i */
    const char *tolerated;
    const char *source;
};
extern const struct quirk_info quirks[QUIRKS];

/* True where the quirk is tolerated in that PCR; then the remark is in *r, once a PCR. */
bool quirk_tolerate(enum quirk q, int event, unsigned pcr, struct attest_result *r);

#endif
