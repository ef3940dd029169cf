"""What exists: files, digests, shapes, class names, public mirrors, known impostors. Pure data.

Digests stand here and nowhere else (`checksums.tsv` is generated from this page and a test
compares them). A second data set of the family is one more `Catalog` value.

Source: https://github.com/zalandoresearch/fashion-mnist (MIT licence); the digests were computed
over the published files; http://yann.lecun.com/exdb/mnist/ defines the IDX format.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from fmnist_tfds import artifacts

IMAGE_SIZE = 28
NUM_CLASSES = 10

Split = Literal["train", "test"]
Kind = Literal["images", "labels"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile(artifacts.Artifact):
    """A gzip member around one IDX payload: an artifact that is proved by its payload as well.

    Attributes:
        name: canonical file name, ending in ".gz".
        size_bytes: size of the canonical .gz in bytes; 0 where no canonical .gz exists.
        sha256: its digest, hexadecimal; "" where no canonical .gz exists.
        url: where its publisher serves it, or "".
        split: "train" or "test".
        kind: "images" (uint8[n, 28, 28]) or "labels" (uint8[n]).
        shape: dimensions of the payload's array.
        payload_bytes: size of the decompressed IDX file in bytes.
        payload_sha256: its digest, hexadecimal.
        gzip_mtime: the time in the canonical gzip header, seconds since 1970.
    """

    split: Split
    kind: Kind
    shape: tuple[int, ...]
    payload_bytes: int
    payload_sha256: str
    gzip_mtime: int = 0

    @property
    def expected_bytes(self) -> int:
        """The size of the .gz, or of the payload where no canonical .gz exists."""
        return self.size_bytes or self.payload_bytes

    @property
    def largest_bytes(self) -> int:
        """The size of the .gz or of the payload, whichever is larger."""
        return max(self.size_bytes, self.payload_bytes)

    @property
    def cache_name(self) -> str:
        """Its own name: a catalog's files lie together in a folder of their own."""
        return self.name

    @property
    def payload_name(self) -> str:
        """The file's name once decompressed."""
        return self.name.removesuffix(".gz")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Catalog(artifacts.ArtifactSet):
    """One data set of the MNIST family.

    Attributes:
        name: short name, also the default folder name in caches.
        title: name for people.
        files: the four files: train images, train labels, test images, test labels.
        mirrors: public base URLs or templates holding "{filename}", best first.
        impostors: what else arrives under these file names.
        class_names: ten names, index = label.
        pixel_statistics: mean and standard deviation of the training split's pixels, in units of
            one pixel value (0 to 255); None where they are measured.
    """

    files: tuple[SourceFile, ...]
    class_names: tuple[str, ...]
    pixel_statistics: tuple[float, float] | None = None

    def __repr__(self) -> str:
        """Short: it stands as a default in the signatures that help() prints."""
        return f"<{self.title}>"

    @property
    def cache_folder(self) -> str:
        """The folder in the cache where its files lie."""
        return self.name

    def file(self, name: str) -> SourceFile:
        """The file of that canonical name, with or without ".gz"; KeyError if there is none."""
        for file in self.files:
            if name in (file.name, file.payload_name):
                return file
        raise KeyError(name)

    def part(self, split: Split, kind: Kind) -> SourceFile:
        """The file that holds the images or labels of one split."""
        return next(f for f in self.files if f.split == split and f.kind == kind)


# Mean and deviation of all 47,040,000 training pixels, 0 to 255.
FASHION_MNIST_STATISTICS = (72.94035223214286, 90.02118235130519)
TRAIN_EXAMPLES = 60_000
TEST_EXAMPLES = 10_000

_CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_MNIST = artifacts.Impostor(
    "impostor:mnist",
    "MNIST digits",
    frozenset(
        {
            ("md5", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("md5", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("md5", "9fb629c4189551a2d022fa330f9573f3"),
            ("md5", "ec29112dd5afa0611ce80d1b7f02629c"),
            ("sha256", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            ("sha256", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            ("sha256", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            ("sha256", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        }
    ),
)
_REVISION_26 = artifacts.Impostor(
    "impostor:fmnist-2017-08-26",
    "the Fashion-MNIST revision of 26 August 2017 (43 duplicate training images, 10 training "
    "images in the test set; zalandoresearch/fashion-mnist issues 44 and 45)",
    frozenset(
        {
            ("sha1", "0cf37b0d40ed5169c6b3aba31069a9770ac9043d"),
            ("sha1", "236021d52f1e40852b06a4c3008d8de8aef1e40b"),
            ("sha1", "626ed6a7c06dd17c0eec72fa3be1740f146a2863"),
            ("sha1", "17f9ab60e7257a1620f4ad76bbbaf857c3920701"),
            ("sha256", "b0197879cbda89f3dc7b894f9fd52b858e68ea4182b6947c9d8c2b67e5f18dcc"),
            ("sha256", "42bd18137a62d5998cdeae52bf3a0676ac6b706f5cf8439b47bb5b151ae3dccf"),
            ("sha256", "c7673bb30764062aa9ddeaf6184d7043075ded6a31aee7d16f38402434ad395d"),
            ("sha256", "0106d6dfb86a77b9299271c292262daad9001d5a44d251a3880227436b8ce3b1"),
        }
    ),
)
_REVISION_25 = artifacts.Impostor(
    "impostor:fmnist-2017-08-25",
    "the Fashion-MNIST revision of 25 August 2017 (not shuffled: labels in order)",
    frozenset(
        {
            ("sha256", "b80e9d57e569fd67054f7f97ea159a621a436afa844dafc8606ff4c7f2ff184e"),
            ("sha256", "bda78048c35b6b8d5d49e186bd6e7d09a32420db7d943a6a1a36fbac75335737"),
        }
    ),
)
_KMNIST = artifacts.Impostor(
    "impostor:kmnist",
    "KMNIST (Kuzushiji characters)",
    frozenset(
        {
            ("md5", "bdb82020997e1d708af4cf47b453dcf7"),
            ("md5", "e144d726b3acfaa3e44228e80efcd344"),
            ("md5", "5c965bf0a639b31b8f53240b1b52f4d7"),
            ("md5", "7320c461ea6c1c855c0b718fb2a4b134"),
        }
    ),
)

# As stock TFDS and the publisher's README have it; asked last, for it has no TLS.
_PUBLISHED = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

FASHION_MNIST = Catalog(
    name="fashion-mnist",
    title="Fashion-MNIST",
    files=(
        SourceFile(
            name="train-images-idx3-ubyte.gz",
            url=_PUBLISHED + "train-images-idx3-ubyte.gz",
            md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            sha1="95978b76b6897f6ca69a25145d01716efb615989",
            sha1_git="e6ee0e37929b03937517cd45e65f4e8ca9de720d",
            split="train",
            kind="images",
            shape=(TRAIN_EXAMPLES, IMAGE_SIZE, IMAGE_SIZE),
            size_bytes=26_421_880,
            sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            payload_bytes=47_040_016,
            payload_sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            gzip_mtime=0x59A7E9DE,
        ),
        SourceFile(
            name="train-labels-idx1-ubyte.gz",
            url=_PUBLISHED + "train-labels-idx1-ubyte.gz",
            md5="25c81989df183df01b3e8a0aad5dffbe",
            sha1="09814cfef5a041118ceace42f8dae995319d331a",
            sha1_git="9c4aae27b27439210af73e0803a54a74af5c8756",
            split="train",
            kind="labels",
            shape=(TRAIN_EXAMPLES,),
            size_bytes=29_515,
            sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            payload_bytes=60_008,
            payload_sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            gzip_mtime=0x59A7E9DE,
        ),
        SourceFile(
            name="t10k-images-idx3-ubyte.gz",
            url=_PUBLISHED + "t10k-images-idx3-ubyte.gz",
            md5="bef4ecab320f06d8554ea6380940ec79",
            sha1="5edda96c6d8c36ff915115a0e8136d370a021576",
            sha1_git="667844f10bb92ae415eddb04e718f3e702547007",
            split="test",
            kind="images",
            shape=(TEST_EXAMPLES, IMAGE_SIZE, IMAGE_SIZE),
            size_bytes=4_422_102,
            sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            payload_bytes=7_840_016,
            payload_sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            gzip_mtime=0x59A7E9F3,
        ),
        SourceFile(
            name="t10k-labels-idx1-ubyte.gz",
            url=_PUBLISHED + "t10k-labels-idx1-ubyte.gz",
            md5="bb300cfdad3c16e7a12a480ee83cd310",
            sha1="9caad14e1aff9adac77d3744963212d36af15bee",
            sha1_git="abdddb89d6563f90ab89baf2970f67a1ffb9ad10",
            split="test",
            kind="labels",
            shape=(TEST_EXAMPLES,),
            size_bytes=5_148,
            sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            payload_bytes=10_008,
            payload_sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            gzip_mtime=0x59A7E9F3,
        ),
    ),
    class_names=_CLASS_NAMES,
    pixel_statistics=FASHION_MNIST_STATISTICS,
    mirrors=(
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
        "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
        "https://dataset.bj.bcebos.com/fashion_mnist/",
        "https://oneflow-public.oss-cn-beijing.aliyuncs.com/datasets/mnist/Fashion-MNIST/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        # 403 "Package size exceeded" for the 26 MB file; serves the other three.
        "https://cdn.jsdelivr.net/gh/zalandoresearch/fashion-mnist@master/data/fashion/",
        # Website endpoints have no TLS: last, and safe only because every byte is hash-pinned.
        _PUBLISHED,
    ),
    impostors=(_MNIST, _REVISION_26, _REVISION_25, _KMNIST),
)

FASHION_MNIST_SYNTHETIC = Catalog(
    name="fmnist-synthetic",
    title="synthetic stand-in (NOT Fashion-MNIST)",
    # The same names and shapes; only payloads exist, drawn by fmnist_synthetic/generator.py.
    files=tuple(
        dataclasses.replace(
            file,
            size_bytes=0,
            sha256="",
            md5="",
            sha1="",
            sha1_git="",
            url="",
            payload_sha256=digest,
            gzip_mtime=0,
        )
        for file, digest in zip(
            FASHION_MNIST.files,
            (
                "654bbe36257896c68e327df142d47e21ca39640ae5885280b7c9c9221e8485a3",
                "262d10fc6abc4d5be420e6fb3238ac9bc0ce62258c9cb0e2167b3e3f0bd6dcc2",
                "33c08cb7f870d4c5474ea7413c2bc61368c0f1db6d9271d489337688e23c9bd5",
                "e5b5ed22eba1cd621417806211a4078d034e6c969b7f620e8a8c51d8143a11b5",
            ),
            strict=True,
        )
    ),
    class_names=_CLASS_NAMES,
    mirrors=(),
    impostors=(),
)

# TFDS data set name -> catalog.
DATASETS: dict[str, Catalog] = {
    "fmnist_resilient": FASHION_MNIST,
    "fmnist_synthetic": FASHION_MNIST_SYNTHETIC,
}
