#include "attest/quote.h"

#include "attest/hash.h"
#include "attest/words.h"

struct verified_quote {
    struct pcr_set pcrs;
    struct ak_key signer;
};

struct quoting {
    struct arena *a;
    const struct quote_input *q;
    const struct attest_input *in;
    const struct tpm_attest *at;
    struct attest_result *r;
    struct err_info *e;
    struct verified_quote *out; /* bank and mask of the selection; values once their digest holds */
};

static bool is_azure(const struct attest_input *in)
{
    return in->profile != PROFILE_TPM;
}

static uint32_t required_pcrs(const struct attest_input *in)
{
    bool log = in->evidence->event_log.len || in->log;
    if (in->required_pcrs)
        return in->required_pcrs;
    return is_azure(in) || log ? ATTEST_BOOT_PCRS : 0;
}

static void fail(struct quoting *s, enum attest_check c, const char *reason, const char *expected,
                 const char *found)
{
    result_fail_values(s->r, c, reason, ATTEST_NO_INDEX, ATTEST_NO_INDEX, expected, found);
}

static bool check_kind(struct quoting *s)
{
    const struct tpm_attest *at = s->at;
    if (at->magic == TPM2_GENERATED_VALUE)
        result_pass(s->r, CHECK_QUOTE_MAGIC);
    else /* CVE-2024-29038: not made by a TPM */
        fail(s, CHECK_QUOTE_MAGIC, "not_generated_by_tpm",
             words_hex(s->a, BYTES("\xff"
                                   "TCG",
                                   4)),
             arena_printf(s->a, "%08x", at->magic));
    if (at->type == TPM2_ST_ATTEST_QUOTE)
        result_pass(s->r, CHECK_QUOTE_TYPE);
    else
        fail(s, CHECK_QUOTE_TYPE, "not_a_quote", "8018", arena_printf(s->a, "%04x", at->type));
    return at->type == TPM2_ST_ATTEST_QUOTE;
}

static void check_nonce(struct quoting *s)
{
    if (s->in->nonce.len && bytes_equal_const_time(s->at->extra_data, s->in->nonce))
        result_pass(s->r, CHECK_QUOTE_NONCE);
    else
        fail(s, CHECK_QUOTE_NONCE, "nonce_mismatch", words_hex(s->a, s->in->nonce),
             words_hex(s->a, s->at->extra_data));
}

static const char *text_required(struct quoting *s)
{
    uint32_t pcrs = required_pcrs(s->in);
    return pcrs ? words_pcrs(s->a, pcrs) : "one PCR or more";
}

/* The bits of one TPMS_PCR_SELECTION; false where no TPM of a PC has such a map. */
static bool read_mask(struct bytes bits, uint32_t *mask)
{
    if (bits.len < 3 || bits.len > TPM2_PCR_SELECT_MAX || (bits.len == 4 && bits.data[3] != 0))
        return false;
    *mask = bits.data[0] | (uint32_t)bits.data[1] << 8 | (uint32_t)bits.data[2] << 16;
    return true;
}

static bool bank_allowed(const struct attest_input *in, enum pcr_bank bank)
{
    if (is_azure(in))
        return bank == BANK_SHA256;
    return bank == BANK_SHA256 || bank == BANK_SHA384 || bank == BANK_SHA512;
}

static const char *text_banks(struct quoting *s)
{
    const struct tpm_attest *at = s->at;
    const char *text = words_alg(s->a, at->selections[0].alg);
    for (size_t i = 1; i < at->n_selections; i++)
        text = arena_printf(s->a, "%s, %s", text, words_alg(s->a, at->selections[i].alg));
    return text;
}

static bool refuse_selection(struct quoting *s, const char *reason, const char *expected,
                             const char *found)
{
    fail(s, CHECK_QUOTE_SELECTION, reason, expected, found);
    return false;
}

static bool refuse_bank(struct quoting *s)
{
    return refuse_selection(s, "bank_not_allowed",
                            is_azure(s->in) ? "SHA-256" : "SHA-256, SHA-384 or SHA-512",
                            text_banks(s));
}

