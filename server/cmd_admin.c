/* The commands that speak to a running server, or open the database where none runs. */
#include "server/commands.h"
#include "server/control.h"

#include "core/keyring.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* A server that holds the lock but does not listen yet, or no more: ask again for so long. */
#define RETRY_MS 3000
#define STEP_MS  50

static enum err run_here(const struct settings *s, struct bytes request, struct buf *out,
                         struct err_info *e)
{
    struct keyring *keyring = NULL;
    struct store *store = NULL;
    const struct store_options options = {.dir = s->data_dir, .readers = 1, .migrate = true};
    if (mkdir(s->data_dir, 0700) != 0 && errno != EEXIST)
        return err_set(e, ERR_CONFIG, "cannot make %s: %s", s->data_dir, strerror(errno));
    enum err err = store_open(&options, &store, e);
    if (!err)
        err = keyring_open(s->keyring_file, &keyring, e);
    const struct admin admin = {
        .store = store, .keyring = keyring, .clock = &clock_system, .peer = "command"};
    if (!err)
        err = admin_run(&admin, request, out, e);
    store_close(store);
    keyring_free(keyring);
    return err;
}

static enum err run_anywhere(const struct settings *s, struct bytes request, struct buf *out,
                             struct err_info *e)
{
    for (int64_t waited = 0;; waited += STEP_MS) {
        bool reached;
        enum err err = control_ask(s->data_dir, request, out, &reached, e);
        if (err || reached)
            return err;
        err = run_here(s, request, out, e);
        if (err != ERR_CONFIG || waited >= RETRY_MS)
            return err;
        usleep(STEP_MS * 1000);
    }
}

/* Sends the request and hands the parsed result to `print`. */
static int ask(const char *config, const struct buf *request, void (*print)(const json_t *result))
{
    struct arena *arena = arena_new();
    struct settings s;
    struct err_info why = {0};
    struct buf out = {0};
    AUTO(json) json_t *result = NULL;
    enum err err = command_settings(config, arena, &s, &why);
    if (!err)
        err = run_anywhere(&s, buf_bytes(request), &out, &why);
    if (!err)
        err = json_parse(buf_bytes(&out), &result, &why);
    int status = err ? command_fail(&why) : 0;
    if (!err)
        print(result);
    buf_free(&out);
    arena_free(arena);
    return status;
}

/* ---- keys ---- */

static void print_key(const json_t *result)
{
    puts(json_path_str(result, "key"));
}

static void print_keys(const json_t *result)
{
    size_t i;
    const json_t *key;
    json_array_foreach(json_path(result, "keys"), i, key)
    {
        const char *revoked = json_path_str(key, "revokedAt");
        const char *used = json_path_str(key, "lastUsedAt");
        printf("%s  %-11s  %s  %s  %s%s\n", json_path_str(key, "id"), json_path_str(key, "role"),
               json_path_str(key, "createdAt"), used ? used : "never used              ",
               json_path_str(key, "scope"), revoked ? "  REVOKED" : "");
        printf("    %s\n", json_path_str(key, "name"));
    }
}

static void print_rotated(const json_t *result)
{
    puts(json_path_str(result, "id"));
}

static void print_nothing(const json_t *result)
{
}

#define KEY_USAGE                                                                                  \
    "key create --name N --role reader|provisioner|admin --scope S [--config FILE]\n"              \
    "       tlgate key list [--config FILE]\n"                                                     \
    "       tlgate key revoke ID [--config FILE]\n"                                                \
    "       tlgate key rotate --purpose challenge|enrollment|cursor|seal|results [--config FILE]"

int cmd_key(int argc, char **argv)
{
    static const char *const names[] = {"config", "name", "role", "scope", "purpose", NULL};
    const char *values[ARRAY_LEN(names)] = {0};
    if (!command_options(&argc, argv, names, values) || argc < 1)
        return command_usage(KEY_USAGE);
    bool create = strcmp(argv[0], "create") == 0 && argc == 1;
    bool list = strcmp(argv[0], "list") == 0 && argc == 1;
    bool revoke = strcmp(argv[0], "revoke") == 0 && argc == 2;
    bool rotate = strcmp(argv[0], "rotate") == 0 && argc == 1;
    bool described = values[1] || values[2] || values[3];
    if (rotate != (values[4] != NULL) || (!create && !list && !revoke && !rotate) ||
        (create && !(values[1] && values[2] && values[3])) || (!create && described))
        return command_usage(KEY_USAGE);
    struct buf request = {0};
    struct jw w = jw_over(&request);
    jw_open(&w, '{');
    jw_key_str(&w, "command",
               create   ? "key.create"
               : list   ? "key.list"
               : rotate ? "key.rotate"
                        : "key.revoke");
    for (int i = 1; i <= 4; i++)
        jw_key_str_opt(&w, names[i], values[i]);
    if (revoke)
        jw_key_str(&w, "id", argv[1]);
    jw_close(&w, '}');
    int status = ask(values[0], &request,
                     create   ? print_key
                     : list   ? print_keys
                     : rotate ? print_rotated
                              : print_nothing);
    buf_free(&request);
    return status;
}

/* ---- backup, migrate ---- */

/* The server has another working directory. */
static bool absolute(const char *file, char out[PATH_MAX])
{
    char folder[PATH_MAX], name[PATH_MAX], real[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s", file) >= (int)sizeof folder)
        return false;
    snprintf(name, sizeof name, "%s", file);
    if (!realpath(dirname(folder), real))
        return false;
    int n = snprintf(out, PATH_MAX, "%s/%s", strcmp(real, "/") ? real : "", basename(name));
    return n > 0 && n < PATH_MAX;
}

int cmd_backup(int argc, char **argv)
{
    static const char *const names[] = {"config", NULL};
    const char *values[ARRAY_LEN(names)] = {0};
    char file[PATH_MAX];
    if (!command_options(&argc, argv, names, values) || argc != 1)
        return command_usage("backup FILE [--config FILE]");
    if (!absolute(argv[0], file)) {
        fprintf(stderr, "tlgate: no such folder: %s\n", argv[0]);
        return 1;
    }
    struct buf request = {0};
    struct jw w = jw_over(&request);
    jw_open(&w, '{');
    jw_key_str(&w, "command", "backup");
    jw_key_str(&w, "file", file);
    jw_close(&w, '}');
    int status = ask(values[0], &request, print_nothing);
    buf_free(&request);
    return status;
}

static void print_schema(const json_t *result)
{
    printf("schema %lld\n", (long long)json_integer_value(json_path(result, "schema")));
}

int cmd_migrate(int argc, char **argv)
{
    static const char *const names[] = {"config", NULL};
    const char *values[ARRAY_LEN(names)] = {0};
    if (!command_options(&argc, argv, names, values) || argc != 0)
        return command_usage("migrate [--config FILE]");
    struct buf request = {0};
    buf_add_str(&request, "{\"command\":\"migrate\"}");
    int status = ask(values[0], &request, print_schema);
    buf_free(&request);
    return status;
}
