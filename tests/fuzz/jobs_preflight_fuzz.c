/*
 * Azure's answers to the reads of a preflight. First byte: what is asked for ('g' a gallery image, 's' a
 * VM without Trusted Launch, else a marketplace image); then one line for each kind of read: empty (not
 * read), "-" (there is none) or its body. Whatever they say, a judgement comes out.
 */
#include "core/cleanup.h"
#include "core/json.h"
#include "jobs/preflight.h"
#include "jobs/vm_plan.h"
#include "openapi/schemas.h"

#include <assert.h>

#define SUB "00000000-0000-0000-0000-000000000001"
#define SPEC(image, more)                                                                          \
    "{\"location\":\"westeurope\",\"size\":\"Standard_D2s_v5\",\"osType\":\"Linux\",\"image\":"    \
    "{" image "},\"admin\":{\"username\":\"azureuser\",\"password\":\"Strong-Passw0rd\"}" more "}"
#define MARKETPLACE                                                                                \
    "\"publisher\":\"Canonical\",\"offer\":\"off\",\"sku\":\"sku\",\"version\":\"latest\""
#define GALLERY                                                                                    \
    "\"galleryImageVersionId\":\"/subscriptions/" SUB                                              \
    "/resourceGroups/g/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0\""

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct jobs_vm_ref ref = {SUB, "rg", "web-01"};

static const struct vm_spec *spec_of(uint8_t pick, struct arena *a)
{
    struct vm_spec *spec = ARENA_NEW(a, struct vm_spec);
    const char *text = pick == 'g'   ? SPEC(GALLERY, "")
                       : pick == 's' ? SPEC(MARKETPLACE, ",\"securityType\":\"Standard\"")
                                     : SPEC(MARKETPLACE, "");
    if (json_decode_text(BYTES_STR(text), &vm_spec_schema, a, spec, NULL))
        abort();
    return spec;
}

static struct bytes line(struct cursor *c)
{
    const uint8_t *end = c->left ? memchr(c->at, '\n', c->left) : NULL;
    struct bytes b = cursor_take(c, end ? (size_t)(end - c->at) : c->left);
    cursor_take(c, end ? 1 : 0);
    return b;
}

static struct read_answer answer_of(enum read_kind kind, struct bytes text)
{
    AUTO(json) json_t *body = NULL;
    if (text.len == 0)
        return (struct read_answer){0};
    if (text.data[0] == '-' || json_parse(text, &body, NULL))
        return (struct read_answer){.known = true};
    return (struct read_answer){
        .known = true, .exists = true, .body = preflight_digest(kind, body)};
}

static void judge(struct preflight_facts *f)
{
    struct jobs_preflight p = {.arena = f->arena, .vm = ref, .spec = f->spec, .wants_calls = true};
    for (int k = 0; k < READ_KINDS; k++)
        (void)preflight_target(f, (enum read_kind)k);
    preflight_judge(f, &p);
    for (size_t i = 0; i < p.n_findings; i++)
        assert(p.findings[i].code && p.findings[i].pointer && p.findings[i].reason);
    assert(p.refusal != OK || p.n_calls > 0 || p.n_findings > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena *a = arena_new();
    struct cursor c = cursor_of(BYTES(data + 1, size - 1));
    struct preflight_facts f = {.arena = a, .ref = &ref, .spec = spec_of(data[0], a)};
    f.plan = vm_plan_of(a, &ref, f.spec);
    for (int k = 0; k < READ_KINDS; k++)
        f.read[k] = answer_of((enum read_kind)k, line(&c));
    judge(&f);
    f.crowded = true;
    judge(&f);
    for (int k = 0; k < READ_KINDS; k++)
        json_decref(f.read[k].body);
    arena_free(a);
    return 0;
}
