# SPDX-License-Identifier: GPL-2.0-or-later
"""How a host gets in, and who does not: the boot path, one-time tokens, certificates, goals, two claimants."""
import ssl
import threading

import pytest
from cryptography import x509

from tests.program.conftest import address, mac, sha256, until
from tests.program.host import Host


@pytest.fixture
def night(controller):
    """PCs 1 and 2, in a night, woken."""
    controller.add_pc(1)
    controller.add_pc(2)
    controller.host_image()
    controller.begin_night()
    return controller


def kinds(controller, kind):
    return [e["text"] for e in controller.events(kind)]


def state(controller, n):
    return controller.ok("GET", f"/pcs/pc{n}").json


def test_boot_scripts_and_files(controller):
    controller.host_image()
    controller.add_pc(1)
    assert "/boot/script?mac=${net" in controller.boot("/boot/start").body.decode()
    day = controller.boot(f"/boot/script?mac={mac(1)}", source=address(1)).body.decode()
    assert "nightclass.url" not in day, "in the day its own disk"
    stranger = controller.boot(f"/boot/script?mac={mac(9)}").body.decode()
    assert stranger.startswith("#!ipxe") and "nightclass.url" not in stranger
    assert [mac(9) in text for text in kinds(controller, "boot.refused")] == [True]
    assert controller.boot("/boot/script?mac=xyz").status == 400
    controller.begin_night()
    script = Host(controller, 1).fetch_script()
    image = (controller.state / "boot" / "host.squashfs").read_bytes()
    ca = ssl.PEM_cert_to_DER_cert(controller.boot("/boot/ca").body.decode())
    assert f"nightclass.root.sha256={sha256(image)}" in script and f"nightclass.ca=sha256:{sha256(ca)}" in script
    assert controller.admin not in script
    whole = controller.boot("/boot/files/host.squashfs")
    assert whole.body == image and whole.headers["Accept-Ranges"] == "bytes"
    part = controller.boot("/boot/files/host.squashfs", headers={"Range": "bytes=100-199"})
    assert part.status == 206 and part.body == image[100:200]
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(image)}"
    assert controller.boot("/boot/files/host.squashfs", headers={"Range": f"bytes={len(image)}-"}).status == 416
    for path in ("/boot/files/admin.token", "/boot/files/..", "/manifests/x", "/chunks/" + "0" * 64, "/api/v1/lab",
                 "/boot/files/nightclass.db"):
        assert controller.boot(path).status in (400, 404), path
    (controller.state / "boot" / "host.squashfs").write_bytes(b"another one")
    assert sha256(b"another one") in Host(controller, 1).fetch_script(), "a new image has a new digest"


