/* Answers as they come off a connection: where they end, and what is not taken for one. */
#include "arm/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define OK_LINE "HTTP/1.1 200 OK\r\n"

struct row {
    const char *text;
    enum arm_frame_state state;
    int status;
    const char *head; /* NULL: not looked at */
    const char *body;
    bool keep;
};

static const struct row whole[] = {
    {OK_LINE "Content-Length: 2\r\nRetry-After: 60\r\n\r\nhi", ARM_FRAME_DONE, 200,
     "Content-Length: 2\r\nRetry-After: 60\r\n", "hi", true},
    {OK_LINE "content-length:\t2 \r\n\r\nhi", ARM_FRAME_DONE, 200, NULL, "hi", true},
    {OK_LINE "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", ARM_FRAME_DONE, 200, NULL, "hi",
     true},
    {OK_LINE "Connection: close\r\nContent-Length: 0\r\n\r\n", ARM_FRAME_DONE, 200, NULL, "",
     false},
    {OK_LINE "Connection: keep-alive\r\nContent-Length: 0\r\n\r\n", ARM_FRAME_DONE, 200, NULL, "",
     true},
    {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", ARM_FRAME_DONE, 200, NULL, "", false},
    {"HTTP/1.1 429\r\nContent-Length: 0\r\n\r\n", ARM_FRAME_DONE, 429, NULL, "", true},
    {"HTTP/1.1 204 No Content\r\n\r\n", ARM_FRAME_DONE, 204, "", "", true},
    {"HTTP/1.1 304 Same\r\nContent-Length: 90\r\n\r\n", ARM_FRAME_DONE, 304, NULL, "", true},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
     ARM_FRAME_DONE, 202, "Content-Length: 0\r\n", "", true},
    {OK_LINE "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
     ARM_FRAME_DONE, 200, NULL, "abc0123456789", true},
    {OK_LINE "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", ARM_FRAME_DONE, 200, NULL, "",
     true},
};

static const struct {
    const char *text;
    enum arm_frame_state state;
} bad[] = {
    {"HTTP/2 200 OK\r\n\r\n", ARM_FRAME_BROKEN},
    {"HTTP/1.1 20x OK\r\n\r\n", ARM_FRAME_BROKEN},
    {"HTTP/1.1 2000 OK\r\n\r\n", ARM_FRAME_BROKEN},
    {"HTTP/1.1 099 OK\r\n\r\n", ARM_FRAME_BROKEN},
    {"HTTP/1.1 101 Switching\r\n\r\n", ARM_FRAME_BROKEN},
    {"garbage\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "\r\nuntil the end", ARM_FRAME_BROKEN}, /* no length */
    {OK_LINE "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", ARM_FRAME_BROKEN},
    {OK_LINE "Content-Length: +2\r\n\r\nhi", ARM_FRAME_BROKEN},
    {OK_LINE "Content-Length: \r\n\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "Content-Length: 99999999999999999999\r\n\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "Content-Length : 2\r\n\r\nhi", ARM_FRAME_BROKEN},
    {OK_LINE "X: a\r\n b\r\nContent-Length: 2\r\n\r\nhi", ARM_FRAME_BROKEN},
    {OK_LINE "no colon\r\n\r\n", ARM_FRAME_BROKEN},
    {OK_LINE ": v\r\n\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "A: b\nContent-Length: 0\r\n\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "A: b\rc\r\nContent-Length: 0\r\n\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     ARM_FRAME_BROKEN},
    {OK_LINE "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", ARM_FRAME_BROKEN},
    {OK_LINE "Transfer-Encoding: chunked\r\n\r\nx\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "Transfer-Encoding: chunked\r\n\r\n1g\r\nx\r\n0\r\n\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "Transfer-Encoding: chunked\r\n\r\n100000000\r\n", ARM_FRAME_BROKEN},
    {OK_LINE "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", ARM_FRAME_LARGE},
    {OK_LINE "Content-Length: 101\r\n\r\n", ARM_FRAME_LARGE},
};

#define BODY_MAX 100

static void whole_answers(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        const struct row *r = &whole[i];
        struct buf joined = {0};
        struct arm_frame f;
        size_t n = strlen(r->text);
        assert_int_equal(arm_frame_read(BYTES(r->text, n), BODY_MAX, &joined, &f), r->state);
        assert_int_equal(f.status, r->status);
        assert_true(bytes_equal(f.body, BYTES_STR(r->body)));
        assert_true(!r->head || bytes_equal(f.head, BYTES_STR(r->head)));
        assert_int_equal(f.keep, r->keep);
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(arm_frame_read(BYTES(r->text, cut), BODY_MAX, &joined, &f),
                             ARM_FRAME_MORE);
        buf_free(&joined);
    }
}

static void refused_answers(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf joined = {0};
        struct arm_frame f;
        if (arm_frame_read(BYTES_STR(bad[i].text), BODY_MAX, &joined, &f) != bad[i].state)
            fail_msg("taken otherwise: %s", bad[i].text);
        buf_free(&joined);
    }
}

/* What comes behind an answer is not the beginning of the next one. */
static void more_than_was_asked_for(void **state)
{
    struct buf joined = {0};
    struct arm_frame f;
    const char text[] = OK_LINE "Content-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n";
    assert_int_equal(arm_frame_read(BYTES_STR(text), BODY_MAX, &joined, &f), ARM_FRAME_DONE);
    assert_true(bytes_equal(f.body, BYTES_STR("hi")));
    assert_false(f.keep);
    buf_free(&joined);
}

static void a_head_has_an_end(void **state)
{
    struct buf text = {0}, joined = {0};
    struct arm_frame f;
    buf_add_str(&text, OK_LINE);
    while (text.len < ARM_FRAME_HEAD_MAX)
        buf_add_str(&text, "X-Filler: 0123456789\r\n");
    assert_int_equal(arm_frame_read(buf_bytes(&text), BODY_MAX, &joined, &f), ARM_FRAME_BROKEN);
    buf_free(&text);
    buf_free(&joined);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answers),
        cmocka_unit_test(refused_answers),
        cmocka_unit_test(more_than_was_asked_for),
        cmocka_unit_test(a_head_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
