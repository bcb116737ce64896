/* The agent's decisions and its parsers of what IMDS, the gateway and the file system hold. */
#include "core/attr.h"
#include "guest/agent.h"
#include "guest/files.h"
#include "guest/imds.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void the_next_step_follows_from_the_answer(void **state)
{
    static const struct {
        long status;
        const char *code;
        enum guest_next next;
    } rows[] = {
        {200, "", NEXT_DONE},
        {400, "evidence_malformed", NEXT_GIVE_UP},
        {403, "not_enrolled", NEXT_PROOF},
        {403, "forbidden", NEXT_GIVE_UP},
        {404, "not_found", NEXT_GIVE_UP},
        {408, "request_timeout", NEXT_WAIT},
        {409, "event_log_required", NEXT_LOG},
        {409, "challenge_expired", NEXT_CHALLENGE},
        {409, "challenge_used", NEXT_CHALLENGE},
        {409, "challenge_mismatch", NEXT_CHALLENGE},
        {409, "operation_in_progress", NEXT_GIVE_UP},
        {409, "", NEXT_GIVE_UP},
        {413, "body_too_large", NEXT_GIVE_UP},
        {429, "rate_limited", NEXT_WAIT},
        {500, "internal", NEXT_WAIT},
        {502, "", NEXT_WAIT},
        {503, "unavailable", NEXT_WAIT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct guest_answer a = {.status = rows[i].status, .code = rows[i].code};
        assert_int_equal(guest_next_step(&a), rows[i].next);
    }
}

static void delays_have_bounds_and_jitter(void **state)
{
    const int64_t interval = 900000;
    static const struct {
        unsigned failures;
        int64_t retry_after;
        int64_t least, most;
    } rows[] = {
        {0, 0, 810000, 990000},   {1, 0, 2500, 5000},
        {2, 0, 5000, 10000},      {5, 0, 40000, 80000},
        {9, 0, 450000, 900000},   {1000000, 0, 450000, 900000},
        {1, 60000, 60000, 60000}, {0, 1000000, 1000000, 1000000},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t low = guest_next_delay(interval, rows[i].failures, rows[i].retry_after, 0);
        int64_t high =
            guest_next_delay(interval, rows[i].failures, rows[i].retry_after, UINT32_MAX);
        assert_int_equal(low, rows[i].least);
        assert_int_equal(high, rows[i].most);
    }
    assert_int_equal(guest_next_delay(1000, 3, 0, UINT32_MAX), 1000);
}

#define VM "11111111-1111-4111-8111-111111111111"
/* {"gateway":"https://gw","enrollmentToken":"secret1"} */
#define USER_DATA "eyJnYXRld2F5IjoiaHR0cHM6Ly9ndyIsImVucm9sbG1lbnRUb2tlbiI6InNlY3JldDEifQ=="

static enum err parse_imds(struct arena *a, const char *text, struct guest_identity *out)
{
    return guest_imds_parse(BYTES_STR(text), a, out, NULL);
}

static void imds_names_the_vm_and_its_enrolment(void **state)
{
    struct arena *a = arena_new();
    struct guest_identity id;
    assert_int_equal(parse_imds(a,
                                "{\"compute\":{\"vmId\":\"" VM
                                "\",\"name\":\"x\",\"userData\":\"" USER_DATA "\"},\"network\":{}}",
                                &id),
                     OK);
    assert_string_equal(id.vm_id, VM);
    assert_string_equal(id.gateway, "https://gw");
    assert_int_equal(id.token.len, 7);
    assert_string_equal(id.token.text, "secret1");
    arena_free(a);
}

static void user_data_of_others_is_ignored(void **state)
{
    static const char *const data[] = {
        "",
        "bm90IGpzb24=",             /* not json */
        "!!!!",                     /* no base64 */
        "eyJnYXRld2F5Ijo1fQ==",     /* {"gateway":5} */
        "eyJvdGhlciI6InRoaW5nIn0=", /* {"other":"thing"} */
        "W10=",                     /* [] */
        "eyJhIjoxLCJhIjoyfQ==",     /* duplicate members */
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(data); i++) {
        struct guest_identity id;
        const char *text =
            arena_printf(a, "{\"compute\":{\"vmId\":\"%s\",\"userData\":\"%s\"}}", VM, data[i]);
        assert_int_equal(parse_imds(a, text, &id), OK);
        assert_string_equal(id.vm_id, VM);
        assert_null(id.gateway);
        assert_null(id.token.text);
    }
    arena_free(a);
}

static void imds_that_is_no_imds_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "<html>",
        "{\"compute\":{}}",
        "{\"compute\":{\"vmId\":7}}",
        "{\"compute\":{\"vmId\":\"not-a-guid\"}}",
        "{\"compute\":\"" VM "\"}",
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct guest_identity id;
        assert_int_equal(parse_imds(a, bad[i], &id), ERR_BAD_REQUEST);
    }
    arena_free(a);
}

