"""A judge of the user's own: an ONNX file, or the weights of an Inception-v3 as safetensors.

A file may come from anybody. It is read once, what was hashed is what is used, and nothing in it is executed but ONNX's
own operators by onnxruntime: pickles, and with them `.pth`, `.pt` and TorchScript, aren't opened.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from genkit.contract import ImageShape
from genkit.errors import UsageError, in_one_line
from genkit.evaluate.extractor import Extractor
from genkit.nets.inception import SIDE, InceptionV3
from genkit.wording import counted, one_line

#: What pixels in [0, 1] become before a net sees them.
Range = Literal["0..1", "-1..1", "imagenet"]
RANGES: tuple[Range, ...] = ("0..1", "-1..1", "imagenet")
#: The mean and deviation of ImageNet's pixels, by channel, as torchvision's models have them.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

#: Bytes of a file at most: those that protobuf, and so ONNX, can hold in one.
MOST_BYTES = (1 << 31) - 1
#: Features at most: of more, covariances don't fit into memory.
MOST_FEATURES = 1 << 14
#: Numbers that an ONNX file may be given at once, 256 MiB: as many images as it fixes, or one, of its size.
MOST_PIXELS = 1 << 26
#: Images at a time, and the most numbers of them.
BATCH, BATCH_NUMBERS = 64, 1 << 22

#: Outputs of the last layers, by their number: of TensorFlow's Inception of 2015, and of torchvision's.
FID_CLASSES, TORCHVISION_CLASSES = 1008, 1000
#: What a file of an Inception-v3 may hold besides the weights that features need.
BESIDES = ("fc.", "AuxLogits.")
HOW = "docs/evaluate.md has the command that writes it"


class FileJudge(Extractor):
    """Features by a net out of a file.

    Args:
        path: the file.
        digest: its SHA-256.
        size: height and width of what the net takes.
        channels: 1 or 3.
        scale: the range of pixels that it takes.
        antialias: whether larger images are smoothed before they are made smaller.
    """

    def __init__(
        self, path: Path, digest: str, size: tuple[int, int], channels: int, scale: Range, antialias: bool
    ) -> None:
        self.path, self.digest = path, digest
        self.size, self.channels, self.scale, self.antialias = size, channels, scale, antialias

    #: What kind of net it is, and which of its outputs are the features.
    what: str

    @property
    def name(self) -> str:
        """`Inception-v3 of FID, weights.safetensors (SHA-256 3f2a…), which sees 299×299 pixels, …`."""
        height, width = self.size
        how = "bilinear, antialiased" if self.antialias else "bilinear, not antialiased"
        file = one_line(self.path.name)
        return (
            f"{self.what}, {file} (SHA-256 {self.digest}); it sees {height}×{width} pixels in {self.scale}, other "
            f"sizes resized ({how})"
        )

    @property
    def by(self) -> str:
        return f"{self.what} {self.digest[:8]}"

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        size = max(1, min(BATCH, BATCH_NUMBERS // (3 * self.size[0] * self.size[1])))
        return torch.cat([self.of(self.prepared(part)).float().cpu() for part in images.split(size)])

    def of(self, images: Tensor) -> Tensor:
        """Features (N, F) of what `prepared` returns."""
        raise NotImplementedError

    def prepared(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] as the net takes them.

        Grey images are repeated for a net of three channels; of colour a net of one sees the mean. The latter is
        refused by `require_channels`, unless they are the same.
        """
        if images.shape[1] != self.channels:
            images = images.expand(-1, self.channels, -1, -1) if images.shape[1] == 1 else images.mean(1, keepdim=True)
        if tuple(images.shape[2:]) != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", align_corners=False, antialias=self.antialias)
        return scaled(images, self.scale)

    def require_channels(self, image: ImageShape) -> None:
        """Refuse images whose colours the net can't see.

        Raises:
            UsageError
        """
        if image.channels not in (1, self.channels):
            raise UsageError(
                f"--judge: {self.path} takes images of {counted(self.channels, 'channel')}, and these have "
                f"{image.channels}; give a net of as many"
            )


def scaled(images: Tensor, scale: Range) -> Tensor:
    """Pixels in [0, 1], (N, C, H, W), in another range."""
    if scale == "-1..1":
        return images * 2 - 1
    if scale == "imagenet":
        mean, deviation = (images.new_tensor(each)[:, None, None] for each in IMAGENET)
        if images.shape[1] == 1:
            mean, deviation = mean.mean(0, keepdim=True), deviation.mean(0, keepdim=True)
        return (images - mean) / deviation
    return images


# ---------------------------------------------------------------------------------------------------------------------
# Which it is
# ---------------------------------------------------------------------------------------------------------------------


