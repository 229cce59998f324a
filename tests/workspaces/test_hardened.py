"""What CIS Docker's benchmark asks of containers, section 5, of those that run: each passes, or has a reason here."""

from typing import Any

import pytest
from stood import Stood

REASONS = {
    "5.2 SELinux": "Debian's engine has none",
    "5.28 pids": "the provider sets no limit of pids: `cgroup_parent` names a group that has one",
}


def told(stood: Stood) -> list[dict[str, Any]]:
    return [each.attrs for each in stood.containers().values()]


def test_all_of_it_runs(each: Stood) -> None:
    services = {
        "alertmanager",
        "gateway",
        "machine",
        "mlflow",
        "platform",
        "postgres",
        "prefect",
        "prometheus",
        "worker",
    }
    assert services <= set(each.containers())


def test_no_container_may_more_than_it_needs(each: Stood) -> None:
    for attrs in told(each):
        host = attrs["HostConfig"]
        assert host["CapDrop"] == ["ALL"], attrs["Name"]  # 5.3
        assert not host["CapAdd"], attrs["Name"]
        assert not host["Privileged"], attrs["Name"]  # 5.4
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"]), attrs["Name"]  # 5.25
        assert not any("unconfined" in option for option in host["SecurityOpt"]), attrs["Name"]  # 5.1, 5.21
        assert attrs["Config"]["User"] not in {"", "root", "0"}, attrs["Name"]  # 4.1
        assert host["ReadonlyRootfs"], attrs["Name"]  # 5.12


def test_no_container_sees_the_host(each: Stood) -> None:
    for attrs in told(each):
        host = attrs["HostConfig"]
        assert host["NetworkMode"] != "host", attrs["Name"]  # 5.9
        assert host["PidMode"] == "", attrs["Name"]  # 5.15
        assert host["IpcMode"] != "host", attrs["Name"]  # 5.16
        assert host["UTSMode"] == "", attrs["Name"]  # 5.20
        assert host["UsernsMode"] == "", attrs["Name"]  # 5.30
        assert not host["Devices"], attrs["Name"]  # 5.17
        for mount in attrs["Mounts"]:  # 5.5, 5.19, 5.31
            assert mount["Type"] == "volume" or mount["Source"].startswith(str(each.place.secrets)), mount
            assert mount["Type"] == "volume" or not mount["RW"], mount
            assert mount["Propagation"] in {"", "rprivate"}, mount
            assert "docker.sock" not in mount["Source"]


def test_every_container_has_its_limits(each: Stood) -> None:
    for attrs in told(each):
        host = attrs["HostConfig"]
        assert host["Memory"] > 0, attrs["Name"]  # 5.10
        assert host["MemorySwap"] == host["Memory"], attrs["Name"]
        assert host["NanoCpus"] > 0, attrs["Name"]  # 5.11
        assert host["RestartPolicy"]["Name"] == "unless-stopped", attrs["Name"]  # 5.14: back by itself is asked for
        assert attrs["Config"]["Healthcheck"]["Test"], attrs["Name"]  # 5.26
        assert host["LogConfig"]["Config"]["max-size"], attrs["Name"]
        assert not host["Ulimits"], attrs["Name"]  # 5.18: the engine's own


def test_one_port_is_published_on_loopback(each: Stood) -> None:
    bound = [
        port for attrs in told(each) for ports in (attrs["HostConfig"]["PortBindings"] or {}).values() for port in ports
    ]
    assert [port["HostIp"] for port in bound] == ["127.0.0.1"]  # 5.7, 5.8, 5.13


@pytest.mark.parametrize("point", REASONS)
def test_what_is_not_done_has_its_reason(point: str) -> None:
    assert REASONS[point]


def test_what_is_written_is_on_volumes_and_tmpfs_alone(each: Stood) -> None:
    for container in each.containers().values():
        code, _ = container.exec_run(["bash", "-c", "echo > /written || echo > /usr/written || echo > /etc/written"])
        assert code != 0, container.name
