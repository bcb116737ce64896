/*
 * Evidence made in the test: a CA, an AK, an event log and a quote over it, all of software keys, so
 * that every byte can be wrong on purpose. The knobs are changed before make_build; what must be
 * changed afterwards is changed in the built bytes.
 */
#ifndef TESTS_UNIT_ATTEST_MAKE_H
#define TESTS_UNIT_ATTEST_MAKE_H

#include "attest/attest.h"
#include "attest/eventlog.h"
#include "attest/hash.h"

#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <tss2/tss2_tpm2_types.h>
#include <unistd.h>

#define MAKE_NOW     1780000000000 /* 2026-05-28 */
#define MAKE_EVENTS  640
#define MAKE_DAY     (24 * 3600)
#define MAKE_SUBJECT "0123456789ab.TrustedVM.Azure.windows.net"

struct make_event {
    uint32_t pcr, type;
    struct bytes data;
    struct bytes measured; /* what the digest is of; as `data` unless it lies */
    size_t offset;         /* in the built log */
};

struct make_cert {
    const char *subject;
    const char *eku;   /* NULL: none */
    const char *usage; /* NULL: none */
    const char *basic; /* NULL: none */
    const char *names; /* name constraints; NULL: none */
    int more;          /* a further extension's NID; 0: none */
    const char *more_value;
    long from, to; /* seconds from MAKE_NOW */
    const EVP_MD *md;
};

struct make {
    struct arena *arena;
    EVP_PKEY *root_key, *ca_key, *ak_key, *other_key;
    X509 *root, *ca;
    char anchor_file[64];

    /* knobs */
    struct make_cert leaf;
    EVP_PKEY *certified; /* key in the certificate */
    bool send_chain, send_certificate, send_public, send_log;
    uint32_t attributes;
    struct bytes auth_policy;
    uint32_t magic;
    uint16_t type;
    struct bytes nonce; /* in the quote */
    struct bytes qn;    /* overrides qualifiedSigner */
    uint32_t selected;  /* PCRs in the quote */
    uint16_t banks[3];  /* TPM_ALG_IDs of the selections, 0 ends */
    size_t select_size;
    uint64_t clock;
    uint32_t resets, restarts;
    uint8_t safe;
    uint16_t sig_alg, sig_hash; /* as named in the TPMT_SIGNATURE */
    int padding;                /* as really signed */
    const char *sign_md;
    EVP_PKEY *signer;
    bool tpm2b;
    struct bytes quote_tail; /* signed bytes behind the quote */
    struct make_event events[MAKE_EVENTS];
    size_t n_events;
    uint16_t log_alg; /* declared and used in the log */

    /* built */
    struct bytes log;
    uint8_t pcrs[24][32];
    struct evidence ev;
    struct attest_input in;
};

static inline EVP_PKEY *make_rsa(unsigned bits)
{
    EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);
    if (!k)
        abort();
    return k;
}

static inline void make_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    CONF *conf = NCONF_new(NULL); /* some extensions' texts are read only with one */
    X509V3_set_nconf(&ctx, conf);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (!ext || X509_add_ext(x, ext, -1) != 1)
        abort();
    NCONF_free(conf);
    X509_EXTENSION_free(ext);
}

static inline X509 *make_x509(const struct make_cert *c, EVP_PKEY *key, X509 *issuer,
                              EVP_PKEY *issuer_key)
{
    static long serial = 1;
    X509 *x = X509_new();
    X509_NAME *name = X509_NAME_new();
    if (!x || !name)
        abort();
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)c->subject, -1, -1,
                               0);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_set_subject_name(x, name);
    X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name);
    X509_NAME_free(name);
    time_t now = (time_t)(MAKE_NOW / 1000);
    X509_time_adj(X509_getm_notBefore(x), c->from, &now);
    X509_time_adj(X509_getm_notAfter(x), c->to, &now);
    X509_set_pubkey(x, key);
    X509 *by = issuer ? issuer : x;
    if (c->basic)
        make_extension(x, by, NID_basic_constraints, c->basic);
    if (c->usage)
        make_extension(x, by, NID_key_usage, c->usage);
    if (c->eku)
        make_extension(x, by, NID_ext_key_usage, c->eku);
    if (c->names)
        make_extension(x, by, NID_name_constraints, c->names);
    if (c->more)
        make_extension(x, by, c->more, c->more_value);
    make_extension(x, by, NID_subject_key_identifier, "hash");
    if (issuer)
        make_extension(x, by, NID_authority_key_identifier, "keyid");
    if (X509_sign(x, issuer_key, c->md) <= 0)
        abort();
    return x;
}

