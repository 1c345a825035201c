import json

import pytest

from fastroute.ipc.logs import LogOptions
from fastroute.ipc.worker_spec import WorkerSpec


@pytest.mark.parametrize(("admin", "descriptors"), [(None, (3, 4, 5)), (6, (3, 4, 5, 6))])
def test_a_worker_decodes_its_command_line(admin, descriptors):
    logs = LogOptions(level="debug", form="json", file="/tmp/a b.log")
    spec = WorkerSpec(index=2, listen_fd=3, table_fd=4, channel_fd=5, admin_fd=admin, logs=logs)
    assert WorkerSpec.decode(spec.command[-1]) == spec
    assert set(spec.descriptors) == set(descriptors)


@pytest.mark.parametrize("text", ["", "{}", json.dumps({"index": "0"})])
def test_invalid_specs(text):
    with pytest.raises(ValueError, match=r"Object|Input|Expected"):
        WorkerSpec.decode(text)
