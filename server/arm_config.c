#include "server/arm_config.h"

static enum arm_credential credential_of(const struct arm_settings *s)
{
    const char *named = s->credential;
    if (named && strcmp(named, "client_secret") == 0)
        return ARM_CLIENT_SECRET;
    if (named && strcmp(named, "workload_identity") == 0)
        return ARM_WORKLOAD_IDENTITY;
    if (named)
        return ARM_MANAGED_IDENTITY;
    if (s->client_secret.text)
        return ARM_CLIENT_SECRET;
    return s->federated_token_file ? ARM_WORKLOAD_IDENTITY : ARM_MANAGED_IDENTITY;
}

static struct arm_identity identity_of(const struct arm_settings *s)
{
    return (struct arm_identity){.name = s->name,
                                 .kind = credential_of(s),
                                 .cloud = s->cloud,
                                 .tenant_id = s->tenant_id,
                                 .client_id = s->client_id,
                                 .client_secret = s->client_secret,
                                 .federated_token_file = s->federated_token_file,
                                 .endpoint = s->endpoint,
                                 .authority = s->authority,
                                 .audience = s->audience};
}

struct arm_config arm_config_from(const struct settings *s, struct arena *arena)
{
    const struct arm_settings *named = s->identities.items;
    size_t n = 1 + s->identities.n, n_subscriptions = s->arm.subscriptions.n, at = 0;
    for (size_t i = 0; i < s->identities.n; i++)
        n_subscriptions += named[i].subscriptions.n;
    struct arm_identity *identities = arena_array(arena, n, sizeof *identities);
    struct arm_subscription *subscriptions =
        arena_array(arena, n_subscriptions + 1, sizeof *subscriptions);
    for (size_t i = 0; i < n; i++) {
        const struct arm_settings *from = i ? &named[i - 1] : &s->arm;
        identities[i] = identity_of(from);
        for (size_t k = 0; k < from->subscriptions.n; k++)
            subscriptions[at++] =
                (struct arm_subscription){from->subscriptions.items[k], from->name};
    }
    return (struct arm_config){.identities = identities,
                               .n_identities = n,
                               .subscriptions = subscriptions,
                               .n_subscriptions = n_subscriptions,
                               .imds_endpoint = s->arm_client.imds_endpoint,
                               .ca_file = s->arm_client.ca_file,
                               .proxy = s->arm_client.proxy,
                               .max_in_flight = (unsigned)s->arm_client.in_flight,
                               .connect_timeout_ms = s->arm_client.connect_timeout_ms,
                               .timeout_ms = s->arm_client.timeout_ms};
}
