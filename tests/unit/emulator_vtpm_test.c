/* vTPMs on real swtpm processes: manufacture, reboot, kills at any point, deletion. */
#include "core/attr.h"
#include "emulator/vtpm.h"
#include "emulator/vtpm_ca.h"
#include "emulator/vtpm_file.h"
#include "emulator/vtpm_tpm.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#define VM_A       "11111111-1111-4111-8111-111111111111"
#define VM_B       "22222222-2222-4222-8222-222222222222"
#define CA_KILLS   4
#define VTPM_KILLS 16

static char dir[64];

static int make_dir(void **state)
{
    memcpy(dir, "/tmp/vtpm-test-XXXXXX", 22);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    vtpm_file_remove_tree(dir);
    return 0;
}

static struct vtpm_host *open_host(void)
{
    struct vtpm_host *h = NULL;
    struct err_info e = {0};
    enum err rc = vtpm_host_open(dir, &clock_system, &h, &e);
    if (rc != OK)
        print_error("%s\n", e.detail);
    assert_int_equal(rc, OK);
    return h;
}

static struct vtpm_vm vm_of(const char *id)
{
    return (struct vtpm_vm){.vm_id = id, .secure_boot = true, .os = VTPM_OS_LINUX};
}

static struct vtpm_at ensure(struct vtpm_host *h, const char *id)
{
    const struct vtpm_vm vm = vm_of(id);
    struct vtpm_at at = {0};
    struct err_info e = {0};
    enum err rc = vtpm_ensure(h, &vm, &at, &e);
    if (rc != OK)
        print_error("%s\n", e.detail);
    assert_int_equal(rc, OK);
    return at;
}

/* What a verifier would see of a TPM. */
struct seen {
    struct vtpm_ak ak;
    struct buf cert;
    uint32_t reset_count;
    uint8_t pcr7[32];
};

static void read_clock_and_pcr(const char *tcti_conf, struct seen *out)
{
    TSS2_TCTI_CONTEXT *tcti = NULL;
    ESYS_CONTEXT *esys = NULL;
    TPMS_TIME_INFO *time = NULL;
    TPML_DIGEST *values = NULL;
    const TPML_PCR_SELECTION pcr7 = {
        .count = 1,
        .pcrSelections[0] = {.hash = TPM2_ALG_SHA256, .sizeofSelect = 3, .pcrSelect = {0x80}}};
    assert_int_equal(Tss2_TctiLdr_Initialize(tcti_conf, &tcti), 0);
    assert_int_equal(Esys_Initialize(&esys, tcti, NULL), 0);
    assert_int_equal(Esys_ReadClock(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &time), 0);
    assert_int_equal(
        Esys_PCR_Read(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &pcr7, NULL, NULL, &values),
        0);
    out->reset_count = time->clockInfo.resetCount;
    assert_int_equal(values->count, 1);
    memcpy(out->pcr7, values->digests[0].buffer, 32);
    Esys_Free(values);
    Esys_Free(time);
    Esys_Finalize(&esys);
    Tss2_TctiLdr_Finalize(&tcti);
}

static void look(const struct vtpm_at *at, struct seen *out)
{
    struct vtpm_tpm *t = NULL;
    assert_int_equal(vtpm_tpm_open(at->tcti, &t, NULL), OK);
    assert_int_equal(vtpm_tpm_ak(t, &out->ak, NULL), OK);
    assert_true(out->ak.genuine);
    assert_int_equal(vtpm_tpm_read_cert(t, &out->cert, NULL), OK);
    vtpm_tpm_close(t);
    read_clock_and_pcr(at->tcti, out);
}

static void forget(struct seen *s)
{
    buf_free(&s->cert);
}

static X509 *read_pem(const char *name)
{
    char path[VTPM_PATH_SIZE];
    vtpm_file_path(path, "%s/trust/%s", dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(cert);
    return cert;
}

/* The leaf is signed by the CA, the CA by the root, and both say what Azure's say. */
static void check_certificate(const struct seen *s)
{
    const unsigned char *at = (const unsigned char *)s->cert.data;
    X509 *leaf = d2i_X509(NULL, &at, (long)s->cert.len);
    X509 *ca = read_pem("vtpm-ca.pem"), *root = read_pem("vtpm-root.pem");
    assert_non_null(leaf);
    assert_int_equal(X509_verify(leaf, X509_get0_pubkey(ca)), 1);
    assert_int_equal(X509_verify(ca, X509_get0_pubkey(root)), 1);
    assert_int_equal(X509_check_issued(ca, leaf), X509_V_OK);
    assert_int_equal(X509_check_issued(root, ca), X509_V_OK);
    assert_int_equal(X509_get_key_usage(leaf), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_check_ca(leaf), 0);
    char cn[80] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, cn, sizeof(cn));
    assert_int_equal(strspn(cn, "0123456789abcdef"), 12);
    assert_string_equal(cn + 12, ".TrustedVM.Azure.windows.net");
    uint8_t modulus[VTPM_MODULUS_SIZE];
    BIGNUM *n = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(X509_get0_pubkey(leaf), "n", &n), 1);
    assert_int_equal(BN_bn2binpad(n, modulus, sizeof(modulus)), sizeof(modulus));
    assert_memory_equal(modulus, s->ak.modulus, sizeof(modulus));
    BN_free(n);
    X509_free(leaf);
    X509_free(ca);
    X509_free(root);
}

