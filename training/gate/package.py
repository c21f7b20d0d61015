"""Make a package of digits with the gate: the variants that are on the frontier, the gate's graph, and `gates` in mosel.yaml."""

import pathlib
import re
import shutil
import sys

LEFT_OUT = ("audio", "audio_text", "audio_image")  # others are cheaper and more accurate


def main(source, graph, out):
    source, out = pathlib.Path(source), pathlib.Path(out)
    shutil.copytree(source, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("profiles", "samples", "README.md"))
    shutil.copy(graph, out / "onnx" / "glance.onnx")
    text = (source / "mosel.yaml").read_text()
    for name in LEFT_OUT:
        text = re.sub(rf"  - \{{name: {name}, modalities: .*\n", "", text)
        (out / "onnx" / f"{name}.onnx").unlink(missing_ok=True)
    text = text.replace("variants:\n", "variants:\n  - {name: glance, modalities: [image, text], path: onnx/glance.onnx}\n")
    text += "\ngates:\n  - {variant: glance, output: right, chooses: [glance, image_text, all_int8]}\n"
    (out / "mosel.yaml").write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
