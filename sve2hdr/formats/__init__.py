"""File formats: reading and writing tags, images and what they record about a shot."""
