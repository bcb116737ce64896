/* Written by openapi/generate.py from openapi.yaml; changes go there. */
#include "openapi/schemas.h"

#include "openapi/match.h"

static const struct field list_subscription_virtual_machines_query_fields[] = {
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct list_subscription_virtual_machines_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct list_subscription_virtual_machines_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema list_subscription_virtual_machines_query_schema = {
    .name = "list_subscription_virtual_machines_query", .size = sizeof(struct list_subscription_virtual_machines_query),
    .fields = list_subscription_virtual_machines_query_fields, .n_fields = ARRAY_LEN(list_subscription_virtual_machines_query_fields),
};

static const struct field list_virtual_machines_query_fields[] = {
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct list_virtual_machines_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct list_virtual_machines_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema list_virtual_machines_query_schema = {
    .name = "list_virtual_machines_query", .size = sizeof(struct list_virtual_machines_query),
    .fields = list_virtual_machines_query_fields, .n_fields = ARRAY_LEN(list_virtual_machines_query_fields),
};

static const struct field vm_image_fields[] = {
    {.name = "publisher", .kind = FIELD_STR, .offset = offsetof(struct vm_image, publisher), .min = 1, .max = 128, .match = match_image_part},
    {.name = "offer", .kind = FIELD_STR, .offset = offsetof(struct vm_image, offer), .min = 1, .max = 128, .match = match_image_part},
    {.name = "sku", .kind = FIELD_STR, .offset = offsetof(struct vm_image, sku), .min = 1, .max = 128, .match = match_image_part},
    {.name = "version", .kind = FIELD_STR, .offset = offsetof(struct vm_image, version), .min = 1, .max = 128, .match = match_image_part},
    {.name = "galleryImageVersionId", .kind = FIELD_STR, .offset = offsetof(struct vm_image, gallery_image_version_id), .max = 600, .match = match_gallery_image_version_id},
};
static const struct rule vm_image_rules[] = {
    {RULE_ONE_OF, (const char *const *const[]){(const char *const[]){"publisher", "offer", "sku", "version", NULL}, (const char *const[]){"galleryImageVersionId", NULL}, NULL}},
    {RULE_REQUIRES, (const char *const *const[]){(const char *const[]){"publisher", "offer", "sku", "version", NULL}, NULL}},
    {RULE_REQUIRES, (const char *const *const[]){(const char *const[]){"offer", "publisher", NULL}, NULL}},
    {RULE_REQUIRES, (const char *const *const[]){(const char *const[]){"sku", "publisher", NULL}, NULL}},
    {RULE_REQUIRES, (const char *const *const[]){(const char *const[]){"version", "publisher", NULL}, NULL}},
};
const struct schema vm_image_schema = {
    .name = "VmImage", .size = sizeof(struct vm_image),
    .fields = vm_image_fields, .n_fields = ARRAY_LEN(vm_image_fields),
    .rules = vm_image_rules, .n_rules = ARRAY_LEN(vm_image_rules),
};

static const struct field vm_trusted_launch_fields[] = {
    {.name = "secureBoot", .kind = FIELD_BOOL, .offset = offsetof(struct vm_trusted_launch, secure_boot), .has_dflt = true, .dflt_int = 1},
    {.name = "vTpm", .kind = FIELD_BOOL, .offset = offsetof(struct vm_trusted_launch, vtpm), .has_dflt = true, .dflt_int = 1},
    {.name = "integrityMonitoring", .kind = FIELD_BOOL, .offset = offsetof(struct vm_trusted_launch, integrity_monitoring), .has_dflt = true, .dflt_int = 1},
};
const struct schema vm_trusted_launch_schema = {
    .name = "VmTrustedLaunch", .size = sizeof(struct vm_trusted_launch),
    .fields = vm_trusted_launch_fields, .n_fields = ARRAY_LEN(vm_trusted_launch_fields),
};

static const struct field vm_admin_fields[] = {
    {.name = "username", .kind = FIELD_STR, .required = true, .offset = offsetof(struct vm_admin, username), .min = 1, .max = 64, .match = match_admin_username},
    {.name = "password", .kind = FIELD_SECRET, .offset = offsetof(struct vm_admin, password), .min = 12, .max = 123},
    {.name = "sshPublicKeys", .kind = FIELD_STR_LIST, .offset = offsetof(struct vm_admin, ssh_public_keys), .min = 1, .max = 8, .unique = true, .item_max = 8192, .match = match_ssh_public_key},
};
static const struct rule vm_admin_rules[] = {
    {RULE_ONE_OF, (const char *const *const[]){(const char *const[]){"password", NULL}, (const char *const[]){"sshPublicKeys", NULL}, NULL}},
};
const struct schema vm_admin_schema = {
    .name = "VmAdmin", .size = sizeof(struct vm_admin),
    .fields = vm_admin_fields, .n_fields = ARRAY_LEN(vm_admin_fields),
    .rules = vm_admin_rules, .n_rules = ARRAY_LEN(vm_admin_rules),
};

static const struct field vm_virtual_network_fields[] = {
    {.name = "name", .kind = FIELD_STR, .required = true, .offset = offsetof(struct vm_virtual_network, name), .min = 1, .max = 64, .match = match_arm_name},
    {.name = "addressPrefix", .kind = FIELD_STR, .offset = offsetof(struct vm_virtual_network, address_prefix), .max = 18, .match = match_cidr, .dflt_str = "10.0.0.0/16"},
};
const struct schema vm_virtual_network_schema = {
    .name = "VmVirtualNetwork", .size = sizeof(struct vm_virtual_network),
    .fields = vm_virtual_network_fields, .n_fields = ARRAY_LEN(vm_virtual_network_fields),
};

static const struct field vm_network_fields[] = {
    {.name = "subnetId", .kind = FIELD_STR, .offset = offsetof(struct vm_network, subnet_id), .max = 600, .match = match_subnet_id},
    {.name = "virtualNetwork", .kind = FIELD_OBJ, .offset = offsetof(struct vm_network, virtual_network), .object = &vm_virtual_network_schema},
    {.name = "publicIp", .kind = FIELD_BOOL, .offset = offsetof(struct vm_network, public_ip), .has_dflt = true},
};
static const struct rule vm_network_rules[] = {
    {RULE_NOT_ALL, (const char *const *const[]){(const char *const[]){"subnetId", "virtualNetwork", NULL}, NULL}},
};
const struct schema vm_network_schema = {
    .name = "VmNetwork", .size = sizeof(struct vm_network),
    .fields = vm_network_fields, .n_fields = ARRAY_LEN(vm_network_fields),
    .rules = vm_network_rules, .n_rules = ARRAY_LEN(vm_network_rules),
};

static const struct field vm_spec_fields[] = {
    {.name = "location", .kind = FIELD_STR, .required = true, .offset = offsetof(struct vm_spec, location), .min = 2, .max = 40, .match = match_location},
    {.name = "size", .kind = FIELD_STR, .required = true, .offset = offsetof(struct vm_spec, size), .min = 3, .max = 64, .match = match_vm_size},
    {.name = "osType", .kind = FIELD_STR, .required = true, .offset = offsetof(struct vm_spec, os_type), .allowed = (const char *const[]){"Linux", "Windows", NULL}},
    {.name = "image", .kind = FIELD_OBJ, .required = true, .offset = offsetof(struct vm_spec, image), .object = &vm_image_schema},
    {.name = "securityType", .kind = FIELD_STR, .offset = offsetof(struct vm_spec, security_type), .allowed = (const char *const[]){"TrustedLaunch", "Standard", NULL}, .dflt_str = "TrustedLaunch"},
    {.name = "trustedLaunch", .kind = FIELD_OBJ, .offset = offsetof(struct vm_spec, trusted_launch), .object = &vm_trusted_launch_schema, .has_dflt = true},
    {.name = "admin", .kind = FIELD_OBJ, .required = true, .offset = offsetof(struct vm_spec, admin), .object = &vm_admin_schema},
    {.name = "inboundPorts", .kind = FIELD_INT_LIST, .offset = offsetof(struct vm_spec, inbound_ports), .max = 16, .unique = true, .item_min = 1, .item_max = 65535},
    {.name = "inboundSource", .kind = FIELD_STR, .offset = offsetof(struct vm_spec, inbound_source), .min = 1, .max = 64, .match = match_network_source, .dflt_str = "VirtualNetwork"},
    {.name = "network", .kind = FIELD_OBJ, .offset = offsetof(struct vm_spec, network), .object = &vm_network_schema, .has_dflt = true},
    {.name = "createResourceGroup", .kind = FIELD_BOOL, .offset = offsetof(struct vm_spec, create_resource_group), .has_dflt = true},
    {.name = "waitForAttestation", .kind = FIELD_BOOL, .offset = offsetof(struct vm_spec, wait_for_attestation), .has_dflt = true},
    {.name = "attestationTimeout", .kind = FIELD_STR, .offset = offsetof(struct vm_spec, attestation_timeout), .max = 20, .match = match_duration, .dflt_str = "PT30M"},
    {.name = "tags", .kind = FIELD_STR_MAP, .offset = offsetof(struct vm_spec, tags), .max = 48, .item_max = 256, .match_key = match_tag_name},
};
const struct schema vm_spec_schema = {
    .name = "VmSpec", .size = sizeof(struct vm_spec),
    .fields = vm_spec_fields, .n_fields = ARRAY_LEN(vm_spec_fields),
};

static const struct field put_virtual_machine_query_fields[] = {
    {.name = "dryRun", .kind = FIELD_BOOL, .offset = offsetof(struct put_virtual_machine_query, dry_run), .has_dflt = true},
    {.name = "plan", .kind = FIELD_STR, .offset = offsetof(struct put_virtual_machine_query, plan), .min = 64, .max = 64, .match = match_sha256_hex},
};
const struct schema put_virtual_machine_query_schema = {
    .name = "put_virtual_machine_query", .size = sizeof(struct put_virtual_machine_query),
    .fields = put_virtual_machine_query_fields, .n_fields = ARRAY_LEN(put_virtual_machine_query_fields),
};

static const struct field delete_virtual_machine_query_fields[] = {
    {.name = "dryRun", .kind = FIELD_BOOL, .offset = offsetof(struct delete_virtual_machine_query, dry_run), .has_dflt = true},
    {.name = "plan", .kind = FIELD_STR, .offset = offsetof(struct delete_virtual_machine_query, plan), .min = 64, .max = 64, .match = match_sha256_hex},
};
const struct schema delete_virtual_machine_query_schema = {
    .name = "delete_virtual_machine_query", .size = sizeof(struct delete_virtual_machine_query),
    .fields = delete_virtual_machine_query_fields, .n_fields = ARRAY_LEN(delete_virtual_machine_query_fields),
};

static const struct field get_boot_integrity_query_fields[] = {
    {.name = "explain", .kind = FIELD_BOOL, .offset = offsetof(struct get_boot_integrity_query, explain), .has_dflt = true},
};
const struct schema get_boot_integrity_query_schema = {
    .name = "get_boot_integrity_query", .size = sizeof(struct get_boot_integrity_query),
    .fields = get_boot_integrity_query_fields, .n_fields = ARRAY_LEN(get_boot_integrity_query_fields),
};

static const struct field list_boot_integrity_history_query_fields[] = {
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct list_boot_integrity_history_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct list_boot_integrity_history_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema list_boot_integrity_history_query_schema = {
    .name = "list_boot_integrity_history_query", .size = sizeof(struct list_boot_integrity_history_query),
    .fields = list_boot_integrity_history_query_fields, .n_fields = ARRAY_LEN(list_boot_integrity_history_query_fields),
};

static const struct field requalify_request_fields[] = {
    {.name = "decision", .kind = FIELD_STR, .required = true, .offset = offsetof(struct requalify_request, decision), .allowed = (const char *const[]){"acceptNewAk", "rebuild", "dismiss", NULL}},
    {.name = "akSpki", .kind = FIELD_STR, .offset = offsetof(struct requalify_request, ak_spki), .min = 64, .max = 64, .match = match_sha256_hex},
    {.name = "reason", .kind = FIELD_STR, .offset = offsetof(struct requalify_request, reason), .min = 1, .max = 512},
};
const struct schema requalify_request_schema = {
    .name = "RequalifyRequest", .size = sizeof(struct requalify_request),
    .fields = requalify_request_fields, .n_fields = ARRAY_LEN(requalify_request_fields),
};

static const struct field list_boot_integrity_query_fields[] = {
    {.name = "status", .kind = FIELD_STR, .offset = offsetof(struct list_boot_integrity_query, status), .allowed = (const char *const[]){"healthy", "unhealthy", "unknown", "unmonitored", "quarantined", NULL}},
    {.name = "vmId", .kind = FIELD_STR, .offset = offsetof(struct list_boot_integrity_query, vm_id), .match = match_uuid},
    {.name = "scope", .kind = FIELD_STR, .offset = offsetof(struct list_boot_integrity_query, scope), .max = 200, .match = match_arm_scope},
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct list_boot_integrity_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct list_boot_integrity_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema list_boot_integrity_query_schema = {
    .name = "list_boot_integrity_query", .size = sizeof(struct list_boot_integrity_query),
    .fields = list_boot_integrity_query_fields, .n_fields = ARRAY_LEN(list_boot_integrity_query_fields),
};

static const struct field get_boot_integrity_summary_query_fields[] = {
    {.name = "scope", .kind = FIELD_STR, .offset = offsetof(struct get_boot_integrity_summary_query, scope), .max = 200, .match = match_arm_scope},
};
const struct schema get_boot_integrity_summary_query_schema = {
    .name = "get_boot_integrity_summary_query", .size = sizeof(struct get_boot_integrity_summary_query),
    .fields = get_boot_integrity_summary_query_fields, .n_fields = ARRAY_LEN(get_boot_integrity_summary_query_fields),
};

static const struct field list_secure_boot_certificates_query_fields[] = {
    {.name = "state", .kind = FIELD_STR, .offset = offsetof(struct list_secure_boot_certificates_query, state), .allowed = (const char *const[]){"unknown", "ready", "incomplete", "atRisk", "revoked", "notApplicable", NULL}},
    {.name = "scope", .kind = FIELD_STR, .offset = offsetof(struct list_secure_boot_certificates_query, scope), .max = 200, .match = match_arm_scope},
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct list_secure_boot_certificates_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct list_secure_boot_certificates_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema list_secure_boot_certificates_query_schema = {
    .name = "list_secure_boot_certificates_query", .size = sizeof(struct list_secure_boot_certificates_query),
    .fields = list_secure_boot_certificates_query_fields, .n_fields = ARRAY_LEN(list_secure_boot_certificates_query_fields),
};

static const struct field get_secure_boot_certificates_summary_query_fields[] = {
    {.name = "scope", .kind = FIELD_STR, .offset = offsetof(struct get_secure_boot_certificates_summary_query, scope), .max = 200, .match = match_arm_scope},
};
const struct schema get_secure_boot_certificates_summary_query_schema = {
    .name = "get_secure_boot_certificates_summary_query", .size = sizeof(struct get_secure_boot_certificates_summary_query),
    .fields = get_secure_boot_certificates_summary_query_fields, .n_fields = ARRAY_LEN(get_secure_boot_certificates_summary_query_fields),
};

static const struct field challenge_request_fields[] = {
    {.name = "vmId", .kind = FIELD_STR, .required = true, .offset = offsetof(struct challenge_request, vm_id), .match = match_uuid},
};
const struct schema challenge_request_schema = {
    .name = "ChallengeRequest", .size = sizeof(struct challenge_request),
    .fields = challenge_request_fields, .n_fields = ARRAY_LEN(challenge_request_fields),
};

static const struct field activation_request_fields[] = {
    {.name = "vmId", .kind = FIELD_STR, .required = true, .offset = offsetof(struct activation_request, vm_id), .match = match_uuid},
    {.name = "ekCertificate", .kind = FIELD_STR, .required = true, .offset = offsetof(struct activation_request, ek_certificate), .max = 10924},
    {.name = "ekChain", .kind = FIELD_STR_LIST, .offset = offsetof(struct activation_request, ek_chain), .max = 6, .item_max = 10924},
    {.name = "akPublic", .kind = FIELD_STR, .required = true, .offset = offsetof(struct activation_request, ak_public), .max = 5464},
};
const struct schema activation_request_schema = {
    .name = "ActivationRequest", .size = sizeof(struct activation_request),
    .fields = activation_request_fields, .n_fields = ARRAY_LEN(activation_request_fields),
};

static const struct field get_report_query_fields[] = {
    {.name = "explain", .kind = FIELD_BOOL, .offset = offsetof(struct get_report_query, explain), .has_dflt = true},
};
const struct schema get_report_query_schema = {
    .name = "get_report_query", .size = sizeof(struct get_report_query),
    .fields = get_report_query_fields, .n_fields = ARRAY_LEN(get_report_query_fields),
};

static const struct field list_attestation_policies_query_fields[] = {
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct list_attestation_policies_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct list_attestation_policies_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema list_attestation_policies_query_schema = {
    .name = "list_attestation_policies_query", .size = sizeof(struct list_attestation_policies_query),
    .fields = list_attestation_policies_query_fields, .n_fields = ARRAY_LEN(list_attestation_policies_query_fields),
};

static const struct field get_attestation_policy_query_fields[] = {
    {.name = "version", .kind = FIELD_INT, .offset = offsetof(struct get_attestation_policy_query, version), .min = 1, .max = INT64_MAX},
};
const struct schema get_attestation_policy_query_schema = {
    .name = "get_attestation_policy_query", .size = sizeof(struct get_attestation_policy_query),
    .fields = get_attestation_policy_query_fields, .n_fields = ARRAY_LEN(get_attestation_policy_query_fields),
};

static const struct field attestation_signers_fields[] = {
    {.name = "required", .kind = FIELD_STR_LIST, .offset = offsetof(struct attestation_signers, required), .max = 32, .item_min = 1, .item_max = 256},
    {.name = "allowed", .kind = FIELD_STR_LIST, .offset = offsetof(struct attestation_signers, allowed), .max = 256, .item_min = 1, .item_max = 256},
    {.name = "forbidden", .kind = FIELD_STR_LIST, .offset = offsetof(struct attestation_signers, forbidden), .max = 256, .item_min = 1, .item_max = 256},
};
const struct schema attestation_signers_schema = {
    .name = "AttestationSigners", .size = sizeof(struct attestation_signers),
    .fields = attestation_signers_fields, .n_fields = ARRAY_LEN(attestation_signers_fields),
};

static const struct field attestation_sbat_fields[] = {
    {.name = "component", .kind = FIELD_STR, .required = true, .offset = offsetof(struct attestation_sbat, component), .min = 1, .max = 64},
    {.name = "generation", .kind = FIELD_INT, .required = true, .offset = offsetof(struct attestation_sbat, generation), .min = 1, .max = 65535},
};
const struct schema attestation_sbat_schema = {
    .name = "AttestationSbat", .size = sizeof(struct attestation_sbat),
    .fields = attestation_sbat_fields, .n_fields = ARRAY_LEN(attestation_sbat_fields),
};

static const struct field attestation_revocation_fields[] = {
    {.name = "name", .kind = FIELD_STR, .required = true, .offset = offsetof(struct attestation_revocation, name), .min = 1, .max = 64},
    {.name = "hashes", .kind = FIELD_STR_LIST, .offset = offsetof(struct attestation_revocation, hashes), .max = 2048, .item_min = 1, .item_max = 64},
    {.name = "certificates", .kind = FIELD_STR_LIST, .offset = offsetof(struct attestation_revocation, certificates), .max = 64, .item_min = 1, .item_max = 64},
    {.name = "mustBeInDbx", .kind = FIELD_BOOL, .offset = offsetof(struct attestation_revocation, must_be_in_dbx), .has_dflt = true},
    {.name = "mustNotBoot", .kind = FIELD_BOOL, .offset = offsetof(struct attestation_revocation, must_not_boot), .has_dflt = true, .dflt_int = 1},
};
const struct schema attestation_revocation_schema = {
    .name = "AttestationRevocation", .size = sizeof(struct attestation_revocation),
    .fields = attestation_revocation_fields, .n_fields = ARRAY_LEN(attestation_revocation_fields),
};

static const struct field attestation_golden_pcrs_fields[] = {
    {.name = "name", .kind = FIELD_STR, .required = true, .offset = offsetof(struct attestation_golden_pcrs, name), .min = 1, .max = 64},
    {.name = "image", .kind = FIELD_STR, .offset = offsetof(struct attestation_golden_pcrs, image), .min = 1, .max = 600},
    {.name = "bank", .kind = FIELD_STR, .offset = offsetof(struct attestation_golden_pcrs, bank), .allowed = (const char *const[]){"sha256", "sha384", NULL}, .dflt_str = "sha256"},
    {.name = "pcrs", .kind = FIELD_STR_MAP, .required = true, .offset = offsetof(struct attestation_golden_pcrs, pcrs), .max = 24, .item_max = 128},
};
const struct schema attestation_golden_pcrs_schema = {
    .name = "AttestationGoldenPcrs", .size = sizeof(struct attestation_golden_pcrs),
    .fields = attestation_golden_pcrs_fields, .n_fields = ARRAY_LEN(attestation_golden_pcrs_fields),
};

static const struct field attestation_allowed_events_fields[] = {
    {.name = "image", .kind = FIELD_STR, .offset = offsetof(struct attestation_allowed_events, image), .min = 1, .max = 600},
    {.name = "pcr", .kind = FIELD_INT, .required = true, .offset = offsetof(struct attestation_allowed_events, pcr), .max = 23},
    {.name = "digests", .kind = FIELD_STR_LIST, .required = true, .offset = offsetof(struct attestation_allowed_events, digests), .min = 1, .max = 512, .item_min = 1, .item_max = 128},
};
const struct schema attestation_allowed_events_schema = {
    .name = "AttestationAllowedEvents", .size = sizeof(struct attestation_allowed_events),
    .fields = attestation_allowed_events_fields, .n_fields = ARRAY_LEN(attestation_allowed_events_fields),
};

static const struct field attestation_known_image_fields[] = {
    {.name = "name", .kind = FIELD_STR, .required = true, .offset = offsetof(struct attestation_known_image, name), .min = 1, .max = 64},
    {.name = "digest", .kind = FIELD_STR, .required = true, .offset = offsetof(struct attestation_known_image, digest), .min = 1, .max = 128},
};
const struct schema attestation_known_image_schema = {
    .name = "AttestationKnownImage", .size = sizeof(struct attestation_known_image),
    .fields = attestation_known_image_fields, .n_fields = ARRAY_LEN(attestation_known_image_fields),
};

static const struct field attestation_rules_fields[] = {
    {.name = "requireSecureBoot", .kind = FIELD_TRI, .offset = offsetof(struct attestation_rules, require_secure_boot)},
    {.name = "allowQuoteOnly", .kind = FIELD_TRI, .offset = offsetof(struct attestation_rules, allow_quote_only)},
    {.name = "maxAge", .kind = FIELD_STR, .offset = offsetof(struct attestation_rules, max_age), .min = 1, .max = 32},
    {.name = "profiles", .kind = FIELD_STR_LIST, .offset = offsetof(struct attestation_rules, profiles), .max = 3, .unique = true, .allowed = (const char *const[]){"azureTrustedLaunch", "confidentialVm", "tpm", NULL}},
    {.name = "forbiddenStates", .kind = FIELD_STR_LIST, .offset = offsetof(struct attestation_rules, forbidden_states), .max = 16, .unique = true, .allowed = (const char *const[]){"uefiDebugMode", "dmaProtectionDisabled", "bootDebugging", "kernelDebugging", "hypervisorDebugging", "testSigning", "flightSigning", "safeMode", "winPE", "codeIntegrityDisabled", NULL}},
    {.name = "signers", .kind = FIELD_OBJ, .offset = offsetof(struct attestation_rules, signers), .object = &attestation_signers_schema},
    {.name = "sbat", .kind = FIELD_OBJ_LIST, .offset = offsetof(struct attestation_rules, sbat), .max = 64, .object = &attestation_sbat_schema},
    {.name = "sbatLevel", .kind = FIELD_STR, .offset = offsetof(struct attestation_rules, sbat_level), .min = 1, .max = 16},
    {.name = "revocations", .kind = FIELD_OBJ_LIST, .offset = offsetof(struct attestation_rules, revocations), .max = 8, .object = &attestation_revocation_schema},
    {.name = "goldenPcrs", .kind = FIELD_OBJ_LIST, .offset = offsetof(struct attestation_rules, golden_pcrs), .max = 64, .object = &attestation_golden_pcrs_schema},
    {.name = "allowedEvents", .kind = FIELD_OBJ_LIST, .offset = offsetof(struct attestation_rules, allowed_events), .max = 32, .object = &attestation_allowed_events_schema},
    {.name = "kernelCommandLines", .kind = FIELD_STR_LIST, .offset = offsetof(struct attestation_rules, kernel_command_lines), .max = 32, .item_min = 1, .item_max = 1024},
    {.name = "firmware", .kind = FIELD_STR_LIST, .offset = offsetof(struct attestation_rules, firmware), .max = 64, .item_min = 1, .item_max = 128},
    {.name = "baseline", .kind = FIELD_STR, .offset = offsetof(struct attestation_rules, baseline), .allowed = (const char *const[]){"off", "warn", "enforce", NULL}, .dflt_str = "off"},
    {.name = "knownImages", .kind = FIELD_OBJ_LIST, .offset = offsetof(struct attestation_rules, known_images), .max = 256, .object = &attestation_known_image_schema},
};
const struct schema attestation_rules_schema = {
    .name = "AttestationRules", .size = sizeof(struct attestation_rules),
    .fields = attestation_rules_fields, .n_fields = ARRAY_LEN(attestation_rules_fields),
};

static const struct field attestation_policy_spec_fields[] = {
    {.name = "description", .kind = FIELD_STR, .offset = offsetof(struct attestation_policy_spec, description), .min = 1, .max = 512},
    {.name = "scopes", .kind = FIELD_STR_LIST, .required = true, .offset = offsetof(struct attestation_policy_spec, scopes), .max = 256, .item_min = 1, .item_max = 600, .match = match_policy_scope},
    {.name = "rules", .kind = FIELD_OBJ, .required = true, .offset = offsetof(struct attestation_policy_spec, rules), .object = &attestation_rules_schema},
};
const struct schema attestation_policy_spec_schema = {
    .name = "AttestationPolicySpec", .size = sizeof(struct attestation_policy_spec),
    .fields = attestation_policy_spec_fields, .n_fields = ARRAY_LEN(attestation_policy_spec_fields),
};

static const struct field put_attestation_policy_query_fields[] = {
    {.name = "dryRun", .kind = FIELD_BOOL, .offset = offsetof(struct put_attestation_policy_query, dry_run), .has_dflt = true},
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct put_attestation_policy_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct put_attestation_policy_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema put_attestation_policy_query_schema = {
    .name = "put_attestation_policy_query", .size = sizeof(struct put_attestation_policy_query),
    .fields = put_attestation_policy_query_fields, .n_fields = ARRAY_LEN(put_attestation_policy_query_fields),
};

static const struct field list_attestation_policy_versions_query_fields[] = {
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct list_attestation_policy_versions_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct list_attestation_policy_versions_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema list_attestation_policy_versions_query_schema = {
    .name = "list_attestation_policy_versions_query", .size = sizeof(struct list_attestation_policy_versions_query),
    .fields = list_attestation_policy_versions_query_fields, .n_fields = ARRAY_LEN(list_attestation_policy_versions_query_fields),
};

static const struct field evaluate_attestation_policy_query_fields[] = {
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct evaluate_attestation_policy_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct evaluate_attestation_policy_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema evaluate_attestation_policy_query_schema = {
    .name = "evaluate_attestation_policy_query", .size = sizeof(struct evaluate_attestation_policy_query),
    .fields = evaluate_attestation_policy_query_fields, .n_fields = ARRAY_LEN(evaluate_attestation_policy_query_fields),
};

static const struct field list_baselines_query_fields[] = {
    {.name = "image", .kind = FIELD_STR, .offset = offsetof(struct list_baselines_query, image), .min = 1, .max = 600, .match = match_image_name},
    {.name = "state", .kind = FIELD_STR, .offset = offsetof(struct list_baselines_query, state), .allowed = (const char *const[]){"learning", "proposed", "confirmed", NULL}},
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct list_baselines_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct list_baselines_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema list_baselines_query_schema = {
    .name = "list_baselines_query", .size = sizeof(struct list_baselines_query),
    .fields = list_baselines_query_fields, .n_fields = ARRAY_LEN(list_baselines_query_fields),
};

static const struct field baseline_confirmation_fields[] = {
    {.name = "sets", .kind = FIELD_STR_LIST, .offset = offsetof(struct baseline_confirmation, sets), .min = 1, .max = 16, .unique = true, .item_min = 64, .item_max = 64, .match = match_sha256_hex},
};
const struct schema baseline_confirmation_schema = {
    .name = "BaselineConfirmation", .size = sizeof(struct baseline_confirmation),
    .fields = baseline_confirmation_fields, .n_fields = ARRAY_LEN(baseline_confirmation_fields),
};

static const struct field baseline_acceptance_fields[] = {
    {.name = "reportId", .kind = FIELD_STR, .required = true, .offset = offsetof(struct baseline_acceptance, report_id), .max = 64, .match = match_id},
};
const struct schema baseline_acceptance_schema = {
    .name = "BaselineAcceptance", .size = sizeof(struct baseline_acceptance),
    .fields = baseline_acceptance_fields, .n_fields = ARRAY_LEN(baseline_acceptance_fields),
};

static const struct field list_jobs_query_fields[] = {
    {.name = "state", .kind = FIELD_STR, .offset = offsetof(struct list_jobs_query, state), .allowed = (const char *const[]){"queued", "running", "waiting", "canceling", "succeeded", "failed", "canceled", NULL}},
    {.name = "kind", .kind = FIELD_STR, .offset = offsetof(struct list_jobs_query, kind), .min = 1, .max = 64, .match = match_job_kind},
    {.name = "resourceId", .kind = FIELD_STR, .offset = offsetof(struct list_jobs_query, resource_id), .max = 600, .match = match_resource_id},
    {.name = "scope", .kind = FIELD_STR, .offset = offsetof(struct list_jobs_query, scope), .max = 200, .match = match_arm_scope},
    {.name = "top", .kind = FIELD_INT, .offset = offsetof(struct list_jobs_query, top), .min = 1, .max = 200, .dflt_int = 50, .has_dflt = true},
    {.name = "cursor", .kind = FIELD_STR, .offset = offsetof(struct list_jobs_query, cursor), .min = 1, .max = 1024, .match = match_cursor},
};
const struct schema list_jobs_query_schema = {
    .name = "list_jobs_query", .size = sizeof(struct list_jobs_query),
    .fields = list_jobs_query_fields, .n_fields = ARRAY_LEN(list_jobs_query_fields),
};
