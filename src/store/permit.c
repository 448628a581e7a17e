/* SPDX-License-Identifier: MIT */
#include "store/permit.h"

#include <errno.h>
#include <sys/stat.h>

bool permit_in_group(const struct command_caller *caller, uint32_t gid)
{
    if (caller->gid == gid)
        return true;
    for (uint16_t i = 0; i < caller->group_count; i++)
        if (caller->groups[i] == gid)
            return true;
    return false;
}

bool permit_is_owner(const struct command_caller *caller, const struct store_attr *attr)
{
    return caller->uid == 0 || caller->uid == attr->uid;
}

int permit_access(const struct command_caller *caller, const struct store_attr *attr, unsigned want)
{
    if (caller->uid == 0) {
        bool executable = S_ISDIR(attr->mode) || (attr->mode & 0111);
        return (want & PERMIT_EXECUTE) && !executable ? -EACCES : 0;
    }
    unsigned have = attr->mode & 7;
    if (caller->uid == attr->uid)
        have = (attr->mode >> 6) & 7;
    else if (permit_in_group(caller, attr->gid))
        have = (attr->mode >> 3) & 7;
    return (want & ~have) ? -EACCES : 0;
}

int permit_delete(const struct command_caller *caller, const struct store_attr *dir,
                  const struct store_attr *victim)
{
    int error = permit_access(caller, dir, PERMIT_WRITE | PERMIT_EXECUTE);
    if (error || !(dir->mode & S_ISVTX))
        return error;
    return permit_is_owner(caller, victim) || permit_is_owner(caller, dir) ? 0 : -EPERM;
}
