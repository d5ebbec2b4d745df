"""File formats: tags and images, written and read, and what they tell of a shot."""