static inline struct bytes make_der(struct arena *a, X509 *x)
{
    unsigned char *der = NULL;
    int n = i2d_X509(x, &der);
    struct bytes out = arena_copy(a, BYTES(der, (size_t)n));
    OPENSSL_free(der);
    return out;
}

static inline struct make_cert make_ca_cert(const char *subject)
{
    return (struct make_cert){.subject = subject,
                              .usage = "critical,keyCertSign",
                              .basic = "critical,CA:TRUE",
                              .from = -100 * MAKE_DAY,
                              .to = 1000 * MAKE_DAY,
                              .md = EVP_sha256()};
}

/* ---- bytes ---- */

static inline void make_be(struct buf *b, uint64_t v, unsigned n)
{
    while (n--)
        buf_add_char(b, (char)(v >> (8 * n)));
}

static inline void make_le(struct buf *b, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        buf_add_char(b, (char)(v >> (8 * i)));
}

static inline void make_2b(struct buf *b, struct bytes v)
{
    make_be(b, v.len, 2);
    buf_add(b, v.data, v.len);
}

static inline struct bytes make_keep(struct arena *a, struct buf *b)
{
    struct bytes out = arena_copy(a, buf_bytes(b));
    buf_free(b);
    return out;
}

/* ---- event log ---- */

