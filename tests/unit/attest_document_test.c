/*
 * The attested document of Azure's metadata service: an honest one proves its VM, and whatever is changed
 * in it, each thing alone and honestly signed where that is possible, is refused for that reason.
 */
#include "attest/document.h"
#include "attest/wire.h"
#include "tests/unit/attest_judge.h"

#include <openssl/pkcs7.h>

#define VM           "70f5ce9a-2bdc-4b6b-8401-e9b964d3aeb7"
#define SUBSCRIPTION "11111111-2222-4333-8444-555555555555"
#define ASKED        (-60L) /* the challenge was made a minute ago */
#define HOURS        3600L

static struct attest_anchors *anchors;
static EVP_PKEY *signer_key;

static int set_up(void **state)
{
    setup(state);
    const char *files[] = {m->anchor_file};
    const struct attest_anchors_options o = {.files = files, .n_files = 1};
    signer_key = make_rsa(2048);
    return attest_anchors_open(&o, &anchors, &error) != OK;
}

static int tear_down(void **state)
{
    attest_anchors_free(anchors);
    EVP_PKEY_free(signer_key);
    return teardown(state);
}

/* What is in the document, and who signs it how; times in seconds from now. */
static struct {
    const char *vm, *subscription, *nonce, *created_text, *expires_text;
    long created, expires;
    const char *text; /* instead of all these */
    struct make_cert cert;
    X509 *issuer;
    EVP_PKEY *issuer_key;
    const EVP_MD *md;
    int certificates, signers;
    int flags;
} k;

static char own_nonce[WIRE_DOCUMENT_NONCE_SIZE];

static void reset(void)
{
    make_reset(m);
    wire_document_nonce(BYTES_OF(make_nonce), own_nonce);
    memset(&k, 0, sizeof k);
    k.vm = VM;
    k.subscription = SUBSCRIPTION;
    k.nonce = own_nonce;
    k.created = ASKED + 1;
    k.expires = 6 * HOURS;
    k.cert = (struct make_cert){.subject = "metadata.azure.com",
                                .usage = "critical,digitalSignature",
                                .from = -MAKE_DAY,
                                .to = MAKE_DAY,
                                .md = EVP_sha256(),
                                .more = NID_subject_alt_name,
                                .more_value = "DNS:metadata.azure.com"};
    k.issuer = m->ca;
    k.issuer_key = m->ca_key;
    k.md = EVP_sha256();
    k.certificates = k.signers = 1;
}

