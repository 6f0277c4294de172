-- +goose Up
CREATE TABLE counters (app TEXT NOT NULL, letter TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (app, letter));

CREATE TABLE apps (
  name TEXT PRIMARY KEY, main_branch TEXT NOT NULL, created_at TIMESTAMP NOT NULL, created_by TEXT NOT NULL,
  origin TEXT NOT NULL, public_key TEXT NOT NULL);

CREATE TABLE changes (
  app TEXT NOT NULL, number INTEGER NOT NULL, branch TEXT NOT NULL, fork TEXT NOT NULL, head TEXT NOT NULL,
  title TEXT NOT NULL, author TEXT NOT NULL, pushed_by TEXT NOT NULL, url TEXT NOT NULL, trust TEXT NOT NULL,
  state TEXT NOT NULL, conflicts TEXT, hazards TEXT, blocked TEXT NOT NULL, created_at TIMESTAMP NOT NULL,
  updated_at TIMESTAMP NOT NULL, merged_at TIMESTAMP NOT NULL, merged TEXT NOT NULL, merged_by TEXT NOT NULL,
  merge_wanted TEXT NOT NULL, PRIMARY KEY (app, number));
CREATE UNIQUE INDEX changes_open ON changes (app, fork, branch) WHERE state = 'open';

CREATE TABLE builds (
  app TEXT NOT NULL, number INTEGER NOT NULL, change INTEGER NOT NULL, branch TEXT NOT NULL, head TEXT NOT NULL,
  base TEXT NOT NULL, "commit" TEXT NOT NULL, tree TEXT NOT NULL, trust TEXT NOT NULL, state TEXT NOT NULL,
  reason TEXT NOT NULL, release INTEGER NOT NULL, reused BOOLEAN NOT NULL, "by" TEXT NOT NULL,
  created_at TIMESTAMP NOT NULL, started_at TIMESTAMP NOT NULL, ended_at TIMESTAMP NOT NULL, steps TEXT, report TEXT,
  PRIMARY KEY (app, number));
CREATE INDEX builds_state ON builds (state);
CREATE INDEX builds_change ON builds (app, change, number);

CREATE TABLE releases (
  app TEXT NOT NULL, number INTEGER NOT NULL, "commit" TEXT NOT NULL, tree TEXT NOT NULL, definition TEXT NOT NULL,
  trust TEXT NOT NULL, build INTEGER NOT NULL, tests TEXT NOT NULL, dir TEXT NOT NULL, variants TEXT,
  sealed_at TIMESTAMP NOT NULL, pruned_at TIMESTAMP NOT NULL, bad TEXT NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (app, number));
CREATE INDEX releases_identity ON releases (app, tree, definition, trust);

CREATE TABLE instances (
  app TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, owner TEXT NOT NULL, change INTEGER NOT NULL,
  release INTEGER NOT NULL, previous INTEGER NOT NULL, process_id TEXT NOT NULL, stopped BOOLEAN NOT NULL,
  state TEXT NOT NULL, note TEXT NOT NULL, url TEXT NOT NULL, database TEXT, copy TEXT, error_key TEXT NOT NULL,
  uid INTEGER NOT NULL, operation INTEGER NOT NULL, created_at TIMESTAMP NOT NULL, updated_at TIMESTAMP NOT NULL,
  updated_by TEXT NOT NULL, PRIMARY KEY (app, name));
CREATE UNIQUE INDEX instances_key ON instances (error_key);

CREATE TABLE operations (
  app TEXT NOT NULL, number INTEGER NOT NULL, instance TEXT NOT NULL, plan TEXT NOT NULL, release INTEGER NOT NULL,
  "from" INTEGER NOT NULL, change INTEGER NOT NULL, backup INTEGER NOT NULL, reverts INTEGER NOT NULL,
  state TEXT NOT NULL, auto BOOLEAN NOT NULL, "by" TEXT NOT NULL, why TEXT NOT NULL, override TEXT NOT NULL,
  waits TEXT NOT NULL, committed BOOLEAN NOT NULL, error TEXT, failure TEXT, created_at TIMESTAMP NOT NULL,
  started_at TIMESTAMP NOT NULL, ended_at TIMESTAMP NOT NULL, steps TEXT, PRIMARY KEY (app, number));
CREATE INDEX operations_instance ON operations (app, instance, number);
CREATE INDEX operations_state ON operations (state);

-- One operation at a time on an instance.
CREATE TABLE owners (
  app TEXT NOT NULL, instance TEXT NOT NULL, operation INTEGER NOT NULL, fence INTEGER NOT NULL, PRIMARY KEY (app, instance));

CREATE TABLE backups (
  app TEXT NOT NULL, number INTEGER NOT NULL, instance TEXT NOT NULL, release INTEGER NOT NULL,
  operation INTEGER NOT NULL, why TEXT NOT NULL, "by" TEXT NOT NULL, dir TEXT NOT NULL, bytes INTEGER NOT NULL,
  checksum TEXT NOT NULL, tables INTEGER NOT NULL, rows INTEGER NOT NULL, created_at TIMESTAMP NOT NULL,
  took INTEGER NOT NULL, verified_at TIMESTAMP NOT NULL, error TEXT NOT NULL, PRIMARY KEY (app, number));

CREATE TABLE signoffs (
  app TEXT NOT NULL, change INTEGER NOT NULL, op INTEGER NOT NULL, "commit" TEXT NOT NULL, person TEXT NOT NULL,
  verdict TEXT NOT NULL, why TEXT NOT NULL, at TIMESTAMP NOT NULL);
CREATE INDEX signoffs_change ON signoffs (app, change);

