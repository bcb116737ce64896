/*
 * Microsoft.Network: virtual networks and subnets, security groups and rules, public addresses,
 * network interfaces. A PUT replaces; PATCH takes tags and is synchronous; what embeds others gives
 * each its id, etag and provisioningState.
 */
#include "emulator/types.h"
#include "emulator/props.h"
#include "emulator/resource.h"

static const char *const versions[] = {
    "2018-11-01", "2019-02-01", "2019-04-01", "2019-06-01", "2019-07-01", "2019-08-01",
    "2019-09-01", "2019-11-01", "2019-12-01", "2020-03-01", "2020-04-01", "2020-05-01",
    "2020-06-01", "2020-07-01", "2020-08-01", "2020-11-01", "2021-02-01", "2021-03-01",
    "2021-05-01", "2021-08-01", "2022-01-01", "2022-05-01", "2022-07-01", "2022-09-01",
    "2022-11-01", "2023-02-01", "2023-04-01", "2023-05-01", "2023-06-01", "2023-09-01",
    "2023-11-01", "2024-01-01", "2024-03-01", "2024-05-01", "2024-07-01", "2024-10-01",
    "2025-01-01", "2025-03-01", "2025-05-01", "2025-07-01", "2025-09-01", "2026-01-01",
    NULL};

/* ---- bodies ---- */

SHAPE(sub_resource, "SubResource", STR_REQ("id"));

SHAPE(rule_properties, "SecurityRulePropertiesFormat", STR("description"),
      ENUM_REQ("protocol", "Tcp,Udp,Icmp,Esp,Ah,*"), STR("sourcePortRange"),
      STR("destinationPortRange"), STR("sourceAddressPrefix"), STRS("sourceAddressPrefixes"),
      OBJS("sourceApplicationSecurityGroups", sub_resource), STR("destinationAddressPrefix"),
      STRS("destinationAddressPrefixes"),
      OBJS("destinationApplicationSecurityGroups", sub_resource), STRS("sourcePortRanges"),
      STRS("destinationPortRanges"), ENUM_REQ("access", "Allow,Deny"), INTEGER_REQ("priority"),
      ENUM_REQ("direction", "Inbound,Outbound"), READ_ONLY("provisioningState"));
SHAPE(rule, "SecurityRule", STR("id"), STR("name"), READ_ONLY("type"), READ_ONLY("etag"),
      OBJ("properties", rule_properties));

SHAPE(nsg_properties, "NetworkSecurityGroupPropertiesFormat", OBJS("securityRules", rule),
      BOOLEAN("flushConnection"), READ_ONLY("defaultSecurityRules"), READ_ONLY("networkInterfaces"),
      READ_ONLY("subnets"), READ_ONLY("flowLogs"), READ_ONLY("resourceGuid"),
      READ_ONLY("provisioningState"));
SHAPE(nsg, "NetworkSecurityGroup", TOP_LEVEL, OBJ("properties", nsg_properties));

SHAPE(service_endpoint, "ServiceEndpointPropertiesFormat", STR("service"), STRS("locations"),
      READ_ONLY("provisioningState"), OBJ("networkIdentifier", sub_resource));
SHAPE(subnet_properties, "SubnetPropertiesFormat", STR("addressPrefix"), STRS("addressPrefixes"),
      OBJ("networkSecurityGroup", sub_resource), OBJ("routeTable", sub_resource),
      OBJ("natGateway", sub_resource), OBJS("serviceEndpoints", service_endpoint),
      ANY("delegations"), READ_ONLY("ipConfigurations"), READ_ONLY("ipConfigurationProfiles"),
      READ_ONLY("privateEndpoints"), READ_ONLY("resourceNavigationLinks"),
      READ_ONLY("serviceAssociationLinks"), READ_ONLY("purpose"),
      ENUM("privateEndpointNetworkPolicies",
           "Disabled,Enabled,NetworkSecurityGroupEnabled,RouteTableEnabled"),
      ENUM("privateLinkServiceNetworkPolicies", "Disabled,Enabled"),
      BOOLEAN("defaultOutboundAccess"), ENUM("sharingScope", "Tenant,DelegatedServices"),
      READ_ONLY("provisioningState"));
SHAPE(subnet, "Subnet", STR("id"), STR("name"), READ_ONLY("type"), READ_ONLY("etag"),
      OBJ("properties", subnet_properties));

