/*
 * attest_verify over evidence made here: honest evidence is trusted, and each thing that can be wrong
 * fails under its own name. The numbers in brackets are rows of the verifier's table of bad inputs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "core/json.h"
#include "tests/unit/attest_make.h"

#include <cmocka.h>

static struct make *m;

static int setup(void **state)
{
    m = make_new();
    return 0;
}

static int teardown(void **state)
{
    make_free(m);
    return 0;
}

static struct attest_result result;
static struct err_info error;

static enum err judge(void)
{
    error = (struct err_info){0};
    return attest_verify(&m->in, m->arena, &result, &error);
}

static const struct attest_finding *find(enum attest_check c, enum check_status s)
{
    for (size_t i = 0; i < result.n_findings; i++)
        if (result.findings[i].check == c && result.findings[i].status == s)
            return &result.findings[i];
    return NULL;
}

static bool has(enum attest_check c, enum check_status s, const char *reason)
{
    for (size_t i = 0; i < result.n_findings; i++) {
        const struct attest_finding *f = &result.findings[i];
        if (f->check == c && f->status == s && f->reason && strcmp(f->reason, reason) == 0)
            return true;
    }
    return false;
}

static void dump(void)
{
    for (size_t i = 0; i < result.n_findings; i++) {
        const struct attest_finding *f = &result.findings[i];
        print_message("    %s %s %s event %d pcr %d\n", attest_check_name(f->check),
                      attest_status_name(f->status), f->reason ? f->reason : "", f->event, f->pcr);
    }
}

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
    const struct attest_trust_options o = {anchors, 1, NULL};
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

static void verified_issuers_and_leaves_are_remembered(void **state)
{
    struct err_info e;
    struct attest_trust *kept = m->in.trust, *fresh;
    const char *anchors[] = {m->anchor_file};
    const struct attest_trust_options o = {anchors, 1, NULL};
    assert_int_equal(attest_trust_open(&o, &fresh, &e), OK);
    make_reset(m);
    m->in.trust = fresh;
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    m->ev.n_chain = 0; /* the same leaf without its chain: known */
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    m->in.now = MAKE_NOW + 31LL * MAKE_DAY * 1000; /* known, and expired all the same */
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "expired"));
    m->in.now = MAKE_NOW;
    m->send_chain = false;
    m->certified = m->ak_key;
    make_build(m); /* another leaf of the known issuer */
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    m->in.trust = kept;
    attest_trust_free(fresh);
}

/* ---- what must fail: name of the case, what is done, check and reason ---- */

static struct attest_pin pin;

static struct make_event *event_of(uint32_t pcr, uint32_t type)
{
    return make_find(m, pcr, type);
}

static struct bytes edited(struct bytes b, size_t at, uint8_t value)
{
    struct bytes copy = arena_copy(m->arena, b);
    ((uint8_t *)copy.data)[at] = value;
    return copy;
}

