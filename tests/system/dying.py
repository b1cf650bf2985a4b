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


if __name__ == "__main__":
    install(Path(os.environ["DYING_FOLDER"]))
    runpy.run_module("services", run_name="__main__")
