#include "emulator/rules_vm.h"
#include "emulator/action.h"
#include "emulator/resource.h"
#include "emulator/types.h"

bool rules_vm_missing(struct arm_call *c, const char *what)
{
    return arm_error_at(c, 400, "InvalidParameter", what,
                        "Required parameter '%s' is missing (null).", what);
}

/* ---- what may not change ---- */

static bool immutable(struct arm_call *c, const json_t *old, const json_t *body)
{
    static const char *const fixed[] = {
        "osProfile/adminUsername",
        "osProfile/computerName",
        "osProfile/linuxConfiguration/ssh/publicKeys",
        "osProfile/linuxConfiguration/disablePasswordAuthentication",
        "storageProfile/imageReference",
        "storageProfile/osDisk/createOption",
        "storageProfile/osDisk/osType",
        "storageProfile/osDisk/managedDisk/storageAccountType",
        "availabilitySet/id",
        "priority",
    };
    const json_t *before = json_object_get(old, "properties");
    const json_t *now = json_object_get(body, "properties");
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        const json_t *a = json_path(before, fixed[i]);
        const json_t *b = json_path(now, fixed[i]);
        if ((!a && !b) || (a && b && json_equal(a, b)))
            continue;
        char *dotted = arena_strdup(c->arena, fixed[i]);
        for (char *p = dotted; *p; p++)
            if (*p == '/')
                *p = '.';
        return arm_error_at(c, 409, "PropertyChangeNotAllowed", dotted,
                            "Changing property '%s' is not allowed.", dotted);
    }
    return true;
}

static bool running(struct arm_call *c, const json_t *body)
{
    const json_t *vm = state_get(c->em->state, STATE_VM, arm_text(body, "properties/vmId"));
    return strcmp(arm_text(vm, "powerState"), "running") == 0;
}

/* The security type changes only while the VM is deallocated; its switches restart a running one. */
static bool security_change_good(struct arm_call *c, const json_t *old, const json_t *body)
{
    const char *was = arm_text(old, "properties/securityProfile/securityType");
    const char *now = arm_text(body, "properties/securityProfile/securityType");
    const json_t *vm = state_get(c->em->state, STATE_VM, arm_text(old, "properties/vmId"));
    bool deallocated = strcmp(arm_text(vm, "powerState"), "deallocated") == 0;
    bool standard = !*was || strcmp(was, "Standard") == 0;
    bool same = strcmp(*was ? was : "Standard", *now ? now : "Standard") == 0;
    if (same || deallocated)
        return true;
    return arm_error_at(c, 409, standard ? "OperationNotAllowed" : "PropertyChangeNotAllowed",
                        "securityProfile.securityType",
                        "Changing property 'securityProfile.securityType' is not allowed while the "
                        "virtual machine is not deallocated.");
}

/* ---- what Azure adds ---- */

static void complete_identity(json_t *body)
{
    json_t *identity = json_object_get(body, "identity");
    if (!strstr(arm_text(identity, "type"), "SystemAssigned")) {
        json_object_del(identity, "principalId");
        json_object_del(identity, "tenantId");
        return;
    }
    char id[UUID_SIZE];
    uuid_v4(id);
    arm_default(identity, "principalId", json_string(id));
    arm_default(identity, "tenantId", json_string(EMULATOR_TENANT));
}

static void complete_storage(struct arm_call *c, json_t *body, const struct vm_image *image)
{
    json_t *storage = arm_member(body, "properties/storageProfile");
    json_t *os = json_object_get(storage, "osDisk");
    const char *name = arm_text(body, "name");
    uint8_t raw[16];
    char hex[2 * sizeof raw + 1];
    random_bytes(raw, sizeof raw);
    hex_encode(BYTES_OF(raw), hex);
    arm_default(os, "osType", json_string(image->os));
    arm_default(os, "name", json_sprintf("%s_OsDisk_1_%s", name, hex));
    arm_default(os, "caching", json_string("ReadWrite"));
    arm_default(os, "deleteOption", json_string("Detach"));
    arm_default(os, "diskSizeGB", json_integer(image->size_gb));
    arm_default(os, "managedDisk", json_object());
    json_t *managed = json_object_get(os, "managedDisk");
    arm_default(managed, "storageAccountType", json_string("Premium_LRS"));
    arm_default(managed, "id",
                json_sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/"
                             "disks/%s",
                             c->at.subscription, c->at.group, arm_text(os, "name")));
    arm_default(storage, "dataDisks", json_array());
    json_t *reference = json_object_get(storage, "imageReference");
    if (reference && *image->exact_version)
        json_object_set_new(reference, "exactVersion", json_string(image->exact_version));
}

