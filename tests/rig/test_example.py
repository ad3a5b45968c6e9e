# SPDX-License-Identifier: GPL-2.0-or-later
"""The example at the top of the rig is true, and short."""
import textwrap

from tests import rig


def test_the_example_works(tmp_path):
    example = textwrap.dedent("\n".join(line for line in rig.__doc__.splitlines() if line.startswith("    ") or not line))
    assert len(example.strip().splitlines()) < 20
    names: dict = {}
    exec(example, names)  # pylint: disable=exec-used
    names["test_two_labs_join"](tmp_path)
