#include "core/attr.h"
#include "jobs/workflow.h"

#include <string.h>
#include <strings.h>

/* What ARM says when Trusted Launch is impossible, and what to do about it. The texts are the only
 * thing that tells these cases apart: their code is BadRequest or OperationNotAllowed for all. */
static const struct known {
    const char *code; /* ARM's error.code; NULL: any */
    const char *text; /* part of the message; NULL: any */
    enum err err;
    const char *reason; /* code of the job's error */
    const char *detail;
    const char *remedy;
} known[] = {
    {NULL, "TrustedLaunch setting is not supported for the provided image", ERR_UPSTREAM_REJECTED,
     "image_not_trusted_launch", "the image does not support Trusted Launch",
     "Choose a generation 2 image whose SecurityType feature names TrustedLaunch, or ask for "
     "securityType Standard."},
    {NULL, "with 'TrustedLaunch' security type. For more information", ERR_UPSTREAM_REJECTED,
     "size_not_trusted_launch", "the VM size does not support Trusted Launch",
     "Choose a size with generation 2 support and without TrustedLaunchDisabled."},
    {NULL, "only supports creation of VMs and VM Scale Sets with 'TrustedLaunch'",
     ERR_UPSTREAM_REJECTED, "image_requires_trusted_launch",
     "the image makes Trusted Launch VMs only", "Remove securityType Standard."},
    {NULL, "Creation of managed images are not supported for virtual machine with TrustedLaunch",
     ERR_UPSTREAM_REJECTED, "managed_image_not_supported",
     "a Trusted Launch VM cannot become a managed image", "Capture it into a compute gallery."},
    {NULL, "The security type 'TrustedLaunchSupported' is not supported for the source id",
     ERR_UPSTREAM_REJECTED, "source_not_supported",
     "this source cannot become a TrustedLaunchSupported image",
     "Use a VHD, a managed image or a gallery version as the source, or the type TrustedLaunch."},
    {"ArtifactNotFound", "type 'GuestAttestation' could not be found", ERR_UPSTREAM_REJECTED,
     "extension_not_available", "the GuestAttestation extension does not exist in this region",
     "Set trustedLaunch.integrityMonitoring to false; the gateway's own attestation still works."},
    /* Behind a network security group or a proxy that keeps it from Azure Attestation (documented). */
    {"VMExtensionProvisioningError", NULL, ERR_UPSTREAM_REJECTED, "extension_failed",
     "the GuestAttestation extension failed in the VM",
     "Let the subnet reach the service tag AzureAttestation on 443, or set "
     "trustedLaunch.integrityMonitoring to false."},
    {"VMExtensionProvisioningTimeout", NULL, ERR_UPSTREAM_REJECTED, "extension_failed",
     "the GuestAttestation extension did not come to an end in the VM",
     "Let the subnet reach the service tag AzureAttestation on 443, or set "
     "trustedLaunch.integrityMonitoring to false."},
    {"OSProvisioningTimedOut", NULL, ERR_UPSTREAM_REJECTED, "os_provisioning_failed",
     "the guest did not finish its first boot in Azure's time",
     "Retry; if it fails again, see whether the image is generalized and boots with Secure Boot "
     "on."},
    {"OSProvisioningClientError", NULL, ERR_UPSTREAM_REJECTED, "os_provisioning_failed",
     "the guest could not be set up at its first boot",
     "See whether the image is generalized and has a provisioning agent."},
    {NULL, "virtual Trusted Platform Module (vTPM) state is locked", ERR_UPSTREAM_REJECTED,
     "vtpm_locked", "the source's vTPM state is locked",
     "To retry with the same source is of no use: repair the VM that it comes from."},
    {"InvalidParameter", "securityProfile.securityType", ERR_UPSTREAM_REJECTED,
     "standard_not_registered", "the subscription may not opt out of Trusted Launch",
     "Register the feature Microsoft.Compute/UseStandardSecurityType."},
    {"RequestDisallowedByPolicy", NULL, ERR_UPSTREAM_REJECTED, "denied_by_policy",
     "an Azure Policy of the subscription denies this",
     "Change the request to what the policy allows, or ask its owner for an exemption."},
    {"QuotaExceeded", NULL, ERR_UPSTREAM_REJECTED, "quota_exceeded",
     "the subscription's quota is used up",
     "Ask for more quota, or choose another size or region."},
    {"OperationNotAllowed", "quota", ERR_UPSTREAM_REJECTED, "quota_exceeded",
     "the subscription's quota is used up",
     "Ask for more quota, or choose another size or region."},
    {"SkuNotAvailable", NULL, ERR_UPSTREAM, "no_capacity", "the size is not available there now",
     "Try later, or choose another size, zone or region."},
    {"PublicIPCountLimitReached", NULL, ERR_UPSTREAM_REJECTED, "quota_exceeded",
     "the subscription has as many public IP addresses as it may",
     "Ask for more quota, or set network.publicIp to false."},
    {"SubnetIsFull", NULL, ERR_UPSTREAM_REJECTED, "subnet_full", "the subnet has no free address",
     "Choose another subnet, or leave network out."},
    {"InvalidResourceReference", NULL, ERR_UPSTREAM_REJECTED, "reference_not_found",
     "something that the request builds on does not exist",
     "See whether somebody removes it, then retry."},
    {"PropertyChangeNotAllowed", NULL, ERR_UPSTREAM_REJECTED, "change_not_supported",
     "Azure cannot change this of an existing resource",
     "Delete the VM and make it anew, or leave this as it is."},
    {"ZonalAllocationFailed", NULL, ERR_UPSTREAM, "no_capacity",
     "Azure has no room for the VM there now",
     "Try later, or choose another size, zone or region."},
    {"OverconstrainedAllocationRequest", NULL, ERR_UPSTREAM, "no_capacity",
     "Azure has no room for the VM there now",
     "Try later, or choose another size, zone or region."},
    {"AllocationFailed", NULL, ERR_UPSTREAM, "no_capacity",
     "Azure has no room for the VM there now",
     "Try later, or choose another size, zone or region."},
    {"ResourceGroupNotFound", NULL, ERR_UPSTREAM_REJECTED, "resource_group_not_found",
     "the resource group does not exist", "Create it, or set createResourceGroup."},
    {"MissingSubscriptionRegistration", NULL, ERR_UPSTREAM_REJECTED, "provider_not_registered",
     "the subscription does not use this resource provider",
     "Register Microsoft.Compute and Microsoft.Network in the subscription."},
    {"SubscriptionNotRegistered", NULL, ERR_UPSTREAM_REJECTED, "provider_not_registered",
     "the subscription does not use this resource provider",
     "Register Microsoft.Compute and Microsoft.Network in the subscription."},
    {"ReadOnlyDisabledSubscription", NULL, ERR_UPSTREAM_REJECTED, "subscription_disabled",
     "the subscription is disabled", "Have it enabled again, or choose another."},
    {"ScopeLocked", NULL, ERR_UPSTREAM_REJECTED, "locked", "a lock forbids this",
     "Remove the lock, or ask its owner."},
};

