"""Networks written from the papers; every one starts from random weights.

All of them take float32 `(n, 3, 112, 112)`, RGB, `(x / 255 - 0.5) / 0.5`, faces aligned to the
ArcFace template, and give float32 `(n, d)` embeddings that are not normalised.
"""

from training.networks.genotypes import GENOTYPES, POCKETNET, Edge, Genotype, load_genotype
from training.networks.iresnet import IResNet, iresnet
from training.networks.layout import VARIANTS, Variant
from training.networks.pocketnet import PocketNet, pocketnet
from training.networks.rectified import RectifiedPocketNet, rectified
from training.networks.resnet import CifarResNet, FaceResNet, resnet18, resnet56

__all__ = [
    "GENOTYPES",
    "POCKETNET",
    "VARIANTS",
    "CifarResNet",
    "Edge",
    "FaceResNet",
    "Genotype",
    "IResNet",
    "PocketNet",
    "RectifiedPocketNet",
    "Variant",
    "iresnet",
    "load_genotype",
    "pocketnet",
    "rectified",
    "resnet18",
    "resnet56",
]
