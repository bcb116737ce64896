#include "arm/config.h"

#include "arm/url.h"

#include <ctype.h>
#include <strings.h>
#include <unistd.h>

#define MAX_IN_FLIGHT      64
#define CONNECT_TIMEOUT_MS 10000
#define TIMEOUT_MS         90000

static enum err bad(struct err_info *e, const struct arm_identity *id, const char *what)
{
    return err_set(e, ERR_CONFIG, "arm identity %s: %s", id->name, what);
}

/* "scheme://host[:port]" of an endpoint that is nothing more; NULL where it is. */
static const char *origin_only(struct arena *a, const char *url, struct arm_origin *o)
{
    if (!arm_url_chars_ok(url) || !arm_origin_parse(url, o))
        return NULL;
    if (url[o->len] != '\0' && strcmp(url + o->len, "/") != 0)
        return NULL;
    return arena_strndup(a, url, o->len);
}

static bool tenant_ok(const char *s)
{
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '-' && *s != '.')
            return false;
    return true;
}

static bool given(const char *s)
{
    return s && *s;
}

static enum err check_credential(const struct arm_identity *id, struct err_info *e)
{
    if (id->kind == ARM_MANAGED_IDENTITY)
        return OK;
    if (!given(id->tenant_id) || !tenant_ok(id->tenant_id))
        return bad(e, id, "tenant_id is not a tenant's id or domain");
    if (!given(id->client_id))
        return bad(e, id, "client_id is missing");
    if (id->kind == ARM_WORKLOAD_IDENTITY)
        return given(id->federated_token_file) ? OK : bad(e, id, "federated_token_file is missing");
    bool text = id->client_secret.text && id->client_secret.len;
    if (text == given(id->client_secret_file))
        return bad(e, id, "one of client_secret and client_secret_file is needed");
    return OK;
}

static enum err copy_identity(struct arena *a, const struct arm_identity *in,
                              struct arm_identity *out, struct err_info *e)
{
    struct arm_origin o;
    *out = (struct arm_identity){
        .name = arena_strdup(a, given(in->name) ? in->name : "default"),
        .kind = in->kind,
        .tenant_id = arena_strdup(a, in->tenant_id),
        .client_id = given(in->client_id) ? arena_strdup(a, in->client_id) : NULL,
        .client_secret_file = arena_strdup(a, in->client_secret_file),
        .federated_token_file = arena_strdup(a, in->federated_token_file),
    };
    if (in->client_secret.text)
        out->client_secret = secret_in(a, in->client_secret.text, in->client_secret.len);
    const struct arm_cloud *cloud = arm_cloud_find(in->cloud);
    if (!cloud)
        return bad(e, out, "cloud is not one of public, usgov, china");
    out->cloud = cloud->name;
    out->audience = arena_strdup(a, given(in->audience) ? in->audience : cloud->audience);
    out->endpoint = origin_only(a, given(in->endpoint) ? in->endpoint : cloud->endpoint, &o);
    if (!out->endpoint || !o.https)
        return bad(e, out, "endpoint is not https://host[:port]");
    out->authority = origin_only(a, given(in->authority) ? in->authority : cloud->authority, &o);
    if (!out->authority || (!o.https && !arm_origin_loopback(&o)))
        return bad(e, out, "authority is not https://host[:port]");
    return check_credential(out, e);
}

static int find_name(const struct arm_config *cfg, const char *name)
{
    for (size_t i = 0; i < cfg->n_identities; i++)
        if (strcmp(cfg->identities[i].name, name) == 0)
            return (int)i;
    return -1;
}

static enum err copy_identities(struct arena *a, const struct arm_config *in,
                                struct arm_config *out, struct err_info *e)
{
    struct arm_identity *ids = arena_array(a, in->n_identities, sizeof *ids);
    if (in->n_identities == 0)
        return err_set(e, ERR_CONFIG, "arm: no identity is configured");
    out->identities = ids;
    for (size_t i = 0; i < in->n_identities; i++) {
        if (copy_identity(a, &in->identities[i], &ids[i], e) != OK)
            return ERR_CONFIG;
        if (find_name(out, ids[i].name) >= 0)
            return bad(e, &ids[i], "the name is used twice");
        out->n_identities = i + 1;
    }
    return OK;
}

static enum err copy_subscriptions(struct arena *a, const struct arm_config *in,
                                   struct arm_config *out, struct err_info *e)
{
    struct arm_subscription *subs = arena_array(a, in->n_subscriptions, sizeof *subs);
    for (size_t i = 0; i < in->n_subscriptions; i++) {
        const struct arm_subscription *s = &in->subscriptions[i];
        if (!given(s->subscription_id) || !s->identity || find_name(out, s->identity) < 0)
            return err_set(e, ERR_CONFIG, "arm: subscription %s has no known identity",
                           s->subscription_id ? s->subscription_id : "");
        subs[i].subscription_id = arena_strdup(a, s->subscription_id);
        subs[i].identity = arena_strdup(a, s->identity);
    }
    out->subscriptions = subs;
    out->n_subscriptions = in->n_subscriptions;
    out->default_identity = arena_strdup(a, in->default_identity);
    if (given(in->default_identity) && find_name(out, in->default_identity) < 0)
        return err_set(e, ERR_CONFIG, "arm: default identity %s is unknown", in->default_identity);
    return OK;
}

enum err arm_config_copy(struct arena *a, const struct arm_config *in, struct arm_config *out,
                         struct err_info *e)
{
    struct arm_origin o;
    *out = (struct arm_config){
        .ca_file = given(in->ca_file) ? arena_strdup(a, in->ca_file) : NULL,
        .proxy = arena_strdup(a, in->proxy),
        .user_agent = arena_strdup(a, in->user_agent ? in->user_agent : "tlgate/" TLGATE_VERSION),
        .clock = in->clock ? in->clock : &clock_system,
        .max_in_flight = in->max_in_flight ? in->max_in_flight : MAX_IN_FLIGHT,
        .connect_timeout_ms = in->connect_timeout_ms ? in->connect_timeout_ms : CONNECT_TIMEOUT_MS,
        .timeout_ms = in->timeout_ms ? in->timeout_ms : TIMEOUT_MS,
    };
    if (given(in->imds_endpoint)) {
        out->imds_endpoint = origin_only(a, in->imds_endpoint, &o);
        if (!out->imds_endpoint || o.https)
            return err_set(e, ERR_CONFIG, "arm: imds_endpoint is not http://host[:port]");
    }
    if (out->ca_file && access(out->ca_file, R_OK) != 0)
        return err_set(e, ERR_CONFIG, "arm: cannot read ca_file %s", out->ca_file);
    if (copy_identities(a, in, out, e) != OK)
        return ERR_CONFIG;
    return copy_subscriptions(a, in, out, e);
}

int arm_config_identity(const struct arm_config *cfg, const char *subscription)
{
    for (size_t i = 0; subscription && i < cfg->n_subscriptions; i++)
        if (strcasecmp(cfg->subscriptions[i].subscription_id, subscription) == 0)
            return find_name(cfg, cfg->subscriptions[i].identity);
    if (!cfg->default_identity)
        return 0;
    return find_name(cfg, cfg->default_identity);
}
