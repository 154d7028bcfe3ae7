package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"postern/internal/fault"
)

//go:embed migrations
var migrations embed.FS

// migrate brings the schema up to what this binary knows. Whoever calls it holds
// the lock that makes concurrent starts wait for each other.
func migrate(ctx context.Context, db *sql.DB, kind goose.Dialect, folder string) error {
	const op = "prepare the database"
	files, err := fs.Sub(migrations, "migrations/"+folder)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	p, err := goose.NewProvider(kind, db, files, goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	has, knows, err := p.GetVersions(ctx)
	if err != nil {
		return classify(op, err)
	}
	if has > knows {
		return fault.New(fault.Invalid, op, "the database was made by a newer Postern: its schema is %d, this program knows %d", has, knows).
			WithHint("start the newer program, or restore a backup from before the upgrade")
	}
	_, err = p.Up(ctx)
	return classify(op, err)
}
