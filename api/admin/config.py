from api.admin.acts import ActsDep
from api.admin.schemas import ConfigEntries, ConfigEntry, ConfigIn
from api.auth import CurrentOperator
from api.deps import SessionDep
from api.problems import problems
from api.v1 import area
from fleet.config import service

router = area("admin", "admin")


@router.get(
    "/config", operation_id="admin_list_config", summary="All configuration values", responses=problems(401, 403)
)
def entries(session: SessionDep, _: CurrentOperator) -> ConfigEntries:
    return ConfigEntries(items=[ConfigEntry.model_validate(entry) for entry in service.entries(session)])


@router.put(
    "/config/{key}", operation_id="admin_put_config", summary="Set a configuration value",
    responses=problems(401, 403, 409),
)  # fmt: skip
def put(key: str, body: ConfigIn, acts: ActsDep) -> ConfigEntry:
    """A key that the code reads must keep its type. It holds from the next request on."""
    entry = service.put(
        acts.session,
        key,
        body.value,
        acts.now,
        scope=body.scope,
        description=body.description,
        expected_version=body.expected_version,
    )
    acts.record("config.put", target=key, detail=body.model_dump(mode="json", exclude_unset=True))
    return ConfigEntry.model_validate(entry)
