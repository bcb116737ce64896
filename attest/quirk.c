#include "attest/quirk.h"

const struct quirk_info quirks[QUIRKS] = {
    [QUIRK_EXIT_BOOT_SERVICES] =
        {CHECK_LOG_REPLAY, "exit_boot_services_not_logged", 1u << 5,
         "the PCR holds the ExitBootServices events of PFP 1.05, 10.4.4, and the log ends before "
         "them: the system took its copy of the log first",
         "go-attestation attest/eventlog_workarounds.go"},
    [QUIRK_SHIM_EXTRA_BYTE] = {CHECK_LOG_CONTENT, "shim_extra_byte", 1u << 7,
                               "an authority event under shim's GUID holds one byte more than was "
                               "measured",
                               "shim before commit 8a27a4809; go-attestation issue 157"},
    [QUIRK_SEPARATOR_DIGEST] =
        {CHECK_LOG_CONTENT, "separator_digest_of_data", 1u << 0 | 1u << 1,
         "an event whose digest is of something that the log does not hold measured four zero "
         "bytes",
         "firmware with Intel Boot Guard, FIT entry 0x2D (go-tpm-tools glinux-alex)"},
    [QUIRK_BOOT_VARIABLE_VALUE] =
        {CHECK_LOG_CONTENT, "boot_variable_value_only", 1u << 1,
         "the digest is of the variable's value, as it is right for EV_EFI_VARIABLE_BOOT only",
         "TCG EFI Platform 1.22, 7.8, kept for the types that followed"},
    [QUIRK_ACTION_TERMINATED] = {CHECK_LOG_CONTENT, "action_with_terminator", 0xff,
                                 "the text of EV_EFI_ACTION was measured with its terminator",
                                 "canonical/secboot efi/fw_load_handler.go"},
};

static bool is_told(const struct quirk_info *known, unsigned pcr, const struct attest_result *r)
{
    for (size_t i = 0; i < r->n_findings; i++)
        if (r->findings[i].reason == known->reason && r->findings[i].pcr == (int)pcr)
            return true;
    return false;
}

bool quirk_tolerate(enum quirk q, int event, unsigned pcr, struct attest_result *r)
{
    const struct quirk_info *known = &quirks[q];
    if (pcr >= EVIDENCE_PCRS || !(known->pcrs >> pcr & 1))
        return false;
    if (is_told(known, pcr, r))
        return true; /* firmware that has it once has it for each event of the kind */
    const struct attest_finding f = {.check = known->check,
                                     .status = STATUS_WARN,
                                     .reason = known->reason,
                                     .event = event,
                                     .pcr = (int)pcr,
                                     .found = known->tolerated};
    result_put(r, &f);
    return true;
}
