#include "jobs/vm_plan.h"

#include <string.h>

/* The user's tags and ours, whose prefix the contract reserves. */
static void write_tags(struct jw *w, const struct vm_plan *p, const struct vm_secrets *s)
{
    jw_key(w, "tags");
    jw_open(w, '{');
    for (size_t i = 0; i < p->tags.n; i++)
        jw_key_str(w, p->tags.items[i].key, p->tags.items[i].value);
    jw_key_str(w, TAG_JOB, s->owner);
    jw_close(w, '}');
}

static struct jw open_resource(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out)
{
    struct jw w = jw_over(out);
    jw_open(&w, '{');
    jw_key_str(&w, "location", p->location);
    write_tags(&w, p, s);
    return w;
}

static void open_properties(struct jw *w)
{
    jw_key(w, "properties");
    jw_open(w, '{');
}

static void close_resource(struct jw *w)
{
    jw_close(w, '}'); /* properties */
    jw_close(w, '}');
}

static void write_ref(struct jw *w, const char *key, const char *id)
{
    jw_key(w, key);
    jw_open(w, '{');
    jw_key_str(w, "id", id);
    jw_close(w, '}');
}

void vm_body_group(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out)
{
    struct jw w = open_resource(p, s, out);
    jw_close(&w, '}');
}

struct nsg_rule {
    const char *name;
    int64_t priority;
    const char *direction;
    const char *from, *to, *port;
};

static void write_rule(struct jw *w, const struct nsg_rule *r)
{
    jw_open(w, '{');
    jw_key_str(w, "name", r->name);
    open_properties(w);
    jw_key_int(w, "priority", r->priority);
    jw_key_str(w, "direction", r->direction);
    jw_key_str(w, "access", "Allow");
    jw_key_str(w, "protocol", "Tcp");
    jw_key_str(w, "sourceAddressPrefix", r->from);
    jw_key_str(w, "sourcePortRange", "*");
    jw_key_str(w, "destinationAddressPrefix", r->to);
    jw_key_str(w, "destinationPortRange", r->port);
    jw_close(w, '}');
    jw_close(w, '}');
}

/* The inbound ports that were asked for, and the way out to the attestation service. */
void vm_body_nsg(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out)
{
    struct jw w = open_resource(p, s, out);
    open_properties(&w);
    jw_key(&w, "securityRules");
    jw_open(&w, '[');
    for (size_t i = 0; i < p->ports.n; i++) {
        char name[32];
        char port[16];
        snprintf(name, sizeof name, "allow-in-%lld", (long long)p->ports.items[i]);
        snprintf(port, sizeof port, "%lld", (long long)p->ports.items[i]);
        write_rule(&w, &(struct nsg_rule){.name = name,
                                          .priority = 1000 + 10 * (int64_t)i,
                                          .direction = "Inbound",
                                          .from = p->source,
                                          .to = "*",
                                          .port = port});
    }
    write_rule(&w, &(struct nsg_rule){.name = "allow-out-attestation",
                                      .priority = 1000,
                                      .direction = "Outbound",
                                      .from = "*",
                                      .to = "AzureAttestation",
                                      .port = "443"});
    jw_close(&w, ']');
    close_resource(&w);
}

void vm_body_vnet(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out)
{
    struct jw w = open_resource(p, s, out);
    open_properties(&w);
    jw_key(&w, "addressSpace");
    jw_open(&w, '{');
    jw_key(&w, "addressPrefixes");
    jw_open(&w, '[');
    jw_str(&w, p->vnet_prefix);
    jw_close(&w, ']');
    jw_close(&w, '}');
    jw_key(&w, "subnets");
    jw_open(&w, '[');
    jw_open(&w, '{');
    jw_key_str(&w, "name", SUBNET_NAME);
    open_properties(&w);
    jw_key_str(&w, "addressPrefix", p->subnet_prefix);
    jw_close(&w, '}');
    jw_close(&w, '}');
    jw_close(&w, ']');
    close_resource(&w);
}

