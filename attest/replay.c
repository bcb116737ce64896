#include "attest/replay.h"

#include "attest/hash.h"
#include "attest/locate.h"
#include "attest/quirk.h"
#include "attest/text.h"

struct verified_log {
    const struct event_log *log;
    enum pcr_bank bank;
    uint32_t proven;
};

/* Who extends a PCR (PFP 1.05, table 1, and the Linux TPM PCR registry). */
enum pcr_owner {
    OWNER_FIRMWARE, /* the log must explain it */
    OWNER_LOADER,   /* shim and GRUB log what they extend; a userspace may extend it without */
    OWNER_RUNTIME,  /* the running system extends it too, and keeps that in other logs */
    OWNER_IMA,      /* has a log of its own */
};

static enum pcr_owner owner_of(unsigned pcr)
{
    if (pcr <= 7)
        return OWNER_FIRMWARE;
    if (pcr == 8 || pcr == 9 || pcr == 14)
        return OWNER_LOADER;
    return pcr == 10 ? OWNER_IMA : OWNER_RUNTIME;
}

/* Part 1, 11.3: the D-RTM's PCRs come up as ones, the rest as zeros. */
static uint8_t initial_byte(unsigned pcr)
{
    return pcr >= 17 && pcr <= 22 ? 0xff : 0;
}

/* "StartupLocality\0" and the locality (PFP 1.05, 10.4.5.3); 0, 3 and 4 are those that can start a TPM.
 * NULL: all is well. */
static const char *locality_fault(const struct log_event *ev, const struct log_replay *out,
                                  bool seen, struct arena *a)
{
    if (ev->data.len != REPLAY_LOCALITY_LEN)
        return arena_printf(a, "%zu bytes", ev->data.len);
    if (ev->pcr != 0)
        return arena_printf(a, "for PCR %u", ev->pcr);
    if (seen)
        return "a second one";
    if (out->touched & 1)
        return "after the first measurement of PCR 0";
    uint8_t locality = ev->data.data[16];
    if (locality != 0 && locality != 3 && locality != 4)
        return arena_printf(a, "locality %u", locality);
    return NULL;
}

static void startup_locality(const struct log_event *ev, size_t i, struct log_replay *out,
                             bool *seen, struct arena *a, struct attest_result *r)
{
    if (!replay_is_locality(ev))
        return;
    const char *fault = locality_fault(ev, out, *seen, a);
    if (fault) {
        result_fail_values(r, CHECK_LOG_REPLAY, "startup_locality_invalid", (int)i, 0,
                           "0, 3 or 4, once, before the first measurement of PCR 0", fault);
        out->ok = false;
        return;
    }
    *seen = true;
    out->values[0][pcr_banks[out->bank].size - 1] = ev->data.data[16];
}

bool replay_is_locality(const struct log_event *ev)
{
    static const char signature[16] = "StartupLocality";
    return ev->type == EV_NO_ACTION && ev->data.len >= sizeof signature &&
           memcmp(ev->data.data, signature, sizeof signature) == 0;
}

void replay_start(unsigned pcr, size_t size, uint8_t *value)
{
    memset(value, initial_byte(pcr), size);
}

void replay_extend(enum pcr_bank bank, uint8_t *value, struct bytes digest)
{
    const struct bytes parts[] = {{value, pcr_banks[bank].size}, digest};
    hash_parts(bank, parts, ARRAY_LEN(parts), value);
}

/* "sha1, sha256" of those that are set. */
static const char *banks_text(const bool set[BANK_COUNT], struct arena *a)
{
    const char *text = "";
    for (int b = 0; b < BANK_COUNT; b++)
        if (set[b])
            text = arena_printf(a, "%s%s%s", text, *text ? ", " : "", pcr_banks[b].name);
    return *text ? text : "none";
}

static void fail_digest(const struct log_event *ev, size_t i, enum pcr_bank bank, struct arena *a,
                        struct attest_result *r)
{
    bool has[BANK_COUNT];
    for (int b = 0; b < BANK_COUNT; b++)
        has[b] = ev->digest[b].len != 0;
    result_fail_values(r, CHECK_LOG_REPLAY, "digest_missing", (int)i, (int)ev->pcr,
                       pcr_banks[bank].name, banks_text(has, a));
}

void replay_run(const struct event_log *log, enum pcr_bank bank, struct log_replay *out,
                struct arena *a, struct attest_result *r)
{
    *out = (struct log_replay){.log = log, .bank = bank, .ok = true};
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++)
        replay_start(i, pcr_banks[bank].size, out->values[i]);
    if (!log->banks[bank]) {
        result_fail_values(r, CHECK_LOG_REPLAY, "bank_mismatch", ATTEST_NO_INDEX, ATTEST_NO_INDEX,
                           pcr_banks[bank].name, banks_text(log->banks, a));
        out->ok = false;
        return;
    }
    bool locality_seen = false;
    for (size_t i = 0; i < log->n; i++) {
        const struct log_event *ev = &log->events[i];
        if (ev->type == EV_NO_ACTION) {
            startup_locality(ev, i, out, &locality_seen, a, r);
            continue;
        }
        if (ev->digest[bank].len == 0) {
            fail_digest(ev, i, bank, a, r);
            out->ok = false;
            continue;
        }
        replay_extend(bank, out->values[ev->pcr], ev->digest[bank]);
        out->touched |= 1u << ev->pcr;
    }
}

