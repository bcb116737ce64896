/*
 * Policies judged: each rule kept and violated by evidence that is honest otherwise, with the finding that
 * a violated one must give; rules about what is not proven; review of what is kept; baselines and their
 * differences.
 */
#include "tests/unit/attest_judge.h"

#include "attest/cert.h"
#include "attest/diff.h"
#include "attest/policy.h"
#include "attest/review.h"
#include "attest/rollover.h"

#define IMAGE "Canonical:ubuntu:22_04:22.04.1"
#define OTHER "1111111111111111111111111111111111111111111111111111111111111111"

static const uint8_t shim_guid[16] = {0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43,
                                      0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23};
static const uint8_t sha256_guid[16] = {0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
                                        0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28};
static const uint8_t x509_sha256_guid[16] = {0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40,
                                             0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03, 0xed};
static const uint8_t in_dbx[32] = {0xab, 0xcd};
static char signer_hex[65]; /* of the certificate that vouches for the application */
static char app_hex[65];    /* digest of the application */

static struct make_event *find_last(uint32_t pcr, uint32_t type)
{
    for (size_t i = m->n_events; i-- > 0;)
        if (m->events[i].pcr == pcr && m->events[i].type == type)
            return &m->events[i];
    abort();
}

static struct bytes signature_list(const uint8_t type[16], struct bytes entry)
{
    struct buf b = {0};
    buf_add(&b, type, 16);
    make_le(&b, 28 + 16 + entry.len, 4);
    make_le(&b, 0, 4);
    make_le(&b, 16 + entry.len, 4);
    buf_add(&b, make_global, 16);
    buf_add(&b, entry.data, entry.len);
    return make_keep(m->arena, &b);
}

static void put_data(struct make_event *ev, struct bytes data)
{
    ev->data = ev->measured = data;
}

/* A boot with a real certificate as its authority, an SBAT level, and one revoked hash in dbx. */
static void make_boot(void)
{
    make_reset(m);
    struct bytes der = make_der(m->arena, m->ca), list = signature_list(make_guid_x509, der);
    uint8_t digest[32];
    put_data(find_last(7, EV_EFI_VARIABLE_AUTHORITY),
             make_variable(m->arena, make_security, "db", BYTES(list.data + 28, list.len - 28)));
    make_add(m, 7, EV_EFI_VARIABLE_AUTHORITY,
             make_variable(m->arena, shim_guid, "SbatLevel",
                           BYTES_STR("sbat,1,2023012900\nshim,2\ngrub,3\n")));
    struct make_event *dbx = &m->events[6];
    put_data(dbx, make_variable(m->arena, make_security, "dbx",
                                signature_list(sha256_guid, BYTES_OF(in_dbx))));
    cert_fingerprint(der, digest);
    hex_encode(BYTES_OF(digest), signer_hex);
    hash_digest(BANK_SHA256, BYTES_STR("authenticode of shim"), digest);
    hex_encode(BYTES_OF(digest), app_hex);
    m->selected |= 1u << 12 | 1u << 13;
    m->in.image = IMAGE;
    make_build(m);
}

static const char *pcr_hex(unsigned pcr)
{
    char *hex = arena_alloc(m->arena, 65);
    hex_encode(BYTES_OF(m->pcrs[pcr]), hex);
    return hex;
}

static struct attest_policy *compile(const char *rules)
{
    struct attest_policy *p = NULL;
    struct err_info e = {0};
    const char *text = arena_printf(m->arena, "{\"scopes\":[],\"rules\":{%s}}", rules);
    if (attest_policy_compile(BYTES_STR(text), &p, &e))
        print_error("%s: %s %s\n", rules, e.detail, e.n_fields ? e.fields[0].detail : "");
    assert_non_null(p);
    return p;
}

/* The first violated rule's finding, or NULL. */
static const struct attest_finding *judge_by(const char *rules)
{
    struct attest_policy *p = compile(rules);
    m->in.policy = p;
    assert_int_equal(judge(), OK);
    m->in.policy = NULL;
    attest_policy_unref(p);
    return find(CHECK_POLICY, STATUS_FAIL);
}

static void keeps(const char *rules)
{
    if (judge_by(rules)) {
        print_error("not kept: %s\n", rules);
        dump();
    }
    assert_null(find(CHECK_POLICY, STATUS_FAIL));
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_int_equal(attest_result_status(&result, CHECK_POLICY), STATUS_PASS);
}

static void violates(const char *rules, const char *reason, int pcr)
{
    const struct attest_finding *f = judge_by(rules);
    if (!f || strcmp(f->reason, reason) != 0) {
        print_error("not %s: %s\n", reason, rules);
        dump();
    }
    assert_non_null(f);
    assert_string_equal(f->reason, reason);
    assert_int_equal(f->pcr, pcr);
    assert_non_null(f->expected);
    assert_non_null(f->found);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    /* Nothing but the policy failed. */
    for (size_t i = 0; i < result.n_findings; i++)
        assert_true(result.findings[i].status != STATUS_FAIL ||
                    result.findings[i].check == CHECK_POLICY);
}

#define SET "\"goldenPcrs\":[{\"name\":\"a\",\"pcrs\":{\"7\":\"%s\",\"4\":\"%s\"}}%s]"
#define REVOKE                                                                                     \
    "\"revocations\":[{\"name\":\"r1\",\"%s\":[\"%s\"],\"mustBeInDbx\":%s,"                        \
    "\"mustNotBoot\":%s}]"
#define EVENTS                                                                                     \
    "\"allowedEvents\":[{\"pcr\":4,\"digests\":[\"%s\",\"%s\"]},"                                  \
    "{\"pcr\":4,\"digests\":[\"%s\"]}]"
