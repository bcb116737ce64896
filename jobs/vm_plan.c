#include "jobs/vm_plan.h"

#include "core/clock.h"
#include "jobs/workflow.h"
#include "openapi/schemas.h"

#include <string.h>

static const char *child_id(struct arena *a, const struct vm_plan *p, const char *type,
                            const char *name)
{
    return arena_concat(a, p->group_id, "/providers/", type, "/", name, NULL);
}

static const char *child_name(struct arena *a, const struct vm_plan *p, const char *suffix)
{
    return arena_concat(a, p->name, "-", suffix, NULL);
}

/* "10.1.0.0/16" -> "10.1.0.0/24"; a network that is not larger is the subnet itself. */
static const char *subnet_of(struct arena *a, const char *network)
{
    const char *slash = strchr(network, '/');
    if (!slash || strtol(slash + 1, NULL, 10) >= SUBNET_BITS)
        return network;
    return arena_printf(a, "%.*s/%d", (int)(slash - network), network, SUBNET_BITS);
}

static void plan_names(struct arena *a, struct vm_plan *p)
{
    p->group_id = arena_concat(a, "/subscriptions/", p->subscription, "/resourceGroups/",
                               p->resource_group, NULL);
    p->nsg_id = child_id(a, p, "Microsoft.Network/networkSecurityGroups", child_name(a, p, "nsg"));
    p->pip_id = child_id(a, p, "Microsoft.Network/publicIPAddresses", child_name(a, p, "pip"));
    p->nic_id = child_id(a, p, "Microsoft.Network/networkInterfaces", child_name(a, p, "nic"));
    p->vnet_id = child_id(a, p, "Microsoft.Network/virtualNetworks", child_name(a, p, "vnet"));
    p->vm_id = child_id(a, p, "Microsoft.Compute/virtualMachines", p->name);
    p->disk_name = child_name(a, p, "osdisk");
    p->disk_id = child_id(a, p, "Microsoft.Compute/disks", p->disk_name);
    p->extension_id = arena_concat(a, p->vm_id, "/extensions/" EXTENSION_NAME, NULL);
}

static void plan_network(struct arena *a, struct vm_plan *p, const struct vm_network *n)
{
    p->ip_public = n->public_ip;
    if (n->subnet_id) {
        p->subnet_id = n->subnet_id;
        return;
    }
    p->makes_vnet = true;
    p->vnet_prefix = VNET_PREFIX;
    if (n->virtual_network) {
        p->vnet_named = true;
        p->vnet_id = child_id(a, p, "Microsoft.Network/virtualNetworks", n->virtual_network->name);
        p->vnet_prefix = n->virtual_network->address_prefix;
    }
    p->subnet_prefix = subnet_of(a, p->vnet_prefix);
    p->subnet_id = arena_concat(a, p->vnet_id, "/subnets/" SUBNET_NAME, NULL);
}

static void plan_image(struct vm_plan *p, const struct vm_image *i)
{
    p->gallery_version = i->gallery_image_version_id;
    p->publisher = i->publisher;
    p->offer = i->offer;
    p->sku = i->sku;
    p->version = i->version;
}

static void plan_security(struct vm_plan *p, const struct vm_spec *s)
{
    p->trusted = strcmp(s->security_type, "TrustedLaunch") == 0;
    p->secure_boot = p->trusted && s->trusted_launch->secure_boot;
    p->vtpm = p->trusted && s->trusted_launch->vtpm;
    /* The extension works only with both; without them monitoring has nothing to stand on. */
    p->attested = p->vtpm && s->trusted_launch->integrity_monitoring;
    p->monitoring = p->attested && p->secure_boot;
}

struct vm_plan *vm_plan_of(struct arena *a, const struct jobs_vm_ref *vm,
                           const struct vm_spec *spec)
{
    struct vm_plan *p = ARENA_NEW(a, struct vm_plan);
    p->subscription = vm->subscription;
    p->resource_group = vm->resource_group;
    p->name = vm->name;
    plan_names(a, p);
    if (!spec)
        return p;
    p->location = spec->location;
    p->size = spec->size;
    p->windows = strcmp(spec->os_type, "Windows") == 0;
    plan_image(p, spec->image);
    plan_security(p, spec);
    p->admin = spec->admin->username;
    p->ssh_keys = spec->admin->ssh_public_keys;
    p->has_password = spec->admin->password.text != NULL;
    p->ports = spec->inbound_ports;
    p->source = spec->inbound_source;
    plan_network(a, p, spec->network);
    p->make_group = spec->create_resource_group;
    p->wait_attestation = spec->wait_for_attestation;
    if (!duration_parse(spec->attestation_timeout, &p->attestation_timeout_ms))
        p->attestation_timeout_ms = ATTEST_WAIT_MS;
    p->tags = spec->tags;
    return p;
}

static bool same_tags(const struct str_map *a, const struct str_map *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        bool found = false;
        for (size_t k = 0; k < b->n && !found; k++)
            found = strcmp(a->items[i].key, b->items[k].key) == 0 &&
                    strcmp(a->items[i].value, b->items[k].value) == 0;
        if (!found)
            return false;
    }
    return true;
}

static bool same_ports(const struct vm_plan *a, const struct vm_plan *b)
{
    size_t n = a->ports.n;
    return n == b->ports.n && strcmp(a->source, b->source) == 0 &&
           (n == 0 || memcmp(a->ports.items, b->ports.items, n * sizeof *a->ports.items) == 0);
}

int64_t vm_changes(struct arena *a, const struct jobs_vm_ref *vm, const char *was,
                   const struct vm_spec *spec)
{
    const struct vm_spec *old = spec_load(a, was);
    if (!old)
        return 0;
    const struct vm_plan *p = vm_plan_of(a, vm, old);
    const struct vm_plan *q = vm_plan_of(a, vm, spec);
    int64_t changes = 0;
    if (!same_ports(p, q))
        changes |= CHANGE_PORTS;
    if (!same_tags(&p->tags, &q->tags))
        changes |= CHANGE_TAGS;
    if (q->monitoring && !p->monitoring)
        changes |= CHANGE_MONITORING;
    return changes;
}
