/*
 * attest_verify over evidence made here: honest evidence is trusted, and what was changed after it was
 * signed is not. The numbers in brackets are rows of the verifier's table of bad inputs.
 */
#include "attest/ear.h"
#include "attest/result.h"
#include "attest/truststore.h"
#include "tests/unit/attest_judge.h"

/* ---- what must be accepted ---- */

static void honest_evidence_is_trusted(void **state)
{
    make_reset(m);
    make_build(m);
    assert_int_equal(judge(), OK);
    if (result.verdict != VERDICT_TRUSTED)
        dump();
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_null(result.reason);
    for (int c = 0; c < CHECK_MAA_TOKEN; c++)
        assert_int_equal(attest_result_status(&result, (enum attest_check)c), STATUS_PASS);
    assert_int_equal(attest_result_status(&result, CHECK_MAA_TOKEN), STATUS_SKIP);
    assert_int_equal(attest_secure_boot(&result), 1);
    assert_true(result.quote_authentic);
    assert_false(result.signed_by_pin);
    assert_int_equal(result.reset_count, 3);
    assert_int_equal(result.restart_count, 1);
    assert_string_equal(result.ak_subject, MAKE_SUBJECT);
    assert_int_equal(result.ak_name_len, 34);
}

static void findings_are_in_order_and_complete(void **state)
{
    make_reset(m);
    make_build(m);
    assert_int_equal(judge(), OK);
    bool seen[CHECK_COUNT] = {false};
    for (size_t i = 0; i < result.n_findings; i++) {
        seen[result.findings[i].check] = true;
        if (i)
            assert_true(result.findings[i - 1].check <= result.findings[i].check);
    }
    for (int c = 0; c < CHECK_COUNT; c++)
        assert_true(seen[c]);
}

static void without_a_log_the_quote_alone_counts(void **state)
{
    make_reset(m);
    m->send_log = false;
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED_QUOTE_ONLY);
    assert_string_equal(result.reason, "no_event_log");
    assert_int_equal(attest_secure_boot(&result), -1);
    m->in.allow_quote_only = false;
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_POLICY, STATUS_FAIL, "no_event_log"));
}

static void tpm2b_framing_and_padding_are_accepted(void **state)
{
    make_reset(m);
    m->tpm2b = true; /* [33] */
    make_build(m);
    uint8_t *image = arena_alloc(m->arena, 4096); /* [39] */
    memcpy(image, m->ev.ak_certificate.data, m->ev.ak_certificate.len);
    m->ev.ak_certificate = BYTES(image, 4096);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    image[4095] = 1;
    assert_int_equal(judge(), ERR_EVIDENCE_MALFORMED);
    assert_string_equal(error.fields[0].pointer, "#/ak/certificate");
}

static void order_across_pcrs_is_free(void **state)
{
    make_reset(m); /* [22] */
    struct make_event *a = make_find(m, 8, EV_IPL), *b = make_find(m, 0, EV_S_CRTM_VERSION);
    struct make_event swap = *a;
    *a = *b;
    *b = swap;
    /* PCR 0's version now comes after its separator, which is another value: replayed as it is */
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
}

static void secure_boot_off_is_told(void **state)
{
    make_reset(m);
    make_default_events(m, false);
    make_build(m);
    assert_int_equal(judge(), OK); /* [17] */
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_SECURE_BOOT, STATUS_FAIL, "secure_boot_off"));
    assert_int_equal(attest_secure_boot(&result), 0);
    m->in.require_secure_boot = false;
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_int_equal(attest_secure_boot(&result), 0);
    assert_true(has(CHECK_SECURE_BOOT, STATUS_WARN, "secure_boot_off"));
}