def opened(path: Path, device: torch.device, scale: Range | None = None) -> FileJudge:
    """The judge that lies in a file, told by its content.

    Args:
        scale: the range of pixels that an ONNX file takes; [0, 1], as genkit's own do, where nobody says. An
            Inception's is known.

    Raises:
        UsageError: when there is none, or what is in it isn't one that can be used.
    """
    try:
        if not path.is_file():
            raise refused(path, "there is no such file")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise refused(path, f"it has {size:,} bytes, and at most {MOST_BYTES:,} are read")
        content = path.read_bytes()
    except OSError as error:
        raise refused(path, f"it can't be read ({error.strerror or error})") from error
    if is_pickle(content):
        raise refused(
            path, f"it is a pickle, as .pth and .pt are, which is never opened; save its weights as safetensors ({HOW})"
        )
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8:
        if scale not in (None, "-1..1"):
            raise UsageError(f"--judge-range {scale}: an Inception-v3 takes pixels in -1..1; leave it out")
        return Inception(path, content, device)
    return OnnxNet(path, content, scale or "0..1")


def is_pickle(content: bytes) -> bool:
    """Whether it is what torch.save or pickle writes: a zip, an older archive, or a pickle by its protocol."""
    return content[:4] == b"PK\x03\x04" or (content[:1] == b"\x80" and content[1:2] in b"\x02\x03\x04\x05")


def refused(path: Path, why: str) -> UsageError:
    return UsageError(f"--judge: {path}: {why}")


# ---------------------------------------------------------------------------------------------------------------------
# Inception-v3
# ---------------------------------------------------------------------------------------------------------------------


class Inception(FileJudge):
    """The pooled features of an Inception-v3, of FID's variant or torchvision's, as its last layer tells.

    Images are resized as pytorch-fid does it, bilinearly and without antialiasing, to 299×299 pixels in [-1, 1].
    """

    prefix = "inception_"

    def __init__(self, path: Path, content: bytes, device: torch.device):
        super().__init__(path, hashlib.sha256(content).hexdigest(), (SIDE, SIDE), 3, "-1..1", antialias=False)
        try:
            weights = load(content)
        except (SafetensorError, ValueError, TypeError, KeyError, OverflowError) as error:
            raise refused(path, f"it is no whole safetensors file ({in_one_line(error)}); write it anew") from error
        self.net, variant = built(path, weights)
        self.what = f"Inception-v3 ({variant}'s variant)"
        self.net.eval().requires_grad_(False).to(device)
        self.device = device

    def of(self, images: Tensor) -> Tensor:
        return self.net(images.to(self.device))


def built(path: Path, weights: Mapping[str, Tensor]) -> tuple[InceptionV3, str]:
    """The net of a file's weights, and whose variant it is: "FID" or "torchvision".

    Raises:
        UsageError: when they don't fit.
    """
    fid = is_of_fid(path, weights)
    net = InceptionV3(fid)
    net.load_state_dict(fitting(path, net.state_dict(), weights))
    return net, "FID" if fid else "torchvision"


def is_of_fid(path: Path, weights: Mapping[str, Tensor]) -> bool:
    """Whether the last layer tells the 1,008 classes of TensorFlow's net of 2015, or torchvision's 1,000.

    Raises:
        UsageError: when there is no last layer, or another.
    """
    last = weights.get("fc.weight")
    if last is None:
        raise refused(
            path,
            "it has no fc.weight, by which an Inception-v3 of FID (1,008 rows) is told from torchvision's (1,000)",
        )
    classes = last.shape[0] if last.ndim else 0
    if classes not in (FID_CLASSES, TORCHVISION_CLASSES):
        raise refused(
            path, f"fc.weight has {classes:,} rows, where an Inception-v3 of FID has 1,008 and torchvision's 1,000"
        )
    return classes == FID_CLASSES


