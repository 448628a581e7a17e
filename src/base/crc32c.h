/* SPDX-License-Identifier: MIT */
/*
 * crc32c.h - the checksum of log records and wire frames: CRC-32C (Castagnoli), by isa-l.
 *
 * Chaining: crc32c(crc32c(0, a), b) == crc32c(0, ab). Pure; any thread.
 */
#ifndef RAFTFS_BASE_CRC32C_H
#define RAFTFS_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
