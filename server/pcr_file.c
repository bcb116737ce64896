#include "server/pcr_file.h"

#include "core/json.h"

/* "0" to "23": "07" would be a second name of 7. */
static unsigned index_of(const char *key)
{
    unsigned i = 0;
    while (i < EVIDENCE_PCRS && strcmp(pcr_names[i], key) != 0)
        i++;
    return i;
}

static bool set_value(struct pcr_set *set, const char *key, const char *hex)
{
    size_t len = hex ? strlen(hex) : 0;
    unsigned index = index_of(key);
    if (index == EVIDENCE_PCRS)
        return false;
    for (int i = 0; set->bank == BANK_COUNT && i < BANK_COUNT; i++)
        if (pcr_banks[i].size * 2 == len)
            set->bank = (enum pcr_bank)i;
    if (set->bank == BANK_COUNT ||
        !hex_decode(hex ? hex : "", len, set->values[index], pcr_banks[set->bank].size))
        return false;
    set->mask |= 1u << index;
    return true;
}

enum err pcr_file_read(struct bytes text, enum pcr_bank bank, struct pcr_set *out,
                       struct err_info *e)
{
    AUTO(json) json_t *root = NULL;
    const char *key;
    json_t *v;
    *out = (struct pcr_set){.bank = bank};
    if (json_parse(text, &root, NULL) || !json_is_object(root))
        return err_set(e, ERR_VALIDATION, "is not a JSON object of PCR values");
    json_object_foreach(root, key, v)
    {
        if (!set_value(out, key, json_string_value(v)))
            return err_set(e, ERR_VALIDATION,
                           "has a PCR without a valid index or digest: \"%.32s\"", key);
    }
    return out->mask ? OK : err_set(e, ERR_VALIDATION, "holds no PCR values");
}