SHAPE(address_space, "AddressSpace", STRS("addressPrefixes"), ANY("ipamPoolPrefixAllocations"));
SHAPE(dhcp_options, "DhcpOptions", STRS("dnsServers"));
SHAPE(encryption, "VirtualNetworkEncryption", BOOLEAN("enabled"),
      ENUM("enforcement", "DropUnencrypted,AllowUnencrypted"));
SHAPE(network_properties, "VirtualNetworkPropertiesFormat", OBJ_REQ("addressSpace", address_space),
      OBJ("dhcpOptions", dhcp_options), INTEGER("flowTimeoutInMinutes"), OBJS("subnets", subnet),
      ANY("virtualNetworkPeerings"), READ_ONLY("resourceGuid"), READ_ONLY("provisioningState"),
      BOOLEAN("enableDdosProtection"), BOOLEAN("enableVmProtection"),
      OBJ("ddosProtectionPlan", sub_resource), OBJ("encryption", encryption),
      ENUM("privateEndpointVNetPolicies", "Disabled,Basic"), READ_ONLY("defaultPublicNatGateway"));
SHAPE(network, "VirtualNetwork", TOP_LEVEL, ANY("extendedLocation"),
      OBJ("properties", network_properties));

SHAPE(address_sku, "PublicIPAddressSku", ENUM("name", "Basic,Standard,StandardV2"),
      ENUM("tier", "Regional,Global"));
SHAPE(dns_settings, "PublicIPAddressDnsSettings", STR("domainNameLabel"),
      STR("domainNameLabelScope"), STR("fqdn"), STR("reverseFqdn"));
SHAPE(ip_tag, "IpTag", STR("ipTagType"), STR("tag"));
SHAPE(pip_properties, "PublicIPAddressPropertiesFormat",
      ENUM("publicIPAllocationMethod", "Static,Dynamic"),
      ENUM("publicIPAddressVersion", "IPv4,IPv6"), OBJ("dnsSettings", dns_settings),
      OBJS("ipTags", ip_tag), STR("ipAddress"), OBJ("publicIPPrefix", sub_resource),
      INTEGER("idleTimeoutInMinutes"), ENUM("deleteOption", "Delete,Detach"), ANY("ddosSettings"),
      READ_ONLY("ipConfiguration"), READ_ONLY("resourceGuid"), READ_ONLY("provisioningState"),
      READ_ONLY("natGateway"), READ_ONLY("linkedPublicIPAddress"), READ_ONLY("migrationPhase"));
SHAPE(pip, "PublicIPAddress", TOP_LEVEL, ANY("extendedLocation"), OBJ("sku", address_sku),
      STRS("zones"), OBJ("properties", pip_properties));

/* A reference may carry a body, which is ignored but for the id and deleteOption. */
SHAPE(linked_properties, "LinkedProperties", ENUM("deleteOption", "Delete,Detach"),
      READ_ONLY("provisioningState"), READ_ONLY("addressPrefix"));
SHAPE(linked, "SubResource", STR_REQ("id"), READ_ONLY("name"), READ_ONLY("type"),
      READ_ONLY("location"), READ_ONLY("tags"), READ_ONLY("etag"), READ_ONLY("sku"),
      READ_ONLY("zones"), OBJ("properties", linked_properties));
SHAPE(ip_properties, "NetworkInterfaceIPConfigurationPropertiesFormat", STR("privateIPAddress"),
      ENUM("privateIPAllocationMethod", "Static,Dynamic"),
      ENUM("privateIPAddressVersion", "IPv4,IPv6"), OBJ("subnet", linked), BOOLEAN("primary"),
      OBJ("publicIPAddress", linked), INTEGER("privateIPAddressPrefixLength"),
      OBJS("applicationSecurityGroups", linked), ANY("applicationGatewayBackendAddressPools"),
      ANY("loadBalancerBackendAddressPools"), ANY("loadBalancerInboundNatRules"),
      ANY("gatewayLoadBalancer"), READ_ONLY("privateLinkConnectionProperties"),
      ANY("virtualNetworkTaps"), READ_ONLY("provisioningState"));
SHAPE(ip_configuration, "NetworkInterfaceIPConfiguration", STR("id"), STR_REQ("name"),
      READ_ONLY("type"), READ_ONLY("etag"), OBJ_REQ("properties", ip_properties));
SHAPE(nic_dns, "NetworkInterfaceDnsSettings", STRS("dnsServers"), READ_ONLY("appliedDnsServers"),
      STR("internalDnsNameLabel"), READ_ONLY("internalFqdn"),
      READ_ONLY("internalDomainNameSuffix"));
