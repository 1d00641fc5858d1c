"""What ComfyUI was started with; which switches there are depends on its version."""

from argparse import Namespace

args: Namespace
