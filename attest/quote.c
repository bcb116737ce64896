#include "attest/quote.h"

#include "attest/hash.h"

struct verified_quote {
    struct pcr_set pcrs;
    struct ak_key signer;
};

struct quoting {
    const struct quote_input *q;
    const struct attest_input *in;
    const struct tpm_attest *at;
    struct attest_result *r;
    struct err_info *e;
    struct pcr_set pcrs; /* bank and mask of the selection; values once their digest holds */
};

static bool is_azure(const struct attest_input *in)
{
    return in->profile != PROFILE_TPM;
}

/* PCR 0, 2, 4 and 7 hold firmware, drivers, boot loader and Secure Boot. */
static uint32_t required_pcrs(const struct attest_input *in)
{
    if (in->required_pcrs)
        return in->required_pcrs;
    return is_azure(in) ? 1u << 0 | 1u << 2 | 1u << 4 | 1u << 7 : 0;
}

static bool check_kind(struct quoting *s)
{
    if (s->at->magic == TPM2_GENERATED_VALUE)
        result_pass(s->r, CHECK_QUOTE_MAGIC);
    else /* CVE-2024-29038: not made by a TPM */
        result_fail(s->r, CHECK_QUOTE_MAGIC, "not_generated_by_tpm");
    if (s->at->type == TPM2_ST_ATTEST_QUOTE)
        result_pass(s->r, CHECK_QUOTE_TYPE);
    else
        result_fail(s->r, CHECK_QUOTE_TYPE, "not_a_quote");
    return s->at->type == TPM2_ST_ATTEST_QUOTE;
}

static void check_nonce(struct quoting *s)
{
    if (s->in->nonce.len && bytes_equal_const_time(s->at->extra_data, s->in->nonce))
        result_pass(s->r, CHECK_QUOTE_NONCE);
    else
        result_fail(s->r, CHECK_QUOTE_NONCE, "nonce_mismatch");
}

/* The bits of one TPMS_PCR_SELECTION, or a reason. */
static const char *read_mask(struct bytes bits, uint32_t *mask)
{
    if (bits.len < 3 || bits.len > TPM2_PCR_SELECT_MAX)
        return "selection_size";
    *mask = bits.data[0] | (uint32_t)bits.data[1] << 8 | (uint32_t)bits.data[2] << 16;
    if (bits.len == 4 && bits.data[3] != 0)
        return "selection_size";
    return *mask ? NULL : "empty_selection";
}

static bool bank_allowed(const struct attest_input *in, enum pcr_bank bank)
{
    if (is_azure(in))
        return bank == BANK_SHA256;
    return bank == BANK_SHA256 || bank == BANK_SHA384 || bank == BANK_SHA512;
}

static const char *read_selection(struct quoting *s)
{
    const struct tpm_attest *at = s->at;
    if (at->n_selections == 0)
        return "empty_selection"; /* CVE-2022-0317 */
    for (size_t i = 1; i < at->n_selections; i++)
        if (at->selections[i].alg == at->selections[0].alg)
            return "duplicate_bank";
    if (at->n_selections > 1)
        return "several_banks";
    enum pcr_bank bank = hash_of_tpm_alg(at->selections[0].alg);
    if (bank == BANK_COUNT || !bank_allowed(s->in, bank))
        return "bank_not_allowed";
    s->pcrs.bank = bank;
    return read_mask(at->selections[0].bits, &s->pcrs.mask);
}

/* The values are the guest's word until their digest is the signed one, and only for the PCRs that
 * the signed selection names (the class of CVE-2024-29039). */
static void check_surplus(struct quoting *s)
{
    for (int b = 0; b < BANK_COUNT; b++) {
        uint32_t present = s->in->evidence->banks[b].present;
        if (b != (int)s->pcrs.bank) {
            if (present)
                result_fail(s->r, CHECK_QUOTE_SELECTION, "unquoted_bank");
            continue;
        }
        for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
            if (!(present >> i & 1) || s->pcrs.mask >> i & 1)
                continue;
            char pointer[48];
            snprintf(pointer, sizeof pointer, "#/pcrs/%s/%u", pcr_banks[b].name, i);
            wire_malformed(s->e, pointer, "the quote does not select this PCR");
        }
    }
}

/* False where it is not known which PCRs the quote is about. */
static bool check_selection(struct quoting *s)
{
    const char *why = read_selection(s);
    if (why) {
        result_fail(s->r, CHECK_QUOTE_SELECTION, why);
        return false;
    }
    uint32_t missing = required_pcrs(s->in) & ~s->pcrs.mask;
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++)
        if (missing >> i & 1)
            result_fail_at(s->r, CHECK_QUOTE_SELECTION, "required_pcr_missing", ATTEST_NO_INDEX,
                           (int)i);
    if (!missing)
        check_surplus(s);
    result_pass(s->r, CHECK_QUOTE_SELECTION);
    return true;
}

