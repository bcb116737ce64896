/* The INI file: what is loaded can be dumped, and the dump is loaded the same. */
#include "server/settings.h"
#include "tests/fuzz/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err load(const uint8_t *data, size_t size, struct arena *a, struct settings *out,
                     struct err_info *e)
{
    static char *const env[] = {NULL};
    char path[FUZZ_PATH_SIZE];
    int fd = file_of(data, size, path);
    enum err err = settings_load(path, env, a, out, e);
    close(fd);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct settings s, again;
    struct err_info e = {0};
    struct buf dump = {0}, other = {0};
    if (load(data, size, a, &s, &e)) {
        check(e.code == ERR_CONFIG && (e.detail[0] || e.n_fields));
    } else {
        config_dump(&settings_table, &s, &dump);
        check(load((const uint8_t *)dump.data, dump.len, a, &again, &e) == OK);
        config_dump(&settings_table, &again, &other);
        check(bytes_equal(buf_bytes(&dump), buf_bytes(&other)));
    }
    buf_free(&dump);
    buf_free(&other);
    arena_free(a);
    return 0;
}
