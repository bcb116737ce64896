/*
 * The client against azure-emulator: tokens of every kind, operations of every kind, throttles. The
 * emulator is started by tests/e2e/test_arm_client.py, which says where it is; without it the tests
 * are skipped. Settings and faults go through the client itself.
 */
#include "arm/arm.h"
#include "core/json.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#define SUB   "00000000-0000-0000-0000-000000000001"
#define RG(n) "/subscriptions/" SUB "/resourcegroups/" n "?api-version=2025-04-01"
#define NET(n)                                                                                     \
    "/subscriptions/" SUB "/resourceGroups/arm/providers/Microsoft.Network/" n                     \
    "?api-version=2025-05-01"
#define COMP(n)                                                                                    \
    "/subscriptions/" SUB "/resourceGroups/arm/providers/Microsoft.Compute/" n                     \
    "?api-version=2025-04-01"
#define DISK                                                                                       \
    "/subscriptions/" SUB                                                                          \
    "/resourceGroups/arm/providers/Microsoft.Compute/disks/d1?api-version=2025-01-02"
#define VNET                                                                                       \
    "{\"location\":\"westeurope\",\"properties\":{\"addressSpace\":{\"addressPrefixes\":[\"10.0."  \
    "0.0/16\"]}}}"
#define NET_ID(n) "/subscriptions/" SUB "/resourceGroups/arm/providers/Microsoft.Network/" n
#define VNET_WITH_SUBNET                                                                           \
    "{\"location\":\"westeurope\",\"properties\":{\"addressSpace\":{\"addressPrefixes\":[\"10.1."  \
    "0.0/16\"]},\"subnets\":[{\"name\":\"s\",\"properties\":{\"addressPrefix\":\"10.1.0.0/"        \
    "24\"}}]}}"
#define NO_CAPACITY "{\"error\":{\"code\":\"ServiceUnavailable\",\"message\":\"busy\"}}"

AUTO_DEFINE(reply, struct arm_reply *, arm_reply_free)
AUTO_DEFINE(arm, struct arm *, arm_stop)
AUTO_DEFINE(arena, struct arena *, arena_free)

static const char *env(const char *name)
{
    const char *v = getenv(name);
    if (!v)
        skip();
    return v;
}

static struct arm_identity identity(enum arm_credential kind)
{
    const char *secret = env("AZURE_CLIENT_SECRET");
    struct arm_identity id = {
        .name = "emulated",
        .kind = kind,
        .tenant_id = env("AZURE_TENANT_ID"),
        .client_id = env("AZURE_CLIENT_ID"),
        .endpoint = env("EMULATOR_URL"),
        .authority = env("EMULATOR_URL"),
    };
    if (kind == ARM_CLIENT_SECRET)
        id.client_secret = (struct secret){secret, strlen(secret)};
    if (kind == ARM_MANAGED_IDENTITY)
        id.client_id = NULL;
    if (kind == ARM_WORKLOAD_IDENTITY)
        id.federated_token_file = env("AZURE_FEDERATED_TOKEN_FILE");
    return id;
}

static struct arm *start(struct arm_identity id)
{
    struct arm *arm = NULL;
    struct err_info e = {0};
    const struct arm_config cfg = {
        .identities = &id,
        .n_identities = 1,
        .imds_endpoint = env("EMULATOR_IMDS_URL"),
        .ca_file = env("EMULATOR_CA"),
        .proxy = "",
    };
    if (arm_start(&cfg, &arm, &e) != OK)
        fail_msg("arm_start: %s", e.detail);
    return arm;
}

/* ---- one call, one operation ---- */

struct wait {
    pthread_mutex_t lock;
    pthread_cond_t done;
    struct arm_reply *reply;
};

static void on_done(void *ctx, struct arm_reply *r)
{
    struct wait *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->reply = r;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

static struct arm_reply *call(struct arm *arm, enum arm_method method, const char *target,
                              const char *body)
{
    struct wait w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};
    const struct arm_request q = {.method = method,
                                  .subscription = strncmp(target, "/_", 2) == 0 ? NULL : SUB,
                                  .target = target,
                                  .body = BYTES_STR(body)};
    arm_send(arm, &q, on_done, &w);
    pthread_mutex_lock(&w.lock);
    while (!w.reply)
        pthread_cond_wait(&w.done, &w.lock);
    pthread_mutex_unlock(&w.lock);
    return w.reply;
}

