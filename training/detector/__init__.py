"""Training of the face detector: pictures, scenes, targets, losses, runs, evaluation; see README.md."""