static void missing_issuer_is_indeterminate(void **state)
{
    struct err_info e;
    struct attest_trust *kept = m->in.trust, *fresh;
    const char *anchors[] = {m->anchor_file};
    const struct attest_trust_options o = {.anchors = anchors, .n_anchors = 1};
    assert_int_equal(attest_trust_open(&o, &fresh, &e), OK);
    make_reset(m);
    m->in.trust = fresh;
    m->send_chain = false;
    make_build(m);
    assert_int_equal(judge(), OK); /* [37] */
    assert_int_equal(result.verdict, VERDICT_INDETERMINATE);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "issuer_missing"));
    assert_null(result.claims);
    assert_string_equal(result.reason, "issuer_missing");
    /* another fault beside it is no longer "cannot be said" */
    m->in.nonce = BYTES_STR("another nonce");
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_string_equal(result.reason, "nonce_mismatch");
    m->in.trust = kept;
    attest_trust_free(fresh);
}

static void assert_issuer_missing(void)
{
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_INDETERMINATE);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "issuer_missing"));
}

/* Verified leaves and issuers are known, but only together with the chain that they were verified with. */
static void what_is_known_changes_no_verdict(void **state)
{
    static const uint8_t no_certificate[] = {0x30, 0x00};
    struct err_info e;
    struct attest_trust *kept = m->in.trust, *fresh;
    const char *anchors[] = {m->anchor_file};
    const struct attest_trust_options o = {.anchors = anchors, .n_anchors = 1};
    assert_int_equal(attest_trust_open(&o, &fresh, &e), OK);
    make_reset(m);
    m->in.trust = fresh;
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    size_t n = m->ev.n_chain;
    m->ev.n_chain = 0; /* the same leaf without its chain */
    assert_issuer_missing();
    m->ev.n_chain = n;
    m->ev.chain[m->ev.n_chain++] = BYTES_OF(no_certificate);
    assert_int_equal(judge(), OK);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "chain_invalid"));
    m->ev.n_chain = n;
    m->in.now = MAKE_NOW + 31LL * MAKE_DAY * 1000; /* known, and expired all the same */
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "expired"));
    m->in.now = MAKE_NOW;
    m->certified = m->ak_key;
    make_build(m); /* another leaf of the known issuer */
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    m->send_chain = false;
    make_build(m);
    assert_issuer_missing();
    m->in.trust = kept;
    attest_trust_free(fresh);
}

/* One leaf that is known with its path, and another one of the issuer that is known by then. */
static void assert_known_path_is_refused(X509 *ca, long now, const char *reason)
{
    const struct bytes leaf = m->ev.ak_certificate;
    m->in.now = MAKE_NOW;
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    m->in.now = MAKE_NOW + now * 1000;
    for (int other = 0; other < 2; other++) {
        X509 *x = make_x509(&m->leaf, m->ak_key, ca, m->other_key);
        m->ev.ak_certificate = other ? make_der(m->arena, x) : leaf;
        X509_free(x);
        assert_int_equal(judge(), OK);
        assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
        assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, reason));
    }
    m->ev.ak_certificate = leaf;
}

/* A path is known for as long as each of its certificates is valid, not as the leaf alone is. */
static void what_is_known_expires_with_its_issuer(void **state)
{
    make_reset(m);
    struct make_cert short_lived = make_ca_cert("Test vTPM CA - 02");
    short_lived.from = -MAKE_DAY;
    short_lived.to = MAKE_DAY;
    X509 *ca = make_x509(&short_lived, m->other_key, m->root, m->root_key);
    m->leaf.from = -10 * MAKE_DAY;
    make_build(m);
    X509 *leaf = make_x509(&m->leaf, m->ak_key, ca, m->other_key);
    m->ev.ak_certificate = make_der(m->arena, leaf);
    m->ev.chain[0] = make_der(m->arena, ca);
    assert_known_path_is_refused(ca, 2 * MAKE_DAY, "issuer_expired");
    assert_known_path_is_refused(ca, -5 * MAKE_DAY, "issuer_not_yet_valid");
    X509_free(leaf);
    X509_free(ca);
}

static struct attest_pin pin;

/* ---- changed after it was signed ---- */

