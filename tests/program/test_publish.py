# SPDX-License-Identifier: GPL-2.0-or-later
"""Which revision is used, what the controller signs for it, and what hosts say when they do not get it."""
import json
import os

import pytest

from tests.program.conftest import BUILD
from tests.program.host import Host
from tests.program.test_uploads import ended, upload

MIB = 1 << 20


def add_revision(controller, name="mpi", draft=False, data: bytes | None = None) -> dict:
    """A new revision of an image: its row."""
    if not (BUILD / "nightclass-import").exists():
        pytest.skip(f"{BUILD}/nightclass-import is not built")
    body = {"name": name, "upload": upload(controller, data or os.urandom(MIB)), "format": "raw"}
    done = ended(controller, controller("POST", "/images", {**body, "draft": True} if draft else body))
    assert done["state"] == "done", done
    return next(i for i in controller.ok("GET", "/images").items if i["digest"] == done["digest"])


def states(controller, name="mpi") -> dict[int, str]:
    return {i["revision"]: i["state"] for i in controller.ok("GET", "/images").items if i["name"] == name}


def signed(controller, image: dict):
    return controller.boot(f"/publications/{image['digest']}")


@pytest.fixture
def night(controller):
    controller.add_pc(1)
    controller.host_image()
    controller.begin_night()
    return Host(controller, 1).boot()


def test_an_import_publishes_and_a_draft_does_not(controller):
    one = add_revision(controller)
    assert one["state"] == "published" and signed(controller, one).status == 200
    two = add_revision(controller, draft=True)
    assert two["state"] == "draft" and signed(controller, two).status == 404
    shown = controller.ok("GET", "/images/mpi").json
    assert shown["revision"] == 1, "what is in use, not what is newest"
    assert shown["publication"]["sequence"] >= 1 and shown["publication"]["key"]
    assert controller.ok("GET", "/images/mpi?revision=2").json["publication"] is None
    published = controller.ok("POST", "/images/mpi/publish", {"revision": 2}).json
    assert published["revision"] == 2 and published["publication"]["sequence"] > shown["publication"]["sequence"]
    again = controller.ok("POST", "/images/mpi/publish", {"revision": 2}).json
    assert again == published, "the same request twice has the result of one"
    assert states(controller) == {1: "former", 2: "published"}
    assert signed(controller, one).status == 404 and signed(controller, two).status == 200
    back = controller.ok("POST", "/images/mpi/rollback", {}).json
    assert back["revision"] == 1 and back["publication"]["sequence"] > published["publication"]["sequence"]
    assert states(controller) == {1: "published", 2: "former"}
    texts = [e["text"] for e in controller.events("image.published")]
    assert texts == ["image mpi revision 1 is published", "image mpi revision 2 is published",
                     "image mpi went back from revision 2 to revision 1"]


BAD = [
    ("/images/mpi/publish", {}, 400, "revision"),
    ("/images/mpi/publish", {"revision": 0}, 400, "revision"),
    ("/images/mpi/publish", {"revision": "1"}, 400, "revision"),
    ("/images/mpi/publish", {"revision": 1, "force": True}, 400, "force"),
    ("/images/mpi/publish", {"revision": 9}, 404, None),
    ("/images/other/publish", {"revision": 1}, 404, None),
    ("/images/mpi/rollback", {"revision": 9}, 400, "revision"),
    ("/images/mpi/rollback", {}, 404, None),
    ("/images/other/rollback", {}, 404, None),
]


@pytest.fixture(scope="module")
def one_image(shared):
    if not any(i["name"] == "mpi" for i in shared.ok("GET", "/images").items):
        add_revision(shared)
    return shared


@pytest.mark.parametrize("path,body,status,field", BAD, ids=[f"{i}-{c[0]}" for i, c in enumerate(BAD)])
def test_bad_requests(one_image, path, body, status, field):
    answer = one_image("POST", path, body)
    assert answer.status == status and answer.headers["Content-Type"] == "application/problem+json", answer
    assert answer.json.get("field") == field
    assert states(one_image) == {1: "published"}


def test_the_key_is_made_once_and_shown(controller):
    key = controller.state / "tls" / "publication.key"
    assert key.stat().st_mode & 0o777 == 0o600
    public = controller.ok("GET", "/lab").json["image_key"]
    image = add_revision(controller)
    before = signed(controller, image).json
    controller.kill_and_restart()
    assert controller.ok("GET", "/lab").json["image_key"] == public and signed(controller, image).json == before
    secret = key.read_text().strip()
    assert secret not in json.dumps(before) and secret != public


