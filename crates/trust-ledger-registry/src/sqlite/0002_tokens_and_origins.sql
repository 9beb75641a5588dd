-- Tokens of the service, and from where changes were asked for.

-- step: tokens
CREATE TABLE token (
    -- UUIDv7 of the moment it was made; part of the token's text.
    id BLOB PRIMARY KEY NOT NULL,
    -- What it is called, and who the audit trail says made the changes that it was used for. Unique among those that are
    -- neither revoked nor expired.
    name TEXT NOT NULL,
    -- 0 reader, 1 registrar, 2 revoker, 3 admin.
    role INTEGER NOT NULL,
    -- SHA-256 of the secret part of its text, which is stored nowhere.
    hash BLOB NOT NULL,
    -- When it was made.
    created_at INTEGER NOT NULL,
    -- Who made it.
    created_by TEXT NOT NULL,
    -- From when on it is refused; NULL when it does not expire.
    expires_at INTEGER,
    -- When it was revoked; NULL while it is not.
    revoked_at INTEGER,
    -- When it was last used, to a minute or so; NULL when it never was.
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

-- step: from where events were asked for
-- An address or the like; NULL for what was done on the ledger's own machine.
ALTER TABLE event ADD COLUMN origin TEXT;

-- step: requests of events
-- The id of the service's request; NULL when there was none.
ALTER TABLE event ADD COLUMN request TEXT;
