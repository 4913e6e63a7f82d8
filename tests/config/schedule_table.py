#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes schedule_table.json: rates and momenta of every schedule, worked out here from the published
formulas alone. schedule_table_test.cpp holds the program against them.

    python3 tests/config/schedule_table.py > tests/config/schedule_table.json

The formulas follow the publications' own way of counting: last_batch_iteration i from -1 for the
file's schedulers, the number of updates done for Hugging Face's. Cycles are worked out with exact
fractions.
"""
import json
import math
from fractions import Fraction

LR = 0.004


def warm_up(i, steps, kind):
    steps = max(2, steps)
    if i >= steps:
        return 1.0
    return math.log(i + 1) / math.log(steps) if kind == "log" else i / steps


def warmup_lr(i, p):
    if i < 0:
        return p["warmup_min_lr"]
    return p["warmup_min_lr"] + (p["warmup_max_lr"] - p["warmup_min_lr"]) * warm_up(
        i, p["warmup_num_steps"], p["warmup_type"])


def warmup_decay_lr(i, p):
    n, total = p["warmup_num_steps"], p["total_num_steps"]
    if i < n:
        return warmup_lr(i, p)
    gamma = max(0.0, (total - i) / max(1.0, total - n))
    return p["warmup_min_lr"] + (p["warmup_max_lr"] - p["warmup_min_lr"]) * gamma


def warmup_cosine_lr(i, p):
    if i < 0:
        return 0.0
    n, total = p["warmup_num_steps"], p["total_num_steps"]
    if i < n:
        gamma = warm_up(i, n, p["warmup_type"])
        return LR * (p["warmup_min_ratio"] + gamma * (1 - p["warmup_min_ratio"]))
    progress = min(1.0, (i - n + 1) / max(1, total - n))
    low = p["cos_min_ratio"]
    return LR * (low + (1 - low) * (1 + math.cos(math.pi * progress)) / 2)


def range_test(i, p):
    x = Fraction(i + 1, p["lr_range_test_step_size"])
    if p["lr_range_test_staircase"]:
        x = math.floor(x)
    return p["lr_range_test_min_lr"] * (1 + p["lr_range_test_step_rate"] * float(x))


def cycle_share(i, p):
    """0 at the ends of a cycle, 1 at its peak, as an exact fraction."""
    first = p["cycle_first_step_size"]
    second = p.get("cycle_second_step_size", first)
    ratio = Fraction(first, first + second)
    x = Fraction(i + 1, first + second)
    x -= math.floor(x)
    rising = x <= ratio
    share = x / ratio if rising else (x - 1) / (ratio - 1)
    first_stairs = p.get("cycle_first_stair_count", 0)
    stairs = first_stairs if rising else p.get("cycle_second_stair_count", first_stairs)
    return Fraction(math.floor(share * stairs), stairs) if stairs else share


def one_cycle(i, p):
    total = p["cycle_first_step_size"] + p.get("cycle_second_step_size", p["cycle_first_step_size"])
    low, high = p["cycle_min_lr"], p["cycle_max_lr"]
    if i < total:
        return low + (high - low) * float(cycle_share(i, p))
    rate, size = p.get("decay_lr_rate", 0.0), p.get("decay_step_size", 0)
    return low / (1 + rate * (i - total + 1) / size) if rate and size else low


def one_cycle_momentum(i, p):
    total = p["cycle_first_step_size"] + p.get("cycle_second_step_size", p["cycle_first_step_size"])
    low, high = p.get("cycle_min_mom", 0.8), p.get("cycle_max_mom", 0.9)
    if i < total:
        return high - (high - low) * float(cycle_share(i, p))
    rate, size = p.get("decay_mom_rate", 0.0), p.get("decay_step_size", 0)
    return high * (1 + rate * (i - total + 1) / size) if rate and size else high


def hugging_face(kind, done, warmup, total):
    if kind == "constant":
        return LR
    if done < warmup:
        return LR * done / max(1, warmup)
    if kind == "constant_with_warmup":
        return LR
    if kind == "linear":
        return LR * max(0.0, (total - done) / max(1, total - warmup))
    progress = (done - warmup) / max(1, total - warmup)
    if kind == "cosine":
        return LR * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
    if kind == "cosine_with_restarts":
        return 0.0 if progress >= 1 else LR * max(0.0, 0.5 * (1 + math.cos(math.pi * progress % math.pi)))
    if kind == "polynomial":
        end = 1e-7
        return end if done > total else (LR - end) * (1 - (done - warmup) / (total - warmup)) + end
    raise ValueError(kind)


def file_rows():
    for steps in (10, 15, 19, 33):
        for kind in ("log", "linear"):
            base = {"warmup_min_lr": 0.0005, "warmup_max_lr": 0.003, "warmup_num_steps": steps,
                    "warmup_type": kind}
            yield "WarmupLR", base, warmup_lr, 45
            yield "WarmupDecayLR", base | {"total_num_steps": 40}, warmup_decay_lr, 45
            cosine = {"warmup_num_steps": steps, "warmup_type": kind, "total_num_steps": 60,
                      "warmup_min_ratio": 0.1, "cos_min_ratio": 0.05}
            yield "WarmupCosineLR", cosine, warmup_cosine_lr, 65
    for low, rate, size, stairs in ((1e-4, 1, 1, True), (1e-5, 1, 1, True), (1e-4, 1e-3, 1, True),
                                    (1e-3, 1e-2, 10, False), (1e-3, 2, 7, True), (1e-3, 2, 7, False)):
        yield "LRRangeTest", {"lr_range_test_min_lr": low, "lr_range_test_step_rate": rate,
                              "lr_range_test_step_size": size, "lr_range_test_staircase": stairs}, range_test, 40
    for extra in ({"cycle_first_step_size": 10}, {"cycle_first_step_size": 7, "cycle_second_step_size": 3},
                  {"cycle_first_step_size": 12, "cycle_second_step_size": 0},
                  {"cycle_first_step_size": 9, "decay_step_size": 5, "decay_lr_rate": 0.5},
                  {"cycle_first_step_size": 9, "decay_step_size": 5, "decay_lr_rate": 0.5,
                   "decay_mom_rate": 0.01, "cycle_min_mom": 0.7, "cycle_max_mom": 0.85},
                  {"cycle_first_step_size": 10, "cycle_first_stair_count": 4},
                  {"cycle_first_step_size": 10, "cycle_second_step_size": 15,
                   "cycle_first_stair_count": 3, "cycle_second_stair_count": 5}):
        yield "OneCycle", {"cycle_min_lr": 0.0004, "cycle_max_lr": 0.008} | extra, one_cycle, 60


def main():
    table = []
    for kind, params, formula, last in file_rows():
        row = {"scheduler": {"type": kind, "params": params},
               "rates": [formula(i, params) for i in range(-1, last)]}
        if kind == "OneCycle":
            row["momenta"] = [one_cycle_momentum(i, params) for i in range(-1, last)]
        table.append(row)
    for kind in ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts",
                 "polynomial"):
        for warmup, total in ((0, 20), (1, 20), (7, 30)):
            table.append({"flag": kind, "warmup_steps": warmup, "total_steps": total,
                          "rates": [hugging_face(kind, done, warmup, total) for done in range(total + 4)]})
    text = json.dumps({"lr": LR, "schedules": table})
    print(text.replace('{"scheduler"', '\n{"scheduler"').replace('{"flag"', '\n{"flag"').replace(
        '"rates"', '\n "rates"').replace('"momenta"', '\n "momenta"'))


if __name__ == "__main__":
    main()