#define NONCE "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static void a_challenge_is_read(void **state)
{
    static const char text[] = "{\"challengeId\":\"abc\",\"nonce\":\"" NONCE
                               "\",\"pcrBank\":\"sha256\",\"pcrs\":[0,7,23],\"expiresAt\":\"x\"}";
    struct arena *a = arena_new();
    struct guest_challenge c;
    assert_int_equal(guest_challenge_parse(BYTES_STR(text), a, &c, NULL), OK);
    assert_string_equal(c.id, "abc");
    assert_int_equal(c.nonce.len, 32);
    assert_int_equal(c.nonce.data[31], 31);
    assert_int_equal(c.bank, BANK_SHA256);
    assert_int_equal(c.pcrs, 1u << 0 | 1u << 7 | 1u << 23);
    arena_free(a);
}

static void a_challenge_that_cannot_be_used_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "{\"nonce\":\"" NONCE "\",\"pcrBank\":\"sha256\",\"pcrs\":[7]}",
        "{\"challengeId\":\"a\",\"nonce\":\"?\",\"pcrBank\":\"sha256\",\"pcrs\":[7]}",
        "{\"challengeId\":\"a\",\"nonce\":\"\",\"pcrBank\":\"sha256\",\"pcrs\":[7]}",
        "{\"challengeId\":\"a\",\"nonce\":\"" NONCE "\",\"pcrBank\":\"md5\",\"pcrs\":[7]}",
        "{\"challengeId\":\"a\",\"nonce\":\"" NONCE "\",\"pcrBank\":\"sha256\",\"pcrs\":[]}",
        "{\"challengeId\":\"a\",\"nonce\":\"" NONCE "\",\"pcrBank\":\"sha256\",\"pcrs\":[24]}",
        "{\"challengeId\":\"a\",\"nonce\":\"" NONCE "\",\"pcrBank\":\"sha256\",\"pcrs\":[-1]}",
        "{\"challengeId\":\"a\",\"nonce\":\"" NONCE "\",\"pcrBank\":\"sha256\",\"pcrs\":[\"7\"]}",
        "{\"challengeId\":\"a\",\"nonce\":\"" NONCE "\",\"pcrBank\":\"sha256\",\"pcrs\":[7.0]}",
        "{\"challengeId\":\"a\",\"nonce\":\"" NONCE "\",\"pcrBank\":\"sha256\"}",
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct guest_challenge c;
        assert_int_equal(guest_challenge_parse(BYTES_STR(bad[i]), a, &c, NULL), ERR_UPSTREAM);
    }
    arena_free(a);
}