static void flipped_pcr_value(void **state)
{
    make_reset(m);
    make_build(m);
    m->ev.banks[BANK_SHA256].value[4] = edited(m->ev.banks[BANK_SHA256].value[4], 0, 0xaa);
    assert_int_equal(judge(), OK); /* [29] */
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_QUOTE_PCR_DIGEST, STATUS_FAIL, "pcr_digest_mismatch"));
    /* and the log tells which */
    assert_int_equal(find(CHECK_LOG_REPLAY, STATUS_FAIL)->pcr, 4);
}

static void missing_pcr_value(void **state)
{
    make_reset(m);
    make_build(m);
    m->ev.banks[BANK_SHA256].present &= ~(1u << 2);
    assert_int_equal(judge(), OK);
    assert_true(has(CHECK_QUOTE_PCR_DIGEST, STATUS_FAIL, "pcr_value_missing"));
    assert_int_equal(find(CHECK_QUOTE_PCR_DIGEST, STATUS_FAIL)->pcr, 2);
}

static void surplus_pcr_value(void **state)
{
    make_reset(m);
    make_build(m);
    m->ev.banks[BANK_SHA256].present |= 1u << 16;
    assert_int_equal(judge(), ERR_EVIDENCE_MALFORMED); /* [44] */
    assert_string_equal(error.fields[0].pointer, "#/pcrs/sha256/16");
    /* [26]: where a required PCR is not selected, its value proves nothing and is no excuse */
    make_reset(m);
    m->selected = 0x7f;
    make_build(m);
    m->ev.banks[BANK_SHA256].present |= 1u << 7;
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_int_equal(find(CHECK_QUOTE_SELECTION, STATUS_FAIL)->pcr, 7);
}

static void every_bit_of_the_signature_counts(void **state)
{
    make_reset(m);
    make_build(m);
    struct bytes good = m->ev.quote_signature;
    for (size_t i = 6; i < good.len; i += 37) {
        m->ev.quote_signature = edited(good, i, (uint8_t)(good.data[i] ^ 1));
        assert_int_equal(judge(), OK);
        assert_true(has(CHECK_QUOTE_SIGNATURE, STATUS_FAIL, "signature_invalid"));
        assert_false(result.quote_authentic);
    }
}

static void one_digest_bit_in_the_log(void **state)
{
    make_reset(m);
    make_build(m);
    size_t at = make_find(m, 4, EV_EFI_BOOT_SERVICES_APPLICATION)->offset + 14;
    m->ev.event_log = edited(m->log, at, (uint8_t)(m->log.data[at] ^ 1));
    assert_int_equal(judge(), OK); /* [5] */
    assert_true(has(CHECK_LOG_REPLAY, STATUS_FAIL, "pcr_replay_mismatch"));
    assert_int_equal(find(CHECK_LOG_REPLAY, STATUS_FAIL)->pcr, 4);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
}

static void log_cut_between_events(void **state)
{
    make_reset(m);
    make_build(m);
    m->ev.event_log = BYTES(m->log.data, make_find(m, 7, EV_EFI_VARIABLE_AUTHORITY)->offset);
    assert_int_equal(judge(), OK);
    assert_true(has(CHECK_LOG_REPLAY, STATUS_FAIL, "pcr_replay_mismatch"));
    assert_true(has(CHECK_LOG_CONTENT, STATUS_FAIL, "authority_missing"));
}

static void log_digest_must_be_the_logs(void **state)
{
    make_reset(m);
    make_build(m);
    m->ev.event_log_digest = BYTES_OF(make_nonce);
    assert_int_equal(judge(), OK);
    assert_true(has(CHECK_LOG_FORMAT, STATUS_FAIL, "log_digest_mismatch"));
}

/* ---- not well-formed ---- */

static struct bytes cut(struct bytes b, size_t less)
{
    return BYTES(b.data, b.len - less);
}

