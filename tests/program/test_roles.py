# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole table of routes against every role. The rows come from the sources, so a new route is tested by being
there; what each role may is said here once more, by hand, and both have to agree."""
import re

import pytest

from tests.program.conftest import ROOT
from tests.program.host import Host

PEOPLE = ["viewer", "user", "teacher", "operator", "admin"]
ROW = re.compile(r'\{\s*"(GET|POST|PUT|PATCH|DELETE)",\s*"([^"]+)",\s*ROLE_([A-Z]+),\s*([A-Z0-9_| ]+),')

# The least role of every HTTPS row: a change of a row has to be made here too.
WANTED = """
none GET / ; none GET /web/x ; none GET /api/v1/health ; none GET /api/v1/ca
none POST /api/v1/enrol ; none POST /api/v1/enrol/token
viewer GET /api/v1/lab ; viewer GET /api/v1/labs ; admin PUT /api/v1/labs/x ; admin DELETE /api/v1/labs/x
viewer GET /api/v1/pcs ; operator POST /api/v1/pcs ; viewer GET /api/v1/pcs/x
operator PATCH /api/v1/pcs/x ; operator DELETE /api/v1/pcs/x
viewer GET /api/v1/images ; operator POST /api/v1/images ; viewer GET /api/v1/images/x ; operator DELETE /api/v1/images/x
viewer GET /api/v1/imports/x ; user PUT /api/v1/uploads/x ; user GET /api/v1/uploads/x
viewer GET /api/v1/events ; admin GET /api/v1/tokens ; admin POST /api/v1/tokens ; admin DELETE /api/v1/tokens/x
pc GET /api/v1/host/goal ; pc POST /api/v1/host/report ; pc PUT /api/v1/host/traces/x
"""


def rows() -> list[tuple[str, str, str]]:
    found = []
    for source in sorted((ROOT / "controller" / "api").glob("*.c")):
        for method, path, role, flags in ROW.findall(source.read_text()):
            if "ROUTE_BOOT" not in flags:
                found.append((method, re.sub(r"\{[^}]*\}", "x", path), role.lower()))
    return found


def test_table_is_what_was_agreed():
    wanted = {}
    for item in WANTED.replace("\n", ";").split(";"):
        if item.strip():
            role, method, path = item.split()
            wanted[method, path] = "nobody" if role == "none" else role
    table = {(method, path): role for method, path, role in rows()}
    assert len(table) == len(rows()), "a row twice"
    assert len(table) >= 45, "the rows were not found in the sources"
    for key, role in wanted.items():
        assert table.get(key) == role, key
    for (method, path), role in table.items():
        if path.startswith("/api/v1/peers/"):
            assert role == "peer", path
        elif (method, path) not in wanted:
            assert role in (["operator"] if re.search(r"/(joins|nights)\b", path) and method != "GET" else
                            ["viewer", "user", "operator"]), (method, path, role)


@pytest.fixture(scope="module")
def callers(shared):
    """Who may call: each role's token, a peer's, nobody; and a certificate of a live host session."""
    tokens = {role: shared.make_token(f"t-{role}", role) for role in [*PEOPLE, "peer"]}
    shared.add_pc(1)
    shared.host_image()
    shared.begin_night()
    return {**tokens, "nobody": None, "pc": Host(shared, 1).boot()}


def call(shared, callers, who, method, path):
    headers = {} if method in ("GET", "DELETE") else {"Content-Type": "application/json", "Content-Length": "1"}
    raw = None if method in ("GET", "DELETE") else b"?"
    if re.search("/(uploads|traces)/", path) and raw:
        headers["Content-Type"] = "application/octet-stream"
    if path.endswith("/end"):
        raw, headers = None, {}
    host = callers["pc"] if who == "pc" else None
    return shared(method, path.removeprefix("/api/v1"),
                  token=None if host else callers[who], raw=raw, headers=headers,
                  certificate=host.certificate if host else None, source=host.source if host else "127.0.0.1")


@pytest.mark.parametrize("method,path,role", rows(), ids=lambda v: v)
def test_every_row_against_every_role(shared, callers, method, path, role):
    if not path.startswith("/api/v1"):
        return
    for who in [*PEOPLE, "peer", "nobody", "pc"]:
        allowed = role == "nobody" or (role in PEOPLE and who in PEOPLE and PEOPLE.index(who) >= PEOPLE.index(role)) \
            or (role == who and who in ("peer", "pc"))
        # the call is harmless when let in: a body that is no JSON, a name that does not exist
        status = call(shared, callers, who, method, path).status
        if allowed:
            assert status not in (401, 403) or role == "nobody", (who, status)
        else:
            assert status == (401 if who in ("nobody", "pc") or role == "pc" else 403), (who, status)
