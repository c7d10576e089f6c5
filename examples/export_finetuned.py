"""Ship your own fine-tuned PocketNet: from a PyTorch checkpoint to graphs that pocketface runs.

python -m examples.export_finetuned my-finetuned.pth FACES out     (in a clone)

FACES is a folder (or tar) of a few hundred faces aligned to the ArcFace template, which int8 needs to
learn its ranges from. Needs torch, onnx, onnx-ir and ai-edge-litert. The checkpoint is a state dict
with the authors' key names; which of the four networks it is, and whether rectified, is recognised.
The exit status is 1 when a form strays from the checkpoint and is left out, as full int8 of a network
with PReLU does.
"""

import json
import sys
from pathlib import Path

from export.__main__ import main
from pocketface import registry
from pocketface.embed import Embedder
from pocketface.golden import crop

INFO = {
    "license": {"weights": "proprietary", "data": "our employees, with consent", "commercial": "yes"},
    "source": "PocketNet, fine-tuned on our door camera",
    # Thresholds belong to weights, and fine-tuning moves them: `pocketface calibrate` finds them on your
    # pictures; without any, every comparison must name its threshold.
    "thresholds": [],
}
FORMS = "onnx-fp32,tflite-fp16,tflite-int8w,tflite-int8"


def run(checkpoint: Path, faces: Path, out: Path) -> int:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"{out}: cannot be made a folder ({error.strerror})", file=sys.stderr)
        return 2
    info = out / "card-info.json"
    info.write_text(json.dumps(INFO), encoding="utf-8")
    arguments = [str(checkpoint), "--out", str(out), "--calibration", str(faces), "--only", FORMS]
    status = main([*arguments, "--card-info", str(info)])
    if status == 2:  # the checkpoint or the faces could not be read; the line is on stderr
        return status
    for path in sorted(out.glob(f"{checkpoint.stem}.*")):
        if path.suffix in registry.SUFFIXES:
            embeddings, norms = Embedder(registry.from_file(path)).embed(crop()[None])
            print(f"{path.name}: {embeddings.shape[1]} values, norm {norms[0]:.2f}")
    return status


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(run(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