static struct bytes longer(struct bytes b, uint8_t value)
{
    uint8_t *copy = arena_alloc(m->arena, b.len + 1);
    memcpy(copy, b.data, b.len);
    copy[b.len] = value;
    return BYTES(copy, b.len + 1);
}

static void assert_malformed(const char *pointer)
{
    assert_int_equal(judge(), ERR_EVIDENCE_MALFORMED);
    assert_int_equal(error.code, ERR_EVIDENCE_MALFORMED);
    assert_string_equal(error.fields[0].pointer, pointer);
}

static void malformed_parts_are_named(void **state)
{
    make_reset(m);
    m->quote_tail = BYTES("x", 1);
    make_build(m);
    assert_malformed("#/quote/message"); /* [28]: a trailing byte, though it is signed */
    make_reset(m);
    make_build(m);
    struct evidence good = m->ev;
    m->ev.quote_message = cut(good.quote_message, 1);
    assert_malformed("#/quote/message");
    m->ev = good;
    m->ev.quote_message = edited(good.quote_message, 6 + 2 + 34 + 2 + 32 + 17 + 8, 0xff);
    assert_malformed("#/quote/message"); /* [28]: 0xff000001 selections */
    m->ev = good;
    m->ev.quote_signature = longer(good.quote_signature, 0);
    assert_malformed("#/quote/signature");
    m->ev.quote_signature = edited(good.quote_signature, 1, 5);
    assert_malformed("#/quote/signature"); /* an HMAC */
    m->ev = good;
    m->ev.ak_public = cut(good.ak_public, 1);
    assert_malformed("#/ak/public");
    m->ev.ak_public = longer(good.ak_public, 0);
    assert_malformed("#/ak/public");
    m->ev = good;
    m->ev.ak_certificate = cut(good.ak_certificate, 1);
    assert_malformed("#/ak/certificate");
    m->ev = good;
    m->ev.chain[1] = longer(good.chain[1], 0);
    assert_malformed("#/ak/chain/1");
    m->ev = good;
    m->ev.event_log = cut(good.event_log, 1);
    assert_malformed("#/eventLog"); /* [6] */
    m->ev.quote_message = cut(good.quote_message, 1);
    m->ev.ak_public = cut(good.ak_public, 1);
    assert_int_equal(judge(), ERR_EVIDENCE_MALFORMED);
    assert_int_equal(error.n_fields, 2); /* all at once */
}

static void short_signature_does_not_verify(void **state)
{
    make_reset(m);
    make_build(m);
    struct buf b = {0};
    make_be(&b, TPM2_ALG_RSASSA, 2);
    make_be(&b, TPM2_ALG_SHA256, 2);
    make_2b(&b, BYTES(m->ev.quote_signature.data + 6, 255));
    m->ev.quote_signature = make_keep(m->arena, &b);
    assert_int_equal(judge(), OK); /* [30] */
    assert_true(has(CHECK_QUOTE_SIGNATURE, STATUS_FAIL, "signature_invalid"));
}

static void malformed_event_data(void **state)
{
    static const struct {
        size_t offset; /* in the variable's event data */
        uint8_t value;
    } bad[] = {
        {16 + 7, 0x80}, /* UnicodeNameLength 2^63 + n wraps to n when doubled [14] */
        {16 + 3, 0xff},      {24 + 7, 0xff}, /* VariableDataLength */
        {32 + 4 + 16, 8}, /* SignatureListSize 8 [15]; the name "PK" has 4 bytes */
        {32 + 4 + 19, 0xff}, {32 + 4 + 20, 0xff}, /* SignatureHeaderSize */
        {32 + 4 + 24, 0},                         /* SignatureSize 0 */
        {32 + 4 + 27, 0xff},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        make_reset(m);
        struct make_event *ev = &m->events[3];
        ev->data = ev->measured = edited(ev->data, bad[i].offset, bad[i].value);
        make_build(m);
        assert_malformed("#/eventLog");
    }
}

/* ---- pins ---- */

