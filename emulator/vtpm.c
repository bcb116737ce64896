#include "emulator/vtpm.h"

#include "emulator/bootlog.h"
#include "emulator/vtpm_ca.h"
#include "emulator/vtpm_file.h"
#include "emulator/vtpm_proc.h"
#include "emulator/vtpm_tpm.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sys/un.h>
#include <unistd.h>

#define READY_POLLS   1000
#define READY_POLL_US 5000
#define SOCKET_NAME   18 /* "/", 12 digits, ".sock" */
#define CTRL_SUFFIX   ".ctrl"

/* One VM's vTPM. Entries stay for the life of the host, so that a lock may be waited for. */
struct vtpm {
    struct vtpm *next;
    pthread_mutex_t lock; /* held while the VM's TPM starts, stops or is worked on */
    char vm_id[UUID_SIZE];
    char dir[VTPM_PATH_SIZE];
    char socket[VTPM_PATH_SIZE];
    pid_t pid; /* 0: does not run */
    bool booted;
};

struct vtpm_host {
    const struct clock *clock;
    char state_dir[VTPM_PATH_SIZE];
    char socket_dir[VTPM_PATH_SIZE];
    bool sockets_elsewhere;
    char swtpm[VTPM_PATH_SIZE];
    struct vtpm_ca *ca;
    struct vtpm_spawner *spawner;
    pthread_mutex_t lock; /* of the list */
    struct vtpm *first;
};

static bool fits_socket(const char *dir)
{
    struct sockaddr_un a;
    return strlen(dir) + SOCKET_NAME + strlen(CTRL_SUFFIX) < sizeof(a.sun_path);
}

/* <state>/run, or a directory under /tmp whose name run/elsewhere keeps for the next start. */
static enum err choose_socket_dir(struct vtpm_host *h, struct err_info *e)
{
    char note[VTPM_PATH_SIZE];
    vtpm_file_path(h->socket_dir, "%s/run", h->state_dir);
    vtpm_file_path(note, "%s/run/elsewhere", h->state_dir);
    struct buf old = {0};
    if (vtpm_file_read(note, &old, NULL) == OK && !strncmp(old.data, "/tmp/tlgate-vtpm-", 17))
        vtpm_file_remove_tree(old.data);
    buf_free(&old);
    vtpm_file_remove_tree(h->socket_dir);
    enum err rc = vtpm_file_mkdir(h->socket_dir, e);
    if (rc != OK || fits_socket(h->socket_dir))
        return rc;
    vtpm_file_path(h->socket_dir, "/tmp/tlgate-vtpm-XXXXXX");
    if (!mkdtemp(h->socket_dir))
        return err_set(e, ERR_CONFIG, "%s: %s", h->socket_dir, strerror(errno));
    h->sockets_elsewhere = true;
    return vtpm_file_write(note, BYTES_STR(h->socket_dir), 0600, e);
}

static void kill_stale(const struct vtpm_host *h)
{
    char path[VTPM_PATH_SIZE];
    vtpm_file_path(path, "%s/vtpm", h->state_dir);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (!uuid_valid(d->d_name))
            continue;
        vtpm_file_path(path, "%s/vtpm/%s/swtpm.pid", h->state_dir, d->d_name);
        vtpm_proc_kill_stale(path, d->d_name);
    }
    if (dir)
        closedir(dir);
}

static enum err open_parts(struct vtpm_host *h, struct err_info *e)
{
    char path[VTPM_PATH_SIZE];
    if (!vtpm_proc_find("swtpm", h->swtpm, sizeof(h->swtpm)))
        return err_set(e, ERR_CONFIG, "swtpm is not installed");
    vtpm_file_path(path, "%s/vtpm", h->state_dir);
    enum err rc = vtpm_file_mkdir(path, e);
    if (rc != OK)
        return rc;
    kill_stale(h);
    rc = choose_socket_dir(h, e);
    if (rc == OK)
        rc = vtpm_ca_open(h->state_dir, h->clock, &h->ca, e);
    if (rc == OK)
        rc = vtpm_spawner_new(&h->spawner, e);
    return rc;
}