#define TEXT(...) arena_printf(m->arena, __VA_ARGS__)

static void no_rule_changes_nothing(void **state)
{
    make_boot();
    keeps("");
    keeps("\"knownImages\":[{\"name\":\"a\",\"digest\":\"" OTHER "\"}]");
}

static void plain_rules(void **state)
{
    make_boot();
    keeps("\"requireSecureBoot\":true,\"profiles\":[\"azureTrustedLaunch\"]");
    violates("\"profiles\":[\"tpm\",\"confidentialVm\"]", "profile_not_allowed", ATTEST_NO_INDEX);
    keeps(TEXT("\"firmware\":[\"" OTHER "\",\"%s\"]", pcr_hex(0)));
    violates("\"firmware\":[\"" OTHER "\"]", "firmware_not_allowed", 0);
    m->in.require_secure_boot = false;
    make_default_events(m, false);
    make_build(m);
    violates("\"requireSecureBoot\":true", "secure_boot_off", 7);
    keeps("\"requireSecureBoot\":false");
}

static void golden_sets(void **state)
{
    make_boot();
    const char *second = ",{\"name\":\"b\",\"pcrs\":{\"4\":\"" OTHER "\"}}";
    keeps(TEXT(SET, pcr_hex(7), pcr_hex(4), second));
    violates(TEXT(SET, OTHER, pcr_hex(4), ""), "golden_pcr_mismatch", 7);
    assert_string_equal(find(CHECK_POLICY, STATUS_FAIL)->expected, OTHER);
    assert_string_equal(find(CHECK_POLICY, STATUS_FAIL)->found, pcr_hex(7));
    /* The nearest set is the one that is told. */
    violates(TEXT("\"goldenPcrs\":[{\"name\":\"far\",\"pcrs\":{\"2\":\"" OTHER "\",\"4\":\"" OTHER
                  "\"}},{\"name\":\"near\",\"pcrs\":{\"4\":\"%s\",\"7\":\"" OTHER "\"}}]",
                  pcr_hex(4)),
             "golden_pcr_mismatch", 7);
    violates("\"goldenPcrs\":[{\"name\":\"a\",\"pcrs\":{\"9\":\"" OTHER "\"}}]", "rule_not_proven",
             9);
    violates(TEXT("\"goldenPcrs\":[{\"name\":\"a\",\"bank\":\"sha384\",\"pcrs\":{\"7\":\"%s%s\"}}]",
                  OTHER, "11111111111111111111111111111111"),
             "rule_not_proven", 7);
    /* Of another image: this one has no set, so the rule is not proven. */
    violates(TEXT("\"goldenPcrs\":[{\"name\":\"a\",\"image\":\"x:y:z:1\",\"pcrs\":{\"7\":\"%s\"}}]",
                  pcr_hex(7)),
             "rule_not_proven", ATTEST_NO_INDEX);
    keeps(TEXT("\"goldenPcrs\":[{\"name\":\"a\",\"image\":\"" IMAGE "\",\"pcrs\":{\"7\":\"%s\"}}]",
               pcr_hex(7)));
}

static void signers_and_sbat(void **state)
{
    make_boot();
    keeps(TEXT("\"signers\":{\"required\":[\"%s\",\"CN=Test vTPM CA - 01\"],"
               "\"forbidden\":[\"CN=Test vTPM CA - 0\",\"" OTHER "\"]}",
               signer_hex));
    violates("\"signers\":{\"required\":[\"CN=Nobody\"]}", "signer_missing", 7);
    assert_string_equal(find(CHECK_POLICY, STATUS_FAIL)->found, "CN=Test vTPM CA - 01");
    violates(TEXT("\"signers\":{\"forbidden\":[\"%s\"]}", signer_hex), "signer_forbidden", 7);
    assert_int_not_equal(find(CHECK_POLICY, STATUS_FAIL)->event, ATTEST_NO_INDEX);
    keeps("\"sbat\":[{\"component\":\"shim\",\"generation\":2},{\"component\":\"grub\","
          "\"generation\":1}],\"sbatLevel\":\"2023012900\"");
    violates("\"sbat\":[{\"component\":\"shim\",\"generation\":3}]", "sbat_below_minimum", 7);
    assert_string_equal(find(CHECK_POLICY, STATUS_FAIL)->expected, "shim,3");
    assert_string_equal(find(CHECK_POLICY, STATUS_FAIL)->found, "shim,2");
    violates("\"sbat\":[{\"component\":\"grub.debian\",\"generation\":1}]", "sbat_below_minimum",
             7);
    violates("\"sbatLevel\":\"2024010900\"", "sbat_below_minimum", 7);
    make_remove(m, find_last(7, EV_EFI_VARIABLE_AUTHORITY));
    make_build(m);
    violates("\"sbatLevel\":\"2000010100\"", "rule_not_proven", 7);
}

static void add_authority(struct bytes entry)
{
    make_add(m, 7, EV_EFI_VARIABLE_AUTHORITY, make_variable(m->arena, make_security, "db", entry));
}

/* An entry of db: the owner's GUID and `n` bytes of no certificate, others for each `which`. */
static struct bytes entry_of(size_t n, uint8_t which)
{
    uint8_t *entry = arena_alloc(m->arena, 16 + n);
    memset(entry, which, 16 + n);
    return BYTES(entry, 16 + n);
}

