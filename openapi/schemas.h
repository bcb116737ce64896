/* Written by openapi/generate.py from openapi.yaml; changes go there. */
#ifndef OPENAPI_SCHEMAS_H
#define OPENAPI_SCHEMAS_H

#include "core/json.h"

struct list_subscription_virtual_machines_query {
    int64_t top;
    const char *cursor;
};
extern const struct schema list_subscription_virtual_machines_query_schema;

struct list_virtual_machines_query {
    int64_t top;
    const char *cursor;
};
extern const struct schema list_virtual_machines_query_schema;

struct vm_image {
    const char *publisher;
    const char *offer;
    const char *sku;
    const char *version;
    const char *gallery_image_version_id;
};
extern const struct schema vm_image_schema;

struct vm_trusted_launch {
    bool secure_boot;
    bool vtpm;
    bool integrity_monitoring;
};
extern const struct schema vm_trusted_launch_schema;

struct vm_admin {
    const char *username;
    struct secret password;
    struct str_list ssh_public_keys;
};
extern const struct schema vm_admin_schema;

struct vm_virtual_network {
    const char *name;
    const char *address_prefix;
};
extern const struct schema vm_virtual_network_schema;

struct vm_network {
    const char *subnet_id;
    const struct vm_virtual_network *virtual_network;
    bool public_ip;
};
extern const struct schema vm_network_schema;

struct vm_spec {
    const char *location;
    const char *size;
    const char *os_type;
    const struct vm_image *image;
    const char *security_type;
    const struct vm_trusted_launch *trusted_launch;
    const struct vm_admin *admin;
    struct int_list inbound_ports;
    const char *inbound_source;
    const struct vm_network *network;
    bool create_resource_group;
    bool wait_for_attestation;
    const char *attestation_timeout;
    struct str_map tags;
};
extern const struct schema vm_spec_schema;

struct put_virtual_machine_query {
    bool dry_run;
    const char *plan;
};
extern const struct schema put_virtual_machine_query_schema;

struct delete_virtual_machine_query {
    bool dry_run;
    const char *plan;
};
extern const struct schema delete_virtual_machine_query_schema;

struct get_boot_integrity_query {
    bool explain;
};
extern const struct schema get_boot_integrity_query_schema;

struct list_boot_integrity_history_query {
    int64_t top;
    const char *cursor;
};
extern const struct schema list_boot_integrity_history_query_schema;

struct requalify_request {
    const char *decision;
    const char *ak_spki;
    const char *reason;
};
extern const struct schema requalify_request_schema;

struct list_boot_integrity_query {
    const char *status;
    const char *vm_id;
    const char *scope;
    int64_t top;
    const char *cursor;
};
extern const struct schema list_boot_integrity_query_schema;

struct get_boot_integrity_summary_query {
    const char *scope;
};
extern const struct schema get_boot_integrity_summary_query_schema;

struct list_secure_boot_certificates_query {
    const char *state;
    const char *scope;
    int64_t top;
    const char *cursor;
};
extern const struct schema list_secure_boot_certificates_query_schema;

struct get_secure_boot_certificates_summary_query {
    const char *scope;
};
extern const struct schema get_secure_boot_certificates_summary_query_schema;

struct challenge_request {
    const char *vm_id;
};
extern const struct schema challenge_request_schema;

struct activation_request {
    const char *vm_id;
    const char *ek_certificate;
    struct str_list ek_chain;
    const char *ak_public;
};
extern const struct schema activation_request_schema;

struct get_report_query {
    bool explain;
};
extern const struct schema get_report_query_schema;

struct list_attestation_policies_query {
    int64_t top;
    const char *cursor;
};
extern const struct schema list_attestation_policies_query_schema;

struct get_attestation_policy_query {
    int64_t version;
};
extern const struct schema get_attestation_policy_query_schema;

struct attestation_signers {
    struct str_list required;
    struct str_list allowed;
    struct str_list forbidden;
};
extern const struct schema attestation_signers_schema;

struct attestation_sbat {
    const char *component;
    int64_t generation;
};
extern const struct schema attestation_sbat_schema;

struct attestation_revocation {
    const char *name;
    struct str_list hashes;
    struct str_list certificates;
    bool must_be_in_dbx;
    bool must_not_boot;
};
extern const struct schema attestation_revocation_schema;

struct attestation_golden_pcrs {
    const char *name;
    const char *image;
    const char *bank;
    struct str_map pcrs;
};
extern const struct schema attestation_golden_pcrs_schema;

struct attestation_allowed_events {
    const char *image;
    int64_t pcr;
    struct str_list digests;
};
extern const struct schema attestation_allowed_events_schema;

struct attestation_known_image {
    const char *name;
    const char *digest;
};
extern const struct schema attestation_known_image_schema;

struct attestation_rules {
    enum tri require_secure_boot;
    enum tri allow_quote_only;
    const char *max_age;
    struct str_list profiles;
    struct str_list forbidden_states;
    const struct attestation_signers *signers;
    struct obj_list sbat; /* of struct attestation_sbat */
    const char *sbat_level;
    struct obj_list revocations; /* of struct attestation_revocation */
    struct obj_list golden_pcrs; /* of struct attestation_golden_pcrs */
    struct obj_list allowed_events; /* of struct attestation_allowed_events */
    struct str_list kernel_command_lines;
    struct str_list firmware;
    const char *baseline;
    struct obj_list known_images; /* of struct attestation_known_image */
};
extern const struct schema attestation_rules_schema;

struct attestation_policy_spec {
    const char *description;
    struct str_list scopes;
    const struct attestation_rules *rules;
};
extern const struct schema attestation_policy_spec_schema;

struct put_attestation_policy_query {
    bool dry_run;
    int64_t top;
    const char *cursor;
};
extern const struct schema put_attestation_policy_query_schema;

struct list_attestation_policy_versions_query {
    int64_t top;
    const char *cursor;
};
extern const struct schema list_attestation_policy_versions_query_schema;

struct evaluate_attestation_policy_query {
    int64_t top;
    const char *cursor;
};
extern const struct schema evaluate_attestation_policy_query_schema;

struct list_baselines_query {
    const char *image;
    const char *state;
    int64_t top;
    const char *cursor;
};
extern const struct schema list_baselines_query_schema;

struct baseline_confirmation {
    struct str_list sets;
};
extern const struct schema baseline_confirmation_schema;

struct baseline_acceptance {
    const char *report_id;
};
extern const struct schema baseline_acceptance_schema;

struct list_jobs_query {
    const char *state;
    const char *kind;
    const char *resource_id;
    const char *scope;
    int64_t top;
    const char *cursor;
};
extern const struct schema list_jobs_query_schema;

#endif