enum err vtpm_host_open(const char *state_dir, const struct clock *clock, struct vtpm_host **out,
                        struct err_info *e)
{
    if (*state_dir != '/' || strchr(state_dir, ',') || strlen(state_dir) > 1024)
        return err_set(e, ERR_CONFIG, "%s: not an absolute path without comma", state_dir);
    setenv("TSS2_LOG", "all+NONE", 0);
    struct vtpm_host *h = calloc(1, sizeof(*h));
    if (!h)
        abort();
    h->clock = clock;
    vtpm_file_path(h->state_dir, "%s", state_dir);
    pthread_mutex_init(&h->lock, NULL);
    enum err rc = open_parts(h, e);
    if (rc != OK) {
        vtpm_host_close(h);
        return rc;
    }
    *out = h;
    return OK;
}

void vtpm_host_close(struct vtpm_host *h)
{
    if (!h)
        return;
    vtpm_stop_all(h);
    for (struct vtpm *v = h->first; v;) {
        struct vtpm *next = v->next;
        pthread_mutex_destroy(&v->lock);
        free(v);
        v = next;
    }
    vtpm_spawner_free(h->spawner);
    vtpm_ca_free(h->ca);
    if (h->sockets_elsewhere)
        vtpm_file_remove_tree(h->socket_dir);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static struct vtpm *find(struct vtpm_host *h, const char *vm_id)
{
    for (struct vtpm *v = h->first; v; v = v->next) {
        if (!strcmp(v->vm_id, vm_id))
            return v;
    }
    return NULL;
}

static struct vtpm *add(struct vtpm_host *h, const char *vm_id)
{
    struct vtpm *v = calloc(1, sizeof(*v));
    if (!v)
        abort();
    pthread_mutex_init(&v->lock, NULL);
    snprintf(v->vm_id, sizeof(v->vm_id), "%s", vm_id);
    vtpm_file_path(v->dir, "%s/vtpm/%s", h->state_dir, vm_id);
    uint8_t hash[32];
    char digits[13];
    EVP_Digest(vm_id, strlen(vm_id), hash, NULL, EVP_sha256(), NULL);
    hex_encode(BYTES(hash, 6), digits);
    vtpm_file_path(v->socket, "%s/%s.sock", h->socket_dir, digits);
    v->next = h->first;
    h->first = v;
    return v;
}

/* The VM's entry with its lock held; NULL where the id is no GUID. */
static struct vtpm *lock_vm(struct vtpm_host *h, const char *vm_id)
{
    if (!uuid_valid(vm_id))
        return NULL;
    pthread_mutex_lock(&h->lock);
    struct vtpm *v = find(h, vm_id);
    if (!v)
        v = add(h, vm_id);
    pthread_mutex_unlock(&h->lock);
    pthread_mutex_lock(&v->lock);
    return v;
}

static void tcti_of(const struct vtpm *v, char out[VTPM_PATH_SIZE])
{
    vtpm_file_path(out, "swtpm:path=%s", v->socket);
}

static void ctrl_of(const struct vtpm *v, char out[VTPM_PATH_SIZE])
{
    vtpm_file_path(out, "%s" CTRL_SUFFIX, v->socket);
}

/* An orderly end where the TPM answers; the reading of its clock then stays marked safe. */
static void stop(struct vtpm *v)
{
    if (v->pid && vtpm_proc_alive(v->pid)) {
        char path[VTPM_PATH_SIZE];
        struct vtpm_tpm *tpm = NULL;
        tcti_of(v, path);
        if (vtpm_tpm_open(path, &tpm, NULL) == OK)
            vtpm_tpm_shutdown(tpm);
        vtpm_tpm_close(tpm);
        vtpm_proc_stop(v->pid);
        unlink(v->socket);
        ctrl_of(v, path);
        unlink(path);
        vtpm_file_path(path, "%s/swtpm.pid", v->dir);
        unlink(path);
    }
    v->pid = 0;
    v->booted = false;
}

/* swtpm listens some milliseconds after its start; the sockets' files are there before that. */
static enum err connect_tpm(struct vtpm *v, struct vtpm_tpm **out, struct err_info *e)
{
    char tcti[VTPM_PATH_SIZE];
    struct err_info why = {0};
    tcti_of(v, tcti);
    for (int i = 0; i < READY_POLLS; i++) {
        if (vtpm_tpm_open(tcti, out, &why) == OK)
            return OK;
        if (!vtpm_proc_alive(v->pid))
            break;
        usleep(READY_POLL_US);
    }
    return err_set(e, ERR_UNAVAILABLE, "swtpm of %s does not start, see %s/swtpm.log (%s)",
                   v->vm_id, v->dir, why.detail);
}

static enum err start(struct vtpm_host *h, struct vtpm *v, struct err_info *e)
{
    char state[VTPM_PATH_SIZE], server[VTPM_PATH_SIZE], ctrl[VTPM_PATH_SIZE];
    char tpm_dir[VTPM_PATH_SIZE], log[VTPM_PATH_SIZE], pid[VTPM_PATH_SIZE];
    vtpm_file_path(tpm_dir, "%s/tpm", v->dir);
    enum err rc = vtpm_file_mkdir(v->dir, e);
    if (rc == OK)
        rc = vtpm_file_mkdir(tpm_dir, e);
    if (rc != OK)
        return rc;
    vtpm_file_path(state, "dir=%s/tpm,mode=0600", v->dir);
    vtpm_file_path(server, "type=unixio,path=%s,mode=0600", v->socket);
    vtpm_file_path(ctrl, "type=unixio,path=%s" CTRL_SUFFIX ",mode=0600", v->socket);
    vtpm_file_path(log, "file=%s/swtpm.log,level=1,truncate", v->dir);
    vtpm_file_path(pid, "file=%s/swtpm.pid", v->dir);
    /* An empty state is manufactured by the start itself: fresh seeds, all banks active. */
    const char *argv[] = {
        h->swtpm,   "socket", "--tpm2", "--tpmstate", state,
        "--server", server,   "--ctrl", ctrl,         "--log",
        log,        "--pid",  pid,      "--flags",    "not-need-init,startup-clear",
        NULL};
    rc = vtpm_spawn(h->spawner, argv, &v->pid, e);
    if (rc != OK)
        v->pid = 0;
    return rc;
}

/* Certifies the AK where its index does not hold a good certificate yet. A key that a guest put in
 * the AK's place is not certified (CVE-2025-49707). */
static enum err certify(struct vtpm_host *h, struct vtpm *v, struct vtpm_tpm *tpm,
                        struct err_info *e)
{
    struct vtpm_ak ak;
    enum err rc = vtpm_tpm_ak(tpm, &ak, e);
    if (rc != OK || !ak.genuine)
        return rc;
    struct buf cert = {0};
    struct bytes modulus = BYTES_OF(ak.modulus);
    rc = vtpm_tpm_read_cert(tpm, &cert, e);
    if (rc == OK && !vtpm_ca_holds(h->ca, buf_bytes(&cert), modulus)) {
        buf_reset(&cert);
        rc = vtpm_ca_issue(h->ca, v->vm_id, modulus, &cert, e);
        if (rc == OK)
            rc = vtpm_tpm_write_cert(tpm, buf_bytes(&cert), e);
    }
    buf_free(&cert);
    return rc;
}

/* Counts the boot: the number is durable before the boot is, so that no two share it. */
static enum err next_boot(const struct vtpm *v, unsigned *out, struct err_info *e)
{
    char path[VTPM_PATH_SIZE];
    struct buf text = {0};
    vtpm_file_path(path, "%s/boots", v->dir);
    *out = 1;
    if (vtpm_file_read(path, &text, NULL) == OK)
        *out = (unsigned)strtoul(text.data, NULL, 10) + 1;
    buf_reset(&text);
    buf_printf(&text, "%u\n", *out);
    enum err rc = vtpm_file_write(path, buf_bytes(&text), 0600, e);
    buf_free(&text);
    return rc;
}

static enum err measure(struct vtpm_host *h, struct vtpm *v, const struct vtpm_vm *vm,
                        struct vtpm_tpm *tpm, struct err_info *e)
{
    uint16_t banks[BOOTLOG_BANKS_MAX];
    size_t n_banks = 0;
    struct bootlog_boot boot = {.vm_id = v->vm_id,
                                .secure_boot = vm->secure_boot,
                                .windows = vm->os == VTPM_OS_WINDOWS,
                                .keys = vtpm_ca_keys(h->ca)};
    char path[VTPM_PATH_SIZE];
    struct buf log = {0};
    vtpm_file_path(path, "%s/eventlog.bin", v->dir);
    unlink(path); /* never a former boot's log beside a new boot's PCRs */
    enum err rc = next_boot(v, &boot.boots, e);
    if (rc == OK)
        rc = vtpm_tpm_banks(tpm, banks, &n_banks, e);
    if (rc == OK)
        rc = bootlog_write(&boot, banks, n_banks, vtpm_tpm_extend, tpm, &log, e);
    if (rc == OK)
        rc = vtpm_file_write(path, buf_bytes(&log), 0600, e);
    buf_free(&log);
    return rc;
}

/* From power on to a booted machine. What fails half way is stopped: the next call begins again
 * with PCRs at zero. */
static enum err boot(struct vtpm_host *h, struct vtpm *v, const struct vtpm_vm *vm,
                     struct err_info *e)
{
    struct vtpm_tpm *tpm = NULL;
    stop(v);
    enum err rc = start(h, v, e);
    if (rc == OK)
        rc = connect_tpm(v, &tpm, e);
    if (rc == OK)
        rc = certify(h, v, tpm, e);
    if (rc == OK)
        rc = measure(h, v, vm, tpm, e);
    vtpm_tpm_close(tpm);
    v->booted = rc == OK;
    if (rc != OK)
        stop(v);
    return rc;
}

static enum err bring_up(struct vtpm_host *h, const struct vtpm_vm *vm, bool again,
                         struct vtpm_at *out, struct err_info *e)
{
    struct vtpm *v = lock_vm(h, vm->vm_id);
    if (!v)
        return err_set(e, ERR_INTERNAL, "%s is not a vmId", vm->vm_id);
    enum err rc = OK;
    if (again || !v->booted || !vtpm_proc_alive(v->pid))
        rc = boot(h, v, vm, e);
    if (rc == OK && out) {
        tcti_of(v, out->tcti);
        vtpm_file_path(out->event_log, "%s/eventlog.bin", v->dir);
    }
    pthread_mutex_unlock(&v->lock);
    return rc;
}

enum err vtpm_ensure(struct vtpm_host *h, const struct vtpm_vm *vm, struct vtpm_at *out,
                     struct err_info *e)
{
    return bring_up(h, vm, false, out, e);
}

enum err vtpm_reboot(struct vtpm_host *h, const struct vtpm_vm *vm, struct vtpm_at *out,
                     struct err_info *e)
{
    return bring_up(h, vm, true, out, e);
}

bool vtpm_exists(struct vtpm_host *h, const char *vm_id)
{
    char path[VTPM_PATH_SIZE];
    vtpm_file_path(path, "%s/vtpm/%s/boots", h->state_dir, vm_id);
    return uuid_valid(vm_id) && access(path, F_OK) == 0;
}

void vtpm_stop(struct vtpm_host *h, const char *vm_id)
{
    struct vtpm *v = lock_vm(h, vm_id);
    if (!v)
        return;
    stop(v);
    pthread_mutex_unlock(&v->lock);
}

void vtpm_stop_all(struct vtpm_host *h)
{
    pthread_mutex_lock(&h->lock);
    struct vtpm *first = h->first; /* entries are only ever put in front */
    pthread_mutex_unlock(&h->lock);
    for (struct vtpm *v = first; v; v = v->next) {
        pthread_mutex_lock(&v->lock);
        stop(v);
        pthread_mutex_unlock(&v->lock);
    }
}

void vtpm_delete(struct vtpm_host *h, const char *vm_id)
{
    struct vtpm *v = lock_vm(h, vm_id);
    if (!v)
        return;
    stop(v);
    vtpm_file_remove_tree(v->dir);
    pthread_mutex_unlock(&v->lock);
}
