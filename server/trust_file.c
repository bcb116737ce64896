#include "server/trust_file.h"

#include "core/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_LINE 64

enum err trust_file_dir(const char *dir, struct err_info *e)
{
    struct stat st;
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return err_set(e, ERR_CONFIG, "cannot make %s: %s", dir, strerror(errno));
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(e, ERR_CONFIG, "%s is not a directory", dir);
    if (st.st_mode & S_IWOTH)
        return err_set(e, ERR_CONFIG, "%s is writable by anybody", dir);
    return OK;
}

static bool write_all(int fd, struct bytes content)
{
    while (content.len) {
        ssize_t n = write(fd, content.data, content.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        content = BYTES(content.data + n, content.len - (size_t)n);
    }
    return true;
}

static bool sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool write_part(const char *part, struct bytes content)
{
    (void)unlink(part); /* of a run that was killed */
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return false;
    bool ok = fchmod(fd, 0644) == 0 && write_all(fd, content) && fsync(fd) == 0;
    return close(fd) == 0 && ok;
}

enum err trust_file_write(const char *dir, const char *name, struct bytes content,
                          struct err_info *e)
{
    struct buf part = {0}, file = {0};
    buf_printf(&part, "%s/.%s.part", dir, name);
    buf_printf(&file, "%s/%s", dir, name);
    bool ok = write_part(part.data, content) && rename(part.data, file.data) == 0 && sync_dir(dir);
    enum err err = OK;
    if (!ok) {
        err = err_set(e, ERR_CONFIG, "cannot write %s: %s", file.data, strerror(errno));
        (void)unlink(part.data);
    }
    buf_free(&part);
    buf_free(&file);
    return err;
}

void trust_file_pem(struct bytes der, struct buf *out)
{
    struct buf text = {0};
    size_t n = base64_encode(der, buf_reserve(&text, BASE64_SIZE(der.len)));
    const char *base64 = text.data;
    buf_add_str(out, "-----BEGIN CERTIFICATE-----\n");
    for (size_t at = 0; at < n; at += PEM_LINE) {
        buf_add(out, base64 + at, n - at < PEM_LINE ? n - at : PEM_LINE);
        buf_add_char(out, '\n');
    }
    buf_add_str(out, "-----END CERTIFICATE-----\n");
    buf_free(&text);
}
