"""Speed of galleries, as ratios to FAISS and uniface; run `python -m benchmarks.gallery`."""
