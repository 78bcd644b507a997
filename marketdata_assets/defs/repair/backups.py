"""`backup`: a daily backup of all databases into MARKETDATA_BACKUP_DIR, of which the newest are kept."""

import json
import subprocess
import sys

import dagster as dg

from marketdata_assets.settings import Settings


@dg.op
def take_backup(context: dg.OpExecutionContext) -> None:
    """Run `marketdata backup` for all databases, and keep as many backups as MARKETDATA_BACKUP_KEEP says."""
    settings = Settings()
    if settings.backup_dir is None:
        raise dg.Failure("MARKETDATA_BACKUP_DIR is not set; name a folder on another disk than the databases'")
    words = ["backup", str(settings.backup_dir), "--keep", str(settings.backup_keep), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "marketdata_assets", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise dg.Failure(f"no backup in {settings.backup_dir}: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    sizes = {name: sum(table[name] for table in found["tables"]) for name in ("rows", "bytes")}
    context.add_output_metadata({"folder": found["folder"], **sizes, "seconds": found["seconds"]})


@dg.job(description="Backs up all databases, and Dagster's, into a dated folder below MARKETDATA_BACKUP_DIR.")
def backup() -> None:
    take_backup()


@dg.schedule(
    job=backup,
    cron_schedule="47 4 * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every morning: a backup into MARKETDATA_BACKUP_DIR, if it is set.",
)
def backup_daily() -> dg.RunRequest | dg.SkipReason:
    if Settings().backup_dir is None:
        return dg.SkipReason("MARKETDATA_BACKUP_DIR is not set, so there are no daily backups")
    return dg.RunRequest()
