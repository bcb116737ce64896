#include "attest/review.h"

#include "attest/logs.h"
#include "attest/policy.h"

struct reviewing {
    const struct attest_input *in;
    const struct attest_record *record;
    struct arena *arena;
    struct attest_result *r;
    struct policy_facts facts;
    struct attest_claims *claims;
    struct err_info *e;
};

static enum err unreadable(struct reviewing *v, const char *what)
{
    return err_set(v->e, ERR_INTERNAL, "the kept report has %s that cannot be read", what);
}

/* ---- findings ---- */

static bool check_of(const char *name, enum attest_check *out)
{
    for (int i = 0; name && i < CHECK_COUNT; i++) {
        if (strcmp(name, attest_check_name((enum attest_check)i)) != 0)
            continue;
        *out = (enum attest_check)i;
        return true;
    }
    return false;
}

static bool status_of(const char *name, enum check_status *out)
{
    static const enum check_status all[] = {STATUS_PASS, STATUS_FAIL, STATUS_SKIP, STATUS_WARN};
    for (size_t i = 0; name && i < ARRAY_LEN(all); i++) {
        if (strcmp(name, attest_status_name(all[i])) != 0)
            continue;
        *out = all[i];
        return true;
    }
    return false;
}

static int index_of(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    return json_is_integer(v) ? (int)json_integer_value(v) : ATTEST_NO_INDEX;
}

static const char *text_of(struct reviewing *v, const json_t *row, const char *key)
{
    return arena_strdup(v->arena, json_string_value(json_object_get(row, key)));
}

/* Those of policy and secureBoot are what is found anew. */
static enum err read_checks(struct reviewing *v)
{
    AUTO(json) json_t *rows = NULL;
    if (json_parse(BYTES_STR(v->record->checks), &rows, NULL) || !json_is_array(rows))
        return unreadable(v, "checks");
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        struct attest_finding f = {.event = index_of(row, "event"), .pcr = index_of(row, "pcr")};
        if (!check_of(json_string_value(json_object_get(row, "name")), &f.check) ||
            !status_of(json_string_value(json_object_get(row, "status")), &f.status))
            return unreadable(v, "a check");
        if (f.check == CHECK_POLICY || f.check == CHECK_SECURE_BOOT)
            continue;
        f.reason = text_of(v, row, "reason");
        f.expected = text_of(v, row, "expected");
        f.found = text_of(v, row, "found");
        result_put(v->r, &f);
    }
    return OK;
}

/* ---- claims ---- */

static bool read_value(struct pcr_set *set, const char *key, const char *hex)
{
    char *end;
    unsigned long pcr = strtoul(key, &end, 10);
    if (*end || pcr >= EVIDENCE_PCRS || !hex ||
        !hex_decode(hex, strlen(hex), set->values[pcr], pcr_banks[set->bank].size))
        return false;
    set->mask |= 1u << pcr;
    return true;
}

static bool read_pcrs(const json_t *claims, struct pcr_set *out)
{
    const json_t *banks = json_object_get(claims, "pcrs");
    for (int b = 0; b < BANK_COUNT; b++) {
        const char *key;
        json_t *value, *bank = json_object_get(banks, pcr_banks[b].name);
        if (!bank)
            continue;
        *out = (struct pcr_set){.bank = (enum pcr_bank)b};
        json_object_foreach(bank, key, value)
        {
            if (!read_value(out, key, json_string_value(value)))
                return false;
        }
        return true;
    }
    return false;
}

static void review_log(struct reviewing *v)
{
    if (!v->record->has_event_log)
        return;
    v->facts.log_sent = true;
    struct attest_result replayed; /* its findings are among those that were kept */
    result_init(&replayed);
    struct attest_log *log = log_of(v->in->logs, (struct bytes){0}, v->record->event_log, v->arena);
    if (log_events(log)->bad)
        return;
    const struct log_view *view = log_view(log, quote_pcrs(v->facts.quote)->bank);
    if (!view->replay.ok)
        return;
    v->facts.log = replay_verify(v->facts.quote, &view->replay, v->arena, &replayed);
    if (!v->facts.log || view->content.malformed)
        return;
    v->claims->has_log = true;
    v->claims->source = log;
    v->claims->n_events = log_events(log)->n;
    v->claims->proven = replay_proven(v->facts.log) & ~view->content.unfit;
    v->claims->log = log_claims(log, replay_bank(v->facts.log), v->claims->proven, v->arena);
}

static enum err read_claims(struct reviewing *v)
{
    AUTO(json) json_t *claims = NULL;
    struct pcr_set pcrs;
    if (json_parse(BYTES_STR(v->record->claims), &claims, NULL) || !json_is_object(claims))
        return unreadable(v, "claims");
    v->facts.log_sent = v->record->has_event_log;
    if (json_object_size(claims) == 0)
        return OK; /* nothing was proven, and nothing is now */
    const char *profile = json_string_value(json_object_get(claims, "profile"));
    if (!profile || !attest_profile_parse(profile, &v->claims->profile) ||
        !read_pcrs(claims, &pcrs))
        return unreadable(v, "PCR values");
    v->claims->bank = pcrs.bank;
    v->claims->quoted = pcrs.mask;
    memcpy(v->claims->pcrs, pcrs.values, sizeof v->claims->pcrs);
    v->facts.quote = quote_of_record(&pcrs, v->arena);
    v->facts.ak = trust_of_record(v->arena);
    review_log(v);
    v->facts.claims = v->claims;
    v->r->claims = v->claims;
    return OK;
}

enum err attest_review(const struct attest_input *in, const struct attest_record *record,
                       struct arena *a, struct attest_result *r, struct err_info *e)
{
    struct reviewing v = {
        .in = in, .record = record, .arena = a, .r = r, .claims = result_claims(a), .e = e};
    result_init(r);
    enum err err;
    if ((err = read_checks(&v)) || (err = read_claims(&v)))
        return err;
    r->has_event_log = record->has_event_log;
    policy_decide(in, &v.facts, a, r);
    if (strcmp(record->verdict, attest_verdict_name(VERDICT_QUARANTINED)) == 0)
        r->verdict = VERDICT_QUARANTINED;
    return OK;
}
