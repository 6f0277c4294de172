--
-- PostgreSQL database cluster dump
--

\restrict SNI1xYrPr27HYvLsOIdoIONd8tosGu5t3pxkQAWWf6rMSx9LcmhprHKBQvf2xVt

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

--
-- Roles
--

CREATE ROLE app_zzfix;
ALTER ROLE app_zzfix WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE bosman;
ALTER ROLE bosman WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS;
CREATE ROLE bosman_builds;
ALTER ROLE bosman_builds WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE bosman_workers;
ALTER ROLE bosman_workers WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE work_zzfix;
ALTER ROLE work_zzfix WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 50;
CREATE ROLE zzfix__live;
ALTER ROLE zzfix__live WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 50;

--
-- User Configurations
--

--
-- User Config "work_zzfix"
--

ALTER ROLE work_zzfix SET role TO 'app_zzfix';

--
-- User Config "zzfix__live"
--

ALTER ROLE zzfix__live SET role TO 'app_zzfix';


--
-- Role memberships
--

GRANT app_zzfix TO work_zzfix GRANTED BY bosman;
GRANT app_zzfix TO zzfix__live GRANTED BY bosman;
GRANT bosman_workers TO work_zzfix GRANTED BY bosman;




\unrestrict SNI1xYrPr27HYvLsOIdoIONd8tosGu5t3pxkQAWWf6rMSx9LcmhprHKBQvf2xVt

--
-- PostgreSQL database cluster dump complete
--

