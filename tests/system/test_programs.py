"""Which processes `--separate` starts, and what each of them is told."""

from pathlib import Path

import pytest

from kernel.settings import Settings, read_settings
from services import separate
from services.__main__ import main


def place(home: Path, **settings: object) -> separate.Place:
    return separate.Place(
        read_settings(Settings, SMARTSPEC_HOME=home, **settings),
        "postgresql://nobody@127.0.0.1:1/none",
        "amqp://127.0.0.1:1/",
    )


def test_each_process_has_a_port_of_its_own_and_the_gateway_knows_every_replica(
    tmp_path: Path,
) -> None:
    programs = separate.programs(place(tmp_path, PORT=0), separate.SERVICES, {"credits": 2})
    by_name = {program.name: program for program in programs}
    assert set(by_name) == {*separate.SERVICES, "credits-1", "credits-2"} - {"credits"}
    ports = [program.port for program in programs]
    ports.append(int(by_name["gateway"].environment["METRICS_PORT"]))
    assert len(ports) == len(set(ports))
    assert by_name["gateway"].environment["CREDITS_URL"] == ",".join(
        f"http://127.0.0.1:{by_name[name].port}" for name in ("credits-1", "credits-2")
    )
    assert by_name["generation"].environment["KEYS_URL"] == (
        f"http://127.0.0.1:{by_name['keys'].port}"
    )
    assert by_name["credits-1"].environment["GENERATION_URL"] == (
        f"http://127.0.0.1:{by_name['generation'].port}"
    )
    assert not by_name["storage"].environment.keys() & {"KEYS_URL", "GENERATION_URL"}
    vendors = f"http://127.0.0.1:{by_name['simulator'].port}"
    assert by_name["generation"].environment["SIMULATOR_URL"] == vendors


def test_only_some_leave_the_addresses_of_the_others_to_the_environment(tmp_path: Path) -> None:
    programs = separate.programs(place(tmp_path, PORT=8_000), {"gateway", "keys"}, {})
    assert [program.name for program in programs] == ["gateway", "keys"]
    told = programs[0].environment
    assert "KEYS_URL" in told
    assert not told.keys() & {"CREDITS_URL", "GENERATION_URL", "STORAGE_URL", "SIMULATOR_URL"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "credits"],
        ["--replicas", "credits=2"],
        ["--separate", "--only", "nobody"],
        ["--separate", "--replicas", "gateway=2"],
        ["--separate", "--replicas", "credits=0"],
        ["--separate", "--replicas", "credits=many"],
    ],
)
def test_refuses_what_it_can_not_start(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "--" in capsys.readouterr().err
