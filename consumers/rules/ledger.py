"""Rules about the ledger itself."""

from __future__ import annotations

from mlflow_ledger.schemas import CommandRejected, ContentRedacted, LedgerCreated, Reason, Refused

from .context import Context, rule

__all__ = ["DEFAULT_EXPERIMENT_ID", "DEFAULT_EXPERIMENT_NAME"]

DEFAULT_EXPERIMENT_ID = 0
DEFAULT_EXPERIMENT_NAME = "Default"


@rule(LedgerCreated)
def ledger_created(context: Context, event: LedgerCreated) -> None:
    """The ledger begins, and with it experiment 0; a second beginning is refused."""
    known = context.row("SELECT value FROM meta WHERE key = 'ledger_id'")
    if known is not None:
        raise Refused(Reason.EXISTS, f"This log is already ledger {known[0]}'s")
    if context.row("SELECT 1 FROM experiments"):
        raise Refused(Reason.STATE, "A ledger's beginning comes before all else")
    context.write("INSERT INTO meta VALUES ('ledger_id', ?)", event.ledger_id)
    context.write("INSERT INTO meta VALUES ('artifact_root', ?)", event.artifact_root)
    context.write("INSERT INTO meta VALUES ('erasable', ?)", str(int(event.erasable)))
    now_ms = context.envelope.time_ms
    context.write(
        "INSERT INTO experiments VALUES (?, ?, ?, ?, 'active', 0, 0, ?, ?)",
        DEFAULT_EXPERIMENT_ID,
        context.envelope.workspace,
        DEFAULT_EXPERIMENT_NAME,
        f"{event.artifact_root.rstrip('/')}/{DEFAULT_EXPERIMENT_ID}",
        now_ms,
        now_ms,
    )
    context.catalog = True


@rule(CommandRejected)
def command_rejected(context: Context, event: CommandRejected) -> None:
    """A refused command changes nothing; the audit keeps what it was and why it was refused."""
    envelope = context.envelope
    context.write(
        "INSERT OR IGNORE INTO rejections VALUES (?, ?, x'', ?, ?, ?, ?)",
        envelope.source,
        envelope.id,
        event.command,
        event.command_subject,
        event.code,
        event.content.message if event.content else "",
    )


@rule(ContentRedacted)
def content_redacted(context: Context, event: ContentRedacted) -> None:
    """What was erased is no longer in the log: the state, folded again, never knew it."""
