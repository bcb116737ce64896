#include "emulator/imds.h"
#include "emulator/arm.h"
#include "emulator/attested.h"
#include "emulator/entra.h"
#include "emulator/faults.h"
#include "emulator/operation.h"
#include "emulator/resource.h"

static const char *const versions[] = {
    "2017-04-02", "2017-08-01", "2017-12-01", "2018-02-01", "2018-04-02", "2018-10-01",
    "2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04", "2019-08-01",
    "2019-08-15", "2019-11-01", "2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01",
    "2020-12-01", "2021-01-01", "2021-02-01", "2021-03-01", "2021-05-01", "2021-10-01",
    "2021-11-01", "2021-11-15", "2021-12-13", "2023-07-01", "2023-11-15", "2024-03-15",
    "2025-04-07"};

/* userData exists from here on. */
#define USER_DATA_SINCE "2021-01-01"

static void fail(struct http_response *resp, int status, const char *error, const char *text)
{
    json_t *body = json_pack("{ss}", "error", error);
    if (text)
        json_object_set_new(body, "error_description", json_string(text));
    http_reply_json(resp, status, body);
}

/* The service is for the machine itself: a forwarded or a careless request is refused. */
static bool request_good(const struct http_request *req, struct http_response *resp)
{
    const char *metadata = http_header(req, "Metadata");
    if (http_header(req, "X-Forwarded-For")) {
        fail(resp, 400, "Bad request. Request contains an X-Forwarded-For header.", NULL);
        return false;
    }
    if (!metadata || strcasecmp(metadata, "true") != 0) {
        fail(resp, 400, "Bad request. Required metadata header not specified or not correct.",
             NULL);
        return false;
    }
    if (strcmp(req->method, "GET") != 0) {
        fail(resp, 405, "Method not allowed.", NULL);
        return false;
    }
    const char *version = http_query(req, "api-version");
    for (size_t i = 0; version && i < ARRAY_LEN(versions); i++)
        if (strcmp(version, versions[i]) == 0)
            return true;
    json_t *newest = json_array();
    for (size_t i = ARRAY_LEN(versions) - 3; i < ARRAY_LEN(versions); i++)
        json_array_insert_new(newest, 0, json_string(versions[i]));
    http_reply_json(resp, 400,
                    json_pack("{ss so}", "error",
                              "Bad request. api-version is invalid or was not specified in the "
                              "request.",
                              "newest-versions", newest));
    return false;
}

/* The body of the VM that asks, or NULL (answered). */
static const json_t *asking_vm(struct emulator *em, const struct http_request *req,
                               struct http_response *resp)
{
    const char *hint = http_header(req, "X-Vm-Id");
    json_t *all = state_all(em->state, STATE_VM);
    const json_t *vm = NULL;
    if (hint)
        vm = json_object_get(all, arm_lower(req->arena, hint));
    else if (json_object_size(all) == 1)
        vm = json_object_iter_value(json_object_iter(all));
    const json_t *body = vm ? resource_body(em, arm_text(vm, "resource")) : NULL;
    if (!body)
        fail(resp, hint ? 404 : 400,
             hint ? "Not found. There is no VM with the vmId in X-Vm-Id."
                  : "Bad request. There is not exactly one VM: name it in the header X-Vm-Id.",
             NULL);
    return body;
}

/* ---- tokens ---- */

static bool is_id(const char *wanted, const char *own)
{
    return !wanted || strcasecmp(wanted, own) == 0;
}

/* Whose token: the VM's that X-Vm-Id names, else the identity of the machine the emulator plays. */
static bool find_identity(struct emulator *em, const struct http_request *req, const char **client,
                          const char **object, struct http_response *resp)
{
    *client = em->directory.identity_client_id;
    *object = em->directory.identity_oid;
    if (http_header(req, "X-Vm-Id")) {
        const json_t *vm = asking_vm(em, req, resp);
        if (!vm)
            return false;
        *client = *object = json_path_str(vm, "identity/principalId");
    }
    if (*object && !http_query(req, "msi_res_id") && !http_query(req, "mi_res_id") &&
        is_id(http_query(req, "client_id"), *client) &&
        is_id(http_query(req, "object_id"), *object) &&
        is_id(http_query(req, "principal_id"), *object))
        return true;
    fail(resp, 400, "invalid_request", "Identity not found");
    return false;
}

