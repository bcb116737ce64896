/*
 * Expected PCR values as a person writes them down: {"0":"<hex>","7":"<hex>"}. Pure; any thread.
 */
#ifndef SERVER_PCR_FILE_H
#define SERVER_PCR_FILE_H

#include "attest/quote.h"

/* `bank`: whose the values are; BANK_COUNT: the size of the first one tells. ERR_VALIDATION, with a detail
 * that can stand behind the file's name, where the text is anything else or holds no value. */
enum err pcr_file_read(struct bytes text, enum pcr_bank bank, struct pcr_set *out,
                       struct err_info *e) MUST_CHECK;

#endif
