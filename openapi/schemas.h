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

struct get_report_query {
    bool explain;
};
extern const struct schema get_report_query_schema;

struct list_jobs_query {
    const char *state;
    const char *kind;
    const char *resource_id;
    int64_t top;
    const char *cursor;
};
extern const struct schema list_jobs_query_schema;

#endif
