"""Lets the tests of this folder import their helper modules (import mode importlib adds no folder to the path)."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