def test_what_is_signed(controller):
    """The statement as libsodium sees it: checked here by another implementation."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    image = add_revision(controller)
    text = signed(controller, image).body
    document = json.loads(text)
    assert {k: document[k] for k in ("format", "name", "revision", "digest")} == {
        "format": 1, "name": "mpi", "revision": 1, "digest": image["digest"]}
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(controller.ok("GET", "/lab").json["image_key"]))
    body = {k: v for k, v in document.items() if k != "signature"}
    canonical = json.dumps(body, separators=(",", ":")).encode()
    public.verify(bytes.fromhex(document["signature"]), b"nightclass publication\n" + canonical)
    for path in ("/publications/" + "0" * 64, "/publications/x", "/publications/" + image["digest"].upper()):
        assert controller.boot(path).status == 404


def test_a_deployment_keeps_its_revision(controller, night):
    one = add_revision(controller)
    assert controller.ok("POST", "/clusters", {"name": "alice", "n": 1, "image": "mpi", "memory_mib": 64}).json["revision"] == 1
    first = signed(controller, one).json
    two = add_revision(controller)
    goal = night.goal().json
    assert [i["digest"] for i in goal["images"]][0] == one["digest"] and goal["vms"][0]["image"] == one["digest"]
    assert goal["image_key"] == controller.ok("GET", "/lab").json["image_key"]
    now = signed(controller, one).json
    assert now["sequence"] == signed(controller, two).json["sequence"] > first["sequence"], \
        "a host that has seen the new revision still takes the one its cluster keeps"
    # The same request again is the same cluster; with another revision it is not.
    again = {"name": "alice", "n": 1, "image": "mpi", "memory_mib": 64}
    assert controller.ok("POST", "/clusters", again).json["revision"] == 1
    assert controller("POST", "/clusters", {**again, "revision": 2}).status == 409
    refused = controller("DELETE", "/images/mpi?revision=1&force=1")
    assert refused.status == 409 and "alice" in refused.json["detail"]
    controller.ok("DELETE", "/clusters/alice")


def test_a_named_revision_is_deployed_published_or_not(controller, night):
    add_revision(controller)
    draft = add_revision(controller, draft=True)
    made = controller.ok("POST", "/clusters", {"name": "trial", "n": 1, "image": "mpi", "revision": 2, "memory_mib": 64})
    assert made.json["revision"] == 2 and made.json["image"] == draft["digest"]
    assert signed(controller, draft).status == 200, "its hosts may fetch it"
    assert states(controller) == {1: "published", 2: "draft"}
    assert controller("POST", "/clusters", {"name": "x", "n": 1, "image": "mpi", "revision": 7}).json["field"] == "image"


def test_hosts_hear_of_what_is_published(make_controller):
    """What is fetched ahead follows: a host that waits for its next goal gets one."""
    controller = make_controller(lab="preload = mpi")
    controller.add_pc(1)
    controller.host_image()
    one = add_revision(controller)
    controller.begin_night()
    host = Host(controller, 1).boot()
    goal = host.goal().json
    assert [i["digest"] for i in goal["images"]] == [one["digest"]]
    draft = add_revision(controller, draft=True)
    assert host.goal(f"?generation={goal['generation']}&wait=0").status == 204, "a draft is nobody's business"
    controller.ok("POST", "/images/mpi/publish", {"revision": 2})
    assert [i["digest"] for i in host.goal(f"?generation={goal['generation']}&wait=10").json["images"]] == [draft["digest"]]


def test_nothing_published_is_not_deployed(controller, night):
    add_revision(controller, draft=True)
    refused = controller("POST", "/clusters", {"name": "a", "n": 1, "image": "mpi", "memory_mib": 64})
    assert refused.status == 404 and "image publish mpi 1" in refused.json["detail"]


def test_deleting_the_published_one_takes_force(controller):
    add_revision(controller)
    add_revision(controller)
    assert controller("DELETE", "/images/mpi?revision=1").status == 204
    refused = controller("DELETE", "/images/mpi?revision=2")
    assert refused.status == 409 and "--force" in refused.json["detail"]
    assert controller("DELETE", "/images/mpi").status == 409
    assert controller("DELETE", "/images/mpi?force=2").json["field"] == "force"
    assert controller("DELETE", "/images/mpi?force=1").status == 204
    assert add_revision(controller)["revision"] == 3, "no number is used twice"


def test_what_goes_wrong_on_the_way_is_told_once(controller, night):
    """A host that gets its image all the same says whom it does not ask again; a PC that flips bits is known by it."""
    image = add_revision(controller)
    line = {"digest": image["digest"], "have": 0, "total": 0}
    liar = "10.71.0.12:8082 sent wrong data 3 times and is passed over"
    slow = "10.71.0.13:8082 gets 0.9 MB/s where 11.0 are to be had, and is passed over"
    for notes in ([liar], [liar], [liar, slow], [slow]):
        assert night.report(images=[{**line, "notes": notes}]).status == 204
    assert night.report(images=[{**line, "notes": ["two\nlines"]}]).status == 400
    assert night.report(images=[{**line, "notes": [liar] * 9}]).status == 400
    assert [(e["subject"], e["text"]) for e in controller.events("image.source")] == [
        ("pc/pc1", f"PC pc1 gets image mpi revision 1 another way: {liar}"),
        ("pc/pc1", f"PC pc1 gets image mpi revision 1 another way: {slow}")]
    assert controller.events("image.failed") == []


def test_a_hosts_trouble_is_told_once(controller, night):
    image = add_revision(controller)
    line = {"digest": image["digest"], "have": 0, "total": 0}
    for reason in ("its signature is wrong", "its signature is wrong", "cut off"):
        assert night.report(images=[{**line, "reason": reason}]).status == 204
    assert night.report(images=[line]).status == 204
    assert night.report(images=[{**line, "reason": "cut off"}]).status == 204
    assert [(e["subject"], e["text"]) for e in controller.events("image.failed")] == [
        ("pc/pc1", "PC pc1 does not get image mpi revision 1: its signature is wrong"),
        ("pc/pc1", "PC pc1 does not get image mpi revision 1: cut off"),
        ("pc/pc1", "PC pc1 does not get image mpi revision 1: cut off")]
