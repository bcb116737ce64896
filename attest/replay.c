#include "attest/replay.h"

#include "attest/hash.h"

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

/* "StartupLocality\0" and the locality (PFP 1.05, 10.4.5.3). True where the event is one. */
static bool startup_locality(const struct event_log *log, size_t i, struct log_replay *out,
                             bool *seen, struct attest_result *r)
{
    static const char signature[16] = "StartupLocality";
    const struct log_event *ev = &log->events[i];
    if (ev->data.len < sizeof signature || memcmp(ev->data.data, signature, sizeof signature) != 0)
        return false;
    uint8_t locality = ev->data.len == sizeof signature + 1 ? ev->data.data[16] : 0xff;
    bool late = out->touched & 1;
    if (ev->pcr != 0 || late || *seen || (locality != 0 && locality != 3 && locality != 4)) {
        result_fail_at(r, CHECK_LOG_REPLAY, "startup_locality_invalid", (int)i, 0);
        out->ok = false;
        return true;
    }
    *seen = true;
    out->values[0][pcr_banks[out->bank].size - 1] = locality;
    return true;
}

static void extend(struct hasher *h, uint8_t *value, struct bytes digest)
{
    const struct bytes parts[] = {{value, pcr_banks[h->alg].size}, digest};
    hasher_run(h, parts, ARRAY_LEN(parts), value);
}

void replay_run(const struct event_log *log, enum pcr_bank bank, struct log_replay *out,
                struct attest_result *r)
{
    *out = (struct log_replay){.log = log, .bank = bank, .ok = true};
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++)
        memset(out->values[i], initial_byte(i), pcr_banks[bank].size);
    if (!log->banks[bank]) {
        result_fail(r, CHECK_LOG_REPLAY, "bank_mismatch");
        out->ok = false;
        return;
    }
    struct hasher h = hasher_new(bank);
    bool locality_seen = false;
    for (size_t i = 0; i < log->n; i++) {
        const struct log_event *ev = &log->events[i];
        if (ev->type == EV_NO_ACTION) {
            startup_locality(log, i, out, &locality_seen, r);
            continue;
        }
        if (ev->digest[bank].len == 0) {
            result_fail_at(r, CHECK_LOG_REPLAY, "digest_missing", (int)i, (int)ev->pcr);
            out->ok = false;
            continue;
        }
        extend(&h, out->values[ev->pcr], ev->digest[bank]);
        out->touched |= 1u << ev->pcr;
    }
    hasher_free(&h);
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
    struct hasher h = hasher_new(replay->bank);
    size_t size = pcr_banks[replay->bank].size;
    bool found = false;
    for (size_t t = 0; t < ARRAY_LEN(tails) && !found; t++) {
        uint8_t value[DIGEST_MAX], digest[DIGEST_MAX];
        memcpy(value, replay->values[5], size);
        for (size_t i = 0; i < ARRAY_LEN(tails[t]) && tails[t][i]; i++) {
            struct bytes text = BYTES_STR(tails[t][i]);
            hasher_run(&h, &text, 1, digest);
            extend(&h, value, BYTES(digest, size));
        }
        found = memcmp(value, want, size) == 0;
    }
    hasher_free(&h);
    return found;
}

static void compare_one(const struct log_replay *replay, unsigned pcr, const uint8_t *want,
                        struct attest_result *r)
{
    bool touched = replay->touched >> pcr & 1;
    switch (owner_of(pcr)) {
    case OWNER_FIRMWARE:
        if (pcr == 5 && touched && explained_by_exit(replay, want)) {
            result_add(r, CHECK_LOG_REPLAY, STATUS_WARN, "exit_boot_services_not_logged",
                       ATTEST_NO_INDEX, 5);
            return;
        }
        result_fail_at(r, CHECK_LOG_REPLAY, touched ? "pcr_replay_mismatch" : "pcr_not_in_log",
                       ATTEST_NO_INDEX, (int)pcr);
        return;
    case OWNER_LOADER:
        if (touched)
            result_fail_at(r, CHECK_LOG_REPLAY, "pcr_replay_mismatch", ATTEST_NO_INDEX, (int)pcr);
        else
            result_add(r, CHECK_LOG_REPLAY, STATUS_WARN, "pcr_not_in_log", ATTEST_NO_INDEX,
                       (int)pcr);
        return;
    case OWNER_RUNTIME:
        result_add(r, CHECK_LOG_REPLAY, STATUS_WARN,
                   touched ? "pcr_extended_after_log" : "pcr_not_in_log", ATTEST_NO_INDEX,
                   (int)pcr);
        return;
    case OWNER_IMA:
        return;
    }
}

uint32_t replay_compare(const struct log_replay *replay, const struct pcr_set *expected,
                        struct attest_result *r)
{
    size_t size = pcr_banks[replay->bank].size;
    uint32_t explained = 0;
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        if (!(expected->mask >> i & 1))
            continue;
        if (memcmp(replay->values[i], expected->values[i], size) == 0)
            explained |= 1u << i;
        else
            compare_one(replay, i, expected->values[i], r);
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
    uint32_t proven = replay_compare(replay, pcrs, r);
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
