from api.admin.acts import ActsDep
from api.admin.schemas import Code
from api.admin.tariff_schemas import StationVenue, StationVenueIn, VenueIn, VenueOut
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.stations import venues

router = area("admin", "admin")


@router.get("/venue", operation_id="admin_list_venues", summary="Venues", responses=problems(401, 403))
def list_venues(
    session: SessionDep, runtime: RuntimeDep, _: CurrentOperator, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[VenueOut]:
    rows = venues.list_venues(session, limit + 1, runtime.cursors.read("venues", cursor))
    more = runtime.cursors.make("venues", rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[VenueOut.model_validate(row) for row in rows[:limit]], next=more)


@router.put("/venue/{code}", operation_id="admin_put_venue", summary="Make a venue, or bring it to what is given",
            responses=problems(401, 403))  # fmt: skip
def put_venue(code: Code, body: VenueIn, acts: ActsDep) -> VenueOut:
    """Sent again it changes nothing."""
    venue = venues.put_venue(acts.session, venues.VenueSpec(code, **body.model_dump()), acts.now)
    acts.record("venue.put", target=code, detail=body.model_dump(mode="json"))
    return VenueOut.model_validate(venue)


@router.put("/station/{code}/venue", operation_id="admin_place_station", summary="Which venue a station is in",
            responses=problems(401, 403, 404))  # fmt: skip
def place(code: Code, body: StationVenueIn, acts: ActsDep) -> StationVenue:
    venues.place_station(acts.session, code, body.venue, acts.now)
    acts.record("station.venue", target=code, detail=body.model_dump())
    return StationVenue(station=code, venue=body.venue)
