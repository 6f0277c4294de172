-- Instances that sleep until somebody asks for them, when each was last asked,
-- and builds whose logs and reports were removed.
-- +goose Up
ALTER TABLE instances ADD COLUMN asleep BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE instances ADD COLUMN used_at TIMESTAMP NOT NULL DEFAULT '0001-01-01 00:00:00+00:00';
ALTER TABLE builds ADD COLUMN pruned_at TIMESTAMP NOT NULL DEFAULT '0001-01-01 00:00:00+00:00';
-- +goose Down
ALTER TABLE instances DROP COLUMN asleep;
ALTER TABLE instances DROP COLUMN used_at;
ALTER TABLE builds DROP COLUMN pruned_at;
