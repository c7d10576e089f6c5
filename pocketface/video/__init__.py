"""Video: read frames, follow faces, say who arrives."""

from pocketface.video.reader import Frame, VideoReader
from pocketface.video.tracker import Track, Tracker
from pocketface.video.watcher import Arrival, Watcher

__all__ = ["Arrival", "Frame", "Track", "Tracker", "VideoReader", "Watcher"]
