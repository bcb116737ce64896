#include "attest/rules.h"

/*
 * Which PCRs say the same for every VM of an image, and why the others do not (TCG PC Client PFP 1.05,
 * 3.3.4; Linux TPM PCR registry). NULL: it belongs to the baseline.
 */
static const char *const why_not[EVIDENCE_PCRS] = {
    [0] = NULL, /* firmware: the host's, of one generation for all */
    [1] = "the boot order and boot entries of the VM",
    [2] = NULL, /* drivers of the devices */
    [3] = "settings of the devices",
    [4] = NULL, /* boot manager and loaders */
    [5] = "the disk's partition table with its GUIDs, and attempts to boot",
    [6] = "the platform's own: serial numbers, power state, wake-up",
    [7] = NULL, /* Secure Boot: state, keys, and who vouched for what was loaded */
    [8] = "GRUB's commands and the command line, which name the VM's own disk",
    [9] = "files that GRUB reads: grubenv and an initrd that the VM made itself",
    [10] = "IMA: what the running system opened",
    [11] = "phases of the running system, or BitLocker's locks",
    [12] = "settings and counters of the operating system's boot",
    [13] = "modules and extensions of the operating system as installed",
    [14] = NULL, /* shim's MOK lists */
    [15] = "identities of the running system",
    [16] = "debug: anybody may reset it",
    [17] = "a dynamic launch",
    [18] = "a dynamic launch",
    [19] = "a dynamic launch",
    [20] = "a dynamic launch",
    [21] = "a dynamic launch",
    [22] = "a dynamic launch",
    [23] = "applications: anybody may reset it",
};

uint32_t attest_baseline_pcrs(void)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++)
        if (!why_not[i])
            mask |= 1u << i;
    return mask;
}

uint32_t attest_baseline_least(void)
{
    return 1u << 0 | 1u << 2 | 1u << 4 | 1u << 7;
}

const char *attest_baseline_why_not(unsigned pcr)
{
    return pcr < EVIDENCE_PCRS ? why_not[pcr] : "no PCR";
}