static const char ebs_invocation[] = "Exit Boot Services Invocation";
static const char ebs_success[] = "Exit Boot Services Returned with Success";
static const char ebs_failure[] = "Exit Boot Services Returned with Failure";

/* Some firmware extends the ExitBootServices events of PCR 5 after the OS has taken its copy of the
 * log. They carry no information, so a PCR 5 that is explained by them is let pass with a remark. */
static bool explained_by_exit(const struct log_replay *replay, const uint8_t *want)
{
    static const char *const tails[][4] = {
        {ebs_invocation, ebs_success},
        {ebs_invocation, ebs_failure},
        {ebs_invocation, ebs_failure, ebs_invocation, ebs_success},
    };
    size_t size = pcr_banks[replay->bank].size;
    bool found = false;
    for (size_t t = 0; t < ARRAY_LEN(tails) && !found; t++) {
        uint8_t value[DIGEST_MAX], digest[DIGEST_MAX];
        memcpy(value, replay->values[5], size);
        for (size_t i = 0; i < ARRAY_LEN(tails[t]) && tails[t][i]; i++) {
            struct bytes text = BYTES_STR(tails[t][i]);
            hash_digest(replay->bank, text, digest);
            replay_extend(replay->bank, value, BYTES(digest, size));
        }
        found = memcmp(value, want, size) == 0;
    }
    return found;
}

struct comparison {
    const struct log_replay *replay;
    struct arena *arena;
    struct attest_result *r;
    struct locate_budget budget;
};

static void tell(struct comparison *c, enum check_status status, const char *reason, unsigned pcr,
                 const uint8_t *want, int event)
{
    size_t size = pcr_banks[c->replay->bank].size;
    bool touched = c->replay->touched >> pcr & 1;
    const struct attest_finding f = {
        .check = CHECK_LOG_REPLAY,
        .status = status,
        .reason = reason,
        .event = event,
        .pcr = (int)pcr,
        .expected = text_hex(BYTES(want, size), size, c->arena),
        .found =
            touched ? text_hex(BYTES(c->replay->values[pcr], size), size, c->arena) : "no event",
    };
    result_put(c->r, &f);
}

/* The PCR does not add up: which event would explain it is a remark of its own. */
static void tell_mismatch(struct comparison *c, unsigned pcr, const uint8_t *want)
{
    struct located at = locate_event(c->replay, pcr, want, &c->budget);
    tell(c, STATUS_FAIL, "pcr_replay_mismatch", pcr, want, at.event);
    if (!at.reason)
        return;
    const struct attest_finding f = {.check = CHECK_LOG_REPLAY,
                                     .status = STATUS_WARN,
                                     .reason = at.reason,
                                     .event = at.event,
                                     .pcr = (int)pcr};
    result_put(c->r, &f);
}

static void compare_one(struct comparison *c, unsigned pcr, const uint8_t *want)
{
    bool touched = c->replay->touched >> pcr & 1;
    switch (owner_of(pcr)) {
    case OWNER_FIRMWARE:
        if (pcr == 5 && touched && explained_by_exit(c->replay, want))
            quirk_tolerate(QUIRK_EXIT_BOOT_SERVICES, ATTEST_NO_INDEX, pcr, c->r);
        else if (touched)
            tell_mismatch(c, pcr, want);
        else
            tell(c, STATUS_FAIL, "pcr_not_in_log", pcr, want, ATTEST_NO_INDEX);
        return;
    case OWNER_LOADER:
        if (touched)
            tell_mismatch(c, pcr, want);
        else
            tell(c, STATUS_WARN, "pcr_not_in_log", pcr, want, ATTEST_NO_INDEX);
        return;
    case OWNER_RUNTIME:
        tell(c, STATUS_WARN, touched ? "pcr_extended_after_log" : "pcr_not_in_log", pcr, want,
             ATTEST_NO_INDEX);
        return;
    case OWNER_IMA:
        return;
    }
}

uint32_t replay_compare(const struct log_replay *replay, const struct pcr_set *expected,
                        struct arena *a, struct attest_result *r)
{
    struct comparison c = {replay, a, r, {LOCATE_EXTENDS_MAX}};
    size_t size = pcr_banks[replay->bank].size;
    uint32_t explained = 0;
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        if (!(expected->mask >> i & 1))
            continue;
        if (memcmp(replay->values[i], expected->values[i], size) == 0)
            explained |= 1u << i;
        else
            compare_one(&c, i, expected->values[i]);
    }
    return explained;
}

const struct verified_log *replay_verify(const struct verified_quote *q,
                                         const struct log_replay *replay, struct arena *a,
                                         struct attest_result *r)
{
    const struct pcr_set *pcrs = quote_pcrs(q);
    if (!replay->ok || replay->bank != pcrs->bank)
        return NULL;
    uint32_t proven = replay_compare(replay, pcrs, a, r);
    if (result_has_failed(r, CHECK_LOG_REPLAY))
        return NULL;
    result_pass(r, CHECK_LOG_REPLAY);
    struct verified_log *l = ARENA_NEW(a, struct verified_log);
    *l = (struct verified_log){replay->log, pcrs->bank, proven};
    return l;
}

const struct event_log *replay_log(const struct verified_log *l)
{
    return l->log;
}

enum pcr_bank replay_bank(const struct verified_log *l)
{
    return l->bank;
}

uint32_t replay_proven(const struct verified_log *l)
{
    return l->proven;
}