static bool has_duplicate_bank(const struct tpm_attest *at)
{
    for (size_t i = 1; i < at->n_selections; i++)
        for (size_t k = 0; k < i; k++)
            if (at->selections[i].alg == at->selections[k].alg)
                return true;
    return false;
}

/* Bank and PCRs of a selection that can be read. */
static bool read_selection(struct quoting *s)
{
    const struct tpm_attest *at = s->at;
    if (at->n_selections == 0) /* CVE-2022-0317 */
        return refuse_selection(s, "empty_selection", text_required(s), "no bank");
    if (has_duplicate_bank(at))
        return refuse_selection(s, "duplicate_bank", "one bank", text_banks(s));
    if (at->n_selections > 1)
        return refuse_selection(s, "several_banks", "one bank", text_banks(s));
    s->out->pcrs.bank = hash_of_tpm_alg(at->selections[0].alg);
    if (s->out->pcrs.bank == BANK_COUNT)
        return refuse_bank(s);
    if (!read_mask(at->selections[0].bits, &s->out->pcrs.mask))
        return refuse_selection(s, "selection_size", "a map of PCRs 0 to 23",
                                words_hex(s->a, at->selections[0].bits));
    if (!s->out->pcrs.mask)
        return refuse_selection(s, "empty_selection", text_required(s), "no PCR");
    return true;
}

/* The values are the guest's word until their digest is the signed one, and only for the PCRs that
 * the signed selection names (the class of CVE-2024-29039). */
static void check_surplus(struct quoting *s)
{
    enum pcr_bank bank = s->out->pcrs.bank;
    uint32_t surplus = s->in->evidence->banks[bank].present & ~s->out->pcrs.mask;
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        char pointer[48];
        if (!(surplus >> i & 1))
            continue;
        snprintf(pointer, sizeof pointer, "#/pcrs/%s/%u", pcr_banks[bank].name, i);
        wire_malformed(s->e, pointer, "the quote does not select this PCR");
    }
}

static void check_other_banks(struct quoting *s)
{
    for (int b = 0; b < BANK_COUNT; b++)
        if (b != (int)s->out->pcrs.bank && s->in->evidence->banks[b].present)
            fail(s, CHECK_QUOTE_SELECTION, "unquoted_bank", pcr_banks[s->out->pcrs.bank].name,
                 pcr_banks[b].name);
}

/* False where it is not known which PCRs the quote is about. What is malformed is so under every profile:
 * how it is answered must not tell a stranger under which one a VM is judged. */
static bool check_selection(struct quoting *s)
{
    if (!read_selection(s))
        return false;
    uint32_t missing = required_pcrs(s->in) & ~s->out->pcrs.mask;
    if (!missing)
        check_surplus(s);
    if (!bank_allowed(s->in, s->out->pcrs.bank))
        return refuse_bank(s);
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++)
        if (missing >> i & 1)
            result_fail_values(s->r, CHECK_QUOTE_SELECTION, "required_pcr_missing", ATTEST_NO_INDEX,
                               (int)i, words_pcrs(s->a, required_pcrs(s->in)),
                               words_pcrs(s->a, s->out->pcrs.mask));
    if (!missing)
        check_other_banks(s);
    result_pass(s->r, CHECK_QUOTE_SELECTION);
    return true;
}

