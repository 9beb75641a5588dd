-- Tokens, by which a service knows who asks; and in events, from where a change was asked for.

-- step: tokens
CREATE TABLE token (
    -- UUIDv7 of the moment when it was made; part of the token's text.
    id BLOB PRIMARY KEY NOT NULL,
    -- What the audit trail calls whoever presents it.
    name TEXT NOT NULL,
    -- The name while it is taken; NULL once the token is revoked, or another took the name of one that had expired.
    taken_name TEXT UNIQUE,
    -- What it allows: reader, registrar, revoker or admin.
    role TEXT NOT NULL,
    -- SHA-256 of the text's secret part. That has 256 random bits, so there is nothing that a slow hash would protect.
    secret_hash BLOB NOT NULL,
    -- When it was made.
    created_at INTEGER NOT NULL,
    -- Who made it, as in event.actor.
    created_by TEXT NOT NULL,
    -- From when on it is good for nothing; NULL is never.
    expires_at INTEGER,
    -- When it was revoked; NULL when it was not.
    revoked_at INTEGER,
    -- When it was last let in, to within a minute or so; NULL when it never was.
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

-- step: origins of events
-- From where the change was asked for, such as a client's address; NULL when it was not asked for over a network.
ALTER TABLE event ADD COLUMN origin TEXT;

-- step: requests of events
-- The id of the request that the change answered; NULL when there was none.
ALTER TABLE event ADD COLUMN request TEXT;
