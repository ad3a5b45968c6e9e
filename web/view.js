// SPDX-License-Identifier: GPL-2.0-or-later
// What the controller said -> the page. Each section is drawn from the documents alone and only when they
// changed. A state is never told by colour alone: there is always an icon and a word.

import {clock, facts, fill, h, icon, now, seconds, seenAt, setClock, size, span, tip} from './dom.js';
export {wirePopover} from './dom.js';

const STATES = ['desktop', 'waking', 'booting', 'host', 'hosting', 'draining', 'returning', 'exception'];
const WORDS = {
	desktop: 'Desktop', waking: 'Waking', booting: 'Booting', host: 'Host, free', hosting: 'Hosting VMs',
	draining: 'Draining', returning: 'Returning', exception: 'Needs a person',
};
const VM_ICONS = {ready: 'ready', running: 'wait', starting: 'wait', waiting: 'wait', stopping: 'draining',
	failed: 'failed', absent: 'wait'};
// What an eye that skims the events must not miss.
const ALARM = /refused|failed|exception|alarm|held/;
const ALARM_STATE = /^[^:]*: [\w-]+ -> (exception|failed|partly)\b/; // what follows may be a guest's own words
const BUSY = new Set(['waking', 'booting', 'draining', 'returning']);

const at = (id) => document.getElementById(id);
const drawn = new Map(); // section -> what it was drawn from

// Draws only what changed.
function draw(section, source, make) {
	const key = JSON.stringify(source);
	if (drawn.get(section) === key)
		return;
	drawn.set(section, key);
	fill(at(section), make());
}

function plural(n, one, many = `${one}s`) {
	return `${n} ${n === 1 ? one : many}`;
}

function stateTag(state, word = state) {
	return h('span', {class: 'tag', 'data-state': state}, icon(tagIcon(state)), word);
}

function tagIcon(state) {
	if (STATES.includes(state))
		return state;
	if (['ready', 'committed', 'done', 'running'].includes(state))
		return 'ready';
	return ['failed', 'partly', 'withdrawn', 'lost'].includes(state) ? 'failed' : 'wait';
}

// ---- tonight ----

let night = null; // for tick()

function countStates(pcs) {
	return STATES.map((state) => [state, pcs.filter((pc) => pc.state === state).length])
		.filter(([, n]) => n);
}

function nightTitle(current) {
	if (!current)
		return 'Day: the PCs are desktops';
	return {planned: 'A night is planned', running: 'The night is running', ending: 'Handing back',
		done: 'The night is over'}[current.state] || 'Tonight';
}

function nightSection({pcs}) {
	const counts = h('ul', {class: 'counts', 'aria-label': 'PCs by state'}, countStates(pcs).map(([state, n]) =>
		h('li', {'data-state': state}, icon(state), h('b', null, String(n)), ` ${WORDS[state]}`)));
	const parts = [h('div', {class: 'night-head'}, h('h2', {id: 'night-title'}, nightTitle(night)),
		h('p', {id: 'countdown', class: 'countdown'}))];
	if (night && night.state !== 'done')
		parts.push(h('div', {class: 'bar', role: 'progressbar', id: 'bar', 'aria-label': 'The night so far',
			'aria-valuemin': '0', 'aria-valuemax': '100'}, h('span', {class: 'done'})),
		h('div', {class: 'bar-ends'}, h('span', null, `Began ${clock(night.begins)}`),
			h('span', null, 'Hand-back ', h('b', null, clock(night.ends)))));
	else if (!night)
		parts.push(h('p', {class: 'hint'}, 'No night is running. ', h('code', null,
			'nightclass night start --until 07:30'), ' lends the PCs until half past seven.'));
	parts.push(counts);
	return parts;
}

// Once a second: what only time changes.
export function tick() {
	const text = at('countdown'), bar = at('bar');
	if (!text)
		return;
	const begins = seconds(night?.begins), ends = seconds(night?.ends), left = ends - now();
	if (!night || night.state === 'done')
		text.textContent = '';
	else if (now() < begins)
		text.textContent = `begins in ${span(begins - now())}`;
	else
		text.textContent = left > 0 ? `hand-back in ${span(left)}` : `hand-back was ${span(-left)} ago`;
	if (bar) {
		const part = Math.min(1, Math.max(0, (now() - begins) / Math.max(1, ends - begins)));
		bar.style.setProperty('--done', `${(part * 100).toFixed(2)}%`);
		bar.setAttribute('aria-valuenow', String(Math.round(part * 100)));
		bar.setAttribute('aria-valuetext', text.textContent);
	}
}