static void flip_secure_boot_data(void)
{
    struct make_event *ev = event_of(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    ev->data = edited(ev->data, ev->data.len - 1, 0);
}

static void retype_pcr7(void)
{
    for (size_t i = 0, n = m->n_events; i < n; i++) {
        struct make_event ev = m->events[i];
        if (ev.pcr != 7)
            continue;
        m->events[i].type = EV_UNUSED;
        *make_add(m, 7, ev.type, ev.data) = ev;
    }
}

static void variable_after_separator(void)
{
    struct make_event *ev = event_of(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    struct make_event late = *ev;
    make_remove(m, ev);
    m->events[m->n_events++] = late;
}

static void duplicate_separator(void)
{
    make_add(m, 7, EV_SEPARATOR, event_of(7, EV_SEPARATOR)->data);
}

static void missing_separator(void)
{
    make_remove(m, event_of(7, EV_SEPARATOR));
}

static const uint8_t error_separator[4] = {1};
static const uint8_t zero4[4];

static void error_valued_separator(void)
{
    struct make_event *ev = event_of(7, EV_SEPARATOR);
    ev->data = ev->measured = BYTES_OF(error_separator);
}

static void hidden_error_separator(void)
{
    event_of(7, EV_SEPARATOR)->measured = BYTES_OF(error_separator);
}

static void retyped_separator(void)
{
    make_add(m, 7, EV_EFI_ACTION, BYTES_STR("x"))->measured = BYTES_OF(zero4);
}

static void late_startup_locality(void)
{
    static const char locality[17] = "StartupLocality\0\3";
    make_add(m, 0, EV_NO_ACTION, BYTES_OF(locality));
}

static void bad_startup_locality(void)
{
    static const char locality[17] = "StartupLocality\0\2";
    event_of(0, EV_NO_ACTION)->data = BYTES_OF(locality);
}

static void set_secure_boot(struct bytes value)
{
    struct make_event *ev = event_of(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    ev->data = ev->measured = make_variable(m->arena, make_global, "SecureBoot", value);
}

static void secure_boot_two_bytes(void)
{
    set_secure_boot(BYTES("\1\0", 2));
}

static void secure_boot_value_two(void)
{
    set_secure_boot(BYTES("\2", 1));
}

static void secure_boot_empty(void)
{
    set_secure_boot((struct bytes){0});
}

static void foreign_guid(void)
{
    struct make_event *ev = event_of(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    ev->data = ev->measured = make_variable(m->arena, make_security, "SecureBoot", BYTES("\1", 1));
}

static void duplicate_variable(void)
{
    struct make_event ev = *event_of(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    memmove(m->events + 1, m->events, m->n_events * sizeof ev);
    m->n_events++;
    m->events[0] = m->events[1];
    m->events[1] = ev;
}

static void debug_mode(void)
{
    make_add(m, 7, EV_EFI_ACTION, BYTES_STR("UEFI Debug Mode"));
}

static void unknown_type_in_pcr7(void)
{
    make_add(m, 7, 0x90000001, BYTES_STR("?"));
}

static void no_pcr7_events(void)
{
    for (size_t i = 0; i < m->n_events;)
        if (m->events[i].pcr == 7)
            make_remove(m, &m->events[i]);
        else
            i++;
}

static void no_events(void)
{
    m->n_events = 0;
}

static void no_keys(void)
{
    make_remove(m, event_of(7, EV_EFI_VARIABLE_AUTHORITY));
}

static void empty_pk(void)
{
    m->events[3].data = m->events[3].measured =
        make_variable(m->arena, make_global, "PK", (struct bytes){0});
}

static void changed_action(void)
{
    event_of(4, EV_EFI_ACTION)->data = BYTES_STR("Calling EFI Application from Nowhere");
}

static void changed_command_line(void)
{
    event_of(8, EV_IPL)->data = BYTES_STR("kernel_cmdline: root=/dev/sdb1 ro");
}

static void log_is_sha1(void)
{
    m->log_alg = TPM2_ALG_SHA1;
}

static void bad_magic(void)
{
    m->magic = 0xff544348;
}

static void certify_type(void)
{
    m->type = TPM2_ST_ATTEST_CERTIFY;
}

static void wrong_nonce(void)
{
    m->nonce = BYTES_STR("not the nonce of this challenge!");
}

static void empty_nonce(void)
{
    m->nonce = (struct bytes){0};
}

static void prefix_nonce(void)
{
    m->nonce = BYTES(make_nonce, 31);
}

static void padded_nonce(void)
{
    static uint8_t padded[33];
    memcpy(padded, make_nonce, 32);
    m->nonce = BYTES_OF(padded);
}

static void empty_selection(void)
{
    m->selected = 0;
}

static void no_selections(void)
{
    m->banks[0] = 0;
}

static void pcr7_not_selected(void)
{
    m->selected = 0x7f;
}

static void sha1_bank(void)
{
    m->banks[0] = TPM2_ALG_SHA1;
}

static void duplicate_bank(void)
{
    m->banks[1] = TPM2_ALG_SHA256;
}

static void two_banks(void)
{
    m->banks[1] = TPM2_ALG_SHA384;
}

static void wide_selection(void)
{
    m->select_size = 5;
}

static void other_key_signs(void)
{
    m->signer = m->other_key;
}

static void signed_with_sha1(void)
{
    m->sig_hash = TPM2_ALG_SHA1;
    m->sign_md = "SHA1";
}

static void signed_with_sha384(void)
{
    m->sig_hash = TPM2_ALG_SHA384;
    m->sign_md = "SHA384";
}

static void signed_with_pss(void)
{
    m->sig_alg = TPM2_ALG_RSAPSS;
    m->padding = RSA_PKCS1_PSS_PADDING;
}

static void pss_named_rsassa(void)
{
    m->padding = RSA_PKCS1_PSS_PADDING;
}

static void wrong_signer_name(void)
{
    m->qn = BYTES("\0\x0bxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 34);
}

static void rolled_back(void)
{
    m->in.has_last = true;
    m->in.last_reset_count = 4;
}

static void clock_rolled_back(void)
{
    m->in.has_last = true;
    m->in.last_reset_count = 3;
    m->in.last_restart_count = 1;
    m->in.last_clock = 1001;
}

static void not_restricted(void)
{
    m->attributes &= ~(uint32_t)TPMA_OBJECT_RESTRICTED;
}

static void may_decrypt(void)
{
    m->attributes |= TPMA_OBJECT_DECRYPT;
}

static void other_attributes(void)
{
    m->attributes &= ~(uint32_t)TPMA_OBJECT_NODA;
}

static void certificate_of_another_key(void)
{
    m->certified = m->other_key;
}

static void no_certificate(void)
{
    m->send_certificate = false;
}

static void no_public(void)
{
    m->send_public = false;
}

static void expired(void)
{
    m->leaf.to = -60;
}

static void not_yet_valid(void)
{
    m->leaf.from = MAKE_DAY;
}

static void without_eku(void)
{
    m->leaf.eku = "1.3.6.1.4.1.311.10.3.12";
}

static void without_any_eku(void)
{
    m->leaf.eku = NULL;
}

static void leaf_is_ca(void)
{
    m->leaf.basic = "critical,CA:TRUE";
}

static void wrong_usage(void)
{
    m->leaf.usage = "critical,keyEncipherment";
}

static void too_much_usage(void)
{
    m->leaf.usage = "critical,digitalSignature,keyEncipherment";
}

static void signed_by_sha1(void)
{
    m->leaf.md = EVP_sha1();
}

static void confidential_vm(void)
{
    m->leaf.subject = "0123456789ab.ConfidentialVM.Azure.windows.net";
}

static void foreign_subject(void)
{
    m->leaf.subject = "0123456789ab.TrustedVM.Azure.windows.net.example";
}

static void upper_case_subject(void)
{
    m->leaf.subject = "0123456789AB.TrustedVM.Azure.windows.net";
}

static void pin_another(void)
{
    m->in.pins = &pin;
    m->in.n_pins = 1;
    memset(pin.spki_sha256, 7, sizeof pin.spki_sha256);
}

struct bad {
    const char *name;
    void (*spoil)(void);
    enum attest_check check;
    const char *reason;
};

static const struct bad before_build[] = {
    {"SecureBoot flipped, digest kept [1]", flip_secure_boot_data, CHECK_LOG_CONTENT,
     "digest_mismatch"},
    {"PCR 7 retyped, fake set appended [2]", retype_pcr7, CHECK_LOG_CONTENT,
     "unexpected_event_type"},
    {"variable after separator [3]", variable_after_separator, CHECK_LOG_CONTENT,
     "variable_after_separator"},
    {"duplicate separator [4]", duplicate_separator, CHECK_LOG_CONTENT, "duplicate_separator"},
    {"missing separator [4]", missing_separator, CHECK_LOG_CONTENT, "separator_missing"},
    {"error separator [4]", error_valued_separator, CHECK_LOG_CONTENT, "separator_value"},
    {"hidden error separator [4]", hidden_error_separator, CHECK_LOG_CONTENT, "digest_mismatch"},
    {"retyped separator", retyped_separator, CHECK_LOG_CONTENT, "retyped_separator"},
    {"SHA-1 log [11]", log_is_sha1, CHECK_LOG_REPLAY, "bank_mismatch"},
    {"late locality [13]", late_startup_locality, CHECK_LOG_REPLAY, "startup_locality_invalid"},
    {"locality 2", bad_startup_locality, CHECK_LOG_REPLAY, "startup_locality_invalid"},
    {"SecureBoot of 2 bytes [16]", secure_boot_two_bytes, CHECK_LOG_CONTENT, "secure_boot_value"},
    {"SecureBoot 2 [16]", secure_boot_value_two, CHECK_LOG_CONTENT, "secure_boot_value"},
    {"SecureBoot empty [16]", secure_boot_empty, CHECK_SECURE_BOOT, "secure_boot_off"},
    {"foreign GUID [18]", foreign_guid, CHECK_LOG_CONTENT, "foreign_vendor_guid"},
    {"variable twice", duplicate_variable, CHECK_LOG_CONTENT, "duplicate_variable"},
    {"debug mode [19]", debug_mode, CHECK_LOG_CONTENT, "uefi_debug_mode"},
    {"unknown type in PCR 7 [19]", unknown_type_in_pcr7, CHECK_LOG_CONTENT,
     "unexpected_event_type"},
    {"no PCR 7 events [20]", no_pcr7_events, CHECK_LOG_CONTENT, "secure_boot_missing"},
    {"header only [20]", no_events, CHECK_LOG_CONTENT, "secure_boot_missing"},
    {"Secure Boot without authority", no_keys, CHECK_LOG_CONTENT, "authority_missing"},
    {"Secure Boot without PK", empty_pk, CHECK_LOG_CONTENT, "secure_boot_without_keys"},
    {"action changed", changed_action, CHECK_LOG_CONTENT, "digest_mismatch"},
    {"command line changed", changed_command_line, CHECK_LOG_CONTENT, "digest_mismatch"},
    {"magic [23]", bad_magic, CHECK_QUOTE_MAGIC, "not_generated_by_tpm"},
    {"certify [23]", certify_type, CHECK_QUOTE_TYPE, "not_a_quote"},
    {"wrong nonce [24]", wrong_nonce, CHECK_QUOTE_NONCE, "nonce_mismatch"},
    {"empty nonce [24]", empty_nonce, CHECK_QUOTE_NONCE, "nonce_mismatch"},
    {"prefix of the nonce [24]", prefix_nonce, CHECK_QUOTE_NONCE, "nonce_mismatch"},
    {"padded nonce [24]", padded_nonce, CHECK_QUOTE_NONCE, "nonce_mismatch"},
    {"empty selection [25]", empty_selection, CHECK_QUOTE_SELECTION, "empty_selection"},
    {"no selections [25]", no_selections, CHECK_QUOTE_SELECTION, "empty_selection"},
    {"PCR 7 not selected [26]", pcr7_not_selected, CHECK_QUOTE_SELECTION, "required_pcr_missing"},
    {"SHA-1 bank [27]", sha1_bank, CHECK_QUOTE_SELECTION, "bank_not_allowed"},
    {"bank twice [27]", duplicate_bank, CHECK_QUOTE_SELECTION, "duplicate_bank"},
    {"two banks [27]", two_banks, CHECK_QUOTE_SELECTION, "several_banks"},
    {"wide selection", wide_selection, CHECK_QUOTE_SELECTION, "selection_size"},
    {"another key signs [34]", other_key_signs, CHECK_QUOTE_SIGNATURE, "signature_invalid"},
    {"SHA-1 signature [29]", signed_with_sha1, CHECK_QUOTE_SIGNATURE, "hash_not_allowed"},
    {"SHA-384 signature", signed_with_sha384, CHECK_QUOTE_SIGNATURE, "scheme_mismatch"},
    {"PSS [30]", signed_with_pss, CHECK_QUOTE_SIGNATURE, "scheme_mismatch"},
    {"PSS named RSASSA [30]", pss_named_rsassa, CHECK_QUOTE_SIGNATURE, "signature_invalid"},
    {"qualifiedSigner [31]", wrong_signer_name, CHECK_QUOTE_SIGNER, "ak_name_mismatch"},
    {"resetCount back [32]", rolled_back, CHECK_QUOTE_CLOCK, "rollback"},
    {"clock back [32]", clock_rolled_back, CHECK_QUOTE_CLOCK, "rollback"},
    {"not restricted [41]", not_restricted, CHECK_AK_ATTRIBUTES, "not_restricted"},
    {"may decrypt [41]", may_decrypt, CHECK_AK_ATTRIBUTES, "decrypt_set"},
    {"other attributes", other_attributes, CHECK_AK_ATTRIBUTES, "attributes_unexpected"},
    {"modulus not the certificate's [41]", certificate_of_another_key, CHECK_AK_BINDING,
     "ak_public_mismatch"},
    {"no certificate", no_certificate, CHECK_AK_CHAIN, "certificate_missing"},
    {"no public area", no_public, CHECK_AK_ATTRIBUTES, "public_missing"},
    {"expired [36]", expired, CHECK_AK_CHAIN, "expired"},
    {"not yet valid [36]", not_yet_valid, CHECK_AK_CHAIN, "not_yet_valid"},
    {"no AIK usage [40]", without_eku, CHECK_AK_CHAIN, "eku_missing"},
    {"no usage at all [40]", without_any_eku, CHECK_AK_CHAIN, "eku_missing"},
    {"leaf is a CA [40]", leaf_is_ca, CHECK_AK_CHAIN, "ca_true"},
    {"key usage", wrong_usage, CHECK_AK_CHAIN, "key_usage"},
    {"too much key usage", too_much_usage, CHECK_AK_CHAIN, "key_usage"},
    {"SHA-1 certificate", signed_by_sha1, CHECK_AK_CHAIN, "signature_algorithm"},
    {"ConfidentialVM [35]", confidential_vm, CHECK_AK_PROFILE, "profile_mismatch"},
    {"foreign subject", foreign_subject, CHECK_AK_PROFILE, "subject_unknown"},
    {"upper-case subject", upper_case_subject, CHECK_AK_PROFILE, "subject_unknown"},
    {"another AK is pinned [42]", pin_another, CHECK_AK_BINDING, "ak_not_pinned"},
};

static void bad_evidence_fails_under_its_name(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(before_build); i++) {
        const struct bad *b = &before_build[i];
        make_reset(m);
        b->spoil();
        make_build(m);
        enum err err = judge();
        bool told = !err && has(b->check, STATUS_FAIL, b->reason);
        if (!told || result.verdict != VERDICT_UNTRUSTED) {
            print_message("%s: %s %s\n", b->name, err_code(err), error.fields[0].detail);
            dump();
        }
        assert_int_equal(err, OK);
        assert_true(told);
        assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
        assert_non_null(result.reason);
    }
}

/* What the guest may say about itself is no more than what is proven. */
static void nothing_is_claimed_without_proof(void **state)
{
    static const enum attest_check proofs[] = {
        CHECK_QUOTE_MAGIC,     CHECK_QUOTE_TYPE,   CHECK_QUOTE_NONCE,   CHECK_QUOTE_SELECTION,
        CHECK_QUOTE_SIGNATURE, CHECK_QUOTE_SIGNER, CHECK_AK_ATTRIBUTES, CHECK_AK_BINDING,
        CHECK_AK_CHAIN,        CHECK_AK_PROFILE};
    for (size_t i = 0; i < ARRAY_LEN(before_build); i++) {
        bool unproven = false;
        for (size_t k = 0; k < ARRAY_LEN(proofs); k++)
            unproven |= before_build[i].check == proofs[k];
        make_reset(m);
        before_build[i].spoil();
        make_build(m);
        assert_int_equal(judge(), OK);
        if (unproven)
            assert_null(result.claims);
        else if (before_build[i].check == CHECK_LOG_CONTENT && result.claims &&
                 find(CHECK_LOG_CONTENT, STATUS_FAIL)->pcr == 7)
            assert_int_equal(attest_secure_boot(&result), -1);
    }
}

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

static void maa_token_is_not_evaluated(void **state)
{
    make_reset(m);
    make_build(m);
    m->ev.maa_token = BYTES_STR("a.b.c");
    assert_int_equal(judge(), OK);
    assert_true(has(CHECK_MAA_TOKEN, STATUS_SKIP, "not_evaluated"));
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
        cmocka_unit_test(verified_issuers_and_leaves_are_remembered),
        cmocka_unit_test(bad_evidence_fails_under_its_name),
        cmocka_unit_test(nothing_is_claimed_without_proof),
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
        cmocka_unit_test(pinned_area_is_the_whole_area),
        cmocka_unit_test(without_pin_or_chain_there_is_no_anchor),
        cmocka_unit_test(quarantine_replaces_the_binding),
        cmocka_unit_test(self_made_ca_with_the_same_names),
        cmocka_unit_test(chain_in_circles),
        cmocka_unit_test(issuer_must_be_a_ca),
        cmocka_unit_test(weak_keys_are_refused),
        cmocka_unit_test(unsafe_clock_is_a_remark),
        cmocka_unit_test(reboot_is_no_rollback),
        cmocka_unit_test(maa_token_is_not_evaluated),
        cmocka_unit_test(claims_are_json),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
