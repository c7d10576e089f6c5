"""The public sets that are known by name: which of their pictures are faces, and of whom."""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A set of pictures, from the public repository `origin`.

    `pattern` selects paths; `identity` names the person in a path, or ""; `single` says that a
    picture shows one person: the largest face, found in the whole frame.
    """

    name: str
    origin: str
    pattern: str
    single: bool = True
    identity: Callable[[str], str] = lambda path: ""

    def wants(self, path: str) -> bool:
        """Whether a path belongs to the set."""
        return re.search(self.pattern, path) is not None


def _fiw(path: str) -> str:
    found = re.search(r"(F\d{4})/(MID\d+)/", path)
    return f"fiw:{found[1]}/{found[2]}" if found else ""


def _pins(path: str) -> str:
    found = re.search(r"pins_([^/]+)/", path)
    return "pins:" + found[1].strip().replace(" ", "_") if found else ""


def _named(name: str) -> Callable[[str], str]:
    """Who is in a path: the set's name and the folder that the picture lies in."""
    return lambda path: f"{name}:{path.split('/')[-2].strip().replace(' ', '_')}"


SETS: tuple[KnownSet, ...] = (
    KnownSet("fiw", "Vol0kin/relatives-siamese-net", r"^data/(train/F|test/)", identity=_fiw),
    KnownSet("fiw2", "hachecom/recognizing-faces-in-the-wild", r"^data/(train/F|test/)", identity=_fiw),
    KnownSet("utkface", "mattans/AgeProgression", r"^data/UTKFace/unlabeled/"),
    KnownSet("all-age-faces", "middleyuan/All-Age-Faces-Dataset", r"/aglined faces/"),
    KnownSet("scut-fbp", "dduygaucho/SCUT-FBP5000", r"^data/landing/Images/"),
    KnownSet("pins", "fchrgrib/Algeo02-21015", r"/large_dataset/pins_", identity=_pins),
    KnownSet("celeba-wild", "matush97/faceRecognition", r"^Celeb/"),
    KnownSet("celeba-small", "karthikSingireddy/cs389-hw4", r"^celebA/"),
    KnownSet("celeba-test", "Trung-Jeager-2019/validation", r"^\d{6}\.jpg$"),
    KnownSet(
        "glint",
        "ElisonSherton/Face-Applications",
        r"^datasets/celebrity_images/[^/]+/\d+\.png$",
        identity=_named("glint"),
    ),
    KnownSet(
        "pubfig83", "LucasPieroo/Face-Recognition", r"^train/[^/]+/\d+\.jpg$", identity=_named("pubfig83")
    ),
    KnownSet(
        "bollywood",
        "risb21-git/Which-Bollywood-Celebrity-Are-You",
        r"^data/[^/]+/.+\.jpg$",
        identity=_named("bollywood"),
    ),
    KnownSet("ffhq", "jamescalixto/face-memory", r"^faces/\d{5}\.jpg$"),
    KnownSet("caltech-web", "PigeonDan1/face_reco", r"^Caltech_WebFaces/pic", single=False),
    KnownSet("fairface", "sumanvithaeadala/EthnicityDetection", r"^fair_face/(train|val)/"),
    KnownSet("headshots", "Friendlykid/football-headshots", r"/headshots/"),
    KnownSet("masked", "Karimashraf01/Face-Mask-Detection-using-MobilenetV2", r"^Face Mask Dataset/"),
)

BY_NAME = {known.name: known for known in SETS}


def known_set(name: str, people: bool = False) -> KnownSet:
    """The set called `name`, or one that takes every picture of a folder and all faces in it.

    With `people` its folders are people, of whom each picture in them is a portrait.
    """
    if people:
        return BY_NAME.get(name, KnownSet(name, "", "", identity=lambda path: _folder(name, path)))
    return BY_NAME.get(name, KnownSet(name, "", "", single=False))


def _folder(name: str, path: str) -> str:
    """The person in whose folder a path is; no slash, which would make a family (`family`)."""
    folder = path.rpartition("/")[0].replace("/", "_")
    return f"{name}:{folder}" if folder else ""


def person(identity: str) -> str:
    """A person's name for comparison across sets: letters of the part after the set's name."""
    return re.sub(r"[^a-z]", "", identity.partition(":")[2].lower())


def family(identity: str) -> str:
    """What is held out together: the family of a Families-in-the-Wild person, else the person."""
    return identity.partition("/")[0].replace("fiw2:", "fiw:")
