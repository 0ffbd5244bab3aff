"""Which sets are known by name, and what was published of each: its files, their checksums, classes and licence?

To add a set that is published in a form that is read is to add it here. Every command imports this, for the names, and
so it imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: What sets are of, in the order in which `genkit data list` has them.
GROUPS = ("handwriting", "things", "faces", "medicine", "factors")

NONE_STATED = "no licence stated"
DIGITS = tuple("0123456789")
CAPITALS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, kw_only=True)
class Named:
    """A set that has a name.

    Attributes:
        module: in this package; has load(options), fetch(name), missing(name) and verify(name).
        group: one of GROUPS.
        what: is in the images.
        images: their size and colour.
        splits: how many images of train, val and test were published; all are the first where there are no splits.
        licence: as the publisher states it, or who states it.
        download: about how many bytes are fetched; 0 where nothing is.
        origin: where it comes from, where that isn't a download.
        larger_of: the name of the same set in its usual size.
    """

    module: str
    group: str
    what: str
    images: str
    splits: tuple[int, int, int]
    licence: str
    download: int = 0
    origin: str = ""
    larger_of: str = ""

    @property
    def description(self) -> str:
        return f"{self.what}, {self.images}, {self.count} ({self.whence})"

    @property
    def count(self) -> str:
        """`60,000 + 10,000 test`."""
        named = zip(("", " val", " test"), self.splits, strict=True)
        return " + ".join(f"{number:,}{split}" for split, number in named if number)

    @property
    def whence(self) -> str:
        """How it gets here."""
        return self.origin or f"a download of {megabytes(self.download)}"

    def as_json(self) -> dict[str, Any]:
        """All that is known of it, in JSON's values."""
        return {
            "description": self.description,
            "group": self.group,
            "what": self.what,
            "images": self.images,
            "splits": dict(zip(("train", "val", "test"), self.splits, strict=True)),
            "licence": self.licence,
            "download": self.download,
            "origin": self.whence,
            "larger_of": self.larger_of or None,
        }


