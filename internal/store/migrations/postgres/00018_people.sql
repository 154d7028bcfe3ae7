-- Who may use the pages, and with which browsers; and what changes changed.

-- +goose Up
CREATE TABLE users (
    id           TEXT COLLATE "C" PRIMARY KEY,
    name         TEXT COLLATE "C" NOT NULL UNIQUE,
    mail         TEXT COLLATE "C" NOT NULL,
    role         TEXT COLLATE "C" NOT NULL,
    disabled     BOOLEAN NOT NULL,
    totp         BOOLEAN NOT NULL,
    external     TEXT COLLATE "C" NOT NULL,
    by_rule      BOOLEAN NOT NULL,
    created      BIGINT NOT NULL,
    last_login   BIGINT NOT NULL,
    hash         TEXT COLLATE "C" NOT NULL,
    step         BIGINT NOT NULL,
    recovery     TEXT COLLATE "C" NOT NULL, -- JSON: hashes
    invite       TEXT COLLATE "C" NOT NULL, -- hash
    invite_until BIGINT NOT NULL,
    first        BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX users_mail ON users (mail) WHERE mail <> '';
CREATE UNIQUE INDEX users_external ON users (external) WHERE external <> '';
CREATE UNIQUE INDEX users_first ON users (first) WHERE first;

CREATE TABLE logins (
    id      TEXT COLLATE "C" PRIMARY KEY, -- hash of what the browser has
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    half    BOOLEAN NOT NULL,
    tries   BIGINT NOT NULL,
    created BIGINT NOT NULL,
    seen    BIGINT NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    browser TEXT COLLATE "C" NOT NULL
);
CREATE INDEX logins_user ON logins (user_id);
CREATE INDEX logins_seen ON logins (seen);

-- The one administrator there was before there were users.
INSERT INTO users (id, name, mail, role, disabled, totp, external, by_rule, created, last_login, hash, step, recovery, invite, invite_until, first)
    SELECT 'admin', 'admin', '', 'admin', FALSE, FALSE, '', FALSE, 0, 0, convert_from(value, 'UTF8'), 0, '[]', '', 0, TRUE
    FROM settings WHERE key = 'web.admin_password';
DELETE FROM settings WHERE key = 'web.admin_password';

ALTER TABLE audit ADD COLUMN before TEXT COLLATE "C" NOT NULL DEFAULT ''; -- JSON: the fields that changed
ALTER TABLE audit ADD COLUMN after TEXT COLLATE "C" NOT NULL DEFAULT ''; -- JSON
