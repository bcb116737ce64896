/* The JSON parser's strictness and the field codec: every kind of field, every kind of fault. */
#include "core/json_quick.h"
#include "core/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

struct part {
    const char *text;
    int64_t number;
};

struct whole {
    const char *text;
    const char *color;
    struct secret secret;
    bool flag;
    enum tri tri;
    int64_t number;
    int64_t unset;
    struct part *part;
    struct part *dflt;
    struct str_list texts;
    struct int_list numbers;
    struct obj_list parts;
    struct str_map map;
};

static const char *const colors[] = {"red", "green", NULL};

static const char *no_blank(const char *s)
{
    return strchr(s, ' ') ? "must not have blanks" : NULL;
}

#define PART(m) offsetof(struct part, m)
static const struct field part_fields[] = {
    {.name = "text", .kind = FIELD_STR, .offset = PART(text), .required = true, .min = 1, .max = 3},
    {.name = "number",
     .kind = FIELD_INT,
     .offset = PART(number),
     .max = 9,
     .dflt_int = 7,
     .has_dflt = true},
};
static const struct schema part = {
    .name = "part", .size = sizeof(struct part), .fields = part_fields, .n_fields = 2};
static const struct field dflt_fields[] = {
    {.name = "number",
     .kind = FIELD_INT,
     .offset = PART(number),
     .max = 9,
     .dflt_int = 7,
     .has_dflt = true},
};
static const struct schema dflt = {
    .name = "dflt", .size = sizeof(struct part), .fields = dflt_fields, .n_fields = 1};

static const char *const *const one_of[] = {(const char *const[]){"text", NULL},
                                            (const char *const[]){"color", "flag", NULL}, NULL};
static const char *const *const not_all[] = {(const char *const[]){"tri", "number", NULL}, NULL};
static const struct rule rules[] = {{RULE_ONE_OF, one_of}, {RULE_NOT_ALL, not_all}};

#define AT(m) offsetof(struct whole, m)
static const struct field fields[] = {
    {.name = "text", .kind = FIELD_STR, .offset = AT(text), .min = 2, .max = 4, .match = no_blank},
    {.name = "color", .kind = FIELD_STR, .offset = AT(color), .max = 9, .allowed = colors},
    {.name = "secret", .kind = FIELD_SECRET, .offset = AT(secret), .min = 3, .max = 9},
    {.name = "flag", .kind = FIELD_BOOL, .offset = AT(flag), .dflt_int = 1},
    {.name = "tri", .kind = FIELD_TRI, .offset = AT(tri)},
    {.name = "number", .kind = FIELD_INT, .offset = AT(number), .min = -5, .max = 5},
    {.name = "unset", .kind = FIELD_INT, .offset = AT(unset), .max = 5},
    {.name = "part", .kind = FIELD_OBJ, .offset = AT(part), .object = &part},
    {.name = "dflt", .kind = FIELD_OBJ, .offset = AT(dflt), .object = &dflt, .has_dflt = true},
    {.name = "texts",
     .kind = FIELD_STR_LIST,
     .offset = AT(texts),
     .min = 1,
     .max = 3,
     .item_min = 1,
     .item_max = 5,
     .unique = true},
    {.name = "numbers", .kind = FIELD_INT_LIST, .offset = AT(numbers), .max = 2, .item_max = 9},
    {.name = "parts", .kind = FIELD_OBJ_LIST, .offset = AT(parts), .max = 2, .object = &part},
    {.name = "a/b~c",
     .kind = FIELD_STR_MAP,
     .offset = AT(map),
     .max = 2,
     .item_max = 3,
     .match_key = no_blank},
};
static const struct schema whole = {.name = "whole",
                                    .size = sizeof(struct whole),
                                    .fields = fields,
                                    .n_fields = ARRAY_LEN(fields),
                                    .rules = rules,
                                    .n_rules = ARRAY_LEN(rules)};

