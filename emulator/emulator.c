#include "emulator/emulator.h"
#include "emulator/arm.h"
#include "emulator/control.h"
#include "emulator/entra.h"
#include "emulator/faults.h"
#include "emulator/imds.h"
#include "emulator/maa.h"
#include "emulator/operation.h"
#include "emulator/reqlog.h"
#include "emulator/resource.h"
#include "emulator/subscription.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

/* Entra ID under the lock; Azure Attestation takes it for itself. */
static void entra_locked(struct emulator *em, const struct http_request *req,
                         struct http_response *resp)
{
    pthread_mutex_lock(&em->lock);
    entra_handle(em, req, resp);
    pthread_mutex_unlock(&em->lock);
}

/* They are under the same faults as ARM, but have no place in ARM's request log. */
static void serve_beside_arm(struct emulator *em, const struct http_request *req,
                             struct http_response *resp,
                             void (*handle)(struct emulator *, const struct http_request *,
                                            struct http_response *))
{
    pthread_mutex_lock(&em->lock);
    struct fault_action fault = faults_match(em, req);
    pthread_mutex_unlock(&em->lock);
    faults_before(&fault, resp);
    if (!fault.answered)
        handle(em, req, resp);
    resp->drop = resp->drop || fault.drop_after;
    json_decref(fault.rule);
}

static void on_https(void *ctx, const struct http_request *req, struct http_response *resp)
{
    struct emulator *em = ctx;
    if (control_handle(em, req, resp))
        return;
    if (entra_owns(req))
        serve_beside_arm(em, req, resp, entra_locked);
    else if (maa_owns(req))
        serve_beside_arm(em, req, resp, maa_handle);
    else
        arm_handle(em, req, resp);
}

static void on_imds(void *ctx, const struct http_request *req, struct http_response *resp)
{
    imds_handle(ctx, req, resp);
}

static enum err open_dir(const char *path, char out[PATH_MAX], struct err_info *e)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_set(e, ERR_CONFIG, "cannot make the state directory %s: %s", path,
                       strerror(errno));
    if (!realpath(path, out))
        return err_set(e, ERR_CONFIG, "cannot use the state directory %s: %s", path,
                       strerror(errno));
    return OK;
}

static enum err open_state(struct emulator *em, const struct emulator_options *o,
                           struct err_info *e)
{
    enum err err = state_open(em->dir, &em->state, e);
    if (!err)
        err = keys_open(em->dir, em->clock, &em->keys, e);
    if (!err)
        err = reqlog_open(em, e);
    if (!err)
        err = vtpm_host_open(em->dir, em->clock, &em->tpms, e);
    if (!err)
        err = entra_open(em, e);
    if (!err)
        err = maa_open(em, e);
    if (err)
        return err;
    control_load_settings(em);
    if (o->time_scale > 0)
        control_set_time_scale(em, o->time_scale);
    subscription_open(em, o->subscriptions, o->n_subscriptions);
    resource_open(em);
    operation_open(em);
    return OK;
}

static enum err write_endpoints(struct emulator *em, struct err_info *e)
{
    char text[256];
    snprintf(text, sizeof text, "{\"arm\":\"%s\",\"imds\":\"%s\"}\n", em->arm_url, em->imds_url);
    return keys_write_file(em->dir, "endpoints.json", text, false, e);
}

/* The URLs are known only once both ports are bound; what a call sees before is harmless. */
static enum err open_listeners(struct emulator *em, const struct emulator_options *o,
                               struct err_info *e)
{
    struct http_options https = {o->listen, em->keys.server_cert, em->keys.server_key, on_https,
                                 em};
    struct http_options imds = {.address = o->imds_listen, .handle = on_imds, .ctx = em};
    pthread_mutex_lock(&em->lock);
    enum err err = http_listen(&https, &em->arm, e);
    if (!err)
        err = http_listen(&imds, &em->imds, e);
    if (!err) {
        snprintf(em->arm_url, sizeof em->arm_url, "https://127.0.0.1:%u", http_port(em->arm));
        snprintf(em->imds_url, sizeof em->imds_url, "http://127.0.0.1:%u", http_port(em->imds));
        err = write_endpoints(em, e);
    }
    pthread_mutex_unlock(&em->lock);
    return err;
}

enum err emulator_start(const struct emulator_options *o, struct emulator **out, struct err_info *e)
{
    struct emulator *em = calloc(1, sizeof *em);
    if (!em)
        abort();
    em->clock = o->clock ? o->clock : &clock_system;
    em->throttle = throttle_new();
    em->refs = json_object();
    em->pending = json_object();
    em->promises = json_object();
    pthread_mutex_init(&em->lock, NULL);
    enum err err = open_dir(o->state_dir, em->dir, e);
    if (!err)
        err = open_state(em, o, e);
    if (!err)
        err = open_listeners(em, o, e);
    if (err) {
        emulator_stop(em);
        return err;
    }
    *out = em;
    return OK;
}

void emulator_stop(struct emulator *em)
{
    if (!em)
        return;
    http_close(em->arm);
    http_close(em->imds);
    vtpm_host_close(em->tpms);
    reqlog_close(em);
    state_close(em->state);
    keys_close(&em->keys);
    maa_close(em);
    throttle_free(em->throttle);
    json_decref(em->refs);
    json_decref(em->pending);
    json_decref(em->promises);
    pthread_mutex_destroy(&em->lock);
    free(em);
}

const char *emulator_arm_url(const struct emulator *em)
{
    return em->arm_url;
}

const char *emulator_imds_url(const struct emulator *em)
{
    return em->imds_url;
}