static const uint8_t make_global[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                        0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
static const uint8_t make_security[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                          0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};
static const uint8_t make_guid_x509[16] = {0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
                                           0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72};

static inline struct bytes make_variable(struct arena *a, const uint8_t guid[16], const char *name,
                                         struct bytes value)
{
    struct buf b = {0};
    buf_add(&b, guid, 16);
    make_le(&b, strlen(name), 8);
    make_le(&b, value.len, 8);
    for (const char *s = name; *s; s++)
        make_le(&b, (uint8_t)*s, 2);
    buf_add(&b, value.data, value.len);
    return make_keep(a, &b);
}

/* One list with one entry: the owner's GUID and `body` bytes of a certificate. */
static inline struct bytes make_siglist(struct arena *a, size_t body)
{
    struct buf b = {0};
    buf_add(&b, make_guid_x509, 16);
    make_le(&b, 28 + 16 + body, 4);
    make_le(&b, 0, 4);
    make_le(&b, 16 + body, 4);
    buf_add(&b, make_global, 16);
    for (size_t i = 0; i < body; i++)
        buf_add_char(&b, (char)i);
    return make_keep(a, &b);
}

static inline struct make_event *make_add(struct make *m, uint32_t pcr, uint32_t type,
                                          struct bytes data)
{
    if (m->n_events == MAKE_EVENTS)
        abort();
    struct make_event *ev = &m->events[m->n_events++];
    *ev = (struct make_event){.pcr = pcr, .type = type, .data = data, .measured = data};
    return ev;
}

static inline void make_default_events(struct make *m, bool secure_boot)
{
    static const uint8_t zero[4], off[1] = {0}, on[1] = {1};
    static const char locality[17] = "StartupLocality\0\3";
    struct arena *a = m->arena;
    struct bytes list = make_siglist(a, 40);
    m->n_events = 0;
    make_add(m, 0, EV_NO_ACTION, BYTES_OF(locality));
    make_add(m, 0, EV_S_CRTM_VERSION, BYTES_STR("v1"));
    make_add(
        m, 7, EV_EFI_VARIABLE_DRIVER_CONFIG,
        make_variable(a, make_global, "SecureBoot", secure_boot ? BYTES_OF(on) : BYTES_OF(off)));
    make_add(m, 7, EV_EFI_VARIABLE_DRIVER_CONFIG, make_variable(a, make_global, "PK", list));
    make_add(m, 7, EV_EFI_VARIABLE_DRIVER_CONFIG, make_variable(a, make_global, "KEK", list));
    make_add(m, 7, EV_EFI_VARIABLE_DRIVER_CONFIG, make_variable(a, make_security, "db", list));
    make_add(m, 7, EV_EFI_VARIABLE_DRIVER_CONFIG,
             make_variable(a, make_security, "dbx", (struct bytes){0}));
    make_add(m, 7, EV_SEPARATOR, BYTES_OF(zero));
    make_add(m, 4, EV_EFI_ACTION, BYTES_STR("Calling EFI Application from Boot Option"));
    for (uint32_t i = 0; i < 7; i++)
        make_add(m, i, EV_SEPARATOR, BYTES_OF(zero));
    make_add(m, 7, EV_EFI_VARIABLE_AUTHORITY,
             make_variable(a, make_security, "db", BYTES(list.data + 28, list.len - 28)));
    make_add(m, 4, EV_EFI_BOOT_SERVICES_APPLICATION, BYTES_STR("\\EFI\\shimx64.efi"))->measured =
        BYTES_STR("authenticode of shim");
    struct make_event *line =
        make_add(m, 8, EV_IPL, BYTES("kernel_cmdline: root=/dev/sda1 ro", 34));
    line->measured = BYTES_STR("root=/dev/sda1 ro");
}

static inline struct make_event *make_find(struct make *m, uint32_t pcr, uint32_t type)
{
    for (size_t i = 0; i < m->n_events; i++)
        if (m->events[i].pcr == pcr && m->events[i].type == type)
            return &m->events[i];
    abort();
}

static inline void make_remove(struct make *m, const struct make_event *ev)
{
    size_t i = (size_t)(ev - m->events);
    memmove(&m->events[i], &m->events[i + 1], (m->n_events - i - 1) * sizeof *ev);
    m->n_events--;
}

/* The digests of the event are extended into m->pcrs, as firmware would. */
static inline void make_extend(struct make *m, uint32_t pcr, const uint8_t digest[32])
{
    uint8_t both[64];
    memcpy(both, m->pcrs[pcr], 32);
    memcpy(both + 32, digest, 32);
    EVP_Digest(both, 64, m->pcrs[pcr], NULL, EVP_sha256(), NULL);
}

static inline void make_header(struct make *m, struct buf *b, size_t size)
{
    static const uint8_t zeros[20];
    struct buf id = {0};
    buf_add(&id, "Spec ID Event03", 16);
    make_le(&id, 0, 4);
    make_le(&id, 0, 1);
    make_le(&id, 2, 1);
    make_le(&id, 0, 1);
    make_le(&id, 2, 1);
    make_le(&id, 1, 4);
    make_le(&id, m->log_alg, 2);
    make_le(&id, size, 2);
    make_le(&id, 0, 1);
    make_le(b, 0, 4);
    make_le(b, EV_NO_ACTION, 4);
    buf_add(b, zeros, 20);
    make_le(b, id.len, 4);
    buf_add(b, id.data, id.len);
    buf_free(&id);
}

static inline void make_log(struct make *m)
{
    struct buf b = {0};
    memset(m->pcrs, 0, sizeof m->pcrs);
    for (int i = 17; i <= 22; i++)
        memset(m->pcrs[i], 0xff, 32);
    size_t size = pcr_banks[hash_of_tpm_alg(m->log_alg)].size;
    make_header(m, &b, size);
    for (size_t i = 0; i < m->n_events; i++) {
        struct make_event *ev = &m->events[i];
        uint8_t digest[64] = {0}, sha256[32];
        ev->offset = b.len;
        if (ev->type == EV_NO_ACTION && ev->data.len == 17 && i == 0)
            m->pcrs[0][31] = ev->data.data[16];
        if (ev->type != EV_NO_ACTION) {
            hash_digest(hash_of_tpm_alg(m->log_alg), ev->measured, digest);
            EVP_Digest(ev->measured.data, ev->measured.len, sha256, NULL, EVP_sha256(), NULL);
            if (ev->pcr < 24)
                make_extend(m, ev->pcr, sha256);
        }
        make_le(&b, ev->pcr, 4);
        make_le(&b, ev->type, 4);
        make_le(&b, 1, 4);
        make_le(&b, m->log_alg, 2);
        buf_add(&b, digest, size);
        make_le(&b, ev->data.len, 4);
        buf_add(&b, ev->data.data, ev->data.len);
    }
    m->log = make_keep(m->arena, &b);
}

/* ---- AK and quote ---- */

static inline struct bytes make_public(struct make *m, EVP_PKEY *key)
{
    BIGNUM *n = NULL;
    uint8_t modulus[512];
    struct buf b = {0};
    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n);
    int len = BN_bn2bin(n, modulus);
    BN_free(n);
    make_be(&b, TPM2_ALG_RSA, 2);
    make_be(&b, TPM2_ALG_SHA256, 2);
    make_be(&b, m->attributes, 4);
    make_2b(&b, m->auth_policy);
    make_be(&b, TPM2_ALG_NULL, 2);
    make_be(&b, TPM2_ALG_RSASSA, 2);
    make_be(&b, TPM2_ALG_SHA256, 2);
    make_be(&b, (uint64_t)len * 8, 2);
    make_be(&b, 0, 4);
    make_2b(&b, BYTES(modulus, (size_t)len));
    return make_keep(m->arena, &b);
}

