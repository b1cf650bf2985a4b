"""What a simulator may be told, read once."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from kernel.settings import ENV_FILE


class SimulatorSettings(BaseSettings):
    """Environment: SIMULATOR_*. Every list on disk and in memory has its bound here."""

    model_config = SettingsConfigDict(
        env_prefix="SIMULATOR_", env_file=ENV_FILE, extra="ignore", frozen=True
    )

    home: Path = Path(".smartspec/simulator")
    host: str = "127.0.0.1"
    port: int = Field(default=8099, ge=0, le=65_535)
    latency_s: float = Field(default=0.0, ge=0, le=3600)
    """No job is done earlier than this after it was accepted."""
    canned: bool = False
    """Answer every job at once with a tiny picture (for benchmarks of everything else)."""
    content_credentials: bool = False
    """Sign what is rendered (C2PA) with a root of this machine; then no two files are alike."""
    workers: int = Field(default=2, ge=1, le=64)
    """Render processes; never more than the machine has processors."""
    warm_after_s: float = Field(default=1.0, ge=0, le=60)
    """Render processes start this long after the app, or with the first job."""
    render_timeout_s: float = Field(default=60.0, gt=0, le=600)
    granted_credits: int = Field(default=1_000_000, ge=0)
    """What every key starts with."""
    answer_timeout_s: float = Field(default=300.0, gt=0, le=3600)
    """For vendors that answer with the result itself (Google, ElevenLabs)."""
    kie_hmac_key: str = Field(default="", max_length=500, repr=False)
    """Signs kie.ai's callbacks; empty: they are not signed."""
    kie_task_limit: bool = False
    """Hold each key to kie.ai's 20 new tasks per 10 s; the scenario `task_limit` does it too."""
    leonardo_webhook_url: str = Field(default="", max_length=4_096)
    """Leonardo calls back where a key was told to when it was made: here, every key."""
    leonardo_webhook_key: str = Field(default="", max_length=500, repr=False)
    elevenlabs_concurrent_max: int = Field(default=10, ge=1, le=1000)
    """Requests at a time per key; a plan has between 2 and 15."""
    reach_hosts: frozenset[str] = frozenset({"127.0.0.1", "::1", "localhost"})
    """Where callbacks are sent and pictures fetched from; a JSON list."""
    max_upload_bytes: int = Field(default=32 * 1024**2, ge=1024)
    """For one picture that is handed over (HeyGen's limit for an asset)."""
    max_uploads_bytes: int = Field(default=512 * 1024**2, ge=1024)
    max_jobs: int = Field(default=10_000, ge=1)
    max_unfinished: int = Field(default=1_000, ge=1)
    max_scenarios: int = Field(default=200, ge=1)
    max_asked: int = Field(default=2_000, ge=1)
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    keep_s: int = Field(default=86_400, ge=60)
    """Jobs and results older than this are forgotten."""
    max_files_bytes: int = Field(default=2 * 1024**3, ge=1024)