// ---- the join: labs on a line ----

function milliseconds(ms) {
	return ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}

function probesBetween(join, a, b) {
	return (join.probes || []).filter((p) => (p.from === a && p.to === b) || (p.from === b && p.to === a));
}

function probeText(probe) {
	const result = probe.ok ? `${milliseconds(probe.ms ?? 0)}${probe.mss ? `, MSS ${probe.mss}` : ''}`
		: probe.reason || 'no answer';
	return `${probe.from} → ${probe.to}: ${result}`;
}

function wireTip(join, a, b) {
	const probes = probesBetween(join, a.lab, b.lab);
	return () => h('div', null, h('h3', null, `${a.lab} and ${b.lab}`),
		facts([[`VMs of ${a.lab}`, `${a.cluster_net} by ${a.uplink}`], [`VMs of ${b.lab}`,
			`${b.cluster_net} by ${b.uplink}`], ['Covered by', join.net]]),
		probes.length ? h('ul', {class: 'plain'}, probes.map((p) => h('li', null, probeText(p))))
			: h('p', {class: 'hint'}, 'Not probed yet.'),
		join.commands?.length ? [h('h4', null, 'Routes and NAT here, as commands'),
			h('pre', null, join.commands.join('\n'))] : null);
}

function wire(join, a, b) {
	const probes = probesBetween(join, a.lab, b.lab);
	const bad = probes.some((p) => !p.ok), best = probes.filter((p) => p.ok).map((p) => p.ms ?? 0);
	const word = bad ? 'no way' : best.length ? milliseconds(Math.min(...best)) : join.state;
	const key = tip(`wire/${a.lab}/${b.lab}`, wireTip(join, a, b));
	const state = bad ? 'failed' : join.state;
	return h('li', {class: 'wire', 'data-state': state}, h('button', {type: 'button', 'data-key': key,
		'data-tip': key, 'aria-label': `Way between ${a.lab} and ${b.lab}: ${word}. Details`},
	icon(bad ? 'failed' : 'link'), word));
}

function joinSection(join) {
	const labs = join.members || [];
	const line = labs.flatMap((member, i) => [i ? wire(join, labs[i - 1], member) : null,
		h('li', {class: 'stop', 'data-state': member.state}, icon('server'), h('b', null, member.lab),
			h('span', null, member.cluster_net), h('small', null, `uplink ${member.uplink}`))]);
	return [h('div', {class: 'panel-head'}, h('h2', {id: 'join-title'}, `${plural(labs.length, 'lab')} joined`),
		stateTag(join.state), h('span', {class: 'hint'}, join.state === 'committed'
			? `${join.id}, until ${clock(join.expires)}` : join.reason || join.id)),
	h('ol', {class: 'line'}, line)];
}

// ---- rooms ----

function pcTip(pc) {
	const f = pc.facts || {};
	return () => h('div', null, h('h3', null, pc.name, pc.seat ? `, ${pc.seat}` : ''), facts([
		['State', `${WORDS[pc.state] || pc.state}${pc.since ? `, for ${span(now() - seconds(pc.since))}` : ''}`],
		['Reason', pc.reason], ['Must be done', pc.deadline ? clock(pc.deadline) : ''], ['Address', pc.address],
		['MAC', pc.mac], ['Firmware', f.firmware?.toUpperCase()], ['Model', f.model], ['CPUs', f.cpus],
		['Memory', f.memory_mib ? size(f.memory_mib * 1048576) : ''],
		['Booted in', f.boot_ms ? `${Math.round(f.boot_ms / 1000)} s` : ''],
		['Desktop last seen', pc.desktop_at ? clock(pc.desktop_at) : ''], ['Boot queue', pc.boot?.text],
		['Scratch partition', pc.scratch?.text], ...(pc.images || []).map((image) =>
			[`Image ${image.digest.slice(0, 12)}`, `${size(image.have)} of ${size(image.total)}`]),
	]), pc.vms.length ? h('ul', {class: 'plain'}, pc.vms.map((vm) =>
		h('li', null, [vm.id, vm.state, vm.ip, vm.mac, vm.reason].filter(Boolean).join(', ')))) : null);
}

