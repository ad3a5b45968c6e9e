-- SPDX-License-Identifier: GPL-2.0-or-later
-- The data dictionary of one controller: what it wants (goal), what it was told (seen), what happened (event).
-- One controller keeps one lab; other labs are rows that say how to reach their controllers.
-- Times are Unix seconds of the injected clock, sizes as their column says, addresses and MACs as text in the
-- one form lib/str writes. This file is migration 1; later ones are controller/store/migrations.c.

CREATE TABLE lab (              -- this lab (self = 1, one row) and its peers
    name        TEXT PRIMARY KEY,
    self        INTEGER NOT NULL DEFAULT 0,
    url         TEXT NOT NULL,             -- https://ADDRESS:PORT of its controller
    ca_pem      TEXT NOT NULL DEFAULT '',  -- the CA we expect there
    token       TEXT NOT NULL DEFAULT '',  -- what we show there (role peer)
    seen        TEXT,                      -- last lab document it answered (JSON), NULL: never
    seen_at     INTEGER,
    missed      INTEGER NOT NULL DEFAULT 0 -- beats missed in a row; 3: unreachable
) STRICT;

CREATE TABLE token (            -- bearer tokens; only their SHA-256 is kept
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    role        TEXT NOT NULL CHECK (role IN ('viewer','user','teacher','operator','admin','peer')),
    digest      TEXT NOT NULL UNIQUE,
    expires     INTEGER                    -- NULL: never
) STRICT;

CREATE TABLE pc (
    name        TEXT PRIMARY KEY,          -- stable id, "pc1"
    seat        TEXT NOT NULL DEFAULT '',
    mac         TEXT NOT NULL UNIQUE,
    address     TEXT NOT NULL UNIQUE,      -- reserved by DHCP
    probe       TEXT NOT NULL DEFAULT '',  -- how its desktop answers: "tcp:22", "ping", "agent"; '' the lab's
    state       TEXT NOT NULL DEFAULT 'desktop',
    since       INTEGER NOT NULL,          -- of state
    deadline    INTEGER,                   -- of a passing state
    reason      TEXT NOT NULL DEFAULT '',  -- of state exception, or what hinders
    night       INTEGER REFERENCES night(id),  -- that holds it, NULL in the day
    boot_id     TEXT NOT NULL DEFAULT '',  -- of the host session that enrolled
    facts       TEXT,                      -- proto_facts of that session (JSON)
    generation  INTEGER NOT NULL DEFAULT 0,-- of its goal; grows with each change
    applied     INTEGER NOT NULL DEFAULT 0,-- generation last reported
    reported_at INTEGER,
    report      TEXT,                      -- last proto_report (JSON)
    desktop_at  INTEGER                    -- its desktop was last seen answering
) STRICT;

CREATE TABLE enrolment (        -- one row per host session that was let in
    boot_id     TEXT PRIMARY KEY,
    pc          TEXT NOT NULL REFERENCES pc(name) ON DELETE CASCADE,
    token       TEXT NOT NULL,             -- SHA-256 of the one-time token
    expires     INTEGER NOT NULL,          -- of the token
    used        INTEGER NOT NULL DEFAULT 0,
    certificate TEXT NOT NULL DEFAULT '',  -- SHA-256 of the public key certified
    held        INTEGER NOT NULL DEFAULT 0 -- 1: a second session claimed the same PC, an operator decides
) STRICT;
CREATE INDEX enrolment_pc ON enrolment(pc);

CREATE TABLE image (            -- revisions present in the chunk store
    name        TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    digest      TEXT NOT NULL,             -- SHA-256 of the manifest
    size        INTEGER NOT NULL,          -- virtual size in bytes
    stored      INTEGER NOT NULL,          -- bytes of its chunks as stored
    created     INTEGER NOT NULL,
    PRIMARY KEY (name, revision)
) STRICT;

CREATE TABLE import (           -- images being made; one that runs is begun anew after a restart
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,             -- of the image
    request     TEXT NOT NULL,             -- JSON
    state       TEXT NOT NULL CHECK (state IN ('running','done','failed')),
    reason      TEXT NOT NULL DEFAULT '',
    digest      TEXT NOT NULL DEFAULT '',  -- of the manifest, when done
    created     INTEGER NOT NULL
) STRICT;

