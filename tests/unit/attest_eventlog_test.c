/*
 * The event log parser over logs that were damaged on purpose. The numbers in brackets are rows of
 * the verifier's table of bad inputs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "attest/eventlog.h"
#include "tests/unit/attest_make.h"

#include <cmocka.h>

/* Offsets in the header event: 32 bytes of TCG_PCR_EVENT, then the Spec ID. */
#define SPEC_MAJOR  (32 + 21)
#define SPEC_UINTN  (32 + 23)
#define SPEC_NUM    (32 + 24)
#define SPEC_SIZE   (32 + 30)
#define SPEC_VENDOR (32 + 32)
#define HEADER_LEN  (32 + 33)

static struct make *m;
static uint8_t *log_bytes;
static size_t log_len;

static int setup(void **state)
{
    m = make_new();
    return 0;
}

static int teardown(void **state)
{
    make_free(m);
    return 0;
}

/* An honest log, writable and with room behind it. */
static void fresh(void)
{
    make_reset(m);
    make_log(m);
    log_len = m->log.len;
    log_bytes = arena_alloc(m->arena, log_len + 8192);
    memcpy(log_bytes, m->log.data, log_len);
}

static struct event_log parse(void)
{
    return eventlog_parse(BYTES(log_bytes, log_len), m->arena);
}

static void assert_bad(const char *reason)
{
    struct event_log log = parse();
    assert_non_null(log.bad);
    assert_string_equal(log.bad, reason);
    assert_non_null(log.bad_detail);
}

static void set32(size_t at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        log_bytes[at + (size_t)i] = (uint8_t)(v >> (8 * i));
}

static size_t event_at(size_t index)
{
    return m->events[index].offset;
}

static void honest_log(void **state)
{
    fresh();
    struct event_log log = parse();
    assert_null(log.bad);
    assert_true(log.agile);
    assert_true(log.banks[BANK_SHA256]);
    assert_false(log.banks[BANK_SHA1]);
    assert_int_equal(log.n, m->n_events + 1);
    assert_int_equal(log.events[3].pcr, 7);
    assert_int_equal(log.events[3].type, EV_EFI_VARIABLE_DRIVER_CONFIG);
    assert_int_equal(log.events[3].digest[BANK_SHA256].len, 32);
    assert_true(bytes_equal(log.events[3].data, m->events[2].data));
}

/* Every prefix is either a whole number of events or truncated; none reads past its end. */
static void every_truncation(void **state)
{
    fresh();
    size_t whole = log_len, ends = 0;
    for (size_t n = 0; n < whole; n++) {
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, log_bytes, n);
        struct event_log log = eventlog_parse(BYTES(exact, n), m->arena);
        ends += log.bad == NULL;
        free(exact);
    }
    assert_int_equal(ends, m->n_events); /* the header alone, and after each event but the last */
}

static void trailing_garbage(void **state)
{
    fresh();
    log_bytes[log_len] = 1; /* [6] */
    log_len++;
    assert_bad("truncated");
    fresh();
    log_len += 4096; /* [7]: zeros; they are not an event with no digests */
    assert_bad("digest_count");
    fresh();
    memset(log_bytes + log_len, 0xff, 4096);
    log_len += 4096;
    assert_bad("digest_count");
}

static void huge_counts_allocate_nothing(void **state)
{
    fresh(); /* [8] */
    set32(event_at(1) + 4 + 4 + 4 + 2 + 32, 0xffffffff);
    assert_bad("truncated");
    fresh();
    set32(event_at(1) + 8, 0xffffffff);
    assert_bad("digest_count");
    fresh();
    set32(SPEC_NUM, 0xffffffff);
    assert_bad("header");
    fresh();
    set32(28, 0xffffffff); /* size of the header event */
    assert_bad("truncated");
}

static void bad_headers(void **state)
{
    fresh();
    log_bytes[SPEC_SIZE] = 20; /* [9]: SHA-256 with 20 bytes */
    assert_bad("digest_size");
    fresh();
    log_bytes[SPEC_MAJOR] = 9; /* [21] */
    assert_bad("header");
    fresh();
    log_bytes[SPEC_UINTN] = 3;
    assert_bad("header");
    fresh();
    log_bytes[SPEC_VENDOR] = 1; /* vendorInfo that is not there */
    assert_bad("header");
    fresh();
    set32(SPEC_NUM, 0);
    assert_bad("header");
    fresh();
    log_bytes[32 + 14] = '7'; /* "Spec ID Event07" */
    assert_bad("header");
    fresh();
    log_bytes[32 + 14] = '2'; /* [21]: what follows is no legacy log */
    assert_non_null(parse().bad);
    fresh();
    log_bytes[0] = 1; /* for PCR 1 */
    assert_bad("header");
}