static bool matches(const struct known *k, const struct arm_outcome *o)
{
    return (!k->code || strcasecmp(k->code, o->code) == 0) &&
           (!k->text || strcasestr(o->message, k->text));
}

/* Of what nobody here knows: Azure's own words are in the detail. */
static const char *remedy_of(enum err err)
{
    if (err == ERR_UPSTREAM_REJECTED || err == ERR_NOT_FOUND)
        return "Correct what Azure's message names, then try again.";
    return "Try again; if it lasts, give upstream.requestId to Azure's support.";
}

enum err arm_error_read(const struct arm_outcome *o, struct err_info *e, const char **reason)
{
    struct err_info as_is = {0};
    enum err err = arm_outcome_err(o, &as_is);
    *e = as_is;
    for (size_t i = 0; err && i < ARRAY_LEN(known); i++) {
        if (!matches(&known[i], o))
            continue;
        err = err_set(e, known[i].err, "%s (%s)", known[i].detail, o->message);
        err_remedy(e, "%s", known[i].remedy);
        *reason = known[i].reason;
        memcpy(e->upstream_code, as_is.upstream_code, sizeof e->upstream_code);
        memcpy(e->upstream_request_id, as_is.upstream_request_id, sizeof e->upstream_request_id);
        e->retry_after = as_is.retry_after;
        break;
    }
    if (err && !e->remedy[0])
        err_remedy(e, "%s", remedy_of(err));
    return err;
}