static void give_token(struct emulator *em, const struct http_request *req,
                       struct http_response *resp)
{
    const char *resource = http_query(req, "resource");
    const char *client;
    const char *object;
    if (!resource || !*resource) {
        fail(resp, 400, "invalid_request", "Required audience parameter not specified");
        return;
    }
    if (!entra_knows_resource(em, resource)) {
        fail(resp, 400, "invalid_resource",
             "AADSTS500011: The resource principal was not found in the tenant.");
        return;
    }
    if (!find_identity(em, req, &client, &object, resp))
        return;
    AUTO(free) char *token = entra_token(em, resource, client, object);
    long long ttl = (long long)em->settings.token_ttl;
    long long now = (long long)clock_wall(em->clock) / 1000;
    http_reply_json(resp, 200,
                    json_pack("{ss ss so so so so ss ss}", "access_token", token, "client_id",
                              client, "expires_in", json_sprintf("%lld", ttl), "expires_on",
                              json_sprintf("%lld", now + ttl), "ext_expires_in",
                              json_sprintf("%lld", ttl), "not_before", json_sprintf("%lld", now),
                              "resource", resource, "token_type", "Bearer"));
}

/* ---- instance ---- */

static json_t *tags_list(const json_t *tags)
{
    json_t *list = json_array();
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)tags, name, value)
        json_array_append_new(list, json_pack("{ss sO}", "name", name, "value", value));
    return list;
}

static json_t *tags_text(const json_t *tags)
{
    struct buf text = {0};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)tags, name, value)
        buf_printf(&text, "%s%s:%s", text.len ? ";" : "", name, json_string_value(value));
    json_t *out = json_string(text.data ? text.data : "");
    buf_free(&text);
    return out;
}

static const char *on(const json_t *body, const char *path)
{
    return arm_flag(body, path) ? "true" : "false";
}

static json_t *compute(const json_t *body, const char *version)
{
    const char *id = arm_text(body, "id");
    const char *group = strstr(id, "/resourceGroups/") + strlen("/resourceGroups/");
    const char *sub = id + strlen("/subscriptions/");
    const json_t *p = json_object_get(body, "properties");
    const json_t *image = json_path(p, "storageProfile/imageReference");
    const json_t *tags = json_object_get(body, "tags");
    json_t *v = json_pack(
        "{ss ss ss so so ss ss ss ss ss ss ss ss ss}", "azEnvironment", "AzurePublicCloud",
        "location", arm_text(body, "location"), "name", arm_text(body, "name"), "resourceGroupName",
        json_stringn(group, strcspn(group, "/")), "subscriptionId",
        json_stringn(sub, strcspn(sub, "/")), "resourceId", id, "vmId", arm_text(p, "vmId"),
        "vmSize", arm_text(p, "hardwareProfile/vmSize"), "osType",
        arm_text(p, "storageProfile/osDisk/osType"), "publisher", arm_text(image, "publisher"),
        "offer", arm_text(image, "offer"), "sku", arm_text(image, "sku"), "version",
        arm_text(image, "exactVersion"), "provider", "Microsoft.Compute");
    json_object_set_new(v, "tags", tags_text(tags));
    json_object_set_new(v, "tagsList", tags_list(tags));
    json_object_set_new(
        v, "osProfile",
        json_pack("{ss ss ss}", "adminUsername", arm_text(p, "osProfile/adminUsername"),
                  "computerName", arm_text(p, "osProfile/computerName"),
                  "disablePasswordAuthentication",
                  on(p, "osProfile/linuxConfiguration/disablePasswordAuthentication")));
    json_object_set_new(v, "securityProfile",
                        json_pack("{ss ss ss ss}", "secureBootEnabled",
                                  on(p, "securityProfile/uefiSettings/secureBootEnabled"),
                                  "virtualTpmEnabled",
                                  on(p, "securityProfile/uefiSettings/vTpmEnabled"),
                                  "encryptionAtHost", on(p, "securityProfile/encryptionAtHost"),
                                  "securityType", arm_text(p, "securityProfile/securityType")));
    if (strcmp(version, USER_DATA_SINCE) >= 0)
        json_object_set_new(v, "userData", json_string(arm_text(p, "userData")));
    return v;
}

