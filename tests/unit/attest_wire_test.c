/*
 * The two decoders of evidence: what they accept is the same structure, and what is not canonical is
 * refused with the member that is wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "attest/wire.h"
#include "core/sha256.h"
#include "core/json.h"

#include <cmocka.h>

#define PCR "0000000000000000000000000000000000000000000000000000000000000000"
#define VM  "11111111-2222-4333-8444-555555555555"

/* The smallest evidence, with room for one more member at the root, in pcrs and in ak. */
#define WITH(root, bank, ak)                                                                       \
    "{\"quote\":{\"message\":\"AAAA\",\"signature\":\"AAAA\"},\"pcrs\":{\"sha256\":{\"0\":\"" PCR  \
    "\"" bank "}},\"ak\":{\"public\":\"AAAA\"" ak "}" root "}"

static struct arena *arena;

static int setup(void **state)
{
    arena = arena_new();
    return 0;
}

static int teardown(void **state)
{
    arena_free(arena);
    return 0;
}

/* An exact copy, so that a read past the end is seen. */
static enum err decode_json(const char *text, size_t len, enum wire_need need, struct evidence *ev,
                            struct err_info *e)
{
    *e = (struct err_info){0};
    char *copy = malloc(len ? len : 1);
    memcpy(copy, text, len);
    enum err err = wire_decode_json(copy, len, need, arena, ev, e);
    free(copy);
    return err;
}

static void assert_json(const char *text, size_t len, const char *pointer)
{
    struct evidence ev;
    struct err_info e;
    enum err err = decode_json(text, len, WIRE_OFFLINE, &ev, &e);
    bool as_meant = pointer
                        ? err == ERR_EVIDENCE_MALFORMED && strcmp(e.fields[0].pointer, pointer) == 0
                        : err == OK;
    if (!as_meant)
        print_message("%.200s\n -> %s %s\n", text, err ? e.fields[0].pointer : "accepted",
                      err ? e.fields[0].detail : "");
    assert_true(as_meant);
}