CREATE TABLE people (
  name TEXT PRIMARY KEY, email TEXT NOT NULL, role TEXT NOT NULL, app_roles TEXT, password_hash TEXT NOT NULL,
  disabled BOOLEAN NOT NULL, created_at TIMESTAMP NOT NULL, at_hand_until TIMESTAMP NOT NULL);
CREATE TABLE tokens (
  id TEXT PRIMARY KEY, hash TEXT NOT NULL, person TEXT NOT NULL, name TEXT NOT NULL, created_at TIMESTAMP NOT NULL,
  used_at TIMESTAMP NOT NULL, expires_at TIMESTAMP NOT NULL);
CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry INTEGER NOT NULL);

-- Secrets are sealed by package secret before they come here.
CREATE TABLE secrets (
  app TEXT NOT NULL, scope TEXT NOT NULL, name TEXT NOT NULL, sealed BLOB NOT NULL, set_at TIMESTAMP NOT NULL,
  set_by TEXT NOT NULL, PRIMARY KEY (app, scope, name));

CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, data TEXT,
  at TIMESTAMP NOT NULL);
CREATE TABLE cursors (name TEXT PRIMARY KEY, event INTEGER NOT NULL);

CREATE TABLE activity (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at TIMESTAMP NOT NULL, app TEXT NOT NULL, who TEXT NOT NULL,
  "from" TEXT NOT NULL, what TEXT NOT NULL, subject TEXT NOT NULL, why TEXT NOT NULL, instance TEXT NOT NULL);
CREATE INDEX activity_app ON activity (app, id);
-- +goose StatementBegin
CREATE TRIGGER activity_append_only_update BEFORE UPDATE ON activity BEGIN SELECT RAISE(ABORT, 'the activity log is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER activity_append_only_delete BEFORE DELETE ON activity BEGIN SELECT RAISE(ABORT, 'the activity log is append-only'); END;
-- +goose StatementEnd

CREATE TABLE problems (
  app TEXT NOT NULL, number INTEGER NOT NULL, title TEXT NOT NULL, culprit TEXT NOT NULL, level TEXT NOT NULL,
  fine TEXT NOT NULL, coarse TEXT NOT NULL, "key" TEXT NOT NULL, first_release INTEGER NOT NULL,
  last_release INTEGER NOT NULL, instances TEXT, events INTEGER NOT NULL, users INTEGER NOT NULL,
  first_at TIMESTAMP NOT NULL, last_at TIMESTAMP NOT NULL, resolved_at TIMESTAMP NOT NULL, resolved_by TEXT NOT NULL,
  regressed BOOLEAN NOT NULL, PRIMARY KEY (app, number));
CREATE INDEX problems_fine ON problems (app, fine);
CREATE INDEX problems_coarse ON problems (app, coarse);
CREATE TABLE error_events (
  app TEXT NOT NULL, problem INTEGER NOT NULL, id TEXT NOT NULL, instance TEXT NOT NULL, release INTEGER NOT NULL,
  release_name TEXT NOT NULL, environment TEXT NOT NULL, level TEXT NOT NULL, unhandled BOOLEAN NOT NULL,
  message TEXT NOT NULL, type TEXT NOT NULL, "transaction" TEXT NOT NULL, url TEXT NOT NULL, method TEXT NOT NULL,
  user TEXT NOT NULL, platform TEXT NOT NULL, sdk TEXT NOT NULL, at TIMESTAMP NOT NULL, received_at TIMESTAMP NOT NULL,
  frames TEXT, tags TEXT, body TEXT NOT NULL, PRIMARY KEY (app, id));
CREATE INDEX error_events_problem ON error_events (app, problem, received_at);
CREATE INDEX error_events_release ON error_events (app, instance, release, received_at);

CREATE TABLE counts (
  app TEXT NOT NULL, instance TEXT NOT NULL, release INTEGER NOT NULL, name TEXT NOT NULL, hour TIMESTAMP NOT NULL,
  n INTEGER NOT NULL, PRIMARY KEY (app, instance, release, name, hour));

CREATE TABLE mails (
  id INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, instance TEXT NOT NULL, "from" TEXT NOT NULL, "to" TEXT,
  subject TEXT NOT NULL, text TEXT NOT NULL, html TEXT NOT NULL, at TIMESTAMP NOT NULL, bytes INTEGER NOT NULL);
CREATE INDEX mails_instance ON mails (app, instance, id);

-- Deliveries of forges, kept before they are answered; and what we owe them.
CREATE TABLE inbox (
  id TEXT PRIMARY KEY, digest TEXT NOT NULL, source TEXT NOT NULL, event TEXT NOT NULL, data BLOB NOT NULL, at TIMESTAMP NOT NULL,
  handled_at TIMESTAMP NOT NULL);
CREATE UNIQUE INDEX inbox_digest ON inbox (source, digest);
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, coalesce_key TEXT NOT NULL, data BLOB NOT NULL, at TIMESTAMP NOT NULL,
  next_at TIMESTAMP NOT NULL, tries INTEGER NOT NULL, error TEXT NOT NULL);
CREATE UNIQUE INDEX outbox_coalesce ON outbox (kind, coalesce_key);

CREATE TABLE cron_runs (
  app TEXT NOT NULL, instance TEXT NOT NULL, name TEXT NOT NULL, moment TIMESTAMP NOT NULL, outcome TEXT NOT NULL,
  note TEXT NOT NULL, started_at TIMESTAMP NOT NULL, ended_at TIMESTAMP NOT NULL, PRIMARY KEY (app, instance, name, moment));

CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
