/*
 * vTPMs: one software TPM (swtpm) of its own for every VM that has a vTPM.
 *
 * A vTPM is manufactured when it is first asked for: fresh seeds, an attestation key where Azure
 * puts it (endorsement primary, RSA-2048 RSASSA-SHA256, restricted signing, attributes 0x00050472,
 * handle 0x81000003) and its certificate in NV 0x01C101D0, issued by the emulator's own vTPM CA
 * with Azure's subject pattern. Then it boots: a measured start (bootlog.h) is extended into every
 * active PCR bank and its event log is written to a file. AK and NV survive restarts; PCRs do not,
 * as with hardware.
 *
 * Layout of the state directory:
 *     trust/vtpm-root.pem      the root: give it to the gateway as attestation.trust_anchor
 *     trust/vtpm-ca.pem        the issuing CA. The leaf has no AIA address, as under Azure's
 *                              "Global Virtual TPM CA - 03", and the agent sends no chain, so the
 *                              gateway gets it by attestation.trust_dir = <state>/trust
 *     vtpm-ca.key              the CA's key, 0600. The root's key is forgotten once it signed the
 * CA. vtpm/<vmId>/             tpm/ (swtpm's state), eventlog.bin, boots, swtpm.pid, swtpm.log
 * Sockets lie in <state>/run, or, where that path is too long for a UNIX socket, in a directory of
 * their own under /tmp which is removed at the end.
 *
 * swtpm processes never outlive the emulator: they get SIGKILL when it dies (PR_SET_PDEATHSIG), and
 * what a pid file of an earlier run still names is stopped at the start. They are therefore all
 * started by one thread that lives as long as the host.
 *
 * Every call blocks (first ensure about half a second, reboot about 0.2 s). Thread-safe: calls for
 * the same VM follow one another, those for different VMs run side by side.
 */
#ifndef EMULATOR_VTPM_H
#define EMULATOR_VTPM_H

#include "core/clock.h"
#include "core/err.h"

#define VTPM_PATH_SIZE 4096

struct vtpm_host;

enum vtpm_os { VTPM_OS_LINUX, VTPM_OS_WINDOWS };

/* What a boot needs to know of the VM. */
struct vtpm_vm {
    const char *vm_id; /* GUID, lower case */
    bool secure_boot;
    enum vtpm_os os; /* Windows starts bootmgfw instead of shim and GRUB */
};

/* Where the running vTPM is found. */
struct vtpm_at {
    char tcti[VTPM_PATH_SIZE];      /* "swtpm:path=/.../x.sock", as TPM2TOOLS_TCTI takes it */
    char event_log[VTPM_PATH_SIZE]; /* absolute path of the present boot's log */
};

/*
 * Opens (makes, where new) the vTPM part of the absolute directory `state_dir`, which exists, and
 * starts the spawning thread. ERR_CONFIG where it cannot be used (a comma in the path, which
 * swtpm's options cannot carry) or swtpm is not installed. Call it before other threads start: it
 * quiets tpm2-tss's own log by TSS2_LOG unless that is set. The caller closes. `clock` is only read
 * and must outlive the host.
 */
enum err vtpm_host_open(const char *state_dir, const struct clock *clock, struct vtpm_host **out,
                        struct err_info *e) MUST_CHECK;
/* Stops every vTPM (vtpm_stop_all) and frees. NULL is fine; no other call may be under way. */
void vtpm_host_close(struct vtpm_host *h);

/* The VM's vTPM, manufactured and booted where it was not. A kill at any point of it is made good
 * by the next call. A running one is left as it is: a change of `secure_boot` shows at the next
 * boot. ERR_UNAVAILABLE where swtpm does not start or refuses a command. */
enum err vtpm_ensure(struct vtpm_host *h, const struct vtpm_vm *vm, struct vtpm_at *out,
                     struct err_info *e) MUST_CHECK;
/* The VM restarted: TPM reset and a new measured boot, the same AK, a higher resetCount. Where the
 * vTPM never existed or does not run, the same as vtpm_ensure. `out` may be NULL. */
enum err vtpm_reboot(struct vtpm_host *h, const struct vtpm_vm *vm, struct vtpm_at *out,
                     struct err_info *e) MUST_CHECK;
/* True where the VM's vTPM was asked for before: after a restart of the emulator these boot again,
 * for clients that hold their TCTI. */
bool vtpm_exists(struct vtpm_host *h, const char *vm_id);
/* The VM was powered off or deallocated: its vTPM stops, its state stays. */
void vtpm_stop(struct vtpm_host *h, const char *vm_id);
void vtpm_stop_all(struct vtpm_host *h);
/* The VM was deleted: its vTPM stops, its seeds and files are gone. */
void vtpm_delete(struct vtpm_host *h, const char *vm_id);

#endif
