"""Runs and steps as rows, and back. Runs no statement."""

from typing import Any

from sqlalchemy import RowMapping

from gateway.core.labels import labels_from_json
from gateway.core.limits import Usage
from gateway.core.ports.runs import Run, RunStep


def row_from_usage(usage: Usage) -> dict[str, Any]:
    return {
        "calls": usage.calls,
        "tokens": usage.tokens,
        "cost_usd": usage.cost_usd,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "counted_tokens": usage.counted_tokens,
        "models": [*usage.models] or None,
    }


def usage_from_row(row: RowMapping) -> Usage:
    """See `row_from_usage`."""
    return Usage(
        calls=row["calls"],
        tokens=row["tokens"],
        cost_usd=row["cost_usd"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        counted_tokens=row["counted_tokens"],
        models=tuple(row["models"] or ()),
    )


def row_from_run(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "tenant": run.tenant,
        "key": run.key or None,
        "workflow": run.workflow,
        "owner": run.owner,
        "state": run.state,
        "context_id": run.context_id,
        "created_at_us": run.created_at_us,
        "updated_at_us": run.updated_at_us,
        "input": run.input,
        "output": run.output,
        "error": run.error,
        "spec": dict(run.spec),
        "paused_at_us": run.paused_at_us or None,
        "held_us": run.held_us,
        **row_from_usage(run.usage),
    }


def run_from_row(row: RowMapping) -> Run:
    return Run(
        id=row["id"],
        workflow=row["workflow"],
        tenant=row["tenant"],
        owner=row["owner"],
        state=row["state"],
        context_id=row["context_id"],
        created_at_us=row["created_at_us"],
        updated_at_us=row["updated_at_us"],
        input=row["input"],
        output=row["output"],
        error=row["error"],
        usage=usage_from_row(row),
        key=row["key"] or "",
        spec=row["spec"],
        paused_at_us=row["paused_at_us"] or 0,
        held_us=row["held_us"],
    )


def row_from_step(step: RunStep) -> dict[str, Any]:
    return {
        "run_id": step.run_id,
        "id": step.id,
        "attempt": step.attempt,
        "parent": step.parent,
        "target": step.target,
        "state": step.state,
        "started_at_us": step.started_at_us,
        "duration_us": step.duration_us,
        "phase": step.phase,
        "input": step.input,
        "value": step.value,
        "summary": step.summary,
        "reason": step.reason,
        "labels": step.labels.to_json(),
        "record_id": step.record_id,
        "remote_task": step.remote_task,
        **row_from_usage(step.usage),
    }


STEP_COLUMNS = tuple(
    row_from_step(RunStep(run_id="", id="", parent="", target="", state="", attempt=1, started_at_us=0, duration_us=0))
)
"""What `row_from_step` gives."""


def step_from_row(row: RowMapping) -> RunStep:
    return RunStep(
        run_id=row["run_id"],
        id=row["id"],
        parent=row["parent"],
        target=row["target"],
        state=row["state"],
        attempt=row["attempt"],
        started_at_us=row["started_at_us"],
        duration_us=row["duration_us"],
        phase=row["phase"],
        input=row["input"],
        value=row["value"],
        summary=row["summary"],
        reason=row["reason"],
        usage=usage_from_row(row),
        labels=labels_from_json(row["labels"]),
        record_id=row["record_id"],
        remote_task=row["remote_task"],
    )