static void read_log(const struct vtpm_at *at, struct buf *out)
{
    assert_int_equal(vtpm_file_read(at->event_log, out, NULL), OK);
    assert_true(out->len > 4096);
}

static void two_vms_share_nothing(void **state)
{
    struct vtpm_host *h = open_host();
    struct vtpm_at a = ensure(h, VM_A), b = ensure(h, VM_B);
    struct seen sa = {0}, sb = {0};
    struct buf la = {0}, lb = {0};
    look(&a, &sa);
    look(&b, &sb);
    check_certificate(&sa);
    check_certificate(&sb);
    assert_memory_not_equal(sa.ak.modulus, sb.ak.modulus, VTPM_MODULUS_SIZE);
    read_log(&a, &la);
    read_log(&b, &lb);
    assert_false(bytes_equal(buf_bytes(&la), buf_bytes(&lb)));
    assert_string_not_equal(a.tcti, b.tcti);
    struct vtpm_at again = ensure(h, VM_A);
    assert_string_equal(again.tcti, a.tcti);
    vtpm_host_close(h);
    buf_free(&la);
    buf_free(&lb);
    forget(&sa);
    forget(&sb);
}

static void a_reboot_keeps_the_ak_and_counts(void **state)
{
    struct vtpm_host *h = open_host();
    struct vtpm_at at = ensure(h, VM_A);
    struct seen before = {0}, after = {0}, off = {0};
    struct buf l1 = {0}, l2 = {0};
    look(&at, &before);
    read_log(&at, &l1);
    struct vtpm_vm vm = vm_of(VM_A);
    assert_int_equal(vtpm_reboot(h, &vm, &at, NULL), OK);
    look(&at, &after);
    read_log(&at, &l2);
    assert_memory_equal(before.ak.modulus, after.ak.modulus, VTPM_MODULUS_SIZE);
    assert_true(bytes_equal(buf_bytes(&before.cert), buf_bytes(&after.cert)));
    assert_memory_equal(before.pcr7, after.pcr7, 32);
    assert_int_equal(after.reset_count, before.reset_count + 1);
    assert_false(bytes_equal(buf_bytes(&l1), buf_bytes(&l2)));

    vm.secure_boot = false;
    assert_int_equal(vtpm_reboot(h, &vm, NULL, NULL), OK);
    look(&at, &off);
    assert_memory_not_equal(off.pcr7, after.pcr7, 32);
    assert_int_equal(off.reset_count, after.reset_count + 1);
    vtpm_host_close(h);
    buf_free(&l1);
    buf_free(&l2);
    forget(&before);
    forget(&after);
    forget(&off);
}

static void a_restart_of_the_emulator_is_a_reboot(void **state)
{
    struct vtpm_host *h = open_host();
    struct vtpm_at at = ensure(h, VM_A);
    struct seen before = {0}, after = {0};
    look(&at, &before);
    vtpm_host_close(h);
    h = open_host();
    assert_true(vtpm_exists(h, VM_A));
    at = ensure(h, VM_A);
    look(&at, &after);
    assert_memory_equal(before.ak.modulus, after.ak.modulus, VTPM_MODULUS_SIZE);
    assert_int_equal(after.reset_count, before.reset_count + 1);
    vtpm_host_close(h);
    forget(&before);
    forget(&after);
}

static void a_deleted_vm_comes_back_as_another(void **state)
{
    struct vtpm_host *h = open_host();
    struct vtpm_at at = ensure(h, VM_B);
    struct seen before = {0}, after = {0};
    struct stat st;
    look(&at, &before);
    vtpm_delete(h, VM_B);
    assert_false(vtpm_exists(h, VM_B));
    assert_int_equal(stat(at.event_log, &st), -1);
    at = ensure(h, VM_B);
    look(&at, &after);
    assert_memory_not_equal(before.ak.modulus, after.ak.modulus, VTPM_MODULUS_SIZE);
    vtpm_host_close(h);
    forget(&before);
    forget(&after);
}

