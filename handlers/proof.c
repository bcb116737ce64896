#include "handlers/proof.h"

#include "handlers/activation.h"

#include "attest/document.h"
#include "attest/reasons.h"
#include "jobs/enrollment.h"

#include <strings.h>

struct proving {
    struct call *call;
    const struct proof_input *in;
    struct proof *out;
};

/* ---- token ---- */

static bool token_claimed(const struct evidence *ev)
{
    return ev->enrollment_token.text != NULL;
}

static bool token_proves(const struct proving *p)
{
    struct call *c = p->call;
    const struct vm *vm = p->in->vm;
    const char *token = p->in->evidence->enrollment_token.text;
    struct enrollment row;
    if (!vm || enrollment_check(c->app->keyring, token, vm->resource_id, NULL))
        return false;
    const char *hash = enrollment_text(c->arena, token);
    if (store_get_enrollment(c->app->store, c->arena, hash, &row, NULL) != OK ||
        strcasecmp(row.resource_id, vm->resource_id) != 0 || row.used_at ||
        c->now >= row.expires_at)
        return false;
    p->out->enrollment_hash = hash;
    p->out->decided = vm_token_decides(vm, &row);
    return true;
}

/* ---- Azure Attestation ---- */

static bool maa_claimed(const struct evidence *ev)
{
    return ev->maa_token.len > 0;
}

/* maa.token passes only where the token is signed by a configured provider, fresh for this challenge,
 * and its x-ms-azurevm-vmid is the report's vmId. */
static bool maa_proves(const struct proving *p)
{
    return attest_result_status(p->in->result, CHECK_MAA_TOKEN) == STATUS_PASS;
}

/* ---- attested document ---- */

static bool document_claimed(const struct evidence *ev)
{
    return ev->attested_document.len > 0;
}

/* A bad member of the report: the stable reason and what it means. */
static void complain(struct call *c, const char *pointer, const char *reason)
{
    const struct attest_reason *known = attest_reason_find(reason);
    err_add_field(&c->err, pointer, "%s: %s", reason, known ? known->text : "");
}

/* Segment 1 of an ARM id. */
static bool in_subscription(const char *resource_id, const char *subscription)
{
    static const char prefix[] = "/subscriptions/";
    size_t n = strlen(subscription);
    const char *id = resource_id + sizeof prefix - 1;
    return strncasecmp(resource_id, prefix, sizeof prefix - 1) == 0 &&
           strncasecmp(id, subscription, n) == 0 && id[n] == '/';
}

static bool document_proves(const struct proving *p)
{
    struct call *c = p->call;
    const struct evidence *ev = p->in->evidence;
    const struct attest_document_input in = {
        .der = ev->attested_document,
        .anchors = c->app->document_anchors,
        .vm_id = ev->vm_id,
        .nonce = {p->in->challenge->nonce, sizeof p->in->challenge->nonce},
        .asked_at = p->in->challenge->expires_at - c->app->challenge_ttl_ms,
        .now = c->now,
    };
    struct attest_document document;
    const char *why = attest_document_verify(&in, c->arena, &document);
    if (why)
        complain(c, "#/enrollment/attestedDocument", why);
    return !why && p->in->vm && in_subscription(p->in->vm->resource_id, document.subscription_id);
}

/* ---- credential activation ---- */

static bool activation_claimed(const struct evidence *ev)
{
    return ev->activation_id != NULL;
}

/* Of the AK it always is; of the vmId only where the EK's certificate was issued for this VM. */
static bool activation_proves(const struct proving *p)
{
    const struct activation *x = p->in->activation;
    if (!x || !x->names_vm)
        complain(p->call, "#/enrollment/activation",
                 x ? "activation_vm" : p->in->activation_reason);
    return x && x->names_vm && p->in->vm;
}

/* ---- the table ---- */

static const struct proof_row {
    enum enroll_proof kind;
    bool (*claimed)(const struct evidence *ev);
    bool (*proves)(const struct proving *p);
} rows[] = {
    {PROOF_TOKEN, token_claimed, token_proves},
    {PROOF_ATTESTED_DOCUMENT, document_claimed, document_proves},
    {PROOF_MAA_TOKEN, maa_claimed, maa_proves},
    {PROOF_ACTIVATION, activation_claimed, activation_proves},
};

bool proof_claimed(const struct evidence *ev)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].claimed(ev))
            return true;
    return false;
}

struct proof proof_find(struct call *c, const struct proof_input *in)
{
    struct proof found = {0};
    const struct proving p = {c, in, &found};
    for (size_t i = 0; i < ARRAY_LEN(rows) && found.kind == PROOF_NONE; i++)
        if (rows[i].claimed(in->evidence) && rows[i].proves(&p))
            found.kind = rows[i].kind;
    return found;
}
