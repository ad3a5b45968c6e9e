# SPDX-License-Identifier: GPL-2.0-or-later
"""The tools that `make bench-images` compares, each behind the same few verbs."""
