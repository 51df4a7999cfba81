"""The shop's MCP server: orders, customers, inventory and money, in a real SQLite file.

    python -m examples.support.orders_server --port 9001 --db shop.db

Every tool that changes something takes an idempotency key and does its work once per key, so that a caller who is not
sure whether a call arrived may repeat it.
"""

import argparse
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

SCHEMA = """
CREATE TABLE IF NOT EXISTS customers (id TEXT PRIMARY KEY, name TEXT NOT NULL, phone TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS products (
    sku TEXT PRIMARY KEY, name TEXT NOT NULL, price REAL NOT NULL, stock INTEGER NOT NULL, substitute TEXT
);
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, customer TEXT NOT NULL, sku TEXT NOT NULL, paid REAL NOT NULL, delivered_on TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS refunds (key TEXT PRIMARY KEY, order_id TEXT NOT NULL, amount REAL NOT NULL, reason TEXT);
CREATE TABLE IF NOT EXISTS shipments (key TEXT PRIMARY KEY, order_id TEXT NOT NULL, sku TEXT NOT NULL, method TEXT);
INSERT OR IGNORE INTO customers VALUES ('c-17', 'Ana Duarte', '+1-555-0117');
INSERT OR IGNORE INTO customers VALUES ('c-23', 'Ben Okafor', '+1-555-0123');
INSERT OR IGNORE INTO products VALUES ('BL-200', 'Blender 200', 89.90, 0, 'BL-300');
INSERT OR IGNORE INTO products VALUES ('BL-300', 'Blender 300', 109.90, 12, NULL);
INSERT OR IGNORE INTO orders VALUES ('A-1007', 'c-17', 'BL-200', 89.90, '2026-11-19');
INSERT OR IGNORE INTO orders VALUES ('A-1008', 'c-23', 'BL-200', 89.90, '2026-11-20');
"""

READ = ToolAnnotations(read_only_hint=True)


class Shop:
    """The database behind the tools; one short transaction a call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._transaction() as connection:
            connection.executescript(SCHEMA)

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=10)
        connection.row_factory = sqlite3.Row
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def one(self, query: str, *values: str) -> dict[str, Any]:
        with self._transaction() as connection:
            row = connection.execute(query, values).fetchone()
        if row is None:
            raise ValueError(f"nothing is known of {', '.join(values)}")
        return dict(row)

    def every(self, query: str) -> list[dict[str, Any]]:
        with self._transaction() as connection:
            return [dict(row) for row in connection.execute(query)]

    def once(self, statement: str, key: str, *values: Any) -> bool:
        """Whether the effect was new under this key."""
        with self._transaction() as connection:
            return connection.execute(statement, (key, *values)).rowcount == 1


def build(shop: Shop) -> MCPServer:
    server = MCPServer("orders", version="1.0.0", instructions="Orders, customers and inventory of a small shop.")

    @server.tool(title="Find an order", annotations=READ)
    def find_order(order_id: str) -> dict[str, Any]:
        """An order with its customer and what was paid."""
        return shop.one(
            "SELECT orders.id, sku, paid, delivered_on, name AS customer, phone FROM orders"
            " JOIN customers ON customers.id = orders.customer WHERE orders.id = ?",
            order_id,
        )

    @server.tool(title="Look up a product", annotations=READ)
    def find_product(sku: str) -> dict[str, Any]:
        """A product's price and stock, and what replaces it once it is discontinued."""
        return shop.one("SELECT * FROM products WHERE sku = ?", sku)

    @server.tool(title="Refund an order", annotations=ToolAnnotations(destructive_hint=True, idempotent_hint=True))
    def refund(order_id: str, amount: float, reason: str, idempotency_key: str) -> dict[str, Any]:
        """Give money back. The same idempotency_key refunds once."""
        order = shop.one("SELECT paid FROM orders WHERE id = ?", order_id)
        if not 0 < amount <= order["paid"]:
            raise ValueError(f"a refund of {amount} is not between 0 and the {order['paid']} that were paid")
        new = shop.once("INSERT OR IGNORE INTO refunds VALUES (?, ?, ?, ?)", idempotency_key, order_id, amount, reason)
        return {"order_id": order_id, "refunded": amount, "new": new}

    @server.tool(title="Ship a product", annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True))
    def ship(order_id: str, sku: str, method: str, idempotency_key: str) -> dict[str, Any]:
        """Send a product to the customer of an order. The same idempotency_key ships once."""
        new = shop.once("INSERT OR IGNORE INTO shipments VALUES (?, ?, ?, ?)", idempotency_key, order_id, sku, method)
        return {"order_id": order_id, "sku": sku, "method": method, "new": new}

    @server.tool(title="List refunds and shipments", annotations=READ)
    def list_effects() -> dict[str, Any]:
        """Everything that was refunded and shipped."""
        return {
            "refunds": shop.every("SELECT order_id, amount, reason FROM refunds"),
            "shipments": shop.every("SELECT order_id, sku, method FROM shipments"),
        }

    return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--db", type=Path, default=Path("shop.db"))
    options = parser.parse_args()
    build(Shop(options.db)).run("streamable-http", port=options.port, json_response=True)


if __name__ == "__main__":
    main()
