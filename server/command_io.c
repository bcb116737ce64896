#include "server/command_io.h"

#include "core/cleanup.h"

#include <errno.h>
#include <stdarg.h>

bool command_complain(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("tlgate: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return false;
}

static bool read_stream(FILE *in, const char *path, size_t max, struct buf *out)
{
    for (;;) {
        size_t n = fread(buf_reserve(out, 4096), 1, 4096, in);
        out->len += n;
        if (out->len > max)
            return command_complain("%s is larger than %zu bytes", path, max);
        if (n == 0)
            break;
    }
    return !ferror(in) || command_complain("cannot read %s: %s", path, strerror(errno));
}

bool command_read(const char *path, size_t max, struct buf *out)
{
    if (strcmp(path, "-") == 0)
        return read_stream(stdin, path, max, out);
    AUTO(file) FILE *in = fopen(path, "rb");
    if (!in)
        return command_complain("cannot read %s: %s", path, strerror(errno));
    return read_stream(in, path, max, out);
}

void command_print(const struct buf *json)
{
    fwrite(json->data, 1, json->len, stdout);
    fputc('\n', stdout);
    fflush(stdout);
}
