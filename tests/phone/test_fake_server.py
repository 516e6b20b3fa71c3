"""The server without phones says what a real one says."""

from __future__ import annotations

import adbutils
import pytest

from edge_moe.benchmarks.targets.adb.client import Client
from tests.phone.fake_server import NO_PERMISSIONS, FakeServer

pytestmark = pytest.mark.devices


@pytest.mark.parametrize(
    ("state", "listed", "why"),
    [
        ("unauthorized", "unauthorized", "device unauthorized."),
        ("authorizing", "authorizing", "device still authorizing"),
        ("offline", "offline", "device offline"),
        (NO_PERMISSIONS, "no", "insufficient permissions for device"),
    ],
)
def test_a_device_that_cannot_be_used(state, listed, why):
    with FakeServer({"X1": state}) as server, Client(server.host, server.port) as client:
        assert [one.state for one in client.list()] == [listed] and client.device_list() == []
        for attempt in (client.device("X1").get_state, lambda: client.device("X1").shell("echo")):
            with pytest.raises(adbutils.AdbError, match=why):
                attempt()


def test_none_and_two():
    with FakeServer() as server, Client(server.host, server.port) as client:
        assert client.server_version() == 41 and client.list() == []
        with pytest.raises(adbutils.AdbError, match="Can't find any android device"):
            client.device()
        with pytest.raises(adbutils.AdbError, match="device 'X1' not found"):
            client.device("X1").shell("echo")
        server.devices.update(X1="device", X2="device")
        assert [one.serial for one in client.device_list()] == ["X1", "X2"]
        with pytest.raises(adbutils.AdbError, match="more than one device"):
            client.device()
