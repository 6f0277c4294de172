-- Whether a try wants the source's data of the moment it runs.
-- +goose Up
ALTER TABLE operations ADD COLUMN exact BOOLEAN NOT NULL DEFAULT FALSE;
-- +goose Down
ALTER TABLE operations DROP COLUMN exact;
