#include "server/commands.h"

extern char **environ;

int command_fail(const struct err_info *why)
{
    fprintf(stderr, "tlgate: %s\n", *why->detail ? why->detail : err_title(why->code));
    for (unsigned i = 0; i < why->n_fields; i++)
        fprintf(stderr, "  %s: %s\n", why->fields[i].pointer, why->fields[i].detail);
    return 1;
}

int command_usage(const char *usage)
{
    fprintf(stderr, "usage: tlgate %s\n", usage);
    return 2;
}

static int index_of(const char *const *names, const char *option)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], option) == 0)
            return i;
    return -1;
}

bool command_options(int *argc, char **argv, const char *const *names, const char **values)
{
    int left = 0;
    for (int i = 0; i < *argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0) {
            argv[left++] = argv[i];
            continue;
        }
        int option = index_of(names, argv[i] + 2);
        if (option < 0 || values[option] || i + 1 == *argc)
            return false;
        values[option] = argv[++i];
    }
    *argc = left;
    return true;
}

enum err command_settings(const char *config, struct arena *arena, struct settings *out,
                          struct err_info *e)
{
    return settings_load(config, environ, arena, out, e);
}
