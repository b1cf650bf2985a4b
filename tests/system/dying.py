"""python -m tests.system.dying: the product as it is, which kills itself as `kill -9` would, at the
named point that is armed by a file in `DYING_FOLDER`."""

import os
import runpy
from pathlib import Path
from typing import Any, Final

BEFORE_SUBMIT: Final = "before_submit"
AFTER_SUBMIT: Final = "after_submit_before_its_record"
AFTER_RECORD: Final = "after_the_record"
WHILE_DOWNLOADING: Final = "while_downloading"
AFTER_STORING: Final = "after_storing_before_its_record"
WHILE_RECEIVING: Final = "while_an_upload_is_received"
AFTER_RESERVE: Final = "after_the_room_is_reserved"
AFTER_PUT: Final = "after_the_put_of_an_upload"
BEFORE_DELETION: Final = "between_the_word_of_a_deletion_and_the_deletion"
BETWEEN_PUTS: Final = "between_an_output_and_its_small_picture"


def install(folder: Path) -> None:
    """Put every point into the classes of this process."""
    from kernel import outbound
    from services.generation.adapters.job_records import JobRecords
    from services.generation.adapters.kie import KieProvider
    from services.storage.adapters.worker import OutputWorker
    from services.storage.domain import KeepOutput
    from tests.campaign.crash_points import Armed

    armed = Armed(folder)
    submit, accepted = KieProvider.submit, JobRecords.accepted
    write, record = outbound._Sink.write, OutputWorker._record

    async def submitting(self: Any, job: Any) -> Any:
        armed.reach(BEFORE_SUBMIT)
        answer = await submit(self, job)
        armed.reach(AFTER_SUBMIT)
        return answer

    async def recording(self: Any, *arguments: Any) -> None:
        await accepted(self, *arguments)
        armed.reach(AFTER_RECORD)

    def writing(self: Any, data: bytes) -> None:
        write(self, data)
        armed.reach(WHILE_DOWNLOADING)

    async def keeping(self: Any, fetch: Any, ending: Any) -> None:
        if isinstance(ending, KeepOutput):
            armed.reach(AFTER_STORING)
        await record(self, fetch, ending)

    for owner, name, dying in (
        (KieProvider, "submit", submitting),
        (JobRecords, "accepted", recording),
        (outbound._Sink, "write", writing),
        (OutputWorker, "_record", keeping),
    ):
        setattr(owner, name, dying)
    install_uploads(armed)


def install_uploads(armed: Any) -> None:
    """The points of what storage takes in, keeps and deletes."""
    from kernel.objects import LocalObjectStore
    from services.storage.adapters import receiving
    from services.storage.adapters.intake import Intake
    from services.storage.adapters.unwanted import Unwanted

    receive, finish, keep = receiving._Sink._write, Intake._finish, Intake._keep
    put, delete_now = LocalObjectStore.put_file, Unwanted.delete_now

    def receiving_some(self: Any, *arguments: Any) -> None:
        receive(self, *arguments)
        armed.reach(WHILE_RECEIVING)

    async def finishing(self: Any, *arguments: Any) -> Any:
        armed.reach(AFTER_RESERVE)
        return await finish(self, *arguments)

    async def keeping(self: Any, *arguments: Any) -> None:
        armed.reach(AFTER_PUT)
        await keep(self, *arguments)

    async def putting(self: Any, key: str, *arguments: Any, **how: Any) -> Any:
        if key.startswith("images/thumbnails/"):
            armed.reach(BETWEEN_PUTS)
        return await put(self, key, *arguments, **how)

    async def deleting(self: Any, keys: Any) -> None:
        armed.reach(BEFORE_DELETION)
        await delete_now(self, keys)

    for owner, name, dying in (
        (receiving._Sink, "_write", receiving_some),
        (Intake, "_finish", finishing),
        (Intake, "_keep", keeping),
        (LocalObjectStore, "put_file", putting),
        (Unwanted, "delete_now", deleting),
    ):
        setattr(owner, name, dying)


if __name__ == "__main__":
    install(Path(os.environ["DYING_FOLDER"]))
    runpy.run_module("services", run_name="__main__")
