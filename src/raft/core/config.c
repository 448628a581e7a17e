/* SPDX-License-Identifier: MIT */
/*
 * config.c - a configuration as bytes, the payload of a configuration entry.
 *
 *     u8 version  u16 count  then for each member:
 *         u64 id  u8 flags  [u64 replaces]  string name  string address
 *
 * A flag says whether the member replaces another. Strings are a u16 length and bytes. What cannot
 * be encoded cannot be decoded: ids are not 0 and unique, names and addresses not empty, voters at
 * most RAFT_MAX_VOTERS a side.
 */
#include "base/bytes.h"
#include "raft/core/core.h"

enum {
    CONFIG_VERSION = 1,
    FLAG_VOTER = 1,
    FLAG_VOTER_OUT = 2,
    FLAG_PROMOTE = 4,
    FLAG_REPLACES = 8,
    FLAGS_ALL = 15,
};

size_t raft_config_encode(const struct raft_config *config, uint8_t *out, size_t out_bytes)
{
    struct bytes_writer w = bytes_writer(out, out_bytes);
    bytes_put_u8(&w, CONFIG_VERSION);
    bytes_put_u16(&w, (uint16_t)config->count);
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *m = &config->members[i];
        bytes_put_u64(&w, m->id);
        bytes_put_u8(
            &w, (uint8_t)((m->voter ? FLAG_VOTER : 0) | (m->voter_out ? FLAG_VOTER_OUT : 0) |
                          (m->promote ? FLAG_PROMOTE : 0) | (m->replaces ? FLAG_REPLACES : 0)));
        if (m->replaces)
            bytes_put_u64(&w, m->replaces);
        bytes_put_string(&w, m->name);
        bytes_put_string(&w, m->address);
    }
    return w.bad ? 0 : bytes_written(&w);
}

static bool decode_member(struct bytes_reader *r, struct raft_member *m)
{
    memset(m, 0, sizeof(*m));
    m->id = bytes_get_u64(r);
    uint8_t flags = bytes_get_u8(r);
    m->voter = flags & FLAG_VOTER;
    m->voter_out = flags & FLAG_VOTER_OUT;
    m->promote = flags & FLAG_PROMOTE;
    bool replaces = flags & FLAG_REPLACES;
    m->replaces = replaces ? bytes_get_u64(r) : 0;
    bytes_get_string(r, m->name, sizeof(m->name));
    bytes_get_string(r, m->address, sizeof(m->address));
    return !r->bad && m->id != 0 && m->name[0] && m->address[0] && (flags & ~FLAGS_ALL) == 0 &&
           replaces == (m->replaces != 0) && m->replaces != m->id;
}

bool raft_config_decode(struct raft_config *config, const uint8_t *data, size_t bytes)
{
    struct bytes_reader r = bytes_reader(data, bytes);
    uint32_t voters = 0, voters_out = 0;
    if (bytes_get_u8(&r) != CONFIG_VERSION)
        return false;
    uint32_t count = bytes_get_u16(&r);
    if (r.bad || count == 0 || count > RAFT_MAX_MEMBERS)
        return false;
    config->count = 0;
    for (; config->count < count; config->count++) {
        struct raft_member *m = &config->members[config->count];
        if (!decode_member(&r, m) || raft_config_find(config, m->id))
            return false;
        voters += m->voter;
        voters_out += m->voter_out;
    }
    return bytes_left(&r) == 0 && voters > 0 && voters <= RAFT_MAX_VOTERS &&
           voters_out <= RAFT_MAX_VOTERS;
}

const struct raft_member *raft_config_find(const struct raft_config *config, raft_id id)
{
    for (uint32_t i = 0; i < config->count; i++)
        if (config->members[i].id == id)
            return &config->members[i];
    return NULL;
}

const struct raft_member *raft_config_find_name(const struct raft_config *config, const char *name)
{
    for (uint32_t i = 0; i < config->count; i++)
        if (strcmp(config->members[i].name, name) == 0)
            return &config->members[i];
    return NULL;
}
