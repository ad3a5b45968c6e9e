# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for a condition with a deadline and a useful complaint, and what a process shows from outside."""
import os
import time


def until(condition, timeout: float, what: str, every: float = 0.2):
    """Calls condition() until it is true; its value. TimeoutError says what was waited for and the last value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout:.0f} s, last seen: {value!r}")
        time.sleep(every)


def open_files(pid: int) -> list[str]:
    """What a process has open at this moment; what it closes while we look may be missing."""
    folder, names = f"/proc/{pid}/fd", []
    for fd in os.listdir(folder):
        try:
            names.append(os.readlink(f"{folder}/{fd}"))
        except FileNotFoundError:
            pass
    return names
