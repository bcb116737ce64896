#include "emulator/entra.h"
#include "emulator/jwt.h"

/* Audiences of ARM in the clouds, and the others that this product's clients ask tokens for. */
static const struct {
    const char *id;
    bool arm;
} resources[] = {
    {"https://management.azure.com", true},
    {"https://management.core.windows.net", true},
    {"https://management.usgovcloudapi.net", true},
    {"https://management.core.usgovcloudapi.net", true},
    {"https://management.chinacloudapi.cn", true},
    {"https://management.core.chinacloudapi.cn", true},
    {"https://attest.azure.net", false},
    {"https://graph.microsoft.com", false},
    {"https://vault.azure.net", false},
};

static bool same_resource(const char *a, const char *b)
{
    size_t n = strlen(a);
    while (n > 0 && a[n - 1] == '/')
        n--;
    return strlen(b) == n && strncasecmp(a, b, n) == 0;
}

enum audience { AUDIENCE_UNKNOWN, AUDIENCE_OTHER, AUDIENCE_ARM };

/* ARM's own address is an audience too: some SDKs ask for "<endpoint>/.default". */
static enum audience find_resource(const struct emulator *em, const char *resource)
{
    char local[sizeof em->arm_url];
    snprintf(local, sizeof local, "https://localhost%s", strrchr(em->arm_url, ':'));
    if (same_resource(resource, em->arm_url) || same_resource(resource, local))
        return AUDIENCE_ARM;
    for (size_t i = 0; i < ARRAY_LEN(resources); i++)
        if (same_resource(resource, resources[i].id))
            return resources[i].arm ? AUDIENCE_ARM : AUDIENCE_OTHER;
    return AUDIENCE_UNKNOWN;
}

bool entra_knows_resource(const struct emulator *em, const char *resource)
{
    return find_resource(em, resource) != AUDIENCE_UNKNOWN;
}

/* An endpoint's error as Entra ID writes it: the AADSTS number opens the description. */
static void refuse(struct emulator *em, struct http_response *resp, int status, const char *error,
                   int number, const char *text)
{
    char trace[UUID_SIZE];
    char correlation[UUID_SIZE];
    char now[TIME_TEXT_SIZE];
    uuid_v4(trace);
    uuid_v4(correlation);
    time_format(clock_wall(em->clock), now);
    struct buf description = {0};
    buf_printf(&description, "AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %.10s %.8sZ",
               number, text, trace, correlation, now, now + 11);
    json_t *body = json_pack("{ss ss s[i] ss ss ss}", "error", error, "error_description",
                             description.data, "error_codes", number, "timestamp", now, "trace_id",
                             trace, "correlation_id", correlation);
    buf_free(&description);
    http_add_header(resp, "Cache-Control", "no-store");
    http_reply_json(resp, status, body);
}

static const char *field(const json_t *form, const char *name)
{
    const char *text = json_string_value(json_object_get(form, name));
    return text && *text ? text : NULL;
}

char *entra_token(struct emulator *em, const char *audience, const char *client_id,
                  const char *object_id)
{
    char uti[UUID_SIZE];
    uuid_v4(uti);
    int64_t now = clock_wall(em->clock) / 1000;
    AUTO(json)
    json_t *claims = json_pack(
        "{ss ss sI sI sI ss ss ss ss ss ss ss ss ss}", "aud", audience, "iss",
        "https://sts.windows.net/" EMULATOR_TENANT "/", "iat", (json_int_t)now, "nbf",
        (json_int_t)now, "exp", (json_int_t)now + em->settings.token_ttl, "appid", client_id,
        "appidacr", "1", "idp", "https://sts.windows.net/" EMULATOR_TENANT "/", "idtyp", "app",
        "oid", object_id, "sub", object_id, "tid", EMULATOR_TENANT, "uti", uti, "ver", "1.0");
    return jwt_sign(em->keys.token, em->keys.token_kid, claims);
}

