/* The file of `tlgate eventlog --pcrs`: what is taken is what stands there, and written out again it is read
 * the same. */
#include "server/pcr_file.h"

#include "core/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void write_out(const struct pcr_set *set, struct buf *out)
{
    struct jw w = jw_over(out);
    jw_open(&w, '{');
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        if (!(set->mask >> i & 1))
            continue;
        jw_key(&w, pcr_names[i]);
        jw_hex(&w, BYTES(set->values[i], pcr_banks[set->bank].size));
    }
    jw_close(&w, '}');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int bank = 0; bank <= BANK_COUNT; bank++) {
        struct pcr_set set, again;
        struct err_info e = {0};
        struct buf text = {0};
        if (pcr_file_read(BYTES(data, size), (enum pcr_bank)bank, &set, &e)) {
            check(e.code == ERR_VALIDATION && e.detail[0]);
            continue;
        }
        check(set.bank < BANK_COUNT && set.mask && set.mask >> EVIDENCE_PCRS == 0);
        check(bank == BANK_COUNT || (int)set.bank == bank);
        write_out(&set, &text);
        check(pcr_file_read(buf_bytes(&text), BANK_COUNT, &again, NULL) == OK);
        check(again.bank == set.bank && again.mask == set.mask &&
              memcmp(again.values, set.values, sizeof set.values) == 0);
        buf_free(&text);
    }
    return 0;
}
