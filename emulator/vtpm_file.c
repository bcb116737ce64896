#include "emulator/vtpm_file.h"

#include "core/cleanup.h"
#include "emulator/vtpm.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <sys/stat.h>

#define FILE_MAX (1u << 20)

enum err vtpm_file_read(const char *path, struct buf *out, struct err_info *e)
{
    AUTO(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_CONFIG, "%s: %s", path,
                       strerror(errno));
    for (size_t total = 0; total <= FILE_MAX;) {
        ssize_t n = read(fd, buf_reserve(out, 16384), 16384);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
        if (n == 0) {
            buf_add(out, "", 0); /* terminates */
            return OK;
        }
        out->len += (size_t)n;
        total += (size_t)n;
    }
    return err_set(e, ERR_CONFIG, "%s: more than %u bytes", path, FILE_MAX);
}

static bool write_all(int fd, struct bytes b)
{
    while (b.len) {
        ssize_t n = write(fd, b.data, b.len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            b.data += n;
            b.len -= (size_t)n;
        }
    }
    return fsync(fd) == 0;
}

enum err vtpm_file_write(const char *path, struct bytes content, mode_t mode, struct err_info *e)
{
    char beside[VTPM_PATH_SIZE];
    vtpm_file_path(beside, "%s.new", path);
    unlink(beside);
    AUTO(fd) int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0 || !write_all(fd, content) || rename(beside, path) != 0)
        return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
    return OK;
}

enum err vtpm_file_mkdir(const char *path, struct err_info *e)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return OK;
    return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)remove(path);
    return 0;
}

void vtpm_file_remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void vtpm_file_path(char *out, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(out, VTPM_PATH_SIZE, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= VTPM_PATH_SIZE)
        abort();
}
