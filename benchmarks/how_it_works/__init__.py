"""The pictures of docs/how-it-works.md and docs/guide/comparing.md, drawn by the embedded model."""
