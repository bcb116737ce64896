/* Runs a fuzz target over the files of its corpus, as a normal test: replay DIR... . At least one
 * file has to be there, or the test would show nothing. */
#include "core/attr.h"
#include "core/cleanup.h"

#include <dirent.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
    AUTO(file) FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        return -1;
    long size = ftell(f);
    rewind(f);
    /* Exactly as long as the input, so that a read past its end is seen. */
    AUTO(free) uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    if (!data || size < 0 || fread(data, 1, (size_t)size, f) != (size_t)size)
        return -1;
    return LLVMFuzzerTestOneInput(data, (size_t)size);
}

static int run_dir(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    if (!d)
        return 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (run_file(path) != 0) {
            fprintf(stderr, "cannot run %s\n", path);
            n = -1;
            break;
        }
        n++;
    }
    closedir(d);
    return n;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int n = run_dir(argv[i]);
        if (n < 0)
            return 1;
        total += n;
    }
    printf("%d passed, 0 failed\n", total); /* as tests/run.py counts */
    return total == 0;
}
