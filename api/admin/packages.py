"""Packages that riders may choose."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from api.admin.acts import ActsDep
from api.auth import CurrentOperator
from api.deps import SessionDep
from api.problems import problems
from api.rentals.schemas import PackageOut
from api.schemas import Currency, Input, Instant, Schema
from api.v1 import area
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.models import PackageKind, RentalPackage

router = area("admin", "admin")


class PackageIn(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "4 hours", "kind": "prepaid", "minutes": 240, "price_minor": 400, "currency": "EUR"}]
        }
    )

    name: Annotated[str, Field(min_length=1, max_length=100)]
    kind: PackageKind
    minutes: Annotated[int, Field(ge=1, le=60 * 24 * 31)]
    price_minor: Annotated[int, Field(ge=1, le=1_000_000_000, description="minor units")]
    currency: Currency
    minimum_balance_minor: Annotated[
        int, Field(ge=0, le=1_000_000_000, description="what the wallet must have for a postpaid one")
    ] = 0

    def spec(self) -> packages.PackageSpec:
        return packages.PackageSpec(
            name=self.name,
            kind=self.kind,
            duration=timedelta(minutes=self.minutes),
            price_minor=self.price_minor,
            currency=self.currency,
            minimum_balance_minor=self.minimum_balance_minor,
        )


class PackageForOperator(PackageOut):
    created_at: Instant
    withdrawn_at: Annotated[Instant | None, Field(description="nobody can choose it since")]

    @staticmethod
    def values_of(package: RentalPackage) -> dict[str, object]:
        more = {"created_at": package.created_at, "withdrawn_at": package.withdrawn_at}
        return {**PackageOut.values_of(package), **more}


class PackagesForOperator(Schema):
    items: list[PackageForOperator]


@router.get("/package", operation_id="admin_list_packages", summary="Packages, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_packages(session: SessionDep, _: CurrentOperator) -> PackagesForOperator:
    return PackagesForOperator(items=[PackageForOperator.of(each) for each in packages.all_packages(session)])


@router.post("/package", operation_id="admin_create_package", summary="Offer a package", status_code=201,
             responses=problems(401, 403, 409))  # fmt: skip
def create(body: PackageIn, acts: ActsDep) -> PackageForOperator:
    """A package never changes: withdraw it and offer another one."""
    package = packages.create_package(acts.session, body.spec(), acts.now)
    acts.record("package.create", target=str(package.id), detail=body.model_dump(mode="json"))
    return PackageForOperator.of(package)


@router.post("/package/{package_id}/withdraw", operation_id="admin_withdraw_package", summary="Offer it no more",
             responses=problems(401, 403, 404))  # fmt: skip
def withdraw(package_id: UUID, acts: ActsDep) -> PackageForOperator:
    """Rentals that have it keep it."""
    package = packages.withdraw_package(acts.session, package_id, acts.now)
    acts.record("package.withdraw", target=str(package_id))
    return PackageForOperator.of(package)
