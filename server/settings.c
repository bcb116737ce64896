#include "server/settings.h"

#define AT(member)     offsetof(struct settings, member)
#define ARM_AT(member) (offsetof(struct settings, arm) + offsetof(struct arm_settings, member))

#define SECOND 1000LL
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define YEAR   (366 * DAY)

static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const signings[] = {"always", "on_read", NULL};
static const char *const clouds[] = {"public", "usgov", "china", NULL};
static const char *const credentials[] = {"client_secret", "managed_identity", "workload_identity",
                                          NULL};

#define TEXT(section_, key_, at, default_, help_)                                                  \
    {                                                                                              \
        .section = (section_), .key = (key_), .kind = OPTION_STR, .offset = (at),                  \
        .dflt = (default_), .min = 1, .max = 4096, .help = (help_)                                 \
    }
#define CHOICE(section_, key_, at, default_, choices, help_)                                       \
    {                                                                                              \
        .section = (section_), .key = (key_), .kind = OPTION_STR, .offset = (at),                  \
        .dflt = (default_), .allowed = (choices), .help = (help_)                                  \
    }
#define NUMBER(section_, key_, kind_, at, default_, low, high, help_)                              \
    {                                                                                              \
        .section = (section_), .key = (key_), .kind = (kind_), .offset = (at), .dflt = (default_), \
        .min = (low), .max = (high), .help = (help_)                                               \
    }
#define COUNT(section, key, at, dflt, low, high, help)                                             \
    NUMBER(section, key, OPTION_INT, at, dflt, low, high, help)
#define TIME(section, key, at, dflt, low, high, help)                                              \
    NUMBER(section, key, OPTION_DURATION, at, dflt, low, high, help)
#define FLAG(section_, key_, at, default_, help_)                                                  \
    {                                                                                              \
        .section = (section_), .key = (key_), .kind = OPTION_BOOL, .offset = (at),                 \
        .dflt = (default_), .help = (help_)                                                        \
    }
#define LIST(section_, key_, at, help_)                                                            \
    {                                                                                              \
        .section = (section_), .key = (key_), .kind = OPTION_LIST, .offset = (at), .min = 1,       \
        .max = 4096, .help = (help_)                                                               \
    }

/* The options that every identity has; `at` turns a member of struct arm_settings into an offset. */
#define IDENTITY(at)                                                                               \
    CHOICE("arm", "cloud", at(cloud), "public", clouds,                                            \
           "Azure cloud: its endpoints and audience"),                                             \
        CHOICE("arm", "credential", at(credential), NULL, credentials,                             \
               "How to prove who the gateway is; unset: client_secret or workload_identity where " \
               "their options are set, else managed_identity"),                                    \
        TEXT("arm", "tenant_id", at(tenant_id), NULL, "Entra tenant"),                             \
        TEXT("arm", "client_id", at(client_id), NULL,                                              \
             "Application, or user-assigned managed identity"),                                    \
        {.section = "arm",                                                                         \
         .key = "client_secret",                                                                   \
         .kind = OPTION_SECRET,                                                                    \
         .offset = at(client_secret),                                                              \
         .min = 1,                                                                                 \
         .max = 4096,                                                                              \
         .help = "Secret of the application"},                                                     \
        TEXT("arm", "federated_token_file", at(federated_token_file), NULL,                        \
             "Token of workload identity; read for each token request"),                           \
        TEXT("arm", "endpoint", at(endpoint), NULL, "ARM, where it is not the cloud's own"),       \
        TEXT("arm", "authority", at(authority), NULL,                                              \
             "Entra ID, where it is not the cloud's own"),                                         \
        TEXT("arm", "audience", at(audience), NULL,                                                \
             "Resource of the token, where it is not the cloud's own"),                            \
        LIST("arm", "subscription", at(subscriptions),                                             \
             "Subscriptions of this identity; those that no identity names are [arm]'s")

