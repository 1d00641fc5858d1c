"""FasterVAR (arXiv 2512.16483) as its Infinity fork runs it."""