/* Part 3, 18.4: the PCR digest uses the hash of the signing scheme, not that of the bank. */
static void check_digest(struct quoting *s)
{
    enum pcr_bank alg = hash_of_tpm_alg(s->q->signature->hash);
    if (alg == BANK_COUNT) {
        fail(s, CHECK_QUOTE_PCR_DIGEST, "hash_unknown", NULL,
             words_alg(s->a, s->q->signature->hash));
        return;
    }
    const struct evidence_bank *bank = &s->in->evidence->banks[s->out->pcrs.bank];
    size_t size = pcr_banks[s->out->pcrs.bank].size, n = 0;
    uint8_t values[EVIDENCE_PCRS * DIGEST_MAX];
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        if (!(s->out->pcrs.mask >> i & 1))
            continue;
        if (!(bank->present >> i & 1) || bank->value[i].len != size) {
            result_fail_values(s->r, CHECK_QUOTE_PCR_DIGEST, "pcr_value_missing", ATTEST_NO_INDEX,
                               (int)i, words_pcrs(s->a, s->out->pcrs.mask),
                               words_pcrs(s->a, bank->present));
            return;
        }
        memcpy(s->out->pcrs.values[i], bank->value[i].data, size);
        memcpy(values + n, bank->value[i].data, size);
        n += size;
    }
    uint8_t digest[DIGEST_MAX];
    hash_digest(alg, BYTES(values, n), digest);
    if (bytes_equal(BYTES(digest, pcr_banks[alg].size), s->at->pcr_digest))
        result_pass(s->r, CHECK_QUOTE_PCR_DIGEST);
    else
        fail(s, CHECK_QUOTE_PCR_DIGEST, "pcr_digest_mismatch", words_hex(s->a, s->at->pcr_digest),
             words_hex(s->a, BYTES(digest, pcr_banks[alg].size)));
}

/* Scheme and hash are those of the key, never "whatever verifies". */
static const char *expected_scheme(struct quoting *s)
{
    const struct tpm_public *public = s->q->public;
    if (is_azure(s->in))
        return words_scheme(s->a, TPM2_ALG_RSASSA, TPM2_ALG_SHA256);
    if (public && public->scheme != TPM2_ALG_NULL)
        return words_scheme(s->a, public->scheme, public->scheme_hash);
    return s->q->key->kind == AK_RSA ? "RSASSA or RSAPSS" : "ECDSA";
}

static const char *scheme_problem(const struct quoting *s)
{
    const struct tpm_signature *sig = s->q->signature;
    const struct tpm_public *public = s->q->public;
    if (hash_of_tpm_alg(sig->hash) == BANK_COUNT || sig->hash == TPM2_ALG_SHA1)
        return "hash_not_allowed";
    if (is_azure(s->in) && (sig->alg != TPM2_ALG_RSASSA || sig->hash != TPM2_ALG_SHA256))
        return "scheme_mismatch";
    if (public && public->scheme != TPM2_ALG_NULL &&
        (public->scheme != sig->alg || public->scheme_hash != sig->hash))
        return "scheme_mismatch";
    if ((s->q->key->kind == AK_RSA) != (sig->alg != TPM2_ALG_ECDSA))
        return "scheme_mismatch";
    return NULL;
}

static void check_signature(struct quoting *s)
{
    const struct tpm_signature *sig = s->q->signature;
    if (!s->q->loaded) {
        result_fail(s->r, CHECK_QUOTE_SIGNATURE, "key_missing");
        return;
    }
    const char *why = scheme_problem(s);
    if (why)
        fail(s, CHECK_QUOTE_SIGNATURE, why, expected_scheme(s),
             words_scheme(s->a, sig->alg, sig->hash));
    else if (ak_verify(s->q->loaded, sig, s->at->message))
        result_pass(s->r, CHECK_QUOTE_SIGNATURE);
    else
        fail(s, CHECK_QUOTE_SIGNATURE, "signature_invalid",
             arena_printf(s->a, "by the key with SPKI SHA-256 %s", words_spki(s->a, s->q->key)),
             NULL);
}

/*
 * qualifiedSigner (Part 1, 16.3): for a primary key, nameAlg || H(hierarchy handle || Name). Azure's
 * AK is a primary of the endorsement hierarchy. Elsewhere an AK may have a parent whose Name is not
 * known here, and then this says nothing.
 */
