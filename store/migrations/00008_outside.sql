-- What a rehearsed command tried to reach besides its database, and what could
-- not be seen.
-- +goose Up
ALTER TABLE rehearsals ADD COLUMN outside TEXT;
ALTER TABLE rehearsals ADD COLUMN closed BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE rehearsals ADD COLUMN blind TEXT NOT NULL DEFAULT '';
-- +goose Down
ALTER TABLE rehearsals DROP COLUMN blind;
ALTER TABLE rehearsals DROP COLUMN closed;
ALTER TABLE rehearsals DROP COLUMN outside;
