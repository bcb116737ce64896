/* The option table: file below environment, secrets from files, groups, and every kind of refusal.
 */
#include "core/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

struct account {
    const char *name;
    const char *user;
    struct secret password;
};

struct settings {
    const char *data_dir;
    const char *listen;
    const char *level;
    bool fast;
    int64_t threads;
    int64_t wait_ms;
    int64_t body;
    struct secret token;
    struct str_list anchors;
    struct obj_list accounts;
};

#define AT(member) offsetof(struct settings, member)

static const char *const levels[] = {"debug", "info", NULL};
static const struct config_option options[] = {
    {.key = "data_dir", .kind = OPTION_STR, .offset = AT(data_dir), .dflt = "/var", .help = "h"},
    {.section = "server",
     .key = "listen",
     .offset = AT(listen),
     .dflt = "127.0.0.1:0",
     .min = 1,
     .help = "h"},
    {.section = "server",
     .key = "level",
     .offset = AT(level),
     .dflt = "info",
     .allowed = levels,
     .help = "h"},
    {.section = "server", .key = "fast", .kind = OPTION_BOOL, .offset = AT(fast), .help = "h"},
    {.section = "server",
     .key = "threads",
     .kind = OPTION_INT,
     .offset = AT(threads),
     .dflt = "2",
     .min = 1,
     .max = 8,
     .help = "h"},
    {.section = "server",
     .key = "wait",
     .kind = OPTION_DURATION,
     .offset = AT(wait_ms),
     .dflt = "10s",
     .min = 1,
     .max = 86400000,
     .help = "h"},
    {.section = "server",
     .key = "body",
     .kind = OPTION_SIZE,
     .offset = AT(body),
     .dflt = "64K",
     .min = 1,
     .max = 1 << 30,
     .help = "h"},
    {.section = "server",
     .key = "token",
     .kind = OPTION_SECRET,
     .offset = AT(token),
     .min = 1,
     .max = 64,
     .help = "h"},
    {.section = "trust", .key = "anchor", .kind = OPTION_LIST, .offset = AT(anchors), .help = "h"},
};
static const struct config_option account_options[] = {
    {.section = "account", .key = "user", .offset = offsetof(struct account, user), .help = "h"},
    {.section = "account",
     .key = "password",
     .kind = OPTION_SECRET,
     .offset = offsetof(struct account, password),
     .help = "h"},
};
static const struct config_group groups[] = {
    {.section = "account",
     .options = account_options,
     .n_options = ARRAY_LEN(account_options),
     .item_size = sizeof(struct account),
     .name_offset = offsetof(struct account, name),
     .offset = AT(accounts)},
};
static const struct config_table table = {.prefix = "T",
                                          .options = options,
                                          .n_options = ARRAY_LEN(options),
                                          .groups = groups,
                                          .n_groups = ARRAY_LEN(groups),
                                          .size = sizeof(struct settings)};

struct fixture {
    struct arena *arena;
    char path[64];
    struct settings s;
    struct err_info why;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.arena = arena_new(), .path = "/tmp/core_config_XXXXXX"};
    int fd = mkstemp(f.path);
    *state = &f;
    return fd < 0 || close(fd);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    arena_free(f->arena);
    return 0;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static enum err load(struct fixture *f, const char *ini, char *const *env)
{
    if (ini)
        put(f->path, ini);
    f->why = (struct err_info){0};
    return config_load(&table, ini ? f->path : NULL, env, f->arena, &f->s, &f->why);
}

static void defaults_hold(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, NULL, NULL), OK);
    assert_string_equal(f->s.data_dir, "/var");
    assert_string_equal(f->s.level, "info");
    assert_false(f->s.fast);
    assert_int_equal(f->s.threads, 2);
    assert_int_equal(f->s.wait_ms, 10000);
    assert_int_equal(f->s.body, 65536);
    assert_null(f->s.token.text);
    assert_int_equal(f->s.anchors.n, 0);
}

static void environment_wins_over_file(void **state)
{
    struct fixture *f = *state;
    char *env[] = {"T_SERVER_LISTEN=127.0.0.1:9", "T_DATA_DIR=/env", "T_TRUST_ANCHOR=c, d",
                   "T_SERVER_THREADS=",           "PATH=/bin",       NULL};
    assert_int_equal(load(f,
                          "data_dir = /file\n# comment\n; comment\n\n[server]\nlisten=::1:8\r\n"
                          "threads = 4\n  wait = 2m  \n[trust]\nanchor=a\nanchor=b # c\n",
                          env),
                     OK);
    assert_string_equal(f->s.listen, "127.0.0.1:9");
    assert_string_equal(f->s.data_dir, "/env");
    assert_int_equal(f->s.threads, 4);
    assert_int_equal(f->s.wait_ms, 120000);
    assert_int_equal(f->s.anchors.n, 2);
    assert_string_equal(f->s.anchors.items[0], "c");
    assert_string_equal(f->s.anchors.items[1], "d");
}

static void lists_repeat_in_the_file(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "[trust]\nanchor=a\nanchor=b # c\n", NULL), OK);
    assert_int_equal(f->s.anchors.n, 2);
    assert_string_equal(f->s.anchors.items[1], "b # c");
}

static void durations_and_sizes(void **state)
{
    struct fixture *f = *state;
    static const struct {
        char *var;
        int64_t ms;
    } rows[] = {{"T_SERVER_WAIT=1500ms", 1500},
                {"T_SERVER_WAIT=3", 3000},
                {"T_SERVER_WAIT=1h", 3600000},
                {"T_SERVER_WAIT=1d", 86400000},
                {"T_SERVER_WAIT=PT5M", 300000}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *env[] = {rows[i].var, NULL};
        assert_int_equal(load(f, NULL, env), OK);
        assert_int_equal(f->s.wait_ms, rows[i].ms);
    }
    char *env[] = {"T_SERVER_BODY=2M", NULL};
    assert_int_equal(load(f, NULL, env), OK);
    assert_int_equal(f->s.body, 2 << 20);
}

