from fleet.common.errors import Conflict, NotFound


class PlanNotFound(NotFound):
    """No such plan, or it is not offered any more."""

    code = "subscription_plan_not_found"


class PlanExists(Conflict):
    """A plan of this `plan` code is there: edit it, or take another code."""

    code = "subscription_plan_exists"


class PlanChanged(Conflict):
    """Somebody edited it meanwhile (`version` is the newest), or it was retired."""

    code = "subscription_plan_changed"


class SubscriptionNotFound(NotFound):
    code = "subscription_not_found"


class AlreadySubscribed(Conflict):
    """The rider has a subscription that has not ended (`subscription_id`)."""

    code = "already_subscribed"


class SubscriptionNotOpen(Conflict):
    """In its `state` this cannot be done."""

    code = "subscription_not_open"


class SubscriptionNotPaid(Conflict):
    """Neither the wallet nor a card pays (`reason`): nothing was bought, nothing is owed."""

    code = "subscription_not_paid"