static void control(struct arm *arm, const char *what, const char *body)
{
    AUTO(reply) struct arm_reply *r = call(arm, ARM_PUT, what, body);
    if (r->status / 100 != 2)
        fail_msg("%s: %d %s %.*s", what, r->status, r->detail, (int)r->body.len,
                 (const char *)r->body.data);
}

struct operation {
    int status; /* of the first answer */
    enum arm_lro_kind kind;
    enum arm_lro_state state;
    struct arm_outcome outcome;
    int final_status; /* of the GET after success; 0: none was due */
    unsigned polls;
};

/* As the engine does it, without its store: send, poll as told, get the result. */
static void operate(struct arm *arm, enum arm_method method, const char *target, const char *body,
                    struct operation *out)
{
    AUTO(arena) struct arena *a = arena_new();
    AUTO(reply) struct arm_reply *first = call(arm, method, target, body);
    struct arm_lro lro;
    struct arm_lro_status s = {.state = ARM_LRO_SUCCEEDED};
    struct err_info e = {0};
    *out = (struct operation){.status = first->status};
    arm_classify(first, &out->outcome);
    if (out->outcome.class > ARM_CLASS_ACCEPTED)
        return;
    if (arm_lro_next(a, arm_endpoint(arm, SUB), method, target, first, &lro, &e) != OK)
        fail_msg("arm_lro_next: %s", e.detail);
    out->kind = lro.kind;
    for (int64_t wait = lro.wait_ms; lro.kind != ARM_LRO_NONE; wait = s.wait_ms) {
        usleep((unsigned)wait * 1000);
        AUTO(reply) struct arm_reply *r = call(arm, ARM_GET, lro.url, "");
        arm_lro_read(lro.kind, r, 0, &s);
        out->polls++;
        if (s.state != ARM_LRO_IN_PROGRESS && s.state != ARM_LRO_UNKNOWN)
            break;
    }
    out->state = s.state;
    if (lro.kind != ARM_LRO_NONE)
        out->outcome = s.outcome;
    if (s.state == ARM_LRO_SUCCEEDED && lro.final_url) {
        AUTO(reply) struct arm_reply *r = call(arm, ARM_GET, lro.final_url, "");
        out->final_status = r->status;
    }
}

static void expect(const struct operation *got, int status, enum arm_lro_kind kind,
                   int final_status)
{
    if (got->status != status || got->kind != kind || got->state != ARM_LRO_SUCCEEDED ||
        got->final_status != final_status)
        fail_msg("status %d, %s, state %d, final %d: %s %s", got->status,
                 arm_lro_kind_name(got->kind), got->state, got->final_status, got->outcome.code,
                 got->outcome.message);
}

static void make_group(struct arm *arm, const char *target)
{
    AUTO(reply) struct arm_reply *r = call(arm, ARM_PUT, target, "{\"location\":\"westeurope\"}");
    assert_true(r->status == 200 || r->status == 201);
}

/* Every test starts from the same settings and without faults. */
static int reset(void **state)
{
    if (!getenv("EMULATOR_URL"))
        return 0;
    AUTO(arm) struct arm *arm = start(identity(ARM_CLIENT_SECRET));
    control(arm, "/_emulator/faults", "[]");
    control(arm, "/_emulator/settings",
            "{\"lroSeconds\":0.4,\"retryAfter\":0,\"writeBucket\":[200,10],\"tokenTtl\":3599}");
    make_group(arm, RG("arm"));
    return 0;
}

/* ---- tokens ---- */

static void test_every_kind_of_identity(void **state)
{
    const enum arm_credential kinds[] = {ARM_CLIENT_SECRET, ARM_MANAGED_IDENTITY,
                                         ARM_WORKLOAD_IDENTITY};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        AUTO(arm) struct arm *arm = start(identity(kinds[i]));
        AUTO(reply) struct arm_reply *r = call(arm, ARM_GET, RG("arm"), "");
        if (r->status != 200)
            fail_msg("kind %zu: %d %s", i, r->status, r->detail);
        assert_non_null(r->request_id);
    }
}

static void test_refused_credentials(void **state)
{
    struct arm_identity id = identity(ARM_CLIENT_SECRET);
    id.client_secret = (struct secret){"not-the-secret", 14};
    AUTO(arm) struct arm *wrong_secret = start(id);
    AUTO(reply) struct arm_reply *r = call(wrong_secret, ARM_GET, RG("arm"), "");
    assert_int_equal(r->failure, ARM_FAIL_TOKEN);
    assert_string_equal(r->failure_code, "AADSTS7000215");
    assert_null(strstr(r->detail, "not-the-secret"));
    assert_null(strstr(r->detail, "Trace ID"));
    id = identity(ARM_CLIENT_SECRET);
    id.client_id = "00000000-0000-0000-0000-0000000000ff";
    AUTO(arm) struct arm *wrong_app = start(id);
    AUTO(reply) struct arm_reply *r2 = call(wrong_app, ARM_GET, RG("arm"), "");
    assert_int_equal(r2->failure, ARM_FAIL_TOKEN);
    assert_string_equal(r2->failure_code, "AADSTS700016");
}