static const struct config_option options[] = {
    TEXT(NULL, "data_dir", AT(data_dir), "/var/lib/tlgate",
         "Folder of the database, keyring and control socket; made with mode 0700"),
    CHOICE("log", "level", AT(log_level), "info", levels, "Least level of the log on stderr"),
    TEXT("keyring", "file", AT(keyring_file), NULL,
         "Keys of the gateway, mode 0600, made at the first start; default: keyring in data_dir"),

    TEXT("server", "listen", AT(server.listen), "127.0.0.1:8443",
         "ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH; port 0 takes a free one"),
    TEXT("server", "tls_cert", AT(server.tls_cert), NULL,
         "PEM certificate chain; without it, plain HTTP on loopback and UNIX sockets only"),
    TEXT("server", "tls_key", AT(server.tls_key), NULL,
         "PEM private key of the certificate; SIGHUP has both read again"),
    TEXT("server", "public_url", AT(server.public_url), NULL,
         "URL by which clients and guests reach the gateway; default: the address it listens on"),
    COUNT("server", "threads", AT(server.threads), "2", 1, 64, "Threads that serve requests"),
    COUNT("server", "connections", AT(server.connections), "16384", 8, 1000000,
          "Open connections; more wait"),
    COUNT("server", "connections_per_address", AT(server.connections_per_address), "4096", 0,
          1000000, "Of those from one address; 0: no limit"),
    TIME("server", "header_timeout", AT(server.header_timeout_ms), "10s", 100, 10 * MINUTE,
         "From the connection's or request's first byte to the end of its header"),
    TIME("server", "idle_timeout", AT(server.idle_timeout_ms), "1m", SECOND, HOUR,
         "Of a connection between requests, and of one that takes no more of its reply"),
    TIME("server", "body_grace", AT(server.body_grace_ms), "5s", 0, 10 * MINUTE,
         "Time a body may take before its rate counts"),
    NUMBER("server", "body_min_rate", OPTION_SIZE, AT(server.body_min_rate), "1K", 1, 1 << 30,
           "Least bytes per second of a body after that"),
    TIME("server", "drain_delay", AT(server.drain_delay_ms), "0", 0, 10 * MINUTE,
         "After SIGTERM: time in which /readyz says no and requests are still taken"),
    TIME("server", "drain_timeout", AT(server.drain_timeout_ms), "35s", 0, HOUR,
         "Then: time for the requests that are under way"),

    COUNT("limits", "requests_per_second", AT(limits.requests_per_second), "0", 0, 1000000,
          "Of one principal; 0: no limit"),
    COUNT("limits", "requests_burst", AT(limits.requests_burst), "200", 1, 1000000,
          "That many of them at once"),
    COUNT("limits", "failed_logins_per_second", AT(limits.failed_logins_per_second), "20", 0,
          1000000,
          "Requests with a wrong credential from one address (IPv6: one /64); 0: no limit"),
    COUNT("limits", "failed_logins_burst", AT(limits.failed_logins_burst), "200", 1, 1000000,
          "That many of them at once"),
    COUNT("limits", "attestation_address_per_second", AT(limits.attestation_address_per_second),
          "10000", 0, 1000000,
          "Challenges and reports from one address (IPv6: one /64); 0: no limit"),
    COUNT("limits", "attestation_address_burst", AT(limits.attestation_address_burst), "10000", 1,
          1000000, "That many of them at once"),
    COUNT(
        "limits", "attestation_vm_per_second", AT(limits.attestation_vm_per_second), "5", 0,
        1000000,
        "Reports of one vmId that are stored; old quotes and enrolments count apart; 0: no limit"),
    COUNT("limits", "attestation_vm_burst", AT(limits.attestation_vm_burst), "60", 1, 1000000,
          "That many of them at once"),

    TIME("jobs", "deadline", AT(jobs.deadline_ms), "2h", MINUTE, 30 * DAY, "Total time of a job"),
    TIME("jobs", "lease", AT(jobs.lease_ms), "5m", 1000, HOUR,
         "How long a job that does not move is left to who works on it; more than a request takes"),
    TIME("jobs", "query_timeout", AT(jobs.query_timeout_ms), "10s", 100, 10 * MINUTE,
         "Of the live reads before a request is answered"),
    TIME("jobs", "query_cache", AT(jobs.query_cache_ms), "1m", 1, HOUR,
         "Age up to which a catalogue that was read is used again"),
    COUNT("jobs", "in_flight", AT(jobs.in_flight), "128", 1, 10000, "ARM requests of jobs at once"),
    COUNT("jobs", "per_subscription", AT(jobs.per_subscription), "32", 1, 10000,
          "Of those for one subscription"),

    COUNT("store", "readers", AT(store.readers), "4", 1, 64, "Read connections"),
    TIME("store", "keep_jobs", AT(store.keep_jobs_ms), "30d", 0, 10 * YEAR,
         "How long ended jobs are kept; 0: for ever"),
    TIME("store", "keep_reports", AT(store.keep_reports_ms), "90d", 0, 10 * YEAR,
         "How long attestation reports are kept; 0: for ever"),
    COUNT("store", "reports_per_vm", AT(store.reports_per_vm), "1000", 0, 1000000000,
          "Of each VM's reports the newest so many are kept, with up to 31 more, and of older ones "
          "the "
          "first with each verdict in each hour; 0: all"),
    TIME("store", "keep_audit", AT(store.keep_audit_ms), "365d", 0, 10 * YEAR,
         "How long audit rows are kept, but for the newest; 0: for ever"),
    TIME("store", "prune_every", AT(store.prune_every_ms), "10m", SECOND, DAY,
         "How often what is too old is deleted"),

    TEXT("attestation", "trust_dir", AT(attestation.trust_dir), NULL,
         "Folder of intermediate certificates"),
    LIST("attestation", "trust_anchor", AT(attestation.trust_anchors),
         "PEM file of certificates that AK certificates must chain to, beside Azure's own"),
    LIST("attestation", "document_anchor", AT(attestation.document_anchors),
         "PEM file of roots of the metadata service's certificates: accept attested documents as a "
         "proof of enrolment"),
    LIST("attestation", "ek_trust_anchor", AT(attestation.ek_trust_anchors),
         "PEM file of roots of endorsement key certificates: accept credentials that such a TPM "
         "activated"),
    FLAG("attestation", "legacy_root", AT(attestation.legacy_root), "false",
         "Also trust Microsoft RSA Devices Root CA 2021, of older VMs' AKs"),
    TIME("attestation", "challenge_ttl", AT(attestation.challenge_ttl_ms), "5m", 100, DAY,
         "How long a challenge can be answered"),
    TIME("attestation", "max_age", AT(attestation.max_age_ms), "24h", 0, YEAR,
         "Age of the last report from which a VM's status is unknown; 0: never"),
    COUNT(
        "attestation", "baseline_vms", AT(attestation.baseline_vms), "3", 0, 1000,
        "VMs of an image whose first trusted boots make its baseline proposed; 0: none is learned"),
    TIME("attestation", "result_ttl", AT(attestation.result_ttl_ms), "24h", MINUTE, YEAR,
         "How long a signed result (EAR) is good from the report on"),
    LIST("attestation", "maa_issuer", AT(attestation.maa_issuers),
         "Azure Attestation provider whose tokens are believed, exactly as in their iss"),
    LIST("attestation", "maa_policy_hash", AT(attestation.maa_policies),
         "Hash of a provider's policy (x-ms-policy-hash) to believe; none: any"),
    TEXT("attestation", "maa_ca_file", AT(attestation.maa_ca_file), NULL,
         "PEM roots for the providers; default: arm.ca_file, else the system's"),
    TIME("attestation", "maa_refresh", AT(attestation.maa_refresh_ms), "1h", SECOND, DAY,
         "How often the providers' keys are fetched"),
    TIME("attestation", "maa_retry", AT(attestation.maa_retry_ms), "1m", 100, HOUR,
         "Least time between two fetches from one provider"),
    TIME("attestation", "maa_max_age", AT(attestation.maa_max_age_ms), "24h", SECOND, 30 * DAY,
         "How long keys are used that cannot be fetched again"),
    CHOICE("attestation", "result_signing", AT(attestation.result_signing), "always", signings,
           "always: in the reply to a report, too; on_read: only where a report is read"),
    NUMBER(
        "attestation", "known_logs", OPTION_SIZE, AT(attestation.known_logs), "64M", 0, 1LL << 40,
        "Memory for event logs of boots seen before, which are not looked through again; 0: none"),

    IDENTITY(ARM_AT),
    TEXT("arm", "imds_endpoint", AT(arm_client.imds_endpoint), NULL,
         "Instance metadata service, for managed identity; default http://169.254.169.254"),
    TEXT("arm", "ca_file", AT(arm_client.ca_file), NULL,
         "PEM roots for ARM and Entra ID; default: the system's"),
    TEXT("arm", "proxy", AT(arm_client.proxy), NULL,
         "HTTP proxy; default: the environment's https_proxy and no_proxy"),
    COUNT("arm", "in_flight", AT(arm_client.in_flight), "64", 1, 10000, "Requests to ARM at once"),
    TIME("arm", "connect_timeout", AT(arm_client.connect_timeout_ms), "10s", 100, 10 * MINUTE,
         "To connect to ARM"),
    TIME("arm", "timeout", AT(arm_client.timeout_ms), "90s", SECOND, HOUR, "Of one ARM request"),
};