@dataclass(frozen=True)
class File:
    """A published file.

    Attributes:
        name: under which it is kept.
        urls: each serves it; none where a person must fetch it.
        checksum: of its bytes: "sha256:" or "md5:" and the digest.
        bytes: that it has; None where that isn't known.
        limit: bytes that it has at most; no more is fetched.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str
    bytes: int | None
    limit: int


def file(name: str, urls: tuple[str, ...], digest: str, bytes: int | None = None, limit: int = 0) -> File:
    """A published file.

    Args:
        urls: its addresses, or, where they end with "/", those of the folders that it lies in.
        digest: SHA-256 or MD5, which their lengths tell apart.
        bytes: exactly; where that isn't known, `limit` is needed.
    """
    kind = {32: "md5", 64: "sha256"}[len(digest)]
    own = tuple(f"{url}{name}" if url.endswith("/") else url for url in urls)
    return File(name, own, f"{kind}:{digest}", bytes, bytes or limit)


@dataclass(frozen=True, kw_only=True)
class Published(Named):
    """A set whose files are kept as they were published, checked, and read in place.

    Attributes:
        folder: in GENKIT_DATA, where its files lie; sets that are in the same files share one.
        files: of the set.
        form: the function of `openers` that understands the files.
        arguments: of that function.
        classes: names of the labels from 0 on.
        renamed: attributes that the files don't name, by what `annotations` calls them.
        notes: what is said each time that it is used.
        home: the publisher's page.
        elsewhere: other folders where people have its files.
        instead: one file that holds the same, as people have it: used where it lies in place of `files`, never fetched.
        reading: to be counted up when the same files are understood otherwise, so that they are packed anew.
    """

    module: str = "published"
    folder: str
    files: tuple[File, ...]
    form: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    home: str
    elsewhere: tuple[str, ...] = ()
    instead: File | None = None
    reading: int = 1

    def as_json(self) -> dict[str, Any]:
        files = [
            {"name": each.name, "urls": each.urls, "checksum": each.checksum, "bytes": each.bytes}
            for each in self.files
        ]
        return {**super().as_json(), "home": self.home, "folder": self.folder, "classes": self.classes, "files": files}


def size_of(files: tuple[File, ...]) -> int:
    """Bytes of files, all of which are known."""
    return sum(each.limit for each in files)


def megabytes(size: int) -> str:
    """`0.6 MB`, `12 MB`, `2.6 GB`."""
    if size >= 1_000_000_000:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 2_000_000 else f"{size / 1e6:.1f} MB"


# ---------------------------------------------------------------------------------------------------------------------
# EMNIST
# ---------------------------------------------------------------------------------------------------------------------

EMNIST_FILES = (
    file(
        "gzip.zip",
        (
            "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
            "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip",
        ),
        "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
        561_753_746,
    ),
)
#: Capitals, and the small letters that don't look like theirs.
MERGED = (*DIGITS, *CAPITALS, *"abdefghnqrt")


def _emnist(part: str, what: str, splits: tuple[int, int, int], classes: tuple[str, ...], first: int = 0) -> Published:
    return Published(
        group="handwriting",
        what=what,
        images="28x28 grey",
        splits=splits,
        licence=NONE_STATED,
        download=size_of(EMNIST_FILES),
        folder="emnist",
        files=EMNIST_FILES,
        form="emnist",
        arguments={"part": part, "first": first},
        classes=classes,
        notes=("its images are stored with rows and columns swapped, which is undone",),
        home="https://www.nist.gov/itl/products-and-services/emnist-dataset",
    )


EMNIST = {
    "emnist-byclass": _emnist(
        "byclass", "digits, capitals and small letters", (697_932, 0, 116_323), (*DIGITS, *CAPITALS, *LETTERS)
    ),
    "emnist-bymerge": _emnist(
        "bymerge", "digits and letters in 47 classes, by their looks", (697_932, 0, 116_323), MERGED
    ),
    "emnist-balanced": _emnist("balanced", "the same 47 classes, as many images of each", (112_800, 0, 18_800), MERGED),
    "emnist-letters": _emnist("letters", "letters, both cases together", (124_800, 0, 20_800), LETTERS, first=1),
    "emnist-digits": _emnist("digits", "handwritten digits", (240_000, 0, 40_000), DIGITS),
    "emnist-mnist": _emnist("mnist", "handwritten digits, as MNIST has them", (60_000, 0, 10_000), DIGITS),
}

# ---------------------------------------------------------------------------------------------------------------------
# MedMNIST
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MedMnist:
    """One of MedMNIST's sets, in all its sizes.

    Attributes:
        what: is in the images.
        colour: whether they are RGB.
        splits: of the train, val and test images.
        classes: of the labels, or of attributes where there are `several` to an image.
        md5: of the files of MED_SIZES.
        about: bytes of the smallest one, as far as known.
        mirrored: whether the mirror has the same version.
    """

    what: str
    colour: bool
    splits: tuple[int, int, int]
    classes: tuple[str, ...]
    md5: tuple[str, str, str, str]
    about: int = 0
    mirrored: bool = True
    several: bool = False
    licence: str = "CC BY 4.0"


#: Pixels of their squares.
MED_SIZES = (28, 64, 128, 224)
ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right"),
    *("liver", "lung-left", "lung-right", "pancreas", "spleen"),
)
MED_SETS = {
    "pathmnist": MedMnist(
        what="tissue of the colon",
        colour=True,
        splits=(89_996, 10_004, 7_180),
        classes=(
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        md5=(
            "a8b06965200029087d5bd730944a56c1",
            "55aa9c1e0525abe5a6b9d8343a507616",
            "ac42d08fb904d92c244187169d1fd1d9",
            "2c51a510bcdc9cf8ddb2af93af1eadec",
        ),
        about=205_615_438,
    ),
    "chestmnist": MedMnist(
        what="X-rays of chests with fourteen findings as attributes",
        colour=False,
        splits=(78_468, 11_219, 22_433),
        classes=(
            "atelectasis",
            "cardiomegaly",
            "effusion",
            "infiltration",
            "mass",
            "nodule",
            "pneumonia",
            "pneumothorax",
            "consolidation",
            "edema",
            "emphysema",
            "fibrosis",
            "pleural",
            "hernia",
        ),
        md5=(
            "02c8a6516a18b556561a56cbdd36c4a8",
            "9de6cd0b934ebb5b7426cfba5efbae16",
            "db107e5590b27930b62dbaf558aebee3",
            "45bd33e6f06c3e8cdb481c74a89152aa",
        ),
        about=82_802_576,
        several=True,
    ),
    "dermamnist": MedMnist(
        what="spots of the skin",
        colour=True,
        splits=(7_007, 1_003, 2_005),
        classes=(
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        md5=(
            "0744692d530f8e62ec473284d019b0c7",
            "b70a2f5635c6199aeaa28c31d7202e1f",
            "2defd784463fa5243564e855ed717de1",
            "8974907d8e169bef5f5b96bc506ae45d",
        ),
        about=19_700_000,
        licence="CC BY-NC 4.0",
    ),
    "octmnist": MedMnist(
        what="retinas in optical coherence tomography",
        colour=False,
        splits=(97_477, 10_832, 1_000),
        classes=(
            "choroidal neovascularization",
            "diabetic macular edema",
            "drusen",
            "normal",
        ),
        md5=(
            "c68d92d5b585d8d81f7112f81e2d0842",
            "e229e9440236b774d9f0dfef9d07bdaf",
            "0a97e76651ace45c5d943ee3f65b63ae",
            "abc493b6d529d5de7569faaef2773ba3",
        ),
        about=54_900_000,
    ),
    "pneumoniamnist": MedMnist(
        what="X-rays of children's chests",
        colour=False,
        splits=(4_708, 524, 624),
        classes=(
            "normal",
            "pneumonia",
        ),
        md5=(
            "28209eda62fecd6e6a2d98b1501bb15f",
            "8f4eceb4ccffa70c672198ea285246c6",
            "05b46931834c231683c68f40c47b2971",
            "d6a3c71de1b945ea11211b03746c1fe1",
        ),
        about=4_170_000,
    ),
    "retinamnist": MedMnist(
        what="photographs of the eye's ground, by grade of retinopathy",
        colour=True,
        splits=(1_080, 120, 400),
        classes=tuple("01234"),
        md5=(
            "bd4c0672f1bba3e3a89f0e4e876791e4",
            "afda852cc34dcda56f86ad2b2457dbcc",
            "e48e916a24454daf90583d4e6efb1a18",
            "eae7e3b6f3fcbda4ae613ebdcbe35348",
        ),
        about=3_290_000,
    ),
    "breastmnist": MedMnist(
        what="ultrasound of breasts",
        colour=False,
        splits=(546, 78, 156),
        classes=(
            "malignant",
            "normal, benign",
        ),
        md5=(
            "750601b1f35ba3300ea97c75c52ff8f6",
            "742edef2a1fd1524b2efff4bd7ba9364",
            "363e4b3f8d712e9b5de15470a2aaadf1",
            "b56378a6eefa9fed602bb16d192d4c8b",
        ),
        about=559_580,
    ),
    "bloodmnist": MedMnist(
        what="cells of blood",
        colour=True,
        splits=(11_959, 1_712, 3_421),
        classes=(
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes (myelocytes, metamyelocytes and promyelocytes)",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        md5=(
            "7053d0359d879ad8a5505303e11de1dc",
            "2b94928a2ae4916078ca51e05b6b800b",
            "adace1e0ed228fccda1f39692059dd4c",
            "b718ff6835fcbdb22ba9eacccd7b2601",
        ),
        about=35_461_855,
    ),
    "tissuemnist": MedMnist(
        what="cells of the kidney",
        colour=False,
        splits=(165_466, 23_640, 47_280),
        classes=(
            "Collecting Duct, Connecting Tubule",
            "Distal Convoluted Tubule",
            "Glomerular endothelial cells",
            "Interstitial endothelial cells",
            "Leukocytes",
            "Podocytes",
            "Proximal Tubule Segments",
            "Thick Ascending Limb",
        ),
        md5=(
            "ebe78ee8b05294063de985d821c1c34b",
            "123ece2eba09d0aa5d698fda57103344",
            "61b955355d7425a89687b06cca3ce0c2",
            "b077128c4a949f0a4eb01517f9037b9c",
        ),
    ),
    "organamnist": MedMnist(
        what="organs in axial tomography",
        colour=False,
        splits=(34_561, 6_491, 17_778),
        classes=ORGANS,
        md5=(
            "68e3f8846a6bd62f0c9bf841c0d9eacc",
            "2dcccc29b88e6da5a01161ef20cda288",
            "eeae80d0a227a8d099027e1b3cfd3b60",
            "50747347e05c87dd3aaf92c49f9f3170",
        ),
        about=38_200_000,
        mirrored=False,
    ),
    "organcmnist": MedMnist(
        what="organs in coronal tomography",
        colour=False,
        splits=(12_975, 2_392, 8_216),
        classes=ORGANS,
        md5=(
            "b9ceb9546e10131b32923c5bbeaea2b1",
            "3ce34a8724ea6f548e6db4744d03b6a9",
            "773c1f009daa3fe5d9a2a201b2a7ed94",
            "050f5e875dc056f6768abf94ec9995d1",
        ),
        about=15_500_000,
        mirrored=False,
    ),
    "organsmnist": MedMnist(
        what="organs in sagittal tomography",
        colour=False,
        splits=(13_932, 2_452, 8_827),
        classes=ORGANS,
        md5=(
            "9ab87b696fb54e2a387ebe992d6ed5f1",
            "53a6d115339d874c25e309a994ff46d3",
            "ded0c5fa01a95dc4978b956f613e9b8e",
            "b354719e553fbbb2513d5533f52a4cb1",
        ),
        about=16_500_000,
        mirrored=False,
    ),
}


def _medmnist(name: str, each: MedMnist, size: int) -> Published:
    """One size of a set: `pathmnist`, or `pathmnist-64` from a file `pathmnist_64.npz`."""
    suffix = "" if size == MED_SIZES[0] else f"_{size}"
    urls = [f"https://zenodo.org/records/10519652/files/{name}{suffix}.npz?download=1"]
    if each.mirrored and not suffix:
        urls.append(f"https://huggingface.co/datasets/albertvillanova/medmnist-v2/resolve/main/data/{name}.npz")
    # Their sizes aren't published: the pixels as they are, and room for labels and the archive's directory.
    limit = sum(each.splits) * (size * size * (3 if each.colour else 1) + 64) + (1 << 20)
    files = (file(f"{name}{suffix}.npz", tuple(urls), each.md5[MED_SIZES.index(size)], limit=limit),)
    return Published(
        group="medicine",
        what=each.what,
        images=f"{size}x{size} {'colour' if each.colour else 'grey'}",
        splits=each.splits,
        licence=each.licence,
        download=each.about if not suffix and each.about else limit,
        origin="" if not suffix and each.about else f"a download of {megabytes(limit)} at most",
        folder="medmnist",
        files=files,
        larger_of=name if suffix else "",
        form="medmnist",
        arguments={"attributes": each.classes} if each.several else {},
        classes=() if each.several else each.classes,
        home="https://medmnist.com",
        elsewhere=("~/.medmnist",),
    )


MEDMNIST = {
    name if size == MED_SIZES[0] else f"{name}-{size}": _medmnist(name, each, size)
    for name, each in MED_SETS.items()
    for size in MED_SIZES
}

# ---------------------------------------------------------------------------------------------------------------------
# Others
# ---------------------------------------------------------------------------------------------------------------------

_QMNIST = (
    "https://raw.githubusercontent.com/facebookresearch/qmnist/master/",
    "https://raw.githubusercontent.com/facebookresearch/qmnist/94061367ec2e099ea18c553c75727ecf849ddb9b/",
)
QMNIST_FILES = (
    file("qmnist-train-images-idx3-ubyte.gz", _QMNIST, "ed72d4157d28c017586c42bc6afe6370", 9_704_059),
    file("qmnist-train-labels-idx2-int.gz", _QMNIST, "0058f8dd561b90ffdd0f734c6a30e5e4", 463_024),
    file("qmnist-test-images-idx3-ubyte.gz", _QMNIST, "1394631089c404de565df7b7aeaf9412", 9_742_279),
    file("qmnist-test-labels-idx2-int.gz", _QMNIST, "5b5b05890a5e13444e108efe57b788aa", 526_800),
)
_K49 = ("https://codh.rois.ac.jp/kmnist/dataset/k49/", "http://codh.rois.ac.jp/kmnist/dataset/k49/")
K49_FILES = (
    file("k49-train-imgs.npz", _K49, "7ac088b20481cf51dcd01ceaab89d821", 66_117_696),
    file("k49-train-labels.npz", _K49, "44a8e1b893f81e63ff38d73cad420f7a", 164_485),
    file("k49-test-imgs.npz", _K49, "d352e201d846ce6b94f42c990966f374", 10_971_201),
    file("k49-test-labels.npz", _K49, "4da6f7a62e67a832d5eb1bd85c5ee448", 27_450),
)
_LIBSVM = ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",)
USPS_FILES = (
    file("usps.bz2", _LIBSVM, "ec16c51db3855ca6c91edd34d0e9b197", limit=32_000_000),
    file("usps.t.bz2", _LIBSVM, "8ea070ee2aca1ac39742fdd1ef5ed118", limit=32_000_000),
)
#: `zip.train` and `zip.test` of Hastie, Tibshirani and Friedman's page, of 8 bits, as `x_train`, `y_train`, ….
USPS_ARCHIVE = file("usps.npz", (), "ff1e144b09abdd42b3877b83440fe2c032f76dd3d7d247010b756c454c067fd9", 1_103_587)
_OMNIGLOT = (
    "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
    "https://raw.githubusercontent.com/brendenlake/omniglot/057f034baf2ecb8530bc5710e5a23584d2a519cc/python/",
)
OMNIGLOT_FILES = (
    file(
        "images_background.zip",
        _OMNIGLOT,
        "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
        9_464_212,
    ),
    file(
        "images_evaluation.zip",
        _OMNIGLOT,
        "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
        6_462_886,
    ),
)
_LAROCHELLE = (
    "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
AMAT_FILES = (
    file(
        "binarized_mnist_train.amat",
        _LAROCHELLE,
        "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
        78_400_000,
    ),
    file(
        "binarized_mnist_valid.amat",
        _LAROCHELLE,
        "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
        15_680_000,
    ),
    file(
        "binarized_mnist_test.amat",
        _LAROCHELLE,
        "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
        15_680_000,
    ),
)
_SVHN = ("http://ufldl.stanford.edu/housenumbers/",)
SVHN_FILES = (
    file("train_32x32.mat", _SVHN, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8", 182_040_794),
    file("test_32x32.mat", _SVHN, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b", 64_275_384),
)
STL_FILES = (
    file(
        "stl10_binary.tar.gz",
        ("http://ai.stanford.edu/~acoates/stl10/",),
        "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
        2_640_397_119,
    ),
)
OLIVETTI_FILES = (
    file(
        "olivettifaces.mat",
        ("https://ndownloader.figshare.com/files/5976027", "https://cs.nyu.edu/~roweis/data/olivettifaces.mat"),
        "b612fb967f2dc77c9c62d3e1266e0c73d5fca46a4b8906c18e454d41af987794",
        limit=16_000_000,
    ),
)
CELEBA_FILES = (
    file(
        "img_align_celeba.zip",
        (),
        "46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74",
        1_443_490_838,
    ),
    file("list_attr_celeba.txt", (), "f0e5da289d5ccf75ffe8811132694922b60f2af59256ed362afa03fefba324d0", 26_721_026),
    file("list_eval_partition.txt", (), "fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7", 2_836_386),
)
DSPRITES_FILES = (
    file(
        "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
        (
            "https://github.com/google-deepmind/dsprites-dataset/raw/master/",
            "https://raw.githubusercontent.com/google-deepmind/dsprites-dataset/"
            "fa310c66517cfc1939d77fe17c725154efc97127/",
        ),
        "7da33b31b13a06f4b04a70402ce90c2e",
        limit=64_000_000,
    ),
)
SHAPES_FILES = (
    file(
        "3dshapes.h5",
        ("https://storage.googleapis.com/3d-shapes/",),
        "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785",
        267_573_662,
    ),
)

HIRAGANA = (
    *("a", "i", "u", "e", "o", "ka", "ki", "ku", "ke", "ko", "sa", "shi", "su", "se", "so", "ta", "chi", "tsu", "te"),
    *("to", "na", "ni", "nu", "ne", "no", "ha", "hi", "fu", "he", "ho", "ma", "mi", "mu", "me", "mo", "ya", "yu"),
    *("yo", "ra", "ri", "ru", "re", "ro", "wa", "wi", "we", "wo", "n", "iteration-mark"),
)
STL_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")

# ---------------------------------------------------------------------------------------------------------------------
# All of them
# ---------------------------------------------------------------------------------------------------------------------

MNIST_LICENCE = "CC BY-SA 3.0 by others' word"

SETS: dict[str, Named] = {
    "mnist": Named(
        module="mnist",
        group="handwriting",
        what="handwritten digits",
        images="28x28 grey",
        splits=(60_000, 0, 10_000),
        licence=MNIST_LICENCE,
        download=12_000_000,
    ),
    "mnist5k": Named(
        module="mnist5k",
        group="handwriting",
        what="5,000 of MNIST's digits",
        images="28x28 grey",
        splits=(5_000, 0, 0),
        licence=MNIST_LICENCE,
        origin="without a network, in the extra demo",
    ),
    "binarized-mnist": Published(
        group="handwriting",
        what="MNIST's digits in black and white (Larochelle's), without labels",
        images="28x28 grey",
        splits=(50_000, 10_000, 10_000),
        licence=NONE_STATED,
        download=size_of(AMAT_FILES),
        folder="binarized-mnist",
        files=AMAT_FILES,
        form="amat",
        home="http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
    ),
    "qmnist": Published(
        group="handwriting",
        what="MNIST's digits, with all of its 60,000 test digits",
        images="28x28 grey",
        splits=(60_000, 0, 60_000),
        licence="BSD",
        download=size_of(QMNIST_FILES),
        folder="qmnist",
        files=QMNIST_FILES,
        form="qmnist",
        classes=DIGITS,
        home="https://github.com/facebookresearch/qmnist",
    ),
    **EMNIST,
    "usps": Published(
        group="handwriting",
        what="digits from envelopes",
        images="16x16 grey",
        splits=(7_291, 0, 2_007),
        licence=NONE_STATED,
        download=8_400_000,
        folder="usps",
        files=USPS_FILES,
        form="usps",
        instead=USPS_ARCHIVE,
        classes=DIGITS,
        home="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
    ),
    "kmnist": Named(
        module="mnist",
        group="handwriting",
        what="cursive Japanese characters",
        images="28x28 grey",
        splits=(60_000, 0, 10_000),
        licence="CC BY-SA 4.0",
        download=21_000_000,
    ),
    "kmnist49": Published(
        group="handwriting",
        what="cursive Japanese characters, 49 classes",
        images="28x28 grey",
        splits=(232_365, 0, 38_547),
        licence="CC BY-SA 4.0",
        download=size_of(K49_FILES),
        folder="kmnist49",
        files=K49_FILES,
        form="kmnist49",
        classes=HIRAGANA,
        home="http://codh.rois.ac.jp/kmnist/",
    ),
    "omniglot": Published(
        group="handwriting",
        what="1,623 characters of 50 alphabets, 20 of each; test has alphabets of its own",
        images="105x105 grey",
        splits=(19_280, 0, 13_180),
        licence="MIT",
        download=size_of(OMNIGLOT_FILES),
        folder="omniglot",
        files=OMNIGLOT_FILES,
        form="omniglot",
        notes=("its ink is stored as black, and made white on black, as MNIST's is",),
        home="https://github.com/brendenlake/omniglot",
    ),
    "fashion-mnist": Named(
        module="mnist",
        group="things",
        what="clothes",
        images="28x28 grey",
        splits=(60_000, 0, 10_000),
        licence="MIT",
        download=31_000_000,
    ),
    "cifar10": Named(
        module="cifar",
        group="things",
        what="photographs of ten kinds of things",
        images="32x32 colour",
        splits=(50_000, 0, 10_000),
        licence=NONE_STATED,
        download=170_000_000,
    ),
    "svhn": Published(
        group="things",
        what="house numbers from the street, by digit",
        images="32x32 colour",
        splits=(73_257, 0, 26_032),
        licence="for non-commercial use only",
        download=size_of(SVHN_FILES),
        folder="svhn",
        files=SVHN_FILES,
        form="svhn",
        classes=DIGITS,
        home="http://ufldl.stanford.edu/housenumbers/",
    ),
    "stl10": Published(
        group="things",
        what="photographs of ten kinds of animals and vehicles",
        images="96x96 colour",
        splits=(5_000, 0, 8_000),
        licence=f"{NONE_STATED}; from ImageNet, which is for non-commercial research",
        download=size_of(STL_FILES),
        folder="stl10",
        files=STL_FILES,
        form="stl10",
        classes=STL_CLASSES,
        home="https://cs.stanford.edu/~acoates/stl10/",
    ),
    "stl10-unlabeled": Published(
        group="things",
        what="STL-10's photographs of these and other animals and vehicles, without labels",
        images="96x96 colour",
        splits=(100_000, 0, 0),
        licence=f"{NONE_STATED}; from ImageNet, which is for non-commercial research",
        download=size_of(STL_FILES),
        folder="stl10",
        files=STL_FILES,
        form="stl10",
        arguments={"unlabeled": True},
        home="https://cs.stanford.edu/~acoates/stl10/",
    ),
    "scenes": Named(
        module="drawn",
        group="things",
        what="5,000 drawn scenes of ten shapes before textures",
        images="32x32 colour",
        splits=(5_000, 0, 0),
        licence="genkit's own",
        origin="drawn here, also of another --image-size",
    ),
    "textured-digits": Named(
        module="drawn",
        group="handwriting",
        what="mnist5k's digits in coloured ink on drawn textures",
        images="28x28 colour",
        splits=(5_000, 0, 0),
        licence=MNIST_LICENCE,
        origin="drawn here on what the extra demo has",
    ),
    "faces": Named(
        module="drawn",
        group="faces",
        what="20,000 drawn faces with attributes",
        images="32x32 colour",
        splits=(20_000, 0, 0),
        licence="genkit's own",
        origin="drawn here, also of another --image-size",
    ),
    "celeba": Published(
        module="celeba",
        group="faces",
        what="faces of known people with 40 attributes",
        images="178x218 colour",
        splits=(162_770, 19_867, 19_962),
        licence="for non-commercial research only",
        download=size_of(CELEBA_FILES),
        origin="from your own download of 1.5 GB",
        folder="celeba",
        files=CELEBA_FILES,
        form="celeba",
        home="http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    ),
    "olivetti": Published(
        group="faces",
        what="40 people, ten pictures each",
        images="64x64 grey",
        splits=(400, 0, 0),
        licence="credit to AT&T Laboratories Cambridge",
        download=4_000_000,
        folder="olivetti",
        files=OLIVETTI_FILES,
        form="olivetti",
        classes=tuple(f"s{number}" for number in range(1, 41)),
        home="https://cam-orl.co.uk/facedatabase.html",
    ),
    **MEDMNIST,
    "dsprites": Published(
        group="factors",
        what="squares, ellipses and hearts in every size, turn and place",
        images="64x64 grey",
        splits=(737_280, 0, 0),
        licence="Apache 2.0",
        download=26_000_000,
        folder="dsprites",
        files=DSPRITES_FILES,
        form="dsprites",
        arguments={"factors": ("color", "shape", "scale", "orientation", "position-x", "position-y")},
        renamed={"shape-0": "shape-square", "shape-1": "shape-ellipse", "shape-2": "shape-heart"},
        home="https://github.com/google-deepmind/dsprites-dataset",
    ),
    "shapes3d": Published(
        group="factors",
        what="a solid in a room, in every colour, size, shape and view",
        images="64x64 colour",
        splits=(480_000, 0, 0),
        licence="Apache 2.0",
        download=size_of(SHAPES_FILES),
        folder="shapes3d",
        files=SHAPES_FILES,
        form="shapes3d",
        arguments={"factors": ("floor-hue", "wall-hue", "object-hue", "scale", "shape", "orientation")},
        home="https://github.com/google-deepmind/3d-shapes",
    ),
}