static inline struct bytes make_qualified(struct make *m, struct bytes public)
{
    uint8_t name[38] = {0x40, 0, 0, 0x0b, 0, 0x0b}, qn[34] = {0, 0x0b};
    EVP_Digest(public.data, public.len, name + 6, NULL, EVP_sha256(), NULL);
    EVP_Digest(name, sizeof name, qn + 2, NULL, EVP_sha256(), NULL);
    return arena_copy(m->arena, BYTES_OF(qn));
}

static inline struct bytes make_attest(struct make *m, struct bytes public)
{
    struct buf b = {0}, values = {0};
    uint8_t digest[64];
    unsigned digest_len = 0;
    for (int i = 0; i < 24; i++)
        if (m->selected >> i & 1)
            buf_add(&values, m->pcrs[i], 32);
    EVP_Digest(values.data, values.len, digest, &digest_len,
               m->sig_hash == TPM2_ALG_SHA384 ? EVP_sha384() : EVP_sha256(), NULL);
    buf_free(&values);
    make_be(&b, m->magic, 4);
    make_be(&b, m->type, 2);
    make_2b(&b, m->qn.len ? m->qn : make_qualified(m, public));
    make_2b(&b, m->nonce);
    make_be(&b, m->clock, 8);
    make_be(&b, m->resets, 4);
    make_be(&b, m->restarts, 4);
    make_be(&b, m->safe, 1);
    make_be(&b, 0x2020031200120003, 8);
    unsigned n = 0;
    while (n < 3 && m->banks[n])
        n++;
    make_be(&b, n, 4);
    for (unsigned i = 0; i < n; i++) {
        make_be(&b, m->banks[i], 2);
        make_be(&b, m->select_size, 1);
        make_le(&b, m->selected, (unsigned)m->select_size);
    }
    make_2b(&b, BYTES(digest, digest_len));
    buf_add(&b, m->quote_tail.data, m->quote_tail.len);
    return make_keep(m->arena, &b);
}

static inline struct bytes make_signature(struct make *m, struct bytes message)
{
    uint8_t sig[512];
    size_t len = sizeof sig;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    if (EVP_DigestSignInit_ex(ctx, &pctx, m->sign_md, NULL, NULL, m->signer, NULL) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(pctx, m->padding) != 1 ||
        EVP_DigestSign(ctx, sig, &len, message.data, message.len) != 1)
        abort();
    EVP_MD_CTX_free(ctx);
    struct buf b = {0};
    make_be(&b, m->sig_alg, 2);
    make_be(&b, m->sig_hash, 2);
    make_2b(&b, BYTES(sig, len));
    return make_keep(m->arena, &b);
}

static inline void make_build(struct make *m)
{
    make_log(m);
    m->ev = (struct evidence){.vm_id = "11111111-2222-4333-8444-555555555555"};
    struct bytes public = make_public(m, m->ak_key);
    struct bytes message = make_attest(m, public);
    m->ev.quote_signature = make_signature(m, message);
    m->ev.quote_message = message;
    if (m->tpm2b) {
        struct buf b = {0};
        make_2b(&b, message);
        m->ev.quote_message = make_keep(m->arena, &b);
    }
    struct evidence_bank *bank = &m->ev.banks[BANK_SHA256];
    bank->present = m->selected & 0xffffff;
    for (int i = 0; i < 24; i++)
        bank->value[i] = arena_copy(m->arena, BYTES_OF(m->pcrs[i]));
    if (m->send_public)
        m->ev.ak_public = public;
    if (m->send_certificate) {
        X509 *leaf = make_x509(&m->leaf, m->certified, m->ca, m->ca_key);
        m->ev.ak_certificate = make_der(m->arena, leaf);
        X509_free(leaf);
    }
    if (m->send_chain) {
        m->ev.chain[0] = make_der(m->arena, m->ca);
        m->ev.chain[1] = make_der(m->arena, m->root);
        m->ev.n_chain = 2;
    }
    if (m->send_log)
        m->ev.event_log = m->log;
    m->in.evidence = &m->ev;
}

