/*
 * Every option of tlgate, as one table (see core/config.h). docs/configuration.md is what the table
 * says of itself; tests/unit/server_settings_test.c fails where it is not.
 */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include "core/config.h"

/* How the gateway proves itself to one Azure cloud: [arm], or [arm:NAME] for further identities. */
struct arm_settings {
    const char *name; /* "default" or the section's name */
    const char *cloud;
    const char
        *credential; /* client_secret, managed_identity, workload_identity; NULL: as set up */
    const char *tenant_id;
    const char *client_id;
    struct secret client_secret;
    const char *federated_token_file;
    const char *endpoint;
    const char *authority;
    const char *audience;
    struct str_list subscriptions;
};

struct settings {
    const char *data_dir;
    const char *log_level;
    const char *keyring_file;

    struct {
        const char *listen;
        const char *tls_cert;
        const char *tls_key;
        const char *public_url;
        int64_t threads;
        int64_t connections;
        int64_t connections_per_address;
        int64_t header_timeout_ms;
        int64_t idle_timeout_ms;
        int64_t body_grace_ms;
        int64_t body_min_rate;
        int64_t drain_delay_ms;
        int64_t drain_timeout_ms;
    } server;

    struct {
        int64_t requests_per_second;
        int64_t requests_burst;
        int64_t failed_logins_per_second;
        int64_t failed_logins_burst;
        int64_t attestation_address_per_second;
        int64_t attestation_address_burst;
        int64_t attestation_vm_per_second;
        int64_t attestation_vm_burst;
    } limits;

    struct {
        int64_t deadline_ms;
        int64_t lease_ms;
        int64_t query_timeout_ms;
        int64_t query_cache_ms;
        int64_t in_flight;
        int64_t per_subscription;
    } jobs;

    struct {
        int64_t readers;
        int64_t keep_jobs_ms;
        int64_t keep_reports_ms;
        int64_t reports_per_vm;
        int64_t keep_audit_ms;
        int64_t prune_every_ms;
    } store;

    struct {
        const char *trust_dir;
        struct str_list trust_anchors;
        struct str_list document_anchors;
        struct str_list ek_trust_anchors;
        bool legacy_root;
        int64_t challenge_ttl_ms;
        int64_t max_age_ms;
        int64_t baseline_vms;
        int64_t result_ttl_ms;
        const char *result_signing;
        struct str_list maa_issuers;
        struct str_list maa_policies;
        const char *maa_ca_file;
        int64_t maa_refresh_ms;
        int64_t maa_retry_ms;
        int64_t maa_max_age_ms;
        int64_t known_logs;
    } attestation;

    struct arm_settings arm;
    struct {
        const char *imds_endpoint;
        const char *ca_file;
        const char *proxy;
        int64_t in_flight;
        int64_t connect_timeout_ms;
        int64_t timeout_ms;
    } arm_client;
    struct obj_list identities; /* struct arm_settings: [arm:NAME] */
};

extern const struct config_table settings_table;

/* config_load of the table, and what depends on more than one option: the keyring's default path,
 * the public URL's form, TLS files together. ERR_CONFIG. */
enum err settings_load(const char *path, char *const *env, struct arena *arena,
                       struct settings *out, struct err_info *e) MUST_CHECK;

/* The text of docs/configuration.md. */
void settings_document(struct buf *out);

#endif