#define ITEM_AT(member) offsetof(struct arm_settings, member)

static const struct config_option identity_options[] = {IDENTITY(ITEM_AT)};

static const struct config_group groups[] = {
    {.section = "arm",
     .options = identity_options,
     .n_options = ARRAY_LEN(identity_options),
     .item_size = sizeof(struct arm_settings),
     .name_offset = ITEM_AT(name),
     .offset = AT(identities)},
};

const struct config_table settings_table = {.prefix = "TLGATE",
                                            .options = options,
                                            .n_options = ARRAY_LEN(options),
                                            .groups = groups,
                                            .n_groups = ARRAY_LEN(groups),
                                            .size = sizeof(struct settings)};

static enum err check_url(const char *url, struct err_info *e)
{
    size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    if (!scheme || !url[scheme] || strpbrk(url + scheme, "/?#@\" \\"))
        return err_set(e, ERR_CONFIG,
                       "server.public_url must be https://HOST[:PORT] or http://HOST[:PORT]");
    return OK;
}

enum err settings_load(const char *path, char *const *env, struct arena *arena,
                       struct settings *out, struct err_info *e)
{
    enum err err = config_load(&settings_table, path, env, arena, out, e);
    if (err)
        return err;
    out->arm.name = "default";
    if (!out->keyring_file)
        out->keyring_file = arena_printf(arena, "%s/keyring", out->data_dir);
    if (!out->server.tls_cert != !out->server.tls_key)
        return err_set(e, ERR_CONFIG, "server.tls_cert and server.tls_key belong together");
    return out->server.public_url ? check_url(out->server.public_url, e) : OK;
}

void settings_document(struct buf *out)
{
    buf_add_str(out, "# Configuration\n\n"
                     "`tlgate` reads an INI file (`--config FILE`); each option can also be set in "
                     "the environment, which wins.\nA secret may be read from a file: "
                     "`client_secret_file` in the INI file or the variable with `_FILE`.\n"
                     "Unknown options are errors. `tlgate check-config` prints what is in effect, "
                     "secrets hidden.\n\n"
                     "Durations are `500ms`, `10s`, `5m`, `24h`, `30d` or ISO 8601; sizes `64K`, "
                     "`1M`, `1G`. A list repeats its key in the file\nand is comma-separated in "
                     "the environment. This page is what `tlgate help config` prints.\n");
    config_markdown(&settings_table, out);
}