static void a_signer_is_named_by_whole_parts(void **state)
{
    make_boot();
    keeps("\"signers\":{\"forbidden\":[\"Test vTPM CA - 01\",\"CN=Test vTPM CA - 01,O=a\"]}");
    violates(TEXT("\"signers\":{\"required\":[\"%s00\"]}", signer_hex), "signer_missing", 7);
    /* SbatLevel has no certificate, so no fingerprint either */
    keeps("\"signers\":{\"forbidden\":[\"0000000000000000000000000000000000000000000000000000000000"
          "000000\"]}");
    X509 *ca = X509_dup(m->ca);
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(ca));
    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Example", -1, 0, 0);
    X509_set_subject_name(ca, name);
    assert_true(X509_sign(ca, m->root_key, EVP_sha256()) > 0);
    struct bytes der = make_der(m->arena, ca), list = signature_list(make_guid_x509, der);
    X509_NAME_free(name);
    X509_free(ca);
    add_authority(BYTES(list.data + 28, list.len - 28));
    make_build(m);
    violates("\"signers\":{\"forbidden\":[\"o=example\"]}", "signer_forbidden", 7);
    violates("\"signers\":{\"forbidden\":[\"CN=Test vTPM CA - 01,O=Example\"]}", "signer_forbidden",
             7);
    keeps("\"signers\":{\"forbidden\":[\"O=Examp\",\"Example\"]}");
}

/* Where the policy names who may vouch, a hash or what is not understood is somebody else. */
static void what_is_no_certificate_vouches_too(void **state)
{
    static const size_t sizes[] = {32, 40};
    const char *allowed = "\"signers\":{\"allowed\":[\"CN=Test vTPM CA - 01\"]}";
    make_boot();
    keeps(allowed);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        make_boot();
        add_authority(entry_of(sizes[i], 7));
        make_build(m);
        violates(allowed, "signer_not_allowed", 7);
    }
    /* whose it is cannot be said, so it may be one that is forbidden; a hash is nobody's */
    violates("\"signers\":{\"forbidden\":[\"CN=Nobody\"]}", "rule_not_proven", 7);
    uint8_t unreadable[16 + 40] = {0};
    unreadable[16] = 0x30; /* a SEQUENCE of 38 bytes of nothing */
    unreadable[17] = 38;
    make_boot();
    add_authority(arena_copy(m->arena, BYTES_OF(unreadable)));
    make_build(m);
    violates("\"signers\":{\"forbidden\":[\"CN=Nobody\"]}", "rule_not_proven", 7);
    make_boot();
    add_authority(entry_of(32, 7));
    make_build(m);
    keeps("\"signers\":{\"forbidden\":[\"CN=Nobody\"]}");
}

/* Among those that are not kept may be one that is forbidden. */
static void more_authorities_than_are_kept_prove_nothing(void **state)
{
    make_boot();
    for (size_t i = 2; i < CLAIMS_AUTHORITIES; i++)
        add_authority(entry_of(32, (uint8_t)i));
    make_build(m);
    keeps("\"signers\":{\"forbidden\":[\"CN=Nobody\"]}");
    keeps("\"forbiddenStates\":[\"testSigning\"]");
    add_authority(entry_of(32, 0));
    make_build(m);
    violates("\"signers\":{\"forbidden\":[\"CN=Nobody\"]}", "rule_not_proven", 7);
    violates("\"forbiddenStates\":[\"testSigning\"]", "rule_not_proven", ATTEST_NO_INDEX);
    violates("\"sbatLevel\":\"2000010100\"", "rule_not_proven", 7);
}

