# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients send and get, and how the one becomes a request of the engine."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from nano_banana import request as limits
from nano_banana.errors import BadInputError
from nano_banana.request import Control, Lora, Request

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def _without_default(schema: dict[str, Any]) -> None:
    """For fields that are left away, never null: the default behind them means that and is no value of its own."""
    schema.pop("default", None)


def _prompt(schema: dict[str, Any]) -> None:
    _without_default(schema)
    schema.update(_TEXT)


def _whole(value: Any) -> Any:
    # To JSON schema 10.0 is an integer too.
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Behind the bounds in each annotation: before them, the schema would not tell the bounds.
_WHOLE = BeforeValidator(_whole)
# The same as request.py refuses, in the words of JSON schema: no control characters, and not blank.
_BAD = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f"
_TEXT = {"pattern": rf"^[^{_BAD}]*[^{_BAD}\s][^{_BAD}]*$", "minLength": 1}
_OPTIONAL_TEXT = {"pattern": rf"^([^{_BAD}]*[^{_BAD}\s][^{_BAD}]*)?$"}
# An adapter is asked for by the name it was loaded under; a path is none.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_BASE64 = {"pattern": r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$", "contentEncoding": "base64"}
_DEFAULT = Request("defaults")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class LoraWish(_Strict):
    """A style adapter by the name it was loaded under."""

    name: Annotated[str, Field(pattern=_NAME)]
    weight: Annotated[float, Field(ge=-limits.MAX_LORA_WEIGHT, le=limits.MAX_LORA_WEIGHT)] = 0.8


class ControlWish(_Strict):
    """A picture that guides the layout."""

    name: Annotated[str, Field(pattern=_NAME)]
    picture: Annotated[str, Field(min_length=4, json_schema_extra={**_BASE64}, repr=False)]
    strength: Annotated[float, Field(ge=0, le=2)] = 0.8


class PictureWish(_Strict):
    """One picture. `prompt` or `preset` is needed; a field that is sent comes before the preset's."""

    prompt: Annotated[str, Field(max_length=limits.MAX_PROMPT, json_schema_extra=_prompt)] = ""
    preset: str = ""
    negative: Annotated[str, Field(max_length=limits.MAX_PROMPT, json_schema_extra={**_OPTIONAL_TEXT})] = ""
    width: Annotated[int, Field(ge=limits.MIN_SIDE, le=limits.MAX_SIDE), _WHOLE] = _DEFAULT.width
    height: Annotated[int, Field(ge=limits.MIN_SIDE, le=limits.MAX_SIDE), _WHOLE] = _DEFAULT.height
    seed: Annotated[int, Field(ge=0, le=limits.MAX_SEED), _WHOLE] = _DEFAULT.seed
    steps: Annotated[int, Field(ge=1, le=limits.MAX_STEPS), _WHOLE] = _DEFAULT.steps
    guidance: Annotated[float, Field(ge=0, le=limits.MAX_GUIDANCE)] = _DEFAULT.guidance
    loras: Annotated[list[LoraWish], Field(max_length=8)] = []
    control: ControlWish = Field(default=None, json_schema_extra=_without_default)  # type: ignore[assignment]
    upscale: Annotated[Literal[1, 2], _WHOLE] = 1
    style: bool = _DEFAULT.style
    sharpen: Annotated[float, Field(ge=0, le=4)] = _DEFAULT.sharpen
    format: Literal["png", "jpeg", "webp"] = "png"
    quality: Annotated[
        int, Field(ge=1, le=100, description="JPEG and WebP alone.", json_schema_extra=_without_default), _WHOLE
    ] = 90


class PictureAnswer(_Strict):
    """The picture as JSON, sent where Accept prefers application/json. Times in seconds, sides in pixels."""

    picture: Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
    media_type: Literal["image/png", "image/jpeg", "image/webp"]
    bytes: int
    width: int
    height: int
    seed: int
    backend: str
    seconds: float
    queue_seconds: float
    notes: list[str]
    request_id: str


class PresetAnswer(_Strict):
    """A prompt with its settings. Those in `defaulted` are the engine's defaults; `lora` and `controlnet` are names."""

    name: str
    prompt: str
    lora: str
    lora_weight: float
    guidance: float
    steps: int
    seed: int
    controlnet: str
    defaulted: list[str]


