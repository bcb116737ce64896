/*
 * Boots compared event by event: what a baseline keeps of a boot, and in which events another boot
 * differs from it. For people; a verdict never hangs on it (policy_rules.c compares PCR values).
 */
#ifndef ATTEST_DIFF_H
#define ATTEST_DIFF_H

#include "attest/logs.h"
#include "attest/rules.h"

#define BOOT_EVENTS_MAX 512

/* An event in words. */
struct boot_event {
    int64_t index; /* in its log */
    int64_t pcr;
    const char *type;
    const char *digest;      /* hex */
    const char *description; /* file, variable, command; NULL: nothing but the type is known */
    const char *signer;      /* subject of the certificate that the log places at it, or NULL */
};

struct boot_events {
    struct obj_list events; /* struct boot_event */
    bool truncated;
};
extern const struct schema boot_events_schema;

/* The events of these PCRs. Texts live in the arena. */
struct boot_events boot_events_of(struct attest_log *log, enum pcr_bank bank, uint32_t pcrs,
                                  struct arena *a);

/* What a baseline keeps of a boot: its values and its events, as the store has them. */
struct boot_set {
    uint32_t pcrs_mask;
    const char *digest; /* hex SHA-256 over bank, indices and values: names the set */
    const char *bank;
    const char *pcrs;   /* JSON: index to hex */
    const char *events; /* JSON of boot_events_schema */
};
/* Only the PCRs of a baseline that are quoted. NULL, or why the boot can be no model: one of them, or of
 * attest_baseline_least, is not explained by the log or has an event that is not understood, or there are
 * more events than anybody could be shown. */
const char *boot_set_of(const struct attest_result *r, struct arena *a,
                        struct boot_set *out) MUST_CHECK;
/* Without the events of other PCRs. */
void boot_events_keep(struct boot_events *e, uint32_t pcrs);

/* kind: "replaced", "added", "removed"; of a PCR as a whole "notQuoted", "value". */
struct boot_difference {
    const char *kind;
    int64_t pcr;
    const struct boot_event *expected; /* NULL: added */
    const struct boot_event *found;    /* NULL: removed */
    const char *text;                  /* "shim 15.8 replaced by shim 16.1, signer unchanged" */
};

struct boot_differences {
    struct boot_difference *items;
    size_t n;
};

/* By PCR, in the order of the events. `names` (or NULL) has names for digests. */
struct boot_differences boot_compare(const struct boot_events *expected,
                                     const struct boot_events *found,
                                     const struct attest_policy *names, struct arena *a);
/* One that is of no event. */
void boot_differences_add(struct boot_differences *d, const char *kind, int64_t pcr,
                          const char *text, struct arena *a);
bool boot_differences_has(const struct boot_differences *d, int64_t pcr);
/* A JSON array. */
void boot_differences_write(struct jw *w, const struct boot_differences *d);

#endif
