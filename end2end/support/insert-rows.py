"""Inserts many rows into the SQLite database of a stopped server, because the API would take minutes.

insert-rows.py DATABASE TABLE ROWS UPDATES: copies the newest row of TABLE (that with the largest rowid) ROWS times. UPDATES is a JSON
object: the SQL expression of each changed column, in which n is the number of the copy. The primary key "id" is generated.
"""

import json
import sqlite3
import sys

database, table, rows, updates = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
connection = sqlite3.connect(database)
columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
values = ", ".join(updates.get(column, column) for column in columns)
connection.execute(
    f"WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows})"
    f" INSERT INTO {table} ({', '.join(columns)}) SELECT {values}"
    f" FROM series CROSS JOIN (SELECT * FROM {table} ORDER BY rowid DESC LIMIT 1)"
)
connection.commit()
