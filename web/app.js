// SPDX-License-Identifier: GPL-2.0-or-later
// The page of tonight: keeps a copy of what the controller says and shows it.
//
// Level-triggered like the rest of the product: an event only says "look again". Everything is asked anew
// (five small documents) at most four times a second, so the page cannot drift from the truth, and a missed
// event is mended by the next look, which comes every 30 s anyway.

import {Refused, get, setToken, stream, takeToken} from './api.js';
import {moves, showEvents, showTonight, tick, wirePopover} from './view.js';

const KEPT_EVENTS = 40;
const LOOK_EVERY_MS = 30000;
const MOVING_MS = 2000; // while PCs load: no event tells of each megabyte
const GATHER_MS = 250;

const at = (id) => document.getElementById(id);
let session = null; // {abort, seq, events, timer, again, regular, quick, moving, drawing, forbidden}

function setLink(state, text) {
	const chip = at('link');
	chip.dataset.link = state;
	chip.textContent = text;
	document.body.classList.toggle('stale', state === 'lost');
}

function setAlert(text) {
	at('alert').hidden = !text;
	at('alert').textContent = text || '';
}

function askForToken(reason) {
	stop();
	setAlert(reason);
	setLink('out', 'Signed out');
	at('loading').hidden = at('tonight').hidden = at('forget').hidden = true;
	at('sign-in').hidden = false;
	at('token').focus();
}

async function lookAll(mine) {
	const [lab, labs, pcs, clusters, joins] = await Promise.all([
		get('/lab'), get('/labs'), get('/pcs'), getIfAllowed(mine, '/clusters'), getIfAllowed(mine, '/joins'),
	]);
	return {
		lab, night: lab.night || null, labs: labs.items, pcs: pcs.items, clusters: clusters || [],
		joins: joins || (lab.join ? [lab.join] : []),
	};
}

// A viewer may not see everything: null then, and it is not asked for again.
async function getIfAllowed(mine, path) {
	if (mine.forbidden.has(path))
		return null;
	try {
		return (await get(path)).items;
	} catch (error) {
		if (!(error instanceof Refused && error.status === 403))
			throw error;
		mine.forbidden.add(path);
		return null;
	}
}

async function look(mine) {
	try {
		const tonight = await lookAll(mine);
		if (mine !== session)
			return;
		showTonight(tonight);
		mine.moving = moves(tonight);
		at('loading').hidden = true;
		at('tonight').hidden = false;
		setAlert('');
	} catch (error) {
		if (mine === session)
			trouble(error);
	}
}

function trouble(error) {
	if (error instanceof Refused && error.status === 401)
		askForToken('The controller does not know this token, or it has expired.');
	else if (error instanceof Refused && error.status === 403)
		askForToken('This token may not see the lab. Ask for one of role viewer or above.');
	else if (error instanceof Refused)
		setAlert(`The controller has a problem: ${error.message}`);
	else
		setLink('lost', 'Disconnected');
}

function lookSoon(mine, delay = GATHER_MS) {
	if (mine.timer) {
		mine.again = true; // one is on its way and may have missed what we know now
		return;
	}
	mine.timer = setTimeout(async () => {
		await look(mine);
		mine.timer = null;
		if (mine.again) {
			mine.again = false;
			lookSoon(mine);
		}
	}, delay);
}

function onEvent(mine, event) {
	if (event.seq <= mine.seq)
		return;
	mine.seq = event.seq;
	mine.events.unshift(event);
	mine.events.length = Math.min(mine.events.length, KEPT_EVENTS);
	// The stream begins with the whole log; what it brings at once is drawn at once.
	mine.drawing ??= setTimeout(() => {
		mine.drawing = null;
		if (mine === session)
			showEvents(mine.events);
	}, 50);
	lookSoon(mine);
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function follow(mine) {
	let wait = 500;
	while (mine === session) {
		try {
			await stream(mine.seq, {
				signal: mine.abort.signal,
				onOpen: () => {
					wait = 500;
					setLink('live', 'Live');
					lookSoon(mine, 0);
				},
				onEvent: (event) => onEvent(mine, event),
			});
		} catch (error) {
			if (mine !== session)
				return;
			trouble(error);
			if (mine === session)
				setLink('lost', 'Disconnected, trying again');
		}
		await pause(wait);
		wait = Math.min(wait * 2, 15000);
	}
}

function start() {
	stop();
	setAlert('');
	at('sign-in').hidden = true;
	at('forget').hidden = false;
	at('loading').hidden = false;
	setLink('connecting', 'Connecting');
	session = {abort: new AbortController(), seq: 0, events: [], timer: null, again: false, moving: false,
		forbidden: new Set()};
	const mine = session;
	mine.regular = setInterval(() => lookSoon(mine), LOOK_EVERY_MS);
	mine.quick = setInterval(() => mine.moving && lookSoon(mine), MOVING_MS);
	follow(mine);
}

function stop() {
	if (!session)
		return;
	session.abort.abort();
	clearTimeout(session.timer);
	clearInterval(session.regular);
	clearInterval(session.quick);
	session = null;
}

at('sign-in').addEventListener('submit', (event) => {
	event.preventDefault();
	setToken(at('token').value);
	at('token').value = '';
	start();
});
at('forget').addEventListener('click', () => {
	setToken(null);
	askForToken('');
});
addEventListener('hashchange', () => {
	if (location.hash.startsWith('#token=') && takeToken())
		start();
});
wirePopover(at('popover'));
setInterval(tick, 1000);
if (takeToken())
	start();
else
	askForToken('');
