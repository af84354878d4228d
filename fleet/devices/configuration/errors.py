from fleet.common.errors import Conflict, InvalidInput, NotFound


class GroupNotFound(NotFound):
    code = "device_group_not_found"


class LayerNotFound(NotFound):
    code = "config_layer_not_found"


class ConfigChanged(Conflict):
    """Another operator was faster. `version` is what it is now."""

    code = "config_changed"


class GroupInUse(Conflict):
    """A group that configures its stations is not taken away from under them."""

    code = "device_group_in_use"


class InvalidConfig(InvalidInput):
    """A key or value that no cabinet would take. `field` names the key."""

    code = "invalid_config"
