"""What a service's containers are given beyond the API's fields: labels written by the command line are read back, wrong ones are refused."""

import pytest

from cluster.model import reserved_labels as labels
from cluster.model.errors import InvalidArgument


def test_devices_and_rights_come_back_as_they_were_written() -> None:
    device = labels.device_label("/dev/fuse", "/dev/f", "rw")
    found = labels.extras((device, (labels.PRIVILEGED, "true"), (labels.SHM_SIZE, "1048576"), (f"{labels.DEVICE_RULE}0", "c 10:229 rwm"), ("other", "x")))
    assert found == labels.Extras(True, 1048576, (labels.Device("/dev/fuse", "/dev/f", "rw"),), ("c 10:229 rwm",))
    assert labels.extras(()) == labels.Extras()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (labels.PRIVILEGED, "yes"),
        (labels.SHM_SIZE, "-1"),
        (labels.SHM_SIZE, "9" * 30),
        (f"{labels.DEVICE}/dev/x", "/dev/x"),
        (f"{labels.DEVICE}/dev/x", "/dev/x:q"),
        (f"{labels.DEVICE}dev/x", "/dev/x:rwm"),
    ],
)
def test_a_value_that_can_not_be_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid label festoon"):
        labels.extras(((name, value),))