static void complete_new(struct arm_call *c, json_t *body, const struct vm_image *image)
{
    json_t *p = json_object_get(body, "properties");
    char id[UUID_SIZE];
    char now[TIME_TEXT_SIZE];
    uuid_v4(id);
    time_format(c->now, now);
    json_object_set_new(p, "vmId", json_string(id));
    json_object_set_new(p, "timeCreated", json_string(now));
    complete_storage(c, body, image);
    json_t *os = json_object_get(p, "osProfile");
    if (!os)
        return;
    arm_default(os, "secrets", json_array());
    arm_default(os, "allowExtensionOperations", json_true());
    arm_default(os, "requireGuestProvisionSignal", json_true());
    json_t *linux_configuration = json_object_get(os, "linuxConfiguration");
    if (linux_configuration)
        arm_default(linux_configuration, "provisionVMAgent", json_true());
}

static void next_etag(const json_t *old, json_t *body)
{
    long n = 0;
    sscanf(arm_text(old, "etag"), "\"%ld\"", &n);
    json_object_set_new(body, "etag", json_sprintf("\"%ld\"", n + 1));
}

/* ---- network ---- */

/* That it exists, and where, is checked for all references alike. */
static bool nic_free(struct arm_call *c, const char *id)
{
    const char *key;
    json_t *part;
    json_object_foreach((json_t *)resource_referrers(c->em, id), key, part)
    {
        if (strcmp(key, c->at.key) != 0)
            return arm_error(c, 400, "NicInUse",
                             "Network Interface %s is used by existing resource %s. In order to "
                             "delete the network interface, it must be dissociated from the "
                             "resource. To learn more, see aka.ms/deletenic.",
                             id, json_string_value(part));
    }
    return true;
}

static bool network_good(struct arm_call *c, json_t *body)
{
    json_t *list = arm_member(body, "properties/networkProfile/networkInterfaces");
    if (json_array_size(list) == 0)
        return rules_vm_missing(c, "networkProfile");
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        if (!nic_free(c, arm_text(item, "id")))
            return false;
    }
    return true;
}

static bool user_data_good(struct arm_call *c, const json_t *body)
{
    const char *text = arm_text(body, "properties/userData");
    size_t n = strlen(text);
    AUTO(free) uint8_t *raw = malloc(n + 1);
    size_t len;
    if (!raw)
        abort();
    if (base64_decode(text, n, raw, &len) && len <= 64 * 1024)
        return true;
    return arm_error_at(c, 400, "InvalidParameter", "userData",
                        "Userdata in the request must be a base64-encoded string of at most 64 "
                        "KB.");
}

/* ---- hooks ---- */

static bool prepare_new(struct arm_call *c, json_t *body)
{
    const json_t *p = json_object_get(body, "properties");
    const json_t *os_disk = json_path(p, "storageProfile/osDisk");
    struct vm_image image = {0};
    if (!*arm_text(p, "hardwareProfile/vmSize"))
        return rules_vm_missing(c, "hardwareProfile.vmSize");
    if (!json_object_get(p, "storageProfile"))
        return rules_vm_missing(c, "storageProfile");
    bool attach = strcmp(arm_text(os_disk, "createOption"), "Attach") == 0;
    if (attach && !*arm_text(os_disk, "managedDisk/id"))
        return rules_vm_missing(c, "osDisk.managedDisk.id");
    if (attach)
        snprintf(image.os, sizeof image.os, "%s", arm_text(os_disk, "osType"));
    else if (!rules_vm_image(c, json_path(p, "storageProfile/imageReference"),
                             arm_text(body, "location"), &image))
        return false;
    if (!os_disk)
        json_object_set_new(arm_member(body, "properties/storageProfile"), "osDisk",
                            json_pack("{ss}", "createOption", "FromImage"));
    if (!rules_vm_security(c, NULL, body, &image) ||
        (!attach && !rules_vm_os_profile(c, body, &image)))
        return false;
    complete_new(c, body, &image);
    json_object_set_new(body, "generation",
                        json_string(*image.generation ? image.generation : "V2"));
    return true;
}

static bool prepare_change(struct arm_call *c, const json_t *old, json_t *body)
{
    /* The image no longer matters, but for what it lets the VM be. */
    struct vm_image image = {0};
    const json_t *reference = json_path(body, "properties/storageProfile/imageReference");
    if (!immutable(c, old, body) || !security_change_good(c, old, body))
        return false;
    if (reference && !rules_vm_image(c, reference, arm_text(body, "location"), &image))
        return false;
    if (!rules_vm_security(c, old, body, &image))
        return false;
    const json_t *was = json_path(old, "properties/securityProfile/uefiSettings");
    const json_t *now = json_path(body, "properties/securityProfile/uefiSettings");
    if (was && now && !json_equal(was, now) && running(c, old))
        c->reboot = arena_strdup(c->arena, arm_text(old, "properties/vmId"));
    return true;
}

