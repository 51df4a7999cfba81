"""The table of runs that messages have started. Knows no statement."""

from sqlalchemy import Index, MetaData, Table, UniqueConstraint

from adapters.storage.columns import key, text_of, time


def starts_in(tables: MetaData) -> Table:
    """The table, as one of these."""
    return Table(
        "starts",
        tables,
        key("run_id"),
        text_of("tenant"),
        text_of("workflow"),
        text_of("bus"),
        text_of("topic"),
        text_of("message_id"),
        text_of("digest"),
        text_of("answers_to"),
        time("at_us"),
        text_of("claimed_by"),
        time("claimed_until_us"),
        # 0 while it is to be told.
        time("told_at_us"),
        UniqueConstraint("bus", "topic", "message_id", name="starts_by_message"),
        Index("starts_untold", "told_at_us", "at_us"),
    )
