"""The read model of storage: every file that is kept, and how long each has lain."""

from collections.abc import Iterable
from typing import assert_never

from kernel.projections import ReadModel
from kernel.puts import Projected
from kernel.unit import Recorded
from services.storage.domain import (
    FileDeleted,
    FileUploaded,
    OutputErased,
    OutputExpected,
    OutputRejected,
    OutputStored,
    StorageEvent,
    StorageMeasured,
    UploadBegun,
    UploadEnded,
    output_keys,
)
from services.storage.read_model.files import (
    FILES,
    KINDS,
    OUTPUT_KIND,
    UPLOAD_KIND,
    File,
    TypeTotal,
    Wished,
    by_type,
    drop_rows,
    file_of,
    files_of,
    output_row,
    sha256_of,
    upload_row,
)
from services.storage.read_model.stays import STAYS, Lain, arrived, lain, left
from services.storage.read_model.tables import TABLES


def project(recorded: Recorded[StorageEvent | StorageMeasured]) -> Iterable[Projected]:
    event = recorded.event
    match event:
        case OutputStored():
            yield output_row(recorded, event)
            yield arrived(event.file, event.user_id, event.account_id, recorded.at)
        case FileUploaded():
            yield upload_row(recorded, event)
            yield arrived(event.file, event.user_id, event.account_id, recorded.at)
        case OutputErased(task_id, user_id, index):
            keys = output_keys(user_id, task_id, index)
            yield drop_rows(keys)
            yield left(keys, recorded.at)
        case FileDeleted(key=key):
            yield drop_rows([key])
            yield left([key], recorded.at)
        case OutputExpected() | OutputRejected() | UploadBegun() | UploadEnded():
            return
        case StorageMeasured():
            return
        case _:
            assert_never(event)


READ_MODEL = ReadModel(TABLES, project)

__all__ = [
    "FILES",
    "KINDS",
    "OUTPUT_KIND",
    "READ_MODEL",
    "STAYS",
    "UPLOAD_KIND",
    "File",
    "Lain",
    "TypeTotal",
    "Wished",
    "by_type",
    "file_of",
    "files_of",
    "lain",
    "project",
    "sha256_of",
]
