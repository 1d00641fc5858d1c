"""Whether a picture fits a device, and what waits in host memory where it does not.

``parts`` counts what weights take, ``needs`` what a run takes beside them, ``plan`` chooses what
waits elsewhere, and ``residency`` does it for a pipeline.
"""
