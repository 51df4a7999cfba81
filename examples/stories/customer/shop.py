"""The shop's MCP servers: orders with what was paid, products with what replaces them, and the managers' calendar."""

from typing import Any

from examples.stories.kit import Effects, Functions
from examples.support.calendar_server import SLOTS

PAID = 89.90
PRODUCTS: dict[str, dict[str, Any]] = {
    "BL-200": {"sku": "BL-200", "name": "Blender 200", "price": PAID, "stock": 0, "substitute": "BL-300"},
    "BL-300": {"sku": "BL-300", "name": "Blender 300", "price": 109.90, "stock": 12, "substitute": None},
}


def orders(effects: Effects) -> Functions:
    def find_order(order_id: str) -> dict[str, Any]:
        """An order with its customer and what was paid."""
        return {"id": order_id, "sku": "BL-200", "paid": PAID, "customer": "Ana Duarte", "phone": "+1-555-0117"}

    def find_product(sku: str) -> dict[str, Any]:
        """A product's price and stock, and what replaces it once it is discontinued."""
        return PRODUCTS[sku]

    def refund(order_id: str, amount: float, reason: str, idempotency_key: str) -> dict[str, Any]:
        """Give money back, once per key."""
        effects.once("refund", idempotency_key, order_id=order_id, amount=amount, reason=reason)
        return {"order_id": order_id, "refunded": amount}

    def ship(order_id: str, sku: str, method: str, idempotency_key: str) -> dict[str, Any]:
        """Send a product to the customer of an order, once per key."""
        effects.once("ship", idempotency_key, order_id=order_id, sku=sku, method=method)
        return {"order_id": order_id, "sku": sku, "method": method}

    return {"find_order": find_order, "find_product": find_product, "refund": refund, "ship": ship}


def calendar(effects: Effects) -> Functions:
    def free_slots(day: str) -> list[str]:
        """Times of a day at which a manager is free."""
        taken = {each["slot"] for each in effects.done("book")}
        return [slot for slot in SLOTS if slot not in taken]

    def book(day: str, slot: str, phone: str, topic: str, idempotency_key: str) -> dict[str, Any]:
        """Have a manager call a customer, once per key."""
        effects.once("book", idempotency_key, day=day, slot=slot, topic=topic)
        return {"day": day, "slot": slot, "topic": topic}

    return {"free_slots": free_slots, "book": book}
