#include "server/command_io.h"

#include "core/cleanup.h"
#include "core/clock.h"

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

bool command_each_option(int argc, char **argv, const struct option *options,
                         bool (*set)(void *q, int o, const char *value), void *q)
{
    optind = 0; /* argv[0] is the command's own name */
    for (;;) {
        int o = getopt_long(argc, argv, "", options, NULL);
        if (o == -1)
            return true;
        if (!set(q, o, optarg))
            return false;
    }
}

void command_trust_init(struct command_trust *t)
{
    *t = (struct command_trust){.at = clock_wall(&clock_system)};
    t->options.anchors = t->anchors;
}

bool command_trust_option(struct command_trust *t, int o, const char *value)
{
    switch (o) {
    case 'a':
        if (t->options.n_anchors == COMMAND_ANCHORS_MAX)
            return false;
        t->anchors[t->options.n_anchors++] = value;
        return true;
    case 'd':
        t->options.trust_dir = value;
        return true;
    case 'l':
        return t->options.legacy_root = true;
    case 't':
        return time_parse(value, &t->at);
    default:
        return false;
    }
}

void command_print(const struct buf *json)
{
    fwrite(json->data, 1, json->len, stdout);
    fputc('\n', stdout);
    fflush(stdout);
}