/* Whatever was looked at before: without the three proofs, and one key in two of them, there is no trust. */
static void a_verdict_needs_its_proofs(void **state)
{
    const struct pcr_set pcrs = {.bank = BANK_SHA256, .mask = ATTEST_BOOT_PCRS};
    make_boot();
    struct ak_key key;
    assert_null(ak_key_of_pkey(m->ak_key, &key));
    AUTO(ak_loaded) struct ak_loaded *loaded = ak_load(&key);
    struct attest_pin pin = {0};
    memcpy(pin.spki_sha256, loaded->spki_sha256, sizeof pin.spki_sha256);
    m->in.profile = PROFILE_TPM;
    m->in.pins = &pin;
    m->in.n_pins = 1;
    const struct trusted_ak *own = trust_by_pin(&m->in, loaded, m->arena),
                            *none = trust_of_record(m->arena);
    const struct verified_quote *quote = quote_of_record(&pcrs, m->arena); /* by no key */
    const struct {
        struct policy_facts facts;
        enum attest_verdict verdict;
    } cases[] = {
        {{.ak = none, .quote = quote}, VERDICT_TRUSTED_QUOTE_ONLY},
        {{.ak = own, .quote = quote}, VERDICT_UNTRUSTED},
        {{.quote = quote}, VERDICT_UNTRUSTED},
        {{.ak = none}, VERDICT_UNTRUSTED},
        {{.ak = none, .quote = quote, .log_sent = true}, VERDICT_UNTRUSTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        result_init(&result);
        policy_decide(&m->in, &cases[i].facts, m->arena, &result);
        assert_int_equal(result.verdict, cases[i].verdict);
        assert_string_equal(result.reason,
                            cases[i].verdict == VERDICT_UNTRUSTED ? "not_proven" : "no_event_log");
    }
}

static void revocations(void **state)
{
    make_boot();
    char revoked[65];
    hex_encode(BYTES_OF(in_dbx), revoked);
    keeps(TEXT(REVOKE, "hashes", revoked, "true", "true"));
    keeps(TEXT("\"revocations\":[{\"name\":\"twice\",\"hashes\":[\"%s\",\"%s\"],"
               "\"mustBeInDbx\":true,\"mustNotBoot\":false}]",
               revoked, revoked));
    keeps(TEXT(REVOKE, "hashes", OTHER, "false", "true"));
    violates(TEXT(REVOKE, "hashes", OTHER, "true", "false"), "dbx_incomplete", 7);
    violates(TEXT(REVOKE, "hashes", app_hex, "false", "true"), "revoked_image_booted", 4);
    violates(TEXT(REVOKE, "certificates", signer_hex, "false", "true"), "revoked_image_booted", 7);
    violates(TEXT(REVOKE, "certificates", signer_hex, "true", "false"), "dbx_incomplete", 7);
    keeps(TEXT(REVOKE, "certificates", OTHER, "false", "true"));
}

/* As OpenSSL encodes it. */
static void tbs_of(X509 *x, uint8_t out[32])
{
    unsigned char *der = NULL;
    int n = i2d_re_X509_tbs(x, &der);
    assert_true(n > 0);
    hash_digest(BANK_SHA256, BYTES(der, (size_t)n), out);
    OPENSSL_free(der);
}

/* EFI_CERT_X509_SHA256: the hash of the TBSCertificate and the time from which it is revoked. */
static void revoke_by_tbs(const uint8_t tbs[32], uint8_t year)
{
    uint8_t entry[48] = {0};
    memcpy(entry, tbs, 32);
    entry[32] = year;
    make_boot();
    put_data(&m->events[6], make_variable(m->arena, make_security, "dbx",
                                          signature_list(x509_sha256_guid, BYTES_OF(entry))));
    make_build(m);
}

static void certificates_are_revoked_by_the_hash_of_what_was_signed(void **state)
{
    uint8_t tbs[32], own[32];
    char tbs_hex[65];
    make_boot();
    tbs_of(m->ca, tbs);
    assert_true(cert_tbs_sha256(make_der(m->arena, m->ca), own));
    assert_memory_equal(own, tbs, 32);
    hex_encode(BYTES_OF(tbs), tbs_hex);
    violates(TEXT(REVOKE, "certificates", tbs_hex, "false", "true"), "revoked_image_booted", 7);
    violates(TEXT(REVOKE, "certificates", tbs_hex, "true", "false"), "dbx_incomplete", 7);
    assert_int_equal(rollover_of_result(&result) & ROLLOVER_BOOTED_REVOKED, 0);
    revoke_by_tbs(tbs, 0);
    keeps(TEXT(REVOKE, "certificates", tbs_hex, "true", "false"));
    keeps(TEXT(REVOKE, "certificates", signer_hex, "true", "false")); /* the log holds it */
    assert_int_equal(rollover_state_of(rollover_of_result(&result)), ROLLOVER_REVOKED);
    violates(TEXT(REVOKE, "certificates", OTHER, "true", "false"), "dbx_incomplete", 7);
    revoke_by_tbs(tbs, 26); /* what was signed before may still start */
    violates(TEXT(REVOKE, "certificates", tbs_hex, "true", "false"), "dbx_incomplete", 7);
    assert_int_equal(rollover_state_of(rollover_of_result(&result)), ROLLOVER_REVOKED);
    tbs[31] ^= 1;
    revoke_by_tbs(tbs, 0);
    violates(TEXT(REVOKE, "certificates", signer_hex, "true", "false"), "dbx_incomplete", 7);
    assert_int_equal(rollover_of_result(&result) & ROLLOVER_BOOTED_REVOKED, 0);
}

/* A log that lies in one event: no policy has passed by it, whether one asks for the log or not. */
static void no_policy_passes_by_a_log_that_lies(void **state)
{
    make_boot();
    find_last(7, EV_EFI_VARIABLE_AUTHORITY)->data = make_variable(
        m->arena, shim_guid, "SbatLevel", BYTES_STR("sbat,1,2024012900\nshim,9\ngrub,9\n"));
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_true(has(CHECK_LOG_CONTENT, STATUS_FAIL, "digest_mismatch"));
    assert_true(has(CHECK_POLICY, STATUS_SKIP, "not_proven"));
    assert_int_equal(attest_result_status(&result, CHECK_POLICY), STATUS_SKIP);
    assert_null(judge_by("\"profiles\":[\"azureTrustedLaunch\"]"));
    assert_int_equal(attest_result_status(&result, CHECK_POLICY), STATUS_SKIP);
    assert_non_null(judge_by("\"firmware\":[\"" OTHER "\"]"));
    assert_int_equal(attest_result_status(&result, CHECK_POLICY), STATUS_FAIL);
}

static void hashes_of_no_certificate(void **state)
{
    static const uint8_t bad[][6] = {
        {0x30, 0x00}, {0x30, 0x80, 1, 2}, {0x30, 0x81, 0x02, 0x30, 0x05}, {0x30, 0x02, 0x02, 0x00}};
    uint8_t out[32];
    assert_false(cert_tbs_sha256((struct bytes){0}, out));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(cert_tbs_sha256(BYTES_OF(bad[i]), out));
}

static void events_and_command_lines(void **state)
{
    make_boot();
    char zero[65], action[65];
    uint8_t digest[32];
    hash_digest(BANK_SHA256, BYTES("\0\0\0\0", 4), digest);
    hex_encode(BYTES_OF(digest), zero);
    hash_digest(BANK_SHA256, BYTES_STR("Calling EFI Application from Boot Option"), digest);
    hex_encode(BYTES_OF(digest), action);
    keeps(TEXT(EVENTS, zero, action, app_hex));
    violates(TEXT(EVENTS, zero, action, OTHER), "event_not_allowed", 4);
    assert_string_equal(find(CHECK_POLICY, STATUS_FAIL)->found, app_hex);
    violates("\"allowedEvents\":[{\"pcr\":9,\"digests\":[\"" OTHER "\"]}]", "rule_not_proven", 9);
    violates("\"allowedEvents\":[{\"pcr\":4,\"image\":\"x:y:z:1\",\"digests\":[\"" OTHER "\"]}]",
             "rule_not_proven", ATTEST_NO_INDEX);
    m->in.image = "x:y:z:1";
    violates("\"allowedEvents\":[{\"pcr\":4,\"image\":\"X:Y:z:*\",\"digests\":[\"" OTHER "\"]}]",
             "event_not_allowed", 4);
    violates("\"allowedEvents\":[{\"pcr\":4,\"image\":\"x:y:*\",\"digests\":[\"" OTHER "\"]}]",
             "rule_not_proven", ATTEST_NO_INDEX);
    violates("\"allowedEvents\":[{\"pcr\":4,\"image\":\"x:y:zz:*\",\"digests\":[\"" OTHER "\"]}]",
             "rule_not_proven", ATTEST_NO_INDEX);
    static const char *const others[] = {"x:y:z:2", "x:y:z:11", "x:y:z*", "x:y:z:1*", "*"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        violates(TEXT("\"allowedEvents\":[{\"pcr\":4,\"image\":\"%s\",\"digests\":[\"" OTHER
                      "\"]}]",
                      others[i]),
                 "rule_not_proven", ATTEST_NO_INDEX);
    m->in.image = NULL; /* of a VM whose image is not known */
    violates("\"allowedEvents\":[{\"pcr\":4,\"image\":\"x:y:z:*\",\"digests\":[\"" OTHER "\"]}]",
             "rule_not_proven", ATTEST_NO_INDEX);
    keeps("\"kernelCommandLines\":[\"nothing\",\"root=/dev/sd?1 **\"]");
    keeps("\"kernelCommandLines\":[\"root=/dev/sda1 ro\"]");
    violates("\"kernelCommandLines\":[\"root=/dev/sda1\",\"ro\"]",
             "kernel_command_line_not_allowed", 8);
    assert_string_equal(find(CHECK_POLICY, STATUS_FAIL)->found, "root=/dev/sda1 ro");
    /* Also a line that was tried before the last one. */
    make_add(m, 8, EV_IPL, BYTES("kernel_cmdline: init=/bin/sh", 29))->measured =
        BYTES_STR("init=/bin/sh");
    make_build(m);
    violates("\"kernelCommandLines\":[\"root=*\"]", "kernel_command_line_not_allowed", 8);
    make_remove(m, find_last(8, EV_IPL));
    make_remove(m, find_last(8, EV_IPL));
    make_build(m);
    violates("\"kernelCommandLines\":[\"*\"]", "rule_not_proven", 8);
}

static struct bytes sipa(uint32_t type, uint8_t value)
{
    struct buf b = {0}; /* a container of trusted boundary (wbcl.h) with one event */
    make_le(&b, 0x40010001, 4);
    make_le(&b, 9, 4);
    make_le(&b, type, 4);
    make_le(&b, 1, 4);
    make_le(&b, value, 1);
    return make_keep(m->arena, &b);
}

static void states_of_the_guest(void **state)
{
    make_boot();
    keeps("\"forbiddenStates\":[\"uefiDebugMode\",\"dmaProtectionDisabled\",\"testSigning\","
          "\"safeMode\",\"codeIntegrityDisabled\",\"winPE\",\"flightSigning\",\"bootDebugging\","
          "\"kernelDebugging\",\"hypervisorDebugging\"]");
    static const struct {
        const char *name;
        uint32_t type;
        uint8_t bad;
    } rows[] = {
        {"bootDebugging", 0x00040001, 1},
        {"kernelDebugging", 0x00050001, 1},
        {"hypervisorDebugging", 0x0005000d, 1},
        {"testSigning", 0x00050003, 1},
        {"flightSigning", 0x00050021, 1},
        {"safeMode", 0x00050005, 1},
        {"winPE", 0x00050006, 1},
        {"codeIntegrityDisabled", 0x00050002, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        make_boot();
        make_add(m, 13, EV_EVENT_TAG, sipa(rows[i].type, !rows[i].bad));
        make_build(m);
        keeps(TEXT("\"forbiddenStates\":[\"%s\"]", rows[i].name));
        make_boot();
        make_add(m, 13, EV_EVENT_TAG, sipa(rows[i].type, rows[i].bad));
        make_build(m);
        violates(TEXT("\"forbiddenStates\":[\"%s\"]", rows[i].name), "state_forbidden", 13);
        assert_int_equal(find(CHECK_POLICY, STATUS_FAIL)->event, m->n_events);
        assert_string_equal(find(CHECK_POLICY, STATUS_FAIL)->found, rows[i].name);
    }
    make_boot();
    make_add(m, 7, EV_EFI_ACTION, BYTES_STR("DMA Protection Disabled"));
    make_build(m);
    violates("\"forbiddenStates\":[\"dmaProtectionDisabled\"]", "state_forbidden", 7);
    m->selected &= ~(1u << 12);
    make_build(m);
    violates("\"forbiddenStates\":[\"testSigning\"]", "rule_not_proven", ATTEST_NO_INDEX);
}

static void without_a_log(void **state)
{
    make_boot();
    m->send_log = false;
    m->in.require_secure_boot = false;
    make_build(m);
    assert_null(judge_by(""));
    assert_int_equal(result.verdict, VERDICT_TRUSTED_QUOTE_ONLY);
    assert_null(judge_by("\"allowQuoteOnly\":true"));
    assert_int_equal(result.verdict, VERDICT_TRUSTED_QUOTE_ONLY);
    assert_string_equal(judge_by("\"allowQuoteOnly\":false")->reason, "no_event_log");
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    /* a policy allows no more than its caller */
    m->in.allow_quote_only = false;
    assert_string_equal(judge_by("\"allowQuoteOnly\":true")->reason, "no_event_log");
    assert_string_equal(judge_by("")->reason, "no_event_log");
    assert_int_equal(attest_result_status(&result, CHECK_SECURE_BOOT), STATUS_SKIP);
    m->in.require_secure_boot = true;
    assert_non_null(judge_by(""));
    assert_int_equal(attest_result_status(&result, CHECK_SECURE_BOOT), STATUS_FAIL);
    m->in.require_secure_boot = false;
    m->in.allow_quote_only = true;
    static const char *const rules[] = {
        "\"requireSecureBoot\":true",
        "\"forbiddenStates\":[\"uefiDebugMode\"]",
        "\"forbiddenStates\":[\"dmaProtectionDisabled\"]",
        "\"signers\":{\"forbidden\":[\"CN=a\"]}",
        "\"sbatLevel\":\"2000010100\"",
        "\"revocations\":[{\"name\":\"r\",\"hashes\":[\"" OTHER "\"]}]",
        "\"allowedEvents\":[{\"pcr\":4,\"digests\":[\"" OTHER "\"]}]",
        "\"kernelCommandLines\":[\"*\"]",
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const struct attest_finding *f = judge_by(rules[i]);
        assert_non_null(f);
        assert_string_equal(f->reason, "rule_not_proven");
        assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    }
    /* The quote alone proves these. */
    assert_null(judge_by(TEXT("\"firmware\":[\"%s\"],\"goldenPcrs\":[{\"name\":\"a\",\"pcrs\":"
                              "{\"7\":\"%s\"}}]",
                              pcr_hex(0), pcr_hex(7))));
}

static void globs(void **state)
{
    static const struct {
        const char *glob, *text;
        bool matches;
    } rows[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"a", "a", true},
        {"a", "ab", false},
        {"a*", "a", true},
        {"*b", "aab", true},
        {"*b", "aba", false},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"a*b*c", "axbyc", true},
        {"a*b*c", "axcyb", false},
        {"**", "anything", true},
        {"[a]", "a", false},
        {"a.c", "abc", false},
        /* one parameter stays one */
        {"root=* ro", "root=/dev/sda1 ro", true},
        {"root=* ro", "root=/dev/sda1 init=/bin/sh ro", false},
        {"root=* ro", "root=/dev/sda1?init=/bin/sh ro", false}, /* a tab, as it is shown */
        {"root=? ro", "root=  ro", false},
        {"root=?ro", "root=?ro", false},
        {"root=** ro", "root=/dev/sda1 init=/bin/sh ro", true},
        {"** ro", " ro", true},
        {"a** *c", "a b bc c", true},
        {"**x*y", "x y xy", true},
        {"**x*y", "x y x y", false},
        {"***", "a b", true},
        {"*", "a b", false},
        {"a*  *b", "ax  yb", true},
        {"*a*?", "xay", true},
        {"*a*?", "xa", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(policy_glob_matches(rows[i].glob, rows[i].text), rows[i].matches);
    /* The worst that a policy and a guest can do to it together stays cheap. */
    char text[4096];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_false(policy_glob_matches("*a*a*a*a*a*a*a*ab", text));
    assert_false(policy_glob_matches("**a**a**a**a**a*a*ab", text));
    assert_true(policy_glob_matches("**a**a**a**a**a*a*a", text));
}

/* The glob as it is described, without a thought of what it costs. */
static bool glob_by_definition(const char *glob, const char *text)
{
    bool word = *text && *text != ' ' && *text != '?';
    if (glob[0] == '*' && glob[1] == '*')
        return glob_by_definition(glob + 2, text) || (*text && glob_by_definition(glob, text + 1));
    if (*glob == '*')
        return glob_by_definition(glob + 1, text) || (word && glob_by_definition(glob, text + 1));
    if (!*glob || !*text)
        return *glob == *text;
    return (*glob == '?' ? word : *glob == *text) && glob_by_definition(glob + 1, text + 1);
}

/* The n-th text over the letters: 0 is "". */
static const char *nth_text(const char *letters, unsigned n, char out[8])
{
    size_t base = strlen(letters), at = 0;
    for (; n; n = (n - 1) / (unsigned)base)
        out[at++] = letters[(n - 1) % base];
    out[at] = 0;
    return out;
}

static void globs_mean_what_is_said_of_them(void **state)
{
    char glob[8], text[8];
    for (unsigned g = 0; g < 1365; g++)      /* up to five of four letters */
        for (unsigned t = 0; t < 121; t++) { /* up to four of three */
            nth_text("a *?", g, glob);
            nth_text("a ?", t, text);
            if (policy_glob_matches(glob, text) != glob_by_definition(glob, text))
                fail_msg("'%s' and '%s'", glob, text);
        }
}

/* ---- baselines ---- */

static struct attest_golden golden_of(uint32_t mask)
{
    struct attest_golden g = {.bank = BANK_SHA256, .mask = mask};
    for (int i = 0; i < 24; i++)
        memcpy(g.values[i], m->pcrs[i], 32);
    return g;
}

static void baselines(void **state)
{
    make_boot();
    struct attest_golden sets[2] = {golden_of(0x95), golden_of(0x95)};
    memset(sets[0].values[4], 9, 32);
    struct attest_baseline b = {sets, 2};
    m->in.baseline = &b;
    keeps("\"baseline\":\"enforce\"");
    b.n = 1;
    violates("\"baseline\":\"enforce\"", "baseline_mismatch", 4);
    keeps("\"baseline\":\"off\"");
    assert_null(judge_by("\"baseline\":\"warn\""));
    assert_true(has(CHECK_POLICY, STATUS_WARN, "baseline_mismatch"));
    m->in.baseline = NULL;
    violates("\"baseline\":\"enforce\"", "baseline_not_confirmed", ATTEST_NO_INDEX);
    assert_null(judge_by("\"baseline\":\"warn\""));
    assert_true(has(CHECK_POLICY, STATUS_WARN, "baseline_not_confirmed"));
    /* A set that leaves a loader open would take any: it counts as none. */
    sets[0] = golden_of(0x85);
    m->in.baseline = &b;
    violates("\"baseline\":\"enforce\"", "baseline_not_confirmed", ATTEST_NO_INDEX);
    m->in.baseline = NULL;
    assert_int_equal(attest_baseline_least(), 0x95);
    assert_int_equal(attest_baseline_pcrs(), 1u << 0 | 1u << 2 | 1u << 4 | 1u << 7 | 1u << 14);
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++)
        assert_int_equal(!attest_baseline_why_not(i), attest_baseline_pcrs() >> i & 1);
}

static struct boot_events events_of(struct boot_set *set)
{
    struct boot_events e;
    struct err_info why;
    assert_int_equal(judge(), OK);
    assert_null(boot_set_of(&result, m->arena, set));
    assert_int_equal(
        json_decode_text(BYTES_STR(set->events), &boot_events_schema, m->arena, &e, &why), OK);
    return e;
}

static bool has_description(const struct boot_events *e, const char *text)
{
    const struct boot_event *items = e->events.items;
    for (size_t i = 0; i < e->events.n; i++)
        if (items[i].description && strcmp(items[i].description, text) == 0)
            return true;
    return false;
}

static size_t others_of(uint32_t pcrs)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_events; i++)
        n += !(pcrs >> m->events[i].pcr & 1) || m->events[i].type == EV_NO_ACTION;
    return n;
}

