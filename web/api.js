// SPDX-License-Identifier: GPL-2.0-or-later
// The way to the controller: requests with the bearer token, and the event stream.
//
// The stream is read by fetch because EventSource cannot send the token in a header, and a token in the
// address would end in logs and histories. The token lives in sessionStorage: it dies with the tab. Nothing
// here touches the document.

const KEY = 'nightclass.token';

export class Refused extends Error {
	constructor(status, problem) {
		super(problem.detail || problem.title || `the controller answered ${status}`);
		this.status = status;
	}
}

// A token handed over as #token=... is taken out of the address bar at once.
export function takeToken() {
	const handed = /^#token=([^&]+)/.exec(location.hash);
	if (handed) {
		setToken(decodeURIComponent(handed[1]));
		history.replaceState(null, '', location.pathname + location.search);
	}
	return sessionStorage.getItem(KEY);
}

export function setToken(token) {
	if (token)
		sessionStorage.setItem(KEY, token.trim());
	else
		sessionStorage.removeItem(KEY);
}

function ask(path, accept, signal) {
	return fetch(`/api/v1${path}`, {
		headers: {Authorization: `Bearer ${sessionStorage.getItem(KEY) || ''}`, Accept: accept},
		cache: 'no-store',
		credentials: 'omit',
		signal,
	});
}

export async function get(path) {
	const answer = await ask(path, 'application/json', AbortSignal.timeout(20000));
	if (!answer.ok)
		throw new Refused(answer.status, await answer.json().catch(() => ({})));
	return answer.json();
}

// One block of a stream ("id: 7\ndata: {...}") -> event or null (comments, keep-alives).
export function parseBlock(block) {
	const data = block.split(/\r?\n/).filter((line) => line.startsWith('data:'))
		.map((line) => line.slice(5).trimStart());
	return data.length ? JSON.parse(data.join('\n')) : null;
}

// Calls onEvent for each event after `after` until the connection ends, which is an error (it should not)
// unless `signal` aborted it. onOpen: the stream stands.
export async function stream(after, {onOpen, onEvent, signal}) {
	const answer = await ask(`/events?after=${after}`, 'text/event-stream', signal);
	if (!answer.ok)
		throw new Refused(answer.status, await answer.json().catch(() => ({})));
	onOpen();
	const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = '';
	for (;;) {
		const {value, done} = await reader.read();
		if (done)
			throw new Error('the controller ended the event stream');
		const blocks = (rest + value).split(/\r?\n\r?\n/);
		rest = blocks.pop();
		for (const block of blocks) {
			const event = parseBlock(block);
			if (event)
				onEvent(event);
		}
	}
}