SHAPE(nic_properties, "NetworkInterfacePropertiesFormat",
      OBJS("ipConfigurations", ip_configuration), OBJ("networkSecurityGroup", linked),
      OBJ("dnsSettings", nic_dns), BOOLEAN("enableAcceleratedNetworking"),
      BOOLEAN("enableIPForwarding"), BOOLEAN("disableTcpStateTracking"), INTEGER("workloadType"),
      ENUM("nicType", "Standard,Elastic"),
      ENUM("auxiliaryMode", "None,MaxConnections,Floating,AcceleratedConnections"),
      ENUM("auxiliarySku", "None,A1,A2,A4,A8"),
      ENUM("migrationPhase", "None,Prepare,Commit,Abort,Committed"), READ_ONLY("virtualMachine"),
      READ_ONLY("macAddress"), READ_ONLY("primary"), READ_ONLY("vnetEncryptionSupported"),
      READ_ONLY("hostedWorkloads"), READ_ONLY("dscpConfiguration"), READ_ONLY("resourceGuid"),
      READ_ONLY("provisioningState"), READ_ONLY("tapConfigurations"), READ_ONLY("privateEndpoint"),
      READ_ONLY("privateLinkService"), READ_ONLY("defaultOutboundConnectivityEnabled"),
      READ_ONLY("allowPort25Out"));
SHAPE(nic, "NetworkInterface", TOP_LEVEL, READ_ONLY("kind"), ANY("extendedLocation"),
      OBJ("properties", nic_properties));

/* ---- helpers ---- */

static void set_text(json_t *properties, const char *name, const char *value)
{
    json_object_set_new(properties, name, json_string(value));
}

static void set_default(json_t *properties, const char *name, json_t *value)
{
    if (json_object_get(properties, name))
        json_decref(value);
    else
        json_object_set_new(properties, name, value);
}

static void keep_or_make_guid(json_t *properties, const json_t *old)
{
    const char *before = arm_text(old, "properties/resourceGuid");
    char fresh[UUID_SIZE];
    uuid_v4(fresh);
    set_text(properties, "resourceGuid", *before ? before : fresh);
}

/* An embedded resource's own id, type and etag. False: it has no name. */
static bool complete_child(struct arm_call *c, json_t *child, const char *owner, const char *array,
                           const char *type, const json_t *etag)
{
    const char *name = arm_text(child, "name");
    if (!*name)
        return arm_error_inner(c, 400, "InvalidRequestFormat", "Cannot parse the request.",
                               "MissingJsonReferenceId",
                               "Value for name is missing. Path properties.%s.", array);
    json_object_set_new(child, "id", json_sprintf("%s/%s/%s", owner, array, name));
    json_object_set_new(child, "type", json_string(type));
    json_object_set(child, "etag", (json_t *)(uintptr_t)etag);
    set_default(child, "properties", json_object());
    return true;
}

static bool complete_children(struct arm_call *c, json_t *body, const char *array, const char *type)
{
    json_t *list = json_object_get(json_object_get(body, "properties"), array);
    size_t i;
    json_t *child;
    json_array_foreach(list, i, child)
    {
        if (!complete_child(c, child, arm_text(body, "id"), array, type,
                            json_object_get(body, "etag")))
            return false;
    }
    return true;
}

/* The first resource that refers to `id`; "" where none does. */
static const char *first_referrer(struct emulator *em, const char *id)
{
    const json_t *all = resource_referrers(em, id);
    void *at = json_object_iter((json_t *)(uintptr_t)all);
    return at ? json_string_value(json_object_iter_value(at)) : "";
}

/* The ids of those referring parts that hold `word`, as [{"id"}], or NULL where there is none. */
static json_t *referrers_with(struct emulator *em, const char *id, const char *word)
{
    json_t *list = json_array();
    const char *key;
    json_t *part;
    json_object_foreach((json_t *)(uintptr_t)resource_referrers(em, id), key, part)
    {
        if (strcasestr(json_string_value(part), word))
            json_array_append_new(list, json_pack("{sO}", "id", part));
    }
    if (json_array_size(list) > 0)
        return list;
    json_decref(list);
    return NULL;
}

static void add_list(json_t *view, const char *name, json_t *list)
{
    if (list)
        json_object_set_new(json_object_get(view, "properties"), name, list);
}

/* ---- security groups ---- */

