#include "handlers/problem.h"

/* Where the one who found the error says nothing better. */
static const char *const remedies[ERR_COUNT] = {
    [ERR_BAD_REQUEST] = "Correct the request; `detail` says where it breaks off.",
    [ERR_VALIDATION] = "Correct what `errors` names; /openapi.json has the schema.",
    [ERR_EVIDENCE_MALFORMED] =
        "Send the structures as the TPM and the firmware gave them; the challenge is still good.",
    [ERR_CHALLENGE_INVALID] = "Ask for a new challenge and quote again.",
    [ERR_UNAUTHENTICATED] =
        "Send `Authorization: Bearer` with a valid API key (tlgate key create).",
    [ERR_FORBIDDEN] = "Use a key whose role and scope cover the call.",
    [ERR_NOT_ENROLLED] = "Make an enrolment token for the VM and give it to its agent.",
    [ERR_NOT_FOUND] = "Check the path, and that the key's scope covers it.",
    [ERR_METHOD_NOT_ALLOWED] = "Use a method of `Allow`.",
    [ERR_NOT_ACCEPTABLE] = "Accept application/json and application/problem+json.",
    [ERR_OPERATION_IN_PROGRESS] = "Wait for the job in `jobId`, or cancel it, and repeat the call.",
    [ERR_IDEMPOTENCY_IN_FLIGHT] = "Repeat the call in a moment.",
    [ERR_PLAN_STALE] = "Make a new dry run, look at it, and send its planDigest.",
    [ERR_NOT_MANAGED] = "Choose another name.",
    [ERR_RESTART_REQUIRED] =
        "Repeat the call with `confirmRestart: true` if the restart is wanted.",
    [ERR_CHALLENGE_EXPIRED] = "Ask for a new challenge and quote again.",
    [ERR_CHALLENGE_USED] = "Ask for a new challenge and quote again.",
    [ERR_CHALLENGE_MISMATCH] = "Ask for a challenge for this vmId and quote again.",
    [ERR_ACTIVATION_USED] = "Ask for a new activation.",
    [ERR_AK_MISMATCH] = "Read bootIntegrity again and decide about the key that waits now.",
    [ERR_EVENT_LOG_REQUIRED] = "Repeat the report with `eventLog`; the challenge is still good.",
    [ERR_INVALID_STATE] = "Read the resource again; `detail` says what state it is in.",
    [ERR_PRECONDITION_FAILED] =
        "Read the resource again, and repeat the call with its ETag if it is still wanted.",
    [ERR_BODY_TOO_LARGE] = "Send less; /openapi.json has the limit of each operation (x-max-body).",
    [ERR_URI_TOO_LONG] = "Shorten the request target.",
    [ERR_UNSUPPORTED_MEDIA_TYPE] =
        "Send a Content-Type that the operation takes, without Content-Encoding.",
    [ERR_IDEMPOTENCY_KEY_REUSED] = "Use a new Idempotency-Key for a new request.",
    [ERR_PREFLIGHT_FAILED] = "Each of `findings` says what to do.",
    [ERR_RATE_LIMITED] = "Repeat the call after `Retry-After`.",
    [ERR_HEADERS_TOO_LARGE] = "Send fewer or shorter header fields.",
    [ERR_INTERNAL] = "Report it to the gateway's operator with `requestId`.",
    [ERR_UPSTREAM] = "Repeat the call later.",
    [ERR_UPSTREAM_FORBIDDEN] = "Have the gateway's identity granted what `upstream` names.",
    [ERR_UPSTREAM_REJECTED] = "Change the request as Azure's answer in `detail` asks.",
    [ERR_UPSTREAM_THROTTLED] = "Repeat the call after `Retry-After`.",
    [ERR_UPSTREAM_CONFLICT] = "Repeat the call later.",
    [ERR_UNAVAILABLE] = "Repeat the call after `Retry-After`.",
    [ERR_UPSTREAM_TIMEOUT] = "Repeat the call; if it lasts, see whether the gateway reaches Azure.",
    [ERR_LEASE_LOST] = "Nothing: the job goes on by itself.",
    [ERR_RESOURCE_FOREIGN] = "Choose another name, or remove or rename that resource.",
    [ERR_ATTESTATION_FAILED] = "Read the VM's bootIntegrity?explain=true.",
    [ERR_ATTESTATION_TIMEOUT] = "See whether tlgate-agent runs in the VM, then retry the job.",
    [ERR_DEADLINE_EXCEEDED] = "Retry the job, or look at the step that waited.",
    [ERR_CANCELED] = "Make the request again, with another Idempotency-Key.",
    [ERR_CONFIG] = "Run tlgate check-config.",
};

