"""`python -m benchmarks.bare_api FILE`: the yardstick of `benchmarks.stations`, FastAPI and the same statements only.

FILE holds, pickled, for each name of an endpoint the statements (with parameters, and whether PostgreSQL plans them
once) of each of its requests. An answer is the rows as they come, encoded by msgspec: no schema, no middleware,
no sessions, no transactions, no checks.
"""

import argparse
import pickle
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI, Response
from sqlalchemy import create_engine

from fleet.common.plans import PLANNED, plan_once

#: Endpoint → its requests → their statements.
Recorded = dict[str, list[list[tuple[str, Any, bool]]]]


def app_of(recorded: Recorded, url: str) -> FastAPI:
    app = FastAPI(openapi_url=None)
    engine = create_engine(
        url.replace("postgresql://", "postgresql+psycopg2://"),
        pool_size=10,
        max_overflow=20,
        isolation_level="AUTOCOMMIT",
    )
    plan_once(engine)

    @app.get("/{name}/{index}")
    def rows(name: str, index: int) -> Response:
        found = []
        with engine.connect() as connection:
            for statement, parameters, planned in recorded[name][index]:
                answer = connection.exec_driver_sql(statement, parameters, PLANNED if planned else {})
                found.append([dict(row) for row in answer.mappings()])
        return Response(msgspec.json.encode(found), media_type="application/json")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare_api", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    app = app_of(pickle.loads(given.file.read_bytes()), given.url)
    uvicorn.run(app, host="127.0.0.1", port=given.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
