/* Shapes: what is refused and how, what is normalised, dropped, hidden and merged. */
#include "emulator/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static const struct prop inner_props[] = {{"size", PROP_INT, PROP_REQUIRED, NULL, NULL},
                                          {"mode", PROP_STR, 0, NULL, "None,ReadOnly,ReadWrite"},
                                          {"on", PROP_BOOL, 0, NULL, NULL},
                                          {"password", PROP_STR, PROP_SECRET, NULL, NULL},
                                          {NULL, PROP_END, 0, NULL, NULL}};
static const struct shape inner = {"Inner", inner_props};
static const struct prop outer_props[] = {{"state", PROP_ANY, PROP_READ_ONLY, NULL, NULL},
                                          {"one", PROP_OBJ, 0, &inner, NULL},
                                          {"many", PROP_OBJS, 0, &inner, NULL},
                                          {"names", PROP_STRS, 0, NULL, NULL},
                                          {"tags", PROP_MAP, 0, NULL, NULL},
                                          {"data", PROP_STR, PROP_HIDDEN, NULL, NULL},
                                          {NULL, PROP_END, 0, NULL, NULL}};
static const struct shape outer = {"Outer", outer_props};

static json_t *parse(const char *text)
{
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(v);
    return v;
}

static void expect(const json_t *v, const char *text)
{
    AUTO(json) json_t *wanted = parse(text);
    AUTO(free) char *seen = json_dumps(v, JSON_COMPACT);
    if (!json_equal(v, wanted))
        fail_msg("wanted %s, got %s", text, seen);
}

static void test_refuses(void **state)
{
    static const struct {
        const char *text;
        enum shape_problem problem;
        const char *path;
        const char *object;
    } rows[] = {
        {"{\"nope\":1}", SHAPE_UNKNOWN_MEMBER, "nope", "Outer"},
        {"{\"one\":{\"size\":1,\"nope\":1}}", SHAPE_UNKNOWN_MEMBER, "one.nope", "Inner"},
        {"{\"many\":[{\"size\":1},{\"size\":2,\"x\":null}]}", SHAPE_UNKNOWN_MEMBER, "many[1].x",
         "Inner"},
        {"{\"one\":{}}", SHAPE_MISSING, "one.size", "Inner"},
        {"{\"one\":{\"size\":null}}", SHAPE_MISSING, "one.size", "Inner"},
        {"{\"one\":{\"size\":\"x\"}}", SHAPE_WRONG_TYPE, "one.size", "Inner"},
        {"{\"one\":{\"size\":\"\"}}", SHAPE_WRONG_TYPE, "one.size", "Inner"},
        {"{\"one\":{\"size\":1.5}}", SHAPE_WRONG_TYPE, "one.size", "Inner"},
        {"{\"one\":[]}", SHAPE_WRONG_TYPE, "one", "Outer"},
        {"{\"many\":{}}", SHAPE_WRONG_TYPE, "many", "Outer"},
        {"{\"many\":[1]}", SHAPE_WRONG_TYPE, "many[0]", "Outer"},
        {"{\"names\":[1]}", SHAPE_WRONG_TYPE, "names[0]", "Outer"},
        {"{\"tags\":{\"a\":1}}", SHAPE_WRONG_TYPE, "tags", "Outer"},
        {"{\"one\":{\"size\":1,\"on\":\"maybe\"}}", SHAPE_WRONG_TYPE, "one.on", "Inner"},
        {"{\"one\":{\"size\":1,\"mode\":\"Read\"}}", SHAPE_NOT_ALLOWED, "one.mode", "Inner"},
        {"{\"one\":{\"size\":1,\"mode\":\"\"}}", SHAPE_NOT_ALLOWED, "one.mode", "Inner"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(json) json_t *in = parse(rows[i].text);
        struct shape_fault fault = {0};
        assert_null(shape_read(&outer, in, false, false, &fault));
        if (fault.problem != rows[i].problem || strcmp(fault.path, rows[i].path) != 0 ||
            strcmp(fault.object, rows[i].object) != 0)
            fail_msg("%s: problem %d at %s of %s", rows[i].text, fault.problem, fault.path,
                     fault.object);
    }
}

static void test_normalises(void **state)
{
    AUTO(json)
    json_t *in =
        parse("{\"STATE\":{\"x\":1},\"One\":{\"SIZE\":\"7\",\"mode\":\"readonly\",\"on\":\"True\","
              "\"password\":\"p\"},\"names\":null,\"tags\":{\"k\":\"v\"},\"data\":\"d\"}");
    struct shape_fault fault = {0};
    AUTO(json) json_t *out = shape_read(&outer, in, false, false, &fault);
    expect(out, "{\"one\":{\"size\":7,\"mode\":\"ReadOnly\",\"on\":true},\"tags\":{\"k\":\"v\"},"
                "\"data\":\"d\"}");
    AUTO(json) json_t *shown = shape_show(&outer, out);
    assert_null(json_object_get(shown, "data"));
    assert_non_null(json_object_get(shown, "one"));
}

static void test_partial_keeps_nulls_for_a_merge(void **state)
{
    AUTO(json) json_t *in = parse("{\"one\":{\"mode\":null},\"tags\":null}");
    struct shape_fault fault = {0};
    AUTO(json) json_t *change = shape_read(&outer, in, true, true, &fault);
    expect(change, "{\"one\":{\"mode\":null},\"tags\":null}");
    AUTO(json)
    json_t *onto = parse("{\"one\":{\"size\":1,\"mode\":\"None\"},\"tags\":{},\"names\":[\"a\"]}");
    shape_merge(onto, change);
    expect(onto, "{\"one\":{\"size\":1},\"names\":[\"a\"]}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_normalises),
        cmocka_unit_test(test_partial_keeps_nulls_for_a_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
