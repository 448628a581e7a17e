# SPDX-License-Identifier: MIT
"""linearizable.py - is there one order of all operations on a register that explains what was seen?

A history is a list of Op, each with the time of its call and of its return. Every write writes a
value of its own, and the register starts as `initial`. A write whose outcome is unknown has no
return: it may take effect at any time from its call on, or never.

With values that tell which write a read saw, the question is easy (Gibbons and Korach, "Testing
shared memories", theorem 4.2). Take each write together with the reads that saw it. From the first
return among them to the last call among them the register must hold their value all the time: a
forward zone, if that time is not empty. Otherwise all of them were running at once at some time, and
some moment of it is enough: a backward zone. The history is linearizable if and only if no read
returned before its write was called, no two forward zones overlap, and no backward zone lies within
a forward one.
"""
from dataclasses import dataclass
from itertools import permutations
from typing import Optional

FOR_EVER = float("inf")


@dataclass
class Op:
    kind: str  # "read" or "write"
    value: Optional[str]
    call: float
    ret: Optional[float] = None  # None: unknown
    who: str = ""


@dataclass
class Zone:
    value: str
    start: float
    end: float
    forward: bool


def zones(ops, initial):
    """The zones of all values, or the text of what is wrong already."""
    writes = {initial: Op("write", initial, -FOR_EVER, -FOR_EVER)}
    writes.update({op.value: op for op in ops if op.kind == "write"})
    reads = {value: [] for value in writes}
    for op in ops:
        if op.kind != "read":
            continue
        if op.value not in writes:
            return f"{op} saw what nobody wrote"
        if op.ret < writes[op.value].call:
            return f"{op} saw what was written later"
        reads[op.value].append(op)
    found = []
    for value, write in writes.items():
        if write.ret is None and not reads[value]:
            continue  # it need not have happened
        group = reads[value] + [write]
        first_return = min(FOR_EVER if op.ret is None else op.ret for op in group)
        last_call = max(op.call for op in group)
        forward = first_return < last_call
        found.append(Zone(value, min(first_return, last_call), max(first_return, last_call),
                          forward))
    return found


def violation(ops, initial):
    """None if the history is linearizable, else what nothing explains."""
    found = zones(ops, initial)
    if isinstance(found, str):
        return found
    forward = sorted((z for z in found if z.forward), key=lambda z: z.start)
    for before, after in zip(forward, forward[1:]):
        if after.start < before.end:
            return f"{before} and {after} both hold"
    for z in found:
        for f in forward:
            if not z.forward and f.start < z.start and z.end < f.end:
                return f"{z} lies within {f}"
    return None


def violation_by_trial(ops, initial):
    """The same by trying all orders, for tests of the above."""
    unknown = [op for op in ops if op.ret is None]
    known = [op for op in ops if op.ret is not None]
    for chosen in range(1 << len(unknown)):
        happened = known + [op for i, op in enumerate(unknown) if chosen >> i & 1]
        for order in permutations(happened):
            if explains(order, initial):
                return None
    return "no order explains it"


def explains(order, initial):
    latest_call, value = -FOR_EVER, initial
    for op in order:
        latest_call = max(latest_call, op.call)
        if op.ret is not None and op.ret < latest_call:
            return False  # it had returned before one that is ordered before it was called
        if op.kind == "write":
            value = op.value
        elif op.value != value:
            return False
    return True
