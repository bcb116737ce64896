/*
 * The key sets of the configured providers of Azure Attestation, kept off the hot path.
 *
 * Each provider's discovery document and key set are fetched through the ARM client's loop: at the
 * start, then every refresh_ms, and when a token names a key that is not known. The last good set stays
 * until it is max_age_ms old, whatever a later fetch brings. Two fetches for one provider are at least
 * retry_ms apart, so that no number of tokens can make the gateway knock at a provider's door.
 *
 * All functions lock for themselves; none waits.
 */
#ifndef JOBS_MAA_KEYS_H
#define JOBS_MAA_KEYS_H

#include "arm/arm.h"
#include "attest/attest.h"
#include "attest/jwks.h"

#define MAA_PROVIDERS_MAX 64

struct maa_keys_config {
    struct arm *arm;
    const struct clock *clock;
    const char *const *issuers; /* origins: "https://sharedweu.weu.attest.azure.net" */
    size_t n_issuers;
    const char *ca_file; /* NULL: the ARM client's */
    int64_t refresh_ms, retry_ms, max_age_ms;
};

struct maa_keys;

/* Copies the configuration and starts the first fetches. ERR_CONFIG where an issuer is no https origin
 * or comes twice. Free after arm_stop. */
enum err maa_keys_start(const struct maa_keys_config *config, struct maa_keys **out,
                        struct err_info *e) MUST_CHECK;
void maa_keys_free(struct maa_keys *k); /* NULL is fine */
/* What maa_keys_start would say about the issuers. */
enum err maa_keys_check(const char *const *issuers, size_t n, struct err_info *e) MUST_CHECK;

/* Starts what is due. Returns ms until it is worth asking again. */
int64_t maa_keys_tick(struct maa_keys *k);

/* The providers with their keys of now, in the arena; release before the arena ends. */
struct maa_keys_held {
    struct maa_provider *providers;
    size_t n;
};
struct maa_keys_held maa_keys_hold(struct maa_keys *k, struct arena *a);
void maa_keys_release(struct maa_keys_held *held);

/*
 * A token names this issuer and key. maa_keys_may_bring: the key is not known, and a fetch is under way
 * or may start. maa_keys_await: True where a fetch is under way that may bring the key: `fn` will
 * be called once, on another thread. False where there is nothing to wait for. `w` lives until `fn`.
 */
struct maa_keys_waiter {
    void (*fn)(void *ctx);
    void *ctx;
    struct maa_keys_waiter *next;
};
bool maa_keys_may_bring(struct maa_keys *k, const char *issuer, const char *kid) MUST_CHECK;
bool maa_keys_await(struct maa_keys *k, const char *issuer, const char *kid,
                    struct maa_keys_waiter *w) MUST_CHECK;

enum maa_state { MAA_READY, MAA_STALE, MAA_UNAVAILABLE };

struct maa_status {
    const char *issuer;   /* the cache's */
    enum maa_state state; /* stale: the last fetch failed, an older set is used */
    size_t keys;          /* that can verify */
    int64_t fetched_at;   /* wall ms of the last good fetch; 0: never */
    char error[160];      /* of the last fetch; empty where it was good */
};
size_t maa_keys_count(const struct maa_keys *k);
void maa_keys_status(struct maa_keys *k, size_t i, struct maa_status *out);

#endif
