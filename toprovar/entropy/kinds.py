"""Names of kinds, for files and settings; nothing here needs torch."""

from typing import Literal

Crossing = Literal["rising", "falling"]
RatioScale = Literal["raw", "log"]
LayerClass = Literal["global", "detail", "ambiguous"]
Normalization = Literal["mean", "sum", "rank"]