def fitting(path: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that a net wants, float32, out of those that a file has.

    Raises:
        UsageError: when one is missing, of another shape, no number, or one too many.
    """
    counters = {name for name in wanted if name.endswith(".num_batches_tracked")}  # which nothing depends on
    missing = [name for name in wanted if name not in found and name not in counters]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise refused(path, f"these are no weights of an Inception-v3: {missing[0]}{more} isn't there; {HOW}")
    if strange := [name for name in found if name not in wanted and not name.startswith(BESIDES)]:
        raise refused(path, f"these are no weights of an Inception-v3, which has no {one_line(strange[0])[:100]}")
    result = {}
    for name, like in wanted.items():
        if name in counters:
            result[name] = like
            continue
        each = found[name]
        if each.shape != like.shape:
            raise refused(path, f"{name} is {shape(each.shape)}, and an Inception-v3's is {shape(like.shape)}")
        if not each.is_floating_point() or not (each := each.float()).isfinite().all():
            raise refused(path, f"{name} has values that are no finite numbers")
        result[name] = each
    return result


def shape(numbers: Sequence[Any]) -> str:
    return "×".join(map(str, numbers)) or "a single number"


# ---------------------------------------------------------------------------------------------------------------------
# ONNX
# ---------------------------------------------------------------------------------------------------------------------


class OnnxNet(FileJudge):
    """The first output of an ONNX file with one input of images, as `genkit export --format onnx` writes them.

    Its height, width and channels are fixed in the file; the number of images may be fixed, too. Images are resized to
    that, antialiased where they are larger.
    """

    prefix = "onnx_"

    def __init__(self, path: Path, content: bytes, scale: Range):
        missing = [each for each in ("onnx", "onnxruntime") if find_spec(each) is None]
        if missing:
            raise refused(path, f"ONNX needs {' and '.join(missing)}: pip install 'latent-genkit[export]'")
        require_whole(path, content)
        self.session = session_of(path, content)
        inputs = self.session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(one_line(each.name) for each in inputs)[:200]
            raise refused(path, f"it has {len(inputs)} inputs ({names}), and a judge has one, images")
        (images,) = inputs
        self.input, given = images.name, list(images.shape)
        if images.type != "tensor(float)" or len(given) != 4:
            raise refused(
                path, f"its input is {images.type} of {len(given)} axes, and a judge's is of four, N×C×H×W in float32"
            )
        count, channels, *size = given
        if not all(isinstance(each, int) and each > 0 for each in (channels, *size)):
            raise refused(
                path, f"its input is {shape(given)}: channels, height and width must be fixed; export it for one size"
            )
        if channels not in (1, 3):
            raise refused(path, f"its input is {shape(given)}, and images have one channel or three: N×C×H×W")
        self.count = count if isinstance(count, int) and count > 0 else None
        if (self.count or 1) * channels * math.prod(size) > MOST_PIXELS:
            raise refused(
                path, f"its input is {shape(given)}, and at most {MOST_PIXELS:,} numbers are given to a judge at once"
            )
        output = self.session.get_outputs()[0]
        self.output = output.name
        digest = hashlib.sha256(content).hexdigest()
        super().__init__(path, digest, (size[0], size[1]), channels, scale, antialias=True)
        self.what = f"ONNX ({one_line(self.output)[:60]})"
        self.of(torch.zeros(self.count or 2, channels, *size))

    def of(self, images: Tensor) -> Tensor:
        rows = [self.run(part) for part in (images.split(self.count) if self.count else [images])]
        return torch.cat(rows)

    def run(self, images: Tensor) -> Tensor:
        """Features of at most as many images as the file takes at once.

        Raises:
            UsageError: when it fails, or what comes out is no features.
        """
        given = images.cpu()
        if self.count and len(given) < self.count:
            given = torch.cat([given, given[-1:].expand(self.count - len(given), *given.shape[1:])])
        try:
            (found,) = self.session.run([self.output], {self.input: given.contiguous().numpy()})
        except Exception as error:  # onnxruntime's own, of many kinds
            raise refused(self.path, f"it fails on images ({in_one_line(error)})") from error
        result = torch.as_tensor(found)
        while result.ndim > 2 and result.shape[-1] == 1:
            result = result.squeeze(-1)
        if result.ndim != 2 or len(result) != len(given) or not result.is_floating_point():
            raise refused(
                self.path, f"its output {self.output} is {shape(result.shape)} of {len(given)} images, and not N×F"
            )
        if result.shape[1] > MOST_FEATURES:
            raise refused(self.path, f"it makes {result.shape[1]:,} features, and at most {MOST_FEATURES:,} are taken")
        return result[: len(images)]


def require_whole(path: Path, content: bytes) -> None:
    """Refuse what is no ONNX, or points to other files, which could be any of this machine's.

    Raises:
        UsageError
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own
        raise refused(path, f"it is neither ONNX nor safetensors; {HOW}") from error
    if not model.graph.output or not model.graph.node:
        raise refused(path, f"it is neither ONNX nor safetensors; {HOW}")
    # Wherever a tensor stands, in whichever graph within a graph, `external_data` is a field of TensorProto alone.
    if has_external_data(model):
        raise refused(
            path, "some of its weights lie in other files (external data); save it as one file, as onnx.save does"
        )


def has_external_data(message: Any) -> bool:
    """Whether a tensor anywhere in a protobuf message lies in another file."""
    waiting = [message]
    while waiting:
        each = waiting.pop()
        if each.DESCRIPTOR.name == "TensorProto" and (each.external_data or each.data_location == each.EXTERNAL):
            return True
        for field, value in each.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting += list(value) if hasattr(value, "__len__") and not hasattr(value, "DESCRIPTOR") else [value]
    return False


def session_of(path: Path, content: bytes) -> Any:
    """An ONNX file as something to run, on the CPU.

    Raises:
        UsageError: when onnxruntime doesn't take it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong, it raises
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own, of many kinds
        raise refused(path, f"onnxruntime can't run it ({in_one_line(error)})") from error
