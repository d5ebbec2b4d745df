"""What sensors add to the light, measured on the frame and taken off: noise, bad sites, banding, gains."""
