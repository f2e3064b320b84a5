"""Takes the results that `simdrop reproduce` wrote into the site: `python docs/experiments/gather.py FOLDER`.

FOLDER has one folder for each experiment. Each leaves NAME.json, its summary with the day of the run, and NAME.png, its
figure in few colours. The page of experiments is made from them when the site is built.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
WIDTH = 1100


def gather(folder: Path) -> list[str]:
    """Copy what is complete; the names of the experiments."""
    names = []
    for file in sorted(folder.glob("*/summary.json")):
        summary = json.loads(file.read_text(encoding="utf-8"))
        if summary["interrupted"]:
            continue
        name = summary["experiment"]
        day = datetime.fromtimestamp(file.stat().st_mtime, tz=UTC).date().isoformat()
        text = json.dumps(summary | {"day": day}, indent=1, ensure_ascii=False)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        with Image.open(file.with_name("figure.png")) as figure:
            small = figure.convert("RGB").resize(
                (WIDTH, WIDTH * figure.height // figure.width), Image.Resampling.LANCZOS
            )
        small.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            HERE / f"{name}.png", optimize=True
        )
        names.append(name)
    return names


if __name__ == "__main__":
    print(*gather(Path(sys.argv[1])))
