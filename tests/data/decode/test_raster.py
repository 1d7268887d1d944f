"""JPEG, PNG and TIFF against the arrays they were written from, and every way in which they can be broken."""

import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontrast.data.decode import DecodeError, decode, find_images, image, measure

RNG = np.random.default_rng(0)
GREY = cv2.GaussianBlur(RNG.integers(0, 256, (60, 44), dtype=np.uint8), (0, 0), 3)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(shape: tuple[int, int], depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", shape[1], shape[0], depth, colour, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
    return start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def scanlines(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def write(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def reason(path: Path) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(path)
    return caught.value.reason


def test_grey_rgb_rgba_palette_and_grey_alpha_png_are_the_same_grey(tmp_path):
    opaque = np.full_like(GREY, 255)
    palette = chunk(b"PLTE", bytes(value for grey in range(256) for value in (grey, grey, grey)))
    kinds = {
        "grey": imagecodecs.png_encode(GREY),
        "rgb": imagecodecs.png_encode(np.dstack([GREY] * 3)),
        "rgba": imagecodecs.png_encode(np.dstack([GREY] * 3 + [opaque])),
        "palette": png(GREY.shape, 8, 3, scanlines(GREY), palette),
        "grey and alpha": png(GREY.shape, 8, 4, scanlines(np.dstack([GREY, opaque]))),
    }
    for kind, data in kinds.items():
        found = decode(write(tmp_path, "x.png", data))
        assert np.array_equal(found.pixels, GREY), kind
        assert (found.pixels.dtype, found.bits, found.header, found.display) == (np.uint8, 8, {}, True)


def test_transparent_pixels_are_black(tmp_path):
    alpha = np.full_like(GREY, 255)
    alpha[:10] = 0
    found = decode(write(tmp_path, "x.png", imagecodecs.png_encode(np.dstack([GREY] * 3 + [alpha])))).pixels
    assert not found[:10].any() and np.array_equal(found[10:], GREY[10:])


def test_colour_becomes_luma(tmp_path):
    rgb = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    expected = np.rint(rgb @ np.array([0.299, 0.587, 0.114]))
    found = decode(write(tmp_path, "x.png", imagecodecs.png_encode(rgb))).pixels
    assert np.abs(found - expected).max() <= 1  # halves may round either way
    blue = np.full((2, 2, 3), [0, 0, 200], np.uint8)
    assert (decode(write(tmp_path, "b.png", imagecodecs.png_encode(blue))).pixels == 23).all()
    for data in (cv2.imencode(".tif", blue[..., ::-1])[1].tobytes(), imagecodecs.tiff_encode(blue, photometric="rgb")):
        assert (decode(write(tmp_path, "b.tif", data)).pixels == 23).all()  # OpenCV's order of colours is BGR


@pytest.mark.parametrize(("top", "bits"), [(65535, 16), (4095, 12), (200, 8)])
def test_16_bit_stays_16_bit_with_its_significant_bits(tmp_path, top, bits):
    pixels = np.linspace(0, top, 60 * 44).reshape(60, 44).astype(np.uint16)
    ok, tiff = cv2.imencode(".tif", pixels)
    assert ok
    for name, data in (("x.png", imagecodecs.png_encode(pixels)), ("x.tif", tiff.tobytes())):
        found = decode(write(tmp_path, name, data))
        assert np.array_equal(found.pixels, pixels) and found.pixels.dtype == np.uint16
        assert (found.bits, found.display) == (bits, False)


def test_one_bit_png_spans_black_to_white(tmp_path):
    bits = (np.median(GREY) < GREY).astype(np.uint8)
    data = png(GREY.shape, 1, 0, scanlines(np.packbits(bits, axis=1)))
    assert np.array_equal(decode(write(tmp_path, "x.png", data)).pixels, bits * 255)


def test_jpeg_grey_and_colour(tmp_path):
    for pixels in (GREY, np.dstack([GREY] * 3)):
        ok, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
        assert ok
        found = decode(write(tmp_path, "x.jpeg", data.tobytes())).pixels
        assert np.abs(found.astype(int) - GREY).max() <= 4


def test_12_bit_jpeg(tmp_path):
    pixels = GREY.astype(np.uint16) * 16
    found = decode(write(tmp_path, "x.jpg", imagecodecs.jpeg_encode(pixels, bitspersample=12, level=98)))
    assert found.bits == 12 and found.pixels.dtype == np.uint16
    assert np.abs(found.pixels.astype(int) - pixels).max() < 64


def test_exif_orientation_is_applied(tmp_path):
    data = cv2.imencode(".jpg", GREY)[1].tobytes()
    upright = decode(write(tmp_path, "a.jpg", data)).pixels
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"  # orientation 3: upside down
    exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    turned = decode(write(tmp_path, "b.jpg", data[:2] + exif + data[2:])).pixels
    assert np.array_equal(turned, upright[::-1, ::-1])


def test_suffixes_may_lie(tmp_path):
    assert np.array_equal(decode(write(tmp_path, "x.jpg", imagecodecs.png_encode(GREY))).pixels, GREY)


@pytest.mark.parametrize("kind", ["min_is_white", "rgb", "lzw"])
def test_tiff_kinds(tmp_path, kind):
    if kind == "min_is_white":
        data = imagecodecs.tiff_encode(255 - GREY, photometric="miniswhite")
    elif kind == "rgb":
        data = cv2.imencode(".tif", np.dstack([GREY] * 3))[1].tobytes()
    else:
        data = cv2.imencode(".tif", GREY, [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes()
    assert np.array_equal(decode(write(tmp_path, "x.tiff", data)).pixels, GREY)


def test_tiff_of_several_pages_and_of_floats_is_refused(tmp_path):
    ok, pages = cv2.imencodemulti(".tiff", [GREY, GREY])
    assert ok
    assert "several pages" in reason(write(tmp_path, "x.tif", pages.tobytes()))
    floats = cv2.imencode(".tif", GREY.astype(np.float32))[1].tobytes()
    assert "floating point" in reason(write(tmp_path, "y.tif", floats))


def test_cmyk_jpeg_is_refused(tmp_path):
    inks = np.dstack([GREY] * 4)
    assert "CMYK" in reason(
        write(tmp_path, "x.jpg", imagecodecs.jpeg_encode(inks, colorspace="CMYK", outcolorspace="CMYK"))
    )


def test_nothing_and_no_image(tmp_path):
    assert reason(tmp_path / "no.png") == "file not found"
    assert reason(write(tmp_path, "e.png", b"")) == "empty file"
    assert reason(write(tmp_path, "t.png", b"<html>Patient John Doe")).startswith("not an image")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_cut_file_is_never_an_image(tmp_path, suffix):
    # Large and smooth: decoders fill such a JPEG's missing half with grey, without a word.
    pixels = cv2.GaussianBlur(RNG.integers(0, 256, (512, 512), dtype=np.uint8), (0, 0), 9)
    data = cv2.imencode(suffix, pixels)[1].tobytes()
    for share in (0.02, 0.3, 0.6, 0.95):
        text = reason(write(tmp_path, "x" + suffix, data[: int(len(data) * share)]))
        assert "truncated" in text or "damaged" in text
    assert reason(write(tmp_path, "x.jpg", cv2.imencode(".jpg", pixels)[1].tobytes()[:-2])) == "truncated JPEG"


def test_a_cut_jpeg_with_a_whole_thumbnail_is_still_cut(tmp_path):
    thumbnail = cv2.imencode(".jpg", GREY)[1].tobytes()
    data = cv2.imencode(".jpg", cv2.resize(GREY, (256, 256)))[1].tobytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail  # ends in FF D9, as the file does not
    assert reason(write(tmp_path, "x.jpg", data[:2] + segment + data[2:-200])) == "truncated JPEG"


def test_a_flipped_byte_in_a_png_is_seen(tmp_path):
    data = bytearray(imagecodecs.png_encode(GREY))
    data[len(data) // 2] ^= 0x10
    assert reason(write(tmp_path, "x.png", bytes(data))) == "damaged PNG"


def test_small_files_that_claim_gigapixels_are_refused_by_their_header(tmp_path, monkeypatch):
    monkeypatch.setattr(imagecodecs, "png_decode", lambda *_: pytest.fail("unpacked"))
    data = png((30000, 30000), 8, 0, b"")
    assert reason(write(tmp_path, "x.png", data)) == "too many pixels (900 MP; the limit is 200)"
    jpeg = bytearray(cv2.imencode(".jpg", GREY)[1].tobytes())
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    assert "too many pixels" in reason(write(tmp_path, "x.jpg", bytes(jpeg)))
    monkeypatch.setattr(image, "MAX_PIXELS", 100)
    assert "too many pixels" in reason(write(tmp_path, "x.tif", cv2.imencode(".tif", GREY)[1].tobytes()))


def decode_or_reason(path: Path):
    try:
        return decode(path)
    except DecodeError as error:
        return error.reason


SEEDS = [cv2.imencode(suffix, GREY)[1].tobytes() for suffix in (".jpg", ".png", ".tif")]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_files_give_an_image_or_a_reason(tmp_path_factory, data, changes):
    mutated = bytearray(data)
    for place, value in changes:
        mutated[place % len(mutated)] = value
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(bytes(mutated))
    found = decode_or_reason(path)
    if isinstance(found, str):
        assert len(found) < 90
    else:
        assert found.pixels.ndim == 2 and found.pixels.dtype in (np.uint8, np.uint16)


def test_find_images_is_sorted_skips_hidden_and_survives_link_loops(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "a.dcm", ".hidden/x.png", "__MACOSX/x.png", "notes.txt", "b/.x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "1.2.840.5").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "README").write_bytes(b"text")
    assert [p.as_posix() for p in find_images(tmp_path)] == ["1.2.840.5", "IM0001", "a.dcm", "b/1.jpg", "b/2.PNG"]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_size_is_measured_from_the_header_alone(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), GREY)
    monkeypatch.setattr("kontrast.data.decode.decode", lambda path: pytest.fail("decoded"))
    assert measure(path) == GREY.shape
    data = path.read_bytes()
    for cut in (0, 8, 20):
        path.write_bytes(data[:cut])
        with pytest.raises(DecodeError):
            measure(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0)))
    with pytest.raises(DecodeError, match="too many pixels"):
        measure(path)
    with pytest.raises(DecodeError):
        measure(tmp_path / "gone.png")
