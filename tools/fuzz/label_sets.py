"""Tiny copies of the layout of every data set that has a reader: real CSV, Excel and MATLAB files, small images."""

import io
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image

Files = dict[str, bytes]
REFERENCES = 10  # enough for a split by reference


@cache
def picture(form: str, number: int) -> bytes:
    """A small image's bytes, another for each number."""
    content = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 40 + 20 * number, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, form)
    return content.getvalue()


def layouts() -> dict[str, tuple[Files, tuple[str, ...]]]:
    """By the reader's name: the files of a complete, correct copy, and which of them hold labels."""
    sets = {
        "uhd-iqa": dict(_uhd_iqa()), "koniq-10k": dict(_koniq()), "spaq": dict(_spaq()), "bid": dict(_bid()),
        "live-itw": dict(_live()), "kadid-10k": dict(_kadid()), "tid2013": dict(_tid()),
        "pipal": dict(_pipal()), "folder": dict(_folder()),
    }  # fmt: skip
    endings = (".csv", ".txt", ".xlsx", ".mat", ".json")
    return {
        name: (files, tuple(file for file in files if file.endswith(endings))) for name, files in sets.items()
    }


def _text(*lines: str) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _excel(*rows: tuple[object, ...]) -> bytes:
    from openpyxl import Workbook

    workbook, content = Workbook(), io.BytesIO()
    for row in rows:
        workbook.active.append(row)
    workbook.save(content)
    return content.getvalue()


def _uhd_iqa() -> Iterator[tuple[str, bytes]]:
    for side, numbers in (("training", (1, 2)), ("validation", (3,)), ("test", (4,))):
        yield from ((f"challenge/{side}/{number}.jpg", picture("JPEG", number)) for number in numbers)
        rows = [f"{number}.jpg,0.{number}5,{side}" for number in numbers]
        yield f"uhd-iqa-{side}-metadata.csv", _text("image_name,quality_mos,set", *rows)


def _koniq() -> Iterator[tuple[str, bytes]]:
    rows = []
    for number, (mos, side) in enumerate([(20.5, "training"), (71.25, "validation"), (88, "test")], 1):
        yield f"1024x768/{number}.jpg", picture("JPEG", number)
        rows.append(f"{number}.jpg,0.1,0.2,0.3,0.2,0.2,100,{mos},10,{side}")
    yield "koniq10k_distributions_sets.csv", _text("image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set", *rows)


def _spaq() -> Iterator[tuple[str, bytes]]:
    names = [f"{number:05d}.jpg" for number in range(1, 11)]
    yield from ((f"TestImage/{name}", picture("JPEG", n)) for n, name in enumerate(names))
    rows = [(name, 9.5 * number, 50) for number, name in enumerate(names, 1)]
    name = "Annotations/MOS and Image attribute scores.xlsx"
    yield name, _excel(("Image name", "MOS", "Brightness"), *rows)


def _bid() -> Iterator[tuple[str, bytes]]:
    yield from ((f"DatabaseImage{number:04d}.JPG", picture("JPEG", number - 3)) for number in range(3, 13))
    rows = [(number, number * 0.4, 0.1) for number in range(3, 13)]
    yield "DatabaseGrades.xlsx", _excel(("Image Number", "Average Subjective Grade", "std"), *rows)


def _live() -> Iterator[tuple[str, bytes]]:
    from scipy.io import savemat

    names = [f"t{number}.bmp" for number in range(1, 8)] + [f"{number}.bmp" for number in range(1, 11)]
    yield from ((f"Images/{name}", picture("BMP", n)) for n, name in enumerate(names[7:]))
    cells = np.empty((len(names), 1), object)
    cells[:, 0] = names
    for name, value in (("AllImages", cells), ("AllMOS", np.arange(len(names))[None] * 5.5)):
        content = io.BytesIO()
        savemat(content, {f"{name}_release": value})
        yield f"Data/{name}_release.mat", content.getvalue()


def _kadid() -> Iterator[tuple[str, bytes]]:
    rows = []
    for reference in range(1, REFERENCES + 1):
        for number, level in ((1, 1), (25, 3)):
            name = f"I{reference:02d}_{number:02d}_{level:02d}.png"
            yield f"images/{name}", picture("PNG", reference)
            rows.append(f"{name},I{reference:02d}.png,{5 - 0.5 * level - 0.1 * reference:.2f},0.6")
    yield "dmos.csv", _text("dist_img,ref_img,dmos,var", *rows)


def _tid() -> Iterator[tuple[str, bytes]]:
    rows = []
    for reference in range(1, REFERENCES + 1):
        name = f"I{reference:02d}_24_5.bmp"
        yield f"distorted_images/{name.lower() if reference % 2 else name}", picture("BMP", reference)
        rows.append(f"{2 + 0.1 * reference:.5f} {name}")
    yield "mos_with_names.txt", _text(*rows)


def _pipal() -> Iterator[tuple[str, bytes]]:
    for reference in range(1, REFERENCES + 1):
        name = f"A{reference:04d}_00_01.bmp"
        yield f"Distortion_{1 + reference % 4}/{name}", picture("BMP", reference)
        yield f"Train_Label/A{reference:04d}.txt", _text(f"{name},{1000 + reference}.5")


def _folder() -> Iterator[tuple[str, bytes]]:
    rows = []
    for reference in range(1, REFERENCES + 1):
        name = f"images/r{reference}_10_1.png"
        yield name, picture("PNG", reference)
        rows.append(f"{name},{4.3 - 0.1 * reference:.4f},r{reference},10,1")
    yield "labels.csv", _text("image,score,reference,distortion,level", *rows)
    yield "dataset.json", b'{"range": [1, 5], "score_name": "transferred KADID score"}\n'
