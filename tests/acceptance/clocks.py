"""PostgreSQL's clock, which is the twin's where its state is there, set to another time than the true one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

SetClock = Callable[[str], None]

_CLOCK = """
CREATE TABLE clock (ahead interval NOT NULL);
INSERT INTO clock VALUES ('0');
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + (SELECT ahead FROM public.clock)';
"""


@contextmanager
def clock_of(database: str) -> Iterator[SetClock]:
    """Sets the database's clock so much ahead of the true time, as in "-5 hours": who asks for it finds ours first."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(_CLOCK.encode())
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET search_path = public, pg_catalog".encode())

        def set_to(ahead: str) -> None:
            connection.execute("UPDATE clock SET ahead = %s::interval", (ahead,))
            connection.execute("NOTIFY twin_tasks")  # workers look at the clock by themselves, but not as soon

        yield set_to
