/*
 * Each thing that a guest, its firmware or its TPM can get wrong, or lie about with a valid signature,
 * fails under its own name. The numbers in brackets are rows of the verifier's table of bad inputs.
 */
#include "tests/unit/attest_judge.h"

/* ---- what must fail: name of the case, what is done, check and reason ---- */

static struct attest_pin pin;

static struct make_event *event_of(uint32_t pcr, uint32_t type)
{
    return make_find(m, pcr, type);
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

static void long_startup_locality(void)
{
    static const char locality[18] = "StartupLocality\0\3";
    event_of(0, EV_NO_ACTION)->data = BYTES_OF(locality);
}

static void startup_locality_of_pcr1(void)
{
    event_of(0, EV_NO_ACTION)->pcr = 1;
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

static void bytes_after_variable(void)
{
    struct make_event *ev = event_of(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    uint8_t *longer = arena_alloc(m->arena, ev->data.len + 1);
    memcpy(longer, ev->data.data, ev->data.len);
    longer[ev->data.len] = 0;
    ev->data = ev->measured = BYTES(longer, ev->data.len + 1);
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

static void other_domain_subject(void)
{
    m->leaf.subject = "0123456789ab.TrustedVM.Azure.windows.org";
}

static void subject_beyond_f(void)
{
    m->leaf.subject = "0123456789ag.TrustedVM.Azure.windows.net";
}

static void subject_with_hyphen(void)
{
    m->leaf.subject = "012345-789ab.TrustedVM.Azure.windows.net";
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
    {"locality of 18 bytes", long_startup_locality, CHECK_LOG_REPLAY, "startup_locality_invalid"},
    {"locality of PCR 1", startup_locality_of_pcr1, CHECK_LOG_REPLAY, "startup_locality_invalid"},
    {"locality 2", bad_startup_locality, CHECK_LOG_REPLAY, "startup_locality_invalid"},
    {"SecureBoot of 2 bytes [16]", secure_boot_two_bytes, CHECK_LOG_CONTENT, "secure_boot_value"},
    {"SecureBoot 2 [16]", secure_boot_value_two, CHECK_LOG_CONTENT, "secure_boot_value"},
    {"SecureBoot empty [16]", secure_boot_empty, CHECK_SECURE_BOOT, "secure_boot_off"},
    {"foreign GUID [18]", foreign_guid, CHECK_LOG_CONTENT, "foreign_vendor_guid"},
    {"variable twice", duplicate_variable, CHECK_LOG_CONTENT, "duplicate_variable"},
    {"bytes after a variable", bytes_after_variable, CHECK_LOG_CONTENT, "trailing_data"},
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
    {"subject of another domain", other_domain_subject, CHECK_AK_PROFILE, "subject_unknown"},
    {"subject with a g", subject_beyond_f, CHECK_AK_PROFILE, "subject_unknown"},
    {"subject with a hyphen", subject_with_hyphen, CHECK_AK_PROFILE, "subject_unknown"},
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

/* Whoever has no credential is told what is malformed: it must not depend on the VM that it speaks of. */
static void what_is_malformed_is_so_under_every_profile(void **state)
{
    static const uint16_t algs[] = {TPM2_ALG_SHA1, TPM2_ALG_SHA256, TPM2_ALG_SHA384,
                                    TPM2_ALG_SHA512};
    struct attest_pin another = {.spki_sha256 = {1}};
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        for (int p = PROFILE_AZURE_TRUSTED_LAUNCH; p <= PROFILE_TPM; p++) {
            make_reset(m);
            m->banks[0] = algs[i];
            make_build(m);
            enum pcr_bank bank = hash_of_tpm_alg(algs[i]);
            m->ev.banks[bank].value[20] = BYTES(make_nonce, pcr_banks[bank].size);
            m->ev.banks[bank].present |= 1u << 20;
            m->in.required_pcrs = ATTEST_BOOT_PCRS;
            m->in.profile = (enum attest_profile)p;
            m->in.pins = &another;
            m->in.n_pins = p == PROFILE_TPM;
            assert_int_equal(judge(), ERR_EVIDENCE_MALFORMED);
            assert_string_equal(strrchr(error.fields[0].pointer, '/'), "/20");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_evidence_fails_under_its_name),
        cmocka_unit_test(nothing_is_claimed_without_proof),
        cmocka_unit_test(what_is_malformed_is_so_under_every_profile),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
