-- Run once by the image, as superuser, when a server's data folder is made: WRITER owns the database and loads into it,
-- READER reads what WRITER has made. Neither can make roles or databases, nor reach files or programs of the server.
\getenv writer WRITER
\getenv reader READER
\set writer_password `cat "$WRITER_PASSWORD_FILE"`
\set reader_password `cat "$READER_PASSWORD_FILE"`
SELECT current_database() AS database \gset

CREATE ROLE :"writer" LOGIN PASSWORD :'writer_password';
CREATE ROLE :"reader" LOGIN PASSWORD :'reader_password';
ALTER ROLE :"reader" SET default_transaction_read_only = on;

ALTER DATABASE :"database" OWNER TO :"writer";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO :"reader";

ALTER SCHEMA public OWNER TO :"writer";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"reader";
ALTER DEFAULT PRIVILEGES FOR ROLE :"writer" GRANT SELECT ON TABLES TO :"reader";
ALTER DEFAULT PRIVILEGES FOR ROLE :"writer" GRANT SELECT ON SEQUENCES TO :"reader";