static void pin_of(struct bytes file)
{
    assert_int_equal(attest_pin_read(file, m->arena, &pin, &error), OK);
    m->in.pins = &pin;
    m->in.n_pins = 1;
}

static struct bytes pem_of(EVP_PKEY *key)
{
    char *text;
    BIO *out = BIO_new(BIO_s_mem());
    PEM_write_bio_PUBKEY(out, key);
    long n = BIO_get_mem_data(out, &text);
    struct bytes pem = arena_copy(m->arena, BYTES(text, (size_t)n));
    BIO_free(out);
    return pem;
}

static void pin_on_top_of_the_chain(void **state)
{
    make_reset(m);
    make_build(m);
    pin_of(m->ev.ak_public);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_true(result.signed_by_pin);
    assert_memory_equal(result.ak_spki_sha256, pin.spki_sha256, 32);
    m->leaf.to = -60; /* a pin is no excuse for a bad certificate */
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(result.signed_by_pin);
}

static void pin_as_the_anchor(void **state)
{
    make_reset(m);
    m->send_certificate = m->send_chain = false;
    make_build(m);
    m->in.profile = PROFILE_TPM;
    pin_of(m->ev.ak_public);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_true(has(CHECK_AK_CHAIN, STATUS_SKIP, "pinned"));
    assert_int_equal(ear_profile_of(result.findings, result.n_findings), PROFILE_TPM);
    pin_of(pem_of(m->ak_key));
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_true(has(CHECK_AK_ATTRIBUTES, STATUS_SKIP, "pinned_by_key"));
    m->ev.ak_public = (struct bytes){0}; /* the key is the pin's own */
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    pin_of(pem_of(m->other_key));
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_QUOTE_SIGNATURE, STATUS_FAIL, "signature_invalid"));
    assert_false(result.signed_by_pin);
    assert_int_equal(ear_profile_of(result.findings, result.n_findings), PROFILE_TPM);
}

/* A log proves nothing where the quote leaves out what it is about. */
static void a_log_needs_its_pcrs_quoted(void **state)
{
    static const uint32_t selections[] = {1u << 16, 1u << 0, 0xffu & ~(1u << 4),
                                          0xffu & ~(1u << 7)};
    for (size_t i = 0; i < ARRAY_LEN(selections); i++) {
        make_reset(m);
        m->send_certificate = m->send_chain = false;
        m->selected = selections[i];
        make_build(m);
        m->in.profile = PROFILE_TPM;
        m->in.require_secure_boot = false;
        pin_of(m->ev.ak_public);
        assert_int_equal(judge(), OK);
        assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
        assert_true(has(CHECK_QUOTE_SELECTION, STATUS_FAIL, "required_pcr_missing"));
        m->ev.event_log = (struct bytes){0}; /* the quote alone says no more than what it quotes */
        assert_int_equal(judge(), OK);
        assert_int_equal(result.verdict, VERDICT_TRUSTED_QUOTE_ONLY);
        m->in.required_pcrs = ATTEST_BOOT_PCRS;
        assert_int_equal(judge(), OK);
        assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
        assert_true(has(CHECK_QUOTE_SELECTION, STATUS_FAIL, "required_pcr_missing"));
    }
}

static const char *claims_text(void)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    attest_write_claims(&w, &result);
    const char *text = arena_strdup(m->arena, out.data);
    buf_free(&out);
    return text;
}

/* The pin is the anchor, so what comes beside it is not judged; nor is it told as if it were. */
static void a_certificate_beside_a_pinned_key_claims_nothing(void **state)
{
    make_reset(m);
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_non_null(strstr(claims_text(), "\"akSubject\":\"" MAKE_SUBJECT));
    m->certified = m->other_key;
    m->leaf.to = -60;
    make_build(m);
    m->in.profile = PROFILE_TPM;
    pin_of(m->ev.ak_public);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_null(strstr(claims_text(), "akSubject"));
    assert_null(strstr(claims_text(), "akExpiresAt"));
}

