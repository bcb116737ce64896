/*
 * The trust as a set of files: read again, it takes the old one's place and forgets what was verified
 * with it; what cannot be read changes nothing. CRLs are heeded.
 */
#include "attest/ekcert.h"
#include "tests/unit/attest_judge.h"

#include <sys/stat.h>

static char folder[64], ca_file[96], upper_file[96], crl_file[96];

static struct attest_trust *open_trust(void)
{
    struct err_info e;
    struct attest_trust *t = NULL;
    const char *anchors[] = {m->anchor_file};
    const struct attest_trust_options o = {.anchors = anchors, .n_anchors = 1, .trust_dir = folder};
    assert_int_equal(attest_trust_open(&o, &t, &e), OK);
    return t;
}

static int set_up(void **state)
{
    setup(state);
    snprintf(folder, sizeof folder, "/tmp/tlgate-trust-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(ca_file, sizeof ca_file, "%s/ca.pem", folder);
    snprintf(upper_file, sizeof upper_file, "%s/upper.pem", folder);
    snprintf(crl_file, sizeof crl_file, "%s/ca.crl", folder);
    return 0;
}

static int tear_down(void **state)
{
    unlink(ca_file);
    unlink(upper_file);
    unlink(crl_file);
    rmdir(folder);
    return teardown(state);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static bool reload(struct attest_trust *t)
{
    bool changed = false;
    struct err_info e;
    assert_int_equal(attest_trust_reload(t, &changed, &e), OK);
    return changed;
}

/* Evidence without a chain, so that the issuer must come from the folder. */
static enum attest_verdict verdict_with(struct attest_trust *t)
{
    m->in.trust = t;
    assert_int_equal(judge(), OK);
    return result.verdict;
}

static void build_leaf(void)
{
    make_reset(m);
    m->send_chain = false;
    make_build(m);
}

static void issuers_come_and_go(void **state)
{
    struct attest_trust *kept = m->in.trust, *t = open_trust();
    int64_t root_only = attest_trust_expires(t);
    build_leaf();
    assert_int_equal(verdict_with(t), VERDICT_INDETERMINATE);
    assert_false(reload(t));
    make_write_pem(ca_file, m->ca);
    assert_true(reload(t));
    assert_false(reload(t));
    assert_int_equal(verdict_with(t), VERDICT_TRUSTED);
    assert_true(attest_trust_expires(t) <= root_only);
    unlink(ca_file);
    assert_true(reload(t)); /* and what was verified with it is forgotten */
    assert_int_equal(verdict_with(t), VERDICT_INDETERMINATE);
    m->in.trust = kept;
    attest_trust_free(t);
}

static void what_cannot_be_read_changes_nothing(void **state)
{
    bool changed = true;
    struct err_info e;
    make_write_pem(ca_file, m->ca);
    struct attest_trust *kept = m->in.trust, *t = open_trust();
    build_leaf();
    write_text(ca_file, "no certificate");
    assert_int_equal(attest_trust_reload(t, &changed, &e), ERR_CONFIG);
    assert_false(changed);
    assert_int_equal(verdict_with(t), VERDICT_TRUSTED);
    make_write_pem(ca_file, m->ca);
    write_text(crl_file, "no CRL");
    assert_int_equal(attest_trust_reload(t, &changed, &e), ERR_CONFIG);
    assert_int_equal(verdict_with(t), VERDICT_TRUSTED);
    unlink(crl_file);
    unlink(ca_file);
    m->in.trust = kept;
    attest_trust_free(t);
}

#define BARRED "0123456789ab.TrustedVM.Azure.windows.net"
#define SPARED "0123456789ac.TrustedVM.Azure.windows.net"

static enum attest_verdict verdict_of_leaf(struct attest_trust *t, const char *subject)
{
    build_leaf();
    m->leaf.subject = subject;
    make_build(m);
    return verdict_with(t);
}

/* Where a CA above the leaf's issuer says which names there may be, that holds for each leaf, also once the
 * issuer is known. */
static void names_are_constrained_from_above(void **state)
{
    struct make_cert upper = make_ca_cert("Test vTPM Policy CA"),
                     lower = make_ca_cert("Test vTPM CA");
    upper.names = "critical,excluded;DNS:" BARRED;
    X509 *issuer = m->ca, *above = make_x509(&upper, m->other_key, m->root, m->root_key);
    m->ca = make_x509(&lower, m->ca_key, above, m->other_key);
    make_write_pem(ca_file, m->ca);
    make_write_pem(upper_file, above);
    struct attest_trust *kept = m->in.trust, *t = open_trust();
    assert_int_equal(verdict_of_leaf(t, BARRED), VERDICT_UNTRUSTED);
    assert_int_equal(verdict_of_leaf(t, SPARED), VERDICT_TRUSTED);
    assert_int_equal(verdict_of_leaf(t, BARRED), VERDICT_UNTRUSTED);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "chain_invalid"));
    X509_free(m->ca);
    X509_free(above);
    m->ca = issuer;
    m->in.trust = kept;
    attest_trust_free(t);
    unlink(ca_file);
    unlink(upper_file);
}

