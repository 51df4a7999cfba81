"""OpenAPI's objects as classes, made when the first document is read: that takes a tenth of a gateway's start."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openapi_pydantic.v3 import v3_0, v3_1


def operation_model(version: str) -> "type[v3_0.Operation] | type[v3_1.Operation]":
    """Of the operations in a document of that version of OpenAPI."""
    return import_module(f"openapi_pydantic.v3.{'v3_0' if version.startswith('3.0') else 'v3_1'}").Operation


def parameter_model() -> "type[v3_1.Parameter]":
    """Of a parameter, which is the same in all of them as far as it is read."""
    return import_module("openapi_pydantic.v3.v3_1").Parameter
