/* Network security groups and their rules. */
#include "emulator/resource.h"
#include "emulator/rules_network.h"

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

bool rules_network_prepare_group(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    arm_default(p, "securityRules", json_array());
    rules_network_guid(p, old);
    return rules_network_children(c, body, "securityRules",
                                  "Microsoft.Network/networkSecurityGroups/securityRules") &&
           rules_good(c, json_object_get(p, "securityRules"));
}

void rules_network_show_group(struct arm_call *c, const json_t *body, json_t *view)
{
    const char *id = arm_text(body, "id");
    rules_network_add_list(
        view, "defaultSecurityRules",
        json_pack("[oooooo]",
                  default_rule(body, "AllowVnetInBound", "Inbound", "Allow", 65000,
                               "VirtualNetwork", "VirtualNetwork"),
                  default_rule(body, "AllowAzureLoadBalancerInBound", "Inbound", "Allow", 65001,
                               "AzureLoadBalancer", "*"),
                  default_rule(body, "DenyAllInBound", "Inbound", "Deny", 65500, "*", "*"),
                  default_rule(body, "AllowVnetOutBound", "Outbound", "Allow", 65000,
                               "VirtualNetwork", "VirtualNetwork"),
                  default_rule(body, "AllowInternetOutBound", "Outbound", "Allow", 65001, "*",
                               "Internet"),
                  default_rule(body, "DenyAllOutBound", "Outbound", "Deny", 65500, "*", "*")));
    rules_network_add_list(view, "networkInterfaces",
                           rules_network_referrers(c->em, id, "/networkInterfaces/"));
    rules_network_add_list(view, "subnets", rules_network_referrers(c->em, id, "/subnets/"));
}

bool rules_network_may_delete_group(struct arm_call *c, const json_t *body)
{
    const char *by = rules_network_referrer(c->em, arm_text(body, "id"));
    if (!*by)
        return true;
    return arm_error(c, 400, "InUseNetworkSecurityGroupCannotBeDeleted",
                     "Network security group %s cannot be deleted because it is in use by the "
                     "following resources: %s. In order to delete the Network security group, "
                     "remove the association with the resource(s). To learn how to do this, see "
                     "aka.ms/deletensg.",
                     arm_text(body, "id"), by);
}

bool rules_network_prepare_rule(struct arm_call *c, const json_t *old, json_t *body)
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
