"""Every error that pocketface raises on purpose.

    PocketfaceError
    ├── InputError          an argument has the wrong type, shape or value
    ├── ImageError          a picture cannot be read or is refused
    ├── NoFaceError         no face was found where one is needed
    ├── SeveralFacesError   the policy `single` met more than one face
    ├── QualityError        a face is too small, blurred or turned to enrol
    ├── ModelError          a model file is missing, damaged, refused or gives nonsense
    ├── EngineError         an inference engine is missing, broken or refused a graph
    ├── ThresholdError      the calibration does not support the false match rate asked for
    ├── GalleryError        a gallery is damaged, locked, or made by another model
    ├── FetchError          a download failed (only `pocketface models fetch` downloads)
    └── ExtraError          an optional dependency is missing; the message names the extra

Messages are one line: the file, what is wrong, what to do.
"""


class PocketfaceError(Exception):
    """Base of all errors below; `str(error)` is one line for the user."""


class InputError(PocketfaceError, ValueError):
    """An argument has the wrong type, shape or value."""


class ImageError(PocketfaceError):
    """A picture cannot be read or is refused."""


class NoFaceError(PocketfaceError):
    """No face was found where one is needed."""


class SeveralFacesError(PocketfaceError):
    """The policy `single` met more than one face."""


class QualityError(PocketfaceError):
    """A face is too small, too blurred or too far turned to enrol."""


class ModelError(PocketfaceError):
    """A model file is missing, damaged or refused, or its output is nonsense."""


class EngineError(PocketfaceError):
    """An inference engine is missing, broken, or refused a graph."""


class ThresholdError(PocketfaceError):
    """The calibration does not support the false match rate asked for."""


class GalleryError(PocketfaceError):
    """A gallery is damaged, locked, or was made by another model."""


class FetchError(PocketfaceError):
    """A download failed; nothing was installed."""


class ExtraError(PocketfaceError):
    """An optional dependency is missing; the message names the extra to install."""
