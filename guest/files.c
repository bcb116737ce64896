#include "guest/files.h"

#include "core/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#define TOKEN_MAX 4096u
#define CHUNK     16384u

AUTO_DEFINE(bio, BIO *, BIO_free_all)

static enum err cannot(const char *path, struct err_info *e)
{
    enum err code = ERR_UNAVAILABLE;
    if (errno == ENOENT || errno == ENOTDIR)
        code = ERR_NOT_FOUND;
    if (errno == EACCES || errno == EPERM)
        code = ERR_FORBIDDEN;
    return err_set(e, code, "%s: %s", path, strerror(errno));
}

static enum err read_all(int fd, const char *path, size_t max, struct buf *out, struct err_info *e)
{
    for (;;) {
        ssize_t n = read(fd, buf_reserve(out, CHUNK), CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cannot(path, e);
        if (n == 0)
            return OK;
        out->len += (size_t)n;
        if (out->len > max)
            return err_set(e, ERR_BODY_TOO_LARGE, "%s: more than %zu bytes", path, max);
    }
}

enum err guest_file_read(const char *path, size_t max, struct arena *a, struct bytes *out,
                         struct err_info *e)
{
    AUTO(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cannot(path, e);
    struct buf data = {0};
    enum err rc = read_all(fd, path, max, &data, e);
    if (rc == OK)
        *out = arena_copy(a, buf_bytes(&data));
    buf_free(&data);
    return rc;
}

enum err guest_token_read(const char *path, struct arena *a, struct secret *out, struct err_info *e)
{
    struct bytes raw = {0};
    enum err rc = guest_file_read(path, TOKEN_MAX, a, &raw, e);
    if (rc != OK)
        return rc;
    while (raw.len && isspace(raw.data[raw.len - 1]))
        raw.len--;
    while (raw.len && isspace(raw.data[0])) {
        raw.data++;
        raw.len--;
    }
    if (!raw.len)
        return err_set(e, ERR_BAD_REQUEST, "%s is empty", path);
    *out = secret_in(a, (const char *)raw.data, raw.len);
    return OK;
}

void guest_chain_parse(struct bytes pem, struct arena *a, struct evidence *out)
{
    AUTO(bio) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    while (bio && out->n_chain < EVIDENCE_CHAIN_MAX) {
        char *name = NULL, *header = NULL;
        unsigned char *der = NULL;
        long len = 0;
        if (!PEM_read_bio(bio, &name, &header, &der, &len))
            break;
        if (!strcmp(name, PEM_STRING_X509) && (size_t)len <= EVIDENCE_CERT_MAX)
            out->chain[out->n_chain++] = arena_copy(a, BYTES(der, (size_t)len));
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
    }
    ERR_clear_error();
}

enum err guest_chain_read(const char *path, struct arena *a, struct evidence *out,
                          struct err_info *e)
{
    struct bytes pem = {0};
    enum err rc = guest_file_read(path, EVIDENCE_CHAIN_MAX * 2 * EVIDENCE_CERT_MAX, a, &pem, e);
    if (rc == ERR_NOT_FOUND)
        return OK;
    if (rc != OK)
        return rc;
    guest_chain_parse(pem, a, out);
    return out->n_chain ? OK : err_set(e, ERR_BAD_REQUEST, "%s holds no certificate", path);
}
