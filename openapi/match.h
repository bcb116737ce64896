/*
 * The predicates behind `format` in openapi.yaml: match_x says in a few words why a text is not an
 * x, or returns NULL where it is. Lengths are checked by the schema before. Pure; any thread.
 */
#ifndef OPENAPI_MATCH_H
#define OPENAPI_MATCH_H

const char *match_uuid(const char *s);
const char *match_id(const char *s);
const char *match_resource_group_name(const char *s);
const char *match_vm_name(const char *s);
const char *match_arm_name(const char *s);
const char *match_location(const char *s);
const char *match_vm_size(const char *s);
const char *match_image_part(const char *s);
const char *match_gallery_image_version_id(const char *s);
const char *match_subnet_id(const char *s);
const char *match_resource_id(const char *s);
const char *match_arm_scope(const char *s);
const char *match_policy_scope(const char *s);
const char *match_image_name(const char *s);
const char *match_cidr(const char *s);
const char *match_network_source(const char *s);
const char *match_admin_username(const char *s);
const char *match_ssh_public_key(const char *s);
const char *match_tag_name(const char *s);
const char *match_duration(const char *s);
const char *match_sha256_hex(const char *s);
const char *match_cursor(const char *s);
const char *match_idempotency_key(const char *s);
const char *match_problem_code(const char *s);
const char *match_job_kind(const char *s);

#endif
