# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for a condition with a deadline and a useful complaint."""
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