static void json_table(void **state)
{
    static const struct {
        const char *text;
        const char *pointer; /* NULL: accepted */
    } rows[] = {
        {WITH("", "", ""), NULL},
        {" \t\r\n" WITH("", "", "") "\n", NULL},
        {WITH(",\"vmId\":\"" VM "\"", "", ""), NULL},
        {WITH(",\"vmId\":\"\\u0031"
              "1111111-2222-4333-8444-555555555555\"",
              "", ""),
         NULL},
        {WITH("", ",\"7\":\"" PCR "\",\"23\":\"" PCR "\"", ""), NULL},
        {WITH(",\"eventLog\":\"\"", "", ""), NULL},
        {WITH("", "", ",\"chain\":[]"), NULL},
        {WITH(",\"enrollment\":{\"token\":\"abc\"}", "", ""), NULL},
        {WITH(",\"enrollment\":{\"attestedDocument\":\"AAAA\"}", "", ""), NULL},
        {WITH(",\"enrollment\":{\"activation\":{\"id\":\"x\",\"secret\":\"AAAA\"}}", "", ""), NULL},
        {WITH(",\"enrollment\":{\"attestedDocument\":\"AAA\"}", "", ""),
         "#/enrollment/attestedDocument"},
        {WITH(",\"enrollment\":{\"activation\":{\"id\":\"x\"}}", "", ""),
         "#/enrollment/activation"},
        {WITH(",\"enrollment\":{\"activation\":{\"id\":\"\",\"secret\":\"AAAA\"}}", "", ""),
         "#/enrollment/activation/id"},
        {WITH(",\"enrollment\":{\"activation\":{\"key\":\"x\"}}", "", ""),
         "#/enrollment/activation/key"},
        /* form */
        {"", "#"},
        {"[]", "#"},
        {"null", "#"},
        {"{", "#"},
        {WITH("", "", "") "x", "#"},
        {WITH("", "", "") "{}", "#"},
        {WITH(",", "", ""), "#"},
        {WITH(",\"vmId\" \"" VM "\"", "", ""), "#"},
        {WITH(",'vmId':\"" VM "\"", "", ""), "#"},
        {WITH(",\"vmId\":\"\\x\"", "", ""), "#"},
        {WITH(",\"vmId\":\"\\u12\"", "", ""), "#"},
        {WITH(",\"vmId\":\"\\ud800\"", "", ""), "#"},
        {WITH(",\"vmId\":\"\\ud800\\u0041\"", "", ""), "#"},
        {WITH(",\"vmId\":\"\\udc00\"", "", ""), "#"},
        {WITH(",\"vmId\":\"\\u0000\"", "", ""), "#"},
        {WITH(",\"vmId\":\"a\nb\"", "", ""), "#"},
        {WITH(",\"vmId\":\"\xff\"", "", ""), "#"},
        {WITH(",\"vmId\":\"\xc0\x80\"", "", ""), "#"},
        {WITH(",\"vmId\":\"\xed\xa0\x80\"", "", ""), "#"},
        {WITH(",\"vmId\":\"\xf5\x80\x80\x80\"", "", ""), "#"},
        {WITH(",\"vmId\":\"open", "", ""), "#"},
        /* members */
        {WITH(",\"extra\":1", "", ""), "#/extra"},
        {WITH(",\"extra\":{\"a\":[1,-2.5e+3,true,false,null,\"x\"]}", "", ""), "#/extra"},
        {WITH(",\"extra\":01", "", ""), "#/extra"},
        {WITH(",\"extra\":+1", "", ""), "#/extra"},
        {WITH(",\"extra\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
              "]]]",
              "", ""),
         "#/extra"},
        {WITH("", "", ",\"extra\":\"\""), "#/ak/extra"},
        {WITH(",\"a/b~\":1", "", ""), "#/a~1b~0"},
        {WITH(",\"ak\":{}", "", ""), "#/ak"},
        {WITH("", "", ",\"public\":\"AAAA\""), "#/ak/public"},
        {WITH(",\"vmId\":\"" VM "\",\"vmId\":\"" VM "\"", "", ""), "#/vmId"},
        {WITH(",\"vmId\":1", "", ""), "#/vmId"},
        {WITH(",\"vmId\":null", "", ""), "#/vmId"},
        {WITH(",\"vmId\":\"not a guid\"", "", ""), "#/vmId"},
        {WITH(",\"challengeId\":\"\"", "", ""), "#/challengeId"},
        {WITH(",\"enrollment\":{\"token\":\"\"}", "", ""), "#/enrollment/token"},
        {WITH(",\"enrollment\":\"abc\"", "", ""), "#/enrollment"},
        {WITH("", "", ",\"chain\":{}"), "#/ak/chain"},
        {WITH("", "", ",\"chain\":[1]"), "#/ak/chain"},
        {WITH("", "", ",\"chain\":[\"\"]"), "#/ak/chain"},
        {WITH("", "",
              ",\"chain\":[\"AA==\",\"AA==\",\"AA==\",\"AA==\",\"AA==\",\"AA==\",\"AA==\"]"),
         "#/ak/chain"},
        {WITH("", "", ",\"chain\":[\"AA==\",]"), "#"},
        /* base64: padded and canonical */
        {WITH(",\"eventLog\":\"AA=A\"", "", ""), "#/eventLog"},
        {WITH(",\"eventLog\":\"AA\"", "", ""), "#/eventLog"},
        {WITH(",\"eventLog\":\"AB==\"", "", ""), "#/eventLog"},
        {WITH(",\"eventLog\":\"AAAA\\n\"", "", ""), "#/eventLog"},
        {WITH(",\"eventLog\":\"AA-_\"", "", ""), "#/eventLog"},
        {WITH(",\"eventLog\":\" AAAA\"", "", ""), "#/eventLog"},
        {WITH(",\"eventLog\":\"AA\\/+\"", "", ""), NULL},
        {WITH(",\"eventLog\":7", "", ""), "#/eventLog"},
        /* PCRs [44] */
        {WITH("", ",\"07\":\"" PCR "\"", ""), "#/pcrs/sha256/07"},
        {WITH("", ",\"24\":\"" PCR "\"", ""), "#/pcrs/sha256/24"},
        {WITH("", ",\"-1\":\"" PCR "\"", ""), "#/pcrs/sha256/-1"},
        {WITH("", ",\"\":\"" PCR "\"", ""), "#/pcrs/sha256/"},
        {WITH("", ",\"0\":\"" PCR "\"", ""), "#/pcrs/sha256/0"},
        {WITH("", ",\"7\":\"" PCR "00\"", ""), "#/pcrs/sha256/7"},
        {WITH("", ",\"7\":\"00\"", ""), "#/pcrs/sha256/7"},
        {WITH("", ",\"7\":\"\"", ""), "#/pcrs/sha256/7"},
        {WITH("",
              ",\"7\":\"g"
              "000000000000000000000000000000000000000000000000000000000000000\"",
              ""),
         "#/pcrs/sha256/7"},
        {WITH("", ",\"7\":\"ABCDEFabcdef0000000000000000000000000000000000000000000000000000\"",
              ""),
         NULL},
        {WITH("", ",\"7\":7", ""), "#/pcrs/sha256/7"},
        {WITH("", "},\"md5\":{", ""), "#/pcrs/md5"},
        {WITH("", "},\"sha256\":{", ""), "#/pcrs/sha256"},
        {WITH("", "},\"sha1\":[]},\"x\":{\"y\":{", ""), "#/pcrs"},
        /* exclusions */
        {WITH(",\"eventLog\":\"AAAA\",\"eventLogDigest\":\"" PCR "\"", "", ""), "#/eventLogDigest"},
        {WITH(",\"eventLog\":\"\",\"eventLogDigest\":\"" PCR "\"", "", ""), "#/eventLogDigest"},
        {WITH(",\"eventLogDigest\":\"" PCR "\"", "", ""), NULL},
        {WITH(",\"eventLogDigest\":\"00\"", "", ""), "#/eventLogDigest"},
        /* what is required */
        {"{}", "#/quote/message"},
        {"{\"quote\":{\"message\":\"AAAA\",\"signature\":\"AAAA\"}}", "#/pcrs"},
        {"{\"quote\":{\"message\":\"AAAA\"},\"pcrs\":{\"sha256\":{\"0\":\"" PCR "\"}}}",
         "#/quote/signature"},
        {"{\"quote\":{\"message\":\"AAAA\",\"signature\":\"AAAA\"},\"pcrs\":{\"sha256\":{}}}",
         "#/pcrs"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_json(rows[i].text, strlen(rows[i].text), rows[i].pointer);
}

static void json_every_truncation(void **state)
{
    static const char text[] = WITH(",\"vmId\":\"" VM "\",\"eventLog\":\"AA\\u0041A\"",
                                    ",\"7\":\"" PCR "\"", ",\"chain\":[\"AA==\"]");
    for (size_t n = 0; n < sizeof text - 1; n++)
        assert_json(text, n, "#");
    assert_json(text, sizeof text - 1, NULL);
}

static void json_nul_is_no_end(void **state)
{
    static const char text[] = WITH("", "", "") "\0";
    assert_json(text, sizeof text - 1, "#");
}

static void all_complaints_at_once(void **state)
{
    static const char text[] =
        "{\"quote\":{\"message\":7,\"signature\":\"A\"},\"pcrs\":{\"sha256\":{\"x\":1}},\"y\":{}}";
    struct evidence ev;
    struct err_info e;
    assert_int_equal(decode_json(text, sizeof text - 1, WIRE_REPORT, &ev, &e),
                     ERR_EVIDENCE_MALFORMED);
    static const char *const want[] = {"#/quote/message", "#/quote/signature",
                                       "#/pcrs/sha256/x", "#/y",
                                       "#/challengeId",   "#/vmId"};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        bool found = false;
        for (unsigned k = 0; k < e.n_fields; k++)
            found |= strcmp(e.fields[k].pointer, want[i]) == 0;
        assert_true(found);
    }
}

static void a_report_needs_its_challenge(void **state)
{
    static const char offline[] = WITH("", "", ""),
                      report[] = WITH(",\"vmId\":\"" VM "\",\"challengeId\":\"abc\"", "", "");
    struct evidence ev;
    struct err_info e;
    assert_int_equal(decode_json(offline, sizeof offline - 1, WIRE_REPORT, &ev, &e),
                     ERR_EVIDENCE_MALFORMED);
    assert_int_equal(decode_json(report, sizeof report - 1, WIRE_REPORT, &ev, &e), OK);
}

/* A string of `n` bytes as member of the root. */
static void assert_size(const char *member, size_t n, const char *pointer)
{
    struct buf text = {0};
    uint8_t *data = calloc(1, n + 1);
    struct jw w = jw_over(&text);
    buf_add_str(&text, "{\"quote\":{\"message\":\"AAAA\",\"signature\":\"AAAA\"},\"pcrs\":"
                       "{\"sha256\":{\"0\":\"" PCR "\"}},");
    buf_printf(&text, "\"%s\":", member);
    jw_base64(&w, BYTES(data, n));
    buf_add_str(&text, "}");
    assert_json(text.data, text.len, pointer);
    free(data);
    buf_free(&text);
}

static void sizes_are_capped(void **state)
{
    assert_size("eventLog", EVIDENCE_LOG_MAX, NULL);
    assert_size("eventLog", EVIDENCE_LOG_MAX + 1, "#/eventLog");
    char *big = malloc(EVIDENCE_BODY_MAX + 1);
    memset(big, ' ', EVIDENCE_BODY_MAX + 1);
    memcpy(big, WITH("", "", ""), strlen(WITH("", "", "")));
    assert_json(big, EVIDENCE_BODY_MAX, NULL);
    assert_json(big, EVIDENCE_BODY_MAX + 1, "#");
    free(big);
}

/* ---- CBOR ---- */

static struct evidence sample(void)
{
    static const uint8_t bytes[300] = {1, 2, 3, 4};
    struct evidence ev = {
        .challenge_id = "challenge",
        .vm_id = VM,
        .enrollment_token = {"token", 5},
        .attested_document = BYTES(bytes, 30),
        .activation_id = "activation",
        .activation_secret = BYTES(bytes, 32),
        .quote_message = BYTES(bytes, 145),
        .quote_signature = BYTES(bytes, 262),
        .ak_public = BYTES(bytes, 300),
        .ak_certificate = BYTES(bytes, 20),
        .chain = {BYTES(bytes, 23), BYTES(bytes, 24)},
        .n_chain = 2,
        .event_log = BYTES(bytes, 256),
        .maa_token = BYTES_STR("a.b.c"),
    };
    ev.banks[BANK_SHA256].present = 1u << 0 | 1u << 7 | 1u << 23;
    ev.banks[BANK_SHA1].present = 1u << 7;
    for (int i = 0; i < EVIDENCE_PCRS; i++) {
        ev.banks[BANK_SHA256].value[i] = BYTES(bytes + i, 32);
        ev.banks[BANK_SHA1].value[i] = BYTES(bytes + i, 20);
    }
    return ev;
}

static void assert_same(const struct evidence *a, const struct evidence *b)
{
    assert_string_equal(a->challenge_id, b->challenge_id);
    assert_string_equal(a->vm_id, b->vm_id);
    assert_string_equal(a->enrollment_token.text, b->enrollment_token.text);
    assert_true(bytes_equal(a->attested_document, b->attested_document));
    assert_string_equal(a->activation_id, b->activation_id);
    assert_true(bytes_equal(a->activation_secret, b->activation_secret));
    assert_true(bytes_equal(a->quote_message, b->quote_message));
    assert_true(bytes_equal(a->quote_signature, b->quote_signature));
    assert_true(bytes_equal(a->ak_public, b->ak_public));
    assert_true(bytes_equal(a->ak_certificate, b->ak_certificate));
    assert_true(bytes_equal(a->event_log, b->event_log));
    assert_true(bytes_equal(a->maa_token, b->maa_token));
    assert_int_equal(a->n_chain, b->n_chain);
    for (size_t i = 0; i < a->n_chain; i++)
        assert_true(bytes_equal(a->chain[i], b->chain[i]));
    for (int k = 0; k < BANK_COUNT; k++) {
        assert_int_equal(a->banks[k].present, b->banks[k].present);
        for (int i = 0; i < EVIDENCE_PCRS; i++)
            if (a->banks[k].present >> i & 1)
                assert_true(bytes_equal(a->banks[k].value[i], b->banks[k].value[i]));
    }
}

static void both_forms_carry_the_same(void **state)
{
    struct evidence in = sample(), out;
    struct err_info e = {0};
    struct buf cbor = {0}, json = {0};
    wire_encode_cbor(&in, &cbor);
    assert_int_equal(wire_decode_cbor(buf_bytes(&cbor), WIRE_REPORT, arena, &out, &e), OK);
    assert_same(&in, &out);
    wire_encode_json(&in, &json);
    assert_int_equal(wire_decode_json(json.data, json.len, WIRE_REPORT, arena, &out, &e), OK);
    assert_same(&in, &out);
    in.event_log = (struct bytes){0};
    in.event_log_digest = BYTES(in.ak_public.data, 32);
    buf_reset(&cbor);
    wire_encode_cbor(&in, &cbor);
    assert_int_equal(wire_decode_cbor(buf_bytes(&cbor), WIRE_REPORT, arena, &out, &e), OK);
    assert_true(bytes_equal(in.event_log_digest, out.event_log_digest));
    buf_free(&cbor);
    buf_free(&json);
}

/* What was decoded may go, all but the log. */
static void evidence_can_own_itself(void **state)
{
    struct evidence in = sample(), out;
    struct err_info e = {0};
    struct buf cbor = {0};
    wire_encode_cbor(&in, &cbor);
    assert_int_equal(wire_decode_cbor(buf_bytes(&cbor), WIRE_REPORT, arena, &out, &e), OK);
    wire_own(&out, arena);
    assert_true(bytes_equal(in.event_log, out.event_log));
    out.event_log = in.event_log;
    buf_free(&cbor);
    assert_same(&in, &out);
}

/* However it came, with the log or naming it, with a token or not: one name. */
static void evidence_has_one_digest(void **state)
{
    struct evidence in = sample(), out;
    struct err_info e = {0};
    struct buf json = {0};
    uint8_t log[32], want[32], got[32];
    sha256(in.event_log, log);
    wire_evidence_digest(&in, BYTES_OF(log), want);
    wire_encode_json(&in, &json);
    assert_int_equal(wire_decode_json(json.data, json.len, WIRE_REPORT, arena, &out, &e), OK);
    wire_evidence_digest(&out, BYTES_OF(log), got);
    assert_memory_equal(got, want, sizeof want);
    out.enrollment_token = (struct secret){0};
    out.activation_id = NULL;
    out.event_log = (struct bytes){0};
    out.event_log_digest = BYTES_OF(log);
    wire_evidence_digest(&out, (struct bytes){0}, got);
    assert_memory_equal(got, want, sizeof want);

    struct buf form = {0}; /* as anyone can work it out */
    wire_encode_cbor(&out, &form);
    sha256(buf_bytes(&form), got);
    assert_memory_equal(got, want, sizeof want);
    out.vm_id = "another";
    wire_evidence_digest(&out, (struct bytes){0}, got);
    assert_memory_not_equal(got, want, sizeof want);
    buf_free(&form);
    buf_free(&json);
}

static enum err decode_cbor(struct bytes in, struct err_info *e)
{
    struct evidence ev;
    *e = (struct err_info){0};
    uint8_t *copy = malloc(in.len ? in.len : 1);
    memcpy(copy, in.data, in.len);
    enum err err = wire_decode_cbor(BYTES(copy, in.len), WIRE_OFFLINE, arena, &ev, e);
    free(copy);
    return err;
}

static void cbor_every_truncation(void **state)
{
    struct evidence in = sample();
    struct err_info e;
    struct buf cbor = {0};
    wire_encode_cbor(&in, &cbor);
    for (size_t n = 0; n < cbor.len; n++)
        assert_int_equal(decode_cbor(BYTES(cbor.data, n), &e), ERR_EVIDENCE_MALFORMED);
    buf_add_char(&cbor, (char)0xf6);
    assert_int_equal(decode_cbor(buf_bytes(&cbor), &e), ERR_EVIDENCE_MALFORMED);
    assert_string_equal(e.fields[0].pointer, "#");
    buf_free(&cbor);
}

#define QUOTE                                                                                      \
    "\x65"                                                                                         \
    "quote\xa2\x67"                                                                                \
    "message\x41\x01\x69"                                                                          \
    "signature\x41\x01"
#define ZERO32                                                                                     \
    "\x58\x20"                                                                                     \
    "00000000000000000000000000000000"
#define PCRS                                                                                       \
    "\x64"                                                                                         \
    "pcrs\xa1\x66"                                                                                 \
    "sha256\xa1\x00" ZERO32

static void cbor_table(void **state)
{
#define ROW(text, pointer)                                                                         \
    {                                                                                              \
        text, sizeof(text) - 1, pointer                                                            \
    }
    static const struct {
        const char *text;
        size_t len;
        const char *pointer;
    } rows[] = {
        ROW("\xa2" QUOTE PCRS, NULL),
        /* 2 GiB and 2^64-1 in nine bytes */
        ROW("\x9b\0\0\0\0\x10\0\0\0", "#"),
        ROW("\xbb\xff\xff\xff\xff\xff\xff\xff\xff", "#"),
        ROW("\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "#"),
        ROW("\xbb\0\0\0\0\x10\0\0\0", "#"),
        /* indefinite lengths */
        ROW("\xbf" QUOTE PCRS "\xff", "#"),
        ROW("\xa3" QUOTE PCRS "\x68"
            "eventLog\x5f\x41\x01\xff",
            "#"),
        ROW("\xa3" QUOTE PCRS "\x64"
            "vmId\x7f\x61x\xff",
            "#"),
        ROW("\xa3" QUOTE PCRS "\x62"
            "ak\xa1\x65"
            "chain\x9f\xff",
            "#"),
        /* longer forms than needed */
        ROW("\xb8\x02" QUOTE PCRS, "#"),
        ROW("\xb9\0\x02" QUOTE PCRS, "#"),
        ROW("\xa3" QUOTE PCRS "\x68"
            "eventLog\x58\x01\x01",
            "#"),
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa1\x66"
            "sha256\xa1\x18\x00" ZERO32,
            "#"),
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa1\x78\x06"
            "sha256\xa1\x00" ZERO32,
            "#"),
        /* tags, floats, negatives, null, other roots */
        ROW("\xd9\xd9\xf7\xa2" QUOTE PCRS, "#"),
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa1\x66"
            "sha256\xa1\x20" ZERO32,
            "#"),
        ROW("\xa3" QUOTE PCRS "\x64"
            "vmId\xf9\0\0",
            "#"),
        ROW("\xa3" QUOTE PCRS "\x64"
            "vmId\xf6",
            "#/vmId"),
        ROW("\xf6", "#"),
        ROW("\x80", "#"),
        ROW("\x61x", "#"),
        /* members */
        ROW("\xa3" QUOTE PCRS PCRS, "#/pcrs"),
        ROW("\xa3" QUOTE PCRS "\x65"
            "extra\xa1\x01\x82\x01\xf5",
            "#/extra"),
        ROW("\xa3" QUOTE PCRS "\x01\x01", "#"),
        ROW("\xa3" QUOTE PCRS "\x41q\x01", "#"),
        ROW("\xa3" QUOTE PCRS "\x68"
            "eventLog\x61x",
            "#/eventLog"),
        ROW("\xa3" QUOTE PCRS "\x64"
            "vmId\x41x",
            "#/vmId"),
        ROW("\xa3" QUOTE PCRS "\x64"
            "vmId\x62\xc3\x28",
            "#/vmId"),
        ROW("\xa3" QUOTE PCRS "\x64"
            "vmId\x61\0",
            "#/vmId"),
        ROW("\xa3" QUOTE PCRS "\x62"
            "ak\x80",
            "#/ak"),
        ROW("\xa3" QUOTE PCRS "\x62"
            "ak\xa1\x65"
            "chain\x87\1\1\1\1\1\1\1",
            "#/ak/chain"),
        ROW("\xa3" QUOTE PCRS "\x62"
            "ak\xa1\x65"
            "chain\x81\x40",
            "#/ak/chain"),
        ROW("\xa3" QUOTE PCRS "\x62"
            "ak\xa1\x65"
            "chain\x81\x01",
            "#/ak/chain"),
        /* PCRs */
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa1\x66"
            "sha256\xa1\x18\x18" ZERO32,
            "#/pcrs/sha256/24"),
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa1\x66"
            "sha256\xa2\x00" ZERO32 "\x00" ZERO32,
            "#/pcrs/sha256/0"),
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa1\x66"
            "sha256\xa1\x00\x41\0",
            "#/pcrs/sha256/0"),
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa1\x66"
            "sha256\xa1\x00\x61"
            "0",
            "#/pcrs"),
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa1\x66"
            "sha256\xa1\x61"
            "0" ZERO32,
            "#"),
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa1\x63"
            "md5\xa0",
            "#/pcrs/md5"),
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa0",
            "#/pcrs"),
        ROW("\xa2" QUOTE "\x64"
            "pcrs\xa1\x66"
            "sha256\x80",
            "#/pcrs"),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err_info e;
        enum err err = decode_cbor(BYTES(rows[i].text, rows[i].len), &e);
        bool as_meant = rows[i].pointer ? err == ERR_EVIDENCE_MALFORMED &&
                                              strcmp(e.fields[0].pointer, rows[i].pointer) == 0
                                        : err == OK;
        if (!as_meant)
            print_message("row %zu -> %s %s\n", i, err ? e.fields[0].pointer : "accepted",
                          err ? e.fields[0].detail : "");
        assert_true(as_meant);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_table),
        cmocka_unit_test(json_every_truncation),
        cmocka_unit_test(json_nul_is_no_end),
        cmocka_unit_test(all_complaints_at_once),
        cmocka_unit_test(a_report_needs_its_challenge),
        cmocka_unit_test(sizes_are_capped),
        cmocka_unit_test(both_forms_carry_the_same),
        cmocka_unit_test(evidence_can_own_itself),
        cmocka_unit_test(evidence_has_one_digest),
        cmocka_unit_test(cbor_every_truncation),
        cmocka_unit_test(cbor_table),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