/* Tokens live for 4 s here: for 9 s every call is answered, and none ever waits for a 401. */
static void test_refresh_ahead(void **state)
{
    AUTO(arm) struct arm *other = start(identity(ARM_MANAGED_IDENTITY));
    control(other, "/_emulator/settings", "{\"tokenTtl\":4}");
    AUTO(arm) struct arm *arm = start(identity(ARM_CLIENT_SECRET));
    struct arm_stats stats;
    for (int i = 0; i < 90; i++) {
        AUTO(reply) struct arm_reply *r = call(arm, ARM_GET, RG("arm"), "");
        assert_int_equal(r->status, 200);
        usleep(100000);
    }
    arm_stats(arm, &stats);
    assert_in_range(stats.tokens, 3, 4); /* at 0 s, and whenever 80 % of 4 s were over */
    assert_int_equal(stats.replies[4], 0);
}

static void test_refused_token_is_replaced(void **state)
{
    AUTO(arm) struct arm *arm = start(identity(ARM_CLIENT_SECRET));
    struct arm_stats stats;
    control(arm, "/_emulator/faults",
            "[{\"method\":\"GET\",\"path\":\"/subscriptions/*\",\"nth\":1,\"times\":1,\"action\":{"
            "\"status\":401,\"body\":{\"error\":{\"code\":\"ExpiredAuthenticationToken\","
            "\"message\":\"expired\"}}}}]");
    AUTO(reply) struct arm_reply *r = call(arm, ARM_GET, RG("arm"), "");
    assert_int_equal(r->status, 200);
    usleep(200000);
    arm_stats(arm, &stats);
    assert_int_equal(stats.tokens, 2);
}

static void test_token_endpoint_recovers(void **state)
{
    AUTO(arm) struct arm *other = start(identity(ARM_MANAGED_IDENTITY));
    control(other, "/_emulator/faults",
            "[{\"method\":\"POST\",\"path\":\"*/oauth2/v2.0/token\",\"nth\":1,\"times\":1,"
            "\"action\":{\"status\":503,\"body\":" NO_CAPACITY "}}]");
    AUTO(arm) struct arm *arm = start(identity(ARM_CLIENT_SECRET));
    AUTO(reply) struct arm_reply *r = call(arm, ARM_GET, RG("arm"), "");
    assert_int_equal(r->status, 200);
    assert_true(r->duration_ms >= 500);
}

/* ---- operations ---- */

static void test_operations(void **state)
{
    AUTO(arm) struct arm *arm = start(identity(ARM_CLIENT_SECRET));
    struct operation op;
    operate(arm, ARM_PUT, RG("arm-lro"), "{\"location\":\"westeurope\"}", &op);
    expect(&op, op.status == 200 ? 200 : 201, ARM_LRO_NONE, 0);
    operate(arm, ARM_PUT, NET("virtualNetworks/v1"), VNET, &op);
    expect(&op, op.status == 200 ? 200 : 201, ARM_LRO_ASYNC, 200);
    assert_true(op.polls >= 1);
    operate(arm, ARM_PUT, DISK,
            "{\"location\":\"westeurope\",\"properties\":{\"creationData\":{\"createOption\":"
            "\"Empty\"},\"diskSizeGB\":4}}",
            &op);
    expect(&op, op.status == 200 ? 200 : 202, op.kind, op.final_status);
    assert_int_not_equal(op.kind, ARM_LRO_NONE);
    operate(arm, ARM_DELETE, DISK, "", &op);
    expect(&op, 202, op.kind, 0);
    operate(arm, ARM_DELETE, DISK, "", &op);
    expect(&op, 204, ARM_LRO_NONE, 0);
    operate(arm, ARM_DELETE, NET("virtualNetworks/v1"), "", &op);
    expect(&op, 202, op.kind, 0);
    AUTO(reply) struct arm_reply *gone = call(arm, ARM_GET, NET("virtualNetworks/v1"), "");
    arm_classify(gone, &op.outcome);
    assert_int_equal(op.outcome.class, ARM_CLASS_MISSING);
    assert_string_equal(op.outcome.code, "ResourceNotFound");
    /* A resource group's deletion has a Location and no Azure-AsyncOperation. */
    operate(arm, ARM_DELETE, RG("arm-lro"), "", &op);
    expect(&op, 202, ARM_LRO_LOCATION, 0);
    AUTO(reply) struct arm_reply *group = call(arm, ARM_GET, RG("arm-lro"), "");
    assert_int_equal(group->status, 404);
}

