#include "core/err.h"

#include <stdarg.h>

static const struct err_row {
    int http;
    enum retry_class retry;
    const char *code;
    const char *title;
} rows[ERR_COUNT] = {[OK] = {200, RETRY_NEVER, "ok", "OK"},
#define X(name, http_, code_, retry_, title_)                                                      \
    [ERR_##name] = {.http = http_, .retry = RETRY_##retry_, .code = code_, .title = title_},
                     ERR_LIST(X)
#undef X
};

static const struct err_row *row_of(enum err code)
{
    return (unsigned)code < ERR_COUNT ? &rows[code] : &rows[ERR_INTERNAL];
}

int err_http_status(enum err code)
{
    return row_of(code)->http;
}

const char *err_code(enum err code)
{
    return row_of(code)->code;
}

const char *err_title(enum err code)
{
    return row_of(code)->title;
}

enum retry_class err_retry_class(enum err code)
{
    return row_of(code)->retry;
}

enum err err_from_code(const char *code)
{
    for (int i = 1; i < ERR_COUNT; i++)
        if (strcmp(rows[i].code, code) == 0)
            return (enum err)i;
    return ERR_INTERNAL;
}

/* Details end up in logs and answers: a control byte in them is somebody's injection. */
static void scrub(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

PRINTF(3, 0)
static void format(char *out, size_t size, const char *fmt, va_list ap)
{
    vsnprintf(out, size, fmt, ap);
    scrub(out);
}

void err_clear(struct err_info *e)
{
    memset(e, 0, offsetof(struct err_info, fields));
}

enum err err_set(struct err_info *e, enum err code, const char *fmt, ...)
{
    if (!e)
        return code;
    va_list ap;
    va_start(ap, fmt);
    err_clear(e);
    e->code = code;
    format(e->detail, sizeof e->detail, fmt, ap);
    va_end(ap);
    return code;
}

static bool is_named(const struct err_info *e, const char *pointer)
{
    for (unsigned i = 0; i < e->n_fields; i++)
        if (strcmp(e->fields[i].pointer, pointer) == 0)
            return true;
    return false;
}

enum err err_add_field(struct err_info *e, const char *pointer, const char *fmt, ...)
{
    if (!e)
        return ERR_VALIDATION;
    if (e->code == OK)
        err_set(e, ERR_VALIDATION, "the request has invalid members");
    if (e->n_fields == ERR_FIELDS_MAX)
        return e->code;
    struct err_field *f = &e->fields[e->n_fields];
    snprintf(f->pointer, sizeof f->pointer, "%s", pointer);
    scrub(f->pointer);
    if (is_named(e, f->pointer))
        return e->code;
    e->n_fields++;
    va_list ap;
    va_start(ap, fmt);
    format(f->detail, sizeof f->detail, fmt, ap);
    va_end(ap);
    return e->code;
}

enum err err_remedy(struct err_info *e, const char *fmt, ...)
{
    if (!e)
        return ERR_INTERNAL;
    va_list ap;
    va_start(ap, fmt);
    format(e->remedy, sizeof e->remedy, fmt, ap);
    va_end(ap);
    return e->code;
}