void vm_body_pip(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out)
{
    struct jw w = open_resource(p, s, out);
    jw_key(&w, "sku");
    jw_open(&w, '{');
    jw_key_str(&w, "name", "Standard"); /* Basic is retired; Standard must be static */
    jw_close(&w, '}');
    open_properties(&w);
    jw_key_str(&w, "publicIPAllocationMethod", "Static");
    jw_key_str(&w, "publicIPAddressVersion", "IPv4");
    close_resource(&w);
}

void vm_body_nic(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out)
{
    struct jw w = open_resource(p, s, out);
    open_properties(&w);
    write_ref(&w, "networkSecurityGroup", p->nsg_id);
    jw_key(&w, "ipConfigurations");
    jw_open(&w, '[');
    jw_open(&w, '{');
    jw_key_str(&w, "name", "ipconfig1");
    open_properties(&w);
    jw_key_bool(&w, "primary", true);
    jw_key_str(&w, "privateIPAllocationMethod", "Dynamic");
    write_ref(&w, "subnet", p->subnet_id);
    if (p->ip_public)
        write_ref(&w, "publicIPAddress", p->pip_id);
    jw_close(&w, '}');
    jw_close(&w, '}');
    jw_close(&w, ']');
    close_resource(&w);
}

static void write_image(struct jw *w, const struct vm_plan *p)
{
    if (p->gallery_version) {
        write_ref(w, "imageReference", p->gallery_version);
        return;
    }
    jw_key(w, "imageReference");
    jw_open(w, '{');
    jw_key_str(w, "publisher", p->publisher);
    jw_key_str(w, "offer", p->offer);
    jw_key_str(w, "sku", p->sku);
    jw_key_str(w, "version", p->version);
    jw_close(w, '}');
}

static void write_storage(struct jw *w, const struct vm_plan *p)
{
    jw_key(w, "storageProfile");
    jw_open(w, '{');
    write_image(w, p);
    jw_key(w, "osDisk");
    jw_open(w, '{');
    jw_key_str(w, "name", p->disk_name);
    jw_key_str(w, "createOption", "FromImage");
    jw_key_str(w, "caching", "ReadWrite");
    jw_key_str(w, "deleteOption", "Delete");
    jw_key(w, "managedDisk");
    jw_open(w, '{');
    jw_key_str(w, "storageAccountType", "StandardSSD_LRS"); /* every size takes it */
    jw_close(w, '}');
    jw_close(w, '}');
    jw_close(w, '}');
}

static void write_linux(struct jw *w, const struct vm_plan *p)
{
    jw_key(w, "linuxConfiguration");
    jw_open(w, '{');
    jw_key_bool(w, "disablePasswordAuthentication", !p->has_password);
    jw_key_bool(w, "provisionVMAgent", true);
    if (p->ssh_keys.n > 0) {
        jw_key(w, "ssh");
        jw_open(w, '{');
        jw_key(w, "publicKeys");
        jw_open(w, '[');
        for (size_t i = 0; i < p->ssh_keys.n; i++) {
            char path[128]; /* Azure accepts this path only */
            snprintf(path, sizeof path, "/home/%s/.ssh/authorized_keys", p->admin);
            jw_open(w, '{');
            jw_key_str(w, "path", path);
            jw_key_str(w, "keyData", p->ssh_keys.items[i]);
            jw_close(w, '}');
        }
        jw_close(w, ']');
        jw_close(w, '}');
    }
    jw_close(w, '}');
}

static void write_os(struct jw *w, const struct vm_plan *p, const struct vm_secrets *s)
{
    jw_key(w, "osProfile");
    jw_open(w, '{');
    jw_key_str(w, "computerName", p->name);
    jw_key_str(w, "adminUsername", p->admin);
    if (s->password)
        jw_key_str(w, "adminPassword", s->password);
    if (!p->windows) {
        write_linux(w, p);
    } else {
        jw_key(w, "windowsConfiguration");
        jw_open(w, '{');
        jw_key_bool(w, "provisionVMAgent", true);
        jw_close(w, '}');
    }
    jw_close(w, '}');
}