static void only_https_or_loopback(void **state)
{
    static const struct {
        const char *url;
        bool allowed;
    } rows[] = {
        {"https://gateway.example", true},
        {"https://gateway.example:8443/tlgate", true},
        {"http://127.0.0.1:8080", true},
        {"http://127.9.9.9", true},
        {"http://localhost:1", true},
        {"http://[::1]:8080", true},
        {"http://gateway.example", false},
        {"http://10.0.0.4", false},
        {"http://localhost.evil.example", false},
        {"http://127.0.0.1.evil.example", false},
        {"ftp://127.0.0.1", false},
        {"file:///etc/passwd", false},
        {"https://user:pw@gateway.example", false},
        {"https://gateway.example/?x=1", false},
        {"https://gateway.example/#f", false},
        {"gateway.example", false},
        {"", false},
        {"https://", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (guest_http_url_allowed(rows[i].url) != rows[i].allowed)
            fail_msg("%s", rows[i].url);
    }
}

static void put_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static void files_are_read_to_their_end(void **state)
{
    struct arena *a = arena_new();
    struct bytes got = {0};
    struct secret token = {0};
    struct evidence v = {0};
    char dir[] = "/tmp/guest-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    const char *path = arena_printf(a, "%s/f", dir);
    assert_int_equal(guest_file_read(path, 10, a, &got, NULL), ERR_NOT_FOUND);
    put_file(path, "0123456789", 10);
    assert_int_equal(guest_file_read(path, 10, a, &got, NULL), OK);
    assert_int_equal(got.len, 10);
    assert_int_equal(guest_file_read(path, 9, a, &got, NULL), ERR_BODY_TOO_LARGE);
    /* A file whose size stat gives as 0, as in securityfs. */
    struct stat st;
    assert_int_equal(stat("/proc/self/status", &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(guest_file_read("/proc/self/status", 65536, a, &got, NULL), OK);
    assert_true(got.len > 100);

    put_file(path, " \n token-1\r\n", 12);
    assert_int_equal(guest_token_read(path, a, &token, NULL), OK);
    assert_string_equal(token.text, "token-1");
    put_file(path, " \n", 2);
    assert_int_equal(guest_token_read(path, a, &token, NULL), ERR_BAD_REQUEST);

    assert_int_equal(guest_chain_read(path, a, &v, NULL), ERR_BAD_REQUEST);
    assert_int_equal(guest_chain_read("/nonexistent", a, &v, NULL), OK);
    static const char pem[] = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
                              "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"
                              "-----BEGIN CERTIFICATE-----\nMAEA\n-----END CERTIFICATE-----\n";
    put_file(path, pem, sizeof(pem) - 1);
    assert_int_equal(guest_chain_read(path, a, &v, NULL), OK);
    assert_int_equal(v.n_chain, 2);
    assert_true(bytes_equal(v.chain[0], BYTES("\x30\x00", 2)));
    assert_true(bytes_equal(v.chain[1], BYTES("\x30\x01\x00", 3)));
    unlink(path);
    rmdir(dir);
    arena_free(a);
}

static bool never(void)
{
    return false;
}

static void no_sleep(int64_t ms)
{
    fail_msg("the agent slept");
}

static void options_that_cannot_work_are_refused(void **state)
{
    static const struct guest_options bad[] = {
        {.gateway = "http://gateway.example"},
        {.gateway = "https://gw", .vm_id = "x"},
        {.gateway = "https://gw", .vm_id = VM, .ca_file = "/nonexistent"},
    };
    static const struct guest_process process = {never, no_sleep};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct guest_agent *g = NULL;
        assert_int_equal(guest_agent_new(&bad[i], &process, &g, NULL), ERR_CONFIG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_step_follows_from_the_answer),
        cmocka_unit_test(delays_have_bounds_and_jitter),
        cmocka_unit_test(imds_names_the_vm_and_its_enrolment),
        cmocka_unit_test(user_data_of_others_is_ignored),
        cmocka_unit_test(imds_that_is_no_imds_is_refused),
        cmocka_unit_test(a_challenge_is_read),
        cmocka_unit_test(a_challenge_that_cannot_be_used_is_refused),
        cmocka_unit_test(only_https_or_loopback),
        cmocka_unit_test(files_are_read_to_their_end),
        cmocka_unit_test(options_that_cannot_work_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
