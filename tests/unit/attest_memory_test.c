/*
 * No body of 256 KiB makes the process grow by more than 4 MiB, whatever is in it: decoding and
 * judging hostile evidence, counted allocation by allocation. The sanitizers' runtime counts; where
 * the build has none the test is skipped.
 */
#include "tests/unit/attest_judge.h"

#include <stdatomic.h>

#define BODY_MAX  ((size_t)256 * 1024)
#define GROWS_MAX ((int64_t)4 * 1024 * 1024)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTED 1
#endif
#endif

#ifdef COUNTED
/* Of the sanitizers' allocator interface; gcc ships the functions without their header. */
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));
size_t __sanitizer_get_allocated_size(const volatile void *p);

static _Atomic int64_t held, peak;

static void on_malloc(const volatile void *p, size_t n)
{
    int64_t now = atomic_fetch_add(&held, (int64_t)n) + (int64_t)n;
    if (now > peak)
        peak = now;
}

static void on_free(const volatile void *p)
{
    if (p)
        atomic_fetch_sub(&held, (int64_t)__sanitizer_get_allocated_size(p));
}

static int start_counting(void **state)
{
    static bool installed;
    if (!installed && __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) == 0)
        return -1;
    installed = true;
    return setup(state);
}
#else
static int64_t held, peak;

static int start_counting(void **state)
{
    return setup(state);
}
#endif

/* Decodes and judges as a report's handler does, and says by how much the heap grew meanwhile. */
static int64_t growth_of(struct bytes body, bool cbor)
{
    char *text = malloc(body.len + 1); /* as it comes from the connection */
    memcpy(text, body.data, body.len);
    text[body.len] = 0;
    int64_t before = peak = held;
    struct arena *a = arena_new();
    struct evidence ev;
    struct attest_input in = m->in;
    struct err_info e = {0};
    enum err err = cbor ? wire_decode_cbor(BYTES(text, body.len), WIRE_OFFLINE, a, &ev, &e)
                        : wire_decode_json(text, body.len, WIRE_OFFLINE, a, &ev, &e);
    in.evidence = &ev;
    if (err == OK)
        err = attest_verify(&in, a, &result, &e);
    arena_free(a);
    free(text);
    return peak - before;
}

static void assert_bounded(const char *name, struct bytes body, bool cbor)
{
    assert_true(body.len <= BODY_MAX);
    int64_t grown = growth_of(body, cbor);
    if (grown > GROWS_MAX)
        print_message("%s: %lld bytes for %zu\n", name, (long long)grown, body.len);
    assert_in_range(grown, 0, GROWS_MAX);
}

/* The same evidence on both wires. */
static void assert_evidence_bounded(const char *name)
{
    struct buf json = {0}, cbor = {0};
    wire_encode_json(&m->ev, &json);
    wire_encode_cbor(&m->ev, &cbor);
    assert_bounded(name, buf_bytes(&json), false);
    assert_bounded(name, buf_bytes(&cbor), true);
    buf_free(&json);
    buf_free(&cbor);
}

/* ---- logs as large as they may be ---- */

/* `head`, then as many copies of the event as fit. */
static void fill_log(struct bytes event)
{
    struct buf b = {0};
    make_header(m, &b, 32);
    for (size_t n = 1; b.len + event.len <= EVIDENCE_LOG_MAX && n < EVENTLOG_EVENTS_MAX; n++)
        buf_add(&b, event.data, event.len);
    m->ev.event_log = make_keep(m->arena, &b);
}

static struct bytes event_of(uint32_t pcr, uint32_t type, struct bytes data, bool honest)
{
    struct buf b = {0};
    uint8_t digest[32] = {0};
    if (honest)
        hash_digest(BANK_SHA256, data, digest);
    make_le(&b, pcr, 4);
    make_le(&b, type, 4);
    make_le(&b, 1, 4);
    make_le(&b, TPM2_ALG_SHA256, 2);
    buf_add(&b, digest, sizeof digest);
    make_le(&b, data.len, 4);
    buf_add(&b, data.data, data.len);
    return make_keep(m->arena, &b);
}

static struct bytes long_list(size_t entries, size_t each)
{
    struct buf b = {0};
    buf_add(&b, make_guid_x509, 16);
    make_le(&b, 28 + entries * each, 4);
    make_le(&b, 0, 4);
    make_le(&b, each, 4);
    for (size_t i = 0; i < entries * each; i++)
        buf_add_char(&b, 0x30);
    return make_keep(m->arena, &b);
}

static struct bytes nested_sipa(unsigned depth)
{
    struct bytes inner = BYTES("\2\0\5\0\1\0\0\0\1", 9);
    while (depth--) {
        struct buf b = {0};
        make_le(&b, 0x40010001, 4);
        make_le(&b, inner.len, 4);
        buf_add(&b, inner.data, inner.len);
        inner = make_keep(m->arena, &b);
    }
    return inner;
}