static void a_boot_that_is_not_wholly_explained_is_no_model(void **state)
{
    struct boot_set set;
    make_boot();
    m->selected |= 1u << 14;
    make_build(m);
    (void)events_of(&set);
    assert_int_equal(set.pcrs_mask, 0x4095);
    for (unsigned pcr = 2; pcr <= 4; pcr += 2) { /* a remark, and the boot is trusted */
        make_boot();
        make_add(m, pcr, 0x90000001, BYTES_STR("x"));
        make_build(m);
        assert_int_equal(judge(), OK);
        assert_true(has(CHECK_LOG_CONTENT, STATUS_WARN, "unknown_event_type"));
        assert_int_equal(result.verdict, VERDICT_TRUSTED);
        assert_non_null(boot_set_of(&result, m->arena, &set));
    }
    make_boot();
    m->selected |= 1u << 14;
    make_add(m, 14, EV_IPL, BYTES_STR("MokList"));
    make_build(m);
    (void)events_of(&set);
    m->events[m->n_events - 1].pcr = 15; /* what was extended is not in the log */
    make_log(m);
    m->ev.event_log = m->log;
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_non_null(boot_set_of(&result, m->arena, &set));
}

/* Whoever extends enough after boot could push a loader out of what is shown and taken as good. */
static void a_boot_that_cannot_be_shown_whole_is_no_model(void **state)
{
    struct boot_set set;
    for (int more = 0; more < 2; more++) {
        make_boot();
        int room = BOOT_EVENTS_MAX - (int)m->n_events + (int)others_of(attest_baseline_pcrs());
        m->selected |= 1u << 14;
        for (int i = 0; i < room + more; i++)
            make_add(m, 14, EV_IPL, BYTES_STR("MokList"));
        make_build(m);
        assert_int_equal(judge(), OK);
        assert_int_equal(result.verdict, VERDICT_TRUSTED);
        const char *why = boot_set_of(&result, m->arena, &set);
        if (more)
            assert_non_null(strstr(why, "more events"));
        else
            assert_null(why);
    }
}

