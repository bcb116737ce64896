/*
 * Credential activation as a stranger sees it. First byte 'r': the body of a request, through the
 * contract's schema and the handler. Else evidence in CBOR whose activation must never be taken for one
 * that this gateway made.
 */
#include "handlers/activation.h"
#include "handlers/call.h"
#include "handlers/routes.h"

#include "attest/anchors.h"
#include "attest/ekcert.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/keyring.h"
#include "openapi/schemas.h"

#include <assert.h>
#include <openssl/err.h>
#include <unistd.h>

#define NOW INT64_C(1795000000000)
#define VM  "11111111-2222-4333-8444-555555555555"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *no_header(struct call *c, const char *name)
{
    return NULL;
}

static void ignore_header(struct call *c, const char *name, const char *value)
{
}

static const struct call_ops ops = {.header = no_header, .reply_header = ignore_header};

static struct app app;

static void open_app(void)
{
    static const char *const file = "tests/fuzz/ek-anchor.pem";
    const struct attest_anchors_options o = {.files = &file, .n_files = 1};
    char dir[] = "/tmp/tlgate-fuzz-XXXXXX", path[64];
    struct err_info e;
    if (app.keyring)
        return;
    app = (struct app){.public_url = "https://gateway",
                       .clock = &clock_system,
                       .challenge_ttl_ms = 60000,
                       .attest_by_peer = limiter_new(16, 0, 1)};
    if (!mkdtemp(dir) || attest_anchors_open(&o, &app.ek_anchors, &e))
        abort();
    snprintf(path, sizeof path, "%s/keys", dir);
    if (keyring_open(path, &app.keyring, NULL) || unlink(path) != 0 || rmdir(dir) != 0)
        abort();
}

static void send_request(struct bytes body, struct arena *a)
{
    struct activation_request request;
    struct call c = {.app = &app,
                     .ops = &ops,
                     .arena = a,
                     .now = NOW,
                     .operation = "create_activation",
                     .peer = "192.0.2.1",
                     .source = "192.0.2.1",
                     .request_id = "r",
                     .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};
    if (json_decode_text(body, &activation_request_schema, a, &request, &c.err))
        return;
    c.body = &request;
    int status = create_activation(&c);
    assert(status == 201 || status == 400);
    assert(status == 400 || c.out.len > 0);
    buf_free(&c.out);
}

static struct activation made_here(void)
{
    struct activation x = {.expires_at = NOW + 60000, .names_vm = true};
    memset(x.secret, 7, sizeof x.secret);
    return x;
}

static void check_evidence(struct bytes body, struct arena *a)
{
    struct evidence ev;
    struct activation x = made_here(), back;
    const char *id = activation_seal(app.keyring, a, VM, &x);
    if (wire_decode_cbor(body, WIRE_OFFLINE, a, &ev, NULL) || !ev.activation_id)
        return;
    if (!ev.vm_id)
        ev.vm_id = VM;
    const char *why = activation_check(app.keyring, a, &ev, 60000, NOW, &back);
    assert(why && strcmp(why, "activation_unknown") == 0);
    /* The same with an id that is: all that is left is the AK, which has another name. */
    ev.activation_id = id;
    ev.vm_id = VM;
    ev.activation_secret = BYTES_OF(x.secret);
    why = activation_check(app.keyring, a, &ev, 60000, NOW, &back);
    assert(why && strcmp(why, "activation_ak") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    open_app();
    struct arena *a = arena_new();
    if (data[0] == 'r')
        send_request(BYTES(data + 1, size - 1), a);
    else
        check_evidence(BYTES(data + 1, size - 1), a);
    arena_free(a);
    ERR_clear_error();
    return 0;
}
