"""Which of the machine's fonts can write a text: no word of a prompt may turn into boxes.

Pillow's own font has the letters of English; accents and other scripts are found in what the system brings along.
"""

from __future__ import annotations

from PIL import ImageFont

from .keeping import by_size, by_word

# Files that systems ship, wide ones first; Pillow looks for them where each system keeps its fonts. (file, face in it)
_SYSTEM_FONTS = (
    ("DejaVuSans.ttf", 0),  # most Linux systems: Latin, Greek, Cyrillic
    ("NotoSans-Regular.ttf", 0),
    ("LiberationSans-Regular.ttf", 0),
    ("segoeui.ttf", 0),  # Windows
    ("arial.ttf", 0),
    ("Arial.ttf", 0),  # macOS
    ("NotoSansCJK-Regular.ttc", 0),  # Linux: Chinese, Japanese, Korean
    ("NotoSansCJKjp-Regular.otf", 0),
    ("wqy-microhei.ttc", 0),
    ("wqy-zenhei.ttc", 0),
    ("DroidSansFallbackFull.ttf", 0),
    ("msyh.ttc", 0),  # Windows: Chinese, Japanese, Korean
    ("YuGothM.ttc", 0),
    ("msgothic.ttc", 0),
    ("malgun.ttf", 0),
    ("PingFang.ttc", 0),  # macOS: the same
    ("Hiragino Sans GB.ttc", 0),
    ("AppleSDGothicNeo.ttc", 0),
    ("Arial Unicode.ttf", 0),
    ("unifont.ttf", 0),
)
# A character that no font has, so that it shows what a font draws for those that it lacks.
_MISSING = "\U0010fffe"
_TRIAL = 24  # pixels: large enough to tell a letter from the sign for a missing one


def face_for(text: str) -> tuple[str | None, int]:
    """The file and the face in it of the first font that can write all of `text`, else of the one that lacks least.

    None is Pillow's own font.
    """
    faces = ((None, 0), *_SYSTEM_FONTS)
    return min(faces, key=lambda face: len(lacking(face, text)))


def lacking(face: tuple[str | None, int], text: str) -> str:
    """The characters of `text` that a font cannot write; all of them, if the machine has no such font."""
    return "".join(character for character in dict.fromkeys(text) if not _writes(face, character))


def writable(text: str, instead: str) -> str:
    """`text` without the characters that no font of this machine can write, or `instead` if nothing is left of it."""
    missing = lacking(face_for(text), text)
    kept = " ".join("".join(character for character in text if character not in missing).split())
    return kept if any(character.isalnum() for character in kept) else instead


@by_word
def _writes(face: tuple[str | None, int], character: str) -> bool:
    if character.isspace() or (face[0] is None and character.isascii()):
        return True
    trial = _trial(face)
    return trial is not None and _drawn(trial, character) != _drawn(trial, _MISSING)


@by_size
def _trial(face: tuple[str | None, int]) -> ImageFont.FreeTypeFont | None:
    path, index = face
    try:
        return ImageFont.load_default(_TRIAL) if path is None else ImageFont.truetype(path, _TRIAL, index)
    except OSError:
        return None  # this system does not bring it along


def _drawn(face: ImageFont.FreeTypeFont, character: str) -> bytes:
    return bytes(face.getmask(character))
