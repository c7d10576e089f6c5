"""Galleries: who is this, among the people enrolled? Start at `FaceRecognizer.gallery`."""

from pocketface.gallery.audit import Audit, ClosePair
from pocketface.gallery.gallery import Gallery
from pocketface.gallery.interface import Store
from pocketface.gallery.open import open_gallery
from pocketface.gallery.records import Candidate, Enrollment, Event, Header, Match, Person, Template
from pocketface.gallery.thresholds import Operating

__all__ = [
    "Audit",
    "Candidate",
    "ClosePair",
    "Enrollment",
    "Event",
    "Gallery",
    "Header",
    "Match",
    "Operating",
    "Person",
    "Store",
    "Template",
    "open_gallery",
]