static void broken_json_is_refused(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } rows[] = {
#define T(t) {t, sizeof(t) - 1}
        T(""),
        T(" "),
        T("{"),
        T("{}}"),
        T("{} {}"),
        T("{}\0"),
        T("\xef\xbb\xbf{}"),
        T("{'a':1}"),
        T("{\"a\":1,}"),
        T("{\"a\":1,\"a\":1}"),
        T("{\"a\":{\"b\":1,\"b\":2}}"),
        T("{\"a\":\"\xff\"}"),
        T("{\"a\":\"\xc0\x80\"}"),
        T("{\"a\":\"\\ud800\"}"),
        T("{\"a\":\"\\udc00\\ud800\"}"),
        T("{\"a\":\"\\u0000\"}"),
        T("{\"\\u0000\":1}"),
        T("{\"a\":\"\n\"}"),
        T("{\"a\":01}"),
        T("{\"a\":+1}"),
        T("{\"a\":1.}"),
        T("{\"a\":NaN}"),
        T("{\"a\":1e999}"),
        T("{\"a\":99999999999999999999}"),
        T("{\"a\":tru}"),
        T("// x\n{}"),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *v = NULL;
        enum err err = json_parse(BYTES(rows[i].text, rows[i].len), &v, NULL);
        if (err != ERR_BAD_REQUEST)
            print_error("%s\n", rows[i].text);
        assert_int_equal(err, ERR_BAD_REQUEST);
        assert_null(v);
    }
}