bool rules_vm_prepare(struct arm_call *c, const json_t *old, json_t *body)
{
    if (old ? !prepare_change(c, old, body) : !prepare_new(c, body))
        return false;
    if (!network_good(c, body) || !user_data_good(c, body))
        return false;
    complete_identity(body);
    next_etag(old, body);
    return true;
}

void rules_vm_complete_disk(struct arm_call *c, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    char id[UUID_SIZE];
    char now[TIME_TEXT_SIZE];
    uuid_v4(id);
    time_format(c->now, now);
    arm_default(body, "sku", json_pack("{ss}", "name", "Standard_LRS"));
    json_t *sku = json_object_get(body, "sku");
    const char *tier = strncmp(arm_text(sku, "name"), "Premium", 7) == 0 ? "Premium" : "Standard";
    json_object_set_new(sku, "tier", json_string(tier));
    arm_default(p, "timeCreated", json_string(now));
    arm_default(p, "uniqueId", json_string(id));
    arm_default(p, "encryption", json_pack("{ss}", "type", "EncryptionAtRestWithPlatformKey"));
    arm_default(p, "networkAccessPolicy", json_string("AllowAll"));
    arm_default(p, "publicNetworkAccess", json_string("Enabled"));
    json_int_t size = json_integer_value(json_object_get(p, "diskSizeGB"));
    json_object_set_new(p, "diskSizeBytes", json_integer(size << 30));
}

/* The OS disk comes into being with its VM. */
static void make_os_disk(struct arm_call *c, const json_t *vm, const char *generation)
{
    const json_t *p = json_object_get(vm, "properties");
    const json_t *os = json_path(p, "storageProfile/osDisk");
    const char *id = arm_text(os, "managedDisk/id");
    if (resource_body(c->em, id))
        return;
    json_t *disk =
        json_pack("{ss ss ss ss s{ss} s{ss ss sO ss s{ss}}}", "name", arm_text(os, "name"), "id",
                  id, "type", "Microsoft.Compute/disks", "location", arm_text(vm, "location"),
                  "sku", "name", arm_text(os, "managedDisk/storageAccountType"), "properties",
                  "osType", arm_text(os, "osType"), "hyperVGeneration", generation, "diskSizeGB",
                  json_object_get(os, "diskSizeGB"), "provisioningState", "Succeeded",
                  "creationData", "createOption", "FromImage");
    const char *type = arm_text(p, "securityProfile/securityType");
    if (strcmp(type, "TrustedLaunch") == 0)
        json_object_set_new(json_object_get(disk, "properties"), "securityProfile",
                            json_pack("{ss}", "securityType", type));
    rules_vm_complete_disk(c, disk);
    resource_store(c->em, &arm_type_disk, id, disk);
}

void rules_vm_stored(struct arm_call *c, const json_t *old, json_t *body)
{
    const char *vm_id = arm_text(body, "properties/vmId");
    const char *generation = arena_strdup(c->arena, arm_text(body, "generation"));
    json_object_del(body, "generation");
    if (old)
        return;
    make_os_disk(c, body, generation);
    state_put(c->em->state, STATE_VM, vm_id,
              json_pack("{ss ss ss}", "resource", arm_text(body, "id"), "powerState", "starting",
                        "generation", generation));
}

static bool goes_too(const json_t *part)
{
    return strcmp(arm_text(part, "deleteOption"), "Delete") == 0;
}

void rules_vm_removed(struct emulator *em, const char *key, const json_t *body)
{
    const json_t *p = json_object_get(body, "properties");
    const char *vm_id = arm_text(p, "vmId");
    state_del(em->state, STATE_VM, vm_id);
    vtpm_delete(em->tpms, vm_id);
    struct arena *arena = arena_new();
    const json_t *os = json_path(p, "storageProfile/osDisk");
    if (goes_too(os))
        resource_remove(em, arm_lower(arena, arm_text(os, "managedDisk/id")));
    const json_t *nics = json_path(p, "networkProfile/networkInterfaces");
    for (size_t i = 0; i < json_array_size(nics); i++) {
        const json_t *nic = json_array_get(nics, i);
        if (goes_too(json_object_get(nic, "properties")))
            resource_remove(em, arm_lower(arena, arm_text(nic, "id")));
    }
    arena_free(arena);
}

