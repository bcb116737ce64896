/*
 * EFI device paths as text (UEFI 2.10, 10.6): "PciRoot(0x0)/Pci(0x3,0x0)/Scsi(0x1,0x0)/HD(1,GPT,
 * <guid>,...)/\EFI\BOOT\BOOTX64.EFI". Nodes of a kind without a text of its own are
 * Path(type,subtype,hex).
 */
#ifndef ATTEST_DEVPATH_H
#define ATTEST_DEVPATH_H

#include "core/arena.h"

#define DEVPATH_TEXT_MAX 1024

/* Never NULL. What is not well-formed ends the text with "<malformed>", what is too long with "...". */
const char *devpath_text(struct bytes path, struct arena *a);

#endif
