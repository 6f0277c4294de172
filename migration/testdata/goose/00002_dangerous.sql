-- +goose Up
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION histories_partition_creation( DATE, DATE )
returns void AS $$
DECLARE
  create_query text;
BEGIN
  FOR create_query IN SELECT 'CREATE TABLE IF NOT EXISTS histories_' || d; DROP TABLE not_this;
  LOOP
      EXECUTE create_query;
  END LOOP;
END;
$$
language plpgsql;
-- +goose StatementEnd
DROP TABLE post;
TRUNCATE comment;

-- +goose Down
DROP TABLE person;
