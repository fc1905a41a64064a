"""The requests and answers of the HTTP API, which the OpenAPI description shows."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from textgen.decoding.defaults import TEMPERATURE

# JavaScript counts exactly up to here.
MAX_SEED = 2**53 - 1

MAX_STOPS, MAX_STOP_LENGTH = 16, 200


class _Strict(BaseModel):
    """A request: no other fields, and no conversions such as from "5" to 5."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class Generate(_Strict):
    """A text to generate."""

    model: str | None = Field(
        None, max_length=200, description="Name of a model; null is the default model."
    )
    prompt: str = Field("", description="The beginning of the text, may be empty.")
    max_new_tokens: int = Field(200, ge=0, description="New tokens, at most.")
    temperature: float = Field(
        TEMPERATURE,
        ge=0,
        le=100,
        description="0 takes the most probable token, 1 keeps the probabilities.",
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Sample from the most probable tokens that sum to this.",
    )
    top_k: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Sample from the K most probable tokens."
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="The same seed gives the same text; null draws one.",
    )
    stop: list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]] = Field(
        [],
        max_length=MAX_STOPS,
        description="The text ends before the first of these; if there are none, a "
        "model of lines ends at the end of the line.",
    )
    label: str | list[str] | None = Field(
        None, description="Label or labels of the text, such as its author."
    )
    unknown: str | None = Field(
        None,
        max_length=200,
        description='What happens to symbols that the model does not know: "skip" '
        'leaves them out, "error" reports them; null is as in the training.',
    )
    stream: bool = Field(
        False, description="Send server-sent events while the text is generated."
    )


class Generated(BaseModel):
    """A generated text."""

    model_config = ConfigDict(protected_namespaces=())

    model: str = Field(description="Name of the model.")
    seed: int = Field(description="The same seed gives the same text.")
    text: str = Field(description="The new text, without the prompt.")
    finished: Literal["length", "stop"] = Field(
        description="Why it ended: after max_new_tokens, or at a stop."
    )


class ScoreRequest(_Strict):
    """A text to score."""

    model: str | None = Field(
        None, max_length=200, description="Name of a model; null is the default model."
    )
    text: str = Field(description="The text.")
    alternatives: int = Field(
        5, ge=0, description="Most probable tokens at each place, at most."
    )
    unknown: str | None = Field(
        None, max_length=200, description="As for a text to generate."
    )
    label: str | list[str] | None = Field(
        None, description="As for a text to generate."
    )


class Alternative(BaseModel):
    """A token that could be at a place."""

    text: str = Field(description="The text of the token.")
    probability: float = Field(description="Its probability, from 0 to 1.")


class ScoredToken(BaseModel):
    """A token of a text."""

    text: str = Field(description="The characters; joined, they are the text.")
    probability: float | None = Field(
        description="From 0 to 1; null for a first token that cannot be predicted."
    )
    alternatives: list[Alternative] = Field(
        description="The most probable tokens at this place, the most probable first."
    )


class Scored(BaseModel):
    """How well a model predicts a text."""

    model_config = ConfigDict(protected_namespaces=())

    model: str = Field(description="Name of the model.")
    nats: float = Field(description="Mean negative log probability of a token.")
    bits: float = Field(description="The same in bits.")
    perplexity: float | None = Field(description="exp(nats); null if it is infinite.")
    bits_per_character: float | None = Field(
        description="All bits divided by the number of characters."
    )
    count: int = Field(description="Number of scored tokens.")
    tokens: list[ScoredToken] = Field(description="The tokens of the text.")


class Described(BaseModel):
    """A model that can be used."""

    name: str = Field(description="What requests call it.")
    title: str = Field(description="What it generates, or what it was trained on.")
    level: Literal["character", "word", "byte", "subword"] = Field(
        description="What a token is."
    )
    tokens: int = Field(description="Size of the vocabulary.")
    network: str = Field(description="Kind and sizes, such as LSTM 512.")
    lines: bool = Field(description="Whether it generates single lines.")
    labels: list[str] = Field(description="Labels that a text can have.")
    samples: list[str] = Field(description="Beginnings to try.")


class Bounds(BaseModel):
    """The largest values of a request."""

    max_new_tokens: int = Field(description="New tokens of one text.")
    max_characters: int = Field(description="Characters of a prompt or a text.")
    alternatives: int = Field(description="Alternatives of a score.")


class Models(BaseModel):
    """The models that can be used."""

    default: str = Field(description="Name of the model if a request names none.")
    models: list[Described] = Field(description="The models.")
    limits: Bounds = Field(description="The largest values of a request.")


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str = Field(description="What is wrong, and the remedy.")