class Info(_Strict):
    """What draws here, and the limits. `state` holds plain values that depend on the backend; times in seconds."""

    backend: str
    summary: str
    engine_version: str
    ready: bool
    waiting: int
    running: int
    queue: int
    batch: int
    timeout_s: float
    max_side: int
    body_bytes: int
    formats: list[str]
    state: dict[str, Any]


class Health(_Strict):
    """ "ok", or the one word for what is in the way."""

    status: Literal["ok"]


@dataclass(frozen=True)
class Wish:
    """A body that passed every check. `image_format` is Pillow's name; `quality` is None for PNG."""

    request: Request
    image_format: str
    media_type: str
    extension: str
    quality: int | None
    notes: tuple[str, ...] = ()


def body_model(max_side: int) -> type[PictureWish]:
    """PictureWish with this service's own limit of both sides and the presets' names, so that the schema is exact."""
    from nano_banana.presets import PRESETS

    side = Annotated[int, Field(ge=limits.MIN_SIDE, le=max_side), _WHOLE]
    default = min(_DEFAULT.width, max_side)
    # Through a name of type Any: to a type checker a Literal holds no values that are found at run time.
    literal: Any = Literal
    preset: Any = Annotated[literal[tuple(sorted(PRESETS))], Field(json_schema_extra=_without_default)]
    model = create_model(
        "Picture", __base__=PictureWish, width=(side, default), height=(side, default), preset=(preset, "")
    )
    model.__doc__ = PictureWish.__doc__
    model.model_config["json_schema_extra"] = {"anyOf": [{"required": ["prompt"]}, {"required": ["preset"]}]}
    model.model_rebuild(force=True)
    return model


def read(body: PictureWish, loaded: Collection[str]) -> Wish:
    """The engine's request; opens the control picture, so not on the event loop. Raises BadInputError, MachineError.

    `loaded` names the adapters that the backend has: a preset's own is left out with a note where it is not among them.
    """
    from nano_banana import output

    sent = body.model_fields_set
    base, notes = _base(body, loaded)
    changes: dict[str, Any] = {
        name: getattr(body, name)
        for name in (
            "prompt",
            "negative",
            "width",
            "height",
            "seed",
            "steps",
            "guidance",
            "upscale",
            "style",
            "sharpen",
        )
        if name in sent
    }
    if "loras" in sent:
        changes["loras"] = tuple(Lora(lora.name, lora.weight) for lora in body.loras)
    if "control" in sent:
        control, seen = _control(body.control)
        changes["control"], notes = control, (*notes, *seen)
    extension = ".jpg" if body.format == "jpeg" else f".{body.format}"
    image_format = output.FORMATS[extension]
    quality = output.parse_quality(str(body.quality) if "quality" in sent else None, image_format)
    request = dataclasses.replace(base, **changes)
    return Wish(request, image_format, MEDIA_TYPES[body.format], extension, quality, notes)


def _base(body: PictureWish, loaded: Collection[str]) -> tuple[Request, tuple[str, ...]]:
    sent = body.model_fields_set
    if "preset" not in sent:
        if "prompt" not in sent:
            raise BadInputError("prompt", expected="prompt or preset", found="neither", fix="Send a prompt.")
        return Request(body.prompt, body.width, body.height), ()
    from nano_banana.presets import PRESETS

    request = PRESETS[body.preset].request(width=body.width, height=body.height)
    absent = [lora.name for lora in request.loras if lora.name not in loaded]
    notes = (
        ()
        if "loras" in sent
        else tuple(f"without the LoRA {name}: this service has none of that name" for name in absent)
    )
    kept = tuple(lora for lora in request.loras if lora.name in loaded)
    return dataclasses.replace(request, loras=kept), notes


def _control(wish: ControlWish) -> tuple[Control, tuple[str, ...]]:
    from nano_banana import pictures

    try:
        data = base64.b64decode(wish.picture, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInputError(
            "control.picture",
            expected="a PNG, JPEG or WebP file in base64, without a data: prefix or line breaks",
            found=str(error),
            fix="Encode the file with: base64 -w0 FILE.",
        ) from error
    # Opened for its checks and what they note; the bytes go on, for they are smaller than what they unpack to.
    seen = pictures.open_picture(data)
    return Control(wish.name, data, wish.strength), tuple(seen.notes)