static bool rule_good(struct arm_call *c, const json_t *item)
{
    const json_t *p = json_object_get(item, "properties");
    json_int_t priority = json_integer_value(json_object_get(p, "priority"));
    const char *id = arm_text(item, "id");
    static const char *const needed[][2] = {
        {"sourceAddressPrefix", "sourceAddressPrefixes"},
        {"destinationAddressPrefix", "destinationAddressPrefixes"},
        {"sourcePortRange", "sourcePortRanges"},
        {"destinationPortRange", "destinationPortRanges"},
    };
    if (priority < 100 || priority > 4096)
        return arm_error(c, 400, "SecurityRuleInvalidPriority",
                         "Security rule has invalid Priority. Value provided: %lld Allowed range "
                         "100-4096.",
                         (long long)priority);
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        const json_t *one = json_object_get(p, needed[i][0]);
        bool many = json_array_size(json_object_get(p, needed[i][1])) > 0;
        bool group = i < 2 && json_object_get(p, i == 0 ? "sourceApplicationSecurityGroups"
                                                        : "destinationApplicationSecurityGroups");
        if (!one && !many && !group)
            return arm_error(c, 400, "SecurityRuleParameterContainsUnsupportedValue",
                             "Security rule parameter %s for rule with Id %s cannot be null or "
                             "empty.",
                             needed[i][0], id);
        if (one && many)
            return arm_error(c, 400, "SecurityRuleParameterConflict",
                             "Security rule %s has both %s and %s.", id, needed[i][0],
                             needed[i][1]);
    }
    return true;
}

static bool rules_good(struct arm_call *c, const json_t *rules)
{
    for (size_t i = 0; i < json_array_size(rules); i++) {
        const json_t *a = json_array_get(rules, i);
        if (!rule_good(c, a))
            return false;
        for (size_t k = 0; k < i; k++) {
            const json_t *b = json_array_get(rules, k);
            if (json_equal(json_path(a, "properties/priority"),
                           json_path(b, "properties/priority")) &&
                json_equal(json_path(a, "properties/direction"),
                           json_path(b, "properties/direction")))
                return arm_error(c, 400, "SecurityRuleConflict",
                                 "Security rule %s conflicts with rule %s. Rules cannot have the "
                                 "same Priority and Direction.",
                                 arm_text(a, "name"), arm_text(b, "name"));
        }
    }
    return true;
}

static json_t *default_rule(const json_t *owner, const char *name, const char *direction,
                            const char *access, int priority, const char *source,
                            const char *destination)
{
    return json_pack("{ss so sO ss s{ss ss ss ss ss ss ss si ss s[] s[] s[] s[]}}", "name", name,
                     "id", json_sprintf("%s/defaultSecurityRules/%s", arm_text(owner, "id"), name),
                     "etag", json_object_get(owner, "etag"), "type",
                     "Microsoft.Network/networkSecurityGroups/defaultSecurityRules", "properties",
                     "provisioningState", "Succeeded", "protocol", "*", "sourcePortRange", "*",
                     "destinationPortRange", "*", "sourceAddressPrefix", source,
                     "destinationAddressPrefix", destination, "access", access, "priority",
                     priority, "direction", direction, "sourcePortRanges", "destinationPortRanges",
                     "sourceAddressPrefixes", "destinationAddressPrefixes");
}

static bool prepare_group(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    set_default(p, "securityRules", json_array());
    keep_or_make_guid(p, old);
    return complete_children(c, body, "securityRules",
                             "Microsoft.Network/networkSecurityGroups/securityRules") &&
           rules_good(c, json_object_get(p, "securityRules"));
}

static void show_group(struct arm_call *c, const json_t *body, json_t *view)
{
    const char *id = arm_text(body, "id");
    add_list(view, "defaultSecurityRules",
             json_pack("[oooooo]",
                       default_rule(body, "AllowVnetInBound", "Inbound", "Allow", 65000,
                                    "VirtualNetwork", "VirtualNetwork"),
                       default_rule(body, "AllowAzureLoadBalancerInBound", "Inbound", "Allow",
                                    65001, "AzureLoadBalancer", "*"),
                       default_rule(body, "DenyAllInBound", "Inbound", "Deny", 65500, "*", "*"),
                       default_rule(body, "AllowVnetOutBound", "Outbound", "Allow", 65000,
                                    "VirtualNetwork", "VirtualNetwork"),
                       default_rule(body, "AllowInternetOutBound", "Outbound", "Allow", 65001, "*",
                                    "Internet"),
                       default_rule(body, "DenyAllOutBound", "Outbound", "Deny", 65500, "*", "*")));
    add_list(view, "networkInterfaces", referrers_with(c->em, id, "/networkInterfaces/"));
    add_list(view, "subnets", referrers_with(c->em, id, "/subnets/"));
}