static bool is_kept(EVP_PKEY *pkey)
{
    struct ak_key key;
    assert_null(ak_key_of_pkey(pkey, &key));
    AUTO(ak_loaded) struct ak_loaded *k = truststore_find_key(m->in.trust, &key);
    assert_true(!k || ak_key_equal(&k->key, &key));
    return k;
}

/* Only what a pin vouches for, or everybody could drive others' keys out. */
static void a_pinned_key_that_signed_is_kept(void **state)
{
    struct attest_trust *trust = m->in.trust;
    const char *anchors[] = {m->anchor_file};
    const struct attest_trust_options o = {.anchors = anchors, .n_anchors = 1};
    struct attest_pin other;
    assert_int_equal(attest_trust_open(&o, &m->in.trust, NULL), OK);
    make_reset(m);
    m->send_certificate = m->send_chain = false;
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_false(is_kept(m->ak_key)); /* no pin */
    m->in.profile = PROFILE_TPM;
    pin_of(pem_of(m->other_key));
    other = pin;
    assert_int_equal(judge(), OK);
    assert_false(is_kept(m->ak_key)); /* another one */
    pin_of(m->ev.ak_public);
    m->in.nonce = BYTES_STR("another");
    assert_int_equal(judge(), OK);
    assert_false(is_kept(m->ak_key)); /* an old quote */
    m->in.nonce = BYTES_OF(make_nonce);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_true(is_kept(m->ak_key));
    struct ak_key twin; /* ends alike, and so has the same place, but is another */
    assert_null(ak_key_of_pkey(m->ak_key, &twin));
    twin.n[0] ^= 1;
    assert_null(truststore_find_key(m->in.trust, &twin));
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    m->in.pins = &other; /* known, and pinned no more */
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    attest_trust_free(m->in.trust);
    m->in.trust = trust;
}

static void pinned_area_is_the_whole_area(void **state)
{
    make_reset(m);
    make_build(m);
    pin_of(m->ev.ak_public);
    make_reset(m);
    m->in.pins = &pin;
    m->in.n_pins = 1;
    make_build(m);
    pin_of(m->ev.ak_public);
    m->ev.ak_public = edited(m->ev.ak_public, 7, 0x73); /* other attributes, same key */
    assert_int_equal(judge(), OK);
    assert_true(has(CHECK_AK_BINDING, STATUS_FAIL, "ak_name_mismatch"));
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
}

static void without_pin_or_chain_there_is_no_anchor(void **state)
{
    make_reset(m);
    m->send_certificate = m->send_chain = false;
    make_build(m);
    m->in.profile = PROFILE_TPM;
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "certificate_missing"));
    assert_null(result.claims);
}

static void quarantine_replaces_the_binding(void **state)
{
    make_reset(m);
    make_build(m);
    assert_int_equal(judge(), OK);
    attest_result_quarantine(&result, "ak_changed");
    assert_int_equal(result.verdict, VERDICT_QUARANTINED);
    assert_int_equal(attest_result_status(&result, CHECK_AK_BINDING), STATUS_FAIL);
    struct buf out = {0};
    struct jw w = jw_over(&out);
    attest_write_checks(&w, &result);
    assert_non_null(strstr(out.data, "{\"name\":\"ak.binding\",\"status\":\"fail\","
                                     "\"reason\":\"ak_changed\"}"));
    buf_free(&out);
}

/* ---- chains ---- */

static void self_made_ca_with_the_same_names(void **state)
{
    make_reset(m);
    struct make_cert root = make_ca_cert("Test vTPM Root"), ca = make_ca_cert("Test vTPM CA - 01");
    X509 *fake_root = make_x509(&root, m->other_key, NULL, m->other_key);
    X509 *fake_ca = make_x509(&ca, m->other_key, fake_root, m->other_key);
    make_build(m);
    X509 *leaf = make_x509(&m->leaf, m->ak_key, fake_ca, m->other_key);
    m->ev.ak_certificate = make_der(m->arena, leaf);
    m->ev.chain[0] = make_der(m->arena, fake_ca);
    m->ev.chain[1] = make_der(m->arena, fake_root);
    assert_int_equal(judge(), OK); /* [38] */
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "anchor_unknown"));
    X509_free(leaf);
    X509_free(fake_ca);
    X509_free(fake_root);
}

