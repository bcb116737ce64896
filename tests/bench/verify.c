/*
 * A whole verification beside the bare cryptography of it, single-threaded and in one process: the quote's
 * signature, the replay of the log and the SHA-256 of every event's data, with key, digests and contexts
 * reused. The certificate's path is known in every case.
 *
 *     verify EVIDENCE.cbor ANCHOR.pem NONCE-HEX PROFILE ROUNDS
 *
 * Prints JSON: CPU time in microseconds. `whole` looks at the log each time, `known` has the log and
 * knows it, `named` has the log's digest only (eventLogDigest).
 */
#include "attest/attest.h"
#include "attest/eventlog.h"
#include "attest/hash.h"
#include "attest/trust.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TURNS      20
#define ARENA_SIZE ((size_t)16 * 1024) /* of a request, in the gateway */

struct work {
    struct evidence evidence, named;
    struct attest_input in;
    struct attest_logs *logs;
    struct arena *arena; /* of one verification */
    struct event_log events;
    EVP_MD *sha256;
    EVP_MD_CTX *md;
    EVP_PKEY_CTX *verify;
    struct bytes message;
    uint8_t signature[512];
    size_t signature_len;
    uint8_t pcrs[EVIDENCE_PCRS][32];
    uint8_t digest[32];
};

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static struct bytes read_file(const char *path, struct arena *a)
{
    FILE *f = fopen(path, "rb");
    check(f, path);
    uint8_t *data = arena_alloc(a, EVIDENCE_BODY_MAX);
    size_t n = fread(data, 1, EVIDENCE_BODY_MAX, f);
    fclose(f);
    return BYTES(data, n);
}

/* ---- bare ---- */

static void digest(struct work *w, const struct bytes *parts, size_t n, uint8_t out[32])
{
    bool ok = EVP_DigestInit_ex2(w->md, w->sha256, NULL) == 1;
    for (size_t i = 0; i < n; i++)
        ok = ok && EVP_DigestUpdate(w->md, parts[i].data, parts[i].len) == 1;
    check(ok && EVP_DigestFinal_ex(w->md, out, NULL) == 1, "SHA-256");
}

static void bare_signature(struct work *w)
{
    digest(w, &w->message, 1, w->digest);
    check(EVP_PKEY_verify(w->verify, w->signature, w->signature_len, w->digest, 32) == 1, "verify");
}

static void bare_log(struct work *w)
{
    memset(w->pcrs, 0, sizeof w->pcrs);
    for (size_t i = 0; i < w->events.n; i++) {
        const struct log_event *ev = &w->events.events[i];
        digest(w, &ev->data, 1, w->digest);
        if (ev->type == EV_NO_ACTION)
            continue;
        const struct bytes parts[] = {{w->pcrs[ev->pcr], 32}, ev->digest[BANK_SHA256]};
        digest(w, parts, 2, w->pcrs[ev->pcr]);
    }
}

static void bare(struct work *w)
{
    bare_signature(w);
    bare_log(w);
}

/* The signature as OpenSSL takes it: RSASSA as it is, ECDSA as DER. */
static void open_bare(struct work *w)
{
    const char *why = NULL;
    struct tpm_signature sig;
    struct tpm_attest attest;
    struct ak_cert *cert = trust_parse(&w->in, w->evidence.ak_certificate, &why);
    check(cert && !tpm_parse_signature(w->evidence.quote_signature, &sig) &&
              !tpm_parse_attest(w->evidence.quote_message, &attest),
          "the evidence cannot be read");
    w->message = attest.message;
    w->verify = EVP_PKEY_CTX_new_from_pkey(NULL, cert->loaded->pkey, NULL);
    check(EVP_PKEY_verify_init(w->verify) == 1, "verify context");
    if (sig.alg == TPM2_ALG_ECDSA) {
        unsigned char *at = w->signature;
        ECDSA_SIG *es = ECDSA_SIG_new();
        ECDSA_SIG_set0(es, BN_bin2bn(sig.r.data, (int)sig.r.len, NULL),
                       BN_bin2bn(sig.s.data, (int)sig.s.len, NULL));
        w->signature_len = (size_t)i2d_ECDSA_SIG(es, &at);
        ECDSA_SIG_free(es);
    } else {
        memcpy(w->signature, sig.rsa.data, sig.rsa.len);
        w->signature_len = sig.rsa.len;
        EVP_PKEY_CTX_set_rsa_padding(w->verify, RSA_PKCS1_PADDING);
    }
    check(EVP_PKEY_CTX_set_signature_md(w->verify, w->sha256) == 1, "verify context");
    akcert_release(cert);
}

