"""The conformance kit beside a running backend: what it can see there is seen, and neither disturbs the other."""

from simulators.conformance import plan
from simulators.conformance.bench import Patience
from simulators.conformance.verdicts import Verdict
from tests.system.clients import Rider
from tests.system.system import System


def test_a_cabinet_is_tried_beside_the_gateways_and_rented_from_afterwards(
    system: System, station: str, rider: Rider
) -> None:
    lines = plan.run(system.stack.environment["MQTT_URL"], station, alone=False, patience=Patience(answer_s=60))
    assert [(line.requirement, line.why) for line in lines if line.verdict is Verdict.FAILED] == []
    passed = {line.requirement for line in lines if line.verdict is Verdict.PASSED}
    assert {"2.2", "8.2.1", "8.3", "9.1", "10.1", "10.2", "10.4", "6.4", "5.3", "5.4"} <= passed
    assert rider.start(station, wait=20)["state"] == "active"
