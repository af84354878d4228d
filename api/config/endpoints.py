from fastapi import Request, Response

from api.config.schemas import Countries, CountryOut, PublicConfigOut
from api.deps import RuntimeDep, SessionDep
from api.etag import NOT_MODIFIED, tagged
from api.problems import problems
from api.v1 import area
from fleet.config import service

router = area("config", "config")


@router.get(
    "/public", operation_id="get_public_config", summary="What apps need to know",
    response_model=PublicConfigOut, responses=problems() | NOT_MODIFIED,
)  # fmt: skip
def public(request: Request, session: SessionDep, runtime: RuntimeDep) -> Response:
    found = service.public(session)
    return tagged(
        request,
        PublicConfigOut(values=found.values, version=found.version, guests_allowed=runtime.settings.guests),
    )


@router.get(
    "/countries", operation_id="list_countries", summary="Where the fleet does business",
    response_model=Countries, responses=problems() | NOT_MODIFIED,
)  # fmt: skip
def countries(request: Request, session: SessionDep) -> Response:
    found = Countries(items=[CountryOut.model_validate(country) for country in service.countries(session)])
    return tagged(request, found, max_age_s=300)
