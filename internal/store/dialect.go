package store

// dialect holds the few SQL texts that differ. Everything else is written once:
// both databases know $1, ON CONFLICT, RETURNING and partial indexes.
type dialect struct {
	lockRow    string // ends a SELECT whose row the same transaction will change
	free       string // the chosen messages that nobody else is changing at this moment
	lockClaims string // statement that makes claims of all processes wait for each other; "" when they do anyway
	listed     string // the elements of the JSON array $4
	cap        string // what the JSON object $7 has for h.account, NULL for nothing
	like       string // LIKE that does not look at case
	addresses  string // the recipients' addresses, up to what each is compared with
	clock      string // statement that asks for the time in unix ms; "" when the database has only this machine's
	perLane    string // joins lanes l with each lane's first $3 messages that are due at $2, as m
}

func sqliteDialect() dialect {
	return dialect{
		free:      `SELECT id FROM chosen`, // there is one writer at a time
		like:      `LIKE`,
		addresses: `json_each(recipients) AS r WHERE r.value ->> '$.address'`,
		listed:    `SELECT value FROM json_each($4)`,
		cap:       `(SELECT j.value FROM json_each($7) j WHERE j.key = h.account)`,
		perLane: `CROSS JOIN messages m ON m.id IN (
			SELECT q.id FROM messages q
			WHERE q.state = 'queued' AND q.account = l.account AND q.not_before <= $2
			ORDER BY q.not_before, q.id LIMIT $3 + 0)`,
	}
}

// claimsLock is the advisory lock that claims take, migrationLock the one of starts.
const (
	migrationLock = 0x706f737465726e01
	claimsLock    = 0x706f737465726e02
)

func postgresDialect() dialect {
	return dialect{
		clock:   `SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint`,
		lockRow: ` FOR UPDATE`,
		like:    `ILIKE`,
		// it takes no document apart that has a NUL, which a server's words may hold
		addresses:  `json_array_elements(replace(recipients, '\u0000', '\ufffd')::json) AS r WHERE r ->> 'address'`,
		free:       `SELECT id FROM messages WHERE id IN (SELECT id FROM chosen) AND state = 'queued' FOR UPDATE SKIP LOCKED`,
		lockClaims: `SELECT pg_advisory_xact_lock($1)`,
		listed:     `SELECT jsonb_array_elements_text($4::jsonb)`,
		cap:        `($7::jsonb ->> h.account)::bigint`,
		perLane: `CROSS JOIN LATERAL (
			SELECT q.id, q.account, q.not_before FROM messages q
			WHERE q.state = 'queued' AND q.account = l.account AND q.not_before <= $2
			ORDER BY q.not_before, q.id LIMIT $3) m`,
	}
}

// claim leases due messages. Its parameters are $1 holder, $2 now, $3 the largest
// number per account, $4 accounts to skip, $5 limit, $6 until, $7 numbers of accounts,
// $8 that of all others.
//
// The lanes are found by hopping from one account to the next along the index
// messages_lane, so a long queue of one account costs no more than a short one.
// Limits are sums because SQLite plans a statement anew whenever a plain limit changes.
func (d dialect) claim() string {
	return `
	WITH RECURSIVE hops(account) AS (
		SELECT min(account) FROM messages WHERE state = 'queued'
		UNION ALL
		SELECT (SELECT min(n.account) FROM messages n WHERE n.state = 'queued' AND n.account > h.account)
		FROM hops h WHERE h.account IS NOT NULL
	), lanes AS (
		SELECT h.account,
			(SELECT count(*) FROM messages b WHERE b.state = 'delivering' AND b.account = h.account) AS busy,
			coalesce(` + d.cap + `, $8) AS cap
		FROM hops h WHERE h.account IS NOT NULL AND h.account NOT IN (` + d.listed + `)
			AND NOT EXISTS (SELECT 1 FROM paces p WHERE p.account = h.account AND p.until > $2)
	), ranked AS (
		SELECT m.id, m.not_before, l.cap, l.busy + row_number() OVER (PARTITION BY m.account ORDER BY m.not_before, m.id) AS place
		FROM lanes l ` + d.perLane + `
		WHERE l.busy < l.cap
	), chosen AS (
		SELECT id FROM ranked WHERE place <= cap ORDER BY not_before, id LIMIT $5 + 0
	), free AS (` + d.free + `)
	UPDATE messages SET state = 'delivering', holder = $1, lease_until = $6 WHERE id IN (SELECT id FROM free)
	RETURNING ` + messageColumns
}
