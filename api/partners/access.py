"""For whom the caller works. Everything under `/partner` begins with it, and sees no more than it."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from api.auth import CurrentUser
from api.deps import SessionDep
from fleet.common.errors import Forbidden
from fleet.partners import queries
from fleet.partners.models import Partner, PartnerKind
from fleet.users.models import User


@dataclass(frozen=True, slots=True)
class Portal:
    user: User
    partner: Partner


def _portal(session: SessionDep, user: CurrentUser) -> Portal:
    return Portal(user, queries.partner_of(session, user.id))


PortalDep = Annotated[Portal, Depends(_portal)]


def _franchise(portal: PortalDep) -> Portal:
    if portal.partner.kind is not PartnerKind.FRANCHISE:
        raise Forbidden("this is for franchises")
    return portal


FranchiseDep = Annotated[Portal, Depends(_franchise)]
