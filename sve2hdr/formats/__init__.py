"""File formats of images and of what is known of a shot, but for raws as cameras write them."""