static void check_signer(struct quoting *s)
{
    const struct tpm_public *public = s->q->public;
    if (!public) {
        result_skip(s->r, CHECK_QUOTE_SIGNER,
                    s->q->pinned_by_key ? "pinned_by_key" : "public_missing");
        return;
    }
    if (bytes_equal(s->q->qualified, s->at->qualified_signer))
        result_pass(s->r, CHECK_QUOTE_SIGNER);
    else if (is_azure(s->in))
        fail(s, CHECK_QUOTE_SIGNER, "ak_name_mismatch", words_hex(s->a, s->q->qualified),
             words_hex(s->a, s->at->qualified_signer));
    else
        result_skip(s->r, CHECK_QUOTE_SIGNER, "parent_unknown");
}

/* Part 1, 36: resetCount counts TPM resets, restartCount the restarts since, clock runs on. */
static bool went_back(const struct attest_input *in, const struct tpm_attest *at)
{
    if (at->reset_count != in->last_reset_count)
        return at->reset_count < in->last_reset_count;
    if (at->restart_count != in->last_restart_count)
        return at->restart_count < in->last_restart_count;
    return at->clock < in->last_clock;
}

static const char *text_clock(struct arena *a, uint32_t resets, uint32_t restarts, uint64_t clock)
{
    return arena_printf(a, "resetCount %u, restartCount %u, clock %llu", resets, restarts,
                        (unsigned long long)clock);
}

static void check_clock(struct quoting *s)
{
    const struct attest_input *in = s->in;
    const struct tpm_attest *at = s->at;
    if (in->has_last && went_back(in, at))
        fail(s, CHECK_QUOTE_CLOCK, "rollback",
             arena_printf(
                 s->a, "not before %s",
                 text_clock(s->a, in->last_reset_count, in->last_restart_count, in->last_clock)),
             text_clock(s->a, at->reset_count, at->restart_count, at->clock));
    if (!s->at->safe)
        result_warn(s->r, CHECK_QUOTE_CLOCK, "clock_not_safe");
    result_pass(s->r, CHECK_QUOTE_CLOCK);
}

static void set_clock(struct attest_result *r, const struct tpm_attest *at)
{
    r->quote_authentic = true;
    r->clock = at->clock;
    r->reset_count = at->reset_count;
    r->restart_count = at->restart_count;
    r->clock_safe = at->safe;
}

const struct verified_quote *quote_verify(const struct quote_input *q, struct arena *a,
                                          struct attest_result *r, struct err_info *e)
{
    static const uint32_t authentic = 1u << CHECK_QUOTE_MAGIC | 1u << CHECK_QUOTE_TYPE |
                                      1u << CHECK_QUOTE_NONCE | 1u << CHECK_QUOTE_SIGNATURE,
                          whole = authentic | 1u << CHECK_QUOTE_SELECTION |
                                  1u << CHECK_QUOTE_PCR_DIGEST;
    struct quoting s = {.a = a,
                        .q = q,
                        .in = q->in,
                        .at = q->attest,
                        .r = r,
                        .e = e,
                        .out = ARENA_NEW(a, struct verified_quote)};
    bool is_quote = check_kind(&s);
    check_nonce(&s);
    check_signature(&s);
    check_signer(&s);
    check_clock(&s);
    if (!is_quote)
        result_skip(r, CHECK_QUOTE_SELECTION, "not_a_quote");
    if (is_quote && check_selection(&s))
        check_digest(&s);
    else
        result_skip(r, CHECK_QUOTE_PCR_DIGEST, is_quote ? "selection_refused" : "not_a_quote");
    uint32_t passed = result_passed(r);
    if ((passed & authentic) == authentic)
        set_clock(r, s.at);
    if ((passed & whole) != whole)
        return NULL;
    s.out->signer = *q->key;
    return s.out;
}

const struct verified_quote *quote_of_record(const struct pcr_set *pcrs, struct arena *a)
{
    struct verified_quote *q = ARENA_NEW(a, struct verified_quote);
    q->pcrs = *pcrs;
    return q;
}

const struct pcr_set *quote_pcrs(const struct verified_quote *q)
{
    return &q->pcrs;
}

const struct ak_key *quote_signer(const struct verified_quote *q)
{
    return &q->signer;
}