static bool expands(struct arm_call *c, const char *what)
{
    const char *expand = http_query(c->req, "$expand");
    return expand && strcasestr(expand, what) != NULL;
}

static json_t *extensions_of(struct arm_call *c, const json_t *body)
{
    json_t *list = json_array();
    const char *key;
    json_t *part;
    json_object_foreach((json_t *)resource_referrers(c->em, arm_text(body, "id")), key, part)
    {
        const json_t *record = resource_record(c->em, key);
        if (strstr(key, "/extensions/"))
            json_array_append_new(
                list, resource_view(c, &arm_type_extension, json_object_get(record, "body")));
    }
    return list;
}

void rules_vm_show(struct arm_call *c, const json_t *body, json_t *view)
{
    json_t *p = json_object_get(view, "properties");
    json_t *extensions = extensions_of(c, body);
    if (json_array_size(extensions) > 0)
        json_object_set(view, "resources", extensions);
    json_decref(extensions);
    if (expands(c, "instanceView"))
        json_object_set_new(p, "instanceView", action_instance_view(c->em, body));
    json_t *user_data = arm_member(body, "properties/userData");
    if (expands(c, "userData") && user_data)
        json_object_set(p, "userData", user_data);
    /* From 2025-11-01 what is not set reads back as Standard; before, Standard as nothing. */
    json_t *security = json_object_get(p, "securityProfile");
    bool fresh = strcmp(c->api_version, "2025-11-01") >= 0;
    if (fresh && !security)
        json_object_set_new(p, "securityProfile", json_pack("{ss}", "securityType", "Standard"));
    else if (fresh)
        arm_default(security, "securityType", json_string("Standard"));
    else if (strcmp(arm_text(security, "securityType"), "Standard") == 0)
        json_object_del(security, "securityType");
}

/* ---- extensions ---- */

static const struct {
    const char *publisher, *type, *os;
} handlers[] = {
    {"Microsoft.Azure.Security.LinuxAttestation", "GuestAttestation", "Linux"},
    {"Microsoft.Azure.Security.WindowsAttestation", "GuestAttestation", "Windows"},
    {"Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent", "Linux"},
    {"Microsoft.Azure.Monitor", "AzureMonitorWindowsAgent", "Windows"},
    {"Microsoft.Azure.Extensions", "CustomScript", "Linux"},
    {"Microsoft.Compute", "CustomScriptExtension", "Windows"},
    {"Microsoft.Azure.ActiveDirectory", "AADSSHLoginForLinux", "Linux"},
};

static const char *handler_os(const char *publisher, const char *type)
{
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        if (strcasecmp(handlers[i].publisher, publisher) == 0 &&
            strcasecmp(handlers[i].type, type) == 0)
            return handlers[i].os;
    return NULL;
}

bool rules_vm_prepare_extension(struct arm_call *c, const json_t *old, json_t *body)
{
    const json_t *p = json_object_get(body, "properties");
    static const char *const needed[] = {"publisher", "type", "typeHandlerVersion"};
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (!*arm_text(p, needed[i]))
            return rules_vm_missing(c,
                                    arena_printf(c->arena, "extension.properties.%s", needed[i]));
    const char *os = handler_os(arm_text(p, "publisher"), arm_text(p, "type"));
    if (!os)
        return arm_error(c, 404, "ArtifactNotFound",
                         "The VM extension with publisher '%s' and type '%s' could not be found.",
                         arm_text(p, "publisher"), arm_text(p, "type"));
    const json_t *vm = resource_body(c->em, c->at.parent);
    if (json_path_str(resource_record(c->em, arm_lower(c->arena, c->at.parent)), "op"))
        return arm_error(c, 409, "Conflict",
                         "The request failed due to conflict with a concurrent request. To resolve "
                         "it, please refer to https://aka.ms/activitylog to get more details on "
                         "the conflicting requests.");
    if (!running(c, vm))
        return arm_error(c, 409, "OperationNotAllowed",
                         "Cannot modify extensions in the VM when the VM is not running.");
    if (strcmp(os, arm_text(vm, "properties/storageProfile/osDisk/osType")) != 0)
        return arm_error(c, 400, "OperationNotAllowed",
                         "This operation cannot be performed: the extension '%s' is not supported "
                         "on the operating system of the VM '%s'.",
                         arm_text(p, "type"), c->at.names[0]);
    if (old && strcasecmp(arm_text(old, "properties/publisher"), arm_text(p, "publisher")) != 0)
        return arm_error_at(c, 409, "PropertyChangeNotAllowed", "publisher",
                            "Changing property 'publisher' is not allowed.");
    return true;
}
