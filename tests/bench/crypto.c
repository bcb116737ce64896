/*
 * The yardstick for reports: what the cryptography of one costs when nothing is made twice. RSA-2048
 * or P-256 verify of a quote, replay of the event log into the PCRs, SHA-256 of the log; keys, digests and
 * contexts are fetched once and the log is parsed before the clock starts. `result` is one ECDSA P-256
 * signature more: what a reply costs that brings its result signed.
 *
 *     crypto LOG ROUNDS rsa2048|p256
 *
 * Prints JSON: CPU time of one report in microseconds, and of its parts.
 */
#include "attest/eventlog.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUOTE_SIZE 145

struct work {
    struct bytes log;
    struct event_log events;
    EVP_MD *sha256;
    EVP_MD_CTX *md;
    EVP_PKEY_CTX *verify, *result;
    uint8_t quote[QUOTE_SIZE];
    uint8_t signature[256];
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

static void digest(struct work *w, const struct bytes *parts, size_t n, uint8_t out[32])
{
    bool ok = EVP_DigestInit_ex2(w->md, w->sha256, NULL) == 1;
    for (size_t i = 0; i < n; i++)
        ok = ok && EVP_DigestUpdate(w->md, parts[i].data, parts[i].len) == 1;
    check(ok && EVP_DigestFinal_ex(w->md, out, NULL) == 1, "SHA-256");
}

static void verify_quote(struct work *w)
{
    const struct bytes quote = BYTES_OF(w->quote);
    digest(w, &quote, 1, w->digest);
    check(EVP_PKEY_verify(w->verify, w->signature, w->signature_len, w->digest, sizeof w->digest) ==
              1,
          "verify");
}

static void replay(struct work *w)
{
    memset(w->pcrs, 0, sizeof w->pcrs);
    for (size_t i = 0; i < w->events.n; i++) {
        const struct log_event *ev = &w->events.events[i];
        if (ev->type == EV_NO_ACTION)
            continue;
        const struct bytes parts[] = {{w->pcrs[ev->pcr], 32}, ev->digest[BANK_SHA256]};
        digest(w, parts, 2, w->pcrs[ev->pcr]);
    }
}

static void hash_log(struct work *w)
{
    digest(w, &w->log, 1, w->digest);
}

static bool set_scheme(const struct work *w, EVP_PKEY_CTX *c, bool rsa)
{
    return (!rsa || EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) == 1) &&
           EVP_PKEY_CTX_set_signature_md(c, w->sha256) == 1;
}

static void sign(struct work *w, bool rsa)
{
    w->signature_len = sizeof w->signature;
    EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    const struct bytes quote = BYTES_OF(w->quote);
    digest(w, &quote, 1, w->digest);
    check(EVP_PKEY_sign_init(c) == 1 && set_scheme(w, c, rsa) &&
              EVP_PKEY_sign(c, w->signature, &w->signature_len, w->digest, sizeof w->digest) == 1,
          "sign");
    EVP_PKEY_CTX_free(c);
    w->verify = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    check(EVP_PKEY_verify_init(w->verify) == 1 && set_scheme(w, w->verify, rsa), "verify context");
    EVP_PKEY_free(key);
}

static void make_result_key(struct work *w)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    w->result = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    check(EVP_PKEY_sign_init(w->result) == 1, "sign context");
    EVP_PKEY_free(key);
}

static void sign_result(struct work *w)
{
    uint8_t signature[128];
    size_t n = sizeof signature;
    check(EVP_PKEY_sign(w->result, signature, &n, w->digest, sizeof w->digest) == 1, "sign");
}

static double cpu_us(struct work *w, void (*part)(struct work *), long rounds)
{
    struct timespec from, to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (long i = 0; i < rounds; i++)
        part(w);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    return ((double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3) /
           (double)rounds;
}

static void all(struct work *w)
{
    verify_quote(w);
    replay(w);
    hash_log(w);
}

int main(int argc, char **argv)
{
    static uint8_t log[EVIDENCE_LOG_MAX];
    struct work w = {0};
    FILE *f = argc == 4 ? fopen(argv[1], "rb") : NULL;
    check(f, "usage: crypto LOG ROUNDS rsa2048|p256");
    w.log = BYTES(log, fread(log, 1, sizeof log, f));
    fclose(f);
    long rounds = strtol(argv[2], NULL, 10);
    struct arena *arena = arena_new();
    w.events = eventlog_parse(w.log, arena);
    check(!w.events.bad && rounds > 0, "the log cannot be read");
    w.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    w.md = EVP_MD_CTX_new();
    sign(&w, strcmp(argv[3], "rsa2048") == 0);
    make_result_key(&w);
    all(&w);
    printf("{\"report\": %.2f, \"verify\": %.2f, \"replay\": %.2f, \"hash\": %.2f, "
           "\"result\": %.2f, \"events\": %zu, \"log\": %zu}\n",
           cpu_us(&w, all, rounds), cpu_us(&w, verify_quote, rounds), cpu_us(&w, replay, rounds),
           cpu_us(&w, hash_log, rounds), cpu_us(&w, sign_result, rounds), w.events.n, w.log.len);
    EVP_PKEY_CTX_free(w.verify);
    EVP_PKEY_CTX_free(w.result);
    EVP_MD_CTX_free(w.md);
    EVP_MD_free(w.sha256);
    arena_free(arena);
    return 0;
}