/* ---- whole ---- */

static void verify(struct work *w)
{
    struct attest_result r;
    check(attest_verify(&w->in, w->arena, &r, NULL) == OK && r.verdict == VERDICT_TRUSTED,
          "not trusted");
    arena_reset(w->arena);
}

static void verify_whole(struct work *w)
{
    w->in.logs = NULL;
    verify(w);
}

static void verify_known(struct work *w)
{
    w->in.logs = w->logs;
    verify(w);
}

static void verify_named(struct work *w)
{
    w->in.evidence = &w->named;
    w->in.log = attest_logs_find(w->logs, w->named.event_log_digest, w->arena);
    verify(w);
    w->in.log = NULL;
    w->in.evidence = &w->evidence;
}

static double cpu_us(struct work *w, void (*part)(struct work *), long rounds)
{
    struct timespec from, to;
    part(w);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (long i = 0; i < rounds; i++)
        part(w);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    return ((double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3) /
           (double)rounds;
}

enum part { BARE, SIGNATURE, WHOLE, KNOWN, NAMED, PARTS };

/* The parts take turns, and the least of each counts: what else runs on the machine only adds. */
static void measure(struct work *w, long rounds, double us[PARTS])
{
    static void (*const parts[PARTS])(struct work *) = {
        [BARE] = bare,          [SIGNATURE] = bare_signature, [WHOLE] = verify_whole,
        [KNOWN] = verify_known, [NAMED] = verify_named,
    };
    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < PARTS; i++) {
            double took = cpu_us(w, parts[i], rounds / TURNS);
            us[i] = turn == 0 || took < us[i] ? took : us[i];
        }
    }
}

int main(int argc, char **argv)
{
    struct work w = {.arena = arena_new_sized(ARENA_SIZE)};
    struct arena *kept = arena_new();
    struct err_info e = {0};
    uint8_t nonce[64];
    check(argc == 6 && hex_decode(argv[3], strlen(argv[3]), nonce, strlen(argv[3]) / 2),
          "usage: verify EVIDENCE ANCHOR NONCE PROFILE ROUNDS");
    const char *const anchors[] = {argv[2]};
    const struct attest_trust_options o = {.anchors = anchors, .n_anchors = 1};
    check(wire_decode_cbor(read_file(argv[1], kept), WIRE_OFFLINE, kept, &w.evidence, &e) == OK,
          e.detail);
    w.in = (struct attest_input){.evidence = &w.evidence,
                                 .nonce = BYTES(nonce, strlen(argv[3]) / 2),
                                 .now = (int64_t)time(NULL) * 1000,
                                 .require_secure_boot = true};
    check(attest_profile_parse(argv[4], &w.in.profile), "unknown profile");
    check(attest_trust_open(&o, &w.in.trust, &e) == OK, e.detail);
    w.logs = attest_logs_new((size_t)1 << 20);
    w.events = eventlog_parse(w.evidence.event_log, kept);
    w.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    w.md = EVP_MD_CTX_new();
    verify_known(&w);
    open_bare(&w);
    uint8_t sha256[32];
    digest(&w, &w.evidence.event_log, 1, sha256);
    w.named = w.evidence;
    w.named.event_log = (struct bytes){0};
    w.named.event_log_digest = BYTES_OF(sha256);
    double us[PARTS];
    measure(&w, strtol(argv[5], NULL, 10), us);
    printf(
        "{\"bare\": %.2f, \"signature\": %.2f, \"whole\": %.2f, \"known\": %.2f, \"named\": %.2f, "
        "\"events\": %zu, \"log\": %zu}\n",
        us[BARE], us[SIGNATURE], us[WHOLE], us[KNOWN], us[NAMED], w.events.n,
        w.evidence.event_log.len);
    EVP_PKEY_CTX_free(w.verify);
    EVP_MD_CTX_free(w.md);
    EVP_MD_free(w.sha256);
    arena_free(w.arena);
    attest_logs_free(w.logs);
    attest_trust_free(w.in.trust);
    arena_free(kept);
    return 0;
}
