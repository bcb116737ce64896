/* A test's folder, with the files in it. */
#ifndef TESTS_UNIT_FOLDER_H
#define TESTS_UNIT_FOLDER_H

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

/* 0, or -1 where it is not gone. */
static inline int folder_remove(const char *folder)
{
    DIR *d = opendir(folder);
    if (!d)
        return -1;
    for (const struct dirent *entry; (entry = readdir(d));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    closedir(d);
    return rmdir(folder);
}

#endif