static void write_errors(struct jw *w, const struct err_info *e)
{
    unsigned n = e->n_fields < ERR_FIELDS_MAX ? e->n_fields : ERR_FIELDS_MAX;
    if (n == 0)
        return;
    jw_key(w, "errors");
    jw_open(w, '[');
    for (unsigned i = 0; i < n; i++) {
        jw_open(w, '{');
        jw_key_str(w, "pointer", e->fields[i].pointer);
        jw_key_str(w, "detail", e->fields[i].detail);
        jw_close(w, '}');
    }
    jw_close(w, ']');
}

static void write_upstream(struct jw *w, const struct err_info *e)
{
    if (!*e->upstream_code && !*e->upstream_request_id)
        return;
    jw_key(w, "upstream");
    jw_open(w, '{');
    if (*e->upstream_code)
        jw_key_str(w, "code", e->upstream_code);
    if (*e->upstream_request_id)
        jw_key_str(w, "requestId", e->upstream_request_id);
    jw_close(w, '}');
}

static void write_type(struct jw *w, const char *code)
{
    char type[80];
    snprintf(type, sizeof type, "/problems/%s", code);
    jw_key_str(w, "type", type);
}

struct jw problem_open(struct buf *out, const struct err_info *e, const char *request_id,
                       const char *trace_id)
{
    enum err code = e->code ? e->code : ERR_INTERNAL;
    buf_reset(out);
    struct jw w = jw_over(out);
    jw_open(&w, '{');
    write_type(&w, err_code(code));
    jw_key_str(&w, "title", err_title(code));
    jw_key_int(&w, "status", err_http_status(code));
    if (*e->detail)
        jw_key_str(&w, "detail", e->detail);
    jw_key_str(&w, "code", err_code(code));
    jw_key_str(&w, "requestId", request_id);
    jw_key_str(&w, "traceId", trace_id);
    write_errors(&w, e);
    jw_key_str(&w, "remedy", *e->remedy ? e->remedy : remedies[code]);
    if (*e->job_id)
        jw_key_str(&w, "jobId", e->job_id);
    write_upstream(&w, e);
    return w;
}

void problem_write(struct buf *out, const struct err_info *e, const char *request_id,
                   const char *trace_id)
{
    struct jw w = problem_open(out, e, request_id, trace_id);
    jw_close(&w, '}');
}