static bool may_delete_group(struct arm_call *c, const json_t *body)
{
    const char *by = first_referrer(c->em, arm_text(body, "id"));
    if (!*by)
        return true;
    return arm_error(c, 400, "InUseNetworkSecurityGroupCannotBeDeleted",
                     "Network security group %s cannot be deleted because it is in use by the "
                     "following resources: %s. In order to delete the Network security group, "
                     "remove the association with the resource(s). To learn how to do this, see "
                     "aka.ms/deletensg.",
                     arm_text(body, "id"), by);
}

static bool prepare_rule(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    if (json_object_size(p) == 0)
        return arm_error_inner(c, 400, "InvalidRequestFormat", "Cannot parse the request.",
                               "MissingJsonReferenceId",
                               "Required parameter 'properties' is missing (null).");
    const json_t *siblings =
        json_path(resource_body(c->em, c->at.parent), "properties/securityRules");
    AUTO(json) json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(siblings); i++) {
        json_t *one = json_array_get(siblings, i);
        if (strcasecmp(arm_text(one, "name"), arm_text(body, "name")) != 0)
            json_array_append(all, one);
    }
    json_array_append(all, body);
    return rules_good(c, all);
}

/* ---- virtual networks ---- */

static bool prefix_parse(const char *text, uint32_t *net, unsigned *bits)
{
    unsigned a, b, c, d;
    char rest;
    if (sscanf(text, "%3u.%3u.%3u.%3u/%2u%c", &a, &b, &c, &d, bits, &rest) != 5)
        return false;
    if (a > 255 || b > 255 || c > 255 || d > 255 || *bits > 32)
        return false;
    *net = a << 24 | b << 16 | c << 8 | d;
    uint32_t mask = *bits ? ~0u << (32 - *bits) : 0;
    return (*net & ~mask) == 0;
}

static bool prefix_holds(const char *outer, const char *inner)
{
    uint32_t a, b;
    unsigned n, m;
    if (!prefix_parse(outer, &a, &n) || !prefix_parse(inner, &b, &m) || m < n)
        return false;
    return n == 0 || (a >> (32 - n)) == (b >> (32 - n));
}

static bool prefixes_overlap(const char *a, const char *b)
{
    return prefix_holds(a, b) || prefix_holds(b, a);
}

static const char *subnet_prefix(const json_t *item)
{
    const char *one = arm_text(item, "properties/addressPrefix");
    if (*one)
        return one;
    const char *first =
        json_string_value(json_array_get(json_path(item, "properties/addressPrefixes"), 0));
    return first ? first : "";
}

static bool subnet_fits(struct arm_call *c, const json_t *space, const json_t *item)
{
    const char *prefix = subnet_prefix(item);
    uint32_t net;
    unsigned bits;
    if (!prefix_parse(prefix, &net, &bits))
        return arm_error(c, 400, "InvalidCIDRNotation",
                         "The address prefix %s in resource %s is invalid.", prefix,
                         arm_text(item, "id"));
    for (size_t i = 0; i < json_array_size(space); i++)
        if (prefix_holds(json_string_value(json_array_get(space, i)), prefix))
            return true;
    return arm_error(c, 400, "NetcfgSubnetRangeOutsideVnet",
                     "Subnet '%s' is not valid because its IP address range is outside the IP "
                     "address range of virtual network '%s'.",
                     arm_text(item, "name"), arm_text(c->body, "name"));
}

static bool subnets_fit(struct arm_call *c, const json_t *space, const json_t *subnets)
{
    for (size_t i = 0; i < json_array_size(subnets); i++) {
        const json_t *a = json_array_get(subnets, i);
        if (!subnet_fits(c, space, a))
            return false;
        for (size_t k = 0; k < i; k++) {
            const json_t *b = json_array_get(subnets, k);
            if (prefixes_overlap(subnet_prefix(a), subnet_prefix(b)))
                return arm_error(c, 400, "NetcfgSubnetRangesOverlap",
                                 "Subnet '%s' is not valid because its IP address range overlaps "
                                 "with that of an existing subnet in virtual network '%s'.",
                                 arm_text(a, "name"), arm_text(b, "name"));
        }
    }
    return true;
}

static bool subnet_in_use(struct arm_call *c, const char *id, const char *name)
{
    const char *by = first_referrer(c->em, id);
    if (!*by)
        return false;
    arm_error(c, 400, "InUseSubnetCannotBeDeleted",
              "Subnet %s is in use by %s and cannot be deleted. In order to delete the subnet, "
              "delete all the resources within the subnet. See aka.ms/deletesubnet.",
              name, by);
    return true;
}

