"""The tables of accounts people have connected, and of what one of many has to itself. Knows no statement."""

from sqlalchemy import MetaData, Table

from adapters.storage.columns import bytes_of, key, said, text_of, time


def accounts_in(tables: MetaData) -> Table:
    """The table, as one of these."""
    return Table(
        "accounts",
        tables,
        key("tenant"),
        key("subject"),
        key("server"),
        text_of("issuer"),
        said("scope"),
        bytes_of("sealed"),
        time("connected_at_us"),
        time("renewed_at_us"),
    )


def claims_in(tables: MetaData) -> Table:
    """The table, as one of these."""
    return Table("sole_claims", tables, key("tenant"), key("name"), text_of("holder"), time("until_us"))