/* A leaf is text and must be asked for as text; a branch is JSON. */
static void answer_node(const struct http_request *req, const json_t *node,
                        struct http_response *resp)
{
    const char *format = http_query(req, "format");
    bool text = format && strcasecmp(format, "text") == 0;
    if (!node) {
        fail(resp, 404, "Not found", NULL);
    } else if (json_is_string(node) && text) {
        resp->status = 200;
        resp->media = "text/plain; charset=utf-8";
        buf_add_str(&resp->body, json_string_value(node));
    } else if (json_is_string(node)) {
        fail(resp, 404, "Bad request. Leaves are served as format=text only.", NULL);
    } else if (text) {
        struct buf names = {0};
        const char *name;
        json_t *v;
        json_object_foreach((json_t *)node, name, v)
            buf_printf(&names, "%s%s%s", names.len ? "\n" : "", name, json_is_string(v) ? "" : "/");
        resp->status = 200;
        resp->media = "text/plain; charset=utf-8";
        resp->body = names;
    } else {
        http_reply_json(resp, 200, json_incref((json_t *)node));
    }
}

static void instance(struct emulator *em, const struct http_request *req, const char *rest,
                     struct http_response *resp)
{
    const json_t *body = asking_vm(em, req, resp);
    if (!body)
        return;
    AUTO(json)
    json_t *root = json_pack("{so}", "compute", compute(body, http_query(req, "api-version")));
    char *path = arena_strdup(req->arena, *rest == '/' ? rest + 1 : rest);
    size_t n = strlen(path);
    if (n > 0 && path[n - 1] == '/')
        path[n - 1] = 0;
    answer_node(req, *path ? json_path(root, path) : root, resp);
}

/* ---- attested document ---- */

/* The document exists from here on. */
#define ATTESTED_SINCE "2018-10-01"

static void attested(struct emulator *em, const struct http_request *req,
                     struct http_response *resp)
{
    const char *nonce = http_query(req, "nonce");
    if (strcmp(http_query(req, "api-version"), ATTESTED_SINCE) < 0) {
        fail(resp, 404, "Not found", NULL);
        return;
    }
    if (nonce && !attested_nonce_valid(nonce)) {
        fail(resp, 400, "Bad request. The nonce is a number of up to 10 digits.", NULL);
        return;
    }
    const json_t *vm = asking_vm(em, req, resp);
    if (vm)
        http_reply_json(resp, 200, attested_document(&em->keys, vm, nonce, clock_wall(em->clock)));
}

static void serve(struct emulator *em, const struct http_request *req, struct http_response *resp)
{
    static const char token[] = "/metadata/identity/oauth2/token";
    static const char document[] = "/metadata/attested/document";
    static const char prefix[] = "/metadata/instance";
    const char *p = req->path;
    size_t n = sizeof token - 1;
    if (!request_good(req, resp))
        return;
    if (strncasecmp(p, token, n) == 0 && (!p[n] || strcmp(p + n, "/") == 0))
        give_token(em, req, resp);
    else if (strcasecmp(p, document) == 0)
        attested(em, req, resp);
    else if (strncasecmp(p, prefix, sizeof prefix - 1) == 0)
        instance(em, req, p + sizeof prefix - 1, resp);
    else
        fail(resp, 404, "Not found", NULL);
}

void imds_handle(struct emulator *em, const struct http_request *req, struct http_response *resp)
{
    http_add_header(resp, "Server", "IMDS/150.870.65.1854");
    pthread_mutex_lock(&em->lock);
    struct fault_action fault = faults_match(em, req);
    pthread_mutex_unlock(&em->lock);
    faults_before(&fault, resp);
    pthread_mutex_lock(&em->lock);
    operation_tick(em);
    if (!fault.answered)
        serve(em, req, resp);
    if (fault.drop_after)
        resp->drop = true;
    pthread_mutex_unlock(&em->lock);
    json_decref(fault.rule);
}