/* A VM with all it needs; then a POST whose result is behind its Location. */
static void test_vm_and_its_actions(void **state)
{
    static const struct {
        const char *target;
        const char *body;
    } parts[] = {
        {NET("virtualNetworks/vmnet"), VNET_WITH_SUBNET},
        {NET("networkInterfaces/vmnic"),
         "{\"location\":\"westeurope\",\"properties\":{\"ipConfigurations\":[{\"name\":\"ip\","
         "\"properties\":{\"subnet\":{\"id\":\"" NET_ID(
             "virtualNetworks/vmnet/subnets/s") "\"}}}]}}"},
        {COMP("virtualMachines/vm1"),
         "{\"location\":\"westeurope\",\"properties\":{\"hardwareProfile\":{\"vmSize\":"
         "\"Standard_D2s_v5\"},\"storageProfile\":{\"imageReference\":{\"publisher\":\"Canonical\","
         "\"offer\":\"0001-com-ubuntu-server-jammy\",\"sku\":\"22_04-lts-gen2\",\"version\":"
         "\"latest\"},\"osDisk\":{\"createOption\":\"FromImage\"}},\"osProfile\":{\"computerName\":"
         "\"vm1\",\"adminUsername\":\"azureuser\",\"adminPassword\":\"Canary-Passw0rd!\"},"
         "\"networkProfile\":{\"networkInterfaces\":[{\"id\":\"" NET_ID(
             "networkInterfaces/vmnic") "\"}]},\"securityProfile\":{\"securityType\":"
                                        "\"TrustedLaunch\",\"uefiSettings\":{"
                                        "\"secureBootEnabled\":true,\"vTpmEnabled\":true}}}}"},
    };
    AUTO(arm) struct arm *arm = start(identity(ARM_CLIENT_SECRET));
    struct operation op;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        operate(arm, ARM_PUT, parts[i].target, parts[i].body, &op);
        expect(&op, 201, ARM_LRO_ASYNC, 200);
    }
    operate(arm, ARM_POST, COMP("virtualMachines/vm1/restart"), "", &op);
    expect(&op, 202, ARM_LRO_ASYNC, 200);
    for (size_t i = ARRAY_LEN(parts); i-- > 0;) {
        operate(arm, ARM_DELETE, parts[i].target, "", &op);
        expect(&op, 202, op.kind, 0);
    }
}

static void test_operation_that_fails(void **state)
{
    static const struct {
        const char *fault;
        enum arm_lro_state state;
        const char *code;
        enum arm_class class;
    } rows[] = {
        {"{\"lro\":\"Failed\",\"error\":{\"code\":\"AllocationFailed\",\"message\":\"no room\"}}",
         ARM_LRO_FAILED, "AllocationFailed", ARM_CLASS_CAPACITY},
        {"{\"lro\":\"Canceled\",\"error\":{\"code\":\"OperationPreempted\",\"message\":\"gone\"}}",
         ARM_LRO_CANCELED, "OperationPreempted", ARM_CLASS_CONFLICT},
    };
    AUTO(arm) struct arm *arm = start(identity(ARM_CLIENT_SECRET));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct operation op;
        struct err_info e = {0};
        char faults[512];
        snprintf(faults, sizeof faults,
                 "[{\"method\":\"PUT\",\"path\":\"*/virtualNetworks/*\",\"nth\":1,\"times\":1,"
                 "\"action\":%s}]",
                 rows[i].fault);
        control(arm, "/_emulator/faults", faults);
        operate(arm, ARM_PUT, NET("virtualNetworks/bad"), VNET, &op);
        assert_int_equal(op.state, rows[i].state);
        assert_string_equal(op.outcome.code, rows[i].code);
        assert_int_equal(op.outcome.class, rows[i].class);
        assert_int_not_equal(arm_outcome_err(&op.outcome, &e), OK);
        assert_string_equal(e.upstream_code, rows[i].code);
    }
}

