"""The tools and the prompt of the conformance suite that ask the client something, by name."""

import json
from collections.abc import Mapping
from typing import Any

from mcp import MCPError

from tests.conformance.everything.calling import (
    ROOTS,
    Call,
    Result,
    Tool,
    content_of,
    elicitation,
    sampling,
    text_result,
)

_TEXT = {"type": "string"}
_CHOICES = ["option1", "option2", "option3"]


async def _sample(call: Call) -> Result:
    if "sampling" not in call.capabilities:
        return text_result("the client cannot sample", is_error=True)
    answer = await call.ask({"answer": sampling(str(call.arguments.get("prompt")), 100)})
    return text_result(f"LLM response: {answer['answer']['content'].get('text')}")


async def _form(call: Call, said: str, message: str, **fields: Mapping[str, Any]) -> Result:
    if "elicitation" not in call.capabilities:
        return text_result("the client cannot be asked", is_error=True)
    answer = (await call.ask({"answer": elicitation(message, **fields)}))["answer"]
    return text_result(f"{said}: action={answer['action']}, content={json.dumps(content_of(answer))}")


async def _elicit(call: Call) -> Result:
    described = {"username": "User's response", "email": "User's email address"}
    fields = {name: {**_TEXT, "description": text} for name, text in described.items()}
    return await _form(call, "User response", str(call.arguments.get("message")), **fields)


async def _defaults(call: Call) -> Result:
    return await _form(
        call,
        "Elicitation completed",
        "Who are you?",
        name={**_TEXT, "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={**_TEXT, "enum": ["active", "inactive", "pending"], "default": "active"},
        verified={"type": "boolean", "default": True},
    )


async def _enums(call: Call) -> Result:
    titled = [{"const": f"value{n}", "title": f"{nth} Option"} for n, nth in enumerate(("First", "Second", "Third"), 1)]
    return await _form(
        call,
        "Elicitation completed",
        "Which of these?",
        untitledSingle={**_TEXT, "enum": _CHOICES},
        titledSingle={**_TEXT, "oneOf": titled},
        legacyEnum={**_TEXT, "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
        untitledMulti={"type": "array", "items": {**_TEXT, "enum": _CHOICES}},
        titledMulti={"type": "array", "items": {"anyOf": titled}},
    )


async def _ask_name(call: Call) -> Result:
    answer = await call.ask({"user_name": elicitation("What is your name?", name=_TEXT)})
    return text_result(f"Hello, {content_of(answer['user_name']).get('name', 'stranger')}!")


async def _ask_on_a_stream(call: Call) -> Result:
    await call.progress(1, 2)
    return await _ask_name(call)


async def _ask_model(call: Call) -> Result:
    answer = await call.ask({"capital_question": sampling("What is the capital of France?", 100)})
    return text_result(f"The model says: {answer['capital_question']['content'].get('text')}")


async def _ask_roots(call: Call) -> Result:
    answer = await call.ask({"client_roots": ROOTS})
    return text_result("roots: " + ", ".join(str(each.get("uri")) for each in answer["client_roots"]["roots"]))


async def _keeps_state(call: Call) -> Result:
    await call.ask({"confirm": elicitation("Please confirm", ok={"type": "boolean"})}, state="waiting for the word")
    if call.modern and call.state != "waiting for the word":
        raise MCPError(code=-32602, message="this is not the state that was given")
    return text_result("state-ok")


async def _asks_three(call: Call) -> Result:
    questions = {
        "user_name": elicitation("What is your name?", name=_TEXT),
        "greeting": sampling("Generate a greeting", 50),
        "client_roots": ROOTS,
    }
    answers = await call.ask(questions, state="three at once")
    return text_result(f"all of {', '.join(sorted(answers))} are there")


async def _asks_in_turn(call: Call) -> Result:
    second = call.state is not None and call.state.startswith("named ")
    if not second:
        first = await call.ask({"step1": elicitation("Step 1: What is your name?", name=_TEXT)}, state="nothing yet")
        name = content_of(first["step1"]).get("name")
    else:
        name = str(call.state).removeprefix("named ")
    question = {"step2": elicitation("Step 2: What is your favorite color?", color=_TEXT)}
    answer = await call.ask(question, state=f"named {name}")
    return text_result(f"{name} likes {content_of(answer['step2']).get('color')}")


async def _asks_the_able(call: Call) -> Result:
    questions = {
        "sample": ("sampling", sampling("Say hello", 50)),
        "ask": ("elicitation", elicitation("What is your name?", name=_TEXT)),
        "roots": ("roots", ROOTS),
    }
    wanted = {key: question for key, (needs, question) in questions.items() if needs in call.capabilities}
    answers = await call.ask(wanted, state="asked what can be answered")
    return text_result(f"answered: {', '.join(sorted(answers))}")


async def asking_prompt(call: Call) -> Result:
    """`prompts/get` of the prompt that asks."""
    answer = await call.ask({"user_context": elicitation("What context should the prompt use?", context=_TEXT)})
    context = content_of(answer["user_context"]).get("context")
    return {"messages": [{"role": "user", "content": {"type": "text", "text": f"In the context of {context}: begin."}}]}


TOOLS: Mapping[str, Tool] = {
    "test_sampling": _sample,
    "test_elicitation": _elicit,
    "test_elicitation_sep1034_defaults": _defaults,
    "test_elicitation_sep1330_enums": _enums,
    "test_input_required_result_elicitation": _ask_name,
    "test_streaming_elicitation": _ask_on_a_stream,
    "test_input_required_result_sampling": _ask_model,
    "test_input_required_result_list_roots": _ask_roots,
    "test_input_required_result_request_state": _keeps_state,
    "test_input_required_result_multiple_inputs": _asks_three,
    "test_input_required_result_multi_round": _asks_in_turn,
    "test_input_required_result_tampered_state": _keeps_state,
    "test_input_required_result_capabilities": _asks_the_able,
}
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "test_sampling": {"type": "object", "properties": {"prompt": _TEXT}, "required": ["prompt"]},
    "test_elicitation": {"type": "object", "properties": {"message": _TEXT}, "required": ["message"]},
}
