/* Preflight's judgement of specs and of what Azure answered. */
#include "core/cleanup.h"
#include "jobs/preflight.h"
#include "openapi/schemas.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SUB "00000000-0000-0000-0000-000000000001"
#define IMAGE                                                                                      \
    "{\"publisher\":\"Canonical\",\"offer\":\"off\",\"sku\":\"sku\",\"version\":\"latest\"}"
#define GALLERY                                                                                    \
    "/subscriptions/" SUB                                                                          \
    "/resourceGroups/g/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0"
#define LINUX_ADMIN "{\"username\":\"azureuser\",\"password\":\"Strong-Passw0rd\"}"
#define SPEC(os, image, admin, more)                                                               \
    "{\"location\":\"westeurope\",\"size\":\"Standard_D2s_v5\",\"osType\":\"" os                   \
    "\",\"image\":" image ",\"admin\":" admin more "}"
#define SKU(capabilities)                                                                          \
    "{\"value\":[{\"resourceType\":\"disks\",\"name\":\"Standard_D2s_v5\"},{\"resourceType\":"     \
    "\"virtualMachines\",\"name\":\"standard_D2S_v5\",\"capabilities\":[" capabilities "]"
#define GEN2     "{\"name\":\"HyperVGenerations\",\"value\":\"V1,V2\"}"
#define X64      ",{\"name\":\"CpuArchitectureType\",\"value\":\"x64\"}"
#define GOOD_SKU SKU(GEN2 X64) "}]}"
#define OTHER_SKU                                                                                  \
    "{\"value\":[{\"resourceType\":\"virtualMachines\",\"name\":\"Standard_E2s_v5\"}]}"
#define GOOD_IMAGE IMAGE_BODY("V2", "TrustedLaunchSupported", "Linux", "x64", "")
#define IMAGE_BODY(generation, security, os, cpu, more)                                            \
    "{\"properties\":{\"hyperVGeneration\":\"" generation                                          \
    "\",\"features\":[{\"name\":\"SecurityType\",\"value\":\"" security                            \
    "\"}],\"osDiskImage\":{\"operatingSystem\":\"" os "\"},\"architecture\":\"" cpu "\"" more "}}"
#define DEFINITION(state, security)                                                                \
    "{\"properties\":{\"hyperVGeneration\":\"V2\",\"osType\":\"Linux\",\"osState\":\"" state       \
    "\",\"features\":[{\"name\":\"SecurityType\",\"value\":\"" security "\"}]}}"

struct row {
    const char *name; /* of the VM; NULL: web-01 */
    const char *spec;
    const char *reads[READ_KINDS]; /* NULL: not read; "": 404 */
    const char *registry;          /* spec of the VM as it is known; NULL: unknown */
    const char *code;              /* the finding; NULL: none of severity error */
    const char *pointer;
};

struct judged {
    struct arena *arena;
    struct vm vm;
    struct jobs_vm_ref ref;
    struct preflight_facts facts;
    struct jobs_preflight p;
};

static void judge(const struct row *row, struct judged *j)
{
    struct err_info e = {0};
    struct vm_spec *spec;
    *j = (struct judged){.arena = arena_new()};
    spec = ARENA_NEW(j->arena, struct vm_spec);
    enum err err = json_decode_text(BYTES_STR(row->spec), &vm_spec_schema, j->arena, spec, &e);
    if (err)
        print_error("%s: %s %s\n", row->spec, e.fields[0].pointer, e.fields[0].detail);
    assert_int_equal(err, OK);
    j->ref = (struct jobs_vm_ref){SUB, "rg", row->name ? row->name : "web-01"};
    j->facts = (struct preflight_facts){.arena = j->arena,
                                        .ref = &j->ref,
                                        .spec = spec,
                                        .plan = vm_plan_of(j->arena, &j->ref, spec)};
    if (row->registry) {
        j->vm = (struct vm){.vm_id = "v-1", .spec = row->registry};
        j->facts.vm = &j->vm;
    }
    for (int k = 0; k < READ_KINDS; k++) {
        if (!row->reads[k])
            continue;
        json_t *body = row->reads[k][0] ? json_loads(row->reads[k], 0, NULL) : NULL;
        j->facts.read[k] =
            (struct read_answer){.known = true,
                                 .exists = body != NULL,
                                 .body = body ? preflight_digest((enum read_kind)k, body) : NULL};
        json_decref(body);
    }
    j->p =
        (struct jobs_preflight){.arena = j->arena, .vm = j->ref, .spec = spec, .wants_calls = true};
    preflight_judge(&j->facts, &j->p);
}