static void hostile_logs(void **state)
{
    make_reset(m);
    make_build(m);
    const struct {
        const char *name;
        uint32_t pcr, type;
        struct bytes data;
        bool honest;
    } logs[] = {
        {"separators", 7, EV_SEPARATOR, BYTES("\1\0\0\0", 4), false},
        {"unknown types", 3, 0x99999999, {0}, false},
        {"retyped", 7, EV_UNUSED, BYTES_STR("x"), false},
        {"actions", 4, EV_EFI_ACTION, BYTES_STR("x"), false},
        {"variables", 7, EV_EFI_VARIABLE_DRIVER_CONFIG,
         make_variable(m->arena, make_global, "SecureBoot", BYTES("\2", 1)), false},
        {"authorities", 7, EV_EFI_VARIABLE_AUTHORITY,
         make_variable(m->arena, make_security, "db", BYTES_STR("0123456789abcdef0")), true},
        {"applications", 4, EV_EFI_BOOT_SERVICES_APPLICATION, {0}, false},
        {"command lines", 8, EV_IPL, BYTES_STR("kernel_cmdline: x"), false},
        {"localities", 0, EV_NO_ACTION, BYTES("StartupLocality\0\3", 17), false},
        {"a list of 4000 entries", 7, EV_EFI_VARIABLE_DRIVER_CONFIG,
         make_variable(m->arena, make_security, "dbx", long_list(4000, 16)), true},
        {"a list of large entries", 7, EV_EFI_VARIABLE_DRIVER_CONFIG,
         make_variable(m->arena, make_security, "db", long_list(2, 50000)), true},
        {"nested SIPA events", 12, EV_EVENT_TAG, nested_sipa(3), true},
        {"SIPA events too deep", 12, EV_EVENT_TAG, nested_sipa(1000), true},
    };
    for (size_t i = 0; i < ARRAY_LEN(logs); i++) {
        fill_log(event_of(logs[i].pcr, logs[i].type, logs[i].data, logs[i].honest));
        assert_evidence_bounded(logs[i].name);
    }
}

/* ---- certificates ---- */

static void hostile_certificates(void **state)
{
    static uint8_t junk[EVIDENCE_CERT_MAX];
    static const uint8_t heads[][4] = {
        {0x30, 0x82, 0x1f, 0xfc}, {0x30, 0x84, 0xff, 0xff}, {0x30, 0x80, 0x30, 0x80}};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        make_reset(m);
        make_build(m);
        memset(junk, 0x30, sizeof junk);
        memcpy(junk, heads[i], sizeof heads[i]);
        m->ev.ak_certificate = BYTES_OF(junk);
        for (m->ev.n_chain = 0; m->ev.n_chain < EVIDENCE_CHAIN_MAX; m->ev.n_chain++)
            m->ev.chain[m->ev.n_chain] = BYTES_OF(junk);
        assert_evidence_bounded("certificates");
    }
}

/* ---- texts that are no evidence ---- */

/* `head`, then `part` until the body is full. */
static struct bytes repeated(const char *head, struct bytes part)
{
    struct buf b = {0};
    buf_add_str(&b, head);
    while (b.len + part.len <= BODY_MAX)
        buf_add(&b, part.data, part.len);
    return make_keep(m->arena, &b);
}

static void hostile_texts(void **state)
{
    static const struct {
        const char *head, *part;
    } json[] = {
        {"", "["},
        {"", "{\"a\":"},
        {"{\"quote\":", "[[],"},
        {"{\"ak\":{\"chain\":[", "\"\","},
        {"{\"pcrs\":{\"sha256\":{", "\"0\":\"\","},
        {"{\"pcrs\":{", "\"x\":{},"},
        {"{\"eventLog\":\"", "A"},
        {"{\"eventLog\":\"", "\\u0041"},
        {"{\"maaToken\":\"", "a."},
        {"{", "\"a\":1,"},
        {"{\"quote\":{\"message\":\"", "\\"},
    };
    static const struct {
        const char *head, *part;
        size_t n;
    } cbor[] = {
        {"", "\x9f", 1},
        {"", "\xbf", 1},
        {"", "\x81", 1},
        {"", "\xa1\x60", 2},
        {"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff", "\x60\x60", 2},
        {"\x9b\x01\x01\x01\x01\x01\x01\x01\x01", "\xf6", 1},
        {"\xa1\x68"
         "eventLog\x5a\xff\xff\xff\xff",
         "\x41", 1},
        {"\xa1\x62"
         "ak\xa1\x65"
         "chain\x9a\x10\x01\x01\x01",
         "\x40", 1},
        {"", "\xd9\xd9\xf7", 3},
    };
    make_reset(m);
    make_build(m);
    for (size_t i = 0; i < ARRAY_LEN(json); i++)
        assert_bounded(json[i].head, repeated(json[i].head, BYTES_STR(json[i].part)), false);
    for (size_t i = 0; i < ARRAY_LEN(cbor); i++)
        assert_bounded(cbor[i].head, repeated(cbor[i].head, BYTES(cbor[i].part, cbor[i].n)), true);
}

/* Every byte that is a length in honest evidence, as large as it can be. */
static void large_lengths_everywhere(void **state)
{
    struct buf cbor = {0};
    make_reset(m);
    make_build(m);
    wire_encode_cbor(&m->ev, &cbor);
    struct bytes honest = make_keep(m->arena, &cbor);
    for (size_t at = 0; at < honest.len; at += 7)
        assert_bounded("a byte of CBOR", edited(honest, at, 0xff), true);
}

static void honest_evidence_is_counted(void **state)
{
    struct buf cbor = {0};
    make_reset(m);
    make_build(m);
    wire_encode_cbor(&m->ev, &cbor);
    int64_t grown = growth_of(buf_bytes(&cbor), true);
    buf_free(&cbor);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
#ifndef COUNTED
    skip();
#endif
    /* what is counted is real */
    assert_in_range(grown, 4096, GROWS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_evidence_is_counted), cmocka_unit_test(hostile_logs),
        cmocka_unit_test(hostile_certificates),       cmocka_unit_test(hostile_texts),
        cmocka_unit_test(large_lengths_everywhere),
    };
    return cmocka_run_group_tests(tests, start_counting, teardown);
}
