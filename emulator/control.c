#include "emulator/control.h"
#include "emulator/faults.h"
#include "emulator/maa.h"
#include "emulator/operation.h"
#include "emulator/reqlog.h"
#include "emulator/resource.h"
#include "emulator/tpm.h"

#define KEY "settings"

static const struct settings defaults = {
    .lro_seconds = -1, /* 1 to 2 s, by chance */
    .retry_after = 1,
    .write_bucket = {200, 10},
    .read_bucket = {250, 25},
    .token_ttl = 3599,
    .time_scale = 1,
    .compute_throttling = true,
};

static void fail(struct http_response *resp, int status, const char *message)
{
    http_reply_json(resp, status,
                    json_pack("{s{ss ss}}", "error", "code",
                              status == 404 ? "NotFound" : "BadRequest", "message", message));
}

static bool positive(const json_t *v, double *out)
{
    *out = json_number_value(v);
    return json_is_number(v) && *out >= 0;
}

static bool read_bucket(const json_t *v, struct bucket_size *out)
{
    return json_array_size(v) == 2 && positive(json_array_get(v, 0), &out->size) &&
           positive(json_array_get(v, 1), &out->per_second);
}

/* One member of the settings; false where it is unknown or wrong. */
static bool read_setting(const char *name, const json_t *v, struct settings *s)
{
    double n = 0;
    if (strcmp(name, "writeBucket") == 0)
        return read_bucket(v, &s->write_bucket);
    if (strcmp(name, "readBucket") == 0)
        return read_bucket(v, &s->read_bucket);
    if (strcmp(name, "computeThrottling") == 0) {
        s->compute_throttling = json_is_true(v);
        return json_is_boolean(v);
    }
    if (!positive(v, &n))
        return false;
    if (strcmp(name, "lroSeconds") == 0)
        s->lro_seconds = n;
    else if (strcmp(name, "retryAfter") == 0)
        s->retry_after = (int64_t)n;
    else if (strcmp(name, "tokenTtl") == 0)
        s->token_ttl = (int64_t)n;
    else if (strcmp(name, "timeScale") == 0 && n > 0)
        s->time_scale = n;
    else
        return false;
    return true;
}

static const char *read_settings(const json_t *v, struct settings *s)
{
    if (!json_is_object(v))
        return "the settings are an object";
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)v, name, value)
    {
        if (!read_setting(name, value, s))
            return "members are lroSeconds, retryAfter, tokenTtl, timeScale (numbers), "
                   "writeBucket, readBucket ([size, perSecond]) and computeThrottling (boolean)";
    }
    return NULL;
}

static json_t *settings_json(const struct settings *s)
{
    json_t *v = json_pack("{sI s[ff] s[ff] sI sf sb}", "retryAfter", (json_int_t)s->retry_after,
                          "writeBucket", s->write_bucket.size, s->write_bucket.per_second,
                          "readBucket", s->read_bucket.size, s->read_bucket.per_second, "tokenTtl",
                          (json_int_t)s->token_ttl, "timeScale", s->time_scale, "computeThrottling",
                          s->compute_throttling);
    if (s->lro_seconds >= 0)
        json_object_set_new(v, "lroSeconds", json_real(s->lro_seconds));
    return v;
}

void control_load_settings(struct emulator *em)
{
    em->settings = defaults;
    const json_t *stored = state_get(em->state, STATE_MISC, KEY);
    if (stored)
        read_settings(stored, &em->settings);
}

void control_set_time_scale(struct emulator *em, double scale)
{
    em->settings.time_scale = scale;
    state_put(em->state, STATE_MISC, KEY, settings_json(&em->settings));
}

static json_t *read_json(const struct http_request *req, struct http_response *resp)
{
    json_t *v =
        json_loadb((const char *)req->body.data, req->body.len, JSON_REJECT_DUPLICATES, NULL);
    if (!v)
        fail(resp, 400, "the body is not JSON");
    return v;
}

static void put_settings(struct emulator *em, const struct http_request *req,
                         struct http_response *resp)
{
    AUTO(json) json_t *v = read_json(req, resp);
    if (!v)
        return;
    struct settings fresh = em->settings;
    const char *wrong = read_settings(v, &fresh);
    if (wrong) {
        fail(resp, 400, wrong);
        return;
    }
    em->settings = fresh;
    throttle_reset(em->throttle);
    state_put(em->state, STATE_MISC, KEY, settings_json(&em->settings));
    http_reply_json(resp, 200, settings_json(&em->settings));
}