/* A guest may persist a key of its own at the AK's handle; it must not get a certificate. */
static void a_planted_key_is_not_certified(void **state)
{
    struct vtpm_host *h = open_host();
    struct vtpm_at at = ensure(h, VM_B);
    TSS2_TCTI_CONTEXT *tcti = NULL;
    ESYS_CONTEXT *esys = NULL;
    ESYS_TR old = ESYS_TR_NONE, key = ESYS_TR_NONE, planted = ESYS_TR_NONE;
    const TPM2B_SENSITIVE_CREATE sensitive = {0};
    const TPM2B_DATA outside = {0};
    const TPML_PCR_SELECTION pcrs = {0};
    TPM2B_PUBLIC template = {.publicArea = {.type = TPM2_ALG_RSA,
                                            .nameAlg = TPM2_ALG_SHA256,
                                            .objectAttributes = 0x00040472}};
    template.publicArea.parameters.rsaDetail.symmetric.algorithm = TPM2_ALG_NULL;
    template.publicArea.parameters.rsaDetail.scheme.scheme = TPM2_ALG_NULL;
    template.publicArea.parameters.rsaDetail.keyBits = 2048;
    assert_int_equal(Tss2_TctiLdr_Initialize(at.tcti, &tcti), 0);
    assert_int_equal(Esys_Initialize(&esys, tcti, NULL), 0);
    assert_int_equal(
        Esys_TR_FromTPMPublic(esys, 0x81000003, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &old), 0);
    assert_int_equal(Esys_EvictControl(esys, ESYS_TR_RH_OWNER, old, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                       ESYS_TR_NONE, 0x81000003, &planted),
                     0);
    assert_int_equal(Esys_CreatePrimary(esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD,
                                        ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &template, &outside,
                                        &pcrs, &key, NULL, NULL, NULL, NULL),
                     0);
    assert_int_equal(Esys_EvictControl(esys, ESYS_TR_RH_OWNER, key, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                       ESYS_TR_NONE, 0x81000003, &planted),
                     0);
    Esys_FlushContext(esys, key);
    Esys_Finalize(&esys);
    Tss2_TctiLdr_Finalize(&tcti);

    struct vtpm_tpm *t = NULL;
    struct buf before = {0}, after = {0};
    struct vtpm_ak ak;
    struct vtpm_vm vm = vm_of(VM_B);
    assert_int_equal(vtpm_tpm_open(at.tcti, &t, NULL), OK);
    assert_int_equal(vtpm_tpm_read_cert(t, &before, NULL), OK);
    vtpm_tpm_close(t);
    assert_int_equal(vtpm_reboot(h, &vm, &at, NULL), OK);
    assert_int_equal(vtpm_tpm_open(at.tcti, &t, NULL), OK);
    assert_int_equal(vtpm_tpm_ak(t, &ak, NULL), OK);
    assert_false(ak.genuine);
    assert_int_equal(vtpm_tpm_read_cert(t, &after, NULL), OK);
    assert_true(bytes_equal(buf_bytes(&before), buf_bytes(&after)));
    vtpm_tpm_close(t);
    vtpm_delete(h, VM_B);
    vtpm_host_close(h);
    buf_free(&before);
    buf_free(&after);
}

static pid_t swtpm_pid(const char *vm)
{
    char path[VTPM_PATH_SIZE];
    struct buf text = {0};
    vtpm_file_path(path, "%s/vtpm/%s/swtpm.pid", dir, vm);
    pid_t pid = 0;
    if (vtpm_file_read(path, &text, NULL) == OK)
        pid = (pid_t)strtol(text.data, NULL, 10);
    buf_free(&text);
    return pid;
}

