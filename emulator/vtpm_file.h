/* Files of the vTPMs' state: whole reads, and writes that are there completely or not at all. */
#ifndef EMULATOR_VTPM_FILE_H
#define EMULATOR_VTPM_FILE_H

#include "core/buf.h"
#include "core/err.h"

#include <sys/types.h>

/* Appends the file's content; ERR_NOT_FOUND where there is none, ERR_CONFIG beyond 1 MiB. */
enum err vtpm_file_read(const char *path, struct buf *out, struct err_info *e) MUST_CHECK;
/* Writes beside it, syncs and renames. ERR_CONFIG. */
enum err vtpm_file_write(const char *path, struct bytes content, mode_t mode,
                         struct err_info *e) MUST_CHECK;
/* mkdir, fine where it is there (0700). ERR_CONFIG. */
enum err vtpm_file_mkdir(const char *path, struct err_info *e) MUST_CHECK;
/* Removes the files of a directory and the directory, as deep as it goes; does not follow links. */
void vtpm_file_remove_tree(const char *path);
/* snprintf into a path of VTPM_PATH_SIZE; ends the process where it does not fit (the state
 * directory's length was checked before). */
void vtpm_file_path(char *out, const char *fmt, ...) PRINTF(2, 3);

#endif