/* A federated identity credential: issuer, subject and audience are those that were registered. */
static bool assertion_holds(struct emulator *em, const char *assertion, struct http_response *resp)
{
    AUTO(json) json_t *claims = NULL;
    int64_t now = clock_wall(em->clock) / 1000;
    switch (jwt_verify(assertion, em->keys.federated, &claims)) {
    case JWT_MALFORMED:
        refuse(em, resp, 400, "invalid_request", 50027, "JWT token is invalid or malformed.");
        return false;
    case JWT_BAD_SIGNATURE:
        refuse(em, resp, 401, "invalid_client", 700027,
               "Client assertion failed signature validation.");
        return false;
    case JWT_OK:
        break;
    }
    const char *issuer = json_path_str(claims, "iss");
    const char *subject = json_path_str(claims, "sub");
    const char *audience = json_path_str(claims, "aud");
    if (!issuer || strcmp(issuer, FEDERATED_ISSUER) != 0)
        refuse(em, resp, 401, "invalid_client", 700211,
               "No matching federated identity record found for presented assertion issuer.");
    else if (!subject || strcmp(subject, FEDERATED_SUBJECT) != 0)
        refuse(em, resp, 401, "invalid_client", 700213,
               "No matching federated identity record found for presented assertion subject.");
    else if (!audience || strcmp(audience, FEDERATED_AUDIENCE) != 0)
        refuse(em, resp, 401, "invalid_client", 700212,
               "No matching federated identity record found for presented assertion audience.");
    else if (json_integer_value(json_object_get(claims, "exp")) <= now ||
             json_integer_value(json_object_get(claims, "nbf")) > now + 300)
        refuse(em, resp, 401, "invalid_client", 700024,
               "Client assertion is not within its valid time range.");
    else
        return true;
    return false;
}

