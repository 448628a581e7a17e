/* SPDX-License-Identifier: MIT */
/* What a node may be called, and what an address looks like. Pure. */
#include <ctype.h>
#include <string.h>

#include "raft/net/net.h"

bool raft_net_is_name(const char *text)
{
    size_t bytes = 0;
    for (; text[bytes]; bytes++)
        if (!isalnum((unsigned char)text[bytes]) && !strchr("._-", text[bytes]))
            return false;
    return bytes > 0 && bytes < RAFT_NAME_BYTES && *text != '.';
}

bool raft_net_is_address(const char *address, size_t bytes)
{
    const char *colon = memrchr(address, ':', bytes);
    if (!colon || colon == address || bytes >= RAFT_ADDRESS_BYTES)
        return false;
    size_t digits = bytes - (size_t)(colon - address) - 1;
    long port = 0;
    for (size_t i = 0; i < digits; i++) {
        if (!isdigit((unsigned char)colon[1 + i]) || i > 4)
            return false;
        port = port * 10 + (colon[1 + i] - '0');
    }
    for (const char *c = address; c < colon; c++)
        if (isspace((unsigned char)*c) || *c == ',')
            return false;
    return digits > 0 && port > 0 && port <= 65535;
}