function vmChip(vm) {
	return h('li', {class: 'vm', 'data-state': vm.state}, icon(VM_ICONS[vm.state] || 'wait'),
		h('span', {class: 'vm-name'}, vm.id), vm.ip ? h('span', {class: 'vm-ip'}, vm.ip.split('/')[0]) : null,
		vm.state ? h('span', {class: 'vm-state'}, vm.state) : null);
}

// The images that are on their way to a PC.
function loading(pc) {
	return (pc.images || []).filter((image) => image.have < image.total);
}

const percent = (image) => Math.floor(image.have / image.total * 100);

function loadBar(image) {
	return h('div', {class: 'load', role: 'progressbar', 'aria-label': 'Image', 'aria-valuemin': '0',
		'aria-valuemax': '100', 'aria-valuenow': percent(image)},
	h('span', {class: 'load-track'}, h('i', {'data-part': percent(image)})), `image ${percent(image)} %`);
}

// Does anything move that no event tells of?
export function moves(t) {
	return t.pcs.some((pc) => pc.boot || loading(pc).length);
}

function remark(pc) {
	if (pc.reason)
		return pc.reason;
	if (pc.boot)
		return pc.boot.text;
	if (BUSY.has(pc.state) && pc.deadline)
		return `by ${clock(pc.deadline)}`;
	return pc.seat || '';
}

function seat(lab, pc) {
	const key = tip(`pc/${lab}/${pc.name}`, pcTip(pc));
	return h('li', {class: 'seat', 'data-state': pc.state, 'data-tip': key},
		h('div', {class: 'screen'},
			h('div', {class: 'seat-head'}, icon(pc.state),
				h('button', {type: 'button', 'data-key': key, 'data-tip': key}, pc.name),
				h('span', {class: 'seat-state'}, WORDS[pc.state] || pc.state)),
			remark(pc) ? h('p', {class: 'remark'}, remark(pc)) : null,
			loading(pc).map(loadBar),
			pc.vms.length ? h('ul', {class: 'vms', 'aria-label': `VMs on ${pc.name}`}, pc.vms.map(vmChip)) : null),
		h('div', {class: 'stand'}));
}

const byName = (a, b) => a.name.localeCompare(b.name, undefined, {numeric: true});

// VMs of all clusters by "lab/pc".
function vmsByPlace(clusters) {
	const places = new Map();
	for (const vm of clusters.flatMap((cluster) => cluster.vms || [])) {
		const place = `${vm.lab}/${vm.pc}`;
		places.set(place, [...(places.get(place) || []), vm]);
	}
	return places;
}

function ownRoom(t, places) {
	return {name: t.lab.name, own: true, reachable: true, pcs: t.pcs.map((pc) =>
		({...pc, vms: places.get(`${t.lab.name}/${pc.name}`) || (pc.vms || []).map((id) => ({id}))}))
		.sort(byName)};
}

// Another lab shows its hosts only (what it lends); the VMs there are known from our clusters.
function peerRoom(lab, places) {
	const hosts = (lab.seen?.hosts || []).map((host) => {
		const vms = places.get(`${lab.name}/${host.pc}`) || [];
		return {name: host.pc, state: vms.length ? 'hosting' : 'host', facts: host, vms};
	});
	return {name: lab.name, own: false, reachable: lab.reachable !== false, url: lab.url, seenAt: lab.seen_at,
		night: lab.seen?.night, pcs: hosts.sort(byName), counts: lab.seen?.pcs};
}

function roomHint(room) {
	if (!room.reachable)
		return `Its controller does not answer${room.seenAt ? `; last seen ${clock(room.seenAt)}` : ''}.`;
	if (room.own)
		return plural(room.pcs.length, 'PC');
	return room.pcs.length ? `${plural(room.pcs.length, 'host')} lent tonight` : 'lends nothing now';
}