/* Part 3, 18.4: the PCR digest uses the hash of the signing scheme, not that of the bank. */
static void check_digest(struct quoting *s)
{
    enum pcr_bank alg = hash_of_tpm_alg(s->q->signature->hash);
    if (alg == BANK_COUNT) {
        result_fail(s->r, CHECK_QUOTE_PCR_DIGEST, "hash_unknown");
        return;
    }
    const struct evidence_bank *bank = &s->in->evidence->banks[s->pcrs.bank];
    size_t size = pcr_banks[s->pcrs.bank].size, n = 0;
    struct bytes parts[EVIDENCE_PCRS];
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        if (!(s->pcrs.mask >> i & 1))
            continue;
        if (!(bank->present >> i & 1) || bank->value[i].len != size) {
            result_fail_at(s->r, CHECK_QUOTE_PCR_DIGEST, "pcr_value_missing", ATTEST_NO_INDEX,
                           (int)i);
            return;
        }
        memcpy(s->pcrs.values[i], bank->value[i].data, size);
        parts[n++] = bank->value[i];
    }
    uint8_t digest[DIGEST_MAX];
    struct hasher h = hasher_new(alg);
    hasher_run(&h, parts, n, digest);
    hasher_free(&h);
    if (bytes_equal(BYTES(digest, pcr_banks[alg].size), s->at->pcr_digest))
        result_pass(s->r, CHECK_QUOTE_PCR_DIGEST);
    else
        result_fail(s->r, CHECK_QUOTE_PCR_DIGEST, "pcr_digest_mismatch");
}

/* Scheme and hash are those of the key, never "whatever verifies". */
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
    if (!s->q->pkey) {
        result_fail(s->r, CHECK_QUOTE_SIGNATURE, "key_missing");
        return;
    }
    const char *why = scheme_problem(s);
    if (!why && !ak_verify(s->q->pkey, s->q->key, s->q->signature, s->at->message))
        why = "signature_invalid";
    if (why)
        result_fail(s->r, CHECK_QUOTE_SIGNATURE, why);
    else
        result_pass(s->r, CHECK_QUOTE_SIGNATURE);
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
    static const uint8_t endorsement[4] = {0x40, 0x00, 0x00, 0x0b};
    uint8_t name[AK_NAME_MAX], want[AK_NAME_MAX];
    size_t n = tpm_name(public, name);
    enum pcr_bank alg = hash_of_tpm_alg(public->name_alg);
    const struct bytes parts[] = {BYTES_OF(endorsement), {name, n}};
    memcpy(want, name, 2);
    struct hasher h = hasher_new(alg);
    hasher_run(&h, parts, ARRAY_LEN(parts), want + 2);
    hasher_free(&h);
    if (bytes_equal(BYTES(want, n), s->at->qualified_signer))
        result_pass(s->r, CHECK_QUOTE_SIGNER);
    else if (is_azure(s->in))
        result_fail(s->r, CHECK_QUOTE_SIGNER, "ak_name_mismatch");
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

static void check_clock(struct quoting *s)
{
    if (s->in->has_last && went_back(s->in, s->at))
        result_fail(s->r, CHECK_QUOTE_CLOCK, "rollback");
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
    static const enum attest_check needed[] = {
        CHECK_QUOTE_MAGIC,     CHECK_QUOTE_TYPE,       CHECK_QUOTE_NONCE,
        CHECK_QUOTE_SELECTION, CHECK_QUOTE_PCR_DIGEST, CHECK_QUOTE_SIGNATURE,
    };
    struct quoting s = {.q = q, .in = q->in, .at = q->attest, .r = r, .e = e};
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
    if (attest_result_status(r, CHECK_QUOTE_MAGIC) == STATUS_PASS && is_quote &&
        attest_result_status(r, CHECK_QUOTE_NONCE) == STATUS_PASS &&
        attest_result_status(r, CHECK_QUOTE_SIGNATURE) == STATUS_PASS)
        set_clock(r, s.at);
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (attest_result_status(r, needed[i]) != STATUS_PASS)
            return NULL;
    struct verified_quote *v = ARENA_NEW(a, struct verified_quote);
    v->pcrs = s.pcrs;
    v->signer = *q->key;
    return v;
}

const struct pcr_set *quote_pcrs(const struct verified_quote *q)
{
    return &q->pcrs;
}

const struct ak_key *quote_signer(const struct verified_quote *q)
{
    return &q->signer;
}
