-- Tokens of the service, and from where changes were asked for.

-- step: tokens
CREATE TABLE token (
    -- UUIDv7 of the moment it was made; part of the token's text.
    id uuid PRIMARY KEY,
    -- What it is called, and who the audit trail says made the changes that it was used for. Unique among those that are
    -- neither revoked nor expired.
    name text COLLATE "C" NOT NULL,
    -- 0 reader, 1 registrar, 2 revoker, 3 admin.
    role smallint NOT NULL,
    -- SHA-256 of the secret part of its text, which is stored nowhere.
    hash bytea NOT NULL,
    -- When it was made.
    created_at timestamptz NOT NULL,
    -- Who made it.
    created_by text COLLATE "C" NOT NULL,
    -- From when on it is refused; NULL when it does not expire.
    expires_at timestamptz,
    -- When it was revoked; NULL while it is not.
    revoked_at timestamptz,
    -- When it was last used, to a minute or so; NULL when it never was.
    last_used_at timestamptz
);

-- step: from where events were asked for
-- An address or the like; NULL for what was done on the ledger's own machine.
ALTER TABLE event ADD COLUMN origin text COLLATE "C";

-- step: requests of events
-- The id of the service's request; NULL when there was none.
ALTER TABLE event ADD COLUMN request text COLLATE "C";