static void secrets_come_from_files(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/core_config_secret_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    put(path, "s3cret=#;\r\n");
    char var[80];
    snprintf(var, sizeof var, "T_SERVER_TOKEN_FILE=%s", path);
    char *env[] = {var, NULL}, *both[] = {var, "T_SERVER_TOKEN=x", NULL};
    assert_int_equal(load(f, NULL, env), OK);
    assert_string_equal(f->s.token.text, "s3cret=#;");
    assert_int_equal(load(f, NULL, both), ERR_CONFIG);

    char ini[120];
    snprintf(ini, sizeof ini, "[server]\ntoken_file = %s\n", path);
    assert_int_equal(load(f, ini, NULL), OK);
    assert_string_equal(f->s.token.text, "s3cret=#;");
    unlink(path);
    assert_int_equal(load(f, ini, NULL), ERR_CONFIG);
    assert_string_equal(f->why.fields[0].pointer, "server.token");
}

static void groups_have_names(void **state)
{
    struct fixture *f = *state;
    char *env[] = {"T_ACCOUNT_EU_WEST_PASSWORD=pw", NULL};
    assert_int_equal(load(f, "[account:eu-west]\nuser = a\n[account:us]\nuser = b\n", env), OK);
    assert_int_equal(f->s.accounts.n, 2);
    const struct account *items = f->s.accounts.items;
    assert_string_equal(items[0].name, "eu-west");
    assert_string_equal(items[0].password.text, "pw");
    assert_string_equal(items[1].user, "b");
    assert_null(items[1].password.text);
}

static void bad_configurations_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *ini;
        char *var;
        const char *pointer;
    } rows[] = {
        {"colour = red\n", NULL, "colour"},
        {"[server]\ncolour = red\n", NULL, "colour"},
        {"[sever]\nlisten = x\n", NULL, "sever"},
        {"[other:a]\n", NULL, "other"},
        {"[account:A B]\n", NULL, "account"},
        {"[account:a]\n[account:a]\n", NULL, "account"},
        {"[server]\nlisten\n", NULL, "file"},
        {"[server]\nthreads = 1\nthreads = 2\n", NULL, "server.threads"},
        {"[server]\nthreads = 9\n", NULL, "server.threads"},
        {"[server]\nthreads = two\n", NULL, "server.threads"},
        {"[server]\nthreads = 2x\n", NULL, "server.threads"},
        {"[server]\nthreads = 99999999999999999999\n", NULL, "server.threads"},
        {"[server]\nfast = yes\n", NULL, "server.fast"},
        {"[server]\nlevel = loud\n", NULL, "server.level"},
        {"[server]\nlisten =\n", NULL, "server.listen"},
        {"[server]\nlisten = a\tb\n", NULL, "server.listen"},
        {"[server]\nwait = 1 fortnight\n", NULL, "server.wait"},
        {"[server]\nwait = 9223372036854775807d\n", NULL, "server.wait"},
        {"[server]\nbody = 2T\n", NULL, "server.body"},
        {"[server]\nlisten_file = /x\n", NULL, "listen_file"},
        {"", "T_SERVER_COLOUR=red", "T_SERVER_COLOUR"},
        {"", "T_SERVER_THREADS=0", "server.threads"},
        {"[account:a]\n", "T_SERVER_LISTEN_FILE=/x", "T_SERVER_LISTEN_FILE"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *env[] = {rows[i].var, NULL};
        assert_int_equal(load(f, rows[i].ini, env), ERR_CONFIG);
        assert_int_equal(f->why.code, ERR_CONFIG);
        assert_int_equal(f->why.n_fields, 1);
        assert_string_equal(f->why.fields[0].pointer, rows[i].pointer);
    }
}

static void every_problem_is_named_at_once(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "a=1\n[server]\nb=1\nfast=2\n", NULL), ERR_CONFIG);
    assert_int_equal(f->why.n_fields, 3);
}

static void the_dump_hides_secrets_and_loads_again(void **state)
{
    struct fixture *f = *state;
    char *env[] = {"T_SERVER_TOKEN=hushhush", "T_SERVER_WAIT=90s", "T_TRUST_ANCHOR=a,b", NULL};
    assert_int_equal(load(f, "[account:x]\nuser=u\npassword=hushhush\n", env), OK);
    struct buf out = {0};
    config_dump(&table, &f->s, &out);
    assert_null(strstr(out.data, "hushhush"));
    assert_non_null(strstr(out.data, "token = ***"));
    assert_non_null(strstr(out.data, "wait = 90s"));
    assert_int_equal(load(f, out.data, NULL), OK);
    assert_int_equal(f->s.wait_ms, 90000);
    assert_int_equal(f->s.accounts.n, 1);
    buf_free(&out);
}

static void help_names_every_option(void **state)
{
    struct buf out = {0};
    config_help(&table, &out);
    config_markdown(&table, &out);
    assert_non_null(strstr(out.data, "T_SERVER_TOKEN[_FILE]"));
    assert_non_null(strstr(out.data, "account:NAME.user"));
    assert_non_null(strstr(out.data, "| `body` | `T_SERVER_BODY` | 1 to 1G | `64K` |"));
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(environment_wins_over_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_repeat_in_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(durations_and_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_come_from_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(groups_have_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_configurations_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_problem_is_named_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_dump_hides_secrets_and_loads_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(help_names_every_option, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