def test_a_host_gets_in_and_gets_its_goal(night):
    host = Host(night, 1).boot()
    certificate = x509.load_pem_x509_certificate((host.folder / "cert.pem").read_bytes())
    assert [a.value for a in certificate.subject] == ["pc1"], "the name is ours, not the request's"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [u.dotted_string for u in usage] == ["1.3.6.1.5.5.7.3.2"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    goal = host.goal()
    assert goal.status == 200 and goal.json["pc"] == "pc1" and goal.json["role"] == "host"
    same = f"?generation={goal.json['generation']}"
    assert host.goal(same).status == 204
    assert host.goal(same + "&wait=1").status == 204
    assert host.report(generation=goal.json["generation"]).status == 204
    pc = state(night, 1)
    assert pc["state"] == "host" and pc["facts"]["memory_mib"] == 4096
    night.kill_and_restart()
    assert host.goal().status == 200, "a session outlives a crash of the controller"


def test_the_long_poll_wakes_for_a_new_goal(night):
    host = Host(night, 1).boot()
    answers = []
    generation = host.goal().json["generation"]
    thread = threading.Thread(target=lambda: answers.append(host.goal(f"?generation={generation}&wait=30", timeout=40)))
    thread.start()
    night.ok("POST", "/nights/current/end")
    thread.join(20)
    assert answers and answers[0].status == 200 and answers[0].json["role"] == "desktop"


def test_who_is_refused(night):
    assert Host(night, 9).ask_token().status == 403, "a PC that is not known"
    assert any(mac(9) in text for text in kinds(night, "enrol.refused"))
    assert Host(night, 1).ask_token().status == 403, "not expected before it fetched its script"
    first = Host(night, 1)
    first.fetch_script()
    elsewhere = Host(night, 1, source=address(2)).ask_token()
    assert elsewhere.status == 403 and "address" in elsewhere.json["detail"]
    token = first.ask_token().json["token"]
    assert first.ask_certificate("0" * 64).json["field"] == "token"
    assert Host(night, 1).ask_certificate(token).status == 403, "the token of another session"
    assert Host(night, 2, boot_id=first.boot_id).ask_certificate(token).status == 403, "another PC's token"
    assert first.ask_certificate(token, csr="no request").json["field"] == "csr"
    bad = first.ask_certificate(token, facts={**first.facts(), "cpus": "two"})
    assert bad.status == 400 and bad.json["field"] == "facts.cpus"
    assert first.ask_certificate(token).status == 200, "and none of them spoiled it"
    assert len(kinds(night, "enrol.refused")) >= 5
    database = b"".join(p.read_bytes() for p in night.state.glob("nightclass.db*"))
    assert token.encode() not in database


def test_an_expired_token_is_refused(night):
    host = Host(night, 1)
    host.fetch_script()
    token = host.ask_token().json["token"]
    night.clock.write_text("121\n")
    until(lambda: night.ok("GET", "/lab").json["now"] > state(night, 1)["since"], 10, "the clock")
    assert host.ask_certificate(token).status == 403


def test_the_same_request_again_has_the_result_of_one(night):
    host = Host(night, 1)
    host.fetch_script()
    token = host.ask_token().json["token"]
    assert host.ask_certificate(token).status == 200
    again = host.ask_certificate(token)
    assert again.status == 200, "its first answer was lost"
    late = host.ask_certificate(host.ask_token().json["token"])
    assert late.status == 200
    host.keep(late.json["certificate"])
    assert host.goal().status == 200
    assert not kinds(night, "enrol.held")


def held(night, *hosts):
    assert state(night, 1)["state"] == "exception"
    alarm = kinds(night, "enrol.held")
    assert alarm and "pc1" in alarm[0]
    assert night.ok("GET", "/nights").items[0]["report"]["pcs"]["pc1"]["failures"], "the morning's report tells it"
    for host in hosts:
        assert host.goal().status == 403 and host.report().status == 403
    assert "nightclass.url" not in Host(night, 1).fetch_script(), "a new boot is no way around it"


def test_a_second_claimant_holds_both(night):
    first = Host(night, 1).boot()
    second = Host(night, 1).ask_token()
    assert second.status == 403 and "held" in second.json["detail"]
    held(night, first)
    assert Host(night, 1).ask_token().status == 403
    night.kill_and_restart()
    held(night, first)
    night.ok("PATCH", "/pcs/pc1", {"release": True})
    assert first.goal().status == 403, "the released PC begins anew"
    until(lambda: state(night, 1)["state"] == "waking", 20, "the released PC to be woken")
    assert Host(night, 1).boot().goal().status == 200


def test_the_same_boot_with_another_key_holds_both(night):
    first = Host(night, 1).boot()
    thief = Host(night, 1, boot_id=first.boot_id)
    token = thief.ask_token()
    assert token.status == 200, "it could be the PC whose answer was lost"
    assert thief.ask_certificate(token.json["token"]).status == 403
    held(night, first)


def test_a_reset_pc_comes_back_and_the_old_session_must_be_silent(night):
    first = Host(night, 1).boot()
    second = Host(night, 1).boot()
    assert second.goal().status == 200 and state(night, 1)["state"] == "host"
    assert first.goal().status == 403, "the older session speaks beside the newer one"
    held(night, second)


def test_a_host_has_only_its_own_goal(night):
    one, two = Host(night, 1).boot(), Host(night, 2).boot()
    assert two.goal().json["pc"] == "pc2"
    for query in ("?pc=pc2", "?name=pc2", "?generation=0&pc=pc2"):
        assert one.goal(query).status == 400
    assert ["pc1" in text and "query parameter" in text for text in kinds(night, "host.refused")] == [True]
    assert night("PUT", f"/host/traces/{'0' * 64}", raw=b"x", headers={"Content-Type": "application/octet-stream"},
                 token=None, source=one.source, certificate=one.certificate).status == 403
    assert ["pc1" in text and "trace" in text for text in kinds(night, "host.refused")] == [False, True]
    assert one.report(facts=two.facts()).status == 403
    assert "another boot" in kinds(night, "host.refused")[2]
    for path in ("/pcs", "/lab", "/clusters", "/tokens", "/events"):
        assert night("GET", path, token=None, source=one.source, certificate=one.certificate).status == 401


def test_foreign_and_ended_certificates(night, make_controller):
    other = make_controller()
    other.add_pc(1)
    other.host_image()
    other.begin_night()
    foreign = Host(other, 1).boot()
    assert night("GET", "/host/goal", token=None, certificate=foreign.certificate).status == 401
    assert night("GET", "/host/goal", token=None).status == 401
    assert night("GET", "/host/goal").status == 401, "an administrator is no PC"
    assert night("GET", "/lab", token=other.admin).status == 401, "nor is another lab's administrator ours"
    host = Host(night, 1).boot()
    night.clock.write_text("7300\n")  # an hour after the hand-back
    until(lambda: host.goal().status in (401, 403), 10, "the certificate to end")
