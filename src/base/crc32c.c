/* SPDX-License-Identifier: MIT */
#include "base/crc32c.h"

#include <isa-l.h>

/* isa-l neither inverts its result nor its seed, takes an int length, and does not write to data.
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)bytes, ~crc);
}