static void judged_free(struct judged *j)
{
    for (int k = 0; k < READ_KINDS; k++)
        json_decref(j->facts.read[k].body);
    arena_free(j->arena);
}

static const struct finding *find(const struct judged *j, const char *code)
{
    for (size_t i = 0; i < j->p.n_findings; i++)
        if (code ? strcmp(j->p.findings[i].code, code) == 0
                 : j->p.findings[i].severity == FINDING_ERROR)
            return &j->p.findings[i];
    return NULL;
}

static void check(const struct row *row)
{
    struct judged j;
    judge(row, &j);
    const struct finding *f = find(&j, row->code);
    if ((f != NULL) != (row->code != NULL))
        print_error("%s\nexpected %s, got %s\n", row->spec, row->code ? row->code : "nothing",
                    f ? f->code : "nothing");
    assert_int_equal(f != NULL, row->code != NULL);
    if (f) {
        assert_string_equal(f->pointer, row->pointer);
        assert_true(f->reason[0] && f->remedy[0]);
        assert_int_equal(f->severity == FINDING_ERROR, j.p.refusal != OK);
    } else {
        assert_int_equal(j.p.refusal, OK);
    }
    judged_free(&j);
}

static void specs_are_judged_without_azure(void **state)
{
    static const struct row rows[] = {
        {.spec = SPEC("Linux", IMAGE, LINUX_ADMIN, "")},
        {.name = "a-name-of-16-chr",
         .spec = SPEC("Windows", IMAGE, LINUX_ADMIN, ""),
         .code = "vm_name_too_long",
         .pointer = "#"},
        {.name = "a-name-of-15-ch", .spec = SPEC("Windows", IMAGE, LINUX_ADMIN, "")},
        {.name = "12345",
         .spec = SPEC("Windows", IMAGE, LINUX_ADMIN, ""),
         .code = "vm_name_numeric",
         .pointer = "#"},
        {.spec =
             SPEC("Linux", IMAGE, "{\"username\":\"Root\",\"password\":\"Strong-Passw0rd\"}", ""),
         .code = "admin_username_reserved",
         .pointer = "#/admin/username"},
        {.spec =
             SPEC("Windows", IMAGE,
                  "{\"username\":\"a_name_of_21_chars_xx\",\"password\":\"Strong-Passw0rd\"}", ""),
         .code = "admin_username_too_long",
         .pointer = "#/admin/username"},
        {.spec = SPEC("Linux", IMAGE, "{\"username\":\"u2\",\"password\":\"onlyloweronly\"}", ""),
         .code = "password_too_simple",
         .pointer = "#/admin/password"},
        {.spec = SPEC("Linux", IMAGE, "{\"username\":\"u2\",\"password\":\"P@ssword123 \"}", "")},
        {.spec = SPEC("Linux", IMAGE,
                      "{\"username\":\"u2\",\"password\":\"Aa1-----------------------------------"
                      "--------------------------------------------\"}",
                      ""),
         .code = "password_too_long",
         .pointer = "#/admin/password"},
        {.spec = SPEC("Windows", IMAGE,
                      "{\"username\":\"u2\",\"sshPublicKeys\":[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AA"
                      "AAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\"]}",
                      ""),
         .code = "ssh_keys_on_windows",
         .pointer = "#/admin/sshPublicKeys"},
        {.spec = SPEC("Linux", IMAGE,
                      "{\"username\":\"u2\",\"sshPublicKeys\":[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AA"
                      "AAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me\"]}",
                      "")},
        {.spec = SPEC("Linux", IMAGE,
                      "{\"username\":\"u2\",\"sshPublicKeys\":[\"ssh-rsa "
                      "AAAAB3NzaC1yc2EAAAADAQABAAAAgQC9iXKLAdMkJWO6OmZZhj6LKghOGF9mPk"
                      "EhBO6n9wiXChOTKVBvZKYDWw5yAmT0L7GWH0HQsjyCN84cNy9TmZKwPW48ZL2meUnVZB4K"
                      "XZIV3m9wbl4RH2hvpkdi6vTjpXmMCg3Mh6HeFuM197EnDyVlsJQg1/YXYSGyVy8tKBJ1ew"
                      "==\"]}",
                      ""),
         .code = "ssh_key_invalid",
         .pointer = "#/admin/sshPublicKeys/0"},
        {.spec = SPEC("Linux", IMAGE, LINUX_ADMIN,
                      ",\"waitForAttestation\":true,\"trustedLaunch\":{\"vTpm\":false}"),
         .code = "attestation_needs_vtpm",
         .pointer = "#/waitForAttestation"},
        {.spec = SPEC("Linux", IMAGE, LINUX_ADMIN, ",\"tags\":{\"Team\":\"x\",\"team\":\"y\"}"),
         .code = "tag_duplicate",
         .pointer = "#/tags"},
        {.spec =
             SPEC("Linux", IMAGE, LINUX_ADMIN,
                  ",\"network\":{\"subnetId\":\"/subscriptions/00000000-0000-0000-0000-00000000000"
                  "2/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/s\"}"),
         .code = "subnet_other_subscription",
         .pointer = "#/network/subnetId"},
        {.spec = SPEC("Linux", IMAGE, LINUX_ADMIN,
                      ",\"inboundPorts\":[22],\"inboundSource\":\"Internet\""),
         .code = "open_to_internet",
         .pointer = "#/inboundSource"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(&rows[i]);
}

static void answers_are_judged(void **state)
{
#define GOOD_READS [READ_SIZES] = GOOD_SKU, [READ_IMAGE] = GOOD_IMAGE, [READ_GROUP] = "{}"
#define PLAIN      SPEC("Linux", IMAGE, LINUX_ADMIN, "")
#define STANDARD   SPEC("Linux", IMAGE, LINUX_ADMIN, ",\"securityType\":\"Standard\"")
#define IN_GALLERY SPEC("Linux", "{\"galleryImageVersionId\":\"" GALLERY "\"}", LINUX_ADMIN, "")
    static const struct row rows[] = {
        {.spec = PLAIN, .reads = {GOOD_READS}},
        {.spec = PLAIN,
         .reads = {[READ_SIZES] = "{\"value\":[]}", [READ_VERSIONS] = ""},
         .code = "location_not_found",
         .pointer = "#/location"},
        {.spec = PLAIN,
         .reads = {[READ_SIZES] = OTHER_SKU},
         .code = "size_not_found",
         .pointer = "#/size"},
        {.spec = PLAIN,
         .reads = {[READ_SIZES] = SKU(GEN2) ",\"restrictions\":[{\"type\":\"Location\","
                                            "\"reasonCode\":\"NotAvailableForSubscri"
                                            "ption\"}]}]}"},
         .code = "size_restricted",
         .pointer = "#/size"},
        {.spec = PLAIN,
         .reads = {[READ_SIZES] = SKU(GEN2) ",\"restrictions\":[{\"type\":\"Zone\"}]}]}"}},
        {.spec = PLAIN,
         .reads = {[READ_SIZES] = SKU("{\"name\":\"HyperVGenerations\",\"value\":\"V1\"}") "}]}"},
         .code = "size_not_generation2",
         .pointer = "#/size"},
        {.spec = STANDARD,
         .reads = {[READ_SIZES] = SKU("{\"name\":\"HyperVGenerations\",\"value\":\"V1\"}") "}]}"}},
        {.spec = PLAIN,
         .reads = {[READ_SIZES] =
                       SKU(GEN2 ",{\"name\":\"TrustedLaunchDisabled\",\"value\":\"True\"}") "}]}"},
         .code = "size_not_trusted_launch",
         .pointer = "#/size"},
        {.spec = PLAIN,
         .reads = {[READ_IMAGE] = ""},
         .code = "image_not_found",
         .pointer = "#/image"},
        {.spec = PLAIN,
         .reads = {[READ_VERSIONS] = "[]"},
         .code = "image_not_found",
         .pointer = "#/image"},
        {.spec = PLAIN,
         .reads = {[READ_IMAGE] = IMAGE_BODY("V1", "", "Linux", "x64", "")},
         .code = "image_not_generation2",
         .pointer = "#/image"},
        {.spec = PLAIN,
         .reads = {[READ_IMAGE] = IMAGE_BODY("V2", "Standard", "Linux", "x64", "")},
         .code = "image_not_trusted_launch",
         .pointer = "#/image"},
        {.spec = PLAIN,
         .reads = {[READ_IMAGE] = IMAGE_BODY("V2", "trustedlaunchAndConfidentialVMSupported",
                                             "Linux", "x64", "")}},
        {.spec = PLAIN,
         .reads = {[READ_IMAGE] = IMAGE_BODY("V2", "TrustedLaunch", "Windows", "x64", "")},
         .code = "os_mismatch",
         .pointer = "#/osType"},
        {.spec = PLAIN,
         .reads = {[READ_SIZES] = GOOD_SKU,
                   [READ_IMAGE] = IMAGE_BODY("V2", "TrustedLaunch", "Linux", "Arm64", "")},
         .code = "architecture_mismatch",
         .pointer = "#/size"},
        {.spec = PLAIN,
         .reads = {[READ_IMAGE] = IMAGE_BODY("V2", "TrustedLaunch", "Linux", "x64",
                                             ",\"plan\":{\"name\":\"p\"}")},
         .code = "image_needs_plan",
         .pointer = "#/image"},
        {.spec = STANDARD,
         .reads = {[READ_IMAGE] = IMAGE_BODY("V2", "TrustedLaunch", "Linux", "x64", ""),
                   [READ_FEATURE] = "{\"properties\":{\"state\":\"Registered\"}}"},
         .code = "image_requires_trusted_launch",
         .pointer = "#/image"},
        {.spec = STANDARD,
         .reads = {[READ_FEATURE] = "{\"properties\":{\"state\":\"NotRegistered\"}}"},
         .code = "standard_not_registered",
         .pointer = "#/securityType"},
        {.spec = STANDARD,
         .reads = {[READ_FEATURE] = "{\"properties\":{\"state\":\"registered\"}}"}},
        {.spec = IN_GALLERY,
         .reads = {[READ_DEFINITION] = ""},
         .code = "image_not_found",
         .pointer = "#/image/galleryImageVersionId"},
        {.spec = IN_GALLERY,
         .reads = {[READ_DEFINITION] = DEFINITION("Specialized", "TrustedLaunch")},
         .code = "image_specialized",
         .pointer = "#/image/galleryImageVersionId"},
        {.spec = IN_GALLERY,
         .reads = {[READ_DEFINITION] = DEFINITION("Generalized", "TrustedLaunch"),
                   [READ_IMAGE_VERSION] = "{}"}},
        {.spec = PLAIN,
         .reads = {[READ_GROUP] = ""},
         .code = "resource_group_not_found",
         .pointer = "#/createResourceGroup"},
        {.spec = SPEC("Linux", IMAGE, LINUX_ADMIN, ",\"createResourceGroup\":true"),
         .reads = {[READ_GROUP] = ""}},
        {.spec = PLAIN,
         .reads = {[READ_VM] = "{\"properties\":{\"vmId\":\"v-9\"}}"},
         .code = "not_managed",
         .pointer = "#"},
        {.spec = PLAIN,
         .registry = PLAIN,
         .reads = {[READ_VM] = "{\"properties\":{\"vmId\":\"v-9\"}}"},
         .code = "not_managed",
         .pointer = "#"},
        {.spec = PLAIN,
         .registry = PLAIN,
         .reads = {[READ_VM] = "{\"properties\":{\"vmId\":\"V-1\"}}"}},
        {.spec = STANDARD,
         .registry = PLAIN,
         .code = "change_not_supported",
         .pointer = "#/securityType"},
        {.spec = SPEC("Linux", IMAGE, LINUX_ADMIN, ",\"trustedLaunch\":{\"secureBoot\":false}"),
         .registry = PLAIN,
         .code = "change_not_supported",
         .pointer = "#/trustedLaunch"},
        {.spec = SPEC("Linux", IMAGE, LINUX_ADMIN, ",\"tags\":{\"a\":\"b\"}"), .registry = PLAIN},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(&rows[i]);
}

static void latest_is_the_highest_number(void **state)
{
    struct row row = {.spec = PLAIN,
                      .reads = {[READ_VERSIONS] = "[{\"name\":\"22.9.1\"},{\"name\":\"22.10.0\"},{"
                                                  "\"name\":\"3.0.0\"},{}]"}};
    struct judged j;
    judge(&row, &j);
    const char *target = preflight_target(&j.facts, READ_IMAGE);
    assert_non_null(target);
    assert_non_null(strstr(target, "/versions/22.10.0?"));
    j.facts.read[READ_VERSIONS].known = false;
    j.facts.read[READ_VERSIONS].exists = false;
    assert_null(preflight_target(&j.facts, READ_IMAGE));
    judged_free(&j);
}

/* Where many VMs of a group are asked for, its list answers for the names that are not in it. */
static void list_answers_for_names_that_are_free(void **state)
{
    static const struct {
        const char *list; /* NULL: not read yet; "": no such group */
        bool crowded, cut_off, known_vm;
        bool wants_list, wants_vm;
    } rows[] = {
        {.wants_vm = true},
        {.crowded = true, .wants_list = true},
        {.list = "", .crowded = true, .wants_list = true},
        {.list = "{\"value\":[{\"name\":\"web-02\"},{}]}", .crowded = true, .wants_list = true},
        {.list = "{\"value\":[{\"name\":\"WEB-01\"}]}",
         .crowded = true,
         .wants_list = true,
         .wants_vm = true},
        {.list = "{\"value\":[]}",
         .crowded = true,
         .cut_off = true,
         .wants_list = true,
         .wants_vm = true},
        {.crowded = true, .known_vm = true, .wants_vm = true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct row row = {.spec = PLAIN,
                          .registry = rows[i].known_vm ? PLAIN : NULL,
                          .reads = {[READ_VMS] = rows[i].list}};
        struct judged j;
        judge(&row, &j);
        j.facts.crowded = rows[i].crowded;
        if (rows[i].cut_off)
            preflight_cut_off(READ_VMS, j.facts.read[READ_VMS].body);
        const char *list = preflight_target(&j.facts, READ_VMS);
        assert_int_equal(list != NULL, rows[i].wants_list);
        if (list)
            assert_non_null(strstr(list, "/Microsoft.Compute/virtualMachines?api-version="));
        assert_int_equal(preflight_target(&j.facts, READ_VM) != NULL, rows[i].wants_vm);
        judged_free(&j);
    }
}

static void plan_shows_every_call_and_no_secret(void **state)
{
    struct row row = {.spec = SPEC("Linux", IMAGE, LINUX_ADMIN,
                                   ",\"createResourceGroup\":true,\"network\":{\"publicIp\":true}"),
                      .reads = {[READ_GROUP] = ""}};
    struct judged j;
    char digest[65];
    judge(&row, &j);
    assert_int_equal(j.p.n_calls, 7);
    for (size_t i = 0; i < j.p.n_calls; i++) {
        assert_string_equal(j.p.calls[i].method, "PUT");
        assert_null(strstr(j.p.calls[i].summary, "Strong-Passw0rd"));
    }
    assert_non_null(strstr(j.p.calls[5].summary, "\"adminPassword\":\"<redacted>\""));
    memcpy(digest, j.p.plan_digest, sizeof digest);
    judged_free(&j);
    judge(&row, &j);
    assert_string_equal(digest, j.p.plan_digest);
    judged_free(&j);
    row.reads[READ_GROUP] = "{}";
    judge(&row, &j);
    assert_int_equal(j.p.n_calls, 6);
    assert_string_not_equal(digest, j.p.plan_digest);
    judged_free(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(specs_are_judged_without_azure),
        cmocka_unit_test(answers_are_judged),
        cmocka_unit_test(latest_is_the_highest_number),
        cmocka_unit_test(list_answers_for_names_that_are_free),
        cmocka_unit_test(plan_shows_every_call_and_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