/* Always explicit: what an omitted profile means depends on api-version, features and image. */
static void write_security(struct jw *w, const struct vm_plan *p)
{
    jw_key(w, "securityProfile");
    jw_open(w, '{');
    jw_key_str(w, "securityType", p->trusted ? "TrustedLaunch" : "Standard");
    if (p->trusted) {
        jw_key(w, "uefiSettings");
        jw_open(w, '{');
        jw_key_bool(w, "secureBootEnabled", p->secure_boot);
        jw_key_bool(w, "vTpmEnabled", p->vtpm);
        jw_close(w, '}');
    }
    jw_close(w, '}');
}

static void write_user_data(struct jw *w, const struct vm_secrets *s)
{
    if (!s->token)
        return;
    struct buf clear = {0};
    struct jw inner = jw_over(&clear);
    jw_open(&inner, '{');
    jw_key_str(&inner, "gateway", s->gateway);
    jw_key_str(&inner, "enrollmentToken", s->token);
    jw_close(&inner, '}');
    jw_key(w, "userData");
    jw_base64(w, buf_bytes(&clear));
    buf_free(&clear);
}

/* The extension signs in as the VM. */
static void write_identity(struct jw *w, const struct vm_plan *p)
{
    if (!p->monitoring)
        return;
    jw_key(w, "identity");
    jw_open(w, '{');
    jw_key_str(w, "type", "SystemAssigned");
    jw_close(w, '}');
}

void vm_body_vm(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out)
{
    struct jw w = open_resource(p, s, out);
    write_identity(&w, p);
    open_properties(&w);
    jw_key(&w, "hardwareProfile");
    jw_open(&w, '{');
    jw_key_str(&w, "vmSize", p->size);
    jw_close(&w, '}');
    write_storage(&w, p);
    write_os(&w, p, s);
    jw_key(&w, "networkProfile");
    jw_open(&w, '{');
    jw_key(&w, "networkInterfaces");
    jw_open(&w, '[');
    jw_open(&w, '{');
    jw_key_str(&w, "id", p->nic_id);
    open_properties(&w);
    jw_key_bool(&w, "primary", true);
    jw_close(&w, '}');
    jw_close(&w, '}');
    jw_close(&w, ']');
    jw_close(&w, '}');
    write_security(&w, p);
    write_user_data(&w, s);
    close_resource(&w);
}

void vm_body_vm_patch(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out)
{
    struct jw w = jw_over(out);
    jw_open(&w, '{');
    write_tags(&w, p, s);
    write_identity(&w, p);
    jw_close(&w, '}');
}

/* The settings are strings, as in Microsoft's own policies; an empty endpoint is the region's. */
static void write_attestation_settings(struct jw *w)
{
    jw_key(w, "settings");
    jw_open(w, '{');
    jw_key(w, "AttestationConfig");
    jw_open(w, '{');
    jw_key(w, "MaaSettings");
    jw_open(w, '{');
    jw_key_str(w, "maaEndpoint", "");
    jw_key_str(w, "maaTenantName", "GuestAttestation");
    jw_close(w, '}');
    jw_key(w, "AscSettings");
    jw_open(w, '{');
    jw_key_str(w, "ascReportingEndpoint", "");
    jw_key_str(w, "ascReportingFrequency", "");
    jw_close(w, '}');
    jw_key_str(w, "useCustomToken", "false");
    jw_key_str(w, "disableAlerts", "false");
    jw_close(w, '}');
    jw_close(w, '}');
}

void vm_body_extension(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out)
{
    struct jw w = open_resource(p, s, out);
    open_properties(&w);
    jw_key_str(&w, "publisher",
               p->windows ? "Microsoft.Azure.Security.WindowsAttestation"
                          : "Microsoft.Azure.Security.LinuxAttestation");
    jw_key_str(&w, "type", EXTENSION_NAME);
    jw_key_str(&w, "typeHandlerVersion", "1.0");
    jw_key_bool(&w, "autoUpgradeMinorVersion", true);
    /* On Linux it is known to leave the extension "Transitioning" when set at creation. */
    if (p->windows)
        jw_key_bool(&w, "enableAutomaticUpgrade", true);
    write_attestation_settings(&w);
    close_resource(&w);
}
