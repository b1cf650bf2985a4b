"""Where our RabbitMQ lives, as whom, how it is set up; must not know the server's life.

    folder/rabbitmq.conf, definitions.json, enabled_plugins    written at each start
    folder/data/         mnesia, logs and the Erlang cookie, the server's own
    (`folder` is `home`, or where its user cannot enter that, the home's below `fallback_root`)

The Erlang node is alone: it listens to no other node and asks no epmd, so that no daemon is left
behind, two servers never meet by name, and only AMQP is reachable. `rabbitmqctl` isn't either.
"""

import base64
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Final, NamedTuple

from kernel.clock import random_token
from kernel.unprivileged import NoPlace, User, choose_place, keep, put, work_folder

_PROGRAM: Final = "rabbitmq-server"
# Debian's and Fedora's programs; what they have in PATH changes the user and the folder.
_PACKAGED: Final = "/usr/lib/rabbitmq/bin"
_USERS: Final = ("smartspec", "rabbitmq", "nobody")
_NOWHERE: Final = "1"
"""A port where no epmd answers: not the machine's own, which may run at the usual one."""
_ALONE: Final = " ".join(
    (
        "-start_epmd false",
        f"-erl_epmd_port {_NOWHERE}",  # stands for an answer of epmd
        "-dist_listen false",
        "-kernel inet_dist_use_interface {127,0,0,1}",  # Erlang before 25 listens all the same
    )
)
_SETTINGS: Final = {
    "vm_memory_high_watermark.absolute": "512MiB",
    "disk_free_limit.absolute": "16MiB",  # where publishers stop: a disk in CI is often nearly full
    "raft.wal_max_size_bytes": str(32 * 1024 * 1024),  # by default 512 MiB, kept in memory as well
    "log.console": "false",
    "log.file": "server.log",
    "log.file.rotation.size": str(5 * 1024 * 1024),
    "log.file.rotation.count": "1",
}


class RabbitMQUnavailable(RuntimeError):
    """Our RabbitMQ cannot run; the message says why, or what to do."""


class Node(NamedTuple):
    """`name` as in "smartspec-1a2b3c@localhost"."""

    user: User
    data: Path
    name: str
    server: Path
    erl: Path

    def command(self, *, death_signal: int) -> list[str]:
        return self.user.command([str(self.server)], death_signal=death_signal)

    def environment(self) -> dict[str, str]:
        """All of it: nothing of the caller's, whose RABBITMQ_* and ERL_* would change what runs."""
        folder = self.data.parent
        return {
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "PATH": os.pathsep.join([str(self.erl.parent), os.defpath]),
            "HOME": str(self.data),
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the VM, else it would wait for it
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(folder / "no.d" / "*.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "no.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.data / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-sname {self.name}",
            "ERL_FLAGS": _ALONE,  # here, because a VM that RabbitMQ starts each minute heeds it too
            "ERL_EPMD_PORT": _NOWHERE,
            "ERL_CRASH_DUMP_SECONDS": "0",
        }


def find_node(home: Path, fallback_root: Path, search: str | None = None) -> Node:
    """Find the data, or make a place for new data; the same answer at each start.

    `search` is where programs are looked for, as in PATH. Raises RabbitMQUnavailable.
    """
    path = search or os.pathsep.join([_PACKAGED, os.environ.get("PATH", os.defpath)])
    server, erl = (shutil.which(program, path=path) for program in (_PROGRAM, "erl"))
    if server is None or erl is None:
        raise RabbitMQUnavailable(
            f"no RabbitMQ on this machine: install {_PROGRAM} or set RABBITMQ_URL"
        )
    programs = Path(server).absolute(), Path(erl).absolute()
    try:
        user, data, can_run = choose_place(home, fallback_root, _USERS, programs)
    except NoPlace as error:
        raise RabbitMQUnavailable(str(error)) from None
    if not can_run:
        raise RabbitMQUnavailable(f"the user with id {user.uid} cannot run {server} and {erl}")
    if not (home / "data").exists():
        _make_data(home, user, data)
    return Node(user, data, _name(home, data), *programs)


def _make_data(home: Path, user: User, data: Path) -> None:
    work = work_folder(data.parent)
    try:
        (work / "data").mkdir(mode=0o700)
        user.own(work / "data")
        put(home, work / "data", data)
    finally:
        shutil.rmtree(work)


def _name(home: Path, data: Path) -> str:
    """What is stored belongs to a node's name, so a home that was moved keeps its first one."""
    stored = sorted(path.name for path in data.glob("mnesia/smartspec-*@localhost"))
    mark = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return stored[0] if stored else f"smartspec-{mark}@localhost"


def prepare_node(node: Node, port: int, password: str) -> None:
    """Write what it reads at its start: from then on `smartspec` has this password."""
    folder, user = node.data.parent, node.user
    definitions = folder / "definitions.json"
    settings = _SETTINGS | {
        "listeners.tcp.1": f"127.0.0.1:{port}",
        "load_definitions": str(definitions),
    }
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    keep(folder / "rabbitmq.conf", lines, user)
    keep(folder / "enabled_plugins", "[].\n", user)
    keep(definitions, json.dumps(_definitions(password)), user)


def _definitions(password: str) -> dict[str, list[dict[str, str]]]:
    """Our user instead of guest. A default user is made once: its password could not be replaced,
    and would be kept in clear in the server's files."""
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [
            {
                "name": "smartspec",
                "password_hash": _hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "",
            }
        ],
        "vhosts": [{"name": "/"}],
        "permissions": [{"user": "smartspec", "vhost": "/", **everything}],
    }


def _hash(password: str) -> str:
    """As https://www.rabbitmq.com/docs/passwords says."""
    salt = random_token(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