/* A type is nobody's word: in words, too. */
static void an_image_under_another_type_is_told_as_one(void **state)
{
    struct boot_set set;
    make_boot();
    make_add(m, 4, EV_EFI_HANDOFF_TABLES, BYTES_STR("evil"));
    make_build(m);
    struct boot_events e = events_of(&set);
    const struct boot_event *items = e.events.items, *last = NULL;
    for (size_t i = 0; i < e.events.n; i++)
        if (items[i].pcr == 4)
            last = &items[i];
    assert_string_equal(last->description, "an image that the log calls EV_EFI_HANDOFF_TABLES");
    assert_true(has_description(&e, "SecureBoot (on)"));
    assert_true(has_description(&e, "PK (certificates: 1, hashes: 0, others: 0)"));
}

static void a_difference_is_told_event_by_event(void **state)
{
    struct boot_set before, after, again;
    make_boot();
    struct boot_events was = events_of(&before);
    assert_int_equal(was.events.n > 10, true);
    (void)events_of(&again);
    assert_string_equal(before.digest, again.digest);
    find_last(4, EV_EFI_BOOT_SERVICES_APPLICATION)->measured = BYTES_STR("another shim");
    make_add(m, 4, EV_EFI_BOOT_SERVICES_APPLICATION, BYTES_STR("grub"));
    make_build(m);
    struct boot_events is = events_of(&after);
    assert_string_not_equal(before.digest, after.digest);
    uint8_t digest[32];
    char other_hex[65];
    hash_digest(BANK_SHA256, BYTES_STR("another shim"), digest);
    hex_encode(BYTES_OF(digest), other_hex);
    struct attest_policy *names =
        compile(TEXT("\"knownImages\":[{\"name\":\"shim 15.8\",\"digest\":\"%s\"},{\"name\":\"shim "
                     "16.1\",\"digest\":\"%s\"}]",
                     app_hex, other_hex));
    struct boot_differences d = boot_compare(&was, &is, names, m->arena);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.items[0].text, "shim 15.8 replaced by shim 16.1, signer unchanged");
    assert_string_equal(d.items[0].kind, "replaced");
    assert_int_equal(d.items[0].pcr, 4);
    assert_string_equal(d.items[1].kind, "added");
    d = boot_compare(&is, &was, NULL, m->arena);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.items[1].kind, "removed");
    assert_int_equal(boot_compare(&is, &is, NULL, m->arena).n, 0);
    struct boot_event *first = is.events.items; /* another of the same name vouched, too */
    while (first->pcr != 7 || !first->signer)
        first++;
    first->digest = other_hex;
    d = boot_compare(&was, &is, names, m->arena);
    assert_string_equal(d.items[0].text,
                        "shim 15.8 replaced by shim 16.1, signer uncertain: PCR 7 has a new one");
    is = events_of(&after);
    boot_events_keep(&is, 1u << 7);
    boot_events_keep(&was, 1u << 7);
    assert_int_equal(boot_compare(&was, &is, NULL, m->arena).n, 0);
    attest_policy_unref(names);
}

