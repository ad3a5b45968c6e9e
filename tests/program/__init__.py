# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of whole programs: the CLI and the page against a controller that can be bent, the daemon against requests."""