static void test_errors_by_class(void **state)
{
    AUTO(arm) struct arm *arm = start(identity(ARM_CLIENT_SECRET));
    struct operation op;
    AUTO(reply)
    struct arm_reply *no_group = call(
        arm, ARM_PUT,
        "/subscriptions/" SUB
        "/resourceGroups/none/providers/Microsoft.Network/virtualNetworks/v?api-version=2025-05-01",
        VNET);
    arm_classify(no_group, &op.outcome);
    assert_int_equal(op.outcome.class, ARM_CLASS_MISSING);
    assert_string_equal(op.outcome.code, "ResourceGroupNotFound");
    AUTO(reply) struct arm_reply *bad = call(arm, ARM_PUT, NET("virtualNetworks/v"), "{\"x\":1}");
    arm_classify(bad, &op.outcome);
    assert_int_equal(op.outcome.class, ARM_CLASS_PERMANENT);
    assert_true(op.outcome.code[0] != '\0');
    control(arm, "/_emulator/faults",
            "[{\"method\":\"GET\",\"path\":\"/subscriptions/*\",\"nth\":1,\"times\":1,\"action\":{"
            "\"status\":503,\"headers\":{\"Retry-After\":\"3\"},\"body\":" NO_CAPACITY "}}]");
    AUTO(reply) struct arm_reply *busy = call(arm, ARM_GET, RG("arm"), "");
    arm_classify(busy, &op.outcome);
    assert_int_equal(op.outcome.class, ARM_CLASS_TRANSIENT);
    assert_int_equal(op.outcome.retry_after_ms, 3000);
}

static void test_dropped_connections(void **state)
{
    static const char *const drops[] = {"before", "after"};
    AUTO(arm) struct arm *arm = start(identity(ARM_CLIENT_SECRET));
    for (size_t i = 0; i < ARRAY_LEN(drops); i++) {
        char faults[256];
        snprintf(faults, sizeof faults,
                 "[{\"method\":\"POST\",\"path\":\"*/register\",\"nth\":1,\"times\":1,\"action\":{"
                 "\"drop\":\"%s\"}}]",
                 drops[i]);
        control(arm, "/_emulator/faults", faults);
        AUTO(reply)
        struct arm_reply *r = call(arm, ARM_POST,
                                   "/subscriptions/" SUB
                                   "/providers/Microsoft.Network/register?api-version=2025-04-01",
                                   "");
        assert_int_equal(r->failure, ARM_FAIL_BROKEN);
    }
}

/* ---- throttling: the emulator's log is looked at by the Python side ---- */

struct burst {
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned n;
    unsigned by_status[2]; /* 429, held */
};

static void on_burst(void *ctx, struct arm_reply *r)
{
    struct burst *b = ctx;
    pthread_mutex_lock(&b->lock);
    b->n++;
    b->by_status[0] += r->status == 429;
    b->by_status[1] += r->failure == ARM_FAIL_HELD;
    pthread_cond_signal(&b->done);
    pthread_mutex_unlock(&b->lock);
    arm_reply_free(r);
}

static void test_throttle(void **state)
{
    AUTO(arm) struct arm *arm = start(identity(ARM_CLIENT_SECRET));
    struct burst b = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, {0}};
    control(arm, "/_emulator/settings", "{\"writeBucket\":[5,0.5],\"lroSeconds\":0}");
    for (unsigned round = 1; round <= 3; round++) {
        for (int i = 0; i < 20; i++) {
            const struct arm_request q = {
                .method = ARM_PUT,
                .subscription = SUB,
                .target = RG("throttled"), /* no other test was told to wait for it */
                .body = BYTES_STR("{\"location\":\"westeurope\"}")};
            arm_send(arm, &q, on_burst, &b);
        }
        pthread_mutex_lock(&b.lock);
        while (b.n < round * 20)
            pthread_cond_wait(&b.done, &b.lock);
        pthread_mutex_unlock(&b.lock);
        int64_t until = arm_not_before(arm, SUB, ARM_OP_WRITE);
        assert_true(until > 0);
        while (clock_wall(&clock_system) < until)
            usleep(20000);
    }
    assert_in_range(b.by_status[0], 3, 6);
    assert_true(b.by_status[1] > 30);
}

#define TEST(f) cmocka_unit_test_setup(f, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_kind_of_identity),
        TEST(test_refused_credentials),
        TEST(test_refresh_ahead),
        TEST(test_refused_token_is_replaced),
        TEST(test_token_endpoint_recovers),
        TEST(test_operations),
        TEST(test_vm_and_its_actions),
        TEST(test_operation_that_fails),
        TEST(test_errors_by_class),
        TEST(test_dropped_connections),
        TEST(test_throttle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
