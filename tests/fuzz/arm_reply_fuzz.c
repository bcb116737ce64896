/*
 * ARM's answers as a hostile server could send them. Input: "STATUS METHOD KIND AGE\n", header lines,
 * an empty line, the body. Whatever comes, each answer has a class, texts are clean, and nothing but
 * the configured host is ever polled.
 */
#include "arm/arm.h"
#include "arm/header.h"
#include "arm/token.h"

#include <stdint.h>

#define ENDPOINT "https://management.azure.com"
#define TARGET   "/subscriptions/s/resourceGroups/g?api-version=1"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_text(const char *s, size_t size)
{
    check(memchr(s, '\0', size) != NULL);
    for (; *s; s++)
        check((uint8_t)*s >= 0x20 && *s != 0x7f);
}

static void check_outcome(const struct arm_outcome *o)
{
    struct err_info e = {0};
    check(strlen(arm_class_name(o->class)) > 0);
    check_text(o->code, sizeof o->code);
    check_text(o->message, sizeof o->message);
    check(o->retry_after_ms >= -1 && o->retry_after_ms <= ARM_RETRY_AFTER_MAX_MS);
    enum err err = arm_outcome_err(o, &e);
    check((err == OK) == (o->class <= ARM_CLASS_ACCEPTED));
    check_text(e.detail, sizeof e.detail);
}

/* The bytes up to the next line end, which is taken too. */
static struct bytes line(struct cursor *c)
{
    const uint8_t *end = c->left ? memchr(c->at, '\n', c->left) : NULL;
    return cursor_take(c, end ? (size_t)(end - c->at) + 1 : c->left);
}

static void read_first_line(struct bytes text, int *status, int *method, int *kind, int *age)
{
    char copy[64];
    snprintf(copy, sizeof copy, "%.*s", (int)text.len, (const char *)text.data);
    if (sscanf(copy, "%3d %1d %1d %9d", status, method, kind, age) != 4)
        *status = 200;
}

static void try_lro(const struct arm_reply *r, enum arm_method method, enum arm_lro_kind kind,
                    int age)
{
    struct arm_lro lro;
    struct arm_lro_status s;
    if (arm_lro_next(r->arena, ENDPOINT, method, TARGET, r, &lro, NULL) == OK &&
        lro.kind != ARM_LRO_NONE) {
        check(arm_url_host_ok(ENDPOINT, lro.url));
        check(!lro.final_url || arm_url_host_ok(ENDPOINT, lro.final_url));
        check(lro.wait_ms >= 200 && lro.wait_ms <= ARM_RETRY_AFTER_MAX_MS);
    }
    arm_lro_read(kind, r, age, &s);
    check(s.wait_ms >= 200 && s.wait_ms <= ARM_RETRY_AFTER_MAX_MS);
    check_text(s.outcome.code, sizeof s.outcome.code);
    check_text(s.outcome.message, sizeof s.outcome.message);
}

static void try_token(const struct arm_reply *r)
{
    const struct arm_identity id = {.name = "i", .kind = ARM_CLIENT_SECRET};
    struct arm_token token;
    struct err_info e = {0};
    if (arm_token_read(r->arena, &id, r, &token, &e) == OK)
        check(token.text.len > 0 && token.lifetime_ms > 0 && !strpbrk(token.text.text, " \r\n"));
    else
        check_text(e.detail, sizeof e.detail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_of(BYTES(data, size));
    struct arm_outcome o;
    int status = 200, method = 0, kind = 0, age = 0;
    read_first_line(line(&c), &status, &method, &kind, &age);
    struct arm_reply *r = arm_reply_new();
    r->status = status < 100 ? 100 : status;
    for (struct bytes h = line(&c); h.len > 0 && h.data[0] != '\n' && h.data[0] != '\r';
         h = line(&c))
        arm_header_add(r, h, INT64_C(1795309200000));
    r->body = BYTES(c.at, c.left);
    arm_classify(r, &o);
    check_outcome(&o);
    try_lro(r, (enum arm_method)(method % (ARM_DELETE + 1)),
            (enum arm_lro_kind)(kind % (ARM_LRO_ABSENCE + 1)), age);
    try_token(r);
    arm_reply_free(r);
    return 0;
}