/* ---- what is kept, judged again ---- */

static const char *written(void (*write)(struct jw *, const struct attest_result *))
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    write(&w, &result);
    const char *text = arena_strndup(m->arena, out.data, out.len);
    buf_free(&out);
    return text;
}

static void review_is_what_verify_would_say(void **state)
{
    static const char *const rules[] = {
        "\"requireSecureBoot\":true",
        "\"firmware\":[\"" OTHER "\"]",
        "\"signers\":{\"required\":[\"CN=Test vTPM CA - 01\"]}",
        "\"signers\":{\"required\":[\"CN=Nobody\"]}",
        "\"kernelCommandLines\":[\"root=*\"],\"sbatLevel\":\"2023012900\"",
        "\"kernelCommandLines\":[\"x\"],\"forbiddenStates\":[\"testSigning\"]",
        "\"allowQuoteOnly\":false",
    };
    for (int kind = 0; kind < 4; kind++) {
        make_boot();
        m->send_log = kind != 1;
        m->in.require_secure_boot = kind != 1;
        if (kind == 2) /* not trusted for another reason: no policy makes it so */
            find_last(7, EV_SEPARATOR)->data = BYTES_STR("\1\1\1\1");
        if (kind == 3) /* nothing is proven */
            m->signer = m->other_key;
        make_build(m);
        assert_int_equal(judge(), OK);
        const struct attest_record record = {
            .verdict = attest_verdict_name(result.verdict),
            .checks = written(attest_write_checks),
            .claims = written(attest_write_claims),
            .has_event_log = m->send_log,
            .event_log = m->send_log ? m->log : (struct bytes){0},
        };
        for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
            struct attest_policy *p = compile(rules[i]);
            struct attest_result review;
            struct err_info e = {0};
            m->in.policy = p;
            assert_int_equal(judge(), OK);
            assert_int_equal(attest_review(&m->in, &record, m->arena, &review, &e), OK);
            m->in.policy = NULL;
            const char *want = written(attest_write_checks);
            enum attest_verdict verdict = result.verdict;
            result = review;
            assert_string_equal(written(attest_write_checks), want);
            assert_int_equal(review.verdict, verdict);
            attest_policy_unref(p);
        }
    }
}

