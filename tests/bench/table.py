# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs become rows: minimum and median of each figure; and rows become a table that is read in a terminal."""
import statistics

HEAD = ("scenario", "tool", "runs", "ratio", "median", "worst", "others", "server MB", "of size", "CPU srv", "CPU rcv", "MiB rcv", "idle")


def row(scenario, tool, runs: list[dict]) -> dict:
    """One scenario with one tool. Only runs that are right and were not disturbed count; when none is, the reason."""
    good = [run for run in runs if run["ok"] and not run.get("disturbed")] or [run for run in runs if run["ok"]]
    result = {"scenario": scenario.name, "tool": tool.name, "receivers": scenario.n, "runs": len(good), "tried": len(runs),
              "disturbed": sum(bool(run.get("disturbed")) for run in runs)}
    if not good:
        result["why"] = next((run["why"] for run in reversed(runs) if run["why"]),
                             "nobody said why" if runs else "never run")
        result["done"] = max((run.get("done", 0) for run in runs), default=0)
        return result
    for role in ("steady", "slow", "joins", "restarted"):
        ratios = [run[role]["ratio"] for run in good if role in run]
        if ratios:
            result[role] = {"min": min(ratios), "median": round(statistics.median(ratios), 3), "max": max(ratios)}
    for key in ("server_sent", "server_got", "server_cpu", "receiver_cpu", "receiver_anon", "receiver_peak", "steal", "idle",
                "sent_of_size", "sent_of_changed", "seconds", "first_vm", "first_vm_untraced", "first_vm_full_copy",
                "first_vm_of_full", "boot_alone", "boot_bytes", "cores_at_gigabit"):
        values = [run[key] for run in good if key in run]
        if values:
            result[key] = round(statistics.median(values), 4)
    return result


def cells(line: dict) -> list[str]:
    if not line["runs"]:
        return [line["scenario"], line["tool"], f"0/{line['tried']}", line["why"]]
    steady = line.get("steady") or line.get("slow") or {"min": 0, "median": 0, "max": 0}
    others = ", ".join(f"{role} {line[role]['median']:.2f}" for role in ("slow", "joins", "restarted")
                       if role in line and line[role] is not steady)
    if "first_vm_of_full" in line:
        others = f"VM {line['first_vm']:.1f} s, {line['first_vm_of_full']:.1%} of {line['first_vm_full_copy']:.0f} s"
    if "cores_at_gigabit" in line:
        others = f"{line['cores_at_gigabit']:.2f} core at 1 Gbit/s"
    if "sent_of_changed" in line:
        others = f"bytes/changed {line['sent_of_changed']:.2f}"
    return [line["scenario"], line["tool"], f"{line['runs']}" + (f"(-{line['disturbed']})" if line["disturbed"] else ""),
            f"{steady['min']:.3f}", f"{steady['median']:.3f}", f"{steady['max']:.3f}", others, f"{line['server_sent'] / 1e6:.1f}",
            f"{line['sent_of_size']:.3f}", f"{line['server_cpu']:.2f}", f"{line['receiver_cpu']:.1f}",
            f"{line['receiver_anon'] / 2**20:.1f}", f"{line.get('idle', 0):.0%}"]


def text(rows: list[dict]) -> str:
    lines = [list(HEAD), *(cells(line) for line in rows)]
    width = [max(len(line[i]) for line in lines if len(line) == len(HEAD)) for i in range(len(HEAD))]
    out, before = [], ""
    for line in lines:
        first = line[0] if line[0] != before else ""
        before = line[0]
        shown = [first, *line[1:]]
        if len(line) < len(HEAD):
            out.append(f"{first:<{width[0]}}  {line[1]:<{width[1]}}  {line[2]:>{width[2]}}  {line[3]}")
        else:
            out.append("  ".join(f"{cell:<{w}}" if i < 2 or i == 6 else f"{cell:>{w}}"
                                 for i, (cell, w) in enumerate(zip(shown, width))).rstrip())
    return "\n".join(out)