/* The header declares SHA-256 twice, or SHA-1 and SHA-256. */
static struct bytes two_algorithms(uint16_t first, uint16_t second, unsigned digests, uint16_t a,
                                   uint16_t b)
{
    static const uint8_t zeros[64];
    struct buf out = {0};
    make_le(&out, 0, 4);
    make_le(&out, EV_NO_ACTION, 4);
    buf_add(&out, zeros, 20);
    make_le(&out, 37, 4);
    buf_add(&out, "Spec ID Event03\0\0\0\0\0\0\2\0\2\2\0\0\0", 28);
    make_le(&out, first, 2);
    make_le(&out, pcr_banks[hash_of_tpm_alg(first)].size, 2);
    make_le(&out, second, 2);
    make_le(&out, pcr_banks[hash_of_tpm_alg(second)].size, 2);
    make_le(&out, 0, 1);
    make_le(&out, 4, 4);
    make_le(&out, EV_SEPARATOR, 4);
    make_le(&out, digests, 4);
    make_le(&out, a, 2);
    buf_add(&out, zeros, pcr_banks[hash_of_tpm_alg(a)].size);
    if (digests == 2) {
        make_le(&out, b, 2);
        buf_add(&out, zeros, pcr_banks[hash_of_tpm_alg(b)].size);
    }
    make_le(&out, 4, 4);
    buf_add(&out, zeros, 4);
    return make_keep(m->arena, &out);
}

static void parse_two(uint16_t first, uint16_t second, unsigned digests, uint16_t a, uint16_t b,
                      const char *reason)
{
    struct event_log log = eventlog_parse(two_algorithms(first, second, digests, a, b), m->arena);
    if (!reason)
        assert_null(log.bad);
    else
        assert_string_equal(log.bad, reason);
}

static void digests_of_several_banks(void **state)
{
    const uint16_t sha1 = TPM2_ALG_SHA1, sha256 = TPM2_ALG_SHA256, sha384 = TPM2_ALG_SHA384;
    make_reset(m);
    parse_two(sha1, sha256, 2, sha1, sha256, NULL);
    parse_two(sha1, sha256, 1, sha1, sha1, NULL); /* none for SHA-256: the replay's to refuse */
    parse_two(sha256, sha256, 1, sha256, 0, "duplicate_algorithm"); /* [9] */
    parse_two(sha1, sha256, 2, sha256, sha256, "duplicate_digest"); /* [10] */
    parse_two(sha1, sha256, 2, sha256, sha384, "undeclared_algorithm");
}

static void pcr_index_out_of_range(void **state)
{
    fresh();
    set32(event_at(1), 24); /* [12] */
    assert_bad("pcr_index");
    fresh();
    set32(event_at(1), 0xffffffff);
    assert_bad("pcr_index");
    fresh();
    set32(event_at(0), 0xffffffff); /* EV_NO_ACTION measures nothing and may name none */
    assert_null(parse().bad);
}

static void no_more_events_than_allowed(void **state)
{
    struct buf b = {0};
    make_reset(m);
    m->n_events = 0;
    make_log(m);
    static const uint8_t event[] = {0, 0, 0, 0, 3, 0, 0, 0};
    buf_add(&b, event, sizeof event);
    for (int i = 0; i < 24; i++)
        buf_add_char(&b, 0); /* a legacy header event without data */
    for (int i = 0; i < 4095; i++) {
        buf_add(&b, event, sizeof event);
        for (int k = 0; k < 24; k++)
            buf_add_char(&b, 0);
    }
    assert_null(eventlog_parse(buf_bytes(&b), m->arena).bad);
    buf_add_char(&b, 0);
    assert_string_equal(eventlog_parse(buf_bytes(&b), m->arena).bad, "too_large");
    buf_free(&b);
}

static void empty_log(void **state)
{
    assert_string_equal(eventlog_parse((struct bytes){0}, m->arena).bad, "empty");
}

static void legacy_log(void **state)
{
    struct buf b = {0};
    make_reset(m);
    for (int i = 0; i < 3; i++) {
        make_le(&b, 4, 4);
        make_le(&b, EV_EFI_ACTION, 4);
        buf_add(&b, "01234567890123456789", 20);
        make_le(&b, 3, 4);
        buf_add(&b, "abc", 3);
    }
    struct event_log log = eventlog_parse(buf_bytes(&b), m->arena);
    assert_null(log.bad);
    assert_false(log.agile);
    assert_true(log.banks[BANK_SHA1]);
    assert_int_equal(log.n, 3);
    for (int i = 0; i < 64; i++)
        buf_add_char(&b, 0);
    log = eventlog_parse(buf_bytes(&b), m->arena);
    assert_string_equal(log.bad, "padding");
    assert_int_equal(log.n, 3);
    buf_free(&b);
}

static void type_names(void **state)
{
    assert_string_equal(eventlog_type_name(EV_SEPARATOR), "EV_SEPARATOR");
    assert_string_equal(eventlog_type_name(EV_EFI_VARIABLE_AUTHORITY), "EV_EFI_VARIABLE_AUTHORITY");
    assert_null(eventlog_type_name(0x12345678));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_log),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(trailing_garbage),
        cmocka_unit_test(huge_counts_allocate_nothing),
        cmocka_unit_test(bad_headers),
        cmocka_unit_test(digests_of_several_banks),
        cmocka_unit_test(pcr_index_out_of_range),
        cmocka_unit_test(no_more_events_than_allowed),
        cmocka_unit_test(empty_log),
        cmocka_unit_test(legacy_log),
        cmocka_unit_test(type_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
