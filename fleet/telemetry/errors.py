from fleet.common.errors import Conflict, NotFound


class AlertNotFound(NotFound):
    code = "alert_not_found"


class AlertClosed(Conflict):
    """It is over; there is nothing to acknowledge."""

    code = "alert_closed"


class AlertRuleNotFound(NotFound):
    code = "alert_rule_not_found"


class AlertRuleNameTaken(Conflict):
    code = "alert_rule_name_taken"