static void a_dead_swtpm_is_started_again(void **state)
{
    struct vtpm_host *h = open_host();
    struct vtpm_at at = ensure(h, VM_A);
    struct seen before = {0}, after = {0};
    look(&at, &before);
    pid_t pid = swtpm_pid(VM_A);
    assert_true(pid > 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (swtpm_pid(VM_A) == pid) { /* the host reaps it and starts another */
        at = ensure(h, VM_A);
        usleep(10000);
    }
    look(&at, &after);
    assert_memory_equal(before.ak.modulus, after.ak.modulus, VTPM_MODULUS_SIZE);
    assert_memory_equal(before.pcr7, after.pcr7, 32);
    vtpm_host_close(h);
    forget(&before);
    forget(&after);
}

static bool gone(pid_t pid)
{
    for (int i = 0; i < 200 && kill(pid, 0) == 0; i++)
        usleep(10000);
    return kill(pid, 0) != 0 && errno == ESRCH;
}

static void kill_after(const char *state_dir, useconds_t us)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "emulator_vtpm_test", state_dir, VM_A, NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    usleep(us);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Kills an emulator while it makes its CA, then while it makes a vTPM, ever later, and goes on from
 * what is left. */
static void a_kill_at_any_point_is_made_good(void **state)
{
    char path[VTPM_PATH_SIZE];
    struct vtpm_host *h = NULL;
    vtpm_file_path(path, "%s/kill", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    for (useconds_t i = 1; i <= CA_KILLS; i++)
        kill_after(path, i * 100000);
    assert_int_equal(vtpm_host_open(path, &clock_system, &h, NULL), OK);
    vtpm_host_close(h);
    for (useconds_t i = 1; i <= VTPM_KILLS; i++)
        kill_after(path, i * 25000);
    char keep[sizeof(dir)];
    memcpy(keep, dir, sizeof(dir));
    snprintf(dir, sizeof(dir), "%.50s/kill", keep);
    pid_t left = swtpm_pid(VM_A);
    assert_true(!left || gone(left)); /* it died with its emulator */
    h = open_host();
    struct vtpm_at at = ensure(h, VM_A);
    struct seen s = {0};
    struct buf log = {0};
    look(&at, &s);
    check_certificate(&s);
    read_log(&at, &log);
    vtpm_host_close(h);
    memcpy(dir, keep, sizeof(dir));
    buf_free(&log);
    forget(&s);
}

static void a_path_too_long_for_a_socket_is_no_problem(void **state)
{
    char path[VTPM_PATH_SIZE];
    vtpm_file_path(path, "%s/%0100d", dir, 0);
    assert_int_equal(mkdir(path, 0700), 0);
    struct vtpm_host *h = NULL;
    struct vtpm_vm vm = vm_of(VM_A);
    struct vtpm_at at;
    struct stat st;
    assert_int_equal(vtpm_host_open(path, &clock_system, &h, NULL), OK);
    assert_int_equal(vtpm_ensure(h, &vm, &at, NULL), OK);
    assert_true(strlen(at.tcti) < strlen("swtpm:path=") + 107);
    char *where = at.tcti + strlen("swtpm:path=");
    *strrchr(where, '/') = 0;
    assert_int_equal(stat(where, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    vtpm_host_close(h);
    assert_int_equal(stat(where, &st), -1);
}

static void what_cannot_work_is_refused(void **state)
{
    struct vtpm_host *h = NULL;
    struct err_info e = {0};
    assert_int_equal(vtpm_host_open("relative", &clock_system, &h, &e), ERR_CONFIG);
    assert_int_equal(vtpm_host_open("/tmp/a,b", &clock_system, &h, &e), ERR_CONFIG);
    assert_int_equal(vtpm_host_open("/nonexistent/x", &clock_system, &h, &e), ERR_CONFIG);
    h = open_host();
    struct vtpm_vm vm = vm_of("../../etc");
    assert_int_equal(vtpm_ensure(h, &vm, NULL, &e), ERR_INTERNAL);
    assert_false(vtpm_exists(h, "../../etc"));
    vtpm_host_close(h);
}

static void the_ca_key_is_private(void **state)
{
    char path[VTPM_PATH_SIZE];
    struct stat st;
    vtpm_file_path(path, "%s/vtpm-ca.key", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* The emulator that is killed: makes a vTPM and waits for its end. */
static int be_victim(const char *state_dir, const char *vm_id)
{
    struct vtpm_host *h = NULL;
    const struct vtpm_vm vm = vm_of(vm_id);
    struct vtpm_at at;
    if (vtpm_host_open(state_dir, &clock_system, &h, NULL) != OK ||
        vtpm_ensure(h, &vm, &at, NULL) != OK)
        return 1;
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return be_victim(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_vms_share_nothing),
        cmocka_unit_test(a_reboot_keeps_the_ak_and_counts),
        cmocka_unit_test(a_restart_of_the_emulator_is_a_reboot),
        cmocka_unit_test(a_deleted_vm_comes_back_as_another),
        cmocka_unit_test(a_planted_key_is_not_certified),
        cmocka_unit_test(a_dead_swtpm_is_started_again),
        cmocka_unit_test(a_kill_at_any_point_is_made_good),
        cmocka_unit_test(a_path_too_long_for_a_socket_is_no_problem),
        cmocka_unit_test(what_cannot_work_is_refused),
        cmocka_unit_test(the_ca_key_is_private),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
