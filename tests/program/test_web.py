# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of tonight in Debian's Chromium: what it shows, that it is live, how it fails, that it can be used
without colour, without a mouse and on a phone. Screenshots of each state are left in BUILD/web/."""
import json
import os
import pathlib
import re
import struct
import tempfile
import zlib

import pytest

from tests.program.browser import CHROMIUM, Browser
from tests.program.fake_api import FakeApi, empty

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("NIGHTCLASS_BUILD", ROOT / "build"))
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser():
    with Browser() as page:
        yield page


@pytest.fixture
def page(browser):
    browser.open("about:blank")
    browser.wait("location.href === 'about:blank'")
    browser.shape(width=1400, height=1000, dark=False, phone=False)
    browser.errors.clear()
    browser.asked.clear()
    return browser


@pytest.fixture
def api():
    fake = FakeApi().start()
    yield fake
    fake.stop()


def shown(page, api, fragment="#token=good"):
    page.open(f"{api.url}/{fragment}")
    page.wait("document.querySelector('#night h2')")
    page.wait("document.querySelector('#link').dataset.link === 'live'")


def picture(page, name):
    """A screenshot, and how many colours it has: a blank page has one."""
    png = page.screenshot(str(BUILD / "web" / f"{name}.png"))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    data, at = b"", 8
    while at < len(png):
        length, tag = struct.unpack(">I4s", png[at:at + 8])
        data += png[at + 8:at + 8 + length] if tag == b"IDAT" else b""
        at += length + 12
    raw = zlib.decompress(data)
    step = {2: 3, 6: 4}[kind]
    line = width * step + 1
    assert depth == 8 and len(raw) == line * height
    return len({raw[i:i + 60] for i in range(0, len(raw), 60 * 7)})


# ---- what it shows

def test_night_rooms_join_clusters_events(page, api):
    shown(page, api)
    page.wait("document.querySelectorAll('.events li').length === 9")
    assert page.text("#lab-name") == "Lab north"
    assert re.search(r"hand-back in 4 h \d+ min", page.text("#countdown"))
    part = int(page.eval("document.querySelector('#bar').getAttribute('aria-valuenow')"))
    assert part == 36
    assert page.eval("document.querySelectorAll('.room:not(.others .room) .seat').length") == 10
    assert re.search(r"pc7\s+Needs a person\s+did not ask for its boot script", page.text(".seat[data-state=exception]"))
    first = page.text(".seat")
    assert re.search(r"alice-001\s+10\.80\.1\.10\s+ready", first) and "Hosting VMs" in first
    assert "out of memory" not in page.text(".others")     # details are in the popover
    assert re.search(r"alice-007\s+10\.80\.2\.16\s+failed", page.text(".others"))
    assert "unreachable" in page.text(".others")
    assert page.text(".line").split() == ["north", "10.80.1.0/24", "uplink", "10.70.0.1", "0.4", "ms", "south",
                                          "10.80.2.0/24", "uplink", "10.70.0.2"]
    assert "5 of 8 ready" in page.text("#clusters")
    assert "pc7 needs a person" in page.text(".events")
    assert picture(page, "tonight") > 100
    assert not page.errors


def test_names_are_sorted_as_people_count(page, api):
    shown(page, api)
    names = page.eval("[...document.querySelectorAll('.rooms > .room .seat button')].map((b) => b.innerText)")
    assert names == [f"pc{i}" for i in range(1, 11)]


def test_dark(page, api):
    page.shape(dark=True)
    shown(page, api)
    assert page.eval("getComputedStyle(document.body).backgroundColor") == "rgb(11, 14, 29)"
    assert picture(page, "dark") > 100


def test_phone_has_no_sideways_scrolling(page, api):
    page.shape(width=390, height=844, phone=True)
    shown(page, api)
    assert page.eval("document.documentElement.scrollWidth") == 390
    assert picture(page, "phone") > 100


def test_empty_lab_says_what_to_do_next(page):
    api = FakeApi(empty()).start()
    try:
        shown(page, api)
        text = page.text("#tonight")
        for hint in ("nightclass night start", "nightclass pc add", "nightclass cluster create", "Nothing has happened"):
            assert hint in text
        picture(page, "empty")
        assert not page.errors
    finally:
        api.stop()


def test_the_whole_controller_is_tried_to_be_markup(page, api):
    evil = "<img src=x onerror=\"document.title='owned'\">"
    api.data["pcs"][0].update(reason=evil, seat=evil)
    api.data["clusters"][0].update(reason=evil)
    api.event("pc.state", "pc/pc1", evil)
    shown(page, api)
    page.wait("document.querySelectorAll('.events li').length === 10")
    assert evil in page.text(".events") and evil in page.text(".seat")
    assert page.eval("document.querySelectorAll('img').length") == 1     # the page's own
    assert "owned" not in page.eval("document.title")


def test_a_viewer_sees_what_a_viewer_may(page, api):
    api.forbidden = ("clusters", "joins")
    shown(page, api)
    assert "alice-001" in page.text(".seat") and "committed" in page.text("#join")
    api.data["pcs"][9]["state"] = "waking"
    api.event("pc.state", "pc/pc10", "desktop -> waking")
    page.wait("document.querySelectorAll('.seat')[9].dataset.state === 'waking'")
    assert len([path for _, path, _ in api.requests if path.endswith("/joins")]) == 1, "asked again for what is forbidden"


# ---- live

def test_an_event_changes_the_page_without_a_reload(page, api):
    shown(page, api)
    page.eval("window.sameDocument = true")
    api.data["pcs"][3]["state"] = "hosting"
    api.data["clusters"][0]["vms"][3]["pc"] = "pc4"
    api.event("pc.state", "pc/pc4", "pc4: host -> hosting")
    page.wait("document.querySelectorAll('.seat')[3].dataset.state === 'hosting'")
    page.wait("document.querySelectorAll('.seat')[3].innerText.includes('alice-004')")
    assert page.text(".events li:first-child .event-text") == "pc4: host -> hosting"
    assert page.eval("window.sameDocument")


def test_what_a_pc_loads_moves_without_an_event(page, api):
    """The place in the boot queue and the progress of an image are on the seat, and go on although no event comes."""
    shown(page, api)
    assert "loads, slot 2" in page.text(".seat[data-state=booting]")
    assert page.text(".load") == "image 42 %"
    assert page.eval("document.querySelector('.load').getAttribute('aria-valuenow')") == "42"
    full, done = (page.eval(f"document.querySelector('{one}').getBoundingClientRect().width")
                  for one in (".load-track", ".load-track i"))
    assert 0.40 < done / full < 0.44
    api.data["pcs"][3]["images"][0]["have"] = 135 << 20
    page.wait("document.querySelector('.load').innerText === 'image 75 %'")
    api.data["pcs"][3]["images"][0]["have"] = 180 << 20
    page.wait("!document.querySelector('.load')")


def test_focus_survives_a_change(page, api):
    shown(page, api)
    page.eval("document.querySelectorAll('.seat button')[2].focus()")
    api.data["pcs"][3]["state"] = "exception"
    api.event("pc.state", "pc/pc4", "pc4: host -> exception")
    page.wait("document.querySelectorAll('.seat')[3].dataset.state === 'exception'")
    assert page.eval("document.activeElement.innerText") == "pc3"


def test_disconnected_is_said_and_mended(page):
    api = FakeApi().start()
    shown(page, api)
    api.stop()
    page.wait("document.querySelector('#link').dataset.link === 'lost'")
    assert "Disconnected" in page.text("#link")
    assert page.text(".seat").count("pc") >= 10      # what was known stays, greyed
    picture(page, "disconnected")
    again = FakeApi()
    again.server.server_close()
    port = int(api.url.rpartition(":")[2])
    again.server = type(again.server)(("127.0.0.1", port), again.server.RequestHandlerClass)
    again.data["pcs"][9]["state"] = "waking"
    again.start()
    try:
        page.wait("document.querySelector('#link').dataset.link === 'live'", seconds=60)
        page.wait("document.querySelectorAll('.seat')[9].dataset.state === 'waking'")
    finally:
        again.stop()


# ---- the token

def test_token_leaves_the_address_bar(page, api):
    shown(page, api)
    assert page.eval("location.href") == f"{api.url}/"
    assert page.eval("sessionStorage.length === 1 && localStorage.length === 0 && document.cookie === ''")
    assert not [url for url in page.asked if "good" in url and "#" not in url]


def test_sign_in_and_out(page, api):
    page.open(api.url)
    page.wait("!document.querySelector('#sign-in').hidden")
    assert page.eval("document.activeElement.id") == "token"
    picture(page, "sign-in")
    page.eval("document.querySelector('#token').value = 'bad'; document.querySelector('#sign-in').requestSubmit()")
    page.wait("document.querySelector('#alert').innerText.includes('does not know this token')")
    page.eval("document.querySelector('#token').value = ' good '; document.querySelector('#sign-in').requestSubmit()")
    page.wait("document.querySelector('.seat')")
    page.eval("document.querySelector('#forget').click()")
    page.wait("!document.querySelector('#sign-in').hidden && document.querySelector('#tonight').hidden")
    assert page.eval("sessionStorage.length") == 0


def test_a_problem_of_the_controller_is_shown(page, api):
    shown(page, api)
    api.broken = 500
    api.event("pc.state", "pc/pc1", "something")
    page.wait("document.querySelector('#alert').innerText.includes('The store cannot be read.')")
    api.broken = None
    api.event("pc.state", "pc/pc1", "better")
    page.wait("document.querySelector('#alert').hidden")


# ---- for everybody

def test_details_by_mouse_and_by_keyboard(page, api):
    shown(page, api)
    page.hover(".wire button")
    page.wait("!document.querySelector('#popover').hidden")
    tip = page.text("#popover")
    assert "ip route add 10.80.2.0/24 via 10.70.0.2" in tip and "MSS 1460" in tip and "10.80.0.0/16" in tip
    picture(page, "join-details")
    page.key("Escape")
    page.wait("document.querySelector('#popover').hidden")
    page.eval("document.querySelector('.seat button').focus()")
    page.wait("!document.querySelector('#popover').hidden")
    assert "52:54:00:71:00:01" in page.text("#popover") and "OptiPlex" in page.text("#popover")
    assert page.eval("document.activeElement.getAttribute('aria-describedby')") == "popover"
    page.key("Tab")
    page.wait("document.querySelector('#popover').innerText.startsWith('pc2')")


CONTRAST = """
(() => {
	const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
	const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
	const paint = (colors) => {
		canvas.clearRect(0, 0, 1, 1);
		for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
		return [...canvas.getImageData(0, 0, 1, 1).data];
	};
	const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
	const behind = (e) => {
		const layers = [];
		for (; e; e = e.parentElement) {
			const style = getComputedStyle(e);
			if (style.backgroundImage !== 'none' && style.backgroundImage.startsWith('linear'))
				return null;        // the dark header; checked by eye
			layers.unshift(style.backgroundColor);
		}
		return layers;
	};
	const bad = [];
	for (const e of document.querySelectorAll('main *')) {
		const text = [...e.childNodes].filter((n) => n.nodeType === 3 && n.textContent.trim());
		if (!text.length || !e.checkVisibility())
			continue;
		const layers = behind(e);
		if (!layers)
			continue;
		const back = light(paint(layers)), fore = light(paint([...layers, getComputedStyle(e).color]));
		const ratio = (Math.max(back, fore) + 0.05) / (Math.min(back, fore) + 0.05);
		if (ratio < 4.5)
			bad.push(`${text[0].textContent.trim()}: ${ratio.toFixed(2)}`);
	}
	return bad;
})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast_is_aa(page, api, dark):
    page.shape(dark=dark)
    shown(page, api)
    page.wait("document.querySelectorAll('.events li').length === 9")
    assert page.eval(CONTRAST) == []