/* A PUT without a subnet deletes it, if it can. */
static bool dropped_subnets_free(struct arm_call *c, const json_t *old, const json_t *subnets)
{
    const json_t *before = json_path(old, "properties/subnets");
    for (size_t i = 0; i < json_array_size(before); i++) {
        const char *name = arm_text(json_array_get(before, i), "name");
        bool kept = false;
        for (size_t k = 0; k < json_array_size(subnets); k++)
            kept = kept || strcasecmp(arm_text(json_array_get(subnets, k), "name"), name) == 0;
        if (!kept && subnet_in_use(c, arm_text(json_array_get(before, i), "id"), name))
            return false;
    }
    return true;
}

static bool prepare_network(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    const json_t *space = json_path(body, "properties/addressSpace/addressPrefixes");
    if (json_array_size(space) == 0)
        return arm_error_inner(c, 400, "InvalidRequestFormat", "Cannot parse the request.",
                               "MissingJsonReferenceId",
                               "Value for addressSpace is missing. Path properties.");
    for (size_t i = 0; i < json_array_size(space); i++) {
        uint32_t net;
        unsigned bits;
        const char *prefix = json_string_value(json_array_get(space, i));
        if (!prefix_parse(prefix, &net, &bits))
            return arm_error(c, 400, "InvalidCIDRNotation",
                             "The address prefix %s in resource %s is invalid.", prefix, c->at.id);
    }
    set_default(p, "subnets", json_array());
    set_default(p, "virtualNetworkPeerings", json_array());
    set_default(p, "enableDdosProtection", json_false());
    keep_or_make_guid(p, old);
    json_t *subnets = json_object_get(p, "subnets");
    return complete_children(c, body, "subnets", "Microsoft.Network/virtualNetworks/subnets") &&
           subnets_fit(c, space, subnets) && dropped_subnets_free(c, old, subnets);
}

static bool prepare_subnet(struct arm_call *c, const json_t *old, json_t *body)
{
    const json_t *parent = resource_body(c->em, c->at.parent);
    const json_t *siblings = json_path(parent, "properties/subnets");
    AUTO(json) json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(siblings); i++) {
        json_t *one = json_array_get(siblings, i);
        if (strcasecmp(arm_text(one, "name"), arm_text(body, "name")) != 0)
            json_array_append(all, one);
    }
    json_array_append(all, body);
    return subnets_fit(c, json_path(parent, "properties/addressSpace/addressPrefixes"), all);
}

static void show_subnet(struct arm_call *c, const json_t *body, json_t *view)
{
    json_t *p = json_object_get(view, "properties");
    add_list(view, "ipConfigurations",
             referrers_with(c->em, arm_text(body, "id"), "/ipConfigurations/"));
    set_default(p, "delegations", json_array());
    set_default(p, "privateEndpointNetworkPolicies", json_string("Disabled"));
    set_default(p, "privateLinkServiceNetworkPolicies", json_string("Enabled"));
}

static void show_network(struct arm_call *c, const json_t *body, json_t *view)
{
    json_t *subnets = json_object_get(json_object_get(view, "properties"), "subnets");
    size_t i;
    json_t *item;
    json_array_foreach(subnets, i, item) show_subnet(c, item, item);
}

static bool may_delete_subnet(struct arm_call *c, const json_t *body)
{
    return !subnet_in_use(c, arm_text(body, "id"), arm_text(body, "name"));
}

static bool may_delete_network(struct arm_call *c, const json_t *body)
{
    const json_t *subnets = json_path(body, "properties/subnets");
    for (size_t i = 0; i < json_array_size(subnets); i++)
        if (!may_delete_subnet(c, json_array_get(subnets, i)))
            return false;
    return true;
}

/* ---- public addresses ---- */

static bool prepare_address(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    set_default(body, "sku", json_object());
    json_t *sku = json_object_get(body, "sku");
    set_default(sku, "name", json_string("Basic"));
    set_default(sku, "tier", json_string("Regional"));
    set_default(p, "publicIPAddressVersion", json_string("IPv4"));
    set_default(p, "publicIPAllocationMethod", json_string("Dynamic"));
    set_default(p, "idleTimeoutInMinutes", json_integer(4));
    set_default(p, "ipTags", json_array());
    keep_or_make_guid(p, old);
    const char *name = arm_text(sku, "name");
    bool is_static = strcmp(arm_text(p, "publicIPAllocationMethod"), "Static") == 0;
    if (strcmp(name, "Standard") == 0 && !is_static)
        return arm_error(c, 400, "StandardSkuPublicIPAddressMustBeStatic",
                         "Standard sku publicIp %s must have AllocationMethod set to Static.",
                         c->at.id);
    if (strcmp(name, "Basic") == 0 && !old)
        return arm_error(c, 400, "IPv4BasicSkuPublicIpCountLimitReached",
                         "Cannot create more than 0 IPv4 Basic SKU public IP addresses for this "
                         "subscription in this region.");
    const char *before = arm_text(old, "properties/ipAddress");
    uint8_t r[2];
    random_bytes(r, sizeof r);
    /* 198.18.0.0/15 is set aside for tests (RFC 2544). */
    if (*before)
        set_text(p, "ipAddress", before);
    else
        json_object_set_new(p, "ipAddress", json_sprintf("198.18.%u.%u", r[0], r[1]));
    return true;
}