/* What only a whole path can judge of a leaf is judged by one, whether the issuer is known or not. */
static void a_leaf_that_asks_for_more_goes_the_long_way(void **state)
{
    static const struct {
        int nid;
        const char *value;
    } asked[] = {{NID_proxyCertInfo, "critical,language:id-ppl-anyLanguage"},
                 {NID_sbgp_autonomousSysNum, "AS:64496"}};
    make_write_pem(ca_file, m->ca);
    struct attest_trust *kept = m->in.trust, *t = open_trust();
    assert_int_equal(verdict_of_leaf(t, SPARED), VERDICT_TRUSTED);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        build_leaf();
        m->leaf.more = asked[i].nid;
        m->leaf.more_value = asked[i].value;
        make_build(m);
        assert_int_equal(verdict_with(t), VERDICT_UNTRUSTED);
        assert_non_null(find(CHECK_AK_CHAIN, STATUS_FAIL));
    }
    m->in.trust = kept;
    attest_trust_free(t);
    unlink(ca_file);
}

enum scope { SCOPE_ALL, SCOPE_CAS, SCOPE_POINT };

/* RFC 5280, 5.2.5: which certificates the CRL is about. */
static void set_scope(X509_CRL *crl, enum scope scope)
{
    X509V3_CTX ctx;
    ISSUING_DIST_POINT *idp = ISSUING_DIST_POINT_new();
    if (scope == SCOPE_CAS)
        idp->onlyCA = 0xff;
    if (scope == SCOPE_POINT) {
        GENERAL_NAME *uri =
            a2i_GENERAL_NAME(NULL, NULL, &ctx, GEN_URI, "http://crl.example/1.crl", 0);
        idp->distpoint = DIST_POINT_NAME_new();
        idp->distpoint->type = 0;
        idp->distpoint->name.fullname = GENERAL_NAMES_new();
        sk_GENERAL_NAME_push(idp->distpoint->name.fullname, uri);
    }
    if (scope != SCOPE_ALL)
        assert_int_equal(X509_CRL_add1_ext_i2d(crl, NID_issuing_distribution_point, idp, 1, 0), 1);
    ISSUING_DIST_POINT_free(idp);
}

/* A CRL of the issuing CA that lists the serial number, in force from `from` to `to` (seconds). */
static void write_scoped_crl(const ASN1_INTEGER *serial, long from, long to, EVP_PKEY *key,
                             enum scope scope)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *at = ASN1_TIME_new();
    time_t now = (time_t)(MAKE_NOW / 1000);
    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(m->ca));
    X509_CRL_set1_lastUpdate(crl, X509_time_adj(at, from, &now));
    X509_CRL_set1_nextUpdate(crl, X509_time_adj(at, to, &now));
    X509_REVOKED *revoked = X509_REVOKED_new();
    X509_REVOKED_set_serialNumber(revoked, (ASN1_INTEGER *)(uintptr_t)serial);
    X509_REVOKED_set_revocationDate(revoked, X509_time_adj(at, from, &now));
    X509_CRL_add0_revoked(crl, revoked);
    set_scope(crl, scope);
    assert_true(X509_CRL_sign(crl, key, EVP_sha256()) > 0);
    BIO *out = BIO_new_file(crl_file, "wb");
    assert_int_equal(i2d_X509_CRL_bio(out, crl), 1);
    BIO_free(out);
    ASN1_TIME_free(at);
    X509_CRL_free(crl);
}

static void write_crl(const ASN1_INTEGER *serial, long from, long to, EVP_PKEY *key)
{
    write_scoped_crl(serial, from, to, key, SCOPE_ALL);
}

