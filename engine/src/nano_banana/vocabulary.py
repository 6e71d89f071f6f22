# SPDX-License-Identifier: GPL-3.0-or-later
"""Words the preview understands: shapes of parts, materials, colours, and what products are made of."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Kind:
    """One shape of the vocabulary.

    aspect: width / height as drawn upright; weight: its share of the picture; depth: thickness in an exploded
    view as a share of the width; upright: stands along the axis there instead of lying flat.
    """

    name: str
    aspect: float
    weight: float
    depth: float
    upright: bool
    material: str
    words: str


_TABLE = (
    Kind("screw", 0.36, 0.5, 0.0, True, "steel", "screw bolt rivet fastener nail stud"),
    Kind("gear", 1.0, 1.0, 0.13, False, "brass", "gear cog sprocket pinion gearbox gearing ratchet"),
    Kind(
        "pcb",
        1.4,
        1.7,
        0.035,
        False,
        "circuit",
        "pcb board circuit motherboard mainboard logic controller electronics module driver inverter",
    ),
    Kind("cable", 1.0, 1.1, 0.06, False, "rubber", "cable wire cord lead harness hose flex ribbon rope loom"),
    Kind(
        "housing",
        1.25,
        2.2,
        0.3,
        False,
        "shell",
        "housing case casing shell body enclosure chassis cover lid hood bezel frame canister cabinet",
    ),
    Kind("battery", 0.5, 0.9, 0.0, True, "accent", "battery cell accumulator capacitor"),
    Kind("lens", 1.0, 1.0, 0.2, False, "graphite", "lens camera optic optics mirror prism sensor eyepiece"),
    Kind("spring", 0.46, 0.6, 0.0, True, "steel", "spring damper absorber"),
    Kind("plate", 1.5, 1.2, 0.05, False, "aluminium", "plate panel sheet shield heatsink base shim magnet"),
    Kind("screen", 0.72, 1.6, 0.04, False, "glass", "screen display touchscreen lcd oled glass window"),
    Kind("motor", 1.0, 1.6, 0.42, False, "aluminium", "motor stator rotor winding engine actuator servo solenoid"),
    Kind(
        "ring",
        1.0,
        0.7,
        0.09,
        False,
        "steel",
        "ring bearing bushing collar",
    ),
    Kind("seal", 1.0, 0.6, 0.08, False, "rubber", "seal washer gasket oring o-ring nut tyre tire tip clip grommet"),
    Kind("rod", 0.15, 0.6, 0.0, True, "steel", "rod shaft axle pin tube pipe antenna spindle dowel needle rail wand"),
    Kind("brick", 1.55, 1.1, 0.25, False, "accent", "brick block stone tile beam"),
    Kind("grille", 1.0, 1.1, 0.1, False, "graphite", "grille grill speaker mesh filter microphone mic woofer tweeter"),
    Kind("fan", 1.0, 1.3, 0.1, False, "graphite", "fan impeller blade propeller turbine rotorblade blower"),
    Kind("wheel", 1.0, 1.2, 0.22, False, "rubber", "wheel pulley roller caster drum disc disk"),
    Kind("chip", 1.0, 0.6, 0.06, False, "graphite", "chip processor cpu ic memory microcontroller led diode"),
    Kind("knob", 1.0, 0.7, 0.2, False, "graphite", "knob button dial switch cap key trigger crown joystick"),
    Kind("plug", 0.62, 0.7, 0.1, False, "graphite", "connector plug port jack socket usb terminal adapter"),
    Kind("bracket", 1.1, 0.9, 0.05, False, "aluminium", "bracket hinge arm lever mount handle hook strap latch grip"),
    Kind("generic", 1.2, 1.0, 0.16, False, "shell", "part component unit piece"),
)
# Lying in space these are as wide as they are flat; anything with corners is wider, seen over a corner.
ROUND = ("gear", "lens", "motor", "ring", "seal", "grille", "fan", "wheel", "knob")
KINDS: dict[str, Kind] = {kind.name: kind for kind in _TABLE}
KIND_OF_WORD: dict[str, str] = {word: kind.name for kind in _TABLE for word in kind.words.split()}

MATERIALS: dict[str, Colour] = {
    "aluminium": (199, 203, 208),
    "steel": (176, 182, 189),
    "titanium": (158, 156, 154),
    "chrome": (208, 213, 219),
    "copper": (197, 116, 72),
    "brass": (207, 172, 98),
    "bronze": (166, 122, 78),
    "gold": (218, 178, 92),
    "rubber": (58, 60, 65),
    "carbon": (52, 54, 59),
    "silicone": (226, 227, 226),
    "ceramic": (236, 234, 228),
    "glass": (62, 78, 92),
    "wood": (186, 144, 102),
    "circuit": (46, 112, 88),
    "graphite": (74, 78, 86),
    "black": (46, 48, 53),
    "white": (238, 238, 236),
    "grey": (150, 154, 160),
    "red": (200, 66, 58),
    "orange": (232, 134, 66),
    "yellow": (239, 196, 78),
    "green": (84, 148, 104),
    "blue": (66, 112, 178),
    "navy": (44, 62, 98),
    "teal": (58, 140, 142),
    "purple": (124, 94, 162),
    "pink": (228, 152, 168),
    "brown": (132, 94, 68),
    "beige": (222, 208, 184),
}
MATERIAL_OF_WORD: dict[str, str] = {
    **{name: name for name in MATERIALS if name not in ("circuit", "graphite")},
    "aluminum": "aluminium",
    "alu": "aluminium",
    "stainless": "steel",
    "metal": "steel",
    "metallic": "steel",
    "iron": "steel",
    "silver": "aluminium",
    "golden": "gold",
    "wooden": "wood",
    "gray": "grey",
    "dark": "black",
    "violet": "purple",
}
# One accent and one shell colour are picked by seed, so a picture keeps to a few tones that go together.
ACCENTS = ("orange", "teal", "yellow", "blue", "red", "green")
SHELLS = ("white", "graphite", "grey", "beige")
VIVID = ("red", "yellow", "blue", "green", "orange", "teal")

BACKGROUNDS: dict[str, Colour] = {
    "plain": (246, 245, 242),
    "white": (255, 255, 255),
    "black": (24, 25, 28),
    "dark": (38, 40, 44),
    "charcoal": (52, 54, 58),
    "grey": (214, 216, 219),
    "gray": (214, 216, 219),
    "beige": (238, 229, 212),
    "cream": (250, 244, 228),
    "blue": (205, 221, 238),
    "navy": (28, 42, 70),
    "green": (212, 228, 214),
    "pink": (247, 222, 226),
    "yellow": (252, 238, 196),
    "blueprint": (28, 66, 118),
}

# (words that name the family, its parts); the first family whose word is in the product is taken.
FAMILIES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("airpods", "earbud", "earbuds", "headphones", "headset", "earphones"),
        (
            "charging case",
            "ear shell",
            "speaker driver mesh",
            "battery",
            "main board",
            "flex cable",
            "2 silicone tips",
            "microphone",
            "magnet plate",
            "touch sensor",
            "hinge",
            "usb port",
        ),
    ),
    (
        ("lego", "bricks", "technic"),
        (
            "6 red bricks",
            "4 yellow bricks",
            "blue bricks",
            "gear",
            "axle",
            "4 wheels",
            "4 black pins",
            "base plate",
            "motor",
            "pulley",
            "beam",
            "rope",
        ),
    ),
    (
        ("vacuum", "dyson", "dryer", "drill", "motor", "blender", "mixer", "fan"),
        (
            "motor",
            "impeller",
            "housing",
            "controller board",
            "2 bearings",
            "shaft",
            "filter",
            "battery",
            "6 screws",
            "cable",
            "switch",
            "rubber seal",
        ),
    ),
    (
        ("camera", "lens", "projector", "binoculars", "telescope"),
        (
            "front lens",
            "rear lens",
            "lens ring",
            "body",
            "sensor chip",
            "main board",
            "shutter button",
            "battery",
            "display",
            "8 screws",
            "flex cable",
            "mount plate",
        ),
    ),
    (
        ("phone", "smartphone", "iphone", "tablet", "laptop", "watch", "smartwatch", "console"),
        (
            "display",
            "main board",
            "battery",
            "camera",
            "speaker",
            "usb port",
            "back cover",
            "flex cable",
            "8 screws",
            "processor",
            "side button",
            "shield plate",
        ),
    ),
    (
        ("watch", "clock", "gearbox", "pen", "toy", "printer"),
        (
            "case",
            "main gear",
            "3 pinions",
            "main spring",
            "shaft",
            "dial",
            "crown",
            "base plate",
            "6 screws",
            "bearing",
            "glass",
            "lever",
        ),
    ),
    (
        ("drone", "car", "bike", "bicycle", "robot", "scooter"),
        (
            "frame",
            "4 motors",
            "4 propellers",
            "controller board",
            "battery",
            "camera",
            "antenna",
            "cable",
            "8 screws",
            "2 bearings",
            "sensor",
            "damper spring",
        ),
    ),
)
GENERIC_PARTS = (
    "housing", "main board", "4 screws", "cable", "battery", "gear", "spring", "cover plate", "lens",
    "motor", "bearing", "shaft", "switch", "connector", "bracket", "speaker", "rubber seal", "sensor chip",
)  # fmt: skip
