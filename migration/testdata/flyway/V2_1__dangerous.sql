ALTER TABLE person
    ADD COLUMN nick varchar(50) NOT NULL,
    ADD COLUMN points integer NOT NULL DEFAULT 0;
ALTER TABLE person RENAME COLUMN mail TO email;
ALTER TABLE person ALTER COLUMN age TYPE bigint;
ALTER TABLE ONLY person ADD CONSTRAINT person_team_fk FOREIGN KEY (team_id) REFERENCES team (id);
ALTER TABLE person ADD CONSTRAINT points_positive CHECK (points >= 0) NOT VALID;
CREATE INDEX person_email ON person (email);
CREATE INDEX CONCURRENTLY person_nick ON person (nick);
INSERT INTO ${schema}.audit VALUES (1);