static void crls_are_heeded(void **state)
{
    struct attest_trust *kept = m->in.trust, *t = open_trust();
    build_leaf();
    make_write_pem(ca_file, m->ca);
    assert_true(reload(t));
    assert_int_equal(verdict_with(t), VERDICT_TRUSTED);
    const unsigned char *der = m->ev.ak_certificate.data;
    X509 *leaf = d2i_X509(NULL, &der, (long)m->ev.ak_certificate.len);
    write_crl(X509_get0_serialNumber(leaf), -MAKE_DAY, MAKE_DAY, m->ca_key);
    assert_true(reload(t));
    assert_int_equal(verdict_with(t), VERDICT_UNTRUSTED);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "revoked"));
    /* another leaf of the same CA is not concerned */
    make_build(m);
    assert_int_equal(verdict_with(t), VERDICT_TRUSTED);
    /* a CRL that somebody else signed is no good, and nothing passes beside it */
    write_crl(X509_get0_serialNumber(leaf), -MAKE_DAY, MAKE_DAY, m->other_key);
    assert_true(reload(t));
    assert_int_equal(verdict_with(t), VERDICT_UNTRUSTED);
    X509_free(leaf);
    unlink(crl_file);
    unlink(ca_file);
    m->in.trust = kept;
    attest_trust_free(t);
}

static void a_stale_crl_still_lists_who_was_revoked(void **state)
{
    build_leaf();
    make_write_pem(ca_file, m->ca);
    const unsigned char *der = m->ev.ak_certificate.data;
    X509 *leaf = d2i_X509(NULL, &der, (long)m->ev.ak_certificate.len);
    write_crl(X509_get0_serialNumber(leaf), -9 * MAKE_DAY, -MAKE_DAY, m->ca_key);
    struct attest_trust *kept = m->in.trust, *t = open_trust();
    assert_int_equal(verdict_with(t), VERDICT_UNTRUSTED);
    assert_true(has(CHECK_AK_CHAIN, STATUS_FAIL, "revoked"));
    make_build(m);
    assert_int_equal(verdict_with(t), VERDICT_TRUSTED);
    X509_free(leaf);
    unlink(crl_file);
    unlink(ca_file);
    m->in.trust = kept;
    attest_trust_free(t);
}

/* A CRL about other certificates of the CA is none of this leaf's, so that it stops no honest one; but whom
 * it lists was revoked all the same. */
static void a_crl_of_another_scope_stops_only_whom_it_lists(void **state)
{
    struct attest_trust *kept = m->in.trust;
    make_write_pem(ca_file, m->ca);
    for (enum scope scope = SCOPE_CAS; scope <= SCOPE_POINT; scope++) {
        build_leaf();
        const unsigned char *der = m->ev.ak_certificate.data;
        X509 *leaf = d2i_X509(NULL, &der, (long)m->ev.ak_certificate.len);
        write_scoped_crl(X509_get0_serialNumber(leaf), -MAKE_DAY, MAKE_DAY, m->ca_key, scope);
        struct attest_trust *t = open_trust();
        assert_int_equal(verdict_with(t), VERDICT_UNTRUSTED);
        make_build(m);
        assert_int_equal(verdict_with(t), VERDICT_TRUSTED);
        X509_free(leaf);
        attest_trust_free(t);
    }
    unlink(crl_file);
    unlink(ca_file);
    m->in.trust = kept;
}

#define EK_VM "11111111-2222-4333-8444-555555555555"

static bool ek_names(const char *const *names, size_t n)
{
    struct ek_cert ek = {.x509 = X509_new()};
    for (size_t i = 0; i < n; i++)
        assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(ek.x509), "CN",
                                                    MBSTRING_ASC, (const unsigned char *)names[i],
                                                    -1, -1, 0),
                         1);
    bool names_it = ek_cert_names(&ek, EK_VM);
    ek_cert_free(&ek);
    return names_it;
}

/* An EK's certificate proves a vmId only where there is one reading of it. */
static void an_ek_certificate_names_one_vm(void **state)
{
    static const char *const own[] = {EK_VM}, *const after_name[] = {"vm:" EK_VM},
                             *const glued[] = {"1" EK_VM}, *const inside[] = {EK_VM ":vm"},
                             *const first[] = {EK_VM, "another"},
                             *const last[] = {"another", EK_VM};
    assert_true(ek_names(own, 1));
    assert_true(ek_names(after_name, 1));
    assert_false(ek_names(glued, 1));
    assert_false(ek_names(inside, 1));
    assert_false(ek_names(first, 2));
    assert_false(ek_names(last, 2));
    assert_false(ek_names(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(issuers_come_and_go),
        cmocka_unit_test(what_cannot_be_read_changes_nothing),
        cmocka_unit_test(names_are_constrained_from_above),
        cmocka_unit_test(a_leaf_that_asks_for_more_goes_the_long_way),
        cmocka_unit_test(crls_are_heeded),
        cmocka_unit_test(a_crl_of_another_scope_stops_only_whom_it_lists),
        cmocka_unit_test(a_stale_crl_still_lists_who_was_revoked),
        cmocka_unit_test(an_ek_certificate_names_one_vm),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