static void show_address(struct arm_call *c, const json_t *body, json_t *view)
{
    const char *by = first_referrer(c->em, arm_text(body, "id"));
    if (*by)
        json_object_set_new(json_object_get(view, "properties"), "ipConfiguration",
                            json_pack("{ss}", "id", by));
}

static bool may_delete_address(struct arm_call *c, const json_t *body)
{
    const char *by = first_referrer(c->em, arm_text(body, "id"));
    if (!*by)
        return true;
    return arm_error(c, 400, "PublicIPAddressCannotBeDeleted",
                     "Public IP address %s can not be deleted since it is still allocated to "
                     "resource %s. In order to delete the public IP, disassociate/detach the "
                     "Public IP address from the resource. To learn how to do this, see "
                     "aka.ms/deletepublicip.",
                     arm_text(body, "id"), by);
}

/* ---- network interfaces ---- */

/* The lowest address of the subnet that no interface has; Azure keeps the first four. */
static json_t *free_address(struct arm_call *c, const char *subnet_id)
{
    const json_t *body = resource_body(c->em, subnet_id);
    uint32_t net = 0;
    unsigned bits = 0;
    if (!body || !prefix_parse(subnet_prefix(body), &net, &bits))
        return json_string("10.0.0.4");
    const json_t *users = resource_referrers(c->em, subnet_id);
    for (uint32_t host = 4; host < (bits > 30 ? 4 : 1u << (32 - bits)); host++) {
        uint32_t a = net + host;
        char text[20];
        snprintf(text, sizeof text, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
        bool taken = false;
        const char *key;
        json_t *part;
        json_object_foreach((json_t *)(uintptr_t)users, key, part)
        {
            const json_t *list =
                json_path(resource_record(c->em, key), "body/properties/ipConfigurations");
            for (size_t i = 0; i < json_array_size(list); i++)
                taken = taken ||
                        strcmp(arm_text(json_array_get(list, i), "properties/privateIPAddress"),
                               text) == 0;
        }
        if (!taken)
            return json_string(text);
    }
    return NULL;
}

static bool address_taken(struct arm_call *c, const char *address_id)
{
    const char *by = first_referrer(c->em, address_id);
    size_t n = strlen(c->at.id);
    if (!*by || (strncasecmp(by, c->at.id, n) == 0 && by[n] == '/'))
        return false;
    arm_error(c, 400, "PublicIPAddressInUse",
              "Resource %s is referencing public IP address %s that is already allocated to "
              "resource %s.",
              c->at.id, address_id, by);
    return true;
}

static bool prepare_ip(struct arm_call *c, const json_t *old, json_t *item)
{
    json_t *p = json_object_get(item, "properties");
    const char *subnet_id = arm_text(p, "subnet/id");
    if (!*subnet_id)
        return arm_error_inner(c, 400, "InvalidRequestFormat", "Cannot parse the request.",
                               "MissingJsonReferenceId",
                               "Value for reference id is missing. Path "
                               "properties.ipConfigurations[0].properties.subnet.");
    set_default(p, "privateIPAllocationMethod", json_string("Dynamic"));
    set_default(p, "privateIPAddressVersion", json_string("IPv4"));
    const char *public_id = arm_text(p, "publicIPAddress/id");
    if (*public_id && address_taken(c, public_id))
        return false;
    const json_t *before = json_path(old, "properties/ipConfigurations");
    for (size_t i = 0; i < json_array_size(before); i++) {
        const json_t *was = json_array_get(before, i);
        if (strcasecmp(arm_text(was, "name"), arm_text(item, "name")) == 0 &&
            strcasecmp(arm_text(was, "properties/subnet/id"), subnet_id) == 0)
            set_default(p, "privateIPAddress",
                        json_incref(json_object_get(json_object_get(was, "properties"),
                                                    "privateIPAddress")));
    }
    if (json_object_get(p, "privateIPAddress"))
        return true;
    json_t *address = free_address(c, subnet_id);
    if (!address)
        return arm_error(c, 400, "SubnetIsFull",
                         "Subnet %s does not have enough capacity for 1 IP addresses.", subnet_id);
    json_object_set_new(p, "privateIPAddress", address);
    return true;
}

static bool prepare_nic(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    json_t *list = json_object_get(p, "ipConfigurations");
    if (json_array_size(list) == 0)
        return arm_error(c, 400, "NetworkInterfaceMustHaveAtLeastOneIpConfiguration",
                         "Network interface %s must have at least one IP configuration.", c->at.id);
    if (!complete_children(c, body, "ipConfigurations",
                           "Microsoft.Network/networkInterfaces/ipConfigurations"))
        return false;
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        set_default(json_object_get(item, "properties"), "primary", json_boolean(i == 0));
        if (!prepare_ip(c, old, item))
            return false;
    }
    set_default(p, "enableAcceleratedNetworking", json_false());
    set_default(p, "enableIPForwarding", json_false());
    set_default(p, "disableTcpStateTracking", json_false());
    set_default(p, "dnsSettings", json_pack("{s[]}", "dnsServers"));
    set_default(p, "nicType", json_string("Standard"));
    keep_or_make_guid(p, old);
    return true;
}

