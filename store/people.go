package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/bosman-cd/bosman"
)

// SavePerson inserts or replaces a person.
func (s *Store) SavePerson(ctx context.Context, p bosman.Person) error {
	return save(ctx, s.db, &personRow{Person: p}, "name")
}

// Person gives one person.
func (s *Store) Person(ctx context.Context, name string) (bosman.Person, error) {
	return one[personRow, bosman.Person](ctx, s.db, bosman.NotFound("there is no person %s", name).WithNext("bosman people lists them"), cond("name = ?", name))
}

// People gives all people by name.
func (s *Store) People(ctx context.Context) ([]bosman.Person, error) {
	return many[personRow, bosman.Person](ctx, s.db, order("name"))
}

// SaveToken inserts or replaces a token.
func (s *Store) SaveToken(ctx context.Context, t bosman.Token) error {
	return save(ctx, s.db, &tokenRow{Token: t}, "id")
}

// Token gives one token by its public part.
func (s *Store) Token(ctx context.Context, id string) (bosman.Token, error) {
	return one[tokenRow, bosman.Token](ctx, s.db, bosman.NotFound("there is no token %s", id), cond("id = ?", id))
}

// Tokens gives the tokens of a person ("" for all), newest first.
func (s *Store) Tokens(ctx context.Context, person string) ([]bosman.Token, error) {
	return many[tokenRow, bosman.Token](ctx, s.db, cond("(? = '' OR person = ?)", person, person), order("created_at DESC"))
}

// RemoveToken ends a token.
func (s *Store) RemoveToken(ctx context.Context, id string) error {
	res, err := s.db.NewRaw("DELETE FROM tokens WHERE id = ?", id).Exec(ctx)
	return changed(res, err, bosman.NotFound("there is no token %s", id))
}

// SaveSecret inserts or replaces a sealed secret.
func (s *Store) SaveSecret(ctx context.Context, v SealedSecret) error {
	return save(ctx, s.db, &secretRow{SealedSecret: v}, "app, scope, name")
}

// Secrets gives the sealed secrets of an app.
func (s *Store) Secrets(ctx context.Context, app string) ([]SealedSecret, error) {
	return many[secretRow, SealedSecret](ctx, s.db, cond("app = ?", app), order("scope, name"))
}

// RemoveSecret forgets a secret.
func (s *Store) RemoveSecret(ctx context.Context, app, scope, name string) error {
	res, err := s.db.NewRaw("DELETE FROM secrets WHERE app = ? AND scope = ? AND name = ?", app, scope, name).Exec(ctx)
	return changed(res, err, bosman.NotFound("%s has no secret %s in scope %s", app, name, scope).WithNext("bosman secrets list --app "+app+" lists their names"))
}

// Setting gives a value of the installation, "" when it was never set.
func (s *Store) Setting(ctx context.Context, name string) (string, error) {
	var v string
	err := s.db.NewRaw("SELECT value FROM settings WHERE name = ?", name).Scan(ctx, &v)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return v, err
}

// SetSetting sets a value of the installation.
func (s *Store) SetSetting(ctx context.Context, name, value string) error {
	_, err := s.db.NewRaw("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value).Exec(ctx)
	return err
}

// AppendActivity adds a line to the append-only log.
func (s *Store) AppendActivity(ctx context.Context, a bosman.Activity) error {
	_, err := s.db.NewInsert().Model(&activityRow{Activity: a}).ExcludeColumn("id").Exec(ctx)
	return err
}

// Activity gives lines of the log, newest first; app "" means all, before 0
// means from the newest.
func (s *Store) Activity(ctx context.Context, app string, before int64, max int) ([]bosman.Activity, error) {
	return many[activityRow, bosman.Activity](ctx, s.db, cond("(? = '' OR app = ?) AND (? = 0 OR id < ?)", app, app, before, before), order("id DESC"), limit(max))
}

// ClaimCron records that a moment of a cron entry is being run; false when it
// was claimed before.
func (s *Store) ClaimCron(ctx context.Context, r CronRun) (bool, error) {
	res, err := s.db.NewInsert().Model(&cronRow{CronRun: r}).On("CONFLICT DO NOTHING").Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// SaveCron keeps what became of a moment of a cron entry.
func (s *Store) SaveCron(ctx context.Context, r CronRun) error {
	return save(ctx, s.db, &cronRow{CronRun: r}, "app, instance, name, moment")
}

// CronRuns gives the newest moments of an instance's cron entries.
func (s *Store) CronRuns(ctx context.Context, app, instance string, max int) ([]CronRun, error) {
	return many[cronRow, CronRun](ctx, s.db, cond("app = ? AND instance = ?", app, instance), order("moment DESC"), limit(max))
}