static void depth_is_bounded(void **state)
{
    for (int depth = JSON_DEPTH_MAX; depth < 100000; depth = depth * 10 + 1) {
        struct buf text = {0};
        json_t *v = NULL;
        for (int i = 0; i < depth; i++)
            buf_add_char(&text, '[');
        for (int i = 0; i < depth; i++)
            buf_add_char(&text, ']');
        enum err err = json_parse(buf_bytes(&text), &v, NULL);
        assert_int_equal(err, depth == JSON_DEPTH_MAX ? OK : ERR_BAD_REQUEST);
        json_decref(v);
        buf_free(&text);
    }
    /* Brackets within a string are text. */
    AUTO(json) json_t *v = NULL;
    assert_int_equal(
        json_parse(BYTES_STR("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"]"), &v, NULL), OK);
}

/* An array of `first` and then n times `more`. */
static void add_array(struct buf *text, const char *first, const char *more, size_t n)
{
    buf_add_char(text, '[');
    buf_add_str(text, first);
    for (size_t i = 0; i < n; i++)
        buf_add_str(text, more);
    buf_add_char(text, ']');
}

/* Counted before any of them is made; what stands within a string counts nothing. */
static void values_are_bounded(void **state)
{
    static const struct {
        const char *first, *more;
        size_t most; /* of `more` */
    } arrays[] = {{"0", ",0", JSON_VALUES_MAX - 2},
                  {"\",,[{\\\",\"", ",\"[,\"", JSON_VALUES_MAX - 2},
                  {"{}", ",{}", JSON_VALUES_MAX / 2 - 2}};
    struct arena *a = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++) {
        for (size_t more = 0; more < 2; more++) {
            AUTO(json) json_t *v = NULL;
            struct buf text = {0};
            struct err_info why = {0};
            struct whole out;
            add_array(&text, arrays[i].first, arrays[i].more, arrays[i].most + more);
            enum err err = json_decode_text(buf_bytes(&text), &whole, a, &out, &why);
            assert_int_equal(err, more ? ERR_BAD_REQUEST : ERR_VALIDATION); /* it is no object */
            assert_int_equal(json_parse(buf_bytes(&text), &v, &why),
                             OK); /* Azure's may be longer */
            buf_free(&text);
        }
    }
    arena_free(a);
}

static enum err decode(struct arena *a, const char *text, struct whole *out, struct err_info *why)
{
    *why = (struct err_info){0};
    return json_decode_text(BYTES_STR(text), &whole, a, out, why);
}

static void everything_decodes_and_encodes(void **state)
{
    static const char text[] =
        "{\"text\":\"ab\",\"flag\":false,\"tri\":false,\"part\":{\"text\":\"x\",\"number\":9},"
        "\"dflt\":{\"number\":1},\"texts\":[\"a\",\"\xc3\xa9\"],\"numbers\":[0,9],"
        "\"parts\":[{\"text\":\"y\",\"number\":7}],\"a/b~c\":{\"k\":\"v\"}}";
    struct arena *a = arena_new();
    struct whole w;
    struct err_info why;
    assert_int_equal(decode(a, text, &w, &why), OK);
    assert_int_equal(w.tri, TRI_FALSE);
    assert_int_equal(w.part->number, 9);
    assert_int_equal(((struct part *)w.parts.items)[0].number, 7); /* its default */
    assert_string_equal(w.map.items[0].value, "v");
    assert_true(w.unset == JSON_INT_UNSET);
    struct buf out = {0};
    struct jw jw = jw_over(&out);
    json_encode(&jw, &whole, &w);
    assert_string_equal(out.data, text);
    buf_free(&out);
    arena_free(a);
}

static void absent_members_have_their_defaults(void **state)
{
    struct arena *a = arena_new();
    struct whole w;
    struct err_info why;
    assert_int_equal(decode(a, "{\"text\":\"ab\",\"secret\":\"hunter2\"}", &w, &why), OK);
    assert_true(w.flag);
    assert_int_equal(w.tri, TRI_UNSET);
    assert_null(w.part);
    assert_int_equal(w.dflt->number, 7);
    assert_null(w.texts.items);
    assert_string_equal(w.secret.text, "hunter2");
    struct buf out = {0};
    struct jw jw = jw_over(&out);
    json_encode(&jw, &whole, &w);
    assert_null(strstr(out.data, "hunter2"));
    buf_free(&out);
    arena_free(a);
}

static void every_fault_has_its_pointer(void **state)
{
    static const struct {
        const char *text;
        const char *pointer;
    } rows[] = {
        {"[]", "#"},
        {"{\"text\":1}", "#/text"},
        {"{\"text\":null}", "#/text"},
        {"{\"text\":\"a\"}", "#/text"},
        {"{\"text\":\"abcde\"}", "#/text"},
        {"{\"text\":\"a b\"}", "#/text"},
        {"{\"color\":\"blue\",\"flag\":true}", "#/color"},
        {"{\"text\":\"ab\",\"secret\":\"x\"}", "#/secret"},
        {"{\"text\":\"ab\",\"flag\":1}", "#/flag"},
        {"{\"text\":\"ab\",\"tri\":\"true\"}", "#/tri"},
        {"{\"text\":\"ab\",\"number\":6}", "#/number"},
        {"{\"text\":\"ab\",\"number\":1.0}", "#/number"},
        {"{\"text\":\"ab\",\"number\":\"1\"}", "#/number"},
        {"{\"text\":\"ab\",\"part\":[]}", "#/part"},
        {"{\"text\":\"ab\",\"part\":{}}", "#/part/text"},
        {"{\"text\":\"ab\",\"part\":{\"text\":\"x\",\"y\":1}}", "#/part/y"},
        {"{\"text\":\"ab\",\"texts\":{}}", "#/texts"},
        {"{\"text\":\"ab\",\"texts\":[]}", "#/texts"},
        {"{\"text\":\"ab\",\"texts\":[\"a\",\"b\",\"c\",\"d\"]}", "#/texts"},
        {"{\"text\":\"ab\",\"texts\":[\"a\",\"a\"]}", "#/texts/1"},
        {"{\"text\":\"ab\",\"texts\":[\"a\",2]}", "#/texts/1"},
        {"{\"text\":\"ab\",\"numbers\":[1,10]}", "#/numbers/1"},
        {"{\"text\":\"ab\",\"parts\":[{\"text\":\"x\"},{\"text\":\"\"}]}", "#/parts/1/text"},
        {"{\"text\":\"ab\",\"a/b~c\":[]}", "#/a~1b~0c"},
        {"{\"text\":\"ab\",\"a/b~c\":{\"k\":1}}", "#/a~1b~0c/k"},
        {"{\"text\":\"ab\",\"a/b~c\":{\"a b\":\"v\"}}", "#/a~1b~0c/a b"},
        {"{\"text\":\"ab\",\"Text\":\"ab\"}", "#/Text"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *a = arena_new();
        struct whole w;
        struct err_info why;
        enum err err = decode(a, rows[i].text, &w, &why);
        if (err != ERR_VALIDATION || why.n_fields == 0 ||
            strncmp(why.fields[0].pointer, rows[i].pointer, strlen(rows[i].pointer)) != 0)
            print_error("%s: %s\n", rows[i].text, why.fields[0].pointer);
        assert_int_equal(err, ERR_VALIDATION);
        assert_true(why.n_fields >= 1);
        assert_int_equal(strncmp(why.fields[0].pointer, rows[i].pointer, strlen(rows[i].pointer)),
                         0);
        arena_free(a);
    }
}

/* What it leaves is decided by the strict one, so that only speed depends on it; in this build each body
 * that it takes is decoded by both. */
static void plain_bodies_are_decoded_quickly(void **state)
{
    static const struct {
        const char *text;
        bool quick;
    } rows[] = {
        {"{\"text\":\"ab\"}", true},
        {" \t{\r\n\"text\" : \"ab\" , \"number\" : -5 }\n", true},
        {"{\"color\":\"red\",\"flag\":false,\"tri\":true,\"secret\":\"abc\"}", true},
        {"{\"text\":\"ab\",\"part\":{\"text\":\"x\",\"number\":0},\"dflt\":{}}", true},
        {"{\"text\":\"ab\",\"texts\":[\"a\",\"b\",\"c\"],\"numbers\":[]}", true},
        {"{\"text\":\"ab\",\"parts\":[{\"text\":\"x\"},{\"text\":\"y\"}]}", true},
        {"{\"text\":\"ab\",\"a/b~c\":{}}", false},
        {"{\"text\":\"a\\u0062\"}", false},
        {"{\"text\":\"\xc3\xa4\xc3\xa4\"}", false},
        {"{\"text\":\"ab\",\"text\":\"ab\"}", false},
        {"{\"text\":\"ab\",\"number\":01}", false},
        {"{\"text\":\"ab\",\"number\":-0}", false},
        {"{\"text\":\"ab\",\"number\":1.0}", false},
        {"{\"text\":\"ab\",\"number\":1e0}", false},
        {"{\"text\":\"ab\",\"number\":9999999999999999999}", false},
        {"{\"text\":\"ab\",\"flag\":truer}", false},
        {"{\"text\":\"ab\",\"texts\":[\"a\",\"a\"]}", false},
        {"{\"text\":\"ab\",\"texts\":[\"a\",]}", false},
        {"{\"text\":\"ab\",\"texts\":[]}", false},
        {"{\"text\":\"ab\",\"tri\":true,\"number\":1}", false},
        {"{\"text\":\"ab\",\"part\":{}}", false},
        {"{\"text\":\"ab\",\"other\":1}", false},
        {"{\"text\":\"ab\",}", false},
        {"{\"text\":\"ab\"}}", false},
        {"{\"text\":\"ab\"", false},
        {"{\"text\":\"ab", false},
        {"{}", false},
        {"[]", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *a = arena_new();
        struct whole w;
        struct err_info why;
        if (json_quick(BYTES_STR(rows[i].text), &whole, a, &w) != rows[i].quick)
            fail_msg("%s", rows[i].text);
        assert_true(!rows[i].quick || decode(a, rows[i].text, &w, &why) == OK);
        arena_free(a);
    }
}

static void rules_are_kept(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        {"{}", false},
        {"{\"text\":\"ab\"}", true},
        {"{\"color\":\"red\",\"flag\":true}", true},
        {"{\"color\":\"red\"}", false},
        {"{\"text\":\"ab\",\"color\":\"red\",\"flag\":true}", false},
        {"{\"text\":\"ab\",\"tri\":true}", true},
        {"{\"text\":\"ab\",\"tri\":true,\"number\":1}", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *a = arena_new();
        struct whole w;
        struct err_info why;
        if ((decode(a, rows[i].text, &w, &why) == OK) != rows[i].ok)
            print_error("%s\n", rows[i].text);
        assert_int_equal(decode(a, rows[i].text, &w, &why) == OK, rows[i].ok);
        arena_free(a);
    }
}

static void faults_are_named_at_once_and_hostile_keys_are_harmless(void **state)
{
    struct arena *a = arena_new();
    struct whole w;
    struct err_info why;
    struct buf text = {0};
    assert_int_equal(decode(a, "{\"text\":1,\"flag\":2,\"x\":3}", &w, &why), ERR_VALIDATION);
    assert_true(why.n_fields >= 3);
    buf_add_str(&text, "{\"text\":\"ab\",\"");
    for (int i = 0; i < 2000; i++)
        buf_add_char(&text, i % 3 ? '~' : '/');
    buf_add_str(&text, "\\n\":1}");
    assert_int_equal(decode(a, text.data, &w, &why), ERR_VALIDATION);
    assert_null(strchr(why.fields[0].pointer, '\n'));
    buf_free(&text);
    arena_free(a);
}

static void paths_find_members(void **state)
{
    AUTO(json) json_t *v = NULL;
    assert_int_equal(json_parse(BYTES_STR("{\"a\":{\"b\":\"c\"},\"n\":1}"), &v, NULL), OK);
    assert_string_equal(json_path_str(v, "a/b"), "c");
    assert_null(json_path_str(v, "a/x"));
    assert_null(json_path_str(v, "n"));
    assert_null(json_path_str(v, "n/x"));
    assert_ptr_equal(json_path(v, ""), v);
    assert_null(json_path(NULL, "a"));
}

/* ---- the log ---- */

static void a_log_line_is_json_whatever_it_holds(void **state)
{
    int pipes[2], saved = dup(STDERR_FILENO);
    char line[2048];
    assert_int_equal(pipe(pipes), 0);
    dup2(pipes[1], STDERR_FILENO);
    log_debug("not this one");
    log_warn("m", LOG_S("text", "a\"\n\x1b\xff{"), LOG_I("number", -3), LOG_S("utf8", "\xc3\xa9"));
    dup2(saved, STDERR_FILENO);
    close(pipes[1]);
    ssize_t n = read(pipes[0], line, sizeof line);
    assert_true(n > 0 && line[n - 1] == '\n');
    close(pipes[0]);
    close(saved);
    AUTO(json) json_t *v = NULL;
    assert_int_equal(json_parse(BYTES(line, (size_t)n), &v, NULL), OK);
    assert_string_equal(json_path_str(v, "level"), "warn");
    assert_string_equal(json_path_str(v, "text"), "a\"\n\x1b?{");
    assert_string_equal(json_path_str(v, "utf8"), "\xc3\xa9");
    assert_int_equal(json_integer_value(json_path(v, "number")), -3);
}

/* What comes through a pipe in place of stderr. */
static int stderr_to(int fd)
{
    int saved = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    return saved;
}

static void *log_some(void *name)
{
    for (int i = 0; i < 500; i++)
        log_info("line", LOG_S("by", name), LOG_I("n", i));
    return NULL;
}

/* Each thread's lines, in their order; how many there are of all. */
static int check_lines(FILE *in)
{
    char line[512];
    int n = 0, next[2] = {0};
    while (fgets(line, sizeof line, in)) {
        AUTO(json) json_t *v = NULL;
        assert_int_equal(json_parse(BYTES(line, strlen(line)), &v, NULL), OK);
        if (json_path(v, "n"))
            assert_int_equal(json_integer_value(json_path(v, "n")),
                             next[*json_path_str(v, "by") - 'a']++);
        n++;
    }
    return n;
}

static void gathered_lines_are_all_there_in_order(void **state)
{
    static char a[] = "a", b[] = "b";
    FILE *out = tmpfile();
    pthread_t threads[2];
    int saved = stderr_to(fileno(out));
    log_gather_start();
    assert_int_equal(pthread_create(&threads[0], NULL, log_some, a), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, log_some, b), 0);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    log_warn("now");
    off_t at_once = lseek(fileno(out), 0, SEEK_END);
    log_gather_stop();
    assert_int_equal(lseek(fileno(out), 0, SEEK_END), at_once); /* the warning took all with it */
    log_info("after");
    close(stderr_to(saved));
    close(saved);
    rewind(out);
    assert_int_equal(check_lines(out), 1002);
    fclose(out);
}

static void lines_that_cannot_be_written_are_counted_and_told(void **state)
{
    FILE *out = tmpfile();
    int full = open("/dev/full", O_WRONLY), saved = stderr_to(full);
    int64_t before = log_lost();
    char text[1024] = {0};
    log_gather_start();
    log_info("lost");
    log_warn("lost, too");
    dup2(fileno(out), STDERR_FILENO);
    log_warn("written");
    log_gather_stop();
    close(stderr_to(saved));
    close(saved);
    close(full);
    assert_int_equal(log_lost() - before, 2);
    rewind(out);
    assert_true(fread(text, 1, sizeof text - 1, out) > 0);
    assert_non_null(strstr(text, "\"msg\":\"written\""));
    assert_non_null(strstr(text, "\"lines\":2}"));
    assert_null(strstr(text, "\"msg\":\"lost"));
    fclose(out);
}

int main(void)
{
    secret_wipe_json();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_json_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(values_are_bounded),
        cmocka_unit_test(everything_decodes_and_encodes),
        cmocka_unit_test(absent_members_have_their_defaults),
        cmocka_unit_test(every_fault_has_its_pointer),
        cmocka_unit_test(plain_bodies_are_decoded_quickly),
        cmocka_unit_test(rules_are_kept),
        cmocka_unit_test(faults_are_named_at_once_and_hostile_keys_are_harmless),
        cmocka_unit_test(paths_find_members),
        cmocka_unit_test(a_log_line_is_json_whatever_it_holds),
        cmocka_unit_test(gathered_lines_are_all_there_in_order),
        cmocka_unit_test(lines_that_cannot_be_written_are_counted_and_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