static void records_that_are_none(void **state)
{
    make_boot();
    static const struct attest_record bad[] = {
        {.verdict = "trusted", .checks = "", .claims = "{}"},
        {.verdict = "trusted", .checks = "{}", .claims = "{}"},
        {.verdict = "trusted", .checks = "[{\"name\":\"x\",\"status\":\"pass\"}]", .claims = "{}"},
        {.verdict = "trusted", .checks = "[]", .claims = "[]"},
        {.verdict = "trusted", .checks = "[]", .claims = "{\"profile\":\"tpm\"}"},
        {.verdict = "trusted",
         .checks = "[]",
         .claims = "{\"profile\":\"tpm\",\"pcrs\":{\"sha256\":{\"99\":\"00\"}}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err_info e = {0};
        assert_int_equal(attest_review(&m->in, &bad[i], m->arena, &result, &e), ERR_INTERNAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_rule_changes_nothing),
        cmocka_unit_test(plain_rules),
        cmocka_unit_test(golden_sets),
        cmocka_unit_test(signers_and_sbat),
        cmocka_unit_test(a_signer_is_named_by_whole_parts),
        cmocka_unit_test(what_is_no_certificate_vouches_too),
        cmocka_unit_test(more_authorities_than_are_kept_prove_nothing),
        cmocka_unit_test(a_verdict_needs_its_proofs),
        cmocka_unit_test(revocations),
        cmocka_unit_test(no_policy_passes_by_a_log_that_lies),
        cmocka_unit_test(certificates_are_revoked_by_the_hash_of_what_was_signed),
        cmocka_unit_test(hashes_of_no_certificate),
        cmocka_unit_test(events_and_command_lines),
        cmocka_unit_test(states_of_the_guest),
        cmocka_unit_test(without_a_log),
        cmocka_unit_test(globs),
        cmocka_unit_test(globs_mean_what_is_said_of_them),
        cmocka_unit_test(baselines),
        cmocka_unit_test(a_boot_that_is_not_wholly_explained_is_no_model),
        cmocka_unit_test(a_boot_that_cannot_be_shown_whole_is_no_model),
        cmocka_unit_test(an_image_under_another_type_is_told_as_one),
        cmocka_unit_test(a_difference_is_told_event_by_event),
        cmocka_unit_test(review_is_what_verify_would_say),
        cmocka_unit_test(records_that_are_none),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
