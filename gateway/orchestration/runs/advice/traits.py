"""What the work is like: what advice is given on. Knows no pattern."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Traits(BaseModel):
    """Of one kind of request. Every default is the plainest case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intents: float = Field(default=1, ge=1)
    """How many different things one message asks for, on average."""
    steps: int = Field(default=1, ge=1, le=200)
    """How many pieces of work a request takes."""
    dependencies: Literal["none", "chain", "graph"] = "none"
    """Whether pieces need each other's results: none do, each the one before, or some do."""
    predictable: bool = True
    """Whether the pieces are known before the request is."""
    opinions: bool = False
    """Whether the same question is better answered several times, independently."""
    sources: int = Field(default=1, ge=1)
    """From how many places the same kind of answer has to be gathered."""
    high_stakes: bool = False
    """Whether a wrong answer is dear."""
    polish: bool = False
    """Whether an answer gets better when somebody criticises it."""
    open_ended: bool = False
    """Whether work turns up while working, nobody knows how much."""
    specialists: int = Field(default=1, ge=1)
    """How many kinds of know-how it takes."""
    peers: bool = False
    """Whether specialists themselves know best whom to ask next."""
    tools: int = Field(default=5, ge=0)
    """How many tools the one who does most needs."""
    step_s: float = Field(default=5, gt=0)
    """How long a piece takes, seconds."""
    step_usd: float = Field(default=0.01, ge=0)
    """What a piece costs."""
    step_success: float = Field(default=0.95, gt=0, le=1)
    """How likely a piece is done right."""
    patience_s: float = Field(default=60, gt=0)
    """How long whoever asks will wait, seconds."""


QUESTIONS: tuple[tuple[str, str], ...] = (
    ("intents", "How many different things does one message ask for, on average?"),
    ("steps", "How many pieces of work does a request take?"),
    ("dependencies", "Do pieces need each other's results (none, chain, graph)?"),
    ("predictable", "Are the pieces known before the request is (yes, no)?"),
    ("specialists", "How many kinds of know-how does it take?"),
    ("sources", "From how many places has the same kind of answer to be gathered?"),
    ("opinions", "Is the same question better answered several times, independently (yes, no)?"),
    ("high_stakes", "Is a wrong answer dear (yes, no)?"),
    ("polish", "Does an answer get better when somebody criticises it (yes, no)?"),
    ("open_ended", "Does work turn up while working, nobody knows how much (yes, no)?"),
    ("peers", "Do specialists themselves know best whom to ask next (yes, no)?"),
    ("tools", "How many tools does the one who does most need?"),
    ("step_s", "How long does a piece take, seconds?"),
    ("step_usd", "What does a piece cost, USD?"),
    ("step_success", "How likely is a piece done right (0 to 1)?"),
    ("patience_s", "How long will whoever asks wait, seconds?"),
)
"""What to ask whoever does not say, in this order."""
