"""The database of the tiny application: rows.py make|add TEXT|count|where."""
import json
import os
import sqlite3
import sys


def path():
    return os.environ.get("DATABASE_URL", "").replace("sqlite:///", "", 1)


def connect():
    return sqlite3.connect(path())


def count():
    return connect().execute("SELECT count(*) FROM rows").fetchone()[0]


if __name__ == "__main__":
    verb = sys.argv[1]
    if verb == "make":
        connect().execute("CREATE TABLE IF NOT EXISTS rows (text TEXT)")
    elif verb == "add":
        with connect() as c:
            c.execute("INSERT INTO rows VALUES (?)", [sys.argv[2]])
    elif verb == "count":
        print(count())
    elif verb == "where":
        print(json.dumps({"engine": "sqlite", "name": path()}))
