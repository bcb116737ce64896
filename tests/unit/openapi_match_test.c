/* The predicates behind `format`: what each takes and what it refuses. */
#include "openapi/match.h"

#include "core/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SUB "00000000-0000-0000-0000-000000000001"
#define KEY "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"

struct row {
    const char *(*match)(const char *s);
    const char *text;
    bool good;
};

static const struct row rows[] = {
    {match_uuid, SUB, true},
    {match_uuid, "ABCDEFAB-cdef-0000-0000-000000000001", true},
    {match_uuid, "", false},
    {match_uuid, "00000000-0000-0000-0000-00000000000", false},
    {match_uuid, "00000000-0000-0000-0000-00000000000g", false},
    {match_uuid, "00000000000000000000000000000001", false},
    {match_uuid, "{00000000-0000-0000-0000-000000000001}", false},
    {match_id, "0197a3d2-5c1e-7b44-9a10-0c7d2f6b8e01", true},
    {match_id, "<script>", false},
    {match_id, "a b", false},
    {match_id, "", false},
    {match_resource_group_name, "rg-portal", true},
    {match_resource_group_name, "a.(b)_c-1", true},
    {match_resource_group_name, "ends.", false},
    {match_resource_group_name, "..", false},
    {match_resource_group_name, "a/b", false},
    {match_resource_group_name, "", false},
    {match_vm_name, "web-01", true},
    {match_vm_name, "a", true},
    {match_vm_name, "-web", false},
    {match_vm_name, "web-", false},
    {match_vm_name, "web_01", false},
    {match_vm_name, "w\xc3\xa9", false},
    {match_arm_name, "vnet-1", true},
    {match_arm_name, "a_", true},
    {match_arm_name, "_a", false},
    {match_arm_name, "a.", false},
    {match_location, "westeurope", true},
    {match_location, "eastus2", true},
    {match_location, "West Europe", false},
    {match_location, "2west", false},
    {match_location, "", false},
    {match_vm_size, "Standard_D2s_v5", true},
    {match_vm_size, "Standard_NC4as_T4_v3", true},
    {match_vm_size, "Standard_", false},
    {match_vm_size, "D2s", false},
    {match_vm_size, "_x", false},
    {match_vm_size, "Standard_D2s v5", false},
    {match_image_part, "22_04-lts-gen2", true},
    {match_image_part, "latest", true},
    {match_image_part, "-a", false},
    {match_image_part, "a/b", false},
    {match_gallery_image_version_id,
     "/subscriptions/" SUB
     "/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0",
     true},
    {match_gallery_image_version_id,
     "/SUBSCRIPTIONS/" SUB
     "/resourcegroups/rg/providers/microsoft.compute/galleries/g/images/i/versions/latest",
     true},
    {match_gallery_image_version_id,
     "/subscriptions/" SUB
     "/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0",
     false},
    {match_gallery_image_version_id,
     "/subscriptions/" SUB
     "/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.4294967296",
     false},
    {match_gallery_image_version_id,
     "/subscriptions/" SUB "/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/i",
     false},
    {match_subnet_id,
     "/subscriptions/" SUB
     "/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/default",
     true},
    {match_subnet_id,
     "/subscriptions/" SUB
     "/resourceGroups/../providers/Microsoft.Network/virtualNetworks/v/subnets/default",
     false},
    {match_subnet_id,
     "/subscriptions/" SUB
     "/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/default/x",
     false},
    {match_subnet_id,
     "/subscriptions/" SUB
     "/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/a?b",
     false},
    {match_subnet_id, "/subscriptions/", false},
    {match_subnet_id, "", false},
    {match_resource_id, "/subscriptions/" SUB "/resourceGroups/rg", true},
    {match_resource_id, "/subscriptions/" SUB "/resourceGroups/rg/", false},
    {match_resource_id, "/subscriptions/" SUB, false},
    {match_resource_id, "/subscriptions/" SUB "//x", false},
    {match_resource_id, "subscriptions/" SUB "/x", false},
    {match_arm_scope, "/subscriptions/" SUB, true},
    {match_arm_scope, "/subscriptions/" SUB "/resourceGroups/rg", true},
    {match_arm_scope, "/subscriptions/" SUB "/resourceGroups", false},
    {match_arm_scope, "/subscriptions/" SUB "/resourceGroups/rg/x", false},
    {match_arm_scope, "/", false},
    {match_cidr, "10.0.0.0/16", true},
    {match_cidr, "192.168.4.0/29", true},
    {match_cidr, "10.0.0.1/16", false},
    {match_cidr, "10.0.0.0/30", false},
    {match_cidr, "0.0.0.0/0", false},
    {match_cidr, "10.0.0/16", false},
    {match_cidr, "256.0.0.0/16", false},
    {match_cidr, "010.0.0.0/16", false},
    {match_cidr, "10.0.0.0/16 ", false},
    {match_network_source, "VirtualNetwork", true},
    {match_network_source, "Storage.WestEurope", true},
    {match_network_source, "203.0.113.7", true},
    {match_network_source, "0.0.0.0/0", true},
    {match_network_source, "10.0.0.0/32", true},
    {match_network_source, "10.0.0.0/33", false},
    {match_network_source, "*", false},
    {match_network_source, "a.", false},
    {match_admin_username, "azureuser", true},
    {match_admin_username, "_x-1", true},
    {match_admin_username, "1x", false},
    {match_admin_username, "a b", false},
    {match_ssh_public_key, "ssh-ed25519 " KEY, true},
    {match_ssh_public_key, "ssh-ed25519 " KEY " me@here", true},
    {match_ssh_public_key, "ssh-rsa " KEY, false}, /* the blob says ed25519 */
    {match_ssh_public_key, "ssh-ed25519 !!!", false},
    {match_ssh_public_key, "ssh-ed25519 ", false},
    {match_ssh_public_key, "ssh-dss AAAA", false},
    {match_ssh_public_key, "ssh-ed25519 " KEY "\nssh-rsa AAAA", false},
    {match_tag_name, "cost center", true},
    {match_tag_name, "a<b", false},
    {match_tag_name, "tlgate-job", false},
    {match_tag_name, "AzureThing", false},
    {match_tag_name, "a\tb", false},
    {match_duration, "PT30M", true},
    {match_duration, "P1D", true},
    {match_duration, "PT25H", false},
    {match_duration, "PT0S", false},
    {match_duration, "30 minutes", false},
    {match_sha256_hex, "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", true},
    {match_sha256_hex, "e3b0", false},
    {match_sha256_hex, "g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", false},
    {match_cursor, "AQ_-9", true},
    {match_cursor, "a+b", false},
    {match_idempotency_key, "order-17", true},
    {match_idempotency_key, "a\x7f", false},
    {match_idempotency_key, "\xc3\xa9", false},
    {match_idempotency_key, "", false},
    {match_problem_code, "not_found", true},
    {match_problem_code, "NotFound", false},
    {match_problem_code, "_x", false},
    {match_job_kind, "virtualMachine.put", true},
    {match_job_kind, ".put", false},
    {match_job_kind, "a b", false},
};

static void every_row(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *why = rows[i].match(rows[i].text);
        if ((why == NULL) != rows[i].good)
            fail_msg("row %zu: \"%s\" gave %s", i, rows[i].text, why ? why : "no reason");
        if (why)
            assert_true(strlen(why) > 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
