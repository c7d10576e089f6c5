"""Face verification in the browser: a static page and the ES module behind it."""