static void show_nic(struct arm_call *c, const json_t *body, json_t *view)
{
    json_t *p = json_object_get(view, "properties");
    const char *by = first_referrer(c->em, arm_text(body, "id"));
    set_default(p, "tapConfigurations", json_array());
    set_default(p, "hostedWorkloads", json_array());
    if (!*by)
        return;
    json_object_set_new(p, "virtualMachine", json_pack("{ss}", "id", by));
    json_object_set_new(p, "primary", json_true());
    const char *guid = arm_text(p, "resourceGuid");
    json_object_set_new(p, "macAddress",
                        json_sprintf("00-0D-3A-%.2s-%.2s-%.2s", guid, guid + 2, guid + 4));
}

static bool may_delete_nic(struct arm_call *c, const json_t *body)
{
    const char *by = first_referrer(c->em, arm_text(body, "id"));
    if (!*by)
        return true;
    return arm_error(c, 400, "NicInUse",
                     "Network Interface %s is used by existing resource %s. In order to delete the "
                     "network interface, it must be dissociated from the resource. To learn more, "
                     "see aka.ms/deletenic.",
                     arm_text(body, "id"), by);
}

/* ---- rows ---- */

#define NETWORK_ROW                                                                                \
    .ns = "Microsoft.Network", .versions = versions, .put = ARM_AAO, .patch = ARM_SYNC,            \
    .del = ARM_AAO_LOC, .created = 201, .updated = 200, .tags_only = true, .name_max = 80,         \
    .name_extra = "-_."

const struct arm_type arm_type_virtual_network = {
    NETWORK_ROW,
    .path = "virtualNetworks",
    .shape = &network,
    .embeds = {"subnets"},
    .located = true,
    .prepare = prepare_network,
    .may_delete = may_delete_network,
    .show = show_network,
};
const struct arm_type arm_type_subnet = {
    NETWORK_ROW,           .path = "virtualNetworks/subnets", .shape = &subnet,
    .embedded = "subnets", .prepare = prepare_subnet,         .may_delete = may_delete_subnet,
    .show = show_subnet,
};
const struct arm_type arm_type_security_group = {
    NETWORK_ROW,
    .path = "networkSecurityGroups",
    .shape = &nsg,
    .embeds = {"securityRules"},
    .located = true,
    .prepare = prepare_group,
    .may_delete = may_delete_group,
    .show = show_group,
};
const struct arm_type arm_type_security_rule = {
    NETWORK_ROW,
    .path = "networkSecurityGroups/securityRules",
    .shape = &rule,
    .embedded = "securityRules",
    .prepare = prepare_rule,
};
const struct arm_type arm_type_public_ip = {
    NETWORK_ROW,          .path = "publicIPAddresses", .shape = &pip,
    .located = true,      .prepare = prepare_address,  .may_delete = may_delete_address,
    .show = show_address,
};
const struct arm_type arm_type_network_interface = {
    NETWORK_ROW,
    .path = "networkInterfaces",
    .shape = &nic,
    .embeds = {"ipConfigurations"},
    .located = true,
    .prepare = prepare_nic,
    .may_delete = may_delete_nic,
    .show = show_nic,
};