static bool credential_holds(struct emulator *em, const json_t *form, struct http_response *resp)
{
    const char *secret = field(form, "client_secret");
    const char *assertion = field(form, "client_assertion");
    const char *type = field(form, "client_assertion_type");
    if (assertion) {
        if (type && strcmp(type, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer") == 0)
            return assertion_holds(em, assertion, resp);
        refuse(em, resp, 400, "invalid_request", 70003,
               "The 'client_assertion_type' is not supported.");
        return false;
    }
    if (!secret) {
        refuse(em, resp, 401, "invalid_client", 7000218,
               "The request body must contain the following parameter: 'client_assertion' or "
               "'client_secret'.");
        return false;
    }
    if (strcmp(secret, em->directory.client_secret) != 0) {
        refuse(em, resp, 401, "invalid_client", 7000215,
               "Invalid client secret provided. Ensure the secret being sent in the request is the "
               "client secret value, not the client secret ID.");
        return false;
    }
    return true;
}

/* The resource a token is asked for: v2.0 by scope "<resource>/.default", v1 by resource. */
static char *wanted_resource(struct emulator *em, const json_t *form, bool v2, struct arena *arena,
                             struct http_response *resp)
{
    const char *text = field(form, v2 ? "scope" : "resource");
    if (!text) {
        refuse(em, resp, 400, "invalid_request", 900144,
               v2 ? "The request body must contain the following parameter: 'scope'."
                  : "The request body must contain the following parameter: 'resource'.");
        return NULL;
    }
    char *resource = arena_strdup(arena, text);
    if (v2) {
        char *end = strstr(resource, "/.default");
        if (!end || end[strlen("/.default")]) {
            refuse(em, resp, 400, "invalid_scope", 1002012,
                   "The provided value for scope is not valid. Client credential flows must have a "
                   "scope value with /.default suffixed to the resource identifier (application ID "
                   "URI).");
            return NULL;
        }
        *end = 0;
    }
    if (entra_knows_resource(em, resource))
        return resource;
    refuse(em, resp, 400, "invalid_resource", 500011,
           "The resource principal was not found in the tenant. This can happen if the application "
           "has not been installed by the administrator of the tenant.");
    return NULL;
}

static void give_token(struct emulator *em, const struct http_request *req, bool v2,
                       struct http_response *resp)
{
    AUTO(json) json_t *form = http_form(req);
    const char *grant = field(form, "grant_type");
    const char *client = field(form, "client_id");
    if (!grant || !client) {
        refuse(em, resp, 400, "invalid_request", 900144,
               !grant ? "The request body must contain the following parameter: 'grant_type'."
                      : "The request body must contain the following parameter: 'client_id'.");
        return;
    }
    if (strcmp(grant, "client_credentials") != 0) {
        refuse(em, resp, 400, "unsupported_grant_type", 70003,
               "The app requested an unsupported grant type.");
        return;
    }
    if (strcasecmp(client, em->directory.client_id) != 0) {
        refuse(em, resp, 400, "unauthorized_client", 700016,
               "Application was not found in the directory. This can happen if the application has "
               "not been installed by the administrator of the tenant or consented to by any user "
               "in the tenant.");
        return;
    }
    char *resource = wanted_resource(em, form, v2, req->arena, resp);
    if (!resource || !credential_holds(em, form, resp))
        return;
    AUTO(free)
    char *token = entra_token(em, resource, em->directory.client_id, em->directory.client_oid);
    json_int_t ttl = (json_int_t)em->settings.token_ttl;
    http_add_header(resp, "Cache-Control", "no-store, no-cache");
    http_add_header(resp, "Pragma", "no-cache");
    if (v2)
        http_reply_json(resp, 200,
                        json_pack("{ss sI sI ss}", "token_type", "Bearer", "expires_in", ttl,
                                  "ext_expires_in", ttl, "access_token", token));
    else
        http_reply_json(resp, 200,
                        json_pack("{ss so so ss ss}", "token_type", "Bearer", "expires_in",
                                  json_sprintf("%lld", (long long)ttl), "ext_expires_in",
                                  json_sprintf("%lld", (long long)ttl), "resource", resource,
                                  "access_token", token));
}

static json_t *discovery(const struct emulator *em, const char *tenant)
{
    const char *base = em->arm_url;
    return json_pack(
        "{so s[sss] so s[sss] s[s] s[s] s[s] so s[s] so ss ss ss}", "token_endpoint",
        json_sprintf("%s/%s/oauth2/v2.0/token", base, tenant),
        "token_endpoint_auth_methods_supported", "client_secret_post", "private_key_jwt",
        "client_secret_basic", "jwks_uri", json_sprintf("%s/%s/discovery/v2.0/keys", base, tenant),
        "response_modes_supported", "query", "fragment", "form_post", "subject_types_supported",
        "pairwise", "id_token_signing_alg_values_supported", "RS256", "response_types_supported",
        "code", "issuer", json_sprintf("%s/%s/v2.0", base, tenant), "scopes_supported", "openid",
        "authorization_endpoint", json_sprintf("%s/%s/oauth2/v2.0/authorize", base, tenant),
        "tenant_region_scope", "EU", "cloud_instance_name", "microsoftonline.com", "rbac_url",
        "https://pas.windows.net");
}

static void instance_discovery(const struct emulator *em, struct http_response *resp)
{
    const char *host = strstr(em->arm_url, "://") + 3;
    http_reply_json(
        resp, 200,
        json_pack("{so ss s[{ss ss s[s]}]}", "tenant_discovery_endpoint",
                  json_sprintf("%s/" EMULATOR_TENANT "/v2.0/.well-known/openid-configuration",
                               em->arm_url),
                  "api-version", "1.1", "metadata", "preferred_network", host, "preferred_cache",
                  host, "aliases", host));
}

enum entra_path { NOT_ENTRA, DISCOVERY, KEYS, TOKEN_V1, TOKEN_V2, INSTANCE };

static enum entra_path classify(const char *rest)
{
    static const struct {
        const char *path;
        enum entra_path is;
    } known[] = {
        {"v2.0/.well-known/openid-configuration", DISCOVERY},
        {".well-known/openid-configuration", DISCOVERY},
        {"discovery/v2.0/keys", KEYS},
        {"discovery/keys", KEYS},
        {"oauth2/v2.0/token", TOKEN_V2},
        {"oauth2/token", TOKEN_V1},
        {"discovery/instance", INSTANCE},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcasecmp(rest, known[i].path) == 0)
            return known[i].is;
    return NOT_ENTRA;
}

static void entra_answer(struct emulator *em, const struct http_request *req, enum entra_path what,
                         const char *tenant, struct http_response *resp)
{
    bool post = strcmp(req->method, "POST") == 0;
    bool token = what == TOKEN_V1 || what == TOKEN_V2;
    if (post != token) {
        refuse(em, resp, 405, "invalid_request", 900561,
               "The endpoint only accepts the method of its documentation.");
    } else if (what == INSTANCE) {
        instance_discovery(em, resp);
    } else if (what == KEYS) {
        http_reply_json(resp, 200,
                        json_pack("{s[o]}", "keys", jwt_jwk(em->keys.token, em->keys.token_kid)));
    } else if (what == DISCOVERY) {
        http_reply_json(resp, 200, discovery(em, tenant));
    } else {
        give_token(em, req, what == TOKEN_V2, resp);
    }
}

/* "/{tenant}/{rest}" -> what `rest` is; the tenant's length in *n. */
static enum entra_path read_path(const char *path, const char **tenant, size_t *n)
{
    while (*path == '/')
        path++;
    *tenant = path;
    *n = strcspn(path, "/");
    return path[*n] ? classify(path + *n + 1) : NOT_ENTRA;
}

bool entra_owns(const struct http_request *req)
{
    const char *tenant;
    size_t n;
    return read_path(req->path, &tenant, &n) != NOT_ENTRA;
}

void entra_handle(struct emulator *em, const struct http_request *req, struct http_response *resp)
{
    const char *text;
    size_t n;
    enum entra_path what = read_path(req->path, &text, &n);
    const char *tenant = arena_strndup(req->arena, text, n);
    bool token = what == TOKEN_V1 || what == TOKEN_V2;
    bool any = strcasecmp(tenant, "common") == 0 || strcasecmp(tenant, "organizations") == 0;
    if (any && !token)
        tenant = EMULATOR_TENANT;
    if (strcasecmp(tenant, EMULATOR_TENANT) == 0)
        entra_answer(em, req, what, tenant, resp);
    else
        refuse(em, resp, 400, "invalid_request", 90002,
               "Tenant not found. Check to make sure you have the correct tenant ID and are "
               "signing into the correct cloud.");
}

const char *entra_check(struct emulator *em, const char *authorization, struct entra_caller *out,
                        char *why, size_t why_size)
{
    if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0) {
        snprintf(why, why_size, "Authentication failed. The 'Authorization' header is missing.");
        return "AuthenticationFailed";
    }
    AUTO(json) json_t *claims = NULL;
    if (jwt_verify(authorization + 7, em->keys.token, &claims) != JWT_OK) {
        snprintf(why, why_size, "The access token is invalid.");
        return "InvalidAuthenticationToken";
    }
    int64_t exp = json_integer_value(json_object_get(claims, "exp"));
    if (exp * 1000 <= clock_wall(em->clock)) {
        char at[TIME_TEXT_SIZE];
        time_format(exp * 1000, at);
        snprintf(why, why_size,
                 "The access token expiry UTC time '%s' is earlier than current UTC "
                 "time.",
                 at);
        return "ExpiredAuthenticationToken";
    }
    const char *audience = json_path_str(claims, "aud");
    if (!audience || find_resource(em, audience) != AUDIENCE_ARM) {
        snprintf(why, why_size,
                 "The access token has been obtained for wrong audience or resource '%s'. It "
                 "should exactly match with one of the allowed audiences "
                 "'https://management.core.windows.net/','https://management.azure.com/'.",
                 audience ? audience : "");
        return "InvalidAuthenticationTokenAudience";
    }
    const char *oid = json_path_str(claims, "oid");
    const char *app = json_path_str(claims, "appid");
    snprintf(out->object_id, sizeof out->object_id, "%s", oid ? oid : "");
    snprintf(out->client_id, sizeof out->client_id, "%s", app ? app : "");
    return NULL;
}

static void make_directory(struct emulator *em)
{
    char ids[4][UUID_SIZE];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        uuid_v4(ids[i]);
    uint8_t raw[30];
    char secret[BASE64URL_SIZE(sizeof raw)];
    random_bytes(raw, sizeof raw);
    base64url_encode(BYTES_OF(raw), secret);
    state_put(em->state, STATE_MISC, "directory",
              json_pack("{ss ss ss ss ss}", "clientId", ids[0], "clientOid", ids[1], "clientSecret",
                        secret, "identityClientId", ids[2], "identityOid", ids[3]));
}

static void copy_id(char *out, size_t size, const json_t *from, const char *name)
{
    const char *text = json_path_str(from, name);
    snprintf(out, size, "%s", text ? text : "");
}

static enum err write_json(const struct emulator *em, const char *name, json_t *value, bool secret,
                           struct err_info *e)
{
    AUTO(free) char *text = json_dumps(value, JSON_INDENT(1));
    json_decref(value);
    if (!text)
        abort();
    return keys_write_file(em->dir, name, text, secret, e);
}

static enum err write_federated_token(struct emulator *em, struct err_info *e)
{
    int64_t now = clock_wall(em->clock) / 1000;
    AUTO(json)
    json_t *claims = json_pack("{ss ss ss sI sI sI}", "iss", FEDERATED_ISSUER, "sub",
                               FEDERATED_SUBJECT, "aud", FEDERATED_AUDIENCE, "iat", (json_int_t)now,
                               "nbf", (json_int_t)now, "exp", (json_int_t)now + 86400);
    AUTO(free) char *token = jwt_sign(em->keys.federated, em->keys.federated_kid, claims);
    return keys_write_file(em->dir, "federated-token", token, true, e);
}

enum err entra_open(struct emulator *em, struct err_info *e)
{
    if (!state_get(em->state, STATE_MISC, "directory"))
        make_directory(em);
    const json_t *ids = state_get(em->state, STATE_MISC, "directory");
    struct directory *d = &em->directory;
    copy_id(d->client_id, sizeof d->client_id, ids, "clientId");
    copy_id(d->client_oid, sizeof d->client_oid, ids, "clientOid");
    copy_id(d->client_secret, sizeof d->client_secret, ids, "clientSecret");
    copy_id(d->identity_client_id, sizeof d->identity_client_id, ids, "identityClientId");
    copy_id(d->identity_oid, sizeof d->identity_oid, ids, "identityOid");
    enum err err = write_json(em, "client.json",
                              json_pack("{ss ss ss}", "tenantId", EMULATOR_TENANT, "clientId",
                                        d->client_id, "clientSecret", d->client_secret),
                              true, e);
    if (!err)
        err = write_json(em, "federated.json",
                         json_pack("{ss ss ss}", "issuer", FEDERATED_ISSUER, "subject",
                                   FEDERATED_SUBJECT, "audience", FEDERATED_AUDIENCE),
                         false, e);
    return err ? err : write_federated_token(em, e);
}