/* What a caller can do about it; the titles say what it is. */
static const char *const meanings[ERR_COUNT] = {
    [ERR_BAD_REQUEST] = "The request cannot be read: its JSON, its headers or its target break the "
                        "rules. Nothing was done; correct the request.",
    [ERR_VALIDATION] = "Members of the body, the query or the path are not what the contract asks "
                       "for; `errors` names every one of them with a JSON pointer (#/member of the "
                       "body, ?name of the query, {name} of the path). Nothing was done.",
    [ERR_EVIDENCE_MALFORMED] =
        "The evidence, or a TPM or certificate structure in it, is not "
        "well-formed. Evidence that is well-formed and fails is no error but "
        "a verdict. The challenge can still be used.",
    [ERR_CHALLENGE_INVALID] = "The challengeId was not made by this gateway, or by a key it no "
                              "longer has. Ask for a new challenge.",
    [ERR_UNAUTHENTICATED] = "The call needs `Authorization: Bearer` with an API key that is valid "
                            "and neither revoked nor expired.",
    [ERR_FORBIDDEN] =
        "The credential is valid, but its role or its scope does not cover this call.",
    [ERR_NOT_ENROLLED] = "The evidence is neither signed by the AK that is pinned for this VM nor "
                         "does it carry a valid enrolment token for it. Nothing was changed. An "
                         "operator can make a new token with .../enrollmentTokens.",
    [ERR_NOT_FOUND] = "There is no such resource, or it lies outside the scope of the credential.",
    [ERR_METHOD_NOT_ALLOWED] = "The resource exists and has no such method; `Allow` lists those it "
                               "has.",
    [ERR_NOT_ACCEPTABLE] = "The operation cannot answer in any media type that `Accept` allows.",
    [ERR_OPERATION_IN_PROGRESS] = "The resource is busy with the job in `jobId`. Wait for its end, "
                                  "or cancel it, and repeat the call.",
    [ERR_IDEMPOTENCY_IN_FLIGHT] = "A request with this Idempotency-Key is being handled right now. "
                                  "Repeat the call in a moment.",
    [ERR_PLAN_STALE] = "Azure or the gateway changed since the dry run, so that the call would do "
                       "something else than the plan says. Make a new dry run.",
    [ERR_NOT_MANAGED] = "A VM of that name exists, and this gateway neither made nor imported it; "
                        "it is left alone.",
    [ERR_RESTART_REQUIRED] = "The change restarts a running VM. Repeat the call with "
                             "`confirmRestart: true` if that is wanted.",
    [ERR_CHALLENGE_EXPIRED] = "The challenge is past its `expiresAt`, or a later quote came first. "
                              "Ask for a new one and quote again.",
    [ERR_CHALLENGE_USED] = "The challenge belongs to a report that was accepted. Each challenge is "
                           "good for one.",
    [ERR_CHALLENGE_MISMATCH] = "The challenge was made for another vmId.",
    [ERR_ACTIVATION_USED] = "The activated credential has enrolled an attestation key before. Ask "
                            "for a new activation.",
    [ERR_AK_MISMATCH] = "Another attestation key than the named one waits to be accepted. Read "
                        "bootIntegrity again and decide about that one.",
    [ERR_EVENT_LOG_REQUIRED] = "The gateway does not hold the event log with that digest. Repeat "
                               "the report with `eventLog`; the challenge can still be used.",
    [ERR_INVALID_STATE] = "The resource is in a state in which this call has no meaning, for "
                          "example to retry a job that did not fail.",
    [ERR_PRECONDITION_FAILED] = "The resource changed since the state that the call names.",
    [ERR_BODY_TOO_LARGE] = "The body is longer than this operation takes; it was not read.",
    [ERR_URI_TOO_LONG] = "The request target is too long.",
    [ERR_UNSUPPORTED_MEDIA_TYPE] = "The operation does not take a body of that Content-Type or "
                                   "Content-Encoding.",
    [ERR_IDEMPOTENCY_KEY_REUSED] = "The Idempotency-Key was used before with another request. Use "
                                   "a new key for a new request.",
    [ERR_PREFLIGHT_FAILED] = "Azure would refuse what the body asks for; `findings` says why and "
                             "what to do. Nothing was written to Azure.",
    [ERR_RATE_LIMITED] = "Too many calls from this address or for this VM. `Retry-After` says when "
                         "the next one is taken.",
    [ERR_HEADERS_TOO_LARGE] = "The header fields are too many or too long.",
    [ERR_INTERNAL] = "A defect of the gateway. The log has more under `requestId`.",
    [ERR_UPSTREAM] = "Azure answered with an error of its own; repeat the call later.",
    [ERR_UPSTREAM_FORBIDDEN] = "Azure does not allow the gateway's identity what the call needs; "
                               "`upstream` has Azure's code. An operator must grant it.",
    [ERR_UPSTREAM_REJECTED] = "Azure does not accept what the gateway asked on behalf of this "
                              "call; `upstream` has its code.",
    [ERR_UPSTREAM_THROTTLED] = "Azure throttles the gateway; repeat the call after `Retry-After`.",
    [ERR_UPSTREAM_CONFLICT] = "Azure is busy with the resource; repeat the call later.",
    [ERR_UNAVAILABLE] = "The gateway is starting, stopping, or cannot write to its store. Repeat "
                        "the call after `Retry-After`.",
    [ERR_UPSTREAM_TIMEOUT] = "Azure did not answer in the time that this call may take.",
    [ERR_LEASE_LOST] = "Another worker took the job over. Jobs resume by themselves.",
    [ERR_RESOURCE_FOREIGN] = "A resource with a name that the job needs exists and was not made by "
                             "it; the gateway does not take over what is someone else's.",
    [ERR_ATTESTATION_FAILED] = "Of a job: the VM's evidence came and is not trusted. The VM is "
                               "kept; its boot integrity says what failed.",
    [ERR_ATTESTATION_TIMEOUT] = "Of a job: no trusted report came in `attestationTimeout`. The VM "
                                "is kept.",
    [ERR_DEADLINE_EXCEEDED] = "Of a job: it did not end before its deadline.",
    [ERR_CANCELED] = "Of a job: it was canceled.",
    [ERR_CONFIG] = "The gateway's configuration is invalid.",
};

const char *problem_meaning(enum err code)
{
    return code > OK && code < ERR_COUNT ? meanings[code] : NULL;
}
