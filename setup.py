"""Packaging of fmnist_tfds."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'VERSION = "(.+)"', (HERE / "fmnist_tfds" / "version.py").read_text(encoding="utf-8")
).group(1)

# The seams used in TFDS and TensorFlow are not all public: both ends of each bound are tested,
# the lower ones as tests/oldest-versions.txt pins them.
TENSORFLOW = "tensorflow>=2.20,<2.22"

setuptools.setup(
    name="fmnist_tfds",
    version=VERSION,
    description="A Fashion-MNIST that always arrives, is provably the right bytes, "
    "and feeds the accelerator at memory speed",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=setuptools.find_packages(include=["fmnist_tfds", "fmnist_tfds.*"]),
    package_data={
        "": ["py.typed", "*.md", "*.bib", "*.txt", "*.tsv", "*.bin", "*.html", "*.toml"],
    },
    install_requires=[
        "absl-py>=2.0",
        "filelock>=3.12",
        "google-crc32c>=1.7",
        # etils >= 1.14 no longer brings it, TFDS 4.9.10 imports it without declaring it:
        # without it no custom dataset can be built on a clean install.
        "importlib_resources>=6.0",
        "jinja2>=3.1",  # the doctor's page; also pandas's tables, as tfds.as_dataframe makes them
        "numpy>=2.1",  # TFDS's pyarrow imports with 2.0, Python 3.13 has wheels of 2.1
        "platformdirs>=4.0",
        "psutil>=5.9.5",
        "requests>=2.31",
        "rich>=13.0",
        TENSORFLOW,
        # 4.9.9 reads no prepared data set with protobuf 7, which it admits: no `label` there.
        "tensorflow-datasets>=4.9.10,<4.9.11",
        "tqdm>=4.60",
        "truststore>=0.9.1",
        # session.py and transfer.py use seams of urllib3 2 that are not all public; 2.2 has read1.
        "urllib3>=2.2,<3",
    ],
    extras_require={
        # What the `tfds` command imports without declaring it (about 640 MB together).
        "build": ["apache-beam", "mlcroissant"],
        "cuda": [TENSORFLOW.replace("tensorflow", "tensorflow[and-cuda]", 1)],
        "plots": ["matplotlib>=3.8"],
        "cloud": ["fsspec", "gcsfs", "s3fs"],
        "socks": ["PySocks>=1.7"],
        "parquet": ["pyarrow>=15"],
        "test": [
            "dill",
            "hypothesis>=6",
            "matplotlib>=3.8",
            "mypy>=1.11",
            "pyarrow>=15",
            "PySocks>=1.7",
            "pandas>=2",
            "pillow",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "types-requests",
        ],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.27"],
        "dev": ["pre-commit"],
    },
    entry_points={"console_scripts": ["fmnist-tfds=fmnist_tfds.cli.main:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
)