static const char *time_text(long seconds)
{
    time_t t = (time_t)(MAKE_NOW / 1000 + seconds);
    struct tm tm;
    assert_non_null(gmtime_r(&t, &tm));
    return arena_printf(m->arena, "%02d/%02d/%02d %02d:%02d:%02d -0000", tm.tm_mon + 1, tm.tm_mday,
                        tm.tm_year % 100, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static const char *content(void)
{
    if (k.text)
        return k.text;
    json_t *v = json_pack("{s{ss* ss*} ss* ss* ss*}", "timeStamp", "createdOn",
                          k.created_text ? k.created_text : time_text(k.created), "expiresOn",
                          k.expires_text ? k.expires_text : time_text(k.expires), "vmId", k.vm,
                          "subscriptionId", k.subscription, "nonce", k.nonce);
    char *text = json_dumps(v, JSON_COMPACT);
    const char *kept = arena_strdup(m->arena, text);
    free(text);
    json_decref(v);
    return kept;
}

static struct bytes der_of(PKCS7 *p7)
{
    unsigned char *der = NULL;
    int n = i2d_PKCS7(p7, &der);
    struct bytes out = arena_copy(m->arena, BYTES(der, (size_t)n));
    OPENSSL_free(der);
    return out;
}

static struct bytes make_document(void)
{
    const char *text = content();
    BIO *in = BIO_new_mem_buf(text, -1);
    PKCS7 *p7 = PKCS7_sign(NULL, NULL, NULL, in, PKCS7_PARTIAL | PKCS7_BINARY | k.flags);
    X509 *signer = make_x509(&k.cert, signer_key, k.issuer, k.issuer_key);
    for (int i = 0; i < k.signers; i++)
        if (!PKCS7_sign_add_signer(p7, signer, signer_key, k.md, PKCS7_NOCERTS | k.flags))
            abort();
    if (k.certificates > 0)
        PKCS7_add_certificate(p7, signer);
    for (int i = 1; i < k.certificates; i++)
        PKCS7_add_certificate(p7, m->root);
    PKCS7_add_certificate(p7, k.issuer);
    if (PKCS7_final(p7, in, PKCS7_BINARY | k.flags) != 1)
        abort();
    struct bytes der = der_of(p7);
    X509_free(signer);
    PKCS7_free(p7);
    BIO_free(in);
    return der;
}

static struct attest_document document;

static const char *verify(struct bytes der)
{
    const struct attest_document_input in = {.der = der,
                                             .anchors = anchors,
                                             .vm_id = VM,
                                             .nonce = BYTES_OF(make_nonce),
                                             .asked_at = MAKE_NOW + ASKED * 1000,
                                             .now = MAKE_NOW};
    return attest_document_verify(&in, m->arena, &document);
}

static void assert_proves(void)
{
    const char *why = verify(make_document());
    if (why)
        print_message("  %s\n", why);
    assert_null(why);
}

static void assert_refused(const char *reason)
{
    const char *why = verify(make_document());
    assert_non_null(why);
    assert_string_equal(why, reason);
    assert_non_null(attest_reason_find(why));
}

/* ---- what it says ---- */

static void an_honest_document_proves_its_vm(void **state)
{
    reset();
    assert_proves();
    assert_string_equal(document.vm_id, VM);
    assert_string_equal(document.subscription_id, SUBSCRIPTION);
    assert_int_equal(document.created, MAKE_NOW + k.created * 1000);
    assert_int_equal(document.expires, MAKE_NOW + k.expires * 1000);
    k.vm = "70F5CE9A-2BDC-4B6B-8401-E9B964D3AEB7";
    assert_proves();
    k.vm = "80f5ce9a-2bdc-4b6b-8401-e9b964d3aeb7";
    assert_refused("document_vm");
}

static void it_is_for_this_challenge(void **state)
{
    reset();
    k.nonce = "0123456789";
    assert_refused("document_nonce");
    k.nonce = "";
    assert_refused("document_nonce");
    own_nonce[9] = 0; /* a prefix */
    k.nonce = own_nonce;
    assert_refused("document_nonce");
}

static void it_was_made_for_it_and_is_still_good(void **state)
{
    static const struct {
        long created, expires;
        const char *reason;
    } cases[] = {
        {ASKED, 0, "document_expired"},
        {ASKED, 1, NULL},
        {ASKED - 300, HOURS, NULL}, /* clocks may differ by five minutes */
        {ASKED - 301, HOURS, "document_time"},
        {300, HOURS, NULL},
        {301, HOURS, "document_time"},
        {0, 24 * HOURS, NULL},
        {0, 24 * HOURS + 1, "document_time"},
        {200, 100, "document_time"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        reset();
        k.created = cases[i].created;
        k.expires = cases[i].expires;
        if (cases[i].reason)
            assert_refused(cases[i].reason);
        else
            assert_proves();
    }
}

static void its_times_are_of_one_form(void **state)
{
    static const char *const bad[] = {
        "13/28/26 20:26:40 -0000",  "00/28/26 20:26:40 -0000",
        "05/00/26 20:26:40 -0000",  "05/32/26 20:26:40 -0000",
        "05/28/26 24:26:40 -0000",  "05/28/26 20:60:40 -0000",
        "05/28/26 20:26:61 -0000",  "05/28/26 20:26:40 +0100",
        "5/28/26 20:26:40 -0000",   "05-28/26 20:26:40 -0000",
        "05/28-26 20:26:40 -0000",  "05/28/26T20:26:40 -0000",
        "05/28/26 20-26:40 -0000",  "05/28/26 20:26-40 -0000",
        "05/28/26 20:26:4: -0000",  ":5/28/26 20:26:40 -0000",
        "/5/28/26 20:26:40 -0000",  "0:/28/26 20:26:40 -0000",
        "0//28/26 20:26:40 -0000",  "05/28/26 20:26:40",
        "05/28/26 20:26:40 -0000 ", "",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        reset();
        k.created_text = bad[i];
        assert_refused("document_malformed");
        k.created_text = NULL;
        k.expires_text = bad[i];
        assert_refused("document_malformed");
    }
    /* the last and the first moment that the form has: good, but not within a day */
    reset();
    k.expires_text = "12/31/26 23:59:60 -0000";
    assert_refused("document_time");
    k.expires_text = "01/01/27 00:00:00 -0000";
    assert_refused("document_time");
    reset();
    k.created_text = "05/28/26 20:26:40 +0000";
    assert_proves();
    assert_int_equal(document.created, MAKE_NOW);
}

static void nothing_is_missing_in_it(void **state)
{
    char wide[4200];
    reset();
    k.vm = NULL;
    assert_refused("document_malformed");
    reset();
    k.subscription = NULL;
    assert_refused("document_malformed");
    reset();
    k.nonce = NULL;
    assert_refused("document_malformed");
    reset();
    k.text = "no JSON";
    assert_refused("document_malformed");
    reset();
    const char *good = content();
    for (int over = 0; over < 2; over++) { /* 4 KiB and no byte more */
        snprintf(wide, sizeof wide, "%*s", 4096 + over, good);
        k.text = wide;
        if (over)
            assert_refused("document_malformed");
        else
            assert_proves();
    }
}

/* ---- who signed it ---- */

static void only_the_service_signs(void **state)
{
    static const struct {
        const char *names;
        bool good;
    } cases[] = {
        {"DNS:westeurope.metadata.azure.com", true},
        {"DNS:METADATA.azure.us", true},
        {"DNS:metadata.azure.cn,DNS:x.metadata.azure.com", true},
        {"DNS:xmetadata.azure.com", false},
        {"DNS:metadata.azure.com.example", false},
        {"DNS:azure.com", false},
        {"DNS:metadata.azure.com,DNS:*.azure.com", false},
        {"DNS:www.example,DNS:metadata.azure.com", false},
        {"URI:metadata.azure.com", false},
        {NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        reset();
        k.cert.more = cases[i].names ? NID_subject_alt_name : 0;
        k.cert.more_value = cases[i].names;
        if (cases[i].good)
            assert_proves();
        else
            assert_refused("document_signer");
    }
}

static void its_certificate_leads_to_an_anchor(void **state)
{
    reset();
    k.cert.to = -1;
    assert_refused("document_signer_expired");
    reset();
    k.cert.from = 60;
    assert_refused("document_signer_expired");
    reset();
    struct make_cert root = make_ca_cert("Test vTPM Root"), ca = make_ca_cert("Test vTPM CA - 01");
    X509 *fake_root = make_x509(&root, m->other_key, NULL, m->other_key);
    k.issuer = make_x509(&ca, m->other_key, fake_root, m->other_key);
    k.issuer_key = m->other_key;
    assert_refused("document_chain");
    X509_free(k.issuer);
    X509_free(fake_root);
    reset();
    k.cert.md = EVP_sha1();
    assert_refused("document_chain");
}

static void without_an_anchor_nothing_is_believed(void **state)
{
    struct attest_anchors *none, *kept = anchors;
    const struct attest_anchors_options o = {.n_files = 0};
    reset();
    assert_int_equal(attest_anchors_open(&o, &none, &error), OK);
    anchors = none;
    assert_refused("document_not_accepted");
    anchors = NULL;
    assert_refused("document_not_accepted");
    attest_anchors_free(none);
    anchors = kept;
}

static void a_digest_must_mean_something(void **state)
{
    reset();
    k.md = EVP_sha384();
    assert_proves();
    k.md = EVP_sha512();
    assert_proves();
    k.md = EVP_sha1();
    assert_refused("document_signature");
}

/* ---- its envelope ---- */

static void it_has_one_signer_and_few_certificates(void **state)
{
    reset();
    k.signers = 2;
    assert_refused("document_malformed");
    k.signers = 0;
    assert_refused("document_malformed");
    reset();
    k.certificates = 7; /* and the issuer's */
    assert_proves();
    k.certificates = 8;
    assert_refused("document_malformed");
    k.certificates = 0; /* the signer's is not among them */
    assert_refused("document_signature");
}

static void its_content_is_inside(void **state)
{
    reset();
    k.flags = PKCS7_DETACHED;
    assert_refused("document_malformed");
    PKCS7 *p7 = PKCS7_new();
    PKCS7_set_type(p7, NID_pkcs7_data);
    assert_string_equal(verify(der_of(p7)), "document_malformed");
    PKCS7_free(p7);
}

static void each_byte_of_it_counts(void **state)
{
    reset();
    struct bytes der = make_document();
    assert_null(verify(der));
    const uint8_t *nonce = memmem(der.data, der.len, "\"nonce\"", 7);
    assert_non_null(nonce);
    assert_string_equal(verify(edited(der, (size_t)(nonce - der.data) + 9, 'x')),
                        "document_signature");
    for (size_t i = 0; i < der.len; i += 29)
        assert_non_null(verify(BYTES(der.data, i)));
    uint8_t *longer = arena_alloc(m->arena, EVIDENCE_DOCUMENT_MAX + 1);
    memset(longer, 0, EVIDENCE_DOCUMENT_MAX + 1);
    memcpy(longer, der.data, der.len);
    assert_string_equal(verify(BYTES(longer, der.len + 1)), "document_malformed");
    assert_string_equal(verify(BYTES(longer, EVIDENCE_DOCUMENT_MAX + 1)), "document_malformed");
}

/* Whoever signed it: what is read is what was signed. */
static void reading_trusts_nobody(void **state)
{
    reset();
    k.cert.more_value = "DNS:www.example";
    struct bytes der = make_document();
    assert_null(attest_document_read(der, m->arena, &document));
    assert_string_equal(document.nonce, own_nonce);
    assert_non_null(attest_document_read(BYTES(der.data, der.len - 1), m->arena, &document));
    k.text = "{}";
    assert_string_equal(attest_document_read(make_document(), m->arena, &document),
                        "document_malformed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_document_proves_its_vm),
        cmocka_unit_test(it_is_for_this_challenge),
        cmocka_unit_test(it_was_made_for_it_and_is_still_good),
        cmocka_unit_test(its_times_are_of_one_form),
        cmocka_unit_test(nothing_is_missing_in_it),
        cmocka_unit_test(only_the_service_signs),
        cmocka_unit_test(its_certificate_leads_to_an_anchor),
        cmocka_unit_test(without_an_anchor_nothing_is_believed),
        cmocka_unit_test(a_digest_must_mean_something),
        cmocka_unit_test(it_has_one_signer_and_few_certificates),
        cmocka_unit_test(its_content_is_inside),
        cmocka_unit_test(each_byte_of_it_counts),
        cmocka_unit_test(reading_trusts_nobody),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
