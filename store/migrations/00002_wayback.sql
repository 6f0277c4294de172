-- +goose Up
ALTER TABLE operations ADD COLUMN way_back TEXT;
