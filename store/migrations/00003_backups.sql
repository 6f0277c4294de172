-- Where a backup lies besides folders of this machine, and what it cost.
-- +goose Up
ALTER TABLE backups ADD COLUMN "where" TEXT NOT NULL DEFAULT '';
ALTER TABLE backups ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE backups ADD COLUMN encrypted BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE backups ADD COLUMN content INTEGER NOT NULL DEFAULT 0;
ALTER TABLE backups ADD COLUMN files INTEGER NOT NULL DEFAULT 0;
ALTER TABLE backups ADD COLUMN verify_took INTEGER NOT NULL DEFAULT 0;
-- +goose Down
ALTER TABLE backups DROP COLUMN "where";
ALTER TABLE backups DROP COLUMN name;
ALTER TABLE backups DROP COLUMN encrypted;
ALTER TABLE backups DROP COLUMN content;
ALTER TABLE backups DROP COLUMN files;
ALTER TABLE backups DROP COLUMN verify_took;