function emptyRoom(room) {
	if (room.own)
		return h('p', {class: 'empty'}, 'No PC is known yet. ', h('code', null,
			'nightclass pc add pc1 --mac … --address …'), ' puts the first one on its seat.');
	return h('p', {class: 'empty'}, room.reachable ? 'No host here at the moment.'
		: 'What runs there goes on by itself and ends at its own hand-back time.');
}

function roomPanel(room) {
	return h('section', {class: 'panel room', 'data-reachable': String(room.reachable),
		'aria-label': `Lab ${room.name}`},
	h('div', {class: 'panel-head'}, h('h2', null, room.name),
		room.own ? h('span', {class: 'tag'}, 'this lab') : room.reachable ? null : stateTag('lost', 'unreachable'),
		h('span', {class: 'hint'}, roomHint(room))),
	h('div', {class: 'board', 'aria-hidden': 'true'}),
	room.pcs.length ? h('ul', {class: 'seats'}, room.pcs.map((pc) => seat(room.name, pc))) : emptyRoom(room));
}

// ---- clusters, events ----

function clusterRow(cluster) {
	const vms = cluster.vms || [], ready = vms.filter((vm) => vm.state === 'ready').length;
	const labs = [...new Set(vms.map((vm) => vm.lab))];
	const meter = h('span', {class: 'meter', role: 'img', 'aria-label': `${ready} of ${cluster.n} ready`},
		Array.from({length: Math.min(cluster.n, 64)}, (unused, i) =>
			h('i', {'data-state': vms[i]?.state || 'absent'})));
	return h('li', {class: 'cluster'},
		h('div', {class: 'cluster-head'}, h('h3', null, cluster.name), stateTag(cluster.state),
			h('span', {class: 'hint'}, `${ready} of ${cluster.n} ready`)), meter,
		h('p', {class: 'hint'}, [cluster.owner && `for ${cluster.owner}`, cluster.image_name || '',
			labs.length ? `in ${labs.join(' + ')}` : '', cluster.join ? `join ${cluster.join}` : '']
			.filter(Boolean).join(' · ')),
		cluster.reason ? h('p', {class: 'remark'}, cluster.reason) : null);
}

function clustersSection(clusters) {
	const live = clusters.filter((cluster) => cluster.state !== 'closed');
	return [h('h2', {id: 'clusters-title'}, 'Clusters'), live.length
		? h('ul', {class: 'plain'}, live.map(clusterRow))
		: h('p', {class: 'empty'}, 'None yet. ', h('code', null, 'nightclass cluster create NAME -n 8'),
			' makes one of eight VMs.')];
}

export function showEvents(events) {
	seenAt(events[0]?.at);
	at('no-events').hidden = events.length > 0;
	fill(at('event-list'), events.map((event) => h('li', {'data-kind': event.kind.split('.')[0],
		'data-alarm': ALARM.test(event.kind) || ALARM_STATE.test(event.text)},
	h('time', {datetime: new Date(seconds(event.at) * 1000).toISOString()}, clock(event.at)),
	h('span', {class: 'event-text'}, event.text), h('small', null, event.kind))));
}

export function showTonight(t) {
	setClock(t.lab.now);
	night = t.night;
	at('lab-name').textContent = `Lab ${t.lab.name}`;
	document.title = `${t.lab.name} · Nightclass`;
	draw('night', [night, t.pcs.map((pc) => pc.state)], () => nightSection(t));
	const join = t.joins.find((j) => !['withdrawn', 'failed'].includes(j.state)) || t.joins[0];
	at('join').hidden = !join;
	if (join)
		draw('join', join, () => joinSection(join));
	const places = vmsByPlace(t.clusters.filter((cluster) => cluster.state !== 'closed'));
	const rooms = [ownRoom(t, places),
		...t.labs.filter((lab) => lab.name !== t.lab.name && !lab.self).map((lab) => peerRoom(lab, places))];
	draw('rooms', rooms, () => [roomPanel(rooms[0]),
		rooms.length > 1 ? h('div', {class: 'others'}, rooms.slice(1).map(roomPanel)) : null]);
	for (const bar of document.querySelectorAll('.load i')) // the page allows no inline style
		bar.style.setProperty('--part', `${bar.dataset.part}%`);
	draw('clusters', t.clusters, () => clustersSection(t.clusters));
	tick();
}