CREATE TABLE night (
    id          INTEGER PRIMARY KEY,
    begins      INTEGER NOT NULL,
    ends        INTEGER NOT NULL,          -- the hand-back time; every lease ends here
    pcs         TEXT NOT NULL,             -- JSON array of PC names
    state       TEXT NOT NULL CHECK (state IN ('planned','running','ending','done')),
    report      TEXT                       -- JSON, written as it goes and closed at the end
) STRICT;

CREATE TABLE net_join (         -- "join" is a keyword of SQL
    id          TEXT PRIMARY KEY,
    coordinator TEXT NOT NULL,             -- lab name
    state       TEXT NOT NULL CHECK (state IN ('proposed','prepared','committed','failed','withdrawn')),
    expires     INTEGER NOT NULL,
    net         TEXT NOT NULL,             -- covers all cluster subnets, "10.80.0.0/16"
    reason      TEXT NOT NULL DEFAULT '',
    probes      TEXT                       -- JSON matrix: from, to, ok, ms, mss
) STRICT;

CREATE TABLE join_member (
    net_join    TEXT NOT NULL REFERENCES net_join(id) ON DELETE CASCADE,
    lab         TEXT NOT NULL,
    uplink      TEXT NOT NULL,             -- address its lab server has towards the others
    cluster_net TEXT NOT NULL,             -- subnet given to its VMs, "10.80.1.0/24"
    state       TEXT NOT NULL,             -- as above, per member
    PRIMARY KEY (net_join, lab)
) STRICT;

CREATE TABLE cluster (
    name        TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    home        TEXT NOT NULL,             -- lab whose controller took the request
    image       TEXT NOT NULL,             -- manifest digest
    image_name  TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    cpus        INTEGER NOT NULL,
    memory_mib  INTEGER NOT NULL,
    policy      TEXT NOT NULL,             -- 'spread' or 'pack'
    net_join    TEXT,                      -- NULL: this lab alone
    night       INTEGER REFERENCES night(id),
    state       TEXT NOT NULL CHECK (state IN ('deploying','ready','partly','closing','closed','failed')),
    keys        TEXT,                      -- JSON of the night's keys; emptied when closed
    created     INTEGER NOT NULL,
    reason      TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE vm (
    id          TEXT PRIMARY KEY,          -- host name, "alice-003"
    cluster     TEXT NOT NULL REFERENCES cluster(name) ON DELETE CASCADE,
    number      INTEGER NOT NULL,          -- serial number in the cluster, from 1
    lab         TEXT NOT NULL,             -- where it runs
    pc          TEXT NOT NULL,             -- on which PC of that lab
    mac         TEXT NOT NULL UNIQUE,
    ip          TEXT NOT NULL UNIQUE,      -- with prefix length, "10.80.1.13/24"
    context     TEXT NOT NULL,             -- proto_vm (JSON); emptied when closed
    wanted      INTEGER NOT NULL DEFAULT 1,-- 0: to be removed
    state       TEXT NOT NULL DEFAULT 'absent', -- last seen, a proto_vm_state name
    reason      TEXT NOT NULL DEFAULT '',
    ready_at    INTEGER,
    ready_ms    INTEGER
) STRICT;
CREATE INDEX vm_pc ON vm(lab, pc);

CREATE TABLE run (              -- a program run over a cluster
    id          INTEGER PRIMARY KEY,
    cluster     TEXT NOT NULL,
    owner       TEXT NOT NULL,
    program     TEXT NOT NULL,             -- SHA-256 of the staged file
    name        TEXT NOT NULL,             -- its base name
    args        TEXT NOT NULL,             -- JSON array
    ranks       INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('staging','running','done','failed')),
    exit_code   INTEGER,
    reason      TEXT NOT NULL DEFAULT '',
    created     INTEGER NOT NULL,
    ended       INTEGER
) STRICT;

CREATE TABLE event (            -- the log people read; gapless
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    kind        TEXT NOT NULL,             -- "pc.state", "join.state", "enrol.refused", ...
    subject     TEXT NOT NULL,             -- "pc/pc1", "cluster/alice", "lab/north"
    text        TEXT NOT NULL,             -- one sentence
    data        TEXT                       -- JSON object or NULL
) STRICT;

CREATE TABLE idempotency (      -- answers kept so that the same request twice has the result of one
    key         TEXT NOT NULL,
    token       INTEGER NOT NULL,
    request     TEXT NOT NULL,             -- SHA-256 of method, path and body
    status      INTEGER NOT NULL,
    answer      TEXT NOT NULL,
    created     INTEGER NOT NULL,
    PRIMARY KEY (key, token)
) STRICT;