static const uint8_t make_nonce[32] = {1, 2, 3, 4, 5, 6, 7, 8};

/* The knobs of honest evidence. */
static inline void make_reset(struct make *m)
{
    struct attest_trust *trust = m->in.trust;
    arena_reset(m->arena);
    m->leaf = (struct make_cert){.subject = MAKE_SUBJECT,
                                 .eku = "1.3.6.1.4.1.311.10.3.12,2.23.133.8.3",
                                 .usage = "critical,digitalSignature",
                                 .from = -MAKE_DAY,
                                 .to = 30 * MAKE_DAY,
                                 .md = EVP_sha256()};
    m->certified = m->signer = m->ak_key;
    m->send_chain = m->send_certificate = m->send_public = m->send_log = true;
    m->attributes = 0x00050472;
    m->auth_policy = m->qn = m->quote_tail = (struct bytes){0};
    m->magic = TPM2_GENERATED_VALUE;
    m->type = TPM2_ST_ATTEST_QUOTE;
    m->nonce = BYTES_OF(make_nonce);
    m->selected = 0x1ff;
    m->banks[0] = TPM2_ALG_SHA256;
    m->banks[1] = m->banks[2] = 0;
    m->select_size = 3;
    m->clock = 1000;
    m->resets = 3;
    m->restarts = 1;
    m->safe = 1;
    m->sig_alg = TPM2_ALG_RSASSA;
    m->sig_hash = TPM2_ALG_SHA256;
    m->padding = RSA_PKCS1_PADDING;
    m->sign_md = "SHA256";
    m->tpm2b = false;
    m->log_alg = TPM2_ALG_SHA256;
    make_default_events(m, true);
    m->in = (struct attest_input){.trust = trust,
                                  .nonce = BYTES_OF(make_nonce),
                                  .now = MAKE_NOW,
                                  .profile = PROFILE_AZURE_TRUSTED_LAUNCH,
                                  .require_secure_boot = true,
                                  .allow_quote_only = true};
}

static inline void make_write_pem(const char *path, X509 *x)
{
    BIO *out = BIO_new_file(path, "w");
    if (!out || PEM_write_bio_X509(out, x) != 1)
        abort();
    BIO_free(out);
}

/* Keys and CA, and a trust with the root as its only anchor. */
static inline struct make *make_new(void)
{
    struct make *m = calloc(1, sizeof *m);
    struct err_info e;
    m->arena = arena_new();
    m->root_key = make_rsa(2048);
    m->ca_key = make_rsa(2048);
    m->ak_key = make_rsa(2048);
    m->other_key = make_rsa(2048);
    struct make_cert root = make_ca_cert("Test vTPM Root"), ca = make_ca_cert("Test vTPM CA - 01");
    m->root = make_x509(&root, m->root_key, NULL, m->root_key);
    m->ca = make_x509(&ca, m->ca_key, m->root, m->root_key);
    snprintf(m->anchor_file, sizeof m->anchor_file, "/tmp/tlgate-attest-%d.pem", (int)getpid());
    make_write_pem(m->anchor_file, m->root);
    const char *anchors[] = {m->anchor_file};
    const struct attest_trust_options o = {.anchors = anchors, .n_anchors = 1};
    if (attest_trust_open(&o, &m->in.trust, &e))
        abort();
    make_reset(m);
    return m;
}

static inline void make_free(struct make *m)
{
    attest_trust_free(m->in.trust);
    unlink(m->anchor_file);
    X509_free(m->root);
    X509_free(m->ca);
    EVP_PKEY_free(m->root_key);
    EVP_PKEY_free(m->ca_key);
    EVP_PKEY_free(m->ak_key);
    EVP_PKEY_free(m->other_key);
    arena_free(m->arena);
    free(m);
}

#endif
