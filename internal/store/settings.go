package store

import "context"

// scanValueOf reads a row of one value.
func scanValueOf[T any](row scanner) (v T, err error) {
	err = row.Scan(&v)
	return v, err
}

func scanValue(row scanner) (b []byte, err error) {
	err = row.Scan(&b)
	return b, err
}

// Setting is part of [vault.Store].
func (s *Store) Setting(ctx context.Context, key string) ([]byte, error) {
	return setting(ctx, s.db, key)
}

func setting(ctx context.Context, q querier, key string) ([]byte, error) {
	return one(ctx, q, subject{"setting", key}, scanValue, `SELECT value FROM settings WHERE key = $1`, key)
}

// PutSetting writes a small named value, whatever was there.
func (s *Store) PutSetting(ctx context.Context, key string, value []byte) error {
	_, err := s.write(ctx, "save setting", `
		INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, blob(value))
	return err
}

// PutSettingOnce is part of [vault.Store].
func (s *Store) PutSettingOnce(ctx context.Context, key string, value []byte) (kept []byte, err error) {
	err = s.writes.do(ctx, "save setting", func(ctx context.Context, tx querier) error {
		_, err := exec(ctx, tx, `INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING`, key, blob(value))
		if err == nil {
			kept, err = setting(ctx, tx, key)
		}
		return err
	})
	return kept, err
}

// SwapSetting is part of [vault.Store].
func (s *Store) SwapSetting(ctx context.Context, key string, old, value []byte) error {
	return s.swap(ctx, "swap setting", subject{"setting", key},
		`UPDATE settings SET value = $2 WHERE key = $1 AND value = $3`, blob(value), blob(old))
}

// SettingKeys is part of [vault.Store].
func (s *Store) SettingKeys(ctx context.Context, prefix string) ([]string, error) {
	return list(ctx, s.db, "list settings", func(row scanner) (key string, err error) {
		err = row.Scan(&key)
		return key, err
	}, `SELECT key FROM settings WHERE key LIKE $1 ESCAPE '!' ORDER BY key`, likeEscaper.Replace(prefix)+"%")
}
