"""`--workers auto` counts the CPUs that this process gets, not those of the machine."""

import os

import pytest

from fastroute.cli.cpus import Cpus, usable_cpus

V2 = "0::/pod/container\n"
V1 = "3:cpuset:/\n2:cpu,cpuacct:/pod/container\n1:memory:/x\n"


def machine(root, membership, files):
    """Write the files of a machine's cgroups."""
    for name, text in {"proc/self/cgroup": membership, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        pytest.param("", {}, None, id="no-cgroups"),
        pytest.param(V2, {}, None, id="no-controller"),
        pytest.param(V2, {"pod/container/cpu.max": "max 100000\n"}, None, id="v2-no-limit"),
        pytest.param(V2, {"pod/container/cpu.max": "250000 100000\n"}, 2.5, id="v2"),
        pytest.param(
            V2,
            {"pod/container/cpu.max": "400000 100000\n", "pod/cpu.max": "150000 100000\n"},
            1.5,
            id="v2-of-the-parent",
        ),
        pytest.param(V2, {"cpu.max": "300000 100000\n"}, 3.0, id="v2-namespace-of-its-own"),
        pytest.param("0::/../../x\n", {"cpu.max": "300000 100000\n"}, 3.0, id="v2-outside"),
        pytest.param(V2, {"cpu.max": "garbage\n"}, None, id="garbage"),
        pytest.param(V2, {"cpu.max": "100000 0\n"}, None, id="no-period"),
        pytest.param(
            V1,
            {
                "cpu,cpuacct/pod/container/cpu.cfs_quota_us": "200000\n",
                "cpu,cpuacct/pod/container/cpu.cfs_period_us": "100000\n",
            },
            2.0,
            id="v1",
        ),
        pytest.param(
            V1,
            {
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "memory/x/cpu.max": "1 1\n",
            },
            None,
            id="v1-no-limit",
        ),
    ],
)
def test_quota(tmp_path, membership, files, quota):
    in_mount = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    cpus = usable_cpus(machine(tmp_path, membership, in_mount))
    assert cpus == Cpus(len(os.sched_getaffinity(0)), quota)


@pytest.mark.parametrize(
    ("affinity", "quota", "count"),
    [
        pytest.param(8, None, 8, id="no-quota"),
        pytest.param(8, 3.0, 3, id="quota"),
        pytest.param(8, 2.9, 2, id="a-worker-has-a-whole-cpu"),
        pytest.param(8, 0.5, 1, id="at-least-one"),
        pytest.param(2, 16.0, 2, id="affinity"),
    ],
)
def test_count(affinity, quota, count):
    assert Cpus(affinity, quota).count == count


def test_text():
    assert str(Cpus(8)) == "8 usable CPUs, no CPU quota"
    assert str(Cpus(8, 2.5)) == "8 usable CPUs, a CPU quota of 2.5"


def test_this_machine():
    assert 1 <= usable_cpus().count <= len(os.sched_getaffinity(0))
