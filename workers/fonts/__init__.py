"""The prepared fonts, and prepare.py, which made them. OFL.txt is their licence and must stay beside them."""

from pathlib import Path

FOLDER = Path(__file__).parent
