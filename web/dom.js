// SPDX-License-Identifier: GPL-2.0-or-later
// Small words for building the page: elements, icons, times as people say them, and the one popover. Text from
// the controller only ever becomes text nodes, so nothing in a name or reason can become markup.

const SVG = 'http://www.w3.org/2000/svg';

// h('p', {class: 'x', 'data-key': 'y'}, 'text', node, null, [more]) -> element
export function h(tag, props, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(props || {}))
		if (value !== null && value !== undefined && value !== false)
			element.setAttribute(name, value === true ? '' : value);
	element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== ''));
	return element;
}

export function icon(name) {
	const svg = document.createElementNS(SVG, 'svg');
	const use = document.createElementNS(SVG, 'use');
	use.setAttribute('href', `#i-${name}`);
	svg.setAttribute('class', 'icon');
	svg.setAttribute('aria-hidden', 'true');
	svg.append(use);
	return svg;
}

// The controller's clock may be another than ours (a rehearsal runs a night in minutes).
let ahead = 0;
export function setClock(now) {
	const theirs = seconds(now);
	if (theirs)
		ahead = theirs * 1000 - Date.now();
}
// What has happened is not in the future, so a later stamp tells their clock too.
export function seenAt(time) {
	if (seconds(time) > now() + 2)
		setClock(time);
}
export const now = () => (Date.now() + ahead) / 1000;

// Unix seconds of a number or an RFC 3339 text; 0 for neither.
export function seconds(value) {
	if (typeof value === 'number')
		return value;
	const parsed = typeof value === 'string' ? Date.parse(value) / 1000 : 0;
	return Number.isFinite(parsed) ? parsed : 0;
}

export function clock(value) {
	const time = seconds(value);
	if (!time)
		return '–';
	const date = new Date(time * 1000);
	const text = date.toLocaleTimeString([], {hour: '2-digit', minute: '2-digit', hourCycle: 'h23'});
	const sameDay = date.toDateString() === new Date(now() * 1000).toDateString();
	return sameDay ? text : `${date.toLocaleDateString([], {day: 'numeric', month: 'short'})} ${text}`;
}

// 45 -> "45 s", 200 -> "3 min", 12000 -> "3 h 20 min"
export function span(length) {
	const s = Math.max(0, Math.round(length));
	if (s < 90)
		return `${s} s`;
	if (s < 3600)
		return `${Math.floor(s / 60)} min`;
	return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
}

export function size(bytes) {
	const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
	let n = bytes, i = 0;
	for (; n >= 1024 && i < units.length - 1; i++)
		n /= 1024;
	return `${i && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

// Replaces what is in `parent`, keeps the focus on the element with the same data-key.
export function fill(parent, ...children) {
	const key = parent.contains(document.activeElement) ? document.activeElement.dataset.key : null;
	parent.replaceChildren(...children.flat(3).filter(Boolean));
	if (key)
		parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({preventScroll: true});
}

// Rows of "title value" that have a value.
export function facts(rows) {
	return h('dl', {class: 'facts'}, rows.filter(([, value]) => value || value === 0)
		.map(([title, value]) => [h('dt', null, title), h('dd', null, String(value))]));
}

// ---- the popover: details on hover, focus or tap of an element with data-tip ----

const tips = new Map(); // key -> function that builds the content
export function tip(key, build) {
	tips.set(key, build);
	return key;
}

function place(popover, target) {
	const box = target.getBoundingClientRect(), width = popover.offsetWidth, height = popover.offsetHeight;
	const left = Math.min(Math.max(8, box.left + box.width / 2 - width / 2), innerWidth - width - 8);
	const below = box.bottom + 8 + height < innerHeight || box.top < height + 16;
	popover.style.left = `${left}px`;
	popover.style.top = `${below ? box.bottom + 8 : box.top - height - 8}px`;
}

export function wirePopover(popover) {
	let shown = null, leaving = null;
	const hide = () => {
		clearTimeout(leaving);
		popover.hidden = true;
		shown?.removeAttribute('aria-describedby');
		shown = null;
	};
	const show = (event) => {
		const target = event.target.closest?.('[data-tip]');
		clearTimeout(leaving);
		if (popover.contains(event.target) || (target && target === shown))
			return;
		if (!target || !tips.has(target.dataset.tip)) {
			leaving = setTimeout(hide, 250); // time to get into the popover with the pointer
			return;
		}
		hide();
		popover.replaceChildren(tips.get(target.dataset.tip)());
		popover.hidden = false;
		place(popover, target);
		shown = target;
		(target.matches('button') ? target : target.querySelector('button'))
			?.setAttribute('aria-describedby', 'popover');
	};
	document.addEventListener('pointerover', show);
	document.addEventListener('focusin', show);
	document.addEventListener('keydown', (event) => event.key === 'Escape' && hide());
	addEventListener('scroll', hide, {passive: true, capture: true});
}