static void chain_in_circles(void **state)
{
    make_reset(m);
    struct make_cert a = make_ca_cert("A"), b = make_ca_cert("B");
    X509 *a0 = make_x509(&a, m->other_key, NULL, m->other_key);
    X509 *b1 = make_x509(&b, m->ca_key, a0, m->other_key);
    X509 *a1 = make_x509(&a, m->other_key, b1, m->ca_key);
    make_build(m);
    X509 *leaf = make_x509(&m->leaf, m->ak_key, a1, m->other_key);
    m->ev.ak_certificate = make_der(m->arena, leaf);
    m->ev.chain[0] = make_der(m->arena, a1);
    m->ev.chain[1] = make_der(m->arena, b1);
    assert_int_equal(judge(), OK); /* [40] */
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "chain_loop"));
    X509_free(leaf);
    X509_free(a0);
    X509_free(a1);
    X509_free(b1);
}

static void issuer_must_be_a_ca(void **state)
{
    make_reset(m);
    struct make_cert not_ca = make_ca_cert("Test not a CA");
    not_ca.basic = "critical,CA:FALSE";
    not_ca.usage = "critical,digitalSignature";
    X509 *by = make_x509(&not_ca, m->other_key, m->ca, m->ca_key);
    make_build(m);
    X509 *leaf = make_x509(&m->leaf, m->ak_key, by, m->other_key);
    m->ev.ak_certificate = make_der(m->arena, leaf);
    m->ev.chain[2] = make_der(m->arena, by);
    m->ev.n_chain = 3;
    assert_int_equal(judge(), OK);
    assert_int_equal(attest_result_status(&result, CHECK_AK_CHAIN), STATUS_FAIL);
    assert_null(result.claims);
    X509_free(leaf);
    X509_free(by);
}

static void weak_keys_are_refused(void **state)
{
    make_reset(m);
    EVP_PKEY *weak = make_rsa(1024);
    m->certified = weak;
    make_build(m);
    assert_int_equal(judge(), OK); /* [40] */
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "weak_key"));
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    EVP_PKEY_free(weak);
}

static void unsafe_clock_is_a_remark(void **state)
{
    make_reset(m);
    m->safe = 0;
    make_build(m);
    assert_int_equal(judge(), OK); /* [32] */
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_true(has(CHECK_QUOTE_CLOCK, STATUS_WARN, "clock_not_safe"));
}

static void reboot_is_no_rollback(void **state)
{
    make_reset(m);
    m->resets = 4;
    m->restarts = 0;
    m->clock = 5;
    make_build(m);
    m->in.has_last = true;
    m->in.last_reset_count = 3;
    m->in.last_restart_count = 9;
    m->in.last_clock = 100000;
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_int_equal(result.reset_count, 4);
}

static void a_token_without_a_provider_is_not_looked_at(void **state)
{
    make_reset(m);
    make_build(m);
    m->ev.maa_token = BYTES_STR("e30.e30.");
    assert_int_equal(judge(), OK);
    assert_true(has(CHECK_MAA_TOKEN, STATUS_SKIP, "token_not_configured"));
}

