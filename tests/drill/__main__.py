# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.drill``: the whole drill, or one trap as an exercise."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.run import Lab, running_lab
from tests.drill.faults import FAULTS, HOSTS, Fault
from tests.drill.run import exercise, healthy, lane, prepare

GOAL_SECONDS = 360.0


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0 when every fault was found and mended without a false alarm."""
    parser = argparse.ArgumentParser(prog="make preflight-drill", description=__doc__)
    traps = [fault.trap for fault in FAULTS if fault.trap]
    parser.add_argument("--trap", default="", choices=["", *traps], help="one of the five traps, as an exercise")
    parser.add_argument("--only", action="append", choices=[fault.name for fault in FAULTS], help="these faults alone")
    options = parser.parse_args(arguments)
    wanted = [
        fault
        for fault in FAULTS
        if (not options.trap or fault.trap == options.trap) and (not options.only or fault.name in options.only)
    ]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nb-drill-") as folder, running_lab(Path(folder), "podman") as lab:
        print(f"{time.monotonic() - began:6.1f} s  the lab runs", flush=True)
        prepare(lab)
        print(f"{time.monotonic() - began:6.1f} s  three hosts are configured", flush=True)
        if options.trap:
            return exercise(lab, wanted[0])
        return drill(lab, wanted, began)


def drill(lab: Lab, wanted: list[Fault], began: float) -> int:
    """Healthy first, then each host's faults one after the other, then healthy again."""
    alarms = healthy(lab, "before")
    print(f"{time.monotonic() - began:6.1f} s  nothing is broken yet: {len(alarms)} alarms", flush=True)
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        # What all hosts stand on is broken after the lanes, alone.
        lanes = [[each for each in wanted if each.host == host and each.stage != "platform"] for host in HOSTS]
        outcomes = [outcome for each in pool.map(lambda faults: lane(lab, faults), lanes) for outcome in each]
    outcomes += lane(lab, [fault for fault in wanted if fault.stage == "platform"])
    print(f"{time.monotonic() - began:6.1f} s  everything was broken and mended", flush=True)
    unseen = [outcome for outcome in outcomes if outcome.mended is None]
    alarms += healthy(lab, "after", unseen)
    alarms += [f"{outcome.fault.name}: {each}" for outcome in outcomes for each in outcome.alarms]
    for outcome in unseen:
        print(outcome)
    for alarm in alarms:
        print(f"false alarm: {alarm}")
    seconds = time.monotonic() - began
    found, mended = sum(each.found for each in outcomes), sum(bool(each.mended) for each in outcomes)
    print(f"drill_seconds={seconds:.0f} goal={GOAL_SECONDS:.0f}")
    print(f"drill: {found} of {len(outcomes)} found, {mended} of {len(outcomes)} mended, {len(alarms)} false alarms")
    return int(found < len(outcomes) or mended < len(outcomes) or bool(alarms) or seconds > GOAL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
