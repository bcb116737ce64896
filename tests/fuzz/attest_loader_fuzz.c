/* What loaders log: GRUB's and systemd-stub's texts, device paths, SBAT levels. The first byte is the
 * PCR of the event. */
#include "attest/devpath.h"
#include "attest/loader.h"
#include "attest/sbat.h"
#include "attest/uefi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_sbat(struct bytes text)
{
    struct sbat_walk w = sbat_lines(text);
    struct sbat_entry e;
    struct bytes missing;
    char name[SBAT_NAME_MAX + 1];
    while (sbat_next(&w, &e))
        sbat_name(&e, name);
    /* A level that can be read asks nothing that it does not hold itself. */
    if (!w.bad && !sbat_at_least(text, text, &missing) && sbat_generation(text, "sbat") == 1)
        (void)sbat_revision(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena *a = arena_new();
    struct bytes rest = BYTES(data + 1, size - 1);
    const struct log_event ev = {.pcr = data[0], .type = EV_IPL, .data = rest};
    struct loader_event e = loader_read(&ev);
    struct uefi_image_load image;
    loader_text(&e, a);
    devpath_text(rest, a);
    if (!uefi_image_load_parse(rest, &image))
        devpath_text(image.device_path, a);
    read_sbat(rest);
    arena_free(a);
    return 0;
}