static void remarks_do_not_crowd_out_a_failure(void **state)
{
    make_reset(m);
    m->n_events -= 2; /* room */
    while (m->n_events < MAKE_EVENTS - 1)
        make_add(m, 1, 0x90000001, BYTES_STR("?")); /* a remark each */
    make_add(m, 7, EV_EFI_ACTION, BYTES_STR("UEFI Debug Mode"));
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_true(has(CHECK_LOG_CONTENT, STATUS_WARN, "unknown_event_type"));
    assert_true(has(CHECK_LOG_CONTENT, STATUS_FAIL, "uefi_debug_mode"));
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    struct attest_result r;
    result_init(&r);
    for (int i = 0; i < 1000; i++)
        result_add(&r, CHECK_LOG_CONTENT, STATUS_WARN, "remark", i, 1);
    for (int c = 0; c < CHECK_COUNT; c++)
        result_fail(&r, (enum attest_check)c, "fault");
    for (int c = 0; c < CHECK_COUNT; c++)
        assert_int_equal(attest_result_status(&r, (enum attest_check)c), STATUS_FAIL);
    assert_true(r.n_findings <= ATTEST_FINDINGS);
}

static void claims_are_json(void **state)
{
    make_reset(m);
    make_build(m);
    assert_int_equal(judge(), OK);
    struct buf out = {0};
    struct jw w = jw_over(&out);
    attest_write_claims(&w, &result);
    json_t *v = json_loads(out.data, 0, NULL);
    assert_non_null(v);
    assert_true(json_is_true(json_object_get(v, "secureBoot")));
    assert_true(json_is_false(json_object_get(v, "uefiDebugMode")));
    assert_int_equal(json_integer_value(json_object_get(v, "resetCount")), 3);
    assert_string_equal(json_string_value(json_object_get(v, "kernelCommandLine")),
                        "root=/dev/sda1 ro");
    assert_int_equal(json_array_size(json_object_get(v, "bootApplications")), 1);
    assert_string_equal(
        json_path_str(json_array_get(json_object_get(v, "bootAuthorities"), 0), "variable"), "db");
    json_decref(v);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_evidence_is_trusted),
        cmocka_unit_test(findings_are_in_order_and_complete),
        cmocka_unit_test(without_a_log_the_quote_alone_counts),
        cmocka_unit_test(tpm2b_framing_and_padding_are_accepted),
        cmocka_unit_test(order_across_pcrs_is_free),
        cmocka_unit_test(secure_boot_off_is_told),
        cmocka_unit_test(missing_issuer_is_indeterminate),
        cmocka_unit_test(what_is_known_changes_no_verdict),
        cmocka_unit_test(what_is_known_expires_with_its_issuer),
        cmocka_unit_test(flipped_pcr_value),
        cmocka_unit_test(missing_pcr_value),
        cmocka_unit_test(surplus_pcr_value),
        cmocka_unit_test(every_bit_of_the_signature_counts),
        cmocka_unit_test(one_digest_bit_in_the_log),
        cmocka_unit_test(log_cut_between_events),
        cmocka_unit_test(log_digest_must_be_the_logs),
        cmocka_unit_test(malformed_parts_are_named),
        cmocka_unit_test(short_signature_does_not_verify),
        cmocka_unit_test(malformed_event_data),
        cmocka_unit_test(pin_on_top_of_the_chain),
        cmocka_unit_test(pin_as_the_anchor),
        cmocka_unit_test(a_log_needs_its_pcrs_quoted),
        cmocka_unit_test(a_certificate_beside_a_pinned_key_claims_nothing),
        cmocka_unit_test(a_pinned_key_that_signed_is_kept),
        cmocka_unit_test(pinned_area_is_the_whole_area),
        cmocka_unit_test(without_pin_or_chain_there_is_no_anchor),
        cmocka_unit_test(quarantine_replaces_the_binding),
        cmocka_unit_test(self_made_ca_with_the_same_names),
        cmocka_unit_test(chain_in_circles),
        cmocka_unit_test(issuer_must_be_a_ca),
        cmocka_unit_test(weak_keys_are_refused),
        cmocka_unit_test(unsafe_clock_is_a_remark),
        cmocka_unit_test(reboot_is_no_rollback),
        cmocka_unit_test(a_token_without_a_provider_is_not_looked_at),
        cmocka_unit_test(remarks_do_not_crowd_out_a_failure),
        cmocka_unit_test(claims_are_json),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