def test_states_are_words_and_icons_too(page, api):
    shown(page, api)
    bare = page.eval("[...document.querySelectorAll('.seat, .vm, .tag[data-state], .counts li')].filter((e) =>"
                     " !e.querySelector('svg use') || !/[a-z]{3}/i.test(e.innerText)).length")
    assert bare == 0
    icons = page.eval("[...new Set([...document.querySelectorAll('svg use')].map((u) => u.getAttribute('href')))]")
    assert page.eval("%s.filter((i) => !document.querySelector(i))" % json.dumps(icons)) == []


def test_semantics(page, api):
    shown(page, api)
    assert page.eval("document.documentElement.lang") == "en"
    assert page.eval("[...document.querySelectorAll('h1')].length") == 1
    assert page.eval("[...document.querySelectorAll('button')].filter((b) => !b.hidden && !b.innerText.trim()"
                     " && !b.getAttribute('aria-label')).length") == 0
    assert page.eval("[...document.querySelectorAll('button')].filter((b) => b.checkVisibility() &&"
                     " b.getBoundingClientRect().height < 24).length") == 0, "WCAG 2.2: targets of 24 px"
    assert page.eval("document.querySelector('#link').getAttribute('role')") == "status"


def test_nothing_comes_from_elsewhere(page, api):
    shown(page, api)
    assert page.asked and all(url.startswith((api.url, "data:", "about:")) for url in page.asked)
    for file in (ROOT / "web").iterdir():
        if file.is_file():
            text = file.read_text()
            assert not re.search(r"(?:src|href|url|import|from)[ =(]+['\"]?(?:https?:)?//", text), file
            assert not re.search(r"\son\w+=|style=|innerHTML|<script>", text), f"{file}: the CSP forbids it"


def test_a_browser_leaves_nothing(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:      # short: Chromium's socket is below it
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        with Browser() as other:
            other.open("about:blank")
        assert not os.listdir(folder)
