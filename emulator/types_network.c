/*
 * Microsoft.Network: virtual networks and subnets, security groups and rules, public addresses,
 * network interfaces. A PUT replaces; PATCH takes tags and is synchronous. Their rules are in
 * rules_network.c.
 */
#include "emulator/props.h"
#include "emulator/rules_network.h"
#include "emulator/types.h"

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
    .prepare = rules_network_prepare_network,
    .may_delete = rules_network_may_delete_network,
    .show = rules_network_show_network,
};
const struct arm_type arm_type_subnet = {
    NETWORK_ROW,
    .path = "virtualNetworks/subnets",
    .shape = &subnet,
    .embedded = "subnets",
    .prepare = rules_network_prepare_subnet,
    .may_delete = rules_network_may_delete_subnet,
    .show = rules_network_show_subnet,
};
const struct arm_type arm_type_security_group = {
    NETWORK_ROW,
    .path = "networkSecurityGroups",
    .shape = &nsg,
    .embeds = {"securityRules"},
    .located = true,
    .prepare = rules_network_prepare_group,
    .may_delete = rules_network_may_delete_group,
    .show = rules_network_show_group,
};
const struct arm_type arm_type_security_rule = {
    NETWORK_ROW,
    .path = "networkSecurityGroups/securityRules",
    .shape = &rule,
    .embedded = "securityRules",
    .prepare = rules_network_prepare_rule,
};
const struct arm_type arm_type_public_ip = {
    NETWORK_ROW,
    .path = "publicIPAddresses",
    .shape = &pip,
    .located = true,
    .prepare = rules_network_prepare_address,
    .may_delete = rules_network_may_delete_address,
    .show = rules_network_show_address,
};
const struct arm_type arm_type_network_interface = {
    NETWORK_ROW,
    .path = "networkInterfaces",
    .shape = &nic,
    .embeds = {"ipConfigurations"},
    .located = true,
    .prepare = rules_network_prepare_nic,
    .may_delete = rules_network_may_delete_nic,
    .show = rules_network_show_nic,
};