static void put_faults(struct emulator *em, const struct http_request *req,
                       struct http_response *resp)
{
    AUTO(json) json_t *v = read_json(req, resp);
    if (!v)
        return;
    const char *wrong = faults_set(em, v);
    if (wrong)
        fail(resp, 400, wrong);
    else
        http_reply_json(resp, 200, json_incref(v));
}

static void get_faults(struct emulator *em, struct http_response *resp)
{
    json_t *list = json_object_get(state_get(em->state, STATE_MISC, "faults"), "list");
    http_reply_json(resp, 200, list ? json_incref(list) : json_array());
}

static json_t *vm_json(const char *vm_id, const json_t *vm)
{
    return json_pack("{sO ss sO}", "resourceId", json_object_get(vm, "resource"), "vmId", vm_id,
                     "powerState", json_object_get(vm, "powerState"));
}

static void list_vms(struct emulator *em, struct http_response *resp)
{
    json_t *all = json_array();
    const char *vm_id;
    json_t *vm;
    json_object_foreach(state_all(em->state, STATE_VM), vm_id, vm)
        json_array_append_new(all, vm_json(vm_id, vm));
    http_reply_json(resp, 200, json_pack("{so}", "value", all));
}

static bool get(const struct http_request *req)
{
    return strcmp(req->method, "GET") == 0;
}

static bool put(const struct http_request *req)
{
    return strcmp(req->method, "PUT") == 0;
}

static void locked(struct emulator *em, const char *what, const struct http_request *req,
                   struct http_response *resp)
{
    operation_tick(em);
    if (strcmp(what, "requests") == 0 && get(req)) {
        reqlog_reply(em, resp);
    } else if (strcmp(what, "requests") == 0 && strcmp(req->method, "DELETE") == 0) {
        reqlog_clear(em);
        resp->status = 204;
    } else if (strcmp(what, "vms") == 0 && get(req)) {
        list_vms(em, resp);
    } else if (strcmp(what, "faults") == 0 && put(req)) {
        put_faults(em, req, resp);
    } else if (strcmp(what, "faults") == 0 && get(req)) {
        get_faults(em, resp);
    } else if (strcmp(what, "settings") == 0 && put(req)) {
        put_settings(em, req, resp);
    } else if (strcmp(what, "settings") == 0 && get(req)) {
        http_reply_json(resp, 200, settings_json(&em->settings));
    } else if (!maa_control(em, what, req, resp)) {
        fail(resp, 404,
             "the emulator has requests, vms, vms/{vmId}, faults, settings and attestation");
    }
}

/* One VM: its vTPM is made without the lock, since that takes half a second. */
static void get_vm(struct emulator *em, const char *vm_id, struct http_response *resp)
{
    struct tpm_answer tpm;
    struct err_info e = {0};
    enum err err = tpm_of_vm(em, vm_id, &tpm, &e);
    if (err) {
        fail(resp, err == ERR_NOT_FOUND ? 404 : 503, e.detail);
        return;
    }
    json_t *v = vm_json(vm_id, tpm.vm);
    json_decref(tpm.vm);
    if (tpm.has_tpm) {
        json_object_set_new(v, "tcti", json_string(tpm.at.tcti));
        json_object_set_new(v, "eventLog", json_string(tpm.at.event_log));
    }
    if (tpm.user_data)
        json_object_set_new(v, "userData", tpm.user_data);
    http_reply_json(resp, 200, v);
}

bool control_handle(struct emulator *em, const struct http_request *req, struct http_response *resp)
{
    static const char prefix[] = "/_emulator/";
    if (strncmp(req->path, prefix, sizeof prefix - 1) != 0)
        return false;
    const char *what = req->path + sizeof prefix - 1;
    if (strncmp(what, "vms/", 4) == 0 && get(req)) {
        get_vm(em, what + 4, resp);
        return true;
    }
    pthread_mutex_lock(&em->lock);
    locked(em, what, req, resp);
    pthread_mutex_unlock(&em->lock);
    return true;
}
