-- What the migrations of changes do to others, and rehearsals of releases on
-- a copy of staging's database.
-- +goose Up
ALTER TABLE changes ADD COLUMN migrations TEXT;
ALTER TABLE changes ADD COLUMN collisions TEXT;
CREATE TABLE rehearsals (
  app TEXT NOT NULL, release INTEGER NOT NULL, change INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, copy TEXT,
  took INTEGER NOT NULL, statements TEXT, others INTEGER NOT NULL, others_took INTEGER NOT NULL, locks TEXT, dangers TEXT,
  "schema" TEXT NOT NULL, destructive BOOLEAN NOT NULL, sessions INTEGER NOT NULL, output TEXT NOT NULL, accepted TEXT NOT NULL,
  started_at TIMESTAMP NOT NULL, ended_at TIMESTAMP NOT NULL, PRIMARY KEY (app, release));
-- +goose Down
DROP TABLE rehearsals;
ALTER TABLE changes DROP COLUMN collisions;
ALTER TABLE changes DROP COLUMN migrations;
